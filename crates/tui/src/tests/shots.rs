//! Every screen at 120x40, 80x24 and 40x15 (Home also at 200x50), as text.

use super::fixtures::{container, image, status};
use super::scripted::{Node, snapshot};
use super::stage::Stage;
use cowl_api::ContainerState;
use cowl_api::server::{BuildProgress, ImageState};

pub const SIZES: [(u16, u16); 3] = [(120, 40), (80, 24), (40, 15)];

fn fleet() -> Node {
    let mut hello = container("hello", ContainerState::Running);
    hello.snapshot_count = 7;
    hello.last_snapshot_at = Some("2026-11-23T11:48:00Z".into());
    let mut dev = container("dev-environment", ContainerState::Running);
    dev.started_at = Some("2026-11-23T11:48:00Z".into());
    let node = Node::with(vec![
        hello,
        dev,
        container("staging", ContainerState::Stopped),
        container("build-7", ContainerState::Failed),
    ]);
    *node.snapshots.lock().unwrap() = vec![
        snapshot(Some("before-upgrade"), "2026-11-23T11:48:00Z", 1_258_291),
        snapshot(None, "2026-11-23T11:00:00Z", 314_572),
        snapshot(Some("golden"), "2026-11-22T12:00:00Z", 2_726_297),
    ];
    node
}

async fn with_figures(stage: &mut Stage) {
    let id: cowl_api::ContainerId = super::fixtures::id("hello");
    for cpu in [2, 30, 61, 95, 12] {
        stage.node.emit(
            "container.stats",
            serde_json::json!({"id": id, "cpu_percent": cpu, "memory": 40_000_000, "rx_bps": 1200, "tx_bps": 300, "tasks": 21}),
        );
    }
    stage.settle().await;
}

/// Takes the screen at every size after these keys.
async fn shots(name: &str, node: fn() -> Node, keys: &str) {
    for size in SIZES {
        let mut stage = Stage::open(node(), size).await;
        with_figures(&mut stage).await;
        if !keys.is_empty() {
            stage.press(keys).await;
        }
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), stage.screen());
    }
}

#[tokio::test]
async fn home() {
    shots("home", fleet, "down").await;
    let mut stage = Stage::open(fleet(), (200, 50)).await;
    with_figures(&mut stage).await;
    insta::assert_snapshot!("home_200x50", stage.screen());
}

#[tokio::test]
async fn the_create_form() {
    shots("create", fleet, "n").await;
}

#[tokio::test]
async fn the_create_form_with_a_bad_name() {
    shots("create_bad", fleet, "n a enter").await;
}

#[tokio::test]
async fn the_actions_menu() {
    shots("actions", fleet, "down down down x").await;
}

#[tokio::test]
async fn deleting_asks_for_the_name() {
    shots("delete", fleet, "x d h e l").await;
}

#[tokio::test]
async fn the_river_of_snapshots() {
    shots("snapshots", fleet, "down down r").await;
}

#[tokio::test]
async fn restoring_asks_in_one_line() {
    shots("restore", fleet, "down down r r").await;
}

#[tokio::test]
async fn files_of_a_container() {
    shots("files", fleet, "down down f enter").await;
}

#[tokio::test]
async fn the_beginning_of_a_file() {
    shots("preview", fleet, "down down f enter down down enter").await;
}

#[tokio::test]
async fn help() {
    shots("help", fleet, "?").await;
}

#[tokio::test]
async fn the_palette() {
    shots("palette", fleet, ": s n a p").await;
}

#[tokio::test]
async fn the_projects() {
    shots("projects", fleet, "p").await;
}

#[tokio::test]
async fn the_filter() {
    shots("filter", fleet, "/ d e v").await;
}

#[tokio::test]
async fn an_empty_list() {
    shots("empty", || Node::with(Vec::new()), "").await;
}

#[tokio::test]
async fn the_first_run() {
    fn building() -> Node {
        let node = Node::with(Vec::new());
        let mut image = image(ImageState::Building);
        image.progress = Some(BuildProgress {
            step: "downloading packages".into(),
            percent: 47.0,
            detail: "31 of 66 MB".into(),
            elapsed_s: 12.0,
            remaining_s: Some(21.4),
        });
        *node.status.lock().unwrap() = status(image);
        node
    }
    shots("first_run", building, "").await;
}

#[tokio::test]
async fn an_image_that_failed() {
    fn failed() -> Node {
        let node = Node::with(Vec::new());
        let mut image = image(ImageState::Failed);
        image.error = Some("mmdebstrap: cannot reach deb.debian.org: Temporary failure in name resolution".into());
        image.log = Some("/var/lib/cowl/logs/image.log".into());
        *node.status.lock().unwrap() = status(image);
        node
    }
    shots("image_failed", failed, "").await;
}

#[tokio::test]
async fn a_lost_node() {
    for size in SIZES {
        let mut stage = Stage::open(fleet(), size).await;
        stage.node.vanish();
        stage.settle().await;
        insta::assert_snapshot!(format!("lost_{}x{}", size.0, size.1), stage.screen());
    }
}

#[tokio::test]
async fn terminals_beside_each_other() {
    for size in SIZES {
        let mut stage = Stage::open(fleet(), size).await;
        stage.press("down down enter").await;
        stage.shell(0, |s| s.print("root@hello:~# uname -s\r\nLinux\r\nroot@hello:~# \x1b]2;bash\x07"));
        stage.settle().await;
        stage.press("ctrl-space |").await;
        stage.shell(1, |s| s.print("漢字 \x1b[7mhtop\x1b[m"));
        stage.settle().await;
        insta::assert_snapshot!(format!("terminals_{}x{}", size.0, size.1), stage.screen());
        stage.press("ctrl-space").await;
        insta::assert_snapshot!(format!("leader_{}x{}", size.0, size.1), stage.screen());
    }
}

#[tokio::test]
async fn a_screen_that_is_too_small() {
    let stage = Stage::open(fleet(), (39, 9)).await;
    insta::assert_snapshot!("too_small", stage.screen());
}
