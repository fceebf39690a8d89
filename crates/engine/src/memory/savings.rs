//! What makes many containers cheaper than as many machines, what it saves, and what it costs: the
//! table that `cowl explain memory` prints.

use serde::Serialize;

/// A way to save memory or disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Saving {
    /// Its name.
    pub name: &'static str,
    /// When it is done.
    pub when: &'static str,
    /// What it saves, and how that was measured.
    pub saves: &'static str,
    /// What it costs or risks.
    pub costs: &'static str,
}

/// All of them.
pub const SAVINGS: &[Saving] = &[
    Saving {
        name: "shared /usr",
        when: "always",
        saves: "The overlays of all containers read through to the same files of the image, so a program or library \
                is in the page cache once. 30 idle containers: 20 MiB charged each instead of 75, 10.5 MiB of PSS \
                instead of 29. `cowl memory` shows what of /usr is in memory now, and at most what as many copies \
                would take.",
        costs: "A page counts for the container that touched it first, so figures of equal containers differ. What \
                apt installs or upgrades inside is the container's own copy from then on. By timing, a container can \
                tell whether a file of the image was read lately by somebody.",
    },
    Saving {
        name: "KSM",
        when: "only where settings.ksm is true (`--ksm`, of a container or its project), from its next start",
        saves: "Equal pages that programs wrote to memory are merged. Of 30 idle containers 0.18 MiB each, 2 % of \
                what they wrote, for 1.8 CPU-seconds of search: next to nothing. It pays for equal heaps only, such \
                as many copies of one large program. Page cache is never merged; the shared /usr is not its doing.",
        costs: "A side channel between containers: writing to a merged page takes longer, so one that asked for KSM \
                can find out what is in the memory of another that did, and rowhammer attacks have used it. The \
                kernel has no domains: all that ask, of all projects and of the host's other programs, are merged \
                with each other. Give it only to containers that trust each other. The search uses CPU, and goes on \
                until the host's owner writes 0 to /sys/kernel/mm/ksm/run.",
    },
    Saving {
        name: "snapshot of the image",
        when: "always",
        saves: "A fresh container's disk holds no block of its own; it takes what it changes.",
        costs: "A file that is changed is written anew, block by block.",
    },
    Saving {
        name: "dedupe",
        when: "when `cowl dedupe` is run",
        saves: "Whole files that are equal in several containers (the same packages, models, data) lie on disk once. \
                Two containers with the same 8 MiB: 8 MiB less. `--dry-run` tells what there is. Blocks stay shared \
                until they are written; later copies need another run. Nothing is freed of what a snapshot still \
                holds, unless its copies are shared as well (`--snapshots`). Memory is not saved: the page cache is \
                by file.",
        costs: "Every file of the same size as another is read, at the rate given. Root inside can see that its blocks \
                are shared, so that somebody has the same file. The disk quota goes on counting shared blocks for \
                the container that wrote them, also after it deletes them, while another uses them. Files become \
                more fragmented when they are written in place later.",
    },
    Saving {
        name: "sleep",
        when: "where settings.sleep.after is set, or `cowl containers sleep`",
        saves: "All memory of a container that nobody uses; with mode freeze only its page cache, unless the box has \
                swap.",
        costs: "The next request waits for a boot.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tells_what_it_saves_and_what_it_costs() {
        for row in SAVINGS {
            assert!(
                !row.name.is_empty() && row.when.len() > 5 && row.saves.len() > 20 && row.costs.len() > 20,
                "{row:?}"
            );
        }
    }
}
