//! Equal files of different disks, made to share their blocks.
//!
//! ```text
//! sync ─ walk all trees: how often is each size there? ─ walk again: files whose size is there twice
//!      ─ largest first, size by size:
//!          which lie on the same blocks already?            (tree search, nothing is read)
//!          which of the others begin alike? are alike?      (SHA-256 of 64 KiB, then of all)
//!          FIDEDUPERANGE: the kernel compares once more and shares
//! ```
//! - **Safe on disks that run.** Nothing here decides that two files are equal: the kernel compares
//!   both ranges under the locks of both files and leaves them alone when they differ. Content,
//!   owner and times stay as they are; files are opened for reading only, so that a program that
//!   runs can be shared as well. A file that is written later gets blocks of its own again, as after
//!   a snapshot. A run that is killed leaves nothing half done.
//! - **Hostile trees.** Names, links and sizes were made inside. Each path is opened beneath its
//!   disk with no link followed and no mount crossed, looked at before it is opened for reading, and
//!   only regular files are; pipes and devices are never opened.
//! - **Bounded.** Bytes read (also those the kernel compares) keep to a rate; the thread has the
//!   idle I/O class and the lowest priority; memory is bounded by [`SIZES_MAX`], [`NAMES_MAX`] and
//!   [`PENDING_MAX`](super::walk), what lies beyond is passed over and counted. Pages that were not in
//!   memory before are given back.
//! - **What is searched.** Whole files of the same size. Images are read, never changed. Snapshots
//!   are looked into only when asked for; then their copies are shared as well (the kernel takes a
//!   read-only subvolume as destination from root). Without that, blocks that a snapshot holds stay
//!   in use however much is shared beside it.
//!
//! # What it does to quotas
//! Simple quotas charge a block to whoever wrote it. Measured on Linux 6.18 (the test
//! `quotas_of_two_equal_files…`): of two containers with the same 8 MiB the one whose copy goes is
//! charged 8 MiB less; the other stays charged, even after it deletes its file, for as long as
//! anybody uses the blocks. Where an image has the file, it is the one that is kept, and nobody is
//! charged.
//!
//! # What it tells
//! Root inside can ask the kernel which of its blocks are shared (FIEMAP), so it can learn that
//! *somebody* has a file it has, too. So this is done only when asked for, and for the containers
//! named.

mod equal;
mod pace;

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::pace::Pace;
use super::pool::{Pool, names};
use super::walk::Tree;
use crate::error::{Context, Result};
use crate::sys::share;
use cowl_api::ContainerId;
use cowl_api::dedupe::Figures;

/// Different sizes that are counted at most; 24 MiB of memory.
const SIZES_MAX: usize = 1 << 20;
/// Bytes that files to compare may take in memory.
const NAMES_MAX: usize = 64 << 20;
/// Between two reports of how far it is.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What is to be searched, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Whose disks.
    pub containers: Vec<ContainerId>,
    /// Their snapshots, too.
    pub snapshots: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Bytes read a second.
    pub rate: u64,
    /// Smallest file, in bytes.
    pub least: u64,
}

/// A file whose size is there more than once.
#[derive(Debug)]
struct Candidate {
    tree: usize,
    path: Box<[u8]>,
    size: u64,
}

/// A run.
struct Search<'a> {
    scope: &'a Scope,
    trees: Vec<Tree>,
    pace: Pace,
    figures: Figures,
    stop: &'a dyn Fn() -> bool,
    tell: &'a mut dyn FnMut(&Figures),
    told: Instant,
}

impl Pool {
    /// Searches disks for equal files and lets them share their blocks. Ends early, with what was
    /// done so far, when `stop` says so. Takes this thread's priority away for good: run it on one of
    /// its own.
    ///
    /// # Errors
    /// When the pool cannot be read at all. What single files say is counted, not an error.
    pub fn dedupe(&self, scope: &Scope, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(&Figures)) -> Result<Figures> {
        // Best effort: without them it is less polite, and as right.
        let _ = share::idle_io();
        let _ = rustix::process::setpriority_process(None, 19);
        // What is not on disk yet has no blocks that could be compared.
        let root = File::open(&self.root).at("open", &self.root)?;
        rustix::fs::syncfs(&root).at("sync", &self.root)?;
        let trees = self.trees(scope)?;
        let (pace, figures) = (Pace::new(scope.rate), Figures::default());
        let mut search = Search { scope, trees, pace, figures, stop, tell, told: Instant::now() };
        let candidates = search.candidates();
        search.compare(&candidates);
        (search.tell)(&search.figures);
        Ok(search.figures)
    }

    /// What is searched: images first, which are kept as they are. Of a disk that is gone by now
    /// there is nothing to search.
    fn trees(&self, scope: &Scope) -> Result<Vec<Tree>> {
        const DISK: &[&str] = &["rootfs", "ovl/upper"];
        let images = self.root.join("images");
        let mut paths: Vec<(PathBuf, &[&str], bool)> =
            names(&images)?.iter().map(|name| (images.join(name), &["."][..], true)).collect();
        for id in &scope.containers {
            paths.push((self.disk(id), DISK, false));
            let snapshots = if scope.snapshots { self.snapshots(id)? } else { Vec::new() };
            paths.extend(snapshots.iter().map(|name| (self.snapshot(id, name), DISK, false)));
        }
        Ok(paths.into_iter().filter_map(|(path, tops, fixed)| Tree::open(&path, tops, fixed).ok()).collect())
    }
}

impl Search<'_> {
    /// Files whose size is there more than once, the largest first.
    fn candidates(&mut self) -> Vec<Candidate> {
        // Whether a size was seen a second time.
        let mut sizes: HashMap<u64, bool> = HashMap::new();
        let trees = std::mem::take(&mut self.trees);
        for tree in &trees {
            let passed_over = tree.files(self.scope.least, self.stop, &mut |_, size| {
                self.figures.files += 1;
                let room = sizes.len() < SIZES_MAX;
                match sizes.get_mut(&size) {
                    Some(twice) => *twice = true,
                    None if room => drop(sizes.insert(size, false)),
                    None => self.figures.passed_over += 1,
                }
                self.report();
            });
            self.figures.passed_over += passed_over;
        }
        sizes.retain(|_, twice| *twice);
        let (mut found, mut held) = (Vec::new(), 0);
        for (number, tree) in trees.iter().enumerate() {
            tree.files(self.scope.least, self.stop, &mut |path, size| {
                if !sizes.contains_key(&size) {
                    return;
                }
                held += path.len() + size_of::<Candidate>();
                if held > NAMES_MAX {
                    self.figures.passed_over += 1;
                } else {
                    found.push(Candidate { tree: number, path: path.into(), size });
                }
                self.report();
            });
        }
        self.trees = trees;
        // By tree within a size: images come first and are what others are made to share with.
        found.sort_by(|a, b| b.size.cmp(&a.size).then(a.tree.cmp(&b.tree)));
        self.figures.candidates = found.len() as u64;
        found
    }

    fn compare(&mut self, candidates: &[Candidate]) {
        for same_size in candidates.chunk_by(|a, b| a.size == b.size) {
            if (self.stop)() {
                return;
            }
            self.same_size(same_size);
            self.figures.checked += same_size.len() as u64;
            self.report();
        }
    }

    /// Tells how far it is, not too often.
    fn report(&mut self) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            (self.tell)(&self.figures);
        }
    }
}

#[cfg(test)]
mod tests;
