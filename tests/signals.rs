//! Signals that end a run, at given moments and at random ones: what is saved, the exit code, and that the run that goes
//! on is the one that was never stopped, byte for byte. `TRAINER_SIGNAL_RUNS=60` runs so many at random moments.
#![expect(unsafe_code, reason = "the standard library sets no signals")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::eval::NUM_ROWS;
use crate::hosted::{eval_with_key, hosted, right};
use crate::hosted_server::HostedServer;
use crate::pty::OnTerminal;
use crate::resume::{LONG, LONG_STEPS, num_steps, same_run, wait_for_steps};
use crate::util::{Done, Scene, events, rows, steps, summary};

/// Saved and stopped.
const STOPPED: i32 = 75;
/// Everything that asks a run without a terminal to save and stop.
const SIGNALS: [&str; 5] = ["TERM", "INT", "USR1", "USR2", "HUP"];
/// One step of all rows takes long enough for two signals.
const SLOW: [&str; 6] =
    ["--set", "train.epochs=2", "--set", "train.warmup_steps=0", "--set", "train.rows_per_step=6000"];

/// What becomes of SIGHUP in a command. Whoever runs the tests may have it either way, and a process inherits it.
#[derive(Clone, Copy)]
enum HangUp {
    /// As after a login.
    Ends,
    /// As under `nohup`.
    IsIgnored,
}

fn start(mut command: Command, hang_up: HangUp) -> Child {
    let action = match hang_up {
        HangUp::Ends => libc::SIG_DFL,
        HangUp::IsIgnored => libc::SIG_IGN,
    };
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: the call is allowed between fork and exec, and touches no memory of the parent.
    unsafe {
        command.pre_exec(move || match libc::signal(libc::SIGHUP, action) {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    command.spawn().unwrap()
}

/// `fit --resume-or-start` of the long run, without a terminal.
fn start_long(scene: &Scene, run: &str, more: &[&str]) -> Child {
    start(scene.fit_command(run, &[&LONG[..], &["--resume-or-start"], more].concat()), HangUp::Ends)
}

fn send(signal: &str, process: u32) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status().unwrap().success());
}

fn done(child: Child) -> Done {
    let done = Done::of(child.wait_with_output().unwrap());
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    done
}

/// Waits for something that comes within a minute.
#[track_caller]
fn wait(what: &str, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a run listens to all signals, where the system tells what a process listens to; else a second.
fn wait_until_it_listens(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    if fs::metadata(&status).is_err() {
        return std::thread::sleep(Duration::from_secs(1));
    }
    let all = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP];
    let wanted = all.into_iter().fold(0, |mask, signal| mask | (1_u64 << (signal - 1)));
    wait("a run that listens", || {
        let text = fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & wanted == wanted
    });
}

/// Waits until the first step of a run is under way.
fn wait_until_it_works(scene: &Scene, run: &str) {
    let log = scene.path(run).join("events.jsonl");
    wait("a run that begins", || fs::read_to_string(&log).unwrap_or_default().contains("\"run_started\""));
    std::thread::sleep(Duration::from_millis(100));
}

/// Asserts that a stopped run goes on with what it saved, to what it would have been.
fn goes_on(scene: &Scene, run: &str) {
    let done = scene.fit(run, &[&LONG[..], &["--resume-or-start"]].concat()).good();
    assert!(!done.stderr.contains("passed over"), "a checkpoint is broken: {}", done.stderr);
    same_run(scene, run, "whole");
}

#[test]
fn every_signal_saves_the_step_and_ends_with_75() {
    let scene = Scene::new();
    scene.fit("whole", &LONG).good();
    for (signal, after) in SIGNALS.into_iter().zip([4, 26, 3, 17, 10]) {
        let mut child = start_long(&scene, signal, &["--json"]);
        assert!(wait_for_steps(&scene, signal, &mut child, after), "{signal}");
        send(signal, child.id());
        let done = done(child);
        assert_eq!(done.code, Some(STOPPED), "{signal}: {}", done.stderr);
        let reached = num_steps(&scene, signal);
        assert!((after..LONG_STEPS).contains(&reached), "{signal}: {reached}");
        assert!(scene.path(signal).join(format!("checkpoints/step-{reached:06}")).is_dir(), "{signal}");
        assert_eq!(done.stdout, "", "{signal}: a run that is not done has no result");
        let told: serde_json::Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
        assert_eq!(told["error"]["exit_code"], STOPPED, "{told}");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("after step {reached} of {LONG_STEPS}")), "{told}");
        assert!(told["error"]["hint"].as_str().unwrap().contains("--resume-or-start"), "{told}");
        goes_on(&scene, signal);
    }
}

#[test]
fn a_signal_at_any_moment_leaves_a_run_that_goes_on_byte_for_byte() {
    let runs = std::env::var("TRAINER_SIGNAL_RUNS").map_or(5, |text| text.parse().unwrap());
    let scene = Scene::new();
    scene.fit("whole", &LONG).good();
    let mut num_stopped = 0;
    for number in 0..runs {
        let signal = SIGNALS[number as usize % SIGNALS.len()];
        let draw =
            |name: &str, below: u64| ground::random::mix_all(ground::random::key_of(2026, name), &[number]) % below;
        let mut child = start_long(&scene, "run", &[]);
        wait_until_it_listens(&child);
        // Now and then while it loads, before there is anything to save.
        let (after, micros) = match draw("when", 4) {
            0 => (0, draw("wait", 200_000)),
            _ => (draw("step", LONG_STEPS as u64 - 4) as usize, draw("wait", 8_000)),
        };
        wait_for_steps(&scene, "run", &mut child, after);
        std::thread::sleep(Duration::from_micros(micros));
        // One that ended already takes no signal.
        if child.try_wait().unwrap().is_none() {
            send(signal, child.id());
        }
        let done = done(child);
        match done.code {
            Some(STOPPED) => {
                num_stopped += 1;
                goes_on(&scene, "run");
            }
            Some(0) => same_run(&scene, "run", "whole"),
            code => panic!("{signal} after step {after} and {micros} µs ends with {code:?}: {}", done.stderr),
        }
        fs::remove_dir_all(scene.path("run")).unwrap();
    }
    assert!(2 * num_stopped >= runs, "only {num_stopped} of {runs} signals met a run before its end");
}

#[test]
fn before_there_is_anything_to_save_a_run_ends_without_a_trace() {
    let scene = Scene::new();
    // Reading so many rows takes a while.
    scene.write("train.jsonl", rows(100..6100));
    let child = start(scene.fit_command("run", &SLOW), HangUp::Ends);
    wait_until_it_listens(&child);
    send("TERM", child.id());
    let done = done(child);
    assert_eq!(done.code, Some(STOPPED), "{}", done.stderr);
    assert!(done.stderr.contains("hint: the same command starts again"), "{}", done.stderr);
    scene.nothing_written("run");
}

#[test]
fn a_second_request_waits_for_the_save_and_a_second_ctrl_c_does_not() {
    let scene = Scene::new();
    scene.write("train.jsonl", rows(100..6100));
    for (first, second, code) in [("TERM", "USR1", STOPPED), ("USR2", "TERM", STOPPED), ("INT", "INT", 130)] {
        let child = start(scene.fit_command(first, &SLOW), HangUp::Ends);
        wait_until_it_works(&scene, first);
        send(first, child.id());
        std::thread::sleep(Duration::from_millis(50));
        send(second, child.id());
        let done = done(child);
        assert_eq!(done.code, Some(code), "{first}, {second}: {}", done.stderr);
        let saved = scene.path(first).join("checkpoints/step-000001").is_dir();
        assert_eq!(saved, code == STOPPED, "{first}, {second}: {}", done.stderr);
        assert!(!scene.path(first).join("adapter").exists(), "{first}");
    }
}

#[test]
fn a_second_ctrl_c_gives_the_terminal_back() {
    let scene = Scene::new();
    scene.write("train.jsonl", rows(100..6100));
    let terminal = OnTerminal::start(dashboard(&scene, &SLOW));
    wait_until_it_works(&scene, "run");
    send("INT", terminal.id());
    std::thread::sleep(Duration::from_millis(50));
    send("INT", terminal.id());
    let seen = terminal.end();
    assert_eq!(seen.code, Some(130), "{}", seen.text.escape_debug());
    let (entered, left) = (seen.text.rfind("\u{1b}[?1049h"), seen.text.rfind("\u{1b}[?1049l"));
    assert!(entered.is_some() && entered < left, "{}", seen.text.escape_debug());
    assert!(seen.text.rfind("\u{1b}[?25l") < seen.text.rfind("\u{1b}[?25h"), "the cursor is not shown again");
    assert!(seen.has_its_modes, "the terminal stays in the modes of the dashboard");
}

#[test]
fn a_terminal_that_is_closed_stops_no_run() {
    let scene = Scene::new();
    let longer = ["--set", "train.epochs=60"];
    let terminal = OnTerminal::start(dashboard(&scene, &longer));
    wait("a step", || num_steps(&scene, "run") >= 4);
    let mut child = terminal.close();
    assert!(num_steps(&scene, "run") < 240, "the run ended before its terminal was closed");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(steps(&scene.path("run")).len(), 240);
    assert_eq!(summary(&scene.path("run"))["status"], "finished");
}

/// `fit` as a person types it.
fn dashboard(scene: &Scene, more: &[&str]) -> Command {
    let mut command = scene.command();
    command.arg("fit").arg(scene.path("config.toml")).arg("--out").arg(scene.path("run")).args(more);
    command
}

#[test]
fn a_run_under_nohup_goes_on_without_its_terminal() {
    let scene = Scene::new();
    let mut child = start(scene.fit_command("run", &LONG), HangUp::IsIgnored);
    assert!(wait_for_steps(&scene, "run", &mut child, 4));
    send("HUP", child.id());
    done(child).good();
    assert_eq!(steps(&scene.path("run")).len(), LONG_STEPS);
}

#[test]
fn a_stop_in_the_evaluation_of_a_run_is_made_up_for() {
    let scene = Scene::new();
    scene.write("test.jsonl", rows(1000..1400));
    let line = ["--resume-or-start", "--set", "eval.enabled=true", "--set", "eval.max_new_tokens=8"];
    let child = start(scene.fit_command("run", &line), HangUp::Ends);
    let is_of_base = |event: &serde_json::Value| event["event"] == "eval_arm" && event["arm"] == "base";
    let log = scene.path("run/events.jsonl");
    wait("an answer of the base", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|event| is_of_base(&event))
    });
    send("TERM", child.id());
    let done = done(child);
    assert_eq!(done.code, Some(STOPPED), "{}", done.stderr);
    assert!(done.stderr.contains("--resume-or-start"), "{}", done.stderr);
    assert!(!scene.path("run/summary.json").exists() && !scene.path("run/eval").exists());
    assert_eq!(events(&scene.path("run")).last().unwrap()["complete"], false);
    let adapter = scene.adapter("run");
    scene.fit("run", &line).good();
    assert_eq!(summary(&scene.path("run"))["status"], "finished");
    assert!(scene.path("run/eval/results.json").is_file());
    assert!(adapter == scene.adapter("run"), "the evaluation changed the adapter");
}

#[test]
fn a_stopped_evaluation_reports_nothing_and_pays_for_no_answer_twice() {
    let server = HostedServer::start(|prompt| {
        std::thread::sleep(Duration::from_millis(20));
        right(prompt)
    });
    let scene = hosted(&server, "", crate::hosted::PRICED);
    let mut command = crate::eval::command(&scene, &["--json"]);
    command.env("ANTHROPIC_API_KEY", crate::hosted::KEY);
    let child = start(command, HangUp::Ends);
    wait("a call", || server.num_calls() >= 3);
    send("USR1", child.id());
    let done = done(child);
    assert_eq!((done.code, done.stdout.as_str()), (Some(STOPPED), ""), "{}", done.stderr);
    let told: serde_json::Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(told["error"]["exit_code"], STOPPED, "{told}");
    assert!(!scene.path("run/eval").exists(), "a part of an evaluation is no evaluation");
    assert!(server.num_calls() < NUM_ROWS, "it was not stopped");
    eval_with_key(&scene, &[]).good();
    assert_eq!(server.num_calls(), NUM_ROWS, "an answer was asked for twice");
}
