//! Firewall rules and egress configurations of containers.
//!
//! The rules of a container are written as a whole: they are few, and their order is part of them.

use rusqlite::{Connection, OptionalExtension, params};

use super::containers::text;
use super::events::{self, NewEvent};
use super::projects::project_of;
use super::{Error, Result, Store, column};
use cowl_api::ContainerId;
use cowl_api::event::Event;
use cowl_api::firewall::{Direction, RuleBody, Rules};
use cowl_api::network::Egress;

/// What of a container's network its owner decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRow {
    /// Firewall rules.
    pub rules: Rules,
    /// How it reaches the world, when that was said.
    pub egress: Option<Egress>,
}

fn rules(c: &Connection, id: &ContainerId) -> Result<Rules> {
    let mut query =
        c.prepare_cached("SELECT direction, rule FROM firewall_rules WHERE container_id = ?1 ORDER BY seq")?;
    let rows = query.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut all = Rules::default();
    for row in rows {
        let (direction, text): (String, String) = row?;
        let direction = if direction == "ingress" { Direction::Ingress } else { Direction::Egress };
        // What cannot be read any more must not silently open a container.
        let unreadable =
            |e: String| Error::Conflict(format!("node.db holds a firewall rule that is none: {text}: {e}"));
        let body: RuleBody = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
        all.of(direction).push(body.rule(direction).map_err(|e| unreadable(e.message))?);
    }
    Ok(all)
}

fn egress(c: &Connection, id: &ContainerId) -> Result<Option<Egress>> {
    let text: Option<String> = c
        .query_row("SELECT network FROM containers WHERE id = ?1", [id.as_str()], |row| row.get(0))
        .optional()?
        .ok_or(Error::NotFound("container"))?;
    let parse = |t: &str| {
        serde_json::from_str(t).map_err(|e| Error::Conflict(format!("node.db holds a network that is none: {e}")))
    };
    text.as_deref().map(parse).transpose()
}

impl Store {
    /// Rules and egress of a container.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn network(&self, id: &ContainerId) -> Result<NetworkRow> {
        self.read(|c| Ok(NetworkRow { egress: egress(c, id)?, rules: rules(c, id)? }))
    }

    /// The same of all containers that have any.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn networks(&self) -> Result<Vec<(ContainerId, NetworkRow)>> {
        self.read(|c| {
            let mut query = c.prepare(
                "SELECT id FROM containers WHERE network IS NOT NULL OR id IN (SELECT container_id FROM firewall_rules)",
            )?;
            let ids = query.query_map([], |row| column(row, "id"))?.collect::<rusqlite::Result<Vec<ContainerId>>>()?;
            let one = |id| Ok((id, NetworkRow { egress: egress(c, &id)?, rules: rules(c, &id)? }));
            ids.into_iter().map(one).collect()
        })
    }

    /// Writes a container's rules and what happened to each.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_rules(
        &self,
        id: &ContainerId,
        rules: &Rules,
        happened: Vec<(&'static str, serde_json::Value)>,
    ) -> Result<Vec<Event>> {
        self.write(|tx| {
            let project = project_of(tx, id)?;
            tx.execute("DELETE FROM firewall_rules WHERE container_id = ?1", [id.as_str()])?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO firewall_rules (container_id, direction, enabled, rule) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for (direction, rule) in rules.iter() {
                let body = text(&rule.body(direction));
                insert.execute(params![id.as_str(), direction.as_str(), rule.is_enabled(), body])?;
            }
            happened
                .into_iter()
                .map(|(kind, data)| events::insert(tx, NewEvent::firewall(kind, project, *id, data)))
                .collect()
        })
    }

    /// Writes how a container reaches the world; `None` takes it back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_egress(&self, id: &ContainerId, egress: Option<&Egress>) -> Result<()> {
        self.write(|tx| {
            let kept = egress.map(text);
            let changed = tx.execute("UPDATE containers SET network = ?2 WHERE id = ?1", params![id.as_str(), kept])?;
            if changed == 0 { Err(Error::NotFound("container")) } else { Ok(()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use cowl_api::network::{EgressBody, EgressStatus, EgressType};

    fn scene() -> (tempfile::TempDir, Store, ContainerId) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let project = store.create_project("demo", "#FFF", None, &Default::default()).unwrap().0.id;
        let row = store.create_container(&project, &crate::tests::plain("web")).unwrap().0;
        (dir, store, row.id)
    }

    #[test]
    fn rules_keep_their_order_and_go_with_their_container() {
        let (_dir, store, id) = scene();
        let rule = |port: &str| {
            let body: RuleBody = serde_json::from_value(
                json!({"action": "allow", "protocol": "tcp", "description": port, "destination_port": port}),
            )
            .unwrap();
            body.rule(Direction::Ingress).unwrap()
        };
        let wanted = Rules { ingress: vec![rule("443"), rule("22"), rule("80")], egress: vec![] };
        let told = store.set_rules(&id, &wanted, vec![("firewall.rule.added", json!({}))]).unwrap();
        assert_eq!((told.len(), told[0].resource_type.as_str()), (1, "firewall"));
        assert_eq!(store.network(&id).unwrap().rules, wanted);
        assert_eq!(store.networks().unwrap().len(), 1);
        store.remove_container(&id).unwrap();
        assert!(store.networks().unwrap().is_empty());
        assert!(store.set_rules(&id, &wanted, vec![]).is_err());
    }

    #[test]
    fn an_egress_configuration_is_kept_and_taken_back() {
        let (_dir, store, id) = scene();
        let body = EgressBody {
            kind: EgressType::Block,
            proxy: None,
            country: None,
            city: None,
            region: None,
            comment: Some("agent".into()),
            dns_servers: None,
        };
        let egress =
            Egress { body, status: EgressStatus::Configured, configured_at: "now".into(), last_status_check: None };
        store.set_egress(&id, Some(&egress)).unwrap();
        assert_eq!(store.network(&id).unwrap().egress, Some(egress));
        store.set_egress(&id, None).unwrap();
        assert_eq!(store.network(&id).unwrap(), NetworkRow::default());
        assert!(store.set_egress(&ContainerId::generate(), None).is_err());
    }
}
