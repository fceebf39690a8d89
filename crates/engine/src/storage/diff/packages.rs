//! The packages of both moments, from dpkg's own list.
//!
//! The list is a file in a container, which can write anything into it: what is no stanza is passed
//! over, and there is a bound to everything.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::version;
use cowl_api::diff::{PackageChange, PackageChangeKind};

/// dpkg's list of packages.
pub const STATUS: &[u8] = b"/var/lib/dpkg/status";
/// Longest list that is read, in bytes; a full desktop has 5 MB.
pub const STATUS_MAX: u64 = 64 << 20;
/// Most packages in it.
const PACKAGES_MAX: usize = 200_000;
/// Longest name, architecture or version, in bytes.
const WORD_MAX: usize = 256;

/// Versions of installed packages by name and architecture.
pub type Packages = BTreeMap<(String, String), String>;

/// Reads dpkg's list: the packages that are unpacked, whether configured or not.
pub fn parse(status: &[u8]) -> Packages {
    let mut all = Packages::new();
    let mut stanza = Stanza::default();
    for line in status.split(|b| *b == b'\n').chain([&b""[..]]) {
        if line.is_empty() {
            if let Some((key, version)) = std::mem::take(&mut stanza).installed()
                && all.len() < PACKAGES_MAX
            {
                all.insert(key, version);
            }
            continue;
        }
        // Lines that go on with a field begin with a blank.
        let Some((field, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
            continue;
        };
        let value = value.trim();
        if value.len() > WORD_MAX {
            continue;
        }
        match field {
            "Package" => stanza.package = value.to_owned(),
            "Architecture" => stanza.architecture = value.to_owned(),
            "Version" => stanza.version = value.to_owned(),
            "Status" => stanza.status = value.to_owned(),
            _ => {}
        }
    }
    all
}

#[derive(Default)]
struct Stanza {
    package: String,
    architecture: String,
    version: String,
    status: String,
}

impl Stanza {
    fn installed(self) -> Option<((String, String), String)> {
        // Want, error flag, state.
        let state = self.status.split_whitespace().nth(2)?;
        let is_there = !matches!(state, "not-installed" | "config-files");
        (is_there && !self.package.is_empty() && !self.version.is_empty())
            .then_some(((self.package, self.architecture), self.version))
    }
}

/// What became of each package, by name. One that only changed its architecture, as from `all` to
/// `amd64`, is one package.
pub fn compare(before: &Packages, after: &Packages) -> Vec<PackageChange> {
    let missing = |of: &Packages, from: &Packages| -> Packages {
        of.iter().filter(|(key, _)| !from.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let (mut gone, mut came) = (missing(before, after), missing(after, before));
    let mut changes = Vec::new();
    let mut versions = |name: &str, architecture: &str, before: &str, after: &str| {
        let kind = match version::compare(before, after) {
            Ordering::Less => PackageChangeKind::Upgraded,
            Ordering::Greater => PackageChangeKind::Downgraded,
            Ordering::Equal => return,
        };
        changes.push(change(kind, name, architecture, Some(before), Some(after)));
    };
    for ((name, architecture), new) in after {
        if let Some(old) = before.get(&(name.clone(), architecture.clone())) {
            versions(name, architecture, old, new);
        }
    }
    let only = |of: &Packages, name: &str| {
        let mut found = of.keys().filter(|key| key.0 == name);
        found.next().cloned().filter(|_| found.next().is_none())
    };
    let names: Vec<String> = came.keys().map(|key| key.0.clone()).collect();
    for name in names {
        let (Some(old), Some(new)) = (only(&gone, &name), only(&came, &name)) else { continue };
        if let (Some(before), Some(after)) = (gone.remove(&old), came.remove(&new)) {
            versions(&name, &new.1, &before, &after);
        }
    }
    for ((name, architecture), version) in &came {
        changes.push(change(PackageChangeKind::Installed, name, architecture, None, Some(version)));
    }
    for ((name, architecture), version) in &gone {
        changes.push(change(PackageChangeKind::Removed, name, architecture, Some(version), None));
    }
    changes.sort_by(|a, b| (&a.name, &a.architecture, a.kind).cmp(&(&b.name, &b.architecture, b.kind)));
    changes
}

fn change(
    kind: PackageChangeKind,
    name: &str,
    architecture: &str,
    before: Option<&str>,
    after: Option<&str>,
) -> PackageChange {
    PackageChange {
        kind,
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stanza(name: &str, state: &str, architecture: &str, version: &str) -> String {
        format!(
            "Package: {name}\nStatus: install ok {state}\nArchitecture: {architecture}\nVersion: {version}\n\
             Description: words\n of more: than one line\n\n"
        )
    }

    #[test]
    fn what_is_installed_removed_and_moved_is_told_by_name() {
        let before = [
            stanza("gone", "installed", "amd64", "1"),
            stanza("up", "installed", "amd64", "1.0~rc1"),
            stanza("down", "installed", "all", "2:1"),
            stanza("same", "installed", "all", "5"),
            stanza("purged", "config-files", "all", "5"),
            stanza("split", "installed", "all", "1"),
        ];
        let after = [
            stanza("new", "unpacked", "amd64", "3"),
            stanza("up", "installed", "amd64", "1.0"),
            stanza("down", "half-configured", "all", "2:0.9"),
            stanza("same", "installed", "all", "5"),
            stanza("split", "installed", "amd64", "2"),
        ];
        let changes = compare(&parse(before.concat().as_bytes()), &parse(after.concat().as_bytes()));
        let told: Vec<_> = changes
            .iter()
            .map(|c| format!("{:?} {} {:?} {:?}", c.kind, c.name, c.before.as_deref(), c.after.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                "Downgraded down Some(\"2:1\") Some(\"2:0.9\")",
                "Removed gone Some(\"1\") None",
                "Installed new None Some(\"3\")",
                "Upgraded split Some(\"1\") Some(\"2\")",
                "Upgraded up Some(\"1.0~rc1\") Some(\"1.0\")",
            ]
        );
    }

    #[test]
    fn nothing_in_the_list_confuses_its_reader() {
        let word = prop_oneof![
            Just(b"Package: x\n".to_vec()),
            Just(b"Version: 1\n".to_vec()),
            Just(b"Status: install ok installed\n".to_vec()),
            Just(b"\n".to_vec()),
            Just(b":\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest!(|(words in proptest::collection::vec(word, 0..40), other in proptest::collection::vec(any::<u8>(), 0..99))| {
            let packages = parse(&words.concat());
            prop_assert!(compare(&packages, &packages).is_empty());
            let others = parse(&other);
            prop_assert_eq!(compare(&packages, &others).len(), compare(&others, &packages).len());
        });
    }

    #[test]
    fn a_list_without_end_is_read_to_its_bound() {
        let long = format!("Package: {}\nStatus: install ok installed\nVersion: 1\n", "x".repeat(10_000));
        assert!(parse(long.as_bytes()).is_empty());
    }
}
