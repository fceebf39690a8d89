//! What can go wrong between a client and its node.

use std::time::Duration;

use cowl_api::ApiError;

/// A failed call. Its text is one sentence that says what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens where the node should be.
    #[error("no node answers at {at}; start it with `cowl up`")]
    NoNode {
        /// Socket or address.
        at: String,
    },
    /// The socket may not be opened by this user.
    #[error("no permission to use {at}; use sudo or join group cowl")]
    Permission {
        /// The socket.
        at: String,
    },
    /// The API refused.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// A kit service refused, or the proxy did so in its place.
    #[error("{message}")]
    Kit {
        /// HTTP status, 300–599.
        status: u16,
        /// Short phrase.
        error: String,
        /// One sentence. Comes from inside a container: hostile.
        message: String,
    },
    /// No answer in time.
    #[error("{what} gave no answer within {} s", .after.as_secs())]
    Timeout {
        /// Who was asked what.
        what: String,
        /// The deadline.
        after: Duration,
    },
    /// The connection broke, or what came back is not what the protocol says.
    #[error("{0}")]
    Broken(String),
    /// A wrong address, token file or CA file on our side.
    #[error("{0}")]
    Config(String),
}

/// Result of the client.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The HTTP status, where one came back.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(e) => Some(e.status_code),
            Self::Kit { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether waiting a little may help: the container or one of its services is not up yet.
    pub fn is_not_yet(&self) -> bool {
        matches!(self.status(), Some(502..=504))
    }
}

impl From<ApiError> for Error {
    fn from(e: ApiError) -> Self {
        Self::Api(Box::new(e))
    }
}

impl From<hyper::Error> for Error {
    fn from(e: hyper::Error) -> Self {
        // hyper's own text hides the cause one level down.
        let cause = std::error::Error::source(&e).map(|c| format!(": {c}")).unwrap_or_default();
        Self::Broken(format!("the connection to the node broke: {e}{cause}"))
    }
}

impl From<tokio_tungstenite::tungstenite::Error> for Error {
    fn from(e: tokio_tungstenite::tungstenite::Error) -> Self {
        Self::Broken(format!("the terminal's connection broke: {e}"))
    }
}
