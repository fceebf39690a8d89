//! The loop: sleep on one channel, take everything that waits, draw at most once, sleep again.

use std::io;
use std::time::Duration;

use crossterm::event::EventStream;
use futures_util::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::app::Action;
use super::backend::BackendError;
use super::guard::TerminalGuard;
use super::runtime::{Aside, Core};
use super::screen::{Frames, Writer};

/// Shortest time between two frames nobody waits for with a key.
const FRAME_GAP: Duration = Duration::from_millis(16);
/// Longest time actions are taken before a frame is drawn in between.
const DRAIN: Duration = Duration::from_millis(8);
/// Keys that may wait.
const INPUTS: usize = 256;
/// How long leaving waits for the last frame.
const LAST_FRAME: Duration = Duration::from_millis(300);

/// Runs the cockpit on this terminal until it is left; the terminal is restored whatever happens.
///
/// # Errors
/// When the terminal cannot be used. The inner error is why the node could not be.
pub async fn run(mut core: Core) -> io::Result<Option<BackendError>> {
    let _guard = TerminalGuard::enter()?;
    core.app.size = crossterm::terminal::size()?;
    let mut writer = Writer::new()?;
    let mut frames = Frames::default();
    let mut asides = core.perform();
    // Keys have their own way in, so that they never queue behind a flood of output.
    let (sender, mut inputs) = mpsc::channel(INPUTS);
    core.own(signals(sender.clone())?);
    core.own(keyboard(sender));
    writer.send(frames.frame(&core.app, &std::mem::take(&mut asides))?);
    core.app.dirty = false;
    let mut next_frame = Instant::now();
    while core.app.end.is_none() {
        let wants = (core.app.dirty || !asides.is_empty()) && !writer.busy();
        tokio::select! {
            biased;
            action = inputs.recv() => asides.extend(take(&mut core, &mut inputs, action)),
            action = core.actions.recv() => asides.extend(take(&mut core, &mut inputs, action)),
            written = writer.written() => if written.is_err() { return Ok(None) },
            () = sleep_until(next_frame), if wants => {}
        }
        let due = core.app.urgent || Instant::now() >= next_frame;
        if (core.app.dirty || !asides.is_empty()) && due && !writer.busy() {
            writer.send(frames.frame(&core.app, &std::mem::take(&mut asides))?);
            core.app.dirty = false;
            core.app.urgent = false;
            next_frame = Instant::now() + FRAME_GAP;
        }
    }
    // A frame cut in half would be ended by the guard anyway; this only keeps things tidy.
    let _ = tokio::time::timeout(LAST_FRAME, async {
        if writer.busy() {
            let _ = writer.written().await;
        }
    })
    .await;
    Ok(core.app.end.take().flatten())
}

/// Takes an action and all that wait, keys first, but not for longer than a frame can.
fn take(core: &mut Core, inputs: &mut mpsc::Receiver<Action>, first: Option<Action>) -> Vec<Aside> {
    let until = Instant::now() + DRAIN;
    let mut asides = Vec::new();
    let mut next = first;
    while let Some(action) = next {
        asides.extend(core.apply(action));
        if core.app.end.is_some() || Instant::now() >= until {
            break;
        }
        next = inputs.try_recv().or_else(|_| core.actions.try_recv()).ok();
    }
    asides
}

async fn keyboard(sender: mpsc::Sender<Action>) {
    let mut events = EventStream::new();
    while let Some(Ok(event)) = events.next().await {
        if sender.send(Action::Input(event)).await.is_err() {
            return;
        }
    }
    // The terminal is gone.
    let _ = sender.send(Action::Terminate).await;
}

fn signals(sender: mpsc::Sender<Action>) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = sender.send(Action::Terminate).await;
    })
}
