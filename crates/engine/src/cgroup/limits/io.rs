//! How fast a container may read and write the pool's disks, and its share of them.

use std::fs;
use std::path::Path;

use super::{Groups, Pen};
use crate::cgroup::Cgroups;
use crate::sys::btrfs;
use cowl_api::ContainerId;
use cowl_api::settings::{Limits, Size};

/// Numbers (`MAJOR:MINOR`) of the whole disks that a btrfs lies on, for limits of I/O.
fn disks_below(path: &Path) -> Vec<String> {
    let Ok(uuid) = btrfs::file_system(path) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(Path::new("/sys/fs/btrfs").join(uuid).join("devices")) else { return Vec::new() };
    let mut disks: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let device = entry.path().canonicalize().ok()?;
            // Partitions cannot be limited, their disks can.
            let whole = if device.join("partition").exists() { device.parent()?.to_owned() } else { device };
            Some(fs::read_to_string(whole.join("dev")).ok()?.trim().to_owned())
        })
        .collect();
    disks.sort();
    disks.dedup();
    disks
}

impl Cgroups {
    pub(super) fn limit_io(&self, id: &ContainerId, limits: &Limits, pool: &Path, pen: &mut Pen) {
        let rates = [("io_read", limits.io_read), ("io_write", limits.io_write)];
        let Some((dir, v1)) = self.seat(id, "blkio") else { return };
        limit_weight(&dir, v1, limits.io_weight, pen);
        if pen.groups == Groups::Fresh && rates.iter().all(|(_, rate)| rate.is_none()) {
            return;
        }
        let disks = disks_below(pool);
        for (field, rate) in rates {
            let rate = rate.map(|Size(bytes)| bytes);
            if disks.is_empty() && rate.is_some() {
                pen.short(field, "the disk below the pool cannot be told");
            }
            for disk in &disks {
                if v1 {
                    let word = if field == "io_read" { "read" } else { "write" };
                    let file = dir.join(format!("blkio.throttle.{word}_bps_device"));
                    let line = rate.map(|bytes| format!("{disk} {bytes}"));
                    pen.put(field, Some(file), line, &format!("{disk} 0"));
                } else {
                    let word = if field == "io_read" { "rbps" } else { "wbps" };
                    let line = rate.map(|bytes| format!("{disk} {word}={bytes}"));
                    pen.put(field, Some(dir.join("io.max")), line, &format!("{disk} {word}=max"));
                }
            }
        }
        if v1 && limits.io_write.is_some() {
            pen.short(
                "io_write",
                "this host's disk controller is cgroup v1, which counts direct writes only, not what the kernel \
                 keeps and writes back later",
            );
        }
    }
}

fn limit_weight(dir: &Path, v1: bool, weight: Option<u32>, pen: &mut Pen) {
    let bfq = dir.join(if v1 { "blkio.bfq.weight" } else { "io.bfq.weight" });
    let own = dir.join("io.weight");
    if !v1 && own.exists() {
        return pen.put("io_weight", Some(own), weight.map(|w| format!("default {w}")), "default 100");
    }
    if weight.is_some() && !bfq.exists() {
        return pen.short("io_weight", "it needs the disk's I/O scheduler to be bfq, or iocost switched on");
    }
    pen.put("io_weight", Some(bfq), weight.map(|w| w.min(1000).to_string()), "100");
}
