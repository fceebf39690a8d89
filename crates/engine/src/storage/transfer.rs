//! An image as one file, so that another pool need not build it again.
//!
//! ```text
//! cowl-image 1\n
//! {"id":"debian-13-20261123-1a2b3c4d","created_at":1795440000,"recipe":"0123456789abcdef"}\n
//! the output of `btrfs send`
//! ```
//!
//! Only the image travels; the template is made anew from it, which also makes it a snapshot of
//! the received image, as the inode numbers need it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::image::{BuiltImage, Origin, tier_of};
use super::pool::{Pool, Scratch};
use super::streams::{Room, send};
use crate::archive::stream::Rules;
use crate::error::{Context, Error, Result};
use crate::sys::btrfs;

const MAGIC: &str = "cowl-image 1";
/// Longest head of an export, in bytes.
const HEAD_LIMIT: u64 = 4096;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    id: String,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipe: Option<String>,
}

impl Pool {
    /// Writes an image to one file that [`Pool::import_image`] reads.
    ///
    /// # Errors
    /// When there is no such image, or the disk is full.
    pub fn export_image(&self, image_id: &str, file: &Path) -> Result<()> {
        let built = self.built(image_id)?;
        let image = self.image_path(image_id)?;
        let partial = file.with_extension("partial");
        let guard = Scratch::new(partial.clone());
        let mut out =
            OpenOptions::new().create(true).truncate(true).write(true).open(&partial).at("create", &partial)?;
        let head = serde_json::to_string(&Head { id: built.id, created_at: built.created_at, recipe: built.recipe })
            .map_err(|e| Error::Unsupported(e.to_string()))?;
        writeln!(out, "{MAGIC}\n{head}").at("write", &partial)?;
        let to = out.try_clone().at("write", &partial)?;
        send(&image, None, Stdio::from(to))?;
        out.sync_all().at("write", &partial)?;
        std::fs::rename(&partial, file).at("rename to", file)?;
        guard.keep();
        Ok(())
    }

    /// Copies an image that another pool exported with [`Pool::export_image`]. One that is here
    /// already is kept.
    ///
    /// # Errors
    /// When the file is not such an export.
    pub fn import_image(&self, file: &Path) -> Result<BuiltImage> {
        let mut input = File::open(file).at("open", file)?;
        let head = read_head(&mut input)
            .ok_or_else(|| Error::Unsupported(format!("{} is not an image that Cowl exported", file.display())))?;
        if let Ok(built) = self.built(&head.id) {
            return Ok(built);
        }
        let room = Room::new(self)?;
        let tree = room.receive(&mut input, Rules { name: "image", parent: None, uuid: None })?;
        btrfs::set_writable(&tree).at("make writable", &tree)?;
        let origin = Origin { recipe: head.recipe, stream: None };
        self.adopt(Scratch::new(tree), &head.id, head.created_at, origin)
    }
}

/// Reads the two lines of the head and leaves the file right behind them.
fn read_head(file: &mut File) -> Option<Head> {
    let mut text = Vec::new();
    let mut reader = BufReader::new(Read::by_ref(file).take(HEAD_LIMIT));
    for _ in 0..2 {
        reader.read_until(b'\n', &mut text).ok()?;
    }
    drop(reader);
    file.seek(SeekFrom::Start(text.len() as u64)).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (magic, head) = text.split_once('\n')?;
    let head: Head = serde_json::from_str(head.strip_suffix('\n')?).ok()?;
    (magic == MAGIC && tier_of(&head.id).is_some()).then_some(head)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::storage::pool::names;
    use crate::storage::testing::Scene;

    #[test]
    fn an_image_survives_the_way_into_another_pool() {
        let here = Scene::new();
        let file = here.dir().join("image.bin");
        here.pool.export_image(&here.image(), &file).unwrap();
        let there = Scene::empty();
        let built = there.pool.import_image(&file).unwrap();
        assert_eq!(built, here.pool.image("tiny").unwrap().unwrap());
        assert_eq!(there.pool.import_image(&file).unwrap(), built, "a second import keeps the first");
        let usr = there.pool.root().join("images").join(&built.id).join("usr");
        assert_eq!(fs::read_to_string(usr.join("bin/hello")).unwrap(), "#!/bin/sh\necho hello\n");
        assert_eq!(fs::metadata(usr.join("bin/hello")).unwrap().permissions().mode() & 0o7777, 0o4755);
        assert!(names(&there.pool.root().join("tmp")).unwrap().is_empty());
        // Receiving numbers the inodes anew; what a disk adds must still lie above all of them.
        let disk = there.pool.disk(&there.disk());
        fs::write(disk.join("ovl/upper/new"), "x").unwrap();
        let new = fs::metadata(disk.join("ovl/upper/new")).unwrap().ino();
        assert!(new > fs::metadata(usr.join("bin/hello")).unwrap().ino());
    }

    #[test]
    fn what_is_no_export_is_refused_and_leaves_nothing() {
        let scene = Scene::empty();
        let file = scene.dir().join("x");
        let head = r#"{"id":"debian-13-20261123-1a2b3c4d","created_at":1}"#;
        let evil = r#"{"id":"../../x-20261123-1a2b3c4d","created_at":1}"#;
        for text in [
            String::new(),
            "hello".into(),
            format!("{MAGIC}\n{head}\nnot a stream"),
            format!("{MAGIC}\n{head}\n"),
            format!("{MAGIC}\n{evil}\n"),
        ] {
            fs::write(&file, &text).unwrap();
            assert!(scene.pool.import_image(&file).is_err(), "{text:?}");
        }
        assert!(names(&scene.pool.root().join("tmp")).unwrap().is_empty());
        assert!(names(&scene.pool.root().join("images")).unwrap().is_empty());
    }
}
