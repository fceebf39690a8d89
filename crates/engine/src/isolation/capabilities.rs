//! The capability bounding set: what of root's powers exists inside, each confined by the user
//! namespace.

use caps::Capability;

/// One capability and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Which.
    pub capability: Capability,
    /// Its name.
    pub name: &'static str,
    /// Whether processes inside may have it.
    pub kept: bool,
    /// Why.
    pub reason: &'static str,
}

macro_rules! rules {
    ($($capability:ident $rule:ident $reason:literal;)*) => {
        [$(Rule {
            capability: Capability::$capability,
            name: stringify!($capability),
            kept: rules!(@ $rule),
            reason: $reason,
        }),*]
    };
    (@ kept) => { true };
    (@ dropped) => { false };
}

/// All the kernel knows.
pub const CAPABILITIES: [Rule; 41] = rules! {
    CAP_CHOWN kept "own files; ids that are not mapped stay out of reach";
    CAP_DAC_OVERRIDE kept "own files only: the kernel asks that owner and group are mapped";
    CAP_DAC_READ_SEARCH kept "own files only; open_by_handle_at, its way around paths, is refused below";
    CAP_FOWNER kept "own files only";
    CAP_FSETID kept "own files only";
    CAP_KILL kept "processes of the own pid namespace";
    CAP_SETGID kept "logins and services change groups; mapped ids only";
    CAP_SETUID kept "logins and services change users; mapped ids only";
    CAP_SETPCAP kept "systemd limits its services with it";
    CAP_LINUX_IMMUTABLE kept "without effect: the kernel asks for it in the host's namespace";
    CAP_NET_BIND_SERVICE kept "ports below 1024 of the own network namespace";
    CAP_NET_BROADCAST kept "without effect in today's kernels";
    CAP_NET_ADMIN kept "own interfaces, routes and firewall: VPNs, podman, docker";
    CAP_NET_RAW kept "ping and packet sockets; what leaves is checked on the host's side of the veth";
    CAP_IPC_LOCK kept "locked memory counts against the container's limits";
    CAP_IPC_OWNER kept "objects of the own ipc namespace";
    CAP_SYS_MODULE dropped "modules are the kernel's own code";
    CAP_SYS_RAWIO dropped "ports, memory and raw disks of the machine";
    CAP_SYS_CHROOT kept "chroot, and joining own namespaces";
    CAP_SYS_PTRACE kept "debuggers; processes of the own user namespace";
    CAP_SYS_PACCT dropped "accounting files see every process of the host";
    CAP_SYS_ADMIN kept "mounts, nested namespaces: a machine needs them; confined by the user namespace";
    CAP_SYS_BOOT kept "reboot and poweroff end the pid namespace, not the machine";
    CAP_SYS_NICE kept "own processes; real-time classes stay refused";
    CAP_SYS_RESOURCE kept "own limits; those of the cgroup stand above them";
    CAP_SYS_TIME dropped "there is one clock for all";
    CAP_SYS_TTY_CONFIG kept "vhangup, which getty uses; the container has no console of the machine";
    CAP_MKNOD kept "without effect on devices: the kernel asks for it in the host's namespace; tar and dpkg ask whether it is there";
    CAP_LEASE kept "leases on own files";
    CAP_AUDIT_WRITE kept "sshd and pam fail where it is missing; the kernel refuses audit from here anyway";
    CAP_AUDIT_CONTROL kept "pam_loginuid takes its absence for a failed login; the kernel refuses audit from here anyway";
    CAP_SETFCAP kept "apt sets file capabilities; they hold in this user namespace only";
    CAP_MAC_OVERRIDE dropped "the security module is the host's";
    CAP_MAC_ADMIN dropped "the security module is the host's";
    CAP_SYSLOG dropped "the kernel's log and its addresses are the host's";
    CAP_WAKE_ALARM dropped "waking the machine from sleep";
    CAP_BLOCK_SUSPEND dropped "keeping the machine from sleep";
    CAP_AUDIT_READ dropped "the audit log is the host's; without it systemd leaves its audit socket alone";
    CAP_PERFMON dropped "performance counters see all of the machine";
    CAP_BPF dropped "programs in the kernel";
    CAP_CHECKPOINT_RESTORE dropped "choosing pids and reading other tasks' maps; nothing of ours needs it";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_its_rule() {
        let all = caps::all();
        assert_eq!(all.len(), CAPABILITIES.len());
        assert!(CAPABILITIES.iter().all(|r| all.contains(&r.capability) && r.name == r.capability.to_string()));
    }
}
