//! Sends a request on to its container and streams the reply back; buffers neither.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;

use super::dial::{Door, Failure};
use super::route::{DESKTOP_OFFSET, Program, Target};
use super::serve::Client;
use super::{Proxy, Routes, Visit, headers, reply, upgrade};

impl<R: Routes> Proxy<R> {
    /// The container's reply to `req`, or why there is none.
    pub(super) async fn forward(
        &self,
        client: &Client,
        target: &Target,
        visit: Option<Visit>,
        mut req: Request<Body>,
    ) -> Response<Body> {
        let Some(door) = Door::of(target) else { return not_served(target) };
        let wanted = upgrade::wanted(&req);
        let visitor = wanted.is_some().then(|| hyper::upgrade::on(&mut req));
        match inner_uri(target, req.uri()) {
            Some(uri) => *req.uri_mut() = uri,
            None => return reply::bad_request("the request's target is not a path"),
        }
        *req.version_mut() = Version::HTTP_11;
        headers::to_upstream(&mut req, target, client.peer.ip(), wanted);
        let exchanged = tokio::select! {
            biased;
            exchanged = self.exchange(&door, req, visitor.is_some()) => exchanged,
            () = cut(visit.as_ref()) => Err(Failure::Asleep),
        };
        let mut answer = match exchanged {
            Ok(answer) => answer,
            Err(failure) => return failure.into_reply(),
        };
        let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        match (switched, visitor) {
            (true, Some(visitor)) => client.tunnel(visitor, hyper::upgrade::on(&mut answer), visit),
            // Nobody asked for another protocol.
            (true, None) => return Failure::Broken.into_reply(),
            (false, _) => {}
        }
        headers::to_client(&mut answer);
        answer.map(Body::new)
    }

    /// Sends `req` through `door`. Only what may be asked twice uses a pooled connection, because
    /// the container may be closing it at this moment.
    async fn exchange(&self, door: &Door, req: Request<Body>, upgrades: bool) -> Result<Response<Incoming>, Failure> {
        let repeatable = req.method().is_safe() && req.body().is_end_stream() && !upgrades;
        if repeatable
            && self.shared.routes.may_reuse(&door.project, &door.container)
            && let Some(pooled) = self.shared.pool.take(door)
        {
            match self.send(door, pooled, bodiless_copy(&req)).await {
                Err(Failure::Broken) => {}
                done => return done,
            }
        }
        let fresh = self.dial(door).await?;
        self.send(door, fresh, req).await
    }

    async fn send(
        &self,
        door: &Door,
        mut connection: SendRequest<Body>,
        req: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let sent = timeout(self.shared.limits.first_byte, connection.send_request(req)).await;
        let reply = sent.map_err(|_| Failure::TooSlow("reply"))?.map_err(|error| {
            tracing::debug!(%error, "a container gave no valid reply");
            Failure::Broken
        })?;
        if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (pool, door) = (Arc::clone(&self.shared.pool), *door);
            // Ends when the reply's body is read, or with the connection.
            tokio::spawn(async move {
                if connection.ready().await.is_ok() {
                    pool.put(door, connection);
                }
            });
        }
        Ok(reply)
    }
}

/// Waits until the container is put to sleep under a request's feet.
pub(super) async fn cut(visit: Option<&Visit>) {
    match visit {
        Some(visit) => visit.cut().await,
        None => std::future::pending().await,
    }
}

fn not_served(target: &Target) -> Response<Body> {
    let segment = match target.program {
        Program::Unserved(segment) => segment.slug(),
        Program::Kit(service, _) => service.slug(),
        Program::Desktop(_) | Program::Http(_) | Program::Https(_) => "this",
    };
    reply::flat(StatusCode::NOT_IMPLEMENTED, format!("{segment} is not served by this node yet"))
}

fn bodiless_copy(req: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = req.method().clone();
    *copy.uri_mut() = req.uri().clone();
    *copy.headers_mut() = req.headers().clone();
    copy
}

/// The request's target as the container sees it: path and query, in origin form.
fn inner_uri(target: &Target, uri: &Uri) -> Option<Uri> {
    if let Program::Desktop(n) = target.program {
        let id = DESKTOP_OFFSET + n;
        let env = desktop_env(uri.query());
        let forced = format!("desktop=true&redirect=display&terminal_id={id}&display={id}&desktop_env={env}");
        return format!("{}?{forced}", uri.path()).parse().ok();
    }
    if uri.authority().is_none() && uri.scheme().is_none() {
        return Some(uri.clone());
    }
    uri.path_and_query().map(|pq| Uri::from(pq.clone()))
}

/// The one query parameter of a desktop's caller that is passed on.
fn desktop_env(query: Option<&str>) -> &'static str {
    let asked = query.into_iter().flat_map(|q| q.split('&')).find_map(|pair| pair.strip_prefix("desktop_env="));
    if asked == Some("mate") { "mate" } else { "xfce" }
}

#[cfg(test)]
#[path = "tests/forward_unit.rs"]
mod tests;
