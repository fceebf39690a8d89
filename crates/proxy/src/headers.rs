//! Header hygiene: what belongs to one hop stays there, and what the proxy says about a client
//! cannot be said by the client.

use std::net::IpAddr;

use axum::body::Body;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Body as _;

use super::route::{Instance, Program, Target};
use cowl_api::Service;
use cowl_api::service::{INSTANCE_HEADER, SERVICE_HEADER};

/// Everything under this prefix is said by the proxy only.
const OWN_PREFIX: &str = "x-cowl-";
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Drops what only the proxy may say, from any request.
pub fn drop_own(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers.keys().filter(|n| n.as_str().starts_with(OWN_PREFIX)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

/// Turns a client's request head into the one the upstream gets. `upgrade` is the protocol of a
/// wanted upgrade. Must run before the body is taken out of the request.
pub fn to_upstream(req: &mut Request<Body>, target: &Target, client: IpAddr, upgrade: Option<HeaderValue>) {
    let chunked = !req.headers().contains_key(CONTENT_LENGTH) && !req.body().is_end_stream();
    let headers = req.headers_mut();
    drop_hop_by_hop(headers);
    drop_own(headers);
    // The front already answered `Expect: 100-continue`.
    for name in [EXPECT, FORWARDED, TE] {
        headers.remove(name);
    }
    let spoofed: Vec<HeaderName> = headers.keys().filter(|n| n.as_str().starts_with("x-forwarded-")).cloned().collect();
    for name in spoofed {
        headers.remove(name);
    }
    if chunked {
        // Said outright, because the client side assumes that a GET has no body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    if let Ok(ip) = HeaderValue::try_from(client.to_string()) {
        headers.insert(X_FORWARDED_FOR.clone(), ip.clone());
        headers.insert(X_REAL_IP.clone(), ip);
    }
    // Clients reach us by TLS; the unix socket is another way to the same URLs.
    headers.insert(X_FORWARDED_PROTO.clone(), HeaderValue::from_static("https"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(X_FORWARDED_HOST.clone(), host);
    }
    tell_kit(headers, &target.program);
}

/// Names service and instance to the kit.
fn tell_kit(headers: &mut HeaderMap, program: &Program) {
    let (service, instance) = match program {
        Program::Kit(service, Instance::Number(n)) => (*service, HeaderValue::from(*n)),
        // A label is ASCII without control characters, so this cannot fail.
        Program::Kit(service, Instance::Name(name)) => match HeaderValue::from_str(name.as_str()) {
            Ok(name) => (*service, name),
            Err(_) => return,
        },
        Program::Desktop(n) => (Service::Terminal, HeaderValue::from(super::route::DESKTOP_OFFSET + n)),
        Program::Http(_) | Program::Https(_) | Program::Unserved(_) => return,
    };
    headers.insert(SERVICE_HEADER, HeaderValue::from_static(service.slug()));
    headers.insert(INSTANCE_HEADER, instance);
}

/// Turns an upstream's reply head into the one the client gets.
pub fn to_client<B>(reply: &mut Response<B>) {
    let upgraded = reply.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    if headers.contains_key(TRANSFER_ENCODING) {
        // The body was framed by chunks; a length beside them is a lie we must not repeat.
        headers.remove(CONTENT_LENGTH);
    }
    let protocol = if upgraded { headers.get(UPGRADE).cloned() } else { None };
    drop_hop_by_hop(headers);
    drop_own(headers);
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Removes the headers of RFC 9110 section 7.6.1 and those `Connection` names. What routing and
/// framing rest on cannot be named away.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| token.parse().ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
}

/// The comma-separated tokens of all lines of a header.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

#[cfg(test)]
#[path = "tests/headers.rs"]
mod tests;
