//! Bounds on what a container may make of the kernel's own things, however little it takes of
//! memory or tasks. What an owner may set is in [`limits`](crate::cgroup::limits).

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The kernel's name of it.
    pub name: &'static str,
    /// The most, as it is written to the kernel.
    pub most: &'static str,
    /// Why, and what it does not hold.
    pub reason: &'static str,
}

/// Control groups below a container's own. The kernel has ids for 65,535 groups of the memory
/// controller on the whole machine; a Debian with a hundred services has about 150 groups, one with
/// thirty such machines nested in it some 2,000.
pub const GROUPS: Bound = Bound {
    name: "cgroup.max.descendants",
    most: "2048",
    reason: "root inside may make groups, and the kernel has 65,535 memory groups for all; on hybrid hosts the v1 \
             name=systemd tree has no such file: what is made there takes none of them, but is neither bounded nor \
             charged",
};

/// All of them.
pub const BOUNDS: &[Bound] = &[GROUPS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_number_that_leaves_room_for_many_containers() {
        for bound in BOUNDS {
            let most: u32 = bound.most.parse().unwrap();
            assert!((512..=4096).contains(&most), "{bound:?}");
        }
    }
}
