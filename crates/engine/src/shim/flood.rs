//! How much a container may make its shim do unasked: console output, notifications, reboots.
//!
//! Work done for a container in the shim is not charged to the container's cgroup, so each source
//! has a budget that refills with time. A source that has spent it is left alone: pipes and sockets
//! fill up and it is the sender who waits.

use std::time::{Duration, Instant};

/// A budget: `burst` units at once, then one per `every`.
#[derive(Debug, Clone)]
pub struct Budget {
    every: Duration,
    allowance: Duration,
    /// When all that was spent will have been refilled.
    whole_again: Instant,
}

impl Budget {
    /// A full one.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { every, allowance: every * burst, whole_again: Instant::now() }
    }

    /// Spends units, also more than there are: what was read was read.
    pub fn spend(&mut self, units: usize, now: Instant) {
        let cost = self.every.saturating_mul(units.try_into().unwrap_or(u32::MAX));
        self.whole_again = self.whole_again.max(now) + cost;
    }

    /// Spends one unit if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let there = self.rests_until(now).is_none();
        if there {
            self.spend(1, now);
        }
        there
    }

    /// Rests for a while, whatever there is to spend.
    pub fn pause(&mut self, length: Duration, now: Instant) {
        self.whole_again = self.whole_again.max(now + self.allowance + length);
    }

    /// When there is something to spend again; `None` when there is now.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        // One more unit must fit into the allowance.
        let debt = self.whole_again.max(now) + self.every;
        (debt > now + self.allowance).then(|| debt - self.allowance)
    }
}

/// The budgets of one container.
#[derive(Debug)]
pub struct Budgets {
    /// Bytes of console output: 1 MiB, then 4 MB a second.
    pub console: Budget,
    /// Datagrams on the notify socket: 500, then 500 a second.
    pub notify: Budget,
    /// Events told to the node because of them: 200, then 20 a second.
    pub events: Budget,
    /// Reboots: 10, then one in 30 s.
    pub reboots: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            console: Budget::new(1 << 20, Duration::from_nanos(250)),
            notify: Budget::new(500, Duration::from_millis(2)),
            events: Budget::new(200, Duration::from_millis(50)),
            reboots: Budget::new(10, Duration::from_secs(30)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_allows_its_burst_and_then_one_unit_per_interval() {
        let mut budget = Budget::new(10, Duration::from_secs(30));
        let start = Instant::now();
        assert_eq!((0..50).filter(|_| budget.take(start)).count(), 10);
        let later = start + Duration::from_secs(31);
        assert!(budget.take(later) && !budget.take(later));
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!((0..50).filter(|_| budget.take(much_later)).count(), 10);
    }

    #[test]
    fn a_spent_budget_says_when_it_has_something_again() {
        let mut budget = Budget::new(4, Duration::from_millis(10));
        let now = Instant::now();
        assert_eq!(budget.rests_until(now), None);
        budget.spend(6, now);
        let until = budget.rests_until(now).unwrap();
        assert!(until > now && until <= now + Duration::from_millis(40));
        assert_eq!(budget.rests_until(until), None);
        let mut full = Budget::new(4, Duration::from_millis(10));
        full.pause(Duration::from_secs(1), now);
        assert!(full.rests_until(now + Duration::from_millis(999)).is_some());
        assert_eq!(full.rests_until(now + Duration::from_millis(1_011)), None);
    }

    proptest::proptest! {
        #[test]
        fn no_more_is_taken_than_burst_and_refill(gaps in proptest::collection::vec(0u64..200, 1..200)) {
            let every = Duration::from_millis(50);
            let mut budget = Budget::new(5, every);
            let start = Instant::now();
            let (mut now, mut taken) = (start, 0u32);
            for gap in gaps {
                now += Duration::from_millis(gap);
                taken += u32::from(budget.take(now));
            }
            let refilled = (now - start).as_millis() / every.as_millis();
            proptest::prop_assert!(u128::from(taken) <= 5 + refilled + 1);
        }
    }
}
