//! The card of a publication and what stands beside it: that programs can read its head, that every number on it is
//! found in the published JSON, and that the published proof holds. Knows Markdown and JSON, and no code that made them.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use crate::finished_run::{Copy, REPO, finished, with_labels};
use crate::util::files;

/// Every number in some JSON, and every number that stands in one of its texts.
fn known(value: &Value, numbers: &mut Vec<f64>, words: &mut BTreeSet<String>) {
    match value {
        Value::Number(number) => numbers.push(number.as_f64().unwrap()),
        Value::String(text) => words.extend(numerals(text)),
        Value::Array(items) => items.iter().for_each(|item| known(item, numbers, words)),
        Value::Object(fields) => fields.values().for_each(|field| known(field, numbers, words)),
        _ => {}
    }
}

/// Numbers that stand by themselves: no part of a name, a hash or a version of a program.
fn numerals(text: &str) -> Vec<String> {
    let pattern = Regex::new(r"[0-9A-Za-z_./%+\u{2212}-]+").unwrap();
    let number = Regex::new(r"^[+\u{2212}-]?[0-9]+(\.[0-9]+)?%?$").unwrap();
    let words = pattern.find_iter(text).map(|word| word.as_str().trim_end_matches(['.', '-']).to_owned());
    words.filter(|word| number.is_match(word)).collect()
}

#[test]
fn every_number_on_the_card_stands_in_the_published_results_or_summary() {
    numbers_are_found(&Copy::new());
}

#[test]
fn so_it_is_where_answers_are_labels_and_labels_are_no_words_of_rows() {
    let run = Copy::of(with_labels());
    numbers_are_found(&run);
    let results = run.json("publish/trainer/results.json");
    let rows = results["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["text"].as_str().unwrap().starts_with("withheld ")));
    assert!(rows.iter().any(|row| row["target"] == "termination"), "a closed label is no secret");
    let card = run.read("publish/README.md");
    assert!(card.contains("label likelihood") && card.contains("- \"macro_f1\""), "{card}");
    let proof = run.path("publish/trainer/proof.json").display().to_string();
    with_labels().run(&["verify", &proof]).good();
}

#[track_caller]
fn numbers_are_found(run: &Copy) {
    run.dry(&[]).good();
    let (mut numbers, mut words) = (Vec::new(), BTreeSet::new());
    for file in ["publish/trainer/results.json", "publish/trainer/summary.json"] {
        known(&run.json(file), &mut numbers, &mut words);
    }
    let card = run.read("publish/README.md");
    let shown = numerals(&card);
    assert!(shown.len() > 60, "{shown:?}");
    for numeral in &shown {
        let decimals = numeral.split_once('.').map_or(0, |(_, digits)| digits.len());
        let value: f64 = numeral.parse().unwrap();
        let rounding = 0.5 * 10_f64.powi(-(decimals as i32)) + 1e-12;
        let found = words.contains(numeral)
            || numbers.iter().any(|number| (number - value).abs() <= if decimals == 0 { 0.0 } else { rounding });
        assert!(found, "{numeral} stands on the card and nowhere else:\n{card}");
    }
    // And it is the numbers of this adapter, not of another arm.
    let results = run.json("eval/results.json");
    let tuned = results["arms"].as_array().unwrap().iter().find(|arm| arm["name"] == "tuned").unwrap();
    let exact = &tuned["metrics"]["exact_match"];
    assert!(card.contains(&format!("value: {}", decimal(&exact["value"]))), "{exact}\n{card}");
    assert!(card.contains(&format!("low: {}", decimal(&exact["low"]))), "{exact}\n{card}");
}

/// A number as YAML must have it.
fn decimal(value: &Value) -> String {
    let text = value.as_f64().unwrap().to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

#[test]
fn the_head_of_the_card_has_what_the_hub_reads() {
    let run = Copy::new();
    run.dry(&["--language", "en", "--dataset", "roe/clauses"]).good();
    let card = run.read("publish/README.md");
    let head = card.strip_prefix("---\n").unwrap().split("\n---\n").next().unwrap();
    for line in [
        "base_model: \"tiny/chat\"",
        "base_model_relation: \"adapter\"",
        "library_name: \"peft\"",
        "pipeline_tag: \"text-generation\"",
        "license: \"unknown\"",
        "language:",
        "- \"en\"",
        "datasets:",
        "- \"roe/clauses\"",
        "tags:",
        "metrics:",
        "model-index:",
        "- name: \"legal\"",
        "    - type: \"exact_match\"",
        "        level: 0.95",
    ] {
        assert!(head.lines().any(|found| found == line), "`{line}` is not in\n{head}");
    }
    for part in [
        "## What is proven",
        "## What it is not good for",
        "AutoPeftModelForCausalLM.from_pretrained(\"roe/legal\")",
        "vllm serve tiny/chat --enable-lora --max-lora-rank 8 --lora-modules legal=roe/legal",
        "trainer export",
        "mistralrs serve -m tiny/chat --lora roe/legal",
        "trainer pull roe/legal",
        "## How it was made",
        "## Evidence",
        "## Licences and attribution",
        "accepted that licence with `--accept-licence`",
    ] {
        assert!(card.contains(part), "`{part}` is not in\n{card}");
    }
}

#[test]
fn the_published_proof_holds_and_says_what_it_withholds() {
    let run = Copy::new();
    run.dry(&[]).good();
    let proof = run.path("publish/trainer/proof.json").display().to_string();
    let done = finished().run(&["verify", &proof]).good();
    assert!(done.stderr.contains("withheld: the texts of rows and answers"), "{}", done.stderr);
    assert!(done.stderr.contains("every number was computed again and holds"), "{}", done.stderr);
    // The numbers are those of the whole proof.
    let (shared, whole) = (run.json("publish/trainer/results.json"), run.json("eval/results.json"));
    assert_eq!(shared["decided"]["verdict"], whole["decided"]["verdict"]);
    assert_eq!(shared["comparisons"], whole["comparisons"]);
    for (shared, whole) in shared["arms"].as_array().unwrap().iter().zip(whole["arms"].as_array().unwrap()) {
        assert_eq!((&shared["metrics"], &shared["classes"]), (&whole["metrics"], &whole["classes"]));
    }
    // Whoever is given the whole proof checks the judgements too, and takes no other proof for it.
    let whole = run.path("eval/proof.json").display().to_string();
    let checked = finished().run(&["verify", &proof, "--whole", &whole]).good();
    assert!(!checked.stderr.contains("withheld"), "{}", checked.stderr);
    let other = with_labels().text("run/eval/proof.json");
    let done = finished().run(&["verify", &proof, "--whole", &other]);
    assert!(done.code == Some(1) && done.stdout.contains("the published proof"), "{}", done.stdout);
    // A number that is changed is found out.
    let text = run.read("publish/trainer/proof.json");
    let changed = text.replacen("\"right\": true", "\"right\": false", 1).replacen("\"n\":40", "\"n\":41", 1);
    assert_ne!(text, changed);
    std::fs::write(run.path("publish/trainer/proof.json"), changed).unwrap();
    assert_eq!(finished().run(&["verify", &proof]).code, Some(1));
}

#[test]
fn a_run_without_an_evaluation_says_so() {
    let run = Copy::new();
    std::fs::remove_dir_all(run.path("eval")).unwrap();
    let done = run.dry(&[]).good();
    assert!(done.stderr.contains("the run has no evaluation, and the card says so"), "{}", done.stderr);
    let card = run.read("publish/README.md");
    assert!(card.contains("Nothing: this adapter was not evaluated") && !card.contains("model-index"), "{card}");
    assert!(!files(&run.path("publish")).iter().any(|file| file.contains("proof")));
    assert!(card.contains(REPO));
}
