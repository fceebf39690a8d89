//! `/api/v1/containers/{id}/storage` and `/api/v1/storage`: directories shared between containers.

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, patch};

use super::NodeState;
use super::extract::{Asked, Body, Params, container_id};
use super::reply::{Reply, created, ok};
use crate::{clock, shares};
use cowl_api::envelope::FieldError;
use cowl_api::ids::ShareId;
use cowl_api::share::{self, CreateShare, IncomingShare, Share, ToggleMount, UpdateShare};
use cowl_api::{ApiError, ContainerId};
use cowl_engine::shares::INSIDE;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/storage/shares", get(list).post(create))
        .route("/api/v1/containers/{id}/storage/shares/{share}", patch(update).get(one))
        .route("/api/v1/containers/{id}/storage/incoming", get(incoming))
        .route("/api/v1/containers/{id}/storage/incoming/{share}/mount", patch(toggle))
        .route("/api/v1/storage/shares", get(list_all))
        .route("/api/v1/storage/shares/{share}", delete(remove))
        .route("/api/v1/storage/incoming", get(incoming_all))
}

fn share_id(text: &str) -> Result<ShareId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("share"))
}

async fn create(State(node): State<NodeState>, Params(id): Params<String>, body: Body<CreateShare>) -> Reply<Share> {
    let source = container_id(&id)?;
    node.db(move |store| store.container(&source)).await?;
    let mut new = body.value;
    new.source_path = share::source_path(&new.source_path)?;
    share::word("/alias", new.alias.as_deref())?;
    share::word("/label", new.label.as_deref())?;
    share::description(new.description.as_deref())?;
    expiry(new.expires_at)?;
    match (&new.target_container_id, &new.target_project_id) {
        (Some(_), Some(_)) | (None, None) => {
            let says = "give either target_container_id or target_project_id";
            return Err(FieldError::new("/target_container_id", says).into());
        }
        (Some(target), None) if *target == source => {
            return Err(FieldError::new("/target_container_id", "must not be the source itself").into());
        }
        _ => {}
    }
    let (share, event) = node.db(move |store| store.create_share(&source, &new)).await?;
    node.bus.tell(event);
    node.shares.end_changed();
    shares::offer(&node, &share).await;
    created("Share created", node.shares.tell(share))
}

fn expiry(at: Option<u64>) -> Result<(), FieldError> {
    match at {
        Some(at) if at <= clock::now_s() => Err(FieldError::new("/expires_at", "must be in the future, in seconds")),
        // Dates beyond are typing errors: milliseconds instead of seconds, mostly.
        Some(at) if at > 32_503_680_000 => Err(FieldError::new("/expires_at", "must be in seconds, not milliseconds")),
        _ => Ok(()),
    }
}

struct Filter {
    target_type: Option<String>,
    label: Option<String>,
    status: Option<String>,
    enabled: Option<bool>,
    expired: bool,
}

impl Filter {
    fn of(asked: &Asked) -> Result<Self, ApiError> {
        let one_of = |name: &str, words: [&str; 2]| match asked.get(name) {
            Some(word) if !words.contains(&word) => {
                Err(FieldError::new(format!("/{name}"), format!("must be {} or {}", words[0], words[1])))
            }
            other => Ok(other.map(str::to_owned)),
        };
        Ok(Self {
            target_type: one_of("target_type", ["container", "project"])?,
            label: asked.get("label").map(str::to_owned),
            status: one_of("status", ["active", "failed"])?,
            enabled: one_of("enabled", ["true", "false"])?.map(|word| word == "true"),
            expired: asked.flag("include_expired")?,
        })
    }

    fn passes(&self, share: &Share, now: u64) -> bool {
        self.target_type.as_ref().is_none_or(|t| *t == share.target_type)
            && self.label.as_ref().is_none_or(|l| share.label.as_ref() == Some(l))
            && self.status.as_ref().is_none_or(|s| *s == share.status)
            && self.enabled.is_none_or(|e| e == share.enabled)
            && (self.expired || share.expires_at.is_none_or(|at| at > now))
    }
}

async fn shares_of(node: &NodeState, source: Option<ContainerId>, filter: &Filter) -> Result<Vec<Share>, ApiError> {
    let now = clock::now_s();
    let all = node.db(|store| store.shares()).await?;
    Ok(all
        .into_iter()
        .filter(|share| source.is_none_or(|id| id == share.source_container_id))
        .map(|share| node.shares.tell(share))
        .filter(|share| filter.passes(share, now))
        .collect())
}

async fn list(State(node): State<NodeState>, Params(id): Params<String>, asked: Asked) -> Reply<Vec<Share>> {
    let id = container_id(&id)?;
    node.db(move |store| store.container(&id)).await?;
    ok("Shares", shares_of(&node, Some(id), &Filter::of(&asked)?).await?)
}

async fn list_all(State(node): State<NodeState>, asked: Asked) -> Reply<Vec<Share>> {
    ok("Shares", shares_of(&node, None, &Filter::of(&asked)?).await?)
}

async fn of_source(node: &NodeState, source: ContainerId, id: ShareId) -> Result<Share, ApiError> {
    let share = node.db(move |store| store.share(&id)).await?;
    if share.source_container_id == source { Ok(share) } else { Err(ApiError::not_found("share")) }
}

async fn one(State(node): State<NodeState>, Params((id, share)): Params<(String, String)>) -> Reply<Share> {
    let share = of_source(&node, container_id(&id)?, share_id(&share)?).await?;
    ok("Share", node.shares.tell(share))
}

async fn update(
    State(node): State<NodeState>,
    Params((id, share)): Params<(String, String)>,
    body: Body<UpdateShare>,
) -> Reply<Share> {
    let (source, id) = (container_id(&id)?, share_id(&share)?);
    let change = body.value;
    share::word("/alias", change.alias.as_ref().and_then(Option::as_deref))?;
    share::word("/label", change.label.as_ref().and_then(Option::as_deref))?;
    share::description(change.description.as_ref().and_then(Option::as_deref))?;
    expiry(change.expires_at.flatten())?;
    let before = of_source(&node, source, id).await?;
    let (share, event) = node.db(move |store| store.update_share(&source, &id, &change)).await?;
    node.bus.tell(event);
    node.shares.end_changed();
    let same = before.directory() == share.directory() && before.mode == share.mode && before.enabled == share.enabled;
    if !same {
        shares::withdraw(&node, &before).await;
        shares::offer(&node, &share).await;
    }
    ok("Share updated", node.shares.tell(share))
}

async fn remove(State(node): State<NodeState>, Params(share): Params<String>) -> Reply<serde_json::Value> {
    let id = share_id(&share)?;
    let (share, event) = node.db(move |store| store.delete_share(&id, "storage.share.deleted")).await?;
    node.bus.tell(event);
    shares::withdraw(&node, &share).await;
    ok("Share deleted", serde_json::Value::Null)
}

async fn incoming_of(node: &NodeState, id: ContainerId) -> Result<Vec<IncomingShare>, ApiError> {
    let all = node.db(move |store| store.incoming_shares(&id)).await?;
    Ok(all
        .into_iter()
        .map(|(share, mount)| {
            let mount_path = format!("{INSIDE}/{}", share.directory());
            IncomingShare { share: node.shares.tell(share), mount, mount_path }
        })
        .collect())
}

async fn incoming(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<Vec<IncomingShare>> {
    let id = container_id(&id)?;
    node.db(move |store| store.container(&id)).await?;
    ok("Incoming shares", incoming_of(&node, id).await?)
}

async fn incoming_all(State(node): State<NodeState>) -> Reply<Vec<Share>> {
    // On a box with one owner, every share comes in somewhere.
    let all = node.db(|store| store.shares()).await?;
    ok("Incoming shares", all.into_iter().map(|share| node.shares.tell(share)).collect())
}

#[derive(Debug, serde::Serialize)]
struct Toggled {
    share: IncomingShare,
    #[serde(rename = "override")]
    said: serde_json::Value,
}

async fn toggle(
    State(node): State<NodeState>,
    Params((id, share)): Params<(String, String)>,
    body: Body<ToggleMount>,
) -> Reply<Toggled> {
    let (target, id) = (container_id(&id)?, share_id(&share)?);
    let mount = body.value.mount;
    node.db(move |store| store.container(&target)).await?;
    let event = node.db(move |store| store.set_share_mount(&target, &id, mount)).await?;
    let at = event.created_at.clone();
    node.bus.tell(event);
    shares::sync(&node, target, false).await?;
    let all = incoming_of(&node, target).await?;
    let share = all.into_iter().find(|s| s.share.id == id).ok_or_else(|| ApiError::not_found("share"))?;
    let said = serde_json::json!({
        "id": id, "share_id": id, "container_id": target, "mount": mount, "created_at": at, "updated_at": at,
    });
    ok(if mount { "Share mounted" } else { "Share unmounted" }, Toggled { share, said })
}
