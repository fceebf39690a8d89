//! Where the command line opens onto the other rooms: node, shim, cockpit, and the engine for
//! what works without a node.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use super::context::{self, Context};
use super::fail::{Fail, Outcome};
pub(super) use cowl_node::options::Options as NodeOptions;
use cowl_node::run::{self, StartError};

/// The containers' network where none is asked for and none is used: image builds, cleaning up.
const NO_NETWORK: cowl_engine::Ipv4Net =
    cowl_engine::Ipv4Net { address: std::net::Ipv4Addr::new(10, 201, 0, 0), prefix: 16 };

/// Where a container sees what is shared with it.
pub(super) const SHARES: &str = cowl_engine::shares::INSIDE;

/// How the cockpit looks and which keys it knows.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CockpitOptions {
    /// Name or file of the cockpit's colours
    #[arg(long)]
    theme: Option<String>,
    /// File with keys, laid over the others
    #[arg(long, value_name = "FILE")]
    keymap: Option<PathBuf>,
}

impl CockpitOptions {
    fn of(self, context: &Context) -> cowl_tui::Options {
        let Self { theme, keymap } = self;
        cowl_tui::Options { run_dir: context.run_dir.clone(), theme, keymap, ..cowl_tui::Options::default() }
    }
}

/// Options of `cowl shim`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ShimOptions {
    /// The spec file that the node wrote.
    pub(super) spec: PathBuf,
}

/// Options of `cowl screenshot`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ScreenshotOptions {
    /// Columns and rows
    #[arg(long, value_name = "COLUMNSxROWS", default_value = "120x36", value_parser = size)]
    size: (u16, u16),
    /// Where to write the SVG; stdout when left out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cockpit: CockpitOptions,
    /// Keys to press first: names as in keymap files, `text:WORDS`, `wait:SECONDS`
    keys: Vec<String>,
}

fn size(word: &str) -> Result<(u16, u16), String> {
    let parsed = word.split_once('x').and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
    parsed.filter(|(c, r)| *c > 0 && *r > 0).ok_or_else(|| "expected COLUMNSxROWS, e.g. 120x36".into())
}

/// Runs the node until it is told to end.
pub(super) fn node(options: NodeOptions) -> Outcome {
    let filter = EnvFilter::try_from_env("COWL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Fail::io("start the async runtime", &e))?;
    runtime.block_on(run::run(options)).map_err(|e| match e {
        StartError::NotRoot => Fail::Permission(e.to_string()),
        other => Fail::other(other),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the shim of one container.
pub(super) fn shim(spec: &Path) -> ExitCode {
    match cowl_engine::shim::main(spec) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Copies files from one tree into another.
pub(super) fn carry() -> ExitCode {
    match cowl_engine::storage::carry::main() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Opens the full-screen view.
pub(super) fn cockpit(context: &Context, options: CockpitOptions) -> Outcome {
    context::runtime()?.block_on(cowl_tui::run(options.of(context))).map_err(not_shown)?;
    Ok(ExitCode::SUCCESS)
}

/// Draws the full-screen view into a file.
pub(super) fn screenshot(context: &Context, options: ScreenshotOptions) -> Outcome {
    let ScreenshotOptions { size, output, cockpit, keys } = options;
    let wanted = cowl_tui::Screenshot { options: cockpit.of(context), size, keys };
    let svg = context::runtime()?.block_on(cowl_tui::screenshot(wanted)).map_err(not_shown)?;
    match output {
        Some(file) => std::fs::write(&file, svg).map_err(|e| Fail::io(format!("write {}", file.display()), &e))?,
        None => super::print::raw(svg.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn not_shown(e: cowl_tui::Error) -> Fail {
    if let cowl_tui::Error::Node(cowl_tui::backend::BackendError::NoNode(at)) = e {
        return cowl_client::Error::NoNode { at }.into();
    }
    Fail::Cockpit { code: e.exit_code(), message: e.to_string() }
}

/// What the sandbox of containers is made of.
pub(super) fn isolation() -> Vec<cowl_engine::isolation::Row> {
    cowl_engine::isolation::rows()
}

/// What makes containers cheap, and what that costs.
pub(super) fn savings() -> &'static [cowl_engine::memory::savings::Saving] {
    cowl_engine::memory::savings::SAVINGS
}

/// The certificate of the node's local authority.
pub(super) fn ca_certificate(state_dir: &Path) -> PathBuf {
    state_dir.join("ca").join("ca.crt")
}

/// The engine's configuration for work without a node: image builds, cleaning up. What a node
/// would take from the environment is taken from there.
pub(super) fn engine_config(context: &Context) -> Result<cowl_engine::Config, Fail> {
    #[derive(Parser)]
    struct Environment {
        #[command(flatten)]
        options: NodeOptions,
    }
    let options = Environment::try_parse_from(["cowl"]).map_err(Fail::from_clap)?.options;
    let exe = std::env::current_exe().map_err(|e| Fail::io("find the path of this program", &e))?;
    Ok(cowl_engine::Config {
        state_dir: context.state_dir.clone(),
        run_dir: context.run_dir.clone(),
        network: options.network.unwrap_or(NO_NETWORK),
        id_base: options.id_base,
        kit_exe: options.kit_exe_beside(&exe),
        mirror: options.mirror,
        cache_dir: options.cache_dir,
        cowl_exe: exe,
    })
}
