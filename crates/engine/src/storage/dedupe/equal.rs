//! Files of one size: which lie apart and are equal, and making them share.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fadvise, fstat};
use sha2::{Digest, Sha256};

use super::{Candidate, Search};
use crate::sys::btrfs::extents;
use crate::sys::share::{self, Deduped};

/// Bytes that are compared before a file is read as a whole.
const BEGINNING: u64 = 64 << 10;
/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Members that lie on the same blocks, by their place among the candidates.
type Together = Vec<usize>;

/// A file that is read. When nobody had it in memory before, it is given back afterwards.
struct Visited {
    file: File,
    cold: bool,
}

impl Visited {
    fn new(file: File) -> Self {
        // Where nobody can tell, what a container uses is rather kept.
        let cold = share::cached_pages(file.as_fd()).is_ok_and(|pages| pages == 0);
        Self { file, cold }
    }
}

impl Drop for Visited {
    fn drop(&mut self) {
        if self.cold {
            let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        }
    }
}

impl Search<'_> {
    fn open(&self, candidate: &Candidate) -> io::Result<File> {
        let file = self.trees[candidate.tree].file(&candidate.path)?;
        let size = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
        if size == candidate.size { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Deals with all files of one size.
    pub(super) fn same_size(&mut self, files: &[Candidate]) {
        let apart = self.apart(files);
        let alike = if files[0].size > BEGINNING { self.alike(files, apart, BEGINNING) } else { vec![apart] };
        for apart in alike {
            for equal in self.alike(files, apart, u64::MAX) {
                self.share(files, equal);
            }
        }
    }

    /// Puts together what lies on the same blocks already.
    fn apart(&self, files: &[Candidate]) -> Vec<Together> {
        let (keys, mut inodes) = (RandomState::new(), HashSet::new());
        let mut layouts: HashMap<u64, Together> = HashMap::new();
        for (number, candidate) in files.iter().enumerate() {
            if (self.stop)() {
                return Vec::new();
            }
            let Ok(file) = self.open(candidate) else { continue };
            let Ok(stat) = fstat(&file) else { continue };
            // Another name of the same file.
            if !inodes.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            let (mut hasher, mut any) = (keys.build_hasher(), false);
            let told = extents::each(file.as_fd(), stat.st_ino, |extent| {
                any = true;
                extent.hash(&mut hasher);
            });
            if told.is_ok() && any {
                layouts.entry(hasher.finish()).or_default().push(number);
            }
        }
        let mut apart: Vec<Together> = layouts.into_values().collect();
        apart.sort();
        apart
    }

    /// Those of which several have the same first bytes.
    fn alike(&mut self, files: &[Candidate], apart: Vec<Together>, bytes: u64) -> Vec<Vec<Together>> {
        if apart.len() < 2 {
            return Vec::new();
        }
        let mut contents: HashMap<[u8; 32], Vec<Together>> = HashMap::new();
        for together in apart {
            if let Ok(hash) = self.hash(&files[together[0]], bytes) {
                contents.entry(hash).or_default().push(together);
            }
            if (self.stop)() {
                return Vec::new();
            }
        }
        contents.into_values().filter(|equal| equal.len() > 1).collect()
    }

    fn hash(&mut self, candidate: &Candidate, bytes: u64) -> io::Result<[u8; 32]> {
        let visited = Visited::new(self.open(candidate)?);
        let (mut hasher, mut at) = (Sha256::new(), 0);
        let end = candidate.size.min(bytes);
        let mut piece = vec![0; PIECE];
        while at < end && !(self.stop)() {
            let want = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let got = visited.file.read_at(&mut piece[..want], at)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(&piece[..got]);
            at += got as u64;
            self.read(got as u64);
        }
        Ok(hasher.finalize().into())
    }

    fn read(&mut self, bytes: u64) {
        self.figures.read += bytes;
        self.pace.pay(bytes, self.stop);
        self.report();
    }

    /// Makes all share with one: with an image's where one is among them, else with what most share.
    fn share(&mut self, files: &[Candidate], mut equal: Vec<Together>) {
        let fixed = |number: &usize| self.trees[files[*number].tree].fixed;
        let weight = |together: &Together| (together.iter().any(fixed), together.len());
        let Some(kept) = (0..equal.len()).max_by_key(|i| (weight(&equal[*i]), std::cmp::Reverse(*i))) else { return };
        let kept = equal.swap_remove(kept);
        // What an image holds twice stays.
        let moved: Vec<Together> = equal.into_iter().filter(|together| !together.iter().any(fixed)).collect();
        self.figures.duplicate += files[kept[0]].size * moved.len() as u64;
        if self.scope.dry_run {
            return;
        }
        let Ok(source) = self.open(&files[kept[0]]).map(Visited::new) else { return };
        for number in moved.into_iter().flatten() {
            if (self.stop)() {
                return;
            }
            match self.open(&files[number]) {
                Ok(file) => self.share_file(&source, &Visited::new(file), files[number].size),
                Err(_) => self.figures.changed += 1,
            }
        }
    }

    fn share_file(&mut self, source: &Visited, dest: &Visited, size: u64) {
        let mut at = 0;
        while at < size && !(self.stop)() {
            let length = share::DEDUPE_MAX.min(size - at);
            let shared = share::dedupe(source.file.as_fd(), dest.file.as_fd(), at, length);
            // The kernel has read both.
            self.read(2 * length);
            match shared {
                Ok(Deduped::Bytes(bytes)) if bytes > 0 => {
                    self.figures.deduped += bytes;
                    at += bytes;
                }
                Ok(Deduped::Differs) => {
                    self.figures.changed += 1;
                    return;
                }
                Ok(Deduped::Bytes(_)) | Err(_) => {
                    self.figures.refused += 1;
                    return;
                }
            }
        }
    }
}
