//! Slices of text files by line: `?lines=10-50`, `100` (the first hundred), `-20` (the last twenty),
//! `50-` (from the fiftieth on). Lines count from 1, both ends belong.

use std::io::{self, BufRead, BufReader, Read, Seek};

use crate::error::{KitError, KitResult};

/// Most lines of one reply.
const LINE_LIMIT: u64 = 100_000;
/// Most bytes of one reply.
const BYTE_LIMIT: usize = 64 * 1024 * 1024;

/// Which lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// From the first to the last of these numbers; no last means to the end.
    Between(u64, Option<u64>),
    /// So many from the end.
    Last(u64),
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice {
    /// The lines with their ends.
    pub text: Vec<u8>,
    /// Number of the first line in `text`; 0 when it is empty.
    pub first: u64,
    /// Number of the last; 0 when it is empty.
    pub last: u64,
    /// Lines of the whole file.
    pub total: u64,
}

impl Lines {
    /// Reads the parameter.
    ///
    /// # Errors
    /// 400 for anything else than the four forms, or more than 100,000 lines.
    pub fn parse(text: &str) -> KitResult<Self> {
        let bad = || KitError::bad_request(format!("lines: {text:?} is not of the form 10-50, 100, -20 or 50-"));
        let number = |part: &str| -> KitResult<u64> {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let number = part.parse().ok().filter(|number| digits && *number > 0);
            number.ok_or_else(bad)
        };
        let lines = match text.trim().split_once('-') {
            None => Self::Between(1, Some(number(text.trim())?)),
            Some(("", count)) => Self::Last(number(count)?),
            Some((first, "")) => Self::Between(number(first)?, None),
            Some((first, last)) => Self::Between(number(first)?, Some(number(last)?)),
        };
        let count = match lines {
            Self::Between(first, Some(last)) if last < first => return Err(bad()),
            Self::Between(first, Some(last)) => last - first + 1,
            Self::Between(_, None) => 0,
            Self::Last(count) => count,
        };
        if count > LINE_LIMIT {
            return Err(KitError::bad_request(format!("lines: at most {LINE_LIMIT} at a time")));
        }
        Ok(lines)
    }

    /// Cuts them out of `file`. Reads it once or twice, keeps only the slice.
    ///
    /// # Errors
    /// What reading says; 413 when the slice is too big.
    pub fn cut(self, file: impl Read + Seek) -> KitResult<Slice> {
        let failed = |error: io::Error| KitError::from_io("lines", &error);
        let mut file = BufReader::with_capacity(64 * 1024, file);
        let (first, last) = match self {
            Self::Between(first, last) => (first, last.unwrap_or(u64::MAX)),
            Self::Last(count) => {
                let total = scan(&mut file, |_, _| Ok(())).map_err(failed)?;
                file.rewind().map_err(failed)?;
                (total.saturating_sub(count) + 1, u64::MAX)
            }
        };
        let mut text = Vec::new();
        let mut too_big = false;
        let total = scan(&mut file, |number, part| {
            if (first..=last).contains(&number) {
                too_big |= text.len() + part.len() > BYTE_LIMIT || number - first >= LINE_LIMIT;
                if too_big {
                    return Err(io::Error::from(io::ErrorKind::FileTooLarge));
                }
                text.extend_from_slice(part);
            }
            Ok(())
        });
        if too_big {
            let message = format!("lines: the slice has more than {LINE_LIMIT} lines or 64 MiB");
            return Err(KitError::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let total = total.map_err(failed)?;
        let (first, last) = if text.is_empty() { (0, 0) } else { (first, last.min(total)) };
        Ok(Slice { text, first, last, total })
    }
}

/// Visits all lines, long ones in parts, with their numbers; returns how many there are.
fn scan(file: &mut impl BufRead, mut visit: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<u64> {
    let (mut number, mut inside) = (0, false);
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(number);
        }
        if !inside {
            number += 1;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let length = end.unwrap_or(buffer.len());
        visit(number, &buffer[..length])?;
        inside = end.is_none();
        file.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_four_forms_cut_what_they_say() {
        let text = "a\nb\nc\nd\ne";
        for (form, expected, first, last) in [
            ("2-3", "b\nc\n", 2, 3),
            ("2", "a\nb\n", 1, 2),
            ("-2", "d\ne", 4, 5),
            ("4-", "d\ne", 4, 5),
            ("9-", "", 0, 0),
            ("-99", text, 1, 5),
        ] {
            let slice = Lines::parse(form).unwrap().cut(Cursor::new(text)).unwrap();
            let expected = Slice { text: expected.into(), first, last, total: 5 };
            assert_eq!(slice, expected, "{form}");
        }
        for bad in ["", "-", "0", "3-2", "a-b", "+1", "1-2-3", "1-100001"] {
            assert_eq!(Lines::parse(bad).unwrap_err().status, 400, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_form_agrees_with_counting_lines(form in "[0-9-]{1,4}", text in "[ab\n]{0,30}") {
            let Ok(lines) = Lines::parse(&form) else { return Ok(()) };
            let slice = lines.cut(Cursor::new(text.clone())).unwrap();
            let all: Vec<&str> = text.split_inclusive('\n').collect();
            prop_assert_eq!(slice.total, all.len() as u64);
            let expected: String = match lines {
                Lines::Between(first, last) => {
                    all.iter().skip(first as usize - 1).take((last.unwrap_or(u64::MAX) - first).saturating_add(1).min(1000) as usize).copied().collect()
                }
                Lines::Last(count) => all[all.len().saturating_sub(count as usize)..].concat(),
            };
            prop_assert_eq!(String::from_utf8(slice.text).unwrap(), expected);
        }
    }
}
