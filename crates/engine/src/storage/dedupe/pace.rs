//! Keeping to a rate.

use std::time::{Duration, Instant};

/// Longest sleep before it is asked again whether to stop.
const NAP: Duration = Duration::from_millis(100);

/// Bytes a second, on average over any second or so; what was not used is not saved up.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u64,
    /// When what was paid for is due.
    due: Instant,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), due: Instant::now() }
    }

    /// Says that so many bytes were read, and waits until the next may be.
    pub(super) fn pay(&mut self, bytes: u64, stop: &dyn Fn() -> bool) {
        let now = Instant::now();
        self.due = self.due.max(now) + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        loop {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() || stop() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_bytes_takes_no_less_and_a_stop_ends_it() {
        let begun = Instant::now();
        let mut pace = Pace::new(1 << 20);
        for _ in 0..4 {
            pace.pay(1 << 16, &|| false);
        }
        assert!(begun.elapsed() >= Duration::from_millis(250));
        pace.pay(u64::from(u32::MAX), &|| true);
    }
}
