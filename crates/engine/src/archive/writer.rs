//! Writing an archive: frames in a row, streams packed on all cores.

use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};

use super::manifest::Manifest;
use super::{CHUNK, HEAD, Kind, MAGIC, MANIFEST_MAX, Sum, VERSION, chained};
use crate::error::{Context, Error, Result};

/// An archive that is being written.
pub struct Writer<W> {
    out: W,
    chain: Sum,
}

/// A piece on its way through the packers.
struct Piece {
    plain: Vec<u8>,
    packed: SyncSender<io::Result<Packed>>,
}

struct Packed {
    codec: u8,
    plain: usize,
    stored: Vec<u8>,
}

impl<W: Write + Send> Writer<W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// When it cannot be written, or the manifest is too long.
    pub fn begin(mut out: W, manifest: &Manifest, level: i32) -> Result<Self> {
        let text = serde_json::to_vec(manifest).map_err(|e| Error::Unsupported(e.to_string()))?;
        if text.len() > MANIFEST_MAX {
            return Err(Error::Unsupported("the container's variables are too long to export".into()));
        }
        out.write_all(&MAGIC).and_then(|()| out.write_all(&VERSION.to_le_bytes())).context(writing)?;
        let mut writer = Self { out, chain: [0; 32] };
        let packed = packer(level).and_then(|mut packer| pack(&mut packer, text)).context(|| "pack".into())?;
        writer.frame(Kind::Manifest, &packed)?;
        Ok(writer)
    }

    fn frame(&mut self, kind: Kind, packed: &Packed) -> Result<()> {
        let mut head = [0; HEAD];
        head[0] = kind as u8;
        head[1] = packed.codec;
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        head[4..8].copy_from_slice(&length(packed.stored.len()));
        head[8..12].copy_from_slice(&length(packed.plain));
        self.chain = chained(&self.chain, &head, &packed.stored);
        self.out
            .write_all(&head)
            .and_then(|()| self.out.write_all(&self.chain))
            .and_then(|()| self.out.write_all(&packed.stored))
            .context(writing)
    }

    /// Writes a section: all that `input` gives.
    ///
    /// # Errors
    /// Of reading and of writing; the archive is of no use then.
    pub fn section(&mut self, input: &mut dyn Read, level: i32) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
        let (jobs, queue) = mpsc::sync_channel::<Piece>(threads);
        let queue = Mutex::new(queue);
        let (order, packed) = mpsc::sync_channel(threads * 2);
        std::thread::scope(|scope| {
            let queue = &queue;
            for _ in 0..threads {
                scope.spawn(move || work(queue, level));
            }
            let this = &mut *self;
            let writing = scope.spawn(move || this.ordered(&packed));
            let read = feed(input, &jobs, &order);
            drop((jobs, order));
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // Reading ends when nobody writes any more; the cause is the writing's then.
            written.and(read.context(|| "read the stream".into()))
        })?;
        self.frame(Kind::End, &Packed { codec: 0, plain: 0, stored: Vec::new() })
    }

    fn ordered(&mut self, packed: &Receiver<Receiver<io::Result<Packed>>>) -> Result<()> {
        for piece in packed {
            let piece = piece.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
            self.frame(Kind::Data, &piece.context(|| "pack".into())?)?;
        }
        Ok(())
    }

    /// Ends the archive and gives back what it was written to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self) -> Result<W> {
        self.frame(Kind::Trailer, &Packed { codec: 0, plain: 0, stored: Vec::new() })?;
        self.out.flush().context(writing)?;
        Ok(self.out)
    }
}

fn writing() -> String {
    "write the archive".into()
}

/// Hands pieces to the packers, and their answers, in order, to the writer.
fn feed(
    input: &mut dyn Read,
    jobs: &SyncSender<Piece>,
    order: &SyncSender<Receiver<io::Result<Packed>>>,
) -> io::Result<()> {
    loop {
        let mut plain = Vec::with_capacity(CHUNK);
        input.take(CHUNK as u64).read_to_end(&mut plain)?;
        if plain.is_empty() {
            return Ok(());
        }
        let (tx, rx) = mpsc::sync_channel(1);
        if order.send(rx).is_err() || jobs.send(Piece { plain, packed: tx }).is_err() {
            return Ok(());
        }
    }
}

fn work(queue: &Mutex<Receiver<Piece>>, level: i32) {
    let mut packer = packer(level);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(piece) = next else { return };
        let packed = match &mut packer {
            Ok(packer) => pack(packer, piece.plain),
            Err(e) => Err(io::Error::from(e.kind())),
        };
        // Nobody waits any more when writing failed.
        let _ = piece.packed.send(packed);
    }
}

fn packer(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    zstd::bulk::Compressor::new(level)
}

fn pack(packer: &mut zstd::bulk::Compressor<'_>, plain: Vec<u8>) -> io::Result<Packed> {
    let stored = packer.compress(&plain)?;
    Ok(match stored.len() < plain.len() {
        true => Packed { codec: 1, plain: plain.len(), stored },
        false => Packed { codec: 0, plain: plain.len(), stored: plain },
    })
}
