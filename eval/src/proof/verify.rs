//! A proof that a third party can check: everything the numbers were made from, and a hash over it.
//! Knows nothing about where a proof is kept. Checking computes every number again and says which differ.
//!
//! A proof is one JSON file. Its third line holds the SHA-256 of the file as it is with the digits between the quotes of that line left out,
//! so that it can be checked without this program:
//!
//! ```sh
//! sed '3s/"[0-9a-f]*",$/"",/' proof.json | sha256sum
//! ```
//!
//! The hash says that the file is whole, not who made it: whoever changes the file can hash it again. What such a person cannot do is change
//! a number that follows from others, because [`verify`] starts from the inputs alone and computes the rest again. What can be changed
//! unnoticed are inputs as long as nothing follows from them: the name of a program or set, times and notes, the words of an answer that is
//! read the same. To pin those too, note the hash where nobody can change it.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use datasets::digest::Hashing;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Claim, Premises, decide_all, form, premises};
use crate::decision::{Bins, Covariate};
use crate::json::layout;
use crate::metric::Confusion;
use crate::{ArmResult, Error, Results};

/// The version of the format of a proof.
pub const VERSION: u64 = 1;

/// Levels that are spread over lines; below them, an answer to a row is one line.
pub(super) const LEVELS: usize = 5;

/// Arms of a proof.
const MOST_ARMS: usize = 256;
/// Claims of a proof with their slices and bins.
const MOST_PARTS: usize = 2_000;

/// Numbers that were computed by another processor may be rounded otherwise.
const RELATIVE_TOLERANCE: f64 = 1e-9;
/// What is left of a difference of two numbers that are equal but for rounding.
const ABSOLUTE_TOLERANCE: f64 = 1e-14;

/// Results, what claims rest on, and a hash over both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The version of this format.
    pub version: u64,
    /// SHA-256 of the bytes of the file with these digits left out.
    pub sha256: String,
    /// What claims were made from beside the results.
    pub premises: Premises,
    /// What was found.
    pub results: Results,
}

/// A number or word that is not what the rows say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tampered {
    /// Where it stands.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What was computed.
    pub computed: String,
}

/// A proof as it is written, without the copy that [`Proof`] would need.
#[derive(Serialize)]
struct Written<'a> {
    version: u64,
    sha256: &'a str,
    premises: &'a Premises,
    results: &'a Results,
}

impl Proof {
    /// The text of the proof of some results.
    ///
    /// # Errors
    /// When they cannot be written as JSON.
    pub fn write(results: &Results, premises: &Premises) -> Result<String, Error> {
        let mut text = layout::to_string(&Written { version: VERSION, sha256: "", premises, results }, LEVELS)?;
        let sha256 = datasets::digest::sha256_hex(text.as_bytes());
        text.insert_str(head().len(), &sha256);
        Ok(text)
    }
}

/// What a proof begins with, up to the digits of its hash.
fn head() -> String {
    format!("{{\n  \"version\": {VERSION},\n  \"sha256\": \"")
}

/// The hash of a text with the digits of its hash left out; of the whole text when there is no hash at its place.
fn digest(text: &str) -> String {
    let rest = text.strip_prefix(head().as_str());
    let after = rest.and_then(|rest| rest.find('"').and_then(|end| rest.get(end..)));
    let (before, after) = after.map_or((text, ""), |after| (&text[..head().len()], after));
    let mut hash = Hashing::new(io::sink());
    // Nothing is written, so that nothing can fail.
    let _ = hash.write_all(before.as_bytes()).and_then(|()| hash.write_all(after.as_bytes()));
    hash.finish()
}

/// Computes everything in the text of a proof again; empty when all of it holds.
///
/// # Errors
/// When the text is no proof of this version, or holds inputs that no evaluation could have had.
pub fn verify(text: &str) -> Result<Vec<Tampered>, Error> {
    verify_by(text, recompute)
}

/// The same with another way to compute the results again, given the results without anything computed, and the premises.
pub(super) fn verify_by(
    text: &str,
    recompute: impl FnOnce(Results, &Premises) -> Result<Results, Error>,
) -> Result<Vec<Tampered>, Error> {
    let proof = read(text)?;
    let mut tampered = Vec::new();
    let computed = digest(text);
    if computed != proof.sha256 {
        tampered.push(Tampered { path: "sha256".to_owned(), found: proof.sha256.clone(), computed });
    }
    premises::check(&proof, &mut tampered)?;
    let again = recompute(proof.results.inputs(), &proof.premises)?;
    compare(&proof.results, &again, &mut tampered)?;
    drop(again);
    tampered.extend(form::check(text, &proof)?);
    Ok(tampered)
}

/// Reads the text of a proof; a version that is not known is refused.
pub(super) fn read(text: &str) -> Result<Proof, Error> {
    /// The one field that is looked at before all others, so that the message is about the version.
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(default)]
        version: Value,
    }
    let version = |value: &Value| value.as_u64().unwrap_or_default();
    let found = version(&serde_json::from_str::<Versioned>(text)?.version);
    if found != VERSION {
        return Err(Error::UnknownVersion { found, expected: VERSION });
    }
    let proof: Proof = serde_json::from_str(text)?;
    proof.results.check_version()?;
    check_size(&proof)?;
    Ok(proof)
}

/// Refuses more arms and parts of claims than an evaluation has: each of them is drawn ten thousand times.
fn check_size(proof: &Proof) -> Result<(), Error> {
    let bins = |covariate: &Covariate| match &covariate.bins {
        Bins::Edges { upper } => 1 + upper.len(),
        Bins::Merged { .. } => 1,
    };
    let parts = |claim: &Claim| {
        let decision = &claim.decision;
        1 + decision.slices.names.len() + decision.covariates.iter().map(bins).sum::<usize>()
    };
    let arms = proof.results.arms.len();
    let parts: usize = proof.premises.claims.iter().map(parts).sum();
    if arms > MOST_ARMS || parts > MOST_PARTS {
        let problem = format!(
            "it has {arms} arms and {parts} claims, slices and bins, and at most {MOST_ARMS} and {MOST_PARTS} are computed again"
        );
        return Err(Error::BadEvidence { problem });
    }
    Ok(())
}

/// Judges every answer again, and from the judgements computes every number again.
pub(super) fn recompute(inputs: Results, premises: &Premises) -> Result<Results, Error> {
    if let Some(scorer) = inputs.measured.scorers.iter().find(|scorer| scorer.spec.reads_a_file()) {
        let problem = format!("a scorer reads a file of its own: {:?}", scorer.spec.options);
        return Err(Error::BadEvidence { problem });
    }
    let mut again = inputs.recompute()?;
    again.decided = decide_all(&again, premises)?;
    if let Some(decided) = &again.decided {
        again.candidate = Some(decided.verdict.candidate.clone());
        again.no_verdict = None;
    }
    Ok(again)
}

/// Where two results differ, without a second copy of all rows.
fn compare(found: &Results, again: &Results, tampered: &mut Vec<Tampered>) -> Result<(), Error> {
    differences("results", &facts(found)?, &facts(again)?, tampered);
    for (at, (found, again)) in found.arms.iter().zip(&again.arms).enumerate() {
        outcomes(&format!("results.arms[{at}]"), found, again, tampered)?;
    }
    Ok(())
}

/// What results say without a row of their own; a confusion table by its cells, since a square of it may be large.
fn facts(results: &Results) -> Result<Value, Error> {
    let mut bare = results.without_rows();
    let tables: Vec<_> = bare.arms.iter_mut().map(|arm| arm.confusion.take()).collect();
    let mut value = serde_json::to_value(bare)?;
    for (at, table) in tables.iter().enumerate() {
        if let Some(place) = value.pointer_mut(&format!("/arms/{at}/confusion")) {
            *place = table.as_ref().map_or(Value::Null, Confusion::facts);
        }
    }
    Ok(value)
}

fn outcomes(path: &str, found: &ArmResult, again: &ArmResult, tampered: &mut Vec<Tampered>) -> Result<(), Error> {
    let count = |arm: &ArmResult| Value::from(arm.outcomes.len());
    differences(&format!("{path}.outcomes.length"), &count(found), &count(again), tampered);
    let pairs = found.outcomes.iter().zip(&again.outcomes).enumerate();
    for (at, (found, again)) in pairs.filter(|(_, (found, again))| found != again) {
        let (found, again) = (serde_json::to_value(found)?, serde_json::to_value(again)?);
        differences(&format!("{path}.outcomes[{at}]"), &found, &again, tampered);
    }
    Ok(())
}

/// Where two values differ; numbers may differ in their last digits, which another processor may round otherwise.
fn differences(path: &str, found: &Value, computed: &Value, tampered: &mut Vec<Tampered>) {
    match (found, computed) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for name in names {
                let path = format!("{path}.{name}");
                match (left.get(name), right.get(name)) {
                    (Some(left), Some(right)) => differences(&path, left, right, tampered),
                    (left, right) => tell(&path, left, right, tampered),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                differences(&format!("{path}[{at}]"), left, right, tampered);
            }
        }
        (Value::Number(left), Value::Number(right)) if left.is_f64() && right.is_f64() => {
            if !close(left.as_f64().unwrap_or(f64::NAN), right.as_f64().unwrap_or(f64::NAN)) {
                tell(path, Some(found), Some(computed), tampered);
            }
        }
        (left, right) if left == right => {}
        (left, right) => tell(path, Some(left), Some(right), tampered),
    }
}

fn tell(path: &str, found: Option<&Value>, computed: Option<&Value>, tampered: &mut Vec<Tampered>) {
    let shown = |value: Option<&Value>| match value {
        Some(value) => value.to_string().chars().take(200).collect(),
        None => "nothing".to_owned(),
    };
    tampered.push(Tampered { path: path.to_owned(), found: shown(found), computed: shown(computed) });
}

/// Whether two numbers are the same but for rounding.
fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= RELATIVE_TOLERANCE * left.abs().max(right.abs()) + ABSOLUTE_TOLERANCE
}
