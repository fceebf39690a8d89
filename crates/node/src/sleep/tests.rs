//! Stories of sleep on a machine in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::desk::Desk;
use crate::Node;
use crate::lifecycle::{Done, Wish};
use crate::machine::Machine;
use crate::state::journal::Kind;
use crate::state::snapshots::NewSnapshot;
use crate::tests::{TestBox, check, plain};
use cowl_api::container::ContainerState::{Asleep, Running, Stopped};
use cowl_api::container::UpdateContainer;
use cowl_api::settings::SleepMode;
use cowl_api::{ContainerId, ProjectId};
use cowl_engine::shim::protocol::Event;

/// A running container with its own way to sleep.
async fn sleepy(node: &Arc<Node>, project: ProjectId, mode: SleepMode, after: Option<u64>) -> ContainerId {
    let mut new = plain(if mode == SleepMode::Stop { "stops" } else { "freezes" });
    (new.settings.sleep.mode, new.settings.sleep.after) = (Some(mode), after);
    let id = node.create_container(project, new).await.unwrap().id;
    node.until(&id, Running).await;
    id
}

/// Who brought the container into its state.
fn by(node: &Node, id: &ContainerId) -> String {
    node.store.status_logs(id, 1, 0, true).unwrap().0.remove(0).triggered_by
}

#[tokio::test]
async fn what_sleeps_halted_costs_its_disk_only_and_wakes_by_a_request() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = sleepy(&node, project, SleepMode::Stop, None).await;
    assert_eq!(node.operate(&id, "sleep").await, Ok(Done::State(Asleep)));
    assert_eq!(node.operate(&id, "sleep").await, Ok(Done::State(Asleep)));
    assert!(b.machine.world().running.is_empty());
    assert!(node.store.container(&id).unwrap().wanted, "its owner still wants it to run");
    check(&node, &b.machine);
    assert!(node.awake(&project, &id).await.unwrap().is_ok());
    node.until(&id, Running).await;
    assert_eq!(by(&node, &id), "request");
    check(&node, &b.machine);
}

#[tokio::test]
async fn what_sleeps_frozen_keeps_its_processes_and_gives_its_memory_back() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = sleepy(&node, project, SleepMode::Freeze, None).await;
    let started = node.store.container(&id).unwrap().started_at;
    node.operate(&id, "sleep").await.unwrap();
    assert!(b.machine.status(&id).unwrap().frozen);
    assert_eq!((b.count("reclaim"), b.count("stop")), (1, 0));
    check(&node, &b.machine);
    assert!(node.awake(&project, &id).await.unwrap().is_ok());
    node.until(&id, Running).await;
    assert_eq!((node.store.container(&id).unwrap().started_at, b.count("start ")), (started, 1));
    check(&node, &b.machine);
}

#[tokio::test]
async fn memory_that_cannot_be_reclaimed_keeps_nobody_awake_and_what_does_not_freeze_runs_on() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = sleepy(&node, node.test_project(), SleepMode::Freeze, None).await;
    b.machine.fail_next("freeze", "a task waits in the kernel");
    assert_eq!(node.operate(&id, "sleep").await.unwrap_err().status_code, 500);
    assert_eq!(node.state_of(&id), Running);
    check(&node, &b.machine);
    b.machine.fail_next("reclaim", "no such file");
    assert_eq!(node.operate(&id, "sleep").await, Ok(Done::State(Asleep)));
    check(&node, &b.machine);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_wake_it_once() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = sleepy(&node, project, SleepMode::Stop, None).await;
    node.operate(&id, "sleep").await.unwrap();
    let asks = (0..200).map(|_| {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.awake(&project, &id).await.unwrap().is_ok() })
    });
    for woken in futures_util::future::join_all(asks).await {
        assert!(woken.unwrap());
    }
    assert_eq!(b.count("start "), 2);
    check(&node, &b.machine);
}

#[tokio::test]
async fn who_comes_while_it_falls_asleep_waits_and_wakes_it() {
    let b = TestBox::new();
    b.machine.world().stop_takes = Duration::from_millis(300);
    let node = b.start().await;
    let project = node.test_project();
    let id = sleepy(&node, project, SleepMode::Stop, None).await;
    let falling = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.operate(&id, "sleep").await })
    };
    let live = node.fleet.live(&project, &id).unwrap();
    while !live.is_drowsy() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(node.awake(&project, &id).await.unwrap().is_ok());
    assert_eq!(falling.await.unwrap(), Ok(Done::State(Asleep)));
    assert_eq!((node.state_of(&id), b.count("start ")), (Running, 2));
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_wake_that_fails_is_told_and_nobody_else_can_wake_it() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = sleepy(&node, project, SleepMode::Stop, None).await;
    node.operate(&id, "sleep").await.unwrap();
    assert!(node.awake(&ProjectId::generate(), &id).await.is_none(), "another project's URL wakes nobody");
    assert_eq!(node.state_of(&id), Asleep);
    b.machine.fail_next("start", "mount overlay: no");
    assert!(node.awake(&project, &id).await.is_none());
    assert_eq!(node.store.container(&id).unwrap().reason.as_deref(), Some("mount overlay: no"));
    node.operate(&id, "start").await.unwrap();
    node.operate(&id, "stop").await.unwrap();
    assert!(node.awake(&project, &id).await.is_none(), "what was stopped stays stopped");
    check(&node, &b.machine);
}

#[tokio::test]
async fn only_who_is_not_used_dozes_off() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = sleepy(&node, project, SleepMode::Stop, Some(1)).await;
    let never = node.make(project, "never").await;
    let live = node.fleet.live(&project, &id).unwrap();
    let visit = live.activity.enter();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(node.ask(&id, Wish::Doze).await, Ok(Done::State(Running)), "a request is under way");
    drop(visit);
    assert_eq!(node.ask(&id, Wish::Doze).await, Ok(Done::State(Running)), "it ended just now");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(node.ask(&never, Wish::Doze).await, Ok(Done::State(Running)), "it never sleeps by itself");
    assert_eq!(node.ask(&id, Wish::Doze).await, Ok(Done::State(Asleep)));
    assert_eq!(by(&node, &id), "sleep");
    assert!(!live.is_drowsy());
    check(&node, &b.machine);
}

#[tokio::test]
async fn stop_restart_restore_and_delete_work_on_sleepers() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    for mode in [SleepMode::Stop, SleepMode::Freeze] {
        let id = sleepy(&node, project, mode, None).await;
        node.ask(&id, Wish::Snapshot(NewSnapshot { alias: Some("a".into()), ..Default::default() })).await.unwrap();
        node.operate(&id, "sleep").await.unwrap();
        node.ask(&id, Wish::Restore("a".into())).await.unwrap();
        assert_eq!(node.state_of(&id), Asleep);
        check(&node, &b.machine);
        node.operate(&id, "restart").await.unwrap();
        check(&node, &b.machine);
        node.operate(&id, "sleep").await.unwrap();
        assert_eq!(node.operate(&id, "stop").await, Ok(Done::State(Stopped)));
        assert!(!node.store.container(&id).unwrap().wanted);
        check(&node, &b.machine);
        node.operate(&id, "start").await.unwrap();
        node.operate(&id, "sleep").await.unwrap();
        assert_eq!(node.ask(&id, Wish::Delete).await, Ok(Done::Deleted));
        check(&node, &b.machine);
    }
}

#[tokio::test]
async fn sleepers_sleep_on_when_the_node_dies_or_the_box_reboots() {
    let mut b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let ids =
        [sleepy(&node, project, SleepMode::Stop, None).await, sleepy(&node, project, SleepMode::Freeze, None).await];
    for id in ids {
        node.operate(&id, "sleep").await.unwrap();
    }
    b.crash(node).await;
    let node = b.start().await;
    assert_eq!(ids.map(|id| node.state_of(&id)), [Asleep, Asleep]);
    check(&node, &b.machine);
    for id in ids {
        assert!(node.awake(&project, &id).await.unwrap().is_ok());
        node.operate(&id, "sleep").await.unwrap();
        // Ending the node with its containers ends what is frozen, and wakes nobody.
        node.ask(&id, Wish::Halt).await.unwrap();
    }
    assert!(b.machine.world().running.is_empty());
    b.crash(node).await;
    let node = b.start().await;
    assert_eq!(ids.map(|id| node.state_of(&id)), [Asleep, Asleep], "autostart wakes nobody");
    for id in ids {
        assert!(node.awake(&project, &id).await.unwrap().is_ok());
    }
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_sleep_that_a_crash_interrupted_is_finished_or_undone() {
    let mut b = TestBox::new();
    let mut node = b.start().await;
    let project = node.test_project();
    let id = sleepy(&node, project, SleepMode::Stop, None).await;
    // Init was asked to halt or not yet, or is gone already; it was to be frozen, or is.
    for (step, gone, frozen, after) in [
        ("stop", false, false, Asleep),
        ("stop", true, false, Asleep),
        ("freeze", false, false, Running),
        ("freeze", false, true, Asleep),
    ] {
        node.store.begin(&id, Kind::Sleep, step, &serde_json::json!({})).unwrap();
        b.crash(node).await;
        if gone {
            b.machine.world().running.clear();
        }
        b.machine.world().running.values_mut().for_each(|shim| shim.frozen = frozen);
        node = b.start().await;
        node.until(&id, after).await;
        check(&node, &b.machine);
        assert!(node.awake(&project, &id).await.unwrap().is_ok());
        node.until(&id, Running).await;
        check(&node, &b.machine);
    }
}

#[tokio::test]
async fn a_woken_machine_counts_as_rising_until_systemd_is_ready() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = sleepy(&node, project, SleepMode::Stop, None).await;
    let live = node.fleet.live(&project, &id).unwrap();
    assert!(!live.is_rising(), "one that did not sleep answers for itself");
    node.operate(&id, "sleep").await.unwrap();
    node.awake(&project, &id).await.unwrap().unwrap();
    assert!(live.is_rising());
    b.machine.tell(&id, Event::Ready);
    while live.is_rising() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_desk_puts_the_idle_to_sleep_and_not_the_busy() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    tokio::spawn(super::watch(Arc::clone(&node)));
    b.machine.world().busy = 10_000_000;
    let id = sleepy(&node, project, SleepMode::Stop, None).await;
    let change =
        UpdateContainer { settings: Some(Some(serde_json::json!({ "sleep": { "after": 5 } }))), ..Default::default() };
    let (_, events) = node.store.update_container(&id, &change).unwrap();
    node.bus.tell_all(events);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(node.state_of(&id), Running, "its CPU is busy");
    b.machine.world().busy = 0;
    for _ in 0..100 {
        if node.state_of(&id) == Asleep {
            assert_eq!(by(&node, &id), "sleep");
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("it never fell asleep");
}

#[tokio::test]
async fn due_entries_fire_early_and_a_clock_that_was_set_has_them_read_again() {
    let mut desk = Desk::default();
    let (now, clock) = (Instant::now(), Timestamp::now());
    let at = |seconds| clock + SignedDuration::from_secs(seconds);
    let [soon, later, last] = [1, 2, 3].map(|_| ContainerId::generate());
    desk.expect(at(8), soon);
    desk.expect(at(300), later);
    desk.expect(at(7200), last);
    assert_eq!(desk.fire(now, clock), [(at(8), soon)]);
    assert_eq!(desk.fire(now + Duration::from_secs(60), at(60)), []);
    assert!(desk.to_read().is_empty());
    // An hour ahead: what fell due in it is due now, the rest is read again.
    assert_eq!(desk.fire(now + Duration::from_secs(61), at(3661)), [(at(300), later)]);
    assert_eq!(desk.to_read(), [last]);
}
