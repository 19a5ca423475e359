//! Every shipped config with every base under `configs/models/`, by changing its one line: what is overridden beside it is
//! where rows come from and how large the run is. Each base is a tiny random model with the tokens of the real one and a
//! template that is built like its own (`tests/bases/`), in words of ours.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use toml::Table;

use crate::util::{Scene, copy_folder, root, set_json};

/// What opens a text, what ends an answer, and the other tokens that the template writes.
type Tokens = (&'static str, &'static str, &'static [&'static str]);

fn tokens_of(base: &str) -> Tokens {
    match base {
        "llama-3.1-8b" => ("<|begin_of_text|>", "<|eot_id|>", &["<|start_header_id|>", "<|end_header_id|>"]),
        "mistral-7b-v0.3" => ("<s>", "</s>", &["[INST]", "[/INST]"]),
        "qwen2.5-7b" | "smollm2-135m-instruct" => ("<|im_start|>", "<|im_end|>", &[]),
        other => panic!("{other} is new: name its tokens here, and build a template like its own in tests/bases/"),
    }
}

/// Rows in the shape in which the recipe of a set writes them: user text, answer, group and notes.
fn rows_of(set: &str) -> String {
    let row = |at: usize| -> Value {
        let text = words(at, 36);
        let labels = ["governing law", "termination", "assignment", "limitation of liability", "export control"];
        let facts =
            |id: &str| format!(r#"{{"spdx_id":"{id}","exception":null,"category":"Permissive","urls":[],"files":[]}}"#);
        let (answer, group, meta) = match set {
            "legal-provisions" => (
                labels[at % labels.len()].to_owned(),
                format!("Owner {}, Inc.", at / 2),
                json!({ "doc": format!("doc-{}", at / 2), "owner": format!("Owner {}, Inc.", at / 2), "category": "Commercial" }),
            ),
            "licence-notices" => (
                facts(["MIT", "ISC", "Zlib"][at % 3]),
                format!("notice-{at}"),
                json!({ "expression": "mit", "spdx_id": "MIT", "category": "Permissive", "words": 36 }),
            ),
            other => panic!("the set {other} is new: write rows here in its shape"),
        };
        let messages = json!([{ "role": "user", "content": text }, { "role": "assistant", "content": answer }]);
        json!({ "id": format!("row:{at}"), "messages": messages, "group": group, "meta": meta })
    };
    (0..30).map(|at| format!("{}\n", row(at))).collect()
}

/// A text of its own for each number, so that no row repeats another.
fn words(at: usize, count: usize) -> String {
    const WORDS: &str = "agreement party notice licensee software term law court state license grant rights use copy \
        distribute modify source binary warranty liability damages fee tax export territory written consent third claim";
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut seed = at as u64 + 1;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        words[(seed >> 33) as usize % words.len()]
    };
    format!("Clause {at}. {}.", (0..count).map(|_| next()).collect::<Vec<_>>().join(" "))
}

/// Names of the TOML files of a folder.
fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let tomls = entries.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let mut names: Vec<String> = tomls.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert!(names.len() > 2, "{folder}: {names:?}");
    names
}

/// The tiny model with the tokens and the template of a base.
fn base(scene: &Scene, name: &str) -> String {
    let folder = scene.copy_model(name);
    let (start, end, others) = tokens_of(name);
    let path = folder.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let words = tokenizer["model"]["vocab"].as_object().unwrap().len();
    let mut ids: Vec<(usize, &str)> = vec![(1, start), (2, end)];
    // In the places of the last words, which are made by the last merges.
    ids.extend(others.iter().enumerate().map(|(at, token)| (words - others.len() + at, *token)));
    let merges = tokenizer["model"]["merges"].as_array_mut().unwrap();
    merges.truncate(merges.len() - others.len());
    for (id, token) in ids {
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        vocabulary.retain(|_, known| known.as_u64() != Some(id as u64));
        vocabulary.insert(token.to_owned(), json!(id));
        let added = tokenizer["added_tokens"].as_array_mut().unwrap();
        let mut one = added[0].clone();
        (one["id"], one["content"]) = (json!(id), json!(token));
        added.retain(|known| known["id"] != id);
        added.push(one);
    }
    fs::write(path, tokenizer.to_string()).unwrap();
    let template = fs::read_to_string(root().join(format!("tests/bases/{name}.jinja"))).unwrap();
    let settings = [("bos_token", start), ("eos_token", end), ("pad_token", end), ("chat_template", &template)];
    settings.iter().for_each(|(key, value)| set_json(&folder.join("tokenizer_config.json"), key, json!(value)));
    folder.display().to_string()
}

/// The set of a config with rows that lie beside it, else as it is; `None` where the rows are shipped. And those rows.
fn local_set(scene: &Scene, name: &str) -> (Option<String>, String) {
    let shipped = root().join("datasets").join(name);
    let mut manifest: Table = fs::read_to_string(shipped.join("dataset.toml")).unwrap().parse().unwrap();
    if manifest["source"]["kind"].as_str() == Some("files") {
        return (None, shipped.join(manifest["source"]["rows"].as_str().unwrap()).display().to_string());
    }
    let folder = scene.path(name);
    copy_folder(&shipped, &folder);
    let source: Table = "kind = \"files\"\nrows = \"rows.jsonl\"".parse().unwrap();
    manifest.insert("source".to_owned(), source.into());
    ["recipe", "output"].iter().for_each(|key| _ = manifest.remove(*key));
    fs::write(folder.join("dataset.toml"), manifest.to_string()).unwrap();
    fs::write(folder.join("rows.jsonl"), rows_of(name)).unwrap();
    (Some(folder.display().to_string()), folder.join("rows.jsonl").display().to_string())
}

/// The text of ids, as far as it is ASCII.
fn text_of(ids: &Value, model: &str) -> String {
    let tokenizer: Value = serde_json::from_slice(&fs::read(Path::new(model).join("tokenizer.json")).unwrap()).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    let word = |id: &Value| vocabulary.iter().find(|(_, known)| *known == id).unwrap().0.as_str();
    ids.as_array().unwrap().iter().map(word).collect::<String>().replace('Ġ', " ").replace('Ċ', "\n")
}

fn runs(config: &str, name: &str) {
    let scene = Scene::new();
    let file = format!("configs/{config}.toml");
    let typed: Table = fs::read_to_string(root().join(&file)).unwrap().parse().unwrap();
    let system = typed["data"]["system"].as_str().unwrap();
    let (_, end, _) = tokens_of(name);
    let model = base(&scene, name);
    let (set, rows) = local_set(&scene, typed["data"]["set"].as_str().unwrap());
    // A letter is a token here, so rows are longer than with the real vocabulary.
    let mut sets =
        vec![format!("model.base={model}"), "data.max_tokens=900".into(), "train.micro_batch_tokens=1024".into()];
    sets.push("train.warmup_steps=1".into());
    sets.extend(set.map(|set| format!("data.set={set}")));
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let of = format!("{config} on {name}");

    let check = |more: &[&str]| scene.run(&[&["check", &file], more, &sets].concat()).good();
    let ledger = check(&["--json"]).json()["ledger"].clone();
    let counts = &ledger["rows"];
    assert_eq!((&counts["used"], &counts["refused"]), (&counts["rows_read"], &json!([])), "{of}: {ledger}");
    assert!(counts["train"].as_u64() > Some(10) && counts["test"].as_u64() > Some(1), "{of}: {ledger}");
    let shown = check(&[]).stdout;
    let sample = shown.split_once("what is learnt in [[ ]]:\n").unwrap().1;
    assert_eq!(sample.matches(system).count(), 1, "{of}: {sample}");

    let run = scene.text("run");
    let small =
        ["--out", &run, "--plain", "--max-steps", "2", "--set", "eval.max_new_tokens=4", "--set", "device.name=cpu"];
    let table = scene.run(&[&["fit", &file][..], &small, &sets].concat()).good().stdout;
    assert!(table.contains("tuned"), "{of}: {table}");

    // Every row as it is learnt and asked.
    let asked: Vec<Value> =
        fs::read_to_string(&rows).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let scored = scene.run(&["score", "--adapter", &run, "--tokens", "--json", "--device", "cpu", &rows]).good();
    let scored = scored.json_lines();
    assert_eq!(scored.len(), asked.len());
    let mut learnt = 0;
    for (row, line) in asked.iter().zip(&scored) {
        let text = text_of(&line["ids"], &model);
        let [question, answer] = [0, 1].map(|at| row["messages"][at]["content"].as_str().unwrap());
        assert_eq!((text.matches(system).count(), text.matches(question).count()), (1, 1), "{of}: {text}");
        let rest = text.split_once(question).unwrap().1;
        assert!(rest.ends_with(&format!("{answer}{end}")), "{of}: {text}");
        learnt += usize::from(text.trim_end() == sample.replace("[[", "").replace("]]", "").trim_end());
    }
    assert_eq!(learnt, 1, "{of}: what is learnt is what is asked: {sample}");
    assert!(sample.trim_end().ends_with(&format!("{end}]]")), "{of}: the end is learnt: {sample}");
    let question = asked[0]["messages"][0]["content"].as_str().unwrap();
    let words = ["generate", "--adapter", &run, "--json", "--device", "cpu", "--max-tokens", "1", question];
    let prompt = scene.run(&words).good().json()["prompt_tokens"].clone();
    assert_eq!(prompt, scored[0]["tokens"][0]["position"], "{of}: the prompt is asked as it was learnt");
}

#[test]
fn every_shipped_config_runs_on_every_base() {
    let bases = names("configs/models");
    for config in names("configs") {
        bases.iter().for_each(|name| runs(&config, name));
    }
}

#[test]
fn no_template_is_left_of_a_base_that_is_gone() {
    let templates = fs::read_dir(root().join("tests/bases")).unwrap();
    let of_base = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut templates: Vec<String> = templates.map(|entry| of_base(&entry.unwrap().path())).collect();
    templates.sort();
    assert_eq!(templates, names("configs/models"));
}
