//! The trie over keys: a chord is a path, a command sits at its end, no command sits on the way.

use crokey::KeyCombination;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::Command;

/// One key with its modifiers, normalised so that the same press always compares equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(KeyCombination);

impl Key {
    /// Parses one key: `q`, `Q`, `?`, `ctrl-space`, `shift-f5`, `enter`.
    ///
    /// # Errors
    /// One sentence when it names no key.
    pub fn parse(word: &str) -> Result<Self, String> {
        let mut chars = word.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            return Ok(Self::from(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)));
        }
        let key: KeyCombination = word.parse().map_err(|_| format!("{word:?} is not a key"))?;
        if !key.is_ansi_compatible() {
            return Err(format!("{word:?} is several keys at once, which terminals cannot tell"));
        }
        let event: KeyEvent = key.into();
        Ok(Self::from(event))
    }

    /// The press that makes it.
    pub fn event(&self) -> KeyEvent {
        self.0.into()
    }

    /// How hints write it: `⏎`, `^P`, `Esc`, `x`.
    pub fn label(&self) -> String {
        let event: KeyEvent = self.0.into();
        let base = match event.code {
            KeyCode::Enter => "⏎".into(),
            KeyCode::Esc => "Esc".into(),
            KeyCode::Tab => "Tab".into(),
            KeyCode::BackTab => "⇧Tab".into(),
            KeyCode::Up => "↑".into(),
            KeyCode::Down => "↓".into(),
            KeyCode::Left => "←".into(),
            KeyCode::Right => "→".into(),
            KeyCode::PageUp => "PgUp".into(),
            KeyCode::PageDown => "PgDn".into(),
            KeyCode::Home => "Home".into(),
            KeyCode::End => "End".into(),
            KeyCode::Backspace => "Bksp".into(),
            KeyCode::Delete => "Del".into(),
            KeyCode::Insert => "Ins".into(),
            KeyCode::F(n) => format!("F{n}"),
            KeyCode::Char(' ') => "Space".into(),
            KeyCode::Char(c) => c.to_string(),
            other => format!("{other:?}"),
        };
        let m = event.modifiers;
        let ctrl = if m.contains(KeyModifiers::CONTROL) { "Ctrl-" } else { "" };
        let alt = if m.contains(KeyModifiers::ALT) { "Alt-" } else { "" };
        let named = !matches!(event.code, KeyCode::Char(_) | KeyCode::BackTab);
        let shift = if named && m.contains(KeyModifiers::SHIFT) { "Shift-" } else { "" };
        format!("{ctrl}{alt}{shift}{base}")
    }
}

impl From<KeyEvent> for Key {
    fn from(event: KeyEvent) -> Self {
        let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        // `?` is typed with shift on many layouts and without on others; only letters keep it.
        if let KeyCode::Char(c) = event.code {
            if !c.is_alphabetic() {
                modifiers -= KeyModifiers::SHIFT;
            } else if c.is_uppercase() && !modifiers.contains(KeyModifiers::CONTROL) {
                modifiers |= KeyModifiers::SHIFT;
            }
        }
        if event.code == KeyCode::BackTab {
            modifiers |= KeyModifiers::SHIFT;
        }
        Self(KeyCombination::one_key(event.code, modifiers).normalized())
    }
}

/// What a sequence of keys means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing.
    Unbound,
    /// More keys are needed.
    Prefix,
    /// A command.
    Run(Command),
}

/// Chords of one mode.
#[derive(Debug, Clone, Default)]
pub struct Trie {
    children: Vec<(Key, Trie)>,
    command: Option<Command>,
}

impl Trie {
    /// What these keys mean.
    pub fn lookup(&self, keys: &[Key]) -> Lookup {
        let mut node = self;
        for key in keys {
            match node.children.iter().find(|(k, _)| k == key) {
                Some((_, child)) => node = child,
                None => return Lookup::Unbound,
            }
        }
        match node.command {
            Some(command) => Lookup::Run(command),
            None if node.children.is_empty() => Lookup::Unbound,
            None => Lookup::Prefix,
        }
    }

    /// Binds a chord, dropping what it hides: the same chord, shorter ones on its way, longer ones
    /// behind it.
    pub fn bind(&mut self, keys: &[Key], command: Command) {
        let Some((first, rest)) = keys.split_first() else {
            self.children.clear();
            self.command = Some(command);
            return;
        };
        self.command = None;
        if let Some((_, child)) = self.children.iter_mut().find(|(k, _)| k == first) {
            child.bind(rest, command);
        } else {
            let mut child = Trie::default();
            child.bind(rest, command);
            self.children.push((*first, child));
        }
    }

    /// Removes a chord and everything behind it.
    pub fn unbind(&mut self, keys: &[Key]) {
        let Some((first, rest)) = keys.split_first() else { return };
        if rest.is_empty() {
            self.children.retain(|(k, _)| k != first);
        } else if let Some((_, child)) = self.children.iter_mut().find(|(k, _)| k == first) {
            child.unbind(rest);
            if child.children.is_empty() && child.command.is_none() {
                self.children.retain(|(k, _)| k != first);
            }
        }
    }

    /// Every chord with its command, in the order they were bound.
    pub fn chords(&self) -> Vec<(Vec<Key>, Command)> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut Vec<Key>, out: &mut Vec<(Vec<Key>, Command)>) {
        if let Some(command) = self.command {
            out.push((path.clone(), command));
        }
        for (key, child) in &self.children {
            path.push(*key);
            child.collect(path, out);
            path.pop();
        }
    }

    /// The next keys that continue `keys`, for the infobox.
    pub fn continuations(&self, keys: &[Key]) -> Vec<(Vec<Key>, Command)> {
        self.chords().into_iter().filter(|(c, _)| c.len() > keys.len() && c.starts_with(keys)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(s: &str) -> Vec<Key> {
        s.split(' ').map(|w| Key::parse(w).unwrap()).collect()
    }

    #[test]
    fn a_chord_is_found_only_as_a_whole() {
        let mut trie = Trie::default();
        trie.bind(&keys("g g"), Command::Top);
        assert_eq!(trie.lookup(&keys("g")), Lookup::Prefix);
        assert_eq!(trie.lookup(&keys("g g")), Lookup::Run(Command::Top));
        assert_eq!(trie.lookup(&keys("g x")), Lookup::Unbound);
    }

    #[test]
    fn upper_case_is_another_key_and_punctuation_ignores_shift() {
        assert_ne!(Key::parse("j").unwrap(), Key::parse("J").unwrap());
        let typed = Key::from(KeyEvent::new(KeyCode::Char('J'), KeyModifiers::SHIFT));
        assert_eq!(typed, Key::parse("J").unwrap());
        assert_eq!(typed, Key::parse("shift-j").unwrap());
        let question = Key::from(KeyEvent::new(KeyCode::Char('?'), KeyModifiers::SHIFT));
        assert_eq!(question, Key::parse("?").unwrap());
    }

    #[test]
    fn a_leader_arrives_as_it_is_written() {
        let typed = Key::from(KeyEvent::new(KeyCode::Char(' '), KeyModifiers::CONTROL));
        assert_eq!(typed, Key::parse("ctrl-space").unwrap());
        assert_eq!(typed.label(), "Ctrl-Space");
    }

    proptest! {
        #[test]
        fn what_was_bound_last_is_what_runs(chords in prop::collection::vec("[a-c]( [a-c]){0,2}", 1..20)) {
            let mut trie = Trie::default();
            for chord in &chords {
                trie.bind(&keys(chord), Command::Up);
            }
            let last = keys(chords.last().unwrap());
            prop_assert_eq!(trie.lookup(&last), Lookup::Run(Command::Up));
            for (chord, _) in trie.chords() {
                prop_assert_eq!(trie.lookup(&chord), Lookup::Run(Command::Up));
            }
            trie.unbind(&last);
            prop_assert_ne!(trie.lookup(&last), Lookup::Run(Command::Up));
        }
    }
}
