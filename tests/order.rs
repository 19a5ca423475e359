//! In which order things are looked at, and that `check` refuses what `fit` does: cheap faults are told before the model is
//! looked at, before rows are tokenised and before any arm is asked.
//! Knows the command line; knows nothing of what is computed.

use std::fs;

use serde_json::json;

use crate::eval::{RECORDED, eval, names, recorded, results, scene};
use crate::util::{Done, Scene, rows, steps, tiny_chat};

/// A place that a model could lie at, with none in it: whoever looks at the model fails here.
fn no_model(scene: &Scene) -> String {
    scene.write("no-model/README.md", "none");
    format!("model.base={}", scene.text("no-model"))
}

/// A refusal that does not speak of the model.
#[track_caller]
fn before_the_model(done: Done, told: &[&str]) {
    let done = done.refused(told);
    assert!(!done.stderr.contains("no-model"), "the model was looked at first: {}", done.stderr);
}

#[test]
fn cheap_faults_are_told_before_the_model_is_looked_at() {
    let scene = Scene::new();
    let model = no_model(&scene);
    let both = |more: &[&str], told: &[&str]| {
        for command in ["check", "fit"] {
            let (config, out) = (scene.text("config.toml"), scene.text("run"));
            let words = [&[command, &config, "--out", &out, "--set", &model], more].concat();
            before_the_model(scene.run(&words), told);
        }
    };
    both(&["--set", "train.warmup_steps=8"], &["train.warmup_steps is 8, and the run has 8 steps"]);
    both(&["--set", "train.valid_every_steps=2"], &["there are no validation rows", "data.valid"]);
    both(&["--set", "lora.init_adapter=./nowhere"], &["nowhere", "is not there"]);
    let enabled = ["--set", "eval.enabled=true", "--set"];
    both(&[&enabled[..], &["decision.slices=[\"colour\"]"]].concat(), &["colour"]);
    both(&[&enabled[..], &["decision.baseline=[\"fronteer\"]"]].concat(), &["\"fronteer\"", "majority, nearest, base"]);
    let schema = "eval.scorer=[{kind=\"json_valid\", schema=\"nowhere.json\"}]";
    both(&[&enabled[..], &[schema]].concat(), &["nowhere.json"]);
    scene.write("train.jsonl", rows(0..16) + "{\"id\": 1\n");
    both(&[], &["train.jsonl:17"]);
    scene.nothing_written("run");
}

#[test]
fn validations_without_rows_are_told_before_the_model_where_only_the_rows_show_it() {
    let scene = Scene::new();
    let (model, out) = (no_model(&scene), scene.text("run"));
    let few = ["--set", "data.valid_fraction=1e-9", "--set", &model, "--out", &out];
    let done = scene.run(&[&["fit", "configs/smoke.toml"][..], &few].concat());
    before_the_model(done, &["the valid split is empty", "valid_fraction"]);
}

#[test]
fn check_refuses_what_fit_refuses() {
    let scene = Scene::new();
    for (set, told) in [
        ("train.warmup_steps=8", "the run has 8 steps"),
        ("lora.target_modules=[\"q_porj\"]", "q_porj"),
        ("lora.init_adapter=./nowhere", "is not there"),
        ("device.precision=f16", "f16"),
        ("data.max_tokens=2000", "1024"),
    ] {
        for command in ["check", "fit"] {
            let (config, out) = (scene.text("config.toml"), scene.text("run"));
            scene.run(&[command, &config, "--out", &out, "--set", set]).refused(&[told]);
        }
    }
    scene.nothing_written("run");
    // A folder that is taken is no fault of the config: the run may be gone on with.
    scene.fit("run", &[]).good();
    let words = ["check", &scene.text("config.toml"), "--out", &scene.text("run")];
    let done = scene.run(&words).good();
    assert!(done.stderr.contains("holds a run already") && done.stderr.contains("--resume"), "{}", done.stderr);
}

#[test]
fn a_used_run_folder_is_told_before_anything_else() {
    let scene = Scene::new();
    scene.fit("run", &[]).good();
    let model = no_model(&scene);
    before_the_model(scene.fit("run", &["--set", &model]), &["holds a run already", "--resume"]);
    before_the_model(scene.fit("other", &["--resume", "--set", &model]), &["no run to resume"]);
    let changed = ["--resume", "--set", &model, "--set", "lora.r=2"];
    before_the_model(scene.fit("run", &changed), &["lora.r is 2, was 4"]);
}

#[test]
fn the_defaults_fit_a_hundred_and_sixty_rows() {
    let scene = Scene::new();
    scene.write("train.jsonl", rows(100..260));
    for line in ["epochs = 2\n", "rows_per_step = 4\n", "warmup_steps = 2\n"] {
        scene.edit_config(line, "");
    }
    scene.run(&["check", &scene.text("config.toml")]).good();
    scene.fit("run", &[]).good();
    let rates: Vec<f64> = steps(&scene.path("run")).iter().map(|step| step.learning_rate).collect();
    assert_eq!(rates.len(), 10);
    // A tenth of ten steps: the first is half of the peak, the second the peak.
    assert!((rates[0] - 2.5e-3).abs() < 1e-9 && (rates[1] - 5e-3).abs() < 1e-9, "{rates:?}");
    assert!(rates[1..].is_sorted_by(|one, next| one > next) && rates[9] > 0.0, "{rates:?}");
}

#[test]
fn what_an_evaluation_reads_is_looked_at_before_rows_and_model() {
    let scene = recorded(|_| true, |_| true);
    let model = no_model(&scene);
    let told = |more: &[&str], told: &[&str]| {
        before_the_model(eval(&scene, &[&["--set", &model], more].concat()), told);
        assert!(!scene.path("run/eval").exists());
    };
    // The rows are broken too, and are looked at later.
    scene.write("train.jsonl", "{\n");
    told(&["--replay", "nope.jsonl"], &["nope.jsonl"]);
    scene.write("half.jsonl", "{\"id\": \"row-16\"");
    told(&["--replay", &scene.text("half.jsonl")], &["half.jsonl:1"]);
    fs::rename(scene.path("candidate.jsonl"), scene.path("kept.jsonl")).unwrap();
    told(&[], &["candidate.jsonl"]);
    fs::rename(scene.path("kept.jsonl"), scene.path("candidate.jsonl")).unwrap();
    scene.write("run/decisions/frontier.json", "{}\n");
    told(&[], &["frontier.json"]);
    fs::remove_dir_all(scene.path("run/decisions")).unwrap();
    told(&[], &["train.jsonl:1"]);
}

#[test]
fn a_key_that_no_header_can_hold_is_told_before_anybody_is_asked() {
    let arm = "[[eval.arm]]\nname = \"frontier\"\nprovider = \"anthropic\"\nmodel = \"m\"\n";
    let scene = scene("egress = \"public\"", arm);
    let model = no_model(&scene);
    let mut command = crate::eval::command(&scene, &["--set", &model]);
    let done = Done::of(command.env("ANTHROPIC_API_KEY", "two words").output().unwrap());
    before_the_model(done, &["ANTHROPIC_API_KEY"]);
}

#[test]
fn one_arm_of_a_config_keeps_the_free_baselines_beside_it() {
    let arm = "[[eval.arm]]\nname = \"tuned\"\nprovider = \"tuned\"\n";
    let one = scene("", arm);
    eval(&one, &[]).good();
    assert_eq!(names(&results(&one)), ["tuned", "majority", "nearest"]);
    eval(&one, &["--set", "eval.baselines=false"]).good();
    assert_eq!(names(&results(&one)), ["tuned"]);
    let labels = "eval.labels=[\"governing law\", \"termination\", \"assignment\", \"definitions\"]";
    eval(&one, &["--set", labels]).good();
    assert_eq!(names(&results(&one)), ["tuned", "majority", "tfidf"]);
    // A decision may name one of them.
    let decided = scene("", &format!("{arm}[decision]\nbaseline = [\"majority\"]\n"));
    eval(&decided, &[]).good();
    assert!(decided.path("run/decisions/majority.json").is_file());
    eval(&decided, &["--set", "eval.baselines=false"]).refused(&["\"majority\"", "the arms are tuned"]);
}

#[test]
fn training_asks_no_other_adapter_at_its_end() {
    let scene = Scene::new();
    let adapter = tiny_chat().join("adapter").display().to_string();
    let arm = format!("arm = [{{ name = \"other\", provider = \"adapter\", adapter = {adapter:?} }}]");
    scene.edit_config("enabled = false", &arm);
    let done = scene.fit("run", &[]).good();
    assert!(done.stdout.contains("other: not measured, trainer eval asks it"), "{}", done.stdout);
    assert!(scene.path("run/eval/results.json").is_file());
}

#[test]
fn a_recording_may_name_the_buckets_that_it_knows() {
    let scene = scene("", RECORDED);
    let line = |number: usize, usage: &str| {
        format!("{{\"id\": \"row-{number}\", \"text\": \"x\", \"latency_secs\": 1.0, \"usage\": {usage}}}\n")
    };
    let two = "{\"input_uncached\": 7, \"output_visible\": 2}";
    scene.write("candidate.jsonl", crate::eval::HELD_OUT.map(|number| line(number, two)).collect::<String>());
    scene.write("frontier.jsonl", crate::eval::HELD_OUT.map(|number| line(number, "{}")).collect::<String>());
    eval(&scene, &[]).good();
    let results = results(&scene);
    for (name, tokens) in [("candidate", 7), ("frontier", 0)] {
        let arm = crate::eval::arm(&results, name);
        assert_eq!(arm["outcomes"][0]["samples"][0]["call"]["prompt_tokens"], json!(tokens), "{name}");
        // Nobody wrote a price down.
        assert_eq!((&arm["cost"]["known"], &arm["cost"]["unknown"]), (&json!(0), &json!(40)), "{name}");
    }
}
