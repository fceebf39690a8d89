//! Async client of a node: the API, the kit services of its containers, and its event stream.
//!
//! ```text
//! Client ── API calls (`api`) ────────────┐
//!   └ kit(container, service, n) ── Kit ──┤ `transport`: RUN/node.sock, or HTTPS with a token
//!        ├ terminal: execute, WebSocket   │
//!        └ files: get, put, list …  ──────┘
//! ```
//! Each request is its own connection; dropping a call drops its connection. Every call has a
//! deadline; streams have one between two pieces.

mod api;
mod dedupe;
mod diff;
mod events;
mod execute;
mod exports;
mod files;
mod kit;
mod lineage;
mod lines;
mod memory;
mod network;
mod prune;
mod reply;
mod shares;
mod space;
mod terminal;
mod time;
mod transport;

mod error;

pub use dedupe::DedupeRuns;
pub use diff::{DiffStream, Moments};
pub use error::{Error, Result};
pub use events::EventStream;
pub use execute::{ExecuteIn, Output, Running};
pub use exports::Archive;
pub use files::{Download, Upload};
pub use kit::Kit;
pub use terminal::{FromTerminal, TerminalInput, TerminalOutput, TerminalQuery};
pub use transport::{Client, Stream};
