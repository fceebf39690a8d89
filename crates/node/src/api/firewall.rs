//! `/api/v1/containers/{id}/firewall`: rules for what passes to and from a container.
//!
//! Rules have no ids: PATCH and DELETE find them by the fields of their body. How rules are
//! evaluated is told in `engine::firewall`.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::json;

use super::NodeState;
use super::extract::{Body, Params, container_id};
use super::reply::{Reply, ok};
use crate::firewall::Change;
use cowl_api::envelope::FieldError;
use cowl_api::firewall::{Direction, RuleBody, RuleList};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/firewall/rules", get(list))
        .route("/api/v1/containers/{id}/firewall/reset", post(reset))
        .route("/api/v1/containers/{id}/firewall/{direction}", post(add).patch(toggle).delete(remove))
}

fn direction(word: &str) -> Result<Direction, cowl_api::ApiError> {
    match word {
        "ingress" => Ok(Direction::Ingress),
        "egress" => Ok(Direction::Egress),
        _ => Err(cowl_api::ApiError::not_found("firewall direction")),
    }
}

fn only_in_remove(body: &RuleBody) -> Result<(), FieldError> {
    match body.all {
        Some(_) => Err(FieldError::new("/all", "is for DELETE only")),
        None => Ok(()),
    }
}

fn needs_a_field(what: &str) -> FieldError {
    FieldError::new("/", format!("name at least one field of the rule to {what}"))
}

async fn list(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<RuleList> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.network(&id)).await?;
    ok("Firewall rules", row.rules.list())
}

async fn add(
    State(node): State<NodeState>,
    Params((id, word)): Params<(String, String)>,
    body: Body<RuleBody>,
) -> Reply<RuleBody> {
    let (id, direction) = (container_id(&id)?, direction(&word)?);
    only_in_remove(&body.value)?;
    let rule = body.value.rule(direction)?;
    let (_, mut rules) = node.change_rules(id, Change::Add(direction, Box::new(rule.clone()))).await?;
    let first = rules.of(direction).len() == 1;
    let message = match (first, direction) {
        (true, Direction::Ingress) => "Rule added; what no ingress rule allows is rejected from now on",
        (true, Direction::Egress) => "Rule added; what no egress rule allows is rejected from now on",
        (false, _) => "Rule added",
    };
    ok(message, rule.body(direction))
}

async fn toggle(
    State(node): State<NodeState>,
    Params((id, word)): Params<(String, String)>,
    body: Body<RuleBody>,
) -> Reply<serde_json::Value> {
    let (id, direction) = (container_id(&id)?, direction(&word)?);
    only_in_remove(&body.value)?;
    let state = body.value.state.ok_or_else(|| FieldError::new("/state", "is required"))?;
    let wanted = body.value.fields(direction)?.without_state();
    if wanted.is_empty() {
        return Err(needs_a_field("switch").into());
    }
    let (touched, _) = node.change_rules(id, Change::Toggle(direction, wanted, state)).await?;
    let updated = touched.first().map(|(d, rule)| rule.body(*d));
    ok("Rule switched", json!({ "direction": direction, "new_state": state, "updated": updated }))
}

async fn remove(
    State(node): State<NodeState>,
    Params((id, word)): Params<(String, String)>,
    body: Body<RuleBody>,
) -> Reply<serde_json::Value> {
    let (id, direction) = (container_id(&id)?, direction(&word)?);
    let all = body.value.all == Some(true);
    let wanted = body.value.fields(direction)?;
    if wanted.is_empty() && !all {
        return Err(needs_a_field("remove, or all: true").into());
    }
    let (touched, _) = node.change_rules(id, Change::Remove(direction, wanted, all)).await?;
    let removed: Vec<RuleBody> = touched.iter().map(|(d, rule)| rule.body(*d)).collect();
    ok("Rules removed", json!({ "direction": direction, "removed_count": removed.len(), "removed": removed }))
}

async fn reset(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<serde_json::Value> {
    let id = container_id(&id)?;
    node.change_rules(id, Change::Reset).await?;
    ok("Firewall reset; everything passes", json!({ "rules": { "ingress": [], "egress": [] } }))
}
