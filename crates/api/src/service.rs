//! The services of a container and the words (slugs) that name them in host names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the 18 kit services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The names are the product's.
pub enum Service {
    Terminal,
    Display,
    Files,
    Sqlite,
    Exec,
    Browser,
    Workspaces,
    Code,
    Curl,
    Notifications,
    Daemon,
    Cron,
    Pipe,
    Notes,
    Watch,
    Run,
    Tunnel,
    Logs,
}

impl Service {
    /// All of them, in the founding page's order.
    pub const ALL: [Service; 18] = [
        Self::Terminal,
        Self::Display,
        Self::Files,
        Self::Sqlite,
        Self::Exec,
        Self::Browser,
        Self::Workspaces,
        Self::Code,
        Self::Curl,
        Self::Notifications,
        Self::Daemon,
        Self::Cron,
        Self::Pipe,
        Self::Notes,
        Self::Watch,
        Self::Run,
        Self::Tunnel,
        Self::Logs,
    ];

    /// The slug used in host names we print.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Display => "display",
            Self::Files => "files",
            Self::Sqlite => "sqlite",
            Self::Exec => "exec",
            Self::Browser => "browser",
            Self::Workspaces => "workspaces",
            Self::Code => "code",
            Self::Curl => "curl",
            Self::Notifications => "n",
            Self::Daemon => "daemon",
            Self::Cron => "cron",
            Self::Pipe => "pipe",
            Self::Notes => "notes",
            Self::Watch => "watch",
            Self::Run => "run",
            Self::Tunnel => "tunnel",
            Self::Logs => "logs",
        }
    }

    /// Other slugs that mean the same service.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &["kv", "db"],
            Self::Notes => &["note"],
            Self::Notifications => &["notifications"],
            Self::Logs => &["proxy-logs"],
            Self::Tunnel => &["tun"],
            Self::Workspaces => &["agent", "workspace"],
            _ => &[],
        }
    }

    /// The service a slug or alias (lower case) names.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.slug() == slug || s.aliases().contains(&slug))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.slug())
    }
}

/// Header by which the proxy tells the kit which service a request is for. Client-sent copies are
/// dropped at the front.
pub const SERVICE_HEADER: &str = "x-cowl-service";
/// Header by which the proxy tells the kit the instance number (the host's index).
pub const INSTANCE_HEADER: &str = "x-cowl-instance";
