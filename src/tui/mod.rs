//! The cockpit.
#![allow(dead_code)]
pub mod backend;
mod backend_http;
mod guard;
mod keymap;
mod term;
mod theme;
mod widgets;
