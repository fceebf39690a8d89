//! The `Range` header: one range of bytes (RFC 9110 section 14).

/// What to send of a file of a known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All: no range, several, or one we do not understand (which must then be ignored).
    Whole,
    /// `first..=last`, inside the file.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// A range with nothing in it: 416.
    Nothing,
}

impl Wanted {
    /// Reads the header's value.
    pub fn parse(header: &str, size: u64) -> Self {
        let Some(spec) = header.trim().strip_prefix("bytes=") else { return Self::Whole };
        let Some((from, to)) = spec.split_once('-') else { return Self::Whole };
        let number = |text: &str| -> Option<u64> {
            // `parse` would also take a sign.
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            // More digits than fit mean beyond the end.
            Some(text.parse().unwrap_or(u64::MAX))
        };
        let (from, to) = (from.trim(), to.trim());
        match (number(from), number(to)) {
            (Some(first), Some(last)) if last < first => Self::Whole,
            (Some(first), _) if !to.is_empty() && number(to).is_none() => {
                let _ = first;
                Self::Whole
            }
            (Some(first), _) if first >= size => Self::Nothing,
            (Some(first), last) => Self::Part { first, last: last.unwrap_or(u64::MAX).min(size - 1) },
            (None, Some(suffix)) if from.is_empty() => match suffix.min(size) {
                0 => Self::Nothing,
                length => Self::Part { first: size - length, last: size - 1 },
            },
            _ => Self::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let part = |first, last| Wanted::Part { first, last };
        for (header, wanted) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-30", part(0, 9)),
            ("bytes=5-999999999999999999999999", part(5, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(Wanted::parse(header, 10), wanted, "{header}");
        }
        assert_eq!(Wanted::parse("bytes=0-", 0), Wanted::Nothing);
    }

    proptest! {
        #[test]
        fn a_part_is_always_inside_the_file(header in "(bytes=)?[0-9,+ -]{0,24}", size in any::<u64>()) {
            if let Wanted::Part { first, last } = Wanted::parse(&header, size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
