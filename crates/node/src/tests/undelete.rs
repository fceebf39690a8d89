//! Deletions that can be taken back, with the power going at every step.

use super::*;
use crate::undelete::sweep_once;

/// A container whose deletion can be taken back.
fn kept(name: &str) -> NewContainer {
    let mut new = plain(name);
    new.settings.undelete_hours = Some(24);
    new
}

async fn make(node: &Arc<Node>, project: ProjectId) -> ContainerId {
    let row = node.create_container(project, kept("web")).await.unwrap();
    node.until(&row.id, ContainerState::Running).await;
    row.id
}

#[tokio::test]
async fn a_deleted_container_is_gone_for_visitors_and_comes_back_as_it_was() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = make(&node, project).await;
    node.ask(&id, Wish::Snapshot(NewSnapshot::default())).await.unwrap();
    assert_eq!(node.ask(&id, Wish::Undelete(None)).await.unwrap_err().status_code, 409);
    assert_eq!(node.ask(&id, Wish::Delete).await, Ok(Done::State(ContainerState::Deleted)));
    assert_eq!(node.fleet.state(&project, &id), None);
    check(&node, &b.machine);
    for wish in [Wish::Operate(Operation::Start), Wish::Snapshot(NewSnapshot::default()), Wish::Undo, Wish::Boot] {
        assert_eq!(node.ask(&id, wish).await.unwrap_err().status_code, 409);
    }
    assert_eq!(node.ask(&id, Wish::Delete).await, Ok(Done::State(ContainerState::Deleted)), "repeats succeed");
    assert_eq!(node.fleet.state(&project, &id), None);

    // Another takes its name, so it needs a new one.
    let other = node.make(project, "web").await;
    let refused = node.ask(&id, Wish::Undelete(None)).await.unwrap_err();
    assert!(refused.status_code == 409 && refused.message.contains("another one"), "{refused}");
    let back = node.ask(&id, Wish::Undelete(Some("web-2".into()))).await;
    assert_eq!(back, Ok(Done::State(ContainerState::Running)));
    let row = node.store.container(&id).unwrap();
    assert_eq!((row.name.as_str(), row.snapshot_count), ("web-2", 1));
    check(&node, &b.machine);
    assert_eq!(node.ask(&other, Wish::Delete).await, Ok(Done::Deleted), "without hours it is gone at once");

    node.operate(&id, "stop").await.unwrap();
    node.ask(&id, Wish::Delete).await.unwrap();
    assert_eq!(node.ask(&id, Wish::Undelete(None)).await, Ok(Done::State(ContainerState::Stopped)));
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_container_whose_creation_failed_has_nothing_to_come_back() {
    let b = TestBox::new();
    let node = b.start().await;
    b.machine.fail_next("create_disk", "the pool is full: disk");
    let row = node.create_container(node.test_project(), kept("web")).await.unwrap();
    node.until(&row.id, ContainerState::Failed).await;
    assert_eq!(node.ask(&row.id, Wish::Delete).await, Ok(Done::Deleted));
    check(&node, &b.machine);
}

#[tokio::test]
async fn what_was_deleted_long_enough_ago_is_purged_and_nothing_else() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = make(&node, node.test_project()).await;
    node.ask(&id, Wish::Delete).await.unwrap();
    assert!(sweep_once(&node).await > Duration::from_secs(3000));
    assert!(b.machine.world().disks.contains_key(&id));
    node.store.write(|tx| Ok(tx.execute("UPDATE containers SET purge_at = '2020-01-01T00:00:00.000Z'", [])?)).unwrap();
    b.machine.fail_next("delete_disk", "device busy");
    sweep_once(&node).await;
    assert_eq!(node.state_of(&id), ContainerState::Deleted, "tried again later");
    sweep_once(&node).await;
    assert!(!b.machine.world().disks.contains_key(&id) && node.store.any_container(&id).is_err());
    check(&node, &b.machine);
}

#[tokio::test]
async fn a_project_takes_its_deleted_containers_along() {
    let b = TestBox::new();
    let node = b.start().await;
    let project = node.test_project();
    let id = make(&node, project).await;
    node.ask(&id, Wish::Delete).await.unwrap();
    assert_eq!(node.delete_project(project).await.unwrap().len(), 1);
    assert!(b.machine.world().disks.is_empty());
    check(&node, &b.machine);
}

#[tokio::test]
async fn an_undo_goes_back_and_the_next_one_forth() {
    let b = TestBox::new();
    let node = b.start().await;
    let id = node.make(node.test_project(), "web").await;
    assert_eq!(node.ask(&id, Wish::Undo).await.unwrap_err().status_code, 409);
    node.ask(&id, Wish::Snapshot(NewSnapshot { alias: Some("a".into()), ..Default::default() })).await.unwrap();
    let disk = || b.machine.world().disks[&id].clone();
    let before = disk();
    b.machine.world().disks.insert(id, "work".into());
    // Both at once: one waits for the other, and each keeps what it replaces.
    let both = tokio::join!(node.ask(&id, Wish::Restore("a".into())), node.ask(&id, Wish::Undo));
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    for expected in [&before, "work", &before] {
        node.ask(&id, Wish::Undo).await.unwrap();
        assert_eq!(disk(), *expected);
    }
    // The snapshot that is being restored is deleted after that.
    let (restored, deleted) =
        tokio::join!(node.ask(&id, Wish::Restore("a".into())), node.ask(&id, Wish::DeleteSnapshot("a".into())));
    assert!(restored.is_ok() && deleted.is_ok());
    assert_eq!(node.state_of(&id), ContainerState::Running);
    check(&node, &b.machine);
}

/// Deletes, takes back, deletes, purges; how many of these were answered.
async fn story(node: &Arc<Node>, id: ContainerId) -> usize {
    let wishes = [Wish::Delete, Wish::Undelete(None), Wish::Delete, Wish::Purge];
    for (answered, wish) in wishes.into_iter().enumerate() {
        if node.ask(&id, wish).await.is_err() {
            return answered;
        }
    }
    4
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_whatever_step_the_power_goes_a_deletion_is_whole_or_never_was() {
    for steps in 0..100 {
        let mut b = TestBox::new();
        let node = b.start().await;
        let id = make(&node, node.test_project()).await;
        b.machine.world().disks.insert(id, "precious".into());
        b.machine.fuse.set(steps);
        let answered = story(&node, id).await;
        let went = b.machine.fuse.is_blown();
        b.crash(node).await;
        let node = b.start().await;
        node.settle().await;
        check(&node, &b.machine);
        let states: &[Option<ContainerState>] = match answered {
            0 => &[Some(ContainerState::Running), Some(ContainerState::Deleted)],
            1 => &[Some(ContainerState::Deleted), Some(ContainerState::Running)],
            2 => &[Some(ContainerState::Running), Some(ContainerState::Deleted)],
            3 => &[Some(ContainerState::Deleted), None],
            _ => &[None],
        };
        let state = node.store.any_container(&id).ok().map(|row| row.state);
        assert!(states.contains(&state), "{steps}: {state:?} after {answered} answers");
        if state.is_some() {
            assert_eq!(b.machine.world().disks[&id], "precious", "{steps}");
        }
        if !went {
            assert_eq!(answered, 4);
            return;
        }
    }
    panic!("the story has more steps than were tried");
}
