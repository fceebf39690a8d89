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
async fn a_client_that_leaves_before_the_reply_ends_the_wait() {
    let house = House::new().await;
    let (waits, waited) = mpsc::channel::<()>(1);
    let patient = move || {
        let waits = waits.clone();
        async move {
            waits.send(()).await.unwrap();
            let _held = waits;
            std::future::pending::<()>().await;
        }
    };
    let mut waited = waited;
    let kit = house.kit(Router::new().route("/", get(patient))).await;
    let stream = house.tls(&house.host("pipe-1")).await;
    let req = http::Request::get("/").header(HOST, house.host("pipe-1")).body(Body::empty()).unwrap();
    let asking = tokio::spawn(super::send(stream, req));
    waited.recv().await.unwrap();
    asking.abort();
    super::eventually("the request is over", || house.records().len() == 1).await;
    assert_eq!(house.records()[0].status.as_u16(), 499);
    kit.abort();
}

#[tokio::test]
async fn an_upload_nobody_reads_stalls_instead_of_piling_up() {
    const WHOLE: usize = 256 << 20;
    let house = House::new().await;
    // Takes connections and reads nothing.
    let listener = house.bare_port(80).await;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let piece = Bytes::from(vec![7u8; 64 * 1024]);
    let pieces = stream::repeat(piece).take(WHOLE / (64 * 1024)).map(move |p| {
        count.fetch_add(p.len(), std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::io::Error>(p)
    });
    let req = http::Request::post("/").header(HOST, house.host("http")).body(Body::from_stream(pieces)).unwrap();
    let stream = house.tls(&house.host("http")).await;
    let asking = tokio::spawn(super::send(stream, req));
    let _inside = listener.accept().await.unwrap();
    let mut before = usize::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        if now == before {
            break;
        }
        before = now;
    }
    // What the kernel's socket buffers take, and little more.
    assert!((1..64 << 20).contains(&before), "{before} bytes were taken");
    asking.abort();
}

#[tokio::test]
async fn a_head_request_is_told_the_length_and_gets_no_body() {
    let house = House::new().await;
    house.kit(super::echo()).await;
    let host = house.host("files-1");
    let got = house.raw(&host, &format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    assert!(got.contains("content-length: ") && got.ends_with("\r\n\r\n"), "{got}");
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
