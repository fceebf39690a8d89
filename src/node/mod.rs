//! The daemon `cowl node`: owner of all state; API, lifecycle and events.

pub mod bus;
pub mod clock;
mod context;
pub mod dns;
pub mod driver;
pub mod fleet;
pub mod images;
pub mod lifecycle;
pub mod machine;
pub mod reconcile;
pub mod snapshots;
pub mod state;
pub mod stats;
pub mod token;

pub use context::{Node, Place};
