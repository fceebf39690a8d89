//! The namespaces every container has of its own.

/// One kind of namespace.
#[derive(Debug, Clone, Copy)]
pub struct Namespace {
    /// Name as in `/proc/PID/ns`.
    pub name: &'static str,
    /// `CLONE_NEW*`.
    pub flag: libc::c_int,
    /// Whether the container is born in it. The cgroup namespace is entered later, once the process
    /// is in its cgroup, which becomes the namespace's root.
    pub at_birth: bool,
    /// Why.
    pub reason: &'static str,
}

const fn own(name: &'static str, flag: libc::c_int, reason: &'static str) -> Namespace {
    Namespace { name, flag, at_birth: true, reason }
}

/// All of them.
pub const NAMESPACES: [Namespace; 7] = [
    own("user", libc::CLONE_NEWUSER, "root inside is nobody outside; no two containers share a host id"),
    own("mnt", libc::CLONE_NEWNS, "the host's tree is let go of; mounts inside appear nowhere else"),
    own("pid", libc::CLONE_NEWPID, "outside processes have no number to be signalled or traced by"),
    own("net", libc::CLONE_NEWNET, "own interfaces, routes, firewall, abstract sockets; the host is one hop away"),
    own("ipc", libc::CLONE_NEWIPC, "shared memory, semaphores and message queues of others have no name here"),
    own("uts", libc::CLONE_NEWUTS, "an own host name"),
    Namespace {
        name: "cgroup",
        flag: libc::CLONE_NEWCGROUP,
        at_birth: false,
        reason: "its own group looks like the root; entered after the process was placed",
    },
];

/// Flags of those a container is born in.
pub fn at_birth() -> libc::c_int {
    NAMESPACES.iter().filter(|n| n.at_birth).fold(0, |flags, n| flags | n.flag)
}
