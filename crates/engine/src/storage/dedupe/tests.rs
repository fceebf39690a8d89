use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::*;
use crate::storage::testing::Scene;

/// Bytes of the file that tests write twice.
const MIB8: u64 = 8 << 20;

fn noise(bytes: u64) -> Vec<u8> {
    (0..bytes / 32).flat_map(|_| rand::random::<[u8; 32]>()).collect()
}

fn scope(containers: &[ContainerId]) -> Scope {
    Scope { containers: containers.to_vec(), snapshots: false, dry_run: false, rate: 1 << 40, least: 128 << 10 }
}

fn run(scene: &Scene, scope: &Scope) -> Figures {
    // A thread of its own: a run takes its priority away.
    std::thread::scope(|threads| {
        let pool = &scene.pool;
        threads.spawn(move || pool.dedupe(scope, &|| false, &mut |_| {})).join().unwrap().unwrap()
    })
}

fn exclusive(scene: &Scene, id: &ContainerId) -> u64 {
    rustix::fs::syncfs(File::open(scene.pool.root()).unwrap()).unwrap();
    scene.pool.size(&scene.pool.disk(id)).unwrap().exclusive
}

fn charged(scene: &Scene, id: &ContainerId) -> u64 {
    rustix::fs::syncfs(File::open(scene.pool.root()).unwrap()).unwrap();
    crate::sys::btrfs::commit(scene.pool.root()).unwrap();
    scene.pool.quotas().usage(id).unwrap().used
}

fn twins(scene: &Scene, bytes: &[u8]) -> [ContainerId; 2] {
    let ids = [scene.disk(), scene.disk()];
    fs::write(scene.pool.disk(&ids[0]).join("rootfs/root/one"), bytes).unwrap();
    // The other one by way of the layer over /usr.
    fs::write(scene.pool.disk(&ids[1]).join("ovl/upper/two"), bytes).unwrap();
    ids
}

#[test]
fn equal_files_of_two_disks_lie_on_disk_once_and_stay_as_they_are() {
    let scene = Scene::new();
    let bytes = noise(MIB8 + 4_992);
    let ids = twins(&scene, &bytes);
    let file = scene.pool.disk(&ids[0]).join("rootfs/root/one");
    // Of the same size, and different at its end only.
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(scene.pool.disk(&ids[0]).join("rootfs/root/other"), &other).unwrap();
    let before = [exclusive(&scene, &ids[0]), exclusive(&scene, &ids[1])];
    let times = fs::metadata(&file).map(|m| (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())).unwrap();

    let dry = run(&scene, &Scope { dry_run: true, ..scope(&ids) });
    assert_eq!((dry.duplicate, dry.deduped, dry.candidates), (MIB8 + 4_992, 0, 3), "{dry:?}");
    assert_eq!(before, [exclusive(&scene, &ids[0]), exclusive(&scene, &ids[1])]);

    let done = run(&scene, &scope(&ids));
    assert_eq!((done.duplicate, done.refused, done.changed), (MIB8 + 4_992, 0, 0), "{done:?}");
    assert!(done.deduped >= MIB8 + 4_992, "{done:?}");
    let after = [exclusive(&scene, &ids[0]), exclusive(&scene, &ids[1])];
    for (before, after) in before.into_iter().zip(after) {
        assert!((MIB8..MIB8 + (64 << 10)).contains(&(before - after)), "{before} and then {after}");
    }
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert_eq!(fs::read(scene.pool.disk(&ids[1]).join("ovl/upper/two")).unwrap(), bytes);
    assert_eq!(fs::read(scene.pool.disk(&ids[0]).join("rootfs/root/other")).unwrap(), other);
    let now = fs::metadata(&file).map(|m| (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())).unwrap();
    assert_eq!(times, now);

    // What shares already is not even read.
    fs::remove_file(scene.pool.disk(&ids[0]).join("rootfs/root/other")).unwrap();
    let again = run(&scene, &scope(&ids));
    assert_eq!((again.candidates, again.read, again.duplicate), (2, 0, 0), "{again:?}");
}

#[test]
fn a_copy_of_what_an_image_has_takes_no_disk() {
    let scene = Scene::empty();
    let tree = scene.pool.temporary("tiny");
    crate::sys::btrfs::create(&tree).unwrap();
    let bytes = noise(1 << 20);
    for dir in ["usr/lib", "etc", "root", "var/log"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    fs::write(tree.join("usr/lib/library"), &bytes).unwrap();
    scene
        .pool
        .adopt(crate::storage::pool::Scratch::new(tree), "tiny-20261123-0a0a0a0a", 1_700_000_000, Default::default())
        .unwrap();
    let id = scene.disk();
    fs::write(scene.pool.disk(&id).join("ovl/upper/library"), &bytes).unwrap();
    let before = exclusive(&scene, &id);
    let charge = charged(&scene, &id);
    let done = run(&scene, &scope(&[id]));
    assert_eq!((done.duplicate, done.deduped), (1 << 20, 1 << 20), "{done:?}");
    assert!(before - exclusive(&scene, &id) >= 1 << 20);
    // The image's blocks count for nobody.
    assert!(charge - charged(&scene, &id) >= 1 << 20);
}

#[test]
fn quotas_of_two_equal_files_charge_the_one_who_wrote_what_is_kept() {
    let scene = Scene::new();
    let bytes = noise(MIB8);
    let ids = twins(&scene, &bytes);
    let before = ids.map(|id| charged(&scene, &id));
    run(&scene, &scope(&ids));
    let after = ids.map(|id| charged(&scene, &id));
    eprintln!("charged before {before:?}, after {after:?}");
    assert!(before[0].abs_diff(after[0]) < 64 << 10, "{before:?} {after:?}");
    assert!((MIB8..MIB8 + (64 << 10)).contains(&(before[1] - after[1])), "{before:?} {after:?}");
    // The writer pays on while the other uses the blocks.
    fs::remove_file(scene.pool.disk(&ids[0]).join("rootfs/root/one")).unwrap();
    assert!(charged(&scene, &ids[0]) + (64 << 10) > after[0]);
    fs::remove_file(scene.pool.disk(&ids[1]).join("ovl/upper/two")).unwrap();
    assert!(charged(&scene, &ids[0]) + MIB8 < after[0] + (64 << 10));
}

#[test]
fn what_a_snapshot_holds_is_freed_only_when_snapshots_are_searched() {
    let scene = Scene::new();
    let ids = twins(&scene, &noise(MIB8));
    for id in &ids {
        scene.pool.create_snapshot(id, "one").unwrap();
    }
    let used = || {
        rustix::fs::syncfs(File::open(scene.pool.root()).unwrap()).unwrap();
        crate::sys::btrfs::commit(scene.pool.root()).unwrap();
        scene.pool.usage().unwrap().used
    };
    let before = used();
    run(&scene, &scope(&ids));
    assert!(used() + (1 << 20) > before, "{before} and then {}", used());
    let done = run(&scene, &Scope { snapshots: true, ..scope(&ids) });
    assert_eq!((done.duplicate, done.refused), (MIB8, 0), "{done:?}");
    assert!(used() + MIB8 - (1 << 20) < before, "{before} and then {}", used());
    let kept = scene.pool.snapshot(&ids[1], "one");
    assert!(crate::sys::btrfs::is_read_only(&kept).unwrap());
    assert_eq!(
        fs::read(kept.join("ovl/upper/two")).unwrap(),
        fs::read(scene.pool.disk(&ids[0]).join("rootfs/root/one")).unwrap()
    );
}

#[test]
fn links_pipes_and_what_lies_outside_are_never_opened() {
    let scene = Scene::new();
    let bytes = noise(1 << 20);
    let outside = scene.dir().join("outside");
    fs::write(&outside, &bytes).unwrap();
    let id = scene.disk();
    let root = scene.pool.disk(&id).join("rootfs");
    fs::write(root.join("root/mine"), &bytes).unwrap();
    symlink(&outside, root.join("root/link")).unwrap();
    symlink(scene.dir(), root.join("root/dir")).unwrap();
    symlink("/", root.join("root/slash")).unwrap();
    symlink("../../../../..", root.join("root/up")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("root/pipe"), rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    fs::hard_link(root.join("root/mine"), root.join("root/again")).unwrap();
    // Deeper than any path the kernel takes.
    let name = "x".repeat(200);
    let mut deep = std::os::fd::OwnedFd::from(File::open(root.join("root")).unwrap());
    for _ in 0..25 {
        rustix::fs::mkdirat(&deep, name.as_str(), 0o755.into()).unwrap();
        deep = rustix::fs::openat(&deep, name.as_str(), rustix::fs::OFlags::DIRECTORY, 0.into()).unwrap();
    }
    let done = run(&scene, &scope(&[id]));
    // One file by two names, and no other.
    assert_eq!((done.files, done.duplicate, done.deduped, done.refused), (2, 0, 0, 0), "{done:?}");
    assert_eq!(done.passed_over, 1, "{done:?}");
    let tree = Tree::open(&scene.pool.disk(&id), &["rootfs"], false).unwrap();
    for path in
        ["rootfs/root/link", "rootfs/root/pipe", "rootfs/root/slash/etc/passwd", "rootfs/../../x", "/etc/passwd"]
    {
        assert!(tree.file(path.as_bytes()).is_err(), "{path}");
    }
    assert!(tree.file(b"rootfs/root/mine").is_ok());
}

#[test]
fn a_run_that_is_told_to_stop_ends_with_what_it_did() {
    let scene = Scene::new();
    let ids = twins(&scene, &noise(MIB8));
    let slow = Scope { rate: 64 << 10, ..scope(&ids) };
    let begun = Instant::now();
    let done = std::thread::scope(|threads| {
        let pool = &scene.pool;
        let stop = move || begun.elapsed() > Duration::from_secs(1);
        threads.spawn(move || pool.dedupe(&slow, &stop, &mut |_| {})).join().unwrap().unwrap()
    });
    assert!(done.deduped == 0 && done.read > 0 && done.read < MIB8, "{done:?}");
    let gone = scope(&[ContainerId::generate()]);
    assert_eq!(run(&scene, &gone).files, 0);
    assert!(Path::new(&scene.pool.disk(&ids[0])).exists());
}
