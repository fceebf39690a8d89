//! At start: what the database says, what the kernel runs and what the pool holds become one again.
//!
//! | the database says | a shim lives | what happens |
//! |---|---|---|
//! | `running`, `paused` | yes | adopted: goes on as it is; shares and limits are brought up to date |
//! | `asleep` | frozen | asleep, as before |
//! | `asleep` | yes | `running`: the crash came after it woke, before the note of it |
//! | `asleep` | no | asleep, as before: `autostart` wakes nobody |
//! | sleep under way | frozen or no | `asleep` |
//! | a halt under way, to sleep, stop, restart or restore | yes | it is halted: init may have been asked to already; then what was to follow |
//! | `running`, `paused` | no | started again when wanted and `autostart`, else `stopped` |
//! | `stopped`, `failed` | yes | adopted: the crash came after the start, before the note of it |
//! | create under way | no | done again from its first step (each can be repeated) |
//! | import under way | no | finished when its disk is in place, else forgotten |
//! | delete under way | any | finished |
//! | `deleted` | no | stays so until its time is over |
//! | stop under way | no | `stopped`; by the node's own end, as if nothing had been under way |
//! | restart under way | no | finished |
//! | restore under way | no | kept when the disks were swapped, else as before; then started if it ran |
//! | copy under way | no | done again from its first step |
//! | sync under way | no | as a restore |
//! | nothing | yes | the unknown container's shim is stopped |
//!
//! [`plan`] decides for one container and is pure; [`reconcile`] gathers the facts and acts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use tokio::sync::oneshot;

use super::driver::failure;
use super::lifecycle::Wish;
use super::state::containers::ContainerRow;
use super::state::journal::{Kind, Operation};
use super::state::transitions::Transition;
use super::{Node, clock, shares};
use cowl_api::container::{self, ContainerState};
use cowl_api::settings::Limits;
use cowl_api::{ApiError, ContainerId, ProjectId};
use cowl_engine::shim::protocol::Status;

/// How many containers are deleted at once with their project.
const DELETIONS_AT_ONCE: usize = 4;

/// How many containers start at once when the node starts: a boot keeps a core busy, and each has a
/// moment in which it waits.
fn starts_at_once() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get() * 2).min(32)
}

/// What is known of one container.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Its row.
    pub row: &'a ContainerRow,
    /// The operation a crash interrupted.
    pub operation: Option<&'a Operation>,
    /// Its living shim.
    pub shim: Option<&'a Status>,
    /// Whether its disk exists.
    pub has_disk: bool,
}

/// What to do after a container's state is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Rest,
    /// Start it.
    Boot,
    /// Go on creating it.
    Create,
    /// Go on putting it away.
    Delete,
    /// Go on copying it.
    Copy,
    /// Go on deleting it for good.
    Purge,
    /// Go on with a halt, before anything is heard of its init.
    Halt(Wish),
}

/// The state a container is in, and what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The state that is true now.
    pub state: ContainerState,
    /// Why, when it failed.
    pub reason: Option<String>,
    /// Whether its owner wants it to run, when that became clear.
    pub wanted: Option<bool>,
    /// What comes next.
    pub then: Then,
}

/// Decides about one container.
pub fn plan(facts: Facts<'_>) -> Plan {
    use ContainerState as S;
    let row = facts.row;
    let kind = facts.operation.map(|o| o.kind);
    let rest = |state| Plan { state, reason: None, wanted: None, then: Then::Rest };
    if kind == Some(Kind::Bury) {
        return Plan { then: Then::Delete, ..rest(S::Deleting) };
    }
    if kind == Some(Kind::Delete) || row.state == S::Deleting {
        return Plan { then: Then::Purge, ..rest(S::Deleting) };
    }
    if row.state == S::Deleted {
        return rest(S::Deleted);
    }
    let slept = row.state == S::Asleep || kind == Some(Kind::Sleep);
    if let Some(shim) = facts.shim {
        if let Some(wish) = facts.operation.filter(|_| !shim.frozen).and_then(|o| halting(row, o)) {
            return Plan { then: Then::Halt(wish), ..rest(S::Running) };
        }
        return rest(match shim.frozen {
            true if slept => S::Asleep,
            true => S::Paused,
            false => S::Running,
        });
    }
    if kind == Some(Kind::Import) {
        // Its disk is the last that is put in place; without it nothing of it ever was.
        return match (facts.has_disk, row.wanted) {
            (false, _) => Plan { then: Then::Delete, ..rest(S::Deleting) },
            (true, true) => Plan { then: Then::Create, ..rest(S::Creating) },
            (true, false) => rest(S::Stopped),
        };
    }
    if kind == Some(Kind::Create) || row.state == S::Creating {
        return Plan { then: Then::Create, ..rest(S::Creating) };
    }
    if kind == Some(Kind::Copy) || row.state == S::Copying {
        return Plan { then: Then::Copy, ..rest(S::Copying) };
    }
    if row.image_id.is_some() && !facts.has_disk {
        let reason = Some("its disk is not in the pool any more".to_owned());
        return Plan { reason, ..rest(S::Failed) };
    }
    let ran = matches!(row.state, S::Running | S::Paused | S::Asleep);
    match (kind, facts.operation) {
        (Some(Kind::Restart), _) => return Plan { then: Then::Boot, ..rest(S::Stopped) },
        (Some(Kind::Restore | Kind::Sync), Some(operation)) => {
            let boots = operation.args["was_running"] == true;
            let then = if boots { Then::Boot } else { Then::Rest };
            let stays = matches!(row.state, S::Failed | S::Asleep) && !boots;
            let state = if stays { row.state } else { S::Stopped };
            return Plan { then, reason: row.reason.clone().filter(|_| state == S::Failed), ..rest(state) };
        }
        (Some(Kind::Stop), Some(operation)) if ran && !node_ended(operation) => {
            return Plan { wanted: Some(false), ..rest(S::Stopped) };
        }
        _ => {}
    }
    match row.state {
        S::Failed => Plan { reason: row.reason.clone(), ..rest(S::Failed) },
        _ if slept => rest(S::Asleep),
        _ if row.wanted && row.autostart => Plan { then: Then::Boot, ..rest(S::Stopped) },
        _ => Plan { wanted: Some(false), ..rest(S::Stopped) },
    }
}

/// Whether a stop was the node's, for its own end.
fn node_ended(operation: &Operation) -> bool {
    operation.args["node_ends"] == true
}

/// What goes on with a halt that was under way and leads where it was to lead.
fn halting(row: &ContainerRow, operation: &Operation) -> Option<Wish> {
    if operation.step != "stop" {
        return None;
    }
    let ran = operation.args["was_running"] == true;
    Some(match operation.kind {
        Kind::Stop if node_ended(operation) && !(row.wanted && row.autostart) => Wish::Halt,
        Kind::Stop if !node_ended(operation) => Wish::Operate(container::Operation::Stop),
        // Its disk was not swapped yet: it runs, or sleeps, as before.
        Kind::Restore | Kind::Sync if !ran => Wish::SleepOn,
        Kind::Stop | Kind::Restart | Kind::Restore | Kind::Sync => Wish::Operate(container::Operation::Restart),
        Kind::Sleep => Wish::SleepOn,
        Kind::Create | Kind::Start | Kind::Delete | Kind::Copy | Kind::Import | Kind::Bury => return None,
    })
}

/// Containers that have something to do after [`reconcile`].
#[derive(Debug, Default)]
pub struct Work {
    boot: Vec<ContainerId>,
    projects: Vec<ProjectId>,
}

/// Settles every container's state and starts the drivers. Fast: nothing is started here.
///
/// # Errors
/// When the store, the pool or the run directory cannot be read.
pub async fn reconcile(node: &Arc<Node>) -> Result<Work, ApiError> {
    let operations = node.db(|store| store.operations()).await?;
    finish_restores(node, &operations).await?;
    finish_snapshots(node).await?;
    let living: HashMap<ContainerId, Status> =
        node.engine(|m| m.adopt()).await.map_err(failure)?.into_iter().map(|s| (s.id, s)).collect();
    let disks: HashSet<ContainerId> = node.engine(|m| m.disks()).await.map_err(failure)?.into_iter().collect();
    let rows = node.db(|store| store.all_containers()).await?;
    let mut work = Work::default();
    for row in &rows {
        let facts = Facts {
            row,
            operation: operations.iter().find(|o| o.container == row.id),
            shim: living.get(&row.id),
            has_disk: disks.contains(&row.id),
        };
        settle(node, facts, &mut work).await?;
    }
    let known: HashSet<ContainerId> = rows.iter().map(|row| row.id).collect();
    stop_unknown(node, living.keys().filter(|id| !known.contains(id)).copied().collect()).await;
    for disk in disks.difference(&known) {
        tracing::warn!(container = %disk, "the pool holds a disk of a container that the database does not know");
    }
    compare_snapshots(node, &rows).await?;
    work.projects = node.db(|store| store.condemned_projects()).await?;
    Ok(work)
}

async fn settle(node: &Arc<Node>, facts: Facts<'_>, work: &mut Work) -> Result<(), ApiError> {
    let plan = plan(facts);
    let id = facts.row.id;
    let transition = Transition {
        reason: plan.reason,
        wanted: plan.wanted,
        started_at_ms: facts.shim.map(|s| s.started_at_ms),
        // A creation, a deletion or a halt goes on; its journal entry is overwritten or ended by its driver.
        ends_operation: !matches!(plan.then, Then::Create | Then::Delete | Then::Purge | Then::Halt(_) | Then::Copy),
        ..Transition::to(plan.state, "node")
    };
    let event = node.db(move |store| store.transition(&id, &transition)).await?;
    node.bus.tell_all(event);
    let row = node.db(move |store| store.any_container(&id)).await?;
    let watch = facts.shim.map(|_| node.machine.watch(&id));
    if watch.is_some() {
        tracing::info!(container = %id, name = row.name, state = %row.state, "adopted");
    }
    // What a driver does first is not queued: its init may end before the queue is heard.
    let first = match &plan.then {
        Then::Halt(wish) => Some(wish.clone()),
        _ => None,
    };
    node.drive(&row, watch, first);
    match plan.then {
        Then::Rest => {
            if let Some(shim) = facts.shim {
                renew(node, &row, rebooted(facts.row, shim))?;
            }
        }
        Then::Halt(_) => {}
        Then::Boot => work.boot.push(id),
        Then::Create => node.enqueue(&id, Wish::Create, None)?,
        Then::Delete => node.enqueue(&id, Wish::Delete, None)?,
        Then::Copy => node.enqueue(&id, Wish::Copy, None)?,
        Then::Purge => node.enqueue(&id, Wish::Purge, None)?,
    }
    Ok(())
}

/// Whether a container was rebooted from inside while no node listened.
fn rebooted(row: &ContainerRow, shim: &Status) -> bool {
    let started = clock::iso_ms(i64::try_from(shim.started_at_ms).unwrap_or(i64::MAX));
    row.started_at.as_ref().is_some_and(|at| *at != started)
}

/// Brings an adopted container up to what was written down before the node ended and maybe not done.
fn renew(node: &Arc<Node>, row: &ContainerRow, rebooted: bool) -> Result<(), ApiError> {
    shares::sync_soon(node, row.id, rebooted);
    // A reboot made its groups as at its start.
    if rebooted || row.effective_settings().limits != Limits::default() {
        node.enqueue(&row.id, Wish::Limit, None)?;
    }
    Ok(())
}

/// Notes swaps of disks that happened before a crash. The safety snapshot tells.
async fn finish_restores(node: &Arc<Node>, operations: &[Operation]) -> Result<(), ApiError> {
    for operation in operations.iter().filter(|o| matches!(o.kind, Kind::Restore | Kind::Sync)) {
        let (id, kind) = (operation.container, operation.kind);
        let word = |key: &str| operation.args[key].as_str().unwrap_or_default().to_owned();
        let (name, safety) = (word("name"), word("safety"));
        let present = node.engine(move |m| m.snapshots(&id)).await.map_err(failure)?;
        if operation.step == "stop" || !present.contains(&safety) {
            continue;
        }
        let noted = node
            .db(move |store| {
                store.finish_snapshot(&id, &safety)?;
                if kind == Kind::Sync {
                    store.mark_synced(&id)
                } else {
                    store.mark_restored(&id, &name, &safety).map(drop)
                }
            })
            .await;
        if let Err(error) = noted {
            tracing::warn!(container = %id, %error, "a restore that a crash interrupted was not noted");
        }
    }
    Ok(())
}

/// Finishes or forgets snapshots whose making or removal a crash interrupted.
async fn finish_snapshots(node: &Arc<Node>) -> Result<(), ApiError> {
    for left in node.db(|store| store.unfinished_snapshots()).await? {
        let (id, name) = (left.container, left.name);
        if left.deleting {
            super::snapshots::remove(node, id, name, true).await?;
            continue;
        }
        let present = node.engine(move |m| m.snapshots(&id)).await.map_err(failure)?;
        let made = present.contains(&name);
        node.db(move |store| {
            if made {
                store.finish_snapshot(&id, &name).map(drop)
            } else {
                store.forget_snapshot(&id, &name, false).map(drop)
            }
        })
        .await?;
    }
    Ok(())
}

/// Rows without subvolume are forgotten, subvolumes without row are reported.
async fn compare_snapshots(node: &Arc<Node>, rows: &[ContainerRow]) -> Result<(), ApiError> {
    for id in rows.iter().map(|row| row.id) {
        let present: HashSet<String> =
            node.engine(move |m| m.snapshots(&id)).await.map_err(failure)?.into_iter().collect();
        let known = node.db(move |store| store.snapshots(&id)).await?;
        for lost in known.iter().filter(|s| !present.contains(&s.name)) {
            tracing::error!(container = %id, snapshot = lost.name, "is not in the pool any more; forgotten");
            let name = lost.name.clone();
            node.db(move |store| store.forget_snapshot(&id, &name, true)).await?;
        }
        for extra in present.iter().filter(|name| known.iter().all(|s| s.name != **name)) {
            tracing::warn!(container = %id, snapshot = *extra, "the pool holds a snapshot the database does not know");
        }
    }
    Ok(())
}

async fn stop_unknown(node: &Arc<Node>, unknown: Vec<ContainerId>) {
    for id in unknown {
        tracing::warn!(container = %id, "runs but the database does not know it; stopping it");
        if let Err(error) = node.engine(move |m| m.stop(&id, std::time::Duration::ZERO)).await {
            tracing::error!(container = %id, %error, "could not be stopped");
        }
    }
}

/// Starts what wants to run, a few at a time, and goes on with deletions of projects.
pub async fn resume(node: Arc<Node>, work: Work) {
    boot(&node, work.boot).await;
    for project in work.projects {
        if let Err(error) = node.delete_project(project).await {
            tracing::error!(%project, %error, "a project's deletion could not be finished");
        }
    }
}

async fn boot(node: &Arc<Node>, containers: Vec<ContainerId>) {
    let (all, at_once) = (containers.len(), starts_at_once());
    if all == 0 {
        return;
    }
    tracing::info!(containers = all, at_once, "starting what ran before");
    let begun = std::time::Instant::now();
    let (done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    futures_util::stream::iter(containers)
        .for_each_concurrent(at_once, async |id| {
            let (reply, answer) = oneshot::channel();
            // The driver logs a failure; the next one starts either way.
            if node.enqueue(&id, Wish::Boot, Some(reply)).is_err() || !matches!(answer.await, Ok(Ok(_))) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            // About ten lines, however many there are.
            if done < all && done.is_multiple_of(all.div_ceil(10)) {
                tracing::info!(done, of = all, "starting what ran before");
            }
        })
        .await;
    let (failed, seconds) = (failed.into_inner(), begun.elapsed().as_secs_f32());
    tracing::info!(started = all - failed, failed, seconds, "what ran before has been started");
}

impl Node {
    /// Deletes a project with its containers, for good, also those that could be undeleted; returns
    /// their ids and names.
    ///
    /// # Errors
    /// When a container could not be deleted; the project stays with what is left of it.
    pub async fn delete_project(self: &Arc<Self>, id: ProjectId) -> Result<Vec<(ContainerId, String)>, ApiError> {
        self.db(move |store| store.condemn_project(&id, true)).await?;
        let rows = self.db(|store| store.all_containers()).await?;
        let rows: Vec<ContainerRow> = rows.into_iter().filter(|row| row.project_id == id).collect();
        let ids: Vec<ContainerId> = rows.iter().map(|row| row.id).collect();
        let results: Vec<_> = futures_util::stream::iter(ids)
            .map(|id| {
                let node = Arc::clone(self);
                async move { node.ask(&id, Wish::Purge).await }
            })
            .buffer_unordered(DELETIONS_AT_ONCE)
            .collect()
            .await;
        // A container that somebody else deleted meanwhile is as gone as it should be.
        if let Some(error) = results.into_iter().filter_map(Result::err).find(|e| e.status_code != 404) {
            self.db(move |store| store.condemn_project(&id, false)).await?;
            return Err(error);
        }
        let event = self.db(move |store| store.remove_project(&id)).await?;
        self.bus.tell(event);
        Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
    }
}
