//! Which inodes of a subvolume changed since a transaction, and which directories lead to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use super::items::Items;

/// Changed inodes that are remembered; of a disk with more, everything is compared.
const REMEMBERED: usize = 1_000_000;

/// Names in a directory with their inodes.
pub type Ways = BTreeMap<Box<[u8]>, u64>;

/// Changed inodes with the way to them.
pub enum Touched {
    /// Any inode may have changed.
    All,
    /// Only these.
    These {
        /// Changed themselves.
        inodes: HashSet<u64>,
        /// By directory: names in it that changed or lead to a change.
        ways: HashMap<u64, Ways>,
    },
}

impl Touched {
    /// Asks the file system; `since` 0 is for everything.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn since(items: &mut Items, since: u64) -> io::Result<Self> {
        if since == 0 {
            return Ok(Self::All);
        }
        let mut inodes = HashSet::new();
        items.changed_since(since, &mut |ino| inodes.insert(ino) || inodes.len() < REMEMBERED)?;
        if inodes.len() >= REMEMBERED {
            return Ok(Self::All);
        }
        let mut ways: HashMap<u64, Ways> = HashMap::new();
        let mut todo: Vec<u64> = inodes.iter().copied().collect();
        while let Some(ino) = todo.pop() {
            for (parent, name) in items.names(ino)? {
                let names = ways.entry(parent).or_default();
                // What is known to have a way below it has a way to the root, or is queued for one.
                if names.is_empty() && !inodes.contains(&parent) && parent != ino {
                    todo.push(parent);
                }
                names.insert(name, ino);
            }
        }
        Ok(Self::These { inodes, ways })
    }

    /// Whether an inode may have changed itself.
    pub fn is(&self, ino: u64) -> bool {
        match self {
            Self::All => true,
            Self::These { inodes, .. } => inodes.contains(&ino),
        }
    }

    /// Names in a directory that may lead to a change.
    pub fn ways(&self, dir: u64) -> Ways {
        match self {
            Self::All => Ways::new(),
            Self::These { ways, .. } => ways.get(&dir).cloned().unwrap_or_default(),
        }
    }

    /// Whether something below a directory may have changed.
    pub fn leads(&self, dir: u64) -> bool {
        match self {
            Self::All => true,
            Self::These { ways, .. } => ways.contains_key(&dir),
        }
    }
}
