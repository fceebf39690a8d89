//! What the proxy does for computers that sleep, and what it tells about those that do not.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::StreamExt;
use http::StatusCode;
use http::header::RETRY_AFTER;

use super::websocket::{echo_socket, open_socket};
use super::{Activity, House, eventually};

impl House {
    fn activity(&self) -> Arc<Activity> {
        let running = self.fleet.running.lock().unwrap();
        Arc::clone(&running[&(self.project, self.container)].activity)
    }
}

#[tokio::test]
async fn a_sleeper_that_does_not_wake_in_time_is_503_and_to_be_asked_again() {
    let house = House::new().await;
    house.change(|c| c.sleeps = true);
    let got = house.get(&house.host("terminal-1"), "/").await;
    assert_eq!((got.status, &got.headers[RETRY_AFTER]), (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap()));
    assert!(got.json()["message"].as_str().unwrap().contains("waking up"));
}

#[tokio::test]
async fn a_computer_is_in_use_while_a_request_or_a_tunnel_lasts() {
    let house = House::new().await;
    house.kit(super::echo()).await;
    let host = house.host("terminal-1");
    assert!(house.activity().idle_since().is_some());
    echo_socket(&house, 80).await;
    let socket = open_socket(&house).await;
    assert_eq!(house.activity().idle_since(), None);
    assert_eq!(house.get(&host, "/").await.status, StatusCode::OK);
    assert_eq!(house.activity().idle_since(), None, "the tunnel is still there");
    drop(socket);
    eventually("it is idle again", || house.activity().idle_since().is_some()).await;
}

#[tokio::test]
async fn falling_asleep_ends_tunnels_and_answers_who_waits() {
    let house = House::new().await;
    let never = || async {
        std::future::pending::<()>().await;
    };
    house.kit(Router::new().route("/", get(never))).await;
    echo_socket(&house, 80).await;
    let mut socket = open_socket(&house).await;
    let cutting = {
        let activity = house.activity();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                activity.cut();
            }
        })
    };
    let got = house.get(&house.host("terminal-1"), "/").await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    cutting.abort();
}
