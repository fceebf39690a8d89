//! Which queries are answered here, and with what.

use std::io;
use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// How long an own name may be remembered, in seconds. Short: a box may change its network.
const TTL: u32 = 60;
/// Largest UDP message we say we take (the common safe size).
const EDNS_BYTES: u16 = 1232;

/// What is done with a message that came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not a query; answering could start a loop.
    Ignore,
    /// Answered here.
    Reply(Vec<u8>),
    /// Someone else's name.
    Forward,
}

/// The names that lead to the node.
pub(super) struct OwnNames {
    zones: Vec<Name>,
    answer: Ipv4Addr,
}

impl OwnNames {
    pub(super) fn new(domains: &[String], answer: Ipv4Addr) -> io::Result<Self> {
        let zone = |domain: &String| {
            let mut name = Name::from_ascii(domain).map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{domain:?} is not a domain name: {e}"))
            })?;
            name.set_fqdn(true);
            if name.is_root() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the root is not a node's domain"));
            }
            Ok(name)
        };
        Ok(Self { zones: domains.iter().map(zone).collect::<io::Result<_>>()?, answer })
    }

    /// Whose a message is.
    pub(super) fn judge(&self, message: &[u8]) -> Verdict {
        let mut decoder = BinDecoder::new(message);
        let Ok(header) = Header::read(&mut decoder) else { return Verdict::Ignore };
        if header.metadata.message_type != MessageType::Query {
            return Verdict::Ignore;
        }
        if header.metadata.op_code != OpCode::Query {
            return plain(&header, None, ResponseCode::NotImp);
        }
        if header.counts.queries != 1 {
            return plain(&header, None, ResponseCode::FormErr);
        }
        let Ok(query) = Query::read(&mut decoder) else { return plain(&header, None, ResponseCode::FormErr) };
        if !self.zones.iter().any(|zone| zone.zone_of(query.name())) {
            return Verdict::Forward;
        }
        match Message::from_vec(message) {
            Ok(whole) => self.answer(&header, query, whole.edns.is_some()),
            Err(_) => plain(&header, Some(query), ResponseCode::FormErr),
        }
    }

    fn answer(&self, header: &Header, query: Query, wants_edns: bool) -> Verdict {
        let mut reply = reply_to(header, Some(query.clone()), ResponseCode::NoError);
        reply.metadata.authoritative = true;
        let asks_address = matches!(query.query_type(), RecordType::A | RecordType::ANY);
        // Other types exist for no own name: an empty answer makes clients take the A record.
        if asks_address && query.query_class() == DNSClass::IN {
            reply.add_answer(Record::from_rdata(query.name().clone(), TTL, RData::A(A(self.answer))));
        }
        if wants_edns {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_BYTES);
            reply.set_edns(edns);
        }
        written(&reply)
    }
}

/// The reply to a query that no upstream answered; `None` when it cannot even be read.
pub(super) fn server_failure(query: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BinDecoder::new(query);
    let header = Header::read(&mut decoder).ok()?;
    let question = Query::read(&mut decoder).ok();
    reply_to(&header, question, ResponseCode::ServFail).to_vec().ok()
}

fn reply_to(header: &Header, question: Option<Query>, code: ResponseCode) -> Message {
    let mut reply = Message::error_msg(header.metadata.id, header.metadata.op_code, code);
    reply.metadata.recursion_desired = header.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    if let Some(question) = question {
        reply.add_query(question);
    }
    reply
}

fn plain(header: &Header, question: Option<Query>, code: ResponseCode) -> Verdict {
    written(&reply_to(header, question, code))
}

fn written(reply: &Message) -> Verdict {
    reply.to_vec().map_or(Verdict::Ignore, Verdict::Reply)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> OwnNames {
        OwnNames::new(&["cowl.internal".into(), "Cowl.Localhost.".into()], Ipv4Addr::new(169, 254, 1, 1)).unwrap()
    }

    fn query(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn reply(name: &str, kind: RecordType) -> Option<Message> {
        let asked = query(name, kind);
        match names().judge(&asked) {
            Verdict::Reply(bytes) => {
                assert_eq!(bytes[..2], asked[..2], "the id is the query's");
                Some(Message::from_vec(&bytes).unwrap())
            }
            Verdict::Forward => None,
            Verdict::Ignore => panic!("{name} was ignored"),
        }
    }

    #[test]
    fn every_name_at_or_under_a_domain_leads_to_the_node() {
        for name in ["cowl.internal.", "api.cowl.internal.", "A.b.C.COWL.internal.", "x.cowl.localhost."] {
            let reply = reply(name, RecordType::A).unwrap();
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired);
            assert_eq!(reply.answers[0].data, RData::A(A(Ipv4Addr::new(169, 254, 1, 1))), "{name}");
            assert_eq!(reply.answers[0].name, reply.queries[0].name);
        }
    }

    #[test]
    fn own_names_have_no_other_records_and_say_so_without_error() {
        for kind in [RecordType::AAAA, RecordType::HTTPS, RecordType::TXT, RecordType::MX] {
            let reply = reply("api.cowl.internal.", kind).unwrap();
            assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{kind}");
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in ["example.org.", "xcowl.internal.", "internal.", ".", "cowl.internal.example.org."] {
            assert_eq!(reply(name, RecordType::A), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_one_query_is_refused_or_ignored() {
        let names = names();
        let mut response = query("api.cowl.internal.", RecordType::A);
        response[2] |= 0x80;
        assert_eq!(names.judge(&response), Verdict::Ignore);
        assert_eq!(names.judge(b""), Verdict::Ignore);
        let code = |bytes: &[u8]| match names.judge(bytes) {
            Verdict::Reply(reply) => Message::from_vec(&reply).unwrap().metadata.response_code,
            other => panic!("{other:?}"),
        };
        let mut update = query("api.cowl.internal.", RecordType::A);
        update[2] |= 5 << 3;
        assert_eq!(code(&update), ResponseCode::NotImp);
        let mut two = query("api.cowl.internal.", RecordType::A);
        two[5] = 2;
        assert_eq!(code(&two), ResponseCode::FormErr);
        let whole = query("api.cowl.internal.", RecordType::A);
        assert_eq!(code(&whole[..whole.len() - 3]), ResponseCode::FormErr);
    }

    #[test]
    fn edns_is_answered_with_edns() {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("a.cowl.internal.").unwrap(), RecordType::A));
        message.set_edns(Edns::new());
        let Verdict::Reply(reply) = names().judge(&message.to_vec().unwrap()) else { panic!("not answered") };
        assert_eq!(Message::from_vec(&reply).unwrap().edns.unwrap().max_payload(), EDNS_BYTES);
    }

    #[test]
    fn a_domain_that_is_not_a_name_is_an_error() {
        for bad in ["", ".", "a..b", &"x".repeat(64)] {
            assert!(OwnNames::new(&[bad.to_owned()], Ipv4Addr::LOCALHOST).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            names().judge(&bytes);
            server_failure(&bytes);
        }

        #[test]
        fn no_damage_to_a_real_query_panics(at in 0..40usize, to: u8, cut in 0..40usize) {
            let mut bytes = query("api.cowl.internal.", RecordType::A);
            if let Some(byte) = bytes.get_mut(at) { *byte = to; }
            names().judge(&bytes);
            bytes.truncate(cut);
            names().judge(&bytes);
            server_failure(&bytes);
        }
    }
}
