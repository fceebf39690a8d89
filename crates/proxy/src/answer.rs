//! From a request's head to the one who answers it: the API, a container, or nobody.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::log::Entry;
use super::route::Host;
use super::serve::Client;
use super::{Peer, Proxy, Routes, headers, reply};

impl<R: Routes> Proxy<R> {
    /// Answers one request of `client`.
    pub(super) async fn answer(
        self,
        client: Arc<Client>,
        req: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let mut entry = Entry::open(&self.shared.routes, client.peer, &req);
        let req = req.map(Body::new);
        let answer = match self.asked(&client, &req) {
            Err((status, why)) => reply::flat(status, why),
            Ok(host) => {
                entry.host(host);
                match host {
                    Host::Api { .. } => self.ask_api(client.peer, req).await,
                    Host::Container(target) => self.forward(&client, &target, entry.visit(), req).await,
                    Host::Unknown => reply::no_such_computer(),
                }
            }
        };
        Ok(entry.follow(answer))
    }

    /// What the request's host asks for, checked against everything else that names a host.
    fn asked(&self, client: &Client, req: &Request<Body>) -> Result<Host, (StatusCode, &'static str)> {
        if req.method() == Method::CONNECT {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here"));
        }
        let mut named = req.headers().get_all(HOST).into_iter();
        let (first, second) = (named.next(), named.next());
        if second.is_some() {
            return Err((StatusCode::BAD_REQUEST, "the request has more than one Host header"));
        }
        let host = first
            .map(|h| h.to_str())
            .transpose()
            .map_err(|_| (StatusCode::BAD_REQUEST, "the Host header is not a host name"))?;
        if let Some(authority) = req.uri().authority()
            && !host.is_some_and(|h| h.eq_ignore_ascii_case(authority.as_str()))
        {
            return Err((StatusCode::BAD_REQUEST, "the request's target and its Host header differ"));
        }
        let grammar = &self.shared.grammar;
        match client.peer {
            Peer::Unix { .. } => Ok(match host.map(|h| grammar.parse(h)) {
                Some(Host::Container(target)) => Host::Container(target),
                // Whoever may open the socket means the API, by whatever name.
                _ => Host::Api { realm: None },
            }),
            Peer::Tcp(_) => {
                let host = host.ok_or((StatusCode::BAD_REQUEST, "the request has no Host header"))?;
                let host = grammar.parse(host);
                let misdirected = host != Host::Unknown && client.named != Host::Unknown && host != client.named;
                if misdirected {
                    return Err((
                        StatusCode::MISDIRECTED_REQUEST,
                        "this connection was opened for another host; open one for this host",
                    ));
                }
                Ok(host)
            }
        }
    }

    async fn ask_api(&self, peer: Peer, mut req: Request<Body>) -> Response<Body> {
        headers::drop_own(req.headers_mut());
        if let Some(path) = req.uri().path_and_query().filter(|_| req.uri().authority().is_some()) {
            *req.uri_mut() = Uri::from(path.clone());
        }
        req.extensions_mut().insert(peer);
        match self.shared.api.clone().oneshot(req).await {
            Ok(reply) => reply,
            Err(never) => match never {},
        }
    }
}
