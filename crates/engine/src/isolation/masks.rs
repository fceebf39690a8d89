//! What of `/proc` and `/sys` is covered. See "Masks are manners" in [`super`].

/// How a path is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// A file reads as empty.
    Hidden,
    /// A directory is empty and cannot be written.
    Empty,
    /// What is there can be read only.
    ReadOnly,
    /// Stays writable inside what is read-only.
    Open,
}

impl Cover {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Empty => "empty",
            Self::ReadOnly => "read-only",
            Self::Open => "writable",
        }
    }
}

/// A covered path. One that does not exist on this kernel is passed over.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    /// Absolute.
    pub path: &'static str,
    /// How.
    pub cover: Cover,
    /// Why.
    pub reason: &'static str,
}

macro_rules! masks {
    ($($path:literal $cover:ident $reason:literal;)*) => {
        &[$(Mask { path: $path, cover: Cover::$cover, reason: $reason }),*]
    };
}

/// All of them, in the order they are laid. What only the host's root may read needs none: each
/// mask is a mount that systemd inside looks at.
pub const MASKS: &[Mask] = masks! {
    "/proc/kcore" Hidden "the machine's memory";
    "/proc/keys" Hidden "keys of the host's users";
    "/proc/key-users" Hidden "users of the host who have keys";
    "/proc/timer_list" Hidden "timers of all processes of the machine";
    "/proc/kallsyms" Hidden "addresses in the kernel";
    "/proc/partitions" Hidden "the host's disks; the container has none";
    "/proc/diskstats" Hidden "the host's disks; the container has none";
    "/proc/swaps" Hidden "the host's swap";
    "/proc/mdstat" Hidden "the host's disks";
    "/proc/scsi" Empty "the host's disks";
    "/proc/asound" Empty "the host's sound cards";
    "/proc/sys" ReadOnly "settings of the whole kernel; those of own namespaces have calls of their own";
    "/proc/sysrq-trigger" ReadOnly "keys of the machine's console";
    "/proc/irq" ReadOnly "which processor serves which device";
    "/proc/bus" ReadOnly "the machine's buses";
    "/proc/fs" ReadOnly "knobs of file systems";
    "/proc/acpi" ReadOnly "knobs of the mainboard";
    "/proc/sys/net" Open "settings of the container's own network namespace";
    "/sys/fs/btrfs" Empty "the host's pools by their ids";
    "/sys/block" Empty "the host's disks, and the files behind its loop devices";
    "/sys/class/block" Empty "the host's disks";
    "/sys/dev/block" Empty "the host's disks";
    "/sys/devices/virtual/block" Empty "the host's loop devices and the files behind them";
    "/sys/firmware" Empty "tables of the mainboard";
    "/sys/kernel/notes" Hidden "which build of the kernel, exactly, and where it lies";
    "/sys/kernel/vmcoreinfo" Hidden "where the kernel lies in memory";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_writable_lies_in_something_read_only_that_was_laid_before() {
        for (i, open) in MASKS.iter().enumerate().filter(|(_, m)| m.cover == Cover::Open) {
            let before = &MASKS[..i];
            let inside = before.iter().any(|m| m.cover == Cover::ReadOnly && open.path.starts_with(m.path));
            assert!(inside, "{} is not inside anything", open.path);
            assert!(open.path.starts_with("/proc/"), "{} cannot be taken from /dev/.nest", open.path);
        }
    }

    #[test]
    fn no_mask_lies_under_another_that_hides_it() {
        for (i, mask) in MASKS.iter().enumerate() {
            let hidden =
                MASKS[..i].iter().any(|m| m.cover == Cover::Empty && mask.path.starts_with(&format!("{}/", m.path)));
            assert!(!hidden, "{} is hidden already", mask.path);
        }
    }
}
