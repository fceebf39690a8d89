//! To try the cockpit by hand without a node: `cargo test --lib -- --ignored by_hand --nocapture`
//! in a terminal. Terminals are real shells of this machine.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use super::fixtures::{container, id};
use super::scripted::{Node, Shell, snapshot};
use crate::app::{App, Surroundings};
use crate::backend::{TermInput, TermOutput};
use crate::keymap::Keymap;
use crate::runtime::Core;
use crate::theme::{self, Depth};
use cowl_api::ContainerState;

fn pty_size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

/// Runs a real shell at the other end.
fn serve(mut shell: Shell) {
    let pair = native_pty_system().openpty(pty_size(shell.size.columns, shell.size.rows)).unwrap();
    let mut command = CommandBuilder::new("bash");
    command.env("TERM", "xterm-256color");
    command.env("COLORTERM", "truecolor");
    let mut child = pair.slave.spawn_command(command).unwrap();
    let mut reader = pair.master.try_clone_reader().unwrap();
    let mut writer = pair.master.take_writer().unwrap();
    let output = shell.output.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = reader.read(&mut buffer) {
            if output.blocking_send(TermOutput::Bytes(buffer[..n].to_vec())).is_err() {
                return;
            }
        }
        let _ = output.blocking_send(TermOutput::Closed { clean: true, reason: "ended".into() });
    });
    std::thread::spawn(move || {
        while let Some(input) = shell.input.blocking_recv() {
            match input {
                TermInput::Bytes(b) => writer.write_all(&b).unwrap(),
                TermInput::Resize(size) => pair.master.resize(pty_size(size.columns, size.rows)).unwrap(),
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a terminal and a person"]
async fn by_hand() {
    let node = Arc::new(Node::with(vec![
        container("hello", ContainerState::Running),
        container("staging", ContainerState::Stopped),
    ]));
    *node.snapshots.lock().unwrap() = vec![snapshot(Some("one"), "2026-11-22T10:00:00Z", 5)];
    let (theme, _) = theme::load(None, Depth::detect(|n| std::env::var(n).ok()), &[]);
    let (keymap, _) = Keymap::load(&[], None);
    let app = App::new(theme, keymap, Surroundings::default(), (80, 24), jiff::Timestamp::now());
    let core = Core::new(app, node.clone(), jiff::Timestamp::now);
    let quiet = std::env::var_os("COWL_QUIET").is_some();
    let server = tokio::spawn(async move {
        let mut cpu = 0.0;
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let shells: Vec<Shell> = node.shells.lock().unwrap().drain(..).collect();
            shells.into_iter().for_each(serve);
            if !quiet {
                cpu = (cpu + 1.7) % 100.0;
                node.emit(
                    "container.stats",
                    serde_json::json!({
                        "id": id::<cowl_api::ContainerId>("hello"), "cpu_percent": cpu, "memory": 40_000_000
                    }),
                );
            }
        }
    });
    let end = crate::cockpit::run(core).await;
    server.abort();
    assert!(end.unwrap().is_none());
}
