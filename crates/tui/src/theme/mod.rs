//! Colours: about thirty roles, each in a truecolour, a 16-colour and an attribute-only form.
//!
//! Panes ask for a [`Role`], never for a colour. Which form is used follows from [`Depth`]; without
//! colour (`NO_COLOR`) attributes and the words on screen still tell states apart.

mod color;
mod file;

use ratatui::style::Style;

pub use color::{Depth, from_256};
pub use file::load;

macro_rules! roles {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// What a piece of text means.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)] // The dotted names say it all.
        pub enum Role { $($variant),+ }

        impl Role {
            /// All roles, in the order theme files list them.
            pub const ALL: &'static [Role] = &[$(Role::$variant),+];

            /// The dotted name used in theme files.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

roles! {
    Text = "text", Dim = "dim", Accent = "accent", Selection = "selection", Marked = "marked",
    Header = "header", Rule = "rule", Title = "title", Column = "column",
    Running = "state.running", Paused = "state.paused", Asleep = "state.asleep", Stopped = "state.stopped",
    Failed = "state.failed", Busy = "state.busy",
    Warning = "warning", Danger = "danger", Good = "good",
    Added = "diff.added", Changed = "diff.changed", Removed = "diff.removed",
    GraphLow = "graph.low", GraphMid = "graph.mid", GraphHigh = "graph.high",
    Url = "url", Key = "key", KeyText = "key.text", Prompt = "prompt", Match = "match", Flash = "flash",
    TabActive = "tab.active", Tab = "tab", Directory = "file.directory", Link = "file.link", Stale = "stale",
}

/// One of the sixteen colours of the user's own palette; `i` is taken modulo 16.
pub fn sixteen(i: u8) -> ratatui::style::Color {
    color::SIXTEEN[usize::from(i % 16)].0
}

/// A loaded theme: one style for every role.
#[derive(Debug, Clone)]
pub struct Theme {
    /// How many colours the terminal can show.
    pub depth: Depth,
    styles: Vec<Style>,
}

impl Theme {
    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        self.styles.get(role as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_theme_styles_every_role_without_complaint() {
        for name in ["default", "light", "mono"] {
            let (theme, complaints) = load(Some(name), Depth::True, &[]);
            assert!(complaints.is_empty(), "{name}: {complaints:?}");
            assert_eq!(theme.styles.len(), Role::ALL.len());
        }
    }

    #[test]
    fn without_colour_danger_and_selection_still_differ_from_text() {
        let (theme, _) = load(None, Depth::None, &[]);
        for role in [Role::Danger, Role::Selection, Role::Dim, Role::Failed] {
            let style = theme.style(role);
            assert_ne!(style, theme.style(Role::Text), "{role:?}");
            assert!(style.fg.is_none() && style.bg.is_none(), "{role:?} has colour");
        }
    }

    #[test]
    fn a_users_file_overrides_one_role_and_inherits_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        std::fs::write(
            &path,
            "inherits = \"default\"\n[roles]\naccent = { fg = \"#ff0000\" }\nnonsense = { fg = \"red\" }\n",
        )
        .unwrap();
        let (theme, complaints) = load(path.to_str(), Depth::True, &[]);
        let (base, _) = load(None, Depth::True, &[]);
        assert_eq!(theme.style(Role::Accent).fg, Some(ratatui::style::Color::Rgb(255, 0, 0)));
        assert_eq!(theme.style(Role::Danger), base.style(Role::Danger));
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("nonsense"), "{complaints:?}");
    }

    #[test]
    fn themes_that_inherit_in_a_circle_are_reported_and_do_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.toml"), "inherits = \"b\"\n").unwrap();
        std::fs::write(dir.path().join("b.toml"), "inherits = \"a\"\n").unwrap();
        let (_, complaints) = load(Some("a"), Depth::True, &[dir.path().to_owned()]);
        assert!(!complaints.is_empty());
    }
}
