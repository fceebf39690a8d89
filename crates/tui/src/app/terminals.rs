//! Terminals: tabs of panes, each a view of a session that lives in its container's kit.
//!
//! ```text
//!   connecting ──attached──> open ──cut──> lost ──Enter or node back──> connecting
//!        │                    │ shell ended                                 
//!        └──refused──> lost   └──────────> gone (the pane closes)
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::layout::{Layout, Placed};
use crate::backend::{PtySize, SessionRef, TermInput};
use crate::term::Term;
use cowl_api::{Container, ContainerId};
use ratatui::layout::Rect;

/// Names a pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaneId(pub u64);

/// How a pane's session stands.
#[derive(Debug)]
pub enum PaneState {
    /// Being attached.
    Connecting,
    /// Attached.
    Open(mpsc::Sender<TermInput>),
    /// Cut or refused, and why.
    Lost(String),
}

/// A view of a session.
#[derive(Debug)]
pub struct Pane {
    /// Which session.
    pub session: SessionRef,
    /// The container's name.
    pub name: String,
    /// The title the program gave.
    pub title: String,
    /// Its screen.
    pub term: Term,
    /// How it stands.
    pub state: PaneState,
    /// Number of the current connection; what older ones say is ignored.
    pub epoch: u64,
    /// Bytes typed that the connection has not taken yet, or that wait for it.
    pub unsent: Vec<u8>,
    /// Output came while it was not shown.
    pub activity: bool,
    /// When it was attached, and whether its replayed past has arrived.
    pub attached: Option<Timestamp>,
}

impl Pane {
    /// Hands typed bytes to the connection; tells whether some had to stay behind.
    pub fn flush(&mut self) -> bool {
        let PaneState::Open(input) = &self.state else { return false };
        if self.unsent.is_empty() {
            return false;
        }
        match input.try_send(TermInput::Bytes(std::mem::take(&mut self.unsent))) {
            Err(mpsc::error::TrySendError::Full(TermInput::Bytes(bytes))) => {
                self.unsent = bytes;
                true
            }
            _ => false,
        }
    }
}

/// A screenful of panes.
#[derive(Debug)]
pub struct Tab {
    /// How they share it.
    pub layout: Layout,
    /// The one keys go to.
    pub focus: PaneId,
    /// Whether that one is shown alone.
    pub zoom: bool,
}

impl Tab {
    /// Where the panes stand in an area.
    pub fn place(&self, area: Rect) -> Placed {
        if self.zoom { Layout::Leaf(self.focus).place(area) } else { self.layout.place(area) }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Terminals {
    /// Every pane.
    pub panes: BTreeMap<PaneId, Pane>,
    /// Tabs, left to right.
    pub tabs: Vec<Tab>,
    /// The tab shown.
    pub current: usize,
    /// Until when both leaders are shown; set when the first pane opens.
    pub hint_until: Option<Timestamp>,
    /// The view is scrolled back and keys move it.
    pub scrolling: bool,
    next: u64,
}

impl Terminals {
    /// The tab shown.
    pub fn tab(&self) -> Option<&Tab> {
        self.tabs.get(self.current)
    }

    /// The tab shown.
    pub fn tab_mut(&mut self) -> Option<&mut Tab> {
        self.tabs.get_mut(self.current)
    }

    /// The pane keys go to.
    pub fn focus(&self) -> Option<PaneId> {
        self.tab().map(|t| t.focus)
    }

    /// The pane keys go to.
    pub fn focused(&self) -> Option<&Pane> {
        self.panes.get(&self.focus()?)
    }

    /// The pane keys go to.
    pub fn focused_mut(&mut self) -> Option<&mut Pane> {
        let id = self.focus()?;
        self.panes.get_mut(&id)
    }

    /// A fresh number for a connection.
    pub fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A pane for the lowest session of a container that no pane shows yet.
    pub fn add_pane(&mut self, c: &Container, size: PtySize) -> PaneId {
        let used: Vec<u16> =
            self.panes.values().filter(|p| p.session.container == c.id).map(|p| p.session.session).collect();
        let session = (1..=39_999).find(|n| !used.contains(n)).unwrap_or(1);
        let id = PaneId(self.next_number());
        let epoch = self.next_number();
        self.panes.insert(
            id,
            Pane {
                session: SessionRef { project: c.project_id, container: c.id, session },
                name: c.name.clone(),
                title: String::new(),
                term: Term::new(size.columns, size.rows),
                state: PaneState::Connecting,
                epoch,
                unsent: Vec::new(),
                activity: false,
                attached: None,
            },
        );
        id
    }

    /// Adds a tab with one pane and shows it.
    pub fn add_tab(&mut self, pane: PaneId) {
        self.tabs.push(Tab { layout: Layout::Leaf(pane), focus: pane, zoom: false });
        self.current = self.tabs.len() - 1;
        self.scrolling = false;
    }

    /// Takes a pane away; its tab goes with its last pane.
    pub fn remove(&mut self, id: PaneId) {
        self.panes.remove(&id);
        let Some(index) = self.tabs.iter().position(|t| t.layout.panes().contains(&id)) else { return };
        let tab = &mut self.tabs[index];
        match tab.layout.clone().without(id) {
            Some(layout) => {
                if tab.focus == id {
                    tab.focus = layout.panes().first().copied().unwrap_or(id);
                    tab.zoom = false;
                }
                tab.layout = layout;
            }
            None => {
                self.tabs.remove(index);
                if self.current > index {
                    self.current -= 1;
                }
                self.current = self.current.min(self.tabs.len().saturating_sub(1));
            }
        }
        self.scrolling = false;
    }

    /// Shows the tab that has a pane of this container; tells whether there is one.
    pub fn show(&mut self, container: ContainerId) -> bool {
        let shows = |tab: &Tab| {
            tab.layout.panes().into_iter().find(|p| self.panes.get(p).is_some_and(|p| p.session.container == container))
        };
        let found = self.tabs.iter().enumerate().find_map(|(i, tab)| {
            let focused = self.panes.get(&tab.focus).is_some_and(|p| p.session.container == container);
            Some((i, if focused { tab.focus } else { shows(tab)? }))
        });
        let Some((index, pane)) = found else { return false };
        self.current = index;
        self.tabs[index].focus = pane;
        true
    }

    /// How many panes show sessions of a container, and whether any has news.
    pub fn of(&self, container: ContainerId) -> (usize, bool) {
        let mut of = self.panes.values().filter(|p| p.session.container == container);
        let news = of.clone().any(|p| p.activity);
        (of.by_ref().count(), news)
    }
}
