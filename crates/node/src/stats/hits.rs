//! Containers that run into their limits, told as events: soon, by name where the kernel gives it,
//! and not more often than a person can read.
//!
//! Two sources count the same kills. The kernel's log names the process at once, but says no more
//! than ten times in five seconds; the groups' counters miss nothing and name nobody. A kill that
//! the counters know is told without a name only when the log has not named it by the next sample.
//!
//! A container can run into a limit all day. Of each kind one event is told per [`gap`]; what
//! happens in between is added up in the next.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use cowl_api::ContainerId;
use cowl_engine::stats::Usage;

/// Share of a disk quota that counts as having run into it: writes are refused a little earlier.
const DISK_FULL: f64 = 0.98;

/// What was run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// A process was killed for want of memory.
    Oom,
    /// `pids`: a fork was refused.
    Pids,
    /// `memory`: an allocation had to reclaim first.
    Memory,
    /// `memory_high`: it was slowed down.
    MemoryHigh,
    /// `disk`: its quota is used up.
    Disk,
}

/// Least time between two events of a kind about a container.
fn gap(limit: Limit) -> Duration {
    Duration::from_secs(if limit == Limit::Oom { 10 } else { 600 })
}

/// An event to tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Which container.
    pub id: ContainerId,
    /// What it ran into.
    pub limit: Limit,
    /// How often since the last event of the kind.
    pub times: u64,
    /// The process it cost, where the kernel named one: name and id on the host.
    pub process: Option<(String, u32)>,
}

impl Hit {
    /// The event's type.
    pub fn event_type(&self) -> &'static str {
        if self.limit == Limit::Oom { "container.oom" } else { "container.limit_hit" }
    }

    /// The event's `data`.
    pub fn data(&self) -> Value {
        let limit = match self.limit {
            Limit::Oom | Limit::Memory => "memory",
            Limit::Pids => "pids",
            Limit::MemoryHigh => "memory_high",
            Limit::Disk => "disk",
        };
        match &self.process {
            Some((name, pid)) => json!({ "limit": limit, "times": self.times, "process": name, "host_pid": pid }),
            None => json!({ "limit": limit, "times": self.times }),
        }
    }
}

#[derive(Debug)]
struct Told {
    at: Instant,
    held: u64,
    process: Option<(String, u32)>,
}

/// Decides what is told when.
#[derive(Debug, Default)]
pub struct Hits {
    before: HashMap<ContainerId, Usage>,
    /// Kills that counters know and the log has not named; negative when the log was first.
    unnamed: HashMap<ContainerId, i64>,
    told: HashMap<(ContainerId, Limit), Told>,
    begun: bool,
}

impl Hits {
    /// The kernel's log named a process that was killed.
    pub fn killed(&mut self, id: ContainerId, process: String, pid: u32, now: Instant) -> Option<Hit> {
        *self.unnamed.entry(id).or_default() -= 1;
        self.hit(id, Limit::Oom, 1, Some((process, pid)), now)
    }

    /// The kernel's log told of a fork that was refused. It does so once a boot, before the counters
    /// are read.
    pub fn refused_fork(&mut self, id: ContainerId, now: Instant) -> Option<Hit> {
        self.hit(id, Limit::Pids, 1, None, now)
    }

    /// Compares fresh counters of all running containers with those before.
    pub fn compare(&mut self, fresh: &[(ContainerId, Usage)], now: Instant) -> Vec<Hit> {
        let mut hits = Vec::new();
        let first = !std::mem::replace(&mut self.begun, true);
        let before = std::mem::take(&mut self.before);
        for (id, usage) in fresh {
            // What happened before the node came has been told; a container that is new, or was
            // started again, counts from zero.
            let then = match before.get(id) {
                Some(then) if then.cpu_usec <= usage.cpu_usec => *then,
                None if first => *usage,
                _ => Usage { disk: before.get(id).and_then(|u| u.disk), ..Usage::default() },
            };
            self.before.insert(*id, *usage);
            hits.extend(self.compare_one(*id, &then, usage, now));
        }
        self.unnamed.retain(|id, _| self.before.contains_key(id));
        hits.extend(self.due(now));
        hits
    }

    fn compare_one(&mut self, id: ContainerId, then: &Usage, usage: &Usage, now: Instant) -> Vec<Hit> {
        let mut hits = Vec::new();
        let owed = self.unnamed.entry(id).or_default();
        let late = u64::try_from(*owed).unwrap_or(0);
        *owed -= late.cast_signed();
        *owed += usage.hits.oom_kills.saturating_sub(then.hits.oom_kills).cast_signed();
        hits.extend(self.hit(id, Limit::Oom, late, None, now));
        for (limit, was, is) in [
            (Limit::Pids, then.hits.pids, usage.hits.pids),
            (Limit::Memory, then.hits.memory, usage.hits.memory),
            (Limit::MemoryHigh, then.hits.memory_high, usage.hits.memory_high),
        ] {
            hits.extend(self.hit(id, limit, is.saturating_sub(was), None, now));
        }
        let full = |usage: &Usage| match (usage.disk, usage.disk_limit) {
            (Some(used), Some(limit)) => used as f64 >= limit as f64 * DISK_FULL,
            _ => false,
        };
        if full(usage) && !full(then) {
            hits.extend(self.hit(id, Limit::Disk, 1, None, now));
        }
        hits
    }

    fn hit(
        &mut self,
        id: ContainerId,
        limit: Limit,
        times: u64,
        process: Option<(String, u32)>,
        now: Instant,
    ) -> Option<Hit> {
        if times == 0 {
            return None;
        }
        match self.told.get_mut(&(id, limit)) {
            Some(told) if now.duration_since(told.at) < gap(limit) => {
                told.held += times;
                told.process = process.or(told.process.take());
                None
            }
            _ => {
                let held = self.told.insert((id, limit), Told { at: now, held: 0, process: None });
                let times = times + held.map_or(0, |told| told.held);
                Some(Hit { id, limit, times, process })
            }
        }
    }

    /// What was held back long enough.
    fn due(&mut self, now: Instant) -> Vec<Hit> {
        let mut hits = Vec::new();
        self.told.retain(|(id, limit), told| {
            if now.duration_since(told.at) < gap(*limit) {
                return true;
            }
            if told.held == 0 {
                return false;
            }
            let times = std::mem::take(&mut told.held);
            hits.push(Hit { id: *id, limit: *limit, times, process: told.process.take() });
            told.at = now;
            true
        });
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowl_engine::stats::Hits as Counters;

    fn kills(n: u64) -> Usage {
        Usage { cpu_usec: 10, hits: Counters { oom_kills: n, ..Counters::default() }, ..Usage::default() }
    }

    fn later(begun: Instant, seconds: u64) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    #[test]
    fn a_kill_that_the_log_named_is_told_once() {
        for log_first in [true, false] {
            let (mut hits, id, t) = (Hits::default(), ContainerId::generate(), Instant::now());
            assert_eq!(hits.compare(&[(id, kills(0))], t), []);
            let mut told = Vec::new();
            if log_first {
                told.extend(hits.killed(id, "sh".into(), 7, later(t, 1)));
            }
            told.extend(hits.compare(&[(id, kills(1))], later(t, 2)));
            if !log_first {
                told.extend(hits.killed(id, "sh".into(), 7, later(t, 3)));
            }
            told.extend(hits.compare(&[(id, kills(1))], later(t, 60)));
            told.extend(hits.compare(&[(id, kills(1))], later(t, 90)));
            let expected = Hit { id, limit: Limit::Oom, times: 1, process: Some(("sh".into(), 7)) };
            assert_eq!(told, [expected], "log first: {log_first}");
        }
    }

    #[test]
    fn kills_that_nobody_named_are_told_by_number() {
        let (mut hits, id, t) = (Hits::default(), ContainerId::generate(), Instant::now());
        hits.compare(&[], t);
        assert_eq!(hits.compare(&[(id, kills(3))], later(t, 30)), []);
        let told = hits.compare(&[(id, kills(3))], later(t, 60));
        assert_eq!(told, [Hit { id, limit: Limit::Oom, times: 3, process: None }]);
        assert_eq!(told[0].data(), json!({ "limit": "memory", "times": 3 }));
    }

    #[test]
    fn what_was_before_the_node_is_not_told_again() {
        let (mut hits, id, t) = (Hits::default(), ContainerId::generate(), Instant::now());
        for n in 0..4 {
            assert_eq!(hits.compare(&[(id, kills(5))], later(t, n * 30)), []);
        }
    }

    #[test]
    fn a_storm_is_a_few_events_that_lose_no_count() {
        let (mut hits, id, t) = (Hits::default(), ContainerId::generate(), Instant::now());
        hits.compare(&[(id, kills(0))], t);
        let mut told = Vec::new();
        for n in 0..1000 {
            told.extend(hits.killed(id, format!("p{n}"), 1, t + Duration::from_millis(n * 20)));
        }
        told.extend(hits.compare(&[(id, kills(1000))], later(t, 40)));
        assert!(told.len() <= 4, "{}", told.len());
        assert_eq!(told.iter().map(|h| h.times).sum::<u64>(), 1000);
        assert_eq!(told[0].process, Some(("p0".into(), 1)));
    }

    #[test]
    fn a_full_disk_is_told_when_it_becomes_full() {
        let (mut hits, id, t) = (Hits::default(), ContainerId::generate(), Instant::now());
        let disk = |used| Usage { cpu_usec: 1, disk: Some(used), disk_limit: Some(1000), ..Usage::default() };
        assert_eq!(hits.compare(&[(id, disk(100))], t), []);
        let told = hits.compare(&[(id, disk(990))], later(t, 30));
        assert_eq!(told.iter().map(|h| h.limit).collect::<Vec<_>>(), [Limit::Disk]);
        assert_eq!(hits.compare(&[(id, disk(995))], later(t, 60)), []);
    }
}
