//! The streamed reply of `execute`: one JSON object a line, flushed as the program writes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::mpsc;

use super::command::{Channel, Command};
use super::execute::stop;
use super::pipes::Abort;
use super::sessions::Sessions;
use super::text::TextStream;
use cowl_api::terminal::StreamLine;

/// Silence after which the reader is told that the command still runs.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Aborts the command when its reader leaves before the end.
struct Leaving {
    sessions: Arc<Sessions>,
    command: Arc<Command>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if self.command.status().is_end() {
            return;
        }
        let (sessions, command) = (self.sessions.clone(), self.command.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { stop(&sessions, &command, Abort::HangUp).await });
        }
    }
}

struct Reader {
    leaving: Leaving,
    output: mpsc::Receiver<(Channel, Vec<u8>)>,
    stdout: TextStream,
    stderr: TextStream,
    next: Next,
}

#[derive(PartialEq)]
enum Next {
    Start,
    Output,
    Exit,
    Nothing,
}

/// The reply for a command whose sink feeds `output`.
pub fn respond(sessions: Arc<Sessions>, command: Arc<Command>, output: mpsc::Receiver<(Channel, Vec<u8>)>) -> Response {
    let stdout = if command.on_pty() { TextStream::from_pty() } else { TextStream::verbatim() };
    let reader = Reader {
        leaving: Leaving { sessions, command },
        output,
        stdout,
        stderr: TextStream::verbatim(),
        next: Next::Start,
    };
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines(reader))).into_response()
}

fn lines(reader: Reader) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    unfold(reader, |mut reader| async move {
        loop {
            let lines = reader.step().await?;
            let mut bytes = Vec::new();
            for line in &lines {
                // These types always serialise.
                bytes.extend(serde_json::to_vec(line).unwrap_or_default());
                bytes.push(b'\n');
            }
            if !bytes.is_empty() {
                return Some((Ok(bytes.into()), reader));
            }
        }
    })
}

impl Reader {
    /// The next lines; `None` after the last.
    async fn step(&mut self) -> Option<Vec<StreamLine>> {
        match self.next {
            Next::Start => {
                self.next = Next::Output;
                Some(vec![StreamLine::Start { command_id: self.leaving.command.id.clone() }])
            }
            Next::Output => match tokio::time::timeout(HEARTBEAT, self.output.recv()).await {
                Err(_) => Some(vec![StreamLine::Ping]),
                Ok(Some((channel, bytes))) => Some(self.decode(channel, &bytes)),
                Ok(None) => {
                    self.next = Next::Exit;
                    let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
                    Some(both(stdout, stderr))
                }
            },
            Next::Exit => {
                self.next = Next::Nothing;
                self.leaving.command.ended().await;
                Some(vec![StreamLine::Exit { result: self.leaving.command.result(false) }])
            }
            Next::Nothing => None,
        }
    }

    fn decode(&mut self, channel: Channel, bytes: &[u8]) -> Vec<StreamLine> {
        match channel {
            Channel::Stdout => both(self.stdout.push(bytes), String::new()),
            Channel::Stderr => both(String::new(), self.stderr.push(bytes)),
        }
    }
}

fn both(stdout: String, stderr: String) -> Vec<StreamLine> {
    let stdout = (!stdout.is_empty()).then_some(StreamLine::Stdout { data: stdout });
    let stderr = (!stderr.is_empty()).then_some(StreamLine::Stderr { data: stderr });
    stdout.into_iter().chain(stderr).collect()
}
