//! Questions in the bottom line and the form for a new container. The safe answer is the default.

use crate::widgets::input::Input;
use cowl_api::snapshot::Snapshot;
use cowl_api::{ContainerId, ProjectId, names};

use super::world::World;

/// A question in one line.
#[derive(Debug)]
pub enum Ask {
    /// Narrow the list while typing.
    Filter(Input),
    /// A name for a snapshot; may stay empty.
    SnapshotName {
        /// Whose.
        containers: Vec<ContainerId>,
        /// What is typed.
        input: Input,
    },
    /// Go back to a snapshot? `y` does it.
    Restore {
        /// Whose.
        container: ContainerId,
        /// To which.
        snapshot: Box<Snapshot>,
    },
    /// Start it and open a terminal?
    StartFirst(ContainerId),
    /// Delete containers: the name, or the count of several, must be typed.
    Delete {
        /// Which.
        containers: Vec<ContainerId>,
        /// What must be typed.
        expected: String,
        /// What is typed.
        input: Input,
    },
    /// Delete a snapshot: its label must be typed.
    DeleteSnapshot {
        /// Whose.
        container: ContainerId,
        /// Its name for the API.
        snapshot: String,
        /// What must be typed.
        expected: String,
        /// What is typed.
        input: Input,
    },
    /// A name for a project.
    ProjectName(Input),
    /// Take a share away from all: its name must be typed.
    DeleteShare {
        /// Which.
        share: cowl_api::ids::ShareId,
        /// What must be typed.
        expected: String,
        /// What is typed.
        input: Input,
    },
}

impl Ask {
    /// The line being typed, if it is that kind of question.
    pub fn input_mut(&mut self) -> Option<&mut Input> {
        match self {
            Self::Filter(input)
            | Self::SnapshotName { input, .. }
            | Self::Delete { input, .. }
            | Self::DeleteSnapshot { input, .. }
            | Self::DeleteShare { input, .. }
            | Self::ProjectName(input) => Some(input),
            Self::Restore { .. } | Self::StartFirst(_) => None,
        }
    }

    /// The line being typed, if it is that kind of question.
    pub fn input(&self) -> Option<&Input> {
        match self {
            Self::Filter(input)
            | Self::SnapshotName { input, .. }
            | Self::Delete { input, .. }
            | Self::DeleteSnapshot { input, .. }
            | Self::DeleteShare { input, .. }
            | Self::ProjectName(input) => Some(input),
            Self::Restore { .. } | Self::StartFirst(_) => None,
        }
    }

    /// Why what is typed cannot be accepted, if so.
    pub fn complaint(&self) -> Option<String> {
        match self {
            Self::SnapshotName { input, .. } if !input.is_empty() => {
                names::snapshot_alias(&input.text()).err().map(|e| e.message)
            }
            Self::ProjectName(input) => names::project_alias(&input.text()).err().map(|e| e.message),
            Self::Delete { expected, input, .. }
            | Self::DeleteSnapshot { expected, input, .. }
            | Self::DeleteShare { expected, input, .. } => {
                (!expected.starts_with(&input.text())).then(|| format!("that is not {expected}"))
            }
            _ => None,
        }
    }
}

/// One of several.
#[derive(Debug, Clone, Default)]
pub struct Choice<T> {
    /// Value and its label.
    pub options: Vec<(T, String)>,
    /// The chosen one.
    pub at: usize,
}

impl<T> Choice<T> {
    /// Moves to the next or the previous one, around the end.
    pub fn step(&mut self, forward: bool) {
        let n = self.options.len().max(1);
        self.at = if forward { (self.at + 1) % n } else { (self.at + n - 1) % n };
    }

    /// The chosen value and label.
    pub fn chosen(&self) -> Option<&(T, String)> {
        self.options.get(self.at)
    }
}

/// Fields of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Field {
    Name,
    Tier,
    Project,
}

/// The form for a new container.
#[derive(Debug)]
pub struct CreateForm {
    /// Its name; a proposal to begin with.
    pub name: Input,
    /// Its image.
    pub tier: Choice<String>,
    /// Its project.
    pub project: Choice<ProjectId>,
    /// The field keys go to.
    pub field: Field,
    /// What the node said against it.
    pub refused: Option<String>,
}

impl CreateForm {
    /// A form for this box; `project` is chosen to begin with.
    pub fn new(world: &World, project: Option<ProjectId>) -> Self {
        let images = world.status.iter().flat_map(|s| &s.images);
        let mut tiers: Vec<(String, String)> = images
            .map(|i| {
                let state = match i.state {
                    cowl_api::server::ImageState::Ready => String::new(),
                    cowl_api::server::ImageState::Building => " (being built)".into(),
                    cowl_api::server::ImageState::Failed => " (build failed)".into(),
                    cowl_api::server::ImageState::Absent => " (not built yet)".into(),
                };
                (i.name.clone(), format!("{}{state}", i.name))
            })
            .collect();
        if tiers.is_empty() {
            tiers.push(("debian/13".into(), "debian/13".into()));
        }
        let options: Vec<_> = world.projects.iter().map(|p| (p.id, p.alias.clone())).collect();
        let default = || world.projects.iter().position(|p| p.is_default);
        let at = project.and_then(|id| options.iter().position(|(p, _)| *p == id)).or_else(default).unwrap_or(0);
        Self {
            name: Input::default(),
            tier: Choice { options: tiers, at: 0 },
            project: Choice { options, at },
            field: Field::Name,
            refused: None,
        }
    }

    /// Goes to the next or previous field.
    pub fn step(&mut self, forward: bool) {
        self.field = match (self.field, forward) {
            (Field::Name, true) | (Field::Project, false) => Field::Tier,
            (Field::Tier, true) | (Field::Name, false) => Field::Project,
            (Field::Project, true) | (Field::Tier, false) => Field::Name,
        };
    }

    /// What is wrong with the name, if anything; an empty one is only told once it is submitted.
    pub fn complaint(&self, world: &World) -> Option<String> {
        let name = self.name.text();
        if let Err(e) = names::container_name(&name) {
            return Some(e.message);
        }
        let project = self.project.chosen().map(|(id, _)| *id);
        let taken = world.containers.iter().any(|c| Some(c.project_id) == project && c.name == name);
        taken.then(|| "is taken in this project".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_complains_as_the_api_would() {
        let mut form = CreateForm::new(&World::default(), None);
        assert!(form.complaint(&World::default()).is_some());
        form.name = Input::new("a b c");
        assert!(form.complaint(&World::default()).unwrap().contains("letters"));
        form.name = Input::new("web-1");
        assert_eq!(form.complaint(&World::default()), None);
        for forward in [true, false] {
            let begin = form.field;
            for _ in 0..3 {
                form.step(forward);
            }
            assert_eq!(form.field, begin);
        }
    }
}
