//! Making, listing and ending sessions; their history and raw output.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, body::Bytes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::command::Command;
use super::execute::{parse_id, session_id, submit};
use super::integration::Surroundings;
use super::launch::Launch;
use super::pty::Size;
use super::session::Session;
use super::sessions::Sessions;
use super::shellwork::Job;
use crate::Instance;
use crate::body::SmallBody;
use crate::error::{KitError, KitResult};
use crate::params::Params;

/// How long `create` waits for the shell's first prompt.
const FIRST_PROMPT: Duration = Duration::from_secs(5);

/// Body of `create`. Fields of things that are not built are refused when set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Create {
    terminal_id: Option<Value>,
    ephemeral: bool,
    display: Option<String>,
    shell: Option<String>,
    user: Option<String>,
    cwd: Option<String>,
    startup_script: Option<String>,
    desktop: bool,
    cols: Option<u64>,
    rows: Option<u64>,
    ssh_host: Option<String>,
    socks5_host: Option<String>,
    reset: bool,
}

/// `POST /api/v1/terminal/create`
pub async fn create(
    State(sessions): State<Arc<Sessions>>,
    Extension(Instance(instance)): Extension<Instance>,
    params: Params,
    body: SmallBody,
) -> KitResult<Json<Value>> {
    let body: Create = body.json_or_default()?;
    if body.desktop {
        return Err(KitError::not_built("desktop: this option of the terminal service is not built yet"));
    }
    let asked = match &body.terminal_id {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => return Err(KitError::bad_request("terminal_id: neither a string nor a number")),
    };
    let id = match asked.as_deref() {
        None | Some("" | "0") if body.ephemeral || params.flag("ephemeral", false)? => sessions.ephemeral_id(),
        None | Some("" | "0") => session_id(&params, instance)?,
        Some(text) => parse_id(text)?,
    };
    let launch = Launch::from_query(&body.as_params(&params))?;
    if body.reset || params.flag("reset", false)? {
        let _ = sessions.close(id).await;
    }
    let size = Size::clamped(body.cols.unwrap_or(80), body.rows.unwrap_or(24));
    let (session, fresh) = sessions.open(id, size, !body.ephemeral, launch)?;
    if let (Some(text), true) = (body.startup_script.filter(|text| !text.trim().is_empty()), fresh) {
        let command = sessions.register(None, id, text, true, None)?;
        submit(&session, Job { command, around: Surroundings::default(), time_limit: None }).await?;
    }
    let mut changes = session.changes();
    let first_prompt = async {
        while !session.ask(|session| session.work.has_started()).await? {
            if changes.changed().await.is_err() {
                break;
            }
        }
        Ok::<_, KitError>(())
    };
    let ready = matches!(tokio::time::timeout(FIRST_PROMPT, first_prompt).await, Ok(Ok(())));
    Ok(Json(json!({ "status": "ok", "terminal_id": id.to_string(), "shell_ready": ready, "created": fresh })))
}

impl Create {
    /// Body and query mean the same things; the body wins.
    fn as_params(&self, query: &Params) -> Params {
        let mut params = Params::default();
        for (name, value) in [
            ("display", &self.display),
            ("shell", &self.shell),
            ("user", &self.user),
            ("cwd", &self.cwd),
            ("ssh_host", &self.ssh_host),
            ("socks5_host", &self.socks5_host),
        ] {
            if let Some(value) = value {
                params.push(name, value);
            }
        }
        params.append(query);
        params
    }
}

/// `DELETE /api/v1/terminal/{terminal_id}`
pub async fn delete(State(sessions): State<Arc<Sessions>>, Path(id): Path<String>) -> KitResult<Json<Value>> {
    let id = parse_id(&id)?;
    sessions.close(id).await?;
    Ok(Json(json!({ "status": "ok", "success": true, "terminal_id": id.to_string() })))
}

/// One session, as listed.
#[derive(Debug, Serialize)]
struct Described {
    terminal_id: String,
    status: &'static str,
    shell: String,
    user: String,
    cwd: Option<String>,
    pid: i32,
    created_at: String,
    clients: usize,
    columns: u16,
    rows: u16,
    title: String,
    running_command: Option<String>,
    history: Vec<Remembered>,
}

/// One command, as remembered.
#[derive(Debug, Serialize)]
struct Remembered {
    command_id: String,
    command: String,
    status: &'static str,
    exit_code: Option<i32>,
    timestamp: String,
    duration_ms: u64,
}

impl Remembered {
    fn of(command: &Command) -> Self {
        let result = command.result(false);
        Self {
            command_id: command.id.clone(),
            command: command.text.chars().take(4096).collect(),
            status: command.status().word(),
            exit_code: result.exit_code,
            timestamp: command.asked.to_string(),
            duration_ms: result.duration_ms,
        }
    }
}

fn describe(session: &mut Session, history: usize) -> Described {
    let pid = session.pty.pid.as_raw_nonzero().get();
    // The kernel knows better than the last prompt, while something runs.
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok().map(|path| path.display().to_string());
    let size = session.picture.size();
    let skip = session.history.len().saturating_sub(history);
    Described {
        terminal_id: session.birth.id.to_string(),
        status: if session.work.is_idle() { "idle" } else { "running" },
        shell: session.birth.launch.shell_name().to_owned(),
        user: session.birth.launch.account.name.clone(),
        cwd: cwd.or_else(|| session.work.cwd().map(str::to_owned)),
        pid,
        created_at: session.created.to_string(),
        clients: session.clients.len(),
        columns: size.cols,
        rows: size.rows,
        title: session.picture.title().to_owned(),
        running_command: session.work.running().map(|command| command.id.clone()),
        history: session.history.iter().skip(skip).map(|command| Remembered::of(command)).collect(),
    }
}

/// `GET /api/v1/terminal/sessions`
pub async fn list(State(sessions): State<Arc<Sessions>>, params: Params) -> KitResult<Json<Value>> {
    let limit = params.value::<usize>("history_limit")?.unwrap_or(50).min(1000);
    let mut described = Vec::new();
    for session in sessions.all() {
        // One that ends meanwhile is not listed.
        if let Ok(one) = session.ask(move |session| describe(session, limit)).await {
            described.push(one);
        }
    }
    Ok(Json(json!({ "count": described.len(), "sessions": described })))
}

/// `GET /api/v1/terminal/history/{terminal_id}`
pub async fn history(State(sessions): State<Arc<Sessions>>, Path(id): Path<String>) -> KitResult<Json<Value>> {
    let id = parse_id(&id)?;
    let described = sessions.get(id)?.ask(|session| describe(session, usize::MAX)).await?;
    Ok(Json(json!({ "terminal_id": id.to_string(), "count": described.history.len(), "history": described.history })))
}

/// `GET /api/v1/terminal/raw`
pub async fn raw(
    State(sessions): State<Arc<Sessions>>,
    Extension(Instance(instance)): Extension<Instance>,
    params: Params,
) -> KitResult<Response> {
    let id = session_id(&params, instance)?;
    let tail = params.value::<usize>("tail")?;
    let format = params.text("format").unwrap_or("text");
    let session = sessions.get(id)?;
    if format == "html" {
        let lines = session.ask(|session| session.picture.lines(true, true)).await?;
        let skip = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        let text = escape_html(lines[skip..].join("\n").trim_end());
        return Ok(([(CONTENT_TYPE, "text/html; charset=utf-8")], format!("<pre>{text}</pre>\n")).into_response());
    }
    let bytes = match format {
        // Lines, as a person would count them.
        "text" | "download" => tail_lines(&session.ask(|session| session.raw(None)).await?, tail),
        other => return Err(KitError::bad_request(format!("format: {other:?} is not text, html or download"))),
    };
    let mut response = ([(CONTENT_TYPE, "text/plain; charset=utf-8")], bytes).into_response();
    if format == "download" {
        let name = format!("attachment; filename=\"terminal-{id}.log\"");
        if let Ok(value) = HeaderValue::from_str(&name) {
            response.headers_mut().insert(CONTENT_DISPOSITION, value);
        }
    }
    Ok(response)
}

/// The last `tail` lines.
fn tail_lines(bytes: &Bytes, tail: Option<usize>) -> Bytes {
    let Some(tail) = tail else { return bytes.clone() };
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let starts = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match tail {
        0 => Bytes::new(),
        _ => bytes.slice(starts.take(tail).nth(tail - 1).unwrap_or(0)..),
    }
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_counted_in_lines() {
        let all = Bytes::from_static(b"a\nb\nc\n");
        for (tail, expected) in
            [(None, "a\nb\nc\n"), (Some(0), ""), (Some(1), "c\n"), (Some(2), "b\nc\n"), (Some(9), "a\nb\nc\n")]
        {
            assert_eq!(tail_lines(&all, tail), expected.as_bytes(), "{tail:?}");
        }
    }
}
