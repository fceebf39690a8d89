//! Storage shares: a directory of one container shown in another, or in all of a project.

use serde::{Deserialize, Serialize};

use super::envelope::FieldError;
use super::ids::{ContainerId, ProjectId, ShareId};
use super::names;

/// Directories that are the kernel's, the boot loader's or volatile: never shared.
const REFUSED: [&str; 6] = ["/proc", "/sys", "/dev", "/boot", "/run", "/var/run"];
/// Longest path, in bytes.
const PATH_MAX: usize = 4096;
/// Longest time that [`ends_after`] takes: ten years, in seconds.
const LIFE_MAX: u64 = 3650 * 86_400;
/// Longest description, in characters.
const DESCRIPTION_MAX: usize = 1000;

/// What a target may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareMode {
    /// Look only.
    Readonly,
    /// Change as well.
    Readwrite,
}

impl ShareMode {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Readonly => "readonly",
            Self::Readwrite => "readwrite",
        }
    }
}

/// A share as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Its id.
    pub id: ShareId,
    /// Whose directory it is.
    pub source_container_id: ContainerId,
    /// Absolute path in the source.
    pub source_path: String,
    /// The one container that may see it; else a project.
    pub target_container_id: Option<ContainerId>,
    /// The project whose containers may see it.
    pub target_project_id: Option<ProjectId>,
    /// `container` or `project`.
    pub target_type: String,
    /// What a target may do.
    pub mode: ShareMode,
    /// Name of its directory below `/hoody/shares`; its id without one.
    pub alias: Option<String>,
    /// A word to find it by.
    pub label: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Whether it is offered at all.
    pub enabled: bool,
    /// `active`, or `failed` when it could not be shown somewhere.
    pub status: String,
    /// Why it failed.
    pub status_message: Option<String>,
    /// Seconds since the epoch after which it is taken away.
    pub expires_at: Option<u64>,
    /// Whether its nearing end was told, by `storage.share.expiring_soon`.
    #[serde(default)]
    pub expiry_notified: bool,
    /// The owner's id.
    pub created_by: String,
    /// Always empty here.
    #[serde(default)]
    pub realm_ids: Vec<String>,
    /// ISO 8601, UTC.
    pub created_at: String,
    /// ISO 8601, UTC.
    pub updated_at: String,
}

impl Share {
    /// Name of its directory below `/hoody/shares`.
    pub fn directory(&self) -> &str {
        self.alias.as_deref().unwrap_or(self.id.as_str())
    }

    /// Whether it is offered now.
    pub fn offered(&self, now_s: u64) -> bool {
        self.enabled && self.expires_at.is_none_or(|at| at > now_s)
    }
}

/// A share as its target sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncomingShare {
    /// The share.
    #[serde(flatten)]
    pub share: Share,
    /// Whether this target takes it: what it said, else yes for a project's share and no for its own.
    pub mount: bool,
    /// Where it appears inside.
    pub mount_path: String,
}

/// Body of `POST /api/v1/containers/{id}/storage/shares`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateShare {
    /// Absolute path in the source.
    pub source_path: String,
    /// One container …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_container_id: Option<ContainerId>,
    /// … or all of a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_project_id: Option<ProjectId>,
    /// What a target may do.
    pub mode: ShareMode,
    /// 3–63 of a-z, 0-9, inner `-` and `_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// As the alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// At most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Offered at once; true when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// Body of `PATCH /api/v1/containers/{id}/storage/shares/{shareId}`; absent fields stay, null clears.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateShare {
    /// What a target may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ShareMode>,
    /// New name of its directory.
    #[serde(skip_serializing_if = "Option::is_none", with = "super::container::double_option")]
    pub alias: Option<Option<String>>,
    /// New label.
    #[serde(skip_serializing_if = "Option::is_none", with = "super::container::double_option")]
    pub label: Option<Option<String>>,
    /// New description.
    #[serde(skip_serializing_if = "Option::is_none", with = "super::container::double_option")]
    pub description: Option<Option<String>>,
    /// Offered or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// New end.
    #[serde(skip_serializing_if = "Option::is_none", with = "super::container::double_option")]
    pub expires_at: Option<Option<u64>>,
}

/// Body of `PATCH /api/v1/containers/{id}/storage/incoming/{shareId}/mount`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ToggleMount {
    /// Take it, or not.
    pub mount: bool,
}

/// Brings a path to its plain form.
///
/// # Errors
/// Names `/source_path` and says what may be shared.
pub fn source_path(text: &str) -> Result<String, FieldError> {
    let wrong = |says: &str| Err(FieldError::new("/source_path", says));
    if !text.starts_with('/') || text.len() > PATH_MAX {
        return wrong("must be an absolute path of at most 4096 bytes");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b)) {
        return wrong("may hold only letters, digits and / - _ .");
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return wrong("must not hold ..");
    }
    let path = format!("/{}", parts.join("/"));
    let below = |dir: &str| path == dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    if path == "/" {
        return wrong("must be a directory below /");
    }
    if let Some(dir) = REFUSED.iter().find(|dir| below(dir)) {
        return wrong(&format!("{dir} cannot be shared"));
    }
    if below("/usr") {
        return wrong("/usr comes from the image and cannot be shared; copy what you need elsewhere");
    }
    if below("/hoody/shares") {
        return wrong("what is shared with a container cannot be shared on");
    }
    Ok(path)
}

/// When a share ends that is to live for `text` from now on, in seconds since the epoch: `30m`,
/// `12h`, `2d`, `1d 12h`, `1w`; nothing and `never` mean no end.
///
/// # Errors
/// Names `/expires_at` and says what can be written.
pub fn ends_after(text: &str, now_s: u64) -> Result<Option<u64>, FieldError> {
    let text = text.trim();
    if text.is_empty() || text == "never" {
        return Ok(None);
    }
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let life = text.parse::<jiff::Span>().and_then(|span| span.to_duration(days)).ok();
    match life.and_then(|life| u64::try_from(life.as_secs()).ok()) {
        Some(seconds) if (1..=LIFE_MAX).contains(&seconds) => Ok(Some(now_s.saturating_add(seconds))),
        _ => Err(FieldError::new("/expires_at", "must be a time like 30m, 12h or 2d, at most 10 years, or never")),
    }
}

/// Checks an alias or a label.
///
/// # Errors
/// Names `field`.
pub fn word(field: &str, text: Option<&str>) -> Result<(), FieldError> {
    let Some(text) = text else { return Ok(()) };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let fine = (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| plain(*b) || b"-_".contains(b))
        && bytes.first().is_some_and(|b| plain(*b))
        && bytes.last().is_some_and(|b| plain(*b));
    if fine { Ok(()) } else { Err(FieldError::new(field, "must be 3 to 63 of a-z, 0-9, and inner - and _")) }
}

/// Checks a description.
///
/// # Errors
/// Names `/description`.
pub fn description(text: Option<&str>) -> Result<(), FieldError> {
    names::at_most("/description", text, DESCRIPTION_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_made_plain_and_the_systems_own_are_refused() {
        assert_eq!(source_path("//srv/./data/").unwrap(), "/srv/data");
        assert_eq!(source_path("/runner").unwrap(), "/runner");
        for bad in ["srv", "/", "//", "/srv/../etc", "/proc", "/proc/1", "/run/x", "/var/run", "/usr/lib", "/a b", "/é"]
        {
            assert!(source_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_end_of_a_share_is_told_as_a_span() {
        for (text, seconds) in
            [("30m", 1_800), ("12h", 43_200), ("1d 12h", 129_600), ("2 days", 172_800), ("1w", 604_800)]
        {
            assert_eq!(ends_after(text, 1_000).unwrap(), Some(1_000 + seconds), "{text}");
        }
        assert_eq!((ends_after("", 5).unwrap(), ends_after(" never ", 5).unwrap()), (None, None));
        for bad in ["7", "soon", "-2d", "2d ago", "0s", "1month", "99999d", "9999999999999w"] {
            assert!(ends_after(bad, 1_000).unwrap_err().message.contains("30m"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_an_end_in_the_past(text in "\\PC{0,12}") {
            prop_assert!(ends_after(&text, 1_000).ok().flatten().is_none_or(|at| at > 1_000));
        }

        #[test]
        fn what_passes_stays_below_the_root_and_is_plain(text in "/[a-z./_-]{0,30}") {
            if let Ok(path) = source_path(&text) {
                prop_assert_eq!(source_path(&path).unwrap(), path.clone());
                prop_assert!(!path.contains("//") && !path.split('/').any(|p| p == ".." || p == "."));
            }
        }
    }
}
