//! Cowl turns one Linux box into a fleet of Debian computers that are URLs.
//!
//! The rooms, from the face down to the kernel, each a crate under `crates/`; arrows only point down
//! this list:
//!
//! | room | what lives there |
//! |---|---|
//! | `cli` | the verbs of `cowl` |
//! | `tui` | the cockpit: a full-screen terminal program |
//! | `bench` | `cowl bench`: the promise table, measured beside systemd-nspawn |
//! | `node` | the daemon: API handlers, state, lifecycle, events |
//! | `client` | async client of the API and of the kit services |
//! | `proxy` | the TLS front: host name → container, service, instance |
//! | `kit` | the services inside each container, program `cowl-kit` |
//! | `engine` | what touches the kernel |
//! | `api` | the vocabulary all of them share |

use std::process::ExitCode;

fn main() -> ExitCode {
    cowl_cli::shim().unwrap_or_else(cowl_cli::main)
}
