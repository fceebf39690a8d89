//! Both merged trees side by side, along the ways to what changed.
//!
//! A directory that has itself changed since the moments were one is listed in both; of one that
//! has not, only the ways to changes below it are followed. What is the same inode, untouched in
//! both, is the same with all below it. Names that are only in one moment go to [`renames`], which
//! tells the moved from the added and the deleted.
//!
//! [`renames`]: super::renames

use std::io;

use super::compare::{Comparer, Moment, size};
use super::merged::{Children, Layer, Node};
use super::path::Path;
use super::renames::{Id, Pool};
use crate::error::{Context, Result};
use cowl_api::diff::{Change, ChangeKind, Summary};

/// Takes changes; false ends the diff.
pub type Sink<'a> = &'a mut dyn FnMut(Change) -> bool;

/// An entry of both moments.
struct Pair {
    from: Path,
    to: Path,
    a: Node,
    b: Node,
}

/// A diff on its way.
pub struct Walk<'a> {
    /// The earlier moment.
    pub a: &'a mut Moment,
    /// The later moment.
    pub b: &'a mut Moment,
    /// First transaction whose changes they do not share.
    pub parted_in: u64,
    /// Compares entries.
    pub comparer: Comparer,
    /// Only changes at or below this path are told.
    pub below: Vec<u8>,
    /// Takes the changes.
    pub sink: Sink<'a>,
    /// What was told.
    pub summary: Summary,
    /// Whether nobody listens any more.
    pub stopped: bool,
    /// Names that are only in one moment.
    pub pool: Pool,
    todo: Vec<Pair>,
}

impl<'a> Walk<'a> {
    /// Ready to begin.
    pub fn new(a: &'a mut Moment, b: &'a mut Moment, parted_in: u64, same_image: bool, sink: Sink<'a>) -> Self {
        Self {
            a,
            b,
            parted_in,
            comparer: Comparer::new(same_image),
            below: Vec::new(),
            sink,
            summary: Summary::default(),
            stopped: false,
            pool: Pool::default(),
            todo: Vec::new(),
        }
    }

    /// The whole diff.
    ///
    /// # Errors
    /// When a tree cannot be read.
    pub fn run(mut self) -> Result<Summary> {
        let (a, b) = (self.a.tree.root(), self.b.tree.root());
        let all = self.pair(Path::ROOT, Path::ROOT, a, b).and_then(|()| self.drain()).and_then(|()| self.settle());
        all.context(|| "compare two moments".into())?;
        Ok(self.summary)
    }

    /// Compares all pairs that wait.
    pub fn drain(&mut self) -> io::Result<()> {
        while let Some(pair) = self.todo.pop() {
            if self.stopped {
                break;
            }
            self.directory(pair)?;
        }
        Ok(())
    }

    /// Tells a change.
    pub fn tell(&mut self, change: Change) {
        let under = |path: &[u8]| {
            let below = self.below.as_slice();
            below.is_empty() || path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        let wanted = self.below.is_empty()
            || under(&change.path_bytes())
            || change.from_bytes().is_some_and(|from| under(&from));
        if wanted && !self.stopped {
            self.summary.add(&change);
            self.stopped = !(self.sink)(change);
        }
    }

    /// Tells that an entry is only in the later moment.
    pub fn tell_added(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let inode = self.b.tree.inode(node)?;
        let mut change = Change::new(ChangeKind::Added, &path.bytes(), inode.file_type());
        change.size_after = size(&inode);
        self.tell(change);
        Ok(())
    }

    /// Tells that an entry is only in the earlier moment.
    pub fn tell_deleted(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let inode = self.a.tree.inode(node)?;
        let mut change = Change::new(ChangeKind::Deleted, &path.bytes(), inode.file_type());
        change.size_before = size(&inode);
        self.tell(change);
        Ok(())
    }

    /// Compares an entry and, of a directory, notes that its entries are to be compared.
    pub fn matched(&mut self, from: Path, to: Path, a: Node, b: Node) -> io::Result<Option<Change>> {
        let change = self.comparer.change(&to.bytes(), (self.a, a), (self.b, b))?;
        if a.is_dir && b.is_dir {
            self.todo.push(Pair { from, to, a, b });
        }
        Ok(change)
    }

    /// Whether both are one thing that nobody changed, whatever is below it.
    fn is_untouched(&self, a: Node, b: Node) -> bool {
        (a.layer, a.ino, a.lower) == (b.layer, b.ino, b.lower)
            && match a.layer {
                Layer::Image => self.comparer.same_image,
                Layer::Disk => {
                    (self.comparer.same_image || a.lower.is_none())
                        && !self.a.tree.touched.is(a.ino)
                        && !self.b.tree.touched.is(b.ino)
                }
            }
    }

    /// The same name in both moments.
    fn pair(&mut self, from: Path, to: Path, a: Node, b: Node) -> io::Result<()> {
        if self.is_untouched(a, b) {
            if a.is_dir && (self.a.tree.leads(a) || self.b.tree.leads(b)) {
                self.todo.push(Pair { from, to, a, b });
            }
            return Ok(());
        }
        let (of_a, of_b) = (self.a.tree.inode(a)?, self.b.tree.inode(b)?);
        if of_a.file_type() != of_b.file_type() || (a.is_dir && self.moved_apart(a, b)?) {
            self.lose(from, a)?;
            return self.gain(to, b);
        }
        if !a.is_dir && self.is_another(a, b)? {
            return self.replace(from, to, a, b);
        }
        if let Some(change) = self.matched(from, to, a, b)? {
            self.tell(change);
        }
        Ok(())
    }

    /// Whether two directories of one name are two, of which at least one is elsewhere in the other
    /// moment.
    fn moved_apart(&mut self, a: Node, b: Node) -> io::Result<bool> {
        if (a.layer, a.ino) == (b.layer, b.ino) || (a.layer, b.layer) != (Layer::Disk, Layer::Disk) {
            return Ok(false);
        }
        let old = |inode: &super::items::Inode, parted_in: u64| inode.generation < parted_in;
        let (of_a, of_b) = (self.a.tree.inode(a)?, self.b.tree.inode(b)?);
        let a_lives = old(&of_a, self.parted_in)
            && self.b.tree.disk().inode(a.ino)?.is_some_and(|i| i.generation == of_a.generation);
        let b_lived = old(&of_b, self.parted_in)
            && self.a.tree.disk().inode(b.ino)?.is_some_and(|i| i.generation == of_b.generation);
        Ok(a_lives || b_lived)
    }

    /// Whether two entries of one name are known to be two, so that either may be elsewhere.
    fn is_another(&mut self, a: Node, b: Node) -> io::Result<bool> {
        let (before, after) = (self.ids_before(a)?, self.ids_after(b)?);
        let known = before.iter().chain(&after).any(Option::is_some);
        Ok(known && !before.iter().flatten().any(|id| after.contains(&Some(*id))))
    }

    /// What makes an entry of the earlier moment recognisable in the later.
    pub fn ids_before(&mut self, node: Node) -> io::Result<[Option<Id>; 2]> {
        ids(self.a, node, self.parted_in, self.comparer.same_image)
    }

    /// What makes an entry of the later moment recognisable in the earlier.
    pub fn ids_after(&mut self, node: Node) -> io::Result<[Option<Id>; 2]> {
        ids(self.b, node, self.parted_in, self.comparer.same_image)
    }

    fn directory(&mut self, Pair { from, to, a, b }: Pair) -> io::Result<()> {
        if from.is_too_deep() || to.is_too_deep() {
            self.summary.too_deep += 1;
            return Ok(());
        }
        if self.is_untouched(a, b) {
            // Both list the same; what changed below is on the ways of either.
            let (mut left, mut right) = (self.a.tree.ways(a)?, self.b.tree.ways(b)?);
            complete(&mut left, &mut right);
            return self.names(&from, &to, left, right);
        }
        let (left, right) = (self.a.tree.children(a)?, self.b.tree.children(b)?);
        self.names(&from, &to, left, right)
    }

    fn names(&mut self, from: &Path, to: &Path, left: Children, mut right: Children) -> io::Result<()> {
        for (name, a) in left {
            let Some(b) = right.remove(&name) else {
                self.lose(from.join(name), a)?;
                continue;
            };
            if !self.is_untouched(a, b) || a.is_dir {
                self.pair(from.join(name.clone()), to.join(name), a, b)?;
            }
        }
        for (name, b) in right {
            self.gain(to.join(name), b)?;
        }
        Ok(())
    }
}

fn ids(moment: &mut Moment, node: Node, parted_in: u64, same_image: bool) -> io::Result<[Option<Id>; 2]> {
    let own = match node.layer {
        Layer::Disk if moment.tree.inode(node)?.generation < parted_in => Some(Id::Disk(node.ino)),
        _ => None,
    };
    let lower = if same_image && node.in_usr { moment.tree.origin(node)?.map(Id::Image) } else { None };
    Ok([own, lower])
}

/// Gives two directories that list the same the names that only the other's ways have.
fn complete(left: &mut Children, right: &mut Children) {
    for (name, node) in &*left {
        right.entry(name.clone()).or_insert(*node);
    }
    for (name, node) in &*right {
        left.entry(name.clone()).or_insert(*node);
    }
}
