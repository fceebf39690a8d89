//! The terminal inside a pane: bytes of a program in, cells and replies out.
//!
//! Everything fed here is hostile. The parser only ever produces cells; what a program asks of the
//! outer terminal (title, bell, clipboard, cursor shape) comes out as data, and the cockpit decides.

mod emulator;
mod encode;
mod mouse;
mod queries;
mod widget;

pub use emulator::{CursorShape, Term};
pub use encode::{encode_key, encode_paste};
pub use mouse::{encode_mouse, wants_mouse};
pub use widget::draw;

/// Lines kept above the screen.
pub const SCROLLBACK: usize = 2_000;
