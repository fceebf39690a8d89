//! Puts a process under the capability bounding set and the seccomp filter of
//! [`isolation`](crate::isolation), whose tables say what is refused and why.
//!
//! The filter is loaded without `no_new_privs`, which would break sudo, su and ping inside.

use caps::CapSet;

use super::figures::Watch;
use crate::error::{Error, Result};
use crate::isolation::calls::{Answer, CALLS, FAMILIES, FOREIGN, IOCTLS, OTHER_FAMILIES};
use crate::isolation::capabilities::CAPABILITIES;
use crate::sys::filter::{self, Instruction};

/// Puts this process and all it will start under bounding set and filter. `watch` has some calls
/// answered by [`figures`](crate::figures); where the kernel allows no listener (because the
/// node itself is under one) they show the host's figures.
///
/// # Errors
/// When the kernel refuses a step.
pub fn apply(watch: Option<&Watch<'_>>) -> Result<()> {
    for rule in CAPABILITIES.iter().filter(|r| !r.kept) {
        match caps::drop(None, CapSet::Bounding, rule.capability) {
            // A kernel that does not know it does not grant it.
            Err(_) if !matches!(caps::has_cap(None, CapSet::Bounding, rule.capability), Ok(true)) => {}
            Err(e) => return Err(Error::Shim(format!("drop {} from the bounding set: {e}", rule.name))),
            Ok(()) => {}
        }
    }
    if let Some(watch) = watch {
        match filter::load_listening(&program(&watch.calls)) {
            Ok(listener) => return watch.hand_over(&listener),
            Err(e) => eprintln!("cowl: the kernel shows the host's figures: {e}"),
        }
    }
    filter::load(&program(&[])).map_err(|source| Error::Sys { what: "load the seccomp filter".into(), source })
}

// Classic BPF: load a word of seccomp_data, compare, return.
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARG0_LOW: u32 = 16;
const ARG1_LOW: u32 = 24;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// First system call number of the x32 ABI.
const X32: u32 = 0x4000_0000;

fn refuse(answer: Answer) -> u32 {
    libc::SECCOMP_RET_ERRNO | answer.errno().cast_unsigned()
}

/// The filter, with the calls of these numbers left to a listener.
fn program(watched: &[libc::c_long]) -> Vec<Instruction> {
    let step = |code, k| Instruction { code, jt: 0, jf: 0, k };
    // Goes on with the next instruction when equal, else skips `over` of them.
    let when = |k, over: usize| Instruction { code: EQUAL, jt: 0, jf: u8::try_from(over).unwrap_or(u8::MAX), k };
    let allow = step(RETURN, libc::SECCOMP_RET_ALLOW);
    let mut out = vec![
        step(LOAD, ARCH),
        Instruction { code: EQUAL, jt: 1, jf: 0, k: AUDIT_ARCH },
        step(RETURN, refuse(FOREIGN)),
        step(LOAD, NR),
    ];
    if cfg!(target_arch = "x86_64") {
        out.push(Instruction { code: AT_LEAST, jt: 0, jf: 1, k: X32 });
        out.push(step(RETURN, refuse(FOREIGN)));
    }
    for call in &CALLS {
        out.extend([when(call.number as u32, 1), step(RETURN, refuse(call.answer))]);
    }
    for number in watched {
        out.extend([when(*number as u32, 1), step(RETURN, libc::SECCOMP_RET_USER_NOTIF)]);
    }
    let mut sockets = vec![step(LOAD, ARG0_LOW)];
    for family in &FAMILIES {
        sockets.extend([when(family.number.cast_unsigned(), 1), allow]);
    }
    sockets.push(step(RETURN, refuse(OTHER_FAMILIES)));
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        out.push(when(call as u32, sockets.len()));
        out.extend(&sockets);
    }
    let mut ioctls = vec![step(LOAD, ARG1_LOW)];
    for ioctl in &IOCTLS {
        ioctls.extend([when(ioctl.request, 1), step(RETURN, refuse(ioctl.answer))]);
    }
    out.push(when(libc::SYS_ioctl as u32, ioctls.len()));
    out.extend(ioctls);
    out.push(allow);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would, on one call.
    fn decide(arch: u32, nr: libc::c_long, arg0: u32, arg1: u32) -> u32 {
        decide_watching(&[], arch, nr, arg0, arg1)
    }

    fn decide_watching(watched: &[libc::c_long], arch: u32, nr: libc::c_long, arg0: u32, arg1: u32) -> u32 {
        let program = program(watched);
        let (mut pc, mut acc) = (0usize, 0u32);
        loop {
            let i = program[pc];
            pc += 1;
            match (i.code, i.k) {
                (LOAD, NR) => acc = nr as u32,
                (LOAD, ARCH) => acc = arch,
                (LOAD, ARG0_LOW) => acc = arg0,
                (LOAD, ARG1_LOW) => acc = arg1,
                (EQUAL, k) => pc += usize::from(if acc == k { i.jt } else { i.jf }),
                (AT_LEAST, k) => pc += usize::from(if acc >= k { i.jt } else { i.jf }),
                (RETURN, k) => return k,
                other => panic!("unknown instruction {other:?}"),
            }
        }
    }

    fn here(nr: libc::c_long, arg0: u32, arg1: u32) -> u32 {
        decide(AUDIT_ARCH, nr, arg0, arg1)
    }

    #[test]
    fn every_refused_call_gets_its_answer_and_others_pass() {
        for call in &CALLS {
            assert_eq!(here(call.number, 0, 0), refuse(call.answer), "{}", call.name);
        }
        for call in [libc::SYS_read, libc::SYS_clone3, libc::SYS_mount, libc::SYS_execve, libc::SYS_setns] {
            assert_eq!(here(call, 0, 0), libc::SECCOMP_RET_ALLOW);
        }
    }

    #[test]
    fn only_watched_calls_wait_and_what_is_refused_stays_refused() {
        let watched = [libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_sched_getaffinity, libc::SYS_sysinfo];
        for call in watched {
            assert_eq!(decide_watching(&watched, AUDIT_ARCH, call, 0, 0), libc::SECCOMP_RET_USER_NOTIF);
            assert_eq!(here(call, 0, 0), libc::SECCOMP_RET_ALLOW);
        }
        for call in 0..500 {
            let now = decide_watching(&watched, AUDIT_ARCH, call, 0, 0);
            assert!(watched.contains(&call) || now == here(call, 0, 0), "{call}");
        }
    }

    #[test]
    fn foreign_architectures_and_x32_get_enosys() {
        assert_eq!(decide(0x4000_0003, 1, 0, 0), refuse(FOREIGN));
        assert_eq!(here(0x4000_0001, 0, 0), refuse(FOREIGN));
    }

    #[test]
    fn only_the_listed_ioctls_are_refused_and_only_as_ioctls() {
        for ioctl in &IOCTLS {
            assert_eq!(here(libc::SYS_ioctl, 0, ioctl.request), refuse(ioctl.answer), "{}", ioctl.name);
            assert_eq!(here(libc::SYS_read, 0, ioctl.request), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(here(libc::SYS_ioctl, 0, libc::TCGETS as u32), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn only_the_listed_kinds_of_sockets_are_made() {
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            for number in 0..=64 {
                let listed = FAMILIES.iter().any(|f| f.number == number);
                let wanted = if listed { libc::SECCOMP_RET_ALLOW } else { refuse(OTHER_FAMILIES) };
                assert_eq!(here(call, number.cast_unsigned(), 0), wanted, "family {number}");
            }
        }
    }

    #[test]
    fn no_jump_is_cut_short() {
        let longest = 2 * FAMILIES.len().max(IOCTLS.len()) + 2;
        assert!(longest < usize::from(u8::MAX));
    }
}
