//! `cowl doctor`: looks at this machine and says, line by line, what is right, what is odd and
//! what must be mended, and how.

mod host;
mod inside;
mod leaks;
mod limits;
mod node;
mod programs;

use std::process::ExitCode;

use serde::Serialize;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::print;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Works, but not as well or not as expected.
    Warn,
    /// Cowl cannot work like this.
    Fail,
}

/// One line.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do; none when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// For a setting of the host: how it stands.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    setting: Option<cowl_engine::sysctl::Standing>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), advice: None, setting: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.into()), setting: None }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: found.into(), advice: Some(advice.into()), setting: None }
    }
}

/// What `cowl doctor` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look for what dead containers of this node left on the machine, and for nothing else
    #[arg(long)]
    leaks: bool,
    /// Remove it
    #[arg(long, requires = "leaks")]
    fix: bool,
}

pub(super) async fn run(context: &Context, args: &Args) -> Outcome {
    if args.leaks {
        return leaks::run(context, args.fix);
    }
    let mut checks = host::checks(&context.state_dir);
    checks.extend(programs::checks());
    let node = node::checks(context).await;
    let node_runs = node.first().is_some_and(|check| check.verdict == Verdict::Ok);
    checks.extend(inside::checks(&context.run_dir, node_runs));
    checks.extend(node);
    let limits = limits::checks();
    context.show(&checks.iter().chain(&limits).collect::<Vec<_>>(), |_| {
        checks.iter().chain(&limits::in_short(&limits)).try_for_each(line)
    })?;
    let failed = checks.iter().any(|c| c.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(check: &Check) -> std::io::Result<()> {
    let word = match check.verdict {
        Verdict::Ok => "ok  ",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let advice = check.advice.as_ref().map(|a| format!("; {a}")).unwrap_or_default();
    print::line(&format!("{word}  {:<17} {}{advice}", check.name, check.found))
}

/// The checks without which a node cannot start.
pub(super) async fn require(context: &Context) -> Result<(), Fail> {
    let mut checks = host::checks(&context.state_dir);
    checks.extend(programs::checks());
    let failed: Vec<&Check> = checks.iter().filter(|c| c.verdict == Verdict::Fail).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    if first.name == host::ROOT {
        return Err(Fail::Permission("starting a node needs root; use sudo".into()));
    }
    let each: Vec<String> =
        failed.iter().map(|c| format!("{}: {}", c.found, c.advice.as_deref().unwrap_or("see cowl doctor"))).collect();
    Err(Fail::other(each.join(" · ")))
}
