//! `cowl-kit`: the services of one container, served on a unix socket.
//!
//! The shim starts it with the listening socket as stdin; `--listen PATH` binds one instead, for
//! development.

use std::process::ExitCode;

fn main() -> ExitCode {
    match cowl_kit::main(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cowl-kit: {error}");
            ExitCode::FAILURE
        }
    }
}
