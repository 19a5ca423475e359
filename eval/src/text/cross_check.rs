//! Generated texts against sacrebleu, rouge-score and NLTK: a small sample always, thousands on request.
//! Made by tests/oracles/text_cases.py. Knows nothing about how a figure is computed.

use std::collections::HashMap;

use serde::Deserialize;

use super::rouge::{Variant, rouge};
use super::{bleu, chrf, porter, ter, tokens_13a};
use crate::work::Work;

/// `inputs.text` of oracles/statistics.json: texts and references.
pub(crate) const ORACLE: [(&str, &str); 2] = [
    ("The cat is on the mat.", "The cat sat on the mat."),
    (
        "He reads the book because he was interested in world history.",
        "he was interested in world history because he read the book",
    ),
];

/// Statistics summed over pairs of text and reference.
pub(crate) fn summed(pairs: &[(&str, &str)], statistics: impl Fn(&str, &str) -> Vec<f64>) -> Vec<f64> {
    add(pairs.iter().map(|(text, reference)| statistics(text, reference)))
}

fn add(rows: impl Iterator<Item = Vec<f64>>) -> Vec<f64> {
    rows.reduce(|left, right| left.iter().zip(&right).map(|(a, b)| a + b).collect()).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(rename = "made_by")]
    _made_by: String,
    #[serde(rename = "nltk")]
    _nltk: String,
    cases: Vec<Case>,
    corpora: Vec<Corpus>,
    stems: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    text: String,
    references: Vec<String>,
    tokens_13a: String,
    sums: HashMap<String, Vec<f64>>,
    scores: HashMap<String, f64>,
    rouge: HashMap<String, [f64; 3]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    cases: Vec<usize>,
    scores: HashMap<String, f64>,
    signatures: HashMap<String, String>,
}

/// A figure whose rows add up.
struct Additive {
    name: &'static str,
    statistics: fn(&str, &[String]) -> Vec<f64>,
    corpus: fn(&[f64]) -> f64,
    signature: fn(Option<usize>) -> String,
}

const ADDITIVE: [Additive; 4] = [
    Additive {
        name: "bleu",
        statistics: |text, references| bleu::statistics(text, references).to_vec(),
        corpus: bleu::corpus,
        signature: bleu::signature,
    },
    Additive {
        name: "chrf",
        statistics: |text, references| chrf::Variant::Chrf.statistics(text, references),
        corpus: chrf::corpus,
        signature: |number| chrf::Variant::Chrf.signature(number),
    },
    Additive {
        name: "chrf_plus_plus",
        statistics: |text, references| chrf::Variant::ChrfPlusPlus.statistics(text, references),
        corpus: chrf::corpus,
        signature: |number| chrf::Variant::ChrfPlusPlus.signature(number),
    },
    Additive {
        name: "ter",
        statistics: |text, references| ter::statistics(text, references, &mut Work::of_a_judgement()).unwrap().to_vec(),
        corpus: ter::corpus,
        signature: ter::signature,
    },
];

const ROUGE: [(&str, Variant); 4] =
    [("rouge1", Variant::One), ("rouge2", Variant::Two), ("rougeL", Variant::L), ("rougeLsum", Variant::Lsum)];

/// The largest difference of each figure, on the scale of 0 to 1.
#[derive(Default)]
struct Largest(HashMap<String, f64>);

impl Largest {
    fn note(&mut self, name: &str, found: f64, expect: f64, what: &dyn std::fmt::Debug) {
        let difference = (found - expect).abs();
        assert!(difference < 1e-9, "{name}: {found} instead of {expect} for {what:?}");
        let largest = self.0.entry(name.to_owned()).or_default();
        *largest = largest.max(difference);
    }
}

fn check(cases: &Cases) -> Largest {
    let mut largest = Largest::default();
    for case in &cases.cases {
        let what = (&case.text, &case.references);
        assert_eq!(tokens_13a::tokenize(&case.text), case.tokens_13a, "{:?}", case.text);
        for figure in &ADDITIVE {
            let sums = (figure.statistics)(&case.text, &case.references);
            assert_eq!(sums, case.sums[figure.name], "{}: {what:?}", figure.name);
            largest.note(figure.name, (figure.corpus)(&sums), case.scores[figure.name] / 100.0, &what);
        }
        let sentence = bleu::sentence(&case.sums["bleu"]);
        largest.note("sentence_bleu", sentence, case.scores["sentence_bleu"] / 100.0, &what);
        for (name, variant) in ROUGE {
            let found = rouge(variant, &case.text, &case.references, &mut Work::of_a_judgement()).unwrap();
            for (found, expect) in [found.precision, found.recall, found.f1].into_iter().zip(case.rouge[name]) {
                largest.note(name, found, expect, &what);
            }
        }
    }
    for corpus in &cases.corpora {
        let mut numbers: Vec<usize> = corpus.cases.iter().map(|&at| cases.cases[at].references.len()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let number = (numbers.len() == 1).then(|| numbers[0]);
        for figure in &ADDITIVE {
            let sums = add(corpus.cases.iter().map(|&at| cases.cases[at].sums[figure.name].clone()));
            let name = format!("corpus {}", figure.name);
            largest.note(&name, (figure.corpus)(&sums), corpus.scores[figure.name] / 100.0, &corpus.cases);
            assert_eq!((figure.signature)(number), corpus.signatures[figure.name]);
        }
    }
    for (word, stem) in &cases.stems {
        assert_eq!(porter::stem(word), *stem, "{word}");
    }
    largest
}

#[test]
fn the_sample_of_texts_equals_sacrebleu_and_rouge_score() {
    let cases: Cases = serde_json::from_str(include_str!("../../tests-data/text/cases.json")).unwrap();
    assert!(cases.cases.len() >= 40 && cases.corpora.len() >= 4 && cases.stems.len() >= 40);
    check(&cases);
}

#[test]
#[ignore = "needs TEXT_CASES, a file made by tests/oracles/text_cases.py; see its head"]
fn thousands_of_text_cases_equal_sacrebleu_and_rouge_score() {
    let path = std::env::var("TEXT_CASES").expect("TEXT_CASES names a file made by tests/oracles/text_cases.py");
    let cases: Cases = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(cases.cases.len() >= 1_000 && cases.stems.len() >= 1_000);
    let mut largest: Vec<(String, f64)> = check(&cases).0.into_iter().collect();
    largest.sort_by(|a, b| a.0.cmp(&b.0));
    println!("{} cases, {} corpora, {} stems", cases.cases.len(), cases.corpora.len(), cases.stems.len());
    for (name, difference) in largest {
        println!("{name}: largest difference {difference:e}");
    }
}
