//! `cowl status`: whether the node serves, and what it has. Exit code 3 without a node.

use std::process::ExitCode;

use super::context::Context;
use super::fail::Outcome;
use super::{images, print};
use cowl_api::server::NodeStatus;

pub(super) async fn run(context: &Context) -> Outcome {
    let status = context.client()?.status().await?;
    context.show(&status, show)?;
    Ok(ExitCode::SUCCESS)
}

fn show(s: &NodeStatus) -> std::io::Result<()> {
    let pool = &s.pool;
    let host = &s.host;
    let containers: Vec<String> = s.containers.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let mut facts = vec![
        (
            "node",
            format!("{} ({}), serving since {} ago", s.server_name, s.server_id, print::since(Some(&s.started_at))),
        ),
        ("api", s.api_url.clone()),
        ("listen", s.listen.clone()),
        ("domains", s.domains.join(", ")),
        ("network", s.network.clone()),
        (
            "pool",
            format!(
                "{} of {} used, {} free ({} at {})",
                print::bytes(pool.used),
                print::bytes(pool.total),
                print::bytes(pool.free),
                pool.kind,
                pool.path
            ),
        ),
    ];
    facts.extend(s.images.iter().map(|i| ("image", images::summary(i))));
    facts.push(("containers", if containers.is_empty() { "none".into() } else { containers.join(", ") }));
    facts.push((
        "load",
        format!(
            "cpu {:.0}% of {} cores, memory {} of {}",
            host.cpu_percent,
            host.cores,
            print::bytes(host.memory_used),
            print::bytes(host.memory_total)
        ),
    ));
    facts.push(("versions", format!("cowl {}, kit {}, kernel {}", s.versions.cowl, s.versions.kit, s.versions.kernel)));
    facts.extend(s.hints.iter().map(|h| ("hint", h.clone())));
    print::facts(&facts)
}
