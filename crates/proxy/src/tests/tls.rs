use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;

const P: &str = "0123456789abcdef01234567";

fn open(dir: &Path) -> Arc<Certificates> {
    let grammar = Grammar::new(["cowl.localhost", "cowl.internal", "sub.cowl.internal"], "box-1").unwrap();
    Certificates::open(dir, &grammar).unwrap()
}

/// Whether a client that trusts the authority accepts what it gets for `name`.
fn is_trusted(certificates: &Certificates, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(certificates.ca.der().clone()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    let leaf = certificates.for_name(Some(name));
    let server = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&leaf.cert[0], &[], &server, &[], UnixTime::now()).is_ok()
}

#[test]
fn every_name_of_the_grammar_has_a_certificate() {
    let dir = tempfile::TempDir::new().unwrap();
    let certificates = open(dir.path());
    for domain in ["cowl.localhost", "cowl.internal", "sub.cowl.internal"] {
        for left in [
            "api".to_owned(),
            format!("{P}.api"),
            "ip".to_owned(),
            "localhost.containers".to_owned(),
            format!("{P}-{P}-terminal-1.box-1.containers"),
            "my-alias.box-1".to_owned(),
            format!("shop.{P}-{P}-exec-1.box-1.containers"),
            format!("SHOP.{P}-{P}-exec-page.BOX-1.containers"),
        ] {
            let name = format!("{left}.{domain}");
            assert!(is_trusted(&certificates, &name), "{name}");
        }
    }
    assert!(is_trusted(&certificates, "localhost"));
    assert!(!is_trusted(&certificates, "example.com"));
    assert!(!is_trusted(&certificates, &format!("x.{P}-{P}-files-1.box-1.containers.cowl.internal")));
}

#[test]
fn a_name_nobody_asked_for_gets_the_default_certificate() {
    let dir = tempfile::TempDir::new().unwrap();
    let certificates = open(dir.path());
    let default = certificates.for_name(None);
    assert!(Arc::ptr_eq(&default, &certificates.for_name(Some("example.com"))));
    assert!(Arc::ptr_eq(&default, &certificates.for_name(Some("api.cowl.localhost"))));
    assert!(!Arc::ptr_eq(&default, &certificates.for_name(Some("api.cowl.internal"))));
}

#[test]
fn certificates_for_single_names_are_kept_but_not_without_bound() {
    let dir = tempfile::TempDir::new().unwrap();
    let certificates = open(dir.path());
    let name = |n: usize| format!("s{n}.{P}-{P}-exec-1.box-1.containers.cowl.internal");
    let first = certificates.for_name(Some(&name(0)));
    assert!(Arc::ptr_eq(&first, &certificates.for_name(Some(&name(0)))));
    for n in 1..=SINGLE_NAMES {
        certificates.for_name(Some(&name(n)));
    }
    assert_eq!(certificates.single.lock().unwrap().len(), SINGLE_NAMES);
    assert!(!Arc::ptr_eq(&first, &certificates.for_name(Some(&name(0)))));
}

#[test]
fn another_set_of_names_gets_other_certificates_from_the_same_authority() {
    let dir = tempfile::TempDir::new().unwrap();
    let certificates = open(dir.path());
    assert!(!is_trusted(&certificates, "api.example.org"));
    certificates.reissue(&Grammar::new(["example.org"], "box-1").unwrap()).unwrap();
    assert!(is_trusted(&certificates, "api.example.org"));
    assert!(!is_trusted(&certificates, "api.cowl.internal"));
}

#[test]
fn a_certificate_that_nears_its_end_is_replaced_when_asked_for() {
    let dir = tempfile::TempDir::new().unwrap();
    let certificates = open(dir.path());
    let old = certificates.for_name(None);
    let soon = SystemTime::now() + RENEW_BEFORE / 2;
    let current = certificates.current.load_full();
    certificates.current.store(Arc::new(Leaves {
        grammar: current.grammar.clone(),
        by_domain: current.by_domain.clone(),
        default: Arc::clone(&current.default),
        not_after: soon,
    }));
    let new = certificates.for_name(None);
    assert!(!Arc::ptr_eq(&old, &new));
    assert!(Arc::ptr_eq(&new, &certificates.for_name(None)));
}
