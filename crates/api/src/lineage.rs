//! Copies, branches, and what came from what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::container::{Container, ContainerState};
use super::ids::{ContainerId, ProjectId};

/// Body of `POST /api/v1/containers/{id}/copy`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CopyContainer {
    /// Id of the project it will belong to; required on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_project_id: Option<String>,
    /// Id or name of the box: this one, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_server_id: Option<String>,
    /// Its name; the source's where that is free in the target project, else `<source>-copy-N`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key for SSH; the source's is never taken along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_public_key: Option<String>,
    /// Name or alias of the snapshot to copy; the present state when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_snapshot: Option<String>,
    /// Take the firewall rules along; default false.
    pub copy_firewall_rules: bool,
    /// Take the egress configuration along; default false.
    pub copy_network_rules: bool,
    /// Take the source's snapshots along, with their names and aliases; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_snapshots: Option<bool>,
    /// Start it when it is made, as one that is created; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<bool>,
    /// A virtual machine; refused with 422.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kvm: Option<bool>,
    /// Alias of `kvm`; 400 when the two disagree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_kvm: Option<bool>,
}

/// Body of `POST /api/v1/containers/{id}/branch`; may be empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BranchContainer {
    /// Name or alias of the snapshot to start from; the present state when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Its name; `<source>-branch-N` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Id of the project it will belong to; the source's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_project_id: Option<String>,
    /// Variables beside, or in place of, the source's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Key for SSH; the source's is never taken along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_public_key: Option<String>,
    /// Take the firewall rules along; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_firewall_rules: Option<bool>,
    /// Take the egress configuration along; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_network_rules: Option<bool>,
    /// Take the source's snapshots along; default false.
    pub copy_snapshots: bool,
    /// Start it when it is made; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<bool>,
}

/// `data` of a copy or branch: the new container, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    /// The new container; its state is `copying`.
    #[serde(flatten)]
    pub container: Container,
    /// Name of the snapshot it is made from; None is the source's present state.
    pub source_snapshot: Option<String>,
    /// Whether the firewall rules came along.
    pub copy_firewall_rules: bool,
    /// Whether the egress configuration came along.
    pub copy_network_rules: bool,
}

/// `data` of `POST /api/v1/containers/{id}/sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// The copy.
    pub container_id: ContainerId,
    /// The container its files were taken from.
    pub source_container_id: ContainerId,
    /// The copy's state now.
    pub status: ContainerState,
    /// Name of the snapshot of its state before, which undoes this.
    pub safety_snapshot: String,
}

/// How a container came from another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `copy` or `branch`.
    pub kind: String,
    /// The container it was made from, which may be gone.
    pub source_id: ContainerId,
    /// That one's name, the last it had.
    pub source_name: String,
    /// Name of the snapshot it was made from; None is the source's state at that moment.
    pub source_snapshot: Option<String>,
    /// The moment of its files, ISO 8601.
    pub taken_at: String,
    /// When it was synced with its source last.
    pub synced_at: Option<String>,
}

/// A container in the tree of those that came from one another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kin {
    /// The container's id.
    pub id: ContainerId,
    /// Its name, or the last it had.
    pub name: String,
    /// Its project; None when it is gone.
    pub project_id: Option<ProjectId>,
    /// That project's name.
    pub project_alias: Option<String>,
    /// Its state; None when it is gone.
    pub status: Option<ContainerState>,
    /// Bytes it wrote that are still kept, by it or its snapshots; None when nobody counts.
    pub disk: Option<u64>,
    /// Where it comes from; None for one that was created.
    pub origin: Option<Origin>,
    /// Its snapshots, oldest first, each with what was made from it.
    pub snapshots: Vec<KinSnapshot>,
    /// What was made from its state of some moment, or from a snapshot that is gone.
    pub branches: Vec<Kin>,
}

/// A snapshot in that tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KinSnapshot {
    /// Its name.
    pub name: String,
    /// A name a person gave.
    pub alias: Option<String>,
    /// When it was taken.
    pub created_at: String,
    /// Bytes only it holds; 0 while not counted.
    pub size: u64,
    /// What was made from it.
    pub branches: Vec<Kin>,
}

/// `data` of `GET /api/v1/containers/{id}/lineage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// The container.
    pub container_id: ContainerId,
    /// Where it comes from, the nearest first.
    pub ancestors: Vec<Origin>,
    /// What came from it, at whatever distance.
    pub descendants: Vec<ContainerId>,
    /// The whole family, from its first container on.
    pub tree: Kin,
}

/// `data` of `GET /api/v1/lineage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forest {
    /// One tree for each container that came from no other that is known.
    pub trees: Vec<Kin>,
}
