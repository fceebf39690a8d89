//! Random changes of a real disk, before and after snapshots and a restore: every diff of every two
//! moments leads from one merged tree to the other.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::Stage;
use super::model::{Model, explains};

/// One to three short names: few enough that operations meet.
fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-d]", 1..4).prop_map(|names| names.join("/"))
}

fn operation() -> impl Strategy<Value = String> {
    let word = "[xy]{1,3}";
    prop_oneof![
        3 => (path(), word).prop_map(|(p, w)| format!("[ -p {p} ] || echo {w} > {p}")),
        2 => (path(), word).prop_map(|(p, w)| format!("[ -p {p} ] || echo {w} >> {p}")),
        2 => (path(), word).prop_map(|(p, w)| format!("echo {w} > t && mv -T t {p} || rm -f t")),
        2 => path().prop_map(|p| format!("mkdir -p {p}")),
        2 => path().prop_map(|p| format!("rm -rf {p}")),
        6 => (path(), path()).prop_map(|(a, b)| format!("mv -T {a} {b}")),
        2 => (path(), path()).prop_map(|(a, b)| format!("mv {a} {b}")),
        2 => (path(), path()).prop_map(|(a, b)| format!("ln -T {a} {b}")),
        1 => (path(), path()).prop_map(|(a, b)| format!("ln -sfT {a} {b}")),
        1 => (path(), path()).prop_map(|(a, b)| format!("cp -a --remove-destination {a} {b}")),
        1 => path().prop_map(|p| format!("chmod 700 {p}")),
        1 => path().prop_map(|p| format!("chmod 755 {p}")),
        1 => path().prop_map(|p| format!("chown -h 5:6 {p}")),
        1 => path().prop_map(|p| format!("touch -c -d @77 {p}")),
        1 => path().prop_map(|p| format!("mkfifo {p}")),
        1 => path().prop_map(|p| format!("mknod {p} c 1 3")),
        1 => path().prop_map(|p| format!("rm -rf {p}; mkdir {p} && echo q > {p}/a")),
        1 => path().prop_map(|p| format!("truncate -s 9000 {p}")),
    ]
}

/// What is done in the root and in `/usr` between two moments; what is not possible is passed over.
fn changes() -> impl Strategy<Value = [String; 2]> {
    let script = || {
        proptest::collection::vec(operation(), 0..14)
            .prop_map(|all| all.iter().map(|o| format!("{{ {o}; }} 2>/dev/null || :\n")).collect::<String>())
    };
    [script(), script()]
}

#[test]
fn a_diff_of_any_two_moments_leads_from_one_to_the_other() {
    let s = Stage::new();
    let image = s.scene.pool.image("rich").unwrap().unwrap().id;
    let strategy = (proptest::array::uniform4(changes()), any::<bool>());
    let config = ProptestConfig { cases: 16, max_shrink_iters: 60, failure_persistence: None, ..Default::default() };
    let stage = std::cell::RefCell::new(s);
    TestRunner::new(config)
        .run(&strategy, |(scripts, restores)| {
            let mut s = stage.borrow_mut();
            s.id = cowl_api::ContainerId::generate();
            s.scene.pool.create_disk(&s.id, &image).unwrap();
            let change = |n: usize| {
                s.sh(&scripts[n][0]);
                s.in_usr(&scripts[n][1]);
            };
            change(0);
            s.snapshot("one");
            change(1);
            s.snapshot("two");
            if restores {
                s.scene.pool.restore(&s.id, "one", "safety").unwrap();
            }
            change(2);
            s.snapshot("three");
            change(3);
            let models: Vec<(&str, Model)> = ["one", "two", "three", "now"]
                .into_iter()
                .map(|moment| {
                    let still = s.scene.pool.still(&s.place(moment)).unwrap();
                    (moment, Model::of(&s.scene.pool, still.path()))
                })
                .collect();
            for (from, before) in &models {
                for (to, after) in &models {
                    let told = s.diff(from, to);
                    let checked = explains(before, after, &told);
                    prop_assert!(checked.is_ok(), "{from} ↔ {to}: {}\n{told:#?}", checked.unwrap_err());
                }
            }
            s.scene.pool.delete_disk(&s.id).unwrap();
            Ok(())
        })
        .unwrap();
}
