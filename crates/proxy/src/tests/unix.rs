//! The node's unix socket.

use axum::body::Body;
use http::Request;
use http::header::HOST;
use http_body_util::BodyExt;
use serde_json::Value;

use super::{House, echo, send};

async fn ask(house: &House, req: http::request::Builder) -> Value {
    let reply = send(house.unix().await, req.body(Body::empty()).unwrap()).await;
    serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn any_name_but_a_containers_means_the_api_and_the_kernel_says_who_asks() {
    let house = House::new().await;
    let uid = nix::unistd::Uid::current();
    for host in ["localhost", "node", "api.cowl.internal", "", "what.ever:443"] {
        let got = ask(&house, Request::get("/api/v1/status?x=1").header(HOST, host).header("x-cowl-uid", "0")).await;
        assert_eq!(got["api"], "/api/v1/status?x=1", "{host}");
        assert_eq!(got["peer"], format!("unix {uid}"));
        assert_eq!(got["own"], false, "a client spoke in the proxy's name");
    }
}

#[tokio::test]
async fn a_request_without_host_means_the_api() {
    let house = House::new().await;
    let got = ask(&house, Request::get("/bare")).await;
    assert_eq!(got["api"], "/bare");
}

#[tokio::test]
async fn a_containers_name_reaches_the_container() {
    let house = House::new().await;
    house.kit(echo()).await;
    let got = ask(&house, Request::get("/x").header(HOST, house.host("terminal-65535"))).await;
    assert_eq!(got["headers"]["x-cowl-instance"], "65535");
    assert_eq!(got["headers"]["x-forwarded-for"], "127.0.0.1");
}
