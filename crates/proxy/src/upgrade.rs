//! WebSockets and other upgrades: after the 101, bytes are copied both ways until one end closes.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::headers::tokens;
use super::serve::Client;
use super::{Visit, forward};

/// The protocol a request wants to switch to. `h2c` is not passed on: inside such a tunnel further
/// requests would reach the container unseen.
pub(super) fn wanted<B>(req: &Request<B>) -> Option<HeaderValue> {
    let headers = req.headers();
    if !tokens(headers, &CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let has_h2c = tokens(headers, &UPGRADE).any(|t| t.eq_ignore_ascii_case("h2c"));
    headers.get(UPGRADE).filter(|_| !has_h2c).cloned()
}

impl Client {
    /// Joins the two ends once both have switched. The tunnel ends with either end, and when the
    /// node stops: what lives behind it (a terminal session) does not end with it. Its container counts
    /// as used meanwhile; when it is put to sleep all the same, the tunnel ends.
    pub(super) fn tunnel(&self, visitor: OnUpgrade, container: OnUpgrade, visit: Option<Visit>) {
        let stop = self.drain.clone();
        self.tasks.spawn(async move {
            let joined = async {
                let (visitor, container): (Upgraded, Upgraded) = tokio::try_join!(visitor, container)?;
                let (mut visitor, mut container) = (TokioIo::new(visitor), TokioIo::new(container));
                // How a tunnel breaks is its ends' own business.
                let _ = copy_bidirectional(&mut visitor, &mut container).await;
                hyper::Result::Ok(())
            };
            tokio::select! {
                ended = joined => if let Err(error) = ended {
                    tracing::debug!(%error, "an upgrade was agreed on but did not happen");
                },
                () = stop.cancelled() => {}
                () = forward::cut(visit.as_ref()) => {}
            }
        });
    }
}
