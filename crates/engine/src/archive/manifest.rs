//! What an archive says about itself, in front of everything else.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::hex;
use crate::error::{Error, Result};
use crate::storage::disks::is_snapshot_name;
use crate::storage::image::tier_of;

/// Version of how a template is made of an image; disks are sent against it.
pub const TEMPLATE_LAYOUT: u32 = 1;
/// Most sections of an archive.
const SECTIONS_MAX: usize = 4_096;
/// Longest text in it, in bytes, but for values of variables.
const TEXT_MAX: usize = 65_536;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Who wrote it: `cowl 0.1.0`.
    pub tool: String,
    /// When, ISO 8601.
    pub created_at: String,
    /// [`TEMPLATE_LAYOUT`] of the writer.
    pub template_layout: u32,
    /// What the container is like.
    pub container: About,
    /// The image its disk was made from.
    pub image: ImageRef,
    /// What an increment is to be put on; none for a whole archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The streams, in their order.
    pub sections: Vec<Section>,
}

/// A container's own settings. Its SSH key and whatever other containers have stays where it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its id where it was exported.
    pub id: String,
    /// Its name there.
    pub name: String,
    /// Its image's tier, `debian-13`.
    pub tier: String,
    /// Its colour.
    #[serde(default)]
    pub color: String,
    /// Whether the kit runs in it.
    #[serde(default)]
    pub hoody_kit: bool,
    /// As in the API.
    #[serde(default)]
    pub dev_kit: bool,
    /// As in the API.
    #[serde(default)]
    pub ai: bool,
    /// Whether it starts with the node.
    #[serde(default)]
    pub autostart: bool,
    /// Whether it has a `/ramdisk`.
    #[serde(default)]
    pub ramdisk: bool,
    /// Its variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its settings as the API takes them.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// Words about it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// Its id where it was exported.
    pub id: String,
    /// UUID of its subvolume where it was built, 32 hexadecimal digits.
    pub uuid: String,
    /// When it was built, seconds since the epoch.
    pub created_at: i64,
}

/// A snapshot that an earlier archive held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its name in the container.
    pub name: String,
    /// UUID of its subvolume where it was made, 32 hexadecimal digits.
    pub uuid: String,
}

/// What a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The image.
    Image,
    /// A snapshot of the container.
    Snapshot,
    /// The container's disk.
    Disk,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// What it is.
    pub role: Role,
    /// UUID of the subvolume where it was made, 32 hexadecimal digits.
    pub uuid: String,
    /// The snapshot's name; for the disk, that of the snapshot it was taken from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Whether a text is a UUID as it is written here.
fn is_uuid(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) && text != "0".repeat(32)
}

/// A UUID as it is written here.
pub fn uuid(bytes: &[u8; 16]) -> String {
    hex(bytes)
}

fn refuse(what: impl std::fmt::Display) -> Error {
    Error::Unsupported(format!("the archive's manifest is none: {what}"))
}

impl Manifest {
    /// Reads a manifest and checks that it makes sense.
    ///
    /// # Errors
    /// [`Error::Unsupported`] saying what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(refuse)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether the image travels along.
    pub fn has_image(&self) -> bool {
        self.sections.first().is_some_and(|s| s.role == Role::Image)
    }

    fn check(&self) -> Result<()> {
        if self.template_layout != TEMPLATE_LAYOUT {
            return Err(Error::Unsupported(format!(
                "the archive needs templates of layout {}, this version makes {TEMPLATE_LAYOUT}; use the version of \
                 Cowl that wrote it ({:.40})",
                self.template_layout,
                self.tool.escape_debug().to_string()
            )));
        }
        let about = &self.container;
        let texts = [&self.tool, &self.created_at, &about.id, &about.name, &about.tier, &about.color];
        if texts.into_iter().chain(&about.comment).any(|text| text.len() > TEXT_MAX) {
            return Err(refuse("a text is too long"));
        }
        if tier_of(&self.image.id).is_none() || !is_uuid(&self.image.uuid) {
            return Err(refuse("it names no image"));
        }
        if self.base.as_ref().is_some_and(|base| !is_snapshot_name(&base.name) || !is_uuid(&base.uuid)) {
            return Err(refuse("its base is none"));
        }
        self.check_sections()
    }

    fn check_sections(&self) -> Result<()> {
        if self.sections.len() > SECTIONS_MAX {
            return Err(refuse("too many sections"));
        }
        let mut names = HashSet::new();
        let last = self.sections.len().saturating_sub(1);
        for (i, section) in self.sections.iter().enumerate() {
            let fits = match section.role {
                Role::Image => i == 0 && self.base.is_none() && section.uuid == self.image.uuid,
                Role::Snapshot => i < last && section.name.is_some(),
                Role::Disk => i == last,
            };
            let named = section.name.as_ref().is_none_or(|name| is_snapshot_name(name) && names.insert(name));
            if !fits || !named || !is_uuid(&section.uuid) {
                return Err(refuse(format!("section {i} makes no sense")));
            }
        }
        match self.sections.last() {
            Some(section) if section.role == Role::Disk => Ok(()),
            _ => Err(refuse("it has no disk")),
        }
    }
}
