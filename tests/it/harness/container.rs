//! A container of a test's node; deleted when dropped.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::node::DOMAIN;
use super::web::{Reply, Web};
use super::{Node, Ran, eventually};

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
        let project = node.project("tests");
        let created = node.json(&["containers", "create", "--project", &project, "--name", &name]);
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

    pub fn status(&self) -> String {
        self.now()["status"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn becomes(&self, status: &str) {
        eventually(&format!("{} to be {status}", self.name), 60, || (self.status() == status).then_some(()));
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
            self.node.cowl(&["containers", "delete", "--yes", &self.id]);
        }
    }
}
