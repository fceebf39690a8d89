//! Mouse events for programs that asked for them.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use vt100::{MouseProtocolEncoding, MouseProtocolMode, Screen};

/// Whether the program wants any mouse events.
pub fn wants_mouse(screen: &Screen) -> bool {
    screen.mouse_protocol_mode() != MouseProtocolMode::None
}

/// The bytes for an event at a cell of the pane (from 0); empty when the program did not ask for it.
pub fn encode_mouse(event: MouseEvent, column: u16, row: u16, screen: &Screen) -> Vec<u8> {
    let mode = screen.mouse_protocol_mode();
    let (code, release) = match event.kind {
        MouseEventKind::Down(b) => (button(b), false),
        MouseEventKind::Up(b) if mode != MouseProtocolMode::Press => (button(b), true),
        MouseEventKind::Drag(b) if matches!(mode, MouseProtocolMode::ButtonMotion | MouseProtocolMode::AnyMotion) => {
            (button(b) + 32, false)
        }
        MouseEventKind::Moved if mode == MouseProtocolMode::AnyMotion => (35, false),
        MouseEventKind::ScrollUp => (64, false),
        MouseEventKind::ScrollDown => (65, false),
        MouseEventKind::ScrollLeft => (66, false),
        MouseEventKind::ScrollRight => (67, false),
        _ => return Vec::new(),
    };
    if mode == MouseProtocolMode::None {
        return Vec::new();
    }
    let m = event.modifiers;
    let code = code
        + 4 * u16::from(m.contains(KeyModifiers::SHIFT))
        + 8 * u16::from(m.contains(KeyModifiers::ALT))
        + 16 * u16::from(m.contains(KeyModifiers::CONTROL));
    match screen.mouse_protocol_encoding() {
        MouseProtocolEncoding::Sgr => {
            let end = if release { 'm' } else { 'M' };
            format!("\x1b[<{code};{};{}{end}", column + 1, row + 1).into_bytes()
        }
        encoding => {
            let code = if release { code & !3 | 3 } else { code };
            let mut out = b"\x1b[M".to_vec();
            for value in [code, column + 1, row + 1] {
                let value = value.saturating_add(32);
                if encoding == MouseProtocolEncoding::Utf8 {
                    let c = char::from_u32(u32::from(value.min(2047))).unwrap_or(' ');
                    out.extend_from_slice(c.to_string().as_bytes());
                } else {
                    out.push(u8::try_from(value).unwrap_or(255));
                }
            }
            out
        }
    }
}

fn button(b: MouseButton) -> u16 {
    match b {
        MouseButton::Left => 0,
        MouseButton::Middle => 1,
        MouseButton::Right => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::Term;

    fn down() -> MouseEvent {
        MouseEvent { kind: MouseEventKind::Down(MouseButton::Left), column: 0, row: 0, modifiers: KeyModifiers::NONE }
    }

    #[test]
    fn events_go_in_only_when_asked_for_and_in_the_form_asked_for() {
        let mut t = Term::new(80, 24);
        assert!(encode_mouse(down(), 4, 2, t.screen()).is_empty());
        t.feed(b"\x1b[?1000h");
        assert_eq!(encode_mouse(down(), 4, 2, t.screen()), b"\x1b[M %#");
        t.feed(b"\x1b[?1006h");
        assert_eq!(encode_mouse(down(), 4, 2, t.screen()), b"\x1b[<0;5;3M");
        assert!(wants_mouse(t.screen()));
    }
}
