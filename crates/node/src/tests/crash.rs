//! The power goes at every single step of a container's life. Afterwards the box must be whole:
//! each container as before or finished, and nothing that was answered with success is lost.

use super::*;

/// How far a life came, by what was answered with success.
#[derive(Debug, Default)]
struct Known {
    id: Option<ContainerId>,
    created: bool,
    snapshot: Option<String>,
    restored: bool,
    stopped: bool,
    started: bool,
    deleted: bool,
}

async fn live(node: &Arc<Node>, machine: &Fake, project: ProjectId) -> Known {
    let mut known = Known::default();
    let _ = story(node, machine, project, &mut known).await;
    known
}

async fn story(node: &Arc<Node>, machine: &Fake, project: ProjectId, known: &mut Known) -> Result<(), ApiError> {
    let row = node.create_container(project, plain("web")).await?;
    let id = row.id;
    known.id = Some(id);
    loop {
        match node.fleet.state(&project, &id) {
            Some(ContainerState::Running) => break,
            _ if machine.fuse.is_blown() => return Ok(()),
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    known.created = true;
    if let Done::Snapshot(s) =
        node.ask(&id, Wish::Snapshot(NewSnapshot { alias: Some("a".into()), ..Default::default() })).await?
    {
        known.snapshot = Some(s.name);
    }
    machine.world().disks.insert(id, "later".into());
    node.ask(&id, Wish::Restore("a".into())).await?;
    known.restored = true;
    node.operate(&id, "restart").await?;
    node.operate(&id, "sleep").await?;
    node.operate(&id, "wake").await?;
    let freezes = cowl_api::container::UpdateContainer {
        settings: Some(Some(serde_json::json!({ "sleep": { "mode": "freeze" } }))),
        ..Default::default()
    };
    node.db(move |store| store.update_container(&id, &freezes)).await?;
    node.operate(&id, "sleep").await?;
    node.operate(&id, "wake").await?;
    node.operate(&id, "pause").await?;
    node.operate(&id, "force-stop").await?;
    known.stopped = true;
    node.operate(&id, "start").await?;
    known.started = true;
    node.ask(&id, Wish::DeleteSnapshot("a".into())).await?;
    known.snapshot = None;
    node.ask(&id, Wish::Delete).await?;
    known.deleted = true;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_whatever_step_the_power_goes_the_box_is_whole_afterwards() {
    let mut finished = false;
    for steps in 0..200 {
        let mut b = TestBox::new();
        let node = b.start().await;
        let project = node.test_project();
        b.machine.fuse.set(steps);
        let known = live(&node, &b.machine, project).await;
        let went = b.machine.fuse.is_blown();
        b.crash(node).await;
        let node = b.start().await;
        node.settle().await;
        check(&node, &b.machine);
        promises(&node, &b.machine, &known, steps);
        if !went {
            assert!(known.deleted);
            finished = true;
            break;
        }
    }
    assert!(finished, "the story has fewer steps than were tried");
}

fn promises(node: &Node, machine: &Fake, known: &Known, steps: i64) {
    let Some(id) = known.id else { return };
    let row = node.store.container(&id);
    if known.deleted {
        assert!(row.is_err(), "{steps}: what was deleted stays deleted");
        return;
    }
    // The deletion was asked for last; it may have been finished after the power came back.
    let Ok(row) = row else {
        assert!(known.started && known.snapshot.is_none(), "{steps}: a container was lost: {known:?}");
        return;
    };
    if known.created && !known.stopped {
        // It ran, and only a force-stop that was under way may have ended that.
        let may_be_off = known.restored;
        assert!(
            row.state == ContainerState::Running || row.state == ContainerState::Paused || may_be_off,
            "{steps}: {row:?}"
        );
    }
    if known.stopped && !known.started {
        assert!(matches!(row.state, ContainerState::Stopped | ContainerState::Running), "{steps}");
    }
    let world = machine.world();
    if let Some(name) = &known.snapshot
        && !known.started
    {
        assert!(world.snapshots.contains_key(&(id, name.clone())), "{steps}: a snapshot was lost");
    }
    let disk = world.disks[&id].as_str();
    if known.restored {
        assert_ne!(disk, "later", "{steps}: a restore was lost");
    }
    if known.snapshot.is_some() && disk != "later" && world.calls.iter().any(|c| c.starts_with("restore")) {
        assert!(
            world.snapshots.iter().any(|((_, name), content)| name.starts_with("safety") && content == "later"),
            "{steps}: what a restore replaced is kept"
        );
    }
}
