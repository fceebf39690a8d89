//! The form for a new share, checked as it is typed.

use jiff::Timestamp;

use super::action::Work;
use super::asks::Choice;
use super::world::World;
use super::{App, Overlay};
use crate::keymap::Command;
use crate::widgets::input::Input;
use cowl_api::share::{self, CreateShare, ShareMode};
use cowl_api::{Container, ContainerId, ProjectId};

/// Who may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Target {
    Container(ContainerId),
    Project(ProjectId),
}

/// Fields of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ShareField {
    Path,
    Target,
    Mode,
    Alias,
    Expires,
}

impl ShareField {
    /// All, from the top.
    pub const ALL: [Self; 5] = [Self::Path, Self::Target, Self::Mode, Self::Alias, Self::Expires];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Target => "with",
            Self::Mode => "mode",
            Self::Alias => "name",
            Self::Expires => "ends in",
        }
    }
}

/// The form.
#[derive(Debug)]
pub struct ShareForm {
    /// Whose directory is shared.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// The directory.
    pub path: Input,
    /// Other containers, then projects.
    pub target: Choice<Target>,
    /// Read-only to begin with.
    pub mode: Choice<ShareMode>,
    /// Name of the directory below `/hoody/shares`; may stay empty.
    pub alias: Input,
    /// How long it lives; empty for ever.
    pub expires: Input,
    /// The field keys go to.
    pub field: ShareField,
    /// What was wrong when it was submitted.
    pub refused: Option<String>,
    opened: Timestamp,
}

impl ShareForm {
    /// A form for a directory of this container.
    pub fn new(world: &World, c: &Container, now: Timestamp) -> Self {
        let mut others: Vec<&Container> = world.containers.iter().filter(|other| other.id != c.id).collect();
        others.sort_by(|a, b| (a.project_id != c.project_id, &a.name).cmp(&(b.project_id != c.project_id, &b.name)));
        let named = |other: &Container| {
            if other.project_id == c.project_id {
                other.name.clone()
            } else {
                format!("{} ({})", other.name, other.project_alias)
            }
        };
        let containers = others.iter().map(|other| (Target::Container(other.id), named(other)));
        let projects = world.projects.iter().map(|p| (Target::Project(p.id), format!("all of project {}", p.alias)));
        let modes =
            vec![(ShareMode::Readonly, "read-only".to_owned()), (ShareMode::Readwrite, "read-write".to_owned())];
        Self {
            container: c.id,
            name: c.name.clone(),
            path: Input::default(),
            target: Choice { options: containers.chain(projects).collect(), at: 0 },
            mode: Choice { options: modes, at: 0 },
            alias: Input::default(),
            expires: Input::default(),
            field: ShareField::Path,
            refused: None,
            opened: now,
        }
    }

    /// Goes to the next or previous field.
    pub fn step(&mut self, forward: bool) {
        let n = ShareField::ALL.len();
        let at = ShareField::ALL.iter().position(|f| *f == self.field).unwrap_or(0);
        self.field = ShareField::ALL[if forward { at + 1 } else { at + n - 1 } % n];
    }

    /// The line being typed, if the field is one.
    pub fn input_mut(&mut self) -> Option<&mut Input> {
        match self.field {
            ShareField::Path => Some(&mut self.path),
            ShareField::Alias => Some(&mut self.alias),
            ShareField::Expires => Some(&mut self.expires),
            ShareField::Target | ShareField::Mode => None,
        }
    }

    /// What the API would say to it: the body, or the field that is wrong and why.
    ///
    /// # Errors
    /// The first wrong field.
    pub fn body(&self) -> Result<CreateShare, (ShareField, String)> {
        let wrong = |field: ShareField| move |e: cowl_api::envelope::FieldError| (field, e.message);
        let source_path = share::source_path(self.path.text().trim()).map_err(wrong(ShareField::Path))?;
        let alias = Some(self.alias.text()).filter(|text| !text.is_empty());
        share::word("/alias", alias.as_deref()).map_err(wrong(ShareField::Alias))?;
        let now = u64::try_from(self.opened.as_second()).unwrap_or(0);
        let expires_at = share::ends_after(&self.expires.text(), now).map_err(wrong(ShareField::Expires))?;
        let (target, mode) = match (self.target.chosen(), self.mode.chosen()) {
            (Some((target, _)), Some((mode, _))) => (*target, *mode),
            _ => return Err((ShareField::Target, "there is nobody to share it with".into())),
        };
        let (target_container_id, target_project_id) = match target {
            Target::Container(id) => (Some(id), None),
            Target::Project(id) => (None, Some(id)),
        };
        Ok(CreateShare {
            source_path,
            target_container_id,
            target_project_id,
            mode,
            alias,
            label: None,
            description: None,
            enabled: None,
            expires_at,
        })
    }
}

impl App {
    /// Keys of the form; `event` is the one that `prompt` means.
    pub(super) fn share_form_key(
        &mut self,
        mut form: Box<ShareForm>,
        event: crossterm::event::KeyEvent,
        prompt: Option<Command>,
    ) {
        let typed = form.input_mut().is_some();
        match prompt {
            Some(Command::Cancel) => return,
            Some(Command::Accept) => {
                // The end counts from now on.
                form.opened = self.now;
                match form.body() {
                    Ok(body) => {
                        let label = format!("sharing {} of {}", body.source_path, form.name);
                        self.run(label, None, None, Work::CreateShare(form.container, Box::new(body)));
                        return;
                    }
                    Err((field, why)) => {
                        form.refused = Some(format!("{} {why}", field.word()));
                        form.field = field;
                    }
                }
            }
            Some(Command::NextField) => form.step(true),
            Some(Command::PreviousField) => form.step(false),
            Some(command @ (Command::NextChoice | Command::PreviousChoice)) if !typed => {
                let forward = command == Command::NextChoice;
                match form.field {
                    ShareField::Target => form.target.step(forward),
                    _ => form.mode.step(forward),
                }
                form.refused = None;
            }
            _ => {
                if let Some(input) = form.input_mut() {
                    input.key(event);
                }
                form.refused = None;
            }
        }
        self.overlay = Some(Overlay::CreateShare(form));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{container, id, project};
    use crate::tests::stage::noon;
    use cowl_api::ContainerState;

    #[test]
    fn the_form_says_what_the_api_would() {
        let mut world = World::default();
        let (web, db) = (container("web", ContainerState::Running), container("db", ContainerState::Running));
        world.containers = vec![web.clone(), db];
        world.projects = vec![project()];
        let mut form = ShareForm::new(&world, &web, noon());
        assert_eq!(form.body().unwrap_err().0, ShareField::Path);
        form.path = Input::new("/proc/x");
        assert!(form.body().unwrap_err().1.contains("/proc"));
        form.path = Input::new("//srv/data/");
        form.alias = Input::new("A");
        assert_eq!(form.body().unwrap_err().0, ShareField::Alias);
        form.alias = Input::new("data");
        form.expires = Input::new("soon");
        assert_eq!(form.body().unwrap_err().0, ShareField::Expires);
        form.expires = Input::new("2d");
        let body = form.body().unwrap();
        assert_eq!((body.source_path.as_str(), body.target_container_id), ("/srv/data", Some(id("db"))));
        let noon = u64::try_from(noon().as_second()).unwrap();
        assert_eq!((body.mode, body.expires_at), (ShareMode::Readonly, Some(noon + 172_800)));
        form.target.step(true);
        assert_eq!(form.body().unwrap().target_project_id, Some(id("default")));
        for forward in [true, false] {
            let begin = form.field;
            ShareField::ALL.iter().for_each(|_| form.step(forward));
            assert_eq!(form.field, begin);
        }
    }
}
