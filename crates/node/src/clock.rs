//! Points in time as the API writes them: ISO 8601, UTC, milliseconds.
//!
//! The text form sorts like the time it means, so the database keeps it as it is.

use jiff::Timestamp;

/// A moment as `2026-05-04T13:15:02.123Z`.
pub fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Now, as [`iso`] writes it.
pub fn now() -> String {
    iso(Timestamp::now())
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Seconds since the epoch.
pub fn now_s() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

/// Milliseconds since the epoch, as [`iso`] writes it.
pub fn iso_ms(ms: i64) -> String {
    iso(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// `days` times 24 hours from now, as [`iso`] writes it.
pub fn in_days(days: u32) -> String {
    let hours = jiff::SignedDuration::from_hours(i64::from(days) * 24);
    iso(Timestamp::now().checked_add(hours).unwrap_or(Timestamp::MAX))
}

/// `2026-05-04-131502`, for names.
pub fn stamp() -> String {
    Timestamp::now().strftime("%Y-%m-%d-%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds_and_sort_as_text() {
        assert_eq!(iso_ms(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso_ms(1_777_900_502_007), "2026-05-04T13:15:02.007Z");
        assert!(iso_ms(999) < iso_ms(1000) && now() < in_days(1));
    }
}
