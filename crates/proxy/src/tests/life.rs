//! The end of a node.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::net::TcpStream;

use super::{DOMAIN, House, Limits};

async fn slow_kit(house: &House, takes: Duration) {
    let slow = move || async move {
        tokio::time::sleep(takes).await;
        "done"
    };
    house.kit(Router::new().route("/", get(slow))).await;
}

#[tokio::test]
async fn a_request_in_flight_ends_well_and_nothing_new_is_accepted() {
    let mut house = House::new().await;
    slow_kit(&house, Duration::from_millis(500)).await;
    let idle = house.tls(&format!("api.{DOMAIN}")).await;
    let stream = house.tls(&house.host("run-1")).await;
    let req = Request::get("/").header(HOST, house.host("run-1")).body(Body::empty()).unwrap();
    let reply = tokio::spawn(super::send(stream, req));
    tokio::time::sleep(Duration::from_millis(200)).await;
    house.shutdown.cancel();
    let loops = std::mem::take(&mut house.loops);
    let reply = reply.await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "done");
    for ended in loops {
        tokio::time::timeout(Duration::from_secs(2), ended).await.expect("idle connections hold the node").unwrap();
    }
    assert!(TcpStream::connect(house.at).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cut_when_the_node_stops() {
    let mut house = House::with(Limits { drain: Duration::from_millis(200), ..Limits::default() }).await;
    slow_kit(&house, Duration::from_secs(60)).await;
    let req = Request::get("/").header(HOST, house.host("run-1")).body(Body::empty()).unwrap();
    let stream = house.tls(&house.host("run-1")).await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let reply = tokio::spawn(async move { sender.send_request(req).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    house.shutdown.cancel();
    for ended in std::mem::take(&mut house.loops) {
        tokio::time::timeout(Duration::from_secs(2), ended).await.expect("the node does not stop").unwrap();
    }
    assert!(reply.await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_its_tls_session() {
    use rustls::HandshakeKind::{Full, Resumed};
    let house = House::new().await;
    let name = format!("api.{DOMAIN}");
    let connector = tokio_rustls::TlsConnector::from(house.trust());
    for expected in [Full, Resumed] {
        let tcp = TcpStream::connect(house.at).await.unwrap();
        let server = rustls::pki_types::ServerName::try_from(name.clone()).unwrap();
        let mut stream = connector.connect(server, tcp).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        assert!(super::read_all(&mut stream).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
    }
}

#[tokio::test]
async fn a_kit_that_takes_too_long_is_504() {
    let house = House::with(Limits { first_byte: Duration::from_millis(200), ..Limits::default() }).await;
    slow_kit(&house, Duration::from_secs(60)).await;
    assert_eq!(house.get(&house.host("run-1"), "/").await.status, StatusCode::GATEWAY_TIMEOUT);
}
