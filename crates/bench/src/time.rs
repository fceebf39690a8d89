//! Snapshots and restores, beside the bare ioctl and beside the peer's stop and boot.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::own::{first200, run};
use super::peer::Machine;
use super::row::{Figure, Measured};
use super::{Bench, Error, Figures, Result};
use cowl_api::Container;
use cowl_api::snapshot::CreateSnapshot;
use cowl_engine::sys::btrfs;

/// Snapshots are cheap, and their times vary.
const SNAPSHOTS: usize = 50;
/// Few and many snapshots of one container.
const FEW: usize = 10;
const MANY: usize = 1_000;
/// Between two snapshots, so that a transaction of one does not end the other's.
const PAUSE: Duration = Duration::from_millis(20);
/// What a neighbour does that writes flat out: 32 MiB that do not compress, over and over.
const FLOOD: &str = "head -c 32M /dev/urandom > /dev/shm/noise; \
    while :; do for i in 1 2 3 4; do cat /dev/shm/noise > /root/flood$i; sync /root/flood$i; done; done";

/// All rows.
///
/// # Errors
/// What went wrong.
pub async fn measure(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    if bench.wants(&["snapshot", "snapshot.busy"]) {
        snapshots(bench, figures).await?;
    }
    if bench.wants(&["restore"]) {
        figures.insert("restore", restore(bench).await?);
    }
    if bench.wants(&["list1000", "grow1000"]) {
        many(bench, figures).await?;
    }
    Ok(())
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// Takes a snapshot by the API; its name, and milliseconds.
async fn take(bench: &Bench<'_>, container: &Container) -> Result<(String, f64)> {
    let begun = Instant::now();
    let snapshot = bench.node.client().create_snapshot(&container.id, &CreateSnapshot::default()).await?;
    Ok((snapshot.name, ms(begun)))
}

/// Removes a snapshot by the API; milliseconds.
async fn drop_snapshot(bench: &Bench<'_>, container: &Container, name: &str) -> Result<f64> {
    let begun = Instant::now();
    bench.node.client().delete_snapshot(&container.id, name).await?;
    Ok(ms(begun))
}

/// `snapshot` and `snapshot.busy`: turns of the API and of the bare ioctl on the same disk, of a
/// container that wrote something since the last one.
async fn snapshots(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let (container, _) = bench.node.birth().await?;
    if bench.wants(&["snapshot"]) {
        (bench.say)("snapshots, quiet");
        figures.insert("snapshot", by_turns(bench, &container).await?);
    }
    let mut made = vec![container];
    if bench.wants(&["snapshot.busy"]) {
        (bench.say)("snapshots while a neighbour writes flat out");
        let (neighbour, _) = bench.node.birth().await?;
        let kit = bench.node.near_terminal(&neighbour);
        let measured = tokio::select! {
            measured = by_turns(bench, &made[0]) => measured,
            ended = run(&kit, FLOOD) => {
                Err(Error::other(format!("the neighbour stopped writing: {:?}", ended.map(|done| done.stderr))))
            }
        };
        made.push(neighbour);
        let measured = measured?;
        let (ours, peer) = (measured.ours.below(0.99), measured.peer.below(0.99));
        figures.insert("snapshot.busy", Measured { ours, peer, ..Measured::default() });
    }
    bench.discard(made).await;
    Ok(())
}

async fn by_turns(bench: &Bench<'_>, container: &Container) -> Result<Measured> {
    let kit = bench.node.near_terminal(container);
    let disk = bench.node.disk(&container.id);
    let mut measured = Measured::default();
    for round in 0..SNAPSHOTS {
        run(&kit, &format!("echo {round} > /root/touched")).await?;
        let (name, took) = take(bench, container).await?;
        measured.ours.push(took);
        drop_snapshot(bench, container, &name).await?;
        tokio::time::sleep(PAUSE).await;
        run(&kit, &format!("echo {round} more > /root/touched")).await?;
        let bare = Bare::take(&disk, bench.place.peers.dir.join(format!("bare-{round}"))).await?;
        measured.peer.push(bare.took);
        drop(bare);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(measured)
}

/// A snapshot by nothing but the ioctl; removed when dropped.
struct Bare {
    path: PathBuf,
    took: f64,
}

impl Bare {
    async fn take(disk: &Path, path: PathBuf) -> Result<Self> {
        let (disk, target) = (disk.to_owned(), path.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            btrfs::snapshot_read_only(&disk, &target).map(|()| ms(begun))
        });
        let took = taken.await.map_err(Error::other)?.map_err(|e| Error::at("snapshot a disk", e))?;
        Ok(Self { path, took })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if let Err(e) = btrfs::delete(&self.path) {
            eprintln!("cowl bench: {} is left behind: {e}", self.path.display());
        }
    }
}

/// `restore`: of a running container, until terminal-1 answers again; the peer stops and boots the
/// same tree.
async fn restore(bench: &Bench<'_>) -> Result<Measured> {
    let (container, _) = bench.node.birth().await?;
    let (point, _) = take(bench, &container).await?;
    let kit = bench.node.terminal(&container);
    let mut measured = Measured::default();
    for round in 1..=bench.runs {
        (bench.say)(&format!("restores: {round} of {}", bench.runs));
        for (image, figure) in [(&bench.place.plain, &mut measured.peer), (&bench.place.golden, &mut measured.golden)] {
            figure.push(reboot(bench, image).await?);
        }
        bench.node.ready(container.id).await?;
        let begun = Instant::now();
        bench.node.client().restore_snapshot(&container.id, &point).await?;
        first200(&kit).await?;
        measured.ours.push(ms(begun));
    }
    bench.discard(vec![container]).await;
    Ok(measured)
}

/// Stop and boot of the peer, both warm: milliseconds.
async fn reboot(bench: &Bench<'_>, image: &Path) -> Result<f64> {
    let mut first = Machine::prepare(&bench.place.peers, image)?;
    let mut second = Machine::prepare(&bench.place.peers, image)?;
    first.settle().await?;
    second.settle().await?;
    first.start().await?;
    first.ready().await?;
    let begun = Instant::now();
    first.stop().await?;
    second.start().await?;
    second.ready().await?;
    let took = ms(begun);
    first.remove().await;
    bench.halt(vec![second]).await;
    Ok(took)
}

/// `list1000` and `grow1000`.
async fn many(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let (container, _) = bench.node.birth().await?;
    let mut grow = Measured::default();
    let mut list = Figure::default();
    let mut there = 0;
    for (count, figure) in [(FEW, &mut grow.peer), (MANY, &mut grow.ours)] {
        (bench.say)(&format!("{count} snapshots of one container"));
        while there < count {
            take(bench, &container).await?;
            there += 1;
        }
        for _ in 0..SNAPSHOTS {
            let (name, took) = take(bench, &container).await?;
            figure.push(took + drop_snapshot(bench, &container, &name).await?);
        }
    }
    for _ in 0..SNAPSHOTS {
        let begun = Instant::now();
        let listed = bench.node.client().snapshots(&container.id).await?;
        list.push(ms(begun));
        if listed.snapshots.len() != MANY {
            return Err(Error::other(format!("{} snapshots are listed", listed.snapshots.len())));
        }
    }
    bench.discard(vec![container]).await;
    figures.insert("list1000", Measured { ours: list, ..Measured::default() });
    figures.insert("grow1000", grow);
    Ok(())
}
