//! curl, as a person would use it: the local authority trusted, names resolved to this machine.

use serde_json::Value;

use super::node::DOMAIN;
use super::run::{program, run};
use super::{Node, Ran};

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:#?}"))
    }

    /// The body as JSON of a reply with this status.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:#?}");
        self.json()
    }
}

pub struct Web<'a> {
    node: &'a Node,
    ca: String,
}

impl<'a> Web<'a> {
    pub fn new(node: &'a Node) -> Self {
        Self { node, ca: node.ca().display().to_string() }
    }

    /// Asks a host over TLS.
    #[track_caller]
    pub fn ask(&self, host: &str, path: &str, args: &[&str]) -> Reply {
        let resolve = format!("{host}:{}:127.0.0.1", self.node.port);
        let url = format!("https://{host}:{}{path}", self.node.port);
        let words = ["--cacert", &self.ca, "--resolve", &resolve, &url];
        reply(&curl(&[&words[..], args].concat()))
    }

    /// Asks the API with the owner's token.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let bearer = format!("Authorization: Bearer {}", self.node.token());
        let mut args = vec!["-X", method, "-H", &bearer];
        args.extend(body.iter().flat_map(|b| ["-H", "Content-Type: application/json", "--data-binary", b]));
        self.ask(&format!("api.{DOMAIN}"), path, &args)
    }
}

/// Asks the API over the socket.
#[track_caller]
pub fn socket(node: &Node, method: &str, path: &str, body: Option<&str>) -> Reply {
    let socket = node.run_dir().join("node.sock");
    let url = format!("http://api.cowl.localhost{path}");
    let mut args = vec!["--unix-socket", socket.to_str().unwrap(), "-X", method, &url];
    args.extend(body.iter().flat_map(|b| ["-H", "Content-Type: application/json", "--data-binary", b]));
    reply(&curl(&args))
}

/// Runs curl with common options.
#[track_caller]
pub fn curl(args: &[&str]) -> Ran {
    let common = ["--silent", "--show-error", "--max-time", "120", "--include", "--path-as-is", "--http1.1"];
    run(program("curl").args(common).args(args))
}

#[track_caller]
fn reply(ran: &Ran) -> Reply {
    let mut rest = ran.ok();
    // Interim replies (100) come before the one that counts.
    loop {
        let (headers, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
        let status = headers.split_whitespace().nth(1).and_then(|s| s.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status line: {ran:#?}"));
        if status >= 200 {
            return Reply { status, headers: headers.to_lowercase(), body: body.to_owned() };
        }
        rest = body;
    }
}
