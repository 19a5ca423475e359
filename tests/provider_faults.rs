//! Providers that fail and evaluations that are killed: what is asked again, what is missing, and what is not paid twice.
//! Knows the hosted arm of `hosted` and a server that fails as it is told.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::eval::{NUM_ROWS, arm, command, names, results, verdict};
use crate::hosted::{CALL_USD, KEY, PRICED, eval_with_key, hosted, near, nowhere, right};
use crate::hosted_server::{HostedServer, Reply};
use crate::util::Done;

#[test]
fn a_provider_that_asks_to_wait_is_asked_again_and_its_refusals_cost_nothing() {
    let server = HostedServer::planned(|prompt, num_before| match num_before {
        0 => Reply::Fails(429, "rate_limit_error", &[("retry-after-ms", "5")]),
        _ => Reply::Says(right(prompt)),
    });
    let scene = hosted(&server, "", PRICED);
    eval_with_key(&scene, &["--limit", "6"]).good();
    assert_eq!(server.num_calls(), 12);
    let results = results(&scene);
    let frontier = arm(&results, "frontier");
    assert_eq!((&frontier["classes"], &frontier["metrics"]["exact_match"]["value"]), (&json!({"ok": 6}), &json!(1.0)));
    near(&frontier["cost"]["total_usd"], 6.0 * CALL_USD);
    assert!(frontier["outcomes"].as_array().unwrap().iter().all(|row| row["samples"][0]["call"]["retries"] == 1));
}

#[test]
fn a_provider_that_is_down_leaves_rows_missing_and_they_are_asked_again_later() {
    let server = HostedServer::planned(|prompt, num_before| match num_before {
        0 => Reply::Fails(500, "api_error", &[]),
        _ => Reply::Says(right(prompt)),
    });
    let scene = hosted(&server, "max_retries = 0", PRICED);
    eval_with_key(&scene, &[]).good();
    assert_eq!(server.num_calls(), NUM_ROWS, "max_retries = 0 is none");
    let found = results(&scene);
    let frontier = arm(&found, "frontier");
    assert_eq!(
        (&frontier["classes"], &frontier["unscored"]["exact_match"]),
        (&json!({"missing": NUM_ROWS}), &json!(NUM_ROWS))
    );
    assert_eq!(verdict(&found), "INSUFFICIENT");
    eval_with_key(&scene, &[]).good();
    assert_eq!(server.num_calls(), 2 * NUM_ROWS);
    let found = results(&scene);
    assert_eq!(arm(&found, "frontier")["classes"], json!({"ok": NUM_ROWS}));
    near(&arm(&found, "frontier")["cost"]["total_usd"], NUM_ROWS as f64 * CALL_USD);
}

#[test]
fn a_key_that_is_refused_stops_at_the_first_row_and_is_not_shown() {
    // A provider that repeats the key in its error.
    let server = HostedServer::planned(|_, _| Reply::Fails(401, KEY, &[]));
    let scene = hosted(&server, "", "");
    let done = eval_with_key(&scene, &[]).refused(&["frontier", "401", "ANTHROPIC_API_KEY"]);
    assert_eq!(server.num_calls(), 1);
    nowhere(KEY, &scene, "run", &done);
    scene.edit_config("repeats = 1", "repeats = 1\nkey_variable = \"TEAM_KEY\"");
    let done = Done::of(command(&scene, &[]).env("TEAM_KEY", KEY).output().unwrap());
    done.refused(&["check that TEAM_KEY holds a whole key"]);
}

#[test]
fn a_killed_evaluation_goes_on_and_pays_for_no_row_twice() {
    let server = HostedServer::start(|prompt| {
        std::thread::sleep(Duration::from_millis(10));
        right(prompt)
    });
    let scene = hosted(&server, "", PRICED);
    let mut child = command(&scene, &[]).env("ANTHROPIC_API_KEY", KEY).stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while server.num_calls() < 10 {
        assert!(start.elapsed() < Duration::from_secs(60), "the evaluation does not get to the tenth call");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = server.num_calls();
    assert!(before < NUM_ROWS, "it ended before it could be killed");
    assert!(!scene.path("run/eval").exists(), "results of half an evaluation");
    eval_with_key(&scene, &[]).good();
    // Only the call in flight may have been made for nothing.
    assert!(server.num_calls() <= NUM_ROWS + 1, "{} calls", server.num_calls());
    let results = results(&scene);
    assert_eq!(names(&results), ["candidate", "frontier", "majority", "nearest"]);
    assert_eq!(arm(&results, "frontier")["classes"], json!({"ok": NUM_ROWS}));
    assert_eq!(arm(&results, "frontier")["metrics"]["exact_match"]["value"], 1.0);
}
