//! A container of a test's node; deleted when dropped.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::node::DOMAIN;
use super::web::{Reply, Web, socket};
use super::{Node, Ran, eventually, host};

pub struct Container<'a> {
    pub node: &'a Node,
    pub id: String,
    pub project: String,
    pub name: String,
    server: String,
}

impl<'a> Container<'a> {
    #[track_caller]
    pub(super) fn create(node: &'a Node, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self::create_in(node, &node.project("tests"), &name)
    }

    #[track_caller]
    pub(super) fn create_in(node: &'a Node, project: &str, name: &str) -> Self {
        let created = node.json(&["containers", "create", "--project", project, "--name", name]);
        assert_eq!(created["status"], "running", "{created}");
        Self::from_json(node, &created)
    }

    /// The container the API described.
    #[track_caller]
    pub fn from_json(node: &'a Node, c: &Value) -> Self {
        let text = |key: &str| c[key].as_str().unwrap_or_else(|| panic!("no {key} in {c}")).to_owned();
        Self { node, id: text("id"), project: text("project_id"), name: text("name"), server: text("server_name") }
    }

    /// Host name of one of its services.
    pub fn host(&self, segment: &str) -> String {
        format!("{}-{}-{segment}.{}.containers.{DOMAIN}", self.project, self.id, self.server)
    }

    /// Runs `cowl WORDS -c ID`.
    #[track_caller]
    pub fn cowl(&self, words: &[&str]) -> Ran {
        self.node.cowl(&[words, &["-c", &self.id]].concat())
    }

    /// Runs a shell command in a fresh session.
    #[track_caller]
    pub fn exec(&self, command: &str) -> Ran {
        self.cowl(&["terminal", "sessions", "exec", "--command", command])
    }

    /// What a shell command printed, trimmed; panics unless it succeeds.
    #[track_caller]
    pub fn says(&self, command: &str) -> String {
        self.exec(command).ok().trim().to_owned()
    }

    /// As the API shows it now.
    #[track_caller]
    pub fn now(&self) -> Value {
        self.node.json(&["containers", "get", &self.id])
    }

    /// Changes it by the API; as it is then.
    #[track_caller]
    pub fn change(&self, body: &Value) -> Value {
        let path = format!("/api/v1/containers/{}", self.id);
        socket(self.node, "PATCH", &path, Some(&body.to_string())).is(200)["data"].clone()
    }

    /// Its IPv4 address.
    #[track_caller]
    pub fn address(&self) -> String {
        self.now()["address"].as_str().unwrap_or_else(|| panic!("{} has no address", self.name)).to_owned()
    }

    /// The host's end of its cable.
    pub fn veth(&self) -> String {
        format!("cw{}{}", self.node.tag(), &self.id[..8])
    }

    /// What its control groups say in files of this name.
    pub fn group_texts(&self, file: &str) -> Vec<String> {
        let groups = host::groups(&self.node.tag(), &self.id);
        groups.iter().filter_map(|group| fs::read_to_string(group.join(file)).ok()).collect()
    }

    /// The process id of its shim, on the host.
    #[track_caller]
    pub fn shim(&self) -> u32 {
        let spec = self.node.run_dir().join(&self.id).join("spec.json").into_os_string().into_encoded_bytes();
        let ours = |pid: &u32| host::command_line(*pid).split(|b| *b == 0).any(|word| word == spec);
        host::pids().find(ours).expect("a shim")
    }

    /// The process id of its init, on the host.
    #[track_caller]
    pub fn init(&self) -> u32 {
        let shim = self.shim();
        let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).expect("the shim's children");
        let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let mut children = children.split_whitespace().map(|pid| pid.parse::<u32>().expect("a process id"));
        children.find(|pid| name(pid).trim() == "systemd").expect("an init")
    }

    /// When its init was born, in clock ticks: the same for as long as it is the same one.
    #[track_caller]
    pub fn born(&self) -> String {
        self.says("awk '{ print $22 }' /proc/1/stat")
    }

    pub fn status(&self) -> String {
        self.now()["status"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn becomes(&self, status: &str) {
        eventually(&format!("{} to be {status}", self.name), 60, || (self.status() == status).then_some(()));
    }

    /// Waits until commands run in it.
    #[track_caller]
    pub fn answers(&self, seconds: u64) {
        eventually(&format!("{} to run commands", self.name), seconds, || (self.exec("true").code == 0).then_some(()));
    }

    /// Waits until systemd inside has done its start jobs.
    #[track_caller]
    pub fn booted(&self) -> String {
        eventually(&format!("{} to have booted", self.name), 60, || {
            // Before there is a bus it says nothing at all.
            let state = self.exec("systemctl is-system-running").stdout.trim().to_owned();
            ["running", "degraded", "maintenance"].contains(&state.as_str()).then_some(state)
        })
    }

    /// Asks one of its URLs with curl.
    #[track_caller]
    pub fn curl(&self, segment: &str, path: &str, args: &[&str]) -> Reply {
        Web::new(self.node).ask(&self.host(segment), path, args)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.node.cowl(&["containers", "delete", "--yes", "--purge", &self.id]);
        }
    }
}
