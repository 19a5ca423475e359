//! Runs that end early: killed at any moment, stopped by Ctrl-C, broken on disk. Going on gives the run that was never
//! interrupted, bit for bit, or is refused.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::util::{Done, Scene, files, rows, steps, summary};

/// Long enough to be interrupted many times.
pub(crate) const LONG: [&str; 4] = ["--set", "train.epochs=15", "--set", "lora.lora_dropout=0.1"];
pub(crate) const LONG_STEPS: usize = 60;

/// Lines of the log that are steps; a line that is only half there does not count.
pub(crate) fn num_steps(scene: &Scene, run: &str) -> usize {
    let log = fs::read_to_string(scene.path(run).join("events.jsonl")).unwrap_or_default();
    log.lines().filter(|line| line.starts_with(r#"{"event":"step""#) && line.ends_with('}')).count()
}

/// Waits until a run has done so many steps; false if it ended before.
pub(crate) fn wait_for_steps(scene: &Scene, run: &str, child: &mut Child, at_least: usize) -> bool {
    let start = Instant::now();
    while num_steps(scene, run) < at_least {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{run} does not get to step {at_least}");
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Starts a run and kills it once it has done so many steps.
fn killed_after(scene: &Scene, run: &str, at_least: usize, more: &[&str]) {
    let mut child = scene.start_fit(run, &[&LONG, more].concat());
    let reached = wait_for_steps(scene, run, &mut child, at_least);
    // SIGKILL: nothing of the process runs after it.
    child.kill().unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    assert!(reached, "the run ended before it could be killed: {}", done.stderr);
}

fn resume(scene: &Scene, run: &str) -> Done {
    scene.fit(run, &[&LONG[..], &["--resume"]].concat())
}

#[track_caller]
pub(crate) fn same_run(scene: &Scene, found: &str, expected: &str) {
    assert_eq!(steps(&scene.path(found)), steps(&scene.path(expected)));
    assert!(scene.adapter(found) == scene.adapter(expected), "the adapters differ");
    let (found, expected) = (scene.path(found), scene.path(expected));
    let (ours, theirs) = (summary(&found), summary(&expected));
    for key in ["status", "steps", "tokens", "supervised_tokens", "base", "data", "seed"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    let loss = |summary: &serde_json::Value| summary["train_loss"].as_f64().unwrap();
    assert!((loss(&ours) - loss(&theirs)).abs() < 1e-9, "the summary tells the loss of a part of the run");
    let left: Vec<String> =
        files(&found).into_iter().filter(|file| file.contains(".tmp") || file.contains(".partial")).collect();
    assert!(left.is_empty(), "half-written: {left:?}");
}

/// Numbers that differ from kill to kill and are the same in each run of the test.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn a_run_killed_ten_times_equals_one_that_was_not_bit_for_bit() {
    let scene = Scene::new();
    scene.fit("whole", &LONG).good();
    assert_eq!(steps(&scene.path("whole")).len(), LONG_STEPS);
    let mut random = Random(2026);
    let mut in_the_middle = 0;
    for kill in 0..10_u64 {
        let target = (kill * 5 + 1 + random.below(5)) as usize;
        let begun = scene.path("killed").join("events.jsonl").exists();
        let more: &[&str] = if begun { &["--resume"] } else { &[] };
        let mut child = scene.start_fit("killed", &[&LONG, more].concat());
        wait_for_steps(&scene, "killed", &mut child, target);
        std::thread::sleep(Duration::from_micros(random.below(8000)));
        child.kill().unwrap();
        // A process that ended by a signal has no exit code.
        in_the_middle += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(in_the_middle >= 8, "only {in_the_middle} of ten kills met a running process");
    resume(&scene, "killed").good();
    same_run(&scene, "killed", "whole");
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_again() {
    let scene = Scene::new();
    scene.fit("whole", &LONG).good();
    for milliseconds in [3, 15, 40] {
        let mut child = scene.start_fit("killed", &LONG);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        // Where it was killed before it made its folder there is nothing to go on with, and that is said.
        let done = resume(&scene, "killed");
        if done.code == Some(2) {
            done.refused(&["no run to resume", "without --resume"]);
            scene.fit("killed", &LONG).good();
        }
        same_run(&scene, "killed", "whole");
        fs::remove_dir_all(scene.path("killed")).unwrap();
    }
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let scene = Scene::new();
    scene.fit("whole", &LONG).good();
    let mut child = scene.start_fit("stopped", &LONG);
    assert!(wait_for_steps(&scene, "stopped", &mut child, 4));
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(75), "{}", done.stderr);
    assert!(done.stderr.contains("--resume --set train.epochs=15"), "{}", done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    let reached = num_steps(&scene, "stopped");
    assert!((4..LONG_STEPS).contains(&reached), "{reached}");
    // The last step is saved, whether or not one was due.
    assert!(
        scene.path(&format!("stopped/checkpoints/step-{reached:06}")).is_dir(),
        "{:?}",
        files(&scene.path("stopped"))
    );
    resume(&scene, "stopped").good();
    same_run(&scene, "stopped", "whole");
}

#[test]
fn a_broken_last_checkpoint_is_passed_over_with_a_warning() {
    let scene = Scene::new();
    scene.fit("whole", &LONG).good();
    for (run, cut) in [("cut", true), ("flipped", false)] {
        killed_after(&scene, run, 8, &[]);
        let state = last_checkpoint(&scene, run).join("state.safetensors");
        let mut bytes = fs::read(&state).unwrap();
        if cut {
            bytes.truncate(bytes.len() / 2);
        } else {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        fs::write(&state, bytes).unwrap();
        let done = resume(&scene, run).good();
        assert!(done.stderr.contains("passed over") && done.stderr.contains("state.safetensors"), "{}", done.stderr);
        same_run(&scene, run, "whole");
    }
    killed_after(&scene, "all", 8, &[]);
    for file in files(&scene.path("all/checkpoints")) {
        scene.write(&format!("all/checkpoints/{file}"), "{}");
    }
    resume(&scene, "all").refused(&["no checkpoint can be read", "checkpoints/step-"]);
}

fn last_checkpoint(scene: &Scene, run: &str) -> std::path::PathBuf {
    let folder = scene.path(run).join("checkpoints");
    let all = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_none()).max().unwrap()
}

#[test]
fn a_changed_setting_base_or_template_is_refused() {
    let scene = Scene::new();
    let model = scene.copy_model("base");
    scene.edit_config(&crate::util::tiny_chat().display().to_string(), &model.display().to_string());
    killed_after(&scene, "run", 4, &[]);
    let before = fs::read(scene.path("run/events.jsonl")).unwrap();
    let refused = |more: &[&str], told: &[&str]| {
        scene.fit("run", &[&LONG[..], &["--resume"], more].concat()).refused(told);
        assert_eq!(fs::read(scene.path("run/events.jsonl")).unwrap(), before, "the log changed");
    };
    refused(&["--set", "train.learning_rate=1e-3"], &["changed since the run began", "setting"]);
    refused(&["--set", "data.system=Be brief."], &["changed since the run began", "setting"]);
    refused(&["--set", "train.epochs=16"], &["changed since the run began"]);
    let edit = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let path = model.join(name);
        let old = fs::read(&path).unwrap();
        fs::write(&path, change(old.clone())).unwrap();
        (path, old)
    };
    let (path, old) = edit("model.safetensors", &|mut bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    });
    refused(&[], &["changed since the run began", "base"]);
    fs::write(path, old).unwrap();
    let (path, old) = edit("tokenizer_config.json", &|text| {
        let text = String::from_utf8(text).unwrap();
        text.replace("\"chat_template\": \"", "\"chat_template\": \"{# changed #}").into()
    });
    refused(&[], &["changed since the run began", "template"]);
    fs::write(path, old).unwrap();
    // What does not change the result may change.
    scene.fit("run", &[&LONG[..], &["--resume", "--set", "train.keep_checkpoints=4"]].concat()).good();
    assert_eq!(steps(&scene.path("run")).len(), LONG_STEPS);
}

#[test]
fn resume_without_a_run_or_with_a_finished_one_says_so() {
    let scene = Scene::new();
    scene.fit("run", &["--resume"]).refused(&["no run to resume", "without --resume"]);
    assert!(!scene.path("run").exists());
    // A folder without a run is none to go on in, whatever lies there, and stays as it is.
    let run = || crate::util::files(&scene.path("run"));
    fs::create_dir_all(scene.path("run/checkpoints")).unwrap();
    scene.fit("run", &["--resume"]).refused(&["no run to resume", "without --resume"]);
    let theirs =
        [("events.jsonl", "{\"event\": \"party\"}\n"), ("events.jsonl", "dear diary\n"), ("notes.txt", "precious")];
    for (name, text) in theirs {
        scene.write(&format!("run/{name}"), text);
        for (more, told) in
            [("--resume", "no run to resume"), ("--resume-or-start", "holds no run"), ("--plain", "holds no run")]
        {
            let more: &[&str] = if more == "--plain" { &[] } else { &[more] };
            scene.fit("run", more).refused(&[told, name, "--out"]);
            assert_eq!(run(), [name]);
            assert_eq!(fs::read_to_string(scene.path("run").join(name)).unwrap(), text);
        }
        fs::remove_file(scene.path("run").join(name)).unwrap();
    }
    // Notes beside an empty record are no run either; what a kill left before the first event is one.
    scene.write("run/events.jsonl", "");
    scene.write("run/notes.txt", "precious");
    scene.fit("run", &["--resume-or-start"]).refused(&["holds no run", "notes.txt"]);
    fs::remove_file(scene.path("run/notes.txt")).unwrap();
    scene.fit("run", &["--resume-or-start", "--max-steps", "1", "--set", "train.warmup_steps=0"]).good();
    fs::remove_dir_all(scene.path("run")).unwrap();
    scene.write("train.jsonl", rows(0..8));
    scene.fit("run", &[]).good();
    let files = || files(&scene.path("run")).into_iter().map(|file| fs::read(scene.path("run").join(file)).unwrap());
    let before: Vec<Vec<u8>> = files().collect();
    let done = scene.fit("run", &["--resume"]).good();
    assert!(done.stderr.contains("nothing is left to do"), "{}", done.stderr);
    assert!(before == files().collect::<Vec<_>>(), "a finished run changed");
}

#[test]
fn one_line_starts_a_run_goes_on_with_it_and_leaves_a_finished_one() {
    let scene = Scene::new();
    scene.fit("whole", &LONG).good();
    let line = [&LONG[..], &["--resume-or-start"]].concat();
    // What is no run is not taken for one, and is left as it is.
    scene.write("run/notes.txt", "precious");
    scene.fit("run", &line).refused(&["--out"]);
    assert_eq!(files(&scene.path("run")), ["notes.txt"]);
    fs::remove_dir_all(scene.path("run")).unwrap();
    killed_after(&scene, "run", 8, &["--resume-or-start"]);
    let before = fs::read(scene.path("run/events.jsonl")).unwrap();
    let other = [&line[..], &["--set", "train.learning_rate=1e-3"]].concat();
    scene.fit("run", &other).refused(&["changed since the run began", "train.learning_rate"]);
    assert_eq!(fs::read(scene.path("run/events.jsonl")).unwrap(), before);
    let done = scene.fit("run", &line).good();
    assert!(done.stderr.contains("resumed   after step"), "{}", done.stderr);
    same_run(&scene, "run", "whole");
    let left = fs::read(scene.path("run/events.jsonl")).unwrap();
    let done = scene.fit("run", &line).good();
    assert!(done.stderr.contains("nothing is left to do"), "{}", done.stderr);
    assert_eq!(fs::read(scene.path("run/events.jsonl")).unwrap(), left);
    let both = scene.fit("run", &["--resume", "--resume-or-start"]);
    assert_eq!(both.code, Some(2), "{}", both.stderr);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
}
