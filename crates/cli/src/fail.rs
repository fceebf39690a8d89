//! How a command ends: its exit code, and the one line on stderr that goes with a failure.

use std::io;
use std::process::ExitCode;

use serde_json::json;

use super::print::plain;

/// What a command returns.
pub(super) type Outcome = Result<ExitCode, Fail>;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Fail {
    /// The node, or something in a container, said no or is not there.
    Client(cowl_client::Error),
    /// The command line is wrong.
    Usage(String),
    /// Anything else; the text is one sentence.
    Other(String),
    /// Root is needed, or the file is someone else's.
    Permission(String),
    /// The cockpit did not open, or broke.
    Cockpit {
        /// Its exit code.
        code: u8,
        /// One sentence.
        message: String,
    },
    /// Help or version was asked for and goes to stdout.
    Shown(Box<clap::Error>),
    /// Nobody reads our output any more.
    Unread,
}

impl Fail {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(super) fn other(message: impl std::fmt::Display) -> Self {
        Self::Other(message.to_string())
    }

    /// An I/O error about a path or step.
    pub(super) fn io(what: impl std::fmt::Display, e: &io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission(format!("{what}: {e}; use sudo")),
            _ => Self::Other(format!("{what}: {e}")),
        }
    }

    pub(super) fn from_clap(e: clap::Error) -> Self {
        use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
        match e.kind() {
            DisplayHelp | DisplayVersion => Self::Shown(Box::new(e)),
            DisplayHelpOnMissingArgumentOrSubcommand => Self::usage("a command is missing; --help lists them"),
            _ => Self::Usage(one_line(&e.to_string())),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Client(cowl_client::Error::NoNode { .. }) => 3,
            Self::Client(cowl_client::Error::Permission { .. }) | Self::Permission(_) => 4,
            Self::Client(cowl_client::Error::Api(e)) if matches!(e.status_code, 401 | 403) => 4,
            Self::Client(_) | Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Cockpit { code, .. } => *code,
            Self::Shown(_) | Self::Unread => 0,
        }
    }

    /// Tells the failure on stderr and returns the exit code.
    pub(super) fn report(self, json: bool) -> ExitCode {
        match &self {
            Self::Unread => {}
            Self::Shown(e) => {
                // Fails only when nobody reads, and then there is nobody to tell.
                let _ = e.print();
            }
            _ if json => eprintln!("{}", self.json()),
            _ => eprintln!("cowl: {}", plain(&self.line())),
        }
        ExitCode::from(self.code())
    }

    fn text(&self) -> String {
        match self {
            Self::Client(e) => e.to_string(),
            Self::Usage(m) | Self::Other(m) | Self::Permission(m) | Self::Cockpit { message: m, .. } => m.clone(),
            Self::Shown(_) | Self::Unread => String::new(),
        }
    }

    /// The text on one line, also where a program's words in it had several.
    fn line(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        lines.join(" / ")
    }

    fn json(&self) -> serde_json::Value {
        let word = match self {
            Self::Client(cowl_client::Error::Api(e)) => return serde_json::to_value(e).unwrap_or_default(),
            Self::Client(cowl_client::Error::Kit { status, error, message }) => {
                return json!({ "statusCode": status, "error": error, "message": message });
            }
            Self::Client(cowl_client::Error::NoNode { .. }) => "No Node",
            Self::Client(cowl_client::Error::Permission { .. }) | Self::Permission(_) => "No Permission",
            Self::Client(cowl_client::Error::Timeout { .. }) => "Timeout",
            Self::Usage(_) => "Usage",
            _ => "Failed",
        };
        json!({ "error": word, "message": self.text() })
    }
}

impl From<cowl_client::Error> for Fail {
    fn from(e: cowl_client::Error) -> Self {
        Self::Client(e)
    }
}

/// Only our own output fails with a bare I/O error.
impl From<io::Error> for Fail {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::BrokenPipe { Self::Unread } else { Self::Other(format!("cannot print: {e}")) }
    }
}

/// What clap says over several lines, as one.
fn one_line(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        words.push(line);
    }
    let joined = words.into_iter().filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowl_api::ApiError;

    #[test]
    fn exit_codes_tell_no_node_no_permission_and_usage_apart() {
        let at = String::from("/run/cowl/node.sock");
        assert_eq!(Fail::from(cowl_client::Error::NoNode { at: at.clone() }).code(), 3);
        assert_eq!(Fail::from(cowl_client::Error::Permission { at }).code(), 4);
        assert_eq!(Fail::from(cowl_client::Error::from(ApiError::new(403, "no"))).code(), 4);
        assert_eq!(Fail::from(cowl_client::Error::from(ApiError::new(404, "no"))).code(), 1);
        assert_eq!(Fail::usage("x").code(), 2);
    }

    #[test]
    fn a_usage_error_is_one_line() {
        let e = clap::Command::new("x").try_get_matches_from(["x", "--nope"]).unwrap_err();
        let Fail::Usage(line) = Fail::from_clap(e) else { panic!("not a usage error") };
        assert!(line.contains("--nope") && !line.contains('\n') && !line.starts_with("error"), "{line}");
    }

    #[test]
    fn an_api_error_is_printed_as_it_came() {
        let json = Fail::from(cowl_client::Error::from(ApiError::not_found("container"))).json();
        assert_eq!(json["statusCode"], 404);
        assert_eq!(json["message"], "container not found");
    }
}
