use proptest::prelude::*;

use super::*;

#[test]
fn connection_cannot_name_away_what_framing_and_routing_rest_on() {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, "host, content-length, x-a , X-B,,\u{7f}".replace('\u{7f}', "").parse().unwrap());
    headers.append(CONNECTION, "x-c".parse().unwrap());
    for name in ["host", "content-length", "x-a", "x-b", "x-c", "x-d"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    drop_hop_by_hop(&mut headers);
    let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-length", "host", "x-d"]);
}

proptest! {
    #[test]
    fn no_connection_header_panics_or_survives(value in "[\\x20-\\x7e]{0,80}") {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_str(&value).unwrap());
        drop_hop_by_hop(&mut headers);
        prop_assert!(!headers.contains_key(CONNECTION));
    }
}
