//! Upgrades.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::{House, eventually};

pub(super) async fn echo_socket(house: &House, port: u16) {
    let listener = house.bare_port(port).await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                #[allow(clippy::result_large_err)] // The library's own signature.
                let speak = |req: &Request, mut reply: Response| -> Result<Response, ErrorResponse> {
                    assert!(req.headers().contains_key("x-forwarded-for"));
                    if let Some(asked) = req.headers().get("sec-websocket-protocol") {
                        reply.headers_mut().insert("sec-websocket-protocol", asked.clone());
                    }
                    Ok(reply)
                };
                let mut socket = tokio_tungstenite::accept_hdr_async(stream, speak).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
}

/// A socket through the house to its port 80 that has been answered once.
pub(super) async fn open_socket(house: &House) -> WebSocketStream<TlsStream<TcpStream>> {
    let host = house.host("http");
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("wss://{host}/"), house.tls(&host).await).await.unwrap();
    socket.send(Message::text("x")).await.unwrap();
    socket.next().await.unwrap().unwrap();
    socket
}

#[tokio::test]
async fn a_websocket_passes_with_its_subprotocol_and_closes_with_either_end() {
    let house = House::new().await;
    echo_socket(&house, 80).await;
    let host = house.host("http");
    let mut req = format!("wss://{host}/api/v1/terminal/ws").into_client_request().unwrap();
    req.headers_mut().insert("sec-websocket-protocol", "tty".parse().unwrap());
    let (mut socket, reply) = tokio_tungstenite::client_async(req, house.tls(&host).await).await.unwrap();
    assert_eq!(reply.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(reply.headers()["sec-websocket-protocol"], "tty");
    for n in 0..100 {
        socket.send(Message::text(n.to_string())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(n.to_string()));
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    eventually("the upgrade is recorded", || house.records().iter().any(|r| r.status.as_u16() == 101)).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_reply() {
    let house = House::new().await;
    house.kit(super::echo()).await;
    let host = house.host("terminal-1");
    let got = house
        .raw(
            &host,
            &format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"),
        )
        .await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
    assert!(got.contains(r#""upgrade":"websocket""#), "the kit was not asked: {got}");
}

#[tokio::test]
async fn h2c_is_not_tunnelled() {
    let house = House::new().await;
    house.kit(super::echo()).await;
    let host = house.host("terminal-1");
    let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings, close\r\n");
    let got = house.raw(&host, &format!("{head}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")).await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && !got.contains("h2c") && !got.contains("http2-settings"), "{got}");
}

#[tokio::test]
async fn a_switch_nobody_asked_for_is_a_broken_reply() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = House::new().await;
    let listener = house.bare_port(80).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await
            .unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    });
    assert_eq!(house.get(&house.host("http"), "/").await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_stopping_node_ends_tunnels_at_once() {
    let mut house = House::new().await;
    echo_socket(&house, 80).await;
    let mut socket = open_socket(&house).await;
    house.shutdown.cancel();
    for ended in std::mem::take(&mut house.loops) {
        tokio::time::timeout(Duration::from_secs(2), ended).await.expect("the loop goes on").unwrap();
    }
    assert!(!matches!(socket.next().await, Some(Ok(_))));
}
