//! A new image from Debian's own packages.
//!
//! ```text
//! mirror ─▶ mmdebstrap ─▶ chroot steps ─▶ first boot ─▶ clean ─▶ image + template
//!            (packages)    (user, units,   (engine, or    (ids, logs,
//!                           caches)         nothing)       stamps)
//! ```
//!
//! A build that fails at any point leaves nothing in the pool but its log.

mod golden;
mod mirror;
mod progress;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use self::mirror::Mirror;
use self::progress::{Progress, Step};
use super::command::{Line, Patience, contained, require, stream};
use super::image::{BuiltImage, Origin, new_id};
use super::pool::{Pool, Scratch};
use crate::Config;
use crate::error::{Context, Error, Result};
use crate::sys::btrfs;
use cowl_api::server::BuildProgress;

/// The one tier there is so far.
pub const DEBIAN_13: &str = "debian-13";
const SUITE: &str = "trixie";

/// A build that prints nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// What a person at a fresh machine expects, on top of Debian's essential packages and apt.
const PACKAGES: &[&str] = &[
    // The machine: init, sessions, bus, its own name.
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "dbus-user-session",
    "libnss-myhostname",
    "sudo",
    "tzdata",
    // The network.
    "iproute2",
    "iputils-ping",
    "netbase",
    "ca-certificates",
    "curl",
    "wget",
    "openssh-client",
    // The shell.
    "apt-utils",
    "bash-completion",
    "file",
    "htop",
    "less",
    "lsof",
    "nano",
    "procps",
    "psmisc",
    "rsync",
    "sqlite3",
    "tmux",
    "unzip",
    "vim-tiny",
    "xz-utils",
    "zstd",
];

const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
/// Proof that the keyring knows the suite.
const SUITE_KEYS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-trixie-stable.gpg", "/usr/share/keyrings/debian-archive-trixie-stable.pgp"];

impl Pool {
    /// Builds an image: mmdebstrap, first boot, cleaning, template. `progress` is called often.
    ///
    /// # Errors
    /// The reason, with the last lines of the build's log; nothing half-built is left.
    pub fn build_image(
        &self,
        config: &Config,
        tier: &str,
        log: &Path,
        progress: &mut dyn FnMut(BuildProgress),
    ) -> Result<BuiltImage> {
        if tier != DEBIAN_13 {
            return Err(Error::Unsupported(format!("there is no image tier {tier:?}; the one there is: {DEBIAN_13}")));
        }
        let source = Source::find(config)?;
        if let Some(dir) = log.parent() {
            fs::create_dir_all(dir).at("create", dir)?;
        }
        let mut log_file = File::create(log).at("create", log)?;
        let mut progress = Progress::new(progress);
        progress.enter(Step::Update, &source.mirror.main);

        let tree = Scratch::new(self.temporary("build"));
        btrfs::create(tree.path()).at("create subvolume", tree.path())?;
        let result = self.fill(&source, tree.path(), &mut log_file, &mut progress);
        if let Err(error) = result {
            let _ = writeln!(log_file, "cowl: {error}");
            return Err(error);
        }
        progress.enter(Step::Finish, "making the template");
        let now = jiff::Timestamp::now().as_second();
        let built = self.adopt(tree, &new_id(tier), now, Origin { recipe: Some(recipe()), stream: None })?;
        progress.enter(Step::Done, &built.id);
        Ok(built)
    }

    /// Unpacks the packages of an image into a new subvolume at `tree` and does nothing else to
    /// it but to forget the builder's name and machine id: what a peer is measured on.
    ///
    /// # Errors
    /// As [`Pool::build_image`].
    pub fn build_plain(
        &self,
        config: &Config,
        tree: &Path,
        log: &Path,
        progress: &mut dyn FnMut(BuildProgress),
    ) -> Result<()> {
        let source = Source::find(config)?;
        let mut log_file = File::create(log).at("create", log)?;
        let mut progress = Progress::new(progress);
        progress.enter(Step::Update, &source.mirror.main);
        let tree = Scratch::new(tree.to_owned());
        btrfs::create(tree.path()).at("create subvolume", tree.path())?;
        self.unpack(&source, tree.path(), &mut log_file, &mut progress, None)?;
        golden::before_first_boot(tree.path())?;
        tree.keep();
        Ok(())
    }

    fn fill(&self, source: &Source<'_>, tree: &Path, log: &mut File, progress: &mut Progress<'_>) -> Result<()> {
        self.unpack(source, tree, log, progress, Some(golden::CHROOT))?;
        if let Some(first_boot) = &self.first_boot {
            progress.enter(Step::FirstBoot, "starting systemd");
            golden::before_first_boot(tree)?;
            first_boot(tree)?;
        }
        progress.enter(Step::Finish, "cleaning");
        golden::clean(tree, &source.mirror.inside())
    }

    /// Runs mmdebstrap, and `script` in the new root.
    fn unpack(
        &self,
        source: &Source<'_>,
        tree: &Path,
        log: &mut File,
        progress: &mut Progress<'_>,
        script: Option<&str>,
    ) -> Result<()> {
        // Hooks live beside the tree, not in it, and go with the build.
        let hooks = Scratch::new(self.temporary("hooks"));
        fs::create_dir(hooks.path()).at("create", hooks.path())?;
        let debootstrap = mmdebstrap(source, tree, hooks.path(), script)?;
        writeln!(log, "cowl: {debootstrap:?}").context(|| "write the build's log".into())?;
        let archives = tree.join("var/cache/apt/archives/partial");
        stream(debootstrap, Some(log), Patience::Silence(SILENCE), &mut |line| match line {
            Line::Out(line) | Line::Err(line) => progress.line(line),
            Line::Quiet => progress.quiet(bytes_in(&archives)),
        })
    }
}

/// A name for what an image is made of: changes with the packages and with what is done to them.
pub fn recipe() -> String {
    use sha2::{Digest, Sha256};
    let text = format!("{} {} {}", SUITE, PACKAGES.join(" "), golden::CHROOT);
    Sha256::digest(text).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Whether an image is made as this version makes them.
pub fn is_current(image: &BuiltImage) -> bool {
    image.recipe == Some(recipe())
}

/// Where an image's packages come from.
struct Source<'a> {
    mirror: Mirror,
    /// Keys of the archive.
    keyring: &'static str,
    /// Packages downloaded before.
    cache: Option<&'a Path>,
}

impl<'a> Source<'a> {
    fn find(config: &'a Config) -> Result<Self> {
        require("mmdebstrap")?;
        let keyring = keyring()?;
        let mirror = Mirror::choose(config.mirror.as_deref())?;
        Ok(Self { mirror, keyring, cache: config.cache_dir.as_deref() })
    }
}

fn keyring() -> Result<&'static str> {
    let found = KEYRINGS.into_iter().find(|k| Path::new(k).exists()).ok_or_else(|| Error::Missing {
        program: "the keyring of Debian's archive".into(),
        package: "debian-archive-keyring".into(),
    })?;
    if SUITE_KEYS.iter().any(|k| Path::new(k).exists()) {
        return Ok(found);
    }
    Err(Error::Unsupported(format!(
        "the keyring of Debian's archive on this machine is too old to know {SUITE}; run: apt-get install --only-upgrade debian-archive-keyring"
    )))
}

fn mmdebstrap(source: &Source<'_>, tree: &Path, hooks: &Path, chroot: Option<&str>) -> Result<Command> {
    let script = |name: &str, text: &str| -> Result<PathBuf> {
        let path = hooks.join(name);
        fs::write(&path, text).at("write", &path)?;
        Ok(path)
    };
    let mut c = contained("mmdebstrap");
    c.args(["--verbose", "--mode=root", "--variant=apt", "--format=directory"]);
    c.arg(format!("--keyring={}", source.keyring)).arg(format!("--include={}", PACKAGES.join(",")));
    for option in [
        r#"APT::Install-Recommends "false""#,
        r#"Acquire::Retries "3""#,
        r#"Acquire::http::Timeout "30""#,
        r#"Acquire::https::Timeout "30""#,
        r#"Acquire::Languages "none""#,
    ] {
        c.arg(format!("--aptopt={option}"));
    }
    // The build is thrown away when the box goes down, so nothing need be flushed on the way.
    c.arg("--dpkgopt=force-unsafe-io");
    if let Some(cache) = source.cache {
        fs::create_dir_all(cache).at("create", cache)?;
        c.env("COWL_CACHE", cache.canonicalize().at("resolve", cache)?);
        c.arg("--skip=essential/unlink");
        c.arg(format!("--setup-hook=sh {} \"$1\"", quoted(&script("take.sh", include_str!("cache-take.sh"))?)));
        c.arg(format!("--customize-hook=sh {} \"$1\"", quoted(&script("keep.sh", include_str!("cache-keep.sh"))?)));
    }
    if let Some(chroot) = chroot {
        let chroot = script("chroot.sh", chroot)?;
        c.arg(format!("--customize-hook=chroot \"$1\" /bin/sh -eu < {}", quoted(&chroot)));
    }
    c.arg(SUITE).arg(tree).args(source.mirror.lines(SUITE));
    c.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(c)
}

/// A path as one word for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// Bytes of the files in a directory.
fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.filter_map(|e| e.ok()?.metadata().ok()).filter(fs::Metadata::is_file).map(|m| m.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::pool::names;
    use crate::storage::testing::{Scene, config, in_merged_usr};

    #[test]
    fn an_unknown_tier_is_refused_at_once() {
        let scene = Scene::empty();
        let e = scene
            .pool
            .build_image(&config(scene.dir()), "debian-12", &scene.dir().join("log"), &mut |_| {})
            .unwrap_err();
        assert!(e.to_string().contains("debian-12") && e.to_string().contains(DEBIAN_13), "{e}");
    }

    #[test]
    fn a_mirror_out_of_reach_fails_with_the_reason_and_leaves_nothing() {
        let scene = Scene::empty();
        let mut config = config(scene.dir());
        // Port 1 of this machine: nobody listens.
        config.mirror = Some("http://127.0.0.1:1/debian http://127.0.0.1:1/debian-security".into());
        let log = scene.dir().join("logs/image.log");
        let mut steps = 0;
        let e = scene.pool.build_image(&config, DEBIAN_13, &log, &mut |_| steps += 1).unwrap_err();
        assert!(matches!(&e, Error::Program { tail, .. } if tail.contains("127.0.0.1")), "{e}");
        assert!(steps > 0 && fs::read_to_string(&log).unwrap().contains("127.0.0.1"));
        for room in ["tmp", "images", "templates"] {
            assert!(names(&scene.pool.root().join(room)).unwrap().is_empty(), "{room}");
        }
    }

    /// Takes a minute and 50 MB of downloads; `COWL_TEST_IMAGE_OUT` keeps the export.
    #[test]
    #[ignore = "builds a whole image; run by name"]
    fn a_real_image_builds_exports_and_imports() {
        let scene = Scene::empty();
        let mut config = config(scene.dir());
        config.cache_dir = std::env::var_os("COWL_CACHE_DIR").map(Into::into);
        config.mirror = std::env::var("COWL_MIRROR").ok();
        let log = scene.dir().join("image.log");
        let mut told: Vec<BuildProgress> = Vec::new();
        let built = scene.pool.build_image(&config, DEBIAN_13, &log, &mut |p| told.push(p));
        if built.is_err() {
            eprintln!("{}", fs::read_to_string(&log).unwrap_or_default());
        }
        let built = built.unwrap();
        for p in told.iter().step_by(25) {
            eprintln!("{:5.1} s {:5.1} % {} | {} | left {:?}", p.elapsed_s, p.percent, p.step, p.detail, p.remaining_s);
        }
        eprintln!("{built:?} {:?}", scene.pool.usage().unwrap());
        let file = std::env::var_os("COWL_TEST_IMAGE_OUT").map_or_else(|| scene.dir().join("x"), PathBuf::from);
        let started = std::time::Instant::now();
        scene.pool.export_image(&built.id, &file).unwrap();
        eprintln!("export {:?}, {} bytes", started.elapsed(), fs::metadata(&file).unwrap().len());
        let other = Scene::empty();
        let started = std::time::Instant::now();
        assert_eq!(other.pool.import_image(&file).unwrap(), built);
        eprintln!("import {:?}", started.elapsed());
        use_it(&other.pool, &built.id);
    }

    /// What a container's life asks of a real image, with times.
    fn use_it(pool: &Pool, image: &str) {
        let timed = |what: &str, step: &mut dyn FnMut()| {
            let started = std::time::Instant::now();
            step();
            eprintln!("{what} {:?}", started.elapsed());
        };
        let id = cowl_api::ContainerId::generate();
        let disk = pool.disk(&id);
        timed("create", &mut || pool.create_disk(&id, image).unwrap());
        timed("snapshot", &mut || pool.create_snapshot(&id, "one").unwrap());
        timed("restore", &mut || pool.restore(&id, "one", "safety").unwrap());
        timed("size", &mut || eprintln!("{:?}", pool.size(&disk).unwrap()));
        timed("stat", &mut || drop(pool.stat(&disk, "/bin/bash").unwrap()));
        timed("list /usr/bin", &mut || assert!(pool.list(&disk, "/usr/bin").unwrap().paths.len() > 300));
        let home = pool.list(&disk, "/home").unwrap();
        assert_eq!((home.paths[0].name.as_str(), home.paths[0].owner.as_deref()), ("user", Some("user")));
        let read = |path: &str| std::io::read_to_string(pool.open_file(&disk, path).unwrap()).unwrap();
        assert!(read("/etc/os-release").contains("VERSION_CODENAME=trixie"));
        assert_eq!(read("/etc/machine-id"), "");
        assert_eq!(read("/etc/resolv.conf"), "nameserver 169.254.1.1\n");
        assert!(!read("/etc/apt/sources.list.d/debian.sources").contains("127.0.0.1"));
        assert!(pool.stat(&disk, "/etc/hostname").is_err());
        assert_eq!(pool.stat(&disk, "/etc/sudoers.d/user").unwrap().permissions, "440");
        for dir in ["/dev", "/run", "/tmp", "/var/lib/apt/lists", "/var/cache/apt"] {
            assert!(pool.list(&disk, dir).unwrap().paths.is_empty(), "{dir}");
        }
        // Files of both layers that share a number are taken for one by cp and mv.
        in_merged_usr(
            pool,
            &disk,
            "cp -a share/doc share/doc-copy; for f in bin/*; do [ -L $f ] || mv $f $f.new; done; for f in lib/*-linux-gnu/*.so*; do touch $f; done; \
             cp bin/bash.new bin/bash; mv bin/dash.new bin/bash; \
             [ -z \"$(find . -type f -links 1 -printf '%D:%i\\n' | sort | uniq -d)\" ]",
        );
        timed("delete", &mut || pool.delete_disk(&id).unwrap());
    }

    #[test]
    fn a_path_with_a_quote_stays_one_word() {
        assert_eq!(quoted(Path::new("/a b/c'd")), r"'/a b/c'\''d'");
    }
}
