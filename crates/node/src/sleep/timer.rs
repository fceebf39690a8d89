//! `OnCalendar=` of timer units, as systemd.time(7) defines it. What is wrong is passed over.

use jiff::tz::TimeZone;

use crate::calendar::crontab::{WEEKDAYS, plain};
use crate::calendar::{Calendar, range};

/// Lines of one unit that are looked at.
const LINES: usize = 64;

/// When a timer unit elapses by the calendar; other triggers have no moment that is known from outside.
pub(super) fn parse(unit: &str) -> Vec<Calendar> {
    let mut found = Vec::new();
    let mut in_timer = false;
    for line in unit.lines().map(str::trim) {
        if line.starts_with('[') {
            in_timer = line == "[Timer]";
        }
        let Some(("OnCalendar", value)) = line.split_once('=').map(|(k, v)| (k.trim_end(), v.trim())) else { continue };
        if !in_timer || found.len() >= LINES {
            continue;
        }
        // An empty assignment takes all before it back.
        match value {
            "" => found.clear(),
            value => found.extend(expression(value)),
        }
    }
    found
}

/// `Mon..Fri 2026-*-1,15 08:00:00 Europe/Berlin`; every part but one may be left out.
fn expression(text: &str) -> Option<Calendar> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let zone = match words.last() {
        Some(&"UTC") => Some(TimeZone::UTC),
        Some(last) if last.contains('/') && last.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Some(TimeZone::get(last).ok()?)
        }
        _ => None,
    };
    if zone.is_some() {
        words.pop();
    }
    let short = match words[..] {
        [word] => shorthand(word),
        _ => None,
    };
    let calendar = short.or_else(|| written_out(&words))?;
    Some(Calendar { zone, ..calendar })
}

fn shorthand(word: &str) -> Option<Calendar> {
    let of_months = |months| Calendar { days: 1 << 1, months, ..Calendar::daily() };
    Some(match word {
        "minutely" => Calendar { seconds: 1, ..Calendar::always() },
        "hourly" => Calendar { seconds: 1, minutes: 1, ..Calendar::always() },
        "daily" => Calendar::daily(),
        "weekly" => Calendar { weekdays: 1 << 1, ..Calendar::daily() },
        "monthly" => of_months(range(1, 12, 1)),
        "quarterly" => of_months(range(1, 12, 3)),
        "semiannually" => of_months(range(1, 12, 6)),
        "yearly" | "annually" => of_months(1 << 1),
        _ => return None,
    })
}

/// Weekdays, date and time, of which there is at least one.
fn written_out(words: &[&str]) -> Option<Calendar> {
    if words.is_empty() {
        return None;
    }
    let mut calendar = Calendar::daily();
    let mut words = words.iter().copied().peekable();
    if let Some(days) = words.next_if(|w| w.starts_with(|c: char| c.is_ascii_alphabetic())) {
        calendar.weekdays = weekdays(days)?;
    }
    if let Some(date) = words.next_if(|w| !w.contains(':')) {
        set_date(&mut calendar, date)?;
    }
    if let Some(time) = words.next() {
        set_time(&mut calendar, time)?;
    }
    words.next().is_none().then_some(calendar)
}

fn weekdays(text: &str) -> Option<u64> {
    let day = |word: &str| {
        let word = word.to_ascii_lowercase();
        // Names are `Mon` or `Monday`.
        let full = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
        let n = WEEKDAYS.iter().zip(full).position(|(short, full)| word == *short || word == full)?;
        u32::try_from(n).ok()
    };
    let mut set = 0;
    for part in text.trim_end_matches(',').split(',') {
        let (first, last) = part.split_once("..").or_else(|| part.split_once('-')).unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // The week begins on Monday: `Sat..Sun` is two days.
        let length = (last + 7 - first) % 7;
        set |= (0..=length).fold(0, |set, n| set | 1u64 << ((first + n) % 7));
    }
    Some(set)
}

/// `[YEAR-]MONTH-DAY`; `~` in front of the day counts from the month's end.
fn set_date(calendar: &mut Calendar, text: &str) -> Option<()> {
    let (front, day, from_end) = match (text.rsplit_once('~'), text.rsplit_once('-')) {
        (Some((front, day)), _) => (front, day, true),
        (None, Some((front, day))) => (front, day, false),
        (None, None) => return None,
    };
    let (year, month) = match front.split_once('-') {
        Some((year, month)) => (Some(year), month),
        None => (None, front),
    };
    calendar.months = component(month, 1, 12)?;
    let days = component(day, 1, 31)?;
    (calendar.days, calendar.days_from_end) = if from_end { (0, days) } else { (days, 0) };
    if let Some(year) = year {
        calendar.years = years(year)?;
    }
    Some(())
}

fn set_time(calendar: &mut Calendar, text: &str) -> Option<()> {
    let mut parts = text.split(':');
    calendar.hours = component(parts.next()?, 0, 23)?;
    calendar.minutes = component(parts.next()?, 0, 59)?;
    calendar.seconds = match parts.next() {
        // Fractions are rounded down: too early by less than a second.
        Some(seconds) => component(seconds.split_once('.').map_or(seconds, |(whole, _)| whole), 0, 59)?,
        None => 1,
    };
    parts.next().is_none().then_some(())
}

/// `*`, `5`, `5/10`, `1..9`, `1..9/2`, and lists of these.
fn spans(text: &str, least: u32, most: u32) -> Option<Vec<(u32, u32, u32)>> {
    let mut found = Vec::new();
    for part in text.split(',') {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, Some(plain(step).filter(|n| *n > 0)?)),
            None => (part, None),
        };
        let (first, last) = match (span, span.split_once(".."), step) {
            ("*", ..) => (least, most),
            (_, Some((first, last)), _) => (plain(first)?, plain(last)?),
            (_, None, Some(_)) => (plain(span)?, most),
            (_, None, None) => (plain(span)?, plain(span)?),
        };
        if first < least || last > most || first > last {
            return None;
        }
        found.push((first, last, step.unwrap_or(1)));
    }
    Some(found)
}

fn component(text: &str, least: u32, most: u32) -> Option<u64> {
    let spans = spans(text, least, most)?;
    Some(spans.into_iter().fold(0, |set, (first, last, step)| set | range(first, last, step)))
}

fn years(text: &str) -> Option<Vec<(i16, i16, i16)>> {
    if text == "*" {
        return Some(Vec::new());
    }
    let year = |n: u32| i16::try_from(n).ok();
    spans(text, 1970, 2200)?.into_iter().map(|(a, b, s)| Some((year(a)?, year(b)?, year(s)?))).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn next(text: &str, after: &str) -> Option<String> {
        let after: Timestamp = after.parse().unwrap();
        expression(text)?.next(after, &TimeZone::UTC).map(|t| t.to_string())
    }

    #[test]
    fn expressions_mean_what_systemd_analyze_calendar_says() {
        // A Monday.
        let now = "2026-11-23T10:07:30Z";
        for (text, due) in [
            ("minutely", "2026-11-23T10:08:00Z"),
            ("hourly", "2026-11-23T11:00:00Z"),
            ("daily", "2026-11-24T00:00:00Z"),
            ("weekly", "2026-11-30T00:00:00Z"),
            ("monthly", "2026-12-01T00:00:00Z"),
            ("quarterly", "2027-01-01T00:00:00Z"),
            ("yearly", "2027-01-01T00:00:00Z"),
            ("*-*-* 6,18:00", "2026-11-23T18:00:00Z"),
            ("*:0/15", "2026-11-23T10:15:00Z"),
            ("Mon..Fri 22:30", "2026-11-23T22:30:00Z"),
            ("Sat,Sun 20:00", "2026-11-28T20:00:00Z"),
            ("Sat..Mon", "2026-11-28T00:00:00Z"),
            ("Thu,Fri 2027-*-1,5 11:12:13", "2027-01-01T11:12:13Z"),
            ("2027-02-01", "2027-02-01T00:00:00Z"),
            ("*-02~01", "2027-02-28T00:00:00Z"),
            ("10-31 12:00", "2027-10-31T12:00:00Z"),
            ("*:*:0/20", "2026-11-23T10:07:40Z"),
            ("2026-11-23 11:00:00 UTC", "2026-11-23T11:00:00Z"),
            ("*-*-* 13:00:00 Europe/Berlin", "2026-11-23T12:00:00Z"),
            ("*-*-* 11:00:00.5", "2026-11-23T11:00:00Z"),
        ] {
            assert_eq!(next(text, now).as_deref(), Some(due), "{text}");
        }
        assert_eq!(next("2020-01-01", now), None);
    }

    #[test]
    fn what_is_no_expression_is_passed_over() {
        for text in ["", "nonsense", "25:00", "*-13-1", "Xyz 10:00", "10:00 11:00", "1:2:3:4", "*:*/0", "@5", "-"] {
            assert!(expression(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_the_calendar_of_the_timer_section_counts() {
        let unit =
            "[Unit]\nOnCalendar=daily\n[Timer]\nOnBootSec=5\nOnCalendar=hourly\nOnCalendar=\n OnCalendar = Mon 1:00 \n";
        let found = parse(unit);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].weekdays, found[0].hours), (1 << 1, 1 << 1));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,120}", words in "([0-9*/,.:~A-Za-z-]{1,9} ?){1,4}") {
            for text in [text, words] {
                if let Some(calendar) = expression(&text) {
                    let _ = calendar.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC);
                }
                let _ = parse(&format!("[Timer]\nOnCalendar={text}"));
            }
        }
    }
}
