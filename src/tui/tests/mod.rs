//! The cockpit as a whole, against a scripted node.

pub mod fixtures;
