//! Targets that each scorer takes and does not take, through the task of a config.

use expect_test::expect;

use super::*;
use crate::scorer::{ALL, ScorerSpec};
use crate::{Message, Role};

const SOURCE: &str = "Ann met Bob in Rome";

fn held_out(targets: &[&str], labels: Option<&[&str]>) -> HeldOut {
    let row = |(at, target): (usize, &&str)| Row {
        id: format!("row-{at}"),
        prompt: vec![Message::new(Role::User, SOURCE)],
        text: SOURCE.to_owned(),
        target: (*target).to_owned(),
        ..Row::default()
    };
    let labels = labels.map(|labels| labels.iter().map(|&label| label.to_owned()).collect());
    HeldOut::new(targets.iter().enumerate().map(row).collect(), labels).unwrap()
}

fn task(options: &[&str], schema: Option<serde_json::Value>) -> Task {
    let spec = |text: &&str| ScorerSpec { options: serde_json::from_str(text).unwrap(), schema: schema.clone() };
    Task::new(options.iter().map(spec).collect(), None, None).unwrap()
}

/// The notes of the rows that are refused, by their place from 1.
fn wrong(options: &str, targets: &[&str]) -> Vec<(usize, String)> {
    notes(&task(&[options], None), targets)
}

fn notes(task: &Task, targets: &[&str]) -> Vec<(usize, String)> {
    match check(&held_out(targets, None), task) {
        Ok(()) => Vec::new(),
        Err(Error::WrongTargets { shown, .. }) => shown.into_iter().map(|wrong| (wrong.row, wrong.note)).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[track_caller]
fn refused(options: &str, targets: &[&str], expected: &[(usize, &str)]) {
    let found = wrong(options, targets);
    assert_eq!(found.len(), expected.len(), "{options}: {found:?}");
    for ((row, note), (expected_row, part)) in found.iter().zip(expected) {
        assert!(row == expected_row && note.contains(part), "{options}: row {row}: {note}");
    }
}

#[test]
fn numbers_are_whole_targets() {
    let numeric = r#"{"kind":"numeric"}"#;
    refused(numeric, &["3", "-1,200.5", "$5", "12%"], &[]);
    refused(
        numeric,
        &["3 boxes", "7", "between 2 and 3", "3/4", "three"],
        &[1, 3, 4, 5].map(|row| (row, "the target is not a number")),
    );
    let comma = r#"{"kind":"numeric","decimal_comma":true}"#;
    refused(comma, &["1.234,5", "1,234.5"], &[(2, "the target is not a number")]);
}

#[test]
fn spans_are_lists_over_their_own_text() {
    let spans = r#"{"kind":"spans"}"#;
    let good = [
        "[]",
        r#"[{"type":"PER","text":"Ann"},{"label":"LOC","text":"Rome"}]"#,
        r#"[{"type":"PER","start":0,"end":3}]"#,
        // Said twice is read once, on both sides.
        r#"[{"type":"PER","text":"Ann"},{"type":"PER","text":"Ann"}]"#,
    ];
    refused(spans, &good, &[]);
    let bad = ["Ann: PER", "{}", r#"[{"type":"PER","text":"Eve"}]"#, r#"[{"type":"PER","start":1}]"#, good[1]];
    refused(
        spans,
        &bad,
        &[
            (1, "the target cannot be read: expected value"),
            (2, "not a list of spans"),
            (3, "PER is not in the text"),
            (4, "item 0"),
        ],
    );
    let tags = r#"{"kind":"spans","form":"tags"}"#;
    refused(tags, &["B-PER O B-PER O B-LOC", "[\"O\"]"], &[]);
    refused(tags, &["PER O", "O"], &[(1, "is not a tag")]);
    let fenced = "```json\n[]\n```";
    refused(spans, &[fenced], &[(1, "the target cannot be read")]);
}

#[test]
fn json_is_one_value_that_the_schema_allows() {
    let valid = r#"{"kind":"json_valid"}"#;
    refused(valid, &["{}", " [1] ", "3"], &[]);
    refused(valid, &["{'a': 1}", r#"{"a":1,"a":2}"#], &[(1, "invalid json: key must be"), (2, "occurs twice")]);
    let fenced = "```json\n{}\n```";
    refused(valid, &[fenced], &[(1, "invalid json")]);
    refused(r#"{"kind":"json_valid","lenient":true}"#, &[fenced], &[]);
    let schema = serde_json::json!({"type": "object", "required": ["a"]});
    let task = task(&[valid], Some(schema));
    let found = notes(&task, &[r#"{"a":1}"#, r#"{"b":1}"#]);
    assert_eq!(found.len(), 1);
    assert!(found[0].0 == 2 && found[0].1.starts_with("schema violation: at the root: "), "{found:?}");
}

#[test]
fn records_are_themselves_under_their_own_rules() {
    refused(r#"{"kind":"json_fields"}"#, &["{}", r#"{"a":[1,{"b":null}]}"#], &[]);
    refused(r#"{"kind":"json_fields"}"#, &["a: 1"], &[(1, "the target is not JSON")]);
    let by_key = r#"{"kind":"json_fields","field":[{"path":"a","list":"by_key","key":"id"}]}"#;
    refused(by_key, &[r#"{"a":[{"id":1,"x":2}]}"#, r#"{"a":[{"x":2}]}"#], &[(2, "scores 0.0000")]);
}

#[test]
fn a_pattern_finds_the_whole_target_in_it() {
    refused(r#"{"kind":"regex","pattern":"(?<answer>[a-z]+)$"}"#, &["blue"], &[]);
    let around = r#"{"kind":"regex","pattern":"answer: (?<answer>[a-z]+)"}"#;
    refused(around, &["blue", "answer: blue"], &[(1, "no match"), (2, "scores 0.0000")]);
    refused(r#"{"kind":"regex","pattern":"^[0-9]+$"}"#, &["12", "a"], &[(2, "scores 0.0000")]);
}

#[test]
fn overlaps_grade_their_own_target_one_unless_they_lose_it() {
    let texts = ["The parties terminated it.", "a", "x y z", "Договор расторгнут 1 мая", "line one\n\nline two"];
    for kind in ["bleu", "chrf", "chrf_plus_plus", "ter"] {
        refused(&format!(r#"{{"kind":"{kind}"}}"#), &texts, &[]);
    }
    for kind in ["rouge_1", "rouge_2", "rouge_l", "rouge_lsum"] {
        refused(&format!(r#"{{"kind":"{kind}"}}"#), &texts, &[(4, "use chrF")]);
    }
    refused(r#"{"kind":"first_line_accept"}"#, &["x\ny", "\ny"], &[(2, "the first line of the target is empty")]);
}

#[test]
fn what_a_scorer_declares_is_so() {
    let targets = ["termination", "\"A.\"", "a b", "  x\n y  ", "{\"a\": 1}", "7"];
    let labels = ["termination", "\"A.\"", "a b", "  x\n y  ", "{\"a\": 1}", "7"];
    let rows = held_out(&targets, Some(&labels));
    for scorer in ALL {
        let scores = rows.rows().iter().map(|row| {
            let text = row.target.clone();
            let answer = Completion::of(text, Finish::Stop);
            let target =
                Target { text: &row.target, labels: rows.labels().unwrap(), source: &row.text, ..Target::default() };
            scorer.score(Answer::Written(&answer), target).score
        });
        let scores: Vec<Option<f64>> = scores.collect();
        match scorer.of_target() {
            OfTarget::Right => assert_eq!(scores, [Some(1.0); 6], "{}", scorer.name()),
            OfTarget::Unasked => assert_eq!(scores, [None; 6], "{}", scorer.name()),
            // Tried, so that whatever it says is heard.
            OfTarget::RightIfRead | OfTarget::GradedIfRead => {}
        }
    }
    let free: Vec<&str> = ALL
        .iter()
        .filter(|scorer| matches!(scorer.of_target(), OfTarget::Right | OfTarget::Unasked))
        .map(|scorer| scorer.name())
        .collect();
    expect![[r#"
        [
            "exact_match",
            "includes",
            "label",
            "label_likelihood",
            "prefix_accept",
        ]
    "#]]
    .assert_debug_eq(&free);
}

#[test]
fn the_standard_tasks_try_nothing() {
    let labels = ["a".to_owned(), "b".to_owned()];
    for task in [Task::standard(None, None).unwrap(), Task::standard(Some(&labels), None).unwrap()] {
        assert!(task.scorers().iter().all(|scorer| matches!(scorer.of_target(), OfTarget::Right | OfTarget::Unasked)));
        check(&held_out(&["a", "b"], Some(&["a", "b"])), &task).unwrap();
    }
}

#[test]
fn the_error_names_row_scorer_and_note_and_counts_the_rest() {
    let task = task(&[r#"{"kind":"exact_match"}"#, r#"{"kind":"numeric"}"#, r#"{"kind":"json_valid"}"#], None);
    let error = check(&held_out(&["1", "one", "2"], None), &task).unwrap_err().to_string();
    expect![[r#"
        1 of 3 held-out rows have a target that its own scorer does not score 1
          row 2 (`row-1`), numeric: the target is not a number
        hint: a model that had learnt these rows by heart would fail them: correct the targets, or choose a scorer under [[eval.scorer]], or options of it, that reads them"#]]
    .assert_eq(&error);
    let many = vec!["one"; 25];
    let error = check(&held_out(&many, None), &task).unwrap_err().to_string();
    assert!(error.starts_with("25 of 25 held-out rows") && error.contains("\n  and 15 more\nhint: "), "{error}");
    let long = format!("O {}", "x".repeat(20_000));
    let error = check(&held_out(&[&long], None), &self::task(&[r#"{"kind":"spans","form":"tags"}"#], None));
    let error = error.unwrap_err().to_string();
    assert!(error.len() < 1_000 && error.contains("more bytes)"), "{}", error.len());
}
