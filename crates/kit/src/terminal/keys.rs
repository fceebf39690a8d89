//! Names of keys, and the bytes a terminal sends for them.

use crate::error::{KitError, KitResult};

/// Keys that have a name and no character.
const NAMED: [&str; 31] = [
    "enter",
    "tab",
    "escape",
    "backspace",
    "space",
    "delete",
    "insert",
    "home",
    "end",
    "page_up",
    "page_down",
    "arrow_up",
    "arrow_down",
    "arrow_left",
    "arrow_right",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "f6",
    "f7",
    "f8",
    "f9",
    "f10",
    "f11",
    "f12",
    "up",
    "down",
    "left",
    "right",
];
/// Prefixes joined with `+`.
const MODIFIERS: [&str; 3] = ["ctrl", "alt", "shift"];

/// All names and modifiers, for `GET /keys`.
pub fn supported() -> serde_json::Value {
    serde_json::json!({
        "keys": NAMED,
        "modifiers": MODIFIERS,
        "examples": ["ctrl+c", "alt+x", "shift+tab", "ctrl+arrow_left", "a"],
        "note": "any single character is a key too",
    })
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Modifiers {
    ctrl: bool,
    alt: bool,
    shift: bool,
}

impl Modifiers {
    fn any(self) -> bool {
        self.ctrl || self.alt || self.shift
    }

    /// xterm's number for them.
    fn code(self) -> u8 {
        1 + u8::from(self.shift) + 2 * u8::from(self.alt) + 4 * u8::from(self.ctrl)
    }
}

/// The bytes of a key such as `enter`, `ctrl+c`, `alt+x`, `shift+tab` or `a`.
/// `application_cursor` is the mode the program has put the arrows in.
///
/// # Errors
/// 400 for a name nobody knows.
pub fn bytes_of(key: &str, application_cursor: bool) -> KitResult<Vec<u8>> {
    let unknown = || KitError::bad_request(format!("key: {key:?} is not known (GET /api/v1/terminal/keys lists them)"));
    let mut modifiers = Modifiers::default();
    let mut rest = key;
    // A lone `+` is a key.
    while let Some((prefix, after)) =
        rest.split_once('+').filter(|(prefix, after)| !prefix.is_empty() && !after.is_empty())
    {
        match prefix.to_ascii_lowercase().as_str() {
            "ctrl" | "control" => modifiers.ctrl = true,
            "alt" | "meta" | "option" => modifiers.alt = true,
            "shift" => modifiers.shift = true,
            _ => return Err(unknown()),
        }
        rest = after;
    }
    let mut chars = rest.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        return character(c, modifiers).ok_or_else(unknown);
    }
    named(&rest.to_ascii_lowercase(), modifiers, application_cursor).ok_or_else(unknown)
}

fn character(c: char, modifiers: Modifiers) -> Option<Vec<u8>> {
    let c = if modifiers.shift { c.to_ascii_uppercase() } else { c };
    let mut bytes = Vec::new();
    if modifiers.alt {
        bytes.push(0x1b);
    }
    if modifiers.ctrl {
        bytes.push(match c.to_ascii_lowercase() {
            letter @ 'a'..='z' => letter as u8 & 0x1f,
            ' ' | '@' | '2' => 0,
            '[' | '3' => 0x1b,
            '\\' | '4' => 0x1c,
            ']' | '5' => 0x1d,
            '^' | '6' => 0x1e,
            '_' | '/' | '-' | '7' => 0x1f,
            '?' | '8' => 0x7f,
            _ => return None,
        });
    } else {
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(bytes)
}

fn named(name: &str, modifiers: Modifiers, application_cursor: bool) -> Option<Vec<u8>> {
    let with_alt = |bytes: &[u8]| {
        let mut all = if modifiers.alt { vec![0x1b] } else { Vec::new() };
        all.extend_from_slice(bytes);
        Some(all)
    };
    match name {
        "enter" | "return" => return with_alt(b"\r"),
        "tab" if modifiers.shift => return with_alt(b"\x1b[Z"),
        "tab" => return with_alt(b"\t"),
        "escape" | "esc" => return with_alt(b"\x1b"),
        "backspace" if modifiers.ctrl => return with_alt(b"\x08"),
        "backspace" => return with_alt(b"\x7f"),
        "space" if modifiers.ctrl => return with_alt(b"\0"),
        "space" => return with_alt(b" "),
        _ => {}
    }
    let letter = match name {
        "arrow_up" | "up" => Some('A'),
        "arrow_down" | "down" => Some('B'),
        "arrow_right" | "right" => Some('C'),
        "arrow_left" | "left" => Some('D'),
        "home" => Some('H'),
        "end" => Some('F'),
        _ => None,
    };
    let code = modifiers.code();
    if let Some(letter) = letter {
        let sequence = match (modifiers.any(), application_cursor) {
            (true, _) => format!("\x1b[1;{code}{letter}"),
            (false, true) => format!("\x1bO{letter}"),
            (false, false) => format!("\x1b[{letter}"),
        };
        return Some(sequence.into_bytes());
    }
    let function = match name {
        "f1" => Some('P'),
        "f2" => Some('Q'),
        "f3" => Some('R'),
        "f4" => Some('S'),
        _ => None,
    };
    if let Some(letter) = function {
        let sequence = if modifiers.any() { format!("\x1b[1;{code}{letter}") } else { format!("\x1bO{letter}") };
        return Some(sequence.into_bytes());
    }
    let number = match name {
        "insert" => 2,
        "delete" => 3,
        "page_up" | "pageup" => 5,
        "page_down" | "pagedown" => 6,
        "f5" => 15,
        "f6" => 17,
        "f7" => 18,
        "f8" => 19,
        "f9" => 20,
        "f10" => 21,
        "f11" => 23,
        "f12" => 24,
        _ => return None,
    };
    let sequence = if modifiers.any() { format!("\x1b[{number};{code}~") } else { format!("\x1b[{number}~") };
    Some(sequence.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_send_what_xterm_sends() {
        for (key, bytes) in [
            ("enter", &b"\r"[..]),
            ("ctrl+c", b"\x03"),
            ("Ctrl+C", b"\x03"),
            ("alt+x", b"\x1bx"),
            ("shift+tab", b"\x1b[Z"),
            ("arrow_up", b"\x1b[A"),
            ("ctrl+arrow_left", b"\x1b[1;5D"),
            ("f1", b"\x1bOP"),
            ("f12", b"\x1b[24~"),
            ("shift+delete", b"\x1b[3;2~"),
            ("+", b"+"),
            ("ctrl++", b""),
            ("ä", "ä".as_bytes()),
        ] {
            match bytes_of(key, false) {
                Ok(sent) => assert_eq!(sent, bytes, "{key}"),
                Err(error) => assert!(bytes.is_empty() && error.status == 400, "{key}: {error}"),
            }
        }
        assert_eq!(bytes_of("up", true).unwrap(), b"\x1bOA");
        assert!(bytes_of("hyper+x", false).is_err() && bytes_of("f13", false).is_err() && bytes_of("", false).is_err());
    }

    #[test]
    fn every_listed_key_is_known() {
        for key in NAMED {
            assert!(bytes_of(key, false).is_ok(), "{key}");
        }
    }
}
