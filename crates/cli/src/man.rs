//! `cowl man DIR`: manual pages, one a verb, made from what `--help` says. For packages.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use super::fail::{Fail, Outcome};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write `cowl.1`, `cowl-projects.1` and so on; made when missing
    dir: PathBuf,
}

pub(super) fn run(args: &Args, command: clap::Command) -> Outcome {
    fs::create_dir_all(&args.dir).map_err(|e| Fail::io(format!("make {}", args.dir.display()), &e))?;
    clap_mangen::generate_to(command, &args.dir)
        .map_err(|e| Fail::io(format!("write manual pages to {}", args.dir.display()), &e))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_verb_that_is_shown_has_a_page_and_no_hidden_one() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args { dir: dir.path().join("man") };
        run(&args, super::super::Cli::command()).unwrap();
        let page = |name: &str| fs::read_to_string(args.dir.join(name));
        assert!(page("cowl.1").unwrap().contains("cowl snapshots restore before"));
        for verb in ["cowl-up.1", "cowl-containers-create.1", "cowl-terminal-sessions-exec.1"] {
            assert!(page(verb).unwrap().contains(".SH SYNOPSIS"), "{verb}");
        }
        assert!(page("cowl-shim.1").is_err() && page("cowl-man.1").is_err());
    }
}
