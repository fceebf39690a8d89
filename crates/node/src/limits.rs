//! Limits that are made to hold by a container's driver, and what the host falls short of.
//!
//! A change of settings is in the store before anybody is asked; the driver then writes what holds
//! into the kernel. What cannot hold is kept here and shown among the container's warnings until the
//! next change or start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;

use super::Node;
use super::driver::{Driver, failure};
use super::lifecycle::{Done, Wish};
use super::state::containers::ContainerRow;
use cowl_api::container::{ContainerState, Warning};
use cowl_api::settings::Limits;
use cowl_api::{ApiError, ContainerId, ProjectId};
use cowl_engine::cgroup::limits::Shortfall;

/// How many containers of a project are changed at once.
const AT_ONCE: usize = 4;

/// Limits that do not hold, by container.
#[derive(Debug, Default)]
pub struct Shortfalls(Mutex<HashMap<ContainerId, Vec<Warning>>>);

impl Shortfalls {
    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Vec<Warning>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What falls short for a container.
    pub fn of(&self, id: &ContainerId) -> Vec<Warning> {
        self.lock().get(id).cloned().unwrap_or_default()
    }

    fn set(&self, id: ContainerId, warnings: Vec<Warning>) {
        if warnings.is_empty() {
            self.lock().remove(&id);
        } else {
            self.lock().insert(id, warnings);
        }
    }

    /// For a container that is gone.
    pub fn forget(&self, id: &ContainerId) {
        self.lock().remove(id);
    }
}

fn warning(short: Shortfall) -> Warning {
    Warning {
        kind: "limit_does_not_hold".into(),
        message: format!("settings.limits.{} does not hold: {}", short.field, short.says),
    }
}

impl Driver {
    /// Makes the limits of the store hold.
    pub(super) async fn limit(&self, row: &ContainerRow) -> Result<Done, ApiError> {
        let (id, limits) = (self.id, row.effective_settings().limits);
        let short = self.node.engine(move |m| m.limit(&id, &limits)).await.map_err(failure)?;
        for Shortfall { field, says } in &short {
            tracing::warn!(container = %id, limit = field, "does not hold: {says}");
        }
        self.node.shortfalls.set(id, short.into_iter().map(warning).collect());
        Ok(Done::State(row.state))
    }

    /// The same right after a start, which has set them already; to know what falls short.
    pub(super) async fn check_limits(&self, row: &ContainerRow) {
        if row.effective_settings().limits == Limits::default() {
            return self.node.shortfalls.forget(&self.id);
        }
        if let Err(error) = self.limit(row).await {
            tracing::warn!(container = %self.id, %error, "its limits could not be checked");
        }
    }
}

impl Node {
    /// Makes changed settings of a container hold. What goes wrong is a warning: the settings
    /// themselves are kept.
    pub async fn apply_settings(&self, id: &ContainerId) {
        if let Err(error) = self.ask(id, Wish::Limit).await {
            let message = format!("the settings are kept, but not all hold yet: {}", error.message);
            self.shortfalls.set(*id, vec![Warning { kind: "limit_does_not_hold".into(), message }]);
        }
    }

    /// Makes changed settings of a project hold in all its containers; gives what falls short, each
    /// container named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn apply_project_settings(self: &Arc<Self>, project: ProjectId) -> Result<Vec<Warning>, ApiError> {
        let rows = self.db(|store| store.all_containers()).await?;
        let of_project =
            rows.into_iter().filter(|row| row.project_id == project && row.state != ContainerState::Deleted);
        let warnings = futures_util::stream::iter(of_project)
            .map(|row| async move {
                self.apply_settings(&row.id).await;
                let named = move |w: Warning| Warning { message: format!("{}: {}", row.name, w.message), ..w };
                self.shortfalls.of(&row.id).into_iter().map(named).collect::<Vec<_>>()
            })
            .buffered(AT_ONCE)
            .concat()
            .await;
        Ok(warnings)
    }
}
