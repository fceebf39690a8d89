//! One record per request: a line at debug level, and a call to [`Routes::finished`].
//!
//! Queries and whole container ids stay out of the log: a URL of a container is its secret.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::route::{Host, Program};
use super::{Peer, Routes, Visit};

/// What is known of a request once it is over.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// What its host name asked for.
    pub host: Host,
    /// Who asked.
    pub peer: Peer,
    /// The method.
    pub method: Method,
    /// The status of the reply.
    pub status: StatusCode,
    /// Bytes of the reply's body that were handed to the client's connection. A tunnel's are not
    /// counted.
    pub sent: u64,
    /// From the request's head to the reply's last byte; of a tunnel, to the reply's head.
    pub elapsed: Duration,
    uri: Uri,
}

impl AccessRecord {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The slug of the service or kind of port asked for, `api`, or `-`.
    pub fn service(&self) -> &'static str {
        match self.host {
            Host::Api { .. } => "api",
            Host::Unknown => "-",
            Host::Container(target) => match target.program {
                Program::Kit(service, _) => service.slug(),
                Program::Desktop(_) => "desktop",
                Program::Http(_) => "http",
                Program::Https(_) => "https",
                Program::Unserved(segment) => segment.slug(),
            },
        }
    }
}

/// The record of a request under way; written when dropped.
pub(super) struct Entry<R: Routes> {
    routes: Arc<R>,
    started: Instant,
    record: AccessRecord,
    /// Its container is in use as long as this lives.
    visit: Option<Visit>,
}

impl<R: Routes> Entry<R> {
    pub(super) fn open<B>(routes: &Arc<R>, peer: Peer, req: &http::Request<B>) -> Self {
        let record = AccessRecord {
            host: Host::Unknown,
            peer,
            method: req.method().clone(),
            // What a client that leaves before the reply would have got is not known.
            status: StatusCode::from_u16(499).unwrap_or_default(),
            sent: 0,
            elapsed: Duration::ZERO,
            uri: req.uri().clone(),
        };
        Self { routes: Arc::clone(routes), started: Instant::now(), record, visit: None }
    }

    pub(super) fn host(&mut self, host: Host) {
        self.record.host = host;
        if let Host::Container(target) = host {
            self.visit = self.routes.activity(&target.project, &target.container).map(|a| a.enter());
        }
    }

    /// A share in the visit, for a tunnel that outlives the request.
    pub(super) fn visit(&self) -> Option<Visit> {
        self.visit.clone()
    }

    /// Ties the record to the reply: it is written when the body ends.
    pub(super) fn follow(mut self, reply: Response<Body>) -> Response<Body> {
        self.record.status = reply.status();
        if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
            return reply;
        }
        reply.map(|body| Body::new(Counted { body, entry: self }))
    }
}

impl<R: Routes> Drop for Entry<R> {
    fn drop(&mut self) {
        let record = &mut self.record;
        record.elapsed = self.started.elapsed();
        let container = match &record.host {
            Host::Container(target) => &target.container.as_str()[..8],
            Host::Api { .. } | Host::Unknown => "-",
        };
        tracing::debug!(
            service = record.service(),
            container,
            method = %record.method,
            path = record.path(),
            status = record.status.as_u16(),
            bytes = record.sent,
            ms = u64::try_from(record.elapsed.as_millis()).unwrap_or(u64::MAX),
            "request"
        );
        self.routes.finished(record);
    }
}

struct Counted<R: Routes> {
    body: Body,
    entry: Entry<R>,
}

impl<R: Routes> HttpBody for Counted<R> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            this.entry.record.sent += bytes.len() as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
