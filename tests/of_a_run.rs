//! What a run knows of itself, so that nobody types it again: its base, its system message, its prompt template, and the
//! files within its folder. Knows the command line and files; what the numbers are is the business of others.

use std::fs;

use serde_json::Value;

use crate::eval::{eval, recorded};
use crate::util::{Done, Scene, row, tiny_chat, trainer};

const SYSTEM: &str = "Name the kind of clause.";

/// A run that was trained with a system message and a prompt template.
fn worded() -> Scene {
    let scene = Scene::new();
    scene.write("ask.jinja", "Which kind? <{{ text }}>");
    let data = format!("system = \"{SYSTEM}\"\nprompt = \"ask.jinja\"\nnear_duplicates");
    scene.edit_config("near_duplicates", &data);
    scene.fit("run", &["--max-steps", "3", "--set", "train.warmup_steps=1"]).good();
    scene
}

/// The ids of every row that `score` reads.
fn ids(scene: &Scene, words: &[&str]) -> Vec<Value> {
    let words = [&["score", "--tokens", "--json", "--device", "cpu"], words].concat();
    scene.run(&words).good().json_lines().into_iter().map(|line| line["ids"].clone()).collect()
}

#[test]
fn a_run_is_scored_with_its_own_base_and_words_and_flags_win() {
    let scene = worded();
    let (run, model) = (scene.text("run"), tiny_chat().display().to_string());
    let plain = scene.write("plain.jsonl", row("a", "Clause 7", "termination")).display().to_string();
    let wrapped = scene.write("wrapped.jsonl", row("a", "Which kind? <Clause 7>", "termination")).display().to_string();
    let own = ids(&scene, &["--adapter", &run, &plain]);
    assert_eq!(own, ids(&scene, &["--model", &model, "--system", SYSTEM, &wrapped]));
    assert_eq!(ids(&scene, &["--adapter", &run, "--bare", &plain]), ids(&scene, &["--model", &model, &plain]));
    let other = ids(&scene, &["--adapter", &run, "--system", "Another one.", &plain]);
    assert_eq!(other, ids(&scene, &["--model", &model, "--system", "Another one.", &wrapped]));
    assert_ne!(own, other);
    // One line says what was taken.
    let told = |words: &[&str]| scene.run(&[&["score", "--adapter", &run], words, &[&plain]].concat()).good().stderr;
    let line = |text: &str| -> String {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("of the run ")).collect();
        assert_eq!(lines.len(), 1, "{text}");
        lines[0].to_owned()
    };
    let whole = line(&told(&[]));
    for part in ["its base tiny-chat", "its system message", "its prompt template;", "--bare"] {
        assert!(whole.contains(part), "{part} is not in {whole}");
    }
    let folder = scene.text("run/adapter");
    let alone = scene.run(&["score", "--model", &model, "--adapter", &folder, &plain]).good().stderr;
    assert!(alone.contains("the adapter alone is taken") && alone.contains(&format!("hint: {run} instead")), "{alone}");
    let few = line(&told(&["--model", &model, "--bare"]));
    assert!(few.ends_with("nothing but the adapter is taken"), "{few}");
}

#[test]
fn a_run_is_asked_with_its_own_words_also_when_its_rows_are_gone() {
    let scene = worded();
    let (run, model) = (scene.text("run"), tiny_chat().display().to_string());
    let ask = |words: &[&str]| {
        let common = ["generate", "--json", "--device", "cpu", "--max-tokens", "4"];
        scene.run(&[&common[..], words].concat()).good().json()
    };
    let own = ask(&["--adapter", &run, "Clause 7"]);
    let typed = ["--model", &model, "--adapter", &run, "--bare", "--system", SYSTEM, "Which kind? <Clause 7>"];
    assert_eq!(own, ask(&typed));
    fs::remove_file(scene.path("train.jsonl")).unwrap();
    fs::remove_file(scene.path("test.jsonl")).unwrap();
    // The template that it was trained with is its own, whatever becomes of the file.
    scene.write("ask.jinja", "Something else: {{ text }}");
    assert_eq!(own, ask(&["--adapter", &run, "Clause 7"]));
    fs::remove_file(scene.path("ask.jinja")).unwrap();
    assert_eq!(own, ask(&["--adapter", &run, "Clause 7"]));
    // Words that are gone are not left out without a word.
    fs::remove_file(scene.path("run/prompt.jinja")).unwrap();
    let gone = scene.run(&["generate", "--adapter", &run, "Clause 7"]);
    gone.refused(&["data.prompt", "ask.jinja", "run/adapter is its adapter alone"]);
}

#[test]
fn without_a_model_the_way_to_name_one_is_told() {
    trainer(&["generate", "hello"]).refused(&["which model?", "--model NAME", "--adapter RUN"]);
    let scene = Scene::new();
    scene.run(&["score", &scene.text("train.jsonl")]).refused(&["which model?", "--adapter RUN"]);
    let model = scene.text("train.jsonl");
    scene.run(&["generate", "--adapter", &model, "hello"]).refused(&["no run and no adapter"]);
}

#[test]
fn an_export_says_how_the_run_asks() {
    let scene = worded();
    let run = scene.text("run");
    for (kind, file) in [("f16", "model"), ("lora", "lora")] {
        let out = scene.text(&format!("{file}.gguf"));
        scene.run(&["export", &run, "--type", kind, "--out", &out, "--kl-rows", "0", "--device", "cpu"]).good();
        let recipe = fs::read_to_string(scene.path(&format!("{file}.Modelfile"))).unwrap();
        assert!(recipe.contains(&format!("SYSTEM \"{SYSTEM}\"\n")), "{recipe}");
        let question = "{{ if and (eq .Role \"user\") (eq (len (slice $.Messages $index)) 1) }}\
                        {{ \"Which kind? <\" }}{{ .Content }}{{ \">\" }}{{ else }}{{ .Content }}{{ end }}<|im_end|>";
        assert!(recipe.contains(question), "{recipe}");
        assert!(!recipe.contains("prompt template"), "{recipe}");
    }
    let out = scene.text("merged");
    scene.run(&["merge", &run, "--out", &out, "--kl-rows", "0", "--device", "cpu"]).good();
    let card = fs::read_to_string(scene.path("merged/README.md")).unwrap();
    assert!(card.contains(SYSTEM) && card.contains("Which kind? <{{ text }}>"), "{card}");
    let account: Value = serde_json::from_slice(&fs::read(scene.path("merged/merge.json")).unwrap()).unwrap();
    assert_eq!(account["asked_with"]["system"], SYSTEM);
}

#[test]
fn a_prompt_template_that_a_modelfile_cannot_say_is_told() {
    let scene = worded();
    scene.write("run/prompt.jinja", "{{ text | upper }}");
    let out = scene.text("m.gguf");
    let words = ["export", &scene.text("run"), "--type", "f16", "--out", &out, "--kl-rows", "0", "--device", "cpu"];
    let done = scene.run(&words).good();
    assert!(done.stderr.contains("must stand in the prompt template of the run"), "{}", done.stderr);
    let recipe = fs::read_to_string(scene.path("m.Modelfile")).unwrap();
    assert!(recipe.contains("# each question must stand in the prompt template"), "{recipe}");
    assert!(recipe.contains(&format!("SYSTEM \"{SYSTEM}\"\n")), "{recipe}");
}

#[test]
fn the_proof_and_the_results_of_a_run_are_found_by_its_folder() {
    let scene = recorded(|_| true, |_| true);
    let run = scene.text("run");
    scene.run(&["verify", &run]).refused(&["no proof.json", "trainer eval"]);
    scene.run(&["compare", &run, &run]).refused(&["no results.json", "trainer eval"]);
    eval(&scene, &[]).good();
    scene.run(&["verify", &run]).good();
    scene.run(&["verify", &scene.text("run/eval")]).good();
    let few = scene.run(&["compare", &run, &run, "--margin", "0.1", "--min-groups", "41"]).good();
    assert!(few.stdout.contains("40 independent groups, at least 41 are needed"), "{}", few.stdout);
    // What is in the folder, each value on a line of its own and no JSON but on demand.
    let shown = scene.run(&["show", &run]).good().stdout;
    assert!(shown.lines().any(|line| line.starts_with("base.name ") && line.ends_with("tiny-chat")), "{shown}");
    let (account, table) = shown.split_once("\n\n").unwrap();
    assert!(account.lines().count() > 10 && !account.contains(['{', '[']), "{shown}");
    assert!(table.contains("exact match") && table.contains("REPLACE: "), "{shown}");
    assert_eq!(scene.run(&["show", &run, "--json"]).good().json()["kind"], "run");
    let by_run = scene.run(&["compare", &run, &run, "--margin", "0.1"]).good();
    assert!(by_run.stdout.contains("candidate"), "{}", by_run.stdout);
}

#[test]
fn what_is_neither_there_nor_a_run_is_told_with_what_to_type() {
    let scene = Scene::new();
    let here = |words: &[&str]| Done::of(scene.command().current_dir(scene.path("")).args(words).output().unwrap());
    for command in [&["show", "nosuch"][..], &["verify", "nosuch"], &["compare", "nosuch", "nosuch"]] {
        here(command).refused(&["nosuch: no such file, folder or run", "a run in runs/", "trainer watch"]);
    }
    fs::create_dir_all(scene.path("runs/legal")).unwrap();
    scene.write("runs/legal/events.jsonl", "");
    here(&["show", "lagel"]).refused(&["lagel: no such file, folder or run", "did you mean runs/legal?"]);
    // By its name, as `watch` takes it.
    let shown = here(&["show", "legal"]).good().stdout;
    assert!(shown.contains("unfinished"), "{shown}");
}
