//! What is proven about an adapter, read from the evaluation of its run and made fit for strangers.
//! Owns the checks: the proof holds, and it is about this adapter. Knows nothing about how it is shown.

use std::path::Path;

use anyhow::{Context, Result};
use eval::proof::{Proof, Shareable};
use ground::read::Kind;

use super::fault::Fault;
use super::scan::Texts;

/// Results that strangers may read.
pub struct Evidence {
    /// Results and proof without words of rows.
    pub shared: Shareable,
    /// The arm that is this adapter.
    pub arm: String,
}

/// What is proven about this adapter, without words of rows; their words are added to what must not appear.
pub fn of(folder: &Path, adapter: &str, texts: &mut Texts, faults: &mut Vec<Fault>) -> Result<Option<Evidence>> {
    let path = folder.join("eval/proof.json");
    if !path.is_file() {
        return Ok(None);
    }
    let whole = crate::disk::text(&path, Kind::Proof)?;
    let again = "evaluate again with  trainer eval CONFIG";
    let differing = match eval::proof::verify(&whole) {
        Ok(differing) => differing,
        Err(error) => {
            faults.push(Fault::new("eval/proof.json", format!("is no proof: {error}"), again));
            return Ok(None);
        }
    };
    if !differing.is_empty() {
        let what = format!("{} entries differ from what the answers say", differing.len());
        faults.push(Fault::new("eval/proof.json", what, format!("look with  trainer verify; {again}")));
        return Ok(None);
    }
    let full: Proof = serde_json::from_str(&whole)?;
    let labels = full.results.labels.clone().unwrap_or_default();
    let mut keep = |what: String, text: &str| {
        if !labels.iter().any(|label| label == text) {
            texts.add(what, text);
        }
    };
    for (at, row) in full.results.rows.iter().enumerate() {
        [&row.text, &row.target]
            .into_iter()
            .chain(&row.others)
            .for_each(|text| keep(format!("held-out row {}", at + 1), text));
    }
    for arm in &full.results.arms {
        let samples = arm
            .outcomes
            .iter()
            .enumerate()
            .flat_map(|(at, outcome)| outcome.samples.iter().map(move |sample| (at, sample)));
        samples.for_each(|(at, sample)| {
            let text = sample.written.as_ref().unwrap_or(&sample.text);
            keep(format!("answer of {} to row {}", arm.name, at + 1), text);
        });
    }
    let hash =
        |arm: &&eval::ArmResult| arm.identity.facts.get("adapter_sha256").is_some_and(|sha256| sha256 == adapter);
    let Some(arm) = full.results.arms.iter().find(hash).map(|arm| arm.name.clone()) else {
        let what = "no arm of the evaluation is the adapter that would be published";
        faults.push(Fault::new("eval/proof.json", what, again));
        return Ok(None);
    };
    let shared = eval::proof::withhold(&whole).context("cannot leave the words of rows out of eval/proof.json")?;
    Ok(Some(Evidence { shared, arm }))
}
