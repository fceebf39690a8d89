//! Reading an archive from anybody: every length is bounded, every frame's digest is checked
//! before its content is looked at.

use std::io::{self, Read};

use super::manifest::Manifest;
use super::{CHUNK, HEAD, Kind, MAGIC, MANIFEST_MAX, Sum, VERSION, chained};
use crate::error::{Error, Result};

/// One archive that is being read, or several in a row.
pub struct Reader<R> {
    input: R,
    chain: Sum,
    unpacker: zstd::bulk::Decompressor<'static>,
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes unpacked so far.
    pub unpacked: u64,
}

struct Frame {
    kind: Kind,
    plain: Vec<u8>,
}

fn damaged(what: &str) -> Error {
    Error::Unsupported(format!("the archive is damaged: {what}"))
}

impl<R: Read> Reader<R> {
    /// A reader at the beginning of an archive.
    ///
    /// # Errors
    /// When there is no memory for unpacking.
    pub fn new(input: R) -> Result<Self> {
        let unpacker = zstd::bulk::Decompressor::new().map_err(|e| Error::Unsupported(e.to_string()))?;
        Ok(Self { input, chain: [0; 32], unpacker, bytes: 0, unpacked: 0 })
    }

    /// The manifest of the next archive; `None` where the input ends between two.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what is no archive, or one of another version.
    pub fn manifest(&mut self) -> Result<Option<Manifest>> {
        let mut first = [0; 12];
        let mut got = 0;
        while got < first.len() {
            match self.input.read(&mut first[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(reading(e)),
            }
        }
        if got == 0 && self.bytes > 0 {
            return Ok(None);
        }
        if first[..8] != MAGIC {
            return Err(Error::Unsupported("this is not an archive of a Cowl container".into()));
        }
        if got < first.len() {
            return Err(damaged("it is cut off"));
        }
        self.bytes += got as u64;
        let version = u32::from_le_bytes([first[8], first[9], first[10], first[11]]);
        if version != VERSION {
            return Err(Error::Unsupported(format!("the archive has format {version}, this version knows {VERSION}")));
        }
        self.chain = [0; 32];
        let frame = self.frame()?;
        match frame.kind {
            Kind::Manifest => Manifest::parse(&frame.plain).map(Some),
            _ => Err(damaged("it does not begin with its manifest")),
        }
    }

    /// The stream of the next section. Read it to its end before anything else is asked for.
    pub fn section(&mut self) -> Section<'_, R> {
        Section { reader: self, piece: Vec::new(), at: 0, ended: false }
    }

    /// Reads the end of an archive whose sections are all read; gives the digest of all of it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it goes on.
    pub fn end(&mut self) -> Result<[u8; 32]> {
        match self.frame()?.kind {
            Kind::Trailer => Ok(self.chain),
            _ => Err(damaged("it goes on where it should end")),
        }
    }

    fn exactly(&mut self, room: &mut [u8]) -> Result<()> {
        self.bytes += room.len() as u64;
        self.input.read_exact(room).map_err(reading)
    }

    fn frame(&mut self) -> Result<Frame> {
        let mut head = [0; HEAD];
        self.exactly(&mut head)?;
        let mut sum: Sum = [0; 32];
        self.exactly(&mut sum)?;
        let length = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (stored, plain) = (length(4), length(8));
        let kind = Kind::parse(head[0]).filter(|_| head[1] <= 1 && head[2..4] == [0, 0]);
        let kind = kind.ok_or_else(|| damaged("a frame of no known kind"))?;
        let most = match kind {
            Kind::Manifest => MANIFEST_MAX,
            Kind::Data => CHUNK,
            Kind::End | Kind::Trailer => 0,
        };
        // What packs to more than itself is stored plain.
        if plain > most || stored > plain || (head[1] == 0 && stored != plain) {
            return Err(damaged("a frame of an impossible length"));
        }
        let mut bytes = vec![0; stored];
        self.exactly(&mut bytes)?;
        self.chain = chained(&self.chain, &head, &bytes);
        if self.chain != sum {
            return Err(damaged("a checksum is wrong"));
        }
        let bytes = match head[1] {
            0 => bytes,
            _ => self.unpacker.decompress(&bytes, plain).map_err(|_| damaged("it does not unpack"))?,
        };
        if bytes.len() != plain {
            return Err(damaged("it does not unpack to what it says"));
        }
        self.unpacked += plain as u64;
        Ok(Frame { kind, plain: bytes })
    }
}

fn reading(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it is cut off"),
        _ => Error::Sys { what: "read the archive".into(), source: e },
    }
}

/// A section's stream.
pub struct Section<'a, R> {
    reader: &'a mut Reader<R>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Read for Section<'_, R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            let frame = self.reader.frame().map_err(|e| match e {
                Error::Sys { source, .. } => source,
                other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
            })?;
            match frame.kind {
                Kind::Data => (self.piece, self.at) = (frame.plain, 0),
                Kind::End => {
                    self.ended = true;
                    self.piece.clear();
                    self.at = 0;
                }
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the archive is damaged: a section is cut off",
                    ));
                }
            }
        }
        let n = room.len().min(self.piece.len() - self.at);
        room[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
