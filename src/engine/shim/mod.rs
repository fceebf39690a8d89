//! The shim: one small process per running container, parent of its init. It outlives the node.

pub mod protocol;
