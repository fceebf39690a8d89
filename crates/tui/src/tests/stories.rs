//! What a person does, told key by key.

use super::fixtures::{container, id, image, status};
use super::scripted::{Node, snapshot};
use super::stage::Stage;
use crate::app::Link;
use crate::backend::TermOutput;
use crate::runtime::Aside;
use cowl_api::server::ImageState;
use cowl_api::{ContainerId, ContainerState};

fn two() -> Node {
    Node::with(vec![container("hello", ContainerState::Running), container("staging", ContainerState::Stopped)])
}

fn hello() -> ContainerId {
    id("hello")
}

fn changes(stage: &Stage) -> Vec<String> {
    stage.node.asked().into_iter().filter(|c| !c.starts_with("events") && !c.starts_with("list")).collect()
}

#[tokio::test]
async fn a_container_is_created_only_once_its_name_is_right() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("n").await;
    stage.type_text("he").await;
    assert!(stage.screen().contains("3 to 100"), "{}", stage.screen());
    stage.press("enter").await;
    stage.type_text("llo").await;
    assert!(stage.screen().contains("is taken"), "{}", stage.screen());
    stage.press("enter").await;
    assert!(changes(&stage).is_empty());
    stage.type_text("-2").await;
    stage.press("enter").await;
    assert_eq!(changes(&stage), [format!("create hello-2 from debian/13 on {}", id::<cowl_api::ServerId>("server"))]);
    assert!(stage.screen().contains("hello-2 is being made"), "{}", stage.screen());
}

#[tokio::test]
async fn a_refusal_of_the_node_is_told_and_stays_until_read() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    *stage.node.refuse.lock().unwrap() = Some("the pool is full".into());
    stage.press("s enter").await;
    assert!(stage.screen().contains("taking a snapshot of hello: the pool is full"), "{}", stage.screen());
    stage.press("down").await;
    assert!(stage.screen().contains("the pool is full"));
    stage.press("esc").await;
    assert!(!stage.screen().contains("the pool is full"));
}

#[tokio::test]
async fn restoring_takes_three_keys_and_any_other_third_one_does_nothing() {
    let node = two();
    *node.snapshots.lock().unwrap() =
        vec![snapshot(Some("older"), "2026-11-22T10:00:00Z", 0), snapshot(Some("newest"), "2026-11-23T10:00:00Z", 0)];
    let mut stage = Stage::open(node, (80, 24)).await;
    stage.press("r r enter").await;
    assert!(changes(&stage).is_empty());
    stage.press("r y").await;
    assert_eq!(changes(&stage), [format!("restore {} snap-2026-11-23-10-00-00", hello())]);
    assert!(stage.screen().contains("u undoes it"), "{}", stage.screen());
}

#[tokio::test]
async fn deleting_needs_the_whole_name_and_enter_alone_does_nothing() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("x d enter h e l l enter").await;
    assert!(changes(&stage).is_empty());
    stage.press("o enter").await;
    assert_eq!(changes(&stage), [format!("delete {}", hello())]);
    assert!(!stage.screen().contains("10.201.0.5"), "{}", stage.screen());
}

#[tokio::test]
async fn what_is_deleted_takes_its_terminals_along_and_is_told_by_name() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("enter ctrl-space d x d h e l l o enter").await;
    assert!(stage.core.app.terminals.panes.is_empty() && stage.core.app.terminals.tabs.is_empty());
    assert!(stage.screen().contains("hello is deleted"), "{}", stage.screen());
}

#[tokio::test]
async fn a_batch_is_deleted_only_by_its_number() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("space space x d 1 enter").await;
    assert!(changes(&stage).is_empty());
    stage.press("backspace 2 enter").await;
    assert_eq!(changes(&stage).len(), 2);
}

#[tokio::test]
async fn operations_run_from_the_actions_menu() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("x t").await;
    stage.press("down x s").await;
    assert_eq!(changes(&stage), [format!("stop {}", hello()), format!("start {}", id::<ContainerId>("staging"))]);
}

#[tokio::test]
async fn a_stopped_container_offers_to_start() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("down enter").await;
    assert!(stage.screen().contains("staging is stopped. Start it?"), "{}", stage.screen());
    stage.press("y").await;
    assert_eq!(changes(&stage), [format!("start {}", id::<ContainerId>("staging"))]);
}

#[tokio::test]
async fn a_container_is_put_to_sleep_by_a_key_and_one_that_sleeps_opens_without_a_question() {
    let node = two();
    let mut stage = Stage::open(node, (80, 24)).await;
    stage.press("x z").await;
    assert_eq!(changes(&stage), [format!("sleep {}", hello())]);
    let node = two();
    node.containers.lock().unwrap().iter_mut().for_each(|c| c.status = ContainerState::Asleep);
    let mut stage = Stage::open(node, (80, 24)).await;
    stage.press("enter").await;
    assert_eq!(stage.node.shells.lock().unwrap().len(), 1, "{}", stage.screen());
}

#[tokio::test]
async fn files_are_listed_where_the_container_is() {
    let node = two();
    *node.snapshots.lock().unwrap() = vec![snapshot(Some("one"), "2026-11-22T10:00:00Z", 0)];
    let mut stage = Stage::open(node, (80, 24)).await;
    stage.press("f enter").await;
    assert!(stage.screen().contains("hostname"), "{}", stage.screen());
    assert!(!stage.screen().contains('\u{202e}') && !stage.screen().contains('\u{1b}'));
    stage.press("esc esc down f esc up S down f").await;
    let lists: Vec<String> = stage.node.asked().into_iter().filter(|c| c.starts_with("list")).collect();
    let of = |i: usize| lists[i].split('(').next().unwrap().to_owned();
    assert_eq!(
        (of(0), of(3), of(4)),
        ("list Running".into(), "list Stopped".into(), "list Snapshot".into()),
        "{lists:?}"
    );
}

#[tokio::test]
async fn a_terminal_takes_every_key_but_the_leader_and_is_found_again() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("enter q : ctrl-c esc").await;
    assert_eq!(stage.shell(0, |s| s.typed()), b"q:\x03\x1b");
    stage.press("ctrl-space ctrl-space f12 f12").await;
    assert_eq!(stage.shell(0, |s| s.typed()), b"\0\x1b[24~", "the leader twice types it");
    stage.shell(0, |s| s.print("still here"));
    stage.press("ctrl-space d").await;
    assert!(stage.screen().contains("NAME"), "{}", stage.screen());
    stage.press("enter").await;
    assert!(stage.screen().contains("still here"));
    assert_eq!(stage.node.shells.lock().unwrap().len(), 1, "it is the same session");
}

#[tokio::test]
async fn a_second_terminal_beside_gets_its_own_session_and_both_get_their_size() {
    let mut stage = Stage::open(two(), (81, 25)).await;
    stage.press("enter ctrl-space |").await;
    let (first, second) = (
        stage.shell(0, |s| {
            s.typed();
            (s.session.session, s.size.columns)
        }),
        stage.shell(1, |s| {
            s.typed();
            (s.session.session, s.size.columns)
        }),
    );
    assert_eq!((first, second), ((1, 40), (2, 40)));
    stage.press("a ctrl-space h b").await;
    assert_eq!((stage.shell(0, |s| s.typed()), stage.shell(1, |s| s.typed())), (b"b".to_vec(), b"a".to_vec()));
    stage.press("ctrl-space z").await;
    stage.shell(0, |s| {
        s.typed();
        assert_eq!(s.size.columns, 81);
    });
}

#[tokio::test]
async fn no_key_is_lost_when_the_connection_is_slow() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("enter").await;
    let text = "0123456789".repeat(30);
    stage.type_text(&text).await;
    let mut got = stage.shell(0, |s| s.typed());
    stage.core.apply(crate::app::Action::Timer(crate::app::Timer::Flush));
    got.extend(stage.shell(0, |s| s.typed()));
    assert_eq!(String::from_utf8(got).unwrap(), text);
}

#[tokio::test]
async fn what_is_typed_while_a_terminal_is_being_attached_arrives() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    for key in ["enter", "l", "s", "enter"] {
        let event = crate::keymap::Key::parse(key).unwrap().event();
        stage.core.apply(crate::app::Action::Input(crossterm::event::Event::Key(event)));
    }
    stage.settle().await;
    assert_eq!(String::from_utf8(stage.shell(0, |s| s.typed())).unwrap(), "ls\r");
}

#[tokio::test]
async fn a_shell_that_ends_closes_its_pane_and_a_cut_one_waits_for_enter() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("enter").await;
    stage.shell(0, |s| s.output.try_send(TermOutput::Closed { clean: false, reason: "cut".into() }).unwrap());
    stage.settle().await;
    assert!(stage.screen().contains("not attached: cut"), "{}", stage.screen());
    stage.press("enter").await;
    assert_eq!(stage.node.shells.lock().unwrap().len(), 2);
    assert_eq!(stage.shell(1, |s| s.session.session), 1, "the same session");
    stage.shell(1, |s| s.output.try_send(TermOutput::Closed { clean: true, reason: String::new() }).unwrap());
    stage.settle().await;
    assert!(stage.screen().contains("the shell of hello:1 ended"), "{}", stage.screen());
}

#[tokio::test]
async fn questions_are_answered_but_not_those_of_a_replayed_past() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("enter").await;
    stage.shell(0, |s| s.print("\x1b[6n\x07\x1b]52;c;aGk=\x07"));
    stage.settle().await;
    assert_eq!(stage.shell(0, |s| s.typed()), b"");
    assert!(stage.asides.is_empty(), "{:?}", stage.asides);
    stage.after_replay();
    stage.shell(0, |s| s.print("\x1b[6n\x07\x1b]52;c;aGk=\x07"));
    stage.settle().await;
    assert_eq!(stage.shell(0, |s| s.typed()), b"\x1b[1;1R");
    assert_eq!(stage.asides, [Aside::Bell, Aside::Clipboard("aGk=".into())]);
}

#[tokio::test]
async fn scrolling_back_shows_what_went_by_and_ends_with_q() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("enter").await;
    let lines: String = (0..100).map(|i| format!("line {i}\r\n")).collect();
    stage.shell(0, |s| s.print(&lines));
    stage.settle().await;
    stage.press("ctrl-space [ g").await;
    assert!(stage.screen().contains("line 0 "), "{}", stage.screen());
    stage.press("q x").await;
    assert!(stage.screen().contains("line 99"));
    assert_eq!(stage.shell(0, |s| s.typed()), b"x");
}

#[tokio::test]
async fn a_lost_node_is_told_and_comes_back_by_itself_or_on_demand() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("enter").await;
    stage.node.vanish();
    stage.shell(0, |s| s.output.try_send(TermOutput::Closed { clean: false, reason: "cut".into() }).unwrap());
    stage.settle().await;
    assert!(matches!(stage.core.app.link, Link::Lost { .. }));
    assert!(stage.last_line().contains("reconnecting"), "{}", stage.screen());
    stage.press("ctrl-space d").await;
    assert!(stage.screen().contains("hello"), "the last screen stays");
    stage.node.lost.store(false, std::sync::atomic::Ordering::SeqCst);
    stage.press("ctrl-l").await;
    assert_eq!(stage.core.app.link, Link::Live);
    stage.press("enter").await;
    assert_eq!(stage.node.shells.lock().unwrap().len(), 2, "the terminal is attached again");
}

#[tokio::test]
async fn a_node_that_was_never_there_ends_the_cockpit() {
    let node = two();
    node.vanish();
    let stage = Stage::open(node, (80, 24)).await;
    let e = stage.core.app.end.flatten().unwrap();
    assert_eq!(crate::Error::from(e).exit_code(), 3);
}

#[tokio::test]
async fn a_failed_image_is_built_again_by_one_key() {
    let node = Node::with(Vec::new());
    *node.status.lock().unwrap() = status(image(ImageState::Failed));
    let mut stage = Stage::open(node, (80, 24)).await;
    stage.press("R").await;
    assert_eq!(changes(&stage), ["rebuild debian/13"]);
    stage.node.emit("image.progress", serde_json::json!({"image": "debian/13", "step": "unpacking", "percent": 50.0, "detail": "", "elapsed_s": 1.0, "remaining_s": null}));
    stage.settle().await;
    assert!(stage.screen().contains("unpacking"), "{}", stage.screen());
}

#[tokio::test]
async fn the_url_is_copied_and_shown() {
    let mut stage = Stage::open(two(), (200, 50)).await;
    stage.press("y").await;
    let Some(Aside::Clipboard(text)) = stage.asides.first() else { panic!("{:?}", stage.asides) };
    use base64::Engine;
    let url = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap();
    assert!(
        url.starts_with("https://") && url.ends_with("-terminal-1.node-fra-1.containers.cowl.localhost:8443"),
        "{url}"
    );
    assert!(stage.screen().contains(&format!("copied {url}")));
}

#[tokio::test]
async fn the_palette_runs_what_it_finds() {
    let mut stage = Stage::open(two(), (200, 40)).await;
    stage.press(":").await;
    stage.type_text("restart").await;
    stage.press("enter").await;
    assert_eq!(changes(&stage), [format!("restart {}", hello())]);
    stage.press("ctrl-p").await;
    stage.type_text("restart").await;
    stage.press("ctrl-y").await;
    assert!(
        stage.screen().contains(&format!("-X POST 'http://localhost/api/v1/containers/{}/restart'", hello())),
        "{}",
        stage.screen()
    );
}

#[tokio::test]
async fn q_leaves_and_asks_nothing() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("q").await;
    assert!(matches!(stage.core.app.end, Some(None)));
}

#[tokio::test]
async fn a_snapshot_may_have_a_name_and_a_bad_one_is_told() {
    let mut stage = Stage::open(two(), (80, 24)).await;
    stage.press("s").await;
    stage.type_text(".x").await;
    stage.press("enter").await;
    assert!(changes(&stage).is_empty());
    stage.press("ctrl-u").await;
    stage.type_text("before-upgrade").await;
    stage.press("enter").await;
    assert_eq!(changes(&stage), [format!("snapshot {} Some(\"before-upgrade\")", hello())]);
}
