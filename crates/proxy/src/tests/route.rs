use proptest::prelude::*;

use super::*;
use cowl_api::urls::container_host;

const P: &str = "0123456789abcdef01234567";
const C: &str = "fedcba9876543210fedcba98";

fn grammar() -> Grammar {
    Grammar::new(["cowl.localhost", "Cowl.Internal.", "a.example.org", "example.org"], "box-1").unwrap()
}

fn segment(segment: &str) -> Option<Program> {
    match grammar().parse(&format!("{P}-{C}-{segment}.box-1.containers.cowl.internal")) {
        Host::Container(target) => {
            assert_eq!((target.project.as_str(), target.container.as_str()), (P, C));
            Some(target.program)
        }
        Host::Api { .. } => panic!("{segment} is the API"),
        Host::Unknown => None,
    }
}

fn kit(service: Service, n: u16) -> Option<Program> {
    Some(Program::Kit(service, Instance::Number(n)))
}

#[test]
fn every_slug_and_alias_names_its_service_with_and_without_index() {
    for service in Service::ALL {
        for slug in std::iter::once(&service.slug()).chain(service.aliases()) {
            assert_eq!(segment(slug), kit(service, 1), "{slug}");
            assert_eq!(segment(&format!("{slug}-1")), kit(service, 1), "{slug}");
            assert_eq!(segment(&format!("{slug}-9999")), kit(service, 9999), "{slug}");
            assert_eq!(segment(&slug.to_uppercase()), kit(service, 1), "{slug}");
        }
    }
}

#[test]
fn segments_mean_what_the_table_says() {
    let name = |n: &str| Some(Program::Kit(Service::Exec, Instance::Name(Label::new(n).unwrap())));
    let unserved = |u| Some(Program::Unserved(u));
    let cases = [
        ("http", Some(Program::Http(80))),
        ("http-80", Some(Program::Http(80))),
        ("http-65535", Some(Program::Http(65535))),
        ("http-0", None),
        ("http-65536", None),
        ("http-08", None),
        ("http-x", None),
        ("https", Some(Program::Https(443))),
        ("https-8443", Some(Program::Https(8443))),
        ("desktop", Some(Program::Desktop(1))),
        ("desktop-63935", Some(Program::Desktop(63935))),
        ("desktop-63936", None),
        ("desktop-0", None),
        ("terminal-0", kit(Service::Terminal, 0)),
        ("terminal-65535", kit(Service::Terminal, 65535)),
        ("terminal-65536", None),
        ("display-65535", kit(Service::Display, 65535)),
        ("display-0", None),
        ("files-0", None),
        ("files-10000", None),
        ("files-01", None),
        ("files-+1", None),
        ("files-", None),
        ("files-1-1", None),
        ("exec-test", name("test")),
        ("exec-a-b-2", name("a-b-2")),
        ("exec-10000", None),
        ("exec-007", None),
        ("exec--a", None),
        ("exec-a-", None),
        ("exec-", None),
        ("note-2", kit(Service::Notes, 2)),
        ("proxy-logs-2", kit(Service::Logs, 2)),
        ("ssh", unserved(Unserved::Ssh)),
        ("ssh-22", unserved(Unserved::Ssh)),
        ("ssh-23", None),
        ("proxy", unserved(Unserved::Proxy)),
        ("proxy-1", None),
        ("cdp", unserved(Unserved::Cdp)),
        ("cdp-1", unserved(Unserved::Cdp)),
        ("cli", unserved(Unserved::Cli)),
        ("web-1", None),
        ("", None),
        ("-1", None),
    ];
    for (text, meaning) in cases {
        assert_eq!(segment(text), meaning, "{text}");
    }
}

#[test]
fn hosts_mean_what_the_table_says() {
    let g = grammar();
    let api = Host::Api { realm: None };
    let realm = Host::Api { realm: Label::new(P) };
    let kit = g.parse(&format!("{P}-{C}-files-1.box-1.containers.cowl.localhost"));
    assert!(matches!(kit, Host::Container(_)));
    let cases = [
        ("api.cowl.localhost".to_owned(), api),
        ("API.COWL.INTERNAL.:8443".to_owned(), api),
        ("api.a.example.org".to_owned(), api),
        ("api.example.org".to_owned(), api),
        (format!("{P}.api.cowl.internal"), realm),
        (format!("{}.api.cowl.internal", &P[1..]), Host::Unknown),
        (format!("x.{P}.api.cowl.internal"), Host::Unknown),
        (format!("{P}-{C}-FILES-1.Box-1.containers.COWL.internal.:443"), kit),
        (format!("{P}-{C}-files.box-1.containers.a.example.org:"), kit),
        (format!("{P}-{C}-files-1.box-2.containers.cowl.internal"), Host::Unknown),
        (format!("{P}-{C}-files-1.containers.cowl.internal"), Host::Unknown),
        (format!("{P}-{C}-files-1.box-1.cowl.internal"), Host::Unknown),
        (format!("{P}-{C}-files-1.box-1.containers.example.com"), Host::Unknown),
        (format!("{P}-{C}-files-1.box-1.containers.xcowl.internal"), Host::Unknown),
        (format!("{P}-{C}-files-1.xbox-1.containers.cowl.internal"), Host::Unknown),
        (format!("sub.{P}-{C}-files-1.box-1.containers.cowl.internal"), Host::Unknown),
        (format!("{P}{C}-files-1.box-1.containers.cowl.internal"), Host::Unknown),
        (format!("{P}-{C}.box-1.containers.cowl.internal"), Host::Unknown),
        (format!("{P}-{}g-files-1.box-1.containers.cowl.internal", &C[1..]), Host::Unknown),
        ("cowl.internal".to_owned(), Host::Unknown),
        ("ip.cowl.internal".to_owned(), Host::Unknown),
        ("localhost".to_owned(), Host::Unknown),
        ("127.0.0.1:443".to_owned(), Host::Unknown),
        ("[::1]:443".to_owned(), Host::Unknown),
        ("api.cowl.internal:http".to_owned(), Host::Unknown),
        ("api.cowl.internal..".to_owned(), Host::Unknown),
        ("user@api.cowl.internal".to_owned(), Host::Unknown),
        (String::new(), Host::Unknown),
        (".".to_owned(), Host::Unknown),
    ];
    for (host, meaning) in cases {
        assert_eq!(g.parse(&host), meaning, "{host}");
    }
}

#[test]
fn only_exec_takes_a_left_hand_label_and_only_one() {
    let g = grammar();
    let sub = |host: String| match g.parse(&host) {
        Host::Container(target) => target.sub.map(|s| s.as_str().to_owned()),
        _ => None,
    };
    let host = |left: &str, segment: &str| format!("{left}.{P}-{C}-{segment}.box-1.containers.cowl.internal");
    assert_eq!(sub(host("shop", "exec-1")), Some("shop".into()));
    assert_eq!(sub(host("shop", "exec-page")), Some("shop".into()));
    assert_eq!(sub(host("a.b", "exec-1")), None);
    assert_eq!(sub(host("", "exec-1")), None);
    assert_eq!(sub(host("shop", "http-80")), None);
}

#[test]
fn a_grammar_needs_real_names() {
    assert_eq!(Grammar::new(Vec::<String>::new(), "a"), Err(GrammarError::NoDomain));
    assert!(matches!(Grammar::new(["a_b!"], "a"), Err(GrammarError::Domain(_))));
    assert!(matches!(Grammar::new(["a..b"], "a"), Err(GrammarError::Domain(_))));
    assert!(matches!(Grammar::new(["a.b"], "two.labels"), Err(GrammarError::Server(_))));
    assert_eq!(Grammar::new(["A.b.", "a.b"], "X").unwrap().domains(), ["a.b"]);
}

proptest! {
    #[test]
    fn nothing_a_client_sends_panics(host in "\\PC*") {
        grammar().parse(&host);
    }

    #[test]
    fn nothing_that_looks_like_ours_panics(left in "[-a-z0-9A-Z._:é]{0,130}", tail in "(\\.box-1\\.containers\\.cowl\\.internal)?") {
        grammar().parse(&format!("{left}{tail}"));
        program(&left);
    }

    #[test]
    fn what_we_print_we_parse(service in 0..18usize, n in 1..=9999u16, upper: bool, dot: bool, port: Option<u16>) {
        let service = Service::ALL[service];
        let (p, c) = (ProjectId::generate(), ContainerId::generate());
        let mut host = container_host(&p, &c, &format!("{}-{n}", service.slug()), "box-1", "cowl.localhost");
        if upper { host.make_ascii_uppercase(); }
        if dot { host.push('.'); }
        if let Some(port) = port { host.push_str(&format!(":{port}")); }
        let meant = Target { project: p, container: c, program: Program::Kit(service, Instance::Number(n)), sub: None };
        prop_assert_eq!(grammar().parse(&host), Host::Container(meant));
    }

    #[test]
    fn one_wrong_character_in_the_ids_makes_a_stranger(at in 0..49usize, to in "[g-z_]") {
        let good = format!("{P}-{C}-files-1.box-1.containers.cowl.internal");
        let mut bad = good.clone();
        bad.replace_range(at..=at, &to);
        prop_assert_eq!(grammar().parse(&bad), Host::Unknown);
    }
}
