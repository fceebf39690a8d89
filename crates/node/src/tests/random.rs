//! Random lives: whatever is asked in whatever order, by several at once, with inits that crash
//! and nodes that die in between, the box stays whole.

use proptest::prelude::*;

use super::*;
use cowl_engine::shim::protocol::Outcome;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Act {
    Create,
    Operate(usize, &'static str),
    Snapshot(usize),
    Restore(usize),
    DeleteSnapshot(usize),
    Delete(usize),
    Undelete(usize),
    Purge(usize),
    Undo(usize),
    /// Several operations at once on one container.
    Crowd(usize, Vec<&'static str>),
    PowerOff(usize),
    InitCrash(usize),
    Fail(&'static str),
    NodeDies,
}

fn operation() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["start", "stop", "force-stop", "restart", "pause", "resume", "sleep", "wake"])
}

fn act() -> impl Strategy<Value = Act> {
    let which = 0usize..3;
    prop_oneof![
        3 => Just(Act::Create),
        8 => (which.clone(), operation()).prop_map(|(n, op)| Act::Operate(n, op)),
        2 => which.clone().prop_map(Act::Snapshot),
        2 => which.clone().prop_map(Act::Restore),
        1 => which.clone().prop_map(Act::DeleteSnapshot),
        1 => which.clone().prop_map(Act::Delete),
        2 => which.clone().prop_map(Act::Undelete),
        1 => which.clone().prop_map(Act::Purge),
        1 => which.clone().prop_map(Act::Undo),
        3 => (which.clone(), prop::collection::vec(operation(), 2..5)).prop_map(|(n, ops)| Act::Crowd(n, ops)),
        1 => which.clone().prop_map(Act::PowerOff),
        1 => which.prop_map(Act::InitCrash),
        2 => prop::sample::select(vec!["start", "stop", "freeze", "reclaim", "restore", "create_disk", "create_snapshot", "delete_disk"])
            .prop_map(Act::Fail),
        1 => Just(Act::NodeDies),
    ]
}

async fn perform(b: &mut TestBox, node: &mut Arc<Node>, project: ProjectId, act: Act) {
    let ids: Vec<ContainerId> = node.store.all_containers().unwrap().iter().map(|row| row.id).collect();
    let nth = |n: usize| ids.get(n % ids.len().max(1)).copied();
    match act {
        Act::Create if ids.len() < 3 => {
            let name = cowl_api::names::random_name();
            // A random name may be taken; then nothing happens.
            let mut new = plain(&name);
            new.settings.sleep.mode = (ids.len() % 2 == 1).then_some(cowl_api::settings::SleepMode::Freeze);
            new.settings.undelete_hours = (ids.len() != 1).then_some(24);
            let _ = node.create_container(project, new).await;
            node.settle().await;
        }
        Act::Operate(n, op) => {
            if let Some(id) = nth(n) {
                let _ = node.operate(&id, op).await;
            }
        }
        Act::Snapshot(n) => {
            if let Some(id) = nth(n) {
                let _ =
                    node.ask(&id, Wish::Snapshot(NewSnapshot { alias: Some("a".into()), ..Default::default() })).await;
            }
        }
        Act::Restore(n) => {
            if let Some(id) = nth(n) {
                let _ = node.ask(&id, Wish::Restore("a".into())).await;
            }
        }
        Act::DeleteSnapshot(n) => {
            if let Some(id) = nth(n) {
                let _ = node.ask(&id, Wish::DeleteSnapshot("a".into())).await;
            }
        }
        Act::Delete(n) => {
            if let Some(id) = nth(n) {
                let _ = node.ask(&id, Wish::Delete).await;
            }
        }
        Act::Undelete(n) | Act::Purge(n) | Act::Undo(n) => {
            let wish = match act {
                Act::Undelete(_) => Wish::Undelete(None),
                Act::Purge(_) => Wish::Purge,
                _ => Wish::Undo,
            };
            if let Some(id) = nth(n) {
                let _ = node.ask(&id, wish).await;
            }
        }
        Act::Crowd(n, ops) => {
            if let Some(id) = nth(n) {
                futures_util::future::join_all(ops.into_iter().map(|op| node.operate(&id, op))).await;
            }
        }
        Act::PowerOff(n) | Act::InitCrash(n) => {
            let Some(id) = nth(n).filter(|id| node.state_of(id) == ContainerState::Running) else { return };
            let (outcome, then) = match act {
                Act::PowerOff(_) => (Outcome::Stopped, ContainerState::Stopped),
                _ => (Outcome::Crashed("signal 11".into()), ContainerState::Failed),
            };
            b.machine.world().fail.clear();
            b.machine.exit(&id, outcome, &["last words"]);
            node.until(&id, then).await;
        }
        Act::Fail(method) => b.machine.fail_next(method, "as it happens"),
        Act::NodeDies => {
            b.machine.world().fail.clear();
            b.crash(Arc::clone(node)).await;
            *node = b.start().await;
        }
        Act::Create => {}
    }
    node.settle().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_asked_in_whatever_order_the_box_stays_whole(acts in prop::collection::vec(act(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut b = TestBox::new();
            let mut node = b.start().await;
            let project = node.test_project();
            for act in acts {
                perform(&mut b, &mut node, project, act).await;
                check(&node, &b.machine);
            }
            b.crash(node).await;
        });
    }
}
