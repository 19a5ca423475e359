//! What is claimed and who can check it: the four verdicts, the decision that was registered before them, `verify` and `compare`.
//! Knows recorded answers only, so that every verdict is known beforehand.

use std::fs;

use serde_json::{Value, json};

use crate::eval::{HELD_OUT, answer, eval, recorded, recording, results, verdict};
use crate::util::{Done, Scene};

/// Asserts that a check found something, and that it names these parts.
#[track_caller]
fn found(done: &Done, parts: &[&str]) {
    assert_eq!(done.code, Some(1), "stdout:\n{}\nstderr:\n{}", done.stdout, done.stderr);
    for part in parts {
        assert!(done.stdout.contains(part), "`{part}` is not in:\n{}\n{}", done.stdout, done.stderr);
    }
}

/// What was registered for the baseline of a scene.
#[track_caller]
fn registered(scene: &Scene) -> Value {
    serde_json::from_slice(&fs::read(scene.path("run/decisions/frontier.json")).unwrap()).unwrap()
}

fn verify(scene: &Scene, file: &str, more: &[&str]) -> Done {
    let file = scene.text(file);
    scene.run(&[&["verify", &file], more].concat())
}

#[test]
fn the_four_verdicts_follow_from_the_answers() {
    type IsRight = fn(usize) -> bool;
    let cases: [(IsRight, IsRight, &str, &str); 4] = [
        (|_| true, |_| true, "REPLACE", "candidate is not worse than frontier by more than 10.0 points"),
        (|_| true, |number| number % 4 == 0, "REPLACE_BETTER", "candidate is better than frontier"),
        (|number| number % 4 == 0, |_| true, "KEEP_FRONTIER", "frontier stays"),
        (|number| number % 8 != 0, |_| true, "INSUFFICIENT", "nothing is proven about candidate against frontier"),
    ];
    for (candidate, frontier, expected, told) in cases {
        let scene = recorded(candidate, frontier);
        // Whatever the answer, the evaluation did what was asked of it.
        let done = eval(&scene, &[]).good();
        assert_eq!(verdict(&results(&scene)), expected);
        let sentence = format!("{expected}: {told}");
        assert!(done.stdout.contains(&sentence), "{sentence} is not in:\n{}", done.stdout);
        let page = fs::read_to_string(scene.path("run/eval/report.html")).unwrap();
        assert!(page.contains(expected) && page.contains(told), "{expected}");
        verify(&scene, "run/eval/proof.json", &[]).good();
    }
}

#[test]
fn a_guardrail_can_keep_a_model_that_is_as_good() {
    let scene = recorded(|_| true, |_| true);
    let slow = |number: usize| json!({"id": format!("row-{number}"), "text": answer(number), "latency_secs": 3.0});
    scene.write("candidate.jsonl", HELD_OUT.map(|number| format!("{}\n", slow(number))).collect::<String>());
    scene.edit_config("margin = 0.1", "margin = 0.1\n[[decision.guardrail]]\nkind = \"latency_p95\"\nlimit_secs = 2.0");
    let done = eval(&scene, &[]).good();
    assert_eq!(verdict(&results(&scene)), "KEEP_FRONTIER");
    assert!(done.stdout.contains("40 of 40 answers took longer than 2 s"), "{}", done.stdout);
    // A registered limit is not moved after the fact.
    eval(&scene, &["--set", "decision.margin=0.1", "--set", "decision.guardrail=[]"]).good();
    let results = results(&scene);
    assert_eq!(results["decided"]["verdict"]["standing"]["standing"], "exploratory");
}

#[test]
fn the_first_baseline_that_can_be_measured_is_the_one() {
    let scene = recorded(|_| true, |_| true);
    scene.edit_config("[decision]\n", "[[eval.arm]]\nname = \"majority\"\nprovider = \"majority\"\n[[eval.arm]]\nname = \"api\"\nprovider = \"openai\"\nmodel = \"m\"\n[decision]\n");
    scene.edit_config("[eval]\n", "[eval]\negress = \"public\"\n");
    scene.edit_config("baseline = [\"frontier\"]", "baseline = [\"api\", \"majority\"]");
    let done = eval(&scene, &[]).good();
    assert!(done.stdout.contains("api: not measured, set OPENAI_API_KEY"), "{}", done.stdout);
    let found = results(&scene);
    assert_eq!(found["decided"]["verdict"]["baseline"], "majority");
    assert_eq!(verdict(&found), "REPLACE_BETTER");
    assert!(scene.path("run/decisions/majority.json").is_file());
}

/// `check` and `eval` refuse a key of the decision in these words, before anything is registered or asked.
#[track_caller]
fn refused(key: &str, told: &[&str]) {
    let scene = recorded(|_| true, |_| true);
    scene.run(&["check", &scene.text("config.toml"), "--set", key]).refused(told);
    eval(&scene, &["--set", key]).refused(told);
    assert!(!scene.path("run/eval").exists() && !scene.path("run/decisions").exists(), "{key}");
}

#[test]
fn a_decision_about_arms_that_are_not_there_is_refused() {
    refused("decision.baseline=[\"fronteer\"]", &["\"fronteer\"", "candidate, frontier"]);
    refused("decision.candidate=candidte", &["\"candidte\"", "candidate, frontier"]);
    refused("decision.baseline=[\"candidate\"]", &["decision.baseline", "candidate"]);
}

#[test]
fn a_decision_that_can_decide_nothing_is_refused() {
    refused("decision.margin=0", &["decision.margin is 0"]);
    refused("decision.alpha=0.7", &["decision.alpha is 0.7"]);
    refused("decision.bin_edges=[3, 3]", &["decision.bin_edges"]);
    refused("decision.guardrail=[{kind=\"latency_p95\", limit_secs=0}]", &["limit_secs"]);
    refused("decision.guardrail=[{kind=\"latncy_p95\", limit_secs=1}]", &["latncy_p95"]);
    refused("decision.metric=exact_mach", &["\"exact_mach\"", "exact_match"]);
    // No row has such a key in its `meta`.
    refused("decision.slices=[\"colour\"]", &["colour"]);
    refused("decision.covariates=[\"colour\"]", &["colour"]);
}

#[test]
fn a_decision_that_changes_after_the_first_answer_is_exploratory() {
    let scene = recorded(|number| number % 8 != 0, |_| true);
    eval(&scene, &[]).good();
    let before = registered(&scene);
    assert_eq!(before["registered_sha256"].as_str().unwrap().len(), 64);
    assert!(before["first_output_at"].is_string());
    assert_eq!(verdict(&results(&scene)), "INSUFFICIENT");
    assert_eq!(results(&scene)["decided"]["verdict"]["standing"]["standing"], "confirmatory");

    let done = eval(&scene, &["--set", "decision.margin=0.4"]).good();
    let found = results(&scene);
    assert_eq!(found["decided"]["verdict"]["standing"]["standing"], "exploratory");
    assert!(done.stdout.contains("exploratory: margin changed after the first output"), "{}", done.stdout);
    // What is shown is what the changed decision would say, marked as worth less.
    let verdict_of = &found["decided"]["verdict"];
    assert_eq!((&verdict_of["margin"], &verdict_of["answer"]), (&json!(0.4), &json!("REPLACE")));
    for report in ["report.html", "report.md"] {
        let text = fs::read_to_string(scene.path("run/eval").join(report)).unwrap();
        assert!(text.contains("exploratory"), "{report}");
    }
    assert_eq!(registered(&scene), before, "what was registered stays");
    verify(&scene, "run/eval/proof.json", &[]).good();
    // Going back to what was registered is no change, and the rows have now been read three times.
    eval(&scene, &[]).good();
    let again = &results(&scene)["decided"]["verdict"];
    assert_eq!((&again["standing"]["standing"], &again["reads"]), (&json!("confirmatory"), &json!(3)));
    // An edited registration is no registration.
    let text = fs::read_to_string(scene.path("run/decisions/frontier.json")).unwrap();
    scene.write("run/decisions/frontier.json", text.replace("\"margin\": 0.1", "\"margin\": 0.4"));
    eval(&scene, &[]).refused(&["frontier.json", "edited"]);
}

#[test]
fn a_fresh_proof_holds_and_every_change_of_it_is_named() {
    let scene = recorded(|number| number % 8 != 0, |number| number % 5 != 0);
    eval(&scene, &[]).good();
    let done = verify(&scene, "run/eval/proof.json", &[]).good();
    assert!((done.stdout + &done.stderr).contains("every number was computed again and holds"));
    let whole: Value = serde_json::from_slice(&fs::read(scene.path("run/eval/proof.json")).unwrap()).unwrap();
    let text = |proof: &Value| serde_json::to_string_pretty(proof).unwrap() + "\n";
    // The hash is over the bytes of the file, so the same values in another layout are not the proof that was given.
    scene.write("same.json", text(&whole));
    assert_eq!(verify(&scene, "same.json", &[]).code, Some(1));
    let zeros = json!("0".repeat(64));
    for (pointer, value, told) in [
        ("/results/arms/0/outcomes/3/samples/0/text", json!("something else"), "results.arms[0].outcomes[3]"),
        ("/results/arms/1/outcomes/0/id", json!("row-17"), "sha256"),
        ("/results/arms/0/metrics/exact_match/value", json!(0.99), "results.arms[0].metrics.exact_match.value"),
        ("/results/arms/0/metrics/exact_match/low", json!(0.5), "results.arms[0].metrics.exact_match.low"),
        ("/results/decided/verdict/answer", json!("REPLACE_BETTER"), "results.decided.verdict.answer"),
        ("/results/decided/verdict/low", json!(-0.01), "results.decided.verdict.low"),
        ("/results/rows/2/target", json!("termination"), "results.arms[0].outcomes[2]"),
        ("/results/provenance/set_sha256", zeros.clone(), "sha256"),
        ("/premises/claims/0/registration/decision/margin", json!(0.2), "registered_sha256"),
        ("/premises/claims/0/reads", json!(7), "reads"),
        ("/sha256", zeros, "sha256"),
    ] {
        let mut tampered = whole.clone();
        let place = tampered.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer} in the proof"));
        assert_ne!(*place, value, "{pointer} is so already");
        *place = value;
        scene.write("tampered.json", text(&tampered));
        let done = verify(&scene, "tampered.json", &[]);
        found(&done, &["sha256", told]);
        let json = verify(&scene, "tampered.json", &["--json"]);
        assert_eq!(json.code, Some(1), "{pointer}");
        assert!(json.json().to_string().contains(told), "{pointer}: {}", json.stdout);
    }
    verify(&scene, "run/eval/proof.json", &["--json"]).good().json();
}

#[test]
fn what_is_no_proof_is_refused() {
    let scene = recorded(|_| true, |_| true);
    eval(&scene, &[]).good();
    let text = fs::read_to_string(scene.path("run/eval/proof.json")).unwrap();
    let version = "\"version\": 1,";
    assert!(text.contains(version));
    for (name, broken, told) in [
        ("newer.json", text.replacen(version, "\"version\": 99,", 1), "99"),
        ("odd.json", text.replacen(version, &format!("{version} \"surprise\": 0,"), 1), "surprise"),
        ("half.json", text[..text.len() / 2].to_owned(), "half.json"),
        ("empty.json", String::new(), "empty.json"),
    ] {
        scene.write(name, broken);
        verify(&scene, name, &[]).refused(&[told, name]);
    }
    verify(&scene, "nowhere.json", &[]).refused(&["nowhere.json"]);
    // A proof can be named by the folder that it lies in, or the folder is refused in words.
    let folder = verify(&scene, "run/eval", &[]);
    assert!(folder.code == Some(0) || folder.code == Some(2) && folder.stderr.contains("hint: "), "{}", folder.stderr);
}

/// Two results folders about the same rows, whose candidates were right where the tests say so.
fn two(one: impl Fn(usize) -> bool, other: impl Fn(usize) -> bool) -> Scene {
    let scene = recorded(one, |_| true);
    eval(&scene, &["--out", &scene.text("a")]).good();
    scene.write("candidate.jsonl", recording(other));
    eval(&scene, &["--out", &scene.text("b")]).good();
    scene
}

#[test]
fn two_results_of_the_same_rows_are_compared_in_pairs() {
    let scene = two(|number| number % 4 == 0, |_| true);
    let (a, b) = (scene.text("a"), scene.text("b"));
    let done = scene.run(&["compare", &a, &b, "--margin", "0.1"]).good();
    // The first is in use, the second may take its place.
    assert!(done.stdout.contains("REPLACE_BETTER"), "{}", done.stdout);
    let back = scene.run(&["compare", &b, &a, "--margin", "0.1"]).good();
    assert!(back.stdout.contains("KEEP_FRONTIER"), "{}", back.stdout);
    let same = scene.run(&["compare", &b, &b, "--margin", "0.1"]).good();
    assert!(same.stdout.contains("REPLACE:"), "{}", same.stdout);
    let json = scene.run(&["compare", &a, &b, "--margin", "0.1", "--json"]).good().json();
    assert!(json.to_string().contains("\"REPLACE_BETTER\""), "{json}");
    // Nobody registered this before the answers were seen.
    assert!(json.to_string().contains("exploratory"), "{json}");
}

#[test]
fn results_of_other_rows_are_not_compared() {
    let scene = two(|_| true, |_| true);
    eval(&scene, &["--limit", "30", "--out", &scene.text("fewer")]).good();
    let (a, fewer) = (scene.text("a"), scene.text("fewer"));
    scene.run(&["compare", &a, &fewer]).refused(&["not scored on the same rows"]);
    // The same ids with another target are other rows too.
    let test = fs::read_to_string(scene.path("test.jsonl")).unwrap();
    scene.write("test.jsonl", test.replacen("governing law", "termination", 1));
    eval(&scene, &["--out", &scene.text("other")]).good();
    scene.run(&["compare", &a, &scene.text("other")]).refused(&["not scored on the same rows"]);
}

#[test]
fn results_that_cannot_be_read_are_refused() {
    let scene = two(|_| true, |_| true);
    let (a, b) = (scene.text("a"), scene.text("b"));
    scene.run(&["compare", &a, &scene.text("nowhere")]).refused(&["nowhere"]);
    scene.run(&["compare", &a, &b, "--margin", "1.5"]).refused(&["margin"]);
    let text = fs::read_to_string(scene.path("b/results.json")).unwrap();
    let version = "\"version\": 3,";
    assert!(text.contains(version));
    for (broken, told) in [
        (text.replacen(version, "\"version\": 99,", 1), "99"),
        (text.replacen(version, &format!("{version} \"surprise\": 0,"), 1), "surprise"),
        (text[..text.len() / 2].to_owned(), "results.json"),
        ("[]".to_owned(), "results.json"),
    ] {
        scene.write("b/results.json", broken);
        scene.run(&["compare", &a, &b]).refused(&[told, "b/results.json"]);
        scene.run(&["compare", &b, &a]).refused(&[told, "b/results.json"]);
    }
}
