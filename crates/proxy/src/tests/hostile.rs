//! Clients and containers that mean harm.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{DOMAIN, House, Limits, echo, eventually, read_all};

#[tokio::test]
async fn a_request_with_chunks_and_a_length_never_becomes_two() {
    let house = House::new().await;
    house.kit(echo()).await;
    let host = house.host("terminal-1");
    let inner = format!("GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let head = format!("POST /outer HTTP/1.1\r\nHost: {host}\r\n");
    for lengths in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", inner.len() + 5),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", inner.len() + 5),
    ] {
        let got = house.raw(&host, &format!("{head}{lengths}\r\n0\r\n\r\n{inner}")).await;
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got}");
    }
    eventually("both are recorded", || !house.records().is_empty()).await;
    assert!(house.records().iter().all(|r| r.path() != "/smuggled"));
}

#[tokio::test]
async fn contradicting_and_malformed_lengths_are_refused() {
    let house = House::new().await;
    house.kit(echo()).await;
    let host = house.host("terminal-1");
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: y\r\n Content-Length: 5\r\n",
    ] {
        let got = house.raw(&host, &format!("POST / HTTP/1.1\r\nHost: {host}\r\n{lengths}\r\nhello")).await;
        assert!(got.starts_with("HTTP/1.1 400 "), "{lengths:?}: {got}");
    }
    assert_eq!(house.dials(), 0);
}

#[tokio::test]
async fn a_host_that_is_said_twice_or_not_at_all_is_refused() {
    let house = House::new().await;
    let api = format!("api.{DOMAIN}");
    let host = house.host("terminal-1");
    for head in [
        format!("GET / HTTP/1.1\r\nHost: {api}\r\nHost: {host}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {api}\r\nHost: {api}\r\n"),
        format!("GET https://{host}/ HTTP/1.1\r\nHost: {api}\r\n"),
        "GET / HTTP/1.1\r\n".to_owned(),
    ] {
        let got = house.raw(&api, &format!("{head}Connection: close\r\n\r\n")).await;
        assert!(got.starts_with("HTTP/1.1 400 "), "{head}: {got}");
    }
    let got =
        house.raw(&api, &format!("CONNECT {api}:443 HTTP/1.1\r\nHost: {api}:443\r\nConnection: close\r\n\r\n")).await;
    assert!(got.starts_with("HTTP/1.1 405 "), "{got}");
}

#[tokio::test]
async fn an_absolute_target_reaches_the_container_as_a_path() {
    let house = House::new().await;
    house.kit(echo()).await;
    let host = house.host("terminal-1");
    let got = house
        .raw(&host, &format!("GET https://{host}/a?b HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
        .await;
    assert!(got.contains(r#""uri":"/a?b""#), "{got}");
}

#[tokio::test]
async fn a_connection_opened_for_one_host_does_not_serve_another() {
    let house = House::new().await;
    house.kit(echo()).await;
    let (api, host) = (format!("api.{DOMAIN}"), house.host("terminal-1"));
    let close = "Connection: close\r\n\r\n";
    let got = house.raw(&api, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n{close}")).await;
    assert!(got.starts_with("HTTP/1.1 421 "), "{got}");
    // The same host by another domain, by other case, or on a connection that named nobody, is fine.
    let other = host.replace(DOMAIN, "COWL.localhost").to_string();
    for name in [other.to_ascii_lowercase(), "localhost".to_owned()] {
        let got = house.raw(&name, &format!("GET / HTTP/1.1\r\nHost: {host}:8443\r\n{close}")).await;
        assert!(got.starts_with("HTTP/1.1 200 "), "{name}: {got}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let house = House::with(Limits { head_bytes: 16 * 1024, ..Limits::default() }).await;
    let api = format!("api.{DOMAIN}");
    let long = "a".repeat(20 * 1024);
    let got = house.raw(&api, &format!("GET / HTTP/1.1\r\nHost: {api}\r\nX: {long}\r\n\r\n")).await;
    assert!(got.starts_with("HTTP/1.1 431 "), "{got}");
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let house = House::with(Limits { head: Duration::from_millis(300), ..Limits::default() }).await;
    let mut stream = house.tls(&format!("api.{DOMAIN}")).await;
    stream.write_all(b"GET / HT").await.unwrap();
    let got = read_all(&mut stream).await;
    assert!(got.is_empty() || got.starts_with("HTTP/1.1 408 "), "{got}");
}

#[tokio::test]
async fn a_connection_that_idles_between_requests_is_closed() {
    let house = House::with(Limits { head: Duration::from_millis(300), ..Limits::default() }).await;
    let api = format!("api.{DOMAIN}");
    let got = house.raw(&api, &format!("GET / HTTP/1.1\r\nHost: {api}\r\n\r\n")).await;
    assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_cut_off() {
    let house = House::with(Limits { handshake: Duration::from_millis(200), ..Limits::default() }).await;
    let mut stream = tokio::net::TcpStream::connect(house.at).await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn one_address_cannot_take_every_connection() {
    let house = House::with(Limits { connections_per_address: 2, ..Limits::default() }).await;
    let api = format!("api.{DOMAIN}");
    let (one, _two) = (house.tls(&api).await, house.tls(&api).await);
    let mut third = tokio::net::TcpStream::connect(house.at).await.unwrap();
    assert_eq!(read_all(&mut third).await, "", "a third one was served");
    drop(one);
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut again = tokio::net::TcpStream::connect(house.at).await.unwrap();
        if tokio::time::timeout(Duration::from_millis(50), again.read(&mut [0; 1])).await.is_err() {
            return;
        }
    }
    panic!("a place was not given back");
}

/// What a hostile program on a port answers, and what the client must get.
async fn answered_by(reply: &'static [u8]) -> (House, super::Got) {
    let house = House::new().await;
    let listener = house.bare_port(80).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(reply).await.unwrap();
    });
    let got = house.get(&house.host("http"), "/").await;
    (house, got)
}

#[tokio::test]
async fn a_program_that_does_not_speak_http_is_502() {
    for reply in [&b"SSH-2.0-OpenSSH_9.9\r\n"[..], b"", b"HTTP/1.1 200 OK\r\ncontent-len"] {
        let (_house, got) = answered_by(reply).await;
        assert_eq!(got.status, StatusCode::BAD_GATEWAY, "{reply:?}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_in_a_reply_is_not_repeated() {
    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (_house, got) = answered_by(reply).await;
    assert_eq!(&got.body[..], b"hello");
    assert!(!got.headers.contains_key("content-length"));
}
