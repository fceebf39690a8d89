//! Egress configuration of a container, as the API takes and shows it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::envelope::FieldError;
use super::{ContainerId, names};

/// Most resolvers of a container.
pub const DNS_SERVERS_MAX: usize = 4;
/// Longest free text, in characters.
const TEXT_MAX: usize = 255;

/// How a container reaches the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EgressType {
    /// Through a SOCKS5 proxy.
    Socks5,
    /// Through an HTTP proxy (CONNECT).
    Http,
    /// Through an HTTP proxy over TLS.
    Https,
    /// Not at all.
    Block,
}

/// Where an egress configuration is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EgressStatus {
    /// Given. `block` holds from here on.
    Configured,
    /// Confirmed.
    Running,
    /// Without effect, kept for later.
    Stopped,
    /// It does not work; nothing leaves the container.
    Error,
}

/// Body of `PUT …/network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressBody {
    /// How.
    #[serde(rename = "type")]
    pub kind: EgressType,
    /// `socks5://user:password@host:1080`; not for `block`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Resolvers, at most four; 1.1.1.1 and 8.8.8.8 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_servers: Option<Vec<IpAddr>>,
}

impl EgressBody {
    /// Checks what types do not say.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn check(&self) -> Result<(), FieldError> {
        let texts = [
            ("/country", &self.country),
            ("/city", &self.city),
            ("/region", &self.region),
            ("/comment", &self.comment),
        ];
        for (field, text) in texts {
            names::at_most(field, text.as_deref(), TEXT_MAX)?;
        }
        if self.dns_servers.as_ref().is_some_and(|s| s.len() > DNS_SERVERS_MAX) {
            return Err(FieldError::new("/dns_servers", format!("must be at most {DNS_SERVERS_MAX} addresses")));
        }
        match (self.kind, &self.proxy) {
            (EgressType::Block, Some(proxy)) if !proxy.is_empty() => {
                Err(FieldError::new("/proxy", "nothing goes out with type block; leave the proxy out"))
            }
            (EgressType::Block, _) => Ok(()),
            (_, None) => Err(FieldError::new("/proxy", "is required unless the type is block")),
            _ => Ok(()),
        }
    }
}

/// An egress configuration as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// What was asked for.
    #[serde(flatten)]
    pub body: EgressBody,
    /// Where it is.
    pub status: EgressStatus,
    /// ISO 8601, UTC.
    pub configured_at: String,
    /// ISO 8601, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status_check: Option<String>,
}

impl Egress {
    /// Whether nothing leaves the container. Until somebody stops it: a box that is to be closed is
    /// closed from the first moment.
    pub fn blocks(&self) -> bool {
        self.status != EgressStatus::Stopped
    }
}

/// `data` of `GET …/network` and `PUT …/network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressView {
    /// Whose.
    pub container_id: ContainerId,
    /// Whether there is one.
    pub configured: bool,
    /// What was asked for.
    #[serde(flatten)]
    pub body: Option<EgressBody>,
    /// Whether the proxy's user and password are known. They are never shown.
    pub credentials_configured: bool,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<EgressStatus>,
    /// ISO 8601, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured_at: Option<String>,
    /// ISO 8601, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status_check: Option<String>,
    /// Whether it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_status: Option<RemoteStatus>,
}

/// Whether an egress configuration holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteStatus {
    /// It does.
    pub is_running: bool,
    /// When that was seen, ISO 8601, UTC.
    pub last_check: String,
}

/// `data` of `POST …/network/start` and `…/stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressChanged {
    /// Whose.
    pub container_id: ContainerId,
    /// Where it is now.
    pub status: EgressStatus,
    /// Whether it holds.
    pub is_running: bool,
    /// ISO 8601, UTC.
    pub last_check: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        serde_json::from_str::<EgressBody>(text).unwrap().check().unwrap_err().instance_path
    }

    #[test]
    fn a_wrong_configuration_names_its_field() {
        assert_eq!(refused(r#"{"type":"socks5"}"#), "/proxy");
        assert_eq!(refused(r#"{"type":"block","proxy":"socks5://x:1"}"#), "/proxy");
        assert_eq!(
            refused(r#"{"type":"block","dns_servers":["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4","1.1.1.5"]}"#),
            "/dns_servers"
        );
        assert!(serde_json::from_str::<EgressBody>(r#"{"type":"vpn"}"#).is_err());
    }

    #[test]
    fn a_block_holds_until_it_is_stopped() {
        let body: EgressBody = serde_json::from_str(r#"{"type":"block"}"#).unwrap();
        let at = |status| Egress { body: body.clone(), status, configured_at: String::new(), last_status_check: None };
        use EgressStatus::{Configured, Error, Running, Stopped};
        assert!([Configured, Running, Error].map(|s| at(s).blocks()).iter().all(|b| *b));
        assert!(!at(Stopped).blocks());
        let kept = serde_json::to_string(&at(Running)).unwrap();
        assert_eq!(serde_json::from_str::<Egress>(&kept).unwrap(), at(Running));
    }
}
