//! One line of the promise table: a figure of ours, the peer's beside it, and whether the bar holds.

use serde::Serialize;

/// Repeated measurements of one thing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure(Vec<f64>);

impl Figure {
    /// Of these measurements, in any order.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        let at = self.0.partition_point(|v| *v <= value);
        self.0.insert(at, value);
    }

    /// The middle; the mean of both middles of an even count. `None` without measurements.
    pub fn median(&self) -> Option<f64> {
        let n = self.0.len();
        match n {
            0 => None,
            _ if n % 2 == 1 => Some(self.0[n / 2]),
            _ => Some(f64::midpoint(self.0[n / 2 - 1], self.0[n / 2])),
        }
    }

    /// The measurement that `share` of all do not exceed, e.g. 0.99.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        // At most the length, which fits.
        Some(self.0[((last as f64) * share).round() as usize])
    }

    /// The same without what lies above a percentile.
    pub fn below(&self, share: f64) -> Self {
        let most = self.percentile(share);
        Self(self.0.iter().copied().filter(|v| most.is_some_and(|most| *v <= most)).collect())
    }

    /// Least and most.
    pub fn range(&self) -> Option<[f64; 2]> {
        Some([*self.0.first()?, *self.0.last()?])
    }
}

/// What a row promises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// At most this share of the peer's figure.
    OfPeer(f64),
    /// At most this share of another row of ours.
    OfRow(f64, &'static str),
    /// At most so much, in the row's unit.
    Most(f64),
}

/// What a row is about: its name, unit, bar, and what is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Promise {
    /// `boot.ready`.
    pub name: &'static str,
    /// `ms`, `s`, `MiB` or `%`.
    pub unit: &'static str,
    /// The bar.
    pub bar: Bar,
    /// What is measured.
    pub what: &'static str,
}

/// Rows of `cowl bench engine`, in the order in which they are measured and told.
pub const ENGINE: [Promise; 13] = [
    promise("boot.first200", "ms", Bar::OfPeer(0.35), "create to the first HTTPS 200 of terminal-1"),
    promise("boot.multiuser", "ms", Bar::OfPeer(0.60), "create to multi-user.target, seen through terminal-1"),
    promise("boot.ready", "ms", Bar::OfPeer(0.55), "create to systemd's READY"),
    promise("boot.cpu", "s", Bar::OfPeer(0.60), "CPU to READY; ours with kit, shim and node"),
    promise("boot.par20", "s", Bar::OfPeer(0.60), "20 creates at once, to the last READY"),
    promise("stop", "ms", Bar::OfPeer(0.80), "graceful stop"),
    promise("mem.pss", "MiB", Bar::OfPeer(0.45), "PSS per idle container at n = 30, with kit and shim"),
    promise("mem.charged", "MiB", Bar::OfPeer(0.35), "cgroup memory per idle container at n = 30"),
    promise("disk.fresh", "MiB", Bar::Most(0.3), "disk that only a fresh container holds"),
    promise("node.cpu300", "%", Bar::Most(3.0), "of a core: the node with 300 idle containers"),
    promise("node.rss300", "MiB", Bar::Most(80.0), "resident memory of that node"),
    promise("wake", "ms", Bar::OfRow(1.0, "boot.first200"), "request to a sleeping container to its 200"),
    promise("exec", "ms", Bar::Most(10.0), "one command over the node's socket, warm; peer by nsenter"),
];

/// Rows of `cowl bench time`.
pub const TIME: [Promise; 5] = [
    promise("snapshot", "ms", Bar::OfPeer(1.5), "one snapshot by the API; peer: the bare ioctl on the same disk"),
    promise(
        "snapshot.busy",
        "ms",
        Bar::OfPeer(1.5),
        "the same while a neighbour writes flat out; the range ends at p99",
    ),
    promise(
        "restore",
        "ms",
        Bar::OfPeer(0.7),
        "restore of a running container until terminal-1 answers; peer: stop and boot",
    ),
    promise("list1000", "ms", Bar::Most(20.0), "list of a container's 1,000 snapshots"),
    promise("grow1000", "ms", Bar::OfPeer(3.0), "snapshot and delete with 1,000 snapshots; peer: with 10"),
];

const fn promise(name: &'static str, unit: &'static str, bar: Bar, what: &'static str) -> Promise {
    Promise { name, unit, bar, what }
}

/// A measured row, as `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Of the promise.
    pub name: &'static str,
    /// Our median.
    pub ours: Option<f64>,
    /// The peer's median on the untrimmed image.
    pub peer: Option<f64>,
    /// The peer's median on our golden image.
    pub peer_golden: Option<f64>,
    /// Ours by what the bar compares with.
    pub ratio: Option<f64>,
    /// Of the figures.
    pub unit: &'static str,
    /// In words: `≤ 0.55 ×`.
    pub bar: String,
    /// Whether the bar holds. A row without a figure holds nothing.
    pub holds: bool,
    /// Least and most of ours.
    pub ours_range: Option<[f64; 2]>,
    /// Least and most of the peer.
    pub peer_range: Option<[f64; 2]>,
    /// Least and most of the peer on the golden image.
    pub peer_golden_range: Option<[f64; 2]>,
    /// How many measurements of ours.
    pub runs: usize,
    /// What is measured.
    pub what: &'static str,
    /// Why there is no figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// What was measured for one row.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Ours.
    pub ours: Figure,
    /// The peer's.
    pub peer: Figure,
    /// The peer's on the golden image.
    pub golden: Figure,
    /// Why there is nothing of ours.
    pub absent: Option<String>,
}

impl Measured {
    /// Nothing, and why.
    pub fn absent(why: impl Into<String>) -> Self {
        Self { absent: Some(why.into()), ..Self::default() }
    }
}

impl Promise {
    /// The row of what was measured; `other` gives our figure of another row.
    pub fn row(&self, measured: &Measured, other: impl Fn(&str) -> Option<f64>) -> Row {
        let ours = measured.ours.median();
        let peer = measured.peer.median();
        let (base, limit) = match self.bar {
            Bar::OfPeer(share) => (peer, share),
            Bar::OfRow(share, row) => (other(row), share),
            Bar::Most(most) => (Some(most), 1.0),
        };
        let share = ours.zip(base).filter(|(_, base)| *base > 0.0).map(|(ours, base)| ours / base);
        let ratio = match self.bar {
            Bar::Most(_) => ours.zip(peer).filter(|(_, peer)| *peer > 0.0).map(|(ours, peer)| ours / peer),
            _ => share,
        };
        Row {
            name: self.name,
            ours,
            peer,
            peer_golden: measured.golden.median(),
            ratio,
            unit: self.unit,
            bar: self.bar_text(),
            holds: share.is_some_and(|share| share <= limit),
            ours_range: measured.ours.range(),
            peer_range: measured.peer.range(),
            peer_golden_range: measured.golden.range(),
            runs: measured.ours.0.len(),
            what: self.what,
            absent: measured.absent.clone(),
        }
    }

    fn bar_text(&self) -> String {
        match self.bar {
            Bar::OfPeer(share) => format!("≤ {share:.2} ×"),
            Bar::OfRow(share, row) => format!("≤ {share:.1} × {row}"),
            Bar::Most(most) => format!("≤ {most} {}", self.unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Promise {
        *ENGINE.iter().find(|p| p.name == name).unwrap()
    }

    fn measured(ours: f64, peer: f64) -> Measured {
        Measured { ours: Figure::of([ours]), peer: Figure::of([peer]), ..Measured::default() }
    }

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        let mut figure = Figure::of([9.0, 1.0, f64::NAN]);
        figure.push(4.0);
        assert_eq!((figure.median(), figure.range()), (Some(4.0), Some([1.0, 9.0])));
        figure.push(6.0);
        assert_eq!(figure.median(), Some(5.0));
        assert_eq!(Figure::default().median(), None);
        let hundred = Figure::of((1..=101).map(f64::from));
        assert_eq!((hundred.percentile(0.99), hundred.below(0.5).range()), (Some(100.0), Some([1.0, 51.0])));
        assert_eq!(Figure::default().percentile(0.99), None);
    }

    #[test]
    fn a_bar_of_the_peer_holds_up_to_its_share() {
        let ready = named("boot.ready");
        assert!(ready.row(&measured(55.0, 100.0), |_| None).holds);
        assert!(!ready.row(&measured(56.0, 100.0), |_| None).holds);
        assert_eq!(ready.row(&measured(56.0, 100.0), |_| None).ratio, Some(0.56));
    }

    #[test]
    fn an_absolute_bar_needs_no_peer_and_a_row_without_a_figure_holds_nothing() {
        let exec = named("exec");
        let alone = Measured { ours: Figure::of([9.0]), ..Measured::default() };
        let row = exec.row(&alone, |_| None);
        assert_eq!((row.holds, row.ratio, row.bar.as_str()), (true, None, "≤ 10 ms"));
        for promise in ENGINE.iter().chain(&TIME) {
            let row = promise.row(&Measured::absent("not built"), |_| Some(1.0));
            assert!(!row.holds && row.absent.is_some(), "{}", promise.name);
        }
    }

    #[test]
    fn waking_is_compared_with_our_own_first_answer() {
        let wake = named("wake");
        let row = |first| wake.row(&measured(100.0, 0.0), |name| (name == "boot.first200").then_some(first));
        assert!(row(100.0).holds && !row(99.0).holds);
    }
}
