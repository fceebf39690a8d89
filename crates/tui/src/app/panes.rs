//! Living with terminals: opening, feeding, sizing, leaving and finding them again.

use jiff::SignedDuration;
use ratatui::layout::Rect;

use super::action::{Effect, Timer};
use super::layout::Direction;
use super::terminals::{Pane, PaneId, PaneState};
use super::{App, View};
use crate::backend::{BackendError, PtySize, TermInput, TermOutput};
use crate::keymap::Command;
use cowl_api::{ContainerId, ContainerState};

/// Rows the line of tabs takes.
pub const STATUS_LINE: u16 = 1;
/// Seconds both leaders are shown when the first pane opens.
const HINT_S: i64 = 3;
/// Milliseconds after attaching during which output is the session's replayed past: questions in it
/// were answered long ago and must not be answered again.
const REPLAY_MS: i64 = 200;

/// Most bytes that may wait to be typed into one terminal.
const UNSENT_MAX: usize = 4 << 20;
/// Milliseconds until what a busy connection did not take is offered again.
const FLUSH_MS: u64 = 10;

impl App {
    /// The part of the screen terminals share.
    pub fn terminal_area(&self) -> Rect {
        Rect::new(0, 0, self.size.0, self.size.1.saturating_sub(STATUS_LINE))
    }

    /// Opens a terminal of the container, or shows the one there is.
    pub(super) fn open_terminal(&mut self, id: ContainerId) {
        if self.terminals.show(id) {
            // It may have been stopped and started since.
            self.reconnect_panes();
            self.enter_terminals();
            return;
        }
        self.new_tab(id);
    }

    pub(super) fn new_tab(&mut self, id: ContainerId) {
        let Some(pane) = self.new_pane(id) else { return };
        self.terminals.add_tab(pane);
        self.enter_terminals();
    }

    fn new_pane(&mut self, id: ContainerId) -> Option<PaneId> {
        let container = self.world.container(id)?.clone();
        if !matches!(container.status, ContainerState::Running | ContainerState::Asleep) {
            self.fail(format!("{} is {}; a terminal needs it running", container.name, container.status));
            return None;
        }
        let area = self.terminal_area();
        let size = PtySize { columns: area.width.max(1), rows: area.height.max(1) };
        if self.terminals.panes.is_empty() && self.terminals.hint_until.is_none() {
            self.terminals.hint_until = self.now.checked_add(SignedDuration::from_secs(HINT_S)).ok();
            self.after(HINT_S as u64 * 1000 + 50, Timer::Redraw);
        }
        Some(self.terminals.add_pane(&container, size))
    }

    fn enter_terminals(&mut self) {
        if !self.in_terminals() {
            self.views.push(View::Terminals);
        }
        self.overlay = None;
        self.leader = false;
    }

    /// Gives every pane of the tab its size, attaches the ones that wait for it, clears their news.
    pub(super) fn settle_terminals(&mut self) {
        if !self.in_terminals() {
            return;
        }
        if self.terminals.tabs.is_empty() {
            self.views.retain(|v| !matches!(v, View::Terminals));
            return;
        }
        let area = self.terminal_area();
        let placed = self.terminals.tab().map(|t| t.place(area)).unwrap_or_default();
        let mut effects = Vec::new();
        for (id, area) in placed.panes {
            let Some(pane) = self.terminals.panes.get_mut(&id) else { continue };
            pane.activity = false;
            if area.is_empty() {
                continue;
            }
            let size = PtySize { columns: area.width, rows: area.height };
            let before = pane.term.size();
            pane.term.resize(size.columns, size.rows);
            match &pane.state {
                PaneState::Open(input) if pane.term.size() != before => {
                    // A full queue means the session is stuck; the next resize tries again.
                    let _ = input.try_send(TermInput::Resize(size));
                }
                PaneState::Connecting if pane.attached.is_none() => {
                    pane.attached = Some(self.now);
                    effects.push(Effect::OpenTerminal(id, pane.epoch, pane.session, size));
                }
                _ => {}
            }
        }
        self.effects.extend(effects);
    }

    /// Tries again to hand over what was typed.
    pub(super) fn flush_terminals(&mut self) {
        let mut left = false;
        for pane in self.terminals.panes.values_mut() {
            left |= pane.flush();
        }
        if left {
            self.after(FLUSH_MS, Timer::Flush);
        }
    }

    fn pane(&mut self, id: PaneId, epoch: u64) -> Option<&mut Pane> {
        self.terminals.panes.get_mut(&id).filter(|p| p.epoch == epoch)
    }

    pub(super) fn terminal_opened(&mut self, id: PaneId, epoch: u64, input: tokio::sync::mpsc::Sender<TermInput>) {
        let now = self.now;
        if let Some(pane) = self.pane(id, epoch) {
            pane.attached = Some(now);
            let (columns, rows) = pane.term.size();
            // The size may have changed while it was being attached.
            let _ = input.try_send(TermInput::Resize(PtySize { columns, rows }));
            pane.state = PaneState::Open(input);
            // What was typed meanwhile.
            if pane.flush() {
                self.after(FLUSH_MS, Timer::Flush);
            }
        }
    }

    pub(super) fn terminal_failed(&mut self, id: PaneId, epoch: u64, error: &BackendError) {
        if let Some(pane) = self.pane(id, epoch) {
            pane.state = PaneState::Lost(error.to_string());
        }
    }

    pub(super) fn terminal_output(&mut self, id: PaneId, epoch: u64, output: TermOutput) {
        let now = self.now;
        let shown = self.in_terminals() && self.terminals.tab().is_some_and(|t| t.layout.panes().contains(&id));
        let focused = self.terminals.focus() == Some(id);
        let Some(pane) = self.pane(id, epoch) else { return };
        match output {
            TermOutput::Bytes(bytes) => {
                let fed = pane.term.feed(&bytes);
                let news = !shown && !std::mem::replace(&mut pane.activity, !shown);
                let replay = pane.attached.is_none_or(|at| now.as_millisecond() - at.as_millisecond() < REPLAY_MS);
                if let (PaneState::Open(input), false, false) = (&pane.state, replay, fed.replies.is_empty()) {
                    let _ = input.try_send(TermInput::Bytes(fed.replies));
                }
                if let Some(title) = fed.title {
                    pane.title = title;
                }
                if fed.bell && !replay {
                    self.effect(Effect::Bell);
                }
                // Only the terminal one looks at may touch the clipboard.
                if let Some(text) = fed.clipboard.filter(|_| shown && focused && !replay) {
                    self.effect(Effect::Clipboard(text));
                }
                self.dirty |= shown || news;
            }
            TermOutput::Title(title) => {
                pane.title = crate::widgets::text::clean(&title);
            }
            TermOutput::Closed { clean: true, .. } => {
                let name = format!("{}:{}", pane.name, pane.session.session);
                self.terminals.remove(id);
                self.tell(format!("the shell of {name} ended"));
            }
            TermOutput::Closed { clean: false, reason } => pane.state = PaneState::Lost(reason),
        }
    }

    /// Attaches a lost pane again.
    pub(super) fn reconnect_pane(&mut self, id: PaneId) {
        let epoch = self.terminals.next_number();
        if let Some(pane) = self.terminals.panes.get_mut(&id) {
            let (columns, rows) = pane.term.size();
            pane.term = crate::term::Term::new(columns, rows);
            pane.unsent.clear();
            pane.epoch = epoch;
            pane.attached = None;
            pane.state = PaneState::Connecting;
        }
    }

    /// Attaches every lost pane again: the node is back.
    pub(super) fn reconnect_panes(&mut self) {
        let lost: Vec<PaneId> = self
            .terminals
            .panes
            .iter()
            .filter(|(_, p)| matches!(p.state, PaneState::Lost(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.reconnect_pane(id);
        }
    }

    /// Sends bytes to the focused session.
    pub(super) fn type_into_terminal(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let Some(pane) = self.terminals.focused_mut() else { return };
        match &pane.state {
            PaneState::Open(_) | PaneState::Connecting if pane.unsent.len() + bytes.len() > UNSENT_MAX => {
                self.fail("this terminal does not take any more keys just now");
            }
            PaneState::Open(_) | PaneState::Connecting => {
                pane.unsent.extend(bytes);
                if pane.flush() {
                    self.after(FLUSH_MS, Timer::Flush);
                }
            }
            PaneState::Lost(_) if bytes == b"\r" => {
                if let Some(id) = self.terminals.focus() {
                    self.reconnect_pane(id);
                }
            }
            PaneState::Lost(_) => {}
        }
    }

    /// Runs a command of the leader; tells whether it was one.
    pub(super) fn terminal_command(&mut self, command: Command) -> bool {
        match command {
            Command::SplitRight => self.split(true),
            Command::SplitDown => self.split(false),
            Command::FocusLeft => self.move_focus(Direction::Left),
            Command::FocusDown => self.move_focus(Direction::Down),
            Command::FocusUp => self.move_focus(Direction::Up),
            Command::FocusRight => self.move_focus(Direction::Right),
            Command::Zoom => {
                if let Some(tab) = self.terminals.tab_mut() {
                    tab.zoom = !tab.zoom && tab.layout.panes().len() > 1;
                }
            }
            Command::NewTerminal => {
                if let Some(id) = self.terminals.focused().map(|p| p.session.container) {
                    self.new_tab(id);
                }
            }
            Command::NextTerminal => self.step_tab(true),
            Command::PreviousTerminal => self.step_tab(false),
            Command::ScrollBack => {
                self.terminals.scrolling = true;
                self.scroll(Command::PageUp);
            }
            Command::CloseTerminal => {
                if let Some(id) = self.terminals.focus() {
                    self.terminals.remove(id);
                }
            }
            _ => return false,
        }
        true
    }

    fn split(&mut self, beside: bool) {
        let Some((container, focus)) =
            self.terminals.focused().map(|p| p.session.container).zip(self.terminals.focus())
        else {
            return;
        };
        let Some(new) = self.new_pane(container) else { return };
        if let Some(tab) = self.terminals.tab_mut() {
            tab.layout.split(focus, new, beside);
            tab.focus = new;
            tab.zoom = false;
        }
    }

    fn move_focus(&mut self, direction: Direction) {
        let area = self.terminal_area();
        let Some(tab) = self.terminals.tab_mut() else { return };
        let placed = tab.layout.place(area);
        if let Some(next) = placed.neighbour(tab.focus, direction) {
            tab.focus = next;
        }
    }

    fn step_tab(&mut self, forward: bool) {
        let n = self.terminals.tabs.len().max(1);
        let at = self.terminals.current;
        self.terminals.current = if forward { (at + 1) % n } else { (at + n - 1) % n };
    }

    /// Moves the scrolled view of the focused terminal.
    pub(super) fn scroll(&mut self, command: Command) {
        let Some(pane) = self.terminals.focused_mut() else { return };
        let page = usize::from(pane.term.size().1).saturating_sub(1).max(1);
        let now = pane.term.scrolled();
        let to = match command {
            Command::Up => now + 1,
            Command::Down => now.saturating_sub(1),
            Command::PageUp => now + page,
            Command::PageDown => now.saturating_sub(page),
            Command::Top => usize::MAX,
            Command::Bottom => 0,
            _ => return,
        };
        pane.term.scroll_to(to);
    }

    /// Back to the live screen.
    pub(super) fn stop_scrolling(&mut self) {
        self.terminals.scrolling = false;
        if let Some(pane) = self.terminals.focused_mut() {
            pane.term.scroll_to(0);
        }
    }
}
