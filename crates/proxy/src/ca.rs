//! The node's own certificate authority: made at the first start, kept in `STATE/ca/`.
//!
//! `ca.key` is written before `ca.crt`, each in one step, so that a crash between them leaves a key
//! whose certificate the next start makes. A certificate whose key is lost is never replaced
//! silently: people may have installed it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a new authority is valid.
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How long a server certificate is valid; browsers refuse more than 398 days.
const LEAF_LIFE: Duration = Duration::from_secs(397 * 24 * 3600);
/// Certificates are dated back by this, for clients whose clocks are late.
const BACKDATE: Duration = DAY;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// There is a certificate without its key.
    #[error("{path} has lost its ca.key; restore it, or remove ca.crt to make a new authority", path = .0.display())]
    KeyLost(PathBuf),
    /// The files are there but are not a certificate and its key.
    #[error("{path} is not usable: {1}", path = .0.display())]
    Unusable(PathBuf, String),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// The authority: a certificate and the key that signs with it.
pub struct Ca {
    certificate: PathBuf,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    not_after: SystemTime,
}

impl Ca {
    /// Opens the authority in `dir`, making both when there are none. `owner` names it to people
    /// who look through their certificate store; the server's name is a good one.
    ///
    /// # Errors
    /// When files cannot be read or written, belong not together, or the key of an existing
    /// certificate is gone.
    pub fn open(dir: &Path, owner: &str) -> Result<Self, CaError> {
        make_private_dir(dir).map_err(at(dir))?;
        let (crt, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        let key_pair = match read_if_there(&key)? {
            Some(pem) => {
                fs::set_permissions(&key, Permissions::from_mode(0o600)).map_err(at(&key))?;
                KeyPair::from_pem(&pem).map_err(|e| CaError::Unusable(key.clone(), e.to_string()))?
            }
            None if crt.exists() => return Err(CaError::KeyLost(dir.to_owned())),
            None => {
                let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
                write_whole(&key, pair.serialize_pem().as_bytes(), 0o600).map_err(at(&key))?;
                pair
            }
        };
        let pem = match read_if_there(&crt)? {
            Some(pem) => pem,
            None => {
                let pem = authority(owner, &key_pair)?;
                write_whole(&crt, pem.as_bytes(), 0o644).map_err(at(&crt))?;
                tracing::info!(path = %crt.display(), "made a certificate authority");
                pem
            }
        };
        Self::load(crt, &pem, key_pair)
    }

    fn load(crt: PathBuf, pem: &str, key_pair: KeyPair) -> Result<Self, CaError> {
        let bad = |why: String| CaError::Unusable(crt.clone(), why);
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| bad(e.to_string()))?;
        let not_after = {
            let (_, x509) = x509_parser::parse_x509_certificate(&der).map_err(|e| bad(e.to_string()))?;
            if x509.public_key().subject_public_key.data.as_ref() != key_pair.public_key_raw() {
                return Err(bad("its key is another one than ca.key".into()));
            }
            let seconds = u64::try_from(x509.validity().not_after.timestamp()).unwrap_or(0);
            UNIX_EPOCH + Duration::from_secs(seconds)
        };
        if not_after < SystemTime::now() + LEAF_LIFE {
            tracing::warn!(path = %crt.display(), "the certificate authority expires within 397 days; \
                remove ca.crt and ca.key to make a new one, and install that again");
        }
        let issuer = Issuer::from_ca_cert_der(&der, key_pair)?;
        Ok(Self { certificate: crt, der, issuer, not_after })
    }

    /// Where the certificate lies, for `curl --cacert` and for installing it.
    pub fn certificate_path(&self) -> &Path {
        &self.certificate
    }

    /// When the authority ends; nothing it issues lasts longer.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A server certificate for `names` (first one first) and `key`, and when it ends.
    ///
    /// # Errors
    /// When a name cannot be in a certificate.
    pub fn issue(&self, names: Vec<String>, key: &KeyPair) -> Result<(CertificateDer<'static>, SystemTime), CaError> {
        let now = SystemTime::now();
        let end = (now + LEAF_LIFE - BACKDATE).min(self.not_after);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Cowl node");
        params.not_before = moment(now - BACKDATE);
        params.not_after = moment(end);
        params.serial_number = Some(random_serial());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok((params.signed_by(key, &self.issuer)?.der().clone(), end))
    }
}

fn authority(owner: &str, key: &KeyPair) -> Result<String, CaError> {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Two authorities of one box must not share a subject, or clients confuse them.
    let mark: u32 = rand::random();
    params.distinguished_name.push(DnType::CommonName, format!("Cowl local CA {owner} {mark:08x}"));
    params.not_before = moment(now - BACKDATE);
    params.not_after = moment(now + CA_LIFE);
    params.serial_number = Some(random_serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(key)?.pem())
}

/// Never two alike under one issuer, though all leaves share a key.
fn random_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// rcgen's kind of time, whole seconds.
fn moment(at: SystemTime) -> time::OffsetDateTime {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CaError + '_ {
    |source| CaError::File { path: path.to_owned(), source }
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

fn read_if_there(path: &Path) -> Result<Option<String>, CaError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at(path)(e)),
    }
}

/// Writes a file so that it is either absent or whole, also after a power cut.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests/ca.rs"]
mod tests;
