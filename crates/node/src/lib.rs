//! The daemon `cowl node`: owner of all state; API, lifecycle and events.

pub mod api;
pub mod bus;
pub mod calendar;
pub mod carry;
pub mod clock;
mod context;
pub mod copy;
pub mod dedupe;
pub mod dns;
pub mod driver;
pub mod exports;
pub mod firewall;
pub mod fleet;
pub mod images;
pub mod lifecycle;
pub mod limits;
pub mod lineage;
pub mod machine;
pub mod network;
mod observe;
pub mod options;
pub mod proc_view;
pub mod prune;
pub mod reconcile;
pub mod remarks;
pub mod routes;
pub mod run;
pub mod shares;
pub mod sleep;
pub mod snapshots;
pub mod space;
pub mod state;
pub mod stats;
pub mod token;
pub mod undelete;

#[cfg(test)]
pub(crate) mod tests;

pub use context::{Node, Place};
pub use options::Options;
pub use run::{StartError, run};
