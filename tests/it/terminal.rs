//! The terminal service: commands, sessions shared by all, and the WebSocket.

use std::io::Read;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::screen::Screen;
use crate::harness::web::Reply;
use crate::harness::{Container, eventually, run, shared};
use crate::stories;

stories![
    output_and_errors_and_the_exit_code_come_through,
    output_arrives_while_the_command_runs,
    interrupting_the_program_interrupts_the_command_inside,
    a_session_keeps_its_state_and_is_the_hosts_index_by_default,
    a_command_can_be_left_running_and_asked_for_later,
    a_command_can_be_aborted,
    a_command_runs_as_the_user_asked_for,
    sessions_are_created_listed_and_deleted,
    a_shell_works_in_this_terminal_and_leaves_it_as_it_was,
    two_terminals_see_one_session,
    a_shell_runs_one_command_without_a_terminal,
    the_websocket_speaks_tty,
];

fn post(c: &Container<'_>, host: &str, path: &str, body: &serde_json::Value) -> Reply {
    c.curl(host, path, &["-H", "Content-Type: application/json", "-d", &body.to_string()])
}

fn output_and_errors_and_the_exit_code_come_through() {
    let node = shared::node();
    let c = node.container("exec");
    let ran = c.exec("echo out; echo err >&2; exit 7");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (7, "out\n", "err\n"));
    let json = c.cowl(&["--json", "terminal", "sessions", "exec", "--command", "echo out; echo err >&2; exit 7"]);
    assert_eq!(json.code, 7);
    let result: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&result["stdout"], &result["stderr"]), (&"out\n".into(), &"err\n".into()), "{result}");
    assert_eq!(c.exec("kill -9 $$").code, 137);
    let long = c.exec("head -c 3000000 /dev/zero | tr '\\0' x");
    assert_eq!(long.ok().len(), 3_000_000);
    let late = c.cowl(&["terminal", "sessions", "exec", "--timeout", "0.3", "--command", "sleep 60"]);
    assert!(late.code != 0 && late.took < Duration::from_secs(20), "{late:#?}");
}

fn output_arrives_while_the_command_runs() {
    let node = shared::node();
    let c = node.container("stream");
    let words = ["terminal", "sessions", "exec", "--command", "echo first; sleep 3; echo second", "-c", &c.id];
    let begun = Instant::now();
    let mut child = node.command(&words).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = [0u8; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first\n");
    assert!(begun.elapsed() < Duration::from_millis(2500), "came after {:?}", begun.elapsed());
    let mut rest = String::new();
    child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second\n");
    assert!(child.wait().unwrap().success());
}

fn interrupting_the_program_interrupts_the_command_inside() {
    let node = shared::node();
    let c = node.container("int");
    let words = ["terminal", "sessions", "exec", "--command", "echo go; exec sleep 4321", "-c", &c.id];
    let mut child = node.command(&words).stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0u8; 3]).unwrap();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = run::wait(&mut child, Duration::from_secs(20)).expect("the program ends");
    assert_eq!(run::code(status), 130);
    // The brackets keep pgrep's own shell from being found.
    assert_eq!(c.exec("pgrep -f 'sleep 432[1]'").code, 1, "sleep still runs");
}

fn a_session_keeps_its_state_and_is_the_hosts_index_by_default() {
    let node = shared::node();
    let c = node.container("state");
    let path = "/api/v1/terminal/execute";
    let first = post(&c, "terminal-7", path, &json!({"command": "cd /usr/share; export X=kept"})).is(200);
    assert_eq!(first["terminal_id"], 7, "{first}");
    let second = post(&c, "terminal-7", path, &json!({"command": "echo $PWD $X; false"})).is(200);
    assert!(second["stdout"].as_str().unwrap().contains("/usr/share kept"), "{second}");
    assert_eq!(second["exit_code"], 1, "{second}");
    let ran = c.cowl(&["terminal", "sessions", "exec", "--terminal-id", "7", "--command", "echo $X"]);
    assert!(ran.ok().contains("kept"), "{ran:#?}");
    assert_eq!(c.says("echo [$X]"), "[]", "a fresh session knows nothing of another");
    for body in [json!({}), json!({"cmd": "ls"}), json!([])] {
        let refused = post(&c, "terminal-1", path, &body).is(400);
        assert!(refused["error"].is_string() && refused["message"].is_string(), "{body}: {refused}");
    }
}

fn a_command_can_be_left_running_and_asked_for_later() {
    let node = shared::node();
    let c = node.container("later");
    let order = json!({"command": "sleep 0.5; echo done", "wait": false});
    let begun = post(&c, "terminal-1", "/api/v1/terminal/execute?ephemeral=true", &order).is(200);
    assert!(["queued", "running"].contains(&begun["status"].as_str().unwrap()), "{begun}");
    let path = format!("/api/v1/terminal/result/{}", begun["command_id"].as_str().unwrap());
    let result = eventually("the result", 20, || {
        let result = c.curl("terminal-1", &path, &[]).is(200);
        (result["status"] == "completed").then_some(result)
    });
    assert_eq!((&result["stdout"], &result["exit_code"]), (&"done\n".into(), &0.into()), "{result}");
    c.curl("terminal-1", "/api/v1/terminal/result/nothing", &[]).is(404);
}

fn a_command_can_be_aborted() {
    let node = shared::node();
    let c = node.container("abort");
    for (place, force) in [("ephemeral=true", false), ("terminal_id=3", false), ("ephemeral=true", true)] {
        let order = json!({"command": "sleep 987", "wait": false});
        let begun = post(&c, "terminal-1", &format!("/api/v1/terminal/execute?{place}"), &order).is(200);
        let id = begun["command_id"].as_str().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        post(&c, "terminal-1", &format!("/api/v1/terminal/execute/{id}/abort"), &json!({"force": force})).is(200);
        let result = eventually("its end", 20, || {
            let result = c.curl("terminal-1", &format!("/api/v1/terminal/result/{id}"), &[]).is(200);
            (result["status"] != "running").then_some(result)
        });
        assert_eq!(result["status"], "aborted", "{place} {force}: {result}");
    }
}

fn a_command_runs_as_the_user_asked_for() {
    let node = shared::node();
    let c = node.container("user");
    for (user, id) in [("root", "0"), ("user", "1000"), ("nobody", "65534")] {
        let ran = c.cowl(&["terminal", "sessions", "exec", "--user", user, "--command", "id -u"]);
        assert_eq!(ran.ok().trim(), id);
    }
    let refused = c.cowl(&["terminal", "sessions", "exec", "--user", "who", "--command", "id"]);
    assert!(refused.refused(1).contains("who"), "{refused:#?}");
}

fn sessions_are_created_listed_and_deleted() {
    let node = shared::node();
    let c = node.container("sessions");
    let created =
        post(&c, "terminal-1", "/api/v1/terminal/create", &json!({"terminal_id": 12, "cols": 100, "rows": 30}));
    // A string, as in the public API.
    assert_eq!(created.is(200)["terminal_id"], "12");
    let size = post(&c, "terminal-12", "/api/v1/terminal/execute", &json!({"command": "stty size"})).is(200);
    assert!(size["stdout"].as_str().unwrap().contains("30 100"), "{size}");
    let listed = c.curl("terminal-1", "/api/v1/terminal/sessions", &[]).is(200);
    assert!(listed.to_string().contains("12"), "{listed}");
    c.curl("terminal-1", "/api/v1/terminal/12", &["-X", "DELETE"]).is(200);
    let listed = c.curl("terminal-1", "/api/v1/terminal/sessions", &[]).is(200);
    assert!(!listed.to_string().contains(":12,"), "{listed}");
    c.curl("terminal-1", "/api/v1/terminal/12", &["-X", "DELETE"]).is(404);
}

fn a_shell_works_in_this_terminal_and_leaves_it_as_it_was() {
    let node = shared::node();
    let c = node.container("shell");
    let mut screen = Screen::open(&node, &["shell", &c.id], 90, 28);
    screen.types("stty size; echo mark$((40+2))\r");
    screen.shows("mark42");
    screen.shows("28 90");
    screen.resize(100, 40);
    screen.types("sleep 0.3; stty size\r");
    screen.shows("40 100");
    screen.types("printf '\\033[?1049h\\033[?25l\\033[?2004h\\033[?1000h'; echo wild\r");
    screen.shows("wild");
    screen.types("\r~.");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();

    // The session is found again as it was; leaving its shell ends it.
    let mut screen = Screen::open(&node, &["shell", &c.id], 90, 28);
    screen.shows("wild");
    screen.types("\x15exit\r");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();

    let mut screen = Screen::open(&node, &["shell", &c.id], 90, 28);
    screen.types("echo again$((1+1))\r");
    screen.shows("again2");
    screen.signal(Signal::SIGTERM);
    screen.ends();
    screen.is_restored();
}

fn two_terminals_see_one_session() {
    let node = shared::node();
    let c = node.container("two");
    let mut one = Screen::open(&node, &["shell", &c.id, "--terminal-id", "5"], 80, 24);
    one.types("echo one$((1+1))\r");
    one.shows("one2");
    let mut two = Screen::open(&node, &["shell", &c.id, "--terminal-id", "5"], 80, 24);
    two.shows("one2");
    two.types("echo two$((1+1))\r");
    one.shows("two2");
}

fn a_shell_runs_one_command_without_a_terminal() {
    let node = shared::node();
    let c = node.container("words");
    let ran = node.cowl(&["shell", &c.id, "--", "printf", "%s|", "a b", "it's", ""]);
    assert_eq!(ran.ok(), "a b|it's||");
    assert_eq!(node.cowl(&["shell", &c.id, "--", "exit 9"]).code, 9);
    assert!(node.cowl(&["shell", &c.id]).refused(2).contains("terminal"));
}

fn the_websocket_speaks_tty() {
    use cowl_client::{Client, FromTerminal, TerminalQuery};
    let node = shared::node();
    let c = node.container("socket");
    let url = format!("https://api.cowl.localhost:{}", node.port);
    let client = Client::remote(&url, &node.token(), Some(&node.ca())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seen = runtime.block_on(async {
        let container = client.container(&c.id.parse().unwrap()).await.unwrap();
        let kit = client.kit(&container, cowl_api::Service::Terminal, 1);
        let query = TerminalQuery { terminal_id: 9, ..TerminalQuery::default() };
        let (mut input, mut output) = kit.terminal(&query, 70, 20).await.unwrap();
        input.input(b"echo tty$((40+2)); stty size; exit\r").await.unwrap();
        let mut seen = Vec::new();
        loop {
            match tokio::time::timeout(Duration::from_secs(20), output.next()).await.unwrap().unwrap() {
                FromTerminal::Output(bytes) => seen.extend_from_slice(&bytes),
                FromTerminal::Title(_) => {}
                FromTerminal::Closed(code, _) => {
                    assert_eq!(code, 1000);
                    break;
                }
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    assert!(seen.contains("tty42") && seen.contains("20 70"), "{seen:?}");
}
