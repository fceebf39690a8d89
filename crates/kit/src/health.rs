//! The nine-field health reply that every service gives.

use axum::Json;
use axum::http::HeaderMap;
use serde::Serialize;

use super::Context;

/// Reply of `GET /api/v1/<service>/health`.
#[derive(Debug, Serialize)]
pub struct Health {
    status: &'static str,
    service: String,
    built: Option<String>,
    started: String,
    memory: Option<Memory>,
    fds: Option<usize>,
    pid: u32,
    ip: Option<String>,
    #[serde(rename = "userAgent")]
    user_agent: Option<String>,
}

/// Bytes.
#[derive(Debug, Serialize)]
struct Memory {
    rss: u64,
    heap: Option<u64>,
}

/// Measures this process for the caller whose headers are given.
pub fn report(context: &Context, service: &str, headers: &HeaderMap) -> Json<Health> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Json(Health {
        status: "ok",
        service: format!("cowl-{service}"),
        built: None,
        started: context.started.to_string(),
        memory: resident().map(|rss| Memory { rss, heap: None }),
        fds: std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
        pid: std::process::id(),
        ip: header("x-forwarded-for").map(|list| list.split(',').next().unwrap_or_default().trim().to_owned()),
        user_agent: header("user-agent"),
    })
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
