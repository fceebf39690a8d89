//! `cowl clean-state`: removes all a node has made. The one command that asks for a typed word.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::json;

use super::context::{Context, ask};
use super::doors;
use super::fail::{Fail, Outcome};
use super::{print, stop};
use cowl_api::ContainerId;
use cowl_client::Client;
use cowl_engine::cgroup::Cgroups;
use cowl_engine::{launch, shares};

/// Inode number of every btrfs subvolume's root.
const SUBVOLUME_ROOT: u64 = 256;
/// A directory with one of these in it is a node's.
const MARKS: [&str; 4] = ["node.db", "pool.img", "pool", "owner.token"];

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(context: &Context, _args: &Args) -> Outcome {
    let state = &context.state_dir;
    if !nix::unistd::geteuid().is_root() {
        return Err(Fail::Permission("only root may remove a node's state; use sudo".into()));
    }
    let there = state.exists();
    if there && !MARKS.iter().any(|m| state.join(m).exists()) {
        return Err(Fail::other(format!("{} is not the state of a node; nothing was done", state.display())));
    }
    if there {
        confirm(context).await?;
        stop::stop(&Client::local(&context.run_dir), true).await?;
        end_containers(context)?;
        remove(state)?;
    }
    context.show(&json!({ "removed": there, "state_dir": state }), |_| {
        let verb = if there { "removed" } else { "there is no" };
        print::line(&format!("{verb} {}", state.display()))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn confirm(context: &Context) -> Result<(), Fail> {
    if context.yes {
        return Ok(());
    }
    if !context.may_ask() {
        return Err(Fail::usage("this removes all containers; without a terminal it needs --yes"));
    }
    let containers = Client::local(&context.run_dir).containers(None).await;
    let what = containers.map_or("all containers".into(), |all| format!("{} containers", all.len()));
    let prompt = format!("Remove {what}, their snapshots, images and all of {}?", context.state_dir.display());
    match ask(&format!("{prompt} Type remove: "))?.trim() {
        "remove" => Ok(()),
        _ => Err(Fail::other("nothing was done")),
    }
}

/// Containers that no node had a hand on any more.
fn end_containers(context: &Context) -> Result<(), Fail> {
    let config = doors::engine_config(context)?;
    if context.run_dir.exists() {
        for shim in launch::adopt(&config).map_err(Fail::other)? {
            launch::stop(&config, &shim.id, Duration::ZERO).map_err(Fail::other)?;
        }
    }
    launch::release_host(&config).map_err(Fail::other)?;
    // A shim is in its cgroup a moment longer than its container runs.
    let end = Instant::now() + Duration::from_secs(5);
    while has_cgroups(&config.tag()) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        Cgroups::find(&config.tag()).map_err(Fail::other)?.remove_node();
    }
    shares::close_all(&config.run_dir).map_err(Fail::other)?;
    remove_sockets(&context.run_dir)
}

/// Whether cgroups of the node with this tag are left in any hierarchy.
fn has_cgroups(tag: &str) -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
    hierarchies.chain([root.to_owned()]).any(|h| h.join(format!("cowl-{tag}")).exists())
}

/// Takes away what a node keeps in its run directory, and the directory when nothing else is in it.
fn remove_sockets(run_dir: &Path) -> Result<(), Fail> {
    let Ok(entries) = fs::read_dir(run_dir) else { return Ok(()) };
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let gone = if name.parse::<ContainerId>().is_ok() {
            fs::remove_dir_all(&path)
        } else if name.starts_with("node.") {
            fs::remove_file(&path)
        } else {
            continue;
        };
        gone.map_err(|e| Fail::io(format!("remove {}", path.display()), &e))?;
    }
    // Somebody else's files keep it.
    let _ = fs::remove_dir(run_dir);
    Ok(())
}

fn remove(state: &Path) -> Result<(), Fail> {
    let state = fs::canonicalize(state).map_err(|e| Fail::io(state.display(), &e))?;
    for mount in mounts_below(&state)? {
        nix::mount::umount2(&mount, nix::mount::MntFlags::empty())
            .map_err(|e| Fail::other(format!("unmount {}: {e}", mount.display())))?;
    }
    detach_loops(&state.join("pool.img"))?;
    let pool = state.join("pool");
    if pool.exists() {
        for subvolume in subvolumes(&pool)? {
            program(Command::new("btrfs").args(["--quiet", "subvolume", "delete"]).arg(&subvolume))?;
        }
    }
    // Whatever was mounted here and could not be seen above must not be emptied from here.
    if let Some(left) = mounts_below(&state)?.first() {
        return Err(Fail::other(format!("{} is still mounted; nothing was removed", left.display())));
    }
    fs::remove_dir_all(&state).map_err(|e| Fail::io(format!("remove {}", state.display()), &e))
}

/// Mount points below a directory, deepest first.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, Fail> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|e| Fail::io("read the mount table", &e))?;
    let mut below: Vec<PathBuf> = parse_mounts(&table).into_iter().filter(|m| m.starts_with(dir)).collect();
    // Mounts stacked on one point are listed in the order they were made.
    below.reverse();
    below.sort_by_key(|m| std::cmp::Reverse(m.components().count()));
    Ok(below)
}

fn parse_mounts(table: &str) -> Vec<PathBuf> {
    table.lines().filter_map(|l| l.split(' ').nth(4)).map(|m| PathBuf::from(unescape(m))).collect()
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(word.to_owned(), |w, (from, to)| w.replace(from, to))
}

fn detach_loops(image: &Path) -> Result<(), Fail> {
    if !image.exists() {
        return Ok(());
    }
    let listed =
        program(Command::new("losetup").args(["--noheadings", "--output", "NAME", "--associated"]).arg(image))?;
    for device in listed.split_whitespace() {
        program(Command::new("losetup").args(["--detach", device]))?;
    }
    Ok(())
}

/// Subvolumes below a directory, deepest first.
fn subvolumes(dir: &Path) -> Result<Vec<PathBuf>, Fail> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        let entries = fs::read_dir(&next).map_err(|e| Fail::io(next.display(), &e))?;
        for entry in entries.flatten() {
            let Ok(about) = fs::symlink_metadata(entry.path()) else { continue };
            if about.is_dir() {
                if about.ino() == SUBVOLUME_ROOT {
                    found.push(entry.path());
                }
                open.push(entry.path());
            }
        }
    }
    found.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    Ok(found)
}

fn program(command: &mut Command) -> Result<String, Fail> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|e| Fail::io(format!("run {name}"), &e))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(Fail::other(format!("{name} failed: {}", said.lines().last().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_spaces_are_read_right() {
        let table = "36 35 98:0 / /mnt/a\\040b rw - ext3 /dev/root rw\n37 35 98:0 / /x rw - tmpfs t rw\n";
        assert_eq!(parse_mounts(table), [Path::new("/mnt/a b"), Path::new("/x")]);
    }
}
