//! Stories of shares on a machine in memory.

use super::*;
use crate::clock;
use crate::machine::Machine;
use crate::shares;
use crate::state::events::Filter;
use cowl_api::share::{CreateShare, Share, ShareMode, UpdateShare};

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

/// How often a kind of event was stored.
fn count(node: &Node, kind: &str) -> usize {
    let filter = Filter { equal: vec![("event_type", kind.into())], ..Filter::default() };
    usize::try_from(node.store.events(&filter, 1, 0).unwrap().1).unwrap()
}

#[tokio::test]
async fn the_end_of_a_share_is_told_once_ahead_of_it_also_by_the_next_node() {
    const DAY: u64 = 86_400;
    let mut b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let (source, target) = (node.make(project, "web").await, node.make(project, "ice").await);
    let now = clock::now_s();
    let lent = share(&node, source, project, "lent");
    shares::offer(&node, &lent).await;
    until_seen(&b, &target, &["lent"]).await;
    let ends = |at| UpdateShare { expires_at: Some(Some(at)), ..UpdateShare::default() };
    node.store.update_share(&source, &lent.id, &ends(now + 3 * DAY)).unwrap();
    let told = |node: &Node| count(node, "storage.share.expiring_soon");

    let next = shares::look(&node, now + DAY).await.unwrap();
    assert!((now + 2 * DAY..now + 2 * DAY + 60).contains(&next), "{}", next - now);
    assert_eq!(told(&node), 0);
    assert_eq!(shares::look(&node, next).await, Some(now + 3 * DAY));
    assert_eq!((told(&node), node.store.share(&lent.id).unwrap().expiry_notified), (1, true));
    shares::look(&node, next + 1).await;
    b.crash(node).await;
    let node = b.start().await;
    assert_eq!(shares::look(&node, next + 2).await, Some(now + 3 * DAY));
    assert_eq!(told(&node), 1, "no node tells it again");

    // The same end set again is no news; another one is.
    node.store.update_share(&source, &lent.id, &ends(now + 3 * DAY)).unwrap();
    assert!(node.store.share(&lent.id).unwrap().expiry_notified);
    node.store.update_share(&source, &lent.id, &ends(now + 100_000)).unwrap();
    assert!(!node.store.share(&lent.id).unwrap().expiry_notified);
    shares::look(&node, now + 99_000).await;
    assert_eq!(told(&node), 2);
    assert_eq!(shares::look(&node, now + 100_000).await, None);
    assert_eq!((count(&node, "storage.share.expired"), told(&node)), (1, 2));
    until_seen(&b, &target, &[]).await;
}

#[tokio::test]
async fn an_end_that_came_while_no_node_ran_is_only_told_as_an_end() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let source = node.make(project, "web").await;
    let lent = share(&node, source, project, "lent");
    let now = clock::now_s();
    let ends = UpdateShare { expires_at: Some(Some(now + 1_000)), ..UpdateShare::default() };
    node.store.update_share(&source, &lent.id, &ends).unwrap();
    assert_eq!(shares::look(&node, now + 2_000).await, None);
    assert_eq!((count(&node, "storage.share.expiring_soon"), count(&node, "storage.share.expired")), (0, 1));
}
