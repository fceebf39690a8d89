//! Stories of containers on a machine in memory.

use super::*;
use crate::machine::Machine;
use crate::snapshots::sweep_once;
use crate::state::journal::Kind;
use cowl_engine::shim::protocol::{Event as ShimEvent, Outcome};

#[tokio::test]
async fn requests_at_once_are_served_one_by_one_and_repeats_do_nothing() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    node.operate(&id, "stop").await.unwrap();
    let starts = (0..10).map(|_| node.operate(&id, "start"));
    for result in futures_util::future::join_all(starts).await {
        assert_eq!(result, Ok(Done::State(ContainerState::Running)));
    }
    assert_eq!(b.count("start "), 2);
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_crash_of_init_is_seen_and_told_and_can_be_started_from() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    b.machine.exit(&id, Outcome::Crashed("killed by signal 9".into()), &["panic: oh no"]);
    node.until(&id, ContainerState::Failed).await;
    let row = node.store.container(&id).unwrap();
    assert_eq!(row.reason.as_deref(), Some("killed by signal 9: panic: oh no"));
    check(&node, &b.machine);
    node.operate(&id, "start").await.unwrap();
    assert_eq!(node.store.container(&id).unwrap().reason, None);
    check(&node, &b.machine);
}

#[tokio::test]
async fn poweroff_inside_stops_for_good_and_reboot_inside_runs_on() {
    let mut b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    let before = node.store.container(&id).unwrap().started_at;
    let mut status = b.machine.status(&id).unwrap();
    status.started_at_ms += 60_000;
    b.machine.tell(&id, ShimEvent::Rebooting);
    b.machine.tell(&id, ShimEvent::Started(status));
    while node.store.container(&id).unwrap().started_at == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.state_of(&id), ContainerState::Running);
    b.machine.exit(&id, Outcome::Stopped, &[]);
    node.until(&id, ContainerState::Stopped).await;
    b.crash(node).await;
    let node = b.start().await;
    assert_eq!(node.state_of(&id), ContainerState::Stopped, "its user switched it off");
}

#[tokio::test]
async fn a_killed_shim_is_noticed() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    b.machine.kill_shim(&id);
    node.until(&id, ContainerState::Failed).await;
    assert!(node.store.container(&id).unwrap().reason.unwrap().contains("shim"));
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_can_be_repeated() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    node.operate(&id, "stop").await.unwrap();
    b.machine.fail_next("start", "mount overlay: no");
    let error = node.operate(&id, "start").await.unwrap_err();
    assert_eq!((error.status_code, error.message.as_str()), (500, "mount overlay: no"));
    assert_eq!(node.state_of(&id), ContainerState::Failed);
    check(&node, &b.machine);
    node.operate(&id, "restart").await.unwrap();
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_creation_that_fails_leaves_something_that_can_be_looked_at_and_deleted() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    b.machine.fail_next("create_disk", "the pool is full: disk");
    let row = node.create_container(project, plain("web")).await.unwrap();
    node.until(&row.id, ContainerState::Failed).await;
    assert_eq!(node.store.container(&row.id).unwrap().reason.as_deref(), Some("the pool is full: disk"));
    assert_eq!(node.ask(&row.id, Wish::Delete).await, Ok(Done::Deleted));
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_stop_that_fails_leaves_it_running() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    b.machine.fail_next("stop", "could not be killed");
    assert_eq!(node.operate(&id, "stop").await.unwrap_err().status_code, 500);
    assert_eq!(node.state_of(&id), ContainerState::Running);
    check(&node, &b.machine);
}

#[tokio::test]
async fn the_urls_of_a_container_are_gone_as_soon_as_its_deletion_is_asked_for() {
    let b = TestBox::new();
    b.machine.world().stop_takes = Duration::from_millis(300);
    let node = b.start().await;
    let project = node.test_project();
    let id = node.make(project, "web").await;
    let stopping = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.operate(&id, "stop").await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(node.fleet.state(&project, &id), Some(ContainerState::Running), "a graceful stop still answers");
    assert_eq!(node.fleet.state(&ProjectId::generate(), &id), None, "another project's URL never does");
    let deleting = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.ask(&id, Wish::Delete).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(node.fleet.state(&project, &id), None);
    stopping.await.unwrap().unwrap();
    assert_eq!(deleting.await.unwrap(), Ok(Done::Deleted));
    assert_eq!(node.ask(&id, Wish::Delete).await.unwrap_err().status_code, 404);
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_deletion_that_fails_is_told_and_can_be_repeated() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = node.make(project, "web").await;
    b.machine.fail_next("delete_disk", "device busy");
    assert_eq!(node.ask(&id, Wish::Delete).await.unwrap_err().status_code, 500);
    assert_eq!(node.fleet.state(&project, &id), Some(ContainerState::Failed));
    check(&node, &b.machine);
    assert_eq!(node.ask(&id, Wish::Delete).await, Ok(Done::Deleted));
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_restore_that_fails_leaves_all_as_it_was_and_running() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    node.ask(&id, Wish::Snapshot(NewSnapshot { alias: Some("a".into()), ..Default::default() })).await.unwrap();
    b.machine.fail_next("restore", "the pool is full: swap");
    assert!(node.ask(&id, Wish::Restore("a".into())).await.unwrap_err().message.contains("full"));
    assert_eq!(node.state_of(&id), ContainerState::Running);
    assert_eq!(node.store.snapshots(&id).unwrap().len(), 1);
    check(&node, &b.machine);
    assert_eq!(node.ask(&id, Wish::Restore("b".into())).await.unwrap_err().status_code, 404);
}

#[tokio::test]
async fn a_snapshot_that_fails_leaves_nothing() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    b.machine.fail_next("create_snapshot", "no");
    let wish = Wish::Snapshot(NewSnapshot { alias: Some("a".into()), ..Default::default() });
    assert!(node.ask(&id, wish.clone()).await.is_err());
    check(&node, &b.machine);
    assert!(node.ask(&id, wish).await.is_ok(), "its alias is free again");
}

#[tokio::test]
async fn expired_snapshots_go_and_others_stay() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    for at in ["2020-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"] {
        node.ask(&id, Wish::Snapshot(NewSnapshot { expires_at: Some(at.into()), ..Default::default() })).await.unwrap();
    }
    sweep_once(&node).await;
    let left = node.store.snapshots(&id).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].expires_at.as_deref(), Some("2999-01-01T00:00:00.000Z"));
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_new_node_adopts_what_runs_without_touching_it() {
    let mut b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let (running, paused) = (node.make(project, "web").await, node.make(project, "ice").await);
    node.operate(&paused, "pause").await.unwrap();
    b.crash(node).await;
    b.machine.world().calls.clear();
    let node = b.start().await;
    assert_eq!((node.state_of(&running), node.state_of(&paused)), (ContainerState::Running, ContainerState::Paused));
    assert!(b.machine.world().calls.is_empty());
    b.machine.exit(&running, Outcome::Stopped, &[]);
    node.until(&running, ContainerState::Stopped).await;
    check(&node, &b.machine);
}

#[tokio::test]
async fn after_a_reboot_of_the_box_only_what_is_wanted_starts() {
    let mut b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let (web, off, manual) =
        (node.make(project, "web").await, node.make(project, "off").await, node.make(project, "man").await);
    node.operate(&off, "stop").await.unwrap();
    let change = cowl_api::container::UpdateContainer { autostart: Some(false), ..Default::default() };
    node.store.update_container(&manual, &change).unwrap();
    b.crash(node).await;
    b.machine.world().running.clear();
    let node = b.start().await;
    let states = [web, off, manual].map(|id| node.state_of(&id));
    assert_eq!(states, [ContainerState::Running, ContainerState::Stopped, ContainerState::Stopped]);
    check(&node, &b.machine);
    // Stopped because the node ended, not because its owner wished: it comes back.
    node.ask(&web, Wish::Halt).await.unwrap();
    b.crash(node).await;
    let node = b.start().await;
    assert_eq!(node.state_of(&web), ContainerState::Running);
}

#[tokio::test]
async fn a_halt_that_a_crash_interrupted_is_finished_with_what_was_to_follow() {
    let mut b = TestBox::new();
    let mut node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    let restore = serde_json::json!({ "name": "a", "safety": "b", "was_running": true });
    for (kind, args, after) in [
        (Kind::Restart, serde_json::json!({}), ContainerState::Running),
        (Kind::Restore, restore, ContainerState::Running),
        (Kind::Stop, serde_json::json!({ "node_ends": true }), ContainerState::Running),
        (Kind::Stop, serde_json::json!({ "node_ends": false }), ContainerState::Stopped),
    ] {
        // Init was asked to halt already, or is gone.
        for gone in [false, true] {
            node.store.begin(&id, kind, "stop", &args).unwrap();
            b.crash(node).await;
            let halts = b.count("stop ") + usize::from(!gone);
            if gone {
                b.machine.world().running.clear();
            }
            node = b.start().await;
            node.until(&id, after).await;
            node.settle().await;
            check(&node, &b.machine);
            let row = node.store.container(&id).unwrap();
            assert_eq!((b.count("stop "), row.wanted), (halts, after == ContainerState::Running), "{kind:?} {gone}");
            node.operate(&id, "start").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_reboot_inside_keeps_the_limits_that_were_changed_since_the_start() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    let status = b.machine.status(&id).unwrap();
    b.machine.tell(&id, ShimEvent::Started(status));
    while b.count("limit ") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    check(&node, &b.machine);
}

#[tokio::test]
async fn what_the_database_does_not_know_is_stopped_and_what_lost_its_disk_has_failed() {
    let mut b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    b.crash(node).await;
    let stranger = ContainerId::generate();
    {
        let mut world = b.machine.world();
        let mut status = world.running.remove(&id).unwrap();
        status.id = stranger;
        world.running.insert(stranger, status);
        world.disks.clear();
    }
    let node = b.start().await;
    assert!(b.machine.world().running.is_empty());
    assert_eq!(node.state_of(&id), ContainerState::Failed);
    check(&node, &b.machine);
}

#[tokio::test]
async fn snapshots_that_vanished_from_the_pool_vanish_from_the_list() {
    let mut b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    node.ask(&id, Wish::Snapshot(NewSnapshot::default())).await.unwrap();
    b.crash(node).await;
    b.machine.world().snapshots.clear();
    let node = b.start().await;
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_deletion_of_a_project_goes_on_after_a_crash() {
    let mut b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    node.make(project, "web").await;
    node.store.condemn_project(&project, true).unwrap();
    b.crash(node).await;
    let node = b.start().await;
    assert!(node.store.all_containers().unwrap().is_empty() && node.store.condemned_projects().unwrap().is_empty());
    check(&node, &b.machine);
}
