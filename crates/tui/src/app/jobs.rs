//! Work under way, and the one line that tells how things went.

use jiff::Timestamp;

/// Names a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Milliseconds a job may take before it is shown.
pub const SHOW_AFTER_MS: i64 = 300;
/// Finished jobs kept in the list.
const KEPT: usize = 50;

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Still at it.
    Running,
    /// Ended well.
    Done,
    /// Ended badly, and why.
    Failed(String),
}

/// One piece of work.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What it does, e.g. `snapshotting hello`.
    pub label: String,
    /// The container it works on.
    pub on: Option<cowl_api::ContainerId>,
    /// What to call the container's state meanwhile, e.g. `stopping`.
    pub verb: Option<&'static str>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it stands.
    pub state: JobState,
}

/// All of them, newest last.
#[derive(Debug, Default)]
pub struct Jobs {
    list: Vec<Job>,
    next: u64,
}

impl Jobs {
    /// Adds a running job.
    pub fn start(
        &mut self,
        label: String,
        on: Option<cowl_api::ContainerId>,
        verb: Option<&'static str>,
        now: Timestamp,
    ) -> JobId {
        self.next += 1;
        let id = JobId(self.next);
        self.list.push(Job { id, label, on, verb, started: now, ended: None, state: JobState::Running });
        while self.list.len() > KEPT {
            let Some(old) = self.list.iter().position(|j| j.state != JobState::Running) else { break };
            self.list.remove(old);
        }
        id
    }

    /// Ends a job; gives its label.
    pub fn end(&mut self, id: JobId, failure: Option<String>, now: Timestamp) -> Option<String> {
        let job = self.list.iter_mut().find(|j| j.id == id)?;
        job.ended = Some(now);
        job.state = failure.map_or(JobState::Done, JobState::Failed);
        Some(job.label.clone())
    }

    /// Newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Job> {
        self.list.iter().rev()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Running ones.
    pub fn running(&self) -> impl Iterator<Item = &Job> {
        self.list.iter().filter(|j| j.state == JobState::Running)
    }

    /// The running job worth a line: the oldest that lasts longer than 300 ms.
    pub fn shown(&self, now: Timestamp) -> Option<&Job> {
        self.running().find(|j| now.as_millisecond() - j.started.as_millisecond() >= SHOW_AFTER_MS)
    }

    /// What is being done to a container, as a word for its state.
    pub fn verb(&self, id: cowl_api::ContainerId) -> Option<&'static str> {
        self.running().filter(|j| j.on == Some(id)).find_map(|j| j.verb)
    }
}

/// The line that tells how things went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One sentence.
    pub text: String,
    /// Failures stay until read; the rest fades.
    pub failed: bool,
    /// When it fades.
    pub until: Option<Timestamp>,
}
