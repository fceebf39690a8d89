//! Recurring points in time, as crontab(5) and systemd.time(7) mean them: sets of seconds, minutes,
//! hours, days and so on in some time zone, and the search for the next one.

pub mod crontab;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How far ahead a point in time is looked for: 29 February may be eight years away.
const YEARS: i16 = 9;
/// Steps of one search at most: every day of those years, and then some.
const STEPS: u32 = 5_000;

/// Which days count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// Those on which both the day of the month and the weekday fit.
    Both,
    /// Those on which either fits, as cron has it when both are given.
    Either,
}

/// A recurring point in time. Bit `n` of a set stands for the number `n`.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    /// Seconds, 0–59.
    pub seconds: u64,
    /// Minutes, 0–59.
    pub minutes: u64,
    /// Hours, 0–23.
    pub hours: u64,
    /// Days of the month, 1–31.
    pub days: u64,
    /// Days counted from the month's end: bit 1 is its last day.
    pub days_from_end: u64,
    /// January is 1.
    pub months: u64,
    /// Sunday is 0.
    pub weekdays: u64,
    /// How days of the month and weekdays go together.
    pub which: Days,
    /// First, last and step; none is every year.
    pub years: Vec<(i16, i16, i16)>,
    /// Where the time is meant, if not in the machine's own zone.
    pub zone: Option<TimeZone>,
}

/// The numbers from `first` to `last`, each `step`-th.
pub fn range(first: u32, last: u32, step: u32) -> u64 {
    (first..=last.min(63)).step_by(step.max(1) as usize).fold(0, |set, n| set | 1 << n)
}

fn has(set: u64, n: i8) -> bool {
    u32::try_from(n).is_ok_and(|n| n < 64 && set >> n & 1 == 1)
}

impl Calendar {
    /// Every second of every day.
    pub fn always() -> Self {
        Self {
            seconds: range(0, 59, 1),
            minutes: range(0, 59, 1),
            hours: range(0, 23, 1),
            days: range(1, 31, 1),
            days_from_end: 0,
            months: range(1, 12, 1),
            weekdays: range(0, 6, 1),
            which: Days::Both,
            years: Vec::new(),
            zone: None,
        }
    }

    /// Midnight of every day.
    pub fn daily() -> Self {
        Self { seconds: 1, minutes: 1, hours: 1, ..Self::always() }
    }

    fn fits_year(&self, year: i16) -> bool {
        let within = |(first, last, step): &(i16, i16, i16)| {
            (*first..=*last).contains(&year) && (year - first) % (*step).max(1) == 0
        };
        self.years.is_empty() || self.years.iter().any(within)
    }

    fn fits_day(&self, date: Date) -> bool {
        let in_month = has(self.days, date.day()) || has(self.days_from_end, date.days_in_month() - date.day() + 1);
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let day = match self.which {
            Days::Both => in_month && weekday,
            Days::Either => in_month || weekday,
        };
        day && has(self.months, date.month()) && self.fits_year(date.year())
    }

    fn fits(&self, at: DateTime) -> bool {
        self.fits_day(at.date()) && has(self.hours, at.hour()) && has(self.minutes, at.minute())
    }

    /// The first such moment after `after`, in whole seconds; `zone` is the machine's. What a change
    /// to summer time skips counts as the moment of the change.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let zone = self.zone.as_ref().unwrap_or(zone);
        let mut at = later(Timestamp::from_second(after.as_second()).ok()?, 1)?;
        let mut local = zone.to_datetime(at);
        let last_year = local.year().saturating_add(YEARS);
        for _ in 0..STEPS {
            if local.year() > last_year {
                return None;
            }
            let next = self.step(at, local, zone)?;
            if next == at {
                return Some(at);
            }
            let then = zone.to_datetime(next);
            if self.skipped(local, then, next.as_second() - at.as_second()) {
                return Some(next);
            }
            (at, local) = (next, then);
        }
        None
    }

    /// `at` itself when it fits, else a later moment with nothing that fits in between. Steps within
    /// a day are of real time, so that an hour that comes twice is seen twice.
    fn step(&self, at: Timestamp, local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
        let (minute, second) = (i64::from(local.minute()), i64::from(local.second()));
        let date = local.date();
        if !has(self.months, date.month()) || !self.fits_year(date.year()) {
            midnight(date.last_of_month().tomorrow().ok()?, at, zone)
        } else if !self.fits_day(date) {
            midnight(date.tomorrow().ok()?, at, zone)
        } else if !has(self.hours, local.hour()) {
            later(at, 3600 - minute * 60 - second)
        } else if !has(self.minutes, local.minute()) {
            later(at, 60 - second)
        } else if !has(self.seconds, local.second()) {
            later(at, 1)
        } else {
            Some(at)
        }
    }

    /// Whether the clock jumped ahead at the end of a step, past a moment that fits.
    fn skipped(&self, from: DateTime, to: DateTime, seconds: i64) -> bool {
        let Ok(expected) = from.checked_add(SignedDuration::from_secs(seconds)) else { return false };
        let gap = to.duration_since(expected).as_secs();
        // No zone ever jumped further than a day.
        (1..=86_400).contains(&gap)
            && (0..gap / 60).any(|minute| {
                let unseen = expected.checked_add(SignedDuration::from_secs(minute * 60));
                unseen.is_ok_and(|unseen| self.fits(unseen))
            })
    }
}

fn later(at: Timestamp, seconds: i64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// The first moment of a day, which is not 0:00 everywhere; later than `at` in any case.
fn midnight(date: Date, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let begins = zone.to_ambiguous_timestamp(date.to_datetime(Time::midnight())).compatible().ok()?;
    Some(begins.max(later(at, 1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn at(hour: u32, minute: u32) -> Calendar {
        Calendar { seconds: 1, minutes: 1 << minute, hours: 1 << hour, ..Calendar::always() }
    }

    #[test]
    fn the_next_moment_is_found_in_the_zone_of_the_machine() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let daily = at(6, 25);
        assert_eq!(daily.next(ts("2026-11-23T00:00:00Z"), &TimeZone::UTC), Some(ts("2026-11-23T06:25:00Z")));
        assert_eq!(daily.next(ts("2026-11-23T06:25:00Z"), &TimeZone::UTC), Some(ts("2026-11-24T06:25:00Z")));
        assert_eq!(daily.next(ts("2026-11-23T00:00:00Z"), &berlin), Some(ts("2026-11-23T05:25:00Z")));
        assert_eq!(daily.next(ts("2026-07-23T00:00:00Z"), &berlin), Some(ts("2026-07-23T04:25:00Z")));
    }

    #[test]
    fn rare_days_are_found_and_impossible_ones_are_not() {
        let leap = Calendar { days: 1 << 29, months: 1 << 2, ..at(0, 0) };
        assert_eq!(leap.next(ts("2097-01-01T00:00:00Z"), &TimeZone::UTC), Some(ts("2104-02-29T00:00:00Z")));
        let never = Calendar { days: 1 << 30, months: 1 << 2, ..at(0, 0) };
        assert_eq!(never.next(ts("2026-01-01T00:00:00Z"), &TimeZone::UTC), None);
        let last = Calendar { days: 0, days_from_end: 1 << 1, months: 1 << 2, ..at(0, 0) };
        assert_eq!(last.next(ts("2027-01-01T00:00:00Z"), &TimeZone::UTC), Some(ts("2027-02-28T00:00:00Z")));
        let past = Calendar { years: vec![(2020, 2025, 1)], ..at(0, 0) };
        assert_eq!(past.next(ts("2026-01-01T00:00:00Z"), &TimeZone::UTC), None);
    }

    #[test]
    fn summer_time_skips_no_job_and_winter_time_shows_an_hour_twice() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        // 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
        let next = at(2, 30).next(ts("2026-03-28T12:00:00Z"), &berlin).unwrap();
        assert!(next >= ts("2026-03-29T01:00:00Z") && next <= ts("2026-03-29T02:00:00Z"), "{next}");
        // 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
        let first = at(2, 30).next(ts("2026-10-24T12:00:00Z"), &berlin).unwrap();
        assert_eq!(first, ts("2026-10-25T00:30:00Z"));
        assert_eq!(at(2, 30).next(first, &berlin), Some(ts("2026-10-25T01:30:00Z")));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 64, failure_persistence: None, ..Default::default() })]
        #[test]
        fn the_search_finds_what_trying_every_minute_finds(
            minutes in 1u64..1 << 60, hours in 1u64..1 << 24, weekdays in 1u64..1 << 7,
            days in 1u64..1 << 31, either: bool, start in 1_767_000_000i64..1_800_000_000, far: bool,
        ) {
            let zone = TimeZone::get(if far { "America/St_Johns" } else { "UTC" }).unwrap();
            let which = if either { Days::Either } else { Days::Both };
            let calendar = Calendar { seconds: 1, minutes, hours, weekdays, days: days << 1, which, ..Calendar::always() };
            let start = Timestamp::from_second(start).unwrap();
            let found = calendar.next(start, &zone);
            let first_minute = start.as_second().div_euclid(60) + 1;
            let tried = (first_minute..first_minute + 3 * 24 * 60)
                .map(|m| Timestamp::from_second(m * 60).unwrap())
                .find(|t| calendar.fits(zone.to_datetime(*t)));
            match (found, tried) {
                (Some(found), Some(tried)) => proptest::prop_assert!(found <= tried && found > start, "{found} {tried}"),
                (found, Some(tried)) => proptest::prop_assert!(false, "{found:?} {tried}"),
                (_, None) => {}
            }
            // Outside of changes of the clock they are the same.
            if !far {
                let end = start.checked_add(SignedDuration::from_hours(70)).unwrap();
                proptest::prop_assert_eq!(found.filter(|t| *t < end), tried.filter(|t| *t < end));
            }
        }
    }
}
