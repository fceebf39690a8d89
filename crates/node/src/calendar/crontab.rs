//! crontab(5) as Debian's cron reads it. What is wrong is passed over: it never runs inside, either.

use super::{Calendar, Days, range};

/// Entries of one file that are looked at.
const ENTRIES: usize = 256;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Names of the weekdays, Sunday first.
pub const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something runs, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it runs.
    pub when: Calendar,
    /// What runs.
    pub command: String,
}

/// The entries of a crontab; those of the system name a user before the command.
pub fn parse(text: &str, names_user: bool) -> Vec<Entry> {
    text.lines().filter_map(|line| entry(line, names_user)).take(ENTRIES).collect()
}

fn entry(line: &str, names_user: bool) -> Option<Entry> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (when, rest) = match line.strip_prefix('@') {
        Some(rest) => {
            let (word, rest) = rest.split_once(char::is_whitespace)?;
            (shorthand(word)?, rest)
        }
        None => fields(line)?,
    };
    let rest = rest.trim_start();
    let command = if names_user { rest.split_once(char::is_whitespace)?.1.trim_start() } else { rest };
    (!command.is_empty()).then(|| Entry { when, command: command.to_owned() })
}

/// When `0 3 * * *` or `@daily` is due; `None` for what is no such expression.
pub fn schedule(text: &str) -> Option<Calendar> {
    let text = text.trim();
    match text.strip_prefix('@') {
        Some(word) => shorthand(word),
        // A crontab's line has something behind the fields.
        None => fields(&format!("{text} ")).filter(|(_, rest)| rest.trim().is_empty()).map(|(when, _)| when),
    }
}

/// The five fields in front, and what follows them.
fn fields(line: &str) -> Option<(Calendar, &str)> {
    let mut rest = line;
    let mut words = [""; 5];
    for word in &mut words {
        (*word, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    }
    let [minutes, hours, days, months, weekdays] = words;
    // Sunday is 0 and 7.
    let week = field(weekdays, 0, 7, &WEEKDAYS)?;
    let given = |word: &str| !word.starts_with('*');
    Some((
        Calendar {
            seconds: 1,
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: field(days, 1, 31, &[])?,
            months: field(months, 1, 12, &MONTHS)?,
            weekdays: (week | week >> 7) & 0x7f,
            which: if given(days) && given(weekdays) { Days::Either } else { Days::Both },
            ..Calendar::always()
        },
        rest,
    ))
}

/// `*`, `5`, `mon-fri`, `*/15`, `1-9/2`, and lists of these.
fn field(text: &str, least: u32, most: u32, names: &[&str]) -> Option<u64> {
    let number = |word: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(word));
        let number = match named.and_then(|n| u32::try_from(n).ok()) {
            Some(n) => n + if names.len() == 12 { 1 } else { 0 },
            None => plain(word)?,
        };
        (least..=most).contains(&number).then_some(number)
    };
    let mut set = 0;
    for part in text.split(',') {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, Some(plain(step).filter(|n| *n > 0)?)),
            None => (part, None),
        };
        let (first, last) = match (span, span.split_once('-'), step) {
            ("*", ..) => (least, most),
            (_, Some((first, last)), _) => (number(first)?, number(last)?),
            (_, None, Some(_)) => (number(span)?, most),
            (_, None, None) => (number(span)?, number(span)?),
        };
        if first > last {
            return None;
        }
        set |= range(first, last, step.unwrap_or(1));
    }
    Some(set)
}

/// A decimal number without a sign.
pub fn plain(word: &str) -> Option<u32> {
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

fn shorthand(word: &str) -> Option<Calendar> {
    Some(match word {
        "hourly" => Calendar { seconds: 1, minutes: 1, ..Calendar::always() },
        "daily" | "midnight" => Calendar::daily(),
        "weekly" => Calendar { weekdays: 1, ..Calendar::daily() },
        "monthly" => Calendar { days: 1 << 1, ..Calendar::daily() },
        "yearly" | "annually" => Calendar { days: 1 << 1, months: 1 << 1, ..Calendar::daily() },
        // `reboot` is no point in time.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    fn next(line: &str, after: &str) -> Option<String> {
        let after: Timestamp = after.parse().unwrap();
        let entry = parse(line, false).pop()?;
        entry.when.next(after, &TimeZone::UTC).map(|t| t.to_string())
    }

    #[test]
    fn entries_mean_what_cron_takes_them_for() {
        // A Monday.
        let now = "2026-11-23T10:07:30Z";
        for (line, due) in [
            ("* * * * * x", "2026-11-23T10:08:00Z"),
            ("*/15 * * * * x", "2026-11-23T10:15:00Z"),
            ("5 4 * * sun x", "2026-11-29T04:05:00Z"),
            ("5 4 * * 7 x", "2026-11-29T04:05:00Z"),
            ("0 22 * * 1-5 x", "2026-11-23T22:00:00Z"),
            ("23 0-23/2 * * * x", "2026-11-23T10:23:00Z"),
            ("0 0 1,15 * * x", "2026-12-01T00:00:00Z"),
            ("0 0 13 * fri x", "2026-11-27T00:00:00Z"),
            ("0 0 */2 * fri x", "2026-11-27T00:00:00Z"),
            ("30 6 24 dec * x", "2026-12-24T06:30:00Z"),
            ("@daily x", "2026-11-24T00:00:00Z"),
            ("@weekly x", "2026-11-29T00:00:00Z"),
            ("@hourly x", "2026-11-23T11:00:00Z"),
            ("\t1 11 * * *\tx % y", "2026-11-23T11:01:00Z"),
        ] {
            assert_eq!(next(line, now).as_deref(), Some(due), "{line}");
        }
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        for line in [
            "",
            "# * * * * * x",
            "SHELL=/bin/sh",
            "MAILTO = a b c d e f",
            "* * * * *",
            "60 * * * * x",
            "* 24 * * * x",
            "* * 0 * * x",
            "* * * 13 * x",
            "* * * * 8 x",
            "5-1 * * * * x",
            "*/0 * * * * x",
            "-1 * * * * x",
            "+1 * * * * x",
            "@reboot x",
            "@never x",
        ] {
            assert_eq!(parse(line, false), [], "{line}");
        }
    }

    #[test]
    fn the_systems_entries_name_a_user() {
        let text = "PATH=/bin\n17 * * * * root cd / && run-parts --report /etc/cron.hourly\n* * * * * root\n";
        let entries = parse(text, true);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].command, "cd / && run-parts --report /etc/cron.hourly");
    }

    #[test]
    fn a_schedule_is_five_fields_or_a_word_and_nothing_else() {
        for good in ["0 3 * * *", " */5 * * * mon-fri ", "@daily"] {
            assert!(schedule(good).is_some(), "{good}");
        }
        for bad in ["", "@reboot", "0 3 * *", "0 3 * * * x", "60 3 * * *", "0 3 * * * *", "# 0 3 * * *"] {
            assert!(schedule(bad).is_none(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}", words in "([0-9*/,@a-z-]{1,6}[ \t]){5,7}") {
            for text in [text, words] {
                for entry in parse(&text, true).into_iter().chain(parse(&text, false)) {
                    let _ = entry.when.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC);
                }
            }
        }

        #[test]
        fn lists_and_ranges_hold_what_they_say(a in 0u32..30, b in 30u32..60, step in 1u32..10) {
            let set = field(&format!("{a}-{b}/{step}", b = b.min(59)), 0, 59, &[]).unwrap();
            for n in 0..60 {
                let wanted = n >= a && n <= b.min(59) && (n - a) % step == 0;
                proptest::prop_assert_eq!(set >> n & 1 == 1, wanted);
            }
        }
    }
}
