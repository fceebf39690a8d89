//! Limits, sleep and the like on the command line: for containers and for projects.

use serde_json::{Value, json};

use super::fail::Fail;
use super::print;
use cowl_api::Settings;
use cowl_api::settings::Size;

/// What may be set. Absent is not changed.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits and sleep")]
pub(super) struct Given {
    /// Cores it may use at once, e.g. 1.5. Where there was none, nproc inside shows it from the next start
    #[arg(long, value_name = "CORES")]
    cpu: Option<f64>,
    /// Its share of busy cores beside others, 1 to 10000; all have 100
    #[arg(long, value_name = "N")]
    cpu_weight: Option<u32>,
    /// The cores it may run on, e.g. 0-1,3
    #[arg(long, value_name = "CORES")]
    cpu_set: Option<String>,
    /// Memory before something of it is killed, e.g. 512M
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Memory beyond which it is slowed down (cgroup v2 hosts)
    #[arg(long, value_name = "SIZE")]
    memory_high: Option<Size>,
    /// What it may have swapped out; 0 is nothing
    #[arg(long, value_name = "SIZE")]
    swap: Option<Size>,
    /// Processes and threads
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// What it may write to disk beyond its image, snapshots included, e.g. 20G. Where
    /// there was none, df inside shows it from the next start
    #[arg(long, value_name = "SIZE")]
    disk: Option<Size>,
    /// Its share of a busy disk, 1 to 10000; all have 100
    #[arg(long, value_name = "N")]
    io_weight: Option<u32>,
    /// Bytes a second it may read from disk, e.g. 50M
    #[arg(long, value_name = "SIZE")]
    io_read: Option<Size>,
    /// Bytes a second it may write to disk
    #[arg(long, value_name = "SIZE")]
    io_write: Option<Size>,
    /// Bytes a second it may receive
    #[arg(long, value_name = "SIZE")]
    network_in: Option<Size>,
    /// Bytes a second it may send
    #[arg(long, value_name = "SIZE")]
    network_out: Option<Size>,
    /// Let it sleep when unused for so long, e.g. 90s, 10m, 2h; `never` keeps it awake
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    sleep_after: Option<u64>,
    /// How it sleeps: stop or freeze
    #[arg(long, value_name = "MODE", value_parser = ["stop", "freeze"])]
    sleep_mode: Option<String>,
    /// Percent of one core that still counts as unused
    #[arg(long, value_name = "PERCENT")]
    sleep_cpu: Option<f64>,
    /// Merge its equal memory pages with those of others that ask for it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    ksm: Option<bool>,
    /// A host device it may use: fuse, tun, kvm, gpu; may be given several times
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// How many snapshots it may have, those before restores apart
    #[arg(long, value_name = "N")]
    max_snapshots: Option<u32>,
    /// Hours it can be had back after it was deleted; 0 deletes at once
    #[arg(long, value_name = "HOURS")]
    undelete_hours: Option<u32>,
}

/// A change: what is set, and what is taken back.
#[derive(Debug, clap::Args)]
pub(super) struct Change {
    #[command(flatten)]
    set: Given,
    /// Take a setting back, e.g. memory, sleep-after, or `all`; may be given several times
    #[arg(long, value_name = "SETTING", value_parser = parse_unset)]
    unset: Vec<String>,
}

/// Every setting: its option and where it is in [`Settings`].
const PLACES: [(&str, &[&str]); 20] = [
    ("cpu", &["limits", "cpu"]),
    ("cpu-weight", &["limits", "cpu_weight"]),
    ("cpu-set", &["limits", "cpu_set"]),
    ("memory", &["limits", "memory"]),
    ("memory-high", &["limits", "memory_high"]),
    ("swap", &["limits", "swap"]),
    ("pids", &["limits", "pids"]),
    ("disk", &["limits", "disk"]),
    ("io-weight", &["limits", "io_weight"]),
    ("io-read", &["limits", "io_read"]),
    ("io-write", &["limits", "io_write"]),
    ("network-in", &["limits", "network_in"]),
    ("network-out", &["limits", "network_out"]),
    ("sleep-after", &["sleep", "after"]),
    ("sleep-mode", &["sleep", "mode"]),
    ("sleep-cpu", &["sleep", "cpu"]),
    ("ksm", &["ksm"]),
    ("device", &["devices"]),
    ("max-snapshots", &["max_snapshots"]),
    ("undelete-hours", &["undelete_hours"]),
];

fn parse_unset(word: &str) -> Result<String, String> {
    if word == "all" || PLACES.iter().any(|(name, _)| *name == word) {
        return Ok(word.to_owned());
    }
    let names: Vec<&str> = PLACES.iter().map(|(name, _)| *name).collect();
    Err(format!("expected all or one of {}", names.join(", ")))
}

/// Reads `90s`, `10m`, `2h`, `1d`, a number of seconds, or `never`.
fn seconds(word: &str) -> Result<u64, String> {
    const WANTED: &str = "expected a time like 90s, 10m or 2h, or never";
    if word == "never" {
        return Ok(0);
    }
    let (number, unit) = match word.strip_suffix(|c: char| c.is_ascii_alphabetic()) {
        Some(number) => (number, &word[number.len()..]),
        None => (word, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(WANTED.into()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(|| WANTED.into())
}

/// Puts a value into a patch, with the objects that lead to it.
fn place(patch: &mut Value, path: &[&str], value: Value) {
    *path.iter().fold(patch, |at, key| &mut at[*key]) = value;
}

fn find<'a>(from: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(from, |at, key| at.get(key))
}

impl Given {
    /// The values in the order of [`PLACES`].
    fn values(&self) -> [Value; 20] {
        let devices = if self.devices.is_empty() { Value::Null } else { json!(self.devices) };
        [
            json!(self.cpu),
            json!(self.cpu_weight),
            json!(self.cpu_set),
            json!(self.memory),
            json!(self.memory_high),
            json!(self.swap),
            json!(self.pids),
            json!(self.disk),
            json!(self.io_weight),
            json!(self.io_read),
            json!(self.io_write),
            json!(self.network_in),
            json!(self.network_out),
            json!(self.sleep_after),
            json!(self.sleep_mode),
            json!(self.sleep_cpu),
            json!(self.ksm),
            devices,
            json!(self.max_snapshots),
            json!(self.undelete_hours),
        ]
    }

    /// As a merge patch; `None` when nothing was given.
    pub(super) fn patch(&self) -> Option<Value> {
        let mut patch = Value::Null;
        for ((_, path), value) in PLACES.iter().zip(self.values()) {
            if !value.is_null() {
                place(&mut patch, path, value);
            }
        }
        (!patch.is_null()).then_some(patch)
    }
}

impl Change {
    /// As a merge patch; JSON null takes all back.
    pub(super) fn patch(&self) -> Result<Value, Fail> {
        let set = self.set.patch();
        if self.unset.iter().any(|word| word == "all") {
            return match set {
                None => Ok(Value::Null),
                Some(_) => Err(Fail::usage("--unset all goes with nothing else; set what you want afterwards")),
            };
        }
        let mut patch = set.unwrap_or_default();
        for (name, path) in PLACES.iter().filter(|(name, _)| self.unset.iter().any(|word| word == name)) {
            if find(&patch, path).is_some() {
                return Err(Fail::usage(format!("--{name} is both set and unset")));
            }
            place(&mut patch, path, Value::Null);
        }
        if patch.is_null() {
            return Err(Fail::usage("what to set? give e.g. --memory 512M, or take back by --unset memory"));
        }
        Ok(patch)
    }
}

/// What holds, one fact a room; what comes from the project says so.
pub(super) fn facts(own: &Settings, holds: &Settings) -> Vec<(&'static str, String)> {
    let (own, all) = (json!(own), json!(holds));
    let mut limits = Vec::new();
    let mut rest = Vec::new();
    for (name, path) in PLACES {
        let Some(value) = find(&all, path) else { continue };
        let whose = if find(&own, path).is_some() { "" } else { " (project)" };
        let word = format!("{name} {}{whose}", shown(name, value));
        if path[0] == "limits" { limits.push(word) } else { rest.push(word) }
    }
    let mut facts = Vec::new();
    if !limits.is_empty() {
        facts.push(("limits", limits.join(", ")));
    }
    if !rest.is_empty() {
        facts.push(("settings", rest.join(", ")));
    }
    facts
}

fn shown(name: &str, value: &Value) -> String {
    let rate = |n: u64| format!("{}/s", print::bytes(n));
    match (name, value.as_u64()) {
        ("memory" | "memory-high" | "swap" | "disk", Some(n)) => print::bytes(n),
        ("io-read" | "io-write" | "network-in" | "network-out", Some(n)) => rate(n),
        ("sleep-after", Some(0)) => "never".into(),
        ("sleep-after", Some(n)) => print::span(std::time::Duration::from_secs(n)),
        _ => match value {
            Value::String(text) => text.clone(),
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("+"),
            other => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowl_api::settings::SleepMode;

    #[test]
    fn what_is_set_and_unset_becomes_one_patch() {
        let set = Given { memory: Some(Size(512 << 20)), sleep_after: Some(600), ..Given::default() };
        let change = Change { set, unset: vec!["pids".into(), "ksm".into()] };
        let expected =
            json!({ "limits": { "memory": 536_870_912, "pids": null }, "sleep": { "after": 600 }, "ksm": null });
        assert_eq!(change.patch().unwrap(), expected);
        let all = Change { set: Given::default(), unset: vec!["all".into()] };
        assert_eq!(all.patch().unwrap(), Value::Null);
    }

    #[test]
    fn nothing_and_contradictions_are_refused() {
        assert!(Change { set: Given::default(), unset: Vec::new() }.patch().is_err());
        let both = Given { pids: Some(100), ..Given::default() };
        assert!(Change { set: both, unset: vec!["pids".into()] }.patch().is_err());
        assert!(parse_unset("memory").is_ok() && parse_unset("nonsense").is_err());
    }

    #[test]
    fn every_option_reaches_a_setting_that_exists() {
        let set = Given {
            cpu: Some(1.5),
            cpu_weight: Some(10),
            cpu_set: Some("0".into()),
            memory: Some(Size(64 << 20)),
            memory_high: Some(Size(64 << 20)),
            swap: Some(Size(0)),
            pids: Some(100),
            disk: Some(Size(64 << 20)),
            io_weight: Some(10),
            io_read: Some(Size(1 << 20)),
            io_write: Some(Size(1 << 20)),
            network_in: Some(Size(1 << 20)),
            network_out: Some(Size(1 << 20)),
            sleep_after: Some(60),
            sleep_mode: Some("freeze".into()),
            sleep_cpu: Some(5.0),
            ksm: Some(true),
            devices: vec!["kvm".into()],
            max_snapshots: Some(9),
            undelete_hours: Some(0),
        };
        let patched = cowl_api::settings::patched(&Settings::default(), &set.patch().unwrap()).unwrap();
        assert_eq!(patched.sleep.mode, Some(SleepMode::Freeze));
        let text: Vec<String> = facts(&Settings::default(), &patched).into_iter().map(|(_, v)| v).collect();
        let text = text.join(", ");
        assert_eq!(text.matches("(project)").count(), PLACES.len(), "{text}");
        assert!(text.contains("network-out 1.0M/s (project)") && text.contains("sleep-after 1m"), "{text}");
    }

    #[test]
    fn times_are_read_with_units() {
        for (word, expected) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("never", 0)] {
            assert_eq!(seconds(word), Ok(expected), "{word}");
        }
        for bad in ["", "m", "1w", "-1", "1.5h", "99999999999999999999s", "é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
