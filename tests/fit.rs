//! `fit` from start to end on the tiny model: what it leaves, that it learns, and that nothing but the seed decides.

use std::fs;

use serde_json::Value;

use crate::util::{Scene, files, row, steps, summary, tiny_chat, trainer};

fn losses(scene: &Scene, run: &str) -> Vec<f64> {
    steps(&scene.path(run)).iter().map(|step| step.loss).collect()
}

#[test]
fn the_smoke_config_ends_with_the_table_and_a_whole_run_folder() {
    let scene = Scene::new();
    let run = scene.path("smoke");
    let done = scene.run(&["fit", "configs/smoke.toml", "--plain", "--out", &scene.text("smoke")]).good();
    for arm in ["majority", "tfidf", "base", "tuned"] {
        assert!(done.stdout.contains(arm), "{arm} is not in the table:\n{}", done.stdout);
    }
    let left = files(&run);
    for file in ["config.toml", "env.json", "events.jsonl", "summary.json", "adapter/README.md"] {
        assert!(left.iter().any(|one| one == file), "{file} is missing: {left:?}");
    }
    for file in ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(left.contains(&format!("adapter/{file}")), "{file} is missing: {left:?}");
    }
    assert!(left.iter().any(|file| file.starts_with("eval/")), "{left:?}");
    assert!(left.iter().any(|file| file.starts_with("checkpoints/step-0000")), "{left:?}");
    assert!(left.iter().all(|file| !file.ends_with(".tmp")), "half-written: {left:?}");

    let summary = summary(&run);
    for key in [
        "status",
        "steps",
        "tokens",
        "supervised_tokens",
        "train_loss",
        "valid_loss",
        "tokens_per_second",
        "peak_device_bytes",
        "device",
        "wall_seconds",
        "base",
        "data",
        "seed",
        "version",
    ] {
        assert!(summary.get(key).is_some(), "{key} is not in {summary}");
    }
    assert_eq!(summary["status"], "finished");
    for (of, key) in [("base", "name"), ("base", "sha256"), ("data", "name"), ("data", "sha256"), ("data", "rows")] {
        assert!(!summary[of][key].is_null(), "{of}.{key} is not in {summary}");
    }
    assert_eq!(summary["data"]["name"], "smoke");
    let steps = steps(&run);
    assert_eq!(summary["steps"], steps.len());
    assert!(steps.last().unwrap().loss < 0.8 * steps[0].loss, "{steps:?}");
    let resolved = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(resolved.contains("max_grad_norm = 1.0"), "defaults are written out: {resolved}");

    let show = scene.run(&["show", "--json", &scene.text("smoke")]).good().json();
    assert_eq!((&show["kind"], &show["status"]), (&"run".into(), &"finished".into()));
    let again = scene.run(&["eval", "configs/smoke.toml", "--run", &scene.text("smoke")]).good();
    assert!(again.stdout.contains("tuned"), "{}", again.stdout);
}

#[test]
fn the_summary_goes_to_stdout_as_json_and_the_progress_to_stderr() {
    let scene = Scene::new();
    let done = scene.fit("run", &["--json"]).good();
    let printed = done.json();
    assert_eq!(printed["steps"], summary(&scene.path("run"))["steps"]);
    assert_eq!(printed["status"], "finished");
    assert!(done.stderr.contains("loss"), "{}", done.stderr);
    assert!(!done.stderr.contains('\r') && !done.stderr.contains('\u{1b}'), "a log has plain lines: {}", done.stderr);
}

#[test]
fn a_second_fit_into_the_same_folder_needs_resume() {
    let scene = Scene::new();
    scene.fit("run", &[]).good();
    let before = (scene.adapter("run"), fs::read(scene.path("run/events.jsonl")).unwrap());
    scene.fit("run", &[]).refused(&["--resume"]);
    assert_eq!(before, (scene.adapter("run"), fs::read(scene.path("run/events.jsonl")).unwrap()));
}

#[test]
fn max_steps_ends_a_run_early_and_it_still_is_whole() {
    let scene = Scene::new();
    scene.fit("run", &["--max-steps", "3", "--set", "train.warmup_steps=1"]).good();
    assert_eq!(steps(&scene.path("run")).len(), 3);
    assert_eq!(summary(&scene.path("run"))["steps"], 3);
    scene.adapter("run");
}

#[test]
fn a_target_that_matches_no_module_is_refused_before_there_is_a_folder() {
    let scene = Scene::new();
    let more = ["--set", "lora.target_modules=[\"q_porj\"]"];
    scene.fit("run", &more).refused(&["q_porj", "q_proj"]);
    scene.nothing_written("run");
    assert!(!scene.path("run").exists());
    scene.run(&["check", &scene.text("config.toml"), more[0], more[1]]).refused(&["q_porj"]);
}

#[test]
fn an_adapter_on_some_modules_has_only_those() {
    let scene = Scene::new();
    for (run, targets, matrices) in
        [("names", "[\"q_proj\", \"v_proj\"]", 8), ("pattern", r".*layers\.1\.mlp\.(up|down)_proj", 4)]
    {
        scene.fit(run, &["--set", &format!("lora.target_modules={targets}")]).good();
        let bytes = scene.adapter(run);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.names().len(), matrices, "{:?}", file.names());
        let (model, run) = (tiny_chat().display().to_string(), scene.text(run));
        scene.run(&["score", "--model", &model, "--adapter", &run, &scene.text("test.jsonl")]).good();
    }
}

#[test]
fn the_number_of_steps_follows_from_rows_and_epochs() {
    let scene = Scene::new();
    // 16 rows, 4 a step: two epochs are 8 steps; one and a half are 6.
    scene.fit("two", &[]).good();
    assert_eq!(steps(&scene.path("two")).len(), 8);
    scene.fit("half", &["--set", "train.epochs=1.5"]).good();
    assert_eq!(steps(&scene.path("half")).len(), 6);
    let learning_rates: Vec<f64> = steps(&scene.path("two")).iter().map(|step| step.learning_rate).collect();
    assert!(learning_rates[0] < learning_rates[1] && learning_rates[7] < learning_rates[3], "{learning_rates:?}");
    assert!(learning_rates.iter().all(|rate| *rate > 0.0 && *rate <= 5e-3), "{learning_rates:?}");
}

#[test]
fn it_overfits_eight_samples_and_then_says_them() {
    let scene = Scene::new();
    let answers = ["governing law", "termination", "assignment", "definitions"];
    let asked = |number: usize| format!("Which kind is number {number}{}?", "!".repeat(number));
    let all: String = (0..8).map(|n| row(&format!("row-{n}"), &asked(n), answers[n % 4])).collect();
    scene.write("train.jsonl", all);
    scene.overfit("run").good();
    let losses = losses(&scene, "run");
    assert_eq!(losses.len(), 60);
    assert!(losses[59] < 0.05 * losses[0], "{} after {}", losses[59], losses[0]);
    // What was learnt is said, and ends by itself: the end of the turn was learnt too.
    let (model, adapter) = (tiny_chat().display().to_string(), scene.text("run"));
    for number in [0, 1, 6] {
        let prompt = asked(number);
        let said = trainer(&["generate", "--model", &model, "--adapter", &adapter, "--json", &prompt]).good().json();
        assert_eq!(said["text"], answers[number % 4], "{said}");
        assert_eq!(said["finish"]["kind"], "stop", "{said}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_on_any_number_of_threads() {
    let scene = Scene::new();
    scene.fit("one", &["--set", "lora.lora_dropout=0.1"]).good();
    let mut command = scene.command();
    command.arg("fit").arg(scene.path("config.toml")).arg("--out").arg(scene.path("two")).arg("--plain");
    command.args(["--set", "lora.lora_dropout=0.1"]).env("RAYON_NUM_THREADS", "1");
    crate::util::Done::of(command.output().unwrap()).good();
    assert_eq!(steps(&scene.path("one")), steps(&scene.path("two")));
    assert!(scene.adapter("one") == scene.adapter("two"), "the adapters differ");
    scene.fit("three", &["--set", "lora.lora_dropout=0.1", "--set", "train.seed=8"]).good();
    assert_ne!(losses(&scene, "one"), losses(&scene, "three"));
    scene.fit("four", &[]).good();
    assert_ne!(losses(&scene, "one"), losses(&scene, "four"), "dropout changes nothing");
}

#[test]
fn keeping_less_in_memory_changes_no_number() {
    let scene = Scene::new();
    scene.fit("keep", &[]).good();
    scene.fit("recompute", &["--set", "train.recompute=always"]).good();
    assert_eq!(steps(&scene.path("keep")), steps(&scene.path("recompute")));
    assert!(scene.adapter("keep") == scene.adapter("recompute"), "the adapters differ");
}

#[test]
fn the_base_is_not_touched_and_the_adapter_names_it() {
    let scene = Scene::new();
    let model = scene.copy_model("base");
    let before: Vec<Vec<u8>> = files(&model).iter().map(|file| fs::read(model.join(file)).unwrap()).collect();
    scene.fit("run", &["--set", &format!("model.base={}", model.display())]).good();
    let after: Vec<Vec<u8>> = files(&model).iter().map(|file| fs::read(model.join(file)).unwrap()).collect();
    assert!(before == after, "the base changed");
    let config: Value =
        serde_json::from_slice(&fs::read(scene.path("run/adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["peft_type"], &config["r"]), (&"LORA".into(), &4.into()));
    assert!(config["base_model_name_or_path"].as_str().is_some_and(|name| !name.is_empty()), "{config}");
    assert_eq!(config["target_modules"].as_array().unwrap().len(), 7, "{config}");
}

#[test]
fn plan_gives_memory_and_time_without_training() {
    let scene = Scene::new();
    let config = scene.text("config.toml");
    let json = scene.run(&["plan", "--json", "--no-probe", &config]).good().json();
    let parts = json["memory"]["parts"].as_array().unwrap();
    let sum: u64 = parts.iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert!(parts.iter().all(|part| part["name"].is_string()) && json["memory"]["peak_bytes"] == sum, "{json}");
    assert!(json["measured_device_peak_bytes"].is_null() && json["steps"] == 8, "{json}");
    let words = scene.run(&["plan", &config]).good().stdout;
    assert!(words.contains("peak") && words.contains("computed twice: nothing"), "{words}");
    assert!(words.contains("tokens/s, timed on one micro-batch"), "{words}");
    let recompute = ["plan", "--json", "--no-probe", &config, "--set", "train.recompute=always"];
    let less = scene.run(&recompute).good().json();
    assert_eq!(less["memory"]["recompute"], "every layer");
    assert!(less["memory"]["peak_bytes"].as_u64() < Some(sum), "{less}");
    scene.nothing_written("run");
}
