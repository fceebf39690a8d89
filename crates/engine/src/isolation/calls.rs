//! The seccomp filter as data: a list of what is refused, as LXC's, because a container is a whole
//! machine that runs anything. Where libc or programs have a fallback the answer is ENOSYS, else
//! EPERM.

/// What a refused call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Not allowed; for programs that would report it.
    Eperm,
    /// No such call; for programs that go on without.
    Enosys,
    /// No such ioctl here.
    Enotty,
    /// No such kind of socket.
    Eafnosupport,
}

impl Answer {
    /// The errno.
    pub const fn errno(self) -> libc::c_int {
        match self {
            Self::Eperm => libc::EPERM,
            Self::Enosys => libc::ENOSYS,
            Self::Enotty => libc::ENOTTY,
            Self::Eafnosupport => libc::EAFNOSUPPORT,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eperm => "EPERM",
            Self::Enosys => "ENOSYS",
            Self::Enotty => "ENOTTY",
            Self::Eafnosupport => "EAFNOSUPPORT",
        }
    }
}

/// A refused system call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its number here.
    pub number: libc::c_long,
    /// Its name.
    pub name: &'static str,
    /// What it gets.
    pub answer: Answer,
    /// Why.
    pub reason: &'static str,
}

/// A refused ioctl.
#[derive(Debug, Clone, Copy)]
pub struct Ioctl {
    /// Request number.
    pub request: u32,
    /// Its name.
    pub name: &'static str,
    /// What it gets.
    pub answer: Answer,
    /// Why.
    pub reason: &'static str,
}

/// A kind of socket that may be made.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// `AF_*`.
    pub number: libc::c_int,
    /// Its name.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
}

macro_rules! calls {
    ($($name:ident $number:ident $answer:ident $reason:literal;)*) => {
        &[$(Call {
            number: libc::$number,
            name: stringify!($name),
            answer: Answer::$answer,
            reason: $reason,
        }),*]
    };
}

/// Refused on all architectures.
const COMMON: &[Call] = calls! {
    kexec_load SYS_kexec_load Eperm "boots another kernel";
    kexec_file_load SYS_kexec_file_load Eperm "boots another kernel";
    init_module SYS_init_module Eperm "loads code into the kernel";
    finit_module SYS_finit_module Eperm "loads code into the kernel";
    delete_module SYS_delete_module Eperm "takes code out of the kernel";
    open_by_handle_at SYS_open_by_handle_at Eperm "opens any file of a file system by number, past all paths (the 2014 container escape)";
    bpf SYS_bpf Eperm "programs in the kernel: its verifier has been a way out again and again";
    perf_event_open SYS_perf_event_open Eperm "counters of the whole machine; a long line of kernel bugs";
    userfaultfd SYS_userfaultfd Eperm "holds the kernel in the middle of a copy: the tool of most exploits of races";
    io_uring_setup SYS_io_uring_setup Enosys "does calls behind the back of this filter, and the most exploited code of recent years; programs fall back";
    io_uring_enter SYS_io_uring_enter Enosys "see io_uring_setup";
    io_uring_register SYS_io_uring_register Enosys "see io_uring_setup";
    swapon SYS_swapon Eperm "swap is the host's";
    swapoff SYS_swapoff Eperm "swap is the host's";
    acct SYS_acct Eperm "writes accounts of every process of the host";
    settimeofday SYS_settimeofday Eperm "one clock for all";
    clock_settime SYS_clock_settime Eperm "one clock for all";
    adjtimex SYS_adjtimex Eperm "one clock for all";
    clock_adjtime SYS_clock_adjtime Eperm "one clock for all";
    quotactl SYS_quotactl Eperm "quotas of the pool are the node's";
    quotactl_fd SYS_quotactl_fd Eperm "quotas of the pool are the node's";
    lookup_dcookie SYS_lookup_dcookie Eperm "names of files by number, for a profiler that is gone";
    syslog SYS_syslog Eperm "the kernel's log is the host's, also where the host lets anyone read it";
    keyctl SYS_keyctl Enosys "key rings are not confined by user namespaces well enough; systemd and podman go on without";
    add_key SYS_add_key Enosys "see keyctl";
    request_key SYS_request_key Enosys "see keyctl; it makes the host run a helper";
};

/// Refused where they exist.
#[cfg(target_arch = "x86_64")]
const LOCAL: &[Call] = calls! {
    iopl SYS_iopl Eperm "ports of the machine";
    ioperm SYS_ioperm Eperm "ports of the machine";
    uselib SYS_uselib Enosys "libraries of 1995; code that nobody tests";
    ustat SYS_ustat Enosys "asks about file systems by device number, mounted here or not";
    sysfs SYS_sysfs Enosys "lists file system types for programs of 1995";
    _sysctl SYS__sysctl Enosys "removed from newer kernels; older ones have it without its callers";
};
/// Refused where they exist.
#[cfg(not(target_arch = "x86_64"))]
const LOCAL: &[Call] = &[];

const fn joined<const N: usize>(first: &[Call], second: &[Call]) -> [Call; N] {
    let mut all = [first[0]; N];
    let mut i = 0;
    while i < N {
        all[i] = if i < first.len() { first[i] } else { second[i - first.len()] };
        i += 1;
    }
    all
}

/// All refused calls.
pub const CALLS: [Call; COMMON.len() + LOCAL.len()] = joined(COMMON, LOCAL);

/// Calls that are answered from outside in a container with limits that they show: `name`, why.
pub const FIGURES: [(&str, &str); 4] = [
    ("statfs", "shows the disk limit, where one was set at the start: the kernel knows none of it"),
    ("fstatfs", "see statfs"),
    ("sched_getaffinity", "shows as many CPUs as the CPU limit gives, where one was set at the start"),
    ("sysinfo", "shows memory, tasks and age of a container that was started with a limit; its load stays the host's"),
];
/// What happens to them.
pub const FIGURES_RULE: &str = "answered";
/// What they take.
pub const LISTENERS_REASON: &str =
    "in a container that was started with a limit on disk, CPU, memory or swap; without, the first one works";

/// Calls by the numbers of another architecture, or of x32.
pub const FOREIGN: Answer = Answer::Enosys;
/// Why.
pub const FOREIGN_REASON: &str = "their numbers mean other calls: the filter would be walked around";

/// Kinds of sockets a Debian machine uses that the network namespace confines.
pub const FAMILIES: [Family; 5] = [
    Family { number: libc::AF_UNIX, name: "AF_UNIX", reason: "by path inside, or abstract in the network namespace" },
    Family { number: libc::AF_INET, name: "AF_INET", reason: "in the network namespace" },
    Family { number: libc::AF_INET6, name: "AF_INET6", reason: "in the network namespace" },
    Family {
        number: libc::AF_NETLINK,
        name: "AF_NETLINK",
        reason: "settings of the network namespace; audit refuses others",
    },
    Family {
        number: libc::AF_PACKET,
        name: "AF_PACKET",
        reason: "DHCP, tcpdump; sees and sends on the own interfaces only",
    },
];
/// All other kinds.
pub const OTHER_FAMILIES: Answer = Answer::Eafnosupport;
/// Why.
pub const OTHER_FAMILIES_REASON: &str = "AF_VSOCK reaches the host's services and its hypervisor past every namespace; each of the rest loads a kernel module that hardly anyone tests";

macro_rules! ioctls {
    ($($name:literal = $request:expr, $answer:ident, $reason:expr;)*) => {
        [$(Ioctl { request: $request, name: $name, answer: Answer::$answer, reason: $reason }),*]
    };
}

const SUBVOLUMES: &str = "makes, removes or unlocks subvolumes: snapshots of the container would skip nested ones";

/// All refused ioctls.
pub const IOCTLS: [Ioctl; 9] = ioctls! {
    "TIOCSTI" = libc::TIOCSTI as u32, Eperm, "types into a terminal in the place of its user: the classic way out of a session";
    "TIOCLINUX" = 0x541c, Eperm, "pastes into a terminal in the place of its user";
    "BTRFS_IOC_SUBVOL_CREATE" = 0x5000_940e, Enotty, SUBVOLUMES;
    "BTRFS_IOC_SNAP_CREATE" = 0x5000_9401, Enotty, SUBVOLUMES;
    "BTRFS_IOC_SNAP_CREATE_V2" = 0x5000_9417, Enotty, SUBVOLUMES;
    "BTRFS_IOC_SUBVOL_CREATE_V2" = 0x5000_9418, Enotty, SUBVOLUMES;
    "BTRFS_IOC_SNAP_DESTROY" = 0x5000_940f, Enotty, SUBVOLUMES;
    "BTRFS_IOC_SNAP_DESTROY_V2" = 0x5000_943f, Enotty, SUBVOLUMES;
    "BTRFS_IOC_SUBVOL_SETFLAGS" = 0x4008_941a, Enotty, SUBVOLUMES;
};
