//! Who asks, as snapshots and the like remember it.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

use cowl_proxy::Peer;

/// The name of a user of this box who came by the socket, or `api token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(match parts.extensions.get::<Peer>() {
            Some(Peer::Unix { uid, .. }) => user(*uid),
            _ => "api token".to_owned(),
        }))
    }
}

fn user(uid: u32) -> String {
    let found = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    found.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_an_account_is_told_by_number() {
        assert_eq!(user(0), "root");
        assert_eq!(user(3_999_999_999), "uid 3999999999");
    }
}
