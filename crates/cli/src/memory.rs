//! `cowl memory`: where the box' memory is.

use std::process::ExitCode;

use super::context::Context;
use super::fail::Outcome;
use super::print::{self, Table, bytes};
use cowl_api::memory::{ContainerMemory, HostKsm, MemoryReport, SharedUsr};

/// Options of `cowl memory`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
CHARGED is what counts against a container's limit: ANON (what programs wrote to memory), FILE (page cache and
files in memory) and KERNEL. A page of the shared /usr counts for the container that touched it first.
KSM shows what the kernel has merged with equal pages of others; it is off unless asked for (--ksm), saves little
(0.18 MiB per idle container, measured) and lets containers that asked for it learn about each other by timing.
`cowl explain memory` tells the whole story.")]
pub(super) struct Args {
    /// Reckon each container's proportional set size, too: shared pages divided by their users. The
    /// kernel walks all pages for it
    #[arg(long)]
    pss: bool,
}

pub(super) async fn run(context: &Context, args: &Args) -> Outcome {
    let client = context.client()?;
    let server = client.status().await?.server_id;
    let report = client.memory(&server, args.pss).await?;
    context.show(&report, show)?;
    Ok(ExitCode::SUCCESS)
}

fn show(report: &MemoryReport) -> std::io::Result<()> {
    containers(&report.containers)?;
    print::line("")?;
    let mut facts = vec![
        ("memory of the machine", format!("{}, {} available", bytes(report.host.total), bytes(report.host.available))),
        ("node (PSS)", bytes(report.node.pss)),
        ("shims (PSS)", format!("{} in {} processes", bytes(report.shims.pss), report.shims.processes)),
    ];
    facts.extend(report.usr.iter().map(|usr| ("/usr in memory, shared", shared(usr))));
    facts.push(("KSM of the machine", report.ksm.as_ref().map_or("not in this kernel".into(), ksm)));
    let borrowed: Vec<(&str, String)> = facts.iter().map(|(name, value)| (*name, value.clone())).collect();
    print::facts(&borrowed)
}

fn containers(all: &[ContainerMemory]) -> std::io::Result<()> {
    let mut table =
        Table::new(&["CONTAINER", ">CHARGED", ">ANON", ">FILE", ">KERNEL", ">SWAP", ">PSS", ">PROCESSES", "KSM"]);
    for c in all {
        let used = &c.used;
        table.row([
            format!("{}/{}", c.project_alias, c.name),
            bytes(used.charged),
            bytes(used.anon),
            bytes(used.file),
            bytes(used.kernel),
            bytes(used.swap),
            used.pss.map_or("-".into(), bytes),
            used.processes.to_string(),
            ksm_of(c),
        ]);
    }
    table.print()
}

fn ksm_of(c: &ContainerMemory) -> String {
    let ksm = &c.used.ksm;
    match (ksm.processes, c.ksm_asked) {
        (0, false) => "off".into(),
        (0, true) => "from its next start".into(),
        (n, asked) => {
            let until = if asked { "" } else { ", off from its next start" };
            format!("{} merged, {} gained ({n} processes{until})", bytes(ksm.merged), signed(ksm.profit))
        }
    }
}

fn signed(n: i64) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", bytes(n.unsigned_abs()))
}

fn shared(usr: &SharedUsr) -> String {
    let of = format!("of image {} by {} containers", usr.image, usr.containers);
    match (usr.cached, usr.saved_at_most) {
        (Some(cached), Some(saved)) => {
            format!("{} {of}; as many copies would take at most {} more", bytes(cached), bytes(saved))
        }
        _ => format!("{of}; kernels before 6.5 do not tell how much"),
    }
}

fn ksm(ksm: &HostKsm) -> String {
    let gained = ksm.profit.map_or(String::new(), |n| format!(", {} gained", signed(n)));
    let state = if ksm.runs { "searches" } else { "does not search" };
    format!("{state}; {} merged into {}, {} empty{gained}", bytes(ksm.sharing), bytes(ksm.shared), bytes(ksm.zero))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ksm_is_told_by_what_runs_and_what_was_asked_for() {
        let c = super::super::resolve::tests::sample("demo", "web");
        let mut of = ContainerMemory {
            id: c.id,
            name: c.name,
            project_id: c.project_id,
            project_alias: c.project_alias,
            status: c.status,
            ksm_asked: false,
            used: Default::default(),
        };
        assert_eq!(ksm_of(&of), "off");
        of.ksm_asked = true;
        assert_eq!(ksm_of(&of), "from its next start");
        (of.used.ksm.processes, of.used.ksm.merged, of.used.ksm.profit) = (3, 1 << 20, -4096);
        assert_eq!(ksm_of(&of), "1.0M merged, -4.0K gained (3 processes)");
        of.ksm_asked = false;
        assert_eq!(ksm_of(&of), "1.0M merged, -4.0K gained (3 processes, off from its next start)");
    }
}
