//! From a create to a machine that answers, and to its end again.

use std::path::Path;
use std::time::Instant;

use super::peer::Machine;
use super::row::{Figure, Measured};
use super::{Bench, Error, Figures, Result, each};

/// How many machines are made at once.
const AT_ONCE: usize = 20;
/// A run of forty boots takes a while; this many say enough.
const ROUNDS_OF_MANY: usize = 5;

/// Figures of one side.
#[derive(Debug, Default)]
struct Side {
    ready: Figure,
    cpu: Figure,
    stop: Figure,
}

/// `boot.first200`, `boot.multiuser`, `boot.ready`, `boot.cpu` and `stop`, one machine at a time.
///
/// # Errors
/// What went wrong.
pub async fn one_by_one(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let (mut ours, mut peer, mut golden) = (Side::default(), Side::default(), Side::default());
    let (mut first, mut multi) = (Figure::default(), Figure::default());
    for round in 0..=bench.runs {
        // The very first round fills caches of the host and is not counted.
        let counted = round > 0;
        (bench.say)(&format!("boots, one by one: {round} of {}", bench.runs));
        let run = nspawn(bench, &bench.place.plain).await?;
        let (container, birth) = bench.node.birth().await?;
        let stop = bench.node.stop(&container.id).await?;
        let other = nspawn(bench, &bench.place.golden).await?;
        let (second, multiuser) = bench.node.multiuser().await?;
        bench.discard(vec![container, second]).await;
        if !counted {
            continue;
        }
        for (side, [ready, cpu, stop]) in
            [(&mut peer, run), (&mut golden, other), (&mut ours, [birth.ready, birth.cpu, stop])]
        {
            side.ready.push(ready * 1e3);
            side.cpu.push(cpu);
            side.stop.push(stop * 1e3);
        }
        first.push(birth.first200 * 1e3);
        multi.push(multiuser * 1e3);
    }
    let row = |ours: Figure, peer: &Figure, golden: &Figure| Measured {
        ours,
        peer: peer.clone(),
        golden: golden.clone(),
        absent: None,
    };
    figures.insert("boot.first200", row(first, &peer.ready, &golden.ready));
    figures.insert("boot.multiuser", row(multi, &peer.ready, &golden.ready));
    figures.insert("boot.ready", row(ours.ready, &peer.ready, &golden.ready));
    figures.insert("boot.cpu", row(ours.cpu, &peer.cpu, &golden.cpu));
    figures.insert("stop", row(ours.stop, &peer.stop, &golden.stop));
    Ok(())
}

/// One life of the peer: seconds to READY, CPU seconds to READY, seconds of its stop.
async fn nspawn(bench: &Bench<'_>, image: &Path) -> Result<[f64; 3]> {
    let mut machine = Machine::prepare(&bench.place.peers, image)?;
    machine.settle().await?;
    machine.start().await?;
    let (ready, cpu) = machine.ready().await?;
    let stop = machine.stop().await?;
    machine.remove().await;
    Ok([ready, cpu, stop])
}

/// `boot.par20`: all of them at once, until the last is ready.
///
/// # Errors
/// What went wrong.
pub async fn twenty(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let mut measured = Measured::default();
    let rounds = bench.runs.min(ROUNDS_OF_MANY);
    for round in 1..=rounds {
        (bench.say)(&format!("{AT_ONCE} boots at once: {round} of {rounds}"));
        measured.peer.push(many_nspawn(bench, &bench.place.plain).await?);
        measured.ours.push(many_ours(bench).await?);
        measured.golden.push(many_nspawn(bench, &bench.place.golden).await?);
    }
    figures.insert("boot.par20", measured);
    Ok(())
}

async fn many_nspawn(bench: &Bench<'_>, image: &Path) -> Result<f64> {
    let mut machines = Vec::new();
    for _ in 0..AT_ONCE {
        machines.push(Machine::prepare(&bench.place.peers, image)?);
    }
    for machine in &mut machines {
        machine.settle().await?;
    }
    let begun = Instant::now();
    let machines = each(AT_ONCE, machines, async |mut machine: Machine| {
        machine.start().await?;
        machine.ready().await?;
        Ok(machine)
    })
    .await?;
    let took = begun.elapsed().as_secs_f64();
    bench.halt(machines).await;
    Ok(took)
}

async fn many_ours(bench: &Bench<'_>) -> Result<f64> {
    let node = bench.node;
    let begun = Instant::now();
    let containers = each(AT_ONCE, vec![(); AT_ONCE], async |()| {
        let container = node.order().await?;
        node.ready(container.id).await?;
        Ok::<_, Error>(container)
    })
    .await?;
    let took = begun.elapsed().as_secs_f64();
    bench.discard(containers).await;
    Ok(took)
}
