//! Permissions and owners.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown as set_owner};

use super::info::Names;
use super::path::CleanPath;
use crate::error::{KitError, KitResult};

/// Sets the permission bits; returns them as they are told.
///
/// # Errors
/// 400 for what is not octal up to 7777, and what the kernel says.
pub fn chmod(path: &CleanPath, mode: &str) -> KitResult<String> {
    let octal = (1..=5).contains(&mode.len()) && mode.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let bits = u32::from_str_radix(mode, 8).ok().filter(|bits| octal && *bits <= 0o7777);
    let bits = bits.ok_or_else(|| KitError::bad_request(format!("chmod: {mode:?} is not an octal mode")))?;
    let set = std::fs::set_permissions(path.as_path(), Permissions::from_mode(bits));
    set.map_err(|error| KitError::from_io(&path.display(), &error))?;
    Ok(format!("{bits:o}"))
}

/// Sets `user`, `user:group` or `:group`, by name or number; returns both as they are now.
///
/// # Errors
/// 400 for an unknown name, and what the kernel says.
pub fn chown(path: &CleanPath, owner: &str) -> KitResult<(String, String)> {
    let names = Names::load();
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let unknown = |what: &str, name: &str| KitError::bad_request(format!("chown: there is no {what} {name:?}"));
    let known = |text: &str, number: Option<u32>, what: &str| match (text, number) {
        ("", _) => Ok(None),
        (_, Some(number)) => Ok(Some(number)),
        (text, None) => Err(unknown(what, text)),
    };
    let uid = known(user, names.uid(user), "user")?;
    let gid = known(group, names.gid(group), "group")?;
    if uid.is_none() && gid.is_none() {
        return Err(KitError::bad_request("chown: user, user:group or :group"));
    }
    set_owner(path.as_path(), uid, gid).map_err(|error| KitError::from_io(&path.display(), &error))?;
    let now = super::info::stat(path)?;
    Ok((now.owner, now.group))
}
