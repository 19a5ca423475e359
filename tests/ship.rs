//! `merge`, `export`, `check-adapter` and a run that starts from an adapter: the real program on the tiny chat model.
//! What other programs make of the files is checked by `tests/golden/readers.py`, which needs Python.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::finished_run::finished;
use crate::util::{Done, Scene, copy_folder, files, rows, tiny_chat, trainer};

fn adapter() -> String {
    tiny_chat().join("adapter").display().to_string()
}

fn model() -> String {
    tiny_chat().display().to_string()
}

/// `score` of a model, token by token.
fn scores(scene: &Scene, words: &[&str]) -> Vec<f64> {
    let rows = scene.text("rows.jsonl");
    let all = [&["score", "--tokens", "--json", "--device", "cpu"], words, &[&rows]].concat();
    let lines = scene.run(&all).good().json_lines();
    let tokens = lines.iter().flat_map(|line| line["tokens"].as_array().unwrap().clone());
    tokens.map(|token| token["logprob"].as_f64().unwrap()).collect()
}

#[track_caller]
fn near(one: &[f64], two: &[f64], tolerance: f64) {
    assert_eq!(one.len(), two.len());
    let worst = one.iter().zip(two).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < tolerance, "largest difference {worst}");
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("rows.jsonl", rows(0..10));
    scene
}

fn ship(scene: &Scene, words: &[&str]) -> Done {
    let rows = scene.text("rows.jsonl");
    let common = ["--rows", &rows, "--device", "cpu", "--json"];
    scene.run(&[words, &common].concat())
}

#[test]
fn a_merged_folder_scores_as_base_and_adapter_and_says_how_far_it_is() {
    let scene = scene();
    let apart = scores(&scene, &["--model", &model(), "--adapter", &adapter()]);
    for (dtype, tolerance, most_kl) in [("f32", 1e-4, 1e-6), ("bf16", 0.5, 1e-2)] {
        let out = scene.text(dtype);
        let words = ["merge", &adapter(), "--model", &model(), "--out", &out, "--dtype", dtype];
        let told = ship(&scene, &words).good().json();
        near(&apart, &scores(&scene, &["--model", &out]), tolerance);
        let compared = &told["compared"];
        assert_eq!((compared["rows"].as_u64(), compared["tokens"].as_u64()), (Some(10), Some(apart.len() as u64)));
        let kl = compared["kl_nats_per_token"]["mean"].as_f64().unwrap();
        assert!(kl >= 0.0 && kl < most_kl, "{kl}");
        let card = fs::read_to_string(Path::new(&out).join("README.md")).unwrap();
        assert!(card.contains("KL, nats a token") && card.contains("base_model: "), "{card}");
        let account: Value = serde_json::from_slice(&fs::read(Path::new(&out).join("merge.json")).unwrap()).unwrap();
        assert_eq!(account["compared"], *compared);
        assert!(!account.to_string().contains(&scene.text("")), "a path of this machine: {account}");
    }
}

#[test]
fn small_shards_have_an_index_and_nothing_is_left_beside_the_folder() {
    let scene = scene();
    let out = scene.text("merged");
    let words = ["merge", &adapter(), "--model", &model(), "--out", &out, "--max-shard-size", "40KB"];
    ship(&scene, &words).good();
    let found = files(Path::new(&out));
    assert!(found.contains(&"model.safetensors.index.json".to_owned()), "{found:?}");
    assert!(found.iter().filter(|name| name.ends_with(".safetensors")).count() > 2, "{found:?}");
    assert!(!scene.path("merged.partial").exists());
    trainer(&["show", &out, "--json"]).good();
}

#[test]
fn gguf_files_score_as_base_and_adapter_within_their_formats() {
    let scene = scene();
    let apart = scores(&scene, &["--model", &model(), "--adapter", &adapter()]);
    for (kind, tolerance) in [("f16", 0.01), ("bf16", 0.5), ("q8_0", 0.5), ("q4_0", 4.0), ("q4_k_m", 4.0)] {
        let out = scene.text(&format!("{kind}.gguf"));
        let words = ["export", &adapter(), "--model", &model(), "--type", kind, "--out", &out];
        let told = ship(&scene, &words).good().json();
        assert!(told["compared"]["kl_nats_per_token"]["mean"].as_f64().unwrap() >= 0.0);
        near(&apart, &scores(&scene, &["--model", &out]), tolerance);
        let recipe = fs::read_to_string(scene.path(&format!("{kind}.Modelfile"))).unwrap();
        for line in [
            &format!("FROM ./{kind}.gguf"),
            "TEMPLATE \"\"\"{{- range .Messages }}<|im_start|>",
            "PARAMETER stop \"<|im_end|>\"",
        ] {
            assert!(recipe.contains(line), "{line} is not in\n{recipe}");
        }
    }
    let left: Vec<_> = files(&scene.path("")).into_iter().filter(|name| name.contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn names_without_a_folder_are_written_into_the_current_one() {
    let scene = scene();
    let here = |words: &[&str]| {
        let mut command = scene.command();
        Done::of(command.current_dir(scene.path("")).args(words).args(["--kl-rows", "0"]).output().unwrap()).good()
    };
    here(&["merge", &adapter(), "--model", &model(), "--out", "merged"]);
    here(&["export", &adapter(), "--model", &model(), "--type", "q8_0", "--out", "m.gguf"]);
    assert!(scene.path("merged/model.safetensors").is_file() && scene.path("m.Modelfile").is_file());
    let left = files(&scene.path("")).into_iter().filter(|name| name.contains("partial"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn an_adapter_is_exported_alone_and_a_checkpoint_without_one() {
    let scene = scene();
    let lora = scene.text("lora.gguf");
    scene.run(&["export", &adapter(), "--model", &model(), "--type", "lora", "--out", &lora]).good();
    let bytes = fs::read(&lora).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("adapter.lora.alpha") && has("blk.1.attn_q.weight.lora_b") && has("general.type"));
    assert!(fs::read_to_string(scene.path("lora.Modelfile")).unwrap().contains("ADAPTER ./lora.gguf"));
    let base = scene.text("base.gguf");
    ship(&scene, &["export", &model(), "--type", "f16", "--out", &base]).good();
    near(&scores(&scene, &["--model", &model()]), &scores(&scene, &["--model", &base]), 0.01);
}

#[test]
fn a_run_is_merged_and_compared_on_its_own_held_out_rows() {
    let scene = scene();
    scene.fit("run", &[]).good();
    let (run, out) = (scene.text("run"), scene.text("merged"));
    let told = scene.run(&["merge", &run, "--out", &out, "--device", "cpu", "--json"]).good().json();
    assert_eq!(told["compared"]["rows"], 6);
    assert_eq!(told["adapter"]["r"], 4);
    near(&scores(&scene, &["--model", &model(), "--adapter", &run]), &scores(&scene, &["--model", &out]), 0.5);
    // Without held-out rows it says so, and what to type.
    let silent = scene.text("silent");
    let adapter = scene.path("run/adapter").display().to_string();
    let done = scene.run(&["merge", &adapter, "--model", &model(), "--out", &silent, "--device", "cpu"]).good();
    assert!(done.stderr.contains("not compared") && done.stderr.contains("hint: --rows"), "{}", done.stderr);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let scene = scene();
    let (adapter, model, out) = (adapter(), model(), scene.text("out"));
    let base = ["merge", &adapter, "--model", &model, "--out", &out];
    scene.run(&[&base[..], &["--dtype", "f64"]].concat()).refused(&["--dtype f64"]);
    scene.run(&[&base[..], &["--max-shard-size", "5XB"]].concat()).refused(&["--max-shard-size 5XB"]);
    scene.run(&["merge", &model, "--out", &out]).refused(&["nothing to merge", "trainer export"]);
    scene.run(&["merge", &scene.text("none"), "--out", &out]).refused(&["none"]);
    let gguf = scene.text("m.gguf");
    scene.run(&["export", &model, "--out", &gguf]).refused(&["which number format"]);
    scene.run(&["export", &model, "--type", "q5_k", "--out", &gguf]).refused(&["q5_k", "q4_k_m"]);
    scene.run(&["export", &model, "--type", "f16", "--out", &out]).refused(&["does not end in .gguf"]);
    scene.run(&["export", &model, "--type", "lora", "--out", &gguf]).refused(&["without an adapter"]);
    scene.write("m.gguf", "mine");
    scene.run(&["export", &model, "--type", "f16", "--out", &gguf]).refused(&["is there already"]);
    assert_eq!(fs::read(&gguf).unwrap(), b"mine");
    assert!(!scene.path("out").exists());
    // An adapter with a feature that is not merged is refused by its name.
    copy_folder(&tiny_chat().join("adapter"), &scene.path("dora"));
    let mut config: Value = serde_json::from_slice(&fs::read(scene.path("dora/adapter_config.json")).unwrap()).unwrap();
    config["use_dora"] = json!(true);
    scene.write("dora/adapter_config.json", config.to_string());
    scene.run(&["merge", &scene.text("dora"), "--model", &model, "--out", &out]).refused(&["use_dora"]);
    scene.write("run/config.toml", "version = 1\n");
    scene.write("run/events.jsonl", "");
    scene.run(&["merge", &scene.text("run"), "--out", &out]).refused(&["did not finish", "--resume"]);
}

#[test]
fn every_reader_is_asked_and_a_required_one_decides_the_exit_code() {
    let scene = scene();
    let words = ["check-adapter", &adapter(), "--model", &model(), "--json"];
    let told = scene.run(&words).good().json();
    let readers = told["readers"].as_array().unwrap();
    let names: Vec<&str> = readers.iter().map(|reader| reader["reader"].as_str().unwrap()).collect();
    assert_eq!(names, ["PEFT", "vLLM", "mistral.rs", "llama.cpp", "trainer"]);
    assert!(readers.iter().all(|reader| reader["loads"] == true), "{told}");
    copy_folder(&tiny_chat().join("adapter"), &scene.path("dora"));
    let path = scene.path("dora/adapter_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["use_dora"] = json!(true);
    config["r"] = json!(24);
    fs::write(&path, config.to_string()).unwrap();
    let dora = scene.text("dora");
    let done = scene.run(&["check-adapter", &dora, "--model", &model()]).good();
    assert!(done.stdout.contains("vLLM         no   use_dora = true"), "{}", done.stdout);
    assert!(done.stdout.contains("trainer      no   use_dora = true is not supported: "), "{}", done.stdout);
    let required = |reader: &str| scene.run(&["check-adapter", &dora, "--model", &model(), "--require", reader]);
    let missed = required("vllm");
    assert_eq!(missed.code, Some(1));
    assert!(missed.stderr.contains("required, and would not load it: vllm"), "{}", missed.stderr);
    required("peft").good();
    required("tgi").refused(&["none of PEFT, vLLM"]);
    scene.run(&["check-adapter", &scene.text("none")]).refused(&["adapter_config.json"]);
}

#[test]
fn a_run_is_judged_beside_the_base_of_its_config_and_a_misspelt_path_asks_no_hub() {
    let done = finished().run(&["check-adapter", &finished().text("run")]).good();
    for told in [&done.stdout, &done.stderr] {
        assert!(!told.contains("were not compared"), "{told}");
    }
    let scene = scene();
    fs::create_dir(scene.path("runs")).unwrap();
    let here = |words: &[&str]| Done::of(scene.command().current_dir(scene.path("")).args(words).output().unwrap());
    here(&["merge", "runs/lagel", "--out", "x"]).refused(&["runs/lagel is not there"]);
    here(&["export", "runs/lagel", "--type", "f16", "--out", "x.gguf"]).refused(&["runs/lagel is not there"]);
    here(&["check-adapter", "runs/lagel"]).refused(&["runs/lagel/adapter_config.json"]);
}

#[test]
fn a_run_goes_on_from_an_adapter_and_refuses_one_of_another_kind() {
    let scene = scene();
    scene.fit("first", &[]).good();
    let first = format!("lora.init_adapter={}", scene.text("first"));
    // With a learning rate next to nothing, what comes out is what it started from.
    let more = ["--set", &first, "--set", "train.learning_rate=1e-12"];
    scene.fit("second", &more).good();
    let read = |run: &str| -> Vec<f32> {
        let bytes = scene.adapter(run);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<&str> = file.names().into_iter().collect();
        names.sort_unstable();
        let values = names.iter().flat_map(|name| file.tensor(name).unwrap().data().to_vec());
        values.collect::<Vec<u8>>().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let (one, two) = (read("first"), read("second"));
    let worst = one.iter().zip(&two).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-6 && one.iter().any(|value| *value != 0.0), "{worst}");
    let environment: Value = serde_json::from_slice(&fs::read(scene.path("second/env.json")).unwrap()).unwrap();
    assert!(environment["init_adapter"]["sha256"].is_string());
    let refused = scene.fit("third", &["--set", &first, "--set", "lora.r=8"]);
    refused.refused(&["its r is 4, lora.r is 8", "--set lora.r=4", "--set lora.lora_alpha=8"]);
    let narrow = ["--set", &first, "--set", "lora.target_modules=[\"q_proj\"]"];
    scene.fit("third", &narrow).refused(&["other modules than lora.target_modules"]);
    scene.fit("third", &["--set", "lora.init_adapter=./nowhere"]).refused(&["nowhere", "is not there"]);
    scene.nothing_written("third");
}
