//! The kernel's log, for the one thing only it tells: which process it killed for want of memory.
//!
//! The line that names victim and group is, since Linux 4.19,
//! `oom-kill:constraint=…,nodemask=…,cpuset=…,mems_allowed=…,oom_memcg=/A,task_memcg=/B,task=NAME,pid=N,uid=N`
//! (`mm/oom_kill.c`). Names in it are the container's to choose: a process' (15 bytes), and those
//! of the groups it makes below its own. So what is believed is the *first* `oom_memcg=` that is
//! followed by our own group's path, which holds a slash and so cannot be part of one name before
//! it, and what stands behind the *last* `pid=`. Only records of the kernel itself count.
//!
//! On v2 whoever is inside makes groups with limits of their own below ours: units with `MemoryMax=`,
//! podman's containers. Who runs into one of those has not run into ours, and is not told of.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use crate::cgroup::Cgroups;
use cowl_api::ContainerId;
use cowl_api::ids::ID_LEN;

/// Longest record the kernel hands out, with room.
const RECORD_MAX: usize = 8192;

/// Something the kernel said about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A process was killed for want of memory.
    Killed {
        /// The container that ran out.
        id: ContainerId,
        /// Name of the process, as it called itself.
        process: String,
        /// Its id on the host.
        pid: u32,
    },
    /// A fork was refused. The kernel says so once a boot of the container.
    ForkRefused {
        /// The container.
        id: ContainerId,
        /// Whether a group below the container's own asked for it (v2 only): the limit may be one that
        /// was set inside.
        below: bool,
    },
}

/// Reads one record of `/dev/kmsg`. `tag` is the node's.
pub fn parse(record: &str, tag: &str) -> Option<Notice> {
    let (header, text) = record.split_once(';')?;
    let priority: u32 = header.split(',').next()?.parse().ok()?;
    // Facility 0 is the kernel; processes that write to the log get another.
    if priority >> 3 != 0 {
        return None;
    }
    let text = text.lines().next()?;
    let own = format!("/cowl-{tag}/");
    // The container of a path, and what stands behind it.
    let ours = |path: &str| {
        let path = path.strip_prefix(&own)?;
        Some((path.get(..ID_LEN)?.parse().ok()?, path.get(ID_LEN..)?.to_owned()))
    };
    if let Some(path) = text.strip_prefix("cgroup: fork rejected by pids controller in ") {
        let (id, behind) = ours(path)?;
        return Some(Notice::ForkRefused { id, below: !behind.is_empty() });
    }
    let facts = text.strip_prefix("oom-kill:constraint=CONSTRAINT_MEMCG,")?;
    let from = facts.find(&format!(",oom_memcg={own}"))?;
    let (id, behind) = ours(&facts[from + ",oom_memcg=".len()..])?;
    // Nobody inside can make groups beside `payload`.
    if !behind.strip_prefix("/payload").unwrap_or(&behind).starts_with(",task_memcg=") {
        return None;
    }
    let (before, pid) = facts.rsplit_once(",pid=")?;
    let pid = pid.split(',').next()?.parse().ok()?;
    // The name is at most 15 bytes and may itself hold commas.
    let process = before.rsplit_once(",task=").map(|(_, name)| name)?;
    let process: String = process.chars().map(|c| if c.is_control() { ' ' } else { c }).take(64).collect();
    Some(Notice::Killed { id, process, pid })
}

/// Reads the log from now on, on a thread of its own, and gives what concerns the node `tag` to
/// `tell`; ends when that says no, or with the log.
///
/// # Errors
/// When there is no `/dev/kmsg`, or it may not be read.
pub fn follow(tag: String, mut tell: impl FnMut(Notice) -> bool + Send + 'static) -> io::Result<()> {
    let mut file = File::options().read(true).custom_flags(libc::O_CLOEXEC).open("/dev/kmsg")?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
    let groups = Cgroups::find(&tag).ok();
    // The counters know whose limit it was, where the kernel keeps them apart.
    let counted = move |notice: &Notice| match (notice, &groups) {
        (Notice::ForkRefused { id, below: true }, Some(groups)) => groups.tells_refusals_apart(id),
        _ => false,
    };
    let reader = std::thread::Builder::new().name("kmsg".into()).stack_size(128 * 1024);
    reader.spawn(move || {
        let mut buf = [0u8; RECORD_MAX];
        loop {
            match file.read(&mut buf) {
                Ok(n) => {
                    let notice = parse(&String::from_utf8_lossy(&buf[..n]), &tag);
                    if notice.is_some_and(|notice| !counted(&notice) && !tell(notice)) {
                        return;
                    }
                }
                // Records were overwritten before they were read; the next read goes on behind them.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return tracing::warn!(%error, "the kernel's log broke off"),
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef01234567";
    const OTHER: &str = "ffffffffffffffffffffffff";

    fn killed(cpuset: &str, memcg: &str, name: &str) -> String {
        format!(
            "6,1234,567890,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={cpuset},mems_allowed=0,\
             oom_memcg=/cowl-12ab/{ID},task_memcg={memcg},task={name},pid=4711,uid=0\n SUBSYSTEM=x\n"
        )
    }

    fn notice(record: &str) -> Option<Notice> {
        parse(record, "12ab")
    }

    #[test]
    fn a_victim_is_told_with_its_container() {
        let expected = Notice::Killed { id: ID.parse().unwrap(), process: "python3".into(), pid: 4711 };
        assert_eq!(notice(&killed("/", &format!("/cowl-12ab/{ID}/payload/a"), "python3")), Some(expected));
        let refused = format!("4,9,9,-;cgroup: fork rejected by pids controller in /cowl-12ab/{ID}");
        assert_eq!(notice(&refused), Some(Notice::ForkRefused { id: ID.parse().unwrap(), below: false }));
        let below = format!("{refused}/payload/system.slice/x.service");
        assert_eq!(notice(&below), Some(Notice::ForkRefused { id: ID.parse().unwrap(), below: true }));
    }

    #[test]
    fn other_nodes_containers_and_the_hosts_own_are_none_of_ours() {
        let record = killed("/", "/x", "sh");
        assert_eq!(parse(&record, "12ac"), None);
        assert_eq!(notice(&record.replace("/cowl-12ab/", "/system.slice/")), None);
        assert_eq!(notice(&record.replace("CONSTRAINT_MEMCG", "CONSTRAINT_NONE")), None);
        // A process may write the same line into the log, but not in the kernel's name.
        assert_eq!(notice(&record.replacen("6,", "14,", 1)), None);
    }

    #[test]
    fn a_limit_that_was_set_inside_is_none_of_ours() {
        let record = killed("/", &format!("/cowl-12ab/{ID}/payload/a"), "sh");
        let by = |group: &str| record.replace(&format!("{ID},task_memcg"), &format!("{ID}{group},task_memcg"));
        assert!(matches!(notice(&by("/payload")), Some(Notice::Killed { pid: 4711, .. })));
        for inside in ["/payload/system.slice/a.service", "/payload/payload", "/payload/,task_memcg=/payload"] {
            assert_eq!(notice(&by(inside)), None, "{inside}");
        }
    }

    #[test]
    fn names_inside_cannot_put_the_blame_on_a_neighbour() {
        let lie = format!(",oom_memcg=/cowl-12ab/{OTHER},task=x,pid=1");
        let told = |record: &str| match notice(record) {
            Some(Notice::Killed { id, pid, .. }) => (id.to_string(), pid),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&killed("/", &format!("/cowl-12ab/{ID}/payload/a{lie}"), "sh")), (ID.to_owned(), 4711));
        assert_eq!(told(&killed("/", "/x", ",pid=1,uid=0")), (ID.to_owned(), 4711));
        // A group's name holds no slash.
        let flat = lie.replace('/', "");
        assert_eq!(told(&killed(&flat, "/x", "sh")), (ID.to_owned(), 4711));
    }

    proptest! {
        #[test]
        fn no_record_breaks_the_reader(text in ".{0,200}", name in ".{0,20}") {
            let _ = notice(&text);
            if let Some(Notice::Killed { id, .. }) = notice(&killed("/", "/x", &name)) {
                prop_assert_eq!(id.to_string(), ID);
            }
        }
    }
}
