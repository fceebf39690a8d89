//! The TLS front: host names, ports inside, certificates, what is told to whom.

use crate::harness::node::DOMAIN;
use crate::harness::web::Web;
use crate::harness::{Container, eventually, shared};
use crate::stories;

stories![
    any_port_inside_is_a_url_at_once,
    unknown_foreign_and_stopped_look_alike,
    every_service_of_the_grammar_answers,
    forwarding_headers_are_the_proxys_own,
    the_default_domains_stay_and_upper_case_does_not_matter,
    certificates_name_the_host_asked_for,
    a_server_inside_that_is_not_there_is_a_502,
    bodies_stream_both_ways,
];

/// A shell command that starts a web server inside; it tells each visitor `body`, then the head it got.
pub fn serve(port: u16, body: &str) -> String {
    format!("setsid {} >/dev/null 2>&1 </dev/null & sleep 0.3", server(port, body))
}

/// The same as a command that runs for as long as it serves.
pub fn server(port: u16, body: &str) -> String {
    let program = format!(
        "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => {port}, Listen => 20, ReuseAddr => 1) or die; \
         while ($c = $s->accept) {{ $h = \"\"; while (<$c>) {{ last if /^\\r?$/; $h .= $_ }} \
         $t = \"{body}\\n$h\"; print $c \"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: \" . length($t) . \"\\r\\n\\r\\n$t\"; close $c }}"
    );
    format!("perl -e '{program}'")
}

fn served<'a>(node: &'a crate::harness::Node, name: &str) -> Container<'a> {
    let c = node.container(name);
    c.says(&serve(8080, "hello from inside"));
    eventually("the server inside", 20, || (c.curl("http-8080", "/", &[]).status == 200).then_some(()));
    c
}

fn any_port_inside_is_a_url_at_once() {
    let node = shared::node();
    let c = served(&node, "web");
    let reply = c.curl("http-8080", "/any/path?q=1", &[]);
    assert!(reply.body.starts_with("hello from inside\n"), "{reply:#?}");
    assert!(reply.body.contains("GET /any/path?q=1 HTTP/1.1"), "{reply:#?}");
    let printed = node.cowl(&["url", &c.id, "http-8080"]);
    assert_eq!(printed.ok().trim(), format!("https://{}:{}", c.host("http-8080"), node.port));
}

fn unknown_foreign_and_stopped_look_alike() {
    let node = shared::node();
    let c = served(&node, "hidden");
    let stopped = node.container("hidden");
    node.cowl(&["containers", "stop", &stopped.id]).ok();
    let web = Web::new(&node);
    let nobody = "0123456789abcdef01234567";
    let server = node.server_name();
    for segment in ["terminal-1", "files-1", "http-8080"] {
        let host = |p: &str, c: &str| format!("{p}-{c}-{segment}.{server}.containers.{DOMAIN}");
        let answers: Vec<_> =
            [host(&c.project, nobody), host(nobody, &c.id), host(nobody, nobody), host(&stopped.project, &stopped.id)]
                .iter()
                .map(|h| {
                    let reply = web.ask(h, "/api/v1/files/etc/hostname", &[]);
                    let headers =
                        reply.headers.lines().filter(|l| !l.starts_with("date:")).collect::<Vec<_>>().join("\n");
                    (reply.status, headers, reply.body)
                })
                .collect();
        assert_eq!(answers[0].0, 503, "{answers:?}");
        assert!(answers.iter().all(|a| *a == answers[0]), "{segment}: {answers:#?}");
    }
}

fn every_service_of_the_grammar_answers() {
    let node = shared::node();
    let c = node.container("slugs");
    assert_eq!(c.curl("terminal-1", "/api/v1/terminal/sessions", &[]).status, 200);
    assert_eq!(c.curl("files-1", "/api/v1/files/etc/hostname", &[]).status, 200);
    for slug in [
        "display",
        "sqlite",
        "exec",
        "browser",
        "workspaces",
        "code",
        "curl",
        "n",
        "daemon",
        "cron",
        "pipe",
        "notes",
        "watch",
        "run",
        "tunnel",
        "logs",
    ] {
        let reply = c.curl(&format!("{slug}-1"), "/", &[]).is(501);
        assert!(reply["error"].is_string() && reply["statusCode"].is_null(), "{slug}: {reply}");
        let named = cowl_api::Service::from_slug(slug).map(|s| format!("{s:?}").to_lowercase()).unwrap();
        let text = reply["message"].as_str().unwrap().to_lowercase();
        assert!(text.contains(slug) || text.contains(&named), "{slug}: {reply}");
    }
    for bad in ["nothing-1", "files-0", "terminal-x", "http-0", "http-65536"] {
        let status = c.curl(bad, "/", &[]).status;
        assert!((400..=503).contains(&status), "{bad}: {status}");
    }
}

fn forwarding_headers_are_the_proxys_own() {
    let node = shared::node();
    let c = served(&node, "xff");
    let lies =
        ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil.test", "X-Real-IP: 6.6.6.6", "X-Cowl-Service: files"];
    let args: Vec<&str> = lies.iter().flat_map(|l| ["-H", l]).collect();
    let head = c.curl("http-8080", "/", &args).body.to_lowercase();
    assert!(
        !head.contains("6.6.6.6") && !head.contains("evil.test") && !head.contains("x-cowl-service: files"),
        "{head}"
    );
    assert!(head.contains("x-forwarded-for: 127.0.0.1"), "{head}");
    assert!(head.contains("x-forwarded-proto: https"), "{head}");
    assert!(head.contains(&format!("x-forwarded-host: {}", c.host("http-8080"))), "{head}");
    // The same lie must not lead to another service of the kit.
    let sessions = c.curl("terminal-1", "/api/v1/terminal/sessions", &["-H", "X-Cowl-Service: files"]);
    assert_eq!(sessions.status, 200, "{sessions:#?}");
}

fn the_default_domains_stay_and_upper_case_does_not_matter() {
    let node = shared::node();
    let c = node.container("domains");
    let web = Web::new(&node);
    for domain in [DOMAIN, "cowl.localhost", "cowl.internal"] {
        let host = c.host("files-1").replace(DOMAIN, domain);
        let reply = web.ask(&host, "/api/v1/files/etc/hostname", &[]);
        assert_eq!((reply.status, reply.body.trim()), (200, c.name.as_str()), "{domain}");
    }
    let host = format!("Host: {}", c.host("files-1").to_uppercase());
    assert_eq!(c.curl("files-1", "/api/v1/files/etc/hostname", &["-H", &host]).status, 200);
}

fn certificates_name_the_host_asked_for() {
    let node = shared::node();
    let c = node.container("cert");
    // curl checks name and chain in all other tests; here, that it would have noticed.
    let host = c.host("files-1");
    let resolve = format!("{host}:{}:127.0.0.1", node.port);
    let url = format!("https://{host}:{}/", node.port);
    let untrusted = crate::harness::web::curl(&["--resolve", &resolve, &url]);
    assert_eq!(untrusted.code, 60, "{untrusted:#?}");
    let ca = node.ca();
    let resolve = format!("bank.example:{}:127.0.0.1", node.port);
    let other = format!("https://bank.example:{}/", node.port);
    let misnamed = crate::harness::web::curl(&["--cacert", ca.to_str().unwrap(), "--resolve", &resolve, &other]);
    assert!(misnamed.code != 0, "a certificate for a name that is not ours: {misnamed:#?}");
}

fn a_server_inside_that_is_not_there_is_a_502() {
    let node = shared::node();
    let c = node.container("silent");
    let reply = c.curl("http-8080", "/", &[]);
    assert_eq!(reply.status, 502, "{reply:#?}");
}

fn bodies_stream_both_ways() {
    let node = shared::node();
    let c = node.container("pipe");
    let echo = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 9000, Listen => 5, ReuseAddr => 1); \
        while ($c = $s->accept) { $n = 0; while (<$c>) { $n = $1 if /^content-length: (\\d+)/i; last if /^\\r?$/ } \
        print $c \"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: $n\\r\\n\\r\\n\"; \
        while ($n > 0 && ($r = read($c, $b, $n > 65536 ? 65536 : $n))) { print $c $b; $n -= $r } close $c }";
    c.says(&format!("setsid perl -e '{echo}' >/dev/null 2>&1 </dev/null & sleep 0.3"));
    let (up, down) = (node.dir.join("echo-up"), node.dir.join("echo-down"));
    let bytes: Vec<u8> = (0..20_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&up, &bytes).unwrap();
    let data = format!("@{}", up.display());
    let args = ["--data-binary", &data, "-H", "Expect:", "-o", down.to_str().unwrap(), "-D", "-"];
    let reply = c.curl("http-9000", "/", &args);
    assert_eq!(reply.status, 200);
    assert!(std::fs::read(&down).unwrap().ends_with(&bytes), "what came back differs");
}
