//! Where the bench works: a pool with two images that are kept between runs, and what runs in it.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cgroup::Group;
use super::own::{ANY_NETWORK, ID_BASE};
use super::{Error, Options, Result, peer};
use cowl_api::server::BuildProgress;
use cowl_engine::storage::build::{DEBIAN_13, recipe};
use cowl_engine::storage::pool::Pool;
use cowl_engine::sys::btrfs;
use cowl_engine::{Config, launch, shares};

/// Directory of the peer's image and machines in the pool; none of the pool's own.
const ROOM: &str = "bench";

/// A prepared place.
#[derive(Debug)]
pub struct Place {
    /// Of our node.
    pub config: Config,
    /// The image of the peer: the same packages, nothing else.
    pub plain: PathBuf,
    /// Our image, as the peer boots it.
    pub golden: PathBuf,
    /// Where machines of the peer live.
    pub peers: peer::Place,
}

/// The last part of an image's path, for people.
pub fn name(image: &Path) -> String {
    image.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Place {
    /// Makes pool and images, or finds those of an earlier run made by the same recipe.
    ///
    /// # Errors
    /// What is missing on this machine, or why an image could not be built.
    pub fn prepare(options: &Options, say: &dyn Fn(&str)) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::other("containers are made by root; use sudo"));
        }
        for (program, package) in [("systemd-nspawn", "systemd-container"), ("mmdebstrap", "mmdebstrap")] {
            if !in_path(program) {
                return Err(Error::other(format!("{program} is missing; apt install {package}")));
            }
        }
        fs::create_dir_all(&options.dir).map_err(|e| Error::at("make the bench's directory", e))?;
        let dir = fs::canonicalize(&options.dir).map_err(|e| Error::at("find the bench's directory", e))?;
        let exe = std::env::current_exe().map_err(|e| Error::at("find this program", e))?;
        let config = Config {
            state_dir: dir.join("state"),
            run_dir: dir.join("run"),
            network: ANY_NETWORK,
            id_base: ID_BASE,
            mirror: options.mirror.clone(),
            cache_dir: options.cache_dir.clone(),
            kit_exe: exe.with_file_name("cowl-kit"),
            cowl_exe: exe,
        };
        fs::create_dir_all(&config.state_dir).map_err(|e| Error::at("make the bench's state", e))?;
        forget(&config)?;
        let (plain, golden) = images(&config, say)?;
        let room = plain.parent().unwrap_or(&dir).to_owned();
        let peers = peer::Place { dir: room, group: format!("cowl-bench-{}", std::process::id()) };
        let place = Self { config, plain, golden, peers };
        match place.sweep().pop() {
            Some(failure) => Err(failure),
            None => Ok(place),
        }
    }

    /// A group of the bench's own.
    ///
    /// # Errors
    /// When the mount table cannot be read.
    pub fn group(&self, name: &str) -> Result<Group> {
        Group::named(Path::new(&self.peers.group).join(name)).map_err(|e| Error::at("find cgroups", e))
    }

    /// Lets go of the cached pages of what our containers share: the image, our programs.
    pub fn evict(&self) {
        let mut dirs = vec![self.golden.join("usr"), self.config.state_dir.join("pool/kit")];
        let mut files = vec![self.config.cowl_exe.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                    Ok(kind) if kind.is_file() => files.push(entry.path()),
                    _ => {}
                }
            }
        }
        for file in files {
            if let Ok(file) = fs::File::open(file) {
                // Advice; mapped pages stay.
                let _ = rustix::fs::fadvise(file.as_fd(), 0, None, rustix::fs::Advice::DontNeed);
            }
        }
    }

    /// Writes out what lies in memory only.
    ///
    /// # Errors
    /// When the pool cannot be written.
    pub fn sync(&self) -> Result<()> {
        let root = fs::File::open(&self.plain).map_err(|e| Error::at("open the pool", e))?;
        rustix::fs::syncfs(root).map_err(|e| Error::at("sync the pool", e.into()))
    }

    /// Bytes that only this subvolume holds, nested subvolumes not counted.
    ///
    /// # Errors
    /// When it cannot be counted.
    pub fn exclusive(&self, subvolume: &Path) -> Result<u64> {
        Ok(cowl_engine::storage::size::of(subvolume)?.exclusive)
    }

    /// Ends what still runs, unmounts the pool and removes all but the images; gives what resists.
    pub fn end(&self) -> Vec<Error> {
        let mut failures = Vec::new();
        match Group::named(self.peers.group.as_str()) {
            // A node that did not get to serve is in it, too.
            Ok(group) => group.remove(),
            Err(e) => failures.push(Error::at("find cgroups", e)),
        }
        let mut held = stop_all(&self.config);
        held.extend(shares::close_all(&self.config.run_dir).err().map(Error::from));
        failures.extend(launch::release_host(&self.config).err().map(Error::from));
        if held.is_empty() {
            // Else it is by what lies there that the next run finds who still runs.
            let _ = fs::remove_dir_all(&self.config.run_dir);
        }
        failures.extend(held);
        failures.extend(self.sweep());
        failures.extend(Pool::open(&self.config).and_then(Pool::close).err().map(Error::from));
        failures
    }

    /// Removes what earlier, interrupted machines left in the room; gives what resists.
    fn sweep(&self) -> Vec<Error> {
        let entries = match fs::read_dir(&self.peers.dir) {
            Ok(entries) => entries,
            Err(e) => return vec![Error::at("list the peer's machines", e)],
        };
        let mut failures = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let kept = [name(&self.plain), "recipe".into(), "build.log".into()];
            if kept.contains(&name(&path)) {
                continue;
            }
            if btrfs::is_subvolume(&path).unwrap_or(false) {
                let what = format!("remove {}, a machine of the peer", path.display());
                failures.extend(btrfs::delete(&path).map_err(|e| Error::at(&what, e)).err());
            } else if path.is_file() || path.symlink_metadata().is_ok_and(|m| !m.is_dir()) {
                let _ = fs::remove_file(&path);
            }
        }
        failures
    }
}

/// Ends and removes what a bench that was killed has left of our side: a new node would start its
/// containers again.
fn forget(config: &Config) -> Result<()> {
    if let Some(failure) = stop_all(config).pop() {
        return Err(failure);
    }
    for name in ["node.db", "node.db-wal", "node.db-shm"] {
        let _ = fs::remove_file(config.state_dir.join(name));
    }
    let pool = Pool::open(config)?;
    for id in pool.disks()? {
        pool.delete_disk(&id)?;
    }
    Ok(())
}

/// Ends every container that runs without a node; gives each one's failure.
fn stop_all(config: &Config) -> Vec<Error> {
    if !config.run_dir.exists() {
        return Vec::new();
    }
    match launch::adopt(config) {
        Ok(shims) => {
            let failures = shims.iter().filter_map(|shim| launch::stop(config, &shim.id, Duration::ZERO).err());
            failures.map(Error::from).collect()
        }
        Err(e) => vec![e.into()],
    }
}

/// Both images: of this recipe, built now or before.
fn images(config: &Config, say: &dyn Fn(&str)) -> Result<(PathBuf, PathBuf)> {
    let pool = cowl_engine::open_pool(config)?;
    let room = pool.root().join(ROOM);
    fs::create_dir_all(&room).map_err(|e| Error::at("make the peer's place", e))?;
    let (plain, mark) = (room.join("plain"), room.join("recipe"));
    let fresh = fs::read_to_string(&mark).is_ok_and(|kept| kept == recipe());
    let log = room.join("build.log");
    // A build tells of every package; a person is told of each tenth.
    let tenths = |what: &'static str| {
        let mut told = 0.0;
        move |p: BuildProgress| {
            if p.percent >= told {
                say(&format!("building {what}: {:.0} %", p.percent));
                told = p.percent + 10.0;
            }
        }
    };
    if !fresh || !plain.exists() {
        let _ = fs::remove_file(&mark);
        if plain.exists() {
            btrfs::delete(&plain).map_err(|e| Error::at("remove the peer's old image", e))?;
        }
        pool.build_plain(config, &plain, &log, &mut tenths("the peer's image"))?;
    }
    let golden = match pool.image(DEBIAN_13)? {
        Some(image) if fresh => image,
        _ => pool.build_image(config, DEBIAN_13, &log, &mut tenths("our image"))?,
    };
    fs::write(&mark, recipe()).map_err(|e| Error::at("write the recipe's mark", e))?;
    Ok((plain, pool.root().join("images").join(golden.id)))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
