//! `score` and `generate`: log-probabilities against transformers with PEFT, alone and packed, with and without adapter.
//! The values of `golden/tiny-chat-scores.jsonl` are what `tests/oracles/peft_logprobs.py` prints for the tiny chat
//! model, its adapter, and the ids of the finished chats of `golden/tiny-chat/golden.json`. One of those has the text of a special
//! token in it, which rows may not have: its angle brackets and bars are taken out.

use std::fs;

use serde_json::{Value, json};

use crate::util::{Scene, root, rows, tiny_chat, trainer};

/// The finished chats of the golden file as rows.
fn chats(scene: &Scene) -> String {
    let golden: Value = serde_json::from_slice(&fs::read(tiny_chat().join("golden.json")).unwrap()).unwrap();
    let chats = golden["chats"].as_array().unwrap().iter().enumerate();
    let finished = chats.filter(|(_, chat)| chat["add_generation_prompt"] == false);
    let line = |(index, chat): (usize, &Value)| {
        let row = json!({ "id": format!("chat-{index}"), "messages": chat["messages"] });
        format!("{row}\n").replace("<|im_end|>", "im_end")
    };
    scene.write("chats.jsonl", finished.map(line).collect::<String>());
    scene.text("chats.jsonl")
}

/// Log-probabilities of all tokens of all rows.
fn log_probabilities(rows: &[Value]) -> Vec<f64> {
    let tokens = rows.iter().flat_map(|row| row["tokens"].as_array().unwrap());
    tokens.map(|token| token["logprob"].as_f64().unwrap()).collect()
}

#[track_caller]
fn near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < tolerance, "largest difference {worst}");
}

#[test]
fn token_scores_with_the_adapter_equal_transformers_and_peft() {
    let scene = Scene::new();
    let (model, rows) = (tiny_chat().display().to_string(), chats(&scene));
    let adapter = tiny_chat().join("adapter").display().to_string();
    let done = scene.run(&["score", "--model", &model, "--adapter", &adapter, "--tokens", "--json", &rows]).good();
    let found = done.json_lines();
    let golden = fs::read_to_string(root().join("tests/golden/tiny-chat-scores.jsonl")).unwrap();
    let golden: Vec<Value> = golden.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), golden.len());
    for (found, golden) in found.iter().zip(&golden) {
        let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "ids", "tokens"]);
        assert_eq!((&found["id"], &found["ids"]), (&golden["id"], &golden["ids"]));
        let place = |token: &Value| (token["position"].clone(), token["id"].clone());
        let places = |row: &Value| row["tokens"].as_array().unwrap().iter().map(place).collect::<Vec<_>>();
        assert_eq!(places(found), places(golden));
    }
    near(&log_probabilities(&found), &log_probabilities(&golden), 1e-3);
}

#[test]
fn rows_that_share_a_pack_score_as_they_do_alone() {
    let scene = Scene::new();
    let model = tiny_chat().display().to_string();
    let (together, all) = (rows(0..40), scene.text("rows.jsonl"));
    scene.write("rows.jsonl", &together);
    let words = ["score", "--model", &model, "--tokens", "--json"];
    let packed = scene.run(&[&words[..], &[&all]].concat()).good().json_lines();
    assert_eq!(packed.len(), 40);
    for (at, line) in together.lines().enumerate().step_by(9) {
        let one = scene.write("one.jsonl", line).display().to_string();
        let alone = scene.run(&[&words[..], &[&one]].concat()).good().json_lines();
        assert_eq!(alone[0]["ids"], packed[at]["ids"]);
        near(&log_probabilities(&alone), &log_probabilities(&packed[at..=at]), 1e-5);
    }
}

#[test]
fn without_tokens_a_row_has_its_sum_and_limit_takes_the_first_rows() {
    let scene = Scene::new();
    let (model, file) = (tiny_chat().display().to_string(), chats(&scene));
    let tokens = scene.run(&["score", "--model", &model, "--tokens", "--json", &file]).good().json_lines();
    let sums = scene.run(&["score", "--model", &model, "--json", "--limit", "1", &file]).good().json_lines();
    assert_eq!(sums.len(), 1);
    let expected: f64 = log_probabilities(&tokens[..1]).iter().sum();
    assert!((sums[0]["log_likelihood"].as_f64().unwrap() - expected).abs() < 1e-9);
    assert_eq!(sums[0]["num_tokens"], tokens[0]["tokens"].as_array().unwrap().len());
    let words = scene.run(&["score", "--model", &model, &file]).good();
    assert_eq!(words.stdout.lines().count(), 2);
    assert!(words.stderr.contains("2 rows, "), "{}", words.stderr);
}

#[test]
fn an_answer_is_the_same_each_time_and_ends_at_the_limit() {
    let model = tiny_chat().display().to_string();
    let ask = |more: &[&str]| {
        let words = [&["generate", "--model", &model, "--json", "--max-tokens", "5"], more].concat();
        trainer(&words).good().json()
    };
    let greedy = ask(&["Which law governs?"]);
    assert_eq!(greedy, ask(&["Which law governs?"]));
    assert!(greedy["completion_tokens"].as_u64().unwrap() <= 5);
    let warm = |seed: &str| ask(&["--temperature", "2", "--seed", seed, "Which law governs?"])["text"].clone();
    assert_eq!(warm("1"), warm("1"));
    assert!((2..12).any(|seed| warm(&seed.to_string()) != warm("1")), "the seed changes nothing");
}
