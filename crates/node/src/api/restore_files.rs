//! `POST …/files/restore` under a snapshot, or under a container that does not run: copies files and
//! directories back, or into another container.

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::NodeState;
use super::extract::{Body, Params, container_id};
use super::reply::{Failure, Reply, ok};
use crate::carry::Carry;
use crate::machine::Tree;
use cowl_api::ApiError;
use cowl_api::container::ContainerState;
use cowl_api::envelope::FieldError;
use cowl_api::files::{Overwrite, RestoreFiles, Restored};
use cowl_engine::storage::carry::Move;

/// Paths of one request.
const PATHS_MAX: usize = 1_000;
/// Longest path, in bytes; that of Linux.
const PATH_MAX: usize = 4_096;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    // As paths of files, of which one may be called so: it is still read by GET.
    Router::new()
        .route("/api/v1/containers/{id}/files/{*path}", post(restore))
        .route("/api/v1/containers/{id}/snapshots/{name}/files/{*path}", post(restore))
}

#[derive(Debug, serde::Deserialize)]
struct From {
    id: String,
    name: Option<String>,
    path: String,
}

/// An absolute path without `.`, `..` and double slashes.
fn tidy(field: &str, path: &str) -> Result<String, FieldError> {
    if !path.starts_with('/') || path.len() > PATH_MAX || path.contains('\0') {
        return Err(FieldError::new(field, "must be an absolute path of at most 4096 bytes without NUL"));
    }
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") {
        return Err(FieldError::new(field, "must not hold '..'"));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// What goes where.
fn moves(asked: &RestoreFiles) -> Result<Vec<Move>, FieldError> {
    if asked.paths.is_empty() || asked.paths.len() > PATHS_MAX {
        return Err(FieldError::new("/paths", format!("must be 1 to {PATHS_MAX} absolute paths")));
    }
    let into = asked.destination.as_deref().map(|d| tidy("/destination", d)).transpose()?;
    asked
        .paths
        .iter()
        .enumerate()
        .map(|(n, path)| {
            let field = format!("/paths/{n}");
            let from = tidy(&field, path)?;
            let name = from.rsplit('/').next().unwrap_or_default();
            if name.is_empty() {
                return Err(FieldError::new(field, "must be below /; the whole is restored by restoring the snapshot"));
            }
            let to = match &into {
                Some(dir) => format!("{}/{name}", dir.trim_end_matches('/')),
                None => from.clone(),
            };
            Ok(Move { from, to })
        })
        .collect()
}

async fn restore(
    State(node): State<NodeState>,
    Params(from): Params<From>,
    body: Body<RestoreFiles>,
) -> Reply<Restored> {
    if from.path != "restore" {
        return Err(ApiError::new(
            405,
            "files are written by the container's files service; POST …/files/restore copies",
        )
        .into());
    }
    let id = container_id(&from.id)?;
    let asked = body.value;
    let (row, snapshot) = node
        .db(move |store| {
            let row = store.container(&id)?;
            Ok((row, from.name.map(|name| store.snapshot(&id, &name)).transpose()?))
        })
        .await?;
    let to = match &asked.to_container {
        Some(text) => text.parse().map_err(|_| FieldError::new("/to_container", "must be 24 hex digits"))?,
        None => id,
    };
    let moves = moves(&asked)?;
    let tree = match snapshot {
        Some(snapshot) => Tree::Snapshot(id, snapshot.name),
        None if matches!(row.state, ContainerState::Stopped | ContainerState::Asleep | ContainerState::Failed) => {
            Tree::Disk(id)
        }
        None => {
            let message = format!("container {} is {}: take a snapshot and copy from that", row.name, row.state);
            return Err(ApiError::conflict(message).into());
        }
    };
    if to == id && matches!(tree, Tree::Disk(_)) {
        return Err(FieldError::new("/to_container", "must be another container").into());
    }
    let target = node.db(move |store| store.container(&to)).await?;
    let carry =
        Carry { from: tree, moves, overwrite: asked.overwrite, dry_run: asked.dry_run, cancelled: false.into() };
    let report = node.carry_files(to, carry).await?;
    if asked.overwrite == Overwrite::Fail && !report.conflicts.is_empty() && !asked.dry_run {
        let some = report.conflicts.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if report.conflicts.len() > 3 { ", …" } else { "" };
        let message = format!("{} has these already: {some}{more}; nothing was copied: say overwrite", target.name);
        let mut error = ApiError::conflict(message);
        error.data = Some(Box::new(serde_json::json!({ "conflicts": report.conflicts })));
        return Err(Failure(error));
    }
    let would = if report.dry_run { "would be " } else { "" };
    ok(format!("{} {would}copied to {}", report.copied, target.name), report)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(paths: &[&str], destination: Option<&str>) -> RestoreFiles {
        let paths = paths.iter().map(|p| (*p).to_owned()).collect();
        RestoreFiles { paths, destination: destination.map(str::to_owned), ..RestoreFiles::default() }
    }

    #[test]
    fn files_go_where_they_were_or_below_the_directory_that_was_named() {
        let one = |from: &str, to: &str| vec![Move { from: from.into(), to: to.into() }];
        assert_eq!(moves(&asked(&["//etc/./hosts/"], None)), Ok(one("/etc/hosts", "/etc/hosts")));
        assert_eq!(moves(&asked(&["/etc/hosts"], Some("/"))), Ok(one("/etc/hosts", "/hosts")));
        assert_eq!(moves(&asked(&["/etc/hosts"], Some("/srv/x/"))), Ok(one("/etc/hosts", "/srv/x/hosts")));
        for (paths, destination) in
            [(vec![], None), (vec!["/"], None), (vec!["etc"], None), (vec!["/a/../b"], None), (vec!["/a"], Some("b"))]
        {
            assert!(moves(&asked(&paths, destination)).is_err(), "{paths:?} {destination:?}");
        }
    }

    proptest! {
        #[test]
        fn no_path_climbs(path in "[a./\\PC]{0,40}") {
            for one in moves(&asked(&[&path], Some("/d"))).into_iter().flatten() {
                prop_assert!(one.to.starts_with("/d/") && !one.to.split('/').any(|p| p == ".."));
                prop_assert!(!one.from.split('/').any(|p| p == ".."));
            }
        }
    }
}
