//! The transaction at which two subvolumes were still one.
//!
//! A snapshot is its source as of the transaction in which it was made, so every subvolume is the
//! last link of a chain "as of transaction t, I was that one". Where two chains meet, the earlier
//! of both transactions is where they parted: whatever neither has changed since is the same in
//! both. A link outlives the subvolume it names, so that a restored disk and a snapshot of the disk
//! before it meet in that disk, which is gone:
//!
//! ```text
//!   disk ──t1── good            diff good ↔ later:  both were `disk`, as of t1 and t2: t1
//!    └────t2── later
//!         good ──t3── disk'     diff later ↔ disk': disk' was good, which was `disk`: t1
//! ```
//!
//! Where links are missing, two disks of one image still parted after its template was finished;
//! disks of different images have no common past.

use std::io;

use super::items::Items;
use crate::sys::btrfs::search::Lineage;

/// Longest chain that is followed: one link for each restore or branch.
const CHAIN_MAX: usize = 10_000;

/// A UUID and the transaction as of which the subvolume was that one.
type Link = ([u8; 16], u64);

/// The chain of a subvolume, itself first. `find` looks up what still exists.
fn chain(of: Lineage, mut find: impl FnMut(&[u8; 16]) -> io::Result<Option<Lineage>>) -> io::Result<Vec<Link>> {
    let mut links = vec![(of.uuid, u64::MAX)];
    let mut here = Some(of);
    while let Some(link) = here.filter(|l| l.parent_uuid != [0; 16] && links.len() < CHAIN_MAX) {
        links.push((link.parent_uuid, link.made_in));
        here = find(&link.parent_uuid)?;
    }
    Ok(links)
}

/// Where two chains meet.
fn meet(a: &[Link], b: &[Link]) -> Option<u64> {
    let past: std::collections::HashMap<_, _> = b.iter().rev().copied().collect();
    a.iter().find_map(|(uuid, until)| past.get(uuid).map(|other| *until.min(other)))
}

/// The first transaction whose changes the two do not share; 0 when they share nothing. `template`
/// is what both come from, if that is known.
///
/// # Errors
/// When the file system cannot be asked.
pub fn parted_in(a: &mut Items, b: &mut Items, template: Option<Lineage>) -> io::Result<u64> {
    let (of_a, of_b) = (a.lineage, b.lineage);
    let chain_a = chain(of_a, |uuid| a.find(uuid))?;
    let chain_b = chain(of_b, |uuid| b.find(uuid))?;
    let met = meet(&chain_a, &chain_b).or(template.map(|t| t.changed_in));
    Ok(met.map_or(0, |transaction| transaction.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subvolume(uuid: u8, parent: u8, made_in: u64) -> Lineage {
        Lineage { id: 0, uuid: [uuid; 16], parent_uuid: [parent; 16], changed_in: 0, made_in }
    }

    fn parted(living: &[Lineage], a: u8, b: u8) -> Option<u64> {
        let find = |uuid: &[u8; 16]| Ok(living.iter().find(|l| l.uuid == *uuid).copied());
        let of = |uuid: u8| find(&[uuid; 16]).map(Option::unwrap);
        meet(&chain(of(a).unwrap(), find).unwrap(), &chain(of(b).unwrap(), find).unwrap())
    }

    #[test]
    fn two_snapshots_parted_where_the_earlier_was_made() {
        let all = [subvolume(1, 0, 5), subvolume(2, 1, 10), subvolume(3, 1, 20)];
        assert_eq!(parted(&all, 2, 3), Some(10));
        assert_eq!(parted(&all, 3, 2), Some(10));
        assert_eq!(parted(&all, 1, 3), Some(20));
    }

    #[test]
    fn a_restored_disk_meets_its_other_snapshots_in_the_disk_that_is_gone() {
        // 1 was the disk, 2 and 3 its snapshots, 4 the disk restored from 2, 5 a snapshot of it.
        let all = [subvolume(2, 1, 10), subvolume(3, 1, 20), subvolume(4, 2, 30), subvolume(5, 4, 40)];
        assert_eq!(parted(&all, 3, 5), Some(10));
        assert_eq!(parted(&all, 2, 5), Some(30));
    }

    #[test]
    fn a_broken_chain_and_strangers_have_nothing_in_common() {
        let all = [subvolume(3, 1, 20), subvolume(5, 4, 40), subvolume(6, 0, 1)];
        assert_eq!(parted(&all, 3, 5), None);
        assert_eq!(parted(&all, 3, 6), None);
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        let all = [subvolume(1, 2, 1), subvolume(2, 1, 1), subvolume(3, 0, 1)];
        assert_eq!(parted(&all, 1, 3), None);
    }
}
