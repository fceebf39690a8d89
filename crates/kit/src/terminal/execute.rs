//! `execute`, `result` and `abort`.
//!
//! With a session the command is typed into its shell and shares its state. With `ephemeral=true` it
//! gets a fresh shell on pipes. `stream=true` (ours) answers at once with `application/x-ndjson`, see
//! [`cowl_api::terminal::StreamLine`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use tokio::sync::mpsc;

use super::command::{Command, Sink};
use super::integration::Surroundings;
use super::launch::{Launch, check_env};
use super::pipes::{self, Abort};
use super::pty::Size;
use super::session::SessionHandle;
use super::sessions::{LAST_ID, Sessions};
use super::shellwork::Job;
use super::stream;
use crate::Instance;
use crate::body::SmallBody;
use crate::error::{KitError, KitResult};
use crate::params::Params;
use cowl_api::terminal::{CommandResult, Execute};

/// Chunks a listener may be behind.
const STREAM_QUEUE: usize = 1024;
/// How long an abort's reply waits for the end.
const ABORT_WAIT: Duration = Duration::from_secs(2);

/// Which session a request means: its `terminal_id`, else the host's index.
///
/// # Errors
/// 400 for what is no id.
pub fn session_id(params: &Params, instance: u32) -> KitResult<u32> {
    match params.text("terminal_id") {
        None | Some("0") => check_id(instance),
        Some(text) => parse_id(text),
    }
}

/// Reads 1 to 65535.
///
/// # Errors
/// 400.
pub fn parse_id(text: &str) -> KitResult<u32> {
    let number = text.parse().map_err(|_| KitError::bad_request(format!("terminal_id: {text:?} is not a number")))?;
    check_id(number)
}

fn check_id(id: u32) -> KitResult<u32> {
    if (1..=LAST_ID).contains(&id) {
        return Ok(id);
    }
    Err(KitError::bad_request(format!("terminal_id: {id} is not in 1..={LAST_ID} (and not ephemeral)")))
}

/// What the caller asked for, checked.
struct Order {
    launch: Launch,
    body: Execute,
    time_limit: Option<Duration>,
    /// Absent for pipes.
    session: Option<u32>,
    reset: bool,
}

/// `POST /api/v1/terminal/execute`
pub async fn execute(
    State(sessions): State<Arc<Sessions>>,
    Extension(Instance(instance)): Extension<Instance>,
    params: Params,
    body: SmallBody,
) -> KitResult<Response> {
    let order = read_order(&params, instance, &body.0)?;
    let wait = order.body.wait;
    if params.flag("stream", false)? {
        let (sink, output) = mpsc::channel(STREAM_QUEUE);
        let command = begin(&sessions, order, Some(sink)).await?;
        return Ok(stream::respond(sessions, command, output));
    }
    let command = begin(&sessions, order, None).await?;
    if wait {
        command.ended().await;
    }
    Ok(Json(command.result(true)).into_response())
}

fn read_order(params: &Params, instance: u32, body: &[u8]) -> KitResult<Order> {
    let body = read_body(params, body)?;
    let ephemeral = params.flag("ephemeral", false)?;
    let session = if ephemeral { None } else { Some(session_id(params, instance)?) };
    let mut launch = Launch::from_query(params)?;
    check_env(body.env.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    if !body.timeout.is_finite() || body.timeout < 0.0 {
        return Err(KitError::bad_request("timeout: seconds, 0 for no limit"));
    }
    let seconds = body.timeout.min(365.0 * 86_400.0);
    let time_limit = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds).max(Duration::from_millis(1)));
    if let Some(cwd) = body.cwd.as_deref().filter(|cwd| !cwd.is_empty()) {
        if cwd.contains('\0') {
            return Err(KitError::bad_request("cwd: contains NUL"));
        }
        if ephemeral {
            launch.change_directory(cwd)?;
        }
    }
    if ephemeral {
        launch.env.extend(body.env.clone());
    }
    Ok(Order { launch, time_limit, session, reset: params.flag("reset", false)?, body })
}

fn read_body(params: &Params, body: &[u8]) -> KitResult<Execute> {
    let missing = || KitError::bad_request("Missing 'command' field");
    let mut value: serde_json::Value = match body.iter().all(u8::is_ascii_whitespace) {
        true => serde_json::json!({}),
        false => serde_json::from_slice(body)
            .map_err(|error| KitError::bad_request(format!("the body is not JSON: {error}")))?,
    };
    let fields = value.as_object_mut().ok_or_else(missing)?;
    if let (None, Some(encoded)) = (fields.get("command"), params.text("cmd")) {
        fields.insert("command".into(), decode_cmd(encoded)?.into());
    }
    if !fields.get("command").is_some_and(serde_json::Value::is_string) {
        return Err(missing());
    }
    // Absent and null are the same to the public clients.
    fields.retain(|_, field| !field.is_null());
    let body: Execute = serde_json::from_value(value).map_err(|error| KitError::bad_request(error.to_string()))?;
    if body.command.trim().is_empty() {
        return Err(missing());
    }
    if body.command.contains('\0') {
        return Err(KitError::bad_request("command: contains NUL"));
    }
    Ok(body)
}

/// The `cmd` of a query: base64 of any flavour.
///
/// # Errors
/// 400 when it is not, or not of UTF-8.
pub fn decode_cmd(encoded: &str) -> KitResult<String> {
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    // A `+` that nobody escaped has become a space.
    let plain = encoded.trim_end_matches('=').replace(['-', ' '], "+").replace('_', "/");
    let bytes = STANDARD_NO_PAD.decode(plain).map_err(|_| KitError::bad_request("cmd: not base64"))?;
    String::from_utf8(bytes).map_err(|_| KitError::bad_request("cmd: not UTF-8"))
}

async fn begin(sessions: &Arc<Sessions>, order: Order, sink: Option<Sink>) -> KitResult<Arc<Command>> {
    let Order { launch, body, time_limit, session, reset } = order;
    let Some(id) = session else {
        let terminal_id = sessions.ephemeral_id();
        let command = sessions.register(body.id.as_deref(), terminal_id, body.command, false, sink)?;
        pipes::run(command.clone(), &launch, time_limit)?;
        return Ok(command);
    };
    if reset {
        // None to reset is as good.
        let _ = sessions.close(id).await;
    }
    let (handle, fresh) = sessions.open(id, Size::DEFAULT, false, launch.clone())?;
    if fresh {
        handle.settled().await;
    }
    let command = sessions.register(body.id.as_deref(), id, body.command, true, sink)?;
    let mut around = Surroundings { cwd: body.cwd.filter(|cwd| !cwd.is_empty()), env: body.env.into_iter().collect() };
    if !fresh && around.cwd.is_none() && launch.cwd_asked {
        around.cwd = launch.cwd.to_str().map(str::to_owned);
    }
    submit(&handle, Job { command: command.clone(), around, time_limit }).await?;
    Ok(command)
}

/// Puts a job into a session's line; a job that cannot be is failed.
///
/// # Errors
/// 404 when the session has ended, 503 when its line is full.
pub async fn submit(handle: &SessionHandle, job: Job) -> KitResult<()> {
    let command = job.command.clone();
    let submitted = handle.ask(move |session| session.execute(job)).await.and_then(|accepted| accepted);
    if submitted.is_err() {
        command.finish(super::command::Status::Failed, None);
    }
    submitted
}

/// `GET /api/v1/terminal/result/{command_id}`
pub async fn result(State(sessions): State<Arc<Sessions>>, Path(id): Path<String>) -> KitResult<Json<CommandResult>> {
    Ok(Json(sessions.command(&id)?.result(true)))
}

/// `POST /api/v1/terminal/execute/{command_id}/abort`
pub async fn abort(
    State(sessions): State<Arc<Sessions>>,
    Path(id): Path<String>,
    params: Params,
    body: SmallBody,
) -> KitResult<Json<serde_json::Value>> {
    #[derive(serde::Deserialize, Default)]
    struct Body {
        #[serde(default)]
        force: bool,
    }
    let body: Body = body.json_or_default()?;
    let force = body.force || params.flag("force", false)?;
    let command = sessions.command(&id)?;
    let reached = stop(&sessions, &command, if force { Abort::Kill } else { Abort::Interrupt }).await;
    // It may refuse a polite signal: the status tells.
    let _ = tokio::time::timeout(ABORT_WAIT, command.ended()).await;
    let status = command.status();
    Ok(Json(serde_json::json!({
        "success": reached && status.is_end(), "command_id": id, "status": status.word(), "force": force,
    })))
}

/// Asks a command to end; false when it has ended before.
pub async fn stop(sessions: &Sessions, command: &Arc<Command>, how: Abort) -> bool {
    if command.status().is_end() {
        return false;
    }
    if !command.on_pty() {
        return command.abort(how);
    }
    let id = command.id.clone();
    match sessions.get(command.terminal_id) {
        Ok(session) => session.ask(move |session| session.work.abort(&id, how, &session.pty)).await.unwrap_or(false),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_without_a_command_are_refused_as_the_clients_expect() {
        for body in ["", "{}", r#"{"cmd":"ls"}"#, r#"{"command":3}"#, r#"{"command":"  "}"#, "[]"] {
            let error = read_body(&Params::default(), body.as_bytes()).unwrap_err();
            assert_eq!((error.status.as_u16(), error.message.as_str()), (400, "Missing 'command' field"), "{body}");
        }
        let body = read_body(&Params::default(), br#"{"command":"ls","timeout":null,"cwd":null}"#).unwrap();
        assert!(body.wait && body.timeout == 0.0);
    }

    #[test]
    fn cmd_is_base64_of_any_flavour() {
        assert_eq!(decode_cmd("bHMgLWxhPz8/Pg==").unwrap(), "ls -la???>");
        assert_eq!(decode_cmd("bHMgLWxhPz8_Pg").unwrap(), "ls -la???>");
        assert!(decode_cmd("*").is_err());
    }

    #[test]
    fn a_session_is_named_by_the_query_or_the_host() {
        let id =
            |query: &str, instance| session_id(&Params::parse(query), instance).map_err(|error| error.status.as_u16());
        assert_eq!(id("", 3), Ok(3));
        assert_eq!(id("terminal_id=", 3), Ok(3));
        assert_eq!(id("terminal_id=0", 3), Ok(3));
        assert_eq!(id("terminal_id=7", 3), Ok(7));
        for bad in ["terminal_id=x", "terminal_id=-1", "terminal_id=65536"] {
            assert_eq!(id(bad, 3), Err(400));
        }
        assert_eq!(id("", 0), Err(400));
    }
}
