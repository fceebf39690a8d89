//! Which cores a container may run on.
//!
//! On v2 that is one file, which cannot be emptied again while tasks run. On v1 a group of cpuset
//! starts out without cores and memory, and every group costs each fork a little: a container has
//! one only once it is wanted.

use std::fs;
use std::path::Path;

use super::Pen;
use crate::cgroup::{CPUSET, Cgroups, make_dir};
use crate::error::{Context, Result};
use cowl_api::ContainerId;
use cowl_api::settings::{self, Limits};

fn read_line(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl Cgroups {
    pub(super) fn limit_cores(&self, id: &ContainerId, limits: &Limits, pen: &mut Pen) {
        let Some((dir, v1)) = self.seat(id, CPUSET) else { return };
        let of_host = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
        let of_host = of_host.trim();
        let wanted = limits.cpu_set.as_deref().map(|text| {
            let online = settings::cores(of_host).unwrap_or_default();
            let all = settings::cores(text).unwrap_or_default();
            let some: Vec<String> = all.iter().filter(|c| online.contains(c)).map(ToString::to_string).collect();
            (some.len() == all.len(), some.join(","))
        });
        match &wanted {
            Some((_, some)) if some.is_empty() => {
                return pen.short("cpu_set", format!("this host has only the cores {of_host}"));
            }
            Some((false, some)) => {
                pen.short("cpu_set", format!("this host has only the cores {of_host}; {some} is what holds"));
            }
            _ => {}
        }
        let wanted = wanted.map(|(_, some)| some);
        if !v1 {
            let file = dir.join("cpuset.cpus");
            // With tasks in it the kernel refuses to empty it (ENOSPC): all cores are the same.
            let unset = if read_line(&file).is_empty() { "\n" } else { of_host };
            return pen.put("cpu_set", Some(file), wanted, unset);
        }
        // Wanted also for a quota: lxcfs before 6.0 looks for that at the path of the cpuset.
        if (wanted.is_some() || limits.cpu.is_some())
            && !dir.exists()
            && let Err(e) = self.make_cpuset(id)
        {
            return pen.short("cpu_set", format!("its group cannot be made: {e}"));
        }
        if dir.exists() {
            pen.put("cpu_set", Some(dir.join("cpuset.cpus")), wanted, of_host);
        }
    }

    /// Makes a container's v1 cpuset with all that its node's has, and moves all its tasks there.
    fn make_cpuset(&self, id: &ContainerId) -> Result<()> {
        let Some(h) = self.hierarchies.iter().find(|h| h.has(CPUSET)) else { return Ok(()) };
        let (node, own) = (self.node_dir(h), self.container_dir(h, id));
        for (parent, dir) in [(&h.mount, &node), (&node, &own)] {
            make_dir(dir)?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (from, to) = (parent.join(file), dir.join(file));
                if fs::read_to_string(&to).is_ok_and(|now| now.trim().is_empty()) {
                    fs::write(&to, fs::read(&from).at("read", &from)?).at("write", &to)?;
                }
            }
        }
        // All of a container sits in one group of any v1 controller.
        let Some((from, true)) = self.seat(id, "pids") else { return Ok(()) };
        let procs = own.join("cgroup.procs");
        // Twice through, for what forks meanwhile; what is born later follows its parent.
        for _ in 0..2 {
            for pid in fs::read_to_string(from.join("cgroup.procs")).unwrap_or_default().lines() {
                // One that has ended meanwhile need not be moved.
                let _ = fs::write(&procs, pid);
            }
        }
        Ok(())
    }
}
