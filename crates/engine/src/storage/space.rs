//! Where the pool's space is: what a container's bytes are, what is deleted and not yet free, and
//! how the file system is.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{command, run};
use super::pool::Pool;
use crate::error::{Context, Error, Result};
use crate::sys::btrfs;
use cowl_api::ContainerId;
use cowl_api::space::{Breakdown, DeviceErrors, Dying, Health, Scrub};

/// Asking for, starting or ending a scrub takes moments.
const DEADLINE: Duration = Duration::from_secs(30);

impl Pool {
    /// What a container's bytes on disk are. Exact for data that is not so small that it lies within
    /// the metadata (2 KiB). Reads the disk's tree once: some ten milliseconds for 10,000 files.
    ///
    /// # Errors
    /// [`Error::NotFound`] without its disk.
    pub fn breakdown(&self, id: &ContainerId) -> Result<Breakdown> {
        let disk = self.disk(id);
        if !btrfs::is_subvolume(&disk).at("ask", &disk)? {
            return Err(Error::NotFound(format!("container {id}'s disk")));
        }
        let template = self.template(&self.image_of(&disk)?)?;
        // Whatever was written by the time the template was finished came with it.
        let finished = btrfs::info(&template).at("ask", &template)?.generation;
        let mut seen = HashSet::new();
        let (mut image, mut own) = (0, 0);
        btrfs::extents(&disk, &mut |extent| {
            if seen.insert(extent.address) {
                *(if extent.generation <= finished { &mut image } else { &mut own }) += extent.bytes;
            }
        })
        .at("read the tree of", &disk)?;
        let counted = self.quotas.usage(id);
        Ok(Breakdown {
            from_image: image,
            own,
            // Written by it, still there, and not in the present disk.
            only_in_snapshots: counted.map(|c| c.used.saturating_sub(own)),
            limit: counted.and_then(|c| c.limit),
        })
    }

    /// What was deleted and is not yet free: the kernel frees it in its own time.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn dying(&self) -> Result<Dying> {
        let ids = btrfs::dying(&self.root).at("look for deleted subvolumes in", &self.root)?;
        let bytes = ids.iter().filter_map(|id| self.quotas.held_by(*id)).sum();
        Ok(Dying { subvolumes: ids.len() as u64, bytes: self.quotas.are_on().then_some(bytes) })
    }

    /// How the file system is: errors of its devices, long work under way, the last scrub.
    ///
    /// # Errors
    /// When the kernel shows nothing of it.
    pub fn health(&self) -> Result<Health> {
        let sys = self.sys_dir()?;
        let work = sys.join("exclusive_operation");
        let work = fs::read_to_string(&work).at("read", &work)?;
        let work = work.trim();
        Ok(Health {
            errors: self.device_errors(),
            working_on: (work != "none").then(|| work.to_owned()),
            read_only: rustix::fs::statvfs(&self.root)
                .is_ok_and(|s| s.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)),
            scrub: self.scrub_status()?,
        })
    }

    /// Errors of its devices since they were made part of it. Cheap.
    pub fn device_errors(&self) -> DeviceErrors {
        self.sys_dir().map_or_else(|_| DeviceErrors::default(), |sys| device_errors(&sys.join("devinfo")))
    }

    /// Begins to read everything and compare it with its checksums, in the background and with idle
    /// priority. What has an intact copy is mended.
    ///
    /// # Errors
    /// [`Error::Busy`] while one is under way.
    pub fn scrub(&self) -> Result<()> {
        if self.scrub_status()?.is_some_and(|s| s.running) {
            return Err(Error::Exists("a scrub that is under way".into()));
        }
        let mut start = command("btrfs");
        start.args(["scrub", "start", "-c", "3", "--"]).arg(&self.root);
        run(start, DEADLINE).map(drop)
    }

    /// Ends a scrub.
    ///
    /// # Errors
    /// When none is under way.
    pub fn cancel_scrub(&self) -> Result<()> {
        if !self.scrub_status()?.is_some_and(|s| s.running) {
            return Err(Error::NotFound("a scrub".into()));
        }
        let mut cancel = command("btrfs");
        cancel.args(["scrub", "cancel", "--"]).arg(&self.root);
        run(cancel, DEADLINE).map(drop)
    }

    fn scrub_status(&self) -> Result<Option<Scrub>> {
        let mut status = command("btrfs");
        status.args(["scrub", "status", "-R", "--"]).arg(&self.root);
        Ok(parse_scrub(&run(status, DEADLINE)?))
    }

    fn sys_dir(&self) -> Result<PathBuf> {
        let uuid = btrfs::file_system(&self.root).at("ask for the file system of", &self.root)?;
        Ok(Path::new("/sys/fs/btrfs").join(uuid))
    }
}

/// Sums the error counters of all devices: one directory each, with a file of `name count` lines.
fn device_errors(dir: &Path) -> DeviceErrors {
    let mut sum = DeviceErrors::default();
    for device in fs::read_dir(dir).into_iter().flatten().flatten() {
        let text = fs::read_to_string(device.path().join("error_stats")).unwrap_or_default();
        for (name, count) in text.lines().filter_map(|line| line.split_once(' ')) {
            let count = count.trim().parse().unwrap_or(0);
            match name {
                "write_errs" => sum.write += count,
                "read_errs" => sum.read += count,
                "flush_errs" => sum.flush += count,
                "corruption_errs" => sum.corruption += count,
                "generation_errs" => sum.generation += count,
                _ => {}
            }
        }
    }
    sum
}

/// Reads what `btrfs scrub status -R` prints: `name: value` lines; none when there never was one.
fn parse_scrub(text: &str) -> Option<Scrub> {
    let field =
        |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let number = |name: &str| field(name).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let status = field("Status")?.to_owned();
    Some(Scrub {
        running: status == "running",
        begun: field("Scrub started").or_else(|| field("Scrub resumed")).map(str::to_owned),
        took: field("Duration").map(str::to_owned),
        read_bytes: number("data_bytes_scrubbed") + number("tree_bytes_scrubbed"),
        corrected: number("corrected_errors"),
        uncorrectable: number("uncorrectable_errors"),
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::Scene;

    fn noise(mebibytes: usize) -> Vec<u8> {
        (0..mebibytes << 15).flat_map(|_| rand::random::<[u8; 32]>()).collect()
    }

    #[test]
    fn bytes_are_told_apart_by_where_they_came_from_and_who_still_holds_them() {
        let scene = Scene::new();
        let (id, pool) = (scene.disk(), &scene.pool);
        let etc = pool.disk(&id).join("rootfs/etc");
        let fresh = pool.breakdown(&id).unwrap();
        assert_eq!((fresh.own, fresh.limit), (0, None));
        fs::write(etc.join("kept"), noise(2)).unwrap();
        fs::write(etc.join("gone"), noise(3)).unwrap();
        pool.create_snapshot(&id, "one").unwrap();
        fs::remove_file(etc.join("gone")).unwrap();
        pool.commit().unwrap();
        let now = pool.breakdown(&id).unwrap();
        assert_eq!(now.from_image, fresh.from_image);
        assert_eq!(now.own, 2 << 20);
        let held = now.only_in_snapshots.unwrap();
        // The group counts the metadata, too.
        assert!((3 << 20..4 << 20).contains(&held), "{now:?}");
        // A restore changes nothing in what is whose.
        pool.restore(&id, "one", "safety").unwrap();
        pool.commit().unwrap();
        assert_eq!(pool.breakdown(&id).unwrap().own, 5 << 20);
        assert!(matches!(pool.breakdown(&ContainerId::generate()), Err(Error::NotFound(_))));
    }

    #[test]
    fn what_is_deleted_is_told_apart_from_what_is_free() {
        let scene = Scene::new();
        let (id, pool) = (scene.disk(), &scene.pool);
        fs::write(pool.disk(&id).join("rootfs/etc/big"), noise(8)).unwrap();
        pool.create_snapshot(&id, "one").unwrap();
        assert_eq!(pool.dying().unwrap(), Dying { subvolumes: 0, bytes: Some(0) });
        // An open file keeps the cleaner away from the subvolume it lies in.
        let open = fs::File::open(pool.snapshot(&id, "one").join("rootfs/etc/big")).unwrap();
        pool.delete_snapshot(&id, "one").unwrap();
        assert!(pool.dying().unwrap().subvolumes >= 1);
        drop(open);
        let begun = std::time::Instant::now();
        while pool.dying().unwrap().subvolumes > 0 {
            assert!(begun.elapsed() < Duration::from_secs(120), "the cleaner never comes");
            pool.commit().unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    #[test]
    fn a_scrub_is_started_seen_and_tells_its_outcome() {
        let scene = Scene::new();
        let pool = &scene.pool;
        assert_eq!(pool.health().unwrap().scrub, None);
        assert!(matches!(pool.cancel_scrub(), Err(Error::NotFound(_))));
        pool.scrub().unwrap();
        let begun = std::time::Instant::now();
        let health = loop {
            let health = pool.health().unwrap();
            if health.scrub.as_ref().is_some_and(|s| !s.running) {
                break health;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the scrub never ends: {health:?}");
            std::thread::sleep(Duration::from_millis(100));
        };
        let scrub = health.scrub.unwrap();
        assert_eq!((scrub.status.as_str(), scrub.uncorrectable), ("finished", 0));
        assert!(scrub.read_bytes > 0);
        assert_eq!((health.errors, health.read_only), (DeviceErrors::default(), false));
    }

    #[test]
    fn what_btrfs_prints_of_scrubs_is_read() {
        assert_eq!(parse_scrub("UUID: x\n\tno stats available\n"), None);
        let text = "UUID:             x\nScrub started:    Mon Nov 23 20:00:00 2026\nStatus:           running\n\
                    Duration:         0:00:05\n\tdata_bytes_scrubbed: 10\n\ttree_bytes_scrubbed: 5\n\
                    \tuncorrectable_errors: 1\n\tcorrected_errors: 2\n";
        let scrub = parse_scrub(text).unwrap();
        assert!(scrub.running && scrub.read_bytes == 15);
        assert_eq!((scrub.corrected, scrub.uncorrectable, scrub.took.as_deref()), (2, 1, Some("0:00:05")));
    }
}
