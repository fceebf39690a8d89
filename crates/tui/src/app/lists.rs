//! The list of containers: which rows, in which order, which are marked.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::world::World;
use crate::widgets::list::ListState;
use cowl_api::{Container, ContainerId, ContainerState, ProjectId};

/// What the list is ordered by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sort {
    #[default]
    Name,
    State,
    Cpu,
    Memory,
    Created,
}

impl Sort {
    /// The next one.
    pub fn next(self) -> Self {
        match self {
            Self::Name => Self::State,
            Self::State => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Created,
            Self::Created => Self::Name,
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Cpu => "cpu",
            Self::Memory => "mem",
            Self::Created => "age",
        }
    }
}

/// The list.
#[derive(Debug, Default)]
pub struct Home {
    /// The project shown; all of them without.
    pub project: Option<ProjectId>,
    /// Only names that hold this.
    pub filter: String,
    /// Order.
    pub sort: Sort,
    /// Turned around.
    pub reverse: bool,
    /// Marked for a batch.
    pub marked: BTreeSet<ContainerId>,
    /// Where in the rows.
    pub list: ListState,
    /// The containers shown, in order.
    pub rows: Vec<ContainerId>,
}

impl Home {
    /// Works the rows out again; the selection stays on its container.
    pub fn refresh(&mut self, world: &World) {
        let selected = self.rows.get(self.list.selected).copied();
        let filter = self.filter.to_lowercase();
        let mut shown: Vec<&Container> = world
            .containers
            .iter()
            .filter(|c| self.project.is_none_or(|p| p == c.project_id))
            .filter(|c| {
                filter.is_empty() || c.name.to_lowercase().contains(&filter) || c.status.as_str().contains(&filter)
            })
            .collect();
        shown.sort_by(|a, b| {
            let order = self.compare(world, a, b);
            if self.reverse { order.reverse() } else { order }
        });
        self.rows = shown.iter().map(|c| c.id).collect();
        self.marked.retain(|id| world.container(*id).is_some());
        if let Some(at) = selected.and_then(|id| self.rows.iter().position(|r| *r == id)) {
            self.list.selected = at;
        }
        self.list.clamp(self.rows.len());
    }

    fn compare(&self, world: &World, a: &Container, b: &Container) -> Ordering {
        let cpu = |c: &Container| world.live(c.id).map_or(-1.0, |l| l.cpu);
        let memory = |c: &Container| world.live(c.id).map_or(0, |l| l.memory);
        let by_name = a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id));
        match self.sort {
            Sort::Name => Ordering::Equal,
            Sort::State => rank(a.status).cmp(&rank(b.status)),
            // Busiest first.
            Sort::Cpu => cpu(b).total_cmp(&cpu(a)),
            Sort::Memory => memory(b).cmp(&memory(a)),
            Sort::Created => b.created_at.cmp(&a.created_at),
        }
        .then(by_name)
    }

    /// The container under the bar.
    pub fn selected<'w>(&self, world: &'w World) -> Option<&'w Container> {
        world.container(*self.rows.get(self.list.selected)?)
    }

    /// Puts the bar on a container, if it is shown.
    pub fn select(&mut self, id: ContainerId) {
        if let Some(at) = self.rows.iter().position(|r| *r == id) {
            self.list.selected = at;
        }
    }
}

/// What needs attention first.
fn rank(state: ContainerState) -> u8 {
    match state {
        ContainerState::Failed => 0,
        ContainerState::Creating | ContainerState::Copying | ContainerState::Deleting => 1,
        ContainerState::Running => 2,
        ContainerState::Paused => 3,
        ContainerState::Asleep => 4,
        ContainerState::Stopped | ContainerState::Deleted => 5,
    }
}
