//! Telling the moved from the added and the deleted.
//!
//! An entry of the later moment is one that was elsewhere when both are the same inode, or when it
//! was copied up from the inode of the image that the other was. Directories are matched before
//! what is in them: one that moved is one rename. An unmatched directory is told, and its entries
//! are looked for in turn.
//!
//! A name that holds another inode than before may be a file that was replaced, or two renames. The
//! pair waits as [`Replaced`]; when neither side is found elsewhere it is compared in place.

use std::collections::HashMap;
use std::io;

use super::merged::Node;
use super::path::Path;
use super::walk::Walk;
use cowl_api::diff::{Change, ChangeKind};

/// Names that wait to be matched, on each side. Beyond that a rename is told as deleted and added.
const PENDING: usize = 200_000;

/// What an inode of one moment is recognised by in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Id {
    /// An inode of the disk, made before the moments parted.
    Disk(u64),
    /// An inode of the image that both moments have.
    Image(u64),
}

/// Ids of an entry.
type Ids = [Option<Id>; 2];

/// A name that waits to be matched.
#[derive(Debug, Clone)]
pub struct Waiting {
    path: Path,
    node: Node,
    /// The pair it is a side of.
    of: Option<usize>,
    taken: bool,
}

impl Waiting {
    /// A name that is only in one moment.
    pub fn new(path: Path, node: Node) -> Self {
        Self { path, node, of: None, taken: false }
    }
}

/// A name that holds one thing before and another after.
#[derive(Debug, Clone)]
pub struct Replaced {
    from: Path,
    to: Path,
    a: Node,
    b: Node,
    /// Whether the earlier one is elsewhere later.
    a_taken: bool,
    /// Whether the later one was elsewhere.
    b_taken: bool,
}

/// Names that wait for a match.
#[derive(Debug, Default)]
pub struct Pool {
    gone: Vec<Waiting>,
    came: Vec<Waiting>,
    replaced: Vec<Replaced>,
    /// Those of `gone` that are found by an id.
    index: HashMap<Id, Vec<usize>>,
    /// How many of `gone` are in the index.
    indexed: usize,
}

impl Walk<'_> {
    /// A name of the earlier moment that the later has not.
    pub fn lose(&mut self, path: Path, node: Node) -> io::Result<()> {
        if self.pool.gone.len() >= PENDING {
            return self.tell_all_deleted(path, node);
        }
        self.pool.gone.push(Waiting::new(path, node));
        Ok(())
    }

    /// A name of the later moment that the earlier has not.
    pub fn gain(&mut self, path: Path, node: Node) -> io::Result<()> {
        if self.pool.came.len() >= PENDING {
            return self.tell_all_added(path, node);
        }
        self.pool.came.push(Waiting::new(path, node));
        Ok(())
    }

    /// A name that holds another inode than before; both of one type, and no directories.
    pub fn replace(&mut self, from: Path, to: Path, a: Node, b: Node) -> io::Result<()> {
        if self.pool.gone.len() >= PENDING || self.pool.came.len() >= PENDING {
            return self.compare_in_place(from, to, a, b);
        }
        let of = Some(self.pool.replaced.len());
        self.pool.gone.push(Waiting { of, ..Waiting::new(from.clone(), a) });
        self.pool.came.push(Waiting { of, ..Waiting::new(to.clone(), b) });
        self.pool.replaced.push(Replaced { from, to, a, b, a_taken: false, b_taken: false });
        Ok(())
    }

    fn compare_in_place(&mut self, from: Path, to: Path, a: Node, b: Node) -> io::Result<()> {
        if let Some(change) = self.matched(from, to, a, b)? {
            self.tell(change);
        }
        Ok(())
    }

    /// Matches all names that wait, and tells them.
    ///
    /// # Errors
    /// When a tree cannot be read.
    pub fn settle(&mut self) -> io::Result<()> {
        let mut open: Vec<(Waiting, Ids)> = Vec::new();
        loop {
            self.sort_out(&mut open)?;
            if !open.is_empty() {
                self.index()?;
                open = self.find_all(open)?;
                // Inside of what moved there may be more of both.
                self.drain()?;
            }
            if self.stopped {
                return Ok(());
            }
            let more = !self.pool.came.is_empty() || (!open.is_empty() && self.pool.indexed < self.pool.gone.len());
            if more || (!open.is_empty() && self.open_gone_directories()?) || self.open_came_directories(&mut open)? {
                continue;
            }
            break;
        }
        self.tell_rest(open)
    }

    /// Tells what cannot have been anywhere before, with all below it; the others go to `open`.
    fn sort_out(&mut self, open: &mut Vec<(Waiting, Ids)>) -> io::Result<()> {
        while let Some(came) = self.pool.came.pop() {
            if self.stopped {
                return Ok(());
            }
            let ids = self.ids_after(came.node)?;
            if ids.iter().any(Option::is_some) {
                open.push((came, ids));
            } else if came.of.is_none() {
                self.tell_added(&came.path, came.node)?;
                for (path, node) in self.entries_after(&came)? {
                    self.pool.came.push(Waiting::new(path, node));
                }
            }
        }
        Ok(())
    }

    fn index(&mut self) -> io::Result<()> {
        for at in self.pool.indexed..self.pool.gone.len() {
            let gone = &self.pool.gone[at];
            if gone.taken {
                continue;
            }
            for id in self.ids_before(gone.node)?.into_iter().flatten() {
                self.pool.index.entry(id).or_default().push(at);
            }
        }
        self.pool.indexed = self.pool.gone.len();
        Ok(())
    }

    /// Tells those that were elsewhere; gives the others back.
    fn find_all(&mut self, open: Vec<(Waiting, Ids)>) -> io::Result<Vec<(Waiting, Ids)>> {
        let mut left = Vec::new();
        for (came, ids) in open {
            match self.find(&came, ids) {
                Some(at) => self.moved(at, came)?,
                None => left.push((came, ids)),
            }
        }
        Ok(left)
    }

    fn find(&mut self, came: &Waiting, ids: Ids) -> Option<usize> {
        let Pool { gone, index, .. } = &mut self.pool;
        for id in ids.into_iter().flatten() {
            let Some(places) = index.get_mut(&id) else { continue };
            places.retain(|at| !gone[*at].taken);
            if let Some(at) = places.iter().copied().find(|at| gone[*at].node.is_dir == came.node.is_dir) {
                return Some(at);
            }
        }
        None
    }

    fn moved(&mut self, at: usize, came: Waiting) -> io::Result<()> {
        let gone = &mut self.pool.gone[at];
        gone.taken = true;
        let gone = gone.clone();
        if let Some(of) = gone.of {
            self.pool.replaced[of].a_taken = true;
        }
        if let Some(of) = came.of {
            self.pool.replaced[of].b_taken = true;
        }
        let (a, b) = (self.a.tree.inode(gone.node)?, self.b.tree.inode(came.node)?);
        let within = self.matched(gone.path.clone(), came.path.clone(), gone.node, came.node)?;
        let mut change = within.unwrap_or_else(|| {
            let mut change = Change::new(ChangeKind::Renamed, &came.path.bytes(), b.file_type());
            change.size_before = super::compare::size(&a);
            change.size_after = super::compare::size(&b);
            change
        });
        change.kind = ChangeKind::Renamed;
        self.tell(change.from(&gone.path.bytes()));
        Ok(())
    }

    /// Tells the directories of the earlier moment that were not found, and looks for what was in
    /// them. False when there is none left.
    fn open_gone_directories(&mut self) -> io::Result<bool> {
        let count = self.pool.gone.len();
        let mut any = false;
        for at in 0..count {
            let gone = self.pool.gone[at].clone();
            if gone.taken || !gone.node.is_dir || self.pool.gone.len() >= PENDING {
                continue;
            }
            any = true;
            self.pool.gone[at].taken = true;
            self.tell_deleted(&gone.path, gone.node)?;
            for (path, node) in self.entries_before(&gone.path, gone.node)? {
                self.lose(path, node)?;
            }
        }
        Ok(any)
    }

    /// The same for directories of the later moment.
    fn open_came_directories(&mut self, open: &mut Vec<(Waiting, Ids)>) -> io::Result<bool> {
        let (directories, others): (Vec<_>, Vec<_>) = open.drain(..).partition(|(came, _)| came.node.is_dir);
        *open = others;
        let any = !directories.is_empty();
        for (came, _) in directories {
            self.tell_added(&came.path, came.node)?;
            for (path, node) in self.entries_after(&came)? {
                self.gain(path, node)?;
            }
        }
        Ok(any)
    }

    fn tell_rest(&mut self, open: Vec<(Waiting, Ids)>) -> io::Result<()> {
        for (came, _) in open.into_iter().filter(|(came, _)| came.of.is_none()) {
            self.tell_added(&came.path, came.node)?;
        }
        for gone in std::mem::take(&mut self.pool.gone) {
            if !gone.taken && gone.of.is_none() {
                self.tell_all_deleted(gone.path, gone.node)?;
            }
        }
        for Replaced { from, to, a, b, a_taken, b_taken } in std::mem::take(&mut self.pool.replaced) {
            match (a_taken, b_taken) {
                (true, true) => {}
                (true, false) => self.tell_added(&to, b)?,
                (false, true) => self.tell_deleted(&from, a)?,
                (false, false) => self.compare_in_place(from, to, a, b)?,
            }
        }
        Ok(())
    }

    fn entries_before(&mut self, path: &Path, node: Node) -> io::Result<Vec<(Path, Node)>> {
        if node.is_dir && path.is_too_deep() {
            self.summary.too_deep += 1;
        }
        if !node.is_dir || path.is_too_deep() {
            return Ok(Vec::new());
        }
        Ok(self.a.tree.children(node)?.into_iter().map(|(name, node)| (path.join(name), node)).collect())
    }

    fn entries_after(&mut self, came: &Waiting) -> io::Result<Vec<(Path, Node)>> {
        if came.node.is_dir && came.path.is_too_deep() {
            self.summary.too_deep += 1;
        }
        if !came.node.is_dir || came.path.is_too_deep() {
            return Ok(Vec::new());
        }
        Ok(self.b.tree.children(came.node)?.into_iter().map(|(name, node)| (came.path.join(name), node)).collect())
    }

    fn tell_all_deleted(&mut self, path: Path, node: Node) -> io::Result<()> {
        let mut todo = vec![(path, node)];
        while let Some((path, node)) = todo.pop().filter(|_| !self.stopped) {
            self.tell_deleted(&path, node)?;
            todo.extend(self.entries_before(&path, node)?);
        }
        Ok(())
    }

    fn tell_all_added(&mut self, path: Path, node: Node) -> io::Result<()> {
        let mut todo = vec![Waiting::new(path, node)];
        while let Some(came) = todo.pop().filter(|_| !self.stopped) {
            self.tell_added(&came.path, came.node)?;
            todo.extend(self.entries_after(&came)?.into_iter().map(|(path, node)| Waiting::new(path, node)));
        }
        Ok(())
    }
}
