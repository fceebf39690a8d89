//! Load, memory and disk of the container.

use axum::Json;
use serde_json::{Value, json};

/// `GET /api/v1/system/resources`
pub async fn report() -> Json<Value> {
    let total = meminfo("MemTotal").unwrap_or(0);
    let (limit, charged) = cgroup_memory();
    let total = limit.map_or(total, |limit| limit.min(total));
    let free = meminfo("MemAvailable").unwrap_or(0);
    let used = charged.unwrap_or_else(|| total.saturating_sub(free));
    let load = loads();
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    let uptime: Option<f64> = uptime.and_then(|text| text.split_whitespace().next()?.parse().ok());
    Json(json!({
        "cpu": {
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
            "load_1min": load[0], "load_5min": load[1], "load_15min": load[2],
        },
        "memory": {
            "total": total, "used": used, "available": total.saturating_sub(used),
            "used_percent": percent(used, total),
        },
        "swap": { "total": meminfo("SwapTotal"), "free": meminfo("SwapFree") },
        "disk": disk(),
        "uptime_seconds": uptime,
    }))
}

/// A field of `/proc/meminfo`, bytes.
pub fn meminfo(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Limit and use of the container's own group, where its kernel shows them.
fn cgroup_memory() -> (Option<u64>, Option<u64>) {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse().ok();
    (read("memory.max"), read("memory.current"))
}

fn loads() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap_or(0.0));
    [(); 3].map(|()| numbers.next().unwrap_or(0.0))
}

fn disk() -> Option<Value> {
    let stat = rustix::fs::statvfs("/").ok()?;
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let used = total.saturating_sub(stat.f_bfree.saturating_mul(stat.f_frsize));
    Some(
        json!({ "path": "/", "total": total, "used": used, "available": free, "used_percent": percent(used, used + free) }),
    )
}

fn percent(part: u64, whole: u64) -> f64 {
    (1000.0 * part as f64 / whole.max(1) as f64).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn resources_are_plausible() {
        let Json(report) = report().await;
        let used = report["memory"]["used_percent"].as_f64().unwrap();
        assert!(used > 0.0 && used <= 100.0, "{report}");
        assert!(report["disk"]["total"].as_u64() > report["disk"]["used"].as_u64());
        assert!(report["cpu"]["load_1min"].is_number());
    }
}
