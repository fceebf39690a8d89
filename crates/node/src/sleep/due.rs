//! When a sleeping container has something to do by itself, read from its disk.
//!
//! | looked at | counts when |
//! |---|---|
//! | `/var/spool/cron/crontabs/*` | always |
//! | `/etc/crontab`, `/etc/cron.d/*` | a cron daemon is installed; lines that run an empty directory do not |
//! | `/etc/systemd/system/*.timer`, `OnCalendar=` | it is a file there, i.e. its owner's, and `timers.target` wants it |
//!
//! Timers that came with packages do not count, or every container would wake several times a day
//! for apt and fstrim; nor do drop-ins, timers of users' own systemd, and other triggers than the
//! calendar. The content is hostile: paths are walked by the pool's reader, which cannot leave the
//! tree, and files, names and time zone data are bounded.

use std::io::Read;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::timer;
use crate::calendar::{Calendar, crontab};
use crate::machine::{Machine, Tree};
use cowl_api::ContainerId;
use cowl_api::files::PathType;

/// Bytes of a file that are read.
const FILE_BYTES: u64 = 64 * 1024;
/// Files of a directory that are read.
const FILES: usize = 64;

const SPOOL: &str = "/var/spool/cron/crontabs";
const UNITS: &str = "/etc/systemd/system";
const DAEMONS: [&str; 4] =
    ["/usr/sbin/cron", "/usr/sbin/crond", "/usr/lib/systemd/system/cron.target", "/usr/sbin/bcron-sched"];

/// What can be seen of a disk.
trait Disk {
    /// The text of a file, cut off where it is too long.
    fn text(&self, path: &str) -> Option<Vec<u8>>;
    /// Names in a directory, and whether each is a plain file.
    fn names(&self, dir: &str) -> Vec<(String, bool)>;
    /// Whether there is anything of this name.
    fn has(&self, path: &str) -> bool;
}

struct Pool<'a> {
    machine: &'a dyn Machine,
    tree: Tree,
}

impl Disk for Pool<'_> {
    fn text(&self, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.machine.open_file(&self.tree, path).ok()?;
        file.take(FILE_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn names(&self, dir: &str) -> Vec<(String, bool)> {
        let listing = self.machine.list(&self.tree, dir).map(|l| l.paths).unwrap_or_default();
        listing.into_iter().map(|e| (e.name, e.path_type == PathType::File)).collect()
    }

    fn has(&self, path: &str) -> bool {
        self.machine.stat(&self.tree, path).is_ok()
    }
}

/// The next moment after `after` at which a container has something to do. Blocks.
pub(super) fn next(machine: &dyn Machine, id: &ContainerId, after: Timestamp) -> Option<Timestamp> {
    next_of(&Pool { machine, tree: Tree::Disk(*id) }, after)
}

fn next_of(disk: &dyn Disk, after: Timestamp) -> Option<Timestamp> {
    let all = calendars(disk);
    // Most have nothing; then its zone does not matter.
    if all.is_empty() {
        return None;
    }
    let zone = zone(disk);
    all.iter().filter_map(|calendar| calendar.next(after, &zone)).min()
}

fn calendars(disk: &dyn Disk) -> Vec<Calendar> {
    let mut found = Vec::new();
    let tab = |path: &str, names_user| {
        let text = disk.text(path).unwrap_or_default();
        crontab::parse(&String::from_utf8_lossy(&text), names_user)
    };
    for name in plain_files(disk, SPOOL, |_| true) {
        found.extend(tab(&format!("{SPOOL}/{name}"), false).into_iter().map(|e| e.when));
    }
    if DAEMONS.iter().any(|path| disk.has(path)) {
        let mut paths = vec!["/etc/crontab".to_owned()];
        // As cron does: names with a dot are leftovers of dpkg and editors.
        let named = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        paths.extend(plain_files(disk, "/etc/cron.d", named).into_iter().map(|name| format!("/etc/cron.d/{name}")));
        let entries = paths.iter().flat_map(|path| tab(path, true));
        found.extend(entries.filter(|e| !runs_nothing(disk, &e.command)).map(|e| e.when));
    }
    let wanted = disk.names(&format!("{UNITS}/timers.target.wants"));
    for name in plain_files(disk, UNITS, |name| name.ends_with(".timer") && wanted.iter().any(|(w, _)| w == name)) {
        let text = disk.text(&format!("{UNITS}/{name}")).unwrap_or_default();
        found.extend(timer::parse(&String::from_utf8_lossy(&text)));
    }
    found
}

fn plain_files(disk: &dyn Disk, dir: &str, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let files = disk.names(dir).into_iter().filter(|(name, plain)| *plain && fits(name));
    files.map(|(name, _)| name).take(FILES).collect()
}

/// Whether a command is Debian's `run-parts` of a directory in which there is nothing to run.
fn runs_nothing(disk: &dyn Disk, command: &str) -> bool {
    let Some((_, after)) = command.split_once("run-parts") else { return false };
    let dir = after.split_whitespace().find(|word| word.starts_with("/etc/cron."));
    let dir = dir.map(|word| word.trim_end_matches([')', ';', '}']));
    dir.is_some_and(|dir| disk.names(dir).iter().all(|(name, _)| name.starts_with('.')))
}

/// The machine's own time zone; UTC when it says nothing that makes sense.
fn zone(disk: &dyn Disk) -> TimeZone {
    // The data it names are its own: the host may know another version of them, or none.
    let local = disk.text("/etc/localtime").filter(|data| data.len() < FILE_BYTES as usize);
    if let Some(zone) = local.and_then(|data| TimeZone::tzif("local", &data).ok()) {
        return zone;
    }
    let name = disk.text("/etc/timezone").unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    TimeZone::get(name.trim()).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Files = BTreeMap<&'static str, Vec<u8>>;

    impl Disk for Files {
        fn text(&self, path: &str) -> Option<Vec<u8>> {
            self.get(path).cloned()
        }

        fn names(&self, dir: &str) -> Vec<(String, bool)> {
            let below = self.keys().filter_map(|path| path.strip_prefix(dir)?.strip_prefix('/'));
            below.filter(|name| !name.contains('/')).map(|name| (name.to_owned(), true)).collect()
        }

        fn has(&self, path: &str) -> bool {
            self.contains_key(path)
        }
    }

    fn due(files: &[(&'static str, &str)]) -> Option<String> {
        let files: Files = files.iter().map(|(path, text)| (*path, text.as_bytes().to_vec())).collect();
        next_of(&files, "2026-11-23T10:07:30Z".parse().unwrap()).map(|t| t.to_string())
    }

    const CRON: (&str, &str) = ("/usr/sbin/cron", "");

    #[test]
    fn the_earliest_of_all_counts() {
        let user = ("/var/spool/cron/crontabs/root", "0 12 * * * x\n");
        assert_eq!(due(&[]), None);
        assert_eq!(due(&[user]).as_deref(), Some("2026-11-23T12:00:00Z"));
        let package = ("/etc/cron.d/php", "9,39 * * * * root x\n");
        assert_eq!(due(&[user, package]).as_deref(), Some("2026-11-23T12:00:00Z"), "nobody there to run it");
        assert_eq!(due(&[user, package, CRON]).as_deref(), Some("2026-11-23T10:09:00Z"));
        let leftover = ("/etc/cron.d/php.dpkg-old", "* * * * * root x\n");
        assert_eq!(due(&[user, leftover, CRON]).as_deref(), Some("2026-11-23T12:00:00Z"));
    }

    #[test]
    fn a_directory_with_nothing_to_run_wakes_nobody() {
        let hourly = ("/etc/crontab", "17 * * * * root cd / && run-parts --report /etc/cron.hourly\n");
        let daily = ("/etc/crontab", "25 6 * * * root test -x /x || { cd / && run-parts --report /etc/cron.daily; }\n");
        let placeholder = ("/etc/cron.hourly/.placeholder", "");
        assert_eq!(due(&[CRON, hourly, placeholder]), None);
        assert_eq!(due(&[CRON, daily]), None);
        assert_eq!(due(&[CRON, hourly, ("/etc/cron.hourly/job", "")]).as_deref(), Some("2026-11-23T10:17:00Z"));
        assert_eq!(due(&[CRON, daily, ("/etc/cron.daily/dpkg", "")]).as_deref(), Some("2026-11-24T06:25:00Z"));
    }

    #[test]
    fn timers_of_the_owner_that_are_enabled_count() {
        let unit = ("/etc/systemd/system/job.timer", "[Timer]\nOnCalendar=*:0/10\n");
        let enabled = ("/etc/systemd/system/timers.target.wants/job.timer", "");
        let package = ("/etc/systemd/system/timers.target.wants/apt-daily.timer", "[Timer]\nOnCalendar=minutely\n");
        assert_eq!(due(&[unit]), None);
        assert_eq!(due(&[package]), None);
        assert_eq!(due(&[unit, enabled, package]).as_deref(), Some("2026-11-23T10:10:00Z"));
    }

    #[test]
    fn its_own_time_zone_counts_and_nonsense_is_utc() {
        let noon = ("/var/spool/cron/crontabs/root", "0 12 * * * x\n");
        assert_eq!(due(&[noon, ("/etc/timezone", "Europe/Berlin\n")]).as_deref(), Some("2026-11-23T11:00:00Z"));
        assert_eq!(due(&[noon, ("/etc/timezone", "../../etc/passwd")]).as_deref(), Some("2026-11-23T12:00:00Z"));
        assert_eq!(due(&[noon, ("/etc/localtime", "TZif nonsense")]).as_deref(), Some("2026-11-23T12:00:00Z"));
    }

    proptest::proptest! {
        #[test]
        fn no_time_zone_data_make_it_panic(mut data: Vec<u8>, headed: bool) {
            if headed {
                data.splice(0..0, *b"TZif2");
            }
            let files: Files = [("/etc/localtime", data), ("/var/spool/cron/crontabs/root", b"0 12 * * * x\n".to_vec())].into();
            proptest::prop_assert!(next_of(&files, Timestamp::UNIX_EPOCH).is_some());
        }
    }
}
