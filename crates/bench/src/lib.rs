//! `cowl bench engine` and `cowl bench time`: every figure that is promised, measured beside its peer
//! in one run.
//!
//! [`row`] has the promise tables, a [`Suite`] each. [`own`] is a node of the bench's own, reached as anybody reaches
//! one; [`peer`] is systemd-nspawn. Both start cold from btrfs snapshots in one pool, nothing is
//! booted ahead. Runs of ours and of the peer take turns, so that noise hits both.
//!
//! | file | rows |
//! |---|---|
//! | [`boot`] | `boot.*`, `stop` |
//! | [`idle`] | `mem.*`, `disk.fresh`, `node.*` |
//! | [`warm`] | `wake`, `exec` |
//! | [`time`] | all of `cowl bench time` |
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
pub mod time;
pub mod warm;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::StreamExt;

use own::Node;
use peer::Machine;
use place::Place;
use row::{ENGINE, Measured, Promise, Row, TIME};

use cowl_api::Container;

/// Why the bench could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine's.
    #[error(transparent)]
    Engine(#[from] cowl_engine::Error),
    /// The node's, or a container's.
    #[error(transparent)]
    Client(#[from] cowl_client::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
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

/// What a bench has found. It goes on past what fails where it can; what failed is told beside what
/// was measured.
#[derive(Debug)]
pub struct Report<T> {
    /// What was measured; empty when nothing was.
    pub rows: Vec<T>,
    /// What went wrong, the clean-up's last.
    pub failures: Vec<Error>,
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
    /// Of clean-ups between measurements.
    failures: RefCell<Vec<Error>>,
}

impl Bench<'_> {
    /// Whether one of these rows was asked for.
    pub fn wants(&self, rows: &[&str]) -> bool {
        rows.iter().any(|row| (self.wanted)(row))
    }

    /// Removes containers that were measured. What resists costs no figure and is told at the end.
    pub async fn discard(&self, containers: Vec<Container>) {
        let left = self.node.discard(containers).await;
        self.failures.borrow_mut().extend(left);
    }

    /// Stops and removes machines of the peer. One that resists is ended by force and told at the end.
    pub async fn halt(&self, machines: Vec<Machine>) {
        let resisted = failures(machines, async |mut machine: Machine| {
            machine.stop().await?;
            machine.remove().await;
            Ok(())
        })
        .await;
        self.failures.borrow_mut().extend(resisted);
    }
}

/// What was measured, by row.
pub type Figures = BTreeMap<&'static str, Measured>;

/// A promise table with what fills it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Boots, memory, disk, the node's own cost.
    Engine,
    /// Snapshots and what is done with them.
    Time,
}

impl Suite {
    fn promises(self) -> &'static [Promise] {
        match self {
            Self::Engine => &ENGINE,
            Self::Time => &TIME,
        }
    }

    /// Names of rows that do not exist.
    ///
    /// # Errors
    /// The first one, with those that do.
    pub fn check_rows(self, rows: &[String]) -> Result<()> {
        let known: Vec<&str> = self.promises().iter().map(|p| p.name).collect();
        match rows.iter().find(|row| !known.contains(&row.as_str())) {
            Some(row) => Err(Error::other(format!("there is no row {row:?}; there are: {}", known.join(", ")))),
            None => Ok(()),
        }
    }

    async fn measure(self, bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
        match self {
            Self::Engine => engine(bench, figures).await,
            Self::Time => time::measure(bench, figures).await,
        }
    }

    /// The rows that were asked for; none when nothing was measured.
    fn rows(self, figures: &Figures, asked: impl Fn(&str) -> bool) -> Vec<Row> {
        if figures.is_empty() {
            return Vec::new();
        }
        let ours = |row: &str| figures.get(row).and_then(|m| m.ours.median());
        let missing = Measured::absent("not measured");
        let promises = self.promises().iter().filter(|p| asked(p.name));
        promises.map(|p| p.row(figures.get(p.name).unwrap_or(&missing), ours)).collect()
    }
}

/// Measures. `say` is called with what is being done. Nothing but the images is left, unless the
/// report says so.
///
/// # Errors
/// What kept it from beginning.
pub async fn run(suite: Suite, options: &Options, say: &dyn Fn(&str)) -> Result<Report<Row>> {
    suite.check_rows(&options.rows)?;
    // The wake row is told in shares of the first answer.
    let asked = |row: &str| options.rows.is_empty() || options.rows.iter().any(|r| r == row);
    let wanted = |row: &str| asked(row) || (row == "boot.first200" && asked("wake"));
    let place = Place::prepare(options, say)?;
    let mut figures = Figures::new();
    let mut failures = Vec::new();
    match Node::start(&place.config, place.group("node")?).await {
        Ok(node) => {
            let runs = options.runs.max(1);
            let bench = Bench { place: &place, node: &node, runs, say, wanted: &wanted, failures: RefCell::default() };
            let measured = tokio::select! {
                measured = suite.measure(&bench, &mut figures) => measured,
                _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
            };
            failures.extend(measured.err());
            failures.extend(bench.failures.into_inner());
            say("cleaning up");
            failures.extend(node.end().await);
        }
        Err(e) => failures.push(e),
    }
    failures.extend(place.end());
    Ok(Report { rows: suite.rows(&figures, asked), failures })
}

/// Fills in one row after the other: what was measured before a failure stays.
async fn engine(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    if bench.wants(&["boot.first200", "boot.multiuser", "boot.ready", "boot.cpu", "stop"]) {
        boot::one_by_one(bench, figures).await?;
    }
    if bench.wants(&["boot.par20"]) {
        boot::twenty(bench, figures).await?;
    }
    if bench.wants(&["wake", "exec"]) {
        warm::measure(bench, figures).await?;
    }
    if bench.wants(&["mem.pss", "mem.charged", "disk.fresh"]) {
        idle::memory(bench, figures).await?;
    }
    if bench.wants(&["node.cpu300", "node.rss300"]) {
        idle::node(bench, figures).await?;
    }
    Ok(())
}

/// Does something with all items, `at_once` of them at a time; in their order.
///
/// # Errors
/// The first that is met.
pub async fn each<I, T>(at_once: usize, items: Vec<I>, work: impl AsyncFn(I) -> Result<T>) -> Result<Vec<T>> {
    all(at_once, items, work).await.into_iter().collect()
}

/// Does something with all items, several at a time; gives each failure.
async fn failures<I>(items: Vec<I>, work: impl AsyncFn(I) -> Result<()>) -> Vec<Error> {
    all(8, items, work).await.into_iter().filter_map(Result::err).collect()
}

async fn all<I, T>(at_once: usize, items: Vec<I>, work: impl AsyncFn(I) -> Result<T>) -> Vec<Result<T>> {
    let work = &work;
    let running = futures_util::stream::iter(items).map(|item| async move { work(item).await }).buffered(at_once);
    running.collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clean_up_goes_on_past_what_resists_and_names_all_of_it() {
        let done = RefCell::new(Vec::new());
        let failures = failures((1..=20).collect(), async |i: i32| {
            done.borrow_mut().push(i);
            if i % 10 == 0 { Err(Error::other(i)) } else { Ok(()) }
        });
        let failures: Vec<String> = failures.await.iter().map(ToString::to_string).collect();
        assert_eq!((failures, done.into_inner().len()), (vec!["10".to_owned(), "20".to_owned()], 20));
    }

    #[test]
    fn what_was_measured_is_told_when_other_rows_are_missing() {
        let exec = Measured { ours: row::Figure::of([9.0]), ..Measured::default() };
        let told = Suite::Engine.rows(&Figures::from([("exec", exec)]), |row| row == "exec" || row == "stop");
        let told: Vec<_> = told.iter().map(|row| (row.name, row.ours, row.absent.as_deref())).collect();
        assert_eq!(told, [("stop", None, Some("not measured")), ("exec", Some(9.0), None)]);
        assert!(Suite::Engine.rows(&Figures::new(), |_| true).is_empty());
    }
}
