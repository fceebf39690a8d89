//! The machine as it is: every call goes to the engine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::watch;
use super::{Boot, Machine, Tree};
use crate::carry::Carry;
use cowl_api::ContainerId;
use cowl_api::dedupe::Figures;
use cowl_api::diff::{Change, Summary};
use cowl_api::files::{Listing, Restored, Stat};
use cowl_api::memory::SharedUsr;
use cowl_api::server::BuildProgress;
use cowl_api::settings::Limits;
use cowl_api::space::{Breakdown, DeviceErrors, Dying, Health};
use cowl_engine::archive::manifest::{About, Manifest};
use cowl_engine::cgroup::Cgroups;
use cowl_engine::cgroup::limits::Shortfall;
use cowl_engine::fault;
use cowl_engine::firewall::{self, Policy};
use cowl_engine::launch::{self, ContainerSpec};
use cowl_engine::memory::{self, Memory};
use cowl_engine::quota::DiskUse;
use cowl_engine::ramdisk;
use cowl_engine::shares::{self, Share};
use cowl_engine::shim::protocol::{Event, Reply, Request, Status};
use cowl_engine::stats::{Interfaces, Meter, Usage};
use cowl_engine::storage::carry::{self, Source, Target};
use cowl_engine::storage::dedupe::Scope;
use cowl_engine::storage::diff::text::Found;
use cowl_engine::storage::export;
use cowl_engine::storage::import::{Terms, Unpacked};
use cowl_engine::storage::pool::{BuiltImage, DiskSize, Pool, PoolUsage};
use cowl_engine::storage::prune::{Order, Unneeded};
use cowl_engine::{Config, Result, limits};

/// The engine with its configuration and its open pool.
#[derive(Debug)]
pub struct Real {
    config: Config,
    pool: Pool,
    /// Where the pool keeps this node's kit; an executable is copied and hashed only once.
    kit_dir: PathBuf,
    cgroups: Cgroups,
    meter: Meter,
}

impl Real {
    /// Opens the pool and puts the kit into it.
    ///
    /// # Errors
    /// Those of [`Pool::open`] and of [`Pool::install_kit`].
    pub fn open(config: Config) -> Result<Self> {
        let pool = cowl_engine::open_pool(&config)?;
        let kit_dir = pool.install_kit(&config.kit_exe)?;
        let (tag, quotas) = (config.tag(), pool.quotas().clone());
        let cgroups = Cgroups::find(&tag)?;
        let meter = Meter::new(cgroups.clone(), tag, quotas);
        Ok(Self { config, pool, kit_dir, cgroups, meter })
    }

    fn path(&self, tree: &Tree) -> PathBuf {
        match tree {
            Tree::Disk(id) => self.pool.disk(id),
            Tree::Snapshot(id, name) => self.pool.snapshot(id, name),
        }
    }
}

impl Machine for Real {
    fn create_disk(&self, id: &ContainerId, image_id: &str) -> Result<()> {
        fault::step("create_disk");
        self.pool.create_disk(id, image_id)
    }

    fn delete_disk(&self, id: &ContainerId) -> Result<()> {
        fault::step("delete_disk");
        self.pool.delete_disk(id)?;
        // Last: while its disk is there it can be started again, and not without its rules. What stays
        // of them is found by `cowl doctor --leaks`.
        if let Err(error) = self.set_policy(id, &Policy::default()) {
            tracing::warn!(container = %id, %error, "its firewall rules could not be removed");
        }
        ramdisk::release(&self.config.run_dir, id);
        Ok(())
    }

    fn disks(&self) -> Result<Vec<ContainerId>> {
        self.pool.disks()
    }

    fn start(&self, boot: &Boot) -> Result<Status> {
        fault::step("start");
        let disk = self.pool.disk(&boot.id);
        let lower_usr = self.pool.lower_usr(&disk)?;
        // What falls short is asked for, and told, once it runs.
        limits::disk(self.pool.quotas(), &boot.id, &disk, &boot.settings.limits)?;
        let kit_dir = boot.kit.then(|| self.kit_dir.clone());
        let spec = ContainerSpec {
            id: boot.id,
            hostname: boot.hostname.clone(),
            disk,
            lower_usr,
            address: boot.address,
            address6: boot.address6,
            kit_dir,
            env: boot.env.clone(),
            kit_env: boot.kit_env.clone(),
            settings: boot.settings.clone(),
            ramdisk: boot.ramdisk.clone(),
        };
        launch::start(&self.config, &spec)
    }

    fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        fault::step("stop");
        launch::stop(&self.config, id, grace)
    }

    fn freeze(&self, id: &ContainerId, frozen: bool) -> Result<()> {
        fault::step("freeze");
        launch::freeze(&self.config, id, frozen)
    }

    fn reclaim(&self, id: &ContainerId) -> Result<u64> {
        Cgroups::find(&self.config.tag())?.reclaim(id)
    }

    fn cpu_usec(&self, id: &ContainerId) -> Result<u64> {
        self.meter.cpu_usec(id)
    }

    fn adopt(&self) -> Result<Vec<Status>> {
        launch::adopt(&self.config)
    }

    fn status(&self, id: &ContainerId) -> Option<Status> {
        match launch::request(&self.config, id, &Request::Status) {
            Ok(Reply::Status(status)) => Some(status),
            _ => None,
        }
    }

    fn watch(&self, id: &ContainerId) -> mpsc::Receiver<Event> {
        watch::watch(launch::shim_socket(&self.config, id))
    }

    fn set_policy(&self, id: &ContainerId, policy: &Policy) -> Result<()> {
        firewall::apply(&self.config.tag(), id, policy, self.config.network)
    }

    fn create_snapshot(&self, id: &ContainerId, name: &str) -> Result<()> {
        fault::step("create_snapshot");
        self.pool.create_snapshot(id, name)
    }

    fn delete_snapshot(&self, id: &ContainerId, name: &str) -> Result<()> {
        fault::step("delete_snapshot");
        self.pool.delete_snapshot(id, name)
    }

    fn snapshots(&self, id: &ContainerId) -> Result<Vec<String>> {
        self.pool.snapshots(id)
    }

    fn restore(&self, id: &ContainerId, name: &str, safety: &str) -> Result<()> {
        fault::step("restore");
        self.pool.restore(id, name, safety)
    }

    fn size(&self, tree: &Tree) -> Result<DiskSize> {
        self.pool.size(&self.path(tree))
    }

    fn image(&self, tier: &str) -> Result<Option<BuiltImage>> {
        self.pool.image(tier)
    }

    fn build_image(&self, tier: &str, log: &Path, progress: &mut dyn FnMut(BuildProgress)) -> Result<BuiltImage> {
        self.pool.build_image(&self.config, tier, log, progress)
    }

    fn import_image(&self, file: &Path) -> Result<BuiltImage> {
        self.pool.import_image(file)
    }

    fn usage(&self) -> Result<PoolUsage> {
        self.pool.usage()
    }

    fn breakdown(&self, id: &ContainerId) -> Result<Breakdown> {
        self.pool.breakdown(id)
    }

    fn dying(&self) -> Result<Dying> {
        self.pool.dying()
    }

    fn device_errors(&self) -> DeviceErrors {
        self.pool.device_errors()
    }

    fn health(&self) -> Result<Health> {
        self.pool.health()
    }

    fn scrub(&self) -> Result<()> {
        self.pool.scrub()
    }

    fn cancel_scrub(&self) -> Result<()> {
        self.pool.cancel_scrub()
    }

    fn pool_root(&self) -> PathBuf {
        self.pool.root().to_owned()
    }

    fn pool_kind(&self) -> &'static str {
        self.pool.kind()
    }

    fn ramdisk_usage(&self, id: &ContainerId) -> ramdisk::Usage {
        ramdisk::usage(&self.config.run_dir, id)
    }

    fn counters(&self, id: &ContainerId) -> Result<Usage> {
        self.meter.read(id, &Interfaces::read())
    }

    fn all_counters(&self, ids: &[ContainerId]) -> Vec<(ContainerId, Usage)> {
        let interfaces = Interfaces::read();
        ids.iter().filter_map(|id| Some((*id, self.meter.read(id, &interfaces).ok()?))).collect()
    }

    fn disk_use(&self, id: &ContainerId) -> Option<DiskUse> {
        self.pool.quotas().usage(id)
    }

    fn limit(&self, id: &ContainerId, limits: &Limits) -> Result<Vec<Shortfall>> {
        let (quotas, disk) = (self.pool.quotas(), self.pool.disk(id));
        if self.cgroups.holds(id) {
            limits::apply(&self.cgroups, &self.config.tag(), quotas, id, &disk, limits)
        } else if disk.exists() {
            limits::disk(quotas, id, &disk, limits)
        } else {
            Ok(Vec::new())
        }
    }

    fn list(&self, tree: &Tree, path: &str) -> Result<Listing> {
        self.pool.list(&self.path(tree), path)
    }

    fn stat(&self, tree: &Tree, path: &str) -> Result<Stat> {
        self.pool.stat(&self.path(tree), path)
    }

    fn open_file(&self, tree: &Tree, path: &str) -> Result<File> {
        self.pool.open_file(&self.path(tree), path)
    }

    fn shown_shares(&self, id: &ContainerId) -> Vec<String> {
        shares::shown(&self.config.run_dir, id)
    }

    fn show_share(&self, id: &ContainerId, share: &Share) -> Result<()> {
        let status =
            self.status(id).ok_or_else(|| cowl_engine::Error::NotFound(format!("a running container {id}")))?;
        shares::show(&self.config.run_dir, id, status.init_pid, share)
    }

    fn hide_share(&self, id: &ContainerId, name: &str) -> Result<()> {
        shares::hide(&self.config.run_dir, id, name)
    }

    fn kit_socket(&self, id: &ContainerId) -> PathBuf {
        launch::kit_socket(&self.config, id)
    }

    fn dial(&self, id: &ContainerId, port: u16) -> io::Result<OwnedFd> {
        launch::dial(&self.config, id, port)
    }

    fn memory(&self, ids: &[ContainerId], pss: bool) -> Memory {
        let read = |id: &ContainerId| Some((*id, memory::container(&self.cgroups, id, pss).ok()?));
        let containers: Vec<_> = ids.iter().filter_map(read).collect();
        let mut made_from = BTreeMap::<String, u64>::new();
        for (id, _) in &containers {
            if let Ok(image) = self.pool.made_from(&self.pool.disk(id)) {
                *made_from.entry(image).or_default() += 1;
            }
        }
        let usr = |(image, containers): (String, u64)| {
            let cached = self.pool.usr_in_memory(&image).unwrap_or_default();
            let saved_at_most = cached.map(|bytes| bytes.saturating_mul(containers.saturating_sub(1)));
            SharedUsr { image, containers, cached, saved_at_most }
        };
        Memory {
            containers,
            usr: made_from.into_iter().map(usr).collect(),
            ksm: memory::host_ksm(),
            node: memory::processes(&[std::process::id()]),
            shims: memory::processes(&self.cgroups.shims()),
            host: memory::host(),
        }
    }

    fn dedupe(&self, scope: &Scope, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(&Figures)) -> Result<Figures> {
        self.pool.dedupe(scope, stop, tell)
    }

    fn prune(&self, order: &Order) -> Result<Vec<Unneeded>> {
        self.pool.prune(&self.config.run_dir, &self.kit_dir, order)
    }

    fn copy_disk(&self, id: &ContainerId, source: &Tree) -> Result<()> {
        fault::step("copy_disk");
        self.pool.copy_disk(id, &self.path(source))
    }

    fn copy_snapshot(&self, source: &ContainerId, id: &ContainerId, name: &str) -> Result<()> {
        fault::step("copy_snapshot");
        self.pool.copy_snapshot(source, id, name)
    }

    fn own(&self, id: &ContainerId) -> Result<()> {
        fault::step("own");
        self.pool.own(id)
    }

    fn carry(
        &self,
        id: &ContainerId,
        carry: &Carry,
        cancelled: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Restored> {
        fault::step("carry");
        let tree = |disk: PathBuf| Ok(Source { lower_usr: self.pool.lower_usr(&disk)?, disk });
        let target = match self.status(id) {
            Some(status) => Target::Running { id: *id, tag: self.config.tag(), init_pid: status.init_pid },
            None => Target::Disk(tree(self.pool.disk(id))?),
        };
        let spec = carry::Spec {
            source: tree(self.path(&carry.from))?,
            target,
            moves: carry.moves.clone(),
            overwrite: carry.overwrite,
            dry_run: carry.dry_run,
        };
        let done = carry::run(&self.config.cowl_exe, &spec, cancelled, progress);
        fault::step("hear that files were copied");
        done
    }

    fn sync_disk(&self, id: &ContainerId, source: &ContainerId, safety: &str) -> Result<()> {
        fault::step("sync_disk");
        self.pool.sync_disk(id, source, safety)
    }

    fn diff(&self, from: &Tree, to: &Tree, below: &[u8], tell: &mut dyn FnMut(Change) -> bool) -> Result<Summary> {
        let (from, to) = (self.pool.still(&self.path(from))?, self.pool.still(&self.path(to))?);
        self.pool.diff(&from, &to, below, tell)
    }

    fn peek(&self, from: &Tree, to: &Tree, path: &[u8], limit: u64, follow: bool) -> Result<[Found; 2]> {
        let (from, to) = (self.pool.still(&self.path(from))?, self.pool.still(&self.path(to))?);
        Ok([self.pool.peek(&from, path, limit, follow)?, self.pool.peek(&to, path, limit, follow)?])
    }

    fn export(&self, id: &ContainerId, asked: &export::Asked, about: About) -> Result<export::Export> {
        self.pool.export(id, asked, about)
    }

    fn unpack(
        &self,
        id: &ContainerId,
        input: &mut dyn io::Read,
        terms: &mut dyn FnMut(&Manifest) -> Result<Terms>,
    ) -> Result<Unpacked> {
        self.pool.unpack_container(id, input, terms)
    }

    fn place(&self, id: &ContainerId, unpacked: Unpacked) -> Result<()> {
        self.pool.place(id, unpacked)
    }
}
