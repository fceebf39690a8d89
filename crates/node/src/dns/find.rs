//! Containers by name, for programs of the host.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::state::{Store, addresses};
use cowl_engine::Ipv4Net;
use cowl_engine::net::ipv6;

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No container is called so, or more than one.
    Nobody,
    /// It does not run, so nobody is at its address.
    Asleep,
    /// It is here.
    At(Ipv4Addr, Option<Ipv6Addr>),
}

/// Who knows containers by the labels of their and their project's names.
pub trait Directory: Send + Sync + 'static {
    /// Looks one up; may block for a moment.
    fn find(&self, name: &str, project: &str) -> Found;
}

/// The node's database as a directory.
pub struct Rows {
    /// The database.
    pub store: Arc<Store>,
    /// The containers' network.
    pub network: Ipv4Net,
    /// Their IPv6 prefix.
    pub network6: Option<Ipv6Addr>,
}

impl Directory for Rows {
    fn find(&self, name: &str, project: &str) -> Found {
        match self.store.find_by_labels(name, project) {
            Ok(Some(Some(index))) => {
                let six = self.network6.map(|prefix| ipv6::address(prefix, index));
                Found::At(addresses::address(self.network, index), six)
            }
            Ok(Some(None)) => Found::Asleep,
            Ok(None) => Found::Nobody,
            Err(error) => {
                tracing::warn!(%error, "a name could not be looked up");
                Found::Nobody
            }
        }
    }
}
