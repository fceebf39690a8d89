//! The arithmetic: figures of the host cut to a container's limits, and their layout in memory.

/// Sizes of a file system, in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All.
    pub blocks: u64,
    /// Free.
    pub free: u64,
    /// Free for anyone.
    pub available: u64,
}

/// A pool's sizes as a container with a quota sees them: it is as large as its limit, and never has
/// more free than the pool has. Then, and when more is used than a lowered limit allows, it is as
/// large as what is used and free together, so that what df calls used is right.
pub fn space(pool: Space, block: u64, limit: u64, used: u64) -> Space {
    let block = block.max(1);
    let (limit, used) = (limit / block, used.div_ceil(block));
    let left = limit.saturating_sub(used);
    let free = left.min(pool.free);
    let blocks = if used < limit && free == left { limit } else { used.saturating_add(free) };
    Space { blocks, free, available: left.min(pool.available) }
}

/// The lowest `count` CPUs of a mask.
pub fn lowest(mask: &[u8], count: u32) -> Vec<u8> {
    let mut left = count;
    let mut cut = vec![0; mask.len()];
    for (from, to) in mask.iter().zip(&mut cut) {
        for bit in (0..8).map(|bit| 1u8 << bit).filter(|bit| from & bit != 0) {
            if left == 0 {
                return cut;
            }
            *to |= bit;
            left -= 1;
        }
    }
    cut
}

/// CPUs in a mask.
pub fn count(mask: &[u8]) -> u32 {
    mask.iter().map(|byte| byte.count_ones()).sum()
}

/// CPUs that a quota of so many microseconds in each period keeps busy, rounded up; at least one.
pub fn cpus(quota: u64, period: u64) -> u32 {
    u32::try_from(quota.div_ceil(period.max(1)).max(1)).unwrap_or(u32::MAX)
}

/// What a container has and uses of memory, in bytes, and the like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Machine {
    /// Seconds since it was started.
    pub uptime: u64,
    /// Load averages as the kernel gives them.
    pub loads: [u64; 3],
    /// Memory.
    pub memory: u64,
    /// Of that, free.
    pub memory_free: u64,
    /// Of that, shared.
    pub shared: u64,
    /// Swap.
    pub swap: u64,
    /// Of that, free.
    pub swap_free: u64,
    /// Tasks.
    pub tasks: u64,
}

/// Writes numbers at their offsets into a zeroed struct of the kernel's.
fn lay_out<const SIZE: usize>(words: &[(usize, u64)]) -> [u8; SIZE] {
    let mut out = [0; SIZE];
    for (at, word) in words {
        out[*at..*at + 8].copy_from_slice(&word.to_ne_bytes());
    }
    out
}

/// `struct sysinfo` of sysinfo(2) on 64-bit machines.
pub fn sysinfo(m: &Machine) -> [u8; 112] {
    let [one, five, fifteen] = m.loads;
    let memory = [(32, m.memory), (40, m.memory_free), (48, m.shared), (64, m.swap), (72, m.swap_free)];
    let mut out: [u8; 112] = lay_out(&[&[(0, m.uptime), (8, one), (16, five), (24, fifteen)], &memory[..]].concat());
    out[80..82].copy_from_slice(&u16::try_from(m.tasks).unwrap_or(u16::MAX).to_ne_bytes());
    // Bytes are counted in ones.
    out[104..108].copy_from_slice(&1u32.to_ne_bytes());
    out
}

/// `struct statfs` of statfs(2) on 64-bit machines, in words.
#[derive(Debug, Clone, Copy)]
pub struct Statfs(pub [u64; 15]);

impl Statfs {
    /// Bytes of a block.
    pub fn block(&self) -> u64 {
        self.0[1]
    }

    /// Its sizes.
    pub fn space(&self) -> Space {
        Space { blocks: self.0[2], free: self.0[3], available: self.0[4] }
    }

    /// As bytes, with other sizes.
    pub fn with(mut self, space: Space) -> [u8; 120] {
        [self.0[2], self.0[3], self.0[4]] = [space.blocks, space.free, space.available];
        let mut out = [0; 120];
        for (to, word) in out.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POOL: Space = Space { blocks: 1000, free: 500, available: 400 };

    #[test]
    fn a_container_is_as_large_as_its_limit() {
        let seen = space(POOL, 4096, 100 * 4096, 30 * 4096);
        assert_eq!(seen, Space { blocks: 100, free: 70, available: 70 });
    }

    #[test]
    fn a_pool_with_less_room_and_a_limit_below_what_is_used_keep_used_right() {
        let seen = space(POOL, 4096, 900 * 4096, 30 * 4096);
        assert_eq!(seen, Space { blocks: 530, free: 500, available: 400 });
        let over = space(POOL, 4096, 10 * 4096, 30 * 4096);
        assert_eq!(over, Space { blocks: 30, free: 0, available: 0 });
    }

    #[test]
    fn cpus_are_rounded_up_and_never_none() {
        assert_eq!((cpus(150_000, 100_000), cpus(100_000, 100_000), cpus(1000, 100_000), cpus(5, 0)), (2, 1, 1, 5));
    }

    #[test]
    fn layouts_are_those_of_libc() {
        use std::mem::offset_of;
        assert_eq!((size_of::<libc::statfs>(), size_of::<libc::sysinfo>()), (120, 112));
        assert_eq!((offset_of!(libc::statfs, f_bsize), offset_of!(libc::statfs, f_blocks)), (8, 16));
        assert_eq!((offset_of!(libc::statfs, f_bfree), offset_of!(libc::statfs, f_bavail)), (24, 32));
        assert_eq!((offset_of!(libc::sysinfo, totalram), offset_of!(libc::sysinfo, procs)), (32, 80));
        assert_eq!((offset_of!(libc::sysinfo, freeswap), offset_of!(libc::sysinfo, mem_unit)), (72, 104));
    }

    proptest! {
        #[test]
        fn nothing_is_promised_that_the_pool_or_the_limit_lacks(
            free in 0u64..1 << 40, less in 0u64..1 << 20, limit: u64, used: u64, block in prop_oneof![Just(0), 1u64..1 << 20]
        ) {
            let pool = Space { blocks: 1 << 41, free, available: free.saturating_sub(less) };
            let seen = space(pool, block, limit, used);
            prop_assert!(seen.free <= pool.free && seen.available <= pool.available);
            prop_assert!(seen.available <= seen.free && seen.free <= seen.blocks);
            prop_assert!(seen.free <= limit / block.max(1));
        }

        #[test]
        fn a_cut_mask_is_a_part_of_the_real_one(mask in proptest::collection::vec(any::<u8>(), 0..64), n in 0u32..600) {
            let cut = lowest(&mask, n);
            prop_assert_eq!(cut.len(), mask.len());
            prop_assert!(cut.iter().zip(&mask).all(|(cut, real)| cut & !real == 0));
            prop_assert_eq!(count(&cut), n.min(count(&mask)));
            // All that is left out comes after all that is kept.
            let number = |mask: &[u8]| (0..mask.len() * 8).filter(|i| mask[i / 8] >> (i % 8) & 1 == 1).collect::<Vec<_>>();
            let (kept, all) = (number(&cut), number(&mask));
            prop_assert_eq!(&kept[..], &all[..kept.len()]);
        }
    }
}
