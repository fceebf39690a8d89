//! Which queries are answered here, and with what.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::find::Found;

/// How long an own name may be remembered, in seconds. Short: a box may change its network.
const TTL: u32 = 60;
/// The same of a container's own address, which comes and goes with it.
const TTL_OF_CONTAINER: u32 = 5;
/// Largest UDP message we say we take (the common safe size).
const EDNS_BYTES: u16 = 1232;

/// What is done with a message that came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not a query; answering could start a loop.
    Ignore,
    /// Answered here.
    Reply(Vec<u8>),
    /// A container's name.
    Find(Asked),
    /// Someone else's name.
    Forward,
}

/// A query for a container's own address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    header: Header,
    query: Query,
    wants_edns: bool,
    /// The container's label, in lower case.
    pub(super) name: String,
    /// Its project's.
    pub(super) project: String,
}

/// Where own names lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// For A.
    pub v4: Option<Ipv4Addr>,
    /// For AAAA.
    pub v6: Option<Ipv6Addr>,
}

/// The names that lead to the node.
pub(super) struct OwnNames {
    zones: Vec<Name>,
    answer: Answer,
    /// Two labels in front of a domain are a container.
    finds: bool,
    forwards: bool,
}

impl OwnNames {
    pub(super) fn new(domains: &[String], answer: Answer, finds: bool, forwards: bool) -> io::Result<Self> {
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
        Ok(Self { zones: domains.iter().map(zone).collect::<io::Result<_>>()?, answer, finds, forwards })
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
        let Some(zone) = self.zones.iter().find(|zone| zone.zone_of(query.name())) else {
            return if self.forwards { Verdict::Forward } else { plain(&header, Some(query), ResponseCode::Refused) };
        };
        let Ok(whole) = Message::from_vec(message) else {
            return plain(&header, Some(query), ResponseCode::FormErr);
        };
        let wants_edns = whole.edns.is_some();
        if self.finds && query.name().num_labels() == zone.num_labels() + 2 {
            let mut labels = query.name().iter().map(|l| String::from_utf8_lossy(l).to_ascii_lowercase());
            let (name, project) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
            return Verdict::Find(Asked { header, query, wants_edns, name, project });
        }
        written(&answered(&header, query, wants_edns, self.answer, TTL))
    }

    /// The reply to a query for a container.
    pub(super) fn found(&self, asked: Asked, found: Found) -> Option<Vec<u8>> {
        let Asked { header, query, wants_edns, .. } = asked;
        let nowhere = Answer { v4: None, v6: None };
        let (answer, code) = match found {
            Found::Nobody => (nowhere, ResponseCode::NXDomain),
            Found::Asleep => (nowhere, ResponseCode::NoError),
            Found::At(v4, v6) => (Answer { v4: Some(v4), v6 }, ResponseCode::NoError),
        };
        let mut reply = answered(&header, query, wants_edns, answer, TTL_OF_CONTAINER);
        reply.metadata.response_code = code;
        reply.to_vec().ok()
    }
}

fn answered(header: &Header, query: Query, wants_edns: bool, answer: Answer, ttl: u32) -> Message {
    let mut reply = reply_to(header, Some(query.clone()), ResponseCode::NoError);
    reply.metadata.authoritative = true;
    let kind = query.query_type();
    let asks = |wanted| (kind == wanted || kind == RecordType::ANY) && query.query_class() == DNSClass::IN;
    let mut add = |data| {
        reply.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
    };
    // Other types exist for no own name: an empty answer makes clients take an address.
    if let Some(v4) = answer.v4.filter(|_| asks(RecordType::A)) {
        add(RData::A(A(v4)));
    }
    if let Some(v6) = answer.v6.filter(|_| asks(RecordType::AAAA)) {
        add(RData::AAAA(AAAA(v6)));
    }
    if wants_edns {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_BYTES);
        reply.set_edns(edns);
    }
    reply
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

    const ANSWER: Answer = Answer { v4: Some(Ipv4Addr::new(169, 254, 1, 1)), v6: None };

    fn names() -> OwnNames {
        OwnNames::new(&["cowl.internal".into(), "Cowl.Localhost.".into()], ANSWER, false, true).unwrap()
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
            other => panic!("{name}: {other:?}"),
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
    fn with_ipv6_own_names_have_both_kinds_of_address() {
        let six: Ipv6Addr = "fd01::1".parse().unwrap();
        let names = OwnNames::new(&["cowl.internal".into()], Answer { v6: Some(six), ..ANSWER }, false, true).unwrap();
        let Verdict::Reply(reply) = names.judge(&query("api.cowl.internal.", RecordType::AAAA)) else { panic!() };
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!((reply.answers.len(), &reply.answers[0].data), (1, &RData::AAAA(AAAA(six))));
    }

    #[test]
    fn the_host_finds_containers_by_two_labels_and_nothing_of_others() {
        let names = OwnNames::new(&["cowl.internal".into()], ANSWER, true, false).unwrap();
        let ask = |found| {
            let Verdict::Find(asked) = names.judge(&query("Web.My-Demo.cowl.internal.", RecordType::A)) else {
                panic!("not looked up")
            };
            assert_eq!((asked.name.as_str(), asked.project.as_str()), ("web", "my-demo"));
            Message::from_vec(&names.found(asked, found).unwrap()).unwrap()
        };
        let own = Ipv4Addr::new(10, 201, 0, 16);
        assert_eq!(ask(Found::At(own, None)).answers[0].data, RData::A(A(own)));
        let asleep = ask(Found::Asleep);
        assert_eq!((asleep.metadata.response_code, asleep.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(ask(Found::Nobody).metadata.response_code, ResponseCode::NXDomain);
        let code = |name: &str| match names.judge(&query(name, RecordType::A)) {
            Verdict::Reply(reply) => Message::from_vec(&reply).unwrap().metadata.response_code,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(code("example.org."), ResponseCode::Refused);
        assert_eq!(code("p-c-terminal-1.node-a.containers.cowl.internal."), ResponseCode::NoError);
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
            assert!(OwnNames::new(&[bad.to_owned()], ANSWER, false, true).is_err(), "{bad}");
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
