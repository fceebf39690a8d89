//! `/api/v1/images`: tiers and their builds.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::NodeState;
use super::extract::{Asked, Body, Params};
use super::reply::{Failure, Reply, accepted, ok};
use crate::images::{self, build, tier};
use cowl_api::ApiError;
use cowl_api::envelope::Pagination;
use cowl_api::server::{Image, ImageList, ImageState};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/images", get(list).post(build_named))
        .route("/api/v1/images/{name}", get(one))
        .route("/api/v1/images/{name}/build", post(build_in_path))
        .route("/api/v1/images/public", get(public))
}

fn known(name: &str) -> Result<&'static str, Failure> {
    tier(name).ok_or_else(|| {
        let known: Vec<String> = images::TIERS.iter().map(|t| images::display_name(t)).collect();
        ApiError::new(404, format!("there is no image {name}; this box knows {}", known.join(", "))).into()
    })
}

async fn list(State(node): State<NodeState>) -> Reply<ImageList> {
    ok("Images", ImageList { images: node.images.list() })
}

async fn one(State(node): State<NodeState>, Params(name): Params<String>) -> Reply<Image> {
    let image = node.images.get(known(&name)?).ok_or_else(|| ApiError::not_found("image"))?;
    ok("Image", image)
}

/// Body of `POST /api/v1/images`.
#[derive(Debug, serde::Deserialize)]
struct Name {
    name: String,
}

async fn build_named(State(node): State<NodeState>, body: Body<Name>) -> Reply<Image> {
    begin(&node, &body.value.name, false)
}

/// With `fresh=true` an image that is there and current is built anew, for newer packages.
async fn build_in_path(State(node): State<NodeState>, Params(name): Params<String>, asked: Asked) -> Reply<Image> {
    begin(&node, &name, asked.flag("fresh")?)
}

fn begin(node: &NodeState, name: &str, anew: bool) -> Reply<Image> {
    let tier = known(name)?;
    let begun = build(node, tier, None, anew);
    let image = node.images.get(tier).ok_or_else(|| ApiError::not_found("image"))?;
    match image.state {
        ImageState::Ready if !begun => ok("The image is there already", image),
        _ if begun => accepted("The build has begun", image),
        _ => accepted("The image is being built already", image),
    }
}

/// Images anybody may use, in the public API's shape: here, the box' own.
async fn public(State(node): State<NodeState>, asked: Asked) -> Reply<serde_json::Value> {
    let page = asked.page(20, 100, &[("name", "name")])?;
    let all = node.images.list();
    let images: Vec<_> = all
        .iter()
        .map(|image| {
            serde_json::json!({
                "id": image.id,
                "name": image.name,
                "os": "debian",
                "size": image.size,
                "state": image.state,
                "created_at": image.created_at,
                "is_free": true,
            })
        })
        .skip(usize::try_from(page.window.offset).unwrap_or(usize::MAX))
        .take(usize::try_from(page.window.limit).unwrap_or(usize::MAX))
        .collect();
    let pagination: Pagination = page.of(all.len() as u64);
    ok("Images", serde_json::json!({ "images": images, "pagination": pagination }))
}
