//! The vocabulary: ids, names, states, requests, replies, errors and URLs.
//!
//! Everything here is plain data that can be parsed and printed; nothing here does I/O. The wire
//! forms follow the public API (see `urls` for the host grammar and `envelope` for reply shapes).

pub mod container;
pub mod dedupe;
pub mod diff;
pub mod envelope;
pub mod event;
pub mod files;
pub mod firewall;
pub mod ids;
pub mod lineage;
pub mod memory;
pub mod names;
pub mod network;
pub mod project;
pub mod prune;
pub mod server;
pub mod service;
pub mod settings;
pub mod share;
pub mod snapshot;
pub mod space;
pub mod stats;
pub mod terminal;
pub mod urls;

pub use container::{Container, ContainerState, CreateContainer};
pub use envelope::{ApiError, Envelope};
pub use ids::{ContainerId, ProjectId, ServerId};
pub use project::Project;
pub use service::Service;
pub use settings::Settings;
pub use snapshot::Snapshot;
