//! Descriptors of the host that a process inside could take: of init, of the kit, of what they run.

use super::{arm, attack};
use crate::harness::{eventually, shared};
use crate::stories;

stories![no_process_holds_anything_that_leads_outside, nothing_can_be_taken_from_a_kit_while_it_is_born];

fn no_process_holds_anything_that_leads_outside() {
    let node = shared::node();
    let c = node.container("held");
    arm(&c);
    c.booted();
    // A shell that stays, and connections of the node to the kit.
    c.exec("setsid sleep 60 >/dev/null 2>&1 </dev/null &");
    c.says("echo warm");
    attack(&c, "descriptors", 1);
    // What a command is started with: three descriptors and nothing of the kit's.
    assert_eq!(c.says("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3");
    let held = c.says("for f in /proc/1/fd/* /proc/$$/fd/*; do readlink $f; done | grep '^/' | sort -u");
    let odd: Vec<&str> =
        held.lines().filter(|l| !["/dev", "/proc", "/sys", "/usr", "/run"].iter().any(|p| l.starts_with(p))).collect();
    assert!(odd.is_empty(), "{odd:?}");
    // Environments tell nothing of the host.
    let own = node.dir.display().to_string();
    assert_eq!(c.exec(&format!("cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -F '{own}'")).code, 1);
}

fn nothing_can_be_taken_from_a_kit_while_it_is_born() {
    let node = shared::node();
    let c = node.container("birth");
    arm(&c);
    c.booted();
    c.says("systemd-run --quiet --unit=lurk sh -c '/root/probe lurk 20 > /root/seen'");
    for _ in 0..7 {
        // The kit dies under the command that kills it.
        c.exec("kill -9 $(pidof cowl-kit)");
        c.answers(30);
    }
    let seen = eventually("the end of the watch", 60, || {
        let seen = c.exec("cat /root/seen").stdout;
        seen.contains("births").then_some(seen)
    });
    assert!(seen.lines().all(|l| l.contains(" refused ")), "{seen}");
    eprintln!("births of kits that were watched: {}", seen.trim());
}
