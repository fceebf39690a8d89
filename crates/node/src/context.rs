//! The node itself: what every handler, driver and task holds.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bus::Bus;
use super::fleet::Fleet;
use super::images::Images;
use super::limits::Shortfalls;
use super::machine::Machine;
use super::state::containers::ContainerRow;
use super::state::{self, Store, addresses};
use super::stats::Samples;
use super::token::OwnerToken;
use cowl_api::container::{Container, ContainerState};
use cowl_api::{ServerId, urls};
use cowl_engine::Ipv4Net;

/// Who and where this node is. Fixed while it runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// Id of the box.
    pub server_id: ServerId,
    /// Its name in URLs.
    pub server_name: String,
    /// Domains, primary first.
    pub domains: Vec<String>,
    /// Where the proxy listens.
    pub listen: SocketAddr,
    /// The containers' network.
    pub network: Ipv4Net,
    /// The containers' IPv6 prefix, a /64; none where the host has no IPv6.
    pub network6: Option<Ipv6Addr>,
    /// Where the names of containers resolve for programs of this host.
    pub dns: Option<SocketAddr>,
    /// Id of the one user of this box.
    pub owner_id: String,
    /// Durable state.
    pub state_dir: PathBuf,
    /// When the node started, ISO 8601.
    pub started_at: String,
    /// Version of the host's kernel.
    pub kernel: String,
    /// Things the owner should know.
    pub hints: Vec<String>,
    /// Hours that deleted containers can be had back where no setting says otherwise.
    pub undelete_hours: u32,
}

impl Place {
    /// The first domain.
    pub fn primary_domain(&self) -> &str {
        self.domains.first().map_or(urls::DEFAULT_DOMAINS[0], String::as_str)
    }

    /// The API's base URL with the primary domain.
    pub fn api_url(&self) -> String {
        urls::https(&urls::api_host(self.primary_domain()), self.listen.port())
    }
}

/// The running node.
pub struct Node {
    /// What it knows.
    pub store: Arc<Store>,
    /// What is below it.
    pub machine: Arc<dyn Machine>,
    /// Who it is.
    pub place: Place,
    /// Events to listeners.
    pub bus: Arc<Bus>,
    /// Image tiers.
    pub images: Images,
    /// Drivers of all containers.
    pub fleet: Fleet,
    /// Held while a container's firewall or egress changes.
    pub networking: tokio::sync::Mutex<()>,
    /// Figures that are worth keeping for a moment.
    pub samples: Samples,
    /// Shares that could not be shown.
    pub shares: super::shares::Sharing,
    /// Limits that do not hold here.
    pub shortfalls: Shortfalls,
    /// The search for equal files.
    pub dedupe: super::dedupe::Dedupe,
    /// The secret for TCP.
    pub token: OwnerToken,
    /// Says when to end.
    pub shutdown: CancellationToken,
    /// Owner of every task of the node.
    pub tasks: TaskTracker,
}

impl Node {
    /// A node that does nothing yet.
    pub fn new(store: impl Into<Arc<Store>>, machine: Arc<dyn Machine>, place: Place, token: OwnerToken) -> Arc<Self> {
        let images = Images::new(&place.state_dir);
        Arc::new(Self {
            store: store.into(),
            machine,
            place,
            bus: Arc::default(),
            images,
            fleet: Fleet::default(),
            networking: tokio::sync::Mutex::default(),
            samples: Samples::default(),
            shares: Default::default(),
            shortfalls: Shortfalls::default(),
            dedupe: Default::default(),
            token,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Runs a call of the store on a thread that may block.
    ///
    /// # Errors
    /// The store's.
    pub async fn db<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Store) -> state::Result<T> + Send + 'static,
    ) -> state::Result<T> {
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || f(&store)).await {
            Ok(result) => result,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        }
    }

    /// Runs a call of the engine on a thread that may block.
    ///
    /// # Errors
    /// The engine's.
    pub async fn engine<T: Send + 'static>(
        &self,
        f: impl FnOnce(&dyn Machine) -> cowl_engine::Result<T> + Send + 'static,
    ) -> cowl_engine::Result<T> {
        let machine = Arc::clone(&self.machine);
        match tokio::task::spawn_blocking(move || f(&*machine)).await {
            Ok(result) => result,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        }
    }

    /// A container as the API shows it.
    pub fn present(&self, row: ContainerRow) -> Container {
        let lives = matches!(row.state, ContainerState::Running | ContainerState::Paused);
        let waits = row.state == ContainerState::Creating && row.image_id.is_none();
        let effective_settings = row.effective_settings();
        let warnings = [row.warnings, self.shortfalls.of(&row.id)].concat();
        let status_reason = if waits { self.images.describe(&row.tier) } else { row.reason };
        Container {
            id: row.id,
            project_id: row.project_id,
            project_alias: row.project_alias,
            server_id: self.place.server_id,
            server_name: self.place.server_name.clone(),
            subserver_name: self.place.server_name.clone(),
            ssh_hostname: None,
            name: row.name,
            color: row.color,
            container_image: super::images::display_name(&row.tier),
            ai: row.ai,
            hoody_kit: row.hoody_kit,
            dev_kit: row.dev_kit,
            kvm: false,
            autostart: row.autostart,
            ramdisk: row.ramdisk,
            ramdisk_scope: row.ramdisk_scope,
            prespawn: false,
            is_default: row.is_default,
            status: row.state,
            status_reason,
            environment_vars: row.env,
            settings: row.settings,
            effective_settings,
            volumes: Default::default(),
            ssh_public_key: row.ssh_public_key,
            comment: row.comment,
            source_container_id: row.source_container_id,
            realm_ids: Vec::new(),
            created_at: row.created_at,
            updated_at: row.updated_at,
            started_at: row.started_at,
            address: lives.then(|| addresses::address(self.place.network, row.address_index).to_string()),
            address6: lives
                .then_some(self.place.network6)
                .flatten()
                .map(|prefix| cowl_engine::net::ipv6::address(prefix, row.address_index).to_string()),
            snapshot_count: row.snapshot_count,
            last_snapshot_at: row.last_snapshot_at,
            last_used_snapshot: row.last_used_snapshot,
            warnings,
            deleted_at: row.deleted_at,
            purge_at: row.purge_at,
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("place", &self.place).finish_non_exhaustive()
    }
}
