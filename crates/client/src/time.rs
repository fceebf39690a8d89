//! The calls about the past: facts of snapshots, undo, deleted containers.

use http::Method;
use serde_json::json;

use super::api::{CHANGE, PAGE, extend, snapshot_path};
use super::error::Result;
use super::transport::Client;
use cowl_api::container::{ContainerList, Undelete};
use cowl_api::snapshot::{Snapshot, SnapshotCreated, SnapshotRestored};
use cowl_api::{Container, ContainerId, ProjectId};

impl Client {
    async fn change_snapshot(
        &self,
        id: &ContainerId,
        name: &str,
        fact: &str,
        body: &serde_json::Value,
    ) -> Result<Snapshot> {
        let path = format!("{}/{fact}", snapshot_path(id, name));
        let changed: SnapshotCreated = self.call(Method::PUT, &path, Some(body), CHANGE).await?;
        Ok(changed.snapshot)
    }

    /// Gives a snapshot another note, or none.
    ///
    /// # Errors
    /// 400, 404; so for all calls below.
    pub async fn note_snapshot(&self, id: &ContainerId, name: &str, note: Option<&str>) -> Result<Snapshot> {
        self.change_snapshot(id, name, "note", &json!({ "note": note })).await
    }

    /// Pins a snapshot, or lets it go.
    ///
    /// # Errors
    /// As above.
    pub async fn pin_snapshot(&self, id: &ContainerId, name: &str, pinned: bool) -> Result<Snapshot> {
        self.change_snapshot(id, name, "pin", &json!({ "pinned": pinned })).await
    }

    /// Has a snapshot removed after so many days, or never.
    ///
    /// # Errors
    /// As above.
    pub async fn expire_snapshot(&self, id: &ContainerId, name: &str, days: Option<i64>) -> Result<Snapshot> {
        self.change_snapshot(id, name, "expiry", &json!({ "expiry": days })).await
    }

    /// Deletes a snapshot, pinned or not.
    ///
    /// # Errors
    /// As above.
    pub async fn force_delete_snapshot(&self, id: &ContainerId, name: &str) -> Result<serde_json::Value> {
        let path = format!("{}?force=true", snapshot_path(id, name));
        self.call(Method::DELETE, &path, None::<&()>, CHANGE).await
    }

    /// Puts a container back to what it was before its last restore.
    ///
    /// # Errors
    /// 404, 409 when there is nothing to undo.
    pub async fn undo_restore(&self, id: &ContainerId) -> Result<SnapshotRestored> {
        let path = format!("/api/v1/containers/{id}/snapshots/undo");
        self.call(Method::POST, &path, None::<&()>, CHANGE).await
    }

    /// Deleted containers that can be had back, of one project or of the whole box.
    ///
    /// # Errors
    /// 404 when there is no such project.
    pub async fn deleted_containers(&self, project: Option<&ProjectId>) -> Result<Vec<Container>> {
        let base = match project {
            Some(id) => format!("/api/v1/projects/{id}/containers"),
            None => "/api/v1/containers/".to_owned(),
        };
        let mut all = Vec::new();
        for page in 1.. {
            let list: ContainerList = self.get(&format!("{base}?deleted=true&page={page}&limit={PAGE}")).await?;
            if !extend(&mut all, list.containers, &list.pagination) {
                break;
            }
        }
        Ok(all)
    }

    /// One container, a deleted one, too.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn any_container(&self, id: &ContainerId) -> Result<Container> {
        self.get(&format!("/api/v1/containers/{id}?deleted=true")).await
    }

    /// Takes a deleted container back, under its own name or another.
    ///
    /// # Errors
    /// 404, 409 when it is not deleted, its name is taken or its project is full.
    pub async fn undelete_container(&self, id: &ContainerId, name: Option<&str>) -> Result<Container> {
        let body = Undelete { name: name.map(str::to_owned) };
        self.call(Method::POST, &format!("/api/v1/containers/{id}/undelete"), Some(&body), CHANGE).await
    }

    /// Deletes a container for good, whether it was deleted before or not.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn purge_container(&self, id: &ContainerId) -> Result<serde_json::Value> {
        self.call(Method::DELETE, &format!("/api/v1/containers/{id}?purge=true"), None::<&()>, CHANGE).await
    }
}
