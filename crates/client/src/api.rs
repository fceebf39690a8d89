//! The calls of the API, typed. Paths and bodies are those of the public API.

use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};
use super::files::{in_path, query_value};
use super::reply;
use super::transport::{Client, request};
use cowl_api::container::{
    Container, ContainerList, CreateContainer, Operation, OperationReply, StatusLog, UpdateContainer,
};
use cowl_api::envelope::Pagination;
use cowl_api::event::EventList;
use cowl_api::files::Listing;
use cowl_api::project::{CreateProject, Project, ProjectList, UpdateProject};
use cowl_api::server::{Image, ImageList, NodeStatus};
use cowl_api::snapshot::{CreateSnapshot, Snapshot, SnapshotAlias, SnapshotCreated, SnapshotList, SnapshotRestored};
use cowl_api::stats::{ContainerStats, ProjectStats, StatsHistory};
use cowl_api::{ContainerId, ProjectId};

/// Deadline of calls that only look.
const LOOK: Duration = Duration::from_secs(30);
/// Deadline of calls that change a container: a stop has a grace period, a delete may wait for disks.
pub(super) const CHANGE: Duration = Duration::from_secs(180);
/// Items per page; the API's cap for containers and projects.
pub(super) const PAGE: u64 = 100;

impl Client {
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        deadline: Duration,
    ) -> Result<T> {
        let request = request(method, path, body)?;
        let calling = async { reply::envelope(self.send(&self.api_host(), request).await?).await };
        let late = |_| Error::Timeout { what: format!("the node at {}", self.at()), after: deadline };
        tokio::time::timeout(deadline, calling).await.map_err(late)?
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, None::<&()>, LOOK).await
    }

    /// The box: domains, pool, images, load, versions.
    ///
    /// # Errors
    /// [`Error::NoNode`] when none runs.
    pub async fn status(&self) -> Result<NodeStatus> {
        self.get("/api/v1/status").await
    }

    /// All projects.
    ///
    /// # Errors
    /// When the node is gone or refuses; so for all calls below.
    pub async fn projects(&self) -> Result<Vec<Project>> {
        let mut all = Vec::new();
        for page in 1.. {
            let list: ProjectList = self.get(&format!("/api/v1/projects/?page={page}&limit={PAGE}")).await?;
            let more = extend(&mut all, list.projects, &list.pagination);
            if !more {
                break;
            }
        }
        Ok(all)
    }

    /// One project.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn project(&self, id: &ProjectId) -> Result<Project> {
        self.get(&format!("/api/v1/projects/{id}")).await
    }

    /// Makes a project.
    ///
    /// # Errors
    /// 400 for a bad name, 409 when it is taken.
    pub async fn create_project(&self, body: &CreateProject) -> Result<Project> {
        self.call(Method::POST, "/api/v1/projects/", Some(body), CHANGE).await
    }

    /// Changes a project.
    ///
    /// # Errors
    /// 400, 404, 409.
    pub async fn update_project(&self, id: &ProjectId, body: &UpdateProject) -> Result<Project> {
        self.call(Method::PATCH, &format!("/api/v1/projects/{id}"), Some(body), CHANGE).await
    }

    /// Deletes a project with all its containers.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn delete_project(&self, id: &ProjectId) -> Result<serde_json::Value> {
        self.call(Method::DELETE, &format!("/api/v1/projects/{id}"), None::<&()>, CHANGE).await
    }

    /// All containers, of one project or of the whole box.
    ///
    /// # Errors
    /// 404 when there is no such project.
    pub async fn containers(&self, project: Option<&ProjectId>) -> Result<Vec<Container>> {
        let base = match project {
            Some(id) => format!("/api/v1/projects/{id}/containers"),
            None => "/api/v1/containers/".to_owned(),
        };
        let mut all = Vec::new();
        for page in 1.. {
            let list: ContainerList = self.get(&format!("{base}?page={page}&limit={PAGE}")).await?;
            let more = extend(&mut all, list.containers, &list.pagination);
            if !more {
                break;
            }
        }
        Ok(all)
    }

    /// One container.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn container(&self, id: &ContainerId) -> Result<Container> {
        self.get(&format!("/api/v1/containers/{id}")).await
    }

    /// Asks for a container; the reply comes at once, its state is `creating`.
    ///
    /// # Errors
    /// 400 with the field named, 404, 409, 422.
    pub async fn create_container(&self, project: &ProjectId, body: &CreateContainer) -> Result<Container> {
        self.call(Method::POST, &format!("/api/v1/projects/{project}/containers"), Some(body), CHANGE).await
    }

    /// Changes a container.
    ///
    /// # Errors
    /// 400 with the field named, 404, 409.
    pub async fn update_container(&self, id: &ContainerId, body: &UpdateContainer) -> Result<Container> {
        self.call(Method::PATCH, &format!("/api/v1/containers/{id}"), Some(body), CHANGE).await
    }

    /// Deletes a container with its snapshots; it can be had back for a while.
    ///
    /// # Errors
    /// 404 when there is none, 409 when it is busy.
    pub async fn delete_container(&self, id: &ContainerId) -> Result<serde_json::Value> {
        self.call(Method::DELETE, &format!("/api/v1/containers/{id}"), None::<&()>, CHANGE).await
    }

    /// Starts, stops, restarts, pauses or resumes a container, puts it to sleep or wakes it.
    ///
    /// # Errors
    /// 404, 409 when its state does not allow it.
    pub async fn operate(&self, id: &ContainerId, operation: Operation) -> Result<OperationReply> {
        let path = format!("/api/v1/containers/{id}/{}", operation.as_str());
        self.call(Method::POST, &path, None::<&()>, CHANGE).await
    }

    /// What a container uses.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn stats(&self, id: &ContainerId) -> Result<ContainerStats> {
        self.get(&format!("/api/v1/containers/{id}/stats")).await
    }

    /// What a container used over the last hour, in steps of 30 s.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn stats_history(&self, id: &ContainerId) -> Result<StatsHistory> {
        self.get(&format!("/api/v1/containers/{id}/stats/history")).await
    }

    /// What all containers of a project use.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn project_stats(&self, id: &ProjectId) -> Result<ProjectStats> {
        self.get(&format!("/api/v1/projects/{id}/stats")).await
    }

    /// How a container came to its state, newest first.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn status_logs(&self, id: &ContainerId) -> Result<Vec<StatusLog>> {
        #[derive(serde::Deserialize)]
        struct Logs {
            #[serde(alias = "logs")]
            status_logs: Vec<StatusLog>,
        }
        let logs: Logs = self.get(&format!("/api/v1/containers/{id}/status-logs?limit={PAGE}")).await?;
        Ok(logs.status_logs)
    }

    /// A container's snapshots, newest first.
    ///
    /// # Errors
    /// 404 when there is no such container.
    pub async fn snapshots(&self, id: &ContainerId) -> Result<SnapshotList> {
        self.get(&format!("/api/v1/containers/{id}/snapshots")).await
    }

    /// Takes a snapshot.
    ///
    /// # Errors
    /// 400 for a bad alias or expiry, 409 when the alias is taken.
    pub async fn create_snapshot(&self, id: &ContainerId, body: &CreateSnapshot) -> Result<Snapshot> {
        let path = format!("/api/v1/containers/{id}/snapshots");
        let created: SnapshotCreated = self.call(Method::POST, &path, Some(body), CHANGE).await?;
        Ok(created.snapshot)
    }

    /// Puts a container back to a snapshot, named by name or alias. The state before is kept.
    ///
    /// # Errors
    /// 404, 409 when the container is busy.
    pub async fn restore_snapshot(&self, id: &ContainerId, name: &str) -> Result<SnapshotRestored> {
        self.call(Method::PUT, &snapshot_path(id, name), None::<&()>, CHANGE).await
    }

    /// Deletes a snapshot, named by name or alias.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn delete_snapshot(&self, id: &ContainerId, name: &str) -> Result<serde_json::Value> {
        self.call(Method::DELETE, &snapshot_path(id, name), None::<&()>, CHANGE).await
    }

    /// Gives a snapshot an alias, or takes it away.
    ///
    /// # Errors
    /// 400, 404, 409 when the alias is taken.
    pub async fn alias_snapshot(&self, id: &ContainerId, name: &str, alias: Option<&str>) -> Result<serde_json::Value> {
        let body = SnapshotAlias { alias: alias.map(str::to_owned) };
        self.call(Method::PUT, &format!("{}/alias", snapshot_path(id, name)), Some(&body), CHANGE).await
    }

    /// Lists a directory of a container's disk, running or not, or of one of its snapshots.
    ///
    /// # Errors
    /// 404 when there is no such container, snapshot or directory.
    pub async fn disk_list(&self, id: &ContainerId, snapshot: Option<&str>, path: &str) -> Result<Listing> {
        let base = match snapshot {
            Some(name) => snapshot_path(id, name),
            None => format!("/api/v1/containers/{id}"),
        };
        self.get(&format!("{base}/files/{}", in_path(path))).await
    }

    /// The images of the box.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn images(&self) -> Result<Vec<Image>> {
        let list: ImageList = self.get("/api/v1/images").await?;
        Ok(list.images)
    }

    /// Starts building an image that is not there, failed or is outdated; with `fresh`, also one that
    /// is there and current. Progress comes as events.
    ///
    /// # Errors
    /// 404 for an unknown tier, 409 while it is being built.
    pub async fn build_image(&self, name: &str, fresh: bool) -> Result<serde_json::Value> {
        let path = format!("/api/v1/images/{}/build?fresh={fresh}", query_value(name));
        self.call(Method::POST, &path, None::<&()>, CHANGE).await
    }

    /// Stored events, newest first.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn event_list(&self, limit: u64) -> Result<EventList> {
        self.get(&format!("/api/v1/events?limit={limit}")).await
    }
}

pub(super) fn snapshot_path(id: &ContainerId, name: &str) -> String {
    format!("/api/v1/containers/{id}/snapshots/{}", query_value(name))
}

/// Adds a page; says whether another follows.
pub(super) fn extend<T>(all: &mut Vec<T>, page: Vec<T>, pagination: &Pagination) -> bool {
    let got_any = !page.is_empty();
    all.extend(page);
    got_any && pagination.page < pagination.total_pages
}
