//! The `cowl` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cowl::cli::shim().unwrap_or_else(cowl::cli::main)
}
