//! `cowl bench engine`: every figure that is promised, measured beside systemd-nspawn in one run.
//!
//! [`row`] is the promise table. [`own`] is a node of the bench's own, reached as anybody reaches
//! one; [`peer`] is systemd-nspawn. Both start cold from btrfs snapshots in one pool, nothing is
//! booted ahead. Runs of ours and of the peer take turns, so that noise hits both.
//!
//! | file | rows |
//! |---|---|
//! | [`boot`] | `boot.*`, `stop` |
//! | [`idle`] | `mem.*`, `disk.fresh`, `node.*` |
//! | [`warm`] | `wake`, `exec` |
//!
//! The peer's image has the packages of ours and nothing else done to it ([`place`]); the same peer
//! on our golden image is measured too, to tell how much of a gain is the image's.

pub mod boot;
pub mod cgroup;
pub mod idle;
pub mod own;
pub mod peer;
pub mod person;
pub mod place;
pub mod row;
pub mod warm;

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::StreamExt;

use own::Node;
use place::Place;
use row::{Measured, PROMISES, Row};

use crate::{client, engine};

/// Why the bench could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine's.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The node's, or a container's.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; everything was removed")]
    Interrupted,
}

/// The bench's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure of an operation in words.
    fn at(what: &str, e: std::io::Error) -> Self {
        Self::Other(format!("{what}: {e}"))
    }

    fn other(what: impl std::fmt::Display) -> Self {
        Self::Other(what.to_string())
    }
}

/// What to measure, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Images are kept here between runs; everything else in it is removed.
    pub dir: PathBuf,
    /// Names of rows; empty for all.
    pub rows: Vec<String>,
    /// How often each boot is measured.
    pub runs: usize,
    /// Package mirror for the images.
    pub mirror: Option<String>,
    /// Packages downloaded before.
    pub cache_dir: Option<PathBuf>,
}

/// Everything a measurement may use.
pub struct Bench<'a> {
    /// Images and machines' places.
    pub place: &'a Place,
    /// Our node.
    pub node: &'a Node,
    /// How often each boot is measured.
    pub runs: usize,
    /// Tells a person what is going on.
    pub say: &'a dyn Fn(&str),
    wanted: &'a dyn Fn(&str) -> bool,
}

impl Bench<'_> {
    /// Whether one of these rows was asked for.
    pub fn wants(&self, rows: &[&str]) -> bool {
        rows.iter().any(|row| (self.wanted)(row))
    }
}

/// What was measured, by row.
pub type Figures = BTreeMap<&'static str, Measured>;

/// Names of rows that do not exist.
///
/// # Errors
/// The first one, with those that do.
pub fn check_rows(rows: &[String]) -> Result<()> {
    let known: Vec<&str> = PROMISES.iter().map(|p| p.name).collect();
    match rows.iter().find(|row| !known.contains(&row.as_str())) {
        Some(row) => Err(Error::other(format!("there is no row {row:?}; there are: {}", known.join(", ")))),
        None => Ok(()),
    }
}

/// Measures. `say` is called with what is being done.
///
/// # Errors
/// What went wrong; also then nothing but the images is left.
pub async fn engine(options: &Options, say: &dyn Fn(&str)) -> Result<Vec<Row>> {
    check_rows(&options.rows)?;
    // The wake row is told in shares of the first answer.
    let asked = |row: &str| options.rows.is_empty() || options.rows.iter().any(|r| r == row);
    let wanted = |row: &str| asked(row) || (row == "boot.first200" && asked("wake"));
    let place = Place::prepare(options, say)?;
    let node = Node::start(&place.config, place.group("node")?).await;
    let measured = match &node {
        Ok(node) => {
            let bench = Bench { place: &place, node, runs: options.runs.max(1), say, wanted: &wanted };
            tokio::select! {
                measured = measure(&bench) => measured,
                _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
            }
        }
        Err(_) => Ok(Figures::new()),
    };
    say("cleaning up");
    let ended = match node {
        Ok(node) => node.end().await,
        Err(e) => Err(e),
    };
    let left = place.end();
    let figures = measured?;
    ended.and(left)?;
    let ours = |row: &str| figures.get(row).and_then(|m| m.ours.median());
    let rows = PROMISES.iter().filter(|p| asked(p.name));
    Ok(rows.map(|p| p.row(figures.get(p.name).unwrap_or(&Measured::absent("not measured")), ours)).collect())
}

async fn measure(bench: &Bench<'_>) -> Result<Figures> {
    let mut figures = Figures::new();
    if bench.wants(&["boot.first200", "boot.multiuser", "boot.ready", "boot.cpu", "stop"]) {
        boot::one_by_one(bench, &mut figures).await?;
    }
    if bench.wants(&["boot.par20"]) {
        boot::twenty(bench, &mut figures).await?;
    }
    if bench.wants(&["wake", "exec"]) {
        warm::measure(bench, &mut figures).await?;
    }
    if bench.wants(&["mem.pss", "mem.charged", "disk.fresh"]) {
        idle::memory(bench, &mut figures).await?;
    }
    if bench.wants(&["node.cpu300", "node.rss300"]) {
        idle::node(bench, &mut figures).await?;
    }
    Ok(figures)
}

/// Does something with all items, `at_once` of them at a time; in their order.
///
/// # Errors
/// The first that is met.
pub async fn each<I, T>(at_once: usize, items: Vec<I>, work: impl AsyncFn(I) -> Result<T>) -> Result<Vec<T>> {
    let work = &work;
    let running = futures_util::stream::iter(items).map(|item| async move { work(item).await }).buffered(at_once);
    running.collect::<Vec<_>>().await.into_iter().collect()
}
