//! The verbs of `cowl`: one file per noun, a table for people or `--json` for programs.
//!
//! Every verb is a client of the node's API; whatever can be done here, curl can do.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it failed; one line on stderr says why |
//! | 2 | the command line is wrong |
//! | 3 | no node runs |
//! | 4 | no permission |
//!
//! `exec` and `shell ID -- COMMAND` pass on the exit code of what ran.

mod bench;
mod branch;
mod ca;
mod clean;
mod containers;
mod context;
mod create;
mod dedupe;
mod diff;
mod dns;
mod doctor;
mod doors;
mod events;
mod explain;
mod exports;
mod fail;
mod files;
mod firewall;
mod images;
mod man;
mod memory;
mod network;
mod pick;
mod pool;
mod print;
mod progress;
mod projects;
mod prune;
mod resolve;
mod settings;
mod shell;
mod snapshots;
mod status;
mod stop;
mod storage;
mod terminal;
mod token;
mod undelete;
mod up;
mod url;
mod usage;
mod wait;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use context::{Context, Globals};
use fail::{Fail, Outcome};

/// One Linux box, a fleet of Debian computers that are URLs.
///
/// Without a command it opens the cockpit, a full-screen view of all computers of this box.
#[derive(Debug, Parser)]
#[command(name = "cowl", version, max_term_width = 100, after_help = AFTER_HELP, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(flatten)]
    cockpit: doors::CockpitOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
The first five minutes:
  cowl up                                         start the node, build the image, make `hello`
  cowl shell hello                                a shell in it
  cowl terminal sessions exec -c hello --command 'apt update && apt install -y nginx'
  cowl snapshots create -c hello --alias before   a point to come back to
  cowl snapshots restore before -c hello
  cowl url hello                                  its addresses, for curl and browsers

Containers are named by id, by name when only one has it, or by PROJECT/NAME.
Exit codes: 0 done, 1 failed, 2 wrong command line, 3 no node, 4 no permission.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the node, wait for its image, make the first container, open the cockpit
    Up(up::Args),
    /// End the node; containers keep running
    Stop(stop::Args),
    /// Tell whether the node serves, and what it has
    Status,
    /// Check this machine and say what to mend
    Doctor(doctor::Args),
    /// Rules for what passes to and from a container
    #[command(subcommand)]
    Firewall(firewall::Command),
    /// How a container reaches the world
    #[command(subcommand)]
    Network(network::Command),
    /// How names of containers resolve on this machine
    Dns(dns::Args),
    /// Named groups of containers
    #[command(subcommand, visible_alias = "project")]
    Projects(projects::Command),
    /// Computers: create, start, stop, delete
    #[command(subcommand, visible_alias = "container")]
    Containers(containers::Command),
    /// Points in a container's past to come back to
    #[command(subcommand, visible_alias = "snapshot")]
    Snapshots(snapshots::Command),
    /// Directories shared between containers
    #[command(subcommand)]
    Storage(storage::Command),
    /// Space of the box: what takes it, what is being freed, how the file system is
    #[command(subcommand)]
    Pool(pool::Command),
    /// Run commands in a container
    #[command(subcommand)]
    Terminal(terminal::Command),
    /// Open a shell in a container
    Shell(shell::Args),
    /// Read and write a container's files
    #[command(subcommand, visible_alias = "file")]
    Files(files::Command),
    /// Print a container's addresses
    Url(url::Args),
    /// What containers are made from
    #[command(subcommand, visible_alias = "image")]
    Images(images::Command),
    /// Show where the box' memory is: containers, what they share, what Cowl takes
    Memory(memory::Args),
    /// Let equal files of containers share their place on disk
    Dedupe(dedupe::Args),
    /// Show what happens on the box
    Events(events::Args),
    /// Print the owner's token for the API
    Token(token::Args),
    /// The local certificate authority
    #[command(subcommand)]
    Ca(ca::Command),
    /// Tell how something is done, and why so
    #[command(subcommand)]
    Explain(explain::Command),
    /// Measure what this box does, beside systemd-nspawn
    #[command(subcommand)]
    Bench(bench::Command),
    /// Print completions for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Remove all containers, images and settings of this node
    CleanState(clean::Args),
    /// Run the node in the foreground
    Node(Box<doors::NodeOptions>),
    /// Parent of one container's init; started by the node
    #[command(hide = true)]
    Shim(doors::ShimOptions),
    /// Copy files between trees; started by the node
    #[command(hide = true)]
    Carry,
    /// Write manual pages
    #[command(hide = true)]
    Man(man::Args),
    /// Draw the cockpit into a picture
    #[command(hide = true)]
    Screenshot(doors::ScreenshotOptions),
}

/// Runs this process as the shim that a node started it as (`cowl shim SPEC`); `None` when it is
/// anything else. One runs beside each container, and its start is part of every boot, so nothing of
/// the command line is made for it. (`cowl shim --help` and the like take the long way.)
pub fn shim() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    match (words.next(), words.next(), words.next()) {
        (Some(verb), Some(spec), None) if verb == "shim" && !spec.as_encoded_bytes().starts_with(b"-") => {
            Some(doors::shim(spec.as_ref()))
        }
        _ => None,
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let json = std::env::args_os().any(|a| a == "--json");
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(e) => Err(Fail::from_clap(e)),
    };
    match outcome {
        Ok(code) => code,
        Err(fail) => fail.report(json),
    }
}

fn run(cli: Cli) -> Outcome {
    let context = Context::new(cli.globals);
    let Some(command) = cli.command else {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Err(Fail::usage("the cockpit needs a terminal; `cowl --help` lists the commands"));
        }
        return doors::cockpit(&context, cli.cockpit);
    };
    match command {
        Command::Node(options) => return doors::node(*options),
        Command::Shim(options) => return Ok(doors::shim(&options.spec)),
        Command::Carry => return Ok(doors::carry()),
        Command::Screenshot(options) => return doors::screenshot(&context, options),
        Command::Completions { shell } => return completions(shell),
        Command::Explain(command) => return explain::run(&context, &command),
        Command::Man(args) => return man::run(&args, Cli::command()),
        Command::Up(args) => return up::run(&context, &args, cli.cockpit),
        _ => {}
    }
    let runtime = context::runtime()?;
    runtime.block_on(async {
        match command {
            Command::Stop(args) => stop::run(&context, &args).await,
            Command::Status => status::run(&context).await,
            Command::Doctor(args) => doctor::run(&context, &args).await,
            Command::Firewall(command) => firewall::run(&context, command).await,
            Command::Network(command) => network::run(&context, command).await,
            Command::Dns(args) => dns::run(&context, &args).await,
            Command::Projects(command) => projects::run(&context, command).await,
            Command::Containers(command) => containers::run(&context, command).await,
            Command::Snapshots(command) => snapshots::run(&context, command).await,
            Command::Storage(command) => storage::run(&context, command).await,
            Command::Pool(command) => pool::run(&context, &command).await,
            Command::Terminal(command) => terminal::run(&context, command).await,
            Command::Shell(args) => shell::run(&context, args).await,
            Command::Files(command) => files::run(&context, command).await,
            Command::Url(args) => url::run(&context, &args).await,
            Command::Images(command) => images::run(&context, command).await,
            Command::Memory(args) => memory::run(&context, &args).await,
            Command::Dedupe(args) => dedupe::run(&context, args).await,
            Command::Events(args) => events::run(&context, &args).await,
            Command::Token(args) => token::run(&context, &args),
            Command::Ca(command) => ca::run(&context, command),
            Command::Bench(command) => bench::run(&context, command).await,
            Command::CleanState(args) => clean::run(&context, &args).await,
            Command::Up(_)
            | Command::Completions { .. }
            | Command::Explain(_)
            | Command::Man(_)
            | Command::Node(_)
            | Command::Shim(_)
            | Command::Carry
            | Command::Screenshot(_) => Ok(ExitCode::SUCCESS),
        }
    })
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cowl", &mut script);
    print::raw(&script)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_public_clis_forms_parse() {
        for line in [
            "cowl projects create --alias demo",
            "cowl containers create --project 0123456789abcdef01234567 --server-id node-1 --name dev-environment --hoody-kit --dev-kit",
            "cowl containers create --project demo --server-id node-1 --hoody-kit",
            "cowl terminal sessions exec --command ls -c 0123456789abcdef01234567",
            "cowl terminal sessions exec --command ls -c x --terminal-id 4 --user root --json",
            "cowl files get /etc/hostname -c x",
            "cowl files put a b -c x",
            "cowl files list / -c x",
            "cowl files list -c x",
            "cowl snapshots create -c x --alias a --expiry 7",
            "cowl snapshots restore a -c x",
            "cowl snapshots restore x a",
            "cowl containers delete x --yes --json",
            "cowl containers branch x@gold trial --env A=1 --no-wait",
            "cowl containers copy demo/x y --project other --copy-firewall-rules",
            "cowl containers sync x --yes",
            "cowl containers tree --project demo --json",
            "cowl snapshots branch gold trial -c x",
            "cowl snapshots restore-files x gold /etc/hosts /srv --to other:/tmp/old --overwrite replace",
            "cowl snapshots restore-files gold /etc/hosts -c x --dry-run",
            "cowl snapshots download gold /etc/hosts -c x -o hosts",
            "cowl shell x -- ls -l",
            "cowl containers set x --memory 512M --cpu 1.5 --sleep-after 10m --sleep-mode freeze --ksm=true",
            "cowl containers set x --unset memory --unset all",
            "cowl projects set demo --pids 500 --disk 2G",
            "cowl containers create --project demo --memory 512M --ksm",
            "cowl containers export x --snapshot a --since b --snapshots all -o - --no-image --level 9",
            "cowl containers import a b --project demo --name x --limit 2G --keep-identity --no-start",
            "cowl containers verify a",
            "cowl containers stats x --watch",
            "cowl firewall list -c x",
            "cowl firewall ingress create -c x --action allow --protocol tcp --destination-port 22 --source 192.0.2.7 --description office",
            "cowl firewall egress delete -c x --destination-port 25",
            "cowl firewall egress delete -c x --all",
            "cowl firewall ingress toggle -c x --destination-port 22 --state disabled",
            "cowl firewall reset x",
            "cowl firewall allow ingress tcp/22 --from 192.0.2.7 -c x",
            "cowl firewall deny egress tcp/25 -c x",
            "cowl network get x",
            "cowl network update -c x --type block --dns-servers 1.1.1.1,9.9.9.9",
            "cowl network set block -c x",
            "cowl network start x",
            "cowl network delete x",
            "cowl dns",
            "cowl dns install",
            "cowl doctor --leaks --fix",
            "cowl --json status",
            "cowl bench engine --json --rows boot.cpu,stop --runs 3",
            "cowl status --json --run-dir /x",
            "cowl explain isolation --json",
            "cowl explain memory",
            "cowl memory --pss --json",
            "cowl dedupe",
            "cowl dedupe a demo/b --dry-run --rate 20M --min-size 64K --snapshots",
            "cowl dedupe --status --json",
            "cowl",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for line in [
            "cowl frobnicate",
            "cowl containers create --name x",
            "cowl terminal sessions exec -c x",
            "cowl terminal sessions exec --command ls -c x --terminal-id 0",
            "cowl terminal sessions exec --command ls -c x --terminal-id 65536",
            "cowl snapshots restore",
            "cowl containers set x --memory lots",
            "cowl containers set x --unset nonsense",
            "cowl containers stats x --watch --history",
            "cowl snapshots restore a b c",
            "cowl doctor --fix",
            "cowl dedupe --rate fast",
            "cowl dedupe --status --dry-run",
            "cowl firewall allow sideways tcp/22",
            "cowl network update -c x --type vpn",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
