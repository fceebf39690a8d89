//! Facts of snapshots, undo, and deletions that can be taken back.

use super::*;

#[tokio::test]
async fn a_snapshot_tells_who_why_and_what_for() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let id = c.running(&c.project("demo").await, "web").await;
    let path = format!("/api/v1/containers/{id}/snapshots");
    let taken = json!({ "alias": "a", "note": "before the upgrade", "pinned": true });
    let (status, data) = c.send("POST", &path, taken).await;
    let s = &data["snapshot"];
    assert_eq!((status, &s["created_by"], &s["kind"]), (201, &json!("root"), &json!("user")), "{data}");
    assert_eq!((&s["note"], &s["pinned"]), (&json!("before the upgrade"), &json!(true)));
    for (field, body) in [
        ("/note", json!({ "note": "a\u{7}" })),
        ("/note", json!({ "note": "x".repeat(1001) })),
        ("/note", json!({ "note": 7 })),
        ("/pinned", json!({ "pinned": "yes" })),
        ("/replace", json!({ "replace": 1 })),
        ("/alias", json!({ "alias": "a/b" })),
        ("/alias", json!({ "alias": ".a" })),
        ("/alias", json!({ "alias": "x".repeat(101) })),
    ] {
        let (status, said) = c.send("POST", &path, body).await;
        assert_eq!((status, &said["data"][0]["instancePath"]), (400, &json!(field)), "{said}");
    }
    assert_eq!(c.send("POST", &path, json!({ "alias": "a" })).await.0, 409);
    let (status, data) = c.send("POST", &path, json!({ "alias": "a", "replace": true })).await;
    assert_eq!((status, &data["snapshot"]["alias"]), (201, &json!("a")));
    let list = c.get(&path).await;
    assert_eq!(list["snapshots"][1]["alias"], Value::Null, "the older one stays without alias");

    // What is pinned goes only by force.
    let pinned = format!("{path}/{}", list["snapshots"][1]["name"].as_str().unwrap());
    let (status, said) = c.send("DELETE", &pinned, None).await;
    assert!(status == 409 && said["message"].as_str().unwrap().contains("pinned"), "{said}");
    for (fact, good, bad) in [
        ("note", json!({ "note": null }), json!({})),
        ("pin", json!({ "pinned": true }), json!({})),
        ("expiry", json!({ "expiry": 7 }), json!({ "expiry": 0 })),
    ] {
        assert_eq!(c.send("PATCH", &format!("{pinned}/{fact}"), good).await.0, 200, "{fact}");
        assert_eq!(c.send("PUT", &format!("{pinned}/{fact}"), bad).await.0, 400, "{fact}");
        assert_eq!(
            c.send("PUT", &format!("{path}/nope/{fact}"), json!({ "pinned": true, "note": null, "expiry": null }))
                .await
                .0,
            404
        );
    }
    assert_eq!(c.send("DELETE", &format!("{pinned}?force=true"), None).await.0, 200);
}

#[tokio::test]
async fn no_more_snapshots_than_the_settings_allow() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let id = c.running(&c.project("demo").await, "web").await;
    let container = format!("/api/v1/containers/{id}");
    c.send("PATCH", &container, json!({ "settings": { "max_snapshots": 1 } })).await;
    let path = format!("{container}/snapshots");
    assert_eq!(c.send("POST", &path, json!({ "alias": "one" })).await.0, 201);
    let (status, said) = c.send("POST", &path, None).await;
    assert!(status == 409 && said["message"].as_str().unwrap().contains("1 of at most 1"), "{said}");
    assert_eq!(c.get(&path).await["max_snapshots"], 1);
    // What a restore replaces is kept all the same.
    assert_eq!(c.send("PUT", &format!("{path}/one"), None).await.0, 200);
    assert_eq!(c.send("POST", &format!("{path}/undo"), None).await.0, 200);
}

#[tokio::test]
async fn an_undo_is_refused_in_words_and_a_snapshot_may_be_called_so() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let id = c.running(&c.project("demo").await, "web").await;
    let path = format!("/api/v1/containers/{id}/snapshots");
    let (status, said) = c.send("POST", &format!("{path}/undo"), None).await;
    assert!(status == 409 && said["message"].as_str().unwrap().contains("nothing to undo"), "{said}");
    c.send("POST", &path, json!({ "alias": "undo" })).await;
    let (status, data) = c.send("PUT", &format!("{path}/undo"), None).await;
    assert_eq!((status, &data["snapshot"]["alias"]), (200, &json!("undo")), "{data}");
    let safety = data["safety_snapshot"].clone();
    let (status, data) = c.send("POST", &format!("{path}/undo"), None).await;
    assert_eq!((status, &data["snapshot"]["name"]), (200, &safety), "{data}");
    assert_eq!(c.send("POST", &format!("{path}/other"), None).await.0, 405);
}

#[tokio::test]
async fn a_deleted_container_is_in_no_list_but_its_own() {
    let b = TestBox::new();
    let c = Client::of(&b).await;
    let project = c.project("demo").await;
    let id = c.running(&project, "web").await;
    let path = format!("/api/v1/containers/{id}");
    c.send("PATCH", &path, json!({ "settings": { "undelete_hours": 1 } })).await;
    let (status, data) = c.send("DELETE", &path, None).await;
    assert!(status == 200 && data["purge_at"].is_string(), "{data}");
    assert_eq!(c.send("GET", &path, None).await.0, 404);
    assert_eq!(c.send("PATCH", &path, json!({ "name": "other" })).await.0, 404);
    let total = async |query: &str| c.get(&format!("/api/v1/containers/{query}")).await["pagination"]["total"].clone();
    assert_eq!((total("").await, total("?deleted=true").await), (json!(0), json!(1)));
    let shown = c.get(&format!("{path}?deleted=true")).await;
    assert_eq!((&shown["status"], &shown["name"]), (&json!("deleted"), &json!("web")), "{shown}");
    assert!(shown["deleted_at"].is_string() && shown["address"].is_null());
    assert_eq!(c.send("POST", &format!("{path}/undelete"), json!({ "name": "x" })).await.0, 400);
    let (status, back) = c.send("POST", &format!("{path}/undelete"), None).await;
    assert_eq!((status, &back["status"]), (200, &json!("running")), "{back}");
    assert_eq!(c.send("POST", &format!("{path}/undelete"), None).await.0, 409);
    assert_eq!(c.send("DELETE", &format!("{path}?purge=true"), None).await.1, json!({ "id": id, "status": "deleted" }));
    assert_eq!(c.send("GET", &format!("{path}?deleted=true"), None).await.0, 404);
}
