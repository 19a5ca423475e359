//! From results to claims: the registered decisions held against what was measured, and everything a third party needs to do it again.
//! Knows nothing about files or the network; the same function makes a claim and checks it.

mod evidence;
mod form;
mod money;
mod pair;
mod premises;
pub mod verify;
pub mod withhold;

use serde::{Deserialize, Serialize};

pub use money::{BreakEvenFound, LocalCosts};
pub use pair::{Side, pair};
pub use verify::{Proof, Tampered, verify};
pub use withhold::{Shareable, withhold};

use crate::Results;
use crate::break_point::{self, BreakPoint, Sample};
use crate::decision::{Decision, Registration, Standing};
use crate::stats::Clusters;
use crate::verdict::{Evidence, Judge, Pairs, Verdict, decide};
use crate::{ArmResult, Error, compare};
use evidence::Sides;

/// One registered decision, and what is known about it beside the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What was registered.
    pub registration: Registration,
    /// What is decided by now; the registered decision unless it was changed since.
    pub decision: Decision,
    /// What a verdict under it is worth.
    pub standing: Standing,
    /// How often results were read against these rows, this time included.
    pub reads: usize,
}

/// What claims are made from beside the results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Premises {
    /// Registered decisions, the one that matters most first.
    pub claims: Vec<Claim>,
    /// Held-out rows found among the rows that were learnt; none when nobody looked.
    pub leaked_rows: Option<usize>,
    /// What the local model costs.
    pub local_costs: Option<LocalCosts>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// What was registered for the first claim.
    pub registration: Registration,
    /// The verdict of the first claim.
    pub verdict: Verdict,
    /// The verdicts of the other claims.
    pub others: Vec<Verdict>,
    /// Where the candidate stops being good enough, along each covariate.
    pub break_points: Vec<BreakPoint>,
    /// The rule in words.
    pub rule: String,
    /// From how many calls on the local model is cheaper.
    pub break_even: Option<BreakEvenFound>,
}

/// Holds the claims against the results; none when no claim has both its arms measured.
///
/// # Errors
/// When a decision does not fit the results, such as an unknown metric, slice or covariate.
pub fn decide_all(results: &Results, premises: &Premises) -> Result<Option<Decided>, Error> {
    let measured = |name: &str| results.arms.iter().any(|arm| arm.name == name && arm.is_measured());
    let fits = |claim: &&Claim| {
        let decision = &claim.decision;
        measured(&decision.baseline) && decision.candidates.iter().all(|candidate| measured(candidate))
    };
    let mut verdicts = Vec::new();
    for claim in premises.claims.iter().filter(fits) {
        verdicts.push((claim, verdict(results, premises, claim)?));
    }
    if verdicts.is_empty() {
        return Ok(None);
    }
    let (claim, first) = verdicts.remove(0);
    let (break_points, rule) = break_points(results, claim)?;
    let arm = |name: &str| compare::arm(&results.arms, name);
    let break_even = match &premises.local_costs {
        Some(costs) => money::break_even(results, arm(&first.candidate)?, arm(&first.baseline)?, costs)?,
        None => None,
    };
    Ok(Some(Decided {
        registration: claim.registration.clone(),
        verdict: first,
        others: verdicts.into_iter().map(|(_, verdict)| verdict).collect(),
        break_points,
        rule,
        break_even,
    }))
}

fn verdict(results: &Results, premises: &Premises, claim: &Claim) -> Result<Verdict, Error> {
    let decision = &claim.decision;
    let (candidate, baseline) = arms(results, claim)?;
    let clusters = results.clusters();
    let sides = Sides::of(results, &decision.metric, candidate, baseline)?;
    let draws = sides.draws(&sides.kept()?, decision.seed)?;
    let slice_rows = evidence::slices(results, &decision.slices.names)?;
    let slice_draws: Result<Vec<_>, Error> =
        slice_rows.iter().map(|(_, rows)| sides.draws(&sides.kept_of(rows)?, decision.seed)).collect();
    let slice_draws = slice_draws?;
    let slices = slice_rows.into_iter().zip(&slice_draws).map(|((name, rows), draws)| crate::verdict::SliceRows {
        name,
        rows,
        replicates: draws.as_ref().map(evidence::Draws::replicates),
    });
    let evidence = Evidence {
        candidate: &candidate.name,
        clusters: &clusters,
        new: &sides.new,
        old: &sides.old,
        replicates: draws.as_ref().map(evidence::Draws::replicates),
        worst_case: None,
        slices: slices.collect(),
        leaked_rows: premises.leaked_rows,
        judge: Judge::NotUsed,
        reads: claim.reads,
    };
    decide(decision, &claim.standing, &evidence)
}

fn arms<'a>(results: &'a Results, claim: &Claim) -> Result<(&'a ArmResult, &'a ArmResult), Error> {
    let decision = &claim.decision;
    let candidate = decision.candidates.first().map_or("", String::as_str);
    Ok((compare::arm(&results.arms, candidate)?, compare::arm(&results.arms, &decision.baseline)?))
}

fn break_points(results: &Results, claim: &Claim) -> Result<(Vec<BreakPoint>, String), Error> {
    let decision = &claim.decision;
    if decision.covariates.is_empty() {
        return Ok((Vec::new(), String::new()));
    }
    let (candidate, baseline) = arms(results, claim)?;
    let clusters = results.clusters();
    let sides = Sides::of(results, &decision.metric, candidate, baseline)?;
    let rows: Vec<usize> = (0..results.rows.len()).collect();
    let pairs = Pairs::new(&sides.new, &sides.old, &clusters, &rows)?;
    if pairs.kept.is_empty() {
        return Ok((Vec::new(), String::new()));
    }
    let mut values = Vec::new();
    for covariate in &decision.covariates {
        values.push(evidence::covariate(results, &covariate.name, &pairs.kept)?);
    }
    let sample = |covariate: &'_ Vec<f64>| -> (Vec<f64>, Vec<f64>, Vec<f64>, Clusters) {
        (covariate.clone(), pairs.candidate.clone(), pairs.baseline.clone(), pairs.clusters.clone())
    };
    let held: Vec<_> = values.iter().map(sample).collect();
    let samples: Vec<(&str, Sample<'_>)> = decision
        .covariates
        .iter()
        .zip(&held)
        .map(|(covariate, (x, new, old, clusters))| {
            (covariate.name.as_str(), Sample { covariate: x, candidate: new, baseline: old, clusters })
        })
        .collect();
    break_point::find(decision, &samples)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
