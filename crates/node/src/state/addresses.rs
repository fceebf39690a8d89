//! Which address of the containers' /16 belongs to whom.
//!
//! A container keeps its index for life. Freed ones are reused last and oldest first, so that
//! neither a peer's ARP cache nor a person's notes meet another machine soon.

use std::net::Ipv4Addr;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Error, Result, Store};
use crate::clock;
use cowl_api::ContainerId;
use cowl_api::names::hostname;
use cowl_engine::Ipv4Net;

/// The first index given out; the 16 below are the node's.
const FIRST: u32 = 16;
/// One past the last index of a /16.
const END: u32 = 65_536;

/// Whether an index may be a container's: not the node's, not `.0`, not `.255`.
fn is_usable(index: u32) -> bool {
    (FIRST..END).contains(&index) && !matches!(index & 0xff, 0 | 255)
}

/// The address with this index in the containers' network.
pub fn address(network: Ipv4Net, index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network.address) | (index & 0xffff))
}

/// Gives the container an index: one never used while there are, else the one freed longest ago.
pub(super) fn lease(tx: &Transaction<'_>, id: &ContainerId) -> Result<u32> {
    let highest: Option<u32> = tx.query_row("SELECT max(idx) FROM addresses", [], |row| row.get(0))?;
    let fresh = (highest.map_or(FIRST, |h| h + 1)..END).find(|i| is_usable(*i));
    if let Some(index) = fresh {
        tx.execute("INSERT INTO addresses (idx, container_id) VALUES (?1, ?2)", params![index, id.as_str()])?;
        return Ok(index);
    }
    let freed: Option<u32> = tx
        .query_row(
            "SELECT idx FROM addresses WHERE container_id IS NULL ORDER BY freed_at_ms, idx LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    let index = freed.ok_or_else(|| Error::Conflict("all addresses of the node's network are taken".into()))?;
    tx.execute(
        "UPDATE addresses SET container_id = ?2, freed_at_ms = NULL WHERE idx = ?1",
        params![index, id.as_str()],
    )?;
    Ok(index)
}

/// Takes a deleted container's index back.
pub(super) fn free(tx: &Transaction<'_>, id: &ContainerId) -> Result<()> {
    tx.execute(
        "UPDATE addresses SET container_id = NULL, freed_at_ms = ?2 WHERE container_id = ?1",
        params![id.as_str(), clock::now_ms()],
    )?;
    Ok(())
}

impl Store {
    /// The index of the living container whose host name and project's name, as DNS labels, are
    /// these; `None` inside when it does not live. Nothing when none is called so, or several.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find_by_labels(&self, name: &str, project: &str) -> Result<Option<Option<u32>>> {
        self.read(|c| {
            let mut query = c.prepare_cached(
                "SELECT c.name, p.alias, c.address_idx, c.state IN ('running', 'paused') FROM containers c
                 JOIN projects p ON p.id = c.project_id WHERE c.state <> 'deleted'",
            )?;
            let rows = query.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, u32>(2)?, row.get::<_, bool>(3)?))
            })?;
            let mut found = None;
            for row in rows {
                let (own, alias, index, lives) = row?;
                if hostname(&own) == name && hostname(&alias) == project {
                    if found.is_some() {
                        return Ok(None);
                    }
                    found = Some(lives.then_some(index));
                }
            }
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_skip_the_nodes_share_and_the_ends_of_each_block() {
        assert!(!is_usable(15) && is_usable(16) && is_usable(254));
        assert!(!is_usable(255) && !is_usable(256) && is_usable(257) && !is_usable(65_535));
        let net = "10.201.0.0/16".parse().unwrap();
        assert_eq!(address(net, 257), Ipv4Addr::new(10, 201, 1, 1));
    }

    #[test]
    fn freed_addresses_are_reused_last_and_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let lease_one = || store.write(|tx| lease(tx, &ContainerId::generate())).unwrap();
        let a = ContainerId::generate();
        assert_eq!(store.write(|tx| lease(tx, &a)).unwrap(), 16);
        store.write(|tx| free(tx, &a)).unwrap();
        assert_eq!(lease_one(), 17);
        // Use all the rest up.
        store
            .write(|tx| {
                tx.execute("INSERT INTO addresses (idx, container_id) VALUES (65534, 'x')", [])?;
                tx.execute("INSERT INTO addresses (idx, freed_at_ms) VALUES (300, 1)", [])?;
                Ok(())
            })
            .unwrap();
        assert_eq!(lease_one(), 300);
        assert_eq!(lease_one(), 16);
        assert!(store.write(|tx| lease(tx, &ContainerId::generate())).is_err());
    }

    #[test]
    fn a_container_is_found_by_the_labels_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let project = store.create_project("My Demo", "#FFF", None, &Default::default()).unwrap().0.id;
        store.create_container(&project, &crate::tests::plain("web_1")).unwrap();
        assert_eq!(store.find_by_labels("web-1", "my-demo").unwrap(), Some(None));
        assert_eq!(store.find_by_labels("web-1", "other").unwrap(), None);
    }
}
