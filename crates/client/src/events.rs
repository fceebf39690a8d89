//! The node's event stream (server-sent events).

use std::time::Duration;

use http::Method;

use super::error::{Error, Result};
use super::lines::Lines;
use super::reply;
use super::transport::{Client, request};
use cowl_api::ContainerId;
use cowl_api::event::Event;

/// The node sends a comment at least every 15 s; more silence than this means it is gone.
const IDLE: Duration = Duration::from_secs(60);

/// Events as they happen.
#[derive(Debug)]
pub struct EventStream {
    lines: Lines,
    data: String,
}

impl Client {
    /// Opens the stream of all events from now on.
    ///
    /// # Errors
    /// When the node is gone or refuses.
    pub async fn events(&self) -> Result<EventStream> {
        self.stream("/api/v1/events/stream").await
    }

    /// Opens the stream of one container's events, with its figures every second.
    ///
    /// # Errors
    /// As [`Client::events`].
    pub async fn figures(&self, id: &ContainerId) -> Result<EventStream> {
        self.stream(&format!("/api/v1/events/stream?stats=true&container_id={id}")).await
    }

    async fn stream(&self, path: &str) -> Result<EventStream> {
        let request = request::<()>(Method::GET, path, None)?;
        let response = reply::api_ok(self.send(&self.api_host(), request).await?).await?;
        Ok(EventStream { lines: Lines::new(response.into_body(), IDLE), data: String::new() })
    }
}

impl EventStream {
    /// The next event; `None` when the node closed the stream. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks or falls silent.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        while let Some(line) = self.lines.next().await? {
            if let Some(data) = accept(&mut self.data, &line) {
                let event = serde_json::from_str(&data);
                return event.map(Some).map_err(|e| Error::Broken(format!("an event of the node is malformed: {e}")));
            }
        }
        Ok(None)
    }
}

/// Takes one line of an SSE stream; returns the data of the event it ends.
fn accept(data: &mut String, line: &str) -> Option<String> {
    if line.is_empty() {
        return Some(std::mem::take(data)).filter(|d| !d.is_empty());
    }
    if let Some(rest) = line.strip_prefix("data:") {
        if !data.is_empty() {
            data.push('\n');
        }
        data.push_str(rest.strip_prefix(' ').unwrap_or(rest));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_other_fields_are_passed_over_and_data_lines_are_joined() {
        let mut data = String::new();
        let seen: Vec<String> = [": ping", "", "event: x", "data: {\"a\":", "data: 1}", "id: 4", "", "data:b", ""]
            .into_iter()
            .filter_map(|line| accept(&mut data, line))
            .collect();
        assert_eq!(seen, ["{\"a\":\n1}", "b"]);
    }
}
