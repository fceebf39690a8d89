//! Host-side work on files that a container made: its disk when it is stopped, its snapshots, its
//! next start, and the files service of a running one.

use std::fs;

use super::arm;
use crate::harness::web::socket;
use crate::harness::{Container, eventually, shared};
use crate::stories;

stories![
    a_stopped_containers_files_lead_nowhere_else,
    links_that_change_under_a_snapshot_lead_nowhere_else,
    the_files_service_sees_what_its_container_sees,
    a_disk_turned_hostile_harms_no_start,
];

/// A file of the host that nobody inside may read.
#[track_caller]
fn secret(c: &Container<'_>) -> String {
    let path = c.node.dir.join(format!("secret-{}", c.id));
    fs::write(&path, format!("secret of the host, {}", c.id)).unwrap();
    path.display().to_string()
}

#[track_caller]
fn read(c: &Container<'_>, below: &str, path: &str) -> String {
    let reply = socket(c.node, "GET", &format!("/api/v1/containers/{}{below}/files?path={path}", c.id), None);
    assert!([200, 400, 404].contains(&reply.status), "{path}: {reply:#?}");
    reply.body
}

/// Links to a path of the host, in every way there is.
fn traps(host: &str) -> String {
    format!(
        "mkdir -p /trap/d && cd /trap && ln -s '{host}' absolute && ln -s '../../../../../../../../../..{host}' climbing && \
         ln -s /proc/self/root{host} magic && ln -s /proc/1/root{host} init && ln -s / root && ln -s /dev/fd/3 fd && \
         ln -s loop loop && mkfifo pipe && ln -s /proc/kcore core && ln -s ../../../../../../../../../../.. d/up && \
         ln -s absolute chain && mkdir -p '/trap{dir}' && ln -s '{host}' '/trap{host}-link'",
        dir = host.rsplit_once('/').map_or("", |(d, _)| d)
    )
}

fn a_stopped_containers_files_lead_nowhere_else() {
    let node = shared::node();
    let c = node.container("traps");
    let host = secret(&c);
    c.says(&traps(&host));
    c.cowl(&["snapshots", "create", "--alias", "trapped"]).ok();
    node.cowl(&["containers", "stop", &c.id]).ok();
    for below in ["", "/snapshots/trapped"] {
        for path in [
            "/trap/absolute".to_owned(),
            "/trap/climbing".into(),
            "/trap/magic".into(),
            "/trap/init".into(),
            "/trap/chain".into(),
            "/trap/core".into(),
            "/trap/pipe".into(),
            "/trap/loop".into(),
            "/trap/fd".into(),
            format!("/trap/root{host}"),
            format!("/trap/d/up{host}"),
            format!("/trap{host}-link"),
            host.clone(),
            format!("/../../../../../..{host}"),
            format!("/trap/d/%2e%2e/%2e%2e/%2e%2e/%2e%2e{host}"),
        ] {
            let body = read(&c, below, &path);
            assert!(!body.contains("secret of the host"), "{below} {path}: {body}");
        }
        assert!(read(&c, below, "/trap").contains("absolute"), "the traps are there");
    }
}

fn links_that_change_under_a_snapshot_lead_nowhere_else() {
    let node = shared::node();
    let c = node.container("race");
    c.booted();
    let host = secret(&c);
    c.says(&format!(
        "mkdir -p /race/good /race/evil && echo good > /race/good/file && ln -s '{host}' /race/evil/file && \
         systemd-run --quiet --unit=race sh -c 'cd /race; while :; do ln -sfn good now; ln -sfn evil now; \
         mv -T good x; mv -T evil good; mv -T x evil; done'"
    ));
    for i in 0..6 {
        let name = format!("race-{i}");
        c.cowl(&["snapshots", "create", "--alias", &name]).ok();
        for path in ["/race/now/file", "/race/good/file", "/race/evil/file"] {
            let body = read(&c, &format!("/snapshots/{name}"), path);
            assert!(!body.contains("secret of the host"), "{path}: {body}");
        }
        // The running container's files are its own service's to serve, over the same names.
        let body = c.curl("files-1", "/api/v1/files/race/now/file", &[]).body;
        assert!(!body.contains("secret of the host"), "{body}");
    }
}

fn the_files_service_sees_what_its_container_sees() {
    let node = shared::node();
    let (c, other) = (node.container("service"), node.container("other"));
    let host = secret(&c);
    other.says("echo 'secret of the neighbour' > /root/secret");
    for path in [
        host.clone(),
        format!("/proc/1/root{host}"),
        format!("/proc/2/root{host}"),
        format!("/proc/self/root/../../../..{host}"),
        format!("/proc/self/cwd{host}"),
        format!("/dev/.nest/proc/1/root{host}"),
        format!("{}/state/pool/containers/{}/rootfs/root/secret", node.dir.display(), other.id),
    ] {
        let got = c.cowl(&["files", "get", &path]);
        assert!(got.code != 0 && !got.stdout.contains("secret of"), "{path}: {got:#?}");
    }
    // Written through a link, a file stays inside.
    let target = node.dir.join("written").display().to_string();
    c.says(&format!("mkdir -p {dir} && ln -s {target} /root/out", dir = node.dir.display()));
    let here = node.dir.join("to-put");
    fs::write(&here, "put").unwrap();
    c.cowl(&["files", "put", here.to_str().unwrap(), "/root/out"]);
    assert!(!node.dir.join("written").exists(), "the host's file was written");
}

fn a_disk_turned_hostile_harms_no_start() {
    let node = shared::node();
    let neighbour = node.container("calm");
    let host = node.dir.join("untouched");
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("kept"), "host").unwrap();
    let out = host.display();
    for damage in [
        format!("/root/probe replace /usr '{out}'"),
        format!("/root/probe replace /usr '../../../../../../../../..{out}'"),
        "/root/probe replace /usr pipe".into(),
        format!("for d in run proc sys dev; do /root/probe replace /$d '{out}'; done"),
        "printf '#!/proc/self/exe\\n' > /sbin/init2; chmod 755 /sbin/init2; ln -sf init2 /sbin/init".into(),
        format!("rm -f /etc/hostname /etc/hosts; ln -s '{out}/hostname' /etc/hostname; ln -s '{out}/kept' /etc/hosts"),
        "rm -f /etc/hostname /etc/hosts; mkfifo /etc/hosts; truncate -s 100G /etc/hostname".into(),
        "rm -f /sbin/init; ln -s /dev/full /sbin/init".into(),
    ] {
        let c = node.container("damaged");
        arm(&c);
        // What the damage does to the shell that does it does not matter.
        c.exec(&format!("setsid sh -c \"{}\" >/dev/null 2>&1 </dev/null", damage.replace('"', "\\\"")));
        node.cowl(&["containers", "stop", "--force", &c.id]);
        eventually("it to be stopped", 30, || ["stopped", "failed"].contains(&c.status().as_str()).then_some(()));
        // It may start or not; either is told, and nothing of the host changes.
        let started = node.cowl(&["containers", "start", &c.id]);
        assert!(started.code == 0 || started.code == 1, "{damage}: {started:#?}");
        assert_eq!(fs::read_to_string(host.join("kept")).unwrap(), "host", "{damage}");
        assert_eq!(fs::read_dir(&host).unwrap().count(), 1, "{damage}");
        assert_eq!(neighbour.says("echo calm"), "calm");
    }
}
