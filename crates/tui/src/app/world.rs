//! What is known of the box, and how fresh that is.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use serde::Deserialize;

use super::action::Loaded;
use cowl_api::project::Project;
use cowl_api::server::{BuildProgress, Image, ImageState, NodeStatus};
use cowl_api::{Container, ContainerId, ContainerState, ProjectId};

/// Samples kept for graphs: one per second.
const HISTORY: usize = 120;
/// Seconds a changed row glows.
const FLASH_S: i64 = 1;

/// How the connection to the node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// The first answer is awaited.
    Connecting,
    /// Everything on screen is live.
    Live,
    /// The node does not answer; tried again at this moment.
    Lost {
        /// When it is tried again.
        retry: Timestamp,
        /// Tries so far.
        tries: u32,
        /// What went wrong.
        reason: String,
    },
}

/// Latest figures of a running container.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Percent of one core.
    pub cpu: f64,
    /// Bytes.
    pub memory: u64,
    /// Bytes per second received.
    pub rx: u64,
    /// Bytes per second sent.
    pub tx: u64,
    /// Tasks.
    pub tasks: u64,
    /// Past CPU figures, oldest first.
    pub cpu_history: VecDeque<f64>,
    /// Past memory figures in bytes, oldest first.
    pub memory_history: VecDeque<f64>,
}

/// `data` of a `container.stats` event.
#[derive(Debug, Deserialize)]
pub struct StatsEvent {
    id: ContainerId,
    #[serde(default)]
    cpu_percent: f64,
    #[serde(default)]
    memory: f64,
    #[serde(default, alias = "rx_bps")]
    rx_bytes_per_s: f64,
    #[serde(default, alias = "tx_bps")]
    tx_bytes_per_s: f64,
    #[serde(default)]
    tasks: f64,
}

/// `data` of an `image.progress` event: the progress itself or inside `progress`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ProgressEvent {
    Nested { progress: BuildProgress },
    Flat(BuildProgress),
}

/// Everything known of the box.
#[derive(Debug, Default)]
pub struct World {
    /// The box itself.
    pub status: Option<NodeStatus>,
    /// All projects, in the node's order.
    pub projects: Vec<Project>,
    /// All containers, in the node's order.
    pub containers: Vec<Container>,
    /// Whether anything was ever loaded.
    pub loaded: bool,
    /// CPU of the box, oldest first.
    pub cpu_history: VecDeque<f64>,
    live: HashMap<ContainerId, Live>,
    flashes: HashMap<ContainerId, Timestamp>,
    status_at: Option<Timestamp>,
}

fn push(history: &mut VecDeque<f64>, value: f64) {
    if history.len() >= HISTORY {
        history.pop_front();
    }
    history.push_back(value);
}

fn whole(v: f64) -> u64 {
    // Floats from the wire: negative and NaN become 0.
    v.max(0.0) as u64
}

impl World {
    /// Takes a full answer; tells whether something glows.
    pub fn load(&mut self, loaded: Loaded, now: Timestamp) -> bool {
        let mut glows = false;
        if self.loaded {
            for new in &loaded.containers {
                let old = self.container(new.id).map(|c| c.status);
                if old != Some(new.status) {
                    self.flashes.insert(new.id, now);
                    glows = true;
                }
            }
        }
        self.projects = loaded.projects;
        self.containers = loaded.containers;
        let running: Vec<ContainerId> =
            self.containers.iter().filter(|c| c.status == ContainerState::Running).map(|c| c.id).collect();
        self.live.retain(|id, _| running.contains(id));
        self.loaded = true;
        self.set_status(loaded.status, now);
        glows
    }

    /// Takes a fresh status.
    pub fn set_status(&mut self, status: NodeStatus, now: Timestamp) {
        push(&mut self.cpu_history, status.host.cpu_percent);
        self.status = Some(status);
        self.status_at = Some(now);
    }

    /// Seconds since the status was asked for; large when never.
    pub fn status_age(&self, now: Timestamp) -> i64 {
        self.status_at.map_or(i64::MAX, |at| now.as_second() - at.as_second())
    }

    /// Takes a stats event.
    pub fn stats(&mut self, data: &serde_json::Value) {
        let Ok(event) = StatsEvent::deserialize(data) else { return };
        let live = self.live.entry(event.id).or_default();
        live.cpu = event.cpu_percent.max(0.0);
        live.memory = whole(event.memory);
        live.rx = whole(event.rx_bytes_per_s);
        live.tx = whole(event.tx_bytes_per_s);
        live.tasks = whole(event.tasks);
        push(&mut live.cpu_history, live.cpu);
        push(&mut live.memory_history, live.memory as f64);
    }

    /// Takes an image progress event.
    pub fn progress(&mut self, resource: &str, data: &serde_json::Value) {
        let Ok(event) = ProgressEvent::deserialize(data) else { return };
        let progress = match event {
            ProgressEvent::Nested { progress } | ProgressEvent::Flat(progress) => progress,
        };
        let name = data.get("image").or_else(|| data.get("name")).and_then(|v| v.as_str()).unwrap_or(resource);
        let Some(status) = &mut self.status else { return };
        let images = &mut status.images;
        let index = images.iter().position(|i| i.name == name).or((images.len() == 1).then_some(0));
        if let Some(image) = index.and_then(|i| images.get_mut(i)) {
            image.state = ImageState::Building;
            image.error = None;
            image.progress = Some(progress);
        }
    }

    /// Figures of a container that runs.
    pub fn live(&self, id: ContainerId) -> Option<&Live> {
        self.live.get(&id)
    }

    /// A container by id.
    pub fn container(&self, id: ContainerId) -> Option<&Container> {
        self.containers.iter().find(|c| c.id == id)
    }

    /// A project by id.
    pub fn project(&self, id: ProjectId) -> Option<&Project> {
        self.projects.iter().find(|p| p.id == id)
    }

    /// Whether the row of a container glows.
    pub fn glows(&self, id: ContainerId, now: Timestamp) -> bool {
        self.flashes.get(&id).is_some_and(|at| now.as_second() - at.as_second() <= FLASH_S)
    }

    /// The image that is not ready yet, if the first one is not: being built, failed or absent.
    pub fn unready_image(&self) -> Option<&Image> {
        let images = &self.status.as_ref()?.images;
        if images.iter().any(|i| i.state == ImageState::Ready) {
            return images.iter().find(|i| i.state == ImageState::Failed);
        }
        images.first()
    }

    /// Port of the proxy, from its listen address.
    pub fn port(&self) -> u16 {
        let listen = self.status.as_ref().map(|s| s.listen.as_str()).unwrap_or_default();
        listen.rsplit(':').next().and_then(|p| p.parse().ok()).unwrap_or(443)
    }

    /// The URL of a service of a container.
    pub fn url(&self, c: &Container, segment: &str) -> String {
        let domain = self.status.as_ref().and_then(|s| s.domains.first()).map_or("cowl.localhost", String::as_str);
        let host = cowl_api::urls::container_host(&c.project_id, &c.id, segment, &c.server_name, domain);
        cowl_api::urls::https(&host, self.port())
    }
}
