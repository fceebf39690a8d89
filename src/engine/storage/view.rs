//! Looking into a disk or snapshot that does not run: the merged tree a person would see, read-only.

use std::fs::File;
use std::path::Path;

use super::pool::Pool;
use crate::api::files::{Listing, Stat};
use crate::engine::error::{Error, Result};

impl Pool {
    /// Lists a directory of a disk or snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`]; nothing outside the tree can be named.
    pub fn list(&self, _subvolume: &Path, _path: &str) -> Result<Listing> {
        Err(Error::Unsupported("not built".into()))
    }

    /// Facts about one path of a disk or snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn stat(&self, _subvolume: &Path, _path: &str) -> Result<Stat> {
        Err(Error::Unsupported("not built".into()))
    }

    /// Opens a regular file of a disk or snapshot for reading.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for what is not a regular file.
    pub fn open_file(&self, _subvolume: &Path, _path: &str) -> Result<File> {
        Err(Error::Unsupported("not built".into()))
    }
}
