//! The interactive WebSocket: subprotocol `tty`, frames of [`super::frames`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::watch;

use super::clients::Attached;
use super::execute::{decode_cmd, session_id, submit};
use super::frames::ClientFrame;
use super::integration::Surroundings;
use super::launch::Launch;
use super::pty::Size;
use super::session::{Ended, SessionHandle};
use super::sessions::Sessions;
use super::shellwork::Job;
use crate::Instance;
use crate::error::{KitError, KitResult};
use crate::params::Params;

/// For the first frame with the client's size.
const HELLO: Duration = Duration::from_secs(10);
/// For one frame to leave; a client that is slower is cut off.
const SEND: Duration = Duration::from_secs(30);
/// Between pings, which find out clients that are gone.
const PING: Duration = Duration::from_secs(45);
/// Largest frame of a client, bytes.
const FRAME_LIMIT: usize = 1024 * 1024;

/// `GET /api/v1/terminal/ws`
pub async fn connect(
    State(sessions): State<Arc<Sessions>>,
    Extension(Instance(instance)): Extension<Instance>,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> KitResult<Response> {
    let upgrade = upgrade.map_err(|error| KitError::new(error.status(), error.body_text()))?;
    // A host of index 0 has no session of its own: it gets a new one each time.
    let nameless = instance == 0 && matches!(params.text("terminal_id"), None | Some("0"));
    let ephemeral = params.flag("ephemeral", false)? || nameless;
    let id = if ephemeral { sessions.ephemeral_id() } else { session_id(&params, instance)? };
    let readonly = params.flag("readonly", false)?;
    let first_command = params.text("cmd").map(decode_cmd).transpose()?;
    let launch = Launch::from_query(&params)?;
    if params.flag("reset", false)? {
        let _ = sessions.close(id).await;
    }
    let (session, fresh) = sessions.open(id, Size::DEFAULT, false, launch)?;
    if let (Some(text), true) = (first_command, fresh) {
        let command = sessions.register(None, id, text, true, None)?;
        submit(&session, Job { command, around: Surroundings::default(), time_limit: None }).await?;
    }
    let upgrade = upgrade.protocols(["tty"]).max_message_size(FRAME_LIMIT).max_frame_size(FRAME_LIMIT);
    Ok(upgrade.on_upgrade(move |socket| converse(socket, session, readonly)))
}

async fn converse(socket: WebSocket, session: SessionHandle, readonly: bool) {
    let (mut to_client, mut from_client) = socket.split();
    let Ok(hello) = tokio::time::timeout(HELLO, first_frame(&mut from_client)).await else { return };
    let Some(size) = hello else { return };
    let size = size.filter(|_| !readonly);
    let Ok(attached) = session.ask(move |session| session.attach(size)).await else {
        close(&mut to_client, &session).await;
        return;
    };
    let client = attached.client;
    let (pause, paused) = watch::channel(false);
    // Whichever ends first ends both.
    let ended = tokio::select! {
        () = listen(from_client, &session, &pause, readonly) => false,
        ended = speak(&mut to_client, attached, &session, paused) => ended,
    };
    // The session may have ended before: nothing to leave then.
    let _ = session.ask(move |session| session.detach(client)).await;
    if ended {
        close(&mut to_client, &session).await;
    }
}

/// Waits for the frame that begins with `{`; what comes before it is ignored. `None` when the client
/// left, `Some(None)` when it told no size.
async fn first_frame(from_client: &mut SplitStream<WebSocket>) -> Option<Option<Size>> {
    while let Some(Ok(message)) = from_client.next().await {
        if let ClientFrame::Hello(size) = ClientFrame::parse(&payload(message)) {
            return Some(size);
        }
    }
    None
}

fn payload(message: Message) -> Bytes {
    match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => text.into(),
        _ => Bytes::new(),
    }
}

/// Takes the client's frames until it leaves.
async fn listen(
    mut from_client: SplitStream<WebSocket>,
    session: &SessionHandle,
    pause: &watch::Sender<bool>,
    readonly: bool,
) {
    loop {
        // A pong answers each ping, so silence of several pings means that nobody is there.
        let Ok(Some(Ok(message))) = tokio::time::timeout(PING * 3, from_client.next()).await else { return };
        if matches!(message, Message::Close(_)) {
            return;
        }
        let heard = match ClientFrame::parse(&payload(message)) {
            ClientFrame::Input(keys) if !readonly => {
                // Keys that find no room are lost, as on a real line.
                session.ask(move |session| drop(session.input(&keys))).await
            }
            ClientFrame::Resize(size) if !readonly => session.ask(move |session| session.resize(size)).await,
            ClientFrame::Pause => {
                pause.send_replace(true);
                Ok(())
            }
            ClientFrame::Resume => {
                pause.send_replace(false);
                Ok(())
            }
            _ => Ok(()),
        };
        if heard.is_err() {
            // The end of the session is told by the other half; do not hurry it.
            std::future::pending::<()>().await;
        }
    }
}

/// Sends what the session shows. True when the session has ended, false when the client has.
async fn speak(
    to_client: &mut SplitSink<WebSocket, Message>,
    mut attached: Attached,
    session: &SessionHandle,
    mut paused: watch::Receiver<bool>,
) -> bool {
    let mut ping = tokio::time::interval(PING);
    ping.reset();
    loop {
        let is_paused = *paused.borrow_and_update();
        let message = tokio::select! {
            frame = attached.frames.recv(), if !is_paused => match frame {
                Some(frame) => Message::Binary(frame),
                None => return true,
            },
            _ = paused.changed() => continue,
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        match tokio::time::timeout(SEND, to_client.send(message)).await {
            Ok(Ok(())) => {}
            _ => return false,
        }
        if attached.frames.is_empty() && attached.lagging.load(Ordering::Relaxed) {
            let client = attached.client;
            if session.ask(move |session| session.redraw(client)).await.is_err() {
                return true;
            }
        }
    }
}

/// 1000 after a shell that exited; no closing frame (the client sees 1006) after one that was killed.
async fn close(to_client: &mut SplitSink<WebSocket, Message>, session: &SessionHandle) {
    let ended = tokio::time::timeout(Duration::from_secs(5), session.ended()).await;
    if let Ok(Ended::Exited(code)) = ended {
        let reason = format!("the shell exited with {code}");
        let frame = CloseFrame { code: 1000, reason: reason.into() };
        let _ = tokio::time::timeout(SEND, to_client.send(Message::Close(Some(frame)))).await;
    }
}
