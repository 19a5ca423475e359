//! What must never be published: secrets, rows, paths of a machine, unfinished or unlicensed work. Planted here in every
//! place of a run folder, and looked for in the folder that would be uploaded. Knows no code that looks for them.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::finished_run::{Copy, REPO, finished};
use crate::util::{Done, files};

#[test]
fn everything_that_is_in_the_way_is_told_at_once() {
    let run = Copy::new();
    let home = concat!("/ho", "me/roe/tiny");
    run.edit(
        "adapter/tokenizer_config.json",
        "{",
        &format!("{{\n  \"name_or_path\": \"{home}\",\n  \"note\": \"hf_{}\",", "aB3".repeat(12)),
    );
    run.edit("adapter/adapter_config.json", "{", "{\n  \"note\": \"Clause 3 of contract 10: which kind is it?\",");
    let mut command = finished().command();
    command.arg("publish").arg(run.path("")).args(["--repo", REPO, "--dry-run", "--accept-licence", "mit"]);
    command.args(["--language", "english"]);
    Done::of(command.output().unwrap()).refused(&[
        "7 things stand in the way",
        "adapter/tokenizer_config.json:3: holds a token of Hugging Face (hf_a…)",
        &format!("adapter/tokenizer_config.json:2: holds the absolute path {home}"),
        "adapter/adapter_config.json: repeats 8 words of training row",
        "has no name on the hub",
        "add  --base OWNER/NAME",
        "\"unknown\" is all that is known",
        "--language english: is no code of a language",
        "--accept-licence mit: nothing that the adapter was made from has this licence",
    ]);
    assert!(!run.path("publish").exists());
}

#[test]
fn a_run_that_did_not_finish_is_not_published() {
    for (file, change) in
        [("summary.json", None), ("summary.json", Some("\"stopped\"")), ("adapter/adapter_model.safetensors", None)]
    {
        let run = Copy::new();
        match change {
            None => fs::remove_file(run.path(file)).unwrap(),
            Some(status) => run.edit(file, "\"finished\"", status),
        }
        run.dry(&[]).refused(&["the run did not finish", "--resume"]);
    }
    let none = finished().run(&["publish", &finished().text("cache"), "--repo", REPO]);
    none.refused(&["is no run folder", "runs/NAME"]);
}

#[test]
fn numbers_about_another_adapter_or_changed_numbers_are_not_published() {
    let run = Copy::new();
    let mut weights = fs::read(run.path("adapter/adapter_model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(run.path("adapter/adapter_model.safetensors"), weights).unwrap();
    run.dry(&[]).refused(&[
        "eval/proof.json: no arm of the evaluation is the adapter that would be published",
        "trainer eval CONFIG",
    ]);
    let run = Copy::new();
    run.edit("eval/proof.json", "\"n\":40", "\"n\":41");
    run.dry(&[]).refused(&["eval/proof.json:", "entries differ from what the answers say"]);
}

#[test]
fn rows_that_cannot_be_looked_for_are_not_promised_to_be_left_out() {
    let run = Copy::new();
    run.edit("config.toml", "train.jsonl", "gone.jsonl");
    let done = run.dry(&[]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("gone.jsonl") && done.stderr.contains("hint: "), "{}", done.stderr);
    let run = Copy::new();
    run.edit(
        "summary.json",
        "\"data\": {\n    \"name\": \"train\",\n    \"sha256\": \"",
        "\"data\": {\n    \"name\": \"train\",\n    \"sha256\": \"0",
    );
    run.dry(&[]).refused(&["its rows are not those that the run learnt from"]);
}

/// What is planted, and how it is told apart in what is uploaded.
#[derive(Clone, Debug)]
struct Planted {
    text: String,
}

fn planted() -> impl Strategy<Value = Planted> {
    let letters = |count: usize| {
        proptest::collection::vec(prop_oneof!["[a-z]", "[A-Z]", "[0-9]"], count).prop_map(|all| all.concat())
    };
    let secret = (letters(40), 0..9_usize).prop_map(|(body, kind)| match kind {
        0 => format!("hf_{body}"),
        1 => format!("sk-ant-api03-{body}"),
        2 => format!("sk-proj-{body}"),
        3 => format!("ghp_{body}"),
        4 => format!("AKIA{}", body.to_ascii_uppercase().get(..16).unwrap()),
        5 => format!("xoxb-{body}"),
        6 => format!("-----BEGIN PRIVATE KEY----- {body}"),
        7 => format!("password = \"{body}\""),
        _ => format!("https://roe:{body}@db.example.org/x"),
    });
    let row = (0..56_usize, 0..2_usize).prop_map(|(number, cut)| {
        let row = format!("Clause {number} of contract {}: which kind is it?", number * 37 % 101);
        if cut == 0 { row } else { row.trim_end_matches(" is it?").to_owned() + " is" }
    });
    let path = ("[a-z]{3,9}", 0..6_usize).prop_map(|(name, kind)| match kind {
        0 => format!("{}/{name}/legal.toml", concat!("/ho", "me")),
        1 => format!("{}/{name}/x", concat!("/ro", "ot")),
        2 => format!("/mnt/{name}/rows.jsonl"),
        3 => format!("C:\\Users\\{name}\\rows.jsonl"),
        4 => format!("/tmp/{name}/a.json"),
        _ => format!("file:///data/{name}/b"),
    });
    prop_oneof![secret, row, path].prop_map(|text| Planted { text })
}

/// Puts a text into a file the way a person or a program would leave it there.
fn plant(file: &Path, text: &str, how: usize) {
    let bytes = fs::read(file).unwrap_or_default();
    let quoted = serde_json::Value::from(text).to_string();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let changed = if name.ends_with(".safetensors") {
        // Into the header, which is the only place for words; the length of it stands in front.
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = String::from_utf8_lossy(&bytes[8..8 + length]).trim_end().to_owned();
        let header = header.replacen("{\"format\":\"pt\"}", &format!("{{\"format\":\"pt\",\"note\":{quoted}}}"), 1);
        let header = format!("{header}{}", " ".repeat((8 - header.len() % 8) % 8));
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
    } else if name.ends_with(".json") && bytes.starts_with(b"{") {
        let rest = String::from_utf8_lossy(&bytes[1..]).into_owned();
        format!("{{\"planted\": {quoted},{rest}").into_bytes()
    } else if name.ends_with(".jsonl") {
        [bytes.as_slice(), format!("{{\"planted\": {quoted}}}\n").as_bytes()].concat()
    } else if how == 0 {
        [text.as_bytes(), b"\n", bytes.as_slice()].concat()
    } else {
        [bytes.as_slice(), b"\n# ", text.as_bytes(), b"\n"].concat()
    };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, changed).unwrap();
}

/// Everything in a folder, with the escapes of JSON and HTML taken back as well as not.
fn everything(folder: &Path) -> String {
    let mut all = String::new();
    for file in files(folder) {
        let bytes = fs::read(folder.join(&file)).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        all += &text;
        all += &text
            .replace("\\\\", "\\")
            .replace("\\\"", "\"")
            .replace("\\/", "/")
            .replace("&quot;", "\"")
            .replace("&#x2f;", "/");
        all += "\n";
    }
    all
}

#[test]
fn nothing_planted_anywhere_in_a_run_folder_reaches_the_upload_folder() {
    const PLACES: [&str; 24] = [
        "adapter/README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/tokenizer.json",
        "adapter/tokenizer_config.json",
        "adapter/special_tokens_map.json",
        "adapter/added_tokens.json",
        "adapter/chat_template.json",
        "adapter/chat_template.jinja",
        "adapter/notes.txt",
        "adapter/optimizer.bin",
        "config.toml",
        "env.json",
        "ledger.json",
        "events.jsonl",
        "summary.json",
        "calls.sqlite",
        ".env",
        "notes/secret.md",
        "eval/results.json",
        "eval/report.html",
        "eval/table.txt",
        "checkpoints/step-000001/checkpoint.json",
        "publish/left-over.md",
    ];
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let (refused, left_out) = (Cell::new(0), Cell::new(0));
    let strategy = (planted(), 0..PLACES.len(), 0..2_usize);
    let outcome = runner.run(&strategy, |(planted, place, how)| {
        let run = Copy::new();
        plant(&run.path(PLACES[place]), &planted.text, how);
        let done = run.dry(&[]);
        prop_assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
        let uploaded = run.path("publish");
        if done.code == Some(0) {
            left_out.set(left_out.get() + 1);
            let all = everything(&uploaded);
            prop_assert!(!all.contains(&planted.text), "{} of {} is in the upload folder", planted.text, PLACES[place]);
        } else {
            refused.set(refused.get() + 1);
            prop_assert_eq!(done.code, Some(2));
            prop_assert!(done.stderr.contains("hint: "), "{}", done.stderr);
            // What an earlier attempt left does not stay either.
            prop_assert!(!uploaded.exists(), "{}", done.stderr);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let (refused, left_out) = (refused.get(), left_out.get());
    assert!(refused > 5 && left_out > 5, "{refused} refused, {left_out} left out: the plants do not reach both ways");
}
