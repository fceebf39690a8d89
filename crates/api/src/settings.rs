//! What a person may set for a container, or for all containers of a project: limits, sleep, memory
//! merging, devices.
//!
//! Settings are kept as they were given: what is absent falls through to the project's, then to the
//! defaults ([`Settings::over`]). A change is a JSON merge patch (RFC 7386): objects are merged,
//! `null` takes a value back. [`patched`] applies one and checks the outcome.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::envelope::FieldError;

/// Largest size in bytes or bytes per second: what fits a signed 64-bit number of the kernel.
const SIZE_MAX: u64 = i64::MAX as u64;
/// Least memory limit, in bytes: systemd itself needs about half of it.
pub const MEMORY_MIN: u64 = 32 << 20;
/// Least limit of tasks: systemd, the kit and a shell need about a third of it.
pub const PIDS_MIN: u32 = 64;
/// Least disk limit, in bytes.
pub const DISK_MIN: u64 = 16 << 20;
/// Longest time that a deleted container is kept, in hours.
pub const UNDELETE_HOURS_MAX: u32 = 8_760;
/// Shortest time without use before sleep, in seconds.
pub const SLEEP_MIN: u64 = 5;

/// A size in bytes; on the wire a number, or text like `512M` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const WANTED: &str = "expected a size like 1048576, 512M or 1.5G";
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim().trim_end_matches(['B', 'b']).trim_end_matches('i').to_ascii_uppercase().as_str() {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            "P" => 50,
            _ => return Err(WANTED.into()),
        };
        let bytes = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(1 << shift),
            Err(_) => {
                let exact = number.parse::<f64>().map_err(|_| WANTED)? * (1u64 << shift) as f64;
                (exact < SIZE_MAX as f64).then_some(exact as u64)
            }
        };
        bytes.filter(|b| *b <= SIZE_MAX).map(Self).ok_or_else(|| "is too large".into())
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let written = Written::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("expected a size like 1048576, 512M or 1.5G"))?;
        match written {
            Written::Number(bytes) if bytes <= SIZE_MAX => Ok(Self(bytes)),
            Written::Number(_) => Err(serde::de::Error::custom("is too large")),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// What a container may use. Absent means unlimited, or the default that is named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Cores it may use at once, e.g. 1.5; 0.01–4096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Its share of busy cores beside others, 1–10000; 100 is what all have by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// The cores it may run on, e.g. `0-1,3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_set: Option<String>,
    /// Bytes of memory it may use before something of it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Bytes of memory beyond which it is slowed down and reclaimed from; cgroup v2 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_high: Option<Size>,
    /// Bytes it may have swapped out; 0 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Bytes its own changes may take on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
    /// Bytes its `/ramdisk` may hold, from its next start on; 512 MiB by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<Size>,
    /// Its share of a busy disk, 1–10000; 100 is what all have by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u32>,
    /// Bytes per second it may read from disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_read: Option<Size>,
    /// Bytes per second it may write to disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_write: Option<Size>,
    /// Bytes per second it may receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_in: Option<Size>,
    /// Bytes per second it may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_out: Option<Size>,
}

/// How a container sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SleepMode {
    /// Halted: costs disk only, wakes by a boot.
    Stop,
    /// Frozen, its memory reclaimed as far as swap allows: wakes at once with everything as it was.
    Freeze,
}

/// When a container that nobody uses falls asleep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sleep {
    /// Seconds without a request, an attached terminal, an open connection or CPU above `cpu`; 0 is
    /// never, as is absence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// `stop` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<SleepMode>,
    /// Percent of one core that still counts as idle; 2 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
}

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What it may use.
    pub limits: Limits,
    /// When it falls asleep.
    pub sleep: Sleep,
    /// Whether its equal memory pages are merged with those of others that ask for it (KSM). Off by
    /// default: it saves little and lets neighbours learn about each other by timing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ksm: Option<bool>,
    /// Host devices it may use, by word: `fuse`, `tun` (both granted by default), `kvm`, `gpu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<String>>,
    /// How many snapshots a container may have, 1–100000, those before restores apart. Unlimited by
    /// default. Beyond it a new one is refused with 409; none is removed for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_snapshots: Option<u32>,
    /// Hours that a deleted container can be had back, 0–8760; 0 deletes at once. What the node was
    /// told by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undelete_hours: Option<u32>,
}

impl Settings {
    /// These settings where they say something, `base` where they do not.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        let mut merged = to_value(base);
        merge(&mut merged, &to_value(self));
        // Both halves were settings, so is their union.
        serde_json::from_value(merged).unwrap_or_default()
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn to_value(settings: &Settings) -> Value {
    serde_json::to_value(settings).unwrap_or_default()
}

/// Applies a merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The settings of something new.
///
/// # Errors
/// As [`patched`].
pub fn given(settings: Option<&Value>) -> Result<Settings, FieldError> {
    settings.map_or_else(|| Ok(Settings::default()), |given| patched(&Settings::default(), given))
}

/// The settings after a merge patch; `null` as a whole takes all back.
///
/// # Errors
/// Names the field (below `/settings`) that is unknown, of a wrong type or out of range.
pub fn patched(now: &Settings, patch: &Value) -> Result<Settings, FieldError> {
    let mut value = to_value(now);
    if patch.is_null() {
        value = to_value(&Settings::default());
    } else if patch.is_object() {
        merge(&mut value, patch);
    } else {
        return Err(FieldError::new("/settings", "must be an object"));
    }
    let settings: Settings = serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string().replace('.', "/");
        FieldError::new(format!("/settings/{path}"), e.inner().to_string())
    })?;
    check(&settings)?;
    Ok(settings)
}

fn check(settings: &Settings) -> Result<(), FieldError> {
    let l = &settings.limits;
    let wrong = |field: &str, says: String| Err(FieldError::new(format!("/settings/{field}"), says));
    let least = |field: &str, value: Option<Size>, min: u64| match value {
        Some(Size(bytes)) if bytes < min => wrong(field, format!("must be at least {min} bytes")),
        _ => Ok(()),
    };
    if l.cpu.is_some_and(|cores| !(0.01..=4096.0).contains(&cores)) {
        return wrong("limits/cpu", "must be from 0.01 to 4096 cores".into());
    }
    for (field, weight) in [("limits/cpu_weight", l.cpu_weight), ("limits/io_weight", l.io_weight)] {
        if weight.is_some_and(|w| !(1..=10_000).contains(&w)) {
            return wrong(field, "must be from 1 to 10000".into());
        }
    }
    if let Some(Err(says)) = l.cpu_set.as_deref().map(cores) {
        return wrong("limits/cpu_set", says);
    }
    least("limits/memory", l.memory, MEMORY_MIN)?;
    least("limits/memory_high", l.memory_high, MEMORY_MIN)?;
    least("limits/disk", l.disk, DISK_MIN)?;
    least("limits/ramdisk", l.ramdisk, 1 << 20)?;
    for (field, rate) in [
        ("limits/io_read", l.io_read),
        ("limits/io_write", l.io_write),
        ("limits/network_in", l.network_in),
        ("limits/network_out", l.network_out),
    ] {
        least(field, rate, 4096)?;
    }
    if l.pids.is_some_and(|n| !(PIDS_MIN..=4_194_304).contains(&n)) {
        return wrong("limits/pids", format!("must be from {PIDS_MIN} to 4194304"));
    }
    if settings.sleep.after.is_some_and(|s| s != 0 && !(SLEEP_MIN..=31_536_000).contains(&s)) {
        return wrong("sleep/after", format!("must be 0 for never, or from {SLEEP_MIN} to 31536000 seconds"));
    }
    if settings.sleep.cpu.is_some_and(|percent| !(0.0..=100_000.0).contains(&percent)) {
        return wrong("sleep/cpu", "must be a percentage of one core".into());
    }
    if settings.max_snapshots.is_some_and(|n| !(1..=100_000).contains(&n)) {
        return wrong("max_snapshots", "must be from 1 to 100000".into());
    }
    if settings.undelete_hours.is_some_and(|hours| hours > UNDELETE_HOURS_MAX) {
        return wrong("undelete_hours", format!("must be from 0 to {UNDELETE_HOURS_MAX}"));
    }
    const DEVICES: [&str; 4] = ["fuse", "tun", "kvm", "gpu"];
    for (i, device) in settings.devices.iter().flatten().enumerate() {
        if !DEVICES.contains(&device.as_str()) {
            return wrong(&format!("devices/{i}"), format!("must be one of {}", DEVICES.join(", ")));
        }
    }
    Ok(())
}

/// Parses a list of cores like `0-1,3`.
///
/// # Errors
/// One sentence.
pub fn cores(text: &str) -> Result<Vec<u32>, String> {
    const WANTED: &str = "expected cores like 0-1,3";
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |word: &str| word.parse::<u32>().ok().filter(|n| *n < 8192).ok_or(WANTED);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(WANTED.into());
        }
        all.extend(first..=last);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refused(patch: Value) -> String {
        patched(&Settings::default(), &patch).unwrap_err().instance_path
    }

    #[test]
    fn a_patch_changes_only_what_it_names_and_null_takes_back() {
        let one = patched(&Settings::default(), &json!({ "limits": { "memory": "512M", "pids": 200 } })).unwrap();
        assert_eq!(one.limits.memory, Some(Size(512 << 20)));
        let two = patched(&one, &json!({ "limits": { "pids": null }, "sleep": { "after": 60 } })).unwrap();
        assert_eq!((two.limits.memory, two.limits.pids, two.sleep.after), (Some(Size(512 << 20)), None, Some(60)));
        assert!(patched(&two, &Value::Null).unwrap().is_empty());
    }

    #[test]
    fn a_container_falls_back_on_its_project() {
        let project =
            patched(&Settings::default(), &json!({ "limits": { "cpu": 2, "pids": 500 }, "ksm": true })).unwrap();
        let own = patched(&Settings::default(), &json!({ "limits": { "cpu": 0.5 }, "ksm": false })).unwrap();
        let both = own.over(&project);
        assert_eq!((both.limits.cpu, both.limits.pids, both.ksm), (Some(0.5), Some(500), Some(false)));
        assert_eq!(Settings::default().over(&project), project);
    }

    #[test]
    fn wrong_fields_are_named() {
        for (patch, path) in [
            (json!(7), "/settings"),
            (json!({ "limits": { "memory": "lots" } }), "/settings/limits/memory"),
            (json!({ "limits": { "memory": 5 } }), "/settings/limits/memory"),
            (json!({ "limits": { "cpu": 0 } }), "/settings/limits/cpu"),
            (json!({ "limits": { "cpu_set": "3-1" } }), "/settings/limits/cpu_set"),
            (json!({ "limits": { "cpu_weight": 0 } }), "/settings/limits/cpu_weight"),
            (json!({ "limits": { "pids": 1 } }), "/settings/limits/pids"),
            (json!({ "limits": { "nonsense": 1 } }), "/settings/limits/nonsense"),
            (json!({ "sleep": { "after": 1 } }), "/settings/sleep/after"),
            (json!({ "sleep": { "mode": "hibernate" } }), "/settings/sleep/mode"),
            (json!({ "devices": ["kvm", "sda"] }), "/settings/devices/1"),
            (json!({ "ksm": "yes" }), "/settings/ksm"),
            (json!({ "max_snapshots": 0 }), "/settings/max_snapshots"),
            (json!({ "undelete_hours": 8761 }), "/settings/undelete_hours"),
            (json!({ "undelete_hours": -1 }), "/settings/undelete_hours"),
        ] {
            assert_eq!(refused(patch.clone()), path, "{patch}");
        }
    }

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [("0", 0), ("512", 512), ("1K", 1024), ("1.5GiB", 3 << 29), ("2 MB", 2 << 20)] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "M", "-1", "1X", "9999999P", "1e3", "nan"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_a_patch_gives_survives_being_kept(hundredths in proptest::option::of(1u32..6400), pids in proptest::option::of(64u32..1000), after in 5u64..100) {
            let cpu = hundredths.map(|h| f64::from(h) / 100.0);
            let patch = json!({ "limits": { "cpu": cpu, "pids": pids }, "sleep": { "after": after, "mode": "freeze" } });
            let settings = patched(&Settings::default(), &patch).unwrap();
            let kept: Settings = serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
            prop_assert_eq!(kept, settings);
        }

        #[test]
        fn no_text_makes_sizes_or_cores_panic(text in ".{0,24}") {
            let _ = text.parse::<Size>();
            let _ = cores(&text);
        }
    }
}
