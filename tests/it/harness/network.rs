//! A network apart from the machine's, where well-known ports can be taken without harm.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::run::{program, run};

/// A network namespace with nothing but its loopback. Only this process holds it: it is gone when
/// this is dropped and nothing runs in it any more, however the test ends.
pub struct Network {
    namespace: File,
    /// What listens in it.
    _taken: Vec<TcpListener>,
}

impl Network {
    /// A network in which these addresses are taken.
    #[track_caller]
    pub fn with_taken(addresses: &[&str]) -> Self {
        // Only the thread that asks for it is in a new namespace, so one is spent on it.
        let made = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
                run(program("ip").args(["link", "set", "lo", "up"])).ok();
                let listen = |address: &&str| TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
                let taken = addresses.iter().map(listen).collect();
                let namespace = File::open("/proc/thread-self/ns/net").expect("hold the network namespace");
                Self { namespace, _taken: taken }
            });
            thread.join()
        });
        made.expect("a network of its own")
    }

    /// Where other programs find it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }

    /// A program that is to run in it.
    pub fn program(&self, name: &str) -> Command {
        let mut command = program("nsenter");
        command.arg(format!("--net={}", self.path())).arg(name);
        command
    }
}
