//! What other toolkits got wrong without a word, planted here and refused or shown. The letter and number in a name are
//! those of the list of lessons that the project was designed from.

use std::fs;

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::util::{Scene, row, rows, steps, summary, tiny_chat};

fn losses(scene: &Scene, run: &str) -> Vec<f64> {
    steps(&scene.path(run)).iter().map(|step| step.loss).collect()
}

#[track_caller]
fn near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "{found} and {expected}");
    }
}

/// Rows of very different lengths, so that a mean of means would differ from the mean.
fn uneven() -> String {
    let answer = |number: usize| ["termination", "a", "governing law and assignment of rights", "b c"][number % 4];
    (0..16).map(|n| row(&format!("row-{n}"), &"which law? ".repeat(1 + n % 5), answer(n))).collect()
}

#[test]
fn f1_and_f11_one_micro_batch_or_many_packed_or_alone_give_the_same_run() {
    let scene = Scene::new();
    scene.write("train.jsonl", uneven());
    let with = |run: &str, tokens: &str| {
        let tokens = format!("train.micro_batch_tokens={tokens}");
        scene.fit(run, &["--set", "data.max_tokens=96", "--set", &tokens]).good();
        losses(&scene, run)
    };
    // All four rows of a step in one pack; then about one row in each.
    let (packed, alone) = (with("packed", "4096"), with("alone", "96"));
    near(&alone, &packed);
    let norms = |run: &str| steps(&scene.path(run)).iter().map(|step| step.gradient_norm).collect::<Vec<_>>();
    for (alone, packed) in norms("alone").iter().zip(norms("packed")) {
        assert!((alone - packed).abs() < 1e-3 * packed, "{alone} and {packed}");
    }
}

#[test]
fn f2_every_matrix_of_the_adapter_was_trained() {
    let scene = Scene::new();
    scene.fit("run", &[]).good();
    let bytes = scene.adapter("run");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    // Two layers, seven linears, A and B.
    assert_eq!(names.len(), 28, "{names:?}");
    assert_eq!(names[0], "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight");
    for name in names {
        let largest = file.tensor(name).unwrap().data().as_chunks::<4>().0.iter();
        let largest = largest.map(|bytes| f32::from_le_bytes(*bytes).abs()).fold(0.0, f32::max);
        assert!(largest.is_finite() && largest > 1e-4, "{name} was not trained: {largest}");
    }
}

#[test]
fn f5_a_row_with_nothing_to_learn_is_refused_and_counted() {
    let scene = Scene::new();
    // Cut on the right, this answer loses all its tokens.
    let long = row("lost", &"which law governs this? ".repeat(40), "termination");
    scene.write("train.jsonl", rows(0..8) + &long);
    let more =
        ["--set", "data.max_tokens=64", "--set", "data.overflow=truncate-right", "--set", "data.train_on=assistant"];
    let done = scene.fit("run", &more).good();
    assert!(done.stderr.contains("refused   1 rows: cutting it"), "{}", done.stderr);
    assert_eq!(steps(&scene.path("run")).len(), 4, "eight rows, four a step, two epochs");
    // A file of nothing but such rows trains nothing, and says so.
    scene.write("train.jsonl", &long);
    let done = scene.fit("none", &more);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    scene.nothing_written("none");
}

#[test]
fn f8_the_end_of_the_turn_is_learnt_though_it_is_also_the_padding() {
    let settings = fs::read_to_string(tiny_chat().join("tokenizer_config.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["pad_token"], settings["eos_token"], "the trap is set");
    let scene = Scene::new();
    let model = tiny_chat().display().to_string();
    let scored = scene.run(&["score", "--model", &model, "--tokens", "--json", &scene.text("train.jsonl")]).good();
    let mut supervised = 0;
    for row in scored.json_lines() {
        let tokens = row["tokens"].as_array().unwrap();
        assert_eq!(tokens.last().unwrap()["id"], 2, "{row}");
        supervised += tokens.len();
    }
    // Training counts the same tokens as scoring does: two epochs.
    scene.fit("run", &[]).good();
    assert_eq!(summary(&scene.path("run"))["supervised_tokens"], 2 * supervised);
}

#[test]
fn f9_a_start_token_of_template_and_tokenizer_stands_once() {
    let scene = Scene::new();
    let model = scene.copy_model("base");
    let edit = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&fs::read(model.join(name)).unwrap()).unwrap();
        change(&mut value);
        fs::write(model.join(name), value.to_string()).unwrap();
    };
    edit("tokenizer_config.json", &|settings| {
        let template = settings["chat_template"].as_str().unwrap();
        settings["chat_template"] = format!("{{{{ '<|endoftext|>' }}}}{template}").into();
    });
    edit("tokenizer.json", &|tokenizer| {
        let start = json!({ "SpecialToken": { "id": "<|endoftext|>", "type_id": 0 } });
        tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [start, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [start, { "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<|endoftext|>": { "id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"] } },
        });
    });
    let model = model.display().to_string();
    let scored = scene.run(&["score", "--model", &model, "--tokens", "--json", &scene.text("test.jsonl")]).good();
    for row in scored.json_lines() {
        assert_eq!((&row["ids"][0], &row["ids"][1]), (&0.into(), &1.into()), "{row}");
    }
}

#[test]
fn f10_nothing_is_cut_by_default_and_a_cut_is_counted() {
    let scene = Scene::new();
    let long = row("long", &"which law governs this? ".repeat(40), "termination");
    scene.write("train.jsonl", rows(0..8) + &long);
    let short = ["--set", "data.max_tokens=64"];
    let done = scene.fit("refused", &short).good();
    assert!(done.stderr.contains("refused   1 rows"), "{}", done.stderr);
    assert!(!done.stderr.contains("cut  "), "{}", done.stderr);
    assert_eq!(steps(&scene.path("refused")).len(), 4);
    let done = scene.fit("cut", &[&short[..], &["--set", "data.overflow=truncate-left"]].concat()).good();
    assert!(done.stderr.contains("cut  ") && done.stderr.contains("1 rows"), "{}", done.stderr);
    assert_eq!(steps(&scene.path("cut")).len(), 6, "nine rows, four a step, two epochs");
}

#[test]
fn f14_and_f15_rows_that_changed_are_refused_on_resume() {
    let scene = Scene::new();
    scene.fit("run", &[]).good();
    scene.write("train.jsonl", rows(0..16).replacen("governing law", "termination", 1));
    scene.fit("run", &["--resume"]).refused(&["the rows"]);
}

#[test]
fn f15_the_order_of_rows_follows_from_the_seed_and_differs_by_epoch() {
    let scene = Scene::new();
    scene.write("train.jsonl", uneven());
    let tokens = |run: &str, seed: &str| {
        scene.fit(run, &["--set", seed]).good();
        let events = crate::util::events(&scene.path(run));
        let steps = events.into_iter().filter(|event| event["event"] == "step");
        steps.map(|step| step["tokens"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let one = tokens("one", "train.seed=1");
    assert_eq!(one, tokens("again", "train.seed=1"));
    assert_ne!(one, tokens("two", "train.seed=2"));
    assert_ne!(one[..4], one[4..], "both epochs have the same order");
    assert_eq!(one[..4].iter().sum::<u64>(), one[4..].iter().sum::<u64>(), "an epoch has each row once");
}

#[test]
fn f17_an_adapter_that_changes_nothing_is_not_saved() {
    let scene = Scene::new();
    scene.fit("run", &["--set", "train.learning_rate=0"]).refused(&["train.learning_rate"]);
    scene.nothing_written("run");
    let done = scene.fit("run", &["--max-steps", "0"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    scene.nothing_written("run");
    // So small that every B stays zero in f32.
    let done = scene.fit("tiny", &["--set", "train.learning_rate=1e-300"]);
    assert_eq!(done.code, Some(2), "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("lora_B is zero") && done.stderr.contains("learning rate"), "{}", done.stderr);
    assert!(!scene.path("tiny/adapter").exists() && !scene.path("tiny/summary.json").exists());
}

#[test]
fn f18_the_adapter_changes_the_scores_and_foreign_keys_are_refused() {
    let scene = Scene::new();
    scene.fit("run", &[]).good();
    let model = tiny_chat().display().to_string();
    let rows = scene.text("train.jsonl");
    let mean = |more: &[&str]| {
        let words = [&["score", "--model", &model, "--json", &rows], more].concat();
        let rows = scene.run(&words).good().json_lines();
        rows.iter().map(|row| row["log_likelihood"].as_f64().unwrap()).sum::<f64>() / rows.len() as f64
    };
    let (off, on) = (mean(&[]), mean(&["--adapter", &scene.text("run")]));
    assert!(on > off + 1.0, "with the adapter {on}, without {off}");

    let adapter = scene.path("run/adapter/adapter_model.safetensors");
    let bytes = fs::read(&adapter).unwrap();
    let refused = |changed: Vec<u8>, told: &str| {
        fs::write(&adapter, changed).unwrap();
        let words = ["score", "--model", &model, "--json", &rows, "--adapter", &scene.text("run")];
        scene.run(&words).refused(&["adapter_model.safetensors", told]);
    };
    // As long as the right prefix, so that the header stays well-formed.
    let text = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut changed = bytes.clone();
        let at: Vec<usize> =
            (0..changed.len() - from.len()).filter(|&at| changed[at..].starts_with(from.as_bytes())).collect();
        assert!(!at.is_empty());
        for at in at {
            changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        changed
    };
    refused(text("base_model.model.model.", "base_modelxmodel.model."), "does not begin with base_model.model.");
    refused(text("layers.1.mlp.up_proj", "layers.9.mlp.up_proj"), "base that it was made for");
}
