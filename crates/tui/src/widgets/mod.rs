//! Pieces panes are drawn with.

pub mod figures;
pub mod input;
pub mod list;
pub mod table;
pub mod text;
