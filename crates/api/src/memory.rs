//! Where the box' memory is: containers, what they share, and what Cowl itself takes. All sizes are
//! in bytes.

use serde::{Deserialize, Serialize};

use super::container::ContainerState;
use super::ids::{ContainerId, ProjectId};

/// `data` of `GET /api/v1/servers/{id}/memory`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Running and paused containers.
    pub containers: Vec<ContainerMemory>,
    /// The page cache that containers share by their common `/usr`, by image.
    pub usr: Vec<SharedUsr>,
    /// Equal pages merged by the kernel, on the whole machine; absent on kernels without KSM.
    pub ksm: Option<HostKsm>,
    /// The node's process.
    pub node: ProcessMemory,
    /// The shims, one a container, and what else outlives the node.
    pub shims: ProcessMemory,
    /// The machine.
    pub host: HostMemory,
}

/// A container, with its names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerMemory {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project_id: ProjectId,
    /// Its project's alias.
    pub project_alias: String,
    /// `running` or `paused`.
    pub status: ContainerState,
    /// Whether it asked for KSM, itself or by its project.
    pub ksm_asked: bool,
    /// Its memory.
    #[serde(flatten)]
    pub used: ContainerUse,
}

/// What a container's control group and processes hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUse {
    /// All that counts against its limit. A page of the shared `/usr` counts for the container that
    /// touched it first, and for no other.
    pub charged: u64,
    /// What programs wrote to memory.
    pub anon: u64,
    /// Page cache and files in memory (tmpfs).
    pub file: u64,
    /// What the kernel keeps for it.
    pub kernel: u64,
    /// Swapped out.
    pub swap: u64,
    /// Proportional set size of its processes: each shared page divided by its users. Absent unless
    /// it was asked for: the kernel walks every page for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss: Option<u64>,
    /// Processes.
    pub processes: u64,
    /// What KSM does in them.
    pub ksm: KsmUse,
}

/// Merged pages of some processes (`/proc/PID/ksm_stat`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KsmUse {
    /// Processes whose pages may be merged.
    pub processes: u64,
    /// Bytes that are merged with equal ones, zero pages included: an upper bound of what is saved.
    pub merged: u64,
    /// What is saved less what the search keeps in memory; may be negative. As the kernel reckons.
    pub profit: i64,
}

/// KSM on the whole machine (`/sys/kernel/mm/ksm`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKsm {
    /// Whether the search goes on (`run` is 1).
    pub runs: bool,
    /// Bytes of pages that stand for several (`pages_shared`).
    pub shared: u64,
    /// Bytes that are not needed because of them (`pages_sharing`).
    pub sharing: u64,
    /// Bytes looked at that have no equal (`pages_unshared`).
    pub unshared: u64,
    /// Bytes of empty pages that are not needed (`ksm_zero_pages`).
    pub zero: u64,
    /// What is saved less what the search keeps in memory (`general_profit`); absent before Linux
    /// 6.4.
    pub profit: Option<i64>,
    /// How often everything was looked at.
    pub full_scans: u64,
}

/// The `/usr` of an image in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedUsr {
    /// The image's id.
    pub image: String,
    /// Running containers made from it.
    pub containers: u64,
    /// Bytes of its files in the page cache, counted file by file (cachestat): there once, for all.
    /// Absent before Linux 6.5.
    pub cached: Option<u64>,
    /// What it would be more, at most, if each had a copy of its own: `cached` for every container
    /// but one. An upper bound, because nobody knows which of them uses which page.
    pub saved_at_most: Option<u64>,
}

/// Memory of processes of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// How many.
    pub processes: u64,
    /// Proportional set size: their shared pages divided by all who use them.
    pub pss: u64,
}

/// The machine's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMemory {
    /// All.
    pub total: u64,
    /// What new programs can have without swapping.
    pub available: u64,
}
