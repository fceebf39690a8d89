//! Keys to bytes, the way xterm does it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The bytes a program expects for this key; empty for keys that have none.
/// `application` is the cursor key mode (DECCKM).
pub fn encode_key(key: KeyEvent, application: bool) -> Vec<u8> {
    let m = key.modifiers;
    let alt = m.contains(KeyModifiers::ALT);
    let ctrl = m.contains(KeyModifiers::CONTROL);
    let modifier = modifier(m);
    match key.code {
        KeyCode::Char(c) => with_alt(alt, char_bytes(c, ctrl)),
        KeyCode::Enter => with_alt(alt, vec![b'\r']),
        KeyCode::Tab if m.contains(KeyModifiers::SHIFT) => b"\x1b[Z".to_vec(),
        KeyCode::Tab => with_alt(alt, vec![b'\t']),
        KeyCode::BackTab => b"\x1b[Z".to_vec(),
        KeyCode::Backspace => with_alt(alt, vec![if ctrl { 0x08 } else { 0x7f }]),
        KeyCode::Esc => with_alt(alt, vec![0x1b]),
        KeyCode::Up => cursor('A', modifier, application),
        KeyCode::Down => cursor('B', modifier, application),
        KeyCode::Right => cursor('C', modifier, application),
        KeyCode::Left => cursor('D', modifier, application),
        KeyCode::Home => cursor('H', modifier, application),
        KeyCode::End => cursor('F', modifier, application),
        KeyCode::Insert => tilde(2, modifier),
        KeyCode::Delete => tilde(3, modifier),
        KeyCode::PageUp => tilde(5, modifier),
        KeyCode::PageDown => tilde(6, modifier),
        KeyCode::F(n) => function(n, modifier),
        _ => Vec::new(),
    }
}

/// Pasted text as a program expects it. What would end the bracket early is taken out, so that a
/// paste cannot type.
pub fn encode_paste(text: &str, bracketed: bool) -> Vec<u8> {
    if bracketed {
        let mut body = text.replace('\x1b', "");
        body = body.replace("\r\n", "\r").replace('\n', "\r");
        return format!("\x1b[200~{body}\x1b[201~").into_bytes();
    }
    text.replace("\r\n", "\r").replace('\n', "\r").into_bytes()
}

fn modifier(m: KeyModifiers) -> u8 {
    1 + u8::from(m.contains(KeyModifiers::SHIFT))
        + 2 * u8::from(m.contains(KeyModifiers::ALT))
        + 4 * u8::from(m.contains(KeyModifiers::CONTROL))
}

fn with_alt(alt: bool, mut bytes: Vec<u8>) -> Vec<u8> {
    if alt && !bytes.is_empty() {
        bytes.insert(0, 0x1b);
    }
    bytes
}

fn char_bytes(c: char, ctrl: bool) -> Vec<u8> {
    if ctrl {
        let control = match c.to_ascii_lowercase() {
            c @ 'a'..='z' => Some(c as u8 - b'a' + 1),
            ' ' | '@' | '2' => Some(0),
            '[' | '3' => Some(0x1b),
            '\\' | '4' => Some(0x1c),
            ']' | '5' => Some(0x1d),
            '^' | '6' => Some(0x1e),
            '_' | '/' | '7' => Some(0x1f),
            '?' | '8' => Some(0x7f),
            _ => None,
        };
        if let Some(byte) = control {
            return vec![byte];
        }
    }
    c.to_string().into_bytes()
}

fn cursor(end: char, modifier: u8, application: bool) -> Vec<u8> {
    match (modifier, application) {
        (1, true) => format!("\x1bO{end}"),
        (1, false) => format!("\x1b[{end}"),
        (m, _) => format!("\x1b[1;{m}{end}"),
    }
    .into_bytes()
}

fn tilde(number: u8, modifier: u8) -> Vec<u8> {
    if modifier == 1 { format!("\x1b[{number}~") } else { format!("\x1b[{number};{modifier}~") }.into_bytes()
}

fn function(n: u8, modifier: u8) -> Vec<u8> {
    match n {
        1..=4 => {
            let end = char::from(b'P' + n - 1);
            if modifier == 1 { format!("\x1bO{end}") } else { format!("\x1b[1;{modifier}{end}") }.into_bytes()
        }
        5 => tilde(15, modifier),
        6..=10 => tilde(11 + n, modifier),
        11 | 12 => tilde(12 + n, modifier),
        13 | 14 => tilde(12 + n, modifier),
        15 | 16 => tilde(13 + n, modifier),
        17..=20 => tilde(14 + n, modifier),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn press(code: KeyCode, m: KeyModifiers) -> Vec<u8> {
        encode_key(KeyEvent::new(code, m), false)
    }

    #[test]
    fn keys_become_what_xterm_sends() {
        let none = KeyModifiers::NONE;
        assert_eq!(press(KeyCode::Char('ä'), none), "ä".as_bytes());
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), b"\x03");
        assert_eq!(press(KeyCode::Char(' '), KeyModifiers::CONTROL), b"\0");
        assert_eq!(press(KeyCode::Char('x'), KeyModifiers::ALT), b"\x1bx");
        assert_eq!(press(KeyCode::Backspace, none), b"\x7f");
        assert_eq!(press(KeyCode::Up, none), b"\x1b[A");
        assert_eq!(encode_key(KeyEvent::new(KeyCode::Up, none), true), b"\x1bOA");
        assert_eq!(press(KeyCode::Right, KeyModifiers::CONTROL), b"\x1b[1;5C");
        assert_eq!(press(KeyCode::Delete, KeyModifiers::SHIFT), b"\x1b[3;2~");
        assert_eq!(press(KeyCode::BackTab, KeyModifiers::SHIFT), b"\x1b[Z");
        for (n, want) in [
            (1, "\x1bOP"),
            (4, "\x1bOS"),
            (5, "\x1b[15~"),
            (6, "\x1b[17~"),
            (10, "\x1b[21~"),
            (11, "\x1b[23~"),
            (12, "\x1b[24~"),
            (13, "\x1b[25~"),
            (15, "\x1b[28~"),
            (17, "\x1b[31~"),
            (20, "\x1b[34~"),
        ] {
            assert_eq!(press(KeyCode::F(n), none), want.as_bytes(), "F{n}");
        }
    }

    #[test]
    fn a_paste_cannot_leave_its_brackets() {
        assert_eq!(encode_paste("a\x1b[201~rm\nb", true), b"\x1b[200~a[201~rm\rb\x1b[201~");
        assert_eq!(encode_paste("a\r\nb\n", false), b"a\rb\r");
    }

    proptest! {
        #[test]
        fn every_character_arrives_and_alt_only_adds_an_escape(c in any::<char>(), ctrl in any::<bool>()) {
            let m = if ctrl { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
            let plain = press(KeyCode::Char(c), m);
            prop_assert!(!plain.is_empty());
            let alt = press(KeyCode::Char(c), m | KeyModifiers::ALT);
            prop_assert_eq!(&alt[1..], &plain[..]);
            prop_assert_eq!(alt[0], 0x1b);
        }

        #[test]
        fn a_bracketed_paste_holds_exactly_one_end(text in ".{0,80}") {
            let bytes = encode_paste(&text, true);
            let s = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(s.matches('\x1b').count(), 2);
        }
    }
}
