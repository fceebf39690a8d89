//! The search for equal files as a job: one at a time, on a thread of its own, watched by whoever
//! asked for it.
//!
//! ```text
//! begin ── running ──▶ done
//!             │ ├────▶ cancelled   the watcher went away, or the node ends
//!             │ └────▶ failed      the pool cannot be read
//! ```
//! Nothing needs to survive the node: each exchange of blocks is one step of the kernel. The figures
//! of the last run that was to change something are kept in the database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Node;
use super::clock;
use cowl_api::ApiError;
use cowl_api::dedupe::{
    DedupeRequest, DedupeRun, DedupeStatus, Figures, MIN_SIZE, MIN_SIZE_MIN, RATE, RATE_MIN, RunState,
};
use cowl_api::envelope::FieldError;
use cowl_api::settings::Size;
use cowl_engine::storage::dedupe::Scope;

/// Where the last run's figures are kept.
const LAST: &str = "dedupe.last";

/// The run of now.
#[derive(Debug, Default)]
pub struct Dedupe {
    running: Mutex<Option<watch::Receiver<DedupeRun>>>,
}

impl Dedupe {
    fn running(&self) -> std::sync::MutexGuard<'_, Option<watch::Receiver<DedupeRun>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that is watched; when this is dropped it is cancelled.
#[derive(Debug)]
pub struct Following {
    runs: watch::Receiver<DedupeRun>,
    stop: Arc<AtomicBool>,
}

impl Following {
    /// How it stands once there is news, or after `patience`.
    pub async fn next(&mut self, patience: Duration) -> DedupeRun {
        // An error means that there will be no more: the last that was told is the end.
        let _ = tokio::time::timeout(patience, self.runs.changed()).await;
        self.runs.borrow_and_update().clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn size(field: &str, asked: Option<Size>, default: Size, least: Size) -> Result<Size, ApiError> {
    match asked.unwrap_or(default) {
        Size(bytes) if bytes < least.0 => {
            Err(FieldError::new(format!("/{field}"), format!("must be at least {} bytes", least.0)).into())
        }
        size => Ok(size),
    }
}

impl Node {
    /// Begins a run.
    ///
    /// # Errors
    /// 400 with the field named, 404 for an unknown container, 409 while one runs.
    pub async fn begin_dedupe(self: &Arc<Self>, request: DedupeRequest) -> Result<Following, ApiError> {
        let rate = size("rate", request.rate, RATE, RATE_MIN)?;
        let min_size = size("min_size", request.min_size, MIN_SIZE, MIN_SIZE_MIN)?;
        let DedupeRequest { mut containers, dry_run, snapshots, .. } = request;
        containers.sort_unstable();
        containers.dedup();
        let containers = self
            .db(move |store| {
                if containers.is_empty() {
                    return Ok(store.all_containers()?.into_iter().map(|row| row.id).collect());
                }
                containers.iter().map(|id| Ok(store.container(id)?.id)).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let run = DedupeRun {
            state: RunState::Running,
            started_at: clock::now(),
            seconds: 0.0,
            containers: containers.len() as u64,
            dry_run,
            snapshots,
            rate,
            min_size,
            figures: Figures::default(),
            error: None,
        };
        let scope = Scope { containers, snapshots, dry_run, rate: rate.0, least: min_size.0 };
        self.spawn_dedupe(run, scope)
    }

    fn spawn_dedupe(self: &Arc<Self>, run: DedupeRun, scope: Scope) -> Result<Following, ApiError> {
        let (tell, runs) = watch::channel(run);
        let stop = Arc::new(AtomicBool::new(false));
        let following = Following { runs: runs.clone(), stop: Arc::clone(&stop) };
        {
            let mut running = self.dedupe.running();
            // One whose thread has died without a word is no run.
            if running.as_ref().is_some_and(|runs| runs.has_changed().is_ok()) {
                return Err(ApiError::conflict(
                    "a search for equal files is under way; `GET` here tells how far it is",
                ));
            }
            *running = Some(runs);
        }
        let node = Arc::clone(self);
        // A thread of its own: the run gives its priority away, and the runtime's are for others.
        let spawned = std::thread::Builder::new().name("dedupe".into()).spawn(move || {
            node.dedupe_now(&scope, &stop, &tell);
        });
        if let Err(e) = spawned {
            *self.dedupe.running() = None;
            return Err(ApiError::internal(format!("no thread for it: {e}")));
        }
        Ok(following)
    }

    fn dedupe_now(&self, scope: &Scope, stop: &AtomicBool, tell: &watch::Sender<DedupeRun>) {
        let begun = Instant::now();
        let stopped = || stop.load(Ordering::SeqCst) || self.shutdown.is_cancelled();
        let outcome = self.machine.dedupe(scope, &stopped, &mut |figures| {
            tell.send_modify(|run| {
                (run.figures, run.seconds) = (*figures, begun.elapsed().as_secs_f64());
            });
        });
        let mut run = tell.borrow().clone();
        run.seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(figures) => {
                run.figures = figures;
                run.state = if stopped() { RunState::Cancelled } else { RunState::Done };
            }
            Err(error) => (run.state, run.error) = (RunState::Failed, Some(error.to_string())),
        }
        tracing::info!(state = ?run.state, deduped = run.figures.deduped, seconds = run.seconds, "equal files searched");
        if !run.dry_run
            && let Ok(text) = serde_json::to_string(&run)
            && let Err(error) = self.store.set_meta(LAST, &text)
        {
            tracing::warn!(%error, "the figures of the search for equal files are not kept");
        }
        // Free before it is told: who hears the end may begin the next.
        *self.dedupe.running() = None;
        tell.send_replace(run);
    }

    /// The run of now, and the last one that was to change something.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dedupe_status(self: &Arc<Self>) -> Result<DedupeStatus, ApiError> {
        let running = self.dedupe.running().as_ref().map(|runs| runs.borrow().clone());
        let last = self.db(|store| store.meta(LAST)).await?;
        Ok(DedupeStatus { running, last: last.and_then(|text| serde_json::from_str(&text).ok()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::TestBox;

    /// Longest wait for what takes no time.
    const SOON: Duration = Duration::from_secs(10);

    async fn end(following: &mut Following) -> DedupeRun {
        let mut run = following.next(SOON).await;
        while run.state == RunState::Running {
            run = following.next(SOON).await;
        }
        run
    }

    #[tokio::test]
    async fn there_is_one_run_at_a_time_and_its_figures_are_kept() {
        let b = TestBox::new();
        let node = b.start().await;
        let project = node.test_project();
        node.make(project, "web").await;
        assert_eq!(node.dedupe_status().await.unwrap(), DedupeStatus { running: None, last: None });
        b.machine.fail_next("hold", "");
        let mut first = node.begin_dedupe(DedupeRequest::default()).await.unwrap();
        let refused = node.begin_dedupe(DedupeRequest::default()).await.unwrap_err();
        assert_eq!(refused.status_code, 409);
        assert_eq!(node.dedupe_status().await.unwrap().running.unwrap().containers, 1);
        b.machine.world().fail.remove("hold");
        let run = end(&mut first).await;
        assert_eq!((run.state, run.figures.deduped, run.rate), (RunState::Done, 8 << 20, RATE));
        // What changes nothing is not remembered, and what fails says why.
        let dry = DedupeRequest { dry_run: true, ..DedupeRequest::default() };
        end(&mut node.begin_dedupe(dry).await.unwrap()).await;
        assert_eq!(node.dedupe_status().await.unwrap(), DedupeStatus { running: None, last: Some(run) });
        b.machine.fail_next("dedupe", "the pool is gone");
        let failed = end(&mut node.begin_dedupe(DedupeRequest::default()).await.unwrap()).await;
        assert_eq!((failed.state, failed.error.as_deref()), (RunState::Failed, Some("the pool is gone")));
    }

    #[tokio::test]
    async fn a_run_nobody_watches_is_cancelled() {
        let b = TestBox::new();
        let node = b.start().await;
        b.machine.fail_next("hold", "");
        drop(node.begin_dedupe(DedupeRequest::default()).await.unwrap());
        for _ in 0..1_000 {
            if node.dedupe_status().await.unwrap().running.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = node.dedupe_status().await.unwrap();
        assert_eq!((status.running, status.last.unwrap().state), (None, RunState::Cancelled));
    }

    #[tokio::test]
    async fn what_is_out_of_range_is_refused_with_the_field_named() {
        let b = TestBox::new();
        let node = b.start().await;
        let slow = DedupeRequest { rate: Some(Size(1)), ..DedupeRequest::default() };
        assert!(node.begin_dedupe(slow).await.unwrap_err().message.contains("rate must be at least"));
        let small = DedupeRequest { min_size: Some(Size(1)), ..DedupeRequest::default() };
        assert!(node.begin_dedupe(small).await.unwrap_err().message.contains("min_size must be at least"));
        let nobody = DedupeRequest { containers: vec![cowl_api::ContainerId::generate()], ..Default::default() };
        assert_eq!(node.begin_dedupe(nobody).await.unwrap_err().status_code, 404);
    }
}
