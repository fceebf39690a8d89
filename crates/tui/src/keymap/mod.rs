//! Keys: one trie per mode, read from `keymaps/*.toml`; hints, help and palette derive from it.
//!
//! Layers, later ones win: built-in → `/etc/cowl/keymaps` → the user's config directory →
//! `--keymap`. A file has one table per mode: chord = command id, or `false` to unbind.

mod command;
mod file;
mod trie;

use std::path::{Path, PathBuf};

pub use command::Command;
pub use trie::{Key, Lookup, Trie};

macro_rules! modes {
    ($($variant:ident = $name:literal, $title:literal;)+) => {
        /// Where a key is pressed; each mode has its own table in a keymap file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)] // `title` documents each.
        pub enum Mode { $($variant),+ }

        impl Mode {
            /// All modes.
            pub const ALL: &'static [Mode] = &[$(Mode::$variant),+];

            /// Its table's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Its heading in help.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

modes! {
    Home = "home", "list of containers";
    Projects = "projects", "list of projects";
    Snapshots = "snapshots", "snapshots";
    Files = "files", "files";
    Shares = "shares", "shares";
    Actions = "actions", "actions menu of a container (x)";
    SnapshotActions = "snapshot-actions", "actions menu of a snapshot (x)";
    ShareActions = "share-actions", "actions menu of a share (x)";
    Terminal = "terminal", "in a terminal";
    Leader = "leader", "in a terminal, after the leader";
    Copy = "copy", "scrolled back in a terminal";
    Prompt = "prompt", "questions and forms";
    Global = "global", "everywhere but in a terminal";
}

/// The merged keys of all layers.
#[derive(Debug, Clone)]
pub struct Keymap {
    tries: Vec<Trie>,
}

impl Keymap {
    /// Reads all layers. `dirs` are directories with `*.toml`, in order; `extra` is the last file.
    /// Always gives a usable map; what was wrong is told, one sentence each, with file and line.
    pub fn load(dirs: &[PathBuf], extra: Option<&Path>) -> (Self, Vec<String>) {
        let mut map = Self { tries: vec![Trie::default(); Mode::ALL.len()] };
        let mut complaints = Vec::new();
        let mut layers =
            vec![("built-in keymap".to_owned(), include_str!("../../../../keymaps/default.toml").to_owned())];
        for dir in dirs {
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(dir).map(|entries| entries.flatten().map(|e| e.path()).collect()).unwrap_or_default();
            files.retain(|p| p.extension().is_some_and(|e| e == "toml"));
            files.sort();
            for path in files {
                file::read(&path, &mut layers, &mut complaints);
            }
        }
        if let Some(path) = extra {
            file::read(path, &mut layers, &mut complaints);
        }
        for (name, text) in layers {
            file::apply(&name, &text, &mut map.tries, &mut complaints);
        }
        (map, complaints)
    }

    /// The trie of a mode.
    pub fn trie(&self, mode: Mode) -> &Trie {
        &self.tries[mode as usize]
    }

    /// What these keys mean in a mode, falling back to the global one where the mode allows it.
    pub fn lookup(&self, mode: Mode, keys: &[Key]) -> Lookup {
        match self.trie(mode).lookup(keys) {
            Lookup::Unbound if mode.falls_back() => self.trie(Mode::Global).lookup(keys),
            found => found,
        }
    }

    /// The label of the first chord of a command in a mode, e.g. `x` or `g g`.
    pub fn label(&self, mode: Mode, command: Command) -> Option<String> {
        let find =
            |trie: &Trie| trie.chords().into_iter().find(|(_, c)| *c == command).map(|(keys, _)| chord_label(&keys));
        find(self.trie(mode)).or_else(|| if mode.falls_back() { find(self.trie(Mode::Global)) } else { None })
    }
}

impl Mode {
    fn falls_back(self) -> bool {
        matches!(self, Self::Home | Self::Projects | Self::Snapshots | Self::Files | Self::Shares)
    }
}

/// How a chord is written in hints and help.
pub fn chord_label(keys: &[Key]) -> String {
    keys.iter().map(Key::label).collect::<Vec<_>>().join(" ")
}
