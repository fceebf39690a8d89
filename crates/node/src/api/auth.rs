//! Who may use the API: whoever may open the unix socket (root and group `cowl`), and whoever
//! holds the owner's token.
//!
//! A source that guesses wrong waits longer each time, up to two seconds. The right token is never
//! delayed: with 256 random bits there is nothing to guess, the delay only keeps logs short.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::reply::Failure;
use crate::Node;
use crate::token::PREFIX;
use cowl_api::ApiError;
use cowl_proxy::Peer;

/// Longest delay of a refusal.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// After this long without a wrong guess a source starts anew.
const FORGET: Duration = Duration::from_secs(60);
/// Sources remembered at once.
const SOURCES: usize = 1_024;

static FAILURES: LazyLock<Mutex<HashMap<IpAddr, (u32, Instant)>>> = LazyLock::new(Mutex::default);

/// Lets a request pass whose sender is trusted; 401 else.
pub async fn require(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let source = match request.extensions().get::<Peer>() {
        Some(Peer::Unix { .. }) => return next.run(request).await,
        Some(peer) => Some(peer.ip()),
        None => None,
    };
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let message = match header.map(token_of) {
        Some(Some(token)) if node.token.is(&token) => return next.run(request).await,
        Some(_) => "this token is not valid here",
        None => "a token is required: Authorization: Bearer hdy_… (cowl token prints it)",
    };
    if let (Some(source), Some(_)) = (source, header) {
        tokio::time::sleep(delay(source)).await;
    }
    let mut response = Failure(ApiError::new(401, message)).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// The token of an Authorization header: `Bearer T`, `Basic` with T as user or password, or bare.
fn token_of(header: &str) -> Option<String> {
    let header = header.trim();
    if header.starts_with(PREFIX) {
        return Some(header.to_owned());
    }
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    [password, user].into_iter().find(|word| word.starts_with(PREFIX)).map(str::to_owned)
}

/// How long this refusal waits; grows with each wrong guess of a source.
fn delay(source: IpAddr) -> Duration {
    let mut failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    failures.retain(|_, (_, at)| at.elapsed() < FORGET);
    if failures.len() >= SOURCES && !failures.contains_key(&source) {
        return DELAY_MAX;
    }
    let entry = failures.entry(source).or_insert((0, Instant::now()));
    let wait = Duration::from_millis(25 << entry.0.min(8)).min(DELAY_MAX);
    *entry = (entry.0.saturating_add(1), Instant::now());
    wait
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_found_in_every_form_clients_send() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for header in ["Bearer hdy_x", "bearer hdy_x", "hdy_x", &basic("hdy_x:"), &basic("owner:hdy_x")] {
            assert_eq!(token_of(header).as_deref(), Some("hdy_x"), "{header}");
        }
        for header in ["", "Bearer", "Digest hdy_x", "Basic !!", &basic("a:b")] {
            assert_eq!(token_of(header), None, "{header}");
        }
    }

    #[test]
    fn wrong_guesses_wait_longer_each_time() {
        let source = IpAddr::from([203, 0, 113, 7]);
        let waits: Vec<_> = (0..12).map(|_| delay(source)).collect();
        assert!(waits.is_sorted() && waits[0] < waits[3] && waits[11] == DELAY_MAX);
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_parser(header in ".{0,64}") {
            let _ = token_of(&header);
            let _ = token_of(&format!("Basic {header}"));
        }
    }
}
