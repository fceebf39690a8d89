//! The owner's token: `STATE/owner.token`, the one secret that opens the API over TCP.
//!
//! The file *is* the secret (0600, one line, `hdy_` and 64 hex digits). It is read again when it
//! changes, so `cowl token --rotate` takes effect at once, without the node's help.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// What every token begins with.
pub const PREFIX: &str = "hdy_";

/// Name of the file in the state directory.
pub const FILE: &str = "owner.token";

/// Which version of the file a token was read from.
type Version = (u64, i64, i64, u64);

/// The token, kept until its file changes.
#[derive(Debug)]
pub struct OwnerToken {
    path: PathBuf,
    cached: Mutex<Option<(Version, [u8; 32])>>,
}

impl OwnerToken {
    /// The token in this state directory; made when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        if read(&path).is_err() {
            rotate(state_dir)?;
        }
        Ok(Self { path, cached: Mutex::new(None) })
    }

    /// Whether `candidate` is the token. Takes the same time for every wrong one.
    pub fn is(&self, candidate: &str) -> bool {
        let Ok(expected) = self.digest() else { return false };
        let got: [u8; 32] = Sha256::digest(candidate.as_bytes()).into();
        let difference = expected.iter().zip(got).fold(0u8, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    fn digest(&self) -> io::Result<[u8; 32]> {
        let meta = fs::metadata(&self.path)?;
        let version = (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len());
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, digest)) = cached.filter(|(seen, _)| *seen == version) {
            return Ok(digest);
        }
        let digest = Sha256::digest(read(&self.path)?.as_bytes()).into();
        *cached = Some((version, digest));
        Ok(digest)
    }
}

/// Reads a token file.
///
/// # Errors
/// When it cannot be read or holds no token.
pub fn read(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)?;
    let token = text.trim();
    if token.len() >= PREFIX.len() + 32 && token.starts_with(PREFIX) {
        Ok(token.to_owned())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no token", path.display())))
    }
}

/// Replaces the token of a state directory, atomically; returns the new one.
///
/// # Errors
/// When the file cannot be written.
pub fn rotate(state_dir: &Path) -> io::Result<String> {
    let random: [u8; 32] = rand::random();
    let token: String = random.iter().fold(PREFIX.to_owned(), |acc, byte| acc + &format!("{byte:02x}"));
    let path = state_dir.join(FILE);
    let partial = state_dir.join(format!("{FILE}.new"));
    let _ = fs::remove_file(&partial);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&partial, &path)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_is_private_and_is_the_only_one_that_fits() {
        let dir = tempfile::tempdir().unwrap();
        let token = OwnerToken::open(dir.path()).unwrap();
        let secret = read(&dir.path().join(FILE)).unwrap();
        OwnerToken::open(dir.path()).unwrap();
        assert_eq!(read(&dir.path().join(FILE)).unwrap(), secret);
        assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(token.is(&secret) && !token.is("") && !token.is("hdy_") && !token.is(&format!("{secret}x")));
    }

    #[test]
    fn a_rotated_token_counts_at_once_and_the_old_one_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let token = OwnerToken::open(dir.path()).unwrap();
        let old = read(&dir.path().join(FILE)).unwrap();
        assert!(token.is(&old));
        let new = rotate(dir.path()).unwrap();
        assert!(token.is(&new) && !token.is(&old));
    }
}
