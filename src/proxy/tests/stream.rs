//! Bodies flow as they come, both ways, and are never held.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::House;

#[tokio::test]
async fn events_arrive_one_by_one_as_they_are_sent() {
    let house = House::new().await;
    let (tell, told) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Some(told)));
    let events = move || {
        let told = told.lock().unwrap().take().unwrap();
        async move { ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(ReceiverStream::new(told))) }
    };
    house.kit(Router::new().route("/events", get(events))).await;
    let req = http::Request::get("/events").header(HOST, house.host("watch-1")).body(Body::empty()).unwrap();
    let mut reply = house.open(req).await;
    for n in 0..3 {
        tell.send(Ok(Bytes::from(format!("data: {n}\n\n")))).await.unwrap();
        let frame = tokio::time::timeout(Duration::from_secs(5), reply.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {n}\n\n"));
    }
}

#[tokio::test]
async fn a_large_upload_and_its_echo_pass_without_being_held() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 1024;
    let house = House::new().await;
    // Sends back each piece as it arrives: with anything held whole, nobody would move.
    house.program(80, Router::new().route("/", post(|req: Request| async { Body::new(req.into_body()) }))).await;
    let piece = Bytes::from(vec![7u8; PIECE]);
    let body = Body::from_stream(stream::repeat(piece).take(PIECES).map(Ok::<_, std::io::Error>));
    let req = http::Request::post("/").header(HOST, house.host("http")).body(body).unwrap();
    let mut reply = house.open(req).await.into_body();
    let mut got = 0;
    while let Some(frame) = tokio::time::timeout(Duration::from_secs(20), reply.frame()).await.unwrap() {
        got += frame.unwrap().into_data().map_or(0, |d| d.len());
    }
    assert_eq!(got, PIECE * PIECES);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_containers_work() {
    let house = House::new().await;
    let (tell, told) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Some(told)));
    let endless = move || {
        let told = told.lock().unwrap().take().unwrap();
        async move { Body::from_stream(ReceiverStream::new(told)) }
    };
    house.kit(Router::new().route("/", get(endless))).await;
    let req = http::Request::get("/").header(HOST, house.host("pipe-1")).body(Body::empty()).unwrap();
    let mut reply = house.open(req).await;
    tell.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
    reply.frame().await.unwrap().unwrap();
    drop(reply);
    tokio::time::timeout(Duration::from_secs(5), tell.closed()).await.expect("the kit was not told");
}

#[tokio::test]
async fn a_get_with_a_chunked_body_keeps_it() {
    let house = House::new().await;
    house.kit(super::echo()).await;
    let host = house.host("curl-1");
    let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    let got = house.raw(&host, &format!("{head}5\r\nhello\r\n0\r\n\r\n")).await;
    assert!(got.contains(r#""body":"hello""#), "{got}");
}
