//! Query parameters as the public clients send them: flags without a value, repeats, empty defaults.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::error::{KitError, KitResult};

/// The decoded query, in order.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes a raw query string. Never fails: bad escapes stay as they are, bad UTF-8 is replaced.
    pub fn parse(query: &str) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// Adds a pair at the end.
    pub fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Adds all pairs of another query; the first of a name counts.
    pub fn append(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// The first value of `name`, also when empty.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of `name` that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is given at all.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// A switch: `?x`, `?x=`, `?x=1`, `?x=true` are on; `?x=0`, `?x=false` off.
    pub fn flag(&self, name: &str, default: bool) -> KitResult<bool> {
        match self.raw(name) {
            None => Ok(default),
            Some("" | "1" | "true" | "yes" | "on") => Ok(true),
            Some("0" | "false" | "no" | "off") => Ok(false),
            Some(other) => Err(KitError::bad_request(format!("{name}: {other:?} is neither true nor false"))),
        }
    }

    /// A number or whatever else parses; empty counts as absent.
    pub fn value<T: FromStr>(&self, name: &str) -> KitResult<Option<T>> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => {
                let parsed = text.parse().map_err(|_| KitError::bad_request(format!("{name}: {text:?} is not valid")));
                parsed.map(Some)
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_repeats_and_escapes_are_understood() {
        let params = Params::parse("stat&env=A=1&env=B=x%20y&empty=&off=false&p=%2Ftmp");
        assert!(params.flag("stat", false).unwrap());
        assert!(!params.flag("off", true).unwrap());
        assert_eq!(params.all("env").collect::<Vec<_>>(), ["A=1", "B=x y"]);
        assert_eq!(params.text("empty"), None);
        assert_eq!(params.text("p"), Some("/tmp"));
        assert!(params.value::<u32>("p").is_err());
        assert!(params.flag("p", false).is_err());
    }
}
