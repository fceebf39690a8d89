//! A container as one file: what `cowl containers export` writes and `import` reads.
//!
//! ```text
//! archive   89 'C' 'O' 'W' 'L' 0d 0a 1a   version: u32 = 1      all numbers little-endian
//!           frame M    the manifest, JSON
//!           frame D…   pieces of the first section's stream
//!           frame E    the section ends; the next one follows
//!           frame T    the end of all
//! frame     kind: u8   codec: u8 (0 plain, 1 zstd)   0: u16   stored: u32   plain: u32
//!           digest: 32 bytes   `stored` bytes, which unpack to `plain` bytes
//! digest    SHA-256 of the digest before it, the frame's first 12 bytes and its stored bytes
//! ```
//!
//! It is written and read from front to back, never seeking. Each digest covers everything before
//! it, so that the last frame's is the digest of all: what is changed, moved or cut off is noticed
//! at the first frame that does not fit. Several archives one after the other are a chain: a whole
//! one and the increments on it.
//!
//! A section is the output of one `btrfs send`, in the order of the manifest's list:
//!
//! ```text
//! image ──(template, made by the receiver)──▶ snapshot ──▶ snapshot ──▶ disk     whole
//!                                      base ──▶ snapshot ──▶ disk                increment
//! ```
//! Each subvolume is sent against the one before it; the first against the image's template, or
//! against `base`, a snapshot that an earlier archive held. So the disk arrives as a descendant of
//! the image there is, which the inode numbers of overlayfs' layers need.
//!
//! Everything in an archive is hostile: lengths are bounded before anything is allocated
//! ([`reader`]), the manifest is checked ([`manifest`]), and the streams pass through [`stream`],
//! which lets them name nothing outside themselves.

pub mod manifest;
pub mod reader;
pub mod stream;
pub mod writer;

pub use manifest::Manifest;
pub use reader::Reader;
pub use writer::Writer;

use sha2::{Digest, Sha256};

/// First bytes of every archive.
pub const MAGIC: [u8; 8] = *b"\x89COWL\r\n\x1a";
/// Version of the format.
pub const VERSION: u32 = 1;
/// The media type of an archive.
pub const MEDIA_TYPE: &str = "application/vnd.cowl.container";
/// Bytes of a stream in one frame, at most.
pub const CHUNK: usize = 1 << 20;
/// Longest manifest, in bytes.
pub const MANIFEST_MAX: usize = 4 << 20;
/// Levels of compression that can be asked for.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;
/// The level when none is asked for.
pub const LEVEL: i32 = 3;

/// Bytes of a frame before its digest.
const HEAD: usize = 12;
/// A digest.
type Sum = [u8; 32];

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Manifest = b'M' as isize,
    Data = b'D' as isize,
    End = b'E' as isize,
    Trailer = b'T' as isize,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        [Self::Manifest, Self::Data, Self::End, Self::Trailer].into_iter().find(|kind| *kind as u8 == byte)
    }
}

fn chained(before: &Sum, head: &[u8; HEAD], stored: &[u8]) -> Sum {
    let mut sum = Sha256::new();
    sum.update(before);
    sum.update(head);
    sum.update(stored);
    sum.finalize().into()
}

/// Hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
