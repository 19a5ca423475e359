//! Whether a proof holds when nothing was changed, and whether every change is found.
//! Knows the format of proofs, as a forger would.

mod changes;
mod examples;
mod hostile;

use std::collections::BTreeMap;

use proptest::prelude::*;
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::evidence::Sides;
use super::verify::{self, Proof, Tampered, verify, verify_by};
use super::{Premises, decide_all};
use crate::decision::Standing;
use crate::metric::label_f1::LabelFigure;
use crate::metric::{Metric as _, PerRow, Setting};
use crate::stats::Clusters;
use crate::stats::bootstrap::{self, Sums};
use crate::{ArmResult, Error, Finish, Outcome, Results};
use changes::{Change, Kind, all, extremes, fitted, text};
use examples::Example;

/// What may be changed unnoticed by somebody who hashes the file again: inputs, as long as nothing that was computed follows from the change.
/// The list is exact: every other place is found wherever it stands, and each of these is really free somewhere.
const FREE: [(&str, &str); 37] = [
    (
        "premises.claims[*]",
        "claims about arms that were not measured lead to nothing, and such a claim can stand anywhere",
    ),
    ("premises.claims[*].reads", "of a claim about an arm that was not measured"),
    ("premises.claims[*].registration.first_output_at", "a time that keeps the order of times"),
    ("premises.claims[*].registration.registered_at", "a time that keeps the order of times"),
    ("premises.local_costs.local_share", "a share so near that the same calls are local"),
    ("results.arms[*]", "the order in which two arms are shown, and arms that were not measured"),
    ("results.arms[*].identity.egress", "words"),
    ("results.arms[*].identity.facts.sha256", "words"),
    ("results.arms[*].identity.model", "words"),
    ("results.arms[*].identity.provider", "words"),
    ("results.arms[*].name", "of an arm that was not measured"),
    ("results.arms[*].notes[*]", "words"),
    ("results.arms[*].outcomes[*].likelihoods[*]", "a likelihood that leaves the same label first"),
    ("results.arms[*].outcomes[*].samples[*].call.cost_usd", "of a cached call, which counts nowhere"),
    ("results.arms[*].outcomes[*].samples[*].call.first_token_secs", "a time on the same side of both quantiles"),
    ("results.arms[*].outcomes[*].samples[*].call.latency_secs", "a time on the same side of both quantiles"),
    ("results.arms[*].outcomes[*].samples[*].call.retries", "nothing follows from it"),
    ("results.arms[*].outcomes[*].samples[*].call.served_model", "words"),
    ("results.arms[*].outcomes[*].samples[*].call.tokens_estimated", "nothing follows from it"),
    ("results.arms[*].outcomes[*].samples[*].finish.category", "words"),
    ("results.arms[*].outcomes[*].samples[*].text", "an answer that is judged the same"),
    ("results.arms[*].skipped", "words"),
    ("results.group_name", "words"),
    ("results.program", "words"),
    ("results.provenance.attribution", "words"),
    ("results.provenance.command", "words"),
    ("results.provenance.finished_at", "words"),
    ("results.provenance.name", "words"),
    ("results.provenance.prices[*]", "words"),
    ("results.provenance.set", "words"),
    ("results.rows[*].covariates", "of a row without a pair of scores"),
    ("results.rows[*].covariates.depth", "of a row without a pair of scores"),
    ("results.rows[*].covariates.input_tokens", "of a row without a pair of scores"),
    ("results.rows[*].group", "a row that stands alone under another name"),
    ("results.rows[*].others", "a further right answer that nobody gave"),
    ("results.rows[*].others[*]", "a further right answer that nobody gave"),
    ("results.rows[*].text", "the text that a scorer of spans would point into"),
];

/// A proof, and what recomputing its inputs gives, so that a change of what follows from them need not be computed each time.
struct Genuine {
    text: String,
    value: Value,
    inputs: String,
    again: Results,
}

impl Genuine {
    fn of(example: &Example) -> Self {
        let text = Proof::write(&example.results, &example.premises).unwrap();
        let proof: Proof = serde_json::from_str(&text).unwrap();
        let inputs = inputs(&proof.results.inputs(), &proof.premises);
        let again = verify::recompute(proof.results.inputs(), &proof.premises).unwrap();
        Self { value: serde_json::from_str(&text).unwrap(), inputs, again, text }
    }

    fn verify(&self, text: &str) -> Result<Vec<Tampered>, Error> {
        verify_by(text, |results, premises| {
            let known = inputs(&results, premises) == self.inputs;
            if known { Ok(self.again.clone()) } else { verify::recompute(results, premises) }
        })
    }

    /// Whether a change is found although the hash fits.
    fn finds(&self, change: &Change) -> bool {
        !matches!(self.verify(&fitted(&change.of(&self.value))), Ok(list) if list.is_empty())
    }

    /// The places at which nothing finds a change although the hash fits, each with the last of the changes.
    fn unnoticed(&self, changes: &[Change]) -> BTreeMap<String, String> {
        let unnoticed = changes.par_iter().filter(|change| !self.finds(change));
        unnoticed.map(|change| (change.pattern(), format!("{} {:?}", change.verb(), change.place))).collect()
    }
}

fn inputs(results: &Results, premises: &Premises) -> String {
    serde_json::to_string(&(results, premises)).unwrap()
}

fn both() -> [(&'static str, Genuine); 2] {
    [("labels", Genuine::of(&examples::labels())), ("json", Genuine::of(&examples::json()))]
}

/// Every change but that of the hash itself, which a fitting hash undoes.
fn places(value: &Value) -> Vec<Change> {
    all(value).into_iter().filter(|change| change.pattern() != "sha256").collect()
}

/// At most `most` changes of each place and kind, spread over the rows.
fn some(changes: Vec<Change>, most: usize) -> Vec<Change> {
    let mut by_place: BTreeMap<(String, &str), Vec<Change>> = BTreeMap::new();
    for change in changes {
        by_place.entry((change.pattern(), change.verb())).or_default().push(change);
    }
    let spread = |list: Vec<Change>| {
        let step = list.len().div_ceil(most);
        list.into_iter().step_by(step.max(1))
    };
    by_place.into_values().flat_map(spread).collect()
}

fn is_free(place: &str) -> bool {
    FREE.iter().any(|(free, _)| *free == place)
}

/// Whether the hash alone finds a change, whatever else does.
fn hash_finds(genuine: &Genuine, change: &Change) -> bool {
    match verify_by(&text(&change.of(&genuine.value)), |_, _| Ok(genuine.again.clone())) {
        Ok(list) => list.iter().any(|tampered| tampered.path == "sha256"),
        Err(_) => true,
    }
}

#[test]
fn a_proof_of_what_was_measured_holds() {
    for (name, genuine) in both() {
        assert_eq!(verify(&genuine.text).unwrap(), [], "{name}");
        assert_eq!(text(&genuine.value), genuine.text, "{name}");
        assert_eq!(fitted(&genuine.value), genuine.text, "{name}");
    }
}

#[test]
fn every_kind_of_place_is_pinned_by_the_hash_and_every_computed_one_without_it() {
    for (name, genuine) in both() {
        let changes = places(&genuine.value);
        for change in some(changes.clone(), 2) {
            assert!(hash_finds(&genuine, &change), "{name}: {change:?}");
        }
        for (place, example) in genuine.unnoticed(&some(changes, 1)) {
            assert!(is_free(&place), "{name}: {place}, {example}");
        }
    }
}

#[test]
#[ignore = "minutes of work; run with `cargo test --release -p eval every_single_change -- --ignored`"]
fn every_single_change_is_found_but_those_of_inputs_that_nothing_follows_from() {
    let mut free = BTreeMap::new();
    for (name, genuine) in both() {
        let changes = places(&genuine.value);
        let missed = changes.par_iter().find_any(|change| !hash_finds(&genuine, change));
        assert!(missed.is_none(), "{name}: {missed:?}");
        free.extend(genuine.unnoticed(&changes));
    }
    let places: Vec<&String> = free.keys().collect();
    let mut expect: Vec<&str> = FREE.iter().map(|(place, _)| *place).collect();
    expect.sort_unstable();
    assert_eq!(places, expect, "{free:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_change_of_any_place_is_found_or_free(picks in prop::collection::vec(any::<prop::sample::Index>(), 20)) {
        for (name, genuine) in both() {
            let changes = places(&genuine.value);
            for change in picks.iter().map(|pick| pick.get(&changes)) {
                prop_assert!(hash_finds(&genuine, change), "{}: {:?}", name, change);
                // Inputs are computed again in the test above; here it would take minutes.
                if !change.pattern().contains(".outcomes[*].samples[*].") || change.pattern().contains(".scored.") {
                    prop_assert!(genuine.finds(change) || is_free(&change.pattern()), "{}: {:?}", name, change);
                }
            }
        }
    }

    #[test]
    fn no_edit_of_bytes_makes_the_check_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let genuine = Genuine::of(&examples::json());
        let mut bytes = genuine.text.clone().into_bytes();
        let digits: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at].is_ascii_digit()).collect();
        for (at, byte, digit) in edits {
            // A digit for a digit is still JSON, so that more than the parser is reached.
            if digit { bytes[*at.get(&digits)] = b'0' + byte % 10 } else { *at.get_mut(&mut bytes) = byte }
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        if let Ok(text) = String::from_utf8(bytes) {
            let holds = matches!(verify(&text), Ok(list) if list.is_empty());
            prop_assert!(!holds || text == genuine.text);
        }
    }

    #[test]
    fn no_number_or_text_makes_the_check_panic(
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        labels in any::<bool>(),
    ) {
        let genuine = Genuine::of(&if labels { examples::labels() } else { examples::json() });
        let leaves: Vec<Change> = all(&genuine.value).into_iter().filter(|change| matches!(change.kind, Kind::Set(_))).collect();
        let mut value = genuine.value.clone();
        for (place, other) in picks {
            let Change { place, .. } = place.get(&leaves).clone();
            let others = extremes(changes::at(&value, &place));
            if !others.is_empty() {
                value = Change { place, kind: Kind::Set(other.get(&others).clone()) }.of(&value);
            }
        }
        // Whatever it says, it says it.
        drop(verify(&fitted(&value)));
    }
}

#[test]
fn the_hash_can_be_checked_by_hand() {
    let text = Genuine::of(&examples::json()).text;
    let mut lines: Vec<&str> = text.split('\n').collect();
    assert_eq!((lines[0], lines[1]), ("{", "  \"version\": 1,"));
    let digits = lines[2].strip_prefix("  \"sha256\": \"").unwrap().strip_suffix("\",").unwrap().to_owned();
    lines[2] = "  \"sha256\": \"\",";
    let hash: String = Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, digits);
}

#[test]
fn a_text_that_other_readers_may_read_otherwise_is_found() {
    let genuine = Genuine::of(&examples::labels());
    for (from, to) in [
        ("\"n\": 26,", "\"n\": 99,\n      \"n\": 26,"),
        ("\"self_agreement\": null,\n", ""),
        ("{\"state\":\"parsed\"}", "{\"state\":\"parsed\",\"score\":0.0}"),
        ("\"seed\": 7,", "\"seed\":  7,"),
        ("\"level\": 0.95,", "\"level\": 0.950,"),
        ("\n}\n", "\n}\n\n"),
    ] {
        let changed = genuine.text.replacen(from, to, 1);
        assert_ne!(changed, genuine.text, "{from}");
        let stated = genuine.value["sha256"].as_str().unwrap();
        let empty = changed.replacen(stated, "", 1);
        let forged = changed.replacen(stated, &datasets::digest::sha256_hex(empty.as_bytes()), 1);
        match genuine.verify(&forged) {
            Ok(list) => assert!(list.iter().any(|one| one.path.starts_with("line ")), "{to}: {list:?}"),
            Err(error) => assert!(error.to_string().contains("duplicate"), "{to}: {error}"),
        }
    }
}

/// Asserts that a forger who changes this place to this value is told by this path.
#[track_caller]
fn told(genuine: &Genuine, pointer: &str, value: Value, path: &str) {
    let mut changed = genuine.value.clone();
    let place = changed.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    assert_ne!(*place, value, "{pointer}");
    *place = value;
    let list = genuine.verify(&fitted(&changed)).unwrap();
    assert!(list.iter().any(|tampered| tampered.path.starts_with(path)), "{pointer}: {list:?}");
}

#[test]
fn what_was_changed_is_named_by_its_place() {
    let genuine = Genuine::of(&examples::labels());
    let zeros = json!("0".repeat(64));
    told(
        &genuine,
        "/results/arms/0/outcomes/3/samples/0/text",
        json!("termination"),
        "results.arms[0].outcomes[3].samples[0]",
    );
    told(&genuine, "/results/arms/1/outcomes/0/id", json!("row-17"), "results.arms[1].outcomes[0].id");
    told(&genuine, "/results/arms/0/metrics/exact_match/low", json!(0.5), "results.arms[0].metrics.exact_match.low");
    told(&genuine, "/results/arms/3/prompt_tokens", json!(9), "results.arms[3].prompt_tokens");
    told(&genuine, "/results/arms/0/seconds", json!(1.0), "results.arms[0].seconds");
    told(
        &genuine,
        "/results/measured/scorers/0/named/policy",
        json!("lenient"),
        "results.measured.scorers[0].named.policy",
    );
    told(&genuine, "/results/measured/metrics/1/unit", json!("hundred"), "results.measured.metrics[1].unit");
    told(&genuine, "/results/level", json!(0.9), "results.level");
    told(&genuine, "/results/provenance/scorer_sha256", zeros.clone(), "results.provenance.scorer_sha256");
    told(&genuine, "/results/provenance/set_sha256", zeros.clone(), "premises.claims[0].decision.set_sha256");
    told(&genuine, "/results/decided/registration/registered_sha256", zeros.clone(), "results.decided.registration");
    told(&genuine, "/results/decided/verdict/answer", json!("REPLACE"), "results.decided.verdict.answer");
    told(&genuine, "/results/no_verdict", json!("nothing was measured"), "results.no_verdict");
    let claim = "/premises/claims/0";
    told(
        &genuine,
        &format!("{claim}/registration/registered_sha256"),
        zeros,
        "premises.claims[0].registration.registered_sha256",
    );
    told(
        &genuine,
        &format!("{claim}/registration/decision/margin"),
        json!(0.1),
        "premises.claims[0].registration.registered_sha256",
    );
    told(&genuine, &format!("{claim}/decision/margin"), json!(0.3), "premises.claims[0].standing");
    told(
        &genuine,
        &format!("{claim}/registration/first_output_at"),
        json!("2026-01-01T00:00:00Z"),
        "premises.claims[0].registration.first_output_at",
    );
    told(&genuine, "/premises/claims/2/standing/changed/0", json!("alpha"), "premises.claims[2].standing");
    told(&genuine, "/premises/claims/0/reads", json!(1), "results.decided.verdict.reads");
    told(&genuine, "/premises/leaked_rows", json!(null), "premises.leaked_rows");
}

#[test]
fn a_changed_decision_is_not_confirmatory_however_it_is_hashed() {
    let Example { results, mut premises } = examples::labels();
    let claim = &mut premises.claims[0];
    claim.decision.margin = 0.4;
    let sha256 = claim.registration.registered_sha256.clone();
    for standing in [
        Standing::Confirmatory { registered_sha256: sha256 },
        Standing::Exploratory { registered_sha256: None, changed: Vec::new() },
    ] {
        premises.claims[0].standing = standing;
        let mut forged = results.clone();
        forged.decided = decide_all(&forged, &premises).unwrap();
        let list = verify(&Proof::write(&forged, &premises).unwrap()).unwrap();
        let paths: Vec<&str> = list.iter().map(|tampered| tampered.path.as_str()).collect();
        assert_eq!(paths, ["premises.claims[0].standing"]);
    }
}

#[test]
fn a_check_reads_no_file_that_a_proof_names() {
    let genuine = Genuine::of(&examples::json());
    let mut value = genuine.value.clone();
    let scorer = &mut value["results"]["measured"]["scorers"][1]["spec"];
    assert_eq!(scorer["options"]["kind"], "json_valid");
    scorer["options"]["schema"] = json!("schema.json");
    let error = genuine.verify(&fitted(&value)).unwrap_err().to_string();
    assert!(error.contains("reads a file"), "{error}");
}

#[test]
fn arms_of_one_name_and_rows_that_cannot_be_are_refused() {
    let genuine = Genuine::of(&examples::labels());
    let refused = |pointer: &str, to: Value, told: &str| {
        let mut value = genuine.value.clone();
        *value.pointer_mut(pointer).unwrap() = to;
        let error = genuine.verify(&fitted(&value)).unwrap_err().to_string();
        assert!(error.contains(told), "{pointer}: {error}");
    };
    refused("/results/arms/3/name", json!("tuned"), "two arms are named");
    refused("/results/rows/3/id", json!("row-4"), "occurs more than once");
    refused("/results/rows/3/target", json!("severability"), "not one of the labels");
    refused("/results/labels/1", json!("Termination."), "are the same");
    refused("/results/version", json!(4), "version");
    refused("/version", json!(2), "version");
}

// The draws behind a verdict are made of rows that were read once and cut to the kept ones; here the kept rows are read on their own.
#[test]
fn draws_over_the_kept_rows_equal_those_of_results_that_hold_nothing_else() {
    let Example { results, .. } = examples::labels();
    let [new, old] = [&results.arms[0], &results.arms[1]];
    let sides = Sides::of(&results, "macro_f1", new, old).unwrap();
    let kept = sides.kept().unwrap();
    assert!(kept.len() > 20 && kept.len() < results.rows.len());
    let draws = sides.draws(&kept, 7).unwrap().unwrap();
    let few = |arm: &ArmResult| kept.iter().map(|&row| arm.outcomes[row].clone()).collect::<Vec<_>>();
    let targets: Vec<String> = kept.iter().map(|&row| results.rows[row].target.clone()).collect();
    let clusters = Clusters::new(kept.iter().map(|&row| results.rows[row].group.as_deref()));
    let (labels, names) = (results.labels.as_deref(), BTreeMap::new());
    let setting = Setting { targets: &targets, labels, names: &names, clusters: &clusters, seed: 7 };
    let sums = |outcomes: &[Outcome]| match LabelFigure::MacroF1.per_row(outcomes, setting).unwrap() {
        PerRow::Sums(rows) => Sums::sparse(rows.width(), rows.rows(), &clusters).unwrap(),
        PerRow::Scores(_) => panic!("macro-F1 is no mean"),
    };
    let of = |sums: &[f64]| LabelFigure::MacroF1.of_sums(sums);
    let plain = bootstrap::paired(&sums(&few(new)), &sums(&few(old)), of, bootstrap::REPLICATES, 7).unwrap();
    assert_eq!((draws.replicates().value, draws.replicates().sorted), (plain.observed, plain.sorted.as_slice()));
}

#[test]
fn a_provider_that_is_down_is_a_verdict_and_a_proof_of_it_holds() {
    let Example { mut results, premises } = examples::json();
    let frontier = results.arms.iter_mut().find(|arm| arm.name == "frontier").unwrap();
    for sample in frontier.outcomes.iter_mut().flat_map(|outcome| &mut outcome.samples) {
        sample.finish = Finish::Failed { reason: "down".to_owned() };
        sample.call = None;
    }
    let mut results = results.inputs().recompute().unwrap();
    results.decided = decide_all(&results, &premises).unwrap();
    let decided = results.decided.as_ref().unwrap();
    assert_eq!((decided.verdict.n, decided.break_points.len(), &decided.break_even), (0, 0, &None));
    assert_eq!(verify(&Proof::write(&results, &premises).unwrap()).unwrap(), []);
}
