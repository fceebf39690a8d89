//! Stories on the real thing: the whole router on a socket, real shells, real files.

mod files_stories;
mod interactive_stories;
mod terminal_stories;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::Context;
use cowl_api::service::{INSTANCE_HEADER, SERVICE_HEADER};

/// A kit of its own, gone at the end of the test.
struct House {
    dir: tempfile::TempDir,
    server: JoinHandle<()>,
}

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of a success.
    #[track_caller]
    fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        self.json()
    }

    /// The message of a flat error with this status.
    #[track_caller]
    fn refused(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert!(body["error"].is_string() && body.as_object().unwrap().len() == 2, "{body}");
        body["message"].as_str().unwrap().to_owned()
    }
}

impl House {
    fn open() -> Self {
        // As the shim does before it starts a kit.
        cowl_engine::sys::process::hear_interrupts();
        let dir = tempfile::Builder::new().prefix("cowlt-kit-").tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("kit.sock")).unwrap();
        let context = Context::new(dir.path().join("run"));
        let server = tokio::spawn(async move { super::serve(listener, context).await.unwrap() });
        Self { dir, server }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("kit.sock")
    }

    /// A place for the test's own files.
    fn files_dir(&self) -> PathBuf {
        let dir = self.dir.path().join("files");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    async fn call(&self, service: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path).header("host", "kit");
        if !service.is_empty() {
            request = request.header(SERVICE_HEADER, service).header(INSTANCE_HEADER, "1");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let work = async {
            let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
            let (parts, body) = response.into_parts();
            Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.collect().await.unwrap().to_bytes(),
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), work).await.expect("no answer in time");
        connection.abort();
        answer
    }

    async fn terminal(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.call("terminal", method, &format!("/api/v1/terminal/{path}"), &[], body).await
    }

    async fn files(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.call("files", method, path, &[], body.to_vec()).await
    }

    /// Runs a command in session 1 and waits for its end.
    async fn run(&self, command: &str) -> Value {
        self.terminal("POST", "execute", serde_json::json!({ "command": command, "timeout": 30 })).await.ok()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The REST path of a file.
fn rest(path: &Path) -> String {
    format!("/api/v1/files{}", path.display())
}

#[tokio::test]
async fn the_services_that_are_not_built_say_so_by_name() {
    let house = House::open();
    for service in cowl_api::service::Service::ALL {
        let answer = house.call(service.slug(), "GET", "/api/v1/x/health", &[], Vec::new()).await;
        match service.slug() {
            "terminal" | "files" => assert_eq!(answer.status, 404, "{service}"),
            slug => assert!(answer.refused(501).contains(slug)),
        }
    }
    house.call("", "GET", "/", &[], Vec::new()).await.refused(400);
    house.call("nonsense", "GET", "/", &[], Vec::new()).await.refused(400);
    for path in ["screenshot", "drop-begin", "openapi.json"] {
        assert!(house.terminal("GET", path, Value::Null).await.refused(501).contains(path));
    }
}

#[tokio::test]
async fn health_has_its_nine_fields_and_everything_is_open_to_other_origins() {
    let house = House::open();
    for service in ["terminal", "files"] {
        let path = format!("/api/v1/{service}/health");
        let headers = [("x-forwarded-for", "192.0.2.7, 10.0.0.1"), ("user-agent", "test")];
        let answer = house.call(service, "GET", &path, &headers, Vec::new()).await;
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert!(!answer.headers.contains_key("x-frame-options"));
        let health = answer.ok();
        assert_eq!(health.as_object().unwrap().len(), 9);
        assert_eq!(health["service"], format!("cowl-{service}"));
        assert_eq!((health["ip"].as_str(), health["userAgent"].as_str()), (Some("192.0.2.7"), Some("test")));
    }
    let headers =
        [("origin", "https://x"), ("access-control-request-method", "PUT"), ("access-control-request-headers", "x-a")];
    let preflight = house.call("files", "OPTIONS", "/api/v1/files/etc", &headers, Vec::new()).await;
    assert_eq!((preflight.status, &preflight.headers["access-control-allow-headers"]), (204, &"x-a".parse().unwrap()));
}
