//! Copies and syncs on a machine in memory: what they take, and power cuts at every step.

use super::*;
use crate::state::lineage::NewCopy;
use crate::state::snapshots::NewSnapshot;

fn order(node: &Node, source: &ContainerId, start: bool) -> NewCopy {
    NewCopy {
        kind: "copy",
        source: node.store.container(source).unwrap(),
        snapshot: None,
        copy_snapshots: true,
        copy_firewall_rules: false,
        copy_network_rules: false,
        start,
    }
}

fn unnamed() -> NewContainer {
    NewContainer { name: String::new(), ..plain("source") }
}

async fn source(node: &Arc<Node>, project: ProjectId) -> ContainerId {
    let id = node.make(project, "source").await;
    node.ask(&id, Wish::Snapshot(NewSnapshot { alias: Some("gold".into()), ..Default::default() })).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_made_and_found_a_name_and_a_sync_follows_its_source() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = source(&node, project).await;
    let first = node.copy_container(project, unnamed(), order(&node, &id, true)).await.unwrap();
    let second = node.copy_container(project, unnamed(), order(&node, &id, false)).await.unwrap();
    assert_eq!((first.name.as_str(), second.name.as_str()), ("source-copy-1", "source-copy-2"));
    node.until(&first.id, ContainerState::Running).await;
    node.until(&second.id, ContainerState::Stopped).await;
    assert!(!node.store.container(&second.id).unwrap().wanted);
    node.settle().await;
    check(&node, &b.machine);
    b.machine.world().disks.insert(id, "later".into());
    let done = node.ask(&second.id, Wish::Sync).await.unwrap();
    assert!(matches!(done, Done::Synced { state: ContainerState::Stopped, .. }), "{done:?}");
    assert_eq!(b.machine.world().disks[&second.id], "later");
    assert_eq!(node.ask(&id, Wish::Sync).await.unwrap_err().status_code, 400);
    node.ask(&id, Wish::Delete).await.unwrap();
    assert_eq!(node.ask(&second.id, Wish::Sync).await.unwrap_err().status_code, 404);
    check(&node, &b.machine);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_source_goes_fails_and_can_be_deleted() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = source(&node, project).await;
    let order = order(&node, &id, true);
    node.ask(&id, Wish::Delete).await.unwrap();
    let copy = node.copy_container(project, unnamed(), order).await.unwrap();
    node.until(&copy.id, ContainerState::Failed).await;
    node.ask(&copy.id, Wish::Delete).await.unwrap();
    check(&node, &b.machine);
}

/// Copies and syncs; true when all of it was done.
async fn story(node: &Arc<Node>, machine: &Fake, order: NewCopy) -> bool {
    let (project, id) = (order.source.project_id, order.source.id);
    let Ok(copy) = node.copy_container(project, unnamed(), order).await else { return false };
    while node.fleet.state(&project, &copy.id) != Some(ContainerState::Running) {
        if machine.fuse.is_blown() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    machine.world().disks.insert(id, "later".into());
    node.ask(&copy.id, Wish::Sync).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_whatever_step_the_power_goes_a_copy_is_whole_or_not_there() {
    for steps in 0..200 {
        let mut b = TestBox::new();
        let node = b.start().await;
        let project = node.test_project();
        let id = source(&node, project).await;
        let order = order(&node, &id, true);
        let fresh = b.machine.world().disks[&id].clone();
        b.machine.fuse.set(steps);
        let done = story(&node, &b.machine, order).await;
        let went = b.machine.fuse.is_blown();
        b.crash(node).await;
        let node = b.start().await;
        node.settle().await;
        check(&node, &b.machine);
        for copy in node.store.all_containers().unwrap().iter().filter(|row| row.id != id) {
            assert_eq!(copy.state, ContainerState::Running, "{steps}: {copy:?}");
            let snapshots = node.store.snapshots(&copy.id).unwrap();
            assert!(snapshots.iter().any(|s| s.alias.as_deref() == Some("gold")), "{steps}: {snapshots:?}");
            let world = b.machine.world();
            let disk = &world.disks[&copy.id];
            assert!(*disk == fresh || *disk == "later", "{steps}: {disk}");
            if *disk == "later" {
                let kept = |name: &str| world.snapshots[&(copy.id, name.to_owned())] == fresh;
                assert!(snapshots.iter().any(|s| s.kind == "safety" && kept(&s.name)), "{steps}: {snapshots:?}");
            }
        }
        if !went {
            assert!(done);
            return;
        }
    }
    panic!("the story has fewer steps than were tried");
}
