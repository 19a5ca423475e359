//! Adapters that are more than two matrices beside a linear, or whose files contradict each other: every command that would
//! compute one refuses it by name. Those that only started or were trained in another way are computed as they are.
//! `tests/golden/adapter_forms.py` makes each form with PEFT and compares the numbers; it needs Python.

use std::fs;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::util::{Done, Scene, copy_folder, rows, tiny_chat};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

fn model() -> String {
    tiny_chat().display().to_string()
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("rows.jsonl", rows(0..4));
    scene
}

/// The adapter of the tiny chat model with other settings.
fn adapter(scene: &Scene, name: &str, settings: &[(&str, Value)]) -> String {
    copy_folder(&tiny_chat().join("adapter"), &scene.path(name));
    let path = scene.path(name).join(CONFIG);
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (key, value) in settings {
        config[*key] = value.clone();
    }
    fs::write(path, config.to_string()).unwrap();
    scene.text(name)
}

/// Log-probabilities of all target tokens with an adapter.
fn scores(scene: &Scene, adapter: &str) -> Vec<f64> {
    let rows = scene.text("rows.jsonl");
    let words = ["score", "--tokens", "--json", "--device", "cpu", "--model", &model(), "--adapter", adapter, &rows];
    let lines = scene.run(&words).good().json_lines();
    let tokens = lines.iter().flat_map(|line| line["tokens"].as_array().unwrap().clone());
    tokens.map(|token| token["logprob"].as_f64().unwrap()).collect()
}

#[track_caller]
fn near(one: &[f64], two: &[f64], tolerance: f64) {
    assert!(!one.is_empty() && one.len() == two.len());
    let worst = one.iter().zip(two).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < tolerance, "largest difference {worst}");
}

/// What `check-adapter` says that this program would do.
fn judged(scene: &Scene, adapter: &str, more: &[&str]) -> Value {
    let words = [&["check-adapter", adapter, "--json"], more].concat();
    let told = scene.run(&words).good().json();
    let readers = told["readers"].as_array().unwrap().clone();
    readers.into_iter().find(|reader| reader["reader"] == "trainer").unwrap()
}

/// Every command that would compute an adapter refuses it with these words and writes nothing; `check-adapter` says the same
/// of this program, with the base at hand or without where that is enough.
#[track_caller]
fn refused_everywhere(scene: &Scene, adapter: &str, told: &[&str], without_a_base: bool) {
    let (model, rows, config) = (model(), scene.text("rows.jsonl"), scene.text("config.toml"));
    let refused = |words: &[&str]| scene.run(words).refused(told);
    refused(&["generate", "--model", &model, "--adapter", adapter, "hello"]);
    refused(&["score", "--model", &model, "--adapter", adapter, &rows]);
    let (out, gguf) = (scene.text("merged"), scene.text("out.gguf"));
    refused(&["merge", adapter, "--model", &model, "--kl-rows", "0", "--out", &out]);
    for kind in ["lora", "f16"] {
        refused(&["export", adapter, "--model", &model, "--type", kind, "--kl-rows", "0", "--out", &gguf]);
    }
    assert!(!scene.path("merged").exists() && !scene.path("out.gguf").exists(), "{adapter} was written");
    let start = format!("lora.init_adapter={adapter}");
    refused(&["check", &config, "--set", &start]);
    scene.fit("run", &["--set", &start]).refused(told);
    scene.nothing_written("run");
    for more in [&["--model", &model][..], &[]].iter().take(if without_a_base { 2 } else { 1 }) {
        let judged = judged(scene, adapter, more);
        assert_eq!(judged["loads"], false, "{judged}");
        let reasons = judged["reasons"].as_array().unwrap();
        let what = format!("{} {}", reasons[0]["what"], reasons[0]["hint"]).replace("\\\"", "\"");
        assert!(told.iter().all(|told| what.contains(told)), "{told:?}: {what}");
        assert_eq!(reasons.len(), 1, "{judged}");
        let required = scene.run(&[&["check-adapter", adapter, "--require", "trainer"][..], more].concat());
        assert_eq!(required.code, Some(1), "{}", required.stderr);
    }
}

#[test]
fn a_form_that_is_not_computed_is_refused_by_every_command_that_would_compute_it() {
    let scene = scene();
    for (name, key, value) in [
        ("pissa", "init_lora_weights", json!("pissa")),
        ("olora", "init_lora_weights", json!("olora")),
        ("alora", "alora_invocation_tokens", json!([1, 100, 118])),
        ("unknown", "lora_magic", json!({ "level": 9 })),
        ("loha", "peft_type", json!("LOHA")),
        ("zero", "lora_alpha", json!(0)),
        ("negative", "lora_alpha", json!(-8)),
    ] {
        let adapter = adapter(&scene, name, &[(key, value.clone())]);
        refused_everywhere(&scene, &adapter, &[key, &value.to_string()], true);
    }
}

/// Names, types, shapes and bytes of a file of tensors.
type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

/// The adapter of the tiny chat model with other settings and other tensors.
fn changed(scene: &Scene, name: &str, settings: &[(&str, Value)], change: impl FnOnce(&mut Tensors)) -> String {
    let bytes = fs::read(tiny_chat().join("adapter").join(WEIGHTS)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all = file.tensors().into_iter();
    let mut tensors: Tensors =
        all.map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())).collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let adapter = adapter(scene, name, settings);
    scene.write(&format!("{name}/{WEIGHTS}"), safetensors::serialize(views, None).unwrap());
    adapter
}

#[test]
fn files_that_contradict_each_other_are_refused_by_every_command_and_no_hint_blames_the_base() {
    const Q_A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    let scene = scene();
    let plain = |_: &mut Tensors| {};
    let without = |part: &'static str| move |tensors: &mut Tensors| tensors.retain(|(name, ..)| !name.contains(part));
    let beside = |tensors: &mut Tensors| {
        let again = tensors[0].clone();
        tensors.push(("base_model.model.model.norm.weight".to_owned(), again.1, again.2, again.3));
    };
    let not_finite = |tensors: &mut Tensors| tensors[0].3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let doubles = |tensors: &mut Tensors| {
        let (_, dtype, _, bytes) = &mut tensors[0];
        (*dtype, *bytes) = (Dtype::F64, [bytes.clone(), bytes.clone()].concat());
    };
    let cases: [(String, &[&str]); 8] = [
        (changed(&scene, "rank", &[("r", json!(8))], plain), &["lora_A.weight has shape [4, ", "since r = 8"]),
        (
            changed(&scene, "targets", &[("target_modules", json!(["q_proj"]))], plain),
            &["target_modules", "proj.lora_A"],
        ),
        (changed(&scene, "unserved", &[], without(".k_proj.")), &["target_modules names \"k_proj\"", "no tensor"]),
        (changed(&scene, "alone", &[], without(Q_A)), &["q_proj.lora_B.weight is alone", Q_A]),
        (changed(&scene, "beside", &[], beside), &["model.norm.weight is a tensor of the base itself"]),
        (changed(&scene, "empty", &[], Vec::clear), &["holds no tensor"]),
        (changed(&scene, "nan", &[], not_finite), &[".weight holds a number that is not finite"]),
        (changed(&scene, "f64", &[], doubles), &[".weight of type F64"]),
    ];
    for (adapter, told) in cases {
        refused_everywhere(&scene, &adapter, told, true);
        let done = scene.run(&["score", "--model", &model(), "--adapter", &adapter, &scene.text("rows.jsonl")]);
        assert!(!done.stderr.contains("base that it was made for"), "{}", done.stderr);
    }
    let beyond = |tensors: &mut Tensors| {
        tensors.iter_mut().for_each(|tensor| tensor.0 = tensor.0.replace("layers.1.", "layers.7."));
    };
    let adapter = changed(&scene, "other-base", &[("base_model_name_or_path", json!("owner/other"))], beyond);
    let told = ["layers.7.", "is not in the base", "use it with the base that it was made for", "owner/other"];
    refused_everywhere(&scene, &adapter, &told, false);
}

#[test]
fn a_key_that_stands_twice_is_refused_by_every_command() {
    let scene = scene();
    let adapter = adapter(&scene, "twice", &[]);
    let text = fs::read_to_string(scene.path("twice").join(CONFIG)).unwrap();
    scene.write(&format!("twice/{CONFIG}"), text.replacen('{', "{\"lora_alpha\": 800,", 1));
    let (model, out, start) = (model(), scene.text("out.gguf"), format!("lora.init_adapter={adapter}"));
    for words in [
        &["score", "--model", &model, "--adapter", &adapter, &scene.text("rows.jsonl")][..],
        &["merge", &adapter, "--model", &model, "--kl-rows", "0", "--out", &out],
        &["export", &adapter, "--model", &model, "--type", "lora", "--kl-rows", "0", "--out", &out],
        &["check", &scene.text("config.toml"), "--set", &start],
        &["check-adapter", &adapter, "--require", "trainer"],
        &["show", &adapter],
    ] {
        scene.run(words).refused(&[CONFIG, "key \"lora_alpha\" stands twice"]);
    }
}

#[test]
fn a_base_that_is_a_bare_name_is_no_folder_that_happens_to_lie_here() {
    let scene = scene();
    let here = |words: &[&str]| Done::of(scene.command().current_dir(scene.path("")).args(words).output().unwrap());
    copy_folder(&tiny_chat(), &scene.path("base"));
    fs::create_dir(scene.path("owner")).unwrap();
    copy_folder(&tiny_chat(), &scene.path("owner/base"));
    adapter(&scene, "bare", &[("base_model_name_or_path", json!("base"))]);
    let done = here(&["score", "--adapter", "bare", "rows.jsonl"]).refused(&["bare names base as its base", "--model"]);
    assert!(!done.stderr.contains("trainer pull"), "{}", done.stderr);
    let done = here(&["check-adapter", "bare"]).good();
    assert!(done.stderr.contains("the base that it names, base, is not on this machine"), "{}", done.stderr);
    here(&["score", "--adapter", "bare", "--model", "base", "rows.jsonl"]).good();
    // A path says where it is, and a name of the hub or of ours what to fetch.
    for (name, hint) in [("/somewhere/else", ""), ("owner/other", "trainer pull owner/other fetches it")] {
        adapter(&scene, "named", &[("base_model_name_or_path", json!(name))]);
        let done = here(&["merge", "named", "--out", "out"]).refused(&[name, "--model", hint]);
        assert_eq!(done.stderr.contains("trainer pull"), !hint.is_empty(), "{}", done.stderr);
    }
    adapter(&scene, "named", &[("base_model_name_or_path", json!("owner/base"))]);
    here(&["score", "--adapter", "named", "rows.jsonl"]).good();
    // What a run trained on a folder names is the name of that folder; the run knows where it is.
    scene.fit("run", &[]).good();
    let done = here(&["score", "--adapter", "run/adapter", "rows.jsonl"]);
    done.refused(&["names tiny-chat as its base", "run takes the base of the run"]);
    here(&["score", "--adapter", "run", "rows.jsonl"]).good();
}

#[test]
fn each_setting_that_changes_the_computation_is_refused_with_its_name_and_value() {
    let scene = scene();
    for (key, value) in [
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("init_lora_weights", json!("lora_ga")),
        ("init_lora_weights", json!("newer")),
        ("alpha_pattern", json!({ "q_proj": 4 })),
        ("arrow_config", json!({ "top_k": 2 })),
        ("bias", json!("lora_only")),
        ("exclude_modules", json!(["q_proj"])),
        ("kasa_config", json!({})),
        ("layer_replication", json!([[0, 2], [1, 2]])),
        ("layers_to_transform", json!([0])),
        ("lora_bias", json!(true)),
        ("modules_to_save", json!(["embed_tokens"])),
        ("monteclora_config", json!({ "num_samples": 2 })),
        ("rank_pattern", json!({ "q_proj": 2 })),
        ("target_parameters", json!(["mlp.down_proj.weight"])),
        ("task_type", json!("SEQ_CLS")),
        ("trainable_token_indices", json!([3])),
        ("use_bdlora", json!({ "nblocks": 2 })),
        ("use_dora", json!(true)),
        ("use_qalora", json!(true)),
        ("use_rslora", json!("true")),
        ("velora_config", json!({ "num_groups": 8 })),
        ("something_new", json!(1)),
    ] {
        let adapter = adapter(&scene, "adapter", &[(key, value.clone())]);
        let done = scene.run(&["score", "--model", &model(), "--adapter", &adapter, &scene.text("rows.jsonl")]);
        done.refused(&[CONFIG, key, &value.to_string()]);
    }
}

#[test]
fn what_only_started_or_describes_an_adapter_changes_nothing() {
    let scene = scene();
    let expected = scores(&scene, &adapter(&scene, "plain", &[]));
    for settings in [
        vec![("init_lora_weights", json!(false))],
        vec![("init_lora_weights", json!("gaussian"))],
        vec![("init_lora_weights", json!("eva")), ("eva_config", json!({ "rho": 1.0 }))],
        vec![("init_lora_weights", json!("orthogonal"))],
        vec![("init_lora_weights", json!("mica"))],
        vec![("auto_mapping", json!({ "base_model_class": "LlamaForCausalLM" })), ("inference_mode", json!(false))],
        vec![("ensure_weight_tying", json!(true)), ("lora_dropout", json!(0.25)), ("something_new", json!(null))],
    ] {
        let adapter = adapter(&scene, "other", &settings);
        assert_eq!(scores(&scene, &adapter), expected, "{settings:?}");
        assert_eq!(judged(&scene, &adapter, &["--model", &model()])["loads"], true, "{settings:?}");
    }
}

/// What PEFT makes of an adapter whose start was taken off the base: the start itself is appended with its sign turned, so
/// that the sum fits the base as it was. Here the start is a quarter of the B that is there.
fn converted(bytes: &[u8]) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, view) in file.tensors() {
        assert_eq!(view.dtype(), Dtype::F32);
        let (shape, data) = (view.shape().to_vec(), view.data());
        if name.contains(".lora_A.") {
            tensors.push((name, vec![2 * shape[0], shape[1]], [data, data].concat()));
            continue;
        }
        let turned = |bytes: &[u8]| -> Vec<u8> {
            let values = bytes.as_chunks::<4>().0.iter().map(|bytes| -0.25 * f32::from_le_bytes(*bytes));
            values.flat_map(f32::to_le_bytes).collect()
        };
        let rows = data.chunks_exact(4 * shape[1]).flat_map(|row| [row.to_vec(), turned(row)].concat());
        tensors.push((name, vec![shape[0], 2 * shape[1]], rows.collect()));
    }
    let views =
        tensors.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn an_adapter_that_peft_converted_is_plain_and_computed_over_the_base_as_it_is() {
    let scene = scene();
    let bytes = fs::read(tiny_chat().join("adapter").join(WEIGHTS)).unwrap();
    let plain = scores(&scene, &adapter(&scene, "unchanged", &[]));
    // Three quarters of the adapter are left. PEFT keeps the scale of the doubled rank by its alpha.
    for (rslora, alpha) in [(false, 16.0), (true, 8.0 * 2.0_f64.sqrt())] {
        let rslora = ("use_rslora", json!(rslora));
        let less = scores(&scene, &adapter(&scene, "less", &[rslora.clone(), ("lora_alpha", json!(6))]));
        let settings = [
            rslora,
            ("r", json!(8)),
            ("lora_alpha", json!(alpha)),
            ("init_lora_weights", json!(true)),
            ("corda_config", json!({ "corda_method": "kpm" })),
            ("lora_ga_config", json!({ "direction": "ArB2r" })),
        ];
        let adapter = adapter(&scene, "converted", &settings);
        scene.write(&format!("converted/{WEIGHTS}"), converted(&bytes));
        near(&scores(&scene, &adapter), &less, 1e-4);
        let moved = less.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(moved > 1e-2, "a quarter of the adapter shows: {moved}");
        assert_eq!(judged(&scene, &adapter, &["--model", &model()])["loads"], true);
    }
}

#[test]
fn a_tensor_beside_a_and_b_is_refused_by_name_though_the_config_is_silent() {
    let scene = scene();
    let adapter = adapter(&scene, "adapter", &[]);
    let bytes = fs::read(tiny_chat().join("adapter").join(WEIGHTS)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (name, told) in [
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "DoRA"),
        ("base_model.model.lm_head.weight", "a tensor of the base itself"),
    ] {
        let mut tensors = file.tensors();
        let again = tensors[0].1.clone();
        tensors.push((name.to_owned(), again));
        scene.write(&format!("adapter/{WEIGHTS}"), safetensors::serialize(tensors, None).unwrap());
        let done = scene.run(&["score", "--model", &model(), "--adapter", &adapter, &scene.text("rows.jsonl")]);
        done.refused(&[name, told, "merge it with PEFT"]);
        for more in [&["--model", &model()][..], &[]] {
            let judged = judged(&scene, &adapter, more);
            assert!(judged["reasons"][0]["what"].as_str().unwrap().contains(name), "{judged}");
        }
    }
}
