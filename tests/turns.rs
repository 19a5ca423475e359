//! Chat templates that write more than a turn says, less, or something else than they ask for: what is learnt, where
//! generation stops, and what is compared. Each template is of our own and has only the property that is tested.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::finished_run::{REPO, SAID};
use crate::util::{Done, Scene, row, set_json};

/// Scorers of text; each must give a model that learnt every answer the whole score.
const SCORERS: [&str; 5] = ["exact_match", "includes", "chrf", "rouge_l", "ter"];

const CONFIG: &str = r#"version = 1
name = "turns"

[model]
base = "base"

[data]
train = "train.jsonl"
test = "test.jsonl"
near_duplicates = "none"

[lora]
r = 16
lora_alpha = 32.0

[train]
epochs = 60.0
rows_per_step = 8
learning_rate = 1e-2
warmup_steps = 5
save_every_steps = 500

[eval]
max_new_tokens = 48

[device]
name = "cpu"
"#;

/// Writes a turn, with `before` in front of an answer, and asks with `asks`.
fn chat(before: &str, asks: &str) -> String {
    format!(
        "{{%- for m in messages -%}}{{{{- '<|im_start|>' + m.role + '\\n' }}}}{{%- if m.role == 'assistant' %}}\
         {{{{- '{before}' }}}}{{% endif %}}{{{{- m.content + '<|im_end|>\\n' }}}}{{%- endfor -%}}\
         {{%- if add_generation_prompt %}}{{{{- '<|im_start|>assistant\\n{asks}' }}}}{{% endif -%}}"
    )
}

/// A scene whose base has this template, with rows that are all answered alike.
fn scene(template: &str, answer: &str) -> Scene {
    let scene = Scene::new();
    scene.copy_model("base");
    set_json(&scene.path("base/tokenizer_config.json"), "chat_template", json!(template));
    let rows = |from: usize, to: usize| -> String {
        (from..to).map(|at| row(&format!("row-{at}"), &format!("item {at}?"), answer)).collect()
    };
    scene.write("train.jsonl", rows(0, 8));
    scene.write("test.jsonl", rows(8, 12));
    let scorers: String = SCORERS.iter().map(|kind| format!("[[eval.scorer]]\nkind = \"{kind}\"\n")).collect();
    let base = scene.path("base").display().to_string();
    scene.write("config.toml", CONFIG.replace("\"base\"", &format!("{base:?}")) + &scorers);
    scene
}

/// Trains, and holds that every answer is right by every scorer. Returns what was written of the first row, if more.
#[track_caller]
fn learns(scene: &Scene, run: &str, answer: &str, more: &[&str]) -> (Option<String>, Done) {
    let done = scene.fit(run, more).good();
    let results: Value = serde_json::from_slice(&fs::read(scene.path(run).join("eval/results.json")).unwrap()).unwrap();
    let arms = results["arms"].as_array().unwrap();
    let tuned = arms.iter().find(|arm| arm["name"] == "tuned").unwrap();
    let outcomes = tuned["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 4);
    for outcome in outcomes {
        let sample = &outcome["samples"][0];
        assert_eq!((&sample["text"], &sample["finish"]["kind"]), (&json!(answer), &json!("stop")), "{sample}");
        for scorer in SCORERS {
            assert_eq!(sample["scored"][scorer]["score"].as_f64(), Some(1.0), "{scorer}: {sample}");
        }
    }
    (outcomes[0]["samples"][0]["written"].as_str().map(str::to_owned), done)
}

#[test]
fn what_a_template_writes_around_an_answer_is_not_the_answer() {
    for (before, asks, written) in [
        ("", "", None),
        ("Answer: ", "", Some("Answer: yes")),
        ("<think>\\n\\n</think>\\n\\n", "", Some("<think>\n\n</think>\n\nyes")),
        ("<think>\\n\\n</think>\\n\\n", "<think>\\n", Some("\n</think>\n\nyes")),
    ] {
        let scene = scene(&chat(before, asks), "yes");
        let (found, _) = learns(&scene, "run", "yes", &["--set", "train.epochs=100"]);
        assert_eq!(found.as_deref().map(str::trim), written.map(str::trim), "{before} {asks}");
    }
}

#[test]
fn reasoning_is_learnt_and_not_graded_with_plain_marks_and_special_ones() {
    let answer = "<think>\nodd\n</think>\n\nyes";
    // Cut out of a written answer; opened by the prompt as well.
    let cut = |asks: &str| {
        let template = chat("", asks);
        template.replace("m.content +", "m.content.split('</think>')[-1] +")
    };
    for asks in ["", "<think>\\n"] {
        for special in [false, true] {
            let scene = scene(&cut(asks), answer);
            if special {
                mark_as_special(&scene.path("base"));
            }
            let (written, _) = learns(&scene, "run", "yes", &["--set", "train.epochs=100"]);
            assert_eq!(written.as_deref(), Some(answer), "{asks} {special}");
            // Asked by hand, the answer is what is printed, and nothing that was written is lost.
            let run = scene.text("run");
            let ask = |more: &[&str]| {
                let words = ["generate", "--adapter", &run, "--device", "cpu", "item 8?"];
                scene.run(&[&words[..], more].concat()).good()
            };
            assert_eq!(ask(&[]).stdout, "yes\n", "{asks} {special}");
            let told = ask(&["--json"]).json();
            assert_eq!((&told["text"], &told["written"]), (&json!("yes"), &json!(answer)), "{asks} {special}");
        }
    }
}

/// Makes the last two words of the vocabulary the marks of a think block.
fn mark_as_special(model: &Path) {
    let path = model.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let merges = tokenizer["model"]["merges"].as_array_mut().unwrap();
    merges.truncate(merges.len() - 3);
    for (id, mark) in [(305, "<think>"), (306, "</think>")] {
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let word = vocabulary.iter().find(|(_, at)| at.as_u64() == Some(id)).map(|(word, _)| word.clone()).unwrap();
        vocabulary.remove(&word);
        vocabulary.insert(mark.to_owned(), json!(id));
        let mut added = tokenizer["added_tokens"][0].clone();
        (added["id"], added["content"]) = (json!(id), json!(mark));
        tokenizer["added_tokens"].as_array_mut().unwrap().push(added);
    }
    fs::write(path, tokenizer.to_string()).unwrap();
}

#[test]
fn a_prompt_that_opens_a_block_wants_reasoning_or_the_block_closed() {
    let template = chat("", "<think>\\n");
    let refused = scene(&template, "yes");
    refused.fit("run", &[]).refused(&["opens a think block", "data.close_think_block = true", "</think>"]);
    refused.nothing_written("run");
    let score = |scene: &Scene, words: &[&str]| {
        let rows = scene.text("test.jsonl");
        scene.run(&[&["score", "--device", "cpu", &rows], words].concat())
    };
    let base = refused.text("base");
    score(&refused, &["--model", &base]).refused(&["4 of 4 rows", "opens a think block", "</think>"]);
    let closed = scene(&template, "yes");
    learns(&closed, "run", "yes", &["--set", "data.close_think_block=true"]);
    // A run that learnt the block closed is scored so.
    score(&closed, &["--adapter", &closed.text("run")]).good();
    score(&closed, &["--adapter", &closed.text("run"), "--bare"]).refused(&["opens a think block"]);
}

#[test]
fn an_empty_block_that_row_and_template_both_write_stands_once() {
    let block = "<think>\n\n</think>\n\n";
    let written = "<think>\\n\\n</think>\\n\\n";
    for (before, asks) in [(written, ""), (written, written), ("", written)] {
        let [plain, own] = ["yes".to_owned(), format!("{block}yes")].map(|answer| {
            let scene = scene(&chat(before, asks), &answer);
            let (base, rows) = (scene.text("base"), scene.text("test.jsonl"));
            let score = ["score", "--model", &base, "--device", "cpu", "--tokens", "--json", &rows];
            let ids: Vec<Value> =
                scene.run(&score).good().json_lines().into_iter().map(|line| line["ids"].clone()).collect();
            let checked = scene.run(&["check", &scene.text("config.toml")]).good().stdout;
            let learnt: Vec<&str> = checked.split("[[").skip(1).filter_map(|rest| rest.split("]]").next()).collect();
            assert!(!learnt.is_empty(), "{checked}");
            (ids, learnt.concat())
        });
        assert_eq!(plain, own, "{before} {asks}");
        assert!(own.1.matches("<think>").count() <= 1, "{before} {asks}: {}", own.1);
    }
}

/// As templates of Qwen3: without thinking the prompt closes the block, with it the answer holds an empty one.
fn thinking() -> String {
    chat("<think>\\n\\n</think>\\n\\n", "")
        .replace(
            "{%- if add_generation_prompt %}",
            "{%- if add_generation_prompt %}{% set off = enable_thinking is defined and not enable_thinking %}",
        )
        .replace("{% endif -%}", "{% if off %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif -%}")
}

#[test]
fn variables_of_the_template_are_part_of_what_is_learnt() {
    let template = thinking();
    for (value, other) in [("true", "false"), ("false", "true")] {
        let scene = scene(&template, "yes");
        let with = |value: &str| format!("model.template={{ enable_thinking = {value} }}");
        learns(&scene, "run", "yes", &["--set", &with(value)]);
        // Another value is another run.
        scene.fit("run", &["--resume", "--set", &with(other)]).refused(&["model.template"]);
    }
    let scene = scene(&template, "yes");
    for (sets, told) in [
        ("{ messages = true }", ["model.template sets messages", ""]),
        ("{ enable_thinkin = false }", ["model.template sets `enable_thinkin`", "did you mean `enable_thinking`?"]),
        ("{ enable_thinking = \"false\" }", ["to the text \"false\"", "enable_thinking = false, without quotes"]),
    ] {
        scene.fit("run", &["--set", &format!("model.template={sets}")]).refused(&told);
        scene.nothing_written("run");
    }
}

#[test]
fn what_is_written_of_a_run_renders_with_the_variables_of_the_run() {
    for place in ["tokenizer_config.json", "chat_template.jinja"] {
        let scene = scene(&thinking(), "yes");
        if place == "chat_template.jinja" {
            // A file of the base that would count before what is written.
            scene.write("base/chat_template.jinja", thinking());
        }
        let sets = ["model.template={ enable_thinking = false }", "train.epochs=2.0", "train.warmup_steps=1"];
        let sets = [&sets[..], &["eval.enabled=false"]].concat();
        let sets: Vec<&str> = sets.into_iter().flat_map(|set| ["--set", set]).collect();
        scene.fit("run", &sets).good();
        let (run, merged, file) = (scene.text("run"), scene.text("merged"), scene.text("model.gguf"));
        scene.run(&["merge", &run, "--out", &merged, "--device", "cpu"]).good();
        scene.run(&["export", &run, "--type", "f16", "--out", &file, "--device", "cpu"]).good();
        // How many tokens are asked with, and the ids of rows with their answers.
        let rendered = |words: &[&str]| -> (Value, Vec<Value>) {
            let ask = [&["generate", "--json", "--device", "cpu", "--max-tokens", "2"], words, &["item 8?"]].concat();
            let rows = scene.text("test.jsonl");
            let score = [&["score", "--tokens", "--json", "--device", "cpu"], words, &[&rows]].concat();
            let ids = scene.run(&score).good().json_lines().into_iter().map(|line| line["ids"].clone()).collect();
            (scene.run(&ask).good().json()["prompt_tokens"].clone(), ids)
        };
        let own = rendered(&["--adapter", &run]);
        assert_eq!(own.1.len(), 4);
        assert_eq!(own, rendered(&["--model", &merged]), "{place}: the folder");
        assert_eq!(own, rendered(&["--model", &file]), "{place}: the file");
        // Alone, as others have it, the adapter brings the settings too.
        let (base, adapter) = (scene.text("base"), scene.text("run/adapter"));
        assert_eq!(own, rendered(&["--adapter", &run, "--bare"]), "{place}: bare");
        assert_eq!(own, rendered(&["--model", &base, "--adapter", &adapter]), "{place}: the adapter alone");
        assert_ne!(own.0, rendered(&["--model", &base]).0, "{place}: the base closes no block");
        scene.run(&[&["publish", &run, "--repo", REPO, "--dry-run"][..], &SAID].concat()).good();
        let (published, card) = (scene.text("run/publish"), scene.path("run/publish/README.md"));
        assert_eq!(own, rendered(&["--model", &base, "--adapter", &published]), "{place}: published");
        for card in [card, scene.path("merged/README.md"), scene.path("run/adapter/README.md")] {
            assert!(fs::read_to_string(&card).unwrap().contains("{\"enable_thinking\":false}"), "{}", card.display());
        }
        // What no file can say to llama.cpp is told.
        let alone = scene.text("adapter.gguf");
        let told = scene.run(&["export", &run, "--type", "lora", "--out", &alone]).good().stderr;
        assert!(told.contains("--chat-template-kwargs '{\"enable_thinking\":false}'"), "{told}");
        let told = scene.run(&["score", "--adapter", &run, "--device", "cpu", &scene.text("test.jsonl")]).good().stderr;
        assert!(told.contains("its settings of the chat template"), "{told}");
    }
}

#[test]
fn generation_stops_where_the_learnt_answer_ends() {
    let scene = scene(&chat("", ""), "yes");
    for file in ["config.json", "generation_config.json"] {
        set_json(&scene.path("base").join(file), "eos_token_id", json!(0));
    }
    set_json(&scene.path("base/tokenizer_config.json"), "eos_token", json!("<|endoftext|>"));
    let (_, done) = learns(&scene, "run", "yes", &[]);
    assert!(
        done.stderr.contains("answers end with <|im_end|>") && done.stderr.contains("<|endoftext|>"),
        "{}",
        done.stderr
    );
    let (run, base) = (scene.text("run"), scene.text("base"));
    let merged = scene.text("merged");
    scene.run(&["merge", &run, "--model", &base, "--out", &merged, "--kl-rows", "0"]).good();
    let generation: Value =
        serde_json::from_slice(&fs::read(scene.path("merged/generation_config.json")).unwrap()).unwrap();
    assert_eq!(generation["eos_token_id"], json!([0, 2]));
    let file = scene.text("model.gguf");
    scene.run(&["export", &run, "--model", &base, "--type", "f16", "--out", &file, "--kl-rows", "0"]).good();
    let words = fs::read_to_string(scene.path("model.Modelfile")).unwrap();
    assert!(
        words.contains("PARAMETER stop \"<|im_end|>\"") && words.contains("PARAMETER stop \"<|endoftext|>\""),
        "{words}"
    );
    // Read back from the file, both end an answer.
    let said = scene.run(&["generate", "--model", &file, "--json", "item 3?"]).good();
    assert_eq!(said.json()["text"], "yes");
}

/// The system text stands in the last turn if that is the user's.
const SYSTEM_LAST: &str = "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}<|im_start|>\
    {% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}{{ m.content }}<|im_end|>\
    {% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}";

#[test]
fn a_system_text_is_in_every_row_that_is_learnt_or_the_rows_are_refused() {
    let system = ["--set", "data.system=\"Say yes or no.\""];
    for template in [SYSTEM_LAST.to_owned(), chat("", "")] {
        let scene = scene(&template, "yes");
        let config = scene.text("config.toml");
        let said = scene.run(&["check", &config, system[0], system[1]]).good().stdout;
        assert!(said.contains("Say yes or no.") && said.contains("[[yes<|im_end|>]]"), "{said}");
    }
    let scene = scene(&chat("", "").replace("for m in messages", "for m in messages if m.role != 'system'"), "yes");
    scene.fit("run", &system).refused(&["leaves out the system text", "Say yes or no.", "data.prompt"]);
    scene.nothing_written("run");
    let (base, rows) = (scene.text("base"), scene.text("test.jsonl"));
    for words in [["generate", "item 8?"], ["score", &rows]] {
        let asked = [&words[..], &["--model", &base, "--device", "cpu", "--system", "Say yes or no."]].concat();
        scene.run(&asked).refused(&["leaves out the system text", "Say yes or no.", "--system"]);
    }
}
