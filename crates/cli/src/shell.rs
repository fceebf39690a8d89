//! `cowl shell`: a terminal of a container in this terminal.
//!
//! The session belongs to the container and is shared by all who open it: closing this terminal,
//! or typing Enter `~` `.` as in ssh, leaves it as it is. The local terminal is put back however we end.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::context::{Context, Which};
use super::fail::{Fail, Outcome};
use super::terminal;
use cowl_api::Service;
use cowl_api::terminal::Execute;
use cowl_client::{ExecuteIn, FromTerminal, TerminalInput, TerminalOutput, TerminalQuery};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// The session to open
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65535))]
    terminal_id: u32,
    /// The user of a new session
    #[arg(long)]
    user: Option<String>,
    /// Run this instead of a shell and pass on its exit code
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) async fn run(context: &Context, args: Args) -> Outcome {
    let interactive = args.command.is_empty();
    if interactive && !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Fail::usage("a shell needs a terminal; `cowl shell CONTAINER -- COMMAND` runs one command"));
    }
    let client = context.client()?;
    let container = terminal::running(&client, args.which.name()?).await?;
    if !interactive {
        let order = Execute { command: join(&args.command), wait: true, ..Execute::default() };
        let place = ExecuteIn { terminal_id: None, user: args.user };
        return terminal::execute(context, &client, &container, order, &place).await;
    }
    let (columns, rows) = size();
    let kit = client.kit(&container, Service::Terminal, args.terminal_id);
    let query = TerminalQuery { terminal_id: args.terminal_id, user: args.user, readonly: false };
    let (input, output) = kit.terminal(&query, columns, rows).await?;
    let raw = RawMode::enter()?;
    let ended = attach(input, output).await;
    drop(raw);
    match ended? {
        End::Over => Ok(ExitCode::SUCCESS),
        End::Left => {
            eprintln!("left session {} of {}; `cowl shell {0}` finds it again", args.terminal_id, container.name);
            Ok(ExitCode::SUCCESS)
        }
        End::Lost(reason) => Err(Fail::other(format!("the session broke off: {reason}"))),
    }
}

/// One argument is a shell command; several are quoted so that they stay several.
fn join(words: &[String]) -> String {
    match words {
        [one] => one.clone(),
        many => many.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" "),
    }
}

fn quote(word: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(bare) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn size() -> (u16, u16) {
    crossterm::terminal::size().unwrap_or((80, 24))
}

/// The local terminal in raw mode; put back on drop, also while panicking.
#[derive(Debug)]
struct RawMode;

impl RawMode {
    fn enter() -> Result<Self, Fail> {
        crossterm::terminal::enable_raw_mode().map_err(|e| Fail::io("set up the terminal", &e))?;
        Ok(Self)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // What the session switched on is not ours to keep: colours, alternate screen, mouse,
        // bracketed paste, hidden cursor.
        let reset =
            b"\x1b[0m\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1l\x1b>\x1b[?25h\r\n";
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(reset).and_then(|()| out.flush());
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

enum End {
    /// The shell inside ended.
    Over,
    /// We left.
    Left,
    /// The connection broke.
    Lost(String),
}

async fn attach(mut input: TerminalInput, mut output: TerminalOutput) -> Result<End, Fail> {
    let watch = |kind| signal(kind).map_err(|e| Fail::io("watch for signals", &e));
    let mut resized = watch(SignalKind::window_change())?;
    let mut hangup = watch(SignalKind::hangup())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut keys = keys();
    let mut escape = Escape::default();
    let end = loop {
        tokio::select! {
            from = output.next() => match from {
                Ok(FromTerminal::Output(bytes)) => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(&bytes)?;
                    out.flush()?;
                }
                Ok(FromTerminal::Title(_)) => {}
                Ok(FromTerminal::Closed(1000, _)) => return Ok(End::Over),
                Ok(FromTerminal::Closed(code, reason)) => return Ok(End::Lost(format!("code {code} {reason}"))),
                Err(e) => return Ok(End::Lost(e.to_string())),
            },
            typed = keys.recv() => match typed {
                None => break End::Left,
                Some(bytes) => {
                    let (send, leave) = escape.pass(&bytes);
                    input.input(&send).await?;
                    if leave {
                        break End::Left;
                    }
                }
            },
            _ = resized.recv() => {
                let (columns, rows) = size();
                input.resize(columns, rows).await?;
            }
            _ = hangup.recv() => break End::Left,
            _ = terminate.recv() => break End::Left,
        }
    };
    input.close().await;
    Ok(end)
}

/// Bytes typed here. A thread reads them, as a terminal cannot be waited for together with
/// sockets without changing its flags for other programs; it ends with the process.
fn keys() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(n @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if sender.blocking_send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Finds Enter `~` `.`; Enter `~` `~` sends one `~`.
#[derive(Debug)]
struct Escape {
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    Tilde,
    Inside,
}

impl Default for Escape {
    fn default() -> Self {
        Self { at: At::LineStart }
    }
}

impl Escape {
    /// What to send of the typed bytes, and whether to leave.
    fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut send = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (self.at, byte) {
                (At::LineStart, b'~') => {
                    self.at = At::Tilde;
                    continue;
                }
                (At::Tilde, b'.') => return (send, true),
                (At::Tilde, b'~') => {}
                (At::Tilde, _) => send.push(b'~'),
                _ => {}
            }
            send.push(byte);
            self.at = if matches!(byte, b'\r' | b'\n') { At::LineStart } else { At::Inside };
        }
        (send, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_tilde_dot_leaves_however_the_keys_arrive() {
        for keys in [&["~."][..], &["ls\r~."], &["ls\r", "~", "."]] {
            let mut escape = Escape::default();
            let left = keys.iter().map(|k| escape.pass(k.as_bytes()).1).collect::<Vec<_>>();
            assert_eq!(left.last(), Some(&true), "{keys:?}");
        }
    }

    #[test]
    fn other_tildes_reach_the_shell() {
        let mut escape = Escape::default();
        assert_eq!(escape.pass(b"cd ~/a~.\r~~x\r~a"), (b"cd ~/a~.\r~x\r~a".to_vec(), false));
    }

    #[test]
    fn several_words_stay_several_and_one_is_a_shell_command() {
        assert_eq!(join(&["ls | wc".into()]), "ls | wc");
        assert_eq!(join(&["echo".into(), "a b".into(), "it's".into(), String::new()]), r"echo 'a b' 'it'\''s' ''");
    }
}
