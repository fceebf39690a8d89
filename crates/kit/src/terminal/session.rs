//! A session: one PTY, one shell, its picture and its clients, owned by one driver task.
//!
//! Everybody else holds a [`SessionHandle`] and asks: a closure travels to the driver, runs with the
//! session in hand, and its answer comes back. So nothing here needs a lock, and nothing a client does
//! can stall the PTY for another.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};

use super::clients::{Attached, Clients};
use super::command::Command;
use super::frames::ServerFrame;
use super::integration::Integration;
use super::launch::Launch;
use super::logind::{self, Progress, Registration};
use super::marker::{MarkFilter, Piece};
use super::pty::{Pty, Size};
use super::screen::Picture;
use super::shellwork::{Effects, Job, ShellWork};
use crate::error::{KitError, KitResult};

/// A session nobody uses is ended after this.
const IDLE: Duration = Duration::from_secs(300);
/// Raw output kept, bytes.
const RAW_LIMIT: usize = 256 * 1024;
/// Input not yet taken by the PTY, bytes.
const OUTBOX_LIMIT: usize = 1024 * 1024;
/// Commands remembered in a session's history.
const HISTORY_LIMIT: usize = 1000;
/// For background programs to finish writing after their shell has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// For a shell to end after a hang-up.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a session came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The shell exited.
    Exited(i32),
    /// A signal or we ended it.
    Killed,
}

/// What is fixed at a session's birth.
#[derive(Debug, Clone)]
pub struct Birth {
    /// 1 to 65535.
    pub id: u32,
    /// User, shell, directory, environment.
    pub launch: Launch,
    /// First size.
    pub size: Size,
    /// Asked for by id: never reaped for being idle.
    pub pinned: bool,
}

/// A living session. Only its driver and the closures it runs see it.
#[derive(Debug)]
pub struct Session {
    /// How it was born.
    pub birth: Birth,
    /// When.
    pub created: jiff::Timestamp,
    /// The terminal.
    pub pty: Pty,
    /// What the screen shows.
    pub picture: Picture,
    /// Who watches.
    pub clients: Clients,
    /// Commands on the shell.
    pub work: ShellWork,
    /// Commands asked for through the API, oldest first.
    pub history: VecDeque<Arc<Command>>,
    filter: MarkFilter,
    raw: VecDeque<u8>,
    outbox: VecDeque<u8>,
    last_used: Instant,
    changes: watch::Sender<u64>,
    closing: bool,
    _registration: Registration,
}

type Ask = Box<dyn FnOnce(&mut Session) + Send>;

/// The way to a session.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    /// Its id.
    pub id: u32,
    asks: mpsc::Sender<Ask>,
    changes: watch::Receiver<u64>,
    ended: watch::Receiver<Option<Ended>>,
    registered: watch::Receiver<Progress>,
}

impl SessionHandle {
    /// Runs `question` with the session in hand.
    ///
    /// # Errors
    /// 404 when the session has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Session) -> T + Send + 'static,
    ) -> KitResult<T> {
        let (answer, answered) = oneshot::channel();
        let gone = || KitError::not_found(format!("terminal session {} has ended", self.id));
        let ask: Ask = Box::new(move |session| {
            // Who asked may have left.
            let _ = answer.send(question(session));
        });
        self.asks.send(ask).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    /// Waits, but not for long, until the container's logind knows the session or will not.
    pub async fn settled(&self) {
        logind::settled(self.registered.clone()).await;
    }

    /// A counter that changes with every output.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(end) => (*end).unwrap_or(Ended::Killed),
            Err(_) => Ended::Killed,
        }
    }

    /// Whether this is the very same session.
    pub fn is(&self, other: &Self) -> bool {
        self.asks.same_channel(&other.asks)
    }
}

impl Session {
    /// Starts a shell and its driver. `on_end` is called once, after the end.
    ///
    /// # Errors
    /// What the kernel says about the terminal, the private directory or the shell.
    pub fn start(birth: Birth, runtime_dir: &Path, on_end: impl FnOnce() + Send + 'static) -> KitResult<SessionHandle> {
        let failed = |error: std::io::Error| KitError::internal(format!("cannot start a shell: {error}"));
        let integration = Integration::prepare(runtime_dir, &birth.launch).map_err(failed)?;
        let (hooks, arguments) = integration.hooks();
        let filter = MarkFilter::new(integration.nonce());
        let surround = |command: &mut tokio::process::Command| {
            birth.launch.surround(command, true);
            command.envs(hooks);
        };
        let (pty, child) = Pty::spawn(&birth.launch.argv(arguments), surround, birth.size).map_err(failed)?;
        let (asks, questions) = mpsc::channel(64);
        let (end, ended) = watch::channel(None);
        let changes = watch::Sender::new(0);
        let (registration, registered) = logind::register(&birth.launch.account, pty.pid, pty.name.clone());
        let handle = SessionHandle { id: birth.id, asks, changes: changes.subscribe(), ended, registered };
        let session = Self {
            created: jiff::Timestamp::now(),
            picture: Picture::new(birth.size),
            birth,
            pty,
            clients: Clients::default(),
            work: ShellWork::new(integration),
            history: VecDeque::new(),
            filter,
            raw: VecDeque::new(),
            outbox: VecDeque::new(),
            last_used: Instant::now(),
            changes,
            closing: false,
            _registration: registration,
        };
        tokio::spawn(async move {
            let how = session.drive(child, questions).await;
            on_end();
            end.send_replace(Some(how));
        });
        Ok(handle)
    }

    async fn drive(mut self, mut child: Child, mut questions: mpsc::Receiver<Ask>) -> Ended {
        let mut buffer = vec![0; 32 * 1024];
        let exit = loop {
            let deadline = tokio::time::Instant::from_std(self.deadline());
            tokio::select! {
                question = questions.recv() => match question {
                    Some(question) => question(&mut self),
                    None => self.closing = true,
                },
                read = self.pty.read(&mut buffer) => match read {
                    // Nobody has the terminal open: the shell has ended or is about to.
                    Ok(0) | Err(_) => break tokio::time::timeout(FAREWELL, child.wait()).await.ok(),
                    Ok(length) => self.heard(&buffer[..length]),
                },
                written = self.pty.write(self.outbox.as_slices().0), if !self.outbox.is_empty() => match written {
                    Ok(length) => drop(self.outbox.drain(..length)),
                    Err(_) => self.outbox.clear(),
                },
                status = child.wait() => {
                    self.last_words(&mut buffer).await;
                    break Some(status);
                }
                () = tokio::time::sleep_until(deadline) => self.tick(),
            }
            if self.closing {
                self.pty.hang_up();
                break tokio::time::timeout(FAREWELL, child.wait()).await.ok();
            }
        };
        let code = exit.and_then(Result::ok).and_then(|status| status.code());
        self.work.shell_ended(code);
        match code {
            Some(code) => Ended::Exited(code),
            // `child` is killed when dropped.
            None => Ended::Killed,
        }
    }

    /// Reads what is left on the terminal.
    async fn last_words(&mut self, buffer: &mut [u8]) {
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while let Ok(Ok(length @ 1..)) = tokio::time::timeout_at(until, self.pty.read(buffer)).await {
            self.heard(&buffer[..length]);
        }
        let rest = self.filter.finish();
        self.show(&rest);
    }

    fn heard(&mut self, chunk: &[u8]) {
        for piece in self.filter.push(chunk) {
            match piece {
                Piece::Output(bytes) => {
                    let visible = self.work.output(bytes);
                    self.show(&visible);
                }
                Piece::Mark(mark) => {
                    let effects = self.work.mark(mark, &self.pty);
                    self.apply(effects);
                }
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    fn apply(&mut self, effects: Effects) {
        self.show(&effects.show);
        self.outbox.extend(effects.send);
    }

    fn show(&mut self, output: &[u8]) {
        if output.is_empty() {
            return;
        }
        self.last_used = Instant::now();
        let was_alternate = self.picture.screen().alternate_screen();
        let old_title = self.picture.title().to_owned();
        let replies = self.picture.draw(output);
        if self.clients.is_empty() {
            // Otherwise the clients' own terminals answer.
            self.outbox.extend(replies);
        }
        self.raw.extend(output);
        let excess = self.raw.len().saturating_sub(RAW_LIMIT);
        self.raw.drain(..excess);
        self.clients.send(&ServerFrame::Output.with(output));
        if was_alternate && !self.picture.screen().alternate_screen() {
            self.clients.settle_debts(&mut self.picture);
        }
        if self.picture.title() != old_title {
            self.clients.send(&ServerFrame::Title.with(self.picture.title().as_bytes()));
        }
    }

    fn is_unused(&self) -> bool {
        !self.birth.pinned && self.clients.is_empty() && self.work.is_idle()
    }

    fn deadline(&self) -> Instant {
        let work = self.work.deadline();
        let idle = self.is_unused().then(|| self.last_used + IDLE);
        let far = Instant::now() + Duration::from_secs(86_400);
        [work, idle].into_iter().flatten().min().unwrap_or(far)
    }

    fn tick(&mut self) {
        let effects = self.work.tick(Instant::now(), &self.pty);
        self.apply(effects);
        if self.is_unused() && self.last_used.elapsed() >= IDLE {
            if self.pty.shell_has_children() {
                self.last_used = Instant::now();
            } else {
                self.closing = true;
            }
        }
    }

    /// Adds a client.
    pub fn attach(&mut self, size: Option<Size>) -> Attached {
        self.last_used = Instant::now();
        if let Some(size) = size {
            self.resize(size);
        }
        let id = self.birth.id.to_string();
        let shell = self.birth.launch.shell_name().to_owned();
        let greeting = [
            ServerFrame::TerminalId.with(id.as_bytes()),
            ServerFrame::Shell.with(shell.as_bytes()),
            ServerFrame::Preferences.with(b"{}"),
            ServerFrame::Title.with(self.picture.title().as_bytes()),
        ];
        self.clients.attach(&mut self.picture, greeting)
    }

    /// Removes a client.
    pub fn detach(&mut self, client: u64) {
        self.last_used = Instant::now();
        self.clients.detach(client);
    }

    /// Shows a client everything anew.
    pub fn redraw(&mut self, client: u64) {
        self.clients.redraw(client, &mut self.picture);
    }

    /// Changes the size for everybody; the last to ask wins.
    pub fn resize(&mut self, size: Size) {
        if size != self.picture.size() {
            self.picture.resize(size);
            if let Err(error) = self.pty.resize(size) {
                tracing::warn!(session = self.birth.id, %error, "cannot resize the terminal");
            }
        }
    }

    /// Types keys.
    ///
    /// # Errors
    /// 503 when the program has not read what was typed before.
    pub fn input(&mut self, keys: &[u8]) -> KitResult<()> {
        self.last_used = Instant::now();
        if self.outbox.len() + keys.len() > OUTBOX_LIMIT {
            return Err(KitError::busy("the program on this terminal does not read its input"));
        }
        let now = self.work.input(keys);
        self.outbox.extend(now);
        Ok(())
    }

    /// Puts a command in line.
    ///
    /// # Errors
    /// 503 when too many wait.
    pub fn execute(&mut self, job: Job) -> KitResult<()> {
        self.last_used = Instant::now();
        let command = job.command.clone();
        let effects =
            self.work.enqueue(job).map_err(|_| KitError::busy("too many commands wait in this terminal session"))?;
        self.apply(effects);
        self.history.push_back(command);
        if self.history.len() > HISTORY_LIMIT {
            self.history.pop_front();
        }
        Ok(())
    }

    /// The last `tail` bytes of raw output.
    pub fn raw(&self, tail: Option<usize>) -> Bytes {
        let skip = tail.map_or(0, |tail| self.raw.len().saturating_sub(tail));
        self.raw.iter().skip(skip).copied().collect()
    }

    /// Ends the session.
    pub fn close(&mut self) {
        self.closing = true;
    }
}
