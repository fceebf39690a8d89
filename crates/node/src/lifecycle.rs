//! What may be asked of a container in which state. Pure; the doing is [`super::driver`]'s.
//!
//! ```text
//!             image ready,               start, restart
//!   create    disk, init     ┌──────────┐◄──────────────────┌─────────┐
//!  ─────────► creating ─────►│ running  │──────────────────►│ stopped │
//!                │           └──────────┘ stop, force-stop, └─────────┘
//!                │            │ ▲   │     poweroff inside      ▲    ▲
//!                │      pause │ │   │                          │    │ restore of a
//!                │            ▼ │resume                        │    │ stopped one
//!                │           ┌──────────┐      force-stop      │    │
//!                │           │ paused   │──────────────────────┘    │
//!                │           └──────────┘                           │
//!                │ a step failed  │ init crashed, shim gone         │
//!                ▼                ▼                                 │
//!              ┌────────────────────┐  start, restart → running     │
//!              │ failed             │───────────────────────────────┘
//!              └────────────────────┘
//!
//!  running ── sleep, or nobody used it for a while ──► asleep ── start, a request, a cron entry ──► running
//!                                                        └── stop, force-stop ──► stopped
//!
//!  copy, branch ──► copying ──► running, or stopped where that was asked for
//!  sync of a copy: as a restore
//!
//!  delete is allowed everywhere:  any ──► deleting ──► deleted ── undelete ──► as it was
//!                                            │            │ purge, or its time is over
//!                                            └── at once ─┴──► (no row)
//! ```
//!
//! Only a container's driver moves it, one request at a time, in the order they came. Asking for
//! what is already so succeeds; asking for what cannot be is refused with the present state named.
//! Restart and restore pass through `stopped` and end where they began; of two restores at once the second
//! waits for the first, as does the deletion of the snapshot that is being restored. A reboot inside leaves
//! `running` as it is.
//!
//! `paused` is for whoever asked for it: nothing but `resume` and `force-stop` ends it, and its URLs
//! answer 503 at once, as those of every container that does not run; a request under way waits until
//! it is resumed or its client leaves. `asleep` is running as far as visitors can tell: halted or frozen
//! (`settings.sleep.mode`), woken by whoever asks ([`super::sleep`]).

use std::sync::Arc;

use super::carry::Carry;
use crate::state::snapshots::NewSnapshot;
use cowl_api::container::{ContainerState, Operation};
use cowl_api::files::Restored;
use cowl_api::{ApiError, ContainerId, Snapshot};

/// What may be asked of a container's driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Make its disk and start it; the first request of its life.
    Create,
    /// One of the public operations.
    Operate(Operation),
    /// Start it because the node starts; its owner wants it to run.
    Boot,
    /// Stop it because the node ends; its owner still wants it to run.
    Halt,
    /// Put it to sleep unless it is in use by now.
    Doze,
    /// Go on with a halt into sleep, which a crash of the node interrupted.
    SleepOn,
    /// Wake it because somebody wants something of it: `request` or `cron`.
    Wake(&'static str),
    /// Remove it with its snapshots; for as long as its settings say it can be had back.
    Delete,
    /// Take a snapshot.
    Snapshot(NewSnapshot),
    /// Remove a snapshot that is not pinned, by name or alias.
    DeleteSnapshot(String),
    /// Put the disk back to a snapshot, by name or alias.
    Restore(String),
    /// Make the limits of its settings hold, which may have changed.
    Limit,
    /// Make its disk from another container's and start it; the first request of a copy's life.
    Copy,
    /// Put its disk to the present state of the container it was copied from.
    Sync,
    /// Copy files into it.
    Carry(Arc<Carry>),
    /// Remove a snapshot, pinned or not, by name or alias.
    ForceDeleteSnapshot(String),
    /// Put the disk back to what it was before the last restore.
    Undo,
    /// Remove it with its snapshots for good.
    Purge,
    /// Take it back after it was deleted, under its own name or this one.
    Undelete(Option<String>),
}

impl Wish {
    /// Whether it ends the container for its visitors.
    pub fn deletes(&self) -> bool {
        matches!(self, Self::Delete | Self::Purge)
    }
}

/// What a driver answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// The container is in this state now.
    State(ContainerState),
    /// It is gone.
    Deleted,
    /// The snapshot that was taken or removed.
    Snapshot(Snapshot),
    /// The snapshot that was restored, and the one that undoes it.
    Restored {
        /// What the disk was put back to.
        snapshot: Snapshot,
        /// Name of the snapshot of the state before.
        safety: String,
    },
    /// What came of a copy of files.
    Carried(Restored),
    /// The copy has its source's present state.
    Synced {
        /// Whose.
        source: ContainerId,
        /// Name of the snapshot of the state before.
        safety: String,
        /// The copy's state now.
        state: ContainerState,
    },
}

/// Whether a wish can come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Go,
    /// It is so already.
    Already,
    /// Not in this state; what to do instead.
    Refuse(&'static str),
}

/// Decides about a wish in a state.
pub fn admit(state: ContainerState, wish: &Wish) -> Verdict {
    use ContainerState as S;
    use Verdict::{Already, Go, Refuse};
    match (state, wish) {
        (S::Deleted, Wish::Undelete(_)) | (_, Wish::Purge) => Go,
        (S::Deleted, Wish::Delete) => Already,
        (S::Deleted, _) => Refuse("undelete it first"),
        (_, Wish::Undelete(_)) => Refuse("it is not deleted"),
        (S::Deleting, Wish::Delete) => Go,
        (S::Deleting, _) => Refuse("it is going away"),
        (_, Wish::Delete) => Go,
        (S::Creating, Wish::Create) | (S::Copying, Wish::Copy) => Go,
        // Its start will set them.
        (S::Creating | S::Copying, Wish::Limit) => Already,
        (S::Creating | S::Copying, _) => Refuse("wait until it runs"),
        (_, Wish::Create | Wish::Copy) => Already,
        (S::Stopped, Wish::Boot) => Go,
        (_, Wish::Boot) => Already,
        (S::Running | S::Paused | S::Asleep, Wish::Halt) => Go,
        (_, Wish::Halt) => Already,
        (S::Running, Wish::Doze | Wish::SleepOn) | (S::Asleep, Wish::Wake(_)) => Go,
        (_, Wish::Doze | Wish::SleepOn | Wish::Wake(_)) => Already,
        (_, Wish::Snapshot(_) | Wish::DeleteSnapshot(_) | Wish::ForceDeleteSnapshot(_)) => Go,
        (_, Wish::Restore(_) | Wish::Undo | Wish::Limit | Wish::Sync | Wish::Carry(_)) => Go,
        (_, Wish::Operate(operation)) => operate(state, *operation),
    }
}

fn operate(state: ContainerState, operation: Operation) -> Verdict {
    use ContainerState as S;
    use Operation as O;
    use Verdict::{Already, Go, Refuse};
    match (state, operation) {
        (S::Running, O::Start | O::Resume) => Already,
        (S::Running, O::Stop | O::ForceStop | O::Restart | O::Pause | O::Sleep) => Go,
        (S::Paused, O::Pause) => Already,
        (S::Paused, O::Resume | O::ForceStop) => Go,
        (S::Paused, O::Start | O::Stop | O::Restart | O::Sleep) => Refuse("resume it first"),
        (S::Stopped, O::Stop | O::ForceStop) | (S::Asleep, O::Sleep) => Already,
        (S::Asleep, O::Stop | O::ForceStop) => Go,
        (S::Stopped | S::Asleep | S::Failed, O::Start | O::Restart) => Go,
        (S::Stopped | S::Asleep, O::Pause | O::Resume) | (S::Stopped, O::Sleep) => Refuse("start it first"),
        (S::Failed, O::Stop | O::ForceStop | O::Pause | O::Resume | O::Sleep) => Refuse("start it again or delete it"),
        (S::Creating | S::Copying | S::Deleting | S::Deleted, _) => Refuse("it is busy"),
    }
}

/// The 409 for a wish that a state does not allow.
pub fn refusal(name: &str, state: ContainerState, hint: &str) -> ApiError {
    let mut error = ApiError::conflict(format!("container {name} is {state}: {hint}"));
    error.data = Some(Box::new(serde_json::json!({ "status": state })));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContainerState as S;

    const STATES: [S; 9] =
        [S::Creating, S::Running, S::Paused, S::Stopped, S::Asleep, S::Failed, S::Copying, S::Deleting, S::Deleted];

    #[test]
    fn repeats_succeed_and_impossible_moves_are_refused() {
        let verdict = |state, op: &str| admit(state, &Wish::Operate(Operation::parse(op).unwrap()));
        assert_eq!(verdict(S::Running, "start"), Verdict::Already);
        assert_eq!(verdict(S::Stopped, "stop"), Verdict::Already);
        assert_eq!(verdict(S::Paused, "pause"), Verdict::Already);
        assert_eq!(verdict(S::Running, "resume"), Verdict::Already);
        assert_eq!(verdict(S::Asleep, "sleep"), Verdict::Already);
        for (state, op) in [(S::Running, "sleep"), (S::Asleep, "wake"), (S::Asleep, "start"), (S::Asleep, "stop")] {
            assert_eq!(verdict(state, op), Verdict::Go, "{op} while {state}");
        }
        assert_eq!(admit(S::Paused, &Wish::Wake("request")), Verdict::Already, "pausing is for whoever asked for it");
        assert_eq!(admit(S::Asleep, &Wish::Boot), Verdict::Already, "a start of the box wakes nobody");
        for (state, op) in [
            (S::Stopped, "pause"),
            (S::Paused, "stop"),
            (S::Paused, "restart"),
            (S::Paused, "sleep"),
            (S::Stopped, "sleep"),
            (S::Creating, "start"),
            (S::Copying, "stop"),
            (S::Failed, "pause"),
            (S::Deleting, "start"),
        ] {
            assert!(matches!(verdict(state, op), Verdict::Refuse(_)), "{op} while {state}");
        }
    }

    #[test]
    fn a_container_can_be_deleted_in_every_state() {
        for state in STATES {
            let again = if state == S::Deleted { Verdict::Already } else { Verdict::Go };
            assert_eq!(admit(state, &Wish::Delete), again, "{state}");
            assert_eq!(admit(state, &Wish::Purge), Verdict::Go, "{state}");
            let back = admit(state, &Wish::Undelete(None));
            assert_eq!(back == Verdict::Go, state == S::Deleted, "{state}");
        }
    }

    #[test]
    fn nothing_else_happens_to_a_container_that_is_made_or_removed() {
        let snapshot = Wish::Snapshot(NewSnapshot::default());
        for state in [S::Creating, S::Copying, S::Deleting, S::Deleted] {
            for wish in [
                &snapshot,
                &Wish::Restore("x".into()),
                &Wish::Undo,
                &Wish::Boot,
                &Wish::Halt,
                &Wish::Doze,
                &Wish::Wake("request"),
            ] {
                assert!(matches!(admit(state, wish), Verdict::Refuse(_)), "{wish:?} while {state}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_container_and_its_state() {
        let error = refusal("web", S::Paused, "resume it first");
        assert_eq!((error.status_code, error.message.as_str()), (409, "container web is paused: resume it first"));
    }
}
