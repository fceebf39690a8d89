//! The real programs on a real kernel: a node in the background, the command line, curl, a
//! terminal. Each file tells the stories of one part of the product.
//!
//! Needs root and `COWL_TEST_IMAGE`, an image written by `cowl images build --export FILE`; see
//! `scripts/test`. Everything made here is named `cowlt-<pid>-<starttime>`; a run first removes
//! what runs that have died left behind, and at its end checks that nothing of its own is left.

mod harness;

mod api;
mod bad_input;
mod branch;
mod by_keys;
mod cockpit;
mod command_line;
mod crashes;
mod diff;
mod endings;
mod escape;
mod exports;
mod files;
mod first_run;
mod golden;
mod guest_figures;
mod inside;
mod inside_view;
mod leaks;
mod life;
mod limits;
mod memory;
mod nesting;
mod network;
mod network_raw;
mod proxy;
mod prune;
mod shares;
mod shares_by_keys;
mod sleep;
mod snapshots;
mod space;
mod survival;
mod terminal;
mod undelete;
mod unlucky;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = libtest_mimic::Arguments::from_args();
    let tests = [
        api::all(),
        bad_input::all(),
        branch::all(),
        command_line::all(),
        crashes::all(),
        diff::all(),
        escape::all(),
        exports::all(),
        files::all(),
        golden::all(),
        guest_figures::all(),
        inside::all(),
        limits::all(),
        memory::all(),
        leaks::all(),
        network::all(),
        network_raw::all(),
        inside_view::all(),
        nesting::all(),
        proxy::all(),
        prune::all(),
        shares::all(),
        shares_by_keys::all(),
        life::all(),
        sleep::all(),
        snapshots::all(),
        space::all(),
        terminal::all(),
        undelete::all(),
        cockpit::all(),
        by_keys::all(),
        endings::all(),
        unlucky::all(),
        first_run::all(),
        survival::all(),
    ]
    .concat();
    if !args.list {
        if let Some(missing) = harness::prerequisites() {
            eprintln!("tests/it: {missing}");
            return ExitCode::FAILURE;
        }
        harness::sweep::dead_runs();
    }
    let conclusion = libtest_mimic::run(&args, tests.into_iter().map(harness::Story::trial).collect());
    harness::shared::finish();
    let left = if args.list { Vec::new() } else { harness::sweep::own_leftovers() };
    for thing in &left {
        eprintln!("left behind: {thing}");
    }
    if left.is_empty() { conclusion.exit_code() } else { ExitCode::FAILURE }
}
