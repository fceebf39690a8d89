//! What differs between two moments of a container.
//!
//! A name that is not UTF-8 is told twice: readable, with U+FFFD for what cannot be read, and as
//! base64 of its bytes in the field with `_base64` behind it, which is there only then. Nothing is
//! lost, and plain names stay plain.

use base64::Engine;
use serde::{Deserialize, Serialize};

/// Changes in a reply that is not a stream, unless asked otherwise.
pub const DEFAULT_LIMIT: u64 = 10_000;
/// Most changes in a reply that is not a stream.
pub const LIMIT_MAX: u64 = 100_000;
/// Longest file that is compared as text, in bytes.
pub const TEXT_MAX: u64 = 1 << 20;

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is only in the later moment.
    Added,
    /// Its content, target or device is another.
    Changed,
    /// It is only in the earlier moment.
    Deleted,
    /// It was elsewhere; of a directory, all that is in it came along.
    Renamed,
    /// Only mode, owner or extended attributes are others.
    Mode,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The names say it.
pub enum FileType {
    File,
    Dir,
    Link,
    Fifo,
    Socket,
    Char,
    Block,
}

/// What of an entry differs. Times alone are no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// A file's bytes.
    Content,
    /// Where a link points.
    Target,
    /// Which device it is.
    Device,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// Extended attributes: ACLs, capabilities, a user's own.
    Attributes,
}

/// One entry that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Its absolute path; of a deleted one in the earlier moment, else in the later.
    pub path: String,
    /// The path's bytes where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// Where a renamed one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The same in bytes where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_base64: Option<String>,
    /// What it is.
    pub file_type: FileType,
    /// Bytes in the earlier moment, of files and links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_before: Option<u64>,
    /// Bytes in the later moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_after: Option<u64>,
    /// What of it differs; also of a renamed one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<Aspect>,
    /// Octal permission bits before, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_before: Option<String>,
    /// The same after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_after: Option<String>,
    /// `uid:gid` before, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_before: Option<String>,
    /// The same after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_after: Option<String>,
}

impl Change {
    /// A change of which nothing is known but how, where and of what.
    pub fn new(kind: ChangeKind, path: &[u8], file_type: FileType) -> Self {
        let (path, path_base64) = encode(path);
        Self {
            kind,
            path,
            path_base64,
            from: None,
            from_base64: None,
            file_type,
            size_before: None,
            size_after: None,
            what: Vec::new(),
            mode_before: None,
            mode_after: None,
            owner_before: None,
            owner_after: None,
        }
    }

    /// Says where it was.
    #[must_use]
    pub fn from(mut self, path: &[u8]) -> Self {
        let (from, from_base64) = encode(path);
        (self.from, self.from_base64) = (Some(from), from_base64);
        self
    }

    /// The path's very bytes.
    pub fn path_bytes(&self) -> Vec<u8> {
        decode(&self.path, self.path_base64.as_deref())
    }

    /// The very bytes of where it was.
    pub fn from_bytes(&self) -> Option<Vec<u8>> {
        self.from.as_deref().map(|from| decode(from, self.from_base64.as_deref()))
    }
}

/// A name for people, and its bytes in base64 where those say more.
pub fn encode(name: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(name) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let bytes = base64::engine::general_purpose::STANDARD.encode(name);
            (String::from_utf8_lossy(name).into_owned(), Some(bytes))
        }
    }
}

/// The bytes of a name that [`encode`] wrote; of one that it cannot have written, the text's.
pub fn decode(text: &str, base64: Option<&str>) -> Vec<u8> {
    let bytes = base64.and_then(|b| base64::engine::general_purpose::STANDARD.decode(b).ok());
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Entries of one kind, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Bytes of them before.
    pub bytes_before: u64,
    /// Bytes of them after.
    pub bytes_after: u64,
}

/// All changes, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Only in the later moment.
    pub added: Tally,
    /// Other content.
    pub changed: Tally,
    /// Only in the earlier moment.
    pub deleted: Tally,
    /// Elsewhere before.
    pub renamed: Tally,
    /// Other mode, owner or attributes only.
    pub mode: Tally,
    /// Directories that were not looked into because their path is longer than 16 KiB.
    #[serde(default)]
    pub too_deep: u64,
}

impl Summary {
    /// Counts a change.
    pub fn add(&mut self, change: &Change) {
        let tally = match change.kind {
            ChangeKind::Added => &mut self.added,
            ChangeKind::Changed => &mut self.changed,
            ChangeKind::Deleted => &mut self.deleted,
            ChangeKind::Renamed => &mut self.renamed,
            ChangeKind::Mode => &mut self.mode,
        };
        tally.count += 1;
        tally.bytes_before = tally.bytes_before.saturating_add(change.size_before.unwrap_or(0));
        tally.bytes_after = tally.bytes_after.saturating_add(change.size_after.unwrap_or(0));
    }

    /// How many entries differ.
    pub fn count(&self) -> u64 {
        self.added.count + self.changed.count + self.deleted.count + self.renamed.count + self.mode.count
    }
}

/// `data` of `GET …/snapshots/{name}/diff`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Name of the snapshot that is the earlier side.
    pub from: String,
    /// Name of the snapshot that is the later side, or `now`.
    pub to: String,
    /// All changes, also those not listed.
    pub summary: Summary,
    /// The first of them.
    pub changes: Vec<Change>,
    /// Whether there are more than are listed.
    pub truncated: bool,
}

/// `data` of `GET …/diff/summary`, and the last line of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffSummary {
    /// The earlier side.
    pub from: String,
    /// The later side.
    pub to: String,
    /// The sums.
    pub summary: Summary,
}

/// A line of the stream: many changes, then the sums. A stream without sums at its end is not
/// whole; an error on the way is its last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DiffLine {
    /// The end.
    End(DiffSummary),
    /// The diff broke off.
    Failed {
        /// Why.
        error: String,
    },
    /// An entry that differs.
    Change(Box<Change>),
}

/// One side of a file's comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSide {
    /// What it is.
    pub file_type: FileType,
    /// Bytes.
    pub size: u64,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
}

/// `data` of `GET …/diff/file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiff {
    /// Absolute path.
    pub path: String,
    /// The earlier side; none where it does not exist.
    pub before: Option<FileSide>,
    /// The later side.
    pub after: Option<FileSide>,
    /// Whether a side is no text; there is no diff then.
    pub binary: bool,
    /// Unified diff; empty when both are the same.
    pub diff: Option<String>,
}

/// What became of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageChangeKind {
    /// It was not installed before.
    Installed,
    /// It is no longer installed.
    Removed,
    /// Its version is higher.
    Upgraded,
    /// Its version is lower.
    Downgraded,
}

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// How.
    pub kind: PackageChangeKind,
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Version after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// `data` of `GET …/diff/packages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageDiff {
    /// The earlier side.
    pub from: String,
    /// The later side.
    pub to: String,
    /// By name.
    pub packages: Vec<PackageChange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_its_encoding() {
        use proptest::prelude::*;
        proptest!(|(name in proptest::collection::vec(any::<u8>(), 0..40))| {
            let change = Change::new(ChangeKind::Renamed, &name, FileType::File).from(&name);
            let line = serde_json::to_string(&DiffLine::Change(Box::new(change.clone()))).unwrap();
            prop_assert!(!line.contains('\n'));
            let DiffLine::Change(read) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
            prop_assert_eq!(&read, &Box::new(change));
            prop_assert_eq!(read.path_bytes(), name.clone());
            prop_assert_eq!(read.from_bytes(), Some(name));
        });
    }

    #[test]
    fn a_plain_name_stays_plain() {
        assert_eq!(encode("/srv/ä\n".as_bytes()), ("/srv/ä\n".into(), None));
        assert_eq!(encode(b"/srv/\xff"), ("/srv/\u{fffd}".into(), Some("L3Nydi//".into())));
    }

    #[test]
    fn the_lines_of_a_stream_are_told_apart() {
        let end = DiffSummary { from: "a".into(), to: "now".into(), summary: Summary::default() };
        let text = serde_json::to_string(&DiffLine::End(end.clone())).unwrap();
        assert_eq!(serde_json::from_str::<DiffLine>(&text).unwrap(), DiffLine::End(end));
        let failed = DiffLine::Failed { error: "gone".into() };
        assert_eq!(serde_json::from_str::<DiffLine>(r#"{"error":"gone"}"#).unwrap(), failed);
    }
}
