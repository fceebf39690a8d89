//! Fixtures: a node on a machine in memory.

use std::sync::Arc;

use super::machine::fake::{Fake, Fuse};
use super::state::Store;
use super::token::OwnerToken;
use super::{Node, Place, reconcile};
use cowl_api::ServerId;

/// A place as tests like it.
pub(crate) fn place() -> Place {
    Place {
        server_id: ServerId::generate(),
        server_name: "node-test".into(),
        domains: vec!["cowl.localhost".into(), "cowl.internal".into()],
        listen: ([127, 0, 0, 1], 8443).into(),
        network: "10.201.0.0/16".parse().unwrap(),
        network6: Some("fd01:203:405::".parse().unwrap()),
        dns: None,
        owner_id: "0123456789abcdef01234567".into(),
        state_dir: "/nonexistent".into(),
        started_at: super::clock::now(),
        kernel: "6.18".into(),
        hints: Vec::new(),
        // Deletions are final unless a test is about them.
        undelete_hours: 0,
    }
}

/// A box: its disk and its kernel outlive its nodes.
pub(crate) struct TestBox {
    pub dir: tempfile::TempDir,
    pub machine: Fake,
}

impl TestBox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), machine: Fake::with_image() }
    }

    /// A node that has not looked around yet.
    pub fn node(&self) -> Arc<Node> {
        let mut store = Store::open(&self.dir.path().join("node.db")).unwrap();
        store.fuse = self.machine.fuse.clone();
        let token = OwnerToken::open(self.dir.path()).unwrap();
        let place = Place { state_dir: self.dir.path().to_owned(), ..place() };
        Node::new(store, Arc::new(self.machine.clone()), place, token)
    }

    /// A node as it is after its start.
    pub async fn start(&self) -> Arc<Node> {
        let node = self.node();
        super::images::begin(&node, None).await;
        let work = reconcile::reconcile(&node).await.unwrap();
        reconcile::resume(Arc::clone(&node), work).await;
        node
    }

    /// How many calls of the machine begin so.
    pub fn count(&self, call: &str) -> usize {
        self.machine.world().calls.iter().filter(|c| c.starts_with(call)).count()
    }

    /// Ends a node without a word, then lets the power come back.
    pub async fn crash(&mut self, node: Arc<Node>) {
        self.machine.fuse.set(0);
        node.shutdown.cancel();
        node.tasks.close();
        node.tasks.wait().await;
        self.machine.fuse = Fuse::default();
    }
}

mod copies;
mod crash;
mod lifecycle;
mod random;
mod shares;
mod undelete;

use std::time::Duration;

use super::lifecycle::{Done, Wish};
use super::state::containers::NewContainer;
use super::state::snapshots::NewSnapshot;
use cowl_api::container::{ContainerState, Operation};
use cowl_api::{ApiError, ContainerId, ProjectId};

/// What a container is like when nothing else matters.
pub(crate) fn plain(name: &str) -> NewContainer {
    NewContainer {
        name: name.into(),
        color: "#FFF".into(),
        tier: "debian-13".into(),
        autostart: true,
        hoody_kit: true,
        ..Default::default()
    }
}

impl Node {
    pub(crate) fn test_project(&self) -> ProjectId {
        self.store.create_project("demo", "#FFF", None, &Default::default()).unwrap().0.id
    }

    pub(crate) async fn make(self: &Arc<Self>, project: ProjectId, name: &str) -> ContainerId {
        let row = self.create_container(project, plain(name)).await.unwrap();
        self.until(&row.id, ContainerState::Running).await;
        row.id
    }

    pub(crate) async fn operate(&self, id: &ContainerId, word: &str) -> Result<Done, ApiError> {
        self.ask(id, Wish::Operate(Operation::parse(word).unwrap())).await
    }

    pub(crate) fn state_of(&self, id: &ContainerId) -> ContainerState {
        self.store.any_container(id).unwrap().state
    }

    pub(crate) async fn until(&self, id: &ContainerId, state: ContainerState) {
        for _ in 0..1_000 {
            let row = self.store.container(id);
            // A driver writes a state down a moment before it lets others see it.
            if row.is_ok_and(|row| row.state == state && self.fleet.state(&row.project_id, id) == Some(state)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{id} is {:?} and never became {state}", self.store.container(id));
    }

    /// Waits until nothing is under way any more.
    pub(crate) async fn settle(&self) {
        for _ in 0..1_000 {
            // The end of an operation and the state after it are written at once, and a driver lets others
            // see the state a moment later: so what is under way is looked at first.
            let is_idle = self.store.operations().unwrap().is_empty();
            let moving = self.store.all_containers().unwrap().iter().any(|row| {
                matches!(row.state, ContainerState::Creating | ContainerState::Copying | ContainerState::Deleting)
                    || self.fleet.state(&row.project_id, &row.id) != seen(row.state)
            });
            if is_idle && !moving {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("still under way: {:?}", self.store.operations());
    }
}

/// What visitors are to see of a state.
fn seen(state: ContainerState) -> Option<ContainerState> {
    (state != ContainerState::Deleted).then_some(state)
}

/// What must be true of a box whenever nothing is under way.
pub(crate) fn check(node: &Node, machine: &Fake) {
    let world = machine.world();
    let rows = node.store.all_containers().unwrap();
    assert!(node.store.operations().unwrap().is_empty(), "nothing is under way");
    assert!(node.store.unfinished_snapshots().unwrap().is_empty());
    for row in &rows {
        let shim = world.running.get(&row.id);
        match row.state {
            ContainerState::Running => assert!(shim.is_some_and(|s| !s.frozen), "{row:?}"),
            ContainerState::Paused => assert!(shim.is_some_and(|s| s.frozen), "{row:?}"),
            ContainerState::Asleep => assert!(shim.is_none_or(|s| s.frozen), "{row:?}"),
            ContainerState::Stopped | ContainerState::Failed | ContainerState::Deleted => {
                assert!(shim.is_none(), "{row:?}")
            }
            other => panic!("{other} is no state to rest in"),
        }
        if row.state != ContainerState::Failed {
            assert!(world.disks.contains_key(&row.id), "{row:?}");
        }
        assert_eq!(node.fleet.state(&row.project_id, &row.id), seen(row.state));
        let mut known: Vec<_> = node.store.snapshots(&row.id).unwrap().into_iter().map(|s| s.name).collect();
        known.sort();
        let present: Vec<_> =
            world.snapshots.keys().filter(|(id, _)| *id == row.id).map(|(_, name)| name.clone()).collect();
        assert_eq!(known, present);
        let logs = node.store.status_logs(&row.id, 1_000, 0, false).unwrap().0;
        for pair in logs.windows(2) {
            assert_eq!(pair[1].from_status, Some(pair[0].to_status), "the log has no gaps");
        }
        assert_eq!(logs.last().unwrap().to_status, row.state);
    }
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert!(world.disks.keys().all(|id| ids.contains(id)), "no disk without a row");
    assert!(world.running.keys().all(|id| ids.contains(id)), "nothing runs without a row");
    let there = || rows.iter().filter(|row| row.state != ContainerState::Deleted);
    let addresses: std::collections::BTreeSet<_> = there().map(|row| row.address_index).collect();
    assert_eq!(addresses.len(), there().count(), "addresses are unique");
}
