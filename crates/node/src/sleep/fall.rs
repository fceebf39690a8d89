//! Falling asleep and getting up, as a container's driver does them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::driver::{Driver, GRACE, failure};
use crate::fleet::Live;
use crate::lifecycle::Done;
use crate::state::containers::ContainerRow;
use crate::state::journal::Kind;
use crate::state::transitions::Transition;
use cowl_api::ApiError;
use cowl_api::container::ContainerState;
use cowl_api::settings::SleepMode;

/// How long what runs inside may take to listen after a boot that woke it.
const RISING: Duration = Duration::from_secs(25);
/// The same once systemd has done its start jobs.
const READY: Duration = Duration::from_secs(2);

/// While it lives, whoever asks for the container waits until it sleeps, and wakes it then.
struct Drowsy(Arc<Live>);

impl Drowsy {
    fn begin(live: &Arc<Live>) -> Self {
        live.set_drowsy(true);
        Self(Arc::clone(live))
    }
}

impl Drop for Drowsy {
    fn drop(&mut self) {
        self.0.set_drowsy(false);
    }
}

fn mode_of(row: &ContainerRow) -> SleepMode {
    row.effective_settings().sleep.mode.unwrap_or(SleepMode::Stop)
}

impl Driver {
    /// Puts it to sleep by itself, unless it is in use or its settings say otherwise by now.
    pub(crate) async fn doze(&mut self, row: ContainerRow) -> Result<Done, ApiError> {
        let after = row.effective_settings().sleep.after.filter(|s| *s > 0).map(Duration::from_secs);
        let _drowsy = Drowsy::begin(&self.live);
        let idle = self.live.activity.idle_since().map(|since| since.elapsed());
        match (after, idle) {
            (Some(after), Some(idle)) if idle >= after => self.fall_asleep(row.state, mode_of(&row), "sleep").await,
            _ => Ok(Done::State(row.state)),
        }
    }

    /// Puts it to sleep because somebody says so, in use or not.
    pub(crate) async fn sleep(&mut self, row: ContainerRow, by: &'static str) -> Result<Done, ApiError> {
        let _drowsy = Drowsy::begin(&self.live);
        self.fall_asleep(row.state, mode_of(&row), by).await
    }

    /// Has it sleep halted, whatever its settings say: what runs or is frozen of it ends.
    pub(crate) async fn sleep_halted(&mut self, state: ContainerState, by: &'static str) -> Result<Done, ApiError> {
        let _drowsy = Drowsy::begin(&self.live);
        self.fall_asleep(state, SleepMode::Stop, by).await
    }

    async fn fall_asleep(
        &mut self,
        state: ContainerState,
        mode: SleepMode,
        by: &'static str,
    ) -> Result<Done, ApiError> {
        let step = match mode {
            SleepMode::Stop => "stop",
            SleepMode::Freeze => "freeze",
        };
        self.begin(Kind::Sleep, step, serde_json::json!({})).await?;
        let slept = match mode {
            SleepMode::Stop => self.halt(state, GRACE).await,
            SleepMode::Freeze => self.freeze_deep().await,
        };
        if let Err(error) = slept {
            return Err(self.runs_on(by, error).await);
        }
        self.go(Transition { ends_operation: true, ..Transition::to(ContainerState::Asleep, by) }).await?;
        self.live.activity.cut();
        Ok(Done::State(ContainerState::Asleep))
    }

    /// Freezes it and takes back what memory it can do without.
    async fn freeze_deep(&self) -> Result<(), ApiError> {
        let id = self.id;
        self.node.engine(move |m| m.freeze(&id, true)).await.map_err(failure)?;
        match self.node.engine(move |m| m.reclaim(&id)).await {
            Ok(bytes) => tracing::info!(container = %id, mib = bytes >> 20, "frozen, and its memory reclaimed"),
            // It sleeps all the same, only not as cheaply.
            Err(error) => tracing::warn!(container = %id, %error, "frozen, but its memory could not be reclaimed"),
        }
        Ok(())
    }

    /// Wakes it: thaws what is frozen, starts what is halted.
    pub(crate) async fn wake(&mut self, row: ContainerRow, by: &'static str) -> Result<Done, ApiError> {
        let id = self.id;
        let shim = self.node.engine(move |m| Ok(m.status(&id))).await.map_err(failure)?;
        let Some(shim) = shim else {
            self.live.set_rising(Instant::now() + RISING, false);
            return self.start(row, by).await;
        };
        self.node.engine(move |m| m.freeze(&id, false)).await.map_err(failure)?;
        self.runs(&shim, by, true).await?;
        Ok(Done::State(ContainerState::Running))
    }

    /// systemd inside has done its start jobs.
    pub(crate) fn settled(&self) {
        self.live.set_rising(Instant::now() + READY, true);
    }
}
