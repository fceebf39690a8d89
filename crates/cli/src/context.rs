//! What all commands share: where the node is, how to print, whether to ask.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::fail::Fail;
use super::print;
use cowl_client::Client;

/// Options every command takes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Globals {
    /// Print the bare object or array as JSON; errors as one JSON line on stderr
    #[arg(long, global = true, help_heading = "For all commands")]
    pub json: bool,
    /// Ask nothing
    #[arg(short = 'y', long, global = true, help_heading = "For all commands")]
    pub yes: bool,
    /// Where the node's sockets are
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "COWL_RUN_DIR",
        default_value = "/run/cowl",
        hide_env_values = true,
        help_heading = "For all commands"
    )]
    pub run_dir: PathBuf,
    /// Where the node's state is
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "COWL_STATE_DIR",
        default_value = "/var/lib/cowl",
        hide_env_values = true,
        help_heading = "For all commands"
    )]
    pub state_dir: PathBuf,
}

/// The options, as the commands use them.
#[derive(Debug)]
pub(super) struct Context {
    pub json: bool,
    pub yes: bool,
    pub run_dir: PathBuf,
    pub state_dir: PathBuf,
}

impl Context {
    pub(super) fn new(globals: Globals) -> Self {
        // The node knows its directories by absolute paths; what hangs on them must be named alike.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let Globals { json, yes, run_dir, state_dir } = globals;
        Self { json, yes, run_dir: absolute(run_dir), state_dir: absolute(state_dir) }
    }

    /// The node: `COWL_API_URL` with `COWL_TOKEN` (and `COWL_CA`) where set, else the socket.
    pub(super) fn client(&self) -> Result<Client, Fail> {
        let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        let Some(url) = set("COWL_API_URL") else {
            return Ok(Client::local(&self.run_dir));
        };
        let token = set("COWL_TOKEN").ok_or_else(|| Fail::usage("COWL_API_URL is set, but COWL_TOKEN is not"))?;
        Ok(Client::remote(&url, &token, set("COWL_CA").as_deref().map(Path::new))?)
    }

    /// Prints JSON when that was asked for, else what `human` prints.
    pub(super) fn show<T: serde::Serialize + ?Sized>(
        &self,
        value: &T,
        human: impl FnOnce(&T) -> std::io::Result<()>,
    ) -> Result<(), Fail> {
        if self.json {
            print::json(value)?
        } else {
            human(value)?
        }
        Ok(())
    }

    /// Whether a person is there to be asked.
    pub(super) fn may_ask(&self) -> bool {
        !self.yes && !self.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks a yes/no question; without a person, or with `--yes`, the answer is yes: what to do was
    /// said on the command line.
    pub(super) fn confirm(&self, question: &str) -> Result<(), Fail> {
        if !self.may_ask() {
            return Ok(());
        }
        match ask(&format!("{question} [y/N] "))?.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Fail::other("nothing was done")),
        }
    }
}

/// Shows a prompt on stderr and reads one line from stdin.
pub(super) fn ask(prompt: &str) -> Result<String, Fail> {
    eprint!("{}", print::plain(prompt));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|e| Fail::io("read the answer", &e))?;
    Ok(answer)
}

/// The runtime of one command.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Fail> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fail::io("start the async runtime", &e))
}

/// Which container a command is about.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct InContainer {
    /// The container: id, name or PROJECT/NAME
    #[arg(short = 'c', long = "container", value_name = "CONTAINER", env = "COWL_CONTAINER", hide_env_values = true)]
    pub container: Option<String>,
}

impl InContainer {
    /// The container's id or name; `first` is one named in front of the other arguments.
    pub(super) fn name<'a>(&'a self, first: Option<&'a str>) -> Result<&'a str, Fail> {
        first
            .or(self.container.as_deref())
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Fail::usage("which container? name it with -c CONTAINER or COWL_CONTAINER"))
    }
}

/// A container as the first argument or by `-c`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// The container: id, name or PROJECT/NAME
    #[arg(value_name = "CONTAINER")]
    pub first: Option<String>,
    #[command(flatten)]
    pub other: InContainer,
}

impl Which {
    pub(super) fn name(&self) -> Result<&str, Fail> {
        self.other.name(self.first.as_deref())
    }
}
