//! The API as clients meet it: requests in, envelopes out, on a machine in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::Node;
use crate::tests::TestBox;
use cowl_proxy::Peer;

mod time;

struct Client {
    router: axum::Router,
    node: Arc<Node>,
}

impl Client {
    async fn of(b: &TestBox) -> Self {
        let node = b.start().await;
        Self { router: super::router(Arc::clone(&node)), node }
    }

    async fn raw(&self, request: Request<Body>) -> (StatusCode, http::HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, axum::body::to_bytes(body, 1 << 24).await.unwrap().to_vec())
    }

    /// Sends as a process of this box; checks that the reply is an envelope.
    async fn send(&self, method: &str, path: &str, body: impl Into<Option<Value>>) -> (u16, Value) {
        let body = body.into().map_or_else(Body::empty, |v: Value| Body::from(v.to_string()));
        let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
        request.extensions_mut().insert(Peer::Unix { uid: 0, gid: 0, pid: None });
        let (status, _, bytes) = self.raw(request).await;
        let json: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(json["statusCode"], status.as_u16(), "{json}");
        assert!(json["message"].is_string());
        if status.is_success() {
            (status.as_u16(), json["data"].clone())
        } else {
            assert!(json["error"].is_string());
            (status.as_u16(), json)
        }
    }

    async fn get(&self, path: &str) -> Value {
        let (status, data) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {data}");
        data
    }

    async fn project(&self, alias: &str) -> String {
        let (status, data) = self.send("POST", "/api/v1/projects/", json!({ "alias": alias })).await;
        assert_eq!(status, 201, "{data}");
        data["id"].as_str().unwrap().to_owned()
    }

    async fn create(&self, project: &str, body: Value) -> (u16, Value) {
        let mut body = body;
        body["server_id"] = "node-test".into();
        self.send("POST", &format!("/api/v1/projects/{project}/containers"), body).await
    }

    /// Waits until a container is in a state.
    async fn until(&self, id: &str, state: &str) -> Value {
        for _ in 0..500 {
            let c = self.get(&format!("/api/v1/containers/{id}")).await;
            if c["status"] == state {
                return c;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{id} never became {state}: {}", self.get(&format!("/api/v1/containers/{id}")).await);
    }

    async fn running(&self, project: &str, name: &str) -> String {
        let (status, c) = self.create(project, json!({ "name": name })).await;
        assert_eq!((status, &c["status"]), (201, &json!("creating")), "{c}");
        let id = c["id"].as_str().unwrap().to_owned();
        self.until(&id, "running").await;
        id
    }
}

fn field(error: &Value) -> &str {
    error["data"][0]["instancePath"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_containers_life_from_creation_to_deletion() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let path = format!("/api/v1/containers/{id}");
    for (operation, state) in [
        ("start", "running"),
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "running"),
        ("restart", "running"),
        ("stop", "stopped"),
        ("stop", "stopped"),
        ("start", "running"),
        ("force-stop", "stopped"),
    ] {
        let (status, reply) = c.send("POST", &format!("{path}/{operation}"), None).await;
        assert_eq!((status, &reply["status"], &reply["operation"]), (200, &json!(state), &json!(operation)), "{reply}");
    }
    let (status, error) = c.send("POST", &format!("{path}/pause"), None).await;
    assert_eq!(status, 409);
    assert!(error["message"].as_str().unwrap().contains("is stopped"));
    assert_eq!(c.send("POST", &format!("{path}/explode"), None).await.0, 400);
    let logs = c.get(&format!("{path}/status-logs?limit=2")).await;
    assert_eq!((&logs["logs"][0]["to_status"], &logs["pagination"]["limit"]), (&json!("stopped"), &json!(2)));
    assert_eq!(c.send("DELETE", &path, None).await.0, 200);
    assert_eq!(c.send("GET", &path, None).await.0, 404);
    assert_eq!(c.send("DELETE", &path, None).await.0, 404);
    assert!(b.machine.world().disks.is_empty() && b.machine.world().running.is_empty());
    let events = c.get("/api/v1/events?limit=1").await;
    assert_eq!(events["events"][0]["event_type"], "container.deleted");
}

#[tokio::test]
async fn a_running_container_may_be_deleted_and_goes_at_once() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    assert_eq!(c.send("DELETE", &format!("/api/v1/containers/{id}"), None).await.0, 200);
    assert!(b.machine.world().running.is_empty());
}

#[tokio::test]
async fn a_container_shows_all_that_the_contract_names() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let (_, made) = c
        .create(&project, json!({ "name": "web", "ai": true, "environment_vars": { "A": "1" }, "color": "abc" }))
        .await;
    let id = made["id"].as_str().unwrap();
    let web = c.until(id, "running").await;
    assert_eq!(web["container_image"], "debian/13");
    assert_eq!((&web["color"], &web["environment_vars"]["A"]), (&json!("#ABC"), &json!("1")));
    assert_eq!((&web["address"], &web["server_name"]), (&json!("10.201.0.16"), &json!("node-test")));
    assert_eq!(web["warnings"].as_array().unwrap().len(), 1);
    for key in [
        "project_alias",
        "server_id",
        "subserver_name",
        "ssh_hostname",
        "hoody_kit",
        "dev_kit",
        "kvm",
        "autostart",
        "ramdisk",
        "ramdisk_scope",
        "prespawn",
        "is_default",
        "volumes",
        "ssh_public_key",
        "comment",
        "source_container_id",
        "created_at",
        "updated_at",
        "realm_ids",
        "snapshot_count",
        "last_used_snapshot",
    ] {
        assert!(web.get(key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let nobody = "0".repeat(24);
    let at = format!("/api/v1/projects/{project}/containers");
    for (method, path, body, status, named) in [
        ("POST", "/api/v1/projects", json!({}), 400, "/alias"),
        ("POST", "/api/v1/projects", json!({ "alias": "" }), 400, "/alias"),
        ("POST", "/api/v1/projects", json!({ "alias": "demo" }), 409, ""),
        ("POST", "/api/v1/projects", json!({ "alias": "x", "color": "red" }), 400, "/color"),
        ("POST", "/api/v1/projects", json!({ "alias": "x", "max_containers": -1 }), 400, "/max_containers"),
        ("POST", &at, json!({}), 400, "/server_id"),
        ("POST", &at, json!({ "server_id": "else" }), 400, "/server_id"),
        ("POST", &at, json!({ "server_id": "node-test", "name": "a b" }), 400, "/name"),
        ("POST", &at, json!({ "server_id": "node-test", "kvm": true }), 422, ""),
        ("GET", "/api/v1/containers?page=0", json!({}), 400, "/page"),
        ("GET", "/api/v1/containers?sort_by=x", json!({}), 400, "/sort_by"),
        ("GET", &format!("/api/v1/containers/{nobody}"), json!({}), 404, ""),
        ("GET", "/api/v1/containers/NOT-AN-ID", json!({}), 404, ""),
        ("GET", &format!("/api/v1/projects/{nobody}/containers"), json!({}), 404, ""),
        ("POST", &format!("/api/v1/containers/{nobody}/start"), json!({}), 404, ""),
        ("GET", "/api/v1/nonsense", json!({}), 404, ""),
        ("GET", "/", json!({}), 404, ""),
        ("DELETE", "/api/v1/status", json!({}), 405, ""),
        ("POST", "/api/v1/users/auth/login", json!({}), 501, ""),
        ("GET", "/api/v1/containers/%ff", json!({}), 400, ""),
    ] {
        let (got, error) = c.send(method, path, body.clone()).await;
        assert_eq!((got, field(&error)), (status, named), "{method} {path} {body}: {error}");
    }
    let mut request = Request::post("/api/v1/projects").body(Body::from("{\"alias\":")).unwrap();
    request.extensions_mut().insert(Peer::Unix { uid: 0, gid: 0, pid: None });
    assert_eq!(c.raw(request).await.0, 400);
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let path = format!("/api/v1/containers/{id}");
    assert_eq!(c.send("GET", &format!("{path}/proxy/permissions"), None).await.0, 501);
    assert_eq!(c.send("PUT", &format!("{path}/kvm"), json!({})).await.0, 501);
    assert_eq!(c.send("POST", &format!("{path}/authorize"), None).await.0, 503);
}

#[tokio::test]
async fn rules_and_egress_reach_the_machine_and_a_refusal_changes_nothing() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let path = format!("/api/v1/containers/{id}");
    let rule = json!({ "action": "drop", "protocol": "udp", "description": "", "destination_port": "53" });
    let egress = format!("{path}/firewall/egress");
    assert_eq!(c.send("POST", &egress, rule.clone()).await.0, 200);
    assert_eq!(c.send("PUT", &format!("{path}/network"), json!({ "type": "block" })).await.0, 200);
    let policy = || b.machine.world().policies.values().next().cloned().unwrap();
    assert!(policy().blocked && policy().rules.egress.len() == 1);
    // The kernel refuses: nothing is written down.
    b.machine.fail_next("set_policy", "nft: no");
    assert_eq!(c.send("POST", &format!("{path}/firewall/reset"), None).await.0, 500);
    assert_eq!(c.get(&format!("{path}/firewall/rules")).await["rule_count"], 1);
    assert_eq!(c.send("POST", &egress, rule).await.0, 409);
    assert_eq!(c.send("DELETE", &format!("{path}/network"), None).await.0, 200);
    assert!(!policy().blocked);
    assert_eq!(c.send("POST", &format!("{path}/firewall/sideways"), json!({})).await.0, 404);
}

#[tokio::test]
async fn lists_are_paged_sorted_and_answer_with_and_without_slash() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    for name in ["ccc", "aaa", "bbb"] {
        c.running(&project, name).await;
    }
    for base in ["/api/v1/containers", "/api/v1/containers/", &format!("/api/v1/projects/{project}/containers/")] {
        let list = c.get(&format!("{base}?sort_by=name&limit=2")).await;
        assert_eq!((&list["containers"][0]["name"], &list["containers"][1]["name"]), (&json!("aaa"), &json!("bbb")));
        assert_eq!(list["pagination"], json!({ "total": 3, "page": 1, "limit": 2, "totalPages": 2 }));
        let list = c.get(&format!("{base}?sort_by=name&sort_order=desc&page=2&limit=2")).await;
        assert_eq!(list["containers"][0]["name"], "aaa");
    }
    let other = c.project("other").await;
    assert_eq!(c.get(&format!("/api/v1/projects/{other}/containers")).await["pagination"]["total"], 0);
    assert_eq!(c.get("/api/v1/projects/").await["projects"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_project_changes_by_put_and_patch_and_takes_its_containers_with_it() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let path = format!("/api/v1/projects/{project}");
    for method in ["PUT", "PATCH"] {
        let (status, p) = c.send(method, &path, json!({ "max_containers": 1, "color": "fff" })).await;
        assert_eq!((status, &p["max_containers"], &p["color"]), (200, &json!(1), &json!("#FFF")));
    }
    c.running(&project, "web").await;
    let (status, error) = c.create(&project, json!({ "name": "two" })).await;
    assert_eq!(status, 409, "{error}");
    let (status, gone) = c.send("DELETE", &format!("{path}?include_deleted_items=true"), None).await;
    assert_eq!((status, &gone["deleted"]["containers"]), (200, &json!(1)));
    assert_eq!(gone["deleted_items"]["containers"][0]["name"], "web");
    assert_eq!(c.send("GET", &path, None).await.0, 404);
    assert!(b.machine.world().disks.is_empty());
}

#[tokio::test]
async fn variables_are_set_one_by_one_and_all_at_once() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let path = format!("/api/v1/containers/{id}/env");
    let (_, env) = c.send("PATCH", &path, json!({ "A": "1", "B": "2" })).await;
    assert_eq!((&env["environment_vars"]["B"], &env["synced"]), (&json!("2"), &json!(false)));
    let (_, env) = c.send("PUT", &format!("{path}/C"), json!({ "value": "3" })).await;
    assert_eq!(env["environment_vars"].as_object().unwrap().len(), 3);
    assert_eq!(c.send("PUT", &format!("{path}/1x"), json!({ "value": "3" })).await.0, 400);
    assert_eq!(field(&c.send("PUT", &format!("{path}/D"), json!({})).await.1), "/value");
    assert_eq!(c.send("DELETE", &format!("{path}/A"), None).await.0, 200);
    assert_eq!(c.send("DELETE", &format!("{path}/A"), None).await.0, 404);
    assert_eq!(c.get(&path).await["environment_vars"], json!({ "B": "2", "C": "3" }));
}

#[tokio::test]
async fn snapshots_are_taken_listed_restored_renamed_and_deleted() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let container = id.parse().unwrap();
    let path = format!("/api/v1/containers/{id}/snapshots");
    let (status, made) = c.send("POST", &path, json!({ "alias": "base", "expiry": 7 })).await;
    assert_eq!(status, 201, "{made}");
    let name = made["snapshot"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("snap-2") && made["snapshot"]["expires_at"].is_string());
    assert_eq!(c.send("POST", &path, json!({ "alias": "base" })).await.0, 409);
    for bad in [json!("7"), json!(0), json!(-1), json!(3651)] {
        let (status, error) = c.send("POST", &path, json!({ "expiry": bad })).await;
        assert_eq!((status, field(&error)), (400, "/expiry"));
    }
    assert_eq!(b.machine.world().snapshots.len(), 1, "a refused snapshot must not be taken");
    b.machine.world().disks.insert(container, "damaged".into());
    let (status, done) = c.send("PATCH", &format!("{path}/base"), None).await;
    assert_eq!((status, &done["success"], &done["snapshot"]["name"]), (200, &json!(true), &json!(name)));
    assert_eq!(b.machine.world().disks[&container], "fresh debian-13-20261123-00000000");
    let web = c.get(&format!("/api/v1/containers/{id}")).await;
    assert_eq!((&web["status"], &web["last_used_snapshot"]), (&json!("running"), &json!(name)));
    let undo = done["safety_snapshot"].as_str().unwrap();
    assert_eq!(c.send("PUT", &format!("{path}/{undo}"), None).await.0, 200);
    assert_eq!(b.machine.world().disks[&container], "damaged");
    let list = c.get(&path).await;
    assert_eq!((&list["snapshot_count"], &list["max_snapshots"]), (&json!(3), &Value::Null));
    assert_eq!(list["snapshots"].as_array().unwrap().iter().filter(|s| s["kind"] == "safety").count(), 2);
    let (_, renamed) = c.send("PATCH", &format!("{path}/base/alias"), json!({ "alias": "golden" })).await;
    assert_eq!(renamed["snapshot"]["alias"], "golden");
    assert_eq!(c.send("PUT", &format!("{path}/golden/alias"), json!({})).await.0, 400);
    assert_eq!(c.send("PUT", &format!("{path}/golden/alias"), json!({ "alias": null })).await.0, 200);
    assert_eq!(c.send("PUT", &format!("{path}/golden"), None).await.0, 404);
    assert_eq!(c.send("DELETE", &format!("{path}/{name}"), None).await.0, 200);
    assert_eq!(c.send("DELETE", &format!("{path}/{name}"), None).await.0, 404);
}

#[tokio::test]
async fn a_stopped_container_stays_stopped_through_a_restore() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let path = format!("/api/v1/containers/{id}");
    c.send("POST", &format!("{path}/snapshots"), json!({ "alias": "a" })).await;
    c.send("POST", &format!("{path}/stop"), None).await;
    assert_eq!(c.send("PUT", &format!("{path}/snapshots/a"), None).await.0, 200);
    assert_eq!(c.get(&path).await["status"], "stopped");
    assert!(b.machine.world().running.is_empty());
}

#[tokio::test]
async fn files_of_snapshots_and_stopped_containers_can_be_read() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let path = format!("/api/v1/containers/{id}");
    c.send("POST", &format!("{path}/snapshots"), json!({ "alias": "a" })).await;
    assert_eq!(c.send("GET", &format!("{path}/files/etc"), None).await.0, 409);
    assert_eq!(c.get(&format!("{path}/snapshots/a/files?path=/etc")).await["href"], "/etc");
    assert_eq!(c.get(&format!("{path}/snapshots/a/files/etc/?stat")).await["path_type"], "Dir");
    assert_eq!(c.send("GET", &format!("{path}/snapshots/a/files/nope"), None).await.0, 404);
    assert_eq!(c.send("GET", &format!("{path}/snapshots/a/files/..%2Fx"), None).await.0, 400);
    c.send("POST", &format!("{path}/stop"), None).await;
    let mut request = Request::get(format!("{path}/files//etc/hostname")).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer::Unix { uid: 0, gid: 0, pid: None });
    let (status, headers, bytes) = c.raw(request).await;
    assert_eq!((status, bytes.as_slice()), (StatusCode::OK, b"fresh debian-13-20261123-00000000".as_slice()));
    assert_eq!(headers["content-disposition"], "attachment");
}

#[tokio::test]
async fn over_tcp_only_the_token_opens_the_door() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let token = crate::token::read(&b.dir.path().join("owner.token")).unwrap();
    let ask = |authorization: Option<String>| {
        let mut request = Request::get("/api/v1/users/auth/me");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer::Tcp(([198, 51, 100, 9], 5).into()));
        c.raw(request)
    };
    assert_eq!(ask(None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(Some("Bearer hdy_wrong".into())).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(Some(format!("Bearer {token}"))).await.0, StatusCode::OK);
    assert_eq!(ask(Some(token)).await.0, StatusCode::OK);
    let (status, headers, bytes) = c.raw(Request::get("/api/v1/status").body(Body::empty()).unwrap()).await;
    assert_eq!((status, &headers["www-authenticate"]), (StatusCode::UNAUTHORIZED, &"Bearer".parse().unwrap()));
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap()["statusCode"], 401);
}

#[tokio::test]
async fn the_box_tells_how_it_is() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let status = c.get("/api/v1/status").await;
    assert_eq!((&status["server_name"], &status["containers"]["running"]), (&json!("node-test"), &json!(1)));
    assert_eq!(status["api_url"], "https://api.cowl.localhost:8443");
    assert_eq!((&status["images"][0]["state"], &status["pool"]["free"]), (&json!("ready"), &json!(60)));
    assert_eq!(c.get("/api/v1/servers").await[0]["name"], "node-test");
    assert_eq!(c.get("/api/v1/servers/node-test").await["status"], "active");
    assert_eq!(c.send("GET", "/api/v1/servers/else", None).await.0, 404);
    assert_eq!(c.get("/api/v1/images").await["images"][0]["name"], "debian/13");
    assert_eq!(c.get("/api/v1/images/public").await["pagination"]["total"], 1);
    let stats = c.get(&format!("/api/v1/containers/{id}/stats")).await;
    assert_eq!((&stats["status_code"], &stats["processes"]), (&json!(103), &json!(9)));
    assert!(stats["cpu"]["usage_percent"].as_f64().unwrap() > 0.0);
    assert_eq!(stats["disk"]["root"]["usage"], 1 << 20);
    assert_eq!(c.get(&format!("/api/v1/projects/{project}/stats")).await["stats"].as_array().unwrap().len(), 1);
    assert_eq!(c.send("GET", "/api/v1/events?limit=x", None).await.0, 400);
    let events = c.get(&format!("/api/v1/events?container_id={id}&sort_order=asc&limit=1")).await;
    assert_eq!((&events["events"][0]["event_type"], &events["has_more"]), (&json!("container.creating"), &json!(true)));
    let one = events["events"][0]["id"].as_str().unwrap();
    assert_eq!(c.get(&format!("/api/v1/events/{one}")).await["id"], one);
}

#[tokio::test]
async fn the_event_stream_tells_what_happens_and_figures_when_asked() {
    use futures_util::StreamExt;
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    c.node.tasks.spawn(crate::stats::sampler::run(Arc::clone(&c.node)));
    let mut request =
        Request::get(format!("/api/v1/events/stream?stats=true&container_id={id}")).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer::Unix { uid: 0, gid: 0, pid: None });
    let response = c.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    assert!(text.contains(": listening"));
    c.send("POST", &format!("/api/v1/containers/{id}/pause"), None).await;
    c.send("POST", &format!("/api/v1/containers/{id}/resume"), None).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !(text.contains("container.paused") && text.contains("container.stats")) {
        let piece = tokio::time::timeout_at(deadline, body.next()).await.expect("events in time").unwrap().unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    assert!(c.node.bus.stats_are_wanted());
    drop(body);
    assert!(!c.node.bus.stats_are_wanted());
}

#[tokio::test]
async fn a_container_waits_for_its_image_and_says_so() {
    let b = TestBox::new();
    b.machine.world().images.clear();
    b.machine.world().fail.insert("hold", "x".into());
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let (status, made) = c.create(&project, json!({ "name": "web" })).await;
    assert_eq!((status, &made["status"]), (201, &json!("creating")));
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/containers/{id}");
    assert_eq!(c.send("POST", &format!("{path}/stop"), None).await.0, 409);
    for _ in 0..200 {
        if c.get(&path).await["status_reason"].as_str().is_some_and(|r| r.contains("unpacking, 50 %")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(c.get(&path).await["status_reason"].as_str().unwrap().contains("unpacking, 50 %"));
    let (_, doomed) = c.create(&project, json!({ "name": "two" })).await;
    let doomed = format!("/api/v1/containers/{}", doomed["id"].as_str().unwrap());
    assert_eq!(c.send("DELETE", &doomed, None).await.0, 200, "a waiting container can be deleted");
    b.machine.world().fail.remove("hold");
    let web = c.until(&id, "running").await;
    assert!(web.get("status_reason").is_none());
}

#[tokio::test]
async fn a_failed_image_build_fails_the_container_and_can_be_retried() {
    let b = TestBox::new();
    b.machine.world().images.clear();
    b.machine.fail_next("build_image", "the mirror is out of reach");
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let (_, made) = c.create(&project, json!({ "name": "web" })).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let web = c.until(&id, "failed").await;
    assert!(web["status_reason"].as_str().unwrap().contains("the mirror is out of reach"));
    assert_eq!(c.get("/api/v1/images").await["images"][0]["state"], "failed");
    let (status, _) = c.send("POST", "/api/v1/images/debian-13/build", None).await;
    assert_eq!(status, 202);
    for _ in 0..500 {
        if c.get("/api/v1/images/debian-13").await["state"] == "ready" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(c.send("POST", "/api/v1/images", json!({ "name": "debian/13" })).await.0, 200);
    assert_eq!(c.send("POST", &format!("/api/v1/containers/{id}/start"), None).await.0, 200);
    assert_eq!(c.send("POST", "/api/v1/images/ubuntu/build", None).await.0, 404);
}

#[tokio::test]
async fn an_outdated_image_is_told_built_anew_and_pruned_when_nobody_needs_it() {
    let b = TestBox::new();
    b.machine.world().outdated.insert("debian-13".into());
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let old = c.running(&project, "old").await;
    let image = c.get("/api/v1/images/debian-13").await;
    assert_eq!((&image["state"], &image["outdated"]), (&json!("ready"), &json!(true)));
    let first = image["id"].as_str().unwrap().to_owned();

    // While the new one is built, and when that fails, the old one is used.
    let build = || c.send("POST", "/api/v1/images/debian-13/build", None);
    b.machine.world().fail.insert("hold", "x".into());
    assert_eq!(build().await.0, 202);
    assert_eq!(c.send("POST", "/api/v1/images/prune", json!({ "dry_run": true })).await.0, 409);
    c.running(&project, "meanwhile").await;
    b.machine.fail_next("build_image", "the mirror is out of reach");
    b.machine.world().fail.remove("hold");
    let image = until_image(&c, "ready").await;
    assert!(image["error"].as_str().unwrap().contains("out of reach"), "{image}");
    assert_eq!((image["id"].as_str(), &image["outdated"]), (Some(first.as_str()), &json!(true)));
    c.running(&project, "still").await;

    assert_eq!(build().await.0, 202);
    let image = until_image(&c, "ready").await;
    assert_eq!((&image["outdated"], image.get("error")), (&json!(false), Some(&json!(null))));
    let second = image["id"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(build().await.0, 200, "one that is current is not built again");
    c.running(&project, "new").await;
    let disks: Vec<String> = b.machine.world().disks.values().cloned().collect();
    let of = |image: &str| disks.iter().filter(|disk| **disk == format!("fresh {image}")).count();
    assert_eq!((of(&first), of(&second)), (3, 1));

    let prune = |dry_run: bool| c.send("POST", "/api/v1/images/prune", json!({ "dry_run": dry_run }));
    assert_eq!(prune(false).await.1["images"], json!([]), "containers keep theirs");
    let all = c.get("/api/v1/containers").await;
    for one in all["containers"].as_array().unwrap() {
        if one["name"] != "new" {
            c.send("DELETE", &format!("/api/v1/containers/{}", one["id"].as_str().unwrap()), None).await;
        }
    }
    for _ in 0..500 {
        if b.machine.world().disks.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_ne!(old, second);
    let (_, told) = prune(true).await;
    assert_eq!((&told["dry_run"], &told["images"][0]["id"]), (&json!(true), &json!(first)));
    b.machine.fail_next("prune", "what is that in the pool?");
    assert_eq!(prune(false).await.0, 409);
    let (_, gone) = prune(false).await;
    assert_eq!((&gone["images"], &gone["frees"]), (&told["images"], &told["frees"]));
    assert_eq!(prune(false).await.1["images"], json!([]));
    assert_eq!(c.send("POST", "/api/v1/images/debian-13/build?fresh=true", None).await.0, 202);
    let image = until_image(&c, "ready").await;
    assert_ne!(image["id"], json!(second));
}

/// The image once it is in this state, and its build no longer under way.
async fn until_image(c: &Client, state: &str) -> Value {
    for _ in 0..500 {
        let image = c.get("/api/v1/images/debian-13").await;
        if image["state"] == state {
            return image;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the image is not {state}: {}", c.get("/api/v1/images/debian-13").await);
}

#[tokio::test]
async fn changed_limits_reach_the_machine_at_once_and_what_it_lacks_is_a_warning() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let path = format!("/api/v1/containers/{id}");
    let limits = |b: &TestBox| b.machine.world().limits[&id.parse().unwrap()].clone();
    let body = json!({ "settings": { "limits": { "memory": "512M", "memory_high": "256M" } } });
    let (status, reply) = c.send("PATCH", &path, Some(body)).await;
    assert_eq!((status, limits(&b).memory.map(|s| s.0)), (200, Some(512 << 20)));
    let warning = &reply["warnings"][0];
    assert!(warning["message"].as_str().unwrap().starts_with("settings.limits.memory_high does not hold"), "{reply}");

    // What a container leaves open is its project's; a change of that reaches it too.
    let body = json!({ "settings": { "limits": { "pids": 500, "memory": "1G" } } });
    let (status, reply) = c.send("PATCH", &format!("/api/v1/projects/{project}"), Some(body)).await;
    assert_eq!((status, limits(&b).pids, limits(&b).memory.map(|s| s.0)), (200, Some(500), Some(512 << 20)));
    assert!(reply["warnings"][0]["message"].as_str().unwrap().starts_with("web: "), "{reply}");

    let (_, reply) = c.send("PATCH", &path, Some(json!({ "settings": null }))).await;
    assert_eq!((limits(&b).memory.map(|s| s.0), &reply["warnings"]), (Some(1 << 30), &json!([])));
    let (status, reply) = c.send("PATCH", &path, Some(json!({ "settings": { "limits": { "pids": 1 } } }))).await;
    assert_eq!((status, &reply["data"][0]["instancePath"]), (400, &json!("/settings/limits/pids")), "{reply}");
    let history = c.get(&format!("{path}/stats/history")).await;
    assert_eq!((&history["interval_s"], &history["points"]), (&json!(30), &json!([])));
    assert_eq!(c.send("GET", &format!("{path}/stats/history?interval=7"), None).await.0, 400);
}
