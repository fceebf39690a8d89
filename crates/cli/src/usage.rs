//! `cowl containers stats`: what a container uses now, every second, or over the last hour.

use std::process::ExitCode;

use serde_json::Value;

use super::context::{Context, Which};
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use super::resolve;
use cowl_api::Container;
use cowl_api::stats::{ContainerStats, StatsHistory};

pub(super) async fn now(context: &Context, which: &Which) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    context.show(&client.stats(&container.id).await?, |s| facts(&container, s))?;
    Ok(ExitCode::SUCCESS)
}

fn facts(container: &Container, s: &ContainerStats) -> std::io::Result<()> {
    let cpu = s.cpu.map_or("-".into(), |c| format!("{:.1}%", c.usage_percent));
    let memory = s.memory.map_or("-".into(), |m| {
        format!("{} of {}, peak {}", print::bytes(m.usage), print::bytes(m.total), print::bytes(m.usage_peak))
    });
    let disk = s.disk.root;
    let mut facts = vec![
        ("name", container.name.clone()),
        ("state", s.status.to_string()),
        ("cpu", cpu),
        ("memory", memory),
        ("disk", format!("{} of {}", print::bytes(disk.usage), print::bytes(disk.total))),
        ("tasks", s.processes.to_string()),
    ];
    for n in &s.network {
        let c = n.counters;
        facts.push(("network", format!("↓ {}  ↑ {}", print::bytes(c.bytes_received), print::bytes(c.bytes_sent))));
    }
    print::facts(&facts)
}

/// Shows figures every second until the node or the person ends it.
pub(super) async fn watch(context: &Context, which: &Which) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    let mut stream = client.figures(&container.id).await?;
    while let Some(event) = stream.next().await? {
        match event.event_type.as_str() {
            "container.stats" if context.json => print::json_line(&event.data)?,
            "container.stats" => print::line(&line(&event.created_at, &event.data))?,
            "container.deleted" => return Err(Fail::other(format!("{} is gone", container.name))),
            _ => {}
        }
    }
    Err(Fail::other("the node closed the stream"))
}

fn line(at: &str, data: &Value) -> String {
    let number = |key: &str| data[key].as_u64().unwrap_or(0);
    format!(
        "{at}  cpu {:>6.1}%  memory {:>6}  tasks {:>5}  ↓ {:>6}/s  ↑ {:>6}/s",
        data["cpu_percent"].as_f64().unwrap_or(0.0),
        print::bytes(number("memory")),
        number("tasks"),
        print::bytes(number("rx_bytes_per_s")),
        print::bytes(number("tx_bytes_per_s")),
    )
}

pub(super) async fn history(context: &Context, which: &Which) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    context.show(&client.stats_history(&container.id).await?, table)?;
    Ok(ExitCode::SUCCESS)
}

fn table(history: &StatsHistory) -> std::io::Result<()> {
    let mut table = Table::new(&["AT", ">CPU", ">MEMORY", ">SWAP", ">DISK", ">TASKS", ">IN/S", ">OUT/S"]);
    for p in &history.points {
        table.row([
            p.at.clone(),
            format!("{:.1}%", p.cpu_percent),
            print::bytes(p.memory),
            print::bytes(p.swap),
            p.disk.map_or("-".into(), print::bytes),
            p.tasks.to_string(),
            print::bytes(p.rx_bytes_per_s),
            print::bytes(p.tx_bytes_per_s),
        ]);
    }
    table.print()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_line_up_from_second_to_second() {
        let widths = [("0", 0u64), ("55.5", 1 << 40)].map(|(cpu, n)| {
            let cpu: f64 = cpu.parse().unwrap();
            let data = serde_json::json!({ "cpu_percent": cpu, "memory": n, "tasks": 7, "rx_bytes_per_s": n });
            line("t", &data).chars().count()
        });
        assert_eq!(widths[0], widths[1]);
    }
}
