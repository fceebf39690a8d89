//! A machine in memory for tests: it keeps what a kernel and a pool would keep, records calls,
//! and can lose power at any step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Boot, Machine, Tree};
use cowl_api::ContainerId;
use cowl_api::dedupe::Figures;
use cowl_api::diff::{Aspect, Change, ChangeKind, FileType, Summary};
use cowl_api::files::{Listing, Stat};
use cowl_api::memory::ContainerUse;
use cowl_api::server::BuildProgress;
use cowl_api::settings::Limits;
use cowl_api::space::{Breakdown, DeviceErrors, Dying, Health};
use cowl_engine::archive::manifest::{About, Manifest};
use cowl_engine::cgroup::limits::Shortfall;
use cowl_engine::firewall::Policy;
use cowl_engine::memory::Memory;
use cowl_engine::quota::DiskUse;
use cowl_engine::shim::protocol::{Event, Outcome, Status};
use cowl_engine::stats::Usage;
use cowl_engine::storage::build::recipe;
use cowl_engine::storage::dedupe::Scope;
use cowl_engine::storage::diff::text::Found;
use cowl_engine::storage::export;
use cowl_engine::storage::import::{Terms, Unpacked};
use cowl_engine::storage::pool::{BuiltImage, DiskSize, PoolUsage};
use cowl_engine::storage::prune::{Order, Unneeded, UnneededKind};
use cowl_engine::{Error, Result};

/// Counts steps down; at zero the power is gone and no step has an effect any more.
#[derive(Debug, Clone)]
pub(crate) struct Fuse(Arc<AtomicI64>);

impl Default for Fuse {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl Fuse {
    /// Lets `steps` more steps happen.
    pub(crate) fn set(&self, steps: i64) {
        self.0.store(steps, Ordering::SeqCst);
    }

    /// One step; true when it must not happen.
    pub(crate) fn burn(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) <= 0
    }

    /// Whether the power is gone.
    pub(crate) fn is_blown(&self) -> bool {
        self.0.load(Ordering::SeqCst) <= 0
    }
}

/// What survives a power cut or a node's death: the kernel and the pool.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Content of each disk.
    pub disks: BTreeMap<ContainerId, String>,
    /// Content of each snapshot.
    pub snapshots: BTreeMap<(ContainerId, String), String>,
    /// Running containers and whether they are frozen.
    pub running: BTreeMap<ContainerId, Status>,
    /// Limits set last.
    pub limits: BTreeMap<ContainerId, Limits>,
    /// Tiers that are built.
    pub images: BTreeSet<String>,
    /// Tiers whose image is of an older recipe.
    pub outdated: BTreeSet<String>,
    /// Ids of images that a later build has taken the place of.
    pub past_images: BTreeSet<String>,
    builds: u32,
    /// Error of the next call of a method.
    pub fail: HashMap<&'static str, String>,
    /// All calls that had an effect.
    pub calls: Vec<String>,
    /// Firewall and egress of each.
    pub policies: HashMap<ContainerId, Policy>,
    /// Names of the shares that each sees.
    pub shown: BTreeMap<ContainerId, BTreeSet<String>>,
    /// How long a graceful stop takes.
    pub stop_takes: Duration,
    /// CPU time that every look finds used since the one before, in microseconds.
    pub busy: u64,
    cpu_usec: u64,
    watchers: HashMap<ContainerId, Vec<mpsc::Sender<Event>>>,
    started: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Fake {
    pub world: Arc<Mutex<World>>,
    pub fuse: Fuse,
}

impl Fake {
    /// A machine with the image built.
    pub(crate) fn with_image() -> Self {
        let fake = Self::default();
        fake.world().images.insert("debian-13".into());
        fake
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The next call of `method` fails with `message`.
    pub(crate) fn fail_next(&self, method: &'static str, message: &str) {
        self.world().fail.insert(method, message.into());
    }

    fn step(&self, method: &'static str, id: &ContainerId) -> Result<MutexGuard<'_, World>> {
        if self.fuse.burn() {
            return Err(Error::Shim("power cut".into()));
        }
        let mut world = self.world();
        if let Some(message) = world.fail.remove(method) {
            return Err(Error::Shim(message));
        }
        world.calls.push(format!("{method} {id}"));
        Ok(world)
    }

    /// Init ends on its own.
    pub(crate) fn exit(&self, id: &ContainerId, outcome: Outcome, tail: &[&str]) {
        let console_tail = tail.iter().map(|s| s.to_string()).collect();
        self.tell(id, Event::Exited { outcome, console_tail });
        let mut world = self.world();
        world.running.remove(id);
        world.watchers.remove(id);
    }

    /// The shim dies without a word.
    pub(crate) fn kill_shim(&self, id: &ContainerId) {
        let mut world = self.world();
        world.running.remove(id);
        world.watchers.remove(id);
    }

    pub(crate) fn tell(&self, id: &ContainerId, event: Event) {
        for tx in self.world().watchers.get(id).into_iter().flatten() {
            let _ = tx.try_send(event.clone());
        }
    }
}

fn missing(what: &str) -> Error {
    Error::NotFound(what.into())
}

impl Machine for Fake {
    fn create_disk(&self, id: &ContainerId, image_id: &str) -> Result<()> {
        self.step("create_disk", id)?.disks.entry(*id).or_insert_with(|| format!("fresh {image_id}"));
        Ok(())
    }

    fn delete_disk(&self, id: &ContainerId) -> Result<()> {
        let mut world = self.step("delete_disk", id)?;
        assert!(!world.running.contains_key(id), "a running container's disk must not go");
        world.disks.remove(id);
        world.snapshots.retain(|(owner, _), _| owner != id);
        Ok(())
    }

    fn disks(&self) -> Result<Vec<ContainerId>> {
        Ok(self.world().disks.keys().copied().collect())
    }

    fn start(&self, boot: &Boot) -> Result<Status> {
        let mut world = self.step("start", &boot.id)?;
        if !world.disks.contains_key(&boot.id) {
            return Err(missing("disk"));
        }
        assert!(!world.running.contains_key(&boot.id), "a container must not be started twice");
        world.started += 1;
        let status = Status {
            version: 1,
            id: boot.id,
            shim_pid: 100,
            init_pid: 101,
            started_at_ms: 1_700_000_000_000 + world.started,
            ready: false,
            frozen: false,
            id_base: 0x7000_0000,
            veth: "fake0".into(),
        };
        world.running.insert(boot.id, status.clone());
        Ok(status)
    }

    fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let takes = self.world().stop_takes;
        if !grace.is_zero() {
            std::thread::sleep(takes);
        }
        let mut world = self.step("stop", id)?;
        world.watchers.remove(id);
        world.shown.remove(id);
        world.running.remove(id).map(drop).ok_or_else(|| missing("shim"))
    }

    fn freeze(&self, id: &ContainerId, frozen: bool) -> Result<()> {
        let mut world = self.step("freeze", id)?;
        world.running.get_mut(id).ok_or_else(|| missing("shim"))?.frozen = frozen;
        Ok(())
    }

    fn reclaim(&self, id: &ContainerId) -> Result<u64> {
        let world = self.step("reclaim", id)?;
        assert!(world.running.get(id).is_some_and(|s| s.frozen), "only what is frozen is reclaimed from");
        Ok(1 << 20)
    }

    fn cpu_usec(&self, id: &ContainerId) -> Result<u64> {
        let mut world = self.world();
        if !world.running.contains_key(id) {
            return Err(missing("shim"));
        }
        let busy = world.busy;
        world.cpu_usec += busy;
        Ok(world.cpu_usec)
    }

    fn adopt(&self) -> Result<Vec<Status>> {
        Ok(self.world().running.values().cloned().collect())
    }

    fn status(&self, id: &ContainerId) -> Option<Status> {
        self.world().running.get(id).cloned()
    }

    fn watch(&self, id: &ContainerId) -> mpsc::Receiver<Event> {
        let (tx, rx) = mpsc::channel(64);
        let mut world = self.world();
        if world.running.contains_key(id) {
            world.watchers.entry(*id).or_default().push(tx);
        }
        rx
    }

    fn set_policy(&self, id: &ContainerId, policy: &Policy) -> Result<()> {
        let mut world = self.step("set_policy", id)?;
        world.policies.insert(*id, policy.clone());
        Ok(())
    }

    fn create_snapshot(&self, id: &ContainerId, name: &str) -> Result<()> {
        let mut world = self.step("create_snapshot", id)?;
        let content = world.disks.get(id).cloned().ok_or_else(|| missing("disk"))?;
        world.snapshots.insert((*id, name.into()), content);
        Ok(())
    }

    fn delete_snapshot(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.step("delete_snapshot", id)?.snapshots.remove(&(*id, name.into()));
        Ok(())
    }

    fn snapshots(&self, id: &ContainerId) -> Result<Vec<String>> {
        Ok(self.world().snapshots.keys().filter(|(owner, _)| owner == id).map(|(_, name)| name.clone()).collect())
    }

    fn restore(&self, id: &ContainerId, name: &str, safety: &str) -> Result<()> {
        let mut world = self.step("restore", id)?;
        assert!(!world.running.contains_key(id), "a running container must not be restored");
        let content = world.snapshots.get(&(*id, name.into())).cloned().ok_or_else(|| missing("snapshot"))?;
        let before = world.disks.insert(*id, content).ok_or_else(|| missing("disk"))?;
        world.snapshots.insert((*id, safety.into()), before);
        Ok(())
    }

    fn size(&self, _tree: &Tree) -> Result<DiskSize> {
        Ok(DiskSize { exclusive: 4096, referenced: 1 << 20 })
    }

    fn image(&self, tier: &str) -> Result<Option<BuiltImage>> {
        let world = self.world();
        Ok(world.images.contains(tier).then(|| BuiltImage {
            id: format!("{tier}-20261123-{:08x}", world.builds),
            tier: tier.into(),
            size: 1 << 30,
            created_at: 1_700_000_000,
            recipe: Some(recipe()).filter(|_| !world.outdated.contains(tier)),
        }))
    }

    fn build_image(&self, tier: &str, log: &Path, progress: &mut dyn FnMut(BuildProgress)) -> Result<BuiltImage> {
        std::fs::write(log, "building\n").map_err(|source| Error::Sys { what: "log".into(), source })?;
        let step = BuildProgress {
            step: "unpacking".into(),
            percent: 50.0,
            detail: String::new(),
            elapsed_s: 1.0,
            remaining_s: None,
        };
        progress(step);
        // A test holds the build by leaving `hold` in the map of failures.
        while self.world().fail.contains_key("hold") {
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(message) = self.world().fail.remove("build_image") {
            return Err(Error::Shim(message));
        }
        if let Some(before) = self.image(tier)? {
            let mut world = self.world();
            world.past_images.insert(before.id);
            world.builds += 1;
        }
        self.world().images.insert(tier.into());
        self.world().outdated.remove(tier);
        self.image(tier).map(Option::unwrap)
    }

    fn import_image(&self, _file: &Path) -> Result<BuiltImage> {
        self.world().images.insert("debian-13".into());
        self.image("debian-13").map(Option::unwrap)
    }

    fn usage(&self) -> Result<PoolUsage> {
        Ok(PoolUsage { total: 100, used: 40, free: 60 })
    }

    fn breakdown(&self, _id: &ContainerId) -> Result<Breakdown> {
        Ok(Breakdown::default())
    }

    fn dying(&self) -> Result<Dying> {
        Ok(Dying::default())
    }

    fn device_errors(&self) -> DeviceErrors {
        DeviceErrors::default()
    }

    fn health(&self) -> Result<Health> {
        Ok(Health::default())
    }

    fn scrub(&self) -> Result<()> {
        Ok(())
    }

    fn cancel_scrub(&self) -> Result<()> {
        Ok(())
    }

    fn pool_root(&self) -> PathBuf {
        "/pool".into()
    }

    fn pool_kind(&self) -> &'static str {
        "loop"
    }

    fn ramdisk_usage(&self, _: &ContainerId) -> cowl_engine::ramdisk::Usage {
        Default::default()
    }

    fn counters(&self, id: &ContainerId) -> Result<Usage> {
        let mut world = self.world();
        if !world.running.contains_key(id) {
            return Err(missing("shim"));
        }
        world.started += 1;
        let n = world.started;
        Ok(Usage {
            cpu_usec: n * 1000,
            memory: 10 << 20,
            tasks: 9,
            rx_bytes: n * 10,
            tx_bytes: n * 20,
            ..Default::default()
        })
    }

    fn all_counters(&self, ids: &[ContainerId]) -> Vec<(ContainerId, Usage)> {
        ids.iter().filter_map(|id| Some((*id, self.counters(id).ok()?))).collect()
    }

    fn disk_use(&self, _id: &ContainerId) -> Option<DiskUse> {
        None
    }

    fn limit(&self, id: &ContainerId, limits: &Limits) -> Result<Vec<Shortfall>> {
        let mut world = self.step("limit", id)?;
        world.limits.insert(*id, limits.clone());
        // This machine's kernel slows nothing down.
        Ok(limits.memory_high.map(|_| Shortfall::new("memory_high", "not here")).into_iter().collect())
    }

    fn list(&self, _tree: &Tree, path: &str) -> Result<Listing> {
        Ok(Listing {
            kind: "Index".into(),
            href: path.into(),
            paths: Vec::new(),
            allow_upload: false,
            allow_delete: false,
            allow_search: false,
            allow_archive: false,
            dir_exists: true,
        })
    }

    fn stat(&self, tree: &Tree, path: &str) -> Result<Stat> {
        use cowl_api::files::PathType;
        let path_type = match path {
            "/" | "/etc" => PathType::Dir,
            "/etc/hostname" => PathType::File,
            _ => return Err(missing(path)),
        };
        let content = self.content(tree)?;
        Ok(Stat {
            name: path.rsplit('/').next().unwrap_or_default().into(),
            path: path.into(),
            path_type,
            size: content.len() as u64,
            permissions: "644".into(),
            owner: "root".into(),
            group: "root".into(),
            mtime: 0,
            revisions: None,
            is_symlink: false,
            symlink_target: None,
        })
    }

    fn open_file(&self, tree: &Tree, _path: &str) -> Result<File> {
        use std::io::{Seek, Write};
        let io = |source| Error::Sys { what: "file".into(), source };
        let mut file = tempfile::tempfile().map_err(io)?;
        file.write_all(self.content(tree)?.as_bytes()).map_err(io)?;
        file.rewind().map_err(io)?;
        Ok(file)
    }

    fn shown_shares(&self, id: &ContainerId) -> Vec<String> {
        self.world().shown.get(id).into_iter().flatten().cloned().collect()
    }

    fn show_share(&self, id: &ContainerId, share: &cowl_engine::shares::Share) -> Result<()> {
        let mut world = self.world();
        assert!(world.running.contains_key(id), "only a running container has a door");
        world.shown.entry(*id).or_default().insert(share.name.clone());
        Ok(())
    }

    fn hide_share(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.world().shown.entry(*id).or_default().remove(name);
        Ok(())
    }

    fn kit_socket(&self, id: &ContainerId) -> PathBuf {
        PathBuf::from("/nonexistent").join(id.as_str()).join("kit.sock")
    }

    fn dial(&self, _id: &ContainerId, _port: u16) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn memory(&self, ids: &[ContainerId], pss: bool) -> Memory {
        let world = self.world();
        let used = ContainerUse { charged: 20 << 20, pss: pss.then_some(10 << 20), ..Default::default() };
        let containers = ids.iter().filter(|id| world.running.contains_key(*id)).map(|id| (*id, used)).collect();
        Memory { containers, ..Memory::default() }
    }

    fn dedupe(&self, scope: &Scope, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(&Figures)) -> Result<Figures> {
        self.world().calls.push(format!("dedupe {}", scope.containers.len()));
        let mut figures = Figures { files: 2, candidates: 2, ..Figures::default() };
        tell(&figures);
        // A test holds the run by leaving `hold` in the map of failures.
        while self.world().fail.contains_key("hold") && !stop() {
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(message) = self.world().fail.remove("dedupe") {
            return Err(Error::Shim(message));
        }
        (figures.checked, figures.deduped) = (2, if scope.dry_run { 0 } else { 8 << 20 });
        Ok(figures)
    }

    fn prune(&self, order: &Order) -> Result<Vec<Unneeded>> {
        let mut world = self.world();
        if let Some(message) = world.fail.remove("prune") {
            return Err(Error::InDoubt(message));
        }
        let mut found = vec![];
        if let Some(keep) = &order.images_but {
            let used: BTreeSet<String> = world.disks.values().chain(world.snapshots.values()).cloned().collect();
            let unneeded = |id: &&String| !keep.contains(*id) && !used.contains(&format!("fresh {id}"));
            let gone: Vec<String> = world.past_images.iter().filter(unneeded).cloned().collect();
            found.extend(gone.into_iter().map(|id| Unneeded { kind: UnneededKind::Image, id, bytes: 1 << 30 }));
        }
        if !order.dry_run {
            world.past_images.retain(|id| found.iter().all(|thing| thing.id != *id));
        }
        Ok(found)
    }

    fn copy_disk(&self, id: &ContainerId, source: &Tree) -> Result<()> {
        let content = self.content(source);
        let mut world = self.step("copy_disk", id)?;
        if !world.disks.contains_key(id) {
            world.disks.insert(*id, content?);
        }
        Ok(())
    }

    fn copy_snapshot(&self, source: &ContainerId, id: &ContainerId, name: &str) -> Result<()> {
        let content = self.content(&Tree::Snapshot(*source, name.into()));
        self.step("copy_snapshot", id)?.snapshots.insert((*id, name.into()), content?);
        Ok(())
    }

    fn own(&self, id: &ContainerId) -> Result<()> {
        self.step("own", id).map(drop)
    }

    fn carry(
        &self,
        id: &ContainerId,
        carry: &crate::carry::Carry,
        _cancelled: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<cowl_api::files::Restored> {
        let content = self.content(&carry.from);
        let mut world = self.step("carry", id)?;
        let content = content?;
        progress(1, content.len() as u64);
        let disk = world.disks.get_mut(id).ok_or_else(|| missing("disk"))?;
        if !carry.dry_run {
            *disk = content.clone();
        }
        let bytes = content.len() as u64;
        Ok(cowl_api::files::Restored { copied: 1, bytes, dry_run: carry.dry_run, ..Default::default() })
    }

    fn sync_disk(&self, id: &ContainerId, source: &ContainerId, safety: &str) -> Result<()> {
        let content = self.content(&Tree::Disk(*source));
        let mut world = self.step("sync_disk", id)?;
        assert!(!world.running.contains_key(id), "a running container must not be synced");
        let before = world.disks.insert(*id, content?).ok_or_else(|| missing("disk"))?;
        world.snapshots.insert((*id, safety.into()), before);
        Ok(())
    }

    fn diff(&self, from: &Tree, to: &Tree, _below: &[u8], tell: &mut dyn FnMut(Change) -> bool) -> Result<Summary> {
        let (before, after) = (self.content(from)?, self.content(to)?);
        let mut summary = Summary::default();
        if before != after {
            let mut change = Change::new(ChangeKind::Changed, b"/etc/hostname", FileType::File);
            (change.size_before, change.size_after) = (Some(before.len() as u64), Some(after.len() as u64));
            change.what = vec![Aspect::Content];
            summary.add(&change);
            tell(change);
        }
        Ok(summary)
    }

    fn peek(&self, from: &Tree, to: &Tree, path: &[u8], limit: u64, _follow: bool) -> Result<[Found; 2]> {
        let look = |tree| {
            let content = self.content(tree)?;
            Ok(match path {
                b"/etc/hostname" if content.len() as u64 > limit => Found::Large(content.len() as u64),
                b"/etc/hostname" => Found::File(content.into_bytes()),
                _ => Found::Absent,
            })
        };
        Ok([look(from)?, look(to)?])
    }

    fn export(&self, id: &ContainerId, asked: &export::Asked, about: About) -> Result<export::Export> {
        let _ = (id, asked, about);
        Err(Error::Unsupported("a machine in memory has no archives".into()))
    }

    fn unpack(
        &self,
        id: &ContainerId,
        input: &mut dyn io::Read,
        terms: &mut dyn FnMut(&Manifest) -> Result<Terms>,
    ) -> Result<Unpacked> {
        let _ = (id, input, terms);
        Err(Error::Unsupported("a machine in memory has no archives".into()))
    }

    fn place(&self, id: &ContainerId, unpacked: Unpacked) -> Result<()> {
        drop(unpacked);
        self.step("place", id).map(drop)
    }
}

impl Fake {
    fn content(&self, tree: &Tree) -> Result<String> {
        let world = self.world();
        match tree {
            Tree::Disk(id) => world.disks.get(id).cloned(),
            Tree::Snapshot(id, name) => world.snapshots.get(&(*id, name.clone())).cloned(),
        }
        .ok_or_else(|| missing("tree"))
    }
}
