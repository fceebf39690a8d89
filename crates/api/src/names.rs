//! Rules for names people choose (containers, aliases, colours, server names) and for free text.

use super::envelope::FieldError;

/// Shortest container name, in characters.
pub const CONTAINER_NAME_MIN: usize = 3;
/// Longest container name, in characters.
pub const CONTAINER_NAME_MAX: usize = 100;
/// Longest comment on a container, in characters.
pub const COMMENT_MAX: usize = 16_000;

/// Checks a container name: 3–100 characters out of letters, digits, `-` and `_`.
///
/// # Errors
/// A [`FieldError`] for the field `name` that says what is wrong.
pub fn container_name(name: &str) -> Result<(), FieldError> {
    let n = name.chars().count();
    if !(CONTAINER_NAME_MIN..=CONTAINER_NAME_MAX).contains(&n) {
        return Err(FieldError::new("/name", "must be 3 to 100 characters long"));
    }
    word("/name", name)
}

/// Checks a snapshot alias: 1–100 characters out of letters, digits, `-`, `_` and `.`,
/// starting with a letter or digit.
///
/// # Errors
/// A [`FieldError`] for the field `alias`.
pub fn snapshot_alias(alias: &str) -> Result<(), FieldError> {
    if alias.is_empty() || alias.chars().count() > 100 {
        return Err(FieldError::new("/alias", "must be 1 to 100 characters long"));
    }
    let starts_well = alias.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts_well || !alias.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Err(FieldError::new(
            "/alias",
            "may hold letters, digits, '-', '_' and '.', and starts with a letter or digit",
        ));
    }
    Ok(())
}

/// Checks a project alias: 1–100 characters, no control characters.
///
/// # Errors
/// A [`FieldError`] for the field `alias`.
pub fn project_alias(alias: &str) -> Result<(), FieldError> {
    if alias.trim().is_empty() || alias.chars().count() > 100 {
        return Err(FieldError::new("/alias", "must be 1 to 100 characters long"));
    }
    if alias.chars().any(char::is_control) {
        return Err(FieldError::new("/alias", "must not hold control characters"));
    }
    Ok(())
}

/// Checks the length of a free text, if there is one: at most `most` characters.
///
/// # Errors
/// A [`FieldError`] for `field`.
pub fn at_most(field: &str, text: Option<&str>, most: usize) -> Result<(), FieldError> {
    match text {
        Some(text) if text.chars().count() > most => {
            Err(FieldError::new(field, format!("must be at most {most} characters long")))
        }
        _ => Ok(()),
    }
}

fn word(field: &'static str, s: &str) -> Result<(), FieldError> {
    if s.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        Ok(())
    } else {
        Err(FieldError::new(field, "may hold letters, digits, '-' and '_'"))
    }
}

/// Normalises a colour (`abc`, `#AABBCC`, …) to `#UPPER`.
///
/// # Errors
/// A [`FieldError`] for the field `color` unless it is 3 or 6 hex digits with or without `#`.
pub fn color(c: &str) -> Result<String, FieldError> {
    let hex = c.strip_prefix('#').unwrap_or(c);
    if matches!(hex.len(), 3 | 6) && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(format!("#{}", hex.to_ascii_uppercase()))
    } else {
        Err(FieldError::new("/color", "must be 3 or 6 hex digits, with or without '#'"))
    }
}

/// The host name a container gets from its name: a valid DNS label of at most 63 characters.
pub fn hostname(name: &str) -> String {
    let mut label: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(63).collect();
    while label.ends_with('-') {
        label.pop();
    }
    let trimmed = label.trim_start_matches('-');
    if trimmed.is_empty() { "container".into() } else { trimmed.into() }
}

/// Whether `s` is a DNS label: 1–63 lowercase letters, digits and inner hyphens.
pub fn is_dns_label(s: &str) -> bool {
    (1..=63).contains(&s.len())
        && !s.starts_with('-')
        && !s.ends_with('-')
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A random name of the form `adjective-animal-NN` for containers created without one.
pub fn random_name() -> String {
    const ADJECTIVES: [&str; 16] = [
        "amber", "brisk", "calm", "dapper", "eager", "fond", "gentle", "hardy", "keen", "lucid", "mellow", "noble",
        "quiet", "rapid", "sunny", "tidy",
    ];
    const ANIMALS: [&str; 16] = [
        "badger", "crane", "dolphin", "egret", "falcon", "gecko", "heron", "ibis", "jackal", "koala", "lynx", "marten",
        "otter", "puffin", "raven", "stoat",
    ];
    let r: u32 = rand::random();
    format!("{}-{}-{:02}", ADJECTIVES[(r & 15) as usize], ANIMALS[(r >> 4 & 15) as usize], r >> 8 & 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names_are_3_to_100_word_characters() {
        assert!(container_name("dev-environment_2").is_ok());
        for bad in ["ab", "", "has space", "semi;colon", "ünï", &"x".repeat(101)] {
            assert!(container_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_container_name_gives_a_dns_label() {
        for name in ["dev_environment", "___", "-a-", "UPPER", &"x".repeat(100), &"_".repeat(100)] {
            assert!(is_dns_label(&hostname(name)), "{name}");
        }
    }

    #[test]
    fn colours_are_normalised() {
        assert_eq!(color("abc").as_deref(), Ok("#ABC"));
        assert_eq!(color("#00ff7f").as_deref(), Ok("#00FF7F"));
        assert!(color("#12").is_err());
    }

    #[test]
    fn random_names_are_valid() {
        for _ in 0..64 {
            assert!(container_name(&random_name()).is_ok());
        }
    }
}
