//! Containers as archives: out of this node, and into it.
//!
//! An import is unpacked first, with nothing to be seen of it; then it is written down with the
//! journal's `import`, put in place by a rename, and started like a container that was just made.
//! A crash before the rename forgets it, one after it goes on.

use std::io;
use std::sync::Arc;

use super::Node;
use super::api::import_checks;
use super::driver::failure;
use super::lifecycle::Wish;
use super::state::containers::{ContainerRow, NewContainer};
use super::state::exports::Imported;
use super::state::transitions::Transition;
use cowl_api::container::ContainerState;
use cowl_api::{ApiError, ContainerId, ProjectId};
use cowl_engine::archive::manifest::{About, Manifest};
use cowl_engine::fault;
use cowl_engine::storage::import::{Terms, Unpacked};

/// How an import is to be done.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Another name than the archive's.
    pub name: Option<String>,
    /// Bytes it may take while it is unpacked.
    pub limit: Option<u64>,
    /// Whether it goes on being the machine it was.
    pub keep_identity: bool,
    /// Whether it is started.
    pub start: bool,
}

/// What of a container goes into an archive. Its SSH key stays.
pub fn about(row: &ContainerRow) -> About {
    About {
        id: row.id.to_string(),
        name: row.name.clone(),
        tier: row.tier.clone(),
        color: row.color.clone(),
        hoody_kit: row.hoody_kit,
        dev_kit: row.dev_kit,
        ai: row.ai,
        autostart: row.autostart,
        ramdisk: row.ramdisk,
        env: row.env.clone(),
        settings: serde_json::to_value(&row.settings).unwrap_or_default(),
        comment: row.comment.clone(),
    }
}

/// The failures of an import: what the archive itself is at fault for is 422.
fn import_failure(e: cowl_engine::Error) -> ApiError {
    match e {
        cowl_engine::Error::Unsupported(says) => ApiError::new(422, says),
        other => failure(other),
    }
}

impl Node {
    /// Makes a container of the archive that `input` gives.
    ///
    /// # Errors
    /// 400 and 422 for an archive that is not taken, 404 without that project, 409 for a name that
    /// is taken, 507 when there is no room. Nothing is left then.
    pub async fn import(
        self: &Arc<Self>,
        project: ProjectId,
        wanted: Wanted,
        input: impl io::Read + Send + 'static,
    ) -> Result<ContainerRow, ApiError> {
        let node = Arc::clone(self);
        let unpacking = tokio::task::spawn_blocking(move || node.unpack(project, &wanted, input));
        let unpacked = match unpacking.await {
            Ok(result) => result,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        };
        let (id, imported, unpacked) = unpacked?;
        // From here on it does not matter whether anybody waits.
        let node = Arc::clone(self);
        let placing = self.tasks.spawn(async move { node.place(project, id, imported, unpacked).await });
        match placing.await {
            Ok(result) => result,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        }
    }

    fn unpack(
        &self,
        project: ProjectId,
        wanted: &Wanted,
        mut input: impl io::Read,
    ) -> Result<(ContainerId, Imported, Unpacked), ApiError> {
        // Decided when the first manifest is read; quotas go by it, so it stays.
        let id = ContainerId::generate();
        let mut refused = None;
        let mut accepted = None;
        let unpacked = self.machine.unpack(&id, &mut input, &mut |manifest| {
            let checked = self.terms(project, wanted, manifest);
            let (new, terms) = checked.map_err(|error| {
                let says = error.message.clone();
                refused = Some(error);
                cowl_engine::Error::Unsupported(says)
            })?;
            accepted = Some(new);
            Ok(terms)
        });
        let unpacked = unpacked.map_err(|e| refused.take().unwrap_or_else(|| import_failure(e)))?;
        let new = accepted.ok_or_else(|| ApiError::internal("an archive without a manifest"))?;
        let imported = Imported {
            new,
            image_id: unpacked.image_id.clone(),
            snapshots: unpacked.snapshots.clone(),
            wanted: wanted.start,
        };
        Ok((id, imported, unpacked))
    }

    /// Checks a manifest as if its container were to be created.
    fn terms(
        &self,
        project: ProjectId,
        wanted: &Wanted,
        manifest: &Manifest,
    ) -> Result<(NewContainer, Terms), ApiError> {
        let new = import_checks(&manifest.container, wanted.name.as_deref())?;
        self.store.check_room(&project, &new.name)?;
        let of_project = self.store.project(&project)?.settings;
        let settled = new.settings.over(&of_project).limits.disk.map(|size| size.0);
        let limit = match (wanted.limit, settled) {
            (Some(asked), Some(settled)) => Some(asked.min(settled)),
            (asked, settled) => asked.or(settled),
        };
        Ok((new, Terms { limit, keep_identity: wanted.keep_identity }))
    }

    async fn place(
        self: Arc<Self>,
        project: ProjectId,
        id: ContainerId,
        imported: Imported,
        unpacked: Unpacked,
    ) -> Result<ContainerRow, ApiError> {
        let wanted = imported.wanted;
        fault::step("import: write it down");
        let (row, event) = self.db(move |store| store.create_imported(&project, &id, &imported)).await?;
        self.bus.tell(event);
        if let Err(error) = self.engine(move |m| m.place(&id, unpacked)).await {
            let error = import_failure(error);
            // What was put in place before its disk goes with it.
            self.engine(move |m| m.delete_disk(&id)).await.map_err(failure)?;
            let event = self.db(move |store| store.remove_container(&id)).await?;
            self.bus.tell(event);
            return Err(error);
        }
        fault::step("import: let it go its way");
        if !wanted {
            let t = Transition {
                wanted: Some(false),
                ends_operation: true,
                ..Transition::to(ContainerState::Stopped, "api")
            };
            let event = self.db(move |store| store.transition(&id, &t)).await?;
            self.bus.tell_all(event);
        }
        let row = if wanted { row } else { self.db(move |store| store.container(&id)).await? };
        self.drive(&row, None, None);
        if wanted {
            self.enqueue(&id, Wish::Create, None)?;
        }
        tracing::info!(container = %id, name = row.name, "imported");
        Ok(row)
    }
}
