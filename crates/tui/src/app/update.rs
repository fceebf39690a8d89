//! The dispatcher: one action in, the state changed, effects out.

use crossterm::event::Event as Input;
use jiff::SignedDuration;

use super::action::{Action, Done, Effect, Loaded, Timer};
use super::river::label;
use super::{App, Link, View};
use crate::backend::BackendError;
use cowl_api::event::Event;
use cowl_api::{ContainerId, ContainerState};

/// Seconds between two looks at the box' own load while something is live.
const STATUS_EVERY_S: i64 = 5;
/// Longest wait between two tries to reach a lost node, in seconds.
const RETRY_MAX_S: u32 = 5;

impl App {
    /// Takes an action.
    pub fn update(&mut self, action: Action) {
        self.dirty |= !matches!(action, Action::TerminalOutput(..) | Action::Timer(Timer::Flush));
        self.urgent |= matches!(action, Action::Input(_) | Action::Timer(Timer::Redraw));
        match action {
            Action::Input(input) => self.input(input),
            Action::Terminate => self.end = Some(None),
            Action::Loaded(Ok(loaded)) => self.loaded(*loaded),
            Action::Loaded(Err(e)) => self.load_failed(e),
            Action::Status(Ok(status)) => self.world.set_status(*status, self.now),
            // The event stream tells when the node is lost; a missed look at its load is nothing.
            Action::Status(Err(_)) => {}
            Action::WatchOpened(number) if number == self.watch && self.link != Link::Live => self.load(),
            Action::WatchOpened(_) => {}
            Action::Event(number, event) if number == self.watch => self.event(&event),
            Action::Event(..) => {}
            Action::WatchEnded(number, reason) if number == self.watch => {
                self.lost(reason.map_or_else(|| "the event stream ended".into(), |e| e.to_string()));
            }
            Action::WatchEnded(..) => {}
            Action::JobDone(id, result) => {
                let failure = result.as_ref().as_ref().err().map(ToString::to_string);
                let label = self.jobs.end(id, failure.clone(), self.now).unwrap_or_default();
                match *result {
                    Ok(done) => self.done(done),
                    Err(_) => self.fail(format!("{label}: {}", failure.unwrap_or_default())),
                }
            }
            Action::Snapshots(id, result) => self.snapshots(id, result),
            Action::Shares(id, result) => self.shares_told(id, result.map(|shares| *shares)),
            Action::Files(ticket, result) => {
                if let Some(files) = self.files(ticket) {
                    match result {
                        Ok(listing) => files.fill(*listing),
                        Err(e) => files.error = Some(e.to_string()),
                    }
                }
            }
            Action::FileRead(ticket, result) => self.file_read(ticket, result),
            Action::TerminalOpened(pane, epoch, input) => self.terminal_opened(pane, epoch, input),
            Action::TerminalFailed(pane, epoch, e) => self.terminal_failed(pane, epoch, &e),
            Action::TerminalOutput(pane, epoch, output) => {
                self.dirty |= !matches!(output, crate::backend::TermOutput::Bytes(_));
                self.terminal_output(pane, epoch, output);
            }
            Action::OpenFailed(url) => self.show_url(&url),
            Action::Timer(Timer::Redraw) => {}
            Action::Timer(Timer::Flush) => self.flush_terminals(),
            Action::Timer(Timer::Jobs) => {
                if self.jobs.running().next().is_some() {
                    self.after(250, Timer::Jobs);
                }
            }
            Action::Timer(Timer::Reconnect) => self.reconnect(),
        }
        self.settle_terminals();
        self.settle_watch();
        self.settle_shares();
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Key(key) => self.on_key(key),
            Input::Paste(text) => self.on_paste(&text),
            Input::Mouse(event) => self.on_mouse(event),
            Input::Resize(columns, rows) => self.size = (columns, rows),
            Input::FocusGained | Input::FocusLost => {}
        }
    }

    fn loaded(&mut self, loaded: Loaded) {
        self.loading = false;
        let first = !self.world.loaded;
        if self.world.load(loaded, self.now) {
            self.after(1_100, Timer::Redraw);
        }
        if first {
            self.choose_project();
            let hint = self.world.status.as_ref().and_then(|s| s.hints.first().cloned());
            if let Some(hint) = hint.filter(|_| self.notice.is_none()) {
                self.tell(hint);
            }
        }
        self.tell_made();
        if self.home.project.is_some_and(|p| self.world.project(p).is_none()) {
            self.home.project = None;
        }
        self.home.refresh(&self.world);
        self.shares.retain(|id| self.world.container(id).is_some());
        if self.link != Link::Live {
            self.link = Link::Live;
            self.shares.stale();
            self.watching_stats = None;
            self.reconnect_panes();
        }
        if std::mem::take(&mut self.reload) {
            self.load();
        }
        self.leave_deleted();
    }

    /// Tells how the containers made from here turned out.
    fn tell_made(&mut self) {
        for (id, more) in std::mem::take(&mut self.making) {
            // An answer from before it was made does not know it yet.
            let Some(c) = self.world.container(id) else {
                self.making.push((id, more));
                continue;
            };
            let name = c.name.clone();
            match c.status {
                ContainerState::Creating => self.making.push((id, more)),
                ContainerState::Running => self.tell(format!("{name} is running{more}")),
                ContainerState::Failed => {
                    let reason = c.status_reason.clone().unwrap_or_else(|| "no reason was given".into());
                    self.fail(format!("{name} could not be made: {reason}"));
                }
                _ => {}
            }
        }
    }

    /// Views of a container that is gone make no sense any more.
    fn leave_deleted(&mut self) {
        let gone = |id: ContainerId| self.world.container(id).is_none();
        let before = self.views.len();
        let keep: Vec<bool> = self
            .views
            .iter()
            .map(|v| match v {
                View::Snapshots(river) => !gone(river.container),
                View::Files(files) => !gone(files.container),
                View::Shares(view) => !gone(view.container),
                _ => true,
            })
            .collect();
        let panes = self.terminals.panes.iter();
        let orphans: Vec<_> = panes.filter(|(_, p)| gone(p.session.container)).map(|(id, _)| *id).collect();
        for pane in orphans {
            self.terminals.remove(pane);
        }
        let mut keep = keep.into_iter();
        self.views.retain(|_| keep.next().unwrap_or(true));
        if self.views.len() < before {
            self.tell("the container is gone");
        }
    }

    fn choose_project(&mut self) {
        let wanted = self.around.project.clone();
        let find = |word: &str| self.world.projects.iter().find(|p| p.alias == word || p.id.as_str() == word);
        match wanted {
            Some(word) => match find(&word).map(|p| p.id) {
                Some(id) => self.home.project = Some(id),
                None => self.fail(format!("there is no project {word:?}")),
            },
            None if self.world.projects.len() == 1 => self.home.project = self.world.projects.first().map(|p| p.id),
            None => {}
        }
    }

    fn load_failed(&mut self, e: BackendError) {
        self.loading = false;
        self.reload = false;
        match e {
            e @ BackendError::NoPermission(_) => self.end = Some(Some(e)),
            e if e.is_lost() && !self.world.loaded => self.end = Some(Some(e)),
            e if e.is_lost() || !self.world.loaded => self.lost(e.to_string()),
            e => self.fail(e.to_string()),
        }
    }

    fn lost(&mut self, reason: String) {
        let tries = match &self.link {
            Link::Lost { tries, .. } => tries + 1,
            _ => 1,
        };
        let wait = i64::from(tries.min(RETRY_MAX_S));
        let retry = self.now.checked_add(SignedDuration::from_secs(wait)).unwrap_or(self.now);
        self.link = Link::Lost { retry, tries, reason };
        self.watching_stats = None;
        self.after(1_000, Timer::Reconnect);
    }

    /// Counts down, and tries when the moment has come.
    fn reconnect(&mut self) {
        let Link::Lost { retry, .. } = &self.link else { return };
        if *retry <= self.now {
            self.load();
        } else {
            self.after(1_000, Timer::Reconnect);
        }
    }

    pub(super) fn try_again_now(&mut self) {
        if let Link::Lost { retry, .. } = &mut self.link {
            *retry = self.now;
        }
        self.reconnect();
    }

    /// Follows events; figures only while they can be seen.
    fn settle_watch(&mut self) {
        if self.link != Link::Live || self.end.is_some() {
            return;
        }
        let stats = !self.in_terminals();
        if self.watching_stats != Some(stats) {
            let first = self.watching_stats.is_none();
            self.watching_stats = Some(stats);
            self.watch += 1;
            let number = self.watch;
            self.effect(Effect::Watch { number, stats });
            // What happened between two streams is caught by asking.
            if !first {
                self.load();
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match event.event_type.as_str() {
            "container.stats" => {
                self.world.stats(&event.data);
                if matches!(self.home.sort, super::Sort::Cpu | super::Sort::Memory) {
                    self.home.refresh(&self.world);
                }
                if self.world.status_age(self.now) >= STATUS_EVERY_S {
                    // Taken as fresh until the answer is here, so that it is asked once.
                    if let Some(status) = self.world.status.clone() {
                        self.world.set_status(status, self.now);
                    }
                    self.effect(Effect::LoadStatus);
                }
            }
            "image.progress" => self.world.progress(&event.resource_id, &event.data),
            kind if kind.starts_with("storage.share.") => self.shares.stale(),
            kind => {
                self.load();
                // What is shared with a project is its containers', and ends with its source.
                if matches!(kind, "container.creating" | "container.deleted" | "project.deleted") {
                    self.shares.stale();
                }
                if kind.contains("snapshot")
                    && let Some(id) = event.container_id
                    && self.views.iter().any(|v| matches!(v, View::Snapshots(r) if r.container == id))
                {
                    self.effect(Effect::LoadSnapshots(id));
                }
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Project(project) => {
                self.tell(format!("project {} is made; n makes its first container", project.alias));
                self.home.project = Some(project.id);
                self.world.projects.push(*project);
                self.home.refresh(&self.world);
                self.views = vec![View::Home];
            }
            Done::Created(container) => {
                let warnings = container.warnings.iter().map(|w| w.message.as_str()).collect::<Vec<_>>().join("; ");
                let more = if warnings.is_empty() { String::new() } else { format!(" ({warnings})") };
                self.tell(format!("{} is being made{more}", container.name));
                let id = container.id;
                self.making.push((id, more));
                if self.world.container(id).is_none() {
                    self.world.containers.push(*container);
                }
                self.home.refresh(&self.world);
                self.home.select(id);
                // It may have been faster than the reply.
                self.tell_made();
            }
            Done::Operated(reply) => {
                let name = self.name_of(reply.container_id);
                self.tell(format!("{name} is {}", reply.status));
            }
            Done::Deleted(name) => self.tell(format!("{name} is deleted")),
            Done::Snapshot(made) => {
                let name = self.name_of(made.container_id);
                self.tell(format!("snapshot {} of {name} is taken; r goes back to it", label(&made.snapshot)));
                self.reload_river(made.container_id);
            }
            Done::Restored(id, restored) => {
                let name = self.name_of(id);
                let undo = if restored.safety_snapshot.is_some() { "; u undoes it" } else { "" };
                self.tell(format!("{name} is back at {}{undo}", label(&restored.snapshot)));
                if let Some(safety) = restored.safety_snapshot {
                    self.undo.insert(id, safety);
                }
                self.reload_river(id);
            }
            Done::SnapshotDeleted(id) => {
                self.tell("the snapshot is deleted");
                self.reload_river(id);
            }
            Done::Rebuilding => self.tell("the image is being built again"),
            Done::Shared(share) => {
                let whom =
                    share.target_container_id.map(|id| format!("; {} sees it once it accepts", self.name_of(id)));
                self.tell(format!("{} is shared{}", share.source_path, whom.unwrap_or_default()));
                self.shares.stale();
            }
            Done::ShareChanged(told) => {
                self.tell(told);
                self.shares.stale();
            }
        }
        self.load();
    }

    fn reload_river(&mut self, id: ContainerId) {
        if self.views.iter().any(|v| matches!(v, View::Snapshots(r) if r.container == id)) {
            self.effect(Effect::LoadSnapshots(id));
        }
    }

    fn snapshots(&mut self, id: ContainerId, result: Result<Vec<cowl_api::Snapshot>, BackendError>) {
        let river = self.views.iter_mut().find_map(|v| match v {
            View::Snapshots(river) if river.container == id => Some(river),
            _ => None,
        });
        match (river, result) {
            (Some(river), Ok(points)) => river.fill(points),
            (Some(river), Err(e)) => river.error = Some(e.to_string()),
            (None, _) => {}
        }
    }

    fn files(&mut self, ticket: u64) -> Option<&mut super::FilesView> {
        self.views.iter_mut().find_map(|v| match v {
            View::Files(files) if files.ticket == ticket => Some(files.as_mut()),
            _ => None,
        })
    }

    fn file_read(&mut self, ticket: u64, result: Result<Vec<u8>, BackendError>) {
        let Some(files) = self.files(ticket) else { return };
        match result {
            Ok(bytes) => {
                let path = files.selected().map(|e| files.join(&e.name)).unwrap_or_default();
                files.show(path, &bytes);
            }
            Err(e) => self.fail(e.to_string()),
        }
    }
}
