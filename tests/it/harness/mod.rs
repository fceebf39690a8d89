//! What the stories are told with: nodes, containers, commands, curl, a terminal.

pub mod container;
pub mod host;
pub mod network;
pub mod node;
pub mod run;
pub mod screen;
pub mod shared;
pub mod sweep;
pub mod web;
pub mod world;

use std::path::PathBuf;

pub use container::Container;
pub use network::Network;
pub use node::{Node, Plan};
pub use run::Ran;

/// One test.
#[derive(Clone)]
pub struct Story {
    name: &'static str,
    tell: fn(),
}

impl Story {
    pub fn new(name: &'static str, tell: fn()) -> Self {
        // `it::files::a_written_file…` without the crate.
        Self { name: name.split_once("::").map_or(name, |(_, rest)| rest), tell }
    }

    pub fn trial(self) -> libtest_mimic::Trial {
        libtest_mimic::Trial::test(self.name, move || {
            (self.tell)();
            Ok(())
        })
    }
}

/// The stories of a file: `stories![first, second]`; `stories![first; long: second]` where some are
/// told only when the cases that take long were asked for.
#[macro_export]
macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        $crate::stories![$($name),*; long:];
    };
    ($($name:ident),*; long: $($slow:ident),* $(,)?) => {
        /// The stories of this file.
        pub fn all() -> Vec<$crate::harness::Story> {
            let always = vec![$($crate::harness::Story::new(concat!(module_path!(), "::", stringify!($name)), $name)),*];
            let long = if $crate::harness::long() {
                vec![$($crate::harness::Story::new(concat!(module_path!(), "::", stringify!($slow)), $slow)),*]
            } else {
                Vec::new()
            };
            [always, long].concat()
        }
    };
}

/// The program under test.
pub fn cowl() -> &'static str {
    env!("CARGO_BIN_EXE_cowl")
}

/// The image all nodes import.
pub fn image() -> PathBuf {
    std::env::var_os("COWL_TEST_IMAGE").map(PathBuf::from).unwrap_or_default()
}

/// Whether the cases that take long were asked for.
pub fn long() -> bool {
    std::env::var_os("COWL_TEST_LONG").is_some()
}

/// What is missing for any test to make sense. A missing thing is a failure, never a skip.
pub fn prerequisites() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".into());
    }
    if !image().is_file() {
        return Some("COWL_TEST_IMAGE names no file; `cowl images build --export FILE` makes one".into());
    }
    ["cc", "curl", "tmux", "ip", "nft", "setpriv", "nsenter", "lxcfs"]
        .into_iter()
        .find(|p| run::program(p).arg("--version").output().is_err())
        .map(|p| format!("{p} is not installed; see scripts/deps --test"))
}

/// Waits until `done` gives a value; panics with `what` after `seconds`.
#[track_caller]
pub fn eventually<T>(what: &str, seconds: u64, mut done: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(std::time::Instant::now() < end, "waited {seconds} s for {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
