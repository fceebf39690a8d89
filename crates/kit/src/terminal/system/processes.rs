//! Processes: listing, looking at one, signalling.

use std::os::unix::fs::MetadataExt;

use axum::Json;
use axum::extract::Path;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::SmallBody;
use crate::error::{KitError, KitResult};
use crate::params::Params;

/// Clock ticks a second in `/proc/*/stat`; the kernel's constant for user space.
const TICKS: f64 = 100.0;
/// Longest command line told, bytes.
const CMDLINE_LIMIT: usize = 4096;

/// One process.
#[derive(Debug, Clone, Serialize)]
pub struct Process {
    /// Its id in the container.
    pub pid: i32,
    ppid: i32,
    /// The kernel's name for it, at most 15 bytes.
    pub name: String,
    cmdline: String,
    state: char,
    /// Its owner's number.
    pub uid: u32,
    /// Its owner's name.
    pub user: String,
    /// Of one processor, over its whole life, as `ps` tells it.
    cpu_percent: f64,
    memory_percent: f64,
    /// Resident bytes.
    memory_bytes: u64,
    threads: u32,
    /// Seconds since it was started.
    elapsed_seconds: u64,
    /// Ticks after boot when it was started: with the pid it names a process for ever.
    start_time_ticks: u64,
}

/// What all processes are measured against.
struct Machine {
    uptime: f64,
    memory: u64,
    passwd: String,
}

impl Machine {
    fn look() -> Self {
        let uptime = std::fs::read_to_string("/proc/uptime").ok();
        let uptime = uptime.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
        let memory = super::resources::meminfo("MemTotal").unwrap_or(0);
        Self { uptime, memory, passwd: std::fs::read_to_string("/etc/passwd").unwrap_or_default() }
    }

    fn user(&self, uid: u32) -> String {
        let number = uid.to_string();
        let name = self.passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == number).then(|| name.to_owned())
        });
        name.unwrap_or(number)
    }
}

/// Fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    name: String,
    state: char,
    ppid: i32,
    cpu_ticks: u64,
    threads: u32,
    start: u64,
}

impl Stat {
    /// The name stands in parentheses and may itself contain anything.
    fn parse(text: &str) -> Option<Self> {
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let name = text.get(open + 1..close)?.to_owned();
        let fields: Vec<&str> = text.get(close + 1..)?.split_whitespace().collect();
        let number = |at: usize| -> Option<u64> { fields.get(at)?.parse().ok() };
        Some(Self {
            name,
            state: fields.first()?.chars().next()?,
            ppid: fields.get(1)?.parse().ok()?,
            cpu_ticks: number(11)?.saturating_add(number(12)?),
            threads: u32::try_from(number(17)?).ok()?,
            start: number(19)?,
        })
    }
}

fn look(pid: i32, machine: &Machine) -> Option<Process> {
    let dir = format!("/proc/{pid}");
    let uid = std::fs::metadata(&dir).ok()?.uid();
    let stat = Stat::parse(&String::from_utf8_lossy(&std::fs::read(format!("{dir}/stat")).ok()?))?;
    let mut cmdline = std::fs::read(format!("{dir}/cmdline")).ok()?;
    cmdline.truncate(CMDLINE_LIMIT);
    let cmdline = String::from_utf8_lossy(&cmdline).trim_end_matches('\0').replace('\0', " ");
    let status = std::fs::read_to_string(format!("{dir}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0u64) * 1024;
    let age = (machine.uptime - stat.start as f64 / TICKS).max(0.0);
    let round = |value: f64| (value * 10.0).round() / 10.0;
    Some(Process {
        pid,
        ppid: stat.ppid,
        name: stat.name,
        cmdline,
        state: stat.state,
        uid,
        user: machine.user(uid),
        cpu_percent: round(100.0 * stat.cpu_ticks as f64 / TICKS / age.max(1.0 / TICKS)),
        memory_percent: round(100.0 * resident as f64 / (machine.memory.max(1)) as f64),
        memory_bytes: resident,
        threads: stat.threads,
        elapsed_seconds: age as u64,
        start_time_ticks: stat.start,
    })
}

/// All processes, by id. Those that end meanwhile are left out.
pub fn all() -> Vec<Process> {
    let machine = Machine::look();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Process> = pids.filter_map(|pid| look(pid, &machine)).collect();
    all.sort_by_key(|process| process.pid);
    all
}

/// `GET /api/v1/system/processes`
pub async fn list(params: Params) -> KitResult<Json<Value>> {
    let limit = params.value::<usize>("limit")?.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let sort = params.text("sort").unwrap_or("pid");
    let mut processes = all();
    if let Some(filter) = params.text("filter") {
        let filter = filter.to_lowercase();
        processes.retain(|p| p.name.to_lowercase().contains(&filter) || p.cmdline.to_lowercase().contains(&filter));
    }
    match sort {
        "pid" => {}
        "cpu" => processes.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent)),
        "memory" => processes.sort_by_key(|p| std::cmp::Reverse(p.memory_bytes)),
        "name" => processes.sort_by(|a, b| a.name.cmp(&b.name)),
        other => return Err(KitError::bad_request(format!("sort: {other:?} is not cpu, memory, pid or name"))),
    }
    let total = processes.len();
    processes.truncate(limit);
    Ok(Json(json!({ "total": total, "count": processes.len(), "processes": processes })))
}

/// `GET /api/v1/system/processes/{pid}`
pub async fn one(Path(pid): Path<String>) -> KitResult<Json<Value>> {
    let number: i32 = pid.parse().map_err(|_| KitError::bad_request(format!("pid: {pid:?} is not a number")))?;
    let process = look(number, &Machine::look());
    let process = process.ok_or_else(|| KitError::not_found(format!("there is no process {number}")))?;
    let link = |name: &str| std::fs::read_link(format!("/proc/{number}/{name}")).ok();
    let mut value = json!(process);
    value["cwd"] = json!(link("cwd"));
    value["exe"] = json!(link("exe"));
    value["fds"] = json!(std::fs::read_dir(format!("/proc/{number}/fd")).ok().map(Iterator::count));
    Ok(Json(value))
}

/// `POST /api/v1/system/process/signal`: `{pid | name, signal, force}`. A name reaches all that bear it.
pub async fn signal(body: SmallBody) -> KitResult<Json<Value>> {
    #[derive(Deserialize)]
    struct Body {
        pid: Option<i32>,
        name: Option<String>,
        signal: Option<Value>,
        #[serde(default)]
        force: bool,
    }
    let body: Body = body.json()?;
    let signal = match (&body.signal, body.force) {
        (None, true) => Signal::KILL,
        (None, false) => Signal::TERM,
        (Some(asked), _) => named_signal(asked)?,
    };
    let targets: Vec<i32> = match (body.pid, &body.name) {
        (Some(pid), _) => vec![pid],
        (None, Some(name)) if !name.is_empty() => all().iter().filter(|p| p.name == *name).map(|p| p.pid).collect(),
        _ => return Err(KitError::bad_request("pid or name: missing")),
    };
    if targets.is_empty() {
        return Err(KitError::not_found(format!("there is no process named {:?}", body.name.unwrap_or_default())));
    }
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut reached = Vec::new();
    for pid in targets {
        if pid <= 1 || pid == own {
            return Err(KitError::forbidden(format!("process {pid} is guarded")));
        }
        let Some(target) = Pid::from_raw(pid) else { continue };
        match rustix::process::kill_process(target, signal) {
            Ok(()) => reached.push(pid),
            Err(rustix::io::Errno::SRCH) if body.pid.is_none() => {}
            Err(rustix::io::Errno::SRCH) => return Err(KitError::not_found(format!("there is no process {pid}"))),
            Err(error) => return Err(KitError::from_io(&format!("process {pid}"), &error.into())),
        }
    }
    Ok(Json(json!({ "success": true, "signal": signal.as_raw(), "pids": reached })))
}

/// `"SIGTERM"`, `"term"`, `15` or `"15"`.
fn named_signal(asked: &Value) -> KitResult<Signal> {
    let text = match asked {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let upper = text.to_ascii_uppercase();
    let signal = match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "HUP" | "1" => Signal::HUP,
        "INT" | "2" => Signal::INT,
        "QUIT" | "3" => Signal::QUIT,
        "KILL" | "9" => Signal::KILL,
        "USR1" | "10" => Signal::USR1,
        "USR2" | "12" => Signal::USR2,
        "TERM" | "15" => Signal::TERM,
        "CONT" | "18" => Signal::CONT,
        "STOP" | "19" => Signal::STOP,
        "TSTP" | "20" => Signal::TSTP,
        "WINCH" | "28" => Signal::WINCH,
        _ => return Err(KitError::bad_request(format!("signal: {text:?} is not known"))),
    };
    Ok(signal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_fields() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 50 60 0 0 20 0 3 0 12345 1 2";
        let stat = Stat::parse(text).unwrap();
        let expected = Stat { name: "a) b (c".into(), state: 'S', ppid: 7, cpu_ticks: 110, threads: 3, start: 12345 };
        assert_eq!(stat, expected);
    }

    #[test]
    fn this_process_is_seen_with_its_owner() {
        let own = look(std::process::id() as i32, &Machine::look()).unwrap();
        assert!(own.memory_bytes > 0 && own.threads >= 1 && !own.cmdline.is_empty());
        assert_eq!(own.uid, rustix::process::geteuid().as_raw());
    }

    proptest! {
        #[test]
        fn no_stat_line_breaks_the_reader(text in "[()a 0-9-]{0,80}") {
            let _ = Stat::parse(&text);
        }
    }
}
