//! Commands: in a session, on pipes, streamed, aborted.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::House;
use cowl_api::terminal::StreamLine;

#[tokio::test]
async fn commands_of_a_session_share_directory_and_variables() {
    let house = House::open();
    assert_eq!(house.run("cd /usr && export COWL_X=7 && false").await["exit_code"], 1);
    let second = house.run("pwd; echo $COWL_X $?").await;
    assert_eq!((&second["stdout"], &second["status"]), (&json!("/usr\n7 0\n"), &json!("completed")));
    let body = json!({ "command": "pwd; echo $A", "cwd": "/tmp", "env": { "A": "it's; $(x)" } });
    assert_eq!(house.terminal("POST", "execute", body).await.ok()["stdout"], "/tmp\nit's; $(x)\n");
    let body = json!({ "command": "echo never", "cwd": "/no/such/dir" });
    let failed = house.terminal("POST", "execute", body).await.ok();
    assert_eq!(failed["exit_code"], 1);
    assert!(!failed["stdout"].as_str().unwrap().contains("never"));
}

#[tokio::test]
async fn output_is_what_the_command_wrote_and_nothing_of_ours() {
    let house = House::open();
    for (command, stdout, code) in [
        ("printf 'no newline'", "no newline", 0),
        ("cat <<'X'\nit's \"here\" $HOME\nX", "it's \"here\" $HOME\n", 0),
        ("for i in 1 2; do\n  echo $i\ndone", "1\n2\n", 0),
        ("echo 'ä€😀'; (exit 9)", "ä€😀\n", 9),
        ("! true", "", 1),
        ("# only a comment", "", 0),
        ("echo a; sleep 0.1 & wait; echo b >&2", "a\nb\n", 0),
    ] {
        let result = house.run(command).await;
        let text = result["stdout"].as_str().unwrap();
        // Job control may announce the background job, as in any terminal.
        let text: String = text.split_inclusive('\n').filter(|line| !line.starts_with('[')).collect();
        assert_eq!((text.as_str(), &result["exit_code"]), (stdout, &json!(code)), "{command}");
    }
    let broken = house.run("if then").await;
    assert!(broken["exit_code"] != 0 && broken["stdout"].as_str().unwrap().contains("syntax error"), "{broken}");
    let raw = house.terminal("GET", "raw", Value::Null).await.text();
    assert!(!raw.contains("7717") && !raw.contains("eval") && raw.contains("# only a comment"), "{raw}");
}

#[tokio::test]
async fn commands_queue_and_are_told_from_each_other() {
    let house = House::open();
    let mut ids = Vec::new();
    for n in 0..5 {
        let body = json!({ "command": format!("sleep 0.1; echo {n}"), "wait": false, "id": format!("q{n}") });
        let reply = house.terminal("POST", "execute", body).await.ok();
        assert!(matches!(reply["status"].as_str(), Some("queued" | "running")), "{reply}");
        ids.push(reply["command_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(house.run("echo last").await["stdout"], "last\n");
    for (n, id) in ids.iter().enumerate() {
        let result = house.terminal("GET", &format!("result/{id}"), Value::Null).await.ok();
        assert_eq!((&result["stdout"], &result["status"]), (&json!(format!("{n}\n")), &json!("completed")));
    }
    house.terminal("POST", "execute", json!({ "command": "true", "id": "q1" })).await.refused(409);
    house.terminal("GET", "result/nonsense", Value::Null).await.refused(404);
    let history = house.terminal("GET", "history/1", Value::Null).await.ok();
    assert_eq!(history["count"], 6);
}

#[tokio::test]
async fn a_shell_that_exits_fails_its_command_and_the_next_gets_a_new_one() {
    let house = House::open();
    let gone = house.run("export LOST=1; exit 3").await;
    assert_eq!((&gone["status"], &gone["exit_code"]), (&json!("failed"), &json!(3)));
    assert_eq!(house.run("echo [$LOST]").await["stdout"], "[]\n");
    let killed = house.run("kill -9 $$").await;
    assert_eq!((&killed["status"], &killed["exit_code"]), (&json!("failed"), &Value::Null));
    assert_eq!(house.run("echo back").await["stdout"], "back\n");
}

/// Waits until a command has printed `begun`.
async fn begun(house: &House, id: &str) {
    for _ in 0..200 {
        let result = house.terminal("GET", &format!("result/{id}"), Value::Null).await.ok();
        if result["stdout"].as_str().is_some_and(|out| out.contains("begun")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} has not begun");
}

#[tokio::test]
async fn time_limits_and_aborts_end_a_command_and_leave_the_shell() {
    let house = House::open();
    house.run("cd /usr").await;
    let started = Instant::now();
    let late = house.terminal("POST", "execute", json!({ "command": "sleep 100", "timeout": 0.3 })).await.ok();
    assert_eq!(late["status"], "timed_out");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(house.run("pwd").await["stdout"], "/usr\n");
    let body = json!({ "command": "echo begun; sleep 100", "wait": false, "id": "polite" });
    house.terminal("POST", "execute", body).await.ok();
    begun(&house, "polite").await;
    let aborted = house.terminal("POST", "execute/polite/abort", Value::Null).await.ok();
    assert_eq!((&aborted["status"], &aborted["success"]), (&json!("aborted"), &json!(true)));
    // One that refuses SIGINT; SIGKILL ends it, and what waits in line is simply taken out.
    for (id, command) in [("deaf", "sh -c 'trap \"\" INT; echo begun; sleep 100; sleep 100'"), ("next", "echo no")] {
        house.terminal("POST", "execute", json!({ "command": command, "wait": false, "id": id })).await.ok();
    }
    begun(&house, "deaf").await;
    assert_eq!(house.terminal("POST", "execute/next/abort", Value::Null).await.ok()["status"], "aborted");
    let refused = house.terminal("POST", "execute/deaf/abort", json!({})).await.ok();
    assert_eq!((&refused["status"], &refused["success"]), (&json!("running"), &json!(false)));
    let killed = house.terminal("POST", "execute/deaf/abort", json!({ "force": true })).await.ok();
    assert_eq!(killed["status"], "aborted");
    assert_eq!(house.run("pwd").await["stdout"], "/usr\n");
}

#[tokio::test]
async fn a_shell_replaced_by_another_is_survived() {
    let house = House::open();
    let lost = house.terminal("POST", "execute", json!({ "command": "exec bash --norc", "timeout": 0.5 })).await.ok();
    assert_eq!(lost["status"], "timed_out");
    let after = house.run("echo still here; (exit 4)").await;
    assert_eq!((&after["stdout"], &after["exit_code"]), (&json!("still here\n"), &json!(4)));
}

#[tokio::test]
async fn a_plain_sh_works_like_bash() {
    let house = House::open();
    let run = async |command: &str| {
        house
            .terminal("POST", "execute?terminal_id=2&shell=sh", json!({ "command": command, "timeout": 20 }))
            .await
            .ok()
    };
    assert_eq!(run("cd /usr; A='x y'; false").await["exit_code"], 1);
    assert_eq!(run("pwd; echo \"$A\"").await["stdout"], "/usr\nx y\n");
    let late = house.terminal("POST", "execute?terminal_id=2", json!({ "command": "sleep 50", "timeout": 0.3 })).await;
    assert_eq!(late.ok()["status"], "timed_out");
    assert_eq!(run("pwd").await["stdout"], "/usr\n");
}

#[tokio::test]
async fn ephemeral_commands_keep_stdout_and_stderr_apart() {
    let house = House::open();
    let result = house
        .terminal("POST", "execute?ephemeral=true", json!({ "command": "echo out; echo err >&2; tty; exit 5" }))
        .await;
    let result = result.ok();
    assert_eq!((&result["stdout"], &result["stderr"]), (&json!("out\nnot a tty\n"), &json!("err\n")));
    assert_eq!((&result["exit_code"], &result["status"]), (&json!(5), &json!("completed")));
    assert!(result["terminal_id"].as_u64().unwrap() >= 40_000);
    let late = json!({ "command": "sleep 100 & sleep 100", "timeout": 0.2 });
    assert_eq!(house.terminal("POST", "execute?ephemeral=true", late).await.ok()["status"], "timed_out");
    // A background program that holds the pipes does not hold the reply.
    let started = Instant::now();
    let left =
        house.terminal("POST", "execute?ephemeral=true", json!({ "command": "sleep 30 & echo done" })).await.ok();
    assert_eq!(left["stdout"], "done\n");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_public_client_s_one_shot_is_polled_to_its_end() {
    let house = House::open();
    let query = "execute?terminal_id=0&ephemeral=true&skip_display_wait=true";
    let reply = house.terminal("POST", query, json!({ "command": "sleep 0.2; echo $LANG", "wait": false })).await.ok();
    let id = reply["command_id"].as_str().unwrap().to_owned();
    for _ in 0..100 {
        let result = house.terminal("GET", &format!("result/{id}"), Value::Null).await.ok();
        if result["status"] == "completed" {
            assert_eq!(result["stdout"], "C.UTF-8\n");
            return;
        }
        assert_eq!(result["status"], "running");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never completed");
}

#[tokio::test]
async fn a_user_is_taken_from_the_container_and_checked() {
    let house = House::open();
    let answer = house.terminal("POST", "execute?ephemeral=true&user=nobody", json!({ "command": "id -un" })).await;
    assert_eq!(answer.ok()["stdout"], "nobody\n");
    let answer =
        house.terminal("POST", "execute?terminal_id=3&user=nobody", json!({ "command": "id -un; id -Gn" })).await;
    assert_eq!(answer.ok()["stdout"], "nobody\nnogroup\n");
    let message = house.terminal("POST", "execute?user=no-one-here", json!({ "command": "id" })).await.refused(400);
    assert!(message.contains("no-one-here"));
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let house = House::open();
    assert_eq!(house.terminal("POST", "execute", json!({ "cmd": "ls" })).await.refused(400), "Missing 'command' field");
    for (path, body, word) in [
        ("execute?terminal_id=70000", json!({ "command": "x" }), "terminal_id"),
        ("execute", json!({ "command": "x", "timeout": -1 }), "timeout"),
        ("execute", json!({ "command": "x", "id": "a b" }), "id"),
        ("execute", json!({ "command": "x", "env": { "A B": "c" } }), "env"),
        ("execute?ephemeral=maybe", json!({ "command": "x" }), "ephemeral"),
        ("create", json!({ "terminal_id": "x" }), "terminal_id"),
    ] {
        let message = house.terminal("POST", path, body).await.refused(400);
        assert!(message.contains(word), "{path}: {message}");
    }
    let big = json!({ "command": "x".repeat(2 << 20) });
    house.terminal("POST", "execute", big).await.refused(413);
    house.terminal("DELETE", "77", Value::Null).await.refused(404);
    house.terminal("PUT", "execute", Value::Null).await.refused(405);
}

#[tokio::test]
async fn a_stream_tells_output_as_it_comes_and_ends_with_the_result() {
    let house = House::open();
    let query = "execute?ephemeral=true&stream=true";
    let body = json!({ "command": "echo one; sleep 0.1; echo two >&2; exit 6" });
    let answer = house.terminal("POST", query, body).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines: Vec<StreamLine> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(matches!(&lines[0], StreamLine::Start { .. }));
    assert_eq!(lines[1], StreamLine::Stdout { data: "one\n".into() });
    assert_eq!(lines[2], StreamLine::Stderr { data: "two\n".into() });
    let StreamLine::Exit { result } = lines.last().unwrap() else { panic!("{lines:?}") };
    assert_eq!((result.exit_code, result.status.as_str(), result.stdout.as_str()), (Some(6), "completed", ""));
    // Through a session, and more than any queue holds on pipes.
    let answer = house.terminal("POST", "execute?stream=true", json!({ "command": "echo in session" })).await.text();
    assert!(answer.contains(r#"{"type":"stdout","data":"in session\n"}"#), "{answer}");
    let flood =
        house.terminal("POST", query, json!({ "command": "head -c 20000000 /dev/zero | tr '\\0' x" })).await.text();
    let text = |line: &str| match serde_json::from_str(line).unwrap() {
        StreamLine::Stdout { data } => data.len(),
        _ => 0,
    };
    assert_eq!(flood.lines().map(text).sum::<usize>(), 20_000_000);
}

#[tokio::test]
async fn who_leaves_a_stream_ends_its_command() {
    let house = House::open();
    let mark = house.dir.path().join("alive");
    let command = format!("while :; do echo x; touch {}; sleep 0.1; done", mark.display());
    for query in ["ephemeral=true&stream=true", "terminal_id=5&stream=true"] {
        let stream = tokio::net::UnixStream::connect(house.socket()).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::post(format!("/api/v1/terminal/execute?{query}"))
            .header("host", "kit")
            .header(super::SERVICE_HEADER, "terminal")
            .body(Full::new(bytes::Bytes::from(json!({ "command": command }).to_string())))
            .unwrap();
        let mut response = sender.send_request(request).await.unwrap();
        for _ in 0..3 {
            response.frame().await.unwrap().unwrap();
        }
        drop((response, sender));
        connection.abort();
        // It makes the mark again ten times a second for as long as it runs.
        let mut runs = true;
        for _ in 0..20 {
            let _ = std::fs::remove_file(&mark);
            tokio::time::sleep(Duration::from_secs(1)).await;
            runs = mark.exists();
            if !runs {
                break;
            }
        }
        assert!(!runs, "{query}: still running");
    }
}

#[tokio::test]
async fn too_much_output_is_cut_and_said_so() {
    let house = House::open();
    let body = json!({ "command": "head -c 10000000 /dev/zero | tr '\\0' x" });
    let result = house.terminal("POST", "execute?ephemeral=true", body).await.ok();
    assert_eq!((result["stdout"].as_str().unwrap().len(), &result["truncated"]), (8 << 20, &json!(true)));
}

#[tokio::test]
async fn processes_and_ports_are_those_of_the_machine() {
    let house = House::open();
    let get =
        async |path: &str| house.call("terminal", "GET", &format!("/api/v1/system/{path}"), &[], Vec::new()).await;
    let own = std::process::id();
    assert_eq!(get(&format!("processes/{own}")).await.ok()["pid"], own);
    let list = get("processes?sort=memory&limit=3").await.ok();
    assert_eq!(list["processes"].as_array().unwrap().len(), 3);
    get("processes/999999999").await.refused(404);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ports = get(&format!("ports?port={port}")).await.ok();
    assert_eq!((&ports["count"], &ports["ports"][0]["pid"]), (&json!(1), &json!(own)));
    assert!(get("resources").await.ok()["memory"]["used_percent"].is_number());
    assert!(get("displays").await.refused(501).contains("displays"));
    let child = std::process::Command::new("sleep").arg("100").spawn();
    let mut child = child.unwrap();
    let body = json!({ "pid": child.id(), "signal": "SIGTERM" }).to_string().into_bytes();
    house.call("terminal", "POST", "/api/v1/system/process/signal", &[], body).await.ok();
    assert!(!child.wait().unwrap().success());
    let body = json!({ "pid": 1, "force": true }).to_string().into_bytes();
    house.call("terminal", "POST", "/api/v1/system/process/signal", &[], body).await.refused(403);
}
