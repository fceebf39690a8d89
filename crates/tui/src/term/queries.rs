//! Answers to what programs ask their terminal: who are you, where is the cursor, which modes.
//!
//! Sources: the xterm control sequences document (DA, DSR, DECRQM, window operations, OSC 10/11).

use vt100::{MouseProtocolEncoding, MouseProtocolMode, Screen};

/// Most bytes of answers one piece of output may cause; a flood of questions gets no flood back.
const REPLIES_MAX: usize = 4096;

/// Answers a CSI sequence if it is a question.
pub fn answer_csi(screen: &Screen, i1: Option<u8>, i2: Option<u8>, params: &[&[u16]], c: char, out: &mut Vec<u8>) {
    if out.len() > REPLIES_MAX {
        return;
    }
    let first = params.first().and_then(|p| p.first()).copied().unwrap_or(0);
    let (row, column) = screen.cursor_position();
    let (rows, columns) = screen.size();
    let reply = match (i1, i2, c, first) {
        // Primary attributes: a VT220 with colour and clipboard.
        (None, None, 'c', 0) => "\x1b[?62;22;52c".into(),
        (Some(b'>'), None, 'c', 0) => "\x1b[>1;10;0c".into(),
        (None, None, 'n', 5) => "\x1b[0n".into(),
        (None, None, 'n', 6) => format!("\x1b[{};{}R", row + 1, column + 1),
        (Some(b'?'), None, 'n', 6) => format!("\x1b[?{};{}R", row + 1, column + 1),
        (None, None, 't', 18) => format!("\x1b[8;{rows};{columns}t"),
        (Some(b'?'), Some(b'$'), 'p', mode) => format!("\x1b[?{mode};{}$y", private_mode(screen, mode)),
        (Some(b'$'), None, 'p', mode) => format!("\x1b[{mode};0$y"),
        (Some(b'>'), None, 'q', 0) => "\x1bP>|cowl\x1b\\".into(),
        _ => return,
    };
    out.extend_from_slice(reply.as_bytes());
}

/// Answers an OSC sequence if it asks for the foreground or background colour. The outer
/// terminal's colours are not known, so light on dark is said.
pub fn answer_osc(params: &[&[u8]], out: &mut Vec<u8>) {
    if out.len() > REPLIES_MAX {
        return;
    }
    match params {
        [b"10", b"?"] => out.extend_from_slice(b"\x1b]10;rgb:d0d0/d0d0/d0d0\x1b\\"),
        [b"11", b"?"] => out.extend_from_slice(b"\x1b]11;rgb:1010/1010/1010\x1b\\"),
        _ => {}
    }
}

/// DECRPM's word for a private mode: 0 unknown, 1 set, 2 reset.
fn private_mode(screen: &Screen, mode: u16) -> u8 {
    let mouse = screen.mouse_protocol_mode();
    let encoding = screen.mouse_protocol_encoding();
    let set = match mode {
        1 => screen.application_cursor(),
        9 => mouse == MouseProtocolMode::Press,
        25 => !screen.hide_cursor(),
        47 | 1047 | 1049 => screen.alternate_screen(),
        1000 => mouse == MouseProtocolMode::PressRelease,
        1002 => mouse == MouseProtocolMode::ButtonMotion,
        1003 => mouse == MouseProtocolMode::AnyMotion,
        1005 => encoding == MouseProtocolEncoding::Utf8,
        1006 => encoding == MouseProtocolEncoding::Sgr,
        2004 => screen.bracketed_paste(),
        _ => return 0,
    };
    if set { 1 } else { 2 }
}
