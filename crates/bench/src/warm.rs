//! What is asked of a container that is there already: one command, and to wake up.

use std::process::Stdio;
use std::time::Instant;

use super::own::run;
use super::peer::Machine;
use super::row::Measured;
use super::{Bench, Figures, Result};
use cowl_api::Container;

/// Commands are cheap, and their times vary.
const COMMANDS: usize = 40;

/// `exec` and `wake`.
///
/// # Errors
/// What went wrong.
pub async fn measure(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let (container, _) = bench.node.birth().await?;
    if bench.wants(&["exec"]) {
        figures.insert("exec", exec(bench, &container).await?);
    }
    if bench.wants(&["wake"]) {
        figures.insert("wake", wake(bench, &container).await?);
    }
    bench.discard(vec![container]).await;
    Ok(())
}

/// Turns of `true` in a fresh shell over the node's socket, and of `nsenter` into the peer.
async fn exec(bench: &Bench<'_>, container: &Container) -> Result<Measured> {
    (bench.say)("commands");
    let mut machine = Machine::prepare(&bench.place.peers, &bench.place.plain)?;
    machine.settle().await?;
    machine.start().await?;
    machine.ready().await?;
    let kit = bench.node.near_terminal(container);
    // The shell and the peer's files come into the page cache; what follows is warm.
    run(&kit, "true").await?;
    let mut measured = Measured::default();
    for _ in 0..COMMANDS {
        let begun = Instant::now();
        run(&kit, "true").await?;
        measured.ours.push(begun.elapsed().as_secs_f64() * 1e3);
        if let Some(leader) = machine.leader() {
            let begun = Instant::now();
            let mut command = tokio::process::Command::new("nsenter");
            command.arg(format!("--target={leader}")).args(["--all", "/bin/true"]).stdin(Stdio::null());
            if command.status().await.is_ok_and(|status| status.success()) {
                measured.peer.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    machine.stop().await?;
    machine.remove().await;
    Ok(measured)
}

/// Sleep by hand, then a request to its URL: it must be answered, not refused.
async fn wake(bench: &Bench<'_>, container: &Container) -> Result<Measured> {
    let mut measured = Measured::default();
    let kit = bench.node.terminal(container);
    for round in 1..=bench.runs {
        (bench.say)(&format!("sleeping and waking: {round} of {}", bench.runs));
        match bench.node.sleep(&container.id).await {
            Err(super::Error::Client(cowl_client::Error::Api(e))) if matches!(e.status_code, 400 | 404 | 405 | 501) => {
                return Ok(Measured::absent(format!("the node puts nothing to sleep: {}", e.message)));
            }
            other => other?,
        }
        let begun = Instant::now();
        kit.json::<serde_json::Value>(http::Method::GET, "/api/v1/terminal/health", None::<&()>).await?;
        measured.ours.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(measured)
}
