//! Folders that several programs write, or that somebody else made: evaluations at once, links, files that are none, who may
//! read what, names above a config, a journal that was emptied.
//! Knows the command line and the files of a run; knows nothing of what is measured.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::eval::{arm, command, eval, names, recorded, recording, results};
use crate::hosted::{KEY, PRICED, eval_with_key, hosted, right};
use crate::hosted_server::HostedServer;
use crate::util::{Done, Scene, files, tiny_chat};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn evaluations_of_one_run_at_once_leave_results_and_proof_of_one() {
    let scene = recorded(|_| true, |_| true);
    eval(&scene, &[]).good();
    let pairs = [["candidate", "frontier"], ["frontier", "candidate"], ["candidate", "candidate"]];
    let mut ended = 0;
    for _ in 0..4 {
        let start = |pair: &[&str; 2]| {
            let mut command = command(&scene, &["--plain", "--arm", pair[0], "--arm", pair[1]]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for child in pairs.iter().map(start).collect::<Vec<_>>() {
            let done = Done::of(child.wait_with_output().unwrap());
            if done.code == Some(0) {
                ended += 1;
            } else {
                done.refused(&["another process is at work in"]);
            }
        }
        let proof = json(&scene.path("run/eval/proof.json"));
        assert_eq!(names(&results(&scene)), names(&proof["results"]));
        scene.run(&["verify", &scene.text("run/eval/proof.json")]).good();
    }
    assert!(ended >= 4, "one of those at once gets through");
    let left: Vec<String> = files(&scene.path("run")).into_iter().filter(|name| name.contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_run_that_is_held_is_refused_before_anything_is_asked() {
    let scene = recorded(|_| true, |_| true);
    eval(&scene, &[]).good();
    let before = fs::read(scene.path("run/eval/proof.json")).unwrap();
    let held = fs::File::options().write(true).open(scene.path("run/.lock")).unwrap();
    held.lock().unwrap();
    eval(&scene, &[]).refused(&["another process is at work in", "run"]);
    eval(&scene, &["--out", &scene.text("elsewhere")]).refused(&["another process is at work in"]);
    assert_eq!(fs::read(scene.path("run/eval/proof.json")).unwrap(), before);
    drop(held);
    eval(&scene, &["--out", &scene.text("elsewhere")]).good();
    let held = fs::File::options().write(true).open(scene.path(".elsewhere.lock")).unwrap();
    held.lock().unwrap();
    eval(&scene, &["--out", &scene.text("elsewhere")]).refused(&["another process is at work in", "elsewhere"]);
}

#[test]
fn a_folder_that_holds_something_else_is_not_replaced() {
    let scene = recorded(|_| true, |_| true);
    scene.write("mine/notes.md", "precious");
    eval(&scene, &["--out", &scene.text("mine")]).refused(&["notes.md", "choose another folder"]);
    eval(&scene, &["--out", &scene.text("")]).refused(&["config.toml", "choose another folder"]);
    assert_eq!(fs::read(scene.path("mine/notes.md")).unwrap(), b"precious");
    fs::create_dir(scene.path("theirs")).unwrap();
    symlink(scene.path("theirs"), scene.path("run/eval")).unwrap();
    eval(&scene, &[]).refused(&["eval is a link or a file"]);
    assert!(files(&scene.path("theirs")).is_empty());
}

#[test]
fn links_in_a_run_of_somebody_else_are_not_written_through() {
    for link in [".lock", "decisions", "events.jsonl", "checkpoints", "adapter", "eval", "summary.json", "config.toml"]
    {
        let scene = Scene::new();
        scene.edit_config("enabled = false", "enabled = true");
        scene.fit("run", &["--max-steps", "2", "--set", "train.warmup_steps=0"]).good();
        scene.write("theirs/file", "precious");
        for gone in ["summary.json", "eval", "adapter", link] {
            let path = scene.path("run").join(gone);
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(&path);
        }
        let is_folder = ["decisions", "checkpoints", "adapter", "eval"].contains(&link);
        let named = if is_folder { scene.path("theirs") } else { scene.path("theirs/file") };
        symlink(named, scene.path("run").join(link)).unwrap();
        let done = scene.fit("run", &["--resume", "--max-steps", "2", "--set", "train.warmup_steps=0"]);
        assert_eq!(fs::read(scene.path("theirs/file")).unwrap(), b"precious", "{link}: {}", done.stderr);
        assert_eq!(files(&scene.path("theirs")), ["file"], "{link}: {}", done.stderr);
        if ["summary.json", "config.toml"].contains(&link) {
            // What is renamed into its place replaces the link, or what it says was read as it is and does not fit.
            assert!(done.code == Some(0) || done.code == Some(2), "{link}: {}", done.stderr);
        } else {
            done.refused(&["is a link", link]);
        }
    }
}

#[test]
fn what_is_no_file_or_has_no_end_is_refused_at_once() {
    let scene = Scene::new();
    type Make = fn(&Path);
    let kinds: [(&str, Make); 3] = [
        ("is a pipe", pipe),
        ("is a device", |path| symlink("/dev/zero", path).unwrap()),
        ("20.0 GiB", |path| fs::File::create(path).unwrap().set_len(20 << 30).unwrap()),
    ];
    for (told, make) in kinds {
        let path = scene.path("thing.json");
        let _ = fs::remove_file(&path);
        make(&path);
        let thing = scene.text("thing.json");
        scene.run(&["verify", &thing]).refused(&[told]);
        scene.run(&["compare", &thing, &thing]).refused(&[told]);
        // In a folder of a run, where it is read by its name.
        let (run, summary) = (scene.path("run"), scene.path("run/summary.json"));
        let _ = fs::remove_dir_all(&run);
        fs::create_dir(&run).unwrap();
        fs::write(run.join("events.jsonl"), "").unwrap();
        make(&summary);
        let done = scene.run(&["show", &scene.text("run")]);
        // Only a regular file makes a finished run.
        assert!(done.code == Some(0) && done.stdout.contains("unfinished") || done.code == Some(2), "{done:?}");
    }
}

#[test]
fn what_holds_prompts_and_answers_is_the_users_alone() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "", PRICED);
    eval_with_key(&scene, &[]).good();
    let mode = |name: &str| fs::metadata(scene.path("run").join(name)).unwrap().permissions().mode() & 0o777;
    let mut private = vec!["config.toml", "events.jsonl", "summary.json", "calls.sqlite", "calls.json"];
    let reports = files(&scene.path("run/eval"));
    let reports: Vec<String> = reports.iter().map(|name| format!("eval/{name}")).collect();
    private.extend(reports.iter().map(String::as_str));
    assert!(private.len() > 8);
    for name in private {
        assert_eq!(mode(name), 0o600, "{name} can be read by others");
    }
    // What is there to be given away is as the user's mask says.
    assert_ne!(mode("adapter/adapter_config.json"), 0o600);
    assert!(!fs::read_to_string(scene.path("run/events.jsonl")).unwrap().contains(KEY));
}

#[test]
fn a_journal_that_was_emptied_or_taken_away_is_not_paid_again() {
    let server = HostedServer::start(right);
    let scene = hosted(&server, "", PRICED);
    eval_with_key(&scene, &[]).good();
    let (journal, count, calls) = (scene.path("run/calls.sqlite"), scene.path("run/calls.json"), server.num_calls());
    let kept = fs::read(&journal).unwrap();
    fs::write(&journal, "").unwrap();
    eval_with_key(&scene, &[]).refused(&["calls.sqlite", "what was spent is not known"]);
    fs::write(&journal, &kept[..4096]).unwrap();
    eval_with_key(&scene, &[]).refused(&["calls.sqlite"]);
    fs::remove_file(&journal).unwrap();
    eval_with_key(&scene, &[]).refused(&["calls.sqlite", "gone"]);
    // Neither is it when the count is gone too: the results tell of calls.
    fs::remove_file(&count).unwrap();
    eval_with_key(&scene, &[]).refused(&["calls.sqlite", "gone", "results.json"]);
    assert_eq!(server.num_calls(), calls, "nothing was sent");
    fs::write(&journal, kept).unwrap();
    eval_with_key(&scene, &[]).good();
    assert_eq!(server.num_calls(), calls);
    assert_eq!(arm(&results(&scene), "frontier")["metrics"]["exact_match"]["value"], 1.0);
}

#[test]
fn a_shared_folder_above_a_config_says_nothing_about_its_models() {
    let scene = Scene::new();
    let model = |name: &str| {
        format!(
            "version = 1\nname = \"{name}\"\nlicence = \"MIT\"\nattribution = \"nobody\"\n\
             [[sources]]\nkind = \"folder\"\npath = \"{}\"\n",
            tiny_chat().display()
        )
    };
    scene.write("configs/models/mine.toml", model("planted"));
    scene.write("models/mine.toml", model("planted"));
    for file in ["config.toml", "train.jsonl", "test.jsonl"] {
        fs::create_dir_all(scene.path("below/me")).unwrap();
        fs::copy(scene.path(file), scene.path("below/me").join(file)).unwrap();
    }
    let check = || scene.run(&["check", &scene.text("below/me/config.toml"), "--set", "model.base=mine"]);
    check().refused(&["model.base", "has no \"mine\""]);
    // Beside the config it is used, and told.
    scene.write("below/me/models/mine.toml", model("of my own"));
    let done = check().good();
    assert!(
        done.stderr.contains("model mine is what") && done.stderr.contains("below/me/models/mine.toml"),
        "{}",
        done.stderr
    );
    // Clones have it beside too, in `configs/`.
    fs::remove_dir_all(scene.path("below/me/models")).unwrap();
    scene.write("below/me/configs/models/mine.toml", model("of my own"));
    check().good();
}

#[test]
fn a_run_goes_on_whose_base_is_described_beside_its_config() {
    let scene = Scene::new();
    scene.write(
        "models/mine.toml",
        format!(
            "version = 1\nname = \"mine\"\nlicence = \"MIT\"\nattribution = \"nobody\"\n\
             [[sources]]\nkind = \"folder\"\npath = \"{}\"\n",
            tiny_chat().display()
        ),
    );
    let base = ["--set", "model.base=mine"];
    scene.fit("run", &base).good();
    scene.fit("run", &[&base[..], &["--resume"]].concat()).good();
}

#[test]
fn recordings_are_read_line_by_line_and_none_is_too_long() {
    let scene = recorded(|_| true, |_| true);
    let mut long = recording(|_| true);
    long.push_str(&"x".repeat(33 << 20));
    scene.write("candidate.jsonl", long);
    eval(&scene, &[]).refused(&["candidate.jsonl", "a row has at most 32.0 MiB"]);
    fs::remove_file(scene.path("candidate.jsonl")).unwrap();
    pipe(&scene.path("candidate.jsonl"));
    eval(&scene, &[]).refused(&["candidate.jsonl", "is a pipe"]);
}
