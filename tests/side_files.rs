//! Tokens and templates that lie beside a `tokenizer.json`, or in the folder of an adapter: the real program takes them as
//! transformers does, or says which file it refuses. What each file means is tested in `model/src/tokenizer/tests`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::util::{Scene, copy_folder, files, rows, tiny_chat};

/// The token with the last id, which the copies here leave to a file beside `tokenizer.json`.
const LAST: &str = "assistant";
const LAST_ID: u64 = 306;

/// A chat template that ends each turn with `<stop>`.
const STOPPING: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<stop>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// One that asks for names that the usual files do not have.
const NAMING: &str = "{{ bos_token }}{{ sep_token if sep_token is defined else 'NONE' }}{{ image_token if image_token is defined else 'NONE' }}{% for m in messages %}{{ m.role }}\n{{ m.content }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}assistant\n{% endif %}";
/// That of an adapter.
const OTHER: &str = "{% for m in messages %}# {{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}# assistant\n{% endif %}";

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn token(content: &str) -> Value {
    json!({"content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true})
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("rows.jsonl", rows(0..3));
    scene
}

/// A copy of the tiny model whose `tokenizer.json` lacks its last token, with these settings and files beside it. What ends
/// an answer is the last id.
fn base(scene: &Scene, name: &str, settings: Value, beside: &[(&str, Value)]) -> PathBuf {
    let model = scene.copy_model(name);
    edit(&model.join("tokenizer.json"), |file| {
        assert_eq!(file["model"]["vocab"].as_object_mut().unwrap().remove(LAST), Some(json!(LAST_ID)));
        file["model"]["merges"].as_array_mut().unwrap().pop().unwrap();
    });
    for config in ["config.json", "generation_config.json"] {
        edit(&model.join(config), |config| config["eos_token_id"] = json!([2, LAST_ID]));
    }
    fs::write(model.join("tokenizer_config.json"), settings.to_string()).unwrap();
    for (name, value) in beside {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fs::write(model.join(name), text).unwrap();
    }
    model
}

/// The ids of every row, as they are scored.
#[track_caller]
fn ids(scene: &Scene, words: &[&str]) -> Vec<Value> {
    let rows = scene.text("rows.jsonl");
    let all = [&["score", "--tokens", "--json", "--device", "cpu"], words, &[&rows]].concat();
    scene.run(&all).good().json_lines().into_iter().map(|line| line["ids"].clone()).collect()
}

#[test]
fn a_token_named_beside_the_tokenizer_is_the_token_named_inside_it() {
    let scene = scene();
    let names = json!({"bos_token": "<|im_start|>", "eos_token": "<stop>"});
    let template = ("chat_template.jinja", json!(STOPPING));
    let inside = base(&scene, "inside", names.clone(), std::slice::from_ref(&template));
    edit(&inside.join("tokenizer.json"), |file| {
        let mut stop = token("<stop>");
        stop["id"] = json!(LAST_ID);
        file["added_tokens"].as_array_mut().unwrap().push(stop);
    });
    let expected = ids(&scene, &["--model", &inside.display().to_string()]);
    assert!(expected.iter().all(|row| row.as_array().unwrap().contains(&json!(LAST_ID))), "{expected:?}");
    let mut with_decoder = names.clone();
    with_decoder["added_tokens_decoder"] = json!({"1": token("<|im_start|>"), LAST_ID.to_string(): token("<stop>")});
    let added = ("added_tokens.json", json!({"<stop>": LAST_ID}));
    let cases = [
        base(&scene, "decoder", with_decoder, std::slice::from_ref(&template)),
        base(&scene, "added", names.clone(), &[template.clone(), added.clone()]),
        base(&scene, "map", json!({}), &[template.clone(), added, ("special_tokens_map.json", names.clone())]),
        // Only its name is said: it gets the next id.
        base(&scene, "named", names, std::slice::from_ref(&template)),
    ];
    for model in cases {
        let model = model.display().to_string();
        assert_eq!(ids(&scene, &["--model", &model]), expected, "{model}");
        // What `check` prints is decoded from the ids that would be trained on.
        let set = format!("model.base={model}");
        let told = scene.run(&["check", &scene.text("config.toml"), "--set", &set]).good();
        assert!(told.stdout.contains("<stop>]]"), "{}", told.stdout);
    }
}

#[test]
fn every_name_that_a_file_gives_a_token_reaches_the_template() {
    let scene = scene();
    let template = ("chat_template.jinja", json!(NAMING));
    let first = |name: &str, settings: Value, beside: &[(&str, Value)]| -> Vec<u64> {
        let model = base(&scene, name, settings, &[std::slice::from_ref(&template), beside].concat());
        let rows = ids(&scene, &["--model", &model.display().to_string()]);
        rows[0].as_array().unwrap()[..3].iter().map(|id| id.as_u64().unwrap()).collect()
    };
    let settings = json!({
        "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "sep_token": "<|endoftext|>",
        "extra_special_tokens": {"image_token": "<|im_end|>"}
    });
    assert_eq!(first("settings", settings.clone(), &[]), [1, 0, 2]);
    // The map counts before the settings, key by key.
    let names = json!({"bos_token": "<|endoftext|>", "sep_token": {"content": "<|im_end|>", "normalized": false}});
    assert_eq!(first("map", settings.clone(), &[("special_tokens_map.json", names.clone())]), [0, 2, 2]);
    // It is not looked at where the settings give ids.
    let mut with_ids = settings;
    with_ids["added_tokens_decoder"] = json!({"0": token("<|endoftext|>")});
    assert_eq!(first("ids", with_ids, &[("special_tokens_map.json", names)]), [1, 0, 2]);
}

#[test]
fn what_the_files_say_against_each_other_or_the_weights_is_refused_by_name() {
    let scene = scene();
    let refused = |name: &str, settings: Value, beside: &[(&str, Value)], told: &[&str]| {
        let model = base(&scene, name, settings, &[&[("chat_template.jinja", json!(STOPPING))], beside].concat());
        let words = ["score", "--model", &model.display().to_string(), "--device", "cpu", &scene.text("rows.jsonl")];
        scene.run(&words).refused(told);
    };
    let names = json!({"eos_token": "<stop>"});
    let taken = [("added_tokens.json", json!({"<stop>": 2}))];
    refused("taken", names.clone(), &taken, &["added_tokens.json", "tokenizer.json", "\"<stop>\"", "\"<|im_end|>\""]);
    let gap = [("added_tokens.json", json!({"<stop>": 900}))];
    refused("gap", names.clone(), &gap, &["added_tokens.json", "\"<stop>\" the id 900"]);
    let beyond = [("added_tokens.json", json!({"<stop>": LAST_ID, "<more>": LAST_ID + 1}))];
    refused(
        "beyond",
        names.clone(),
        &beyond,
        &["\"<more>\", which added_tokens.json adds,", "the embedding has 307 rows"],
    );
    let settings = json!({"eos_token": "<stop>", "pad_token": "<more>"});
    refused("pad", settings, &[], &["\"<more>\", which tokenizer_config.json adds,"]);
    let legacy = [("chat_template.json", json!({"chat_template": NAMING}))];
    refused("legacy", names, &legacy, &["chat_template.jinja", "chat_template.json"]);
}

/// An adapter folder that brings files.
fn adapter(scene: &Scene, name: &str, beside: &[(&str, &str)]) -> String {
    copy_folder(&tiny_chat().join("adapter"), &scene.path(name));
    beside.iter().for_each(|(file, text)| fs::write(scene.path(name).join(file), text).unwrap());
    scene.text(name)
}

#[test]
fn an_adapter_is_scored_merged_and_exported_in_the_template_that_it_brings() {
    let scene = scene();
    let plain = adapter(&scene, "plain", &[]);
    // The same template beside the base is what the adapter's own must come to.
    let other = scene.copy_model("other");
    fs::write(other.join("chat_template.jinja"), OTHER).unwrap();
    let expected = ids(&scene, &["--model", &other.display().to_string(), "--adapter", &plain]);
    let bare = scene.copy_model("bare");
    edit(&bare.join("tokenizer_config.json"), |settings| {
        settings.as_object_mut().unwrap().remove("chat_template").unwrap();
    });
    let read = |name: &str| fs::read_to_string(tiny_chat().join(name)).unwrap();
    let whole = [("tokenizer.json", read("tokenizer.json")), ("tokenizer_config.json", read("tokenizer_config.json"))];
    let whole: Vec<(&str, &str)> = whole.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let template = ("chat_template.jinja", OTHER);
    let (alone, all) =
        (adapter(&scene, "alone", &[template]), adapter(&scene, "all", &[&whole[..], &[template]].concat()));
    let rows = scene.text("rows.jsonl");
    for own in [&alone, &all] {
        for model in [tiny_chat(), bare.clone()] {
            let model = model.display().to_string();
            assert_eq!(ids(&scene, &["--model", &model, "--adapter", own]), expected, "{own} on {model}");
        }
        let words =
            ["score", "--model", &tiny_chat().display().to_string(), "--adapter", own, "--device", "cpu", &rows];
        let told = scene.run(&words).good().stderr;
        assert!(told.contains("brings its own chat template"), "{told}");
    }
    // An adapter that says the same as its base is not spoken of.
    let same = adapter(&scene, "same", &whole);
    let words = ["score", "--model", &tiny_chat().display().to_string(), "--adapter", &same, "--device", "cpu", &rows];
    assert!(!scene.run(&words).good().stderr.contains("brings"), "the template is that of the base");
    // A template of the base in a file of its own would count before that of the written settings.
    let base = scene.copy_model("base");
    fs::write(base.join("chat_template.jinja"), STOPPING).unwrap();
    let base = base.display().to_string();
    let out = scene.text("merged");
    let ship = ["--model", &base, "--rows", &rows, "--device", "cpu", "--json", "--out"];
    scene.run(&[&["merge", &alone], &ship[..], &[&out]].concat()).good();
    assert_eq!(ids(&scene, &["--model", &out]), expected, "merged");
    assert!(!files(Path::new(&out)).contains(&"chat_template.jinja".to_owned()), "one place says what the template is");
    let out = scene.text("m.gguf");
    scene.run(&[&["export", &alone, "--type", "f16"], &ship[..], &[&out]].concat()).good();
    assert_eq!(ids(&scene, &["--model", &out]), expected, "exported");
    let recipe = fs::read_to_string(scene.path("m.Modelfile")).unwrap();
    assert!(!recipe.contains("TEMPLATE \"\"\"{{- range .Messages }}<|im_start|>"), "{recipe}");
    let done = scene.run(&["check-adapter", &alone, "--model", &base]).good();
    assert!(
        done.stdout.contains("trainer      yes") && done.stdout.contains("its own tokenizer or chat template"),
        "{}",
        done.stdout
    );
}

#[test]
fn a_run_that_starts_from_an_adapter_goes_on_in_its_words() {
    let scene = scene();
    scene.fit("first", &[]).good();
    fs::write(scene.path("first/adapter/chat_template.jinja"), OTHER).unwrap();
    let first = format!("lora.init_adapter={}", scene.text("first"));
    let told = scene.run(&["check", &scene.text("config.toml"), "--set", &first]).good();
    assert!(told.stdout.contains("# user") && !told.stdout.contains("<|im_start|>"), "{}", told.stdout);
    assert!(told.stderr.contains("brings its own chat template"), "{}", told.stderr);
    scene.fit("second", &["--set", &first]).good();
    let settings = fs::read(scene.path("second/adapter/tokenizer_config.json")).unwrap();
    let settings: Value = serde_json::from_slice(&settings).unwrap();
    assert_eq!(settings["chat_template"], OTHER, "what was trained with is what is kept");
}

#[test]
fn a_tokenizer_of_another_model_beside_an_adapter_is_refused() {
    let scene = scene();
    let swapped = fs::read_to_string(tiny_chat().join("tokenizer.json")).unwrap();
    let swapped =
        swapped.replace("<|endoftext|>", "<|x|>").replace("<|im_end|>", "<|endoftext|>").replace("<|x|>", "<|im_end|>");
    let own = adapter(&scene, "own", &[("tokenizer.json", swapped.as_str())]);
    let (base, rows) = (tiny_chat().display().to_string(), scene.text("rows.jsonl"));
    let told = ["\"<|im_end|>\" the id 0", "the base gives it 2", "take the tokenizer's files out"];
    scene.run(&["score", "--model", &base, "--adapter", &own, "--device", "cpu", &rows]).refused(&told);
    scene.run(&["merge", &own, "--model", &base, "--out", &scene.text("merged")]).refused(&told);
    assert!(!scene.path("merged").exists());
    let done = scene.run(&["check-adapter", &own, "--model", &base]).good();
    assert!(done.stdout.contains("trainer      no   its tokenizer gives token"), "{}", done.stdout);
    // More tokens than the embedding has rows.
    let added = adapter(&scene, "added", &[("added_tokens.json", "{\"<pad>\": 307}")]);
    let told = ["\"<pad>\", which added_tokens.json adds,", "the embedding has 307 rows"];
    scene.run(&["score", "--model", &base, "--adapter", &added, "--device", "cpu", &rows]).refused(&told);
}
