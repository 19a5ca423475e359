//! Proofs that were never written by this program: of an older version, with thousands of labels, and with their bytes
//! changed at random. Whatever they hold, they are read within bounds, and never with a panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use super::super::verify::{Proof, verify};
use super::super::withhold::withhold;
use super::changes::fitted;
use super::examples;
use crate::Error;
use crate::report::json as results_json;

/// As the version before wrote it: a count for every pair of labels.
const VERSION_2: &str = include_str!("../../../tests-data/proof/results-2.json");
const RESULTS_2: &str = include_str!("../../../tests-data/proof/only-results-2.json");

/// No file of some megabytes may take longer.
const MOST_TIME: Duration = Duration::from_secs(60);

#[test]
fn a_proof_of_the_version_before_still_verifies_and_each_change_of_its_table_is_found() {
    assert_eq!(verify(VERSION_2).unwrap(), []);
    let value: Value = serde_json::from_str(VERSION_2).unwrap();
    assert_eq!(value["results"]["version"], 2);
    let table = value.pointer("/results/arms/0/confusion/counts").unwrap().clone();
    for row in 0..table.as_array().unwrap().len() {
        let mut changed = value.clone();
        let cell = changed.pointer_mut(&format!("/results/arms/0/confusion/counts/{row}/0")).unwrap();
        *cell = json!(cell.as_u64().unwrap() + 1);
        assert!(!verify(&fitted(&changed)).unwrap().is_empty());
    }
    let mut newer = value.clone();
    newer["results"]["version"] = json!(3);
    assert!(matches!(verify(&fitted(&newer)), Err(Error::BadEvidence { .. })));
    // The copy for others stays in the form of the version, so that one that was published before is made again.
    let copy = withhold(VERSION_2).unwrap();
    assert_eq!((copy.results.version, verify(&copy.proof).unwrap()), (2, vec![]));
}

#[test]
fn results_of_the_version_before_are_read_and_their_proof_is_about_the_same_numbers() {
    let results = results_json::read(RESULTS_2).unwrap();
    let proof: Proof = serde_json::from_str(VERSION_2).unwrap();
    assert_eq!(results.version, 3);
    for (arm, of_proof) in results.arms.iter().zip(&proof.results.arms) {
        assert_eq!(arm.confusion, of_proof.confusion.as_ref().map(crate::metric::Confusion::compact));
        assert_eq!(arm.metrics.len(), of_proof.metrics.len());
    }
}

#[test]
fn a_proof_with_thousands_of_labels_is_checked_in_time_and_space_of_its_rows() {
    let example = examples::labels();
    let text = Proof::write(&example.results, &example.premises).unwrap();
    for text in [text.as_str(), VERSION_2] {
        let mut value: Value = serde_json::from_str(text).unwrap();
        let labels = value["results"]["labels"].as_array_mut().unwrap();
        labels.splice(0..0, (0..20_000).map(|label| json!(format!("m{label}"))));
        let started = Instant::now();
        // Likelihoods of two labels do not fit 20,000: refused, or told as a difference.
        assert!(!verify(&fitted(&value)).is_ok_and(|found| found.is_empty()));
        assert!(started.elapsed() < MOST_TIME, "{:?}", started.elapsed());
    }
}

#[test]
fn a_proof_with_more_claims_than_an_evaluation_has_is_refused() {
    let mut value: Value = serde_json::from_str(VERSION_2).unwrap();
    let claims = value["premises"]["claims"].as_array_mut().unwrap();
    let claim = claims[0].clone();
    claims.resize(5_000, claim);
    assert!(verify(&fitted(&value)).unwrap_err().to_string().contains("claims, slices and bins, and at most"));
}

/// What may stand in a file at a place: other bytes, a piece of it again, nothing, or a number that nobody expects.
#[derive(Clone, Debug)]
enum Mutation {
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index, usize),
    Again(prop::sample::Index, usize),
    Number(prop::sample::Index, &'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let numbers = prop::sample::select(vec![
        "-1",
        "1e308",
        "1e-320",
        "18446744073709551615",
        "9007199254740993",
        "null",
        "0.5",
        "[]",
    ]);
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        (any::<prop::sample::Index>(), 1_usize..200).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (any::<prop::sample::Index>(), 1_usize..2_000).prop_map(|(at, length)| Mutation::Again(at, length)),
        (any::<prop::sample::Index>(), numbers).prop_map(|(at, number)| Mutation::Number(at, number)),
    ]
}

fn mutated(text: &str, mutations: &[Mutation]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        match mutation {
            Mutation::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Mutation::Cut(at, length) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Mutation::Again(at, length) => {
                let at = at.index(bytes.len());
                let piece = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            Mutation::Number(at, number) => {
                // A number that is there becomes another one, so that more of these files are read to their end.
                let from = at.index(bytes.len());
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                if let Some(start) = bytes[from..].iter().position(is_digit).map(|start| from + start) {
                    let length = bytes[start..].iter().take_while(|byte| is_digit(byte) || **byte == b'.').count();
                    bytes.splice(start..start + length, number.bytes());
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a text as everything that a proof or results are read as.
fn read(text: &str) {
    let started = Instant::now();
    // What is found does not matter here, only that something is.
    let _ = verify(text);
    let _ = results_json::read(text);
    let _ = super::super::withhold::of(text);
    if let Ok(value) = serde_json::from_str::<Value>(text)
        && value.get("sha256").is_some()
    {
        let _ = verify(&fitted(&value));
    }
    assert!(started.elapsed() < MOST_TIME, "{:?}", started.elapsed());
}

#[test]
fn mutated_bytes_of_a_proof_are_refused_or_told_and_never_a_panic() {
    let example = examples::labels();
    let records = examples::json();
    let texts = [
        VERSION_2.to_owned(),
        RESULTS_2.to_owned(),
        Proof::write(&example.results, &example.premises).unwrap(),
        Proof::write(&records.results, &records.premises).unwrap(),
    ];
    let started = Instant::now();
    let limit = ground::mutate::asked().unwrap_or(Duration::from_secs(4));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (0..texts.len(), prop::collection::vec(mutation(), 1..4));
    let mut cases = 0;
    while started.elapsed() < limit {
        let (which, mutations) = strategy.new_tree(&mut runner).unwrap().current();
        read(&mutated(&texts[which], &mutations));
        cases += 1;
    }
    assert!(cases > 3, "{cases}");
}
