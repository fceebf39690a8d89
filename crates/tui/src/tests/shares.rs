//! Shares, as a person meets them, and their screens at every size.

use super::fixtures::{container, id};
use super::scripted::{Node, share};
use super::shots::SIZES;
use super::stage::{Stage, noon};
use cowl_api::ContainerState;
use cowl_api::share::{CreateShare, ShareMode};

fn body(path: &str, target: Option<&str>, alias: Option<&str>) -> CreateShare {
    CreateShare {
        source_path: path.into(),
        target_container_id: target.map(id),
        target_project_id: target.is_none().then(|| id("default")),
        mode: ShareMode::Readonly,
        alias: alias.map(Into::into),
        label: None,
        description: Some("what everybody reads".into()),
        enabled: None,
        expires_at: None,
    }
}

fn two() -> Node {
    Node::with(vec![container("hello", ContainerState::Running), container("staging", ContainerState::Stopped)])
}

/// `hello` lends three directories and is lent one.
fn sharing() -> Node {
    let node = two();
    let mut soon = body("/srv/data", Some("staging"), Some("lent-data"));
    soon.mode = ShareMode::Readwrite;
    soon.expires_at = Some(u64::try_from(noon().as_second()).unwrap() + 7_200);
    let mut held = share(id("hello"), &body("/var/lib/held", Some("staging"), None));
    held.share.enabled = false;
    let mut broken = share(id("hello"), &body("/srv/library", None, Some("library")));
    broken.share.status = "failed".into();
    broken.share.status_message = Some("open /srv/library: No such file or directory".into());
    let offered = share(id("staging"), &body("/home/user/site", Some("hello"), Some("site")));
    *node.shares.lock().unwrap() = vec![share(id("hello"), &soon), held, broken, offered];
    node
}

fn changes(stage: &Stage) -> Vec<String> {
    stage.node.asked().into_iter().filter(|c| !c.starts_with("events")).collect()
}

async fn shots(name: &str, node: fn() -> Node, keys: &str) {
    for size in SIZES {
        let mut stage = Stage::open(node(), size).await;
        if !keys.is_empty() {
            stage.press(keys).await;
        }
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), stage.screen());
    }
}

#[tokio::test]
async fn the_detail_of_a_container_tells_its_shares() {
    shots("shares_detail", sharing, "").await;
}

#[tokio::test]
async fn the_list_of_shares() {
    shots("shares", sharing, "h down down").await;
}

#[tokio::test]
async fn no_shares() {
    shots("shares_none", two, "h").await;
}

#[tokio::test]
async fn the_form_for_a_share() {
    shots("share_form", two, "h n / s r v tab").await;
}

#[tokio::test]
async fn the_form_for_a_share_that_cannot_be() {
    shots("share_form_bad", two, "h n / p r o c enter").await;
}

#[tokio::test]
async fn taking_a_share_away_asks_for_its_name() {
    shots("share_delete", sharing, "h x d l e n t").await;
}

#[tokio::test]
async fn a_share_is_made_changed_and_taken_away_by_keys() {
    let mut stage = Stage::open(two(), (100, 24)).await;
    stage.press("h n").await;
    stage.type_text("srv").await;
    assert!(stage.screen().contains("path must be an absolute path"), "{}", stage.screen());
    stage.press("enter ctrl-u").await;
    stage.type_text("/srv/data").await;
    stage.press("tab tab right tab").await;
    stage.type_text("lent").await;
    stage.press("tab").await;
    stage.type_text("2d").await;
    assert!(stage.screen().contains("staging will see it at /hoody/shares/lent once"), "{}", stage.screen());
    stage.press("enter").await;
    let end = noon().as_second() + 172_800;
    assert_eq!(changes(&stage), [format!("share /srv/data Readwrite Some({end})")]);
    assert!(stage.screen().contains("→ staging") && stage.screen().contains("read-write"), "{}", stage.screen());

    stage.press("w e").await;
    assert_eq!(changes(&stage)[1..], ["update share Some(Readonly) None", "update share None Some(false)"]);
    assert!(stage.screen().contains("held back"), "{}", stage.screen());
    // The source does not accept for others.
    stage.press("a x d enter").await;
    stage.type_text("len").await;
    stage.press("enter").await;
    assert_eq!(changes(&stage).len(), 3, "neither Enter nor half a name");
    stage.press("t enter").await;
    assert!(changes(&stage)[3].starts_with("delete share"), "{:?}", changes(&stage));
    assert!(stage.screen().contains("nothing is shared"), "{}", stage.screen());
}

#[tokio::test]
async fn what_is_offered_is_accepted_or_refused_but_not_changed() {
    let mut stage = Stage::open(sharing(), (100, 24)).await;
    stage.press("h end w x d").await;
    assert!(changes(&stage).is_empty() && stage.screen().contains("refuse it"), "{}", stage.screen());
    assert!(stage.screen().contains("offered"));
    stage.press("a").await;
    assert!(stage.screen().contains("accepted"), "{}", stage.screen());
    stage.press("x r").await;
    assert_eq!(changes(&stage), ["mount share true", "mount share false"]);
}

#[tokio::test]
async fn what_others_change_is_seen_after_its_event() {
    let mut stage = Stage::open(two(), (100, 24)).await;
    assert!(!stage.screen().contains("/srv/new"));
    stage.node.shares.lock().unwrap().push(share(id("staging"), &body("/srv/new", Some("hello"), None)));
    stage.node.emit("storage.share.created", serde_json::json!({}));
    stage.settle().await;
    assert!(stage.screen().contains("← staging  /srv/new  read-only  offered"), "{}", stage.screen());
    // The palette reaches it from anywhere; without a choice it opens the list.
    stage.press(":").await;
    stage.type_text("accept a share").await;
    stage.press("enter").await;
    assert!(stage.screen().contains("choose a share first"), "{}", stage.screen());
}
