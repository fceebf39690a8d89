//! Directories of one container in another.

use serde_json::json;

use crate::harness::{Container, eventually, shared};
use crate::stories;

stories![
    a_share_is_seen_once_it_is_taken_and_read_only_means_it,
    a_shared_directory_can_be_written_by_both_with_the_same_owners,
    a_projects_share_reaches_all_its_containers_and_survives_restarts,
    a_share_follows_its_source_through_a_restore_and_ends_with_it,
    nothing_of_the_host_can_be_shared,
];

fn sees(c: &Container, share: &str) -> bool {
    c.exec(&format!("test -e /hoody/shares/{share}")).code == 0
}

fn a_share_is_seen_once_it_is_taken_and_read_only_means_it() {
    let node = shared::node();
    let (a, b) = (node.container("giver"), node.container("taker"));
    a.says("mkdir -p /srv/data && echo hello > /srv/data/file && cp /bin/sleep /srv/data/suid && chmod 4755 /srv/data/suid");
    let share = a.cowl(&["storage", "create", "/srv/data", "--to", &b.id, "--alias", "lent-data", "--json"]).json();
    assert_eq!(share["status"], "active", "{share}");
    assert!(!sees(&b, "lent-data"), "nobody asked the target yet");
    b.cowl(&["storage", "incoming", "toggle-mount", "lent-data"]).ok();
    assert_eq!(b.says("cat /hoody/shares/lent-data/file"), "hello");
    // Later changes are seen at once.
    a.says("echo again > /srv/data/second");
    assert_eq!(b.says("cat /hoody/shares/lent-data/second"), "again");
    // Root of the target cannot make it writable, nor use set-uid bits of a stranger.
    for attempt in [
        "touch /hoody/shares/lent-data/x",
        "mount -o remount,bind,rw /hoody/shares/lent-data",
        "mkdir -p /mnt/x && mount --bind /hoody/shares/lent-data /mnt/x && mount -o remount,bind,rw,suid /mnt/x",
        "umount /mnt/x; unshare -m sh -c 'mount -o remount,bind,rw /hoody/shares/lent-data'",
        "unshare -Urm sh -c 'mount -o remount,bind,rw /hoody/shares/lent-data'",
    ] {
        assert_ne!(b.exec(attempt).code, 0, "{attempt}");
    }
    assert!(b.says("grep ' /hoody/shares/lent-data ' /proc/self/mounts").contains("nosuid"));
    b.cowl(&["storage", "incoming", "toggle-mount", "lent-data", "--mount", "false"]).ok();
    assert!(!sees(&b, "lent-data"));
    node.cowl(&["storage", "delete", "lent-data"]).ok();
    assert_eq!(a.says("cat /srv/data/file"), "hello");
}

fn a_shared_directory_can_be_written_by_both_with_the_same_owners() {
    let node = shared::node();
    let (a, b) = (node.container("desk-a"), node.container("desk-b"));
    a.says("mkdir -p /srv/desk && chmod 1777 /srv/desk");
    a.cowl(&["storage", "create", "/srv/desk", "--to", &b.id, "--mode", "readwrite", "--alias", "desk", "--mount"])
        .ok();
    b.says("echo b > /hoody/shares/desk/from-b && chown 1000:1000 /hoody/shares/desk/from-b");
    assert_eq!(a.says("stat -c %u:%g /srv/desk/from-b && cat /srv/desk/from-b"), "1000:1000\nb");
    a.says("echo a > /srv/desk/from-a && setfattr -n user.note -v hi /srv/desk/from-a 2>/dev/null; true");
    assert_eq!(b.says("stat -c %u /hoody/shares/desk/from-a"), "0");
    // Locks of the one are seen by the other.
    a.says("(flock 9; exec sleep 600) 9>/srv/desk/lock >/dev/null 2>&1 & sleep 0.3");
    assert_eq!(b.exec("flock -n /hoody/shares/desk/lock true").code, 1);
    // What was writable becomes read-only for the target alone.
    node.cowl(&["storage", "update", "desk", "--mode", "readonly"]).ok();
    assert_ne!(b.exec("touch /hoody/shares/desk/more").code, 0);
    a.says("touch /srv/desk/more");
}

fn a_projects_share_reaches_all_its_containers_and_survives_restarts() {
    let node = shared::node();
    // A project of its own: other stories' containers are not to see this.
    let project = node.json(&["projects", "create", "--alias", "readers"])["id"].as_str().unwrap().to_owned();
    let (a, b) = (node.container_in(&project, "lib-a"), node.container_in(&project, "lib-b"));
    a.says("mkdir -p /srv/lib && echo book > /srv/lib/book");
    a.cowl(&["storage", "create", "/srv/lib", "--to-project", &project, "--alias", "library"]).ok();
    assert_eq!(b.says("cat /hoody/shares/library/book"), "book");
    assert_eq!(a.says("ls /hoody/shares"), "", "a source does not see its own share");
    node.cowl(&["containers", "restart", &b.id]).ok();
    eventually("the share to be back", 30, || {
        (b.exec("cat /hoody/shares/library/book").stdout.trim() == "book").then_some(())
    });
    node.cowl(&["containers", "stop", &a.id]).ok();
    assert_eq!(b.says("cat /hoody/shares/library/book"), "book", "a stopped source's files are still there");
    let seen = node.cowl(&["storage", "incoming", "list", &b.id, "--json"]).json();
    let path = seen.as_array().unwrap().iter().find(|s| s["alias"] == "library").map(|s| s["mount_path"].clone());
    assert_eq!(path, Some(json!("/hoody/shares/library")));
    node.cowl(&["storage", "delete", "library"]).ok();
    assert_eq!(b.says("ls /hoody/shares"), "");
    node.cowl(&["projects", "delete", "--yes", &project]).ok();
}

fn a_share_follows_its_source_through_a_restore_and_ends_with_it() {
    let node = shared::node();
    let (a, b) = (node.container("src"), node.container("dst"));
    a.says("mkdir -p /srv/s && echo old > /srv/s/f && sync");
    a.cowl(&["storage", "create", "/srv/s", "--to", &b.id, "--alias", "src-s", "--mount"]).ok();
    a.cowl(&["snapshots", "create", "--alias", "old"]).ok();
    a.says("echo new > /srv/s/f");
    assert_eq!(b.says("cat /hoody/shares/src-s/f"), "new");
    a.cowl(&["snapshots", "restore", "old"]).ok();
    assert_eq!(b.says("cat /hoody/shares/src-s/f"), "old");
    node.cowl(&["containers", "delete", "--yes", &a.id]).ok();
    assert!(!sees(&b, "src-s"));
}

fn nothing_of_the_host_can_be_shared() {
    let node = shared::node();
    let (a, b) = (node.container("sly"), node.container("victim"));
    a.says("ln -s /../../../../etc /srv/climb && ln -s /proc/1/root /srv/magic && ln -s /etc /srv/own-etc && touch /srv/file");
    for path in
        ["/proc", "/sys/kernel", "/run", "/var/run", "/dev", "/boot", "/usr/bin", "/", "/srv/../etc", "srv", "/a b"]
    {
        let ran = a.cowl(&["storage", "create", path, "--to", &b.id]);
        let refused = ran.refused(1);
        assert!(refused.contains("source_path"), "{path}: {refused}");
    }
    // A link leads within the source's own disk, or nowhere.
    for (path, alias) in [("/srv/climb", "sly-climb"), ("/srv/own-etc", "sly-own")] {
        a.cowl(&["storage", "create", path, "--to", &b.id, "--alias", alias, "--mount"]).ok();
        assert_eq!(b.says(&format!("cat /hoody/shares/{alias}/hostname")), a.says("cat /etc/hostname"), "{path}");
    }
    for (path, alias) in [("/srv/magic", "sly-magic"), ("/srv/file", "sly-file"), ("/srv/none", "sly-none")] {
        a.cowl(&["storage", "create", path, "--to", &b.id, "--alias", alias, "--mount"]).ok();
        assert_ne!(b.exec(&format!("ls /hoody/shares/{alias}")).code, 0, "{path}");
        let all = node.json(&["storage", "list-all"]);
        let share = all.as_array().unwrap().iter().find(|s| s["alias"] == alias).expect(alias);
        assert_eq!(share["status"], "failed", "{share}");
    }
    a.cowl(&["storage", "create", "/srv", "--to", &a.id]).refused(1);
    a.cowl(&["storage", "create", "/srv", "--to", "nobody"]).refused(1);
    a.cowl(&["storage", "create", "/srv"]).refused(2);
}
