//! `eval` as a user runs it: which arms are asked, what is written where, what fails a bar, what is refused.
//! Knows no hosted model and no proof; those have files of their own and build on the scene here.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::hosted_server::HostedServer;
use crate::util::{Done, Scene, files, rows};

/// The held-out rows of a scene: enough groups for a verdict.
pub(crate) const HELD_OUT: std::ops::Range<usize> = 16..56;
pub(crate) const NUM_ROWS: usize = HELD_OUT.end - HELD_OUT.start;

/// Keys that a developer's environment may hold: no test may spend with them.
const KEYS: [&str; 4] = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENAI_COMPATIBLE_API_KEY"];

/// Every file of a results folder.
const REPORTS: [&str; 6] = ["junit.xml", "proof.json", "report.html", "report.md", "results.json", "table.txt"];

/// A candidate and a baseline that are recorded, and a margin that forty equal rows can prove.
pub(crate) const RECORDED: &str = r#"
[[eval.arm]]
name = "candidate"
provider = "replay"
file = "candidate.jsonl"

[[eval.arm]]
name = "frontier"
provider = "replay"
file = "frontier.jsonl"

[decision]
candidate = "candidate"
baseline = ["frontier"]
metric = "exact_match"
margin = 0.1
"#;

/// A trained run in `run`, forty held-out rows, and a config with these lines more in `[eval]` and at its end.
pub(crate) fn scene(in_eval: &str, at_end: &str) -> Scene {
    let scene = Scene::new();
    scene.write("test.jsonl", rows(HELD_OUT));
    // A claim needs that somebody looked for held-out rows among the training rows; these differ in their numbers alone.
    scene.edit_config("near_duplicates = \"none\"", "near_duplicates = \"minhash\"\njaccard = 1.0");
    scene.fit("run", &["--max-steps", "1", "--set", "train.warmup_steps=0"]).good();
    scene.edit_config("[eval]\n", &format!("[eval]\n{in_eval}\n"));
    let config = fs::read_to_string(scene.path("config.toml")).unwrap();
    scene.write("config.toml", config + at_end);
    scene
}

/// A scene of recorded arms, each row right where a test says so.
pub(crate) fn recorded(candidate: impl Fn(usize) -> bool, frontier: impl Fn(usize) -> bool) -> Scene {
    let scene = scene("", RECORDED);
    scene.write("candidate.jsonl", recording(candidate));
    scene.write("frontier.jsonl", recording(frontier));
    scene
}

/// Recorded answers to the held-out rows.
pub(crate) fn recording(is_right: impl Fn(usize) -> bool) -> String {
    let said = |number: usize| if is_right(number) { answer(number) } else { "something else" };
    HELD_OUT.map(|number| format!("{}\n", json!({"id": format!("row-{number}"), "text": said(number)}))).collect()
}

/// The right answer to a row of `util::rows`.
pub(crate) fn answer(number: usize) -> &'static str {
    ["governing law", "termination", "assignment", "definitions"][number % 4]
}

/// `eval config.toml --run RUN`, without any key of the environment.
pub(crate) fn command(scene: &Scene, more: &[&str]) -> Command {
    let mut command = scene.command();
    command.arg("eval").arg(scene.path("config.toml")).arg("--run").arg(scene.path("run")).args(more);
    for key in KEYS {
        command.env_remove(key);
    }
    command
}

pub(crate) fn eval(scene: &Scene, more: &[&str]) -> Done {
    Done::of(command(scene, more).output().unwrap())
}

/// The results of the last evaluation.
#[track_caller]
pub(crate) fn results(scene: &Scene) -> Value {
    serde_json::from_slice(&fs::read(scene.path("run/eval/results.json")).unwrap()).unwrap()
}

/// What one arm scored.
#[track_caller]
pub(crate) fn arm<'a>(results: &'a Value, name: &str) -> &'a Value {
    let arms = results["arms"].as_array().unwrap();
    arms.iter().find(|arm| arm["name"] == name).unwrap_or_else(|| panic!("no arm {name} among {:?}", names(results)))
}

/// The names of all arms, in their order.
pub(crate) fn names(results: &Value) -> Vec<&str> {
    results["arms"].as_array().unwrap().iter().map(|arm| arm["name"].as_str().unwrap()).collect()
}

/// One of the four answers.
#[track_caller]
pub(crate) fn verdict(results: &Value) -> &str {
    results["decided"]["verdict"]["answer"].as_str().unwrap_or_else(|| panic!("no verdict in {}", results["decided"]))
}

#[test]
fn an_evaluation_leaves_every_report_and_all_name_the_verdict() {
    let scene = recorded(|_| true, |_| true);
    let done = eval(&scene, &[]).good();
    assert_eq!(files(&scene.path("run/eval")), REPORTS);
    let read = |name: &str| fs::read_to_string(scene.path("run/eval").join(name)).unwrap();
    assert!(done.stdout.contains(read("table.txt").trim_end()), "{}", done.stdout);
    assert_eq!(verdict(&results(&scene)), "REPLACE");
    assert!(done.stdout.contains("REPLACE: candidate is not worse than frontier"), "{}", done.stdout);
    for name in ["report.html", "report.md", "junit.xml", "results.json"] {
        let text = read(name);
        assert!(text.contains("candidate") && text.contains("frontier"), "{name}:\n{text}");
        assert!(text.contains("REPLACE") || name == "junit.xml", "{name}:\n{text}");
    }
    // A page that a browser shows without asking anyone for anything.
    let page = read("report.html");
    for way_out in ["src=\"http", "src='http", "<link", "@import", "url(http", "fetch("] {
        assert!(!page.contains(way_out), "{way_out} is in the page");
    }
    assert!(page.contains("<svg") && page.trim_end().ends_with("</html>"));
    assert!(read("junit.xml").starts_with("<?xml") && read("junit.xml").contains("<testsuite"));
    let registered: Value =
        serde_json::from_slice(&fs::read(scene.path("run/decisions/frontier.json")).unwrap()).unwrap();
    assert_eq!(registered["decision"]["margin"], 0.1);
}

#[test]
fn json_prints_one_document_and_nothing_else() {
    let scene = recorded(|_| true, |number| number < 30);
    let printed = eval(&scene, &["--json"]).good().json();
    assert_eq!(names(&printed), ["candidate", "frontier", "majority", "nearest"]);
    assert_eq!(printed["decided"]["verdict"]["answer"], results(&scene)["decided"]["verdict"]["answer"]);
    assert_eq!(arm(&printed, "frontier")["metrics"]["exact_match"]["value"], 0.35);
}

#[test]
fn only_the_named_arms_are_measured() {
    let arms = ["majority", "base", "tuned", "nearest"];
    let config: String = arms.map(|arm| format!("[[eval.arm]]\nname = \"{arm}\"\nprovider = \"{arm}\"\n")).concat();
    let scene = scene("", &config);
    let done = eval(&scene, &["--arm", "tuned", "--arm", "majority"]).good();
    assert_eq!(names(&results(&scene)), ["majority", "tuned"]);
    assert!(!done.stdout.contains("nearest"), "{}", done.stdout);
    assert!(!done.stderr.contains("base, answers"), "{}", done.stderr);
    eval(&scene, &["--arm", "tunned"]).refused(&["\"tunned\"", "majority", "base", "tuned", "nearest"]);
}

#[test]
fn limit_takes_a_sample_that_only_grows_and_out_is_where_the_reports_go() {
    let scene = recorded(|_| true, |_| true);
    let ids = |limit: &str, out: &str| -> Vec<usize> {
        eval(&scene, &["--limit", limit, "--out", &scene.text(out)]).good();
        assert_eq!(files(&scene.path(out)), REPORTS);
        let results: Value = serde_json::from_slice(&fs::read(scene.path(out).join("results.json")).unwrap()).unwrap();
        let id = |row: &Value| row["id"].as_str().unwrap().strip_prefix("row-").unwrap().parse().unwrap();
        results["rows"].as_array().unwrap().iter().map(id).collect()
    };
    let (few, more, again) = (ids("7", "few"), ids("12", "more"), ids("7", "again"));
    assert_eq!((few.len(), more.len()), (7, 12));
    assert!(few.is_sorted() && more.is_sorted(), "in the order of the file: {few:?} {more:?}");
    assert_eq!(few, again);
    // What was paid for the smaller sample is not paid again for the larger one.
    assert!(few.iter().all(|row| more.contains(row)), "{few:?} is not in {more:?}");
    assert!(!scene.path("run/eval").exists());
    let results: Value = serde_json::from_slice(&fs::read(scene.path("few/results.json")).unwrap()).unwrap();
    // A look at some of the rows is no test.
    assert!(results["decided"].is_null());
    assert_eq!(results["no_verdict"], "only 7 of 40 held-out rows were judged");
}

#[test]
fn recorded_answers_cost_nothing_and_those_that_are_not_there_are_missing() {
    let scene = recorded(|_| true, |number| number % 2 == 0);
    let lines = recording(|_| true).lines().skip(4).map(|line| format!("{line}\n")).collect::<String>();
    let lost = HELD_OUT
        .take(4)
        .map(|number| format!("{{\"id\": \"row-{number}\", \"text\": \"\", \"finish\": \"missing\"}}\n"));
    let lost = lost.collect::<String>();
    scene.write("candidate.jsonl", lines + &lost + "{\"id\": \"row-999\", \"text\": \"nobody asked\"}\n");
    let done = eval(&scene, &[]).good();
    let results = results(&scene);
    let (candidate, frontier) = (arm(&results, "candidate"), arm(&results, "frontier"));
    assert_eq!(
        (&frontier["identity"]["provider"], &frontier["identity"]["egress"]),
        (&json!("replay"), &json!("none"))
    );
    assert_eq!(frontier["metrics"]["exact_match"]["value"], 0.5);
    assert_eq!((&candidate["classes"]["ok"], &candidate["classes"]["missing"]), (&json!(36), &json!(4)));
    // Missing rows stay in the denominator and are no pass.
    assert_eq!(candidate["metrics"]["exact_match"]["value"], 0.9);
    assert_eq!(verdict(&results), "INSUFFICIENT");
    // In the differences they are in neither arm: 18 of the 36 rows are gains, and none is lost.
    let against = results["comparisons"].as_array().unwrap().iter().find(|one| one["baseline"] == "frontier").unwrap();
    assert_eq!(against["difference"]["estimate"]["n"], 36);
    assert_eq!(against["difference"]["flips"]["regressions"], 0);
    assert!(done.stdout.contains("candidate − frontier: 4 rows that one of them gave no answer to"), "{}", done.stdout);
    assert!(candidate["cost"].is_null() || candidate["cost"]["total_usd"] == 0.0, "{}", candidate["cost"]);
    assert!(done.stdout.contains("nothing was paid"), "{}", done.stdout);
    assert!(done.stdout.contains("4 rows are recorded without an answer"), "{}", done.stdout);
    assert!(done.stdout.contains("1 recorded answers belong to no row"), "{}", done.stdout);
}

#[test]
fn a_recording_that_says_nothing_of_a_row_is_refused_before_anything_is_asked() {
    let scene = recorded(|_| true, |_| true);
    let whole = recording(|_| true);
    let but = |row: &str| -> String {
        whole.lines().filter(|line| !line.contains(row)).map(|line| format!("{line}\n")).collect()
    };
    for (text, told) in [
        (String::new(), &["frontier.jsonl", "holds no recorded answer"][..]),
        ("\n \n".to_owned(), &["frontier.jsonl", "holds no recorded answer"]),
        (but("row-20"), &["no answer to 1 of 40 rows: \"row-20\"", "\"finish\": \"missing\"", "frontier"]),
        (whole.replace("row-", "line-"), &["no answer to 40 of 40 rows: \"row-16\", ", "…"]),
    ] {
        scene.write("frontier.jsonl", &text);
        eval(&scene, &[]).refused(told);
        scene.run(&["check", &scene.text("config.toml")]).refused(told);
        assert!(!scene.path("run/eval").exists() && !scene.path("run/decisions").exists(), "{text}");
    }
    scene.write("frontier.jsonl", &whole);
    let file = scene.write("replay.jsonl", but("row-31")).display().to_string();
    eval(&scene, &["--replay", &file]).refused(&["arm replay", "row-31"]);
    // An arm that is not asked needs no answers.
    scene.write("frontier.jsonl", but("row-20"));
    eval(&scene, &["--arm", "candidate"]).good();
}

#[test]
fn targets_to_learn_that_are_none_of_the_labels_are_refused_like_those_that_are_held_out() {
    let scene = scene("labels = [\"governing law\", \"termination\", \"assignment\", \"definitions\"]", "");
    let (config, out) = (scene.text("config.toml"), scene.text("other"));
    let all = |told: &[&str]| {
        scene.run(&["check", &config]).refused(told);
        scene.run(&["fit", &config, "--out", &out, "--set", "eval.enabled=true"]).refused(told);
        eval(&scene, &[]).refused(told);
        scene.nothing_written("other");
    };
    let train = rows(0..16);
    scene.write("train.jsonl", train.clone() + &crate::util::row("odd", "Which kind is this odd one?", "terminaton"));
    all(&["1 of 17 train rows", "none of the 4 labels", "\"odd\" with \"terminaton\"", "eval.labels"]);
    // One that says itself that it is not learnt teaches nothing.
    let odd = crate::util::row("odd", "Which kind is this odd one?", "terminaton");
    scene.write("train.jsonl", train.clone() + &odd.replacen('{', "{\"weight\": 0, ", 1));
    scene.run(&["check", &config]).good();
    scene.write("train.jsonl", train);
    scene.write("test.jsonl", rows(HELD_OUT).replace("termination", "terminaton"));
    all(&["\"terminaton\" is not one of the labels"]);
}

#[test]
fn a_recording_of_the_command_line_takes_the_place_of_the_candidate() {
    let scene = recorded(|_| false, |_| true);
    let file = scene.write("another.jsonl", recording(|_| true)).display().to_string();
    eval(&scene, &["--replay", &file]).good();
    let results = results(&scene);
    assert_eq!(arm(&results, "replay")["metrics"]["exact_match"]["value"], 1.0);
    assert_eq!(arm(&results, "frontier")["metrics"]["exact_match"]["value"], 1.0);
}

#[test]
fn a_recording_that_cannot_be_used_is_refused_with_its_line() {
    let scene = recorded(|_| true, |_| true);
    let whole = recording(|_| true);
    for (broken, told) in [
        ("not json", "candidate.jsonl:41: "),
        (r#"{"id": "row-16", "text": "twice"}"#, "\"row-16\" is recorded more than once"),
        (r#"{"text": "of nobody"}"#, "exactly one of `id` and `prompt_sha256`"),
        (r#"{"id": "row-99", "text": "a", "scoer": 1}"#, "scoer"),
    ] {
        scene.write("candidate.jsonl", format!("{whole}{broken}\n"));
        eval(&scene, &[]).refused(&["candidate.jsonl", told]);
        assert!(!scene.path("run/eval").exists(), "{broken}");
    }
    scene.write("candidate.jsonl", whole);
    eval(&scene, &["--replay", &scene.text("nowhere.jsonl")]).refused(&["nowhere.jsonl"]);
    fs::remove_file(scene.path("candidate.jsonl")).unwrap();
    eval(&scene, &[]).refused(&["candidate.jsonl"]);
}

#[test]
fn a_bar_that_is_not_reached_ends_with_1_and_says_by_how_much() {
    let scene = recorded(|number| number >= 20, |_| true);
    let done = eval(&scene, &["--fail-under", "exact_match=0.99"]);
    assert_eq!(done.code, Some(1), "{}\n{}", done.stdout, done.stderr);
    for part in ["candidate", "exact_match", "0.99", "0.9"] {
        assert!(done.stderr.contains(part), "{part} is not in:\n{}", done.stderr);
    }
    // The reports are there nonetheless, and a machine reads the failure too.
    assert_eq!(files(&scene.path("run/eval")), REPORTS);
    assert!(fs::read_to_string(scene.path("run/eval/junit.xml")).unwrap().contains("<failure"));
    let json = eval(&scene, &["--fail-under", "exact_match=0.99", "--json"]);
    assert_eq!(json.code, Some(1));
    assert_eq!(names(&json.json()), ["candidate", "frontier", "majority", "nearest"]);
    eval(&scene, &["--fail-under", "exact_match=0.9"]).good();
}

#[test]
fn a_bar_that_cannot_be_read_is_refused_before_anything_is_asked() {
    let scene = recorded(|_| true, |_| true);
    for (bar, told) in [("exact_mach=0.5", "exact_match"), ("exact_match", "exact_match"), ("exact_match=high", "high")]
    {
        eval(&scene, &["--fail-under", bar]).refused(&[told]);
        assert!(!scene.path("run/eval").exists(), "{bar}");
    }
}

#[test]
fn a_run_that_is_not_there_is_refused_with_what_to_type() {
    let scene = scene("", "");
    let config = scene.text("config.toml");
    let done = scene.run(&["eval", &config, "--run", &scene.text("nowhere")]).refused(&["nowhere", "trainer fit"]);
    assert!(!done.stderr.contains("No such file or directory (os error 2)\nerror"), "one error: {}", done.stderr);
    fs::remove_file(scene.path("run/adapter/adapter_model.safetensors")).unwrap();
    eval(&scene, &[]).refused(&["adapter"]);
}

#[test]
fn chosen_scorers_judge_and_an_unknown_one_is_refused() {
    let scorers = "[[eval.scorer]]\nkind = \"includes\"\n[[eval.scorer]]\nkind = \"exact_match\"\n";
    let scene =
        scene("", &RECORDED.replace("metric = \"exact_match\"\n", "").replacen("\n", &format!("\n{scorers}"), 1));
    // Right, but with more words around it.
    let wordy = |number: usize| json!({"id": format!("row-{number}"), "text": format!("It is {}.", answer(number))});
    scene.write("candidate.jsonl", HELD_OUT.map(|number| format!("{}\n", wordy(number))).collect::<String>());
    scene.write("frontier.jsonl", recording(|_| true));
    eval(&scene, &[]).good();
    let results = results(&scene);
    let metrics = &arm(&results, "candidate")["metrics"];
    assert_eq!((&metrics["includes"]["value"], &metrics["exact_match"]["value"]), (&json!(1.0), &json!(0.0)));
    assert_eq!(results["decided"]["verdict"]["metric"], "includes", "the first scorer decides");
    scene.edit_config("kind = \"includes\"", "kind = \"inclodes\"");
    eval(&scene, &[]).refused(&["inclodes", "includes", "config.toml"]);
}

#[test]
fn training_never_asks_an_arm_outside() {
    let server = HostedServer::start(|_| "termination".to_owned());
    let hosted = format!(
        "[[eval.arm]]\nname = \"majority\"\nprovider = \"majority\"\n\
         [[eval.arm]]\nname = \"frontier\"\nprovider = \"openai-compatible\"\nmodel = \"m\"\nurl = \"{}/v1\"\n",
        server.url
    );
    let scene = scene("egress = \"loopback\"", &hosted);
    let done = scene.fit("again", &["--set", "eval.enabled=true"]).good();
    assert_eq!(server.num_calls(), 0);
    assert!(done.stdout.contains("frontier: not measured, trainer eval asks it"), "{}", done.stdout);
    eval(&scene, &["--set", "eval.enabled=true"]).good();
    assert!(server.num_calls() >= NUM_ROWS);
}

#[test]
fn rows_that_the_run_learnt_from_and_another_base_are_refused() {
    let scene = scene("", "");
    scene.write("learnt.jsonl", rows(0..6));
    scene.write("others.jsonl", rows(60..76));
    let set = |key: &str, value: String| format!("{key}={value}");
    let (train, test) = (set("data.train", scene.text("others.jsonl")), set("data.test", scene.text("learnt.jsonl")));
    eval(&scene, &["--set", &train, "--set", &test]).refused(&["6 of 6 held-out rows", "learnt from", "(exact, 1.00)"]);
    // Nearly the same is the same, by what the config calls near.
    let nearly = "Which kind of clause is it that is called clause number seventeen of the very long contract of Roe and Doe, \
                  which was signed in the year two thousand and three and is in force today";
    scene.write("train.jsonl", rows(0..16) + &crate::util::row("long", nearly, "termination"));
    scene.fit("again", &["--max-steps", "1", "--set", "train.warmup_steps=0"]).good();
    scene
        .write("learnt.jsonl", rows(100..106) + &crate::util::row("alike", &format!("{nearly}, still"), "termination"));
    let run = scene.text("again");
    let config = scene.text("config.toml");
    let near = |near: &str| {
        let near = format!("data.near_duplicates={near}");
        scene.run(&[
            "eval",
            &config,
            "--run",
            &run,
            "--set",
            &train,
            "--set",
            &test,
            "--set",
            &near,
            "--set",
            "data.jaccard=0.8",
        ])
    };
    near("minhash").refused(&[
        "1 of 7 held-out rows",
        "\"alike\" repeats \"long\" (near (minhash)",
        "data.near_duplicates",
    ]);
    near("none").good();
    // Rows that are gone were not looked at, and that is no clean bill.
    fs::rename(scene.path("train.jsonl"), scene.path("kept.jsonl")).unwrap();
    let blind = near("minhash").good();
    assert!(blind.stderr.contains("nobody looked whether held-out rows are among them"), "{}", blind.stderr);
    let results: Value = serde_json::from_slice(&fs::read(scene.path("again/eval/results.json")).unwrap()).unwrap();
    assert!(results["provenance"]["leaked_rows"].is_null(), "{}", results["provenance"]);
    fs::rename(scene.path("kept.jsonl"), scene.path("train.jsonl")).unwrap();
    let weights = scene.copy_model("other").join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(weights, bytes).unwrap();
    let base = set("model.base", scene.text("other"));
    eval(&scene, &["--set", &base]).refused(&["is not the base that", "trained on", "--set model.base="]);
    eval(&scene, &["--fail-under", "exact_match=90"]).refused(&["from 0 to 1", "0.9"]);
}
