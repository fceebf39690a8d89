//! One node for all stories that do not hurt it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Node, Plan};

enum Shared {
    Unused,
    Serving(Arc<Node>),
    /// Its start failed; every story that needs it fails at once.
    Broken,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared::Unused);

/// The shared node, started by the first who asks.
#[track_caller]
pub fn node() -> Arc<Node> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Shared::Unused = *shared {
        *shared = match catch_unwind(AssertUnwindSafe(|| Plan::new("shared").start())) {
            Ok(node) => Shared::Serving(Arc::new(node)),
            Err(_) => Shared::Broken,
        };
    }
    match &*shared {
        Shared::Serving(node) => Arc::clone(node),
        _ => panic!("the shared node did not start"),
    }
}

/// Ends the shared node; called when all stories are told.
pub fn finish() {
    *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = Shared::Broken;
}
