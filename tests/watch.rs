//! The dashboard from outside: where it refuses, and what a run records for it.

use crate::util::{Scene, events, trainer};

#[test]
fn without_a_terminal_it_says_what_to_type() {
    trainer(&["watch"]).refused(&["needs a terminal", "trainer show RUN"]);
    trainer(&["watch", "no-such-run"]).refused(&["no-such-run: no such run", "trainer watch lists"]);
}

#[test]
fn an_evaluation_records_how_each_arm_stands_and_rows_to_read() {
    let scene = Scene::new();
    scene.run(&["fit", "configs/smoke.toml", "--plain", "--out", &scene.text("run")]).good();
    let events = events(&scene.path("run"));
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    let last = |arm: &str| *of("eval_arm").iter().rev().find(|event| event["arm"] == arm).unwrap();
    for arm in ["majority", "tfidf", "base", "tuned"] {
        assert_eq!((&last(arm)["finished"], &last(arm)["done"]), (&true.into(), &12.into()), "{arm}");
        let [low, score, high] = ["low", "score", "high"].map(|key| last(arm)[key].as_f64().unwrap());
        assert!(low <= score && score <= high, "{arm}: {low} {score} {high}");
    }
    let live = of("eval_arm").into_iter().filter(|event| event["arm"] == "tuned" && event["finished"] == false);
    assert!(
        live.into_iter().any(|event| event["scored"].as_u64().unwrap() > 0),
        "the score is told while rows come in"
    );
    let sample = of("sample").into_iter().find(|event| event["arm"] == "tuned").unwrap();
    assert!(["id", "prompt", "target"].iter().all(|key| !sample[key].as_str().unwrap().is_empty()), "{sample}");
    for flips in of("eval_flips") {
        let cells = ["both_right", "gains", "regressions", "both_wrong"].map(|key| flips[key].as_u64().unwrap());
        assert_eq!(cells.iter().sum::<u64>(), 12, "{flips}");
    }
    assert_eq!((of("eval_verdict").len(), of("eval_flips").len()), (1, 3));
}
