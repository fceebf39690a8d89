//! The node's server certificates, chosen by the name the client asks for.
//!
//! One certificate per domain covers every name of the grammar; a wildcard stands for one label, so
//! the left-hand label of an `exec` host gets a certificate of its own when it is first asked for.
//! Certificates live in memory only: each start issues new ones from the authority on disk, and one
//! that nears its end is replaced when it is next asked for.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, SigningKey};

use super::ca::{Ca, CaError};
use super::route::{Grammar, Host};

/// A certificate is replaced when less than this is left of it.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Certificates for single names kept at once.
const SINGLE_NAMES: usize = 256;
/// TLS 1.2 sessions kept for resumption; TLS 1.3 resumes by ticket.
const SESSIONS: usize = 4096;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority is unusable.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// rustls refused.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The node's certificates.
pub struct Certificates {
    ca: Ca,
    /// One key for all leaves: they all are this node, and issuing then costs one signature.
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    current: ArcSwap<Leaves>,
    single: Mutex<VecDeque<(String, Leaf)>>,
}

struct Leaves {
    grammar: Grammar,
    /// In the order of the grammar's domains; never empty.
    by_domain: Vec<(String, Arc<CertifiedKey>)>,
    default: Arc<CertifiedKey>,
    not_after: SystemTime,
}

#[derive(Clone)]
struct Leaf {
    certified: Arc<CertifiedKey>,
    not_after: SystemTime,
}

/// The one cryptography we use, named outright: nothing depends on a process-wide default.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Certificates {
    /// Opens (or makes) the authority in `dir`, which is `STATE/ca`, and issues certificates for
    /// the names of `grammar`.
    ///
    /// # Errors
    /// When the authority is unusable; see [`Ca::open`].
    pub fn open(dir: &Path, grammar: &Grammar) -> Result<Arc<Self>, TlsError> {
        let ca = Ca::open(dir, grammar.server())?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(CaError::from)?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = provider().key_provider.load_private_key(der)?;
        let current = ArcSwap::from_pointee(issue_all(&ca, &key, &signer, grammar)?);
        Ok(Arc::new(Self { ca, key, signer, current, single: Mutex::default() }))
    }

    /// Where the authority's certificate lies.
    pub fn ca_path(&self) -> &Path {
        self.ca.certificate_path()
    }

    /// Issues certificates for another set of names; connections made from now on get them.
    ///
    /// # Errors
    /// When a name cannot be in a certificate; then the old ones stay.
    pub fn reissue(&self, grammar: &Grammar) -> Result<(), TlsError> {
        let leaves = issue_all(&self.ca, &self.key, &self.signer, grammar)?;
        self.current.store(Arc::new(leaves));
        self.single.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// TLS 1.2 and 1.3 with these certificates, HTTP/1.1, resumption on.
    ///
    /// # Errors
    /// When rustls refuses the configuration.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(self) as _;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// Whether a certificate need not be replaced; one that ends with the authority cannot be.
    fn is_fresh(&self, not_after: SystemTime) -> bool {
        not_after > SystemTime::now() + RENEW_BEFORE || not_after >= self.ca.not_after()
    }

    /// The certificate for a server name; the default one for none and for strangers.
    fn for_name(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let mut leaves = self.current.load_full();
        if !self.is_fresh(leaves.not_after) {
            match self.reissue(&leaves.grammar) {
                Ok(()) => leaves = self.current.load_full(),
                Err(error) => tracing::warn!(%error, "cannot renew the node's certificates"),
            }
        }
        let Some(name) = name else { return Arc::clone(&leaves.default) };
        let name = name.to_ascii_lowercase();
        if let Host::Container(target) = leaves.grammar.parse(&name)
            && target.sub.is_some()
        {
            match self.for_single_name(&name) {
                Ok(certified) => return certified,
                Err(error) => tracing::debug!(%error, "cannot issue a certificate for one name"),
            }
        }
        let found = leaves.by_domain.iter().find(|(domain, _)| {
            name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        Arc::clone(found.map_or(&leaves.default, |(_, certified)| certified))
    }

    fn for_single_name(&self, name: &str) -> Result<Arc<CertifiedKey>, TlsError> {
        let mut single = self.single.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = single.iter().position(|(n, leaf)| n == name && self.is_fresh(leaf.not_after))
            && let Some(found) = single.remove(at)
        {
            let certified = Arc::clone(&found.1.certified);
            single.push_back(found);
            return Ok(certified);
        }
        let leaf = issue(&self.ca, &self.key, &self.signer, vec![name.to_owned()])?;
        let certified = Arc::clone(&leaf.certified);
        if single.len() >= SINGLE_NAMES {
            single.pop_front();
        }
        single.push_back((name.to_owned(), leaf));
        Ok(certified)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.for_name(hello.server_name()))
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("ca", &self.ca_path()).finish_non_exhaustive()
    }
}

fn issue(ca: &Ca, key: &KeyPair, signer: &Arc<dyn SigningKey>, names: Vec<String>) -> Result<Leaf, TlsError> {
    let (leaf, not_after) = ca.issue(names, key)?;
    let certified = Arc::new(CertifiedKey::new(vec![leaf], Arc::clone(signer)));
    Ok(Leaf { certified, not_after })
}

fn issue_all(ca: &Ca, key: &KeyPair, signer: &Arc<dyn SigningKey>, grammar: &Grammar) -> Result<Leaves, TlsError> {
    let mut by_domain = Vec::new();
    let mut default: Option<Leaf> = None;
    let mut not_after = SystemTime::UNIX_EPOCH;
    for (i, domain) in grammar.domains().iter().enumerate() {
        let leaf = issue(ca, key, signer, names_under(domain, grammar.server(), i == 0))?;
        not_after = leaf.not_after;
        by_domain.push((domain.clone(), Arc::clone(&leaf.certified)));
        default.get_or_insert(leaf);
    }
    // A longer domain may lie under a shorter one; the closer one is meant.
    by_domain.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.len()));
    let default = match default {
        Some(leaf) => leaf,
        None => issue(ca, key, signer, vec!["localhost".into()])?,
    };
    Ok(Leaves { grammar: grammar.clone(), by_domain, default: default.certified, not_after })
}

/// Every name of the grammar under one domain, as wildcards.
fn names_under(domain: &str, server: &str, is_primary: bool) -> Vec<String> {
    let mut names = vec![
        format!("api.{domain}"),
        format!("*.api.{domain}"),
        format!("ip.{domain}"),
        format!("*.containers.{domain}"),
        format!("*.{server}.containers.{domain}"),
        format!("*.{server}.{domain}"),
    ];
    if is_primary {
        names.push("localhost".to_owned());
    }
    names
}

#[cfg(test)]
#[path = "tests/tls.rs"]
mod tests;
