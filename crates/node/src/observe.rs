//! What a container's shim says, as the container's driver takes it.
//!
//! | heard | what follows |
//! |---|---|
//! | init started again (a reboot inside) | `running`; shares and limits are made to hold anew |
//! | systemd is ready | whoever waits for a program that is being started waits no longer |
//! | init ended | `stopped`, or `failed` with the last words on its console |
//! | the line broke | the shim is listened to again, or it is gone: `failed` |

use std::time::Duration;

use super::driver::{Driver, failure};
use super::shares;
use super::state::transitions::Transition;
use cowl_api::ApiError;
use cowl_api::container::ContainerState;
use cowl_engine::shim::protocol::{Event as ShimEvent, Outcome, Status};

/// Between two looks at a shim whose line broke although it lives.
const REWATCH: Duration = Duration::from_secs(1);

impl Driver {
    /// What the shim said, or `None` when its line ended.
    pub(super) async fn observe(&mut self, event: Option<ShimEvent>) {
        let result = match event {
            Some(ShimEvent::Exited { outcome, console_tail }) => self.ended(outcome, &console_tail).await,
            Some(ShimEvent::Started(status)) => self.rebooted(&status).await,
            Some(ShimEvent::Ready) => {
                self.settled();
                Ok(())
            }
            Some(other) => {
                tracing::debug!(container = %self.id, event = ?other, "from inside");
                Ok(())
            }
            None => self.lost().await,
        };
        if let Err(error) = result {
            tracing::error!(container = %self.id, %error, "what happened inside could not be dealt with");
        }
    }

    /// Init was started again from inside. Its groups are those of the last start from outside, and
    /// its namespaces do not see what was shown to those before.
    async fn rebooted(&mut self, status: &Status) -> Result<(), ApiError> {
        self.runs(status, "container", false).await?;
        shares::sync_soon(&self.node, self.id, true);
        self.limit(&self.row().await?).await.map(drop)
    }

    /// Init is gone for good.
    async fn ended(&mut self, outcome: Outcome, console_tail: &[String]) -> Result<(), ApiError> {
        // The shim may still clear away; the next start must not meet its leftovers.
        if let Err(error) = self.halt(self.live.state(), Duration::ZERO).await {
            tracing::warn!(container = %self.id, %error, "its init ended, but what it left could not be cleared away");
            self.watch = None;
        }
        let t = match outcome {
            Outcome::Stopped | Outcome::Killed => {
                Transition { wanted: Some(false), ..Transition::to(ContainerState::Stopped, "container") }
            }
            Outcome::Crashed(how) => Transition {
                reason: Some(crash_reason(&how, console_tail)),
                console: last_words(console_tail),
                ..Transition::to(ContainerState::Failed, "container")
            },
        };
        self.go(t).await
    }

    /// The line to the shim ended without a last word.
    async fn lost(&mut self) -> Result<(), ApiError> {
        let id = self.id;
        self.watch = None;
        if self.node.engine(move |m| Ok(m.status(&id))).await.map_err(failure)?.is_some() {
            tokio::time::sleep(REWATCH).await;
            self.watch = Some(self.node.machine.watch(&id));
            return Ok(());
        }
        self.halt(self.live.state(), Duration::ZERO).await?;
        let reason = Some("its shim was killed, and the container with it".to_owned());
        self.go(Transition { reason, ..Transition::to(ContainerState::Failed, "node") }).await
    }
}

/// How init ended and the last words on its console, fit for one line on a screen.
fn crash_reason(how: &str, console_tail: &[String]) -> String {
    let words: Vec<&str> = console_tail.iter().map(|l| l.trim()).filter(|l| !l.is_empty()).collect();
    let last = words[words.len().saturating_sub(3)..].join(" | ");
    let said = if last.is_empty() { how.to_owned() } else { format!("{how}: {last}") };
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// The last lines on its console as the status log keeps them, at most 500 characters each.
fn last_words(console_tail: &[String]) -> Vec<String> {
    let plain = |line: &String| line.chars().filter(|c| !c.is_control()).take(500).collect();
    console_tail.iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_told_by_the_last_console_lines_without_control_characters() {
        let tail: Vec<String> = ["one", "two", "", "thr\u{1b}[31mee", "four\r"].map(Into::into).to_vec();
        assert_eq!(crash_reason("signal 9", &tail), "signal 9: two | thr [31mee | four");
        assert_eq!(crash_reason("exit 1", &[]), "exit 1");
        assert_eq!(crash_reason("x", &["y".repeat(9_000)]).chars().count(), 500);
    }
}
