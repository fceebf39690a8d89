//! Stories of shares on a machine in memory.

use super::*;
use crate::api::share::{CreateShare, Share, ShareMode};
use crate::node::machine::Machine;
use crate::node::shares;

fn share(node: &Node, source: ContainerId, with: ProjectId, alias: &str) -> Share {
    let new = CreateShare {
        source_path: "/srv".into(),
        target_container_id: None,
        target_project_id: Some(with),
        mode: ShareMode::Readonly,
        alias: Some(alias.into()),
        label: None,
        description: None,
        enabled: None,
        expires_at: None,
    };
    node.store.create_share(&source, &new).unwrap().0
}

fn delete(node: &Node, share: &Share) {
    node.store.delete_share(&share.id, "storage.share.deleted").unwrap();
}

/// Waits until a container sees these shares and no others.
async fn until_seen(b: &TestBox, target: &ContainerId, names: &[&str]) {
    for _ in 0..1_000 {
        if b.machine.shown_shares(target) == names {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?} instead of {names:?}", b.machine.shown_shares(target));
}

#[tokio::test]
async fn what_is_taken_away_is_out_of_sight_of_the_frozen_too() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let (source, target) = (node.make(project, "web").await, node.make(project, "ice").await);
    let lent = share(&node, source, project, "lent");
    shares::offer(&node, &lent).await;
    until_seen(&b, &target, &["lent"]).await;
    node.operate(&target, "pause").await.unwrap();
    delete(&node, &lent);
    shares::withdraw(&node, &lent).await;
    until_seen(&b, &target, &[]).await;
    let other = share(&node, source, project, "other");
    shares::offer(&node, &other).await;
    until_seen(&b, &target, &["other"]).await;
    // What sleeps halted sees nothing, and that is no failure.
    node.operate(&target, "resume").await.unwrap();
    node.operate(&target, "sleep").await.unwrap();
    shares::offer(&node, &other).await;
    assert_eq!(node.shares.tell(other).status, "active");
    node.operate(&target, "wake").await.unwrap();
    until_seen(&b, &target, &["other"]).await;
}

#[tokio::test]
async fn a_change_that_a_crash_interrupted_is_seen_when_the_next_node_adopts() {
    let mut b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let (source, target) = (node.make(project, "web").await, node.make(project, "ice").await);
    let lent = share(&node, source, project, "lent");
    b.crash(node).await;
    let node = b.start().await;
    until_seen(&b, &target, &["lent"]).await;
    delete(&node, &lent);
    b.crash(node).await;
    let _node = b.start().await;
    until_seen(&b, &target, &[]).await;
}
