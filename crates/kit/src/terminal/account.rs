//! Who a shell runs as, by the container's own `/etc/passwd` and `/etc/group`.

use std::path::PathBuf;

use crate::error::{KitError, KitResult};

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: String,
}

impl Account {
    /// Finds `name`, or says 400. An image without a passwd file still has a root.
    pub fn named(name: &str) -> KitResult<Self> {
        let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        match Self::find(&text, name) {
            Some(account) => Ok(account),
            None if name == "root" => Ok(Self::root()),
            None => Err(KitError::bad_request(format!("user: {name:?} does not exist in this container"))),
        }
    }

    fn root() -> Self {
        Self { name: "root".into(), uid: 0, gid: 0, home: "/root".into(), shell: "/bin/sh".into() }
    }

    fn find(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [login, _, uid, gid, _, home, shell] = fields[..] else { return None };
            if login != name {
                return None;
            }
            let home = if home.starts_with('/') { home } else { "/" };
            let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
            Some(Self { name: login.into(), uid, gid, home: home.into(), shell: shell.into() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name_only() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken:line\nuser:x:1000:1001:,,,:/home/user:/bin/bash\n";
        let user = Account::find(passwd, "user").unwrap();
        assert_eq!((user.uid, user.gid, user.home.to_str()), (1000, 1001, Some("/home/user")));
        assert_eq!(Account::find(passwd, "use"), None);
        assert_eq!(Account::find(passwd, "broken"), None);
    }
}
