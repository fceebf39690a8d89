//! The calls about firewall and egress.

use http::Method;
use serde_json::Value;

use super::api::CHANGE;
use super::error::Result;
use super::transport::Client;
use cowl_api::ContainerId;
use cowl_api::firewall::{Direction, RuleBody, RuleList};
use cowl_api::network::{EgressBody, EgressChanged, EgressView};

fn rules(id: &ContainerId, direction: Direction) -> String {
    format!("/api/v1/containers/{id}/firewall/{}", direction.as_str())
}

impl Client {
    /// A container's firewall rules.
    ///
    /// # Errors
    /// 404 when there is no such container; so for all calls below.
    pub async fn firewall(&self, id: &ContainerId) -> Result<RuleList> {
        self.get(&format!("/api/v1/containers/{id}/firewall/rules")).await
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// 400 with the field named, 409 when it is there already.
    pub async fn add_rule(&self, id: &ContainerId, direction: Direction, rule: &RuleBody) -> Result<RuleBody> {
        self.call(Method::POST, &rules(id, direction), Some(rule), CHANGE).await
    }

    /// Switches the first rule that fits on or off.
    ///
    /// # Errors
    /// 404 when none fits.
    pub async fn toggle_rule(&self, id: &ContainerId, direction: Direction, rule: &RuleBody) -> Result<Value> {
        self.call(Method::PATCH, &rules(id, direction), Some(rule), CHANGE).await
    }

    /// Removes the first rule that fits, or all.
    ///
    /// # Errors
    /// 404 when none fits.
    pub async fn remove_rule(&self, id: &ContainerId, direction: Direction, rule: &RuleBody) -> Result<Value> {
        self.call(Method::DELETE, &rules(id, direction), Some(rule), CHANGE).await
    }

    /// Removes all rules.
    ///
    /// # Errors
    /// 404 when there is no such container.
    pub async fn reset_firewall(&self, id: &ContainerId) -> Result<Value> {
        self.call(Method::POST, &format!("/api/v1/containers/{id}/firewall/reset"), None::<&()>, CHANGE).await
    }

    /// How a container reaches the world.
    ///
    /// # Errors
    /// 404 when there is no such container.
    pub async fn egress(&self, id: &ContainerId) -> Result<EgressView> {
        self.get(&format!("/api/v1/containers/{id}/network")).await
    }

    /// Says how.
    ///
    /// # Errors
    /// 400 with the field named, 422 for what is not built.
    pub async fn set_egress(&self, id: &ContainerId, body: &EgressBody) -> Result<EgressView> {
        self.call(Method::PUT, &format!("/api/v1/containers/{id}/network"), Some(body), CHANGE).await
    }

    /// Takes it back.
    ///
    /// # Errors
    /// 404 when there is no such container.
    pub async fn remove_egress(&self, id: &ContainerId) -> Result<Value> {
        self.call(Method::DELETE, &format!("/api/v1/containers/{id}/network"), None::<&()>, CHANGE).await
    }

    /// Makes it hold (`start`), or not (`stop`).
    ///
    /// # Errors
    /// 404 when nothing is configured.
    pub async fn switch_egress(&self, id: &ContainerId, word: &str) -> Result<EgressChanged> {
        self.call(Method::POST, &format!("/api/v1/containers/{id}/network/{word}"), None::<&()>, CHANGE).await
    }
}
