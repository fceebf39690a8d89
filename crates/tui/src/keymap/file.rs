//! Reading a keymap file. A clash is named with file and line and costs only that binding.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Command, Key, Mode, Trie};

/// Reads a file into `layers`; a failure becomes a complaint.
pub fn read(path: &Path, layers: &mut Vec<(String, String)>, complaints: &mut Vec<String>) {
    match std::fs::read_to_string(path) {
        Ok(text) => layers.push((path.display().to_string(), text)),
        Err(e) => complaints.push(format!("{}: {e}", path.display())),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1)
}

/// Lays one file over the tries.
pub fn apply(name: &str, text: &str, tries: &mut [Trie], complaints: &mut Vec<String>) {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(e) => {
            let line = e.span().map_or(1, |s| line_of(text, s.start));
            complaints.push(format!("{name}:{line}: {}; the file is not used", e.message()));
            return;
        }
    };
    for (mode_name, value) in table.get_ref() {
        let line = line_of(text, mode_name.span().start);
        let Some(mode) = Mode::ALL.iter().find(|m| m.name() == mode_name.get_ref().as_ref()) else {
            complaints.push(format!("{name}:{line}: there is no mode {:?}", mode_name.get_ref().as_ref()));
            continue;
        };
        let DeValue::Table(bindings) = value.get_ref() else {
            complaints.push(format!("{name}:{line}: {} must be a table", mode.name()));
            continue;
        };
        // Lines in the order they were written, so that the first of two that clash stays.
        let mut bindings: Vec<_> = bindings.iter().collect();
        bindings.sort_by_key(|(chord, _)| chord.span().start);
        let mut bound: Vec<(Vec<Key>, usize)> = Vec::new();
        for (chord, value) in bindings {
            let line = line_of(text, chord.span().start);
            match binding(chord.get_ref(), value.get_ref(), &bound) {
                Ok((keys, Some(command))) => {
                    tries[*mode as usize].bind(&keys, command);
                    bound.push((keys, line));
                }
                Ok((keys, None)) => tries[*mode as usize].unbind(&keys),
                Err(reason) => complaints.push(format!("{name}:{line}: {reason}")),
            }
        }
    }
}

fn binding(
    chord: &str,
    value: &DeValue<'_>,
    bound: &[(Vec<Key>, usize)],
) -> Result<(Vec<Key>, Option<Command>), String> {
    let keys = chord.split_whitespace().map(Key::parse).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err("a chord needs at least one key".into());
    }
    let command = match value {
        DeValue::Boolean(false) => None,
        DeValue::String(id) => {
            Some(Command::from_id(id.as_ref()).ok_or_else(|| format!("there is no command {:?}", id.as_ref()))?)
        }
        _ => return Err(format!("{chord:?} must be a command in quotes, or false")),
    };
    let clash = bound.iter().find(|(other, _)| other.starts_with(&keys) || keys.starts_with(other));
    match clash {
        Some((_, line)) => Err(format!("{chord:?} clashes with line {line}; this binding is not used")),
        None => Ok((keys, command)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Keymap, Lookup};
    use super::*;

    fn layered(text: &str) -> (Keymap, Vec<String>, PathBuf, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, text).unwrap();
        let (map, complaints) = Keymap::load(&[], Some(&path));
        (map, complaints, path, dir)
    }

    fn key(s: &str) -> Vec<Key> {
        s.split(' ').map(|w| Key::parse(w).unwrap()).collect()
    }

    #[test]
    fn the_builtin_keymap_has_no_complaints_and_binds_what_the_screens_promise() {
        let (map, complaints) = Keymap::load(&[], None);
        assert!(complaints.is_empty(), "{complaints:?}");
        for (k, command) in [
            ("enter", Command::Open),
            ("s", Command::Snapshot),
            ("r", Command::Restore),
            ("q", Command::Quit),
            ("?", Command::Help),
        ] {
            assert_eq!(map.lookup(Mode::Home, &key(k)), Lookup::Run(command), "{k}");
        }
        for k in ["ctrl-space", "f12"] {
            assert_eq!(map.lookup(Mode::Terminal, &key(k)), Lookup::Run(Command::Leader));
        }
        assert_eq!(map.lookup(Mode::Terminal, &key("q")), Lookup::Unbound, "a program inside gets its q");
    }

    #[test]
    fn a_users_file_rebinds_and_unbinds() {
        let (map, complaints, ..) = layered("[home]\ns = false\n\"ctrl-s\" = \"snapshot\"\n");
        assert!(complaints.is_empty(), "{complaints:?}");
        assert_eq!(map.lookup(Mode::Home, &key("s")), Lookup::Unbound);
        assert_eq!(map.lookup(Mode::Home, &key("ctrl-s")), Lookup::Run(Command::Snapshot));
    }

    #[test]
    fn a_clash_names_file_and_line_and_costs_only_that_binding() {
        let (map, complaints, path, _dir) =
            layered("[home]\nZ = \"open\"\n\"z z\" = \"snapshot\"\n\"Z q\" = \"quit\"\nv = \"files\"\n");
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with(&format!("{}:4:", path.display())), "{complaints:?}");
        assert!(complaints[0].contains("line 2"), "{complaints:?}");
        assert_eq!(map.lookup(Mode::Home, &key("Z")), Lookup::Run(Command::Open));
        assert_eq!(map.lookup(Mode::Home, &key("v")), Lookup::Run(Command::Files));
    }

    #[test]
    fn unknown_commands_keys_and_modes_are_told_with_their_line() {
        let (map, complaints, ..) = layered("[home]\na = \"fly\"\nhyperkey = \"open\"\nb = 3\n[moon]\nc = \"open\"\n");
        assert_eq!(complaints.len(), 4, "{complaints:?}");
        assert_eq!(map.lookup(Mode::Home, &key("q")), Lookup::Run(Command::Quit));
    }

    #[test]
    fn a_file_that_is_not_toml_leaves_the_other_layers_alone() {
        let (map, complaints, ..) = layered("[home\n");
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].contains(":1:"), "{complaints:?}");
        assert_eq!(map.lookup(Mode::Home, &key("n")), Lookup::Run(Command::New));
    }
}
