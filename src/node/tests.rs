//! Fixtures: a node on a machine in memory.

use std::sync::Arc;

use super::machine::fake::{Fake, Fuse};
use super::state::Store;
use super::token::OwnerToken;
use super::{Node, Place, reconcile};
use crate::api::ServerId;

/// A place as tests like it.
pub(crate) fn place() -> Place {
    Place {
        server_id: ServerId::generate(),
        server_name: "node-test".into(),
        domains: vec!["cowl.localhost".into(), "cowl.internal".into()],
        listen: ([127, 0, 0, 1], 8443).into(),
        network: "10.201.0.0/16".parse().unwrap(),
        owner_id: "0123456789abcdef01234567".into(),
        state_dir: "/nonexistent".into(),
        started_at: super::clock::now(),
        kernel: "6.18".into(),
        hints: Vec::new(),
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

    /// Ends a node without a word, then lets the power come back.
    pub async fn crash(&mut self, node: Arc<Node>) {
        self.machine.fuse.set(0);
        node.shutdown.cancel();
        node.tasks.close();
        node.tasks.wait().await;
        self.machine.fuse = Fuse::default();
    }
}
