//! Sessions as people use them: over the WebSocket, several at once, and through snapshots.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::House;
use crate::terminal::testing::Picture;

/// A terminal on a WebSocket, with a screen of its own.
struct Viewer {
    socket: WebSocketStream<UnixStream>,
    screen: Picture,
    shell: String,
    id: String,
    closed: Option<u16>,
}

impl Viewer {
    async fn connect(house: &House, query: &str) -> Self {
        let stream = UnixStream::connect(house.socket()).await.unwrap();
        let url = format!("ws://kit/api/v1/terminal/ws?{query}");
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert(super::SERVICE_HEADER, "terminal".parse().unwrap());
        request.headers_mut().insert(super::INSTANCE_HEADER, "1".parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "tty".parse().unwrap());
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "tty");
        let screen = Picture::sized(80, 24);
        let mut viewer = Self { socket, screen, shell: String::new(), id: String::new(), closed: None };
        viewer.send(r#"{"columns":80,"rows":24}"#).await;
        viewer
    }

    async fn send(&mut self, frame: &str) {
        self.socket.send(Message::binary(frame.as_bytes().to_vec())).await.unwrap();
    }

    /// Takes one frame; false when nothing comes for `wait`.
    async fn take(&mut self, wait: Duration) -> bool {
        let Ok(message) = tokio::time::timeout(wait, self.socket.next()).await else { return false };
        match message {
            Some(Ok(Message::Binary(frame))) => match frame[0] {
                b'0' => drop(self.screen.draw(&frame[1..])),
                b'3' => self.id = String::from_utf8(frame[1..].to_vec()).unwrap(),
                b'4' => self.shell = String::from_utf8(frame[1..].to_vec()).unwrap(),
                _ => {}
            },
            Some(Ok(Message::Close(frame))) => self.closed = Some(frame.map_or(1005, |frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => self.closed = self.closed.or(Some(1006)),
        }
        true
    }

    fn text(&mut self) -> String {
        self.screen.lines(true, true).join("\n")
    }

    /// Reads until the screen shows `text`.
    #[track_caller]
    fn until<'a>(&'a mut self, text: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let end = tokio::time::Instant::now() + Duration::from_secs(20);
            while !self.text().contains(text) {
                let left = end - tokio::time::Instant::now();
                assert!(self.closed.is_none() && self.take(left).await, "{caller}: no {text:?} in {}", self.text());
                // Whatever is there already, before the next look.
                while self.closed.is_none() && self.take(Duration::from_millis(1)).await {}
            }
        }
    }

    /// Reads until nothing comes for a moment.
    async fn settle(&mut self) {
        while self.closed.is_none() && self.take(Duration::from_millis(300)).await {}
    }
}

#[tokio::test]
async fn what_one_types_all_see_and_commands_through_the_api_too() {
    let house = House::open();
    let mut one = Viewer::connect(&house, "").await;
    let mut two = Viewer::connect(&house, "terminal_id=1").await;
    one.send("0echo $((6*7))apples\r").await;
    one.until("42apples").await;
    two.until("42apples").await;
    assert_eq!((one.id.as_str(), one.shell.as_str()), ("1", "bash"));
    assert_eq!(house.run("echo from-api").await["stdout"], "from-api\n");
    two.until("from-api").await;
    two.settle().await;
    let text = two.text();
    assert!(text.contains("# echo from-api\n") || text.contains("$ echo from-api\n"), "{text}");
    assert!(!text.contains("7717") && !text.contains("eval"), "{text}");
    let sessions = house.terminal("GET", "sessions", Value::Null).await.ok();
    assert_eq!((&sessions["count"], &sessions["sessions"][0]["clients"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_half_typed_line_does_not_spoil_a_command() {
    let house = House::open();
    let mut viewer = Viewer::connect(&house, "").await;
    assert_eq!(house.run("echo ready").await["stdout"], "ready\n");
    viewer.send("0rm -rf /this-is-only-half-ty").await;
    viewer.until("half-ty").await;
    let clean = house.run("echo clean").await;
    assert_eq!(clean["stdout"], "clean\n", "{clean} {}", viewer.text());
    // Keys that come while a command runs go to it.
    let waiting = house.terminal("POST", "execute", json!({ "command": "read -r x; echo got $x", "timeout": 20 }));
    let typing = async {
        viewer.until("read -r x").await;
        viewer.send("0abc\r").await;
        viewer.until("got abc").await;
    };
    let (result, ()) = tokio::join!(waiting, typing);
    assert!(result.ok()["stdout"].as_str().unwrap().ends_with("got abc\n"));
}

#[tokio::test]
async fn a_command_waits_for_what_the_user_runs() {
    let house = House::open();
    let mut viewer = Viewer::connect(&house, "").await;
    house.run("true").await;
    viewer.send("0sleep 1; echo by-hand\r").await;
    viewer.until("sleep 1").await;
    let result = house.run("echo mine").await;
    assert_eq!(result["stdout"], "mine\n");
    assert!(viewer.screen.lines(true, true).len() >= 24);
    viewer.until("mine").await;
    let text = viewer.text();
    assert!(text.find("by-hand\n").unwrap() < text.find("mine\n").unwrap(), "{text}");
}

#[tokio::test]
async fn who_comes_back_sees_the_same_screen() {
    let house = House::open();
    let mut first = Viewer::connect(&house, "").await;
    first.send("0for i in $(seq 1 60); do echo line-$i; done; printf '\\033[31mred\\033[m\\n'\r").await;
    first.until("line-60").await;
    first.settle().await;
    let before = (first.text(), first.screen.screen().contents_formatted());
    first.socket.close(None).await.unwrap();
    let mut again = Viewer::connect(&house, "").await;
    again.until("line-1\n").await;
    again.settle().await;
    assert_eq!((again.text(), again.screen.screen().contents_formatted()), before);
    // And inside a full-screen program, whose end shows the old screen again.
    again.send("0printf '\\033[?1049h\\033[H\\033[2Jfull-screen'; read -r x; printf '\\033[?1049l'\r").await;
    again.until("full-screen").await;
    again.settle().await;
    let mut third = Viewer::connect(&house, "").await;
    third.until("full-screen").await;
    assert!(third.screen.screen().alternate_screen());
    third.send("0\r").await;
    third.until("line-60").await;
    assert!(!third.screen.screen().alternate_screen());
}

#[tokio::test]
async fn readers_only_read_and_the_last_size_wins() {
    let house = House::open();
    let mut writer = Viewer::connect(&house, "").await;
    let mut reader = Viewer::connect(&house, "readonly=true").await;
    reader.send("0echo intruder\r").await;
    reader.send(r#"1{"columns":10,"rows":5}"#).await;
    writer.send(r#"1{"columns":101,"rows":33}"#).await;
    writer.send("0stty size\r").await;
    writer.until("33 101").await;
    assert!(!writer.text().contains("intruder"));
}

#[tokio::test]
async fn the_end_of_the_shell_closes_the_socket() {
    let house = House::open();
    for (keys, code) in [("0exit 3\r", 1000), ("0kill -9 $$\r", 1006)] {
        let mut viewer = Viewer::connect(&house, "").await;
        viewer.send(keys).await;
        for _ in 0..200 {
            if viewer.closed.is_some() || !viewer.take(Duration::from_secs(10)).await {
                break;
            }
        }
        assert_eq!(viewer.closed, Some(code), "{keys}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let house = House::open();
    let mut idle = Viewer::connect(&house, "").await;
    idle.send("2").await;
    let done = house.run("seq 1 300000 | tail -n 300000; echo finished").await;
    assert_eq!(done["status"], "completed");
    assert!(done["stdout"].as_str().unwrap().ends_with("300000\nfinished\n"));
    idle.send("3").await;
    idle.until("300000\nfinished").await;
}

#[tokio::test]
async fn programs_drive_a_screen_with_keys_pastes_and_waits() {
    let house = House::open();
    let created = house.terminal("POST", "create", json!({ "terminal_id": "7", "cols": 60, "rows": 10 })).await.ok();
    assert_eq!((&created["terminal_id"], &created["shell_ready"]), (&json!("7"), &json!(true)));
    let at = |what: &str| format!("{what}?terminal_id=7");
    house.terminal("POST", &at("write"), json!({ "input": "printf 'a\\033[7mb\\033[m\\n'; tput cols" })).await.ok();
    let wait = json!({ "mode": "regex", "pattern": "^60", "timeout_ms": 10000 });
    let waited = house.terminal("POST", &at("wait"), wait).await.ok();
    assert_eq!(waited["status"], "matched", "{waited}");
    house.terminal("POST", &at("paste"), json!({ "text": "echo pasted" })).await.ok();
    house.terminal("POST", &at("press"), json!({ "keys": ["x", "backspace", "enter"] })).await.ok();
    let wait = json!({ "mode": "regex", "pattern": "^pasted$", "timeout_ms": 10000 });
    assert_eq!(house.terminal("POST", &at("wait"), wait).await.ok()["status"], "matched");
    let stable = house.terminal("POST", &at("wait"), json!({ "mode": "stable", "debounce_ms": 200 })).await.ok();
    assert_eq!(stable["status"], "stable");
    let never = json!({ "mode": "regex", "pattern": "never", "timeout_ms": 100 });
    assert_eq!(house.terminal("POST", &at("wait"), never).await.ok()["status"], "timeout");
    let snapshot = house.terminal("GET", &at("snapshot"), Value::Null).await.ok();
    assert_eq!((&snapshot["size"]["columns"], snapshot["lines"].as_array().unwrap().len()), (&json!(60), 10));
    assert_eq!(snapshot["highlights"][0]["text"], "b", "{snapshot}");
    let found = house.terminal("GET", "find?terminal_id=7&pattern=past(ed)", Value::Null).await.ok();
    assert!(found["count"].as_u64().unwrap() >= 1);
    house.terminal("POST", &at("press"), json!({ "key": "hyper+q" })).await.refused(400);
    house.terminal("DELETE", "7", Value::Null).await.ok();
    house.terminal("GET", &at("snapshot"), Value::Null).await.refused(404);
}

#[tokio::test]
async fn the_page_in_a_browser_is_whole_and_asks_nobody_else() {
    let house = House::open();
    let page = house.call("terminal", "GET", "/?fontSize=20", &[], Vec::new()).await;
    assert_eq!((page.status, &page.headers["content-type"]), (200, &"text/html; charset=utf-8".parse().unwrap()));
    let text = page.text();
    assert!(text.contains("api/v1/terminal/ws") && text.trim_end().ends_with("</html>"));
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("src="));
}
