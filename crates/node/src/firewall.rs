//! Changing what may pass to and from a container: firewall rules and egress configurations.
//!
//! A change is made in the kernel first and written down second. When the node dies in between, the
//! next start loads what is written down, and the change was never answered for. One change at a
//! time, so that none works on rules that another one is replacing.

use std::sync::Arc;

use serde_json::json;

use super::driver::failure;
use super::state::firewall::NetworkRow;
use super::{Node, clock};
use cowl_api::firewall::{BYTES_MAX, Direction, Match, RULES_MAX, Rule, RuleState, Rules};
use cowl_api::network::{Egress, EgressBody, EgressStatus, EgressType};
use cowl_api::{ApiError, ContainerId};
use cowl_engine::firewall::Policy;

/// What is to be done to a container's rules.
#[derive(Debug, Clone)]
pub enum Change {
    /// One more.
    Add(Direction, Box<Rule>),
    /// The first that fits is switched on or off.
    Toggle(Direction, Match, RuleState),
    /// The first that fits goes, or all that do.
    Remove(Direction, Match, bool),
    /// All go, of both directions.
    Reset,
}

/// What was done: the rules it was done to.
pub type Touched = Vec<(Direction, Rule)>;

/// Does it. Pure.
///
/// # Errors
/// 404 when nothing fits, 409 for a rule that is there already, 422 for too many.
pub fn change(rules: &mut Rules, change: Change) -> Result<Touched, ApiError> {
    match change {
        Change::Add(direction, rule) => {
            let known = rules.of(direction);
            if let Some(index) = known.iter().position(|r| r.duplicates(&rule)) {
                return Err(duplicate(direction, &known[index], index));
            }
            known.push((*rule).clone());
            if rules.ingress.len() + rules.egress.len() > RULES_MAX || rules.bytes() > BYTES_MAX {
                let message = format!("a container has at most {RULES_MAX} rules of {BYTES_MAX} bytes in all");
                return Err(ApiError::new(422, message));
            }
            Ok(vec![(direction, *rule)])
        }
        Change::Toggle(direction, wanted, state) => {
            let rule = rules.of(direction).iter_mut().find(|r| wanted.fits(r)).ok_or_else(none_fits)?;
            rule.state = state;
            Ok(vec![(direction, rule.clone())])
        }
        Change::Remove(direction, wanted, all) => {
            let rules = rules.of(direction);
            let mut gone = Vec::new();
            while let Some(index) = rules.iter().position(|r| wanted.fits(r)) {
                gone.push((direction, rules.remove(index)));
                if !all {
                    break;
                }
            }
            if gone.is_empty() && !all { Err(none_fits()) } else { Ok(gone) }
        }
        Change::Reset => {
            let gone = rules.iter().map(|(direction, rule)| (direction, rule.clone())).collect();
            *rules = Rules::default();
            Ok(gone)
        }
    }
}

fn none_fits() -> ApiError {
    ApiError::new(404, "no rule has these fields; GET …/firewall/rules lists them")
}

fn duplicate(direction: Direction, rule: &Rule, index: usize) -> ApiError {
    let mut error =
        ApiError::conflict(format!("this is {} rule {index} already ({})", direction.as_str(), state_word(rule.state)));
    let mut data = serde_json::to_value(rule.body(direction)).unwrap_or_default();
    data["duplicate"] = true.into();
    data["duplicate_of"] = json!({ "direction": direction, "index": index });
    error.data = Some(Box::new(data));
    error
}

fn state_word(state: RuleState) -> &'static str {
    match state {
        RuleState::Enabled => "enabled",
        RuleState::Disabled => "disabled",
    }
}

/// The name of the event that a change makes.
fn event_of(change: &Change) -> &'static str {
    match change {
        Change::Add(..) => "firewall.rule.added",
        Change::Toggle(_, _, RuleState::Enabled) => "firewall.rule.enabled",
        Change::Toggle(_, _, RuleState::Disabled) => "firewall.rule.disabled",
        Change::Remove(..) | Change::Reset => "firewall.rule.removed",
    }
}

/// What the engine enforces for a container.
pub fn policy(row: &NetworkRow) -> Policy {
    Policy { rules: row.rules.clone(), blocked: row.egress.as_ref().is_some_and(Egress::blocks) }
}

/// What is to be done to a container's egress configuration.
#[derive(Debug, Clone)]
pub enum Turn {
    /// This one from now on.
    Configure(EgressBody),
    /// It holds.
    Start,
    /// It is kept, but does not hold.
    Stop,
    /// It goes.
    Remove,
}

/// Does it. Pure.
///
/// # Errors
/// 404 without a configuration, 422 for a type that is not built.
pub fn turn(now: Option<Egress>, turn: Turn) -> Result<Option<Egress>, ApiError> {
    let at = clock::now();
    let set = |egress: Egress, status| Some(Egress { status, last_status_check: Some(at.clone()), ..egress });
    let missing = || ApiError::new(404, "this container has no network configuration; PUT one first");
    match turn {
        Turn::Configure(body) => {
            body.check()?;
            if body.kind != EgressType::Block {
                return Err(ApiError::new(422, "type: egress through a proxy is not built yet; `block` is"));
            }
            let body = EgressBody { proxy: None, ..body };
            let (configured_at, status) = (at, EgressStatus::Configured);
            Ok(Some(Egress { body, status, configured_at, last_status_check: None }))
        }
        Turn::Start => Ok(set(now.ok_or_else(missing)?, EgressStatus::Running)),
        Turn::Stop => Ok(set(now.ok_or_else(missing)?, EgressStatus::Stopped)),
        Turn::Remove => Ok(None),
    }
}

impl Node {
    /// Changes a container's rules; the rules it was done to, and all rules afterwards.
    ///
    /// # Errors
    /// Those of [`change`], 404 without such a container, 500 when the kernel refuses.
    pub async fn change_rules(self: &Arc<Self>, id: ContainerId, what: Change) -> Result<(Touched, Rules), ApiError> {
        let _one_at_a_time = self.networking.lock().await;
        let before = self.db(move |store| store.network(&id)).await?;
        let mut after = before.clone();
        let event = event_of(&what);
        let touched = change(&mut after.rules, what)?;
        self.enforce(id, &after).await?;
        let happened = touched.iter().map(|(d, rule)| {
            let mut data = serde_json::to_value(rule.body(*d)).unwrap_or_default();
            data["direction"] = d.as_str().into();
            (event, data)
        });
        let (happened, rules) = (happened.collect(), after.rules.clone());
        let written = self.db(move |store| store.set_rules(&id, &rules, happened)).await;
        let events = self.or_back(id, &before, written).await?;
        self.bus.tell_all(events);
        Ok((touched, after.rules))
    }

    /// Changes how a container reaches the world.
    ///
    /// # Errors
    /// Those of [`turn`], 404 without such a container, 500 when the kernel refuses.
    pub async fn change_egress(self: &Arc<Self>, id: ContainerId, what: Turn) -> Result<Option<Egress>, ApiError> {
        let _one_at_a_time = self.networking.lock().await;
        let before = self.db(move |store| store.network(&id)).await?;
        let after = NetworkRow { egress: turn(before.egress.clone(), what)?, ..before.clone() };
        self.enforce(id, &after).await?;
        let egress = after.egress.clone();
        let written = self.db(move |store| store.set_egress(&id, egress.as_ref())).await;
        self.or_back(id, &before, written).await?;
        Ok(after.egress)
    }

    async fn enforce(&self, id: ContainerId, row: &NetworkRow) -> Result<(), ApiError> {
        let policy = policy(row);
        self.engine(move |m| m.set_policy(&id, &policy)).await.map_err(failure)
    }

    /// Puts the kernel back when what it was told could not be written down.
    async fn or_back<T>(
        &self,
        id: ContainerId,
        before: &NetworkRow,
        written: super::state::Result<T>,
    ) -> Result<T, ApiError> {
        match written {
            Ok(value) => Ok(value),
            Err(error) => {
                // A container that was deleted meanwhile leaves nothing.
                let gone = matches!(error, super::state::Error::NotFound(_));
                let back = if gone { NetworkRow::default() } else { before.clone() };
                if let Err(second) = self.enforce(id, &back).await {
                    tracing::error!(container = %id, %second, "its firewall could not be put back");
                }
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowl_api::firewall::RuleBody;

    fn rule(port: &str) -> Box<Rule> {
        let value = json!({"action": "allow", "protocol": "tcp", "description": "d", "destination_port": port});
        Box::new(serde_json::from_value::<RuleBody>(value).unwrap().rule(Direction::Egress).unwrap())
    }

    fn port(port: &str) -> Match {
        RuleBody { destination_port: Some(port.into()), ..RuleBody::default() }.fields(Direction::Egress).unwrap()
    }

    #[test]
    fn rules_are_added_found_switched_and_removed_by_their_content() {
        use Direction::Egress;
        let mut rules = Rules::default();
        for p in ["80", "443"] {
            change(&mut rules, Change::Add(Egress, rule(p))).unwrap();
        }
        let error = change(&mut rules, Change::Add(Egress, rule("443"))).unwrap_err();
        assert_eq!((error.status_code, error.data.unwrap()["duplicate_of"]["index"].as_u64()), (409, Some(1)));
        let off = change(&mut rules, Change::Toggle(Egress, port("443"), RuleState::Disabled)).unwrap();
        assert!(!off[0].1.is_enabled() && !rules.egress[1].is_enabled() && rules.egress[0].is_enabled());
        assert_eq!(change(&mut rules, Change::Remove(Egress, port("1"), false)).unwrap_err().status_code, 404);
        assert_eq!(change(&mut rules, Change::Remove(Egress, port("1"), true)).unwrap(), []);
        assert_eq!(change(&mut rules, Change::Remove(Egress, port("80"), false)).unwrap().len(), 1);
        assert_eq!(change(&mut rules, Change::Remove(Egress, Match::default(), true)).unwrap().len(), 1);
        assert_eq!(rules, Rules::default());
    }

    #[test]
    fn there_is_a_bound_on_rules() {
        let mut rules = Rules::default();
        for n in 1..=RULES_MAX {
            change(&mut rules, Change::Add(Direction::Egress, rule(&n.to_string()))).unwrap();
        }
        let more = Change::Add(Direction::Egress, rule("9999"));
        assert_eq!(change(&mut rules, more).unwrap_err().status_code, 422);
    }

    #[test]
    fn a_block_holds_from_the_moment_it_is_given_until_it_is_stopped() {
        let body: EgressBody = serde_json::from_str(r#"{"type":"block"}"#).unwrap();
        let configured = turn(None, Turn::Configure(body)).unwrap();
        let blocked =
            |egress: &Option<Egress>| policy(&NetworkRow { egress: egress.clone(), ..Default::default() }).blocked;
        assert!(blocked(&configured));
        let running = turn(configured, Turn::Start).unwrap();
        assert_eq!(running.as_ref().map(|e| e.status), Some(EgressStatus::Running));
        let stopped = turn(running, Turn::Stop).unwrap();
        assert!(!blocked(&stopped) && !blocked(&turn(stopped, Turn::Remove).unwrap()));
        assert_eq!(turn(None, Turn::Start).unwrap_err().status_code, 404);
        let proxy: EgressBody = serde_json::from_str(r#"{"type":"socks5","proxy":"socks5://x:1"}"#).unwrap();
        assert_eq!(turn(None, Turn::Configure(proxy)).unwrap_err().status_code, 422);
    }
}
