//! The API with curl: over TLS with a token, and over the socket.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::web::{Web, curl, socket};
use crate::harness::{Container, eventually, shared};
use crate::stories;

stories![
    a_container_made_with_curl_answers_on_its_urls_within_seconds,
    the_api_wants_the_owners_token,
    the_socket_needs_no_token,
    replies_are_envelopes_and_lists_are_paged,
    fields_without_effect_are_named_in_warnings,
    a_virtual_machine_is_refused,
    operations_that_make_no_sense_are_refused,
    the_status_log_tells_how_a_container_came_to_its_state,
    events_stream_as_server_sent_events,
    environment_variables_reach_new_sessions,
];

fn a_container_made_with_curl_answers_on_its_urls_within_seconds() {
    let node = shared::node();
    let project = node.project("curl");
    let web = Web::new(&node);
    let body =
        json!({ "name": "dev-environment", "server_id": node.server_name(), "hoody_kit": true, "dev_kit": true });
    let begun = Instant::now();
    let created = web.api("POST", &format!("/api/v1/projects/{project}/containers"), Some(&body.to_string())).is(201);
    assert_eq!(created["statusCode"], 201);
    assert_eq!(created["data"]["status"], "creating", "{created}");
    let c = Container::from_json(&node, &created["data"]);

    let order = r#"{"command":"uname -a","wait":true}"#;
    let order = ["-H", "Content-Type: application/json", "-d", order];
    let reply = eventually("terminal-1 to answer", 30, || {
        let reply = c.curl("terminal-1", "/api/v1/terminal/execute", &order);
        (!matches!(reply.status, 502..=504)).then_some(reply)
    });
    let took = begun.elapsed();
    let result = reply.is(200);
    assert_eq!((&result["status"], &result["exit_code"]), (&"completed".into(), &0.into()), "{result}");
    assert!(result["stdout"].as_str().unwrap().contains("Linux dev-environment"), "{result}");
    // Well under a second on a quiet machine with the program that people install; this one is
    // unoptimised and its neighbours are other tests.
    assert!(took < Duration::from_secs(10), "took {took:?}");

    let release = c.curl("files-1", "/api/v1/files/etc/os-release", &[]);
    assert_eq!(release.status, 200, "{release:#?}");
    assert!(release.body.contains("VERSION_CODENAME=trixie"), "{release:#?}");
}

fn the_api_wants_the_owners_token() {
    let node = shared::node();
    let web = Web::new(&node);
    let host = "api.box.test";
    for header in [None, Some("Authorization: Bearer nonsense"), Some("Authorization: Basic Og==")] {
        let args: Vec<&str> = header.iter().flat_map(|h| ["-H", h]).collect();
        let refused = web.ask(host, "/api/v1/status", &args).is(401);
        assert_eq!((&refused["statusCode"], &refused["error"]), (&401.into(), &"Unauthorized".into()), "{refused}");
    }
    web.api("GET", "/api/v1/status", None).is(200);
}

fn the_socket_needs_no_token() {
    let node = shared::node();
    socket(&node, "GET", "/api/v1/status", None).is(200);
    let about = std::fs::metadata(node.run_dir().join("node.sock")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions());
    assert_eq!(mode & 0o007, 0, "others may use the socket: {mode:o}");
}

fn replies_are_envelopes_and_lists_are_paged() {
    let node = shared::node();
    // A project of its own: elsewhere other stories make containers between two pages.
    let project = node.project("paged");
    let (_a, _b) = (node.container_in(&project, "page-a"), node.container_in(&project, "page-b"));
    let path = format!("/api/v1/projects/{project}/containers");
    let first = socket(&node, "GET", &format!("{path}/?limit=1"), None).is(200);
    let page = &first["data"]["pagination"];
    assert_eq!((&page["page"], &page["limit"], &page["total"]), (&1.into(), &1.into(), &2.into()), "{first}");
    assert_eq!(first["data"]["containers"].as_array().unwrap().len(), 1);
    let second = socket(&node, "GET", &format!("{path}?limit=1&page=2"), None).is(200);
    assert_ne!(first["data"]["containers"][0]["id"], second["data"]["containers"][0]["id"]);
    let all = socket(&node, "GET", "/api/v1/containers/?limit=100", None).is(200);
    assert!(all["data"]["pagination"]["total"].as_u64().unwrap() >= 2, "{all}");
    let missing = socket(&node, "GET", "/api/v1/nothing", None).is(404);
    assert_eq!(missing["statusCode"], 404, "{missing}");
}

fn fields_without_effect_are_named_in_warnings() {
    let node = shared::node();
    let project = node.project("warned");
    let body = json!({ "server_id": node.server_name(), "name": "warned", "cache": true, "ai": true, "ramdisk": true });
    let path = format!("/api/v1/projects/{project}/containers");
    let created = socket(&node, "POST", &path, Some(&body.to_string())).is(201);
    let warnings = created["data"]["warnings"].to_string();
    for field in ["cache", "ai"] {
        assert!(warnings.contains(field), "{field} is not in {warnings}");
    }
    assert!(!warnings.contains("ramdisk"), "{warnings}");
    let c = Container::from_json(&node, &created["data"]);
    c.becomes("running");
}

fn a_virtual_machine_is_refused() {
    let node = shared::node();
    let project = node.project("refused");
    let path = format!("/api/v1/projects/{project}/containers");
    for (field, status) in
        [(json!({"kvm": true}), 422), (json!({"kvm": true, "dev_kvm": false}), 400), (json!({"prespawn": true}), 403)]
    {
        let mut body = field.clone();
        body["server_id"] = node.server_name().into();
        let refused = socket(&node, "POST", &path, Some(&body.to_string())).is(status);
        assert_eq!(refused["statusCode"], status, "{field}: {refused}");
    }
    assert_eq!(node.json(&["containers", "list", "--project", &project]), json!([]));
}

fn operations_that_make_no_sense_are_refused() {
    let node = shared::node();
    let c = node.container("op");
    let operate = |op: &str| socket(&node, "POST", &format!("/api/v1/containers/{}/{op}", c.id), None);
    // What is so already is no error; what cannot be is one.
    assert_eq!(operate("resume").is(200)["data"]["status"], "running");
    operate("explode").is(400);
    let stopped = operate("force-stop").is(200);
    assert_eq!(stopped["data"]["status"], "stopped", "{stopped}");
    operate("pause").is(409);
    assert_eq!(operate("start").is(200)["data"]["status"], "running");
}

fn the_status_log_tells_how_a_container_came_to_its_state() {
    let node = shared::node();
    let c = node.container("log");
    node.cowl(&["containers", "stop", &c.id]).ok();
    let logs = socket(&node, "GET", &format!("/api/v1/containers/{}/status-logs", c.id), None).is(200);
    let text = logs["data"].to_string();
    for state in ["creating", "running", "stopped"] {
        assert!(text.contains(&format!("\"to_status\":\"{state}\"")), "{state}: {logs}");
    }
}

fn events_stream_as_server_sent_events() {
    let node = shared::node();
    let socket = node.run_dir().join("node.sock");
    let url = "http://api.cowl.localhost/api/v1/events/stream";
    let making = std::thread::scope(|scope| {
        let stream = scope.spawn(|| {
            curl_until_timeout(&["--no-buffer", "--unix-socket", socket.to_str().unwrap(), "--max-time", "6", url])
        });
        std::thread::sleep(Duration::from_millis(500));
        let c = node.container("sse");
        let id = c.id.clone();
        drop(c);
        (stream.join().unwrap(), id)
    });
    let (text, id) = making;
    assert!(text.to_lowercase().contains("content-type: text/event-stream"), "{text}");
    let told = text.lines().filter_map(|l| l.strip_prefix("data:")).filter(|l| l.contains(&id)).collect::<Vec<_>>();
    for event in ["container.running", "container.deleted"] {
        assert!(told.iter().any(|l| l.contains(event)), "{event} is not in {told:?}");
    }
}

/// A stream has no end; curl gives up by itself (28).
fn curl_until_timeout(args: &[&str]) -> String {
    let ran = curl(args);
    assert_eq!(ran.code, 28, "{ran:#?}");
    ran.stdout
}

fn environment_variables_reach_new_sessions() {
    let node = shared::node();
    let project = node.project("env");
    let words = ["containers", "create", "--project", &project, "--name", "env", "--env", "COLOUR=light blue"];
    let c = Container::from_json(&node, &node.json(&words));
    assert_eq!(c.says("echo \"$COLOUR\""), "light blue");
}
