//! What reaches a terminal: text of files and arguments with signs that steer it, in every place where a command shows
//! some. Each place must show the escape, so that a place which shows nothing is no proof.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::finished_run::{Copy, with_labels};
use crate::pty::{Seen, on_a_terminal};
use crate::util::{Scene, copy_folder, row, rows, tiny_chat};

/// Sets the title of the window, rings, and turns the direction of writing.
const EVIL: &str = "\u{1b}]0;TITLE\u{7}\u{202e}abc\u{9b}31m";
/// How its signs are shown; a name in a dashboard may be cut behind the first ones.
const SHOWN: &str = "\\u{1b}]0;TITLE\\u{7}\\u{202e}abc";

#[track_caller]
fn nothing_raw(what: &str, seen: &Seen) {
    let text = &seen.text;
    for raw in ["\u{1b}]0;TITLE", "\u{7}", "\u{202e}", "\u{9b}"] {
        assert!(!text.contains(raw), "{what}: {raw:?} arrives raw: {}", text.escape_debug());
    }
    assert!(!text.contains("panicked"), "{what}: {text}");
}

#[track_caller]
fn shows(what: &str, seen: &Seen) {
    nothing_raw(what, seen);
    assert!(seen.text.contains(SHOWN), "{what}: nothing of it is shown: {}", seen.text.escape_debug());
}

/// Runs the command with these words on a terminal.
fn run(scene: &Scene, arguments: &[&str]) -> Seen {
    let mut command = scene.command();
    command.args(arguments);
    on_a_terminal(command, "", "")
}

#[track_caller]
fn check(scene: &Scene, arguments: &[&str]) -> Seen {
    let seen = run(scene, arguments);
    shows(&arguments.join(" "), &seen);
    seen
}

#[test]
fn what_was_typed_is_shown_where_it_is_refused() {
    let scene = Scene::new();
    for arguments in [
        &[EVIL][..],
        &["fit", "a.toml", EVIL],
        &["fit", "a.toml", &format!("--{EVIL}")],
        &["generate", "--model", "m", "--max-tokens", EVIL, "hi"],
        &["compare", "a", "b", "--margin", EVIL],
        &["show", EVIL],
        &["fit", EVIL],
        &["watch", EVIL],
        &["verify", EVIL],
        &["pull", EVIL],
        &["export", EVIL, "--type", EVIL, "--out", "a.gguf"],
        &["check-adapter", EVIL, "--require", EVIL],
        &["merge", "x", "--dtype", EVIL, "--out", "y"],
    ] {
        assert_eq!(check(&scene, arguments).code, Some(2), "{arguments:?}");
    }
    // Help and version are no refusals, and go to standard output.
    assert_eq!(run(&scene, &["--version"]).code, Some(0));
    assert!(run(&scene, &["--help"]).text.contains("Usage: trainer <COMMAND>"));
}

#[test]
fn an_error_as_json_steers_nothing_and_holds_the_very_text() {
    let scene = Scene::new();
    for arguments in [&["show", EVIL, "--json"][..], &["doctor", EVIL, "--json"]] {
        let seen = run(&scene, arguments);
        nothing_raw("an error as JSON", &seen);
        assert_eq!(seen.code, Some(2));
        let told: serde_json::Value = serde_json::from_str(seen.text.trim()).unwrap();
        assert_eq!(told["error"]["exit_code"], 2, "{told}");
        assert!(told["error"]["message"].as_str().unwrap().contains("\u{202e}abc"), "{told}");
    }
}

#[test]
fn rows_are_shown_whatever_part_of_them_steers() {
    let scene = Scene::new();
    let messages =
        |role: &str, answer: &str| json!([{"role": role, "content": "q"}, {"role": "assistant", "content": answer}]);
    for (name, line) in [
        ("answer", json!({ "messages": messages("user", EVIL) })),
        ("role", json!({ "messages": messages(EVIL, "yes") })),
        ("key", json!({ EVIL: 1 })),
        ("id", json!([{ "id": EVIL, "messages": messages("user", "yes") }])),
    ] {
        // Two rows of one id are refused with it.
        let lines = if name == "id" { format!("{0}\n{0}\n", line[0]) } else { format!("{line}\n") };
        let path = scene.write(&format!("{name}.jsonl"), lines).display().to_string();
        check(&scene, &["show", &path]);
    }
    let model = tiny_chat().display().to_string();
    let path = scene.write("score.jsonl", row(EVIL, "q", "yes")).display().to_string();
    check(&scene, &["score", "--model", &model, "--tokens", "--device", "cpu", &path]);
}

#[test]
fn checks_plans_and_runs_show_configs_and_samples() {
    let scene = Scene::new();
    scene.write("train.jsonl", row(EVIL, EVIL, EVIL) + &rows(0..15));
    let config = scene.text("config.toml");
    check(&scene, &["check", &config]);
    // The first row is a part of what fit tells: its ledger, or the rows that it leaves out.
    let evil = scene.write("evil.jsonl", rows(0..16)).with_file_name(format!("{EVIL}.jsonl"));
    fs::copy(scene.path("evil.jsonl"), &evil).unwrap();
    scene.edit_config("train = \"train.jsonl\"", &format!("train = {}", toml_text(&format!("{EVIL}.jsonl"))));
    check(
        &scene,
        &["fit", &config, "--plain", "--max-steps", "1", "--set", "train.warmup_steps=0", "--out", &scene.text("run")],
    );
    // A value of a config is shown as TOML writes it, and that as text.
    let seen = run(&scene, &["plan", "--no-probe", "--set", &format!("lora.r=\"{EVIL}\""), &config]);
    nothing_raw("plan", &seen);
    assert!(seen.text.contains("\\u001B]0;TITLE\\u0007\\u{202e}abc"), "{}", seen.text.escape_debug());
    let key = scene.write("key.toml", format!("version = 1\n{} = 1\n", toml_text(EVIL))).display().to_string();
    check(&scene, &["check", &key]);
    let broken = scene.write("broken.toml", format!("version = 1\nname = {EVIL}\n")).display().to_string();
    nothing_raw("a config that is no TOML", &run(&scene, &["check", &broken]));
}

/// A text as a value or key of TOML.
fn toml_text(text: &str) -> String {
    let escaped: String = text.chars().map(|sign| format!("\\u{:04x}", u32::from(sign))).collect();
    format!("\"{escaped}\"")
}

#[test]
fn models_adapters_and_templates_show_what_they_say_of_themselves() {
    let scene = Scene::new();
    let model = scene.copy_model("model");
    let path = model.display().to_string();
    let edit = |file: &str, key: &str| {
        let mut value: serde_json::Value = serde_json::from_slice(&fs::read(model.join(file)).unwrap()).unwrap();
        value[key] = EVIL.into();
        fs::write(model.join(file), value.to_string()).unwrap();
    };
    edit("adapter/adapter_config.json", "base_model_name_or_path");
    edit("adapter/adapter_config.json", "peft_type");
    check(&scene, &["show", &scene.text("model/adapter")]);
    nothing_raw("check-adapter", &run(&scene, &["check-adapter", &scene.text("model/adapter")]));
    fs::write(model.join("chat_template.jinja"), format!("{{{{ raise_exception('{EVIL}') }}}}")).unwrap();
    check(&scene, &["generate", "--model", &path, "--device", "cpu", "hi"]);
    edit("config.json", "model_type");
    check(&scene, &["show", &path]);
    fs::write(model.join("config.json"), EVIL).unwrap();
    nothing_raw("a config.json that is no JSON", &run(&scene, &["show", &path]));
    let named = scene.copy_model(EVIL).display().to_string();
    nothing_raw("a model by its folder", &run(&scene, &["generate", "--model", &named, "--device", "cpu", "hi"]));
}

#[test]
fn runs_results_and_proofs_show_what_others_wrote_into_them() {
    let scene = Scene::new();
    let summary = json!({ "status": EVIL, "name": EVIL });
    scene.write("run/summary.json", summary.to_string());
    check(&scene, &["show", &scene.text("run")]);
    // JSON too, as long as it goes to a terminal; a pipe gets it as it is.
    let json = run(&scene, &["show", "--json", &scene.text("run")]).text;
    assert!(json.contains("\\u001b]0;TITLE") && json.contains("\\u{202e}abc"), "{}", json.escape_debug());
    assert!(!json.contains(['\u{202e}', '\u{7}', '\u{9b}']), "{}", json.escape_debug());
    let piped = scene.run(&["show", "--json", &scene.text("run")]).good();
    assert!(piped.stdout.contains('\u{202e}') && piped.json()["status"] == EVIL, "{}", piped.stdout);
    let proof = scene.write("proof.json", json!({ "version": 1, EVIL: 1 }).to_string()).display().to_string();
    check(&scene, &["verify", &proof]);

    let finished = with_labels();
    let text = fs::read_to_string(finished.path("run/eval/results.json")).unwrap();
    let named = text.replace("\"tuned\"", &json!(format!("tuned{EVIL}")).to_string());
    assert_ne!(text, named);
    let results = scene.write("results.json", named).display().to_string();
    check(&scene, &["compare", &results, &results, "--margin", "0.1"]);
    let proof = fs::read_to_string(finished.path("run/eval/proof.json")).unwrap();
    let changed = proof.replacen("\"tuned\"", &json!(EVIL).to_string(), 3);
    let proof = scene.write("changed.json", changed).display().to_string();
    let seen = run(&scene, &["verify", &proof]);
    nothing_raw("a proof that was changed", &seen);
    assert_eq!(seen.code, Some(1), "{}", seen.text.escape_debug());
}

#[test]
fn a_publication_shows_what_is_in_its_way() {
    let run = Copy::new();
    let config = run.path("adapter/adapter_config.json");
    fs::write(run.path("adapter").join(format!("{EVIL}.bin")), "x").unwrap();
    assert!(config.is_file());
    let seen = on_a_terminal(run.command(&["--dry-run"]), "", "");
    shows("publish, a file that is left out", &seen);
    let seen = on_a_terminal(run.command(&["--dry-run", "--language", EVIL, "--accept-licence", EVIL]), "", "");
    shows("publish, what was said", &seen);
}

#[test]
fn the_dashboard_lists_and_opens_runs_of_others() {
    let scene = Scene::new();
    let recorded = crate::util::root().join("tests/recorded/smoke-events.jsonl");
    let text = fs::read_to_string(recorded).unwrap();
    let mut events = text.replacen("\"name\":\"smoke\"", &format!("\"name\":{}", json!(EVIL)), 1);
    assert_ne!(events, text);
    events += &format!(
        "{}\n{}\n",
        json!({ "event": "warning", "message": EVIL }),
        json!({ "event": "failed", "message": EVIL })
    );
    let name = format!("runs/{EVIL}");
    scene.write(&format!("{name}/events.jsonl"), &events);
    copy_folder(&scene.path(&name), &scene.path("runs/second"));
    scene.write(&format!("{name}/config.toml"), format!("name = {}\n", toml_text(EVIL)));
    let watch = |more: &[&str]| -> Command {
        let mut command = scene.command();
        command.current_dir(scene.path("")).arg("watch").args(more).env("LANG", "C.UTF-8");
        command
    };
    shows("watch, the list", &on_a_terminal(watch(&[]), "valid", "q"));
    shows("watch, one run", &on_a_terminal(watch(&[&name]), "failed", "q"));
    shows("watch, two runs", &on_a_terminal(watch(&[&name, "runs/second"]), "side", "q"));
}
