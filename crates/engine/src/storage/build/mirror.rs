//! Where packages come from.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

const PUBLIC: &str = "http://deb.debian.org/debian";
const PUBLIC_SECURITY: &str = "http://deb.debian.org/debian-security";
/// Suites by which a source is known to be Debian's own archive, not a relative's.
const SUITES: [&str; 9] =
    ["bullseye", "bookworm", "trixie", "forky", "oldstable", "stable", "testing", "sid", "unstable"];

/// A mirror of Debian's archive and one of its security archive, without trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `http://deb.debian.org/debian`.
    pub main: String,
    /// `http://deb.debian.org/debian-security`.
    pub security: String,
}

impl Mirror {
    /// The configured mirror (`MAIN` or `MAIN SECURITY`), else the host's, else Debian's.
    ///
    /// # Errors
    /// When what is configured is no http or https URL.
    pub fn choose(configured: Option<&str>) -> Result<Self> {
        let host = host_sources(Path::new("/etc/apt"));
        let (main, security) = from_sources(&host);
        let security = security.unwrap_or_else(|| PUBLIC_SECURITY.to_owned());
        let Some(configured) = configured else {
            return Ok(Self { main: main.unwrap_or_else(|| PUBLIC.to_owned()), security });
        };
        let mut words = configured.split_whitespace();
        let main = checked(words.next().unwrap_or_default())?;
        let security = words.next().map(checked).transpose()?.unwrap_or(security);
        Ok(Self { main, security })
    }

    /// Lines of a `sources.list`.
    pub fn lines(&self, suite: &str) -> [String; 3] {
        [
            format!("deb {} {suite} main", self.main),
            format!("deb {} {suite}-updates main", self.main),
            format!("deb {} {suite}-security main", self.security),
        ]
    }

    /// What containers are told: the same, unless only the host itself can reach it.
    pub fn inside(&self) -> Self {
        let or = |url: &str, public: &str| if is_loopback(url) { public.to_owned() } else { url.to_owned() };
        Self { main: or(&self.main, PUBLIC), security: or(&self.security, PUBLIC_SECURITY) }
    }

    /// A `debian.sources` file.
    pub fn deb822(&self, suite: &str) -> String {
        let stanza = |uri: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            )
        };
        let main = stanza(&self.main, &format!("{suite} {suite}-updates"));
        format!("{main}\n{}", stanza(&self.security, &format!("{suite}-security")))
    }
}

fn checked(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or_default();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/%@[]+".contains(&b);
    if rest.is_empty() || rest.starts_with('/') || !rest.bytes().all(fits) {
        return Err(Error::Unsupported(format!(
            "{url:?} is no mirror: expected an http or https URL like {PUBLIC} (set by COWL_MIRROR)"
        )));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn is_loopback(url: &str) -> bool {
    let host = url.split("//").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
    host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]")
}

/// All of the host's apt sources, each file with its name.
fn host_sources(etc: &Path) -> Vec<(String, String)> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        let mut more: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        more.sort();
        files.extend(more);
    }
    files.iter().filter_map(|f| Some((f.to_string_lossy().into_owned(), fs::read_to_string(f).ok()?))).collect()
}

/// The first mirror of Debian's archive and of its security archive among apt sources.
fn from_sources(files: &[(String, String)]) -> (Option<String>, Option<String>) {
    let (mut main, mut security) = (None, None);
    for (name, text) in files {
        let sources = if name.ends_with(".sources") { deb822(text) } else { one_line(text) };
        for (uri, suite) in sources {
            let Ok(uri) = checked(&uri) else { continue };
            if SUITES.contains(&suite.as_str()) {
                main.get_or_insert(uri);
            } else if suite.strip_suffix("-security").is_some_and(|s| SUITES.contains(&s)) {
                security.get_or_insert(uri);
            }
        }
    }
    (main, security)
}

/// `deb [options] URI SUITE COMPONENT…`
fn one_line(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let mut rest = line.trim().strip_prefix("deb ")?.trim_start();
            if rest.starts_with('[') {
                rest = rest.split_once(']')?.1;
            }
            let mut words = rest.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}

/// Stanzas of `Key: values`, continued on indented lines.
fn deb822(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for stanza in text.split("\n\n") {
        let (mut uris, mut suites, mut enabled) = (Vec::new(), Vec::new(), true);
        let mut key = String::new();
        for line in stanza.lines().filter(|l| !l.starts_with('#')) {
            let values = match line.split_once(':') {
                Some((k, v)) if !line.starts_with([' ', '\t']) => {
                    key = k.to_ascii_lowercase();
                    v
                }
                _ => line,
            };
            match key.as_str() {
                "uris" => uris.extend(values.split_whitespace()),
                "suites" => suites.extend(values.split_whitespace()),
                "enabled" => enabled = !values.trim().eq_ignore_ascii_case("no"),
                _ => {}
            }
        }
        for (uri, suite) in uris.iter().flat_map(|u| suites.iter().map(move |s| (u, s))).filter(|_| enabled) {
            found.push(((*uri).to_owned(), (*suite).to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> (Option<String>, Option<String>) {
        from_sources(&[(name.into(), text.into())])
    }

    #[test]
    fn the_hosts_mirror_is_found_in_both_formats() {
        let old = "# deb http://no.example/debian bookworm main\n\
                   deb [signed-by=/x arch=amd64] http://near.example/debian/ bookworm main\n\
                   deb http://near.example/sec bookworm-security main\n";
        let new = "Types: deb\n# a comment\nURIs: http://near.example/debian\nSuites: bookworm\n bookworm-updates\n\n\
                   Types: deb\nURIs: http://near.example/sec\nSuites: bookworm-security\n";
        let expected = (Some("http://near.example/debian".into()), Some("http://near.example/sec".into()));
        assert_eq!(found("sources.list", old), expected);
        assert_eq!(found("debian.sources", new), expected);
    }

    #[test]
    fn other_archives_and_other_transports_are_not_taken() {
        assert_eq!(found("x.list", "deb https://apt.example/repo nodistro main\n"), (None, None));
        assert_eq!(found("x.list", "deb http://archive.ubuntu.example/ubuntu noble main\n"), (None, None));
        assert_eq!(found("x.list", "deb cdrom:[Debian]/ bookworm main\ndeb file:/srv/m bookworm main\n"), (None, None));
        assert_eq!(found("x.sources", "URIs: http://m.example\nSuites: sid\nEnabled: no\n"), (None, None));
    }

    #[test]
    fn a_configured_mirror_must_be_a_url_and_may_bring_its_security_archive() {
        let both = Mirror::choose(Some("http://a.example/debian/ https://a.example/sec")).unwrap();
        assert_eq!((both.main.as_str(), both.security.as_str()), ("http://a.example/debian", "https://a.example/sec"));
        for bad in ["", "ftp://x/debian", "http://", "http:///x", "http://a/$(x)", "http://a/\"x"] {
            assert!(Mirror::choose(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn containers_are_not_sent_to_the_hosts_loopback() {
        let inside = Mirror::choose(Some("http://127.0.0.1:3142/debian http://near.example/sec")).unwrap().inside();
        assert_eq!((inside.main.as_str(), inside.security.as_str()), (PUBLIC, "http://near.example/sec"));
    }

    proptest::proptest! {
        #[test]
        fn no_sources_file_breaks_the_parsers(text in "[ -~\n\t\\[\\]:#]{0,300}") {
            let _ = (found("a.list", &text), found("a.sources", &text));
        }
    }
}
