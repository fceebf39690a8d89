//! `POST …/copy`, `…/branch`, `…/sync` of a container, and `GET …/lineage`.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::extract::{Asked, Body, Params, container_id};
use super::reply::{Failure, Reply, created, ok};
use super::{NodeState, checks};
use crate::lifecycle::{Done, Wish};
use crate::lineage::{self, Known};
use crate::state::containers::{ContainerRow, NewContainer};
use crate::state::lineage::NewCopy;
use cowl_api::envelope::FieldError;
use cowl_api::lineage::{BranchContainer, Copied, CopyContainer, Forest, Kin, Lineage, Synced};
use cowl_api::settings::Settings;
use cowl_api::{ApiError, ContainerId, ProjectId, names};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/copy", post(copy))
        .route("/api/v1/containers/{id}/branch", post(branch))
        .route("/api/v1/containers/{id}/sync", post(sync))
        .route("/api/v1/containers/{id}/lineage", get(one))
        .route("/api/v1/lineage", get(all))
}

/// What a copy takes from its source's row. Devices are granted anew, keys are one machine's.
fn inherited(source: &ContainerRow) -> NewContainer {
    NewContainer {
        name: String::new(),
        color: source.color.clone(),
        tier: source.tier.clone(),
        hoody_kit: source.hoody_kit,
        dev_kit: source.dev_kit,
        ai: source.ai,
        autostart: source.autostart,
        ramdisk: source.ramdisk,
        env: source.env.clone(),
        settings: Settings { devices: None, ..source.settings.clone() },
        ssh_public_key: None,
        comment: source.comment.clone(),
        warnings: Vec::new(),
    }
}

fn named(name: Option<String>) -> Result<String, FieldError> {
    let name = match name {
        Some(name) if name == "rand" => names::random_name(),
        Some(name) => name,
        None => return Ok(String::new()),
    };
    names::container_name(&name)?;
    Ok(name)
}

async fn project(node: &NodeState, text: &str) -> Result<ProjectId, Failure> {
    let id: ProjectId = text.parse().map_err(|_| FieldError::new("/target_project_id", "must be 24 hex digits"))?;
    node.db(move |store| store.project(&id)).await?;
    Ok(id)
}

/// The source, and the snapshot of it that was named: its name and moment.
async fn source(
    node: &NodeState,
    id: ContainerId,
    snapshot: Option<String>,
) -> Result<(ContainerRow, Option<(String, String)>), Failure> {
    let found = node.db(move |store| {
        let row = store.container(&id)?;
        let snapshot = snapshot.map(|name| store.snapshot(&id, &name)).transpose()?;
        Ok((row, snapshot.map(|s| (s.name, s.created_at))))
    });
    Ok(found.await?)
}

async fn begin(node: NodeState, project: ProjectId, new: NewContainer, copy: NewCopy) -> Reply<Copied> {
    let (copy_firewall_rules, copy_network_rules) = (copy.copy_firewall_rules, copy.copy_network_rules);
    let source_snapshot = copy.snapshot.as_ref().map(|(name, _)| name.clone());
    let message = format!("Container is being copied from {}", copy.source.name);
    let row = node.copy_container(project, new, copy).await?;
    let container = node.present(row);
    created(message, Copied { container, source_snapshot, copy_firewall_rules, copy_network_rules })
}

async fn copy(State(node): State<NodeState>, Params(id): Params<String>, body: Body<CopyContainer>) -> Reply<Copied> {
    let id = container_id(&id)?;
    let (source, snapshot) = source(&node, id, body.value.source_snapshot).await?;
    let asked = CopyContainer { source_snapshot: None, ..body.value };
    let target = asked.target_project_id.as_deref();
    let target = target.ok_or_else(|| FieldError::new("/target_project_id", "is required: the id of a project"))?;
    let project = project(&node, target).await?;
    if asked
        .target_server_id
        .as_deref()
        .is_some_and(|s| s != node.place.server_id.as_str() && s != node.place.server_name)
    {
        return Err(
            ApiError::new(422, "target_server_id: containers are copied within this box only; leave it out").into()
        );
    }
    if asked.kvm.is_some() && asked.dev_kvm.is_some() && asked.kvm != asked.dev_kvm {
        return Err(FieldError::new("/dev_kvm", "must agree with kvm").into());
    }
    if asked.kvm.or(asked.dev_kvm) == Some(true) {
        return Err(ApiError::new(422, "kvm: virtual machines are not built yet; leave kvm out for a container").into());
    }
    checks::ssh_public_key(asked.ssh_public_key.as_deref())?;
    let new = NewContainer {
        name: named(asked.name)?,
        ssh_public_key: asked.ssh_public_key.map(|key| key.trim().to_owned()),
        ..inherited(&source)
    };
    let copy = NewCopy {
        kind: "copy",
        source,
        snapshot,
        copy_snapshots: asked.copy_snapshots.unwrap_or(true),
        copy_firewall_rules: asked.copy_firewall_rules,
        copy_network_rules: asked.copy_network_rules,
        start: asked.start.unwrap_or(true),
    };
    begin(node, project, new, copy).await
}

async fn branch(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    body: Body<BranchContainer>,
) -> Reply<Copied> {
    let id = container_id(&id)?;
    let asked = body.value;
    let (source, snapshot) = source(&node, id, asked.snapshot).await?;
    let project = match &asked.target_project_id {
        Some(text) => project(&node, text).await?,
        None => source.project_id,
    };
    checks::environment(&asked.env)?;
    checks::ssh_public_key(asked.ssh_public_key.as_deref())?;
    let mut new = NewContainer {
        name: named(asked.name)?,
        ssh_public_key: asked.ssh_public_key.map(|key| key.trim().to_owned()),
        ..inherited(&source)
    };
    new.env.extend(asked.env);
    checks::environment(&new.env)?;
    let copy = NewCopy {
        kind: "branch",
        source,
        snapshot,
        copy_snapshots: asked.copy_snapshots,
        copy_firewall_rules: asked.copy_firewall_rules.unwrap_or(true),
        copy_network_rules: asked.copy_network_rules.unwrap_or(true),
        start: asked.start.unwrap_or(true),
    };
    begin(node, project, new, copy).await
}

async fn sync(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<Synced> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.container(&id)).await?;
    match node.ask(&id, Wish::Sync).await? {
        Done::Synced { source, safety, state } => {
            let message = format!("{} has its source's present state; restore {safety} to undo this", row.name);
            let synced =
                Synced { container_id: id, source_container_id: source, status: state, safety_snapshot: safety };
            ok(message, synced)
        }
        other => Err(Failure(ApiError::internal(format!("unexpected answer {other:?}")))),
    }
}

async fn forest(node: &NodeState) -> Result<Vec<Kin>, Failure> {
    let (rows, descents, snapshots) =
        node.db(|store| Ok((store.all_containers()?, store.descents()?, store.all_snapshots()?))).await?;
    let ids: Vec<ContainerId> = rows.iter().map(|row| row.id).collect();
    let disks =
        node.engine(move |m| Ok(ids.iter().filter_map(|id| Some((*id, m.disk_use(id)?.used))).collect())).await?;
    Ok(Known { rows, descents, snapshots, disks }.forest())
}

async fn one(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<Lineage> {
    let id = container_id(&id)?;
    node.db(move |store| store.container(&id)).await?;
    let tree = lineage::tree_of(forest(&node).await?, &id).ok_or_else(|| ApiError::not_found("container"))?;
    let descendants = lineage::find(&tree, &id).map(lineage::descendants).unwrap_or_default();
    let ancestors = lineage::ancestors(&tree, &id);
    ok("Lineage", Lineage { container_id: id, ancestors, descendants, tree })
}

async fn all(State(node): State<NodeState>, asked: Asked) -> Reply<Forest> {
    let project: Option<ProjectId> = asked.parse("project_id", "24 hex digits")?;
    let mut trees = forest(&node).await?;
    if let Some(id) = project {
        node.db(move |store| store.project(&id)).await?;
        trees.retain(|tree| touches(tree, &id));
    }
    ok("Lineage", Forest { trees })
}

fn touches(tree: &Kin, project: &ProjectId) -> bool {
    tree.project_id == Some(*project) || lineage::below(tree).any(|k| touches(k, project))
}
