//! Arms on the other side of a network: what is sent, what is paid, and what is hidden.
//! Knows the command line and a server of its own on this machine; no test here can reach, or pay, anyone else.

use std::fs;

use serde_json::{Value, json};

use crate::eval::{HELD_OUT, NUM_ROWS, answer, arm, command, eval, results, scene, verdict};
use crate::hosted_server::{HostedServer, INPUT_TOKENS, OUTPUT_TOKENS, Reply};
use crate::util::{Done, Scene, files, row};

pub(crate) const KEY: &str = "sk-test-3fa9c1d7e5";
const INPUT_USD_PER_MILLION_TOKENS: f64 = 100.0;
const OUTPUT_USD_PER_MILLION_TOKENS: f64 = 500.0;

/// What one call costs by the table below.
pub(crate) const CALL_USD: f64 =
    (INPUT_TOKENS as f64 * INPUT_USD_PER_MILLION_TOKENS + OUTPUT_TOKENS as f64 * OUTPUT_USD_PER_MILLION_TOKENS) / 1e6;

/// Only a table of the user knows the models of these tests.
fn prices() -> String {
    let price = |provider: &str| {
        format!(
            "[[price]]\nprovider = \"{provider}\"\nmodel = \"frontier-1\"\nvalid_from = \"2020-01-01\"\n\
             source = \"our contract\"\ninput_usd_per_million_tokens = {INPUT_USD_PER_MILLION_TOKENS:.1}\n\
             output_usd_per_million_tokens = {OUTPUT_USD_PER_MILLION_TOKENS:.1}\n"
        )
    };
    format!("version = 1\ndate = \"2026-01-01\"\n{}{}", price("anthropic"), price("openai-compatible"))
}

/// An arm `frontier` at the server, beside a recorded candidate that is always right.
pub(crate) fn hosted(server: &HostedServer, in_arm: &str, at_end: &str) -> Scene {
    let arms = format!(
        "[[eval.arm]]\nname = \"candidate\"\nprovider = \"replay\"\nfile = \"candidate.jsonl\"\n\
         [[eval.arm]]\nname = \"frontier\"\nprovider = \"anthropic\"\nmodel = \"frontier-1\"\nurl = \"{}\"\n\
         concurrency = 1\nrepeats = 1\n{in_arm}\n\
         [decision]\ncandidate = \"candidate\"\nbaseline = [\"frontier\"]\nmargin = 0.1\n{at_end}\n",
        server.url
    );
    let scene = scene("egress = \"loopback\"", &arms);
    scene.write("candidate.jsonl", crate::eval::recording(|_| true));
    scene.write("prices.toml", prices());
    scene
}

pub(crate) const PRICED: &str = "[cost]\nprices = \"prices.toml\"";

pub(crate) fn eval_with_key(scene: &Scene, more: &[&str]) -> Done {
    Done::of(command(scene, more).env("ANTHROPIC_API_KEY", KEY).output().unwrap())
}

/// The right answer to a prompt of `util::rows`.
pub(crate) fn right(prompt: &str) -> String {
    let number = prompt.split("Clause ").nth(1).unwrap().split(' ').next().unwrap();
    answer(number.parse().unwrap()).to_owned()
}

/// Asserts that a text stands in no file below a folder and in nothing that was printed.
#[track_caller]
pub(crate) fn nowhere(secret: &str, scene: &Scene, folder: &str, done: &Done) {
    assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret), "{}\n{}", done.stdout, done.stderr);
    for file in files(&scene.path(folder)) {
        let bytes = fs::read(scene.path(folder).join(&file)).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "it stands in {file}");
    }
}

#[track_caller]
pub(crate) fn near(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn an_arm_without_a_key_is_told_and_never_made_up() {
    let server = HostedServer::start(right);
    let arms = format!(
        "[[eval.arm]]\nname = \"majority\"\nprovider = \"majority\"\n\
         [[eval.arm]]\nname = \"frontier\"\nprovider = \"anthropic\"\nmodel = \"frontier-1\"\n\
         [[eval.arm]]\nname = \"own\"\nprovider = \"openai-compatible\"\nmodel = \"m\"\nurl = \"{}/v1\"\nkey_variable = \"TEAM_KEY\"\n",
        server.url
    );
    let scene = scene("egress = \"public\"", &arms);
    let done = eval(&scene, &[]).good();
    let line = "frontier: not measured, set ANTHROPIC_API_KEY";
    assert!(done.stdout.lines().any(|told| told == line), "{}", done.stdout);
    assert!(done.stdout.lines().any(|told| told == "own: not measured, set TEAM_KEY"), "{}", done.stdout);
    let results = results(&scene);
    for (name, variable) in [("frontier", "ANTHROPIC_API_KEY"), ("own", "TEAM_KEY")] {
        let arm = arm(&results, name);
        assert_eq!((&arm["skipped"], &arm["metrics"]), (&json!(format!("set {variable}")), &json!({})), "{name}");
        assert_eq!((&arm["outcomes"], &arm["cost"], &arm["latency"]), (&json!([]), &Value::Null, &Value::Null));
    }
    for report in ["report.html", "report.md"] {
        let text = fs::read_to_string(scene.path("run/eval").join(report)).unwrap();
        assert!(text.contains("not measured") && text.contains("ANTHROPIC_API_KEY"), "{report}");
    }
    assert_eq!(server.num_calls(), 0);
    // A blank key is no key.
    let blank = Done::of(command(&scene, &[]).env("TEAM_KEY", " \n").output().unwrap()).good();
    assert!(blank.stdout.contains("own: not measured, set TEAM_KEY"), "{}", blank.stdout);
    assert_eq!(server.num_calls(), 0);
}

#[test]
fn a_hosted_arm_is_measured_and_priced_and_its_key_stands_nowhere() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "system = \"Name the kind.\"\ntemperature = 0.0", PRICED);
    let done = eval_with_key(&scene, &[]).good();
    let calls = server.calls();
    assert_eq!(calls.len(), NUM_ROWS);
    for call in &calls {
        assert_eq!((call.path.as_str(), &call.headers["authorization"]), ("/v1/messages", &format!("Bearer {KEY}")));
        assert_eq!((call.headers["anthropic-version"].as_str(), call.headers.get("x-api-key")), ("2026-10-21", None));
        assert_eq!(call.system.as_deref(), Some("Name the kind."));
        assert!(!call.body.contains(KEY));
        let body: Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!(
            (&body["model"], &body["temperature"], &body["stream"]),
            (&json!("frontier-1"), &json!(0.0), &json!(true))
        );
    }
    let results = results(&scene);
    let frontier = arm(&results, "frontier");
    assert_eq!(frontier["metrics"]["exact_match"]["value"], 1.0);
    assert_eq!(frontier["identity"]["provider"], "anthropic");
    assert_eq!(
        (&frontier["identity"]["model"], &frontier["identity"]["egress"]),
        (&json!("frontier-1"), &json!("loopback"))
    );
    assert_eq!((&frontier["cost"]["known"], &frontier["cost"]["unknown"]), (&json!(NUM_ROWS), &json!(0)));
    near(&frontier["cost"]["total_usd"], NUM_ROWS as f64 * CALL_USD);
    near(&frontier["cost"]["per_thousand_calls_usd"]["value"], 1000.0 * CALL_USD);
    near(&frontier["cost"]["per_correct_usd"]["value"], CALL_USD);
    assert_eq!(frontier["latency"]["n"], NUM_ROWS);
    assert_eq!(frontier["first_token"]["n"], NUM_ROWS, "a stream tells when its first token came");
    assert_eq!(verdict(&results), "REPLACE");
    assert!(done.stdout.contains("$4.00"), "the price of a thousand calls is not in:\n{}", done.stdout);
    for report in ["report.html", "report.md"] {
        let text = fs::read_to_string(scene.path("run/eval").join(report)).unwrap();
        assert!(text.contains("frontier") && text.contains("$4.00"), "{report}");
    }
    assert!(fs::read_to_string(scene.path("run/eval/report.html")).unwrap().contains("frontier-1"));
    assert!(scene.path("run/calls.sqlite").is_file());
    nowhere(KEY, &scene, "run", &done);
}

#[test]
fn a_server_of_ones_own_needs_no_key_and_may_answer_whole() {
    let server = HostedServer::start(right);
    for stream in [true, false] {
        let own = format!(
            "provider = \"openai-compatible\"\nmodel = \"frontier-1\"\nurl = \"{}/v1\"\nstream = {stream}",
            server.url
        );
        let hosted = hosted(&server, "", PRICED);
        hosted
            .edit_config(&format!("provider = \"anthropic\"\nmodel = \"frontier-1\"\nurl = \"{}\"", server.url), &own);
        let before = server.num_calls();
        eval(&hosted, &[]).good();
        let calls = server.calls().split_off(before);
        assert_eq!(calls.len(), NUM_ROWS);
        assert!(
            calls.iter().all(|call| call.path == "/v1/chat/completions" && !call.headers.contains_key("authorization"))
        );
        let results = results(&hosted);
        let frontier = arm(&results, "frontier");
        assert_eq!(frontier["metrics"]["exact_match"]["value"], 1.0);
        near(&frontier["cost"]["total_usd"], NUM_ROWS as f64 * CALL_USD);
        assert_eq!(frontier["first_token"].is_null(), !stream);
    }
}

#[test]
fn each_row_is_asked_three_times_unless_the_config_says_otherwise() {
    let server = HostedServer::planned(|prompt, num_before| {
        Reply::Says(if num_before == 2 { "termination".to_owned() } else { right(prompt) })
    });
    let scene = hosted(&server, "", PRICED);
    scene.edit_config("repeats = 1\n", "");
    eval_with_key(&scene, &[]).good();
    assert_eq!(server.num_calls(), 3 * NUM_ROWS);
    let results = results(&scene);
    let frontier = arm(&results, "frontier");
    assert_eq!(frontier["repeats"], 3);
    // A quarter of the rows is answered with `termination` three times, the others twice rightly and once not.
    near(&frontier["self_agreement"]["value"], 0.25);
    near(&frontier["metrics"]["exact_match"]["value"], 0.25 + 0.75 * 2.0 / 3.0);
    near(&frontier["cost"]["total_usd"], 3.0 * NUM_ROWS as f64 * CALL_USD);
}

#[test]
fn a_second_evaluation_sends_nothing_again_and_shows_the_same_costs() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "", PRICED);
    eval_with_key(&scene, &[]).good();
    let first = results(&scene);
    assert_eq!(server.num_calls(), NUM_ROWS);
    let done = eval_with_key(&scene, &[]).good();
    assert_eq!(server.num_calls(), NUM_ROWS, "rows were paid twice");
    let second = results(&scene);
    let (first, second) = (arm(&first, "frontier"), arm(&second, "frontier"));
    for key in ["metrics", "cost", "latency", "first_token", "outcomes"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    assert!(done.stdout.contains("$4.00"), "{}", done.stdout);
    // Another question is another call, and only that one is paid.
    scene.edit_config("concurrency = 1\n", "concurrency = 1\nsystem = \"Name the kind.\"\n");
    eval_with_key(&scene, &["--limit", "5"]).good();
    assert_eq!(server.num_calls(), NUM_ROWS + 5);
}

#[test]
fn an_arm_that_was_asked_alone_keeps_its_costs_beside_the_others() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "", PRICED);
    eval_with_key(&scene, &["--arm", "frontier", "--limit", "10"]).good();
    eval_with_key(&scene, &["--arm", "frontier"]).good();
    assert_eq!(server.num_calls(), NUM_ROWS);
    eval_with_key(&scene, &[]).good();
    assert_eq!(server.num_calls(), NUM_ROWS);
    let results = results(&scene);
    let frontier = arm(&results, "frontier");
    near(&frontier["cost"]["total_usd"], NUM_ROWS as f64 * CALL_USD);
    assert_eq!((&frontier["cost"]["known"], &frontier["latency"]["n"]), (&json!(NUM_ROWS), &json!(NUM_ROWS)));
}

#[test]
fn egress_none_makes_every_hosted_arm_an_error_of_the_config() {
    let server = HostedServer::start(right);
    // As it is written, and as it is when nothing is written.
    for egress in ["egress = \"none\"\n", ""] {
        let scene = hosted(&server, "", "");
        scene.edit_config("egress = \"loopback\"\n", egress);
        for command in ["check", "fit", "eval"] {
            let (config, out) = (scene.text("config.toml"), scene.text("new"));
            let mut program = scene.command();
            program.args([command, &config, "--out", &out]).env("ANTHROPIC_API_KEY", KEY);
            let done = Done::of(program.output().unwrap());
            done.refused(&["config.toml", "frontier", "\"none\"", "hint: write egress = "]);
            scene.nothing_written("new");
        }
    }
    assert_eq!(server.num_calls(), 0);
}

#[test]
fn prompts_go_no_further_than_the_config_allows() {
    let server = HostedServer::start(right);
    for egress in ["loopback", "private"] {
        let scene = hosted(&server, "", "");
        scene.edit_config(&format!("url = \"{}\"", server.url), "url = \"https://203.0.113.7\"");
        scene.edit_config("egress = \"loopback\"", &format!("egress = \"{egress}\""));
        let told = ["frontier", "203.0.113.7", "public", &format!("\"{egress}\"")];
        eval_with_key(&scene, &[]).refused(&told);
        scene.run(&["check", &scene.text("config.toml")]).refused(&told);
        assert!(!scene.path("run/eval").exists());
    }
}

#[test]
fn keys_and_prompts_go_unencrypted_to_hosts_of_ones_own_alone() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "max_retries = 0", "");
    let url = format!("url = \"{}\"", server.url);
    scene.edit_config("egress = \"loopback\"", "egress = \"public\"");
    scene.edit_config(&url, "url = \"http://203.0.113.7\"");
    eval_with_key(&scene, &[]).refused(&["frontier", "203.0.113.7", "unencrypted"]);
    // A name of one's own network that nobody answers to: it is asked, and the row is missing.
    scene.edit_config("egress = \"public\"", "egress = \"private\"\nprivate_hosts = [\"vllm.invalid\"]");
    scene.edit_config("http://203.0.113.7", "http://vllm.invalid:8000");
    eval_with_key(&scene, &["--limit", "1"]).good();
    assert_eq!(arm(&results(&scene), "frontier")["classes"], json!({"missing": 1}));
}

#[test]
fn what_is_redacted_never_arrives_and_is_counted() {
    // Says back what it was asked.
    let server = HostedServer::start(str::to_owned);
    let redact =
        "[redact]\nkinds = [\"email\"]\n[[redact.pattern]]\nlabel = \"case_number\"\npattern = \"AZ-[0-9]+\"\n";
    let scene = hosted(&server, "", redact);
    let asked =
        |number: usize| format!("Clause {number} of AZ-{number}77, sent by anna.schmidt@kanzlei.example: which kind?");
    scene.write("test.jsonl", HELD_OUT.map(|n| row(&format!("row-{n}"), &asked(n), answer(n))).collect::<String>());
    let done = eval_with_key(&scene, &[]).good();
    let calls = server.calls();
    assert_eq!(calls.len(), NUM_ROWS);
    for call in &calls {
        for secret in ["anna", "schmidt", "kanzlei", "AZ-"] {
            assert!(!call.body.contains(secret), "{secret} left the machine: {}", call.body);
        }
        assert!(call.prompt.contains("[EMAIL_1]") && call.prompt.contains("[CASE_NUMBER_1]"), "{}", call.prompt);
    }
    // What comes back is about the real thing again.
    let results = results(&scene);
    let said = arm(&results, "frontier")["outcomes"][0]["samples"][0]["text"].as_str().unwrap();
    assert_eq!(said, asked(HELD_OUT.start));
    let page = fs::read_to_string(scene.path("run/eval/report.html")).unwrap();
    for text in [&done.stdout, &page] {
        assert!(text.contains("hidden from the provider"), "{text}");
        assert!(
            text.contains(&format!("{NUM_ROWS} email")) && text.contains(&format!("{NUM_ROWS} case_number")),
            "{text}"
        );
    }
    scene.edit_config("kinds = [\"email\"]", "kinds = [\"e-mail\"]");
    scene.run(&["check", &scene.text("config.toml")]).refused(&["e-mail", "email"]);
    eval_with_key(&scene, &[]).refused(&["e-mail", "email"]);
    assert_eq!(server.num_calls(), NUM_ROWS);
}

#[test]
fn a_cap_that_is_too_small_is_never_passed_and_the_rest_is_missing() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "", &format!("{PRICED}\nmax_usd = 0.2"));
    eval_with_key(&scene, &[]).good();
    let sent = server.num_calls();
    assert!(0 < sent && sent < NUM_ROWS, "{sent} calls");
    assert!(sent as f64 * CALL_USD <= 0.2);
    let found = results(&scene);
    let frontier = arm(&found, "frontier");
    assert_eq!((&frontier["classes"]["ok"], &frontier["classes"]["missing"]), (&json!(sent), &json!(NUM_ROWS - sent)));
    near(&frontier["cost"]["total_usd"], sent as f64 * CALL_USD);
    assert_eq!(verdict(&found), "INSUFFICIENT");
    let reason = found["decided"]["verdict"]["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("{} of {NUM_ROWS} pairs have no score", NUM_ROWS - sent)), "{reason}");
    // The money is spent for good; more of it goes on where the rest begins.
    eval_with_key(&scene, &[]).good();
    assert_eq!(server.num_calls(), sent);
    eval_with_key(&scene, &["--set", "cost.max_usd=5"]).good();
    assert_eq!(server.num_calls(), NUM_ROWS);
    assert_eq!(arm(&results(&scene), "frontier")["classes"], json!({"ok": NUM_ROWS}));
}

#[test]
fn a_price_that_nobody_knows_is_unknown_and_not_nothing() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "", "");
    let done = eval_with_key(&scene, &[]).good();
    let results = results(&scene);
    let cost = &arm(&results, "frontier")["cost"];
    assert_eq!((&cost["known"], &cost["unknown"]), (&json!(0), &json!(NUM_ROWS)));
    assert!(cost["per_thousand_calls_usd"].is_null() && cost["per_correct_usd"].is_null(), "{cost}");
    assert!(done.stdout.contains("the price of frontier-1 is not known"), "{}", done.stdout);
    assert!(!done.stdout.contains("$0"), "{}", done.stdout);
    // A cap cannot be kept without a price.
    let before = server.num_calls();
    eval_with_key(&scene, &["--set", "cost.max_usd=1"]).refused(&["price of frontier", "cap", "price table"]);
    scene.write("prices.toml", prices().replacen("100.0", "0.0001", 1));
    for (file, told) in [("prices.toml", "per token"), ("nowhere.toml", "nowhere.toml")] {
        let prices = format!("cost.prices={}", scene.text(file));
        scene.run(&["check", &scene.text("config.toml"), "--set", &prices]).refused(&[file, told]);
        eval_with_key(&scene, &["--set", &prices]).refused(&[file, told]);
    }
    assert_eq!(server.num_calls(), before);
}
