//! How commands end: what a required verdict makes of the exit code, and ends as JSON for programs that started the command.
//! Knows the command line; signals have a file of their own.

use serde_json::Value;

use crate::eval::{RECORDED, eval, recorded, results, scene, verdict};
use crate::util::{Done, Scene, trainer};

/// The object that stands on the last line of stderr.
#[track_caller]
fn told(done: &Done) -> Value {
    let last = done.stderr.lines().last().unwrap_or_default();
    let told: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}", done.stderr));
    let keys: Vec<&String> = told["error"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "hint", "exit_code"]);
    assert_eq!(told["error"]["exit_code"].as_i64(), done.code.map(i64::from));
    told["error"].clone()
}

#[test]
fn an_error_is_json_where_json_was_asked_for() {
    let scene = Scene::new();
    let absent = scene.text("absent.jsonl");
    let words = ["show", &absent];
    let plain = scene.run(&words).refused(&["absent.jsonl"]);
    let done = scene.run(&[&words[..], &["--json"]].concat());
    assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{}", done.stderr);
    let error = told(&done);
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    assert!(message.contains("absent.jsonl") && !message.contains("hint: "), "{error}");
    // The same words, in two parts.
    assert_eq!(plain.stderr, format!("error: {message}\nhint: {hint}\n"));
}

#[test]
fn a_word_that_is_not_understood_is_json_too() {
    for words in [&["fit", "--json"][..], &["fitt", "--json"], &["eval", "a.toml", "--limit", "0", "--json"]] {
        let done = trainer(words);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{words:?}: {}", done.stderr);
        let error = told(&done);
        assert!(!error["message"].as_str().unwrap().starts_with("error: "), "{error}");
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
}

#[test]
fn a_verdict_decides_the_exit_code_where_it_is_required() {
    type IsRight = fn(usize) -> bool;
    let cases: [(IsRight, IsRight, &str, usize); 4] = [
        (|_| true, |number| number % 4 == 0, "REPLACE_BETTER", 4),
        (|_| true, |_| true, "REPLACE", 3),
        (|number| number % 8 != 0, |_| true, "INSUFFICIENT", 2),
        (|number| number % 4 == 0, |_| true, "KEEP_FRONTIER", 1),
    ];
    // From the bar that every verdict reaches to the one that only the best does.
    let bars = ["KEEP_FRONTIER", "INSUFFICIENT", "replace", "REPLACE_BETTER"];
    for (candidate, frontier, answer, reached) in cases {
        let scene = recorded(candidate, frontier);
        for (at, bar) in bars.into_iter().enumerate() {
            let done = eval(&scene, &["--require", bar]);
            assert_eq!(verdict(&results(&scene)), answer);
            if at < reached {
                done.good();
                continue;
            }
            assert_eq!(done.code, Some(1), "{bar} of {answer}: {}", done.stderr);
            let bar = bar.to_uppercase();
            let line = format!("--require {bar} is missed: {answer}: ");
            assert!(done.stderr.lines().any(|told| told.starts_with(&line)), "{line}\n{}", done.stderr);
        }
    }
}

#[test]
fn an_exploratory_verdict_meets_no_bar() {
    let scene = recorded(|_| true, |_| true);
    eval(&scene, &["--require", "REPLACE"]).good();
    for bar in ["KEEP_FRONTIER", "REPLACE"] {
        let done = eval(&scene, &["--require", bar, "--set", "decision.margin=0.2"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        let line = format!("--require {bar} is missed: an exploratory verdict is no verdict: REPLACE: ");
        let told = done.stderr.lines().find(|told| told.starts_with(&line));
        assert!(told.is_some_and(|told| told.ends_with("margin changed after the first output")), "{}", done.stderr);
        assert_eq!(verdict(&results(&scene)), "REPLACE");
        let junit = std::fs::read_to_string(scene.path("run/eval/junit.xml")).unwrap();
        assert!(junit.contains("<testcase name=\"verdict\"") && junit.contains("exploratory"), "{junit}");
    }
    // Other rows held out by the split are another decision too, of the same files.
    let fewer = eval(&scene, &["--require", "REPLACE", "--set", "data.limit_test=39", "--set", "decision.n_max=40"]);
    assert_eq!(fewer.code, Some(1), "{}", fewer.stderr);
    assert!(fewer.stderr.contains("held_out_sha256"), "{}", fewer.stderr);
    eval(&scene, &["--require", "REPLACE"]).good();
}

#[test]
fn a_missed_verdict_and_a_missed_bar_are_told_together() {
    let scene = recorded(|number| number % 4 == 0, |_| true);
    let done = eval(&scene, &["--require", "REPLACE", "--fail-under", "exact_match=0.9", "--json"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert_eq!(done.json()["decided"]["verdict"]["answer"], "KEEP_FRONTIER");
    let error = told(&done);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("exact_match is 0.25") && message.contains("--require REPLACE is missed"), "{error}");
}

#[test]
fn a_verdict_that_cannot_come_is_refused_before_anything_is_asked() {
    let scene = recorded(|_| true, |_| true);
    let refused = |more: &[&str], told: &[&str]| {
        eval(&scene, &[&["--require", "REPLACE"], more].concat()).refused(told);
        assert!(!scene.path("run/eval").exists() && !scene.path("run/decisions").exists(), "{more:?}");
    };
    refused(&["--limit", "7"], &["needs all 40 held-out rows", "--limit"]);
    refused(&["--arm", "candidate"], &["no arm is asked that \"candidate\" may replace"]);
    refused(&["--arm", "frontier"], &["the candidate \"candidate\" is not asked"]);
    let unknown = eval(&scene, &["--require", "MAYBE"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("hint: write one of REPLACE_BETTER, REPLACE"), "{}", unknown.stderr);

    let (arms, _) = RECORDED.split_once("[decision]").unwrap();
    let undecided = scene_without_decision(arms);
    eval(&undecided, &["--require", "REPLACE"])
        .refused(&["does not say decision.margin", "candidate, baseline and margin"]);
    // A section without a margin leaves it to a default.
    let set = ["--set", "decision.candidate=candidate", "--require", "REPLACE"];
    eval(&undecided, &set).refused(&["does not say decision.margin"]);
    // What overrides a config may decide.
    let decided = ["--set", "decision.candidate=candidate", "--set", "decision.margin=0.1", "--require", "REPLACE"];
    eval(&undecided, &decided).good();
}

fn scene_without_decision(arms: &str) -> Scene {
    let scene = scene("", arms);
    for name in ["candidate.jsonl", "frontier.jsonl"] {
        scene.write(name, crate::eval::recording(|_| true));
    }
    scene
}
