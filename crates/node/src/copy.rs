//! Copies and branches of containers, and syncs of copies.
//!
//! A branch is a copy within a click: same steps, other defaults. Both get their source's files as
//! they were at one moment (a snapshot's, or the one of the copy), its variables and settings, and
//! an identity of their own. The source runs on and notices nothing.
//!
//! ```text
//!  POST copy, branch ─ row `copying`, journal ─► disk ─► snapshots ─► own ─► start
//!                                                 └────── repeatable ──────┘
//! ```
//! Each step can be repeated, so a copy that a crash interrupted is done again from the first. A
//! deletion that comes meanwhile waits for the step under way.

use std::sync::Arc;

use super::driver::{Driver, GRACE, failure};
use super::lifecycle::{Done, Wish};
use super::machine::Tree;
use super::state::containers::{ContainerRow, NewContainer};
use super::state::journal::Kind;
use super::state::lineage::NewCopy;
use super::state::snapshots::NewSnapshot;
use super::state::transitions::Transition;
use super::{Node, clock, firewall, shares};
use cowl_api::container::ContainerState;
use cowl_api::{ApiError, ContainerId, ProjectId, names};

/// Names that are tried for one that was not given.
const NAMES: u32 = 200;
/// How long the snapshot that undoes a sync stays, in days.
const SAFETY_DAYS: u32 = 30;

/// `<source>-<word>-<n>`, cut to what a name may have.
fn numbered(source: &str, word: &str, n: u32) -> String {
    let tail = format!("-{word}-{n}");
    let room = names::CONTAINER_NAME_MAX - tail.len();
    format!("{}{tail}", source.chars().take(room).collect::<String>())
}

/// Whether a container may be copied in this state.
///
/// # Errors
/// 409.
pub fn copyable(source: &ContainerRow) -> Result<(), ApiError> {
    match source.state {
        ContainerState::Creating | ContainerState::Copying => {
            Err(ApiError::conflict(format!("container {} is {}: wait until it runs", source.name, source.state)))
        }
        ContainerState::Deleting | ContainerState::Deleted => {
            Err(ApiError::conflict(format!("container {} is {}: it is going away", source.name, source.state)))
        }
        _ => Ok(()),
    }
}

impl Node {
    /// Writes a copy down and starts making it. Its state is `copying` when this returns. `new.name`
    /// may be empty: then one is found.
    ///
    /// # Errors
    /// 404 without that project, 409 when it is full, a name or key is taken, or the source is busy.
    pub async fn copy_container(
        self: &Arc<Self>,
        project: ProjectId,
        new: NewContainer,
        copy: NewCopy,
    ) -> Result<ContainerRow, ApiError> {
        copyable(&copy.source)?;
        let named = !new.name.is_empty();
        let source = copy.source.name.clone();
        let mut numbers = 1..=NAMES;
        let mut name = match named {
            true => new.name.clone(),
            // In another project it may be called as its source.
            false if copy.kind == "copy" && copy.source.project_id != project => source.clone(),
            false => numbered(&source, copy.kind, numbers.next().unwrap_or(1)),
        };
        let (row, event) = loop {
            let (new, copy) = (NewContainer { name: name.clone(), ..new.clone() }, copy.clone());
            let kind = copy.kind;
            match self.db(move |store| store.copy_container(&project, &new, &copy)).await {
                Ok(written) => break written,
                Err(super::state::Error::Conflict(said)) if !named && said.contains("with this name") => {
                    let Some(n) = numbers.next() else {
                        return Err(ApiError::conflict("no free name was found; give one"));
                    };
                    name = numbered(&source, kind, n);
                }
                Err(e) => return Err(e.into()),
            }
        };
        self.bus.tell(event);
        self.drive(&row, None, None);
        self.enqueue(&row.id, Wish::Copy, None)?;
        Ok(row)
    }
}

/// What the journal says of a copy under way.
struct Order {
    source: ContainerId,
    snapshot: Option<String>,
    copy_snapshots: bool,
    start: bool,
}

impl Driver {
    pub(super) async fn copy(&mut self, row: ContainerRow) -> Result<Done, ApiError> {
        let order = match self.order().await {
            Ok(order) => order,
            Err(error) => return Err(self.fail("node", error).await),
        };
        match self.copy_files(&order).await {
            Ok(true) => {}
            // A deletion waits, or the node ends: the journal still says `copy`.
            Ok(false) => return Ok(Done::State(ContainerState::Copying)),
            Err(error) => return Err(self.fail("node", error).await),
        }
        if order.start {
            self.step("start").await?;
            return self.boot("api").await;
        }
        let id = self.id;
        if let Err(error) = self.node.engine(move |m| m.own(&id)).await {
            return Err(self.fail("node", failure(error)).await);
        }
        self.go(Transition {
            wanted: Some(false),
            ends_operation: true,
            reason: row.reason.clone(),
            ..Transition::to(ContainerState::Stopped, "api")
        })
        .await?;
        Ok(Done::State(ContainerState::Stopped))
    }

    async fn order(&self) -> Result<Order, ApiError> {
        let id = self.id;
        let operation = self.node.db(move |store| store.operation(&id)).await?;
        let args = operation.filter(|o| o.kind == Kind::Copy).map(|o| o.args).unwrap_or_default();
        let source = args["source"].as_str().and_then(|text| text.parse().ok());
        Ok(Order {
            source: source.ok_or_else(|| ApiError::new(500, "what it was to be copied from is not known any more"))?,
            snapshot: args["snapshot"].as_str().map(str::to_owned),
            copy_snapshots: args["copy_snapshots"] == true,
            start: args["start"] != false,
        })
    }

    /// Disk and snapshots. False when this was cut short.
    async fn copy_files(&self, order: &Order) -> Result<bool, ApiError> {
        let (id, source) = (self.id, order.source);
        let cut_short = || self.live.is_condemned() || self.node.shutdown.is_cancelled();
        if cut_short() {
            return Ok(false);
        }
        let tree = match &order.snapshot {
            Some(name) => Tree::Snapshot(source, name.clone()),
            None => Tree::Disk(source),
        };
        let gone = |error| match failure(error) {
            e if e.status_code == 404 => ApiError::new(404, "what it was to be copied from is gone"),
            e => e,
        };
        self.node.engine(move |m| m.copy_disk(&id, &tree)).await.map_err(gone)?;
        if order.copy_snapshots {
            for name in self.node.db(move |store| store.begin_snapshot_copies(&source, &id)).await? {
                if cut_short() {
                    return Ok(false);
                }
                let copied = name.clone();
                match self.node.engine(move |m| m.copy_snapshot(&source, &id, &copied)).await.map_err(failure) {
                    // Deleted at the source meanwhile.
                    Err(e) if e.status_code == 404 => {
                        self.node.db(move |store| store.forget_snapshot(&id, &name, false)).await?;
                    }
                    other => other?,
                }
            }
            self.node.db(move |store| store.finish_snapshot_copies(&id)).await?;
        }
        let network = self.node.db(move |store| store.network(&id)).await?;
        let policy = firewall::policy(&network);
        if policy != Default::default() {
            self.node.engine(move |m| m.set_policy(&id, &policy)).await.map_err(failure)?;
        }
        Ok(!cut_short())
    }

    pub(super) async fn sync(&mut self, row: ContainerRow) -> Result<Done, ApiError> {
        let id = self.id;
        let Some(source) = row.source_container_id else {
            return Err(ApiError::new(
                400,
                format!("container {} is no copy, so there is nothing to sync with", row.name),
            ));
        };
        let (descent, found) =
            self.node.db(move |store| Ok((store.descent(&id)?, store.container(&source).ok()))).await?;
        let Some(found) = found else {
            let name = descent.map_or_else(|| source.to_string(), |d| d.origin.source_name);
            return Err(ApiError::new(404, format!("{name}, which {} was copied from, is gone", row.name)));
        };
        copyable(&found)?;
        let new = NewSnapshot {
            kind: "safety",
            expires_at: Some(clock::in_days(SAFETY_DAYS)),
            reason: Some(format!("before a sync with {}", found.name)),
            ..Default::default()
        };
        let safety = self.node.db(move |store| store.begin_snapshot(&id, &new)).await?;
        let ran = matches!(row.state, ContainerState::Running | ContainerState::Paused);
        let args = serde_json::json!({ "source": source, "safety": safety, "was_running": ran });
        self.begin(Kind::Sync, "stop", args).await?;
        // What sleeps frozen would write to the disk it had.
        if (ran || row.state == ContainerState::Asleep)
            && let Err(error) = self.halt(row.state, GRACE).await
        {
            self.forget(&safety).await?;
            return Err(self.runs_on("api", error).await);
        }
        if ran {
            self.go(Transition::to(ContainerState::Stopped, "api")).await?;
        }
        self.step("swap").await?;
        let kept = safety.clone();
        let swapped = self.node.engine(move |m| m.sync_disk(&id, &source, &kept)).await;
        let synced = match swapped {
            Ok(()) => {
                let kept = safety.clone();
                let event = self
                    .node
                    .db(move |store| {
                        let made = store.finish_snapshot(&id, &kept)?.1;
                        store.mark_synced(&id)?;
                        Ok(made)
                    })
                    .await?;
                self.node.bus.tell(event);
                shares::source_changed(&self.node, id, false).await;
                Ok(())
            }
            Err(error) => {
                self.forget(&safety).await?;
                Err(failure(error))
            }
        };
        self.step("start").await?;
        let mut state = ContainerState::Running;
        if ran {
            self.start_again(ContainerRow { state: ContainerState::Stopped, ..row }, "api").await?;
        } else {
            let (to, reason) = match row.state {
                ContainerState::Failed if synced.is_ok() => (ContainerState::Stopped, None),
                state => (state, row.reason),
            };
            state = to;
            self.go(Transition { ends_operation: true, reason, ..Transition::to(to, "api") }).await?;
        }
        synced.map(|()| Done::Synced { source, safety, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_found_is_one_that_may_be_given() {
        for source in ["abc", &"x".repeat(100)] {
            for n in [1, 9, 200] {
                let name = numbered(source, "branch", n);
                assert!(names::container_name(&name).is_ok() && name.ends_with(&format!("-branch-{n}")), "{name}");
            }
        }
    }
}
