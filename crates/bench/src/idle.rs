//! What machines cost that do nothing: memory, disk, and the node over three hundred of them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::peer::Machine;
use super::row::{Figure, Measured};
use super::{Bench, Error, Figures, Result, each};
use cowl_api::Container;

/// How many stand side by side when their memory is read.
const MACHINES: usize = 30;
/// The fleet over which the node is measured.
const FLEET: usize = 300;
/// How long after the last READY machines are left alone before they count as idle.
const SETTLE: Duration = Duration::from_secs(10);
/// How long the node is watched.
const WATCH: Duration = Duration::from_secs(60);
const MIB: f64 = (1 << 20) as f64;

/// `mem.pss`, `mem.charged` and `disk.fresh`.
///
/// # Errors
/// What went wrong.
pub async fn memory(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let ours = ours(bench).await?;
    let peer = nspawn(bench, &bench.place.plain).await?;
    let golden = nspawn(bench, &bench.place.golden).await?;
    for (name, part) in [("mem.pss", 0), ("mem.charged", 1), ("disk.fresh", 2)] {
        let of = |side: &[Figure; 3]| side[part].clone();
        let measured = Measured { ours: of(&ours), peer: of(&peer), golden: of(&golden), absent: None };
        figures.insert(name, measured);
    }
    Ok(())
}

/// PSS, charged memory and exclusive disk of ours, in MiB. Charged memory is a mean, because whoever
/// reads a shared file first pays for all.
async fn ours(bench: &Bench<'_>) -> Result<[Figure; 3]> {
    (bench.say)(&format!("memory and disk of {MACHINES} of ours"));
    let node = bench.node;
    // Otherwise earlier containers, gone by now, have paid for what these share.
    bench.place.evict();
    let shims = node.charged("shim").unwrap_or(0);
    let containers = fleet(bench, MACHINES).await?;
    tokio::time::sleep(SETTLE).await;
    let mut pss = Figure::default();
    let mut charged = node.charged("shim").unwrap_or(0).saturating_sub(shims);
    for container in &containers {
        pss.push(node.pss(&container.id)? as f64 / MIB);
        charged += node.charged(container.id.as_str())?;
    }
    let disk = disk(bench, containers.iter().map(|c| node.disk(&c.id)))?;
    let mean = Figure::of([charged as f64 / MIB / MACHINES as f64]);
    bench.discard(containers).await;
    Ok([pss, mean, disk])
}

async fn nspawn(bench: &Bench<'_>, image: &Path) -> Result<[Figure; 3]> {
    (bench.say)(&format!("memory and disk of {MACHINES} of the peer on {}", super::place::name(image)));
    let machines = each(4, vec![(); MACHINES], async |()| {
        let mut machine = Machine::prepare(&bench.place.peers, image)?;
        machine.settle().await?;
        machine.start().await?;
        machine.ready().await?;
        Ok(machine)
    })
    .await?;
    tokio::time::sleep(SETTLE).await;
    let mut pss = Figure::default();
    let mut charged = 0;
    for machine in &machines {
        pss.push(machine.pss() as f64 / MIB);
        charged += machine.group.memory().map_err(|e| Error::at("read what memory is charged", e))?;
    }
    let disk = disk(bench, machines.iter().map(|m| m.root.clone()))?;
    bench.halt(machines).await;
    Ok([pss, Figure::of([charged as f64 / MIB / MACHINES as f64]), disk])
}

/// What only a disk holds, of the first few, in MiB. What lies in memory only is written first.
fn disk(bench: &Bench<'_>, disks: impl Iterator<Item = std::path::PathBuf>) -> Result<Figure> {
    bench.place.sync()?;
    let sizes = disks.take(5).map(|disk| Ok(bench.place.exclusive(&disk)? as f64 / MIB));
    Ok(Figure::of(sizes.collect::<Result<Vec<_>>>()?))
}

async fn fleet(bench: &Bench<'_>, n: usize) -> Result<Vec<Container>> {
    let node = bench.node;
    each(4, (1..=n).collect(), async |i: usize| {
        if i.is_multiple_of(25) {
            (bench.say)(&format!("containers: {i} of {n}"));
        }
        let container = node.order().await?;
        node.ready(container.id).await?;
        Ok(container)
    })
    .await
}

/// `node.cpu300` and `node.rss300`: the node alone, while nobody asks it anything.
///
/// # Errors
/// What went wrong.
pub async fn node(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    (bench.say)(&format!("the node over {FLEET} containers"));
    let node = bench.node;
    let containers = fleet(bench, FLEET).await?;
    (bench.say)(&format!("watching the node for {} s", WATCH.as_secs()));
    tokio::time::sleep(2 * SETTLE).await;
    let (before, begun) = (node.own_cpu(), Instant::now());
    tokio::time::sleep(WATCH).await;
    let share = (node.own_cpu() - before) / begun.elapsed().as_secs_f64() * 100.0;
    let rss = node.own_rss() as f64 / MIB;
    for (name, value) in [("node.cpu300", share), ("node.rss300", rss)] {
        figures.insert(name, Measured { ours: Figure::of([value]), ..Measured::default() });
    }
    bench.discard(containers).await;
    Ok(())
}
