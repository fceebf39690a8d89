//! The state of the cockpit. One owner; actions are the only way in, effects the only way out.

mod action;
mod asks;
mod commands;
mod jobs;
mod keys;
mod layout;
mod lists;
mod mouse;
mod panes;
mod river;
mod share_form;
mod shares;
mod terminals;
mod update;
mod world;

use std::time::Duration;

use jiff::Timestamp;

pub use action::{Action, Done, Effect, Loaded, Timer, Work};
pub use asks::{Ask, CreateForm, Field};
pub use jobs::{JobState, Jobs, Notice};
pub use lists::{Home, Sort};
pub use mouse::MouseLevel;
pub use panes::STATUS_LINE;
pub use river::{FilesView, PREVIEW_MAX, Preview, River};
pub use share_form::{ShareField, ShareForm, Target as ShareTarget};
pub use shares::{KnownShares, Line as ShareLine, Shares, SharesView};
pub use terminals::{PaneId, PaneState, Terminals};
pub use world::{Link, World};

use crate::backend::BackendError;
use crate::keymap::{Key, Keymap, Mode};
use crate::theme::Theme;
use crate::widgets::input::Input;
use crate::widgets::list::ListState;
use cowl_api::{Container, ContainerId};

/// Seconds an ordinary notice stays.
const NOTICE_S: i64 = 5;
/// Smallest screen anything is drawn on.
pub const SMALLEST: (u16, u16) = (40, 10);

/// What is looked at. Esc goes back one.
#[derive(Debug)]
pub enum View {
    /// The projects.
    Projects(ListState),
    /// The containers.
    Home,
    /// The snapshots of a container.
    Snapshots(River),
    /// Files of a container or of a snapshot.
    Files(Box<FilesView>),
    /// Terminals, full screen.
    Terminals,
    /// What a container lends and is lent.
    Shares(SharesView),
}

/// What lies over the view and takes the keys.
#[derive(Debug)]
pub enum Overlay {
    /// The keys that work here.
    Help {
        /// Only lines that match.
        filter: Input,
        /// Where in them.
        list: ListState,
        /// The mode help was asked in.
        mode: Mode,
    },
    /// All actions by name.
    Palette {
        /// What is looked for.
        query: Input,
        /// Where in what was found.
        list: ListState,
    },
    /// The form for a new container.
    Create(Box<CreateForm>),
    /// The form for a new share.
    CreateShare(Box<ShareForm>),
    /// What can be done with the selection.
    Actions(Mode),
    /// A question in one line.
    Ask(Ask),
    /// Work.
    Jobs(ListState),
    /// Something to read; any key ends it.
    Note(Vec<String>),
}

/// What does not change while the cockpit runs.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `RUN/node.sock`, for curl lines.
    pub socket: String,
    /// Whether this runs under SSH.
    pub ssh: bool,
    /// The user's and host's name for `ssh -L` lines.
    pub login: String,
    /// The project to begin with.
    pub project: Option<String>,
}

/// Everything.
#[derive(Debug)]
pub struct App {
    /// Colours.
    pub theme: Theme,
    /// Keys.
    pub keymap: Keymap,
    /// What does not change.
    pub around: Surroundings,
    /// The time of the action at hand.
    pub now: Timestamp,
    /// Columns and rows of the screen.
    pub size: (u16, u16),
    /// The box.
    pub world: World,
    /// How the connection stands.
    pub link: Link,
    /// Views, the one looked at last; never empty.
    pub views: Vec<View>,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// The list of containers.
    pub home: Home,
    /// What is known of containers' shares.
    pub shares: KnownShares,
    /// Terminals.
    pub terminals: Terminals,
    /// Work.
    pub jobs: Jobs,
    /// How things went.
    pub notice: Option<Notice>,
    /// Keys of a chord begun.
    pub chord: Vec<Key>,
    /// The leader was pressed.
    pub leader: bool,
    /// The mouse is captured at the user's wish.
    pub mouse: bool,
    /// Snapshots that undo the last restore of a container.
    pub undo: std::collections::HashMap<ContainerId, String>,
    /// Containers made from here that do not run yet, and what the node said of them.
    making: Vec<(ContainerId, String)>,
    /// Whether something may look different now.
    pub dirty: bool,
    /// Whether the action at hand came from the user: draw at once.
    pub urgent: bool,
    /// Leave, with the error if there is one.
    pub end: Option<Option<BackendError>>,
    effects: Vec<Effect>,
    watch: u64,
    watching_stats: Option<bool>,
    loading: bool,
    reload: bool,
    ticket: u64,
}

impl App {
    /// A cockpit that knows nothing yet; asks for everything.
    pub fn new(theme: Theme, keymap: Keymap, around: Surroundings, size: (u16, u16), now: Timestamp) -> Self {
        let mut app = Self {
            theme,
            keymap,
            around,
            now,
            size,
            world: World::default(),
            link: Link::Connecting,
            views: vec![View::Home],
            overlay: None,
            home: Home::default(),
            shares: KnownShares::default(),
            terminals: Terminals::default(),
            jobs: Jobs::default(),
            notice: None,
            chord: Vec::new(),
            leader: false,
            mouse: false,
            undo: std::collections::HashMap::new(),
            making: Vec::new(),
            dirty: true,
            urgent: true,
            end: None,
            effects: Vec::new(),
            watch: 0,
            watching_stats: None,
            loading: false,
            reload: false,
            ticket: 0,
        };
        app.load();
        app
    }

    /// The view looked at.
    pub fn view(&self) -> &View {
        // `views` is never empty; Home stands in should that ever break.
        self.views.last().unwrap_or(&View::Home)
    }

    /// Whether terminals fill the screen.
    pub fn in_terminals(&self) -> bool {
        matches!(self.view(), View::Terminals)
    }

    /// Whether the screen is too small to draw on.
    pub fn too_small(&self) -> bool {
        self.size.0 < SMALLEST.0 || self.size.1 < SMALLEST.1
    }

    /// The mode keys are looked up in when nothing lies over the view.
    pub fn mode(&self) -> Mode {
        match self.view() {
            View::Projects(_) => Mode::Projects,
            View::Home => Mode::Home,
            View::Snapshots(_) => Mode::Snapshots,
            View::Files(_) => Mode::Files,
            View::Shares(_) => Mode::Shares,
            View::Terminals if self.leader => Mode::Leader,
            View::Terminals if self.terminals.scrolling => Mode::Copy,
            View::Terminals => Mode::Terminal,
        }
    }

    /// Takes what is to be done outside.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn after(&mut self, millis: u64, timer: Timer) {
        self.effect(Effect::After(Duration::from_millis(millis), timer));
    }

    /// Asks for everything, once at a time.
    fn load(&mut self) {
        if self.loading {
            self.reload = true;
        } else {
            self.loading = true;
            self.effect(Effect::Load);
        }
    }

    /// Tells something in the bottom line; it fades by itself.
    pub fn tell(&mut self, text: impl Into<String>) {
        let until = self.now.checked_add(jiff::SignedDuration::from_secs(NOTICE_S)).ok();
        self.notice = Some(Notice { text: text.into(), failed: false, until });
        self.after(NOTICE_S as u64 * 1000 + 50, Timer::Redraw);
    }

    /// Tells a failure; it stays until read.
    pub fn fail(&mut self, text: impl Into<String>) {
        self.notice = Some(Notice { text: text.into(), failed: true, until: None });
    }

    /// The notice, unless it has faded.
    pub fn shown_notice(&self) -> Option<&Notice> {
        self.notice.as_ref().filter(|n| n.until.is_none_or(|until| until > self.now))
    }

    /// Begins a piece of work.
    fn run(&mut self, label: String, on: Option<ContainerId>, verb: Option<&'static str>, work: Work) {
        let id = self.jobs.start(label, on, verb, self.now);
        self.notice = None;
        self.effect(Effect::Run(id, work));
        self.after(jobs::SHOW_AFTER_MS as u64 + 10, Timer::Jobs);
    }

    /// The container everything is about: of the view, or the selected one.
    pub fn selected(&self) -> Option<&Container> {
        match self.view() {
            View::Snapshots(river) => self.world.container(river.container),
            View::Files(files) => self.world.container(files.container),
            View::Shares(view) => self.world.container(view.container),
            View::Terminals => self.world.container(self.terminals.focused()?.session.container),
            View::Home | View::Projects(_) => self.home.selected(&self.world),
        }
    }
}
