//! Diffs of real disks: each kind of change, and random ones against a walk through both trees.

mod model;
mod random;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::storage::image::{Origin, new_id};
use crate::storage::pool::Scratch;
use crate::storage::testing::{Scene, in_merged_usr};
use crate::sys::btrfs;
use cowl_api::ContainerId;
use cowl_api::diff::{Aspect, Change, ChangeKind, FileType, Summary};

/// A disk of an image that has something in `/usr/share`, and what was done to it.
pub(super) struct Stage {
    pub scene: Scene,
    pub id: ContainerId,
}

fn plant(scene: &Scene, tier: &str, words: &str) -> String {
    let tree = Scratch::new(scene.pool.temporary("rich"));
    btrfs::create(tree.path()).unwrap();
    let at = |path: &str| tree.path().join(path);
    for dir in ["usr/bin", "usr/share/a/c", "usr/share/b", "usr/share/d/a", "etc", "srv", "var/lib/dpkg"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    for file in ["usr/bin/tool", "usr/share/a/a", "usr/share/a/b", "usr/share/a/c/d", "usr/share/b/a", "usr/share/d/b"]
    {
        fs::write(at(file), format!("{file} {words}\n")).unwrap();
    }
    fs::write(at("usr/share/d/a/big"), words.repeat(4_000)).unwrap();
    fs::hard_link(at("usr/share/b/a"), at("usr/share/b/b")).unwrap();
    symlink("a", at("usr/share/c")).unwrap();
    fs::write(at("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n").unwrap();
    let id = new_id(tier);
    scene.pool.adopt(tree, &id, 1_700_000_000, Origin::default()).unwrap();
    id
}

impl Stage {
    pub fn new() -> Self {
        let scene = Scene::empty();
        let image = plant(&scene, "rich", "words");
        let id = ContainerId::generate();
        scene.pool.create_disk(&id, &image).unwrap();
        Self { scene, id }
    }

    pub fn disk(&self) -> PathBuf {
        self.scene.pool.disk(&self.id)
    }

    fn root(&self, path: &str) -> PathBuf {
        self.disk().join("rootfs").join(path)
    }

    /// Does something in the root, outside `/usr`.
    pub fn sh(&self, script: &str) {
        let done =
            std::process::Command::new("sh").args(["-euc", script]).current_dir(self.root("srv")).output().unwrap();
        assert!(done.status.success(), "{script}: {done:?}");
    }

    /// Does something in the merged `/usr/share`.
    pub fn in_usr(&self, script: &str) {
        in_merged_usr(&self.scene.pool, &self.disk(), &format!("cd share\n{script}"));
    }

    pub fn snapshot(&self, name: &str) {
        self.scene.pool.create_snapshot(&self.id, name).unwrap();
    }

    fn place(&self, moment: &str) -> PathBuf {
        if moment == "now" { self.disk() } else { self.scene.pool.snapshot(&self.id, moment) }
    }

    pub fn diff_below(&self, from: &str, to: &str, below: &str) -> (Vec<Change>, Summary) {
        let pool = &self.scene.pool;
        let (a, b) = (pool.still(&self.place(from)).unwrap(), pool.still(&self.place(to)).unwrap());
        let mut all = Vec::new();
        let summary = pool
            .diff(&a, &b, below.as_bytes(), &mut |change| {
                all.push(change);
                true
            })
            .unwrap();
        all.sort_by_key(|c| (c.path_bytes(), c.kind));
        (all, summary)
    }

    pub fn diff(&self, from: &str, to: &str) -> Vec<Change> {
        self.diff_below(from, to, "/").0
    }

    /// The changes in short: `+ /srv/x`, `> /srv/x /srv/y`.
    fn told(&self, from: &str, to: &str) -> Vec<String> {
        self.diff(from, to).iter().map(short).collect()
    }
}

fn short(c: &Change) -> String {
    let sign = match c.kind {
        ChangeKind::Added => '+',
        ChangeKind::Changed => '~',
        ChangeKind::Deleted => '-',
        ChangeKind::Renamed => '>',
        ChangeKind::Mode => 'm',
    };
    let from = c.from.as_ref().map(|f| format!("{f} → ")).unwrap_or_default();
    let what = match (c.kind, c.what.as_slice()) {
        (ChangeKind::Changed, [Aspect::Content]) | (_, []) => String::new(),
        (_, what) => format!(" {what:?}"),
    };
    format!("{sign} {from}{}{what}", c.path)
}

#[test]
fn nothing_is_told_of_what_is_as_it_was() {
    let s = Stage::new();
    s.sh("echo x > x; mkdir d; echo y > d/y");
    s.in_usr("echo x > x");
    s.snapshot("one");
    assert_eq!(s.told("one", "now"), [""; 0]);
    assert_eq!(s.told("now", "one"), [""; 0]);
    assert_eq!(s.told("one", "one"), [""; 0]);
    // The same bytes again, other times, a change taken back.
    s.sh("rm x; echo x > x; touch -d @5 d/y; chmod 600 d/y; chmod 644 d/y; mv d e; mv e d");
    s.in_usr("rm x a/b; echo x > x; echo usr/share/a/b words > a/b; touch d/b");
    assert_eq!(s.told("one", "now"), [""; 0]);
}

#[test]
fn every_kind_of_change_outside_usr_is_told_as_what_it_is() {
    let s = Stage::new();
    s.sh(
        "for f in change delete move over under mode owner swap1 swap2 link kind times attr back; do echo $f > $f; done
          mkdir -p dir/sub gone/sub kind2; echo a > dir/sub/a; echo b > dir/b; echo c > gone/sub/c; echo d > kind2/d
          ln -s target symlink; echo 1 > 1; ln 1 2",
    );
    s.snapshot("one");
    s.sh("echo more >> change; rm delete; mv move moved; mv over under; chmod 4711 mode; chown 7:8 owner
          mv swap1 t; mv swap2 swap1; mv t swap2; ln link linked; rm kind; mkdir kind; echo k > kind/k
          touch times; mv back back~; echo new > back
          mv dir dir2; echo more >> dir2/sub/a; rm dir2/b; echo n > dir2/n; rm -r gone kind2; echo f > kind2
          ln -sfn elsewhere symlink; rm 2; mkfifo pipe; echo new > new");
    rustix::fs::setxattr(s.root("srv/attr"), "user.k", b"v", rustix::fs::XattrFlags::empty()).unwrap();
    let told = s.told("one", "now");
    let mut expected = [
        "+ /srv/back",
        "> /srv/back → /srv/back~",
        "~ /srv/change",
        "- /srv/delete",
        "> /srv/dir → /srv/dir2",
        "- /srv/dir/b",
        "+ /srv/dir2/n",
        "~ /srv/dir2/sub/a",
        "- /srv/2",
        "m /srv/attr [Attributes]",
        "- /srv/gone",
        "- /srv/gone/sub",
        "- /srv/gone/sub/c",
        "+ /srv/kind",
        "- /srv/kind",
        "+ /srv/kind/k",
        "+ /srv/kind2",
        "- /srv/kind2",
        "- /srv/kind2/d",
        "+ /srv/linked",
        "m /srv/mode [Mode]",
        "> /srv/move → /srv/moved",
        "+ /srv/new",
        "> /srv/over → /srv/under",
        "- /srv/under",
        "m /srv/owner [Owner]",
        "+ /srv/pipe",
        "> /srv/swap1 → /srv/swap2",
        "> /srv/swap2 → /srv/swap1",
        "~ /srv/symlink [Target]",
    ];
    let mut sorted = told.clone();
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected, "{told:#?}");
    let all = s.diff("one", "now");
    let find = |path: &str, kind| all.iter().find(|c| c.path == path && c.kind == kind).unwrap();
    let mode = find("/srv/mode", ChangeKind::Mode);
    assert_eq!((mode.mode_before.as_deref(), mode.mode_after.as_deref()), (Some("0644"), Some("4711")));
    let owner = find("/srv/owner", ChangeKind::Mode);
    assert_eq!((owner.owner_before.as_deref(), owner.owner_after.as_deref()), (Some("0:0"), Some("7:8")));
    let changed = find("/srv/change", ChangeKind::Changed);
    assert_eq!((changed.size_before, changed.size_after), (Some(7), Some(12)));
    assert_eq!(find("/srv/pipe", ChangeKind::Added).file_type, FileType::Fifo);
}

#[test]
fn every_kind_of_change_in_usr_is_told_of_the_merged_tree() {
    let s = Stage::new();
    s.in_usr("echo own > own; mkdir owndir; echo x > owndir/x");
    s.snapshot("one");
    s.in_usr(
        "echo more >> a/a; rm a/b; chmod 700 a/c/d; mv b bees; echo new > new; mv own own2; mv owndir owndir2
              rm -r d; mkdir d; echo z > d/z; mv a/c moved; ln -sfn b c",
    );
    let mut expected = [
        "~ /usr/share/a/a",
        "- /usr/share/a/b",
        "> /usr/share/a/c → /usr/share/moved",
        "m /usr/share/moved/d [Mode]",
        "> /usr/share/b → /usr/share/bees",
        "+ /usr/share/new",
        "> /usr/share/own → /usr/share/own2",
        "> /usr/share/owndir → /usr/share/owndir2",
        "- /usr/share/d/a",
        "- /usr/share/d/a/big",
        "- /usr/share/d/b",
        "+ /usr/share/d/z",
        "~ /usr/share/c [Target]",
    ];
    let mut told = s.told("one", "now");
    told.sort();
    expected.sort();
    assert_eq!(told, expected, "{told:#?}");
    // A file of the image that is only renamed is a rename too, and back.
    s.snapshot("two");
    in_merged_usr(&s.scene.pool, &s.disk(), "mv bin/tool bin/tool2");
    assert_eq!(s.told("two", "now"), ["> /usr/bin/tool → /usr/bin/tool2"]);
    assert_eq!(s.told("now", "two"), ["> /usr/bin/tool2 → /usr/bin/tool"]);
}

#[test]
fn a_directory_of_thousands_that_moved_is_one_rename() {
    let s = Stage::new();
    s.sh("mkdir -p many/deep; seq 3000 | while read n; do echo $n > many/deep/$n; done");
    s.in_usr("mkdir many; seq 500 | while read n; do echo $n > many/$n; done");
    s.snapshot("one");
    s.sh("mkdir new; mv many new/more; echo x > new/more/deep/7");
    s.in_usr("mkdir new; mv many new/more");
    assert_eq!(
        s.told("one", "now"),
        [
            "+ /srv/new",
            "> /srv/many → /srv/new/more",
            "~ /srv/new/more/deep/7",
            "+ /usr/share/new",
            "> /usr/share/many → /usr/share/new/more"
        ]
    );
    assert_eq!(s.diff("now", "one").len(), 5);
}

#[test]
fn moments_before_and_after_a_restore_are_compared_along_their_common_past() {
    let s = Stage::new();
    s.sh("seq 200 | while read n; do echo $n > f$n; done");
    s.snapshot("one");
    s.sh("echo two >> f7; echo two > two");
    s.in_usr("rm a/a");
    s.snapshot("two");
    s.scene.pool.restore(&s.id, "one", "safety").unwrap();
    assert_eq!(s.told("one", "now"), [""; 0]);
    assert_eq!(s.told("two", "safety"), [""; 0]);
    let back = ["~ /srv/f7", "- /srv/two", "+ /usr/share/a/a"];
    assert_eq!(s.told("two", "now"), back);
    // The new disk gives out the numbers again that the old one gave to other files.
    s.sh("echo three > three");
    s.snapshot("three");
    assert_eq!(s.told("two", "three"), ["~ /srv/f7", "+ /srv/three", "- /srv/two", "+ /usr/share/a/a"]);
    assert_eq!(s.told("three", "two"), ["~ /srv/f7", "- /srv/three", "+ /srv/two", "- /usr/share/a/a"]);
    // Without the snapshot in between nothing but the template is known to be common.
    s.scene.pool.delete_snapshot(&s.id, "one").unwrap();
    assert_eq!(s.told("two", "three").len(), 4);
    assert_eq!(s.told("three", "now"), [""; 0]);
}

#[test]
fn another_image_shows_in_usr_only_where_it_differs() {
    let s = Stage::new();
    s.in_usr("echo own > own; rm a/b");
    s.sh("echo x > x");
    s.snapshot("one");
    let other = plant(&s.scene, "rich", "others");
    fs::write(s.disk().join("image"), format!("{other}\n")).unwrap();
    s.sh("echo y > y");
    let told = s.told("one", "now");
    let expected = ["+ /srv/y", "~ /usr/bin/tool", "~ /usr/share/a/a", "~ /usr/share/a/c/d", "~ /usr/share/b/a"];
    assert_eq!(told[..5], expected);
    assert_eq!(told[5..], ["~ /usr/share/b/b", "~ /usr/share/d/a/big", "~ /usr/share/d/b"]);
    // A disk of its own from the other image has no common past with this one at all.
    let id = ContainerId::generate();
    s.scene.pool.create_disk(&id, &other).unwrap();
    let (a, b) = (s.place("one"), s.scene.pool.disk(&id));
    let (a, b) = (s.scene.pool.still(&a).unwrap(), s.scene.pool.still(&b).unwrap());
    let mut count = 0;
    let summary = s.scene.pool.diff(&a, &b, b"/", &mut |_| (count += 1, true).1).unwrap();
    // The seven of the image, what was deleted, and what was made.
    assert_eq!((summary.changed.count, summary.added.count, summary.deleted.count), (7, 1, 2));
    assert_eq!(summary.count(), count);
}

#[test]
fn names_of_any_bytes_are_told_without_loss() {
    let s = Stage::new();
    s.snapshot("one");
    let names: [&[u8]; 6] = [b"new\nline", b"\xff\xfe", b"\x1b[2J", "ü\u{202e}".as_bytes(), b" ", &[b'x'; 255]];
    for name in names {
        fs::write(s.root("srv").join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let mut told: Vec<Vec<u8>> = s.diff("one", "now").iter().map(Change::path_bytes).collect();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| [b"/srv/", *name].concat()).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
fn a_path_without_end_is_looked_into_only_so_far() {
    let s = Stage::new();
    s.snapshot("one");
    let mut dir = fs::File::open(s.root("srv")).unwrap();
    let name = "d".repeat(250);
    for _ in 0..200 {
        rustix::fs::mkdirat(&dir, &name, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, &name, flags, rustix::fs::Mode::empty()).unwrap().into();
    }
    s.snapshot("two");
    let (told, summary) = s.diff_below("one", "two", "/");
    assert_eq!((told.len(), summary.too_deep), (66, 1));
    s.sh(&format!("mv {name} moved"));
    assert_eq!(s.told("two", "now"), [format!("> /srv/{name} → /srv/moved")]);
}

#[test]
fn what_is_asked_for_is_told_and_no_more() {
    let s = Stage::new();
    s.snapshot("one");
    s.sh("mkdir a ab; echo 1 > a/1; echo 2 > a/2; echo 3 > ab/3");
    let (told, summary) = s.diff_below("one", "now", "/srv/a/");
    assert_eq!(told.iter().map(short).collect::<Vec<_>>(), ["+ /srv/a", "+ /srv/a/1", "+ /srv/a/2"]);
    assert_eq!((summary.added.count, summary.added.bytes_after), (3, 4));
    let pool = &s.scene.pool;
    let (a, b) = (pool.still(&s.place("one")).unwrap(), pool.still(&s.disk()).unwrap());
    let mut count = 0;
    let summary = pool.diff(&a, &b, b"", &mut |_| (count += 1, count < 2).1).unwrap();
    assert_eq!((count, summary.count()), (2, 2));
    // The copy of now goes with its holder.
    drop(b);
    assert!(fs::read_dir(pool.root().join("tmp")).unwrap().all(|e| e.unwrap().file_name() == "merged"));
    assert!(pool.still(&s.place("nope")).is_err());
}

#[test]
fn files_that_share_no_block_are_compared_by_their_bytes_or_told() {
    let s = Stage::new();
    s.sh("head -c 200000 /dev/zero | tr '\\0' x > same; cp --reflink=never same other; truncate -s 1M holes");
    s.snapshot("one");
    s.sh("cp --reflink=never same t; mv t same; cp --reflink=never other t; printf y | dd of=t conv=notrunc bs=1 seek=99999 2>/dev/null
          mv t other; head -c 1048576 /dev/zero > t; mv t holes");
    assert_eq!(s.told("one", "now"), ["~ /srv/other"]);
}

#[test]
fn one_file_of_both_moments_is_read_from_the_merged_tree() {
    use super::text::{Found, compare};
    let s = Stage::new();
    s.snapshot("one");
    s.in_usr("echo more >> a/a");
    let pool = &s.scene.pool;
    let (a, b) = (pool.still(&s.place("one")).unwrap(), pool.still(&s.disk()).unwrap());
    let look = |at, path: &str, limit| pool.peek(at, path.as_bytes(), limit, false).unwrap();
    let path = "/usr/share/a/a";
    let told = compare(path, &look(&a, path, 100), &look(&b, path, 100));
    assert!(told.diff.unwrap().ends_with("@@ -1 +1,2 @@\n usr/share/a/a words\n+more\n"));
    assert_eq!(look(&a, path, 5), Found::Large(20));
    assert_eq!(look(&a, "/usr/share/c", 5), Found::Link(b"a".to_vec()));
    assert_eq!(look(&a, "/usr/share", 5), Found::Other(FileType::Dir));
    assert_eq!(look(&a, "/../../image", 50), Found::Absent);
    let mode = fs::metadata(s.root("srv")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn a_diff_asks_for_what_changed_and_not_for_what_is_there() {
    // For a measurement of the promise, COWL_DIFF_FILES=100000 with rsync installed.
    let files: usize = std::env::var("COWL_DIFF_FILES").map_or(4_000, |n| n.parse().unwrap());
    let s = Stage::new();
    let dirs = files / 100;
    for dir in 0..dirs {
        fs::create_dir(s.root(&format!("srv/{dir}"))).unwrap();
        for n in 0..100 {
            fs::write(s.root(&format!("srv/{dir}/{n}")), format!("{dir} {n}")).unwrap();
        }
    }
    s.snapshot("one");
    for i in 0..50 {
        let at = s.root(&format!("srv/{}", i * (dirs - 1) / 49));
        match i % 5 {
            0 => fs::write(at.join(format!("{i}")), "changed").unwrap(),
            1 => fs::remove_file(at.join(format!("{i}"))).unwrap(),
            2 => fs::rename(at.join(format!("{i}")), at.join(format!("moved{i}"))).unwrap(),
            3 => fs::set_permissions(at.join(format!("{i}")), fs::Permissions::from_mode(0o600)).unwrap(),
            _ => fs::write(at.join(format!("new{i}")), "new").unwrap(),
        }
    }
    s.snapshot("two");
    let before = btrfs::search::asked();
    let (told, summary) = s.diff_below("one", "two", "/");
    let asked = btrfs::search::asked() - before;
    assert_eq!((told.len(), summary.count()), (50, 50));
    // Some questions for each change, none for each file.
    assert!(asked < 1_500, "{asked} searches for 50 changes");
    if std::env::var_os("COWL_DIFF_FILES").is_some() {
        let timed = |what: &str, f: &dyn Fn()| {
            let mut times: Vec<f64> = (0..5)
                .map(|_| {
                    let begun = std::time::Instant::now();
                    f();
                    begun.elapsed().as_secs_f64() * 1000.0
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!("{what}: {:.1} ms [{:.1}-{:.1}], {asked} searches", times[2], times[0], times[4]);
        };
        timed("snapshot to snapshot", &|| drop(s.diff("one", "two")));
        timed("snapshot to now", &|| drop(s.diff("one", "now")));
        timed("rsync -an --delete", &|| {
            let dir = |name| format!("{}/rootfs/", s.place(name).display());
            let done = std::process::Command::new("rsync").args(["-an", "--delete", &dir("two"), &dir("one")]).output();
            assert!(done.unwrap().status.success());
        });
    }
}
