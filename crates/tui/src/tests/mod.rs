//! The cockpit as a whole, against a scripted node.

pub mod fixtures;
mod hand;
mod living;
mod scripted;
mod shares;
mod shots;
pub mod stage;
mod stories;
mod wire;
