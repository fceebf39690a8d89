//! Paths of requests: decoded, absolute, without `.` and `..`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::error::{KitError, KitResult};

/// Longest path, bytes; the kernel's own limit.
const LIMIT: usize = 4096;

/// A path of the container, absolute and lexically clean. `..` never leads above `/`; symbolic links
/// are the kernel's business, whose root is the container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanPath(PathBuf);

impl CleanPath {
    /// Reads the encoded rest of a URL. Empty means `/`.
    ///
    /// # Errors
    /// 400 for NUL or more than 4,096 bytes.
    pub fn from_url(encoded: &str) -> KitResult<Self> {
        Self::from_bytes(&percent_decode_str(encoded).collect::<Vec<u8>>())
    }

    /// Reads a decoded path, as in a query or a JSON body.
    ///
    /// # Errors
    /// As [`Self::from_url`].
    pub fn from_text(text: &str) -> KitResult<Self> {
        Self::from_bytes(text.as_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> KitResult<Self> {
        if bytes.contains(&0) {
            return Err(KitError::bad_request("path: contains NUL"));
        }
        if bytes.len() > LIMIT {
            return Err(KitError::bad_request(format!("path: longer than {LIMIT} bytes")));
        }
        let mut segments: Vec<&[u8]> = Vec::new();
        for segment in bytes.split(|byte| *byte == b'/') {
            match segment {
                b"" | b"." => {}
                b".." => drop(segments.pop()),
                name => segments.push(name),
            }
        }
        let mut clean = vec![b'/'];
        clean.extend(segments.join(&b'/'));
        Ok(Self(PathBuf::from(OsString::from_vec(clean))))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// For messages and replies; bytes that are not UTF-8 are replaced.
    pub fn display(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0.as_os_str().as_bytes() == b"/"
    }

    /// Its last part; `/` for the root.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap_or(OsStr::new("/")).to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_spellings_of_the_public_clients_mean_the_same_file() {
        for spelling in
            ["etc/hostname", "/etc/hostname", "//etc//hostname", "%2Fetc%2Fhostname", "x/../../etc/./hostname/"]
        {
            assert_eq!(CleanPath::from_url(spelling).unwrap().display(), "/etc/hostname", "{spelling}");
        }
        assert!(CleanPath::from_url("").unwrap().is_root());
        assert!(CleanPath::from_url("..%2f..%2f%2e%2e").unwrap().is_root());
        assert_eq!(CleanPath::from_url("a%00b").unwrap_err().status, 400);
        assert_eq!(CleanPath::from_url("%ff").unwrap().as_path().as_os_str().as_bytes(), b"/\xff");
    }

    proptest! {
        #[test]
        fn a_clean_path_is_absolute_has_no_dots_and_stays_itself(text in "[a./%\u{e9}20]{0,40}") {
            prop_assume!(!text.contains("%00"));
            let clean = CleanPath::from_url(&text).unwrap();
            let bytes = clean.as_path().as_os_str().as_bytes();
            prop_assert!(bytes.starts_with(b"/"));
            prop_assert!(!bytes[1..].split(|b| *b == b'/').any(|s| s == b".." || s == b"."));
            prop_assert_eq!(CleanPath::from_bytes(bytes).unwrap(), clean);
        }
    }
}
