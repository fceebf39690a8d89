//! Whether a running container is used. Pure: it is told what there is to see.

use std::time::{Duration, Instant};

use cowl_api::settings::Settings;

/// CPU that still counts as idle when nothing is said, in percent of one core.
const CPU: f64 = 2.0;
/// Shortest and longest time between two looks.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// When a container falls asleep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Policy {
    /// Without use for so long.
    pub after: Duration,
    /// Percent of one core that still counts as idle.
    pub cpu: f64,
}

impl Policy {
    /// What settings say; `None` for never.
    pub fn of(settings: &Settings) -> Option<Self> {
        let after = settings.sleep.after.filter(|seconds| *seconds > 0)?;
        Some(Self { after: Duration::from_secs(after), cpu: settings.sleep.cpu.unwrap_or(CPU) })
    }
}

/// What a look sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// When the last request or tunnel ended; `None` while there is one.
    pub idle_since: Option<Instant>,
    /// CPU time used so far, in microseconds; `None` when it cannot be told.
    pub cpu_usec: Option<u64>,
}

/// How long a container has not been used.
#[derive(Debug)]
pub(super) struct Idle {
    pub policy: Policy,
    /// When it was used last, as far as is known.
    quiet_since: Instant,
    sample: Option<(Instant, u64)>,
    /// When to look again.
    pub next: Instant,
}

impl Idle {
    /// A container that is used now; the first look is due at once.
    pub fn new(policy: Policy, now: Instant) -> Self {
        Self { policy, quiet_since: now, sample: None, next: now }
    }

    /// Counts as used until then.
    pub fn busy_until(&mut self, then: Instant) {
        self.quiet_since = self.quiet_since.max(then);
        self.next = self.next.max(then);
    }

    /// Takes a look; true when it should fall asleep.
    pub fn look(&mut self, now: Instant, sight: Sight) -> bool {
        let used = sight.idle_since.unwrap_or(now);
        self.quiet_since = self.quiet_since.max(used);
        // What cannot be told counts as use: nothing falls asleep by mistake.
        let quiet = match (sight.cpu_usec, self.sample) {
            (Some(usec), Some((at, before))) => {
                let wall = now.saturating_duration_since(at).as_secs_f64() * 1e6;
                wall > 0.0 && usec.saturating_sub(before) as f64 / wall * 100.0 <= self.policy.cpu
            }
            _ => false,
        };
        if !quiet {
            self.quiet_since = self.quiet_since.max(now);
        }
        self.sample = sight.cpu_usec.map(|usec| (now, usec));
        let due = self.quiet_since + self.policy.after;
        let step = (self.policy.after / 5).clamp(LOOKS.0, LOOKS.1);
        self.next = if due > now { due.min(now + step) } else { now + step };
        due <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> Policy {
        Policy { after: 10 * SECOND, cpu: 2.0 }
    }

    /// Looks whenever one is due, until it would fall asleep; `sight` is told the seconds.
    fn asleep_after(sight: impl Fn(u64, Instant) -> Sight) -> Option<u64> {
        let begin = Instant::now();
        let mut idle = Idle::new(policy(), begin);
        for _ in 0..200 {
            let now = idle.next;
            let seconds = now.duration_since(begin).as_secs();
            if idle.look(now, sight(seconds, begin)) {
                return Some(seconds);
            }
            assert!(idle.next > now && idle.next <= now + LOOKS.1);
        }
        None
    }

    #[test]
    fn it_falls_asleep_when_nothing_happens_for_long_enough() {
        let quiet = |_, begin| Sight { idle_since: Some(begin), cpu_usec: Some(7) };
        assert_eq!(asleep_after(quiet), Some(10));
    }

    #[test]
    fn a_request_puts_it_off_and_a_tunnel_for_ever() {
        let visited = |s: u64, begin: Instant| Sight {
            idle_since: Some(begin + SECOND * u32::try_from(s.min(7)).unwrap()),
            cpu_usec: Some(7),
        };
        assert_eq!(asleep_after(visited), Some(17));
        assert_eq!(asleep_after(|_, _| Sight { idle_since: None, cpu_usec: Some(7) }), None);
    }

    #[test]
    fn cpu_above_the_threshold_is_use_and_below_is_not() {
        let burns =
            |permille: u64| move |s: u64, begin| Sight { idle_since: Some(begin), cpu_usec: Some(s * permille * 1000) };
        assert_eq!(asleep_after(burns(30)), None);
        assert_eq!(asleep_after(burns(10)), Some(10));
        assert_eq!(asleep_after(|_, begin| Sight { idle_since: Some(begin), cpu_usec: None }), None);
    }

    #[test]
    fn a_due_entry_keeps_it_awake() {
        let begin = Instant::now();
        let mut idle = Idle::new(policy(), begin);
        idle.look(begin, Sight { idle_since: Some(begin), cpu_usec: Some(0) });
        idle.busy_until(begin + 30 * SECOND);
        assert!(!idle.look(begin + 30 * SECOND, Sight { idle_since: Some(begin), cpu_usec: Some(0) }));
        assert!(idle.look(begin + 40 * SECOND, Sight { idle_since: Some(begin), cpu_usec: Some(0) }));
    }

    #[test]
    fn settings_say_when_and_zero_is_never() {
        let settings = |patch| cowl_api::settings::patched(&Settings::default(), &patch).unwrap();
        assert_eq!(Policy::of(&Settings::default()), None);
        assert_eq!(Policy::of(&settings(serde_json::json!({ "sleep": { "after": 0 } }))), None);
        let some = Policy::of(&settings(serde_json::json!({ "sleep": { "after": 60, "cpu": 5 } })));
        assert_eq!(some, Some(Policy { after: 60 * SECOND, cpu: 5.0 }));
    }
}
