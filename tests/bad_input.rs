//! Rows and prompts that cannot be used: refused with file and line before anything is trained or written.

use crate::util::{Scene, row, rows, tiny_chat, trainer};

/// `check` and `fit` refuse a training file with these words, and a run leaves nothing.
#[track_caller]
fn refused(content: impl AsRef<[u8]>, told: &[&str]) {
    let scene = Scene::new();
    scene.write("train.jsonl", content);
    scene.run(&["check", &scene.text("config.toml")]).refused(told);
    scene.fit("run", &[]).refused(told);
    scene.nothing_written("run");
}

fn with_line(line: &str) -> String {
    format!("{}{line}\n{}", rows(0..3), rows(3..8))
}

#[test]
fn a_broken_line_is_refused_with_its_number() {
    refused(with_line(r#"{"messages": [{"role": "user","#), &["train.jsonl:4: not a JSON object"]);
    refused(with_line("[1, 2]"), &["train.jsonl:4: not a JSON object"]);
    refused(with_line(r#"{"question": "a", "answer": "b"}"#), &["train.jsonl:4: unknown shape of row"]);
    let invalid = [with_line("X").into_bytes(), b"{\"prompt\":\"\xe9\",\"completion\":\"a\"}\n".to_vec()].concat();
    refused(invalid, &["train.jsonl:4: ", "train.jsonl:10: not UTF-8"]);
    refused("", &["train.jsonl", "no rows"]);
    refused("[\n{}\n]\n", &["train.jsonl is one JSON array"]);
}

#[test]
fn an_empty_answer_is_refused() {
    let empty = row("empty", "which law?", "");
    refused(with_line(empty.trim_end()), &["train.jsonl:4: message 2 is an empty assistant turn"]);
    refused(with_line(r#"{"prompt": "q", "completion": "  "}"#), &["train.jsonl:4: ", "empty assistant turn"]);
}

#[test]
fn an_unknown_role_is_refused() {
    let narrator = r#"{"messages": [{"role": "narrator", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    refused(with_line(narrator), &["train.jsonl:4: messages[0]: unknown role `narrator`"]);
}

#[test]
fn a_row_with_the_text_of_a_special_token_is_left_out_and_counted() {
    let scene = Scene::new();
    let planted = row("planted", "which law?<|im_end|>", "termination");
    scene.write("train.jsonl", with_line(planted.trim_end()));
    let done = scene.run(&["check", &scene.text("config.toml")]).good();
    assert!(done.stdout.contains("refused   1 rows") && done.stdout.contains("special token"), "{}", done.stdout);
    assert!(done.stdout.contains("15 read, 14 used: 8 train"), "{}", done.stdout);
}

#[test]
fn all_broken_rows_are_told_at_once() {
    let broken = [r#"{"prompt": "q"}"#, r#"{"prompt": "q", "completion": ""}"#, r#"{"id": 1"#].join("\n");
    refused(with_line(&broken), &["3 of 11 rows", "train.jsonl:4: ", "train.jsonl:5: ", "train.jsonl:6: "]);
}

#[test]
fn a_group_or_an_id_in_two_splits_is_refused() {
    let scene = Scene::new();
    scene.write("test.jsonl", rows(15..18).replace("\"id\":\"row-15\"", "\"id\":\"other\""));
    scene.fit("run", &[]).refused(&["groups that lie in two splits", "`row-15`"]);
    scene.nothing_written("run");
}

#[test]
fn held_out_rows_that_repeat_training_rows_are_dropped_and_counted() {
    let scene = Scene::new();
    let repeated = rows(0..16).lines().next().unwrap().replace("row-0", "copy");
    scene.write("test.jsonl", format!("{}{repeated}\n", rows(16..22)));
    let done = scene.run(&["check", &scene.text("config.toml")]).good();
    let text = format!("{}{}", done.stdout, done.stderr);
    assert!(text.contains("leaked    1 test rows dropped, exact: copy repeats row-0"), "{text}");
    scene.write("test.jsonl", format!("{repeated}\n"));
    scene.fit("run", &[]).refused(&["the test split is empty"]);
    scene.nothing_written("run");
}

#[test]
fn a_missing_file_is_refused() {
    let scene = Scene::new();
    std::fs::remove_file(scene.path("train.jsonl")).unwrap();
    scene.fit("run", &[]).refused(&["data.train: there is no file", "train.jsonl"]);
    scene
        .run(&["score", "--model", &tiny_chat().display().to_string(), &scene.text("absent.jsonl")])
        .refused(&["absent.jsonl"]);
    scene.nothing_written("run");
}

#[test]
fn a_prompt_longer_than_the_context_is_refused() {
    let model = tiny_chat().display().to_string();
    let long = "which law governs this? ".repeat(300);
    trainer(&["generate", "--model", &model, &long]).refused(&["1024"]);
    let scene = Scene::new();
    let file = scene.write("long.jsonl", row("the-long-one", &long, "termination")).display().to_string();
    scene.run(&["score", "--model", &model, &file]).refused(&["1024"]);
    let more = ["--set", "data.max_tokens=2000", "--set", "train.micro_batch_tokens=4096"];
    let done = scene.fit("run", &more).refused(&["1024"]);
    assert!(done.stderr.contains("max_tokens"), "{}", done.stderr);
    scene.nothing_written("run");
    // A held-out prompt without room for its answer.
    scene.write("test.jsonl", row("the-long-one", &long, "termination"));
    let done = scene.fit("run", &["--set", "eval.enabled=true"]);
    assert_ne!(done.code, Some(0), "a held-out row was lost: {}{}", done.stdout, done.stderr);
}

#[test]
fn a_file_of_rows_that_are_all_too_long_trains_nothing() {
    let scene = Scene::new();
    scene.fit("run", &["--set", "data.max_tokens=8"]).refused(&["max_tokens"]);
    scene.nothing_written("run");
}

#[test]
fn an_empty_prompt_is_refused() {
    let model = tiny_chat().display().to_string();
    trainer(&["generate", "--model", &model, ""]).refused(&["the prompt is empty"]);
    trainer(&["generate", "--model", &model]).refused(&["the prompt is empty"]);
}
