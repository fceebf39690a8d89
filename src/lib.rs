//! Cowl turns one Linux box into a fleet of Debian computers that are URLs.
//!
//! The rooms, from the face down to the kernel; arrows only point down this list:
//!
//! | room | what lives there |
//! |---|---|
//! | [`tui`] | the cockpit: a full-screen terminal program |
//! | [`cli`] | the verbs of `cowl` |
//! | [`bench`] | `cowl bench`: the promise table, measured beside systemd-nspawn |
//! | [`client`] | async client of the API and of the kit services |
//! | [`node`] | the daemon: API handlers, state, lifecycle, events |
//! | [`proxy`] | the TLS front: host name → container, service, instance |
//! | [`kit`] | the services inside each container |
//! | [`engine`] | what touches the kernel |
//! | [`api`] | the vocabulary all of them share |
#![warn(missing_docs)]

pub mod api;
pub mod bench;
pub mod cli;
pub mod client;
pub mod engine;
pub mod kit;
pub mod node;
pub mod proxy;
pub mod tui;
