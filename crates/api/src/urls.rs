//! Building the URLs of containers; parsing them is `proxy::route`.

use super::ids::{ContainerId, ProjectId};

/// Default suffixes a node answers for. Browsers and curl resolve `*.localhost` by themselves;
/// `cowl.internal` is answered by the node's DNS.
pub const DEFAULT_DOMAINS: [&str; 2] = ["cowl.localhost", "cowl.internal"];

/// `{project}-{container}-{segment}.{server}.containers.{domain}`.
pub fn container_host(
    project: &ProjectId,
    container: &ContainerId,
    segment: &str,
    server: &str,
    domain: &str,
) -> String {
    format!("{project}-{container}-{segment}.{server}.containers.{domain}")
}

/// `https://host[:port]`; the port is left out when it is 443.
pub fn https(host: &str, port: u16) -> String {
    if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
}

/// The API's host under a domain.
pub fn api_host(domain: &str) -> String {
    format!("api.{domain}")
}
