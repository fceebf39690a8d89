//! All sessions and all remembered commands of one container.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::command::{Command, Sink};
use super::launch::Launch;
use super::pty::Size;
use super::session::{Birth, Session, SessionHandle};
use crate::Context;
use crate::error::{KitError, KitResult};

/// Sessions at one time.
const SESSION_LIMIT: usize = 256;
/// Ids from here on are handed out.
pub const FIRST_EPHEMERAL: u32 = 40_000;
/// The last id.
pub const LAST_ID: u32 = 65_535;
/// Results without a session are kept this long.
const KEEP: Duration = Duration::from_secs(300);
/// Commands remembered.
const COMMAND_LIMIT: usize = 4096;
/// Output remembered, bytes, of all commands together.
const OUTPUT_LIMIT: usize = 64 * 1024 * 1024;

/// The set.
#[derive(Debug)]
pub struct Sessions {
    context: Arc<Context>,
    inner: Mutex<Inner>,
    this: Weak<Self>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<u32, SessionHandle>,
    commands: HashMap<String, Arc<Command>>,
    /// Ids of `commands`, oldest first.
    order: std::collections::VecDeque<String>,
    last_ephemeral: u32,
}

impl Sessions {
    /// None yet.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self { context, inner: Mutex::default(), this: this.clone() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic between two map operations leaves no half state behind.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session with this id.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn get(&self, id: u32) -> KitResult<SessionHandle> {
        let found = self.inner().sessions.get(&id).cloned();
        found.ok_or_else(|| KitError::not_found(format!("there is no terminal session {id}")))
    }

    /// All, by id.
    pub fn all(&self) -> Vec<SessionHandle> {
        let mut all: Vec<_> = self.inner().sessions.values().cloned().collect();
        all.sort_by_key(|session| session.id);
        all
    }

    /// The session with this id, started now if there is none; says whether it was.
    ///
    /// # Errors
    /// 503 when there are too many; 500 when the shell cannot be started.
    pub fn open(&self, id: u32, size: Size, pinned: bool, launch: Launch) -> KitResult<(SessionHandle, bool)> {
        let mut inner = self.inner();
        if let Some(session) = inner.sessions.get(&id) {
            return Ok((session.clone(), false));
        }
        if inner.sessions.len() >= SESSION_LIMIT {
            return Err(KitError::busy(format!("{SESSION_LIMIT} terminal sessions are open; close one first")));
        }
        let this = self.this.clone();
        let (tell, told) = std::sync::mpsc::channel::<SessionHandle>();
        let on_end = move || {
            if let (Some(this), Ok(handle)) = (this.upgrade(), told.recv()) {
                this.forget(&handle);
            }
        };
        let birth = Birth { id, launch, size, pinned };
        let handle = Session::start(birth, &self.context.runtime_dir, on_end)?;
        // Its driver waits for this before it lets itself be forgotten.
        let _ = tell.send(handle.clone());
        inner.sessions.insert(id, handle.clone());
        Ok((handle, true))
    }

    fn forget(&self, handle: &SessionHandle) {
        let mut inner = self.inner();
        if inner.sessions.get(&handle.id).is_some_and(|current| current.is(handle)) {
            inner.sessions.remove(&handle.id);
        }
    }

    /// Ends a session; its id is free at once.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn close(&self, id: u32) -> KitResult<()> {
        let handle = self.get(id)?;
        self.forget(&handle);
        // It may have ended by itself meanwhile, which is as good.
        let _ = handle.ask(Session::close).await;
        Ok(())
    }

    /// An id above [`FIRST_EPHEMERAL`] that no session has.
    pub fn ephemeral_id(&self) -> u32 {
        let mut inner = self.inner();
        loop {
            let next = inner.last_ephemeral.max(FIRST_EPHEMERAL - 1) + 1;
            inner.last_ephemeral = if next > LAST_ID { FIRST_EPHEMERAL } else { next };
            if !inner.sessions.contains_key(&inner.last_ephemeral) {
                return inner.last_ephemeral;
            }
        }
    }

    /// Remembers a new command.
    ///
    /// # Errors
    /// 400 for an id of odd characters, 409 for one that is taken.
    pub fn register(
        &self,
        id: Option<&str>,
        terminal_id: u32,
        text: String,
        on_pty: bool,
        sink: Option<Sink>,
    ) -> KitResult<Arc<Command>> {
        let id = match id.filter(|id| !id.is_empty()) {
            Some(id) => {
                let fine = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
                if id.len() > 128 || !id.chars().all(fine) {
                    return Err(KitError::bad_request("id: at most 128 letters, digits and . _ : -"));
                }
                id.to_owned()
            }
            None => format!("cmd_{:016x}", rand::random::<u64>()),
        };
        let mut inner = self.inner();
        inner.prune();
        if inner.commands.contains_key(&id) {
            return Err(KitError::conflict(format!("id: a command {id:?} exists already")));
        }
        if inner.commands.len() >= COMMAND_LIMIT {
            return Err(KitError::busy("too many commands are running"));
        }
        let command = Arc::new(Command::new(id.clone(), terminal_id, text, on_pty, sink));
        inner.commands.insert(id.clone(), command.clone());
        inner.order.push_back(id);
        Ok(command)
    }

    /// A remembered command.
    ///
    /// # Errors
    /// 404 when there is none, or no more.
    pub fn command(&self, id: &str) -> KitResult<Arc<Command>> {
        let mut inner = self.inner();
        inner.prune();
        inner.commands.get(id).cloned().ok_or_else(|| KitError::not_found(format!("there is no command {id:?}")))
    }
}

impl Inner {
    /// Forgets commands whose time is up, and the oldest finished ones when there are too many.
    fn prune(&mut self) {
        let mut weight: usize = self.commands.values().map(|command| command.weight()).sum();
        let mut count = self.commands.len();
        let Self { sessions, commands, order, .. } = self;
        order.retain(|id| {
            let Some(command) = commands.get(id) else { return false };
            let Some(ended_for) = command.ended_for() else { return true };
            let expired = ended_for > KEEP && !(command.on_pty() && sessions.contains_key(&command.terminal_id));
            let too_much = count >= COMMAND_LIMIT || weight > OUTPUT_LIMIT;
            // What has just ended is still to be collected.
            let collected = ended_for > Duration::from_secs(1);
            if !(expired || too_much && collected) {
                return true;
            }
            weight -= command.weight();
            count -= 1;
            commands.remove(id);
            false
        });
    }
}
