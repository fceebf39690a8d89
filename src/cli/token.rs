//! `cowl token`: the owner's bearer token for the API. The node reads it from the same file.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::print;

/// Name in the state directory.
const FILE: &str = "owner.token";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make a new one; the old one stops working at once
    #[arg(long)]
    rotate: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.state_dir.join(FILE);
    let read = |_| fs::read_to_string(&path);
    // Only what the node has made is renewed: a token without a node would be of no use.
    let old = read(()).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Fail::other(format!("{} does not exist; the node makes it when it starts first", path.display()))
        }
        _ => Fail::io(format!("read {}", path.display()), &e),
    })?;
    let token = if args.rotate { rotate(&path)? } else { old.trim().to_owned() };
    context.show(&serde_json::json!({ "token": token }), |_| print::line(&token))?;
    Ok(ExitCode::SUCCESS)
}

/// Replaces the file in one step: at any moment it holds a whole token.
fn rotate(path: &Path) -> Result<String, Fail> {
    let secret: [u8; 32] = rand::random();
    let token = secret.iter().fold(String::from("hdy_"), |t, b| format!("{t}{b:02x}"));
    let part = path.with_extension(format!("{:08x}", rand::random::<u32>()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written.map_err(|e| Fail::io(format!("write {}", path.display()), &e))?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_rotated_token_replaces_the_old_one_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, "old").unwrap();
        let new = rotate(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), new);
        assert!(new.len() > 60 && new != rotate(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
