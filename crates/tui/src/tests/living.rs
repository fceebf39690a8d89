//! What idling costs, and that nothing a hand can do ends in a panic.

use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;

use super::fixtures::{container, id};
use super::scripted::{Node, snapshot};
use super::stage::Stage;
use crate::app::{Action, Timer};
use crate::backend::TermOutput;
use crate::screen::Frames;
use cowl_api::ContainerState;

fn node() -> Node {
    let node =
        Node::with(vec![container("hello", ContainerState::Running), container("staging", ContainerState::Stopped)]);
    *node.snapshots.lock().unwrap() = vec![snapshot(Some("one"), "2026-11-22T10:00:00Z", 5)];
    node
}

#[tokio::test]
async fn a_frame_that_looks_like_the_last_one_is_not_written() {
    let mut stage = Stage::open(node(), (120, 40)).await;
    let mut frames = Frames::default();
    let first = frames.frame(&stage.core.app, &[]).unwrap();
    assert!(first.starts_with(b"\x1b[?2026h") && first.ends_with(b"\x1b[?2026l"));
    assert!(frames.frame(&stage.core.app, &[]).unwrap().is_empty());
    let stats = serde_json::json!({"id": id::<cowl_api::ContainerId>("hello"), "cpu_percent": 0.0, "memory": 0});
    stage.node.emit("container.stats", stats);
    stage.settle().await;
    let live = frames.frame(&stage.core.app, &[]).unwrap();
    assert!(!live.is_empty() && live.len() <= 1_400, "{} bytes", live.len());
    stage.press("down").await;
    let moved = frames.frame(&stage.core.app, &[]).unwrap();
    assert!(!moved.is_empty() && moved.len() < 3_000, "{} bytes", moved.len());
}

#[tokio::test]
async fn figures_are_followed_only_while_they_are_seen() {
    let mut stage = Stage::open(node(), (80, 24)).await;
    stage.press("enter ctrl-space d").await;
    let watches: Vec<String> = stage.node.asked().into_iter().filter(|c| c.starts_with("events")).collect();
    assert_eq!(watches, ["events stats=true", "events stats=false", "events stats=true"]);
}

#[tokio::test]
async fn output_of_a_hidden_terminal_is_told_once_and_draws_nothing_more() {
    let mut stage = Stage::open(node(), (80, 24)).await;
    stage.press("enter ctrl-space d").await;
    stage.shell(0, |s| s.print("news"));
    stage.settle().await;
    stage.core.app.dirty = false;
    stage.shell(0, |s| s.print("more news"));
    stage.settle().await;
    assert!(!stage.core.app.dirty, "that there is news was told already");
}

/// Anything a keyboard, a window manager or a container can do.
#[derive(Debug, Clone)]
enum Deed {
    Key(KeyEvent),
    Resize(u16, u16),
    Paste(String),
    Output(Vec<u8>),
    Vanish,
    Return,
}

fn deed() -> impl Strategy<Value = Deed> {
    let code = prop_oneof![
        6 => any::<prop::sample::Index>().prop_map(|i| KeyCode::Char(*i.get(&"qwertyuiopasdfghjklzxcvbnmNSGRJKy/:?|-[]., ".chars().collect::<Vec<_>>()))),
        4 => prop::sample::select(vec![KeyCode::Enter, KeyCode::Esc, KeyCode::Up, KeyCode::Down, KeyCode::Tab, KeyCode::Backspace, KeyCode::PageDown, KeyCode::End, KeyCode::F(12), KeyCode::Left]),
    ];
    let modifiers =
        prop_oneof![5 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL), 1 => Just(KeyModifiers::ALT)];
    prop_oneof![
        12 => (code, modifiers).prop_map(|(c, m)| Deed::Key(KeyEvent::new(c, m))),
        2 => (0u16..130, 0u16..45).prop_map(|(w, h)| Deed::Resize(w, h)),
        1 => ".{0,10}".prop_map(Deed::Paste),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Deed::Output),
        1 => Just(Deed::Vanish),
        1 => Just(Deed::Return),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_hand_can_break_it(deeds in prop::collection::vec(deed(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut stage = Stage::open(node(), (80, 24)).await;
            let mut frames = Frames::default();
            for deed in deeds {
                match deed {
                    Deed::Key(key) => { stage.core.apply(Action::Input(Input::Key(key))); }
                    Deed::Resize(w, h) => { stage.core.apply(Action::Input(Input::Resize(w, h))); }
                    Deed::Paste(text) => { stage.core.apply(Action::Input(Input::Paste(text))); }
                    Deed::Output(bytes) => {
                        for shell in stage.node.shells.lock().unwrap().iter() {
                            let _ = shell.output.try_send(TermOutput::Bytes(bytes.clone()));
                        }
                    }
                    Deed::Vanish => stage.node.vanish(),
                    Deed::Return => {
                        stage.node.lost.store(false, std::sync::atomic::Ordering::SeqCst);
                        stage.core.apply(Action::Timer(Timer::Reconnect));
                    }
                }
                tokio::task::yield_now().await;
                while let Ok(action) = stage.core.actions.try_recv() {
                    stage.core.apply(action);
                }
                frames.frame(&stage.core.app, &[]).unwrap();
                assert!(!stage.core.app.views.is_empty());
            }
        });
    }
}
