//! Providers that fail and evaluations that are killed: what is asked again, what is missing, and what is not paid twice.
//! Knows the hosted arm of `hosted` and a server that fails as it is told.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
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
fn a_field_that_is_refused_is_named_with_the_key_to_leave_out_and_not_sent_again() {
    let server = HostedServer::planned(|prompt, num_before| match num_before {
        0 => Reply::Refuses("`temperature` is deprecated for this model."),
        _ => Reply::Says(right(prompt)),
    });
    let scene = hosted(&server, "temperature = 0.0", PRICED);
    let told = ["frontier", "it refuses `temperature`", "hint: take temperature out of the arm"];
    eval_with_key(&scene, &["--limit", "3"]).refused(&told);
    assert_eq!(server.num_calls(), 1);
}

/// A server that reads what it is told, says `answer` and hangs up.
fn hangs_up(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 1 << 16]);
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn what_never_left_costs_nothing_and_what_left_may_have_been_billed() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "max_retries = 0", PRICED);
    // Whether money may be gone after two rows were asked for in vain at this address.
    let billed = |url: &str, proxy: Option<&str>| {
        let text = fs::read_to_string(scene.path("config.toml")).unwrap();
        scene.edit_config(&format!("url = \"{}\"", server.url), &format!("url = \"{url}\""));
        let mut program = command(&scene, &["--limit", "2"]);
        program.env("ANTHROPIC_API_KEY", KEY);
        for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
            program.env_remove(name).env_remove(name.to_lowercase());
        }
        program.envs(proxy.map(|proxy| ("HTTPS_PROXY", proxy)));
        let done = Done::of(program.output().unwrap()).good();
        scene.write("config.toml", text);
        assert_eq!(arm(&results(&scene), "frontier")["classes"], json!({"missing": 2}), "{url} {proxy:?}");
        done.stdout.contains("may have been billed")
    };
    scene.edit_config("egress = \"loopback\"", "egress = \"public\"");
    let (plain, refusing) = (hangs_up(""), hangs_up("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"));
    let no_tls = plain.replace("http://", "https://");
    let unknown = "https://name.invalid";
    // No TLS on the other side, no address, and proxies without an address and without a way on.
    for (url, proxy) in
        [(&*no_tls, None), (unknown, None), (unknown, Some("http://proxy.invalid:3128")), (unknown, Some(&*refusing))]
    {
        assert!(!billed(url, proxy), "{url} {proxy:?}");
    }
    // What was spent on a row is not forgotten, so this comes last.
    assert!(billed(&plain, None), "a call that left and was not answered counts as nothing");
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
