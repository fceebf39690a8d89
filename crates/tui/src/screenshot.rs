//! `cowl screenshot`: the real cockpit against a real node, keys from a script, the screen as SVG.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyModifiers};
use tokio::time::{Instant, timeout};

use super::app::Action;
use super::backend_http::HttpBackend;
use super::keymap::Key;
use super::runtime::Core;
use super::screen::Frames;
use super::svg::render_svg;
use super::theme::Depth;
use super::{Error, Options, prepare};

/// How long nothing must happen before the screen counts as settled.
const QUIET: Duration = Duration::from_millis(400);
/// How long the node may take to answer, and each key to settle.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to photograph.
#[derive(Debug, Clone)]
pub struct Screenshot {
    /// Where the node is, which theme, which keys.
    pub options: Options,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Keys to press first, each a name as in keymap files (`enter`, `ctrl-space`, `s`), or
    /// `text:…` to type, or `wait:SECONDS`.
    pub keys: Vec<String>,
}

/// Takes the picture.
///
/// # Errors
/// When no node answers, or a key has no such name.
pub async fn screenshot(wanted: Screenshot) -> Result<String, Error> {
    let backend = HttpBackend::new(&wanted.options.run_dir);
    backend.probe().await?;
    let mut app = prepare(&wanted.options, &backend, Depth::True);
    app.size = wanted.size;
    let mut core = Core::new(app, Arc::new(backend), jiff::Timestamp::now);
    core.perform();
    let deadline = Instant::now() + PATIENCE;
    while !core.app.world.loaded && core.app.end.is_none() && Instant::now() < deadline {
        if let Ok(Some(action)) = timeout(QUIET, core.actions.recv()).await {
            core.apply(action);
        }
    }
    settle(&mut core).await;
    for word in &wanted.keys {
        if let Some(seconds) = word.strip_prefix("wait:") {
            let seconds: f64 = seconds.parse().map_err(|_| Error::Usage(format!("{word:?} is not a time")))?;
            let seconds = Duration::try_from_secs_f64(seconds).unwrap_or(PATIENCE);
            let until = Instant::now() + seconds;
            while let Ok(Some(action)) = tokio::time::timeout_at(until, core.actions.recv()).await {
                core.apply(action);
            }
            continue;
        }
        for key in keys(word)? {
            core.apply(Action::Input(Input::Key(key)));
        }
        settle(&mut core).await;
    }
    if let Some(Some(e)) = core.app.end.take() {
        return Err(e.into());
    }
    let mut frames = Frames::default();
    frames.frame(&core.app, &[])?;
    Ok(render_svg(frames.shown()))
}

fn keys(word: &str) -> Result<Vec<KeyEvent>, Error> {
    if let Some(text) = word.strip_prefix("text:") {
        return Ok(text.chars().map(|c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)).collect());
    }
    Ok(vec![Key::parse(word).map_err(Error::Usage)?.event()])
}

/// Takes actions until nothing happens for a moment.
async fn settle(core: &mut Core) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match timeout(QUIET, core.actions.recv()).await {
            Ok(Some(action)) => {
                core.apply(action);
            }
            Ok(None) | Err(_) => return,
        }
    }
}
