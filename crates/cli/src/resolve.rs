//! From what a person typed to a project or container: an id, a name, or PROJECT/NAME.

use super::fail::Fail;
use cowl_api::{Container, ContainerId, Project, ProjectId};
use cowl_client::Client;

/// The project with this id or alias.
pub(super) async fn project(client: &Client, word: &str) -> Result<Project, Fail> {
    if let Ok(id) = word.parse::<ProjectId>() {
        return Ok(client.project(&id).await?);
    }
    let all = client.projects().await?;
    let found = all.into_iter().find(|p| p.alias == word);
    found.ok_or_else(|| Fail::other(format!("there is no project {word}")))
}

/// The container with this id or name.
pub(super) async fn container(client: &Client, word: &str) -> Result<Container, Fail> {
    if let Ok(id) = word.parse::<ContainerId>() {
        return Ok(client.container(&id).await?);
    }
    pick(client.containers(None).await?, word)
}

/// The container of this name, or PROJECT/NAME, that was deleted last.
pub(super) fn latest(all: Vec<Container>, word: &str) -> Option<Container> {
    all.into_iter().filter(|c| fits(c, word)).max_by(|a, b| a.deleted_at.cmp(&b.deleted_at))
}

fn fits(c: &Container, word: &str) -> bool {
    // A name holds no slash, a project's alias may: the last slash is the divide.
    let (project, name) = word.rsplit_once('/').map_or((None, word), |(p, n)| (Some(p), n));
    c.name == name && project.is_none_or(|p| c.project_alias == p)
}

fn pick(all: Vec<Container>, word: &str) -> Result<Container, Fail> {
    let mut found: Vec<Container> = all.into_iter().filter(|c| fits(c, word)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(Fail::other(format!("there is no container {word}"))),
        (Some(last), false) => {
            found.push(last);
            let names: Vec<String> = found.iter().map(|c| format!("{}/{}", c.project_alias, c.name)).collect();
            Err(Fail::other(format!("{word} is the name of {} containers: {}", found.len(), names.join(", "))))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn sample(project: &str, name: &str) -> Container {
        serde_json::from_value(serde_json::json!({
            "id": ContainerId::generate(), "project_id": ProjectId::generate(), "project_alias": project,
            "server_id": "0123456789abcdef01234567", "server_name": "node-1", "subserver_name": "node-1",
            "ssh_hostname": null, "name": name, "color": "#ABC", "container_image": "debian/13", "ai": true,
            "hoody_kit": true, "dev_kit": true, "kvm": false, "autostart": true, "ramdisk": true,
            "ramdisk_scope": "container", "prespawn": false, "is_default": false, "status": "running",
            "environment_vars": {}, "ssh_public_key": null, "comment": null, "source_container_id": null,
            "created_at": "2026-11-23T12:00:00Z", "updated_at": "2026-11-23T12:00:00Z", "snapshot_count": 0,
            "last_used_snapshot": null
        }))
        .unwrap()
    }

    #[test]
    fn a_name_finds_its_container_only_when_it_is_the_only_one() {
        let all = vec![sample("a", "web"), sample("b", "web"), sample("b", "db")];
        assert_eq!(pick(all.clone(), "db").unwrap().name, "db");
        assert_eq!(pick(all.clone(), "b/web").unwrap().project_alias, "b");
        for bad in ["web", "none", "c/web", ""] {
            assert!(pick(all.clone(), bad).is_err(), "{bad}");
        }
    }
}
