//! Comparing versions of packages as dpkg does (deb-version(7)).

use std::cmp::Ordering;

/// Which of two versions is newer. Any two strings can be compared, also those that are no versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    number(a.0).cmp(&number(b.0)).then_with(|| part(a.1, b.1)).then_with(|| part(a.2, b.2))
}

/// Epoch, upstream version and revision.
fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// A number of any length: its digits without leading zeroes, longer ones being greater.
fn number(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

/// Takes from both in turn what is no digit and what is.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !(a.is_empty() && b.is_empty()) {
        let (words, rest) = (take(a, |c| !c.is_ascii_digit()), take(b, |c| !c.is_ascii_digit()));
        let order = word(words.0, rest.0);
        if order != Ordering::Equal {
            return order;
        }
        let (digits_a, digits_b) = (take(words.1, |c| c.is_ascii_digit()), take(rest.1, |c| c.is_ascii_digit()));
        let order = number(digits_a.0).cmp(&number(digits_b.0));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (digits_a.1, digits_b.1);
    }
    Ordering::Equal
}

fn take(text: &str, of: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !of(c)).unwrap_or(text.len()))
}

/// `~` is before the end, letters are before all other signs.
fn word(a: &str, b: &str) -> Ordering {
    let rank = |c: Option<char>| match c {
        Some('~') => (0, '~'),
        None => (1, '\0'),
        Some(c) if c.is_ascii_alphabetic() => (2, c),
        Some(c) => (3, c),
    };
    let (mut a, mut b) = (a.chars(), b.chars());
    loop {
        let (left, right) = (a.next(), b.next());
        let order = rank(left).cmp(&rank(right));
        if order != Ordering::Equal || left.is_none() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_sorted_as_dpkg_sorts_them() {
        // By deb-version(7) and dpkg's own tests.
        for (less, more) in [
            ("1.0", "1.1"),
            ("1.0~rc1", "1.0"),
            ("1.0~~", "1.0~"),
            ("1.2", "1:0.1"),
            ("1.9", "1.10"),
            ("1.0-1", "1.0-1.1"),
            ("1.0-1", "1.0-1+deb13u1"),
            ("1.0a", "1.0+"),
            ("7.6-0+x", "7.6p2-4"),
            ("0", "0a"),
            ("2.41-12~bpo12+1", "2.41-12"),
            ("9999999999999999999999998", "9999999999999999999999999"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{less} {more}");
        }
        for (a, b) in [("1.0", "1.0"), ("0:1.0", "1.0"), ("1.01", "1.1"), ("1.0-0", "1.0-00"), ("1.0", "1.0-")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn any_three_strings_have_an_order() {
        let version = "[0-9a-c.~:+-]{0,8}|\\PC{0,6}";
        proptest!(|(a in version, b in version, c in version)| {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        });
    }
}
