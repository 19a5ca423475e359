//! Which registered slices may be replaced: each with its own gates, Holm's correction over all of them.
//! Knows nothing about what a slice is; guardrails are measured on the whole and must pass for any slice to be claimed.

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Pairs};
use super::gates::{self, Gate};
use super::guardrail::{GuardrailResult, State};
use super::{Answer, difference};
use crate::Error;
use crate::decision::{Decision, Test};
use crate::stats::Clusters;
use crate::stats::multiplicity::holm;
use crate::stats::non_inferiority::PairedDifference;

/// What is known about one slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceVerdict {
    /// Its registered name.
    pub name: String,
    /// `REPLACE`, `KEEP_FRONTIER` or `INSUFFICIENT`; a slice never claims to be better.
    pub answer: Answer,
    /// Why, in words.
    pub reason: String,
    /// Complete pairs.
    pub n: usize,
    /// Groups they belong to.
    pub clusters: usize,
    /// Candidate minus baseline; none without a complete pair.
    pub estimate: Option<f64>,
    /// The lower one-sided bound at 1 − alpha, not corrected; the claim rests on `p_holm`.
    pub low: Option<f64>,
    /// The upper one-sided bound at 1 − alpha, not corrected.
    pub high: Option<f64>,
    /// The one-sided p-value of "the loss is the margin or more"; 1 when a gate fails.
    pub p: f64,
    /// The same after Holm's correction over all registered slices.
    pub p_holm: f64,
    /// Its gates.
    pub gates: Vec<Gate>,
}

/// Judges every registered slice, in the registered order.
pub(crate) fn judge(
    decision: &Decision,
    evidence: &Evidence<'_>,
    guardrails: &[GuardrailResult],
    alpha: f64,
) -> Result<Vec<SliceVerdict>, Error> {
    let names: Vec<&String> = evidence.slices.iter().map(|slice| &slice.name).collect();
    if !decision.slices.names.iter().eq(names.iter().copied()) {
        let problem = format!("the registered slices are {:?}, the evidence has {names:?}", decision.slices.names);
        return Err(Error::BadEvidence { problem });
    }
    let mut found = Vec::new();
    for slice in &evidence.slices {
        let pairs = Pairs::new(evidence.new, evidence.old, evidence.clusters, &slice.rows)?;
        // Unreadable judgements go to the baseline in a slice: it has too few rows for a second verdict beside the first.
        let judged = match decision.test {
            Test::ClusterBootstrap => pairs.clone(),
            _ => Pairs::worst_case(evidence.new, evidence.old, evidence.clusters, &slice.rows)?,
        };
        let gates = gates::of_rows(&decision.gates, evidence.new, evidence.old, &slice.rows, &pairs);
        let difference = difference(test_of(decision.test, &judged.clusters), &judged, slice.replicates)?;
        found.push((slice, pairs, gates, difference));
    }
    let passes = |gates: &[Gate]| gates.iter().all(|gate| gate.pass);
    let p_values: Vec<f64> = found
        .iter()
        .map(|(_, _, gates, difference)| match difference {
            Some(difference) if passes(gates) => difference.p_not_worse(decision.margin),
            _ => 1.0,
        })
        .collect();
    let open: Vec<&str> = guardrails.iter().filter(|g| g.state != State::Pass).map(|g| g.words.as_str()).collect();
    let corrected = p_values.iter().zip(holm(&p_values));
    let verdicts = found.into_iter().zip(corrected).map(|((slice, pairs, gates, difference), (&p, p_holm))| {
        let (answer, reason) = answer(decision.margin, alpha, &gates, difference.as_ref(), p_holm, &open);
        SliceVerdict {
            name: slice.name.clone(),
            answer,
            reason,
            n: pairs.kept.len(),
            clusters: pairs.clusters.num_clusters(),
            estimate: difference.as_ref().map(|found| found.value),
            low: difference.as_ref().map(|found| found.low(alpha)),
            high: difference.as_ref().map(|found| found.high(alpha)),
            p,
            p_holm,
            gates,
        }
    });
    Ok(verdicts.collect())
}

/// A slice of grouped rows may hold one row of each group; the registered test still covers that.
fn test_of(registered: Test, clusters: &Clusters) -> Test {
    if registered == Test::Tango && !clusters.independent() { Test::ClusteredT } else { registered }
}

fn answer(
    margin: f64,
    alpha: f64,
    gates: &[Gate],
    difference: Option<&PairedDifference>,
    p_holm: f64,
    open: &[&str],
) -> (Answer, String) {
    let failed: Vec<&str> = gates.iter().filter(|gate| !gate.pass).map(|gate| gate.words.as_str()).collect();
    let Some(difference) = difference.filter(|_| failed.is_empty()) else {
        return (Answer::Insufficient, format!("a validity gate fails: {}", failed.join("; ")));
    };
    if difference.high(alpha) < -margin {
        return (Answer::KeepFrontier, "the candidate is worse by more than the margin".to_owned());
    }
    if p_holm > alpha {
        let reason = format!("not proven among all slices: corrected p {p_holm:.3} is above {alpha}");
        return (Answer::Insufficient, reason);
    }
    if !open.is_empty() {
        return (Answer::Insufficient, format!("a guardrail does not pass: {}", open.join("; ")));
    }
    (Answer::Replace, format!("not worse by the margin, corrected p {p_holm:.4}"))
}
