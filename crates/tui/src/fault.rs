//! A panic on demand, for the stories that look at what one leaves of the terminal. Debug builds
//! only: no other has this module.

use std::sync::LazyLock;

/// Where to panic: `draw` as soon as help is drawn, `task` in the task that asks for snapshots.
static PLACE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("COWL_TEST_PANIC").ok());

/// Panics when this place was asked for.
pub fn strike(place: &str) {
    assert!(PLACE.as_deref() != Some(place), "asked to panic by COWL_TEST_PANIC={place}");
}
