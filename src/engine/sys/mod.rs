//! System calls the crates do not wrap. All `unsafe` of the project is in this room.
#![allow(unsafe_code)] // The one room where it is allowed; each block has its safety argument.

pub mod btrfs;
