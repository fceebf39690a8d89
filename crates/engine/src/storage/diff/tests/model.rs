//! A merged tree in memory, read through the kernel's overlay by a plain walk, and what a diff must
//! say about two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::storage::pool::Pool;
use crate::storage::tree::{Node, Tree};
use cowl_api::diff::{Aspect, Change, ChangeKind};

/// What of an entry must be the same for it to be no difference.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Type, and device of devices.
    kind: (u32, u64),
    /// Bytes of a file, target of a link.
    content: Vec<u8>,
    /// Mode, owner, attributes.
    about: (u32, u32, u32, BTreeMap<String, Vec<u8>>),
}

/// All entries of a merged tree by path.
#[derive(Debug)]
pub struct Model(BTreeMap<Vec<u8>, Entry>);

fn entry(node: &Node) -> Entry {
    let stat = &node.stat;
    let kind = stat.st_mode & libc::S_IFMT;
    let mut content = Vec::new();
    let mut attributes = BTreeMap::new();
    match kind {
        libc::S_IFREG => drop(node.open().unwrap().read_to_end(&mut content).unwrap()),
        libc::S_IFLNK => content = node.target().unwrap().as_bytes().to_vec(),
        _ => {}
    }
    if matches!(kind, libc::S_IFREG | libc::S_IFDIR) {
        let file = format!("/proc/self/fd/{}", node.descriptor().as_raw_fd());
        let mut value = [0; 4096];
        if let Ok(len) = rustix::fs::getxattr(&file, "user.k", &mut value) {
            attributes.insert("user.k".to_owned(), value[..len].to_vec());
        }
    }
    let device = if matches!(kind, libc::S_IFCHR | libc::S_IFBLK) { stat.st_rdev } else { 0 };
    Entry { kind: (kind, device), content, about: (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, attributes) }
}

impl Model {
    /// Walks through a subvolume's merged tree.
    pub fn of(pool: &Pool, subvolume: &Path) -> Self {
        let mut tree = Tree::new(subvolume, &pool.lower_usr(subvolume).unwrap()).unwrap();
        let mut all = BTreeMap::new();
        let mut todo = vec![Vec::new()];
        while let Some(path) = todo.pop() {
            let whole = if path.is_empty() { b"/".to_vec() } else { path.clone() };
            let node = tree.walk(OsStr::from_bytes(&whole), false).unwrap();
            let found = entry(&node);
            if found.kind.0 == libc::S_IFDIR {
                for (name, _) in tree.entries(&node, 100_000).unwrap() {
                    todo.push([&path[..], b"/", name.as_bytes()].concat());
                }
            }
            all.insert(whole, found);
        }
        Self(all)
    }
}

fn parent(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|b| *b == b'/').unwrap();
    (if slash == 0 { b"/" } else { &path[..slash] }, &path[slash + 1..])
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [if dir == b"/" { b"" } else { dir }, b"/", name].concat()
}

/// Whether the changes lead from one tree to the other, tell each difference, and tell none that is
/// none. Says what is wrong.
pub fn explains(before: &Model, after: &Model, changes: &[Change]) -> Result<(), String> {
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let mut at: BTreeMap<Vec<u8>, &Change> = BTreeMap::new();
    let mut deleted = BTreeSet::new();
    for change in changes {
        let path = change.path_bytes();
        let fresh = match change.kind {
            ChangeKind::Deleted => deleted.insert(path.clone()),
            _ => at.insert(path.clone(), change).is_none(),
        };
        if !fresh {
            return Err(format!("{} is told twice", shown(&path)));
        }
        if !matches!(change.kind, ChangeKind::Deleted) && !after.0.contains_key(&path) {
            return Err(format!("{change:?} is not there"));
        }
    }
    // Where each entry comes from: parents come first in a sorted map.
    let mut sources: BTreeMap<&[u8], Option<Vec<u8>>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (path, now) in &after.0 {
        let change = at.get(path);
        let source = match change.map(|c| (c.kind, c.from_bytes())) {
            Some((ChangeKind::Added, _)) => None,
            Some((ChangeKind::Renamed, from)) => Some(from.expect("where it was")),
            _ if path == b"/" => Some(b"/".to_vec()),
            _ => {
                let (dir, name) = parent(path);
                let from = sources[dir].as_ref();
                Some(join(from.ok_or_else(|| format!("{} is not told, but its directory is new", shown(path)))?, name))
            }
        };
        sources.insert(path, source.clone());
        let Some(source) = source else { continue };
        let was = before.0.get(&source).ok_or_else(|| format!("{} was no {}", shown(path), shown(&source)))?;
        if !used.insert(source.clone()) {
            return Err(format!("{} became two entries", shown(&source)));
        }
        let content = (was.kind, &was.content) != (now.kind, &now.content);
        let about = was.about != now.about;
        let told = change.map_or(&[][..], |c| &c.what);
        let told_content = told.iter().any(|w| matches!(w, Aspect::Content | Aspect::Target | Aspect::Device));
        let told_about = told.iter().any(|w| matches!(w, Aspect::Mode | Aspect::Owner | Aspect::Attributes));
        let right = was.kind.0 == now.kind.0
            && (content, about) == (told_content, told_about)
            && match change.map(|c| c.kind) {
                None => !content && !about,
                Some(ChangeKind::Changed) => content,
                Some(ChangeKind::Mode) => !content && about,
                _ => true,
            };
        if !right {
            return Err(format!("{}: {was:?} became {now:?}, told as {change:?}", shown(path)));
        }
    }
    let expected: BTreeSet<Vec<u8>> = before.0.keys().filter(|path| !used.contains(*path)).cloned().collect();
    if expected != deleted {
        let differ: Vec<String> = expected.symmetric_difference(&deleted).map(|path| shown(path)).collect();
        return Err(format!("deleted, or told as deleted: {differ:?}"));
    }
    Ok(())
}
