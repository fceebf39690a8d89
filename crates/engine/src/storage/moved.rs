//! Tests of containers' way out of one pool and into another.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::export::Asked;
use super::import::{Terms, Unpacked};
use super::pool::names;
use super::testing::{Scene, in_merged_usr};
use crate::archive::manifest::About;
use crate::error::{Error, Result};
use crate::sys::btrfs;
use cowl_api::ContainerId;

fn export(scene: &Scene, id: &ContainerId, asked: &Asked) -> Vec<u8> {
    let mut out = Vec::new();
    scene.pool.export(id, asked, About { name: "web".into(), ..Default::default() }).unwrap().write(&mut out).unwrap();
    out
}

fn unpack(scene: &Scene, bytes: &[u8]) -> Result<(ContainerId, Unpacked)> {
    let id = ContainerId::generate();
    let unpacked = scene.pool.unpack_container(&id, &mut &bytes[..], &mut |_| Ok(Terms::default()))?;
    Ok((id, unpacked))
}

fn import(scene: &Scene, bytes: &[u8]) -> Result<ContainerId> {
    let (id, unpacked) = unpack(scene, bytes)?;
    scene.pool.place(&id, unpacked)?;
    Ok(id)
}

#[track_caller]
fn nothing_left(scene: &Scene) {
    assert!(names(&scene.pool.root().join("tmp")).unwrap().is_empty());
    assert!(scene.pool.disks().unwrap().is_empty());
    assert!(names(&scene.pool.root().join("snapshots")).unwrap().is_empty());
}

fn filled(scene: &Scene) -> ContainerId {
    let id = scene.disk();
    let disk = scene.pool.disk(&id);
    let root = disk.join("rootfs");
    fs::write(root.join("etc/mine"), "data").unwrap();
    std::os::unix::fs::chown(root.join("etc/mine"), Some(1000), Some(33)).unwrap();
    fs::set_permissions(root.join("etc/mine"), fs::Permissions::from_mode(0o4751)).unwrap();
    rustix::fs::setxattr(root.join("etc/mine"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    let big: Vec<u8> = (0..3_000_000).map(|_| rand::random()).collect();
    fs::write(root.join("root/big"), &big).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["--reflink=always", "big", "clone"])
        .current_dir(root.join("root"))
        .status()
        .unwrap();
    assert!(copied.success());
    fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::write(root.join("etc/hostname"), "web\n").unwrap();
    in_merged_usr(&scene.pool, &disk, "rm bin/hello; mv share/doc share/docs; echo new > lib/new; mkdir -p local/x");
    id
}

#[track_caller]
fn same(here: &Path, there: &Path, big: &[u8]) {
    let (a, b) =
        (fs::metadata(here.join("rootfs/etc/mine")).unwrap(), fs::metadata(there.join("rootfs/etc/mine")).unwrap());
    assert_eq!((a.uid(), a.gid(), a.mode(), a.mtime_nsec()), (b.uid(), b.gid(), b.mode(), b.mtime_nsec()));
    let mut note = [0; 8];
    assert_eq!(rustix::fs::getxattr(there.join("rootfs/etc/mine"), "user.note", &mut note).unwrap(), 4);
    assert_eq!(fs::read(there.join("rootfs/root/big")).unwrap(), big);
    assert_eq!(fs::read(there.join("rootfs/root/clone")).unwrap(), big);
}

#[test]
fn a_container_arrives_whole_in_a_pool_that_lacks_its_image() {
    let (here, there) = (Scene::new(), Scene::empty());
    let id = filled(&here);
    let bytes = export(&here, &id, &Asked::default());
    assert!(names(&here.pool.root().join("tmp")).unwrap().iter().all(|name| !name.starts_with("export")));
    let new = import(&there, &bytes).unwrap();
    let (from, to) = (here.pool.disk(&id), there.pool.disk(&new));
    same(&from, &to, &fs::read(from.join("rootfs/root/big")).unwrap());
    in_merged_usr(
        &there.pool,
        &to,
        "test ! -e bin/hello; grep -q read share/docs/README; test ! -e share/doc; grep -q new lib/new; cp -a lib/new lib/newer; mv share/docs share/doc",
    );
    // A machine of its own, and not what others are made from.
    assert_eq!(fs::read_to_string(to.join("rootfs/etc/machine-id")).unwrap(), "");
    assert!(!to.join("rootfs/etc/hostname").exists());
    assert_eq!(there.pool.image("tiny").unwrap(), None);
    assert!(names(&there.pool.root().join("tmp")).unwrap().iter().all(|name| !name.starts_with("import")));
    // Numbers of new files lie above all of the image's, as overlayfs needs it.
    let usr = there.pool.lower_usr(&to).unwrap();
    let new_file = fs::metadata(to.join("ovl/upper/lib/new")).unwrap().ino();
    assert!(new_file > fs::metadata(usr.join("share/doc/README")).unwrap().ino());
    // The second one shares the image of the first.
    import(&there, &bytes).unwrap();
    assert_eq!(names(&there.pool.root().join("images")).unwrap().len(), 1);
    // Where nothing is made from it any more it goes.
    for id in there.pool.disks().unwrap() {
        there.pool.delete_disk(&id).unwrap();
    }
    let there = there.reopen();
    assert!(names(&there.pool.root().join("images")).unwrap().is_empty());
}

#[test]
fn where_its_image_is_the_archive_needs_none() {
    let (here, there) = (Scene::new(), Scene::empty());
    let id = filled(&here);
    let small = export(&here, &id, &Asked { with_image: false, ..Default::default() });
    let e = import(&there, &small).unwrap_err();
    assert!(matches!(&e, Error::Unsupported(m) if m.contains("tiny-")), "{e}");
    nothing_left(&there);
    let new = import(&here, &small).unwrap();
    assert_eq!(here.pool.image_of(&here.pool.disk(&new)).unwrap(), here.image());
    // An image that its owner brought counts as the same.
    let file = here.dir().join("image.bin");
    here.pool.export_image(&here.image(), &file).unwrap();
    there.pool.import_image(&file).unwrap();
    let new = import(&there, &small).unwrap();
    assert_eq!(there.pool.image_of(&there.pool.disk(&new)).unwrap(), here.image());
}

#[test]
fn increments_follow_what_they_are_made_from_and_nothing_else() {
    let (here, there) = (Scene::new(), Scene::empty());
    let id = filled(&here);
    let file = here.pool.disk(&id).join("rootfs/etc/state");
    let since = |name: Option<&str>, snapshot: &str| Asked {
        snapshot: Some(snapshot.into()),
        since: name.map(str::to_owned),
        ..Default::default()
    };
    for name in ["one", "two", "three"] {
        fs::write(&file, name).unwrap();
        here.pool.create_snapshot(&id, name).unwrap();
    }
    let whole = export(&here, &id, &since(None, "one"));
    let second = export(&here, &id, &since(Some("one"), "two"));
    let third = export(&here, &id, &since(Some("two"), "three"));
    assert!(second.len() < 20_000 && third.len() < 20_000, "{} {}", second.len(), third.len());
    let e = import(&there, &second).unwrap_err();
    assert!(matches!(&e, Error::Unsupported(m) if m.contains("one")), "{e}");
    nothing_left(&there);
    // All in a row.
    let chained = import(&there, &[whole.clone(), second.clone(), third.clone()].concat()).unwrap();
    let state =
        |scene: &Scene, id: &ContainerId| fs::read_to_string(scene.pool.disk(id).join("rootfs/etc/state")).unwrap();
    assert_eq!(state(&there, &chained), "three");
    assert_eq!(there.pool.snapshots(&chained).unwrap(), ["one", "three", "two"]);
    // Or one by one, each on what the one before has left.
    there.pool.delete_disk(&chained).unwrap();
    import(&there, &whole).unwrap();
    let second = import(&there, &second).unwrap();
    assert_eq!(state(&there, &second), "two");
    assert_eq!(state(&there, &import(&there, &third).unwrap()), "three");
    // Snapshots in one archive.
    let all = Asked { snapshots: vec!["one".into(), "two".into()], ..Default::default() };
    fs::write(&file, "now").unwrap();
    let new = import(&there, &export(&here, &id, &all)).unwrap();
    assert_eq!(state(&there, &new), "now");
    assert_eq!(there.pool.snapshots(&new).unwrap(), ["one", "two"]);
    there.pool.restore(&new, "one", "safety").unwrap();
    assert_eq!(state(&there, &new), "one");
}

#[test]
fn cut_off_and_changed_archives_leave_nothing() {
    let (here, there) = (Scene::new(), Scene::empty());
    let bytes = export(&here, &here.disk(), &Asked::default());
    for at in [0, 5, 60, bytes.len() / 2, bytes.len() - 44, bytes.len() - 1] {
        assert!(matches!(import(&there, &bytes[..at]), Err(Error::Unsupported(_))), "cut at {at}");
        nothing_left(&there);
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(matches!(import(&there, &changed), Err(Error::Unsupported(_))), "changed at {at}");
        nothing_left(&there);
    }
    let there = there.reopen();
    assert!(names(&there.pool.root().join("images")).unwrap().is_empty());
}

#[test]
fn what_is_hostile_in_a_disk_is_refused() {
    let scene = Scene::new();
    let attack = |what: &str, change: &dyn Fn(&Path)| {
        let id = scene.disk();
        change(&scene.pool.disk(&id));
        let bytes = export(&scene, &id, &Asked::default());
        scene.pool.delete_disk(&id).unwrap();
        let e = import(&scene, &bytes).unwrap_err();
        assert!(matches!(&e, Error::Unsupported(_)), "{what}: {e}");
        nothing_left(&scene);
    };
    let mark = |path: &Path, name: &str, value: &str| {
        rustix::fs::setxattr(path, name, value.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
    };
    let swap = |path: &Path, target: &str| {
        fs::remove_dir_all(path).unwrap();
        symlink(target, path).unwrap();
    };
    attack("a rootfs that leads elsewhere", &|d| swap(&d.join("rootfs"), "/"));
    attack("a usr that leads elsewhere", &|d| swap(&d.join("rootfs/usr"), "/usr"));
    attack("an upper layer that leads elsewhere", &|d| swap(&d.join("ovl/upper"), "/"));
    attack("something beside", &|d| fs::write(d.join("more"), "x").unwrap());
    attack("no pin", &|d| fs::remove_file(d.join("ino-pin")).unwrap());
    let node = |path: &Path| {
        let disk = std::process::Command::new("mknod").arg(path).args(["b", "7", "0"]).status().unwrap();
        assert!(disk.success());
    };
    attack("a disk's device", &|d| node(&d.join("rootfs/etc/disk")));
    attack("a disk's device in usr", &|d| node(&d.join("ovl/upper/disk")));
    attack("a mark in the root", &|d| mark(&d.join("rootfs/etc"), "trusted.overlay.opaque", "y"));
    attack("metacopy", &|d| mark(&d.join("ovl/upper"), "trusted.overlay.metacopy", ""));
    attack("a redirect that climbs", &|d| mark(&d.join("ovl/upper"), "trusted.overlay.redirect", "/../../etc"));
}

#[test]
fn a_stream_cannot_be_put_on_another_containers_disk() {
    let scene = Scene::new();
    let (victim, id) = (scene.disk(), scene.disk());
    fs::write(scene.pool.disk(&victim).join("rootfs/etc/secret"), "s3cret").unwrap();
    scene.pool.create_snapshot(&victim, "theirs").unwrap();
    scene.pool.create_snapshot(&id, "mine").unwrap();
    // A stream that the kernel itself wrote against the victim's snapshot, in an archive that says
    // that it is against the template: it is put on the template, where the secret is not.
    let theirs = btrfs::info(&scene.pool.snapshot(&victim, "theirs")).unwrap().uuid;
    let mut stream = Vec::new();
    let out = std::process::Command::new("btrfs")
        .args(["--quiet", "send", "-p"])
        .arg(scene.pool.snapshot(&victim, "theirs"))
        .arg(scene.pool.snapshot(&id, "mine"))
        .output()
        .unwrap();
    stream.extend(out.stdout);
    assert!(stream.windows(16).any(|w| w == theirs));
    let rules = crate::archive::stream::Rules { name: "x", parent: Some([9; 16]), uuid: None };
    let mut passed = Vec::new();
    crate::archive::stream::pass(&mut stream.as_slice(), &mut passed, rules).unwrap();
    assert!(!passed.windows(16).any(|w| w == theirs), "the victim is still named");
}

#[test]
fn an_import_that_is_larger_than_its_limit_is_told_so_and_leaves_nothing() {
    let (here, there) = (Scene::new(), Scene::empty());
    let id = here.disk();
    let block: Vec<u8> = (0..1 << 15).flat_map(|_| rand::random::<[u8; 32]>()).collect();
    let big = block.repeat(40);
    fs::write(here.pool.disk(&id).join("rootfs/root/big"), big).unwrap();
    let bytes = export(&here, &id, &Asked::default());
    let terms = Terms { limit: Some(16 << 20), keep_identity: false };
    let e = there.pool.unpack_container(&ContainerId::generate(), &mut &bytes[..], &mut |_| Ok(terms)).unwrap_err();
    assert!(matches!(e, Error::Full(_)), "{e}");
    nothing_left(&there);
}
