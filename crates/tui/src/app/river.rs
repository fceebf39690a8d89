//! Snapshots of a container as a river of time, and the files of any moment in it.

use crate::backend::FilesOf;
use crate::widgets::list::ListState;
use cowl_api::files::{Entry, Listing};
use cowl_api::snapshot::Snapshot;
use cowl_api::{Container, ContainerId, ContainerState};

/// Most bytes of a file that are read for a preview.
pub const PREVIEW_MAX: usize = 64 << 10;

/// The snapshots of one container. Row 0 is now; the rest are points in the past, newest first.
#[derive(Debug)]
pub struct River {
    /// Whose.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// The points; `None` while they are being asked for.
    pub points: Option<Vec<Snapshot>>,
    /// Why they could not be had.
    pub error: Option<String>,
    /// Where in them.
    pub list: ListState,
    /// Put the bar on the newest point once they arrive.
    pub to_newest: bool,
}

impl River {
    /// A river nothing is known of yet.
    pub fn new(c: &Container, to_newest: bool) -> Self {
        Self { container: c.id, name: c.name.clone(), points: None, error: None, list: ListState::default(), to_newest }
    }

    /// Rows: now and all points.
    pub fn len(&self) -> usize {
        1 + self.points.as_ref().map_or(0, Vec::len)
    }

    /// The point under the bar; `None` on now.
    pub fn point(&self) -> Option<&Snapshot> {
        self.points.as_ref()?.get(self.list.selected.checked_sub(1)?)
    }

    /// Takes the points.
    pub fn fill(&mut self, mut points: Vec<Snapshot>) {
        points.sort_by(|a, b| b.created_at.cmp(&a.created_at));
        let at = self.point().map(|p| p.name.clone());
        self.points = Some(points);
        self.error = None;
        let index = |name: &str| self.points.iter().flatten().position(|p| p.name == name);
        if let Some(at) = at.and_then(|name| index(&name)) {
            self.list.selected = at + 1;
        } else if self.to_newest {
            self.list.selected = 1;
        }
        self.to_newest = false;
        self.list.clamp(self.len());
    }
}

/// What people call a snapshot: its alias, or its name.
pub fn label(s: &Snapshot) -> &str {
    s.alias.as_deref().unwrap_or(&s.name)
}

/// The beginning of a file.
#[derive(Debug)]
pub struct Preview {
    /// Its path.
    pub path: String,
    /// Its lines, or why there are none.
    pub lines: Result<Vec<String>, String>,
    /// The first line shown.
    pub list: ListState,
}

/// A directory of a container or snapshot.
#[derive(Debug)]
pub struct FilesView {
    /// Whose container.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// Which moment of it.
    pub of: FilesOf,
    /// That moment's label, if it is not now.
    pub moment: Option<String>,
    /// The directory, absolute.
    pub path: String,
    /// Its entries; `None` while they are being asked for.
    pub entries: Option<Vec<Entry>>,
    /// Why they could not be had.
    pub error: Option<String>,
    /// Only names that hold this.
    pub filter: String,
    /// Where in them.
    pub list: ListState,
    /// A file being looked at.
    pub preview: Option<Preview>,
    /// Number of the request whose answer is awaited.
    pub ticket: u64,
    /// The entry to put the bar on once they arrive.
    pub arrive_at: Option<String>,
}

impl FilesView {
    /// The root directory of a container as it is now, or of a snapshot.
    pub fn new(c: &Container, snapshot: Option<&Snapshot>, ticket: u64) -> Self {
        let of = match snapshot {
            Some(s) => FilesOf::Snapshot(c.id, s.name.clone()),
            None if c.status == ContainerState::Running => FilesOf::Running(c.project_id, c.id),
            None => FilesOf::Stopped(c.id),
        };
        Self {
            container: c.id,
            name: c.name.clone(),
            of,
            moment: snapshot.map(|s| label(s).to_owned()),
            path: "/".into(),
            entries: None,
            error: None,
            filter: String::new(),
            list: ListState::default(),
            preview: None,
            ticket,
            arrive_at: None,
        }
    }

    /// Entries that match the filter.
    pub fn shown(&self) -> Vec<&Entry> {
        let filter = self.filter.to_lowercase();
        let entries = self.entries.iter().flatten();
        entries.filter(|e| filter.is_empty() || e.name.to_lowercase().contains(&filter)).collect()
    }

    /// The entry under the bar.
    pub fn selected(&self) -> Option<&Entry> {
        self.shown().get(self.list.selected).copied()
    }

    /// Takes a directory.
    pub fn fill(&mut self, listing: Listing) {
        self.entries = Some(listing.paths);
        self.error = None;
        self.list.selected = 0;
        if let Some(name) = self.arrive_at.take() {
            self.list.selected = self.shown().iter().position(|e| e.name == name).unwrap_or(0);
        }
    }

    /// Takes the beginning of a file.
    pub fn show(&mut self, path: String, bytes: &[u8]) {
        let lines = if bytes.contains(&0) {
            Err("not text".to_owned())
        } else {
            let text = String::from_utf8_lossy(bytes).replace('\t', "    ");
            Ok(text.lines().map(str::to_owned).collect())
        };
        self.preview = Some(Preview { path, lines, list: ListState::default() });
    }

    /// The path of an entry of this directory.
    pub fn join(&self, name: &str) -> String {
        format!("{}/{name}", self.path.trim_end_matches('/'))
    }

    /// The directory above and the name of this one; `None` at the root.
    pub fn parent(&self) -> Option<(String, String)> {
        let (above, name) = self.path.trim_end_matches('/').rsplit_once('/')?;
        if name.is_empty() {
            return None;
        }
        let above = if above.is_empty() { "/" } else { above };
        Some((above.to_owned(), name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_up_ends_at_the_root() {
        let c = crate::tests::fixtures::container("web", ContainerState::Stopped);
        let mut f = FilesView::new(&c, None, 1);
        assert_eq!(f.parent(), None);
        f.path = f.join("etc");
        f.path = f.join("apt");
        assert_eq!(f.path, "/etc/apt");
        assert_eq!(f.parent(), Some(("/etc".into(), "apt".into())));
        f.path = "/etc".into();
        assert_eq!(f.parent(), Some(("/".into(), "etc".into())));
    }
}
