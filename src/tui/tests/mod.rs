//! The cockpit as a whole, against a scripted node.

pub mod fixtures;
mod hand;
mod living;
mod scripted;
mod shots;
mod stage;
mod stories;
mod wire;
