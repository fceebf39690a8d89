//! What each command does. One match, one small function each.

use super::action::{Effect, Work};
use super::asks::{Ask, CreateForm};
use super::river::{FilesView, River, label};
use super::{App, Link, Overlay, View};
use crate::keymap::{Command, Mode};
use crate::widgets::input::Input as Line;
use crate::widgets::list::ListState;
use cowl_api::container::Operation;
use cowl_api::files::PathType;
use cowl_api::server::ImageState;
use cowl_api::{Container, ContainerId, ContainerState};

impl App {
    /// Runs a command.
    pub fn command(&mut self, command: Command) {
        if self.in_terminals() && self.terminal_command(command) {
            return;
        }
        if self.navigate(command) {
            return;
        }
        match command {
            Command::Quit => self.end = Some(None),
            Command::Back | Command::Detach | Command::Cancel => self.back(),
            Command::Help => {
                let mode = self.mode();
                self.overlay = Some(Overlay::Help { filter: Line::default(), list: ListState::default(), mode });
            }
            Command::Palette => {
                self.overlay = Some(Overlay::Palette { query: Line::default(), list: ListState::default() });
            }
            Command::Jobs => self.overlay = Some(Overlay::Jobs(ListState::default())),
            Command::Mouse => {
                self.mouse = !self.mouse;
                self.tell(if self.mouse { "the mouse is captured" } else { "the mouse is the terminal's again" });
            }
            Command::Refresh => self.refresh(),
            Command::Filter => self.ask_filter(),
            Command::Sort => self.resort(|home| home.sort = home.sort.next()),
            Command::SortReverse => self.resort(|home| home.reverse = !home.reverse),
            Command::Mark => self.mark(),
            Command::Projects => self.show_projects(),
            Command::New => self.ask_create(),
            Command::NewProject => self.overlay = Some(Overlay::Ask(Ask::ProjectName(Line::default()))),
            Command::RetryImage => self.retry_image(),
            Command::Open => self.open(),
            _ => self.command_on_selection(command),
        }
    }

    fn command_on_selection(&mut self, command: Command) {
        let Some(container) = self.selected().cloned() else {
            self.tell("nothing is selected");
            return;
        };
        if self.share_command(&container, command) {
            return;
        }
        match command {
            Command::Terminal => self.terminal_or_start(&container),
            Command::Snapshot => self.ask_snapshot(),
            Command::Snapshots => self.show_river(&container, false),
            Command::Restore => self.restore(&container),
            Command::UndoRestore => self.undo_restore(&container),
            Command::Files => self.show_files(&container),
            Command::Actions if matches!(self.view(), View::Snapshots(_)) => {
                self.overlay = Some(Overlay::Actions(Mode::SnapshotActions));
            }
            Command::Actions => self.overlay = Some(Overlay::Actions(Mode::Actions)),
            Command::Start => self.operate(Operation::Start, "starting"),
            Command::Stop => self.operate(Operation::Stop, "stopping"),
            Command::Restart => self.operate(Operation::Restart, "restarting"),
            Command::ForceStop => self.operate(Operation::ForceStop, "killing"),
            Command::Pause => self.operate(Operation::Pause, "pausing"),
            Command::Resume => self.operate(Operation::Resume, "resuming"),
            Command::Sleep => self.operate(Operation::Sleep, "putting to sleep"),
            Command::Delete => self.ask_delete(&container),
            Command::CopyUrl => {
                let url = self.world.url(&container, "terminal-1");
                self.copy(&url);
            }
            Command::OpenUrl => {
                let url = self.world.url(&container, "terminal-1");
                self.open_url(url);
            }
            _ => {}
        }
    }

    fn navigate(&mut self, command: Command) -> bool {
        let rows = self.home.rows.len();
        let projects = self.world.projects.len() + 1;
        match self.views.last_mut() {
            Some(View::Home) | None => self.home.list.navigate(command, rows),
            Some(View::Projects(list)) => list.navigate(command, projects),
            Some(View::Snapshots(river)) => {
                let len = river.len();
                river.list.navigate(command, len)
            }
            Some(View::Files(files)) => match &mut files.preview {
                Some(preview) => {
                    let len = preview.lines.as_ref().map_or(0, Vec::len);
                    preview.list.navigate(command, len)
                }
                None => {
                    let len = files.shown().len();
                    files.list.navigate(command, len)
                }
            },
            Some(View::Shares(view)) => {
                let len = self.shares.of(view.container).and_then(Result::ok).map_or(0, super::Shares::len);
                view.list.navigate(command, len)
            }
            Some(View::Terminals) => false,
        }
    }

    fn back(&mut self) {
        self.notice = None;
        self.leader = false;
        match self.views.last_mut() {
            Some(View::Home) if !self.home.filter.is_empty() => {
                self.home.filter.clear();
                self.home.refresh(&self.world);
            }
            Some(View::Home) if !self.home.marked.is_empty() => self.home.marked.clear(),
            Some(View::Files(files)) if files.preview.is_some() => files.preview = None,
            Some(View::Files(files)) if !files.filter.is_empty() => files.filter.clear(),
            Some(View::Files(files)) => match files.parent() {
                Some((above, name)) => self.go_to(above, Some(name)),
                None => self.pop(),
            },
            _ => self.pop(),
        }
    }

    fn pop(&mut self) {
        if self.views.len() > 1 {
            self.views.pop();
        }
    }

    fn refresh(&mut self) {
        if matches!(self.link, Link::Lost { .. }) {
            self.try_again_now();
        } else {
            self.load();
        }
        self.shares.stale();
        let container = match self.view() {
            View::Snapshots(river) => Some(river.container),
            _ => None,
        };
        if let Some(id) = container {
            self.effect(Effect::LoadSnapshots(id));
        }
        if let View::Files(files) = self.view() {
            let path = files.path.clone();
            self.go_to(path, None);
        }
    }

    fn ask_filter(&mut self) {
        let now = match self.view() {
            View::Home => self.home.filter.clone(),
            View::Files(files) if files.preview.is_none() => files.filter.clone(),
            _ => return,
        };
        self.overlay = Some(Overlay::Ask(Ask::Filter(Line::new(&now))));
    }

    fn resort(&mut self, change: impl FnOnce(&mut super::Home)) {
        change(&mut self.home);
        self.home.refresh(&self.world);
    }

    fn mark(&mut self) {
        let Some(id) = self.home.selected(&self.world).map(|c| c.id) else { return };
        if !self.home.marked.remove(&id) {
            self.home.marked.insert(id);
        }
        let rows = self.home.rows.len();
        self.home.list.navigate(Command::Down, rows);
    }

    fn show_projects(&mut self) {
        let at = self.home.project.and_then(|id| self.world.projects.iter().position(|p| p.id == id));
        let mut list = ListState::default();
        list.selected = at.map_or(0, |i| i + 1);
        self.views.push(View::Projects(list));
    }

    fn ask_create(&mut self) {
        if self.world.projects.is_empty() {
            self.overlay = Some(Overlay::Ask(Ask::ProjectName(Line::default())));
            self.tell("a container needs a project first");
            return;
        }
        let form = CreateForm::new(&self.world, self.home.project);
        self.overlay = Some(Overlay::Create(Box::new(form)));
    }

    fn retry_image(&mut self) {
        let Some(image) = self.world.unready_image().filter(|i| i.state == ImageState::Failed) else {
            self.tell("no image needs building again");
            return;
        };
        let name = image.name.clone();
        self.run(format!("asking for {name} to be built again"), None, None, Work::RebuildImage(name));
    }

    fn open(&mut self) {
        match self.views.last() {
            Some(View::Projects(list)) => {
                let at = list.selected;
                self.home.project = at.checked_sub(1).and_then(|i| self.world.projects.get(i)).map(|p| p.id);
                self.home.refresh(&self.world);
                self.views = vec![View::Home];
            }
            Some(View::Files(_)) => self.open_entry(),
            Some(View::Snapshots(_)) => self.command_on_selection(Command::Files),
            Some(View::Terminals | View::Shares(_)) => {}
            Some(View::Home) | None => match self.home.selected(&self.world).cloned() {
                Some(container) => self.terminal_or_start(&container),
                None => self.tell("there is no container here yet"),
            },
        }
    }

    fn terminal_or_start(&mut self, c: &Container) {
        match c.status {
            // What sleeps wakes by being opened.
            ContainerState::Running | ContainerState::Asleep => self.open_terminal(c.id),
            ContainerState::Stopped | ContainerState::Failed | ContainerState::Paused => {
                self.overlay = Some(Overlay::Ask(Ask::StartFirst(c.id)));
            }
            state => self.tell(format!("{} is {state}; wait for it to run", c.name)),
        }
    }

    fn open_entry(&mut self) {
        let ticket = self.next_ticket();
        let Some(View::Files(files)) = self.views.last_mut() else { return };
        if files.preview.is_some() {
            return;
        }
        let Some(entry) = files.selected().cloned() else { return };
        let path = files.join(&entry.name);
        match entry.path_type {
            PathType::Dir | PathType::SymlinkDir => self.go_to(path, None),
            PathType::File | PathType::SymlinkFile => {
                files.ticket = ticket;
                let effect = Effect::ReadFile(ticket, files.of.clone(), path);
                self.effect(effect);
            }
        }
    }

    /// Asks for a directory of the files looked at.
    pub(super) fn go_to(&mut self, path: String, arrive_at: Option<String>) {
        let ticket = self.next_ticket();
        let Some(View::Files(files)) = self.views.last_mut() else { return };
        files.ticket = ticket;
        files.path.clone_from(&path);
        files.entries = None;
        files.error = None;
        files.filter.clear();
        files.arrive_at = arrive_at;
        let effect = Effect::ListFiles(ticket, files.of.clone(), path);
        self.effect(effect);
    }

    fn next_ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.ticket
    }

    fn show_files(&mut self, c: &Container) {
        let snapshot = match self.view() {
            View::Snapshots(river) => river.point().cloned(),
            View::Files(_) => return,
            _ => None,
        };
        let ticket = self.next_ticket();
        self.views.push(View::Files(Box::new(FilesView::new(c, snapshot.as_ref(), ticket))));
        self.go_to("/".into(), None);
    }

    fn show_river(&mut self, c: &Container, to_newest: bool) {
        if !matches!(self.view(), View::Snapshots(_)) {
            self.views.push(View::Snapshots(River::new(c, to_newest)));
        }
        self.effect(Effect::LoadSnapshots(c.id));
    }

    fn restore(&mut self, c: &Container) {
        let View::Snapshots(river) = self.view() else {
            self.show_river(c, true);
            return;
        };
        match river.point() {
            Some(point) => {
                let snapshot = Box::new(point.clone());
                self.overlay = Some(Overlay::Ask(Ask::Restore { container: c.id, snapshot }));
            }
            None => self.tell("this is now; choose a point below to go back to"),
        }
    }

    fn undo_restore(&mut self, c: &Container) {
        let safety = self.undo.get(&c.id).cloned();
        let View::Snapshots(river) = self.view() else { return };
        let mut points = river.points.iter().flatten();
        let point = match &safety {
            Some(name) => points.find(|p| p.name == *name),
            // Without a restore of this session: the newest picture taken before one.
            None => points.find(|p| p.kind == "safety"),
        };
        match point.cloned() {
            Some(point) => {
                let snapshot = Box::new(point);
                self.overlay = Some(Overlay::Ask(Ask::Restore { container: c.id, snapshot }));
            }
            None => self.tell("there is no restore to undo"),
        }
    }

    /// The marked containers, or the selected one.
    fn batch(&self) -> Vec<ContainerId> {
        if matches!(self.view(), View::Home) && !self.home.marked.is_empty() {
            return self.home.marked.iter().copied().collect();
        }
        self.selected().map(|c| c.id).into_iter().collect()
    }

    fn ask_snapshot(&mut self) {
        let containers = self.batch();
        self.overlay = Some(Overlay::Ask(Ask::SnapshotName { containers, input: Line::default() }));
    }

    fn ask_delete(&mut self, c: &Container) {
        if let View::Snapshots(river) = self.view() {
            let Some(point) = river.point() else {
                self.tell("this is now; only points below can be deleted");
                return;
            };
            let ask = Ask::DeleteSnapshot {
                container: c.id,
                snapshot: point.name.clone(),
                expected: label(point).to_owned(),
                input: Line::default(),
            };
            self.overlay = Some(Overlay::Ask(ask));
            return;
        }
        let containers = self.batch();
        // The one that is marked need not be the one that is selected.
        let expected = match containers.as_slice() {
            [one] => self.name_of(*one),
            several => several.len().to_string(),
        };
        self.overlay = Some(Overlay::Ask(Ask::Delete { containers, expected, input: Line::default() }));
    }

    pub(super) fn operate(&mut self, operation: Operation, verb: &'static str) {
        for id in self.batch() {
            let name = self.name_of(id);
            self.run(format!("{verb} {name}"), Some(id), Some(verb), Work::Operate(id, operation));
        }
    }

    /// A container's name, or its id when it is gone.
    pub fn name_of(&self, id: ContainerId) -> String {
        self.world.container(id).map_or_else(|| id.to_string(), |c| c.name.clone())
    }

    /// Puts text on the clipboard and shows it: whether it arrived cannot be known.
    pub fn copy(&mut self, text: &str) {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        self.effect(Effect::Clipboard(encoded));
        self.tell(format!("copied {text}"));
    }

    fn open_url(&mut self, url: String) {
        if self.around.ssh {
            self.show_url(&url);
        } else {
            self.tell(format!("opening {url}"));
            self.effect(Effect::OpenUrl(url));
        }
    }

    /// Shows a URL for a browser on another machine, with the line that makes it work there.
    pub(super) fn show_url(&mut self, url: &str) {
        let port = self.world.port();
        self.copy(url);
        self.notice = None;
        self.overlay = Some(Overlay::Note(vec![
            "The browser runs on your machine, not on this box. The URL (copied):".into(),
            url.to_owned(),
            "It works there after:".into(),
            format!("ssh -L {port}:127.0.0.1:{port} {}", self.around.login),
        ]));
    }

    /// Pasted text goes where typed text would.
    pub(super) fn on_paste(&mut self, text: &str) {
        if self.overlay.is_none() && self.in_terminals() {
            let bracketed = self.terminals.focused().is_some_and(|p| p.term.screen().bracketed_paste());
            self.type_into_terminal(crate::term::encode_paste(text, bracketed));
            return;
        }
        match &mut self.overlay {
            Some(Overlay::Ask(ask)) => {
                if let Some(input) = ask.input_mut() {
                    input.insert(text);
                }
                if matches!(ask, Ask::Filter(_)) {
                    let text = ask.input().map(Line::text).unwrap_or_default();
                    self.set_filter(&text);
                }
            }
            Some(Overlay::Create(form)) if form.field == super::Field::Name => form.name.insert(text),
            Some(Overlay::CreateShare(form)) => {
                if let Some(input) = form.input_mut() {
                    input.insert(text);
                }
            }
            Some(Overlay::Palette { query, .. }) => query.insert(text),
            Some(Overlay::Help { filter, .. }) => filter.insert(text),
            Some(_) | None => {}
        }
    }
}

impl App {
    /// Opens a terminal of a container, or asks to start it.
    pub fn open_container(&mut self, id: ContainerId) {
        if let Some(container) = self.world.container(id).cloned() {
            self.terminal_or_start(&container);
        }
    }
}
