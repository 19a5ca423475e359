//! Tests: the scorers of structured answers against seqeval, nervaluate, jsonschema, RapidFuzz and SciPy.
//! Knows nothing about how the cases were made; that is `tests/oracles/structure_cases.py`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::json_fields::{self, FieldRule, List};
use super::{Answer, Count, JsonFields, JsonValid, Scored, Scorer, Spans, Target, spans};
use crate::json::Comparator;
use crate::spans::{Decoding, Mode, Span, tags};
use crate::{Completion, Error, Finish, Parse, Reason};

/// Credit, predicted and wanted.
type Sums = [f64; 3];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    tags: Vec<TagCase>,
    spans: Vec<SpanCase>,
    json: Vec<JsonCase>,
    schema: Vec<SchemaCase>,
    suite: Vec<SuiteCase>,
    similarity: Vec<SimilarityCase>,
    records: Vec<RecordCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagCase {
    wanted: Vec<Vec<String>>,
    predicted: Vec<Vec<String>>,
    conll_f1: f64,
    iob2_f1: f64,
    conll: Vec<Vec<(usize, usize, String)>>,
    iob2: Vec<Vec<(usize, usize, String)>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpanCase {
    wanted: Vec<(usize, usize, String)>,
    predicted: Vec<(usize, usize, String)>,
    flat: bool,
    strict: Sums,
    exact: Sums,
    #[serde(rename = "type")]
    by_type: Sums,
    partial: Sums,
    strict_by_type: BTreeMap<String, Sums>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonCase {
    text: String,
    valid: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaCase {
    schema: Value,
    instance: Value,
    valid: bool,
    paths: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuiteCase {
    name: String,
    schema: Value,
    instance: Value,
    valid: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SimilarityCase {
    one: String,
    other: String,
    similarity: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordCase {
    predicted: Value,
    wanted: Value,
    lists: Vec<String>,
    ordered: Sums,
    assignment: Sums,
}

#[test]
fn a_sample_of_the_cases_of_other_packages_gives_their_values() {
    check_all(include_str!("../../tests-data/structure.json"), 20);
}

#[test]
#[ignore = "needs cases: see the head of tests/oracles/structure_cases.py"]
fn thousands_of_cases_of_other_packages_give_their_values() {
    let path = std::env::var("STRUCTURE_CASES").expect("STRUCTURE_CASES names the file of structure_cases.py");
    check_all(&std::fs::read_to_string(path).unwrap(), 1000);
}

fn check_all(text: &str, least: usize) {
    let cases: Cases = serde_json::from_str(text).unwrap();
    let sizes = [cases.tags.len(), cases.spans.len(), cases.json.len(), cases.schema.len(), cases.suite.len()];
    assert!(sizes.into_iter().chain([cases.similarity.len(), cases.records.len()]).all(|size| size >= least));
    cases.tags.iter().for_each(check_tags);
    cases.spans.iter().for_each(check_spans);
    for case in &cases.json {
        let scored = score(&JsonValid::plain(), &case.text, "");
        assert_eq!(scored.score == Some(1.0), case.valid, "{:?}: {:?}", case.text, scored.note);
    }
    cases.schema.iter().for_each(check_schema);
    let failed: Vec<_> = cases.suite.iter().filter_map(failure).collect();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.suite.len(), failed.join("\n"));
    for SimilarityCase { one, other, similarity } in &cases.similarity {
        let fuzzy = |threshold| {
            let work = &mut crate::work::Work::of_a_judgement();
            Comparator::Fuzzy { threshold }.same(&json!(one), &json!(other), work).unwrap()
        };
        assert!(fuzzy(similarity - 1e-12), "{one:?} {other:?}");
        assert!(*similarity == 1.0 || !fuzzy(similarity + 1e-12), "{one:?} {other:?}");
    }
    cases.records.iter().for_each(check_record);
}

fn check_tags(case: &TagCase) {
    let expected = [(Decoding::Conll, case.conll_f1, &case.conll), (Decoding::Iob2, case.iob2_f1, &case.iob2)];
    for (decoding, f1, decoded) in expected {
        let options = spans::Options { form: spans::Form::Tags, decoding, ..spans::Options::default() };
        let scorer = Spans::build(options).unwrap();
        let mut counts = Vec::new();
        for ((wanted, predicted), decoded) in case.wanted.iter().zip(&case.predicted).zip(decoded) {
            let found = tags::decode(&tags::read(&predicted.join(" ")).unwrap(), decoding);
            let found: Vec<_> = found.into_iter().map(|span| (span.start, span.end, span.kind)).collect();
            assert_eq!(&found, decoded, "{decoding:?} {predicted:?}");
            counts.extend(score(&scorer, &json!(predicted).to_string(), &wanted.join("\n")).counts);
        }
        let [credit, predicted, wanted] = sums(&counts);
        // A corpus without any span has an F1 of 0 there and is never asked for here.
        let ours = if predicted + wanted == 0.0 { 0.0 } else { 2.0 * credit / (predicted + wanted) };
        assert!((ours - f1).abs() < 1e-12, "{decoding:?} {:?} {:?}: {ours} {f1}", case.wanted, case.predicted);
    }
}

fn check_spans(case: &SpanCase) {
    let list = |spans: &[(usize, usize, String)]| {
        json!(spans.iter().map(|(s, e, k)| json!({"label": k, "start": s, "end": e})).collect::<Vec<_>>()).to_string()
    };
    let modes = [
        (Mode::Strict, case.strict),
        (Mode::Exact, case.exact),
        (Mode::Type, case.by_type),
        (Mode::Partial, case.partial),
    ];
    for (mode, theirs) in modes {
        let scorer = Spans::build(spans::Options { mode, ..spans::Options::default() }).unwrap();
        let scored = score(&scorer, &list(&case.predicted), &list(&case.wanted));
        let ours = sums(&scored.counts);
        let context = format!("{mode:?} {:?} {:?}", case.predicted, case.wanted);
        if case.flat || mode == Mode::Type {
            assert_eq!(ours, theirs, "{context}");
            let [credit, predicted, wanted] = theirs;
            let f1 = if predicted + wanted == 0.0 { 1.0 } else { 2.0 * credit / (predicted + wanted) };
            assert!((scored.score.unwrap() - f1).abs() < 1e-12, "{context}");
        } else {
            // There a wrong span may take a wanted one away from a right one that overlaps it.
            assert!(ours[0] >= theirs[0] && ours[1..] == theirs[1..], "{context}: {ours:?} {theirs:?}");
        }
        if mode == Mode::Strict && case.flat {
            let by_type: BTreeMap<_, _> = scored.counts.iter().map(|count| (count.name.clone(), one(count))).collect();
            assert_eq!(by_type, case.strict_by_type, "{context}");
        }
        if mode == Mode::Strict {
            let spans = |spans: &[(usize, usize, String)]| -> Vec<Span> {
                spans.iter().map(|(start, end, kind)| Span { start: *start, end: *end, kind: kind.clone() }).collect()
            };
            let wanted = spans(&case.wanted);
            assert_eq!(ours[0], spans(&case.predicted).iter().filter(|span| wanted.contains(span)).count() as f64);
        }
    }
}

fn check_schema(case: &SchemaCase) {
    let scorer = JsonValid::with_schema(false, &case.schema, Path::new("case.json")).unwrap();
    let scored = score(&scorer, &case.instance.to_string(), "");
    assert_eq!(scored.score == Some(1.0), case.valid, "{} {}: {:?}", case.schema, case.instance, scored.note);
    if !case.valid {
        assert_eq!(scored.parse, Parse::Unparsed { reason: Reason::SchemaViolation });
        let note = scored.note.unwrap();
        let path = note.strip_prefix("at ").unwrap().split_once(": ").unwrap().0.replace("the root", "");
        assert!(case.paths.contains(&path), "{} {}: {note} is none of {:?}", case.schema, case.instance, case.paths);
    }
}

/// What is wrong with our answer to a case of the official suite.
fn failure(case: &SuiteCase) -> Option<String> {
    match (JsonValid::with_schema(false, &case.schema, Path::new("case.json")), case.valid) {
        // What refers to another file is refused before any answer is seen.
        (Err(Error::BadSchema { .. }), None) => None,
        (Ok(scorer), Some(valid)) => {
            let scored = score(&scorer, &case.instance.to_string(), "");
            let is_right = (scored.score == Some(1.0)) == valid;
            (!is_right).then(|| format!("{}: {:?} {:?}", case.name, scored.score, scored.note))
        }
        (Ok(_), None) => Some(format!("{}: a reference outside is not refused", case.name)),
        (Err(error), _) => Some(format!("{}: {error}", case.name)),
    }
}

fn check_record(case: &RecordCase) {
    for (list, expect) in [(List::Ordered, case.ordered), (List::Assignment, case.assignment)] {
        let rule = |path: &String| FieldRule { path: path.clone(), list: Some(list), ..FieldRule::default() };
        let field = case.lists.iter().map(rule).collect();
        let scorer = JsonFields::build(json_fields::Options { field, ..json_fields::Options::default() }).unwrap();
        let scored = score(&scorer, &case.predicted.to_string(), &case.wanted.to_string());
        assert_eq!(sums(&scored.counts), expect, "{list:?} {} {}", case.predicted, case.wanted);
    }
}

fn score(scorer: &dyn Scorer, text: &str, wanted: &str) -> Scored {
    let completion = Completion::of(text, Finish::Stop);
    scorer.score(Answer::Written(&completion), Target { text: wanted, ..Target::default() })
}

fn one(count: &Count) -> Sums {
    [count.credit, count.predicted, count.wanted]
}

fn sums(counts: &[Count]) -> Sums {
    counts.iter().map(one).fold([0.0; 3], |sum, one| [0, 1, 2].map(|at| sum[at] + one[at]))
}
