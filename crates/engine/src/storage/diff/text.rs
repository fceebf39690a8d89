//! One file of both moments, as people read a difference.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use rustix::fs::FileType as Kind;
use sha2::{Digest, Sha256};

use super::Still;
use crate::error::{Context, Error, Result};
use crate::storage::pool::Pool;
use crate::storage::view::explain;
use cowl_api::diff::{FileDiff, FileSide, FileType};

/// Lines around a change.
const CONTEXT: usize = 3;
/// How long a good diff is looked for; after that a coarser one is given.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A file's bytes.
    File(Vec<u8>),
    /// A file that is longer than was asked for, with its size in bytes.
    Large(u64),
    /// A link's target.
    Link(Vec<u8>),
    /// Something that has no bytes.
    Other(FileType),
}

impl Pool {
    /// What is at a path of the merged tree; of files at most `limit` bytes. A link at the end of
    /// the path is followed only if `follow`.
    ///
    /// # Errors
    /// When the disk cannot be looked into.
    pub fn peek(&self, at: &Still, path: &[u8], limit: u64, follow: bool) -> Result<Found> {
        let mut tree = self.tree(at.path())?;
        let shown = String::from_utf8_lossy(path).into_owned();
        let node = match tree.walk(OsStr::from_bytes(path), follow).map_err(|e| explain(e, &shown)) {
            Ok(node) => node,
            Err(Error::NotFound(_)) => return Ok(Found::Absent),
            Err(e) => return Err(e),
        };
        let kind = match node.kind() {
            Kind::RegularFile => {
                let size = u64::try_from(node.stat.st_size).unwrap_or(0);
                if size > limit {
                    return Ok(Found::Large(size));
                }
                let mut bytes = Vec::new();
                let file = node.open().context(|| format!("open {shown}"))?;
                file.take(limit).read_to_end(&mut bytes).context(|| format!("read {shown}"))?;
                return Ok(Found::File(bytes));
            }
            Kind::Symlink => {
                let target = node.target().context(|| format!("read {shown}"))?;
                return Ok(Found::Link(target.into_vec()));
            }
            Kind::Directory => FileType::Dir,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharacterDevice => FileType::Char,
            _ => FileType::Block,
        };
        Ok(Found::Other(kind))
    }
}

/// Compares two sides. A link is compared by its target. Text is whatever holds no NUL; what of it
/// is not UTF-8 is shown as U+FFFD.
pub fn compare(path: &str, before: &Found, after: &Found) -> FileDiff {
    let (left, right) = (bytes(before), bytes(after));
    let binary = [&left, &right].iter().any(|side| side.contains(&0))
        || [before, after].iter().any(|side| matches!(side, Found::Large(_) | Found::Other(_)));
    let diff = (!binary).then(|| {
        if left == right {
            return String::new();
        }
        let (left, right) = (String::from_utf8_lossy(left), String::from_utf8_lossy(right));
        let name = |side: &Found, letter: char| match side {
            Found::Absent => "/dev/null".to_owned(),
            _ => format!("{letter}{}", path.replace(char::is_control, "\u{fffd}")),
        };
        similar::TextDiff::configure()
            .timeout(PATIENCE)
            .diff_lines(&*left, &*right)
            .unified_diff()
            .context_radius(CONTEXT)
            .header(&name(before, 'a'), &name(after, 'b'))
            .to_string()
    });
    FileDiff { path: path.to_owned(), before: side(before), after: side(after), binary, diff }
}

fn bytes(found: &Found) -> &[u8] {
    match found {
        Found::File(bytes) | Found::Link(bytes) => bytes,
        _ => &[],
    }
}

fn side(found: &Found) -> Option<FileSide> {
    let (file_type, size) = match found {
        Found::Absent => return None,
        Found::File(bytes) => (FileType::File, bytes.len() as u64),
        Found::Link(target) => (FileType::Link, target.len() as u64),
        Found::Large(size) => (FileType::File, *size),
        Found::Other(kind) => (*kind, 0),
    };
    let sum = Sha256::digest(bytes(found));
    let sha256 = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(FileSide { file_type, size, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Found {
        Found::File(text.into())
    }

    #[test]
    fn a_changed_line_is_shown_with_those_around_it() {
        let told = compare("/etc/x", &file("a\nb\nc\n"), &file("a\nB\nc\n"));
        assert_eq!(told.diff.unwrap(), "--- a/etc/x\n+++ b/etc/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        assert_eq!(compare("/etc/x", &file("a"), &file("a")).diff.unwrap(), "");
    }

    #[test]
    fn a_file_of_one_moment_is_shown_whole() {
        let told = compare("/etc/x", &Found::Absent, &file("new\n"));
        assert_eq!(told.diff.unwrap(), "--- /dev/null\n+++ b/etc/x\n@@ -0,0 +1 @@\n+new\n");
        assert_eq!((told.before, told.after.unwrap().size), (None, 4));
    }

    #[test]
    fn what_is_no_text_is_told_by_size_and_sum() {
        let told = compare("/bin/x", &file("a\0b"), &file("text"));
        assert!(told.binary && told.diff.is_none());
        let after = told.after.unwrap();
        assert_eq!(after.size, 4);
        assert_eq!(after.sha256, "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1");
    }

    #[test]
    fn no_two_files_keep_the_diff_from_ending() {
        use proptest::prelude::*;
        let line = prop_oneof![Just("a\n".to_owned()), Just("b\n".to_owned()), "\\PC{0,4}", Just("\r".to_owned())];
        let text = proptest::collection::vec(line, 0..30).prop_map(|lines| lines.concat());
        proptest!(|(a in text.clone(), b in text)| {
            let told = compare("/x", &file(&a), &file(&b));
            prop_assert_eq!(told.diff.is_some_and(|d| d.is_empty()), a == b);
        });
        let long = |n: u32| file(&(0..60_000u32).map(|i| format!("{}\n", i.wrapping_mul(n) % 977)).collect::<String>());
        assert!(compare("/x", &long(2_654_435_761), &long(40_503)).diff.is_some());
    }
}
