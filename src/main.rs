//! The `cowl` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cowl::cli::main()
}
