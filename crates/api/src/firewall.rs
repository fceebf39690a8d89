//! Firewall rules of a container, as the API takes and shows them.
//!
//! A rule has no id: its content is its address. [`Rule`] is the parsed form, in which nothing of a
//! person's text is left but the description; whoever turns rules into a program reads the typed
//! fields only.

mod ranges;

use serde::{Deserialize, Serialize};

use super::envelope::FieldError;
use super::names;

pub use ranges::{Addresses, Ports, Ranges};

/// Most rules of a container, both directions together.
pub const RULES_MAX: usize = 128;
/// Most bytes of a container's rules as JSON.
pub const BYTES_MAX: usize = 65_536;
/// Longest description, in characters.
const DESCRIPTION_MAX: usize = 255;

/// To the container, or from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the container.
    Ingress,
    /// From the container.
    Egress,
}

impl Direction {
    /// `ingress` or `egress`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// What happens to a packet that fits. The order is that of evaluation: the first class that has a
/// fitting rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It vanishes.
    Drop,
    /// It is answered: a TCP reset, or ICMP "administratively prohibited".
    Reject,
    /// It passes.
    Allow,
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP for IPv4.
    Icmp4,
}

/// Whether a rule counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleState {
    /// It does.
    #[default]
    Enabled,
    /// It is kept for later.
    Disabled,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What happens.
    pub action: Action,
    /// To what.
    pub protocol: Protocol,
    /// For people.
    pub description: String,
    /// Ports it goes to; never "any" for TCP and UDP.
    pub destination_port: Ports,
    /// The far end: where an ingress rule's packets come from, an egress rule's go to.
    pub peer: Addresses,
    /// Ports it comes from.
    pub source_port: Ports,
    /// Whether it counts.
    pub state: RuleState,
    /// ICMP type; any when absent.
    pub icmp_type: Option<u8>,
    /// ICMP code; any when absent.
    pub icmp_code: Option<u8>,
}

/// A rule, or some of its fields, on the wire: bodies of requests and items of replies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleBody {
    /// See [`Rule`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// See [`Rule`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// See [`Rule`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Like `80`, `80-90` or `80,443`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<String>,
    /// Ingress only: IPv4 addresses or networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Egress only: IPv4 addresses or networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Like `destination_port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<String>,
    /// See [`Rule`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<RuleState>,
    /// A number from 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<String>,
    /// A number from 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<String>,
    /// In requests to remove: all that fit instead of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// In lists of both directions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
}

/// Fields to find rules by; absent ones do not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    action: Option<Action>,
    protocol: Option<Protocol>,
    description: Option<String>,
    destination_port: Option<Ports>,
    peer: Option<Addresses>,
    source_port: Option<Ports>,
    state: Option<RuleState>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
}

fn wrong(field: &str, says: impl Into<String>) -> FieldError {
    FieldError::new(format!("/{field}"), says)
}

fn number(field: &str, text: Option<&str>) -> Result<Option<u8>, FieldError> {
    text.filter(|t| !t.is_empty())
        .map(|t| t.parse().map_err(|_| wrong(field, "must be a number from 0 to 255")))
        .transpose()
}

impl RuleBody {
    /// Name and text of the field for the far end.
    fn peer(&self, direction: Direction) -> Result<(&'static str, Option<&str>), FieldError> {
        let (name, text, other, foreign) = match direction {
            Direction::Ingress => ("source", &self.source, "destination", &self.destination),
            Direction::Egress => ("destination", &self.destination, "source", &self.source),
        };
        match foreign {
            Some(_) => Err(wrong(other, format!("{} rules have a {name}", direction.as_str()))),
            None => Ok((name, text.as_deref())),
        }
    }

    /// The fields that are there, parsed.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn fields(&self, direction: Direction) -> Result<Match, FieldError> {
        let (name, peer) = self.peer(direction)?;
        let ports = |field: &str, text: Option<&str>| text.map(Ports::parse).transpose().map_err(|e| wrong(field, e));
        names::at_most("/description", self.description.as_deref(), DESCRIPTION_MAX)?;
        Ok(Match {
            action: self.action,
            protocol: self.protocol,
            description: self.description.clone(),
            destination_port: ports("destination_port", self.destination_port.as_deref())?,
            peer: peer.map(Addresses::parse).transpose().map_err(|e| wrong(name, e))?,
            source_port: ports("source_port", self.source_port.as_deref())?,
            state: self.state,
            icmp_type: number("icmp_type", self.icmp_type.as_deref())?,
            icmp_code: number("icmp_code", self.icmp_code.as_deref())?,
        })
    }

    /// The rule.
    ///
    /// # Errors
    /// The first field that is wrong or missing.
    pub fn rule(&self, direction: Direction) -> Result<Rule, FieldError> {
        let required = |field: &str| wrong(field, "is required");
        let fields = self.fields(direction)?;
        let rule = Rule {
            action: fields.action.ok_or_else(|| required("action"))?,
            protocol: fields.protocol.ok_or_else(|| required("protocol"))?,
            description: fields.description.ok_or_else(|| required("description"))?,
            destination_port: fields.destination_port.unwrap_or_default(),
            peer: fields.peer.unwrap_or_default(),
            source_port: fields.source_port.unwrap_or_default(),
            state: fields.state.unwrap_or_default(),
            icmp_type: fields.icmp_type,
            icmp_code: fields.icmp_code,
        };
        let icmp = rule.protocol == Protocol::Icmp4;
        let ports = [("destination_port", &rule.destination_port), ("source_port", &rule.source_port)];
        if let Some((field, _)) = ports.iter().find(|(_, p)| icmp && !p.is_any()) {
            return Err(wrong(field, "ICMP has no ports"));
        }
        if !icmp && rule.destination_port.is_any() {
            return Err(wrong("destination_port", "is required for tcp and udp; 1-65535 is all ports"));
        }
        let codes = [("icmp_type", rule.icmp_type), ("icmp_code", rule.icmp_code)];
        if let Some((field, _)) = codes.iter().find(|(_, n)| !icmp && n.is_some()) {
            return Err(wrong(field, "is for the protocol icmp4 only"));
        }
        if rule.icmp_code.is_some() && rule.icmp_type.is_none() {
            return Err(wrong("icmp_type", "is required where icmp_code is given"));
        }
        Ok(rule)
    }
}

impl Match {
    /// Whether no field is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These fields without the state, which says what to change rather than what to find.
    #[must_use]
    pub fn without_state(self) -> Self {
        Self { state: None, ..self }
    }

    /// Whether a rule has all these fields.
    pub fn fits(&self, rule: &Rule) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, is: &T) -> bool {
            wanted.is_none_or(|w| w == is)
        }
        same(self.action.as_ref(), &rule.action)
            && same(self.protocol.as_ref(), &rule.protocol)
            && same(self.description.as_ref(), &rule.description)
            && same(self.destination_port.as_ref(), &rule.destination_port)
            && same(self.peer.as_ref(), &rule.peer)
            && same(self.source_port.as_ref(), &rule.source_port)
            && same(self.state.as_ref(), &rule.state)
            && self.icmp_type.is_none_or(|t| rule.icmp_type == Some(t))
            && self.icmp_code.is_none_or(|c| rule.icmp_code == Some(c))
    }
}

impl Rule {
    /// Whether another rule does the same to the same packets, whatever is said about it.
    pub fn duplicates(&self, other: &Self) -> bool {
        let bare = |r: &Self| Self { description: String::new(), state: RuleState::Enabled, ..r.clone() };
        bare(self) == bare(other)
    }

    /// Whether it counts.
    pub fn is_enabled(&self) -> bool {
        self.state == RuleState::Enabled
    }

    /// As the API shows it.
    pub fn body(&self, direction: Direction) -> RuleBody {
        let text = |ports: &Ports| (!ports.is_any()).then(|| ports.to_string());
        let peer = Some(self.peer.to_string());
        let (source, destination) = match direction {
            Direction::Ingress => (peer, None),
            Direction::Egress => (None, peer),
        };
        RuleBody {
            action: Some(self.action),
            protocol: Some(self.protocol),
            description: Some(self.description.clone()),
            destination_port: text(&self.destination_port),
            source,
            destination,
            source_port: text(&self.source_port),
            state: Some(self.state),
            icmp_type: self.icmp_type.map(|n| n.to_string()),
            icmp_code: self.icmp_code.map(|n| n.to_string()),
            all: None,
            direction: None,
        }
    }
}

/// `data` of `GET …/firewall/rules`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleList {
    /// Rules for what comes in.
    pub ingress: Vec<RuleBody>,
    /// Rules for what goes out.
    pub egress: Vec<RuleBody>,
    /// How many there are.
    pub rule_count: usize,
    /// Their size as JSON.
    pub byte_count: usize,
    /// How many there may be.
    pub max_rules: usize,
    /// How large they may be.
    pub max_bytes: usize,
}

/// Rules of one container, in the order they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// For what comes in.
    pub ingress: Vec<Rule>,
    /// For what goes out.
    pub egress: Vec<Rule>,
}

impl Rules {
    /// The rules of one direction.
    pub fn of(&mut self, direction: Direction) -> &mut Vec<Rule> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// Every rule with its direction.
    pub fn iter(&self) -> impl Iterator<Item = (Direction, &Rule)> {
        let ingress = self.ingress.iter().map(|r| (Direction::Ingress, r));
        ingress.chain(self.egress.iter().map(|r| (Direction::Egress, r)))
    }

    /// As the API lists them.
    pub fn list(&self) -> RuleList {
        let bodies = |direction, rules: &[Rule]| -> Vec<RuleBody> {
            rules.iter().map(|r| RuleBody { direction: Some(direction), ..r.body(direction) }).collect()
        };
        RuleList {
            ingress: bodies(Direction::Ingress, &self.ingress),
            egress: bodies(Direction::Egress, &self.egress),
            rule_count: self.ingress.len() + self.egress.len(),
            byte_count: self.bytes(),
            max_rules: RULES_MAX,
            max_bytes: BYTES_MAX,
        }
    }

    /// Size of all rules as JSON.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(d, r)| serde_json::to_vec(&r.body(d)).map_or(0, |json| json.len())).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn body(value: serde_json::Value) -> RuleBody {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_wrong_rule_names_its_field() {
        use Direction::{Egress, Ingress};
        let base = json!({"action": "allow", "protocol": "tcp", "description": "", "destination_port": "22"});
        assert!(body(base.clone()).rule(Ingress).is_ok());
        for (direction, field, value) in [
            (Ingress, "destination_port", json!(null)),
            (Ingress, "destination_port", json!("x")),
            (Ingress, "source", json!("300.0.0.1")),
            (Ingress, "destination", json!("10.0.0.1")),
            (Egress, "source", json!("10.0.0.1")),
            (Egress, "icmp_type", json!("8")),
            (Egress, "description", json!(null)),
            (Egress, "action", json!(null)),
            (Egress, "description", json!("x".repeat(256))),
        ] {
            let mut changed = base.clone();
            changed[field] = value;
            let error = body(changed.clone()).rule(direction).unwrap_err();
            assert_eq!(error.instance_path, format!("/{field}"), "{changed}");
        }
        let ping = body(json!({"action": "drop", "protocol": "icmp4", "description": "", "icmp_type": "8"}));
        assert!(ping.rule(Egress).is_ok());
        let with_port = RuleBody { destination_port: Some("1".into()), ..ping };
        assert_eq!(with_port.rule(Egress).unwrap_err().instance_path, "/destination_port");
    }

    #[test]
    fn rules_are_found_by_what_is_given_in_whatever_form() {
        let rule =
            body(json!({"action": "allow", "protocol": "tcp", "description": "a", "destination_port": "80,443"}))
                .rule(Direction::Egress)
                .unwrap();
        let fits = |v| body(v).fields(Direction::Egress).unwrap().fits(&rule);
        assert!(fits(json!({})) && fits(json!({"destination_port": "443,80", "destination": "0.0.0.0/0"})));
        assert!(!fits(json!({"destination_port": "80"})) && !fits(json!({"state": "disabled"})));
        let told = Rule { description: "b".into(), state: RuleState::Disabled, ..rule.clone() };
        assert!(told.duplicates(&rule));
        assert!(!Rule { action: Action::Drop, ..rule.clone() }.duplicates(&rule));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_the_same(
            nets in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..6),
            ports in proptest::collection::vec((1u16.., 0u16..50), 1..4),
            egress: bool,
        ) {
            let direction = if egress { Direction::Egress } else { Direction::Ingress };
            let net = |(a, p): &(u32, u8)| {
                let mask = if *p == 0 { 0 } else { u32::MAX << (32 - u32::from(*p)) };
                format!("{}/{p}", Ipv4Addr::from(a & mask))
            };
            let peer = nets.iter().map(net).collect::<Vec<_>>().join(",");
            let range = |(p, w): &(u16, u16)| format!("{p}-{}", p.saturating_add(*w));
            let ports = ports.iter().map(range).collect::<Vec<_>>().join(",");
            let mut asked = body(json!({"action": "allow", "protocol": "udp", "description": "d", "destination_port": ports}));
            match direction {
                Direction::Ingress => asked.source = Some(peer),
                Direction::Egress => asked.destination = Some(peer),
            }
            let rule = asked.rule(direction).unwrap();
            prop_assert_eq!(rule.body(direction).rule(direction).unwrap(), rule);
        }
    }
}
