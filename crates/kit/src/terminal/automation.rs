//! Looking at a session's screen and typing into it, for programs that do what a person would.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::execute::session_id;
use super::keys;
use super::screen::Span;
use super::session::{Session, SessionHandle};
use super::sessions::Sessions;
use crate::Instance;
use crate::body::SmallBody;
use crate::error::{KitError, KitResult};
use crate::params::Params;

/// Keys of one `press`.
const KEY_LIMIT: usize = 256;
/// Longest pattern, bytes.
const PATTERN_LIMIT: usize = 1024;

/// What every handler here gets.
type Host = Extension<Instance>;

fn session(sessions: &Sessions, host: &Host, params: &Params) -> KitResult<SessionHandle> {
    sessions.get(session_id(params, host.0.0)?)
}

/// A screen as told.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    terminal_id: String,
    lines: Vec<String>,
    cursor: Cursor,
    size: Dimensions,
    title: String,
    alternate_screen: bool,
    modes: Modes,
    scroll_offset: usize,
    scrollback_lines: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    colored_lines: Option<Vec<Vec<Span>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    highlights: Option<Vec<Highlight>>,
}

/// From 0.
#[derive(Debug, Serialize)]
struct Cursor {
    row: u16,
    col: u16,
    visible: bool,
}

/// What decides the bytes of keys and pastes.
#[derive(Debug, Serialize)]
struct Modes {
    application_cursor: bool,
    bracketed_paste: bool,
}

#[derive(Debug, Serialize)]
struct Dimensions {
    columns: u16,
    rows: u16,
}

/// Text in reverse video: a menu's choice, a status bar.
#[derive(Debug, Serialize)]
struct Highlight {
    row: usize,
    start: u16,
    end: u16,
    text: String,
}

/// How much of a screen to tell.
#[derive(Debug, Clone, Copy)]
struct Detail {
    colors: bool,
    highlights: bool,
    scroll_offset: usize,
}

fn look(session: &mut Session, detail: Detail) -> Snapshot {
    let scrollback_lines = session.picture.scrollback();
    let scroll_offset = detail.scroll_offset.min(scrollback_lines);
    let picture = &mut session.picture;
    let spans = (detail.colors || detail.highlights).then(|| picture.spans());
    let highlights = spans.as_ref().filter(|_| detail.highlights).map(|rows| {
        let inverse = rows.iter().enumerate().flat_map(|(row, spans)| {
            let inverse = spans.iter().filter(|span| span.inverse);
            inverse.map(move |span| Highlight { row, start: span.start, end: span.end, text: span.text.clone() })
        });
        inverse.collect()
    });
    let (row, col) = picture.screen().cursor_position();
    let size = picture.size();
    Snapshot {
        terminal_id: session.birth.id.to_string(),
        lines: picture.lines_at(scroll_offset),
        cursor: Cursor { row, col, visible: !picture.screen().hide_cursor() },
        size: Dimensions { columns: size.cols, rows: size.rows },
        title: picture.title().to_owned(),
        alternate_screen: picture.screen().alternate_screen(),
        modes: Modes {
            application_cursor: picture.screen().application_cursor(),
            bracketed_paste: picture.screen().bracketed_paste(),
        },
        scroll_offset,
        scrollback_lines,
        colored_lines: spans.filter(|_| detail.colors),
        highlights,
    }
}

/// `GET /api/v1/terminal/snapshot`
pub async fn snapshot(State(sessions): State<Arc<Sessions>>, host: Host, params: Params) -> KitResult<Json<Snapshot>> {
    let detail = Detail {
        colors: params.flag("include_colors", false)?,
        highlights: params.flag("include_highlights", true)?,
        scroll_offset: params.value("scroll_offset")?.unwrap_or(0),
    };
    Ok(Json(session(&sessions, &host, &params)?.ask(move |session| look(session, detail)).await?))
}

/// Where to look for a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Screen,
    Scrollback,
    All,
}

impl Scope {
    fn read(text: Option<&str>) -> KitResult<Self> {
        match text.unwrap_or("screen") {
            "screen" => Ok(Self::Screen),
            "scrollback" => Ok(Self::Scrollback),
            "all" => Ok(Self::All),
            other => Err(KitError::bad_request(format!("scope: {other:?} is not screen, scrollback or all"))),
        }
    }

    fn lines(self, session: &mut Session) -> Vec<String> {
        session.picture.lines(self != Self::Screen, self != Self::Scrollback)
    }
}

fn compile(pattern: &str, case_insensitive: bool) -> KitResult<Regex> {
    if pattern.is_empty() || pattern.len() > PATTERN_LIMIT {
        return Err(KitError::bad_request(format!("pattern: 1 to {PATTERN_LIMIT} bytes")));
    }
    let regex = RegexBuilder::new(pattern).case_insensitive(case_insensitive).size_limit(1 << 20).build();
    regex.map_err(|error| KitError::bad_request(format!("pattern: {error}")))
}

/// `GET /api/v1/terminal/find`
pub async fn find(State(sessions): State<Arc<Sessions>>, host: Host, params: Params) -> KitResult<Json<Value>> {
    let regex = compile(params.text("pattern").unwrap_or_default(), params.flag("case_insensitive", false)?)?;
    let scope = Scope::read(params.text("scope"))?;
    let limit = params.value::<usize>("limit")?.unwrap_or(100).min(1000);
    let lines = session(&sessions, &host, &params)?.ask(move |session| scope.lines(session)).await?;
    let hits = lines.iter().enumerate().flat_map(|(row, line)| {
        let hits = regex.find_iter(line);
        hits.map(move |hit| json!({ "row": row, "col": hit.start(), "text": hit.as_str(), "line": line }))
    });
    let mut hits: Vec<Value> = hits.take(limit + 1).collect();
    let truncated = hits.len() > limit;
    hits.truncate(limit);
    Ok(Json(json!({ "count": hits.len(), "hits": hits, "truncated": truncated })))
}

/// Body of `write`.
#[derive(Debug, Deserialize)]
pub struct Write {
    input: String,
    #[serde(default = "yes")]
    enter: bool,
}

fn yes() -> bool {
    true
}

async fn type_in(session: &SessionHandle, keys: Vec<u8>) -> KitResult<Json<Value>> {
    let length = keys.len();
    session.ask(move |session| session.input(&keys)).await??;
    Ok(Json(json!({ "status": "ok", "success": true, "terminal_id": session.id.to_string(), "bytes": length })))
}

/// `POST /api/v1/terminal/write`
pub async fn write(
    State(sessions): State<Arc<Sessions>>,
    host: Host,
    params: Params,
    body: SmallBody,
) -> KitResult<Json<Value>> {
    let Write { input, enter } = body.json()?;
    let mut keys = input.into_bytes();
    if enter {
        keys.push(b'\r');
    }
    type_in(&session(&sessions, &host, &params)?, keys).await
}

/// `POST /api/v1/terminal/press`
pub async fn press(
    State(sessions): State<Arc<Sessions>>,
    host: Host,
    params: Params,
    body: SmallBody,
) -> KitResult<Json<Value>> {
    #[derive(Deserialize)]
    struct Press {
        key: Option<String>,
        #[serde(default)]
        keys: Vec<String>,
    }
    let Press { key, mut keys } = body.json()?;
    keys.extend(key);
    if keys.is_empty() || keys.len() > KEY_LIMIT {
        return Err(KitError::bad_request(format!("key or keys: 1 to {KEY_LIMIT} of them")));
    }
    let session = session(&sessions, &host, &params)?;
    let application = session.ask(|session| session.picture.screen().application_cursor()).await?;
    let sequences: Vec<Vec<u8>> = keys.iter().map(|key| keys::bytes_of(key, application)).collect::<KitResult<_>>()?;
    type_in(&session, sequences.concat()).await
}

/// `POST /api/v1/terminal/paste`
pub async fn paste(
    State(sessions): State<Arc<Sessions>>,
    host: Host,
    params: Params,
    body: SmallBody,
) -> KitResult<Json<Value>> {
    #[derive(Deserialize)]
    struct Paste {
        text: String,
        #[serde(default = "yes")]
        bracketed: bool,
    }
    let Paste { text, bracketed } = body.json()?;
    let session = session(&sessions, &host, &params)?;
    let bracketed = bracketed && session.ask(|session| session.picture.screen().bracketed_paste()).await?;
    // As terminals do: a line end is Enter, and the text cannot close its own bracket.
    let text = text.replace("\r\n", "\r").replace('\n', "\r").replace("\x1b[201~", "");
    let keys = if bracketed { format!("\x1b[200~{text}\x1b[201~") } else { text };
    type_in(&session, keys.into_bytes()).await
}

/// `GET /api/v1/terminal/keys`
pub async fn list_keys() -> Json<Value> {
    Json(keys::supported())
}

/// Body of `wait`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Wait {
    mode: String,
    debounce_ms: f64,
    pattern: Option<String>,
    timeout_ms: f64,
    search_scope: Option<String>,
    include_colors: bool,
    include_highlights: bool,
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            mode: String::new(),
            debounce_ms: 100.0,
            pattern: None,
            timeout_ms: 5000.0,
            search_scope: None,
            include_colors: false,
            include_highlights: true,
        }
    }
}

/// What `wait` waits for.
struct Condition {
    /// Silence of this length.
    stable: Option<Duration>,
    /// This text in sight.
    shows: Option<(Regex, Scope)>,
}

impl Condition {
    fn read(wait: &Wait) -> KitResult<Self> {
        let mode = match wait.mode.as_str() {
            "" if wait.pattern.is_some() => "regex",
            "" => "stable",
            mode => mode,
        };
        if !matches!(mode, "stable" | "regex" | "either") {
            return Err(KitError::bad_request(format!("mode: {mode:?} is not stable, regex or either")));
        }
        let debounce = Duration::from_secs_f64(wait.debounce_ms.clamp(10.0, 60_000.0) / 1000.0);
        let scope = Scope::read(wait.search_scope.as_deref())?;
        let shows = match (mode, &wait.pattern) {
            ("stable", _) => None,
            (_, Some(pattern)) => Some((compile(pattern, false)?, scope)),
            (_, None) => return Err(KitError::bad_request("pattern: missing")),
        };
        Ok(Self { stable: (mode != "regex").then_some(debounce), shows })
    }

    /// The word for what came true before `deadline`.
    async fn come_true(&self, session: &SessionHandle, deadline: Instant) -> KitResult<&'static str> {
        let mut changes = session.changes();
        loop {
            changes.borrow_and_update();
            if let Some((regex, scope)) = &self.shows {
                let (regex, scope) = (regex.clone(), *scope);
                let seen = move |session: &mut Session| scope.lines(session).iter().any(|line| regex.is_match(line));
                if session.ask(seen).await? {
                    return Ok("matched");
                }
            }
            let quiet = self.stable.map_or(deadline, |stable| (Instant::now() + stable).min(deadline));
            match timeout_at(quiet, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(KitError::not_found("the terminal session has ended")),
                Err(_) if quiet >= deadline => return Ok("timeout"),
                Err(_) => return Ok("stable"),
            }
        }
    }
}

/// `POST /api/v1/terminal/wait`
pub async fn wait(
    State(sessions): State<Arc<Sessions>>,
    host: Host,
    params: Params,
    body: SmallBody,
) -> KitResult<Json<Value>> {
    let wait: Wait = body.json()?;
    let condition = Condition::read(&wait)?;
    let session = session(&sessions, &host, &params)?;
    let started = Instant::now();
    let deadline = started + Duration::from_secs_f64(wait.timeout_ms.clamp(10.0, 300_000.0) / 1000.0);
    let status = condition.come_true(&session, deadline).await?;
    let detail = Detail { colors: wait.include_colors, highlights: wait.include_highlights, scroll_offset: 0 };
    let snapshot = session.ask(move |session| look(session, detail)).await?;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(
        json!({ "status": status, "timed_out": status == "timeout", "elapsed_ms": elapsed_ms, "snapshot": snapshot }),
    ))
}
