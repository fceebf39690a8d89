//! Names of users and groups, as a tree's own `/etc/passwd` and `/etc/group` tell them.

use std::collections::HashMap;
use std::io::{self, Read};

use super::tree::Tree;

/// More of such a file is not read; the rest keep their numbers.
const READ_LIMIT: u64 = 1 << 20;

/// Names by number.
#[derive(Debug, Default)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Reads both files; a file that is missing or none names nobody.
    pub fn of(tree: &mut Tree) -> Self {
        let mut read = |path: &str| parse(&read_text(tree, path).unwrap_or_default());
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// The user's name, or number.
    pub fn user(&self, id: u32) -> String {
        self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// The group's name, or number.
    pub fn group(&self, id: u32) -> String {
        self.groups.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

fn read_text(tree: &mut Tree, path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    tree.walk(path.as_ref(), true)?.open()?.take(READ_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `name:x:number:…` a line; the first name of a number wins.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1).and_then(|f| f.parse().ok()))
            && !name.is_empty()
            && !name.contains(char::is_control)
        {
            names.entry(id).or_insert_with(|| name.chars().take(64).collect());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_well_formed_lines_only() {
        let names =
            parse("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad\n:x:7:\nevil\x1b[2J:x:8:\nu:x:1000:\n");
        assert_eq!(names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(names.get(&1000).map(String::as_str), Some("u"));
        assert_eq!(names.len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_passwd_breaks_the_parser(text in "[a-z0-9:\\n ]{0,200}|\\PC{0,100}") {
            let _ = parse(&text);
        }
    }
}
