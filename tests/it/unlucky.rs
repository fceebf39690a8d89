//! A machine where things are not as hoped: no mirror, a port that is taken.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use crate::harness::node::DOMAIN;
use crate::harness::run::run;
use crate::harness::screen::Screen;
use crate::harness::{Network, Plan};
use crate::stories;

stories![an_image_that_fails_says_why_and_which_key_tries_again, with_443_taken_the_node_serves_on_8443_and_says_so,];

/// A mirror that has nothing, on this port; tells the paths it is asked for. Ends with its receiver.
fn empty_mirror(port: u16) -> mpsc::Receiver<String> {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the mirror's port");
    let (asked, paths) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let _ = lines.find(|l| l.is_empty());
            let reply = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // Who does not wait for the answer needs none.
            let _ = (&stream).write_all(reply.as_bytes());
            if asked.send(first).is_err() {
                return;
            }
        }
    });
    paths
}

fn an_image_that_fails_says_why_and_which_key_tries_again() {
    // A port where nobody listens yet.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mirror = format!("http://127.0.0.1:{port}/debian");
    let node = Plan::new("unlucky").without_image().env("COWL_MIRROR", &mirror).start();
    let mut screen = Screen::open(&node, &[], 80, 24);
    // Also for those who watch: the screen turns from building to failed by itself.
    screen.shows("the image debian/13 could not be built");
    let image = node.json(&["images", "list"])[0].clone();
    assert_eq!(image["state"], "failed", "{image}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (text, reason) = (words(&screen.text()), image["error"].as_str().unwrap().to_owned());
    assert!(reason.contains(&format!("127.0.0.1:{port}")), "the reason does not name the mirror: {image}");
    assert!(text.contains(&words(&reason)), "{reason:?} is not all on the screen:\n{}", screen.text());
    let log = image["log"].as_str().unwrap();
    assert!(text.contains(&format!("log: {log}")) && std::path::Path::new(log).is_file(), "{text}");
    assert!(text.contains("R builds it again"), "{text}");

    // Now there is a mirror, and the key makes the node ask it; what it answers is the new reason.
    let asked = empty_mirror(port);
    screen.types("R");
    let first = asked.recv_timeout(std::time::Duration::from_secs(60)).expect("the build to ask the mirror");
    assert!(first.starts_with("GET /debian/dists/"), "{first}");
    screen.shows_when("the new reason", |s| {
        s.contains("could not be built") && words(s).contains("does not have a Release file")
    });
    let now = node.json(&["images", "list"])[0].clone();
    assert!(now["state"] == "failed" && now["error"] != image["error"], "{now}");
    screen.types("q");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();
}

fn with_443_taken_the_node_serves_on_8443_and_says_so() {
    // The machine's own 443 is left alone.
    let network = Network::with_taken(&["127.0.0.1:443"]);
    let node = Plan::new("taken").inside(&network).start();
    let status = node.json(&["status"]);
    assert_eq!(status["listen"], "127.0.0.1:8443", "{status}");
    assert_eq!(status["api_url"], format!("https://api.{DOMAIN}:8443"), "{status}");
    let hint = status["hints"][0].as_str().unwrap_or_else(|| panic!("no hint in {status}"));
    assert!(hint.contains("127.0.0.1:443 is not free") && hint.contains("--listen"), "{hint}");
    assert!(node.cowl(&["status"]).ok().contains(hint));

    let c = node.container("aside");
    let url = node.cowl(&["url", &c.id, "terminal-1"]).ok().trim().to_owned();
    assert_eq!(url, format!("https://{}:8443", c.host("terminal-1")));
    let curl = |host: &str, url: &str, args: &[&str]| {
        let mut curl = network.program("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "60", "--cacert"]).arg(node.ca());
        run(curl.arg("--resolve").arg(format!("{host}:8443:127.0.0.1")).arg(url).args(args)).json()
    };
    let body = ["-H", "Content-Type: application/json", "-d", r#"{"command":"echo over $((8000+443))"}"#];
    let ran = curl(&c.host("terminal-1"), &format!("{url}/api/v1/terminal/execute?ephemeral=true"), &body);
    assert_eq!(ran["stdout"], "over 8443\n", "{ran}");
    let bearer = format!("Authorization: Bearer {}", node.token());
    let api = format!("api.{DOMAIN}");
    let over_tls = curl(&api, &format!("https://{api}:8443/api/v1/status"), &["-H", &bearer]);
    assert_eq!(over_tls["data"]["listen"], "127.0.0.1:8443", "{over_tls}");

    // The first thing the cockpit tells, and what `up` prints.
    let mut screen = Screen::open(&node, &[], 120, 30);
    screen.shows("127.0.0.1:443 is not free");
    screen.types("q");
    assert_eq!(screen.ends(), 0);
    assert!(node.cowl(&["up", "--yes"]).ok().contains(hint));
}
