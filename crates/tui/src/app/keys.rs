//! Where a key goes: first to what lies over the view, then to a terminal, then to the key map.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::action::Work;
use super::asks::{Ask, Field};
use super::{App, Overlay, View};
use crate::keymap::{Command, Key, Lookup, Mode};
use crate::panes::{help, palette};
use crate::term;
use cowl_api::container::{CreateContainer, Operation};
use cowl_api::project::CreateProject;

impl App {
    pub(super) fn on_key(&mut self, event: KeyEvent) {
        if event.kind == KeyEventKind::Release {
            return;
        }
        if self.too_small() {
            if matches!(event.code, KeyCode::Char('q')) || is_ctrl_c(event) {
                self.end = Some(None);
            }
            return;
        }
        match self.overlay.take() {
            Some(overlay) => self.overlay_key(overlay, event),
            None if self.in_terminals() => self.terminal_key(event),
            None => self.view_key(event),
        }
    }

    fn view_key(&mut self, event: KeyEvent) {
        self.chord.push(Key::from(event));
        match self.keymap.lookup(self.mode(), &self.chord) {
            Lookup::Run(command) => {
                self.chord.clear();
                if self.notice.as_ref().is_some_and(|n| n.failed) && command == Command::Back {
                    self.notice = None;
                } else {
                    self.command(command);
                }
            }
            Lookup::Prefix => {}
            Lookup::Unbound => self.chord.clear(),
        }
    }

    fn terminal_key(&mut self, event: KeyEvent) {
        let key = Key::from(event);
        if self.leader {
            self.chord.push(key);
            match self.keymap.lookup(Mode::Leader, &self.chord) {
                Lookup::Prefix => return,
                Lookup::Run(command) => self.command(command),
                // The leader twice types it.
                Lookup::Unbound if self.keymap.lookup(Mode::Terminal, &[key]) == Lookup::Run(Command::Leader) => {
                    self.send_key(event);
                }
                Lookup::Unbound => self.tell(format!("the leader knows no {}", key.label())),
            }
            self.leader = false;
            self.chord.clear();
        } else if let Lookup::Run(Command::Leader) = self.keymap.lookup(Mode::Terminal, &[key]) {
            self.leader = true;
            self.chord.clear();
            self.terminals.hint_until = self.terminals.hint_until.map(|_| self.now);
        } else if self.terminals.scrolling {
            match self.keymap.lookup(Mode::Copy, &[key]) {
                Lookup::Run(Command::Back) => self.stop_scrolling(),
                Lookup::Run(command) => self.scroll(command),
                Lookup::Prefix | Lookup::Unbound => {}
            }
        } else {
            self.send_key(event);
        }
    }

    fn send_key(&mut self, event: KeyEvent) {
        let application = self.terminals.focused().is_some_and(|p| p.term.screen().application_cursor());
        self.type_into_terminal(term::encode_key(event, application));
    }

    /// Keys of what lies over the view; it is put back unless the key ended it.
    fn overlay_key(&mut self, overlay: Overlay, event: KeyEvent) {
        let prompt = match self.keymap.lookup(Mode::Prompt, &[Key::from(event)]) {
            Lookup::Run(command) => Some(command),
            _ => None,
        };
        match overlay {
            Overlay::Note(_) => {}
            Overlay::Help { mut filter, mut list, mode } => {
                if prompt == Some(Command::Cancel) || prompt == Some(Command::Accept) {
                    return;
                }
                let len = help::lines(&self.keymap, mode, &filter.text()).len();
                if !scroll_key(&mut list, event, len) && filter.key(event) {
                    list.selected = 0;
                }
                self.overlay = Some(Overlay::Help { filter, list, mode });
            }
            Overlay::Jobs(mut list) => {
                if prompt == Some(Command::Cancel) || matches!(event.code, KeyCode::Char('q' | 'J') | KeyCode::Enter) {
                    return;
                }
                scroll_key(&mut list, event, self.jobs.len());
                self.overlay = Some(Overlay::Jobs(list));
            }
            Overlay::Palette { mut query, mut list } => {
                let found = palette::search(self, &query.text());
                match prompt {
                    Some(Command::Cancel) => return,
                    Some(Command::Accept) => {
                        if let Some(entry) = found.get(list.selected) {
                            palette::run(self, &entry.what);
                        }
                        return;
                    }
                    _ => {}
                }
                if event.code == KeyCode::Char('y') && event.modifiers.contains(KeyModifiers::CONTROL) {
                    if let Some(curl) = found.get(list.selected).and_then(|e| palette::curl(self, &e.what)) {
                        self.copy(&curl);
                    }
                    return;
                }
                if !scroll_key(&mut list, event, found.len()) && query.key(event) {
                    list.selected = 0;
                }
                self.overlay = Some(Overlay::Palette { query, list });
            }
            Overlay::Actions(mode) => {
                if let Lookup::Run(command) = self.keymap.lookup(mode, &[Key::from(event)]) {
                    self.command(command);
                } else if prompt != Some(Command::Cancel) {
                    self.overlay = Some(Overlay::Actions(mode));
                }
            }
            Overlay::Create(form) => self.form_key(form, event, prompt),
            Overlay::CreateShare(form) => self.share_form_key(form, event, prompt),
            Overlay::Ask(ask) => self.ask_key(ask, event, prompt),
        }
    }

    fn form_key(&mut self, mut form: Box<super::CreateForm>, event: KeyEvent, prompt: Option<Command>) {
        match prompt {
            Some(Command::Cancel) => return,
            Some(Command::Accept) if self.submit(&mut form) => return,
            Some(Command::Accept) => {}
            Some(Command::NextField) => form.step(true),
            Some(Command::PreviousField) => form.step(false),
            Some(command @ (Command::NextChoice | Command::PreviousChoice)) if form.field != Field::Name => {
                let forward = command == Command::NextChoice;
                match form.field {
                    Field::Tier => form.tier.step(forward),
                    Field::Project => form.project.step(forward),
                    Field::Name => {}
                }
            }
            _ if form.field == Field::Name => {
                form.name.key(event);
                form.refused = None;
            }
            _ => {}
        }
        self.overlay = Some(Overlay::Create(form));
    }

    fn submit(&mut self, form: &mut super::CreateForm) -> bool {
        if let Some(complaint) = form.complaint(&self.world) {
            form.refused = Some(format!("name {complaint}"));
            form.field = Field::Name;
            return false;
        }
        let (Some((tier, _)), Some((project, _))) = (form.tier.chosen(), form.project.chosen()) else {
            form.refused = Some("there is no project to put it in".into());
            return false;
        };
        let name = form.name.text();
        let body = CreateContainer {
            server_id: self.world.status.as_ref().map(|s| s.server_id.to_string()),
            name: Some(name.clone()),
            container_image: Some(tier.clone()),
            hoody_kit: Some(true),
            ..CreateContainer::default()
        };
        let project = *project;
        self.run(format!("creating {name}"), None, None, Work::Create(project, Box::new(body)));
        true
    }

    fn ask_key(&mut self, mut ask: Ask, event: KeyEvent, prompt: Option<Command>) {
        // Questions of one key: only the named one does it, everything else is no.
        match &ask {
            Ask::Restore { container, snapshot } => {
                if event.code == KeyCode::Char('y') {
                    let label = format!("restoring {} to {}", self.name_of(*container), super::river::label(snapshot));
                    self.run(
                        label,
                        Some(*container),
                        Some("restoring"),
                        Work::Restore(*container, snapshot.name.clone()),
                    );
                } else {
                    self.tell("not restored");
                }
                return;
            }
            Ask::StartFirst(id) => {
                if event.code == KeyCode::Char('y') || event.code == KeyCode::Enter {
                    let paused =
                        self.world.container(*id).is_some_and(|c| c.status == cowl_api::ContainerState::Paused);
                    let (operation, verb) =
                        if paused { (Operation::Resume, "resuming") } else { (Operation::Start, "starting") };
                    let label = format!("{verb} {}", self.name_of(*id));
                    self.run(label, Some(*id), Some(verb), Work::Operate(*id, operation));
                }
                return;
            }
            _ => {}
        }
        if prompt == Some(Command::Cancel) {
            if matches!(ask, Ask::Filter(_)) {
                self.set_filter("");
            }
            return;
        }
        if prompt == Some(Command::Accept) {
            if !self.accept(&ask) {
                self.overlay = Some(Overlay::Ask(ask));
            }
            return;
        }
        let filtering = matches!(ask, Ask::Filter(_));
        if let Some(input) = ask.input_mut() {
            let moved = filtering && matches!(event.code, KeyCode::Up | KeyCode::Down);
            if moved {
                self.command(if event.code == KeyCode::Up { Command::Up } else { Command::Down });
            } else if input.key(event) && filtering {
                let text = input.text();
                self.set_filter(&text);
            }
        }
        self.overlay = Some(Overlay::Ask(ask));
    }

    pub(super) fn set_filter(&mut self, text: &str) {
        match self.views.last_mut() {
            Some(View::Files(files)) => {
                text.clone_into(&mut files.filter);
                files.list.selected = 0;
            }
            _ => {
                text.clone_into(&mut self.home.filter);
                self.home.refresh(&self.world);
            }
        }
    }

    /// Takes what was typed; false when it cannot be accepted yet.
    fn accept(&mut self, ask: &Ask) -> bool {
        if ask.complaint().is_some() {
            return false;
        }
        match ask {
            Ask::Filter(_) => {}
            Ask::SnapshotName { containers, input } => {
                let alias = Some(input.text()).filter(|t| !t.is_empty());
                for id in containers {
                    let label = format!("taking a snapshot of {}", self.name_of(*id));
                    self.run(label, Some(*id), None, Work::Snapshot(*id, alias.clone()));
                }
            }
            Ask::Delete { containers, expected, input } => {
                if input.text() != *expected {
                    return false;
                }
                for id in containers {
                    let name = self.name_of(*id);
                    self.run(format!("deleting {name}"), Some(*id), Some("deleting"), Work::Delete(*id, name));
                }
                self.home.marked.clear();
            }
            Ask::DeleteSnapshot { container, snapshot, expected, input } => {
                if input.text() != *expected {
                    return false;
                }
                let label = format!("deleting snapshot {expected}");
                self.run(label, Some(*container), None, Work::DeleteSnapshot(*container, snapshot.clone()));
            }
            Ask::DeleteShare { share, expected, input } => {
                if input.text() != *expected {
                    return false;
                }
                let label = format!("taking share {expected} away");
                self.run(label, None, None, Work::DeleteShare(*share, expected.clone()));
            }
            Ask::ProjectName(input) => {
                let alias = input.text();
                let body = CreateProject { alias: alias.clone(), ..CreateProject::default() };
                self.run(format!("creating project {alias}"), None, None, Work::CreateProject(body));
            }
            Ask::Restore { .. } | Ask::StartFirst(_) => {}
        }
        true
    }
}

fn is_ctrl_c(event: KeyEvent) -> bool {
    event.code == KeyCode::Char('c') && event.modifiers.contains(KeyModifiers::CONTROL)
}

/// Keys that move in a list even while text is typed.
fn scroll_key(list: &mut crate::widgets::list::ListState, event: KeyEvent, len: usize) -> bool {
    let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
    let command = match event.code {
        KeyCode::Up => Command::Up,
        KeyCode::Down => Command::Down,
        KeyCode::Char('p') if ctrl => Command::Up,
        KeyCode::Char('n') if ctrl => Command::Down,
        KeyCode::PageUp => Command::PageUp,
        KeyCode::PageDown => Command::PageDown,
        _ => return false,
    };
    list.navigate(command, len)
}
