//! Shares of a container: what it lends and what it is lent, and what can be done with each.
//!
//! What is known is kept per container and asked for again when an event says that it changed, one
//! container at a time: moving through the list never waits, and never asks faster than the node
//! answers.

use std::collections::{HashMap, HashSet};

use super::action::{Effect, Work};
use super::asks::Ask;
use super::{App, Link, Overlay, ShareForm, View};
use crate::backend::BackendError;
use crate::keymap::{Command, Mode};
use crate::widgets::input::Input;
use crate::widgets::list::ListState;
use cowl_api::share::{IncomingShare, Share, ShareMode, UpdateShare};
use cowl_api::{Container, ContainerId};

/// What one container lends and is lent.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    /// Its own directories, shown to others.
    pub outgoing: Vec<Share>,
    /// Those of others, shown or offered to it.
    pub incoming: Vec<IncomingShare>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // As in `Shares`.
pub enum Line<'a> {
    Out(&'a Share),
    In(&'a IncomingShare),
}

impl<'a> Line<'a> {
    /// The share itself.
    pub fn share(self) -> &'a Share {
        match self {
            Self::Out(share) => share,
            Self::In(incoming) => &incoming.share,
        }
    }
}

/// What people call a share: its alias, or its path.
pub fn label(share: &Share) -> &str {
    share.alias.as_deref().unwrap_or(&share.source_path)
}

impl Shares {
    /// How many in all.
    pub fn len(&self) -> usize {
        self.outgoing.len() + self.incoming.len()
    }

    /// The lines of a list: outgoing ones first.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.outgoing.iter().map(Line::Out).chain(self.incoming.iter().map(Line::In))
    }
}

/// What is known of all containers' shares, and how fresh that is.
#[derive(Debug, Default)]
pub struct KnownShares {
    by: HashMap<ContainerId, Result<Shares, String>>,
    fresh: HashSet<ContainerId>,
    /// Who is being asked about, and in which epoch that was begun.
    asked: Option<(ContainerId, u64)>,
    /// Counts changes: an answer of an earlier epoch is shown, but not fresh.
    epoch: u64,
}

impl KnownShares {
    /// Those of a container; `None` while they have never been heard of.
    pub fn of(&self, id: ContainerId) -> Option<Result<&Shares, &str>> {
        self.by.get(&id).map(|known| known.as_ref().map_err(String::as_str))
    }

    /// Nothing known is sure any more.
    pub fn stale(&mut self) {
        self.epoch += 1;
        self.fresh.clear();
    }

    /// Forgets containers that are gone.
    pub fn retain(&mut self, lives: impl Fn(ContainerId) -> bool) {
        self.by.retain(|id, _| lives(*id));
    }
}

/// The list of a container's shares.
#[derive(Debug)]
pub struct SharesView {
    /// Whose.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// Where in them.
    pub list: ListState,
}

impl App {
    /// The share under the bar of the list of shares.
    pub fn share(&self) -> Option<Line<'_>> {
        let View::Shares(view) = self.view() else { return None };
        self.shares.of(view.container)?.ok()?.lines().nth(view.list.selected)
    }

    /// Asks about the container that is looked at, unless it is known or another question is open.
    pub(super) fn settle_shares(&mut self) {
        let looked_at = match self.view() {
            View::Shares(view) => Some(view.container),
            View::Home => self.home.selected(&self.world).map(|c| c.id),
            _ => None,
        };
        let Some(id) = looked_at.filter(|id| !self.shares.fresh.contains(id)) else { return };
        if self.link == Link::Live && self.end.is_none() && self.shares.asked.is_none() {
            self.shares.asked = Some((id, self.shares.epoch));
            self.effect(Effect::LoadShares(id));
        }
    }

    /// Takes an answer.
    pub(super) fn shares_told(&mut self, id: ContainerId, result: Result<Shares, BackendError>) {
        // A failure counts as fresh, too: the next event, or a refresh, asks again.
        if self.shares.asked.take() == Some((id, self.shares.epoch)) {
            self.shares.fresh.insert(id);
        }
        self.shares.by.insert(id, result.map_err(|e| e.to_string()));
        let len = self.shares.of(id).and_then(Result::ok).map_or(0, Shares::len);
        for view in &mut self.views {
            if let View::Shares(view) = view
                && view.container == id
            {
                view.list.clamp(len);
            }
        }
    }

    /// Opens the list of a container's shares.
    pub(super) fn show_shares(&mut self, c: &Container) {
        if !matches!(self.view(), View::Shares(_)) {
            let view = SharesView { container: c.id, name: c.name.clone(), list: ListState::default() };
            self.views.push(View::Shares(view));
        }
    }

    /// Does what a command says with the shares of a container; false when it is none of theirs.
    pub(super) fn share_command(&mut self, c: &Container, command: Command) -> bool {
        match command {
            Command::Shares => self.show_shares(c),
            Command::NewShare => {
                self.show_shares(c);
                let form = ShareForm::new(&self.world, c, self.now);
                self.overlay = Some(Overlay::CreateShare(Box::new(form)));
            }
            Command::ShareMode | Command::ShareOffer | Command::AcceptShare | Command::RefuseShare => {
                if matches!(self.view(), View::Shares(_)) {
                    self.change_share(c, command);
                } else {
                    self.show_shares(c);
                    self.tell("choose a share first");
                }
            }
            Command::Actions if matches!(self.view(), View::Shares(_)) => {
                self.overlay = Some(Overlay::Actions(Mode::ShareActions));
            }
            Command::Delete if matches!(self.view(), View::Shares(_)) => self.ask_delete_share(c),
            _ => return false,
        }
        true
    }

    fn change_share(&mut self, c: &Container, command: Command) {
        let Some(line) = self.share() else {
            self.tell("there is no share to do that with");
            return;
        };
        let (name, id) = (label(line.share()).to_owned(), line.share().id);
        let (what, change) = match (line, command) {
            (Line::Out(share), Command::ShareMode) => {
                let (mode, word) = match share.mode {
                    ShareMode::Readonly => (ShareMode::Readwrite, "may be written"),
                    ShareMode::Readwrite => (ShareMode::Readonly, "is read-only"),
                };
                (word, UpdateShare { mode: Some(mode), ..UpdateShare::default() })
            }
            (Line::Out(share), Command::ShareOffer) => {
                let word = if share.enabled { "is held back" } else { "is offered" };
                (word, UpdateShare { enabled: Some(!share.enabled), ..UpdateShare::default() })
            }
            (Line::In(_), Command::AcceptShare | Command::RefuseShare) => {
                let take = command == Command::AcceptShare;
                let (verb, word) = if take { ("accepting", "accepted") } else { ("refusing", "refused") };
                let work = Work::MountShare(c.id, id, take, format!("{name} is {word}"));
                self.run(format!("{verb} {name}"), None, None, work);
                return;
            }
            (Line::Out(_), _) => {
                self.tell(format!("{name} is {}'s own; who it is offered to accepts or refuses it", c.name));
                return;
            }
            (Line::In(_), _) => {
                self.tell(format!("only its source can change {name}; it can be accepted or refused here"));
                return;
            }
        };
        let work = Work::UpdateShare(c.id, id, Box::new(change), format!("{name} {what}"));
        self.run(format!("changing {name}"), None, None, work);
    }

    fn ask_delete_share(&mut self, c: &Container) {
        match self.share() {
            Some(Line::Out(share)) => {
                let (share, expected) = (share.id, label(share).to_owned());
                self.overlay = Some(Overlay::Ask(Ask::DeleteShare { share, expected, input: Input::default() }));
            }
            Some(Line::In(_)) => {
                self.tell(format!("only its source can delete it; {} can refuse it", c.name));
            }
            None => self.tell("there is no share to delete"),
        }
    }
}
