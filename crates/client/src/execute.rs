//! Running a command in a container, its output streamed as it is produced.

use std::time::Duration;

use http::Method;
use serde::Deserialize;

use super::error::{Error, Result};
use super::files::query_value;
use super::kit::Kit;
use super::lines::Lines;
use super::reply;
use super::transport::request;
use cowl_api::terminal::{CommandResult, Execute};

/// The kit sends a ping at least every 15 s while a command is silent.
const IDLE: Duration = Duration::from_secs(60);
const HEAD: Duration = Duration::from_secs(60);

/// Where a command runs.
#[derive(Debug, Clone, Default)]
pub struct ExecuteIn {
    /// A session, 1–65535; `None` is a fresh one with separate output and errors.
    pub terminal_id: Option<u32>,
    /// The user; the service's default when `None`.
    pub user: Option<String>,
}

impl ExecuteIn {
    fn query(&self) -> String {
        let mut query = match self.terminal_id {
            Some(id) => format!("terminal_id={id}"),
            None => "ephemeral=true".to_owned(),
        };
        if let Some(user) = &self.user {
            query.push_str("&user=");
            query.push_str(&query_value(user));
        }
        query
    }
}

/// What a running command gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Text it wrote. Hostile.
    Stdout(String),
    /// Errors it wrote. Hostile.
    Stderr(String),
    /// It is over.
    Exit(CommandResult),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Stdout {
        data: String,
    },
    Stderr {
        data: String,
    },
    Exit {
        result: CommandResult,
    },
    /// `ping`, and what later versions add.
    #[serde(other)]
    Other,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    kit: Kit,
    id: String,
    lines: Lines,
}

impl Kit {
    /// Starts a command of the terminal service and streams its output. Gives it an id when it has none.
    ///
    /// # Errors
    /// When the container or its terminal service is not reachable, or refuses.
    pub async fn execute(&self, mut command: Execute, place: &ExecuteIn) -> Result<Running> {
        let id = command.id.get_or_insert_with(|| format!("cli-{:016x}", rand::random::<u64>())).clone();
        let path = format!("/api/v1/terminal/execute?stream=true&{}", place.query());
        let response = self.send(request(Method::POST, &path, Some(&command))?, HEAD).await?;
        Ok(Running { kit: self.clone(), id, lines: Lines::new(response.into_body(), IDLE) })
    }

    /// Runs a command and waits for its result, at most as long as the command's own timeout (or
    /// `deadline`, when that is shorter or there is none).
    ///
    /// # Errors
    /// As [`Kit::execute`]; [`Error::Timeout`] when no result came.
    pub async fn run(&self, mut command: Execute, place: &ExecuteIn, deadline: Duration) -> Result<CommandResult> {
        command.wait = true;
        let path = format!("/api/v1/terminal/execute?{}", place.query());
        let response = self.send(request(Method::POST, &path, Some(&command))?, deadline).await?;
        reply::flat(response).await
    }
}

impl Running {
    /// The command's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The next piece of output. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks before the command is over.
    pub async fn next(&mut self) -> Result<Output> {
        while let Some(line) = self.lines.next().await? {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_str(&line) {
                Ok(Line::Stdout { data }) => return Ok(Output::Stdout(data)),
                Ok(Line::Stderr { data }) => return Ok(Output::Stderr(data)),
                Ok(Line::Exit { result }) => return Ok(Output::Exit(result)),
                Ok(Line::Other) => {}
                Err(e) => return Err(Error::Broken(format!("the command's output is malformed: {e}"))),
            }
        }
        Err(Error::Broken("the container went away while the command ran".into()))
    }

    /// Interrupts the command (SIGINT to its group), or kills it with `force`. Its end still
    /// arrives by [`Running::next`]. The future borrows nothing, so that output can be read meanwhile.
    ///
    /// # Errors
    /// When the command is over or the container is gone.
    pub fn abort(&self, force: bool) -> impl Future<Output = Result<()>> + Send + use<> {
        let (kit, id) = (self.kit.clone(), query_value(&self.id));
        async move {
            let path = format!("/api/v1/terminal/execute/{id}/abort");
            let body = serde_json::json!({ "force": force });
            kit.send(request(Method::POST, &path, Some(&body))?, Duration::from_secs(10)).await?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_or_a_fresh_one_is_asked_for() {
        assert_eq!(ExecuteIn::default().query(), "ephemeral=true");
        let named = ExecuteIn { terminal_id: Some(3), user: Some("a b".into()) };
        assert_eq!(named.query(), "terminal_id=3&user=a%20b");
    }

    #[test]
    fn pings_and_unknown_lines_are_not_output() {
        for line in [r#"{"type":"ping"}"#, r#"{"type":"later","x":1}"#] {
            assert!(matches!(serde_json::from_str(line), Ok(Line::Other)), "{line}");
        }
    }
}
