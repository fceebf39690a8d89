//! What processes of a container may not do: the capability bounding set and the seccomp filter.
//!
//! The filter is a deny list, as LXC's, because a container is a whole machine that runs anything.
//! It is loaded without `no_new_privs`. Where libc has a fallback the answer is ENOSYS, else
//! EPERM; foreign architectures and x32 get ENOSYS throughout. Figures and reasons: calls that
//! reach host-global state which user namespaces do not confine (kexec, modules, swap, clocks,
//! quotas), that widen the kernel's attack surface (bpf, userfaultfd, perf), or that walk around
//! path confinement (open_by_handle_at).

use caps::{CapSet, Capability};

use crate::engine::error::{Error, Result};
use crate::engine::sys::filter::{self, Instruction};

/// Capabilities nothing inside ever gets. What stays is confined by the user namespace.
const DROPPED: [Capability; 11] = [
    Capability::CAP_SYS_MODULE,
    Capability::CAP_SYS_RAWIO,
    Capability::CAP_SYS_TIME,
    Capability::CAP_MAC_ADMIN,
    Capability::CAP_MAC_OVERRIDE,
    Capability::CAP_SYSLOG,
    Capability::CAP_WAKE_ALARM,
    Capability::CAP_BLOCK_SUSPEND,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_CHECKPOINT_RESTORE,
];

/// Puts this process and all it will start under bounding set and filter.
///
/// # Errors
/// When the kernel refuses a step.
pub fn apply() -> Result<()> {
    for capability in DROPPED {
        caps::drop(None, CapSet::Bounding, capability)
            .map_err(|e| Error::Shim(format!("drop {capability} from the bounding set: {e}")))?;
    }
    filter::load(&program()).map_err(|source| Error::Sys { what: "load the seccomp filter".into(), source })
}

// Classic BPF: load a word of seccomp_data, compare, return.
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARG1_LOW: u32 = 24;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// First system call number of the x32 ABI.
const X32: u32 = 0x4000_0000;

fn denied_eperm() -> Vec<libc::c_long> {
    let mut calls = vec![
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_open_by_handle_at,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_adjtimex,
        libc::SYS_clock_adjtime,
        libc::SYS_quotactl,
        libc::SYS_quotactl_fd,
        libc::SYS_lookup_dcookie,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([libc::SYS_iopl, libc::SYS_ioperm]);
    calls
}

/// Key rings are not confined by user namespaces well enough; systemd and podman go on without.
fn denied_enosys() -> Vec<libc::c_long> {
    vec![libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key]
}

/// btrfs ioctls that would make, remove or unlock subvolumes: snapshots would skip nested ones.
const BTRFS_IOCTLS: [u32; 7] = [
    0x5000_940e, // SUBVOL_CREATE
    0x5000_9401, // SNAP_CREATE
    0x5000_9417, // SNAP_CREATE_V2
    0x5000_9418, // SUBVOL_CREATE_V2
    0x5000_940f, // SNAP_DESTROY
    0x5000_943f, // SNAP_DESTROY_V2
    0x4008_941a, // SUBVOL_SETFLAGS
];

fn errno(code: libc::c_int) -> u32 {
    libc::SECCOMP_RET_ERRNO | code.cast_unsigned()
}

fn program() -> Vec<Instruction> {
    let step = |code, k| Instruction { code, jt: 0, jf: 0, k };
    let mut out = vec![
        step(LOAD, ARCH),
        Instruction { code: EQUAL, jt: 1, jf: 0, k: AUDIT_ARCH },
        step(RETURN, errno(libc::ENOSYS)),
        step(LOAD, NR),
    ];
    if cfg!(target_arch = "x86_64") {
        out.push(Instruction { code: AT_LEAST, jt: 0, jf: 1, k: X32 });
        out.push(step(RETURN, errno(libc::ENOSYS)));
    }
    for (calls, answer) in [(denied_eperm(), errno(libc::EPERM)), (denied_enosys(), errno(libc::ENOSYS))] {
        for call in calls {
            out.push(Instruction { code: EQUAL, jt: 0, jf: 1, k: call as u32 });
            out.push(step(RETURN, answer));
        }
    }
    // Anything that is not ioctl is allowed here; ioctl goes on to its request number.
    out.push(Instruction { code: EQUAL, jt: 1, jf: 0, k: libc::SYS_ioctl as u32 });
    out.push(step(RETURN, libc::SECCOMP_RET_ALLOW));
    out.push(step(LOAD, ARG1_LOW));
    for request in BTRFS_IOCTLS {
        out.push(Instruction { code: EQUAL, jt: 0, jf: 1, k: request });
        out.push(step(RETURN, errno(libc::ENOTTY)));
    }
    // Pushing input into a terminal is a classic way out of a session.
    out.push(Instruction { code: EQUAL, jt: 0, jf: 1, k: libc::TIOCSTI as u32 });
    out.push(step(RETURN, errno(libc::EPERM)));
    out.push(step(RETURN, libc::SECCOMP_RET_ALLOW));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would, on one call.
    fn decide(arch: u32, nr: u32, arg1: u32) -> u32 {
        let program = program();
        let (mut pc, mut acc) = (0usize, 0u32);
        loop {
            let i = program[pc];
            pc += 1;
            match i.code {
                LOAD => {
                    acc = if i.k == NR {
                        nr
                    } else if i.k == ARCH {
                        arch
                    } else {
                        arg1
                    }
                }
                EQUAL => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
                AT_LEAST => pc += usize::from(if acc >= i.k { i.jt } else { i.jf }),
                _ => return i.k,
            }
        }
    }

    #[test]
    fn denied_calls_get_their_errno_and_others_pass() {
        assert_eq!(decide(AUDIT_ARCH, libc::SYS_bpf as u32, 0), errno(libc::EPERM));
        assert_eq!(decide(AUDIT_ARCH, libc::SYS_keyctl as u32, 0), errno(libc::ENOSYS));
        for call in [libc::SYS_read, libc::SYS_clone3, libc::SYS_mount, libc::SYS_execve] {
            assert_eq!(decide(AUDIT_ARCH, call as u32, 0), libc::SECCOMP_RET_ALLOW);
        }
    }

    #[test]
    fn foreign_architectures_and_x32_get_enosys() {
        assert_eq!(decide(0x4000_0003, 1, 0), errno(libc::ENOSYS));
        assert_eq!(decide(AUDIT_ARCH, X32 | 1, 0), errno(libc::ENOSYS));
    }

    #[test]
    fn only_the_subvolume_ioctls_and_tiocsti_are_refused() {
        for request in BTRFS_IOCTLS {
            assert_eq!(decide(AUDIT_ARCH, libc::SYS_ioctl as u32, request), errno(libc::ENOTTY));
            assert_eq!(decide(AUDIT_ARCH, libc::SYS_read as u32, request), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(decide(AUDIT_ARCH, libc::SYS_ioctl as u32, libc::TCGETS as u32), libc::SECCOMP_RET_ALLOW);
        assert_eq!(decide(AUDIT_ARCH, libc::SYS_ioctl as u32, libc::TIOCSTI as u32), errno(libc::EPERM));
    }
}
