//! What reaches a container, and what comes back.

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{Request, StatusCode};
use serde_json::json;

use super::{DOMAIN, House, SERVER, echo};
use cowl_api::{ContainerId, ProjectId};

#[tokio::test]
async fn a_kit_is_told_service_and_instance_and_sees_the_host_unchanged() {
    let house = House::new().await;
    house.kit(echo()).await;
    let cases = [
        ("terminal-3", "terminal", "3"),
        ("files", "files", "1"),
        ("kv-2", "sqlite", "2"),
        ("agent-1", "workspaces", "1"),
        ("exec-hello", "exec", "hello"),
        ("proxy-logs-4", "logs", "4"),
    ];
    for (segment, service, instance) in cases {
        let host = house.host(segment);
        let got = house.get(&host, "/api/v1/x?a=b").await;
        assert_eq!(got.status, StatusCode::OK, "{segment}");
        let saw = got.json();
        assert_eq!(saw["uri"], "/api/v1/x?a=b");
        assert_eq!(saw["headers"]["host"], host);
        assert_eq!(saw["headers"]["x-cowl-service"], service, "{segment}");
        assert_eq!(saw["headers"]["x-cowl-instance"], instance, "{segment}");
    }
}

#[tokio::test]
async fn what_a_client_says_about_itself_is_replaced_by_what_the_proxy_knows() {
    let house = House::new().await;
    house.kit(echo()).await;
    let host = house.host("terminal-1");
    let req = Request::post("/p")
        .header(HOST, &host)
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-port", "1")
        .header("x-real-ip", "6.6.6.6")
        .header("forwarded", "for=6.6.6.6")
        .header("x-cowl-service", "files")
        .header("x-cowl-anything", "1")
        .header("connection", "x-secret, keep-alive, host")
        .header("x-secret", "hop")
        .header("te", "trailers")
        .header("authorization", "Bearer t")
        .body(Body::from("hello"))
        .unwrap();
    let saw = house.ask(req).await.json();
    let headers = &saw["headers"];
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-real-ip"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-forwarded-host"], host);
    assert_eq!(headers["x-cowl-service"], "terminal");
    assert_eq!(headers["authorization"], "Bearer t");
    assert_eq!(headers["host"], host);
    for gone in ["forwarded", "x-cowl-anything", "x-secret", "te", "connection", "x-forwarded-port"] {
        assert!(headers.get(gone).is_none(), "{gone} got through");
    }
    assert_eq!(saw["body"], "hello");
}

#[tokio::test]
async fn a_port_inside_is_reached_by_http_without_the_kits_headers() {
    let house = House::new().await;
    house.program(8080, echo()).await;
    let got = house.get(&house.host("http-8080"), "/").await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(got.json()["headers"].get("x-cowl-service").is_none());
}

#[tokio::test]
async fn a_port_inside_is_reached_by_tls_whoever_signed_its_certificate() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = House::new().await;
    let listener = house.bare_port(8443).await;
    let key = rcgen::generate_simple_self_signed(vec!["somebody.example".into()]).unwrap();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], der.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await.unwrap();
        stream.flush().await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    });
    let got = house.get(&house.host("https-8443"), "/").await;
    assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b"secret"[..]));
}

#[tokio::test]
async fn hop_by_hop_and_own_headers_of_a_reply_stay_inside() {
    let house = House::new().await;
    let reply = || async {
        [
            ("connection", "x-internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("x-cowl-service", "forged"),
            ("x-kept", "1"),
        ]
    };
    house.program(80, Router::new().fallback(any(reply))).await;
    let got = house.get(&house.host("http"), "/").await;
    for gone in ["connection", "x-internal", "keep-alive", "x-cowl-service"] {
        assert!(!got.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(got.headers["x-kept"], "1");
}

#[tokio::test]
async fn a_desktop_is_the_terminal_service_with_a_forced_query() {
    let house = House::new().await;
    house.kit(echo()).await;
    let got = house.get(&house.host("desktop-2"), "/?terminal_id=7&desktop_env=mate&x=y").await;
    let saw = got.json();
    assert_eq!(saw["headers"]["x-cowl-service"], "terminal");
    assert_eq!(saw["headers"]["x-cowl-instance"], "1602");
    assert_eq!(saw["uri"], "/?desktop=true&redirect=display&terminal_id=1602&display=1602&desktop_env=mate");
}

#[tokio::test]
async fn a_kit_that_does_not_answer_yet_is_503_with_retry_after() {
    let house = House::new().await;
    let got = house.get(&house.host("terminal-1"), "/").await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(got.headers[RETRY_AFTER], "1");
    assert_eq!(got.json()["error"], "Service Unavailable");
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_502_and_names_the_port() {
    let house = House::new().await;
    let got = house.get(&house.host("http-3000"), "/").await;
    assert_eq!(got.status, StatusCode::BAD_GATEWAY);
    assert_eq!(got.headers[CONTENT_TYPE], "application/json");
    assert_eq!(got.json(), json!({"error": "Bad Gateway", "message": "nothing listens on port 3000 of this computer"}));
}

#[tokio::test]
async fn unknown_foreign_stopped_and_misspelt_computers_look_the_same() {
    let house = House::new().await;
    house.kit(echo()).await;
    let (other_project, nobody) = (ProjectId::generate(), ContainerId::generate());
    let mine = (house.project, house.container);
    let hosts = [
        format!("{}-{nobody}-terminal-1.{SERVER}.containers.{DOMAIN}", mine.0),
        format!("{other_project}-{}-terminal-1.{SERVER}.containers.{DOMAIN}", mine.1),
        format!("{other_project}-{}-http-80.{SERVER}.containers.{DOMAIN}", mine.1),
        format!("{}-{}-nonsense-1.{SERVER}.containers.{DOMAIN}", mine.0, mine.1),
        format!("someone.{SERVER}.containers.{DOMAIN}"),
        house.host("terminal-1"),
    ];
    let mut seen = Vec::new();
    for (i, host) in hosts.iter().enumerate() {
        if i == hosts.len() - 1 {
            assert_eq!(house.get(host, "/").await.status, StatusCode::OK);
            house.fleet.running.lock().unwrap().remove(&mine);
        }
        let bytes = house.raw(host, &format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        let without_date: Vec<&str> = bytes.split("\r\n").filter(|l| !l.starts_with("date:")).collect();
        seen.push(without_date.join("\r\n"));
    }
    assert!(seen[0].starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{}", seen[0]);
    assert!(
        seen[0].ends_with(r#"{"error":"Service Unavailable","message":"no such computer, or it is not running"}"#),
        "{}",
        seen[0]
    );
    for other in &seen[1..] {
        assert_eq!(*other, seen[0]);
    }
}

#[tokio::test]
async fn segments_nobody_serves_yet_say_so() {
    let house = House::new().await;
    for segment in ["ssh", "proxy", "cdp", "cli"] {
        let got = house.get(&house.host(segment), "/").await;
        assert_eq!(got.status, StatusCode::NOT_IMPLEMENTED);
        assert!(got.json()["message"].as_str().unwrap().starts_with(segment));
    }
}

#[tokio::test]
async fn idle_connections_are_reused_for_the_same_door_only() {
    let house = House::new().await;
    let kit = house.kit(echo()).await;
    house.program(80, echo()).await;
    let (kit_host, port_host) = (house.host("terminal-1"), house.host("http"));
    house.get(&kit_host, "/").await;
    super::eventually("the connection is shelved", || house.proxy.shared.pool.len() == 1).await;
    house.get(&kit_host, "/").await;
    house.get(&house.host("files-2"), "/").await;
    assert_eq!(house.dials(), 1, "kit requests share a connection");
    house.get(&port_host, "/").await;
    assert_eq!(house.dials(), 2, "a port is another door");
    let post = Request::post("/").header(HOST, &kit_host).body(Body::empty()).unwrap();
    assert_eq!(house.ask(post).await.status, StatusCode::OK);
    assert_eq!(house.dials(), 3, "what must not happen twice dials anew");
    // The kit restarts: the shelved connection is stale, the request still answered.
    kit.abort();
    let _ = kit.await;
    house.kit(echo()).await;
    assert_eq!(house.get(&kit_host, "/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn idle_connections_are_closed_after_a_while() {
    let limits = super::Limits { idle_upstream: std::time::Duration::from_millis(100), ..Default::default() };
    let house = House::with(limits).await;
    house.kit(echo()).await;
    house.get(&house.host("terminal-1"), "/").await;
    super::eventually("the connection is shelved", || house.proxy.shared.pool.len() == 1).await;
    super::eventually("the shelf is swept", || house.proxy.shared.pool.len() == 0).await;
}

#[tokio::test]
async fn a_left_hand_label_reaches_exec_under_a_certificate_of_its_own() {
    let house = House::new().await;
    house.kit(echo()).await;
    let host = format!("shop.{}", house.host("exec-1"));
    let got = house.get(&host, "/").await;
    assert_eq!(got.json()["headers"]["host"], host);
    assert_eq!(got.json()["headers"]["x-cowl-service"], "exec");
}

#[tokio::test]
async fn a_request_is_told_to_the_node_once_it_is_over() {
    let house = House::new().await;
    house.kit(echo()).await;
    let got = house.get(&house.host("files-1"), "/etc/hosts?secret=1").await;
    super::eventually("one record", || house.records().len() == 1).await;
    let record = &house.records()[0];
    assert_eq!(record.path(), "/etc/hosts");
    assert_eq!(record.service(), "files");
    assert_eq!(record.status, StatusCode::OK);
    assert_eq!(record.sent, got.body.len() as u64);
}
