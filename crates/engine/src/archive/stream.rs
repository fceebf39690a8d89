//! The output of `btrfs send` from anybody, let through so that it can name nothing but itself.
//!
//! `btrfs receive` looks for the subvolume that a stream is to be put on, and for those that it
//! clones data from, by UUID in the whole file system. So a stream could ask for any container's
//! disk whose UUID its writer knows. Here the first command's name and parent are replaced by what
//! the receiver has chosen, clones may name only these two, and there is one subvolume per stream.
//!
//! Commands and attributes are those of `fs/btrfs/send.h`, versions 1 to 3.

use std::io::{Read, Write};

use crate::error::{Context, Error, Result};

const MAGIC: &[u8; 13] = b"btrfs-stream\0";
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;
/// Bytes before a command's attributes: length, command, checksum.
const HEAD: usize = 10;
/// Longest command: 128 KiB of data and 16 KiB of the rest.
const COMMAND_MAX: usize = 160 << 10;

const SUBVOL: u16 = 1;
const SNAPSHOT: u16 = 2;
const CLONE: u16 = 16;
const END: u16 = 21;
/// The last command of version 3.
const LAST: u16 = 26;

const UUID: u16 = 1;
const CTRANSID: u16 = 2;
const PATH: u16 = 15;
const CLONE_UUID: u16 = 20;
const CLONE_CTRANSID: u16 = 21;

/// What a stream is made to say.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Name of the subvolume it makes.
    pub name: &'a str,
    /// UUID of the subvolume it must be put on; `None` when it must be a whole one.
    pub parent: Option<[u8; 16]>,
    /// UUID it must say it has, if that is known.
    pub uuid: Option<&'a str>,
}

fn refuse(what: &str) -> Error {
    Error::Unsupported(format!("the archive holds a stream that is not taken: {what}"))
}

/// Passes a stream on. Gives its length.
///
/// # Errors
/// [`Error::Unsupported`] for what breaks the rules; what was passed on by then is of no use.
pub fn pass(input: &mut dyn Read, output: &mut dyn Write, rules: Rules<'_>) -> Result<u64> {
    let mut first = [0; 17];
    fill(input, &mut first)?;
    let (magic, version) = first.split_at(MAGIC.len());
    let version = u32::from_le_bytes(version.try_into().unwrap_or_default());
    if magic != MAGIC || !VERSIONS.contains(&version) {
        return Err(refuse("no stream of btrfs, or of an unknown version"));
    }
    put(output, &first)?;
    let mut total = first.len() as u64;
    let mut command = Vec::with_capacity(COMMAND_MAX);
    let mut known: Option<Known> = None;
    loop {
        let kind = read_command(input, &mut command)?;
        total += command.len() as u64;
        match (kind, &known) {
            (SUBVOL | SNAPSHOT, None) => {
                known = Some(begin(kind, &mut command, rules)?);
            }
            (_, None) => return Err(refuse("it does not begin with a subvolume")),
            (SUBVOL | SNAPSHOT, Some(_)) => return Err(refuse("it holds more than one subvolume")),
            (CLONE, Some(known)) => clone_from(&mut command, known, rules)?,
            _ => {}
        }
        put(output, &command)?;
        if kind == END {
            let rest = input.read(&mut [0]).context(|| "read the archive".into())?;
            return if rest == 0 { Ok(total) } else { Err(refuse("it goes on behind its end")) };
        }
    }
}

/// UUIDs that the stream itself goes by.
struct Known {
    own: [u8; 16],
    parent: Option<[u8; 16]>,
}

fn fill(input: &mut dyn Read, room: &mut [u8]) -> Result<()> {
    input.read_exact(room).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => refuse("it is cut off"),
        std::io::ErrorKind::InvalidData => Error::Unsupported(e.to_string()),
        _ => Error::Sys { what: "read the archive".into(), source: e },
    })
}

fn put(output: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    output.write_all(bytes).context(|| "hand the stream to btrfs receive".into())
}

fn read_command(input: &mut dyn Read, command: &mut Vec<u8>) -> Result<u16> {
    command.resize(HEAD, 0);
    fill(input, command)?;
    let length = u32::from_le_bytes([command[0], command[1], command[2], command[3]]) as usize;
    let kind = u16::from_le_bytes([command[4], command[5]]);
    if length > COMMAND_MAX || !(1..=LAST).contains(&kind) {
        return Err(refuse("a command that there is not"));
    }
    command.resize(HEAD + length, 0);
    fill(input, &mut command[HEAD..])?;
    Ok(kind)
}

/// Finds an attribute's value in a command.
fn find(command: &[u8], wanted: u16) -> Result<std::ops::Range<usize>> {
    let mut at = HEAD;
    while let Some(head) = command.get(at..at + 4) {
        let (kind, length) = (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        let value = at + 4..at + 4 + usize::from(length);
        if value.end > command.len() {
            break;
        }
        if kind == wanted {
            return Ok(value);
        }
        at = value.end;
    }
    Err(refuse("a command lacks an attribute"))
}

fn uuid_in(command: &[u8], wanted: u16) -> Result<[u8; 16]> {
    command[find(command, wanted)?].try_into().map_err(|_| refuse("a UUID of another length"))
}

fn begin(kind: u16, command: &mut Vec<u8>, rules: Rules<'_>) -> Result<Known> {
    let own = uuid_in(command, UUID)?;
    if rules.uuid.is_some_and(|uuid| super::hex(&own) != uuid) {
        return Err(refuse("it is not the one that the manifest names"));
    }
    let parent = match (kind, rules.parent) {
        (SNAPSHOT, Some(_)) => Some(uuid_in(command, CLONE_UUID)?),
        (SUBVOL, None) => None,
        _ => return Err(refuse("it is to be put on something else than the manifest says")),
    };
    let transid = command[find(command, CTRANSID)?].to_vec();
    let mut new = vec![0; HEAD];
    new[4..6].copy_from_slice(&kind.to_le_bytes());
    attribute(&mut new, PATH, rules.name.as_bytes());
    attribute(&mut new, UUID, &own);
    attribute(&mut new, CTRANSID, &transid);
    if let Some(chosen) = rules.parent {
        let transid = command[find(command, CLONE_CTRANSID)?].to_vec();
        attribute(&mut new, CLONE_UUID, &chosen);
        attribute(&mut new, CLONE_CTRANSID, &transid);
    }
    *command = new;
    seal(command);
    Ok(Known { own, parent })
}

fn clone_from(command: &mut [u8], known: &Known, rules: Rules<'_>) -> Result<()> {
    let at = find(command, CLONE_UUID)?;
    let named = uuid_in(command, CLONE_UUID)?;
    // `btrfs receive` reads the last of several.
    if command[at.end..].len() >= 4 && find_after(command, at.end, CLONE_UUID) {
        return Err(refuse("a command names two sources"));
    }
    match (known.parent, rules.parent) {
        _ if named == known.own => return Ok(()),
        (Some(parent), Some(chosen)) if named == parent => command[at].copy_from_slice(&chosen),
        _ => return Err(refuse("it copies from a subvolume that is not its own")),
    }
    seal(command);
    Ok(())
}

/// Whether an attribute comes again behind a place.
fn find_after(command: &[u8], at: usize, wanted: u16) -> bool {
    let mut rest = vec![0; HEAD];
    rest.extend_from_slice(&command[at..]);
    find(&rest, wanted).is_ok()
}

fn attribute(command: &mut Vec<u8>, kind: u16, value: &[u8]) {
    command.extend(kind.to_le_bytes());
    command.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    command.extend_from_slice(value);
}

/// Writes a changed command's length and checksum.
fn seal(command: &mut [u8]) {
    let length = u32::try_from(command.len() - HEAD).unwrap_or(0);
    command[..4].copy_from_slice(&length.to_le_bytes());
    command[6..10].fill(0);
    let sum = crc32c(command);
    command[6..10].copy_from_slice(&sum.to_le_bytes());
}

/// CRC-32C as btrfs has it: from 0, not inverted. Only a few short commands need it.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 })
    })
}
