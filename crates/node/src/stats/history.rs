//! What containers used: the last hour in steps of 30 s, and the last watched minute in seconds.
//!
//! Bounded: 120 and 60 points of 64 bytes for each running container, about 12 KiB at most.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::clock;
use cowl_api::ContainerId;
use cowl_api::stats::StatsPoint;

/// Between two points of the last hour.
pub const SLOW: Duration = Duration::from_secs(30);
/// Points of the last hour.
const SLOW_POINTS: usize = 120;
/// Points of the last watched minute.
const FAST_POINTS: usize = 60;
/// A tick a little early is still the next one.
const EARLY: Duration = Duration::from_millis(500);

/// One moment, small.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[allow(missing_docs)] // As in `StatsPoint`.
pub struct Point {
    pub at_ms: i64,
    pub cpu_percent: f32,
    pub tasks: u32,
    pub memory: u64,
    pub swap: u64,
    pub disk: Option<u64>,
    pub rx_bytes_per_s: u64,
    pub tx_bytes_per_s: u64,
}

impl Point {
    /// As the API shows it.
    pub fn shown(&self) -> StatsPoint {
        StatsPoint {
            at: clock::iso_ms(self.at_ms),
            cpu_percent: f64::from((self.cpu_percent * 100.0).round()) / 100.0,
            memory: self.memory,
            swap: self.swap,
            disk: self.disk,
            tasks: self.tasks.into(),
            rx_bytes_per_s: self.rx_bytes_per_s,
            tx_bytes_per_s: self.tx_bytes_per_s,
        }
    }
}

#[derive(Debug, Default)]
struct Track {
    slow: VecDeque<Point>,
    slow_at: Option<Instant>,
    fast: VecDeque<Point>,
    fast_at: Option<Instant>,
}

fn push(points: &mut VecDeque<Point>, point: Point, most: usize) {
    if points.len() == most {
        points.pop_front();
    }
    points.push_back(point);
}

/// The past of all containers.
#[derive(Debug, Default)]
pub struct History(HashMap<ContainerId, Track>);

impl History {
    /// Adds a point; `watched` ones are kept for a minute as well.
    pub fn add(&mut self, id: ContainerId, point: Point, watched: bool, now: Instant) {
        let track = self.0.entry(id).or_default();
        if track.slow_at.is_none_or(|at| now.duration_since(at) + EARLY >= SLOW) {
            push(&mut track.slow, point, SLOW_POINTS);
            track.slow_at = Some(now);
        }
        if watched {
            push(&mut track.fast, point, FAST_POINTS);
            track.fast_at = Some(now);
        } else if track.fast_at.is_some_and(|at| now.duration_since(at) > Duration::from_secs(60)) {
            (track.fast, track.fast_at) = (VecDeque::new(), None);
        }
    }

    /// Forgets containers that are gone, and what is older than an hour of those that do not run.
    pub fn keep(&mut self, exists: impl Fn(&ContainerId) -> bool, now: Instant) {
        let hour = SLOW * u32::try_from(SLOW_POINTS).unwrap_or(u32::MAX);
        self.0.retain(|id, track| exists(id) && track.slow_at.is_none_or(|at| now.duration_since(at) < hour));
    }

    /// Points of a container, oldest first; in seconds where `fast`.
    pub fn of(&self, id: &ContainerId, fast: bool) -> Vec<Point> {
        let Some(track) = self.0.get(id) else { return Vec::new() };
        if fast { &track.fast } else { &track.slow }.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_in_steps_of_thirty_seconds_however_often_one_looks() {
        let (mut history, id, begun) = (History::default(), ContainerId::generate(), Instant::now());
        for second in 0..4_000u64 {
            let point = Point { at_ms: second.cast_signed() * 1000, ..Point::default() };
            history.add(id, point, true, begun + Duration::from_secs(second));
        }
        let slow = history.of(&id, false);
        assert_eq!(slow.len(), 120);
        assert!(slow.windows(2).all(|two| two[1].at_ms - two[0].at_ms == 30_000));
        let fast = history.of(&id, true);
        assert_eq!((fast.len(), fast[59].at_ms), (60, 3_999_000));
    }

    #[test]
    fn seconds_are_forgotten_when_nobody_watches_and_everything_with_the_container() {
        let (mut history, id, begun) = (History::default(), ContainerId::generate(), Instant::now());
        history.add(id, Point::default(), true, begun);
        history.add(id, Point::default(), false, begun + Duration::from_secs(90));
        assert_eq!((history.of(&id, true).len(), history.of(&id, false).len()), (0, 2));
        history.keep(|_| true, begun + Duration::from_secs(4000));
        assert!(history.of(&id, false).is_empty());
    }
}
