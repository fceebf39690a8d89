use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn leaf(ca: &Ca) -> (CertificateDer<'static>, SystemTime) {
    let key = KeyPair::generate().unwrap();
    ca.issue(vec!["api.cowl.internal".into(), "*.api.cowl.internal".into()], &key).unwrap()
}

#[test]
fn the_authority_is_made_once_and_only_root_reads_its_key() {
    let dir = tempfile::TempDir::new().unwrap();
    let at = dir.path().join("state/ca");
    let first = Ca::open(&at, "box-1").unwrap().der().clone();
    assert_eq!((mode(&at), mode(&at.join("ca.key")), mode(&at.join("ca.crt"))), (0o700, 0o600, 0o644));
    fs::set_permissions(at.join("ca.key"), Permissions::from_mode(0o644)).unwrap();
    let again = Ca::open(&at, "box-1").unwrap();
    assert_eq!(*again.der(), first);
    assert_eq!(again.certificate_path(), at.join("ca.crt"));
    assert_eq!(mode(&at.join("ca.key")), 0o600);
}

#[test]
fn a_start_that_died_between_key_and_certificate_is_finished_by_the_next() {
    let dir = tempfile::TempDir::new().unwrap();
    Ca::open(dir.path(), "box-1").unwrap();
    let key = fs::read(dir.path().join("ca.key")).unwrap();
    fs::remove_file(dir.path().join("ca.crt")).unwrap();
    fs::write(dir.path().join("ca.new"), "half").unwrap();
    Ca::open(dir.path(), "box-1").unwrap();
    assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), key);
}

#[test]
fn a_certificate_without_its_key_is_never_replaced() {
    let dir = tempfile::TempDir::new().unwrap();
    Ca::open(dir.path(), "box-1").unwrap();
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    assert!(matches!(Ca::open(dir.path(), "box-1"), Err(CaError::KeyLost(_))));
    let other = KeyPair::generate().unwrap().serialize_pem();
    fs::write(dir.path().join("ca.key"), other).unwrap();
    assert!(matches!(Ca::open(dir.path(), "box-1"), Err(CaError::Unusable(..))));
    fs::write(dir.path().join("ca.key"), "not a key").unwrap();
    assert!(matches!(Ca::open(dir.path(), "box-1"), Err(CaError::Unusable(..))));
}

#[test]
fn leaves_last_at_most_397_days_and_have_serials_of_their_own() {
    let dir = tempfile::TempDir::new().unwrap();
    let ca = Ca::open(dir.path(), "box-1").unwrap();
    let ((one, end), (two, _)) = (leaf(&ca), leaf(&ca));
    assert!(end > SystemTime::now() + 390 * DAY);
    let parse = |der: &[u8]| {
        let (_, x) = x509_parser::parse_x509_certificate(der).unwrap();
        let days = (x.validity().not_after.timestamp() - x.validity().not_before.timestamp()) / 86_400;
        (x.raw_serial().to_vec(), days)
    };
    let (one, two) = (parse(&one), parse(&two));
    assert_ne!(one.0, two.0);
    assert!((396..=397).contains(&one.1), "{} days", one.1);
}
