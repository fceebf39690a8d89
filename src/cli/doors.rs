//! Where the command line opens onto the other rooms: node, shim, cockpit, and the engine for
//! what works without a node.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::context::Context;
use super::fail::{Fail, Outcome};
use crate::engine;

/// Options of `cowl node`, also taken by `cowl up`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct NodeOptions {
    /// Where the proxy listens
    #[arg(long, value_name = "ADDRESS:PORT", env = "COWL_LISTEN")]
    listen: Option<String>,
    /// A domain it answers for; the first is primary
    #[arg(long, value_name = "DOMAIN", env = "COWL_DOMAIN", value_delimiter = ',')]
    domain: Vec<String>,
    /// The box' name in URLs
    #[arg(long, value_name = "NAME", env = "COWL_SERVER_NAME")]
    server_name: Option<String>,
    /// The containers' network, a /16
    #[arg(long, value_name = "CIDR", env = "COWL_NETWORK")]
    network: Option<String>,
    /// First host id for containers
    #[arg(long, value_name = "ID", env = "COWL_ID_BASE")]
    id_base: Option<u32>,
    /// Stop all containers when the node ends
    #[arg(long)]
    stop_containers: bool,
}

/// Options of `cowl shim`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ShimOptions {
    /// The spec file that the node wrote.
    spec: PathBuf,
}

/// Options of `cowl screenshot`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ScreenshotOptions {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<std::ffi::OsString>,
}

/// Runs the node until it is told to end.
pub(super) fn node(_options: NodeOptions) -> Outcome {
    Err(Fail::other("this build has no node"))
}

/// Runs the shim of one container.
pub(super) fn shim(options: &ShimOptions) -> ExitCode {
    match engine::shim::main(&options.spec) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Opens the full-screen view.
pub(super) fn cockpit(_context: &Context) -> Outcome {
    Err(Fail::other("this build has no cockpit"))
}

/// Draws the full-screen view into a file.
pub(super) fn screenshot(_options: ScreenshotOptions) -> Outcome {
    Err(Fail::other("this build has no cockpit"))
}

/// The certificate of the node's local authority.
pub(super) fn ca_certificate(state_dir: &Path) -> PathBuf {
    state_dir.join("ca").join("ca.crt")
}

/// The engine's configuration for work without a node: image builds, cleaning up.
pub(super) fn engine_config(context: &Context) -> Result<engine::Config, Fail> {
    let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let exe = std::env::current_exe().map_err(|e| Fail::io("find the path of this program", &e))?;
    let network = set("COWL_NETWORK").unwrap_or_else(|| "10.201.0.0/16".into());
    let id_base = match set("COWL_ID_BASE") {
        Some(word) => word.parse().map_err(|_| Fail::usage(format!("COWL_ID_BASE: {word} is not a number")))?,
        None => 0x7000_0000,
    };
    Ok(engine::Config {
        state_dir: context.state_dir.clone(),
        run_dir: context.run_dir.clone(),
        network: network.parse().map_err(|e| Fail::usage(format!("COWL_NETWORK: {e}")))?,
        id_base,
        mirror: set("COWL_MIRROR"),
        cache_dir: set("COWL_CACHE_DIR").map(PathBuf::from),
        kit_exe: exe.with_file_name("cowl-kit"),
        cowl_exe: exe,
    })
}
