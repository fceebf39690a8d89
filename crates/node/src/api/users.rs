//! `/api/v1/users`: one's own box has one user, its owner. There are no passwords to log in with.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::NodeState;
use super::reply::{Failure, Reply, ok};
use cowl_api::ApiError;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/users/auth/login", post(login))
        .route("/api/v1/users/auth/me", get(me))
        .route("/api/v1/users/me", get(me))
}

async fn login() -> Failure {
    Failure(ApiError::new(501, "login by password is not built; send the token that cowl token prints as Bearer"))
}

async fn me(State(node): State<NodeState>) -> Reply<serde_json::Value> {
    let id = node.place.owner_id.clone();
    ok(
        "The owner of this box",
        serde_json::json!({ "id": id, "username": "owner", "alias": "owner", "is_admin": true }),
    )
}
