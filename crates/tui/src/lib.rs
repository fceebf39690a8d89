//! The cockpit: `cowl` without arguments.
//!
//! ```text
//!   keys, signals, answers, events ──Action──> app ──Effect──> runtime ──calls──> backend ──> node
//!                                               │
//!                                             panes ──cells──> screen ──one write──> terminal
//! ```
//! [`app`] owns the state and is the only one to change it; [`panes`] draw it; [`runtime`] turns its
//! effects into tasks; [`cockpit`] is the loop. Nothing ticks: without an action there is no
//! wake-up, and a frame that looks like the last one is not written.

mod app;
pub mod backend;
mod backend_http;
mod cockpit;
#[cfg(debug_assertions)]
mod fault;
mod guard;
mod keymap;
mod panes;
mod runtime;
mod screen;
mod screenshot;
mod svg;
mod term;
#[cfg(test)]
mod tests;
mod theme;
mod widgets;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

pub use screenshot::{Screenshot, screenshot};
pub use svg::render_svg;

use app::{App, Overlay, Surroundings};
use backend::BackendError;
use backend_http::HttpBackend;
use keymap::Keymap;
use theme::Depth;

/// What the cockpit is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The run directory of the node: its socket is `node.sock` in there.
    pub run_dir: PathBuf,
    /// A theme's name or file; the user's own or the default one without.
    pub theme: Option<String>,
    /// A keymap file laid over all others.
    pub keymap: Option<PathBuf>,
    /// Id or alias of the project to begin with.
    pub project: Option<String>,
}

/// Why the cockpit could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node could not be used.
    #[error("{0}")]
    Node(#[from] BackendError),
    /// Standard input or output is not a terminal.
    #[error("the cockpit needs a terminal; `cowl --help` lists the verbs that do without")]
    NotATerminal,
    /// The terminal could not be used.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
    /// A word that means nothing.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// The exit code: 1 failed, 2 usage, 3 no node, 4 no permission.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Node(BackendError::NoPermission(_)) => 4,
            Self::Node(BackendError::NoNode(_) | BackendError::Timeout(_)) => 3,
            Self::Node(_) | Self::Terminal(_) => 1,
            Self::NotATerminal | Self::Usage(_) => 2,
        }
    }
}

/// Runs the cockpit until it is left.
///
/// # Errors
/// When no node answers or lets us in, or the terminal cannot be used. The terminal is restored
/// before this returns.
pub async fn run(options: Options) -> Result<(), Error> {
    let backend = HttpBackend::new(&options.run_dir);
    backend.probe().await?;
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Error::NotATerminal);
    }
    let app = prepare(&options, &backend, Depth::detect(|name| std::env::var(name).ok()));
    let core = runtime::Core::new(app, Arc::new(backend), jiff::Timestamp::now);
    match cockpit::run(core).await? {
        Some(e) => Err(e.into()),
        None => Ok(()),
    }
}

/// The state to begin with: theme, keys and what surrounds us. What is wrong with the user's files
/// is the first thing shown.
fn prepare(options: &Options, backend: &HttpBackend, depth: Depth) -> App {
    let user = directories::BaseDirs::new().map(|d| d.config_dir().join("cowl"));
    let system = PathBuf::from("/etc/cowl");
    let dirs = |name: &str| user.iter().chain([&system]).map(|d| d.join(name)).collect::<Vec<_>>();
    let (theme, mut complaints) = theme::load(options.theme.as_deref(), depth, &dirs("themes"));
    // Keymaps are laid over each other: the system's first, the user's last.
    let layers: Vec<PathBuf> = dirs("keymaps").into_iter().rev().collect();
    let (keymap, clashes) = Keymap::load(&layers, options.keymap.as_deref());
    complaints.extend(clashes);
    let login = format!("{}@{}", std::env::var("USER").unwrap_or_else(|_| "user".into()), host_name());
    let around = Surroundings {
        socket: backend.socket().display().to_string(),
        ssh: std::env::var_os("SSH_CONNECTION").is_some(),
        login,
        project: options.project.clone(),
    };
    let mut app = App::new(theme, keymap, around, (80, 24), jiff::Timestamp::now());
    if !complaints.is_empty() {
        app.overlay = Some(Overlay::Note(complaints));
    }
    app
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|n| n.into_string().ok()).unwrap_or_else(|| "box".into())
}
