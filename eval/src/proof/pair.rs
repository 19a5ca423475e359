//! A verdict from two results of the same rows, after the fact and therefore exploratory.
//! Knows nothing about files.

use super::{Claim, Premises, decide_all};
use crate::decision::{self, Bins, Covariate, Decision, GateLimits, Registration, Slices, Standing};
use crate::held_out::sha256_of_rows;
use crate::results::{Board, Provenance};
use crate::{ArmResult, Error, Results, Task, compare};

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its results.
    pub results: &'a Results,
    /// Its arm; without one the candidate of the results.
    pub arm: Option<&'a str>,
    /// What stands before its name when both sides have the same.
    pub prefix: &'a str,
}

/// Both arms in one table, with a verdict at this margin where there are so many groups.
///
/// # Errors
/// When an arm is not there, the rows differ, or they were judged in different ways.
pub fn pair(
    baseline: &Side<'_>,
    candidate: &Side<'_>,
    margin: f64,
    min_groups: usize,
    now: &str,
) -> Result<(Results, Premises), Error> {
    let (mut old, mut new) = (arm(baseline)?, arm(candidate)?);
    let same = |left: &Results, right: &Results| {
        let rows =
            |results: &Results| results.rows.iter().map(|row| (row.id.clone(), row.target.clone())).collect::<Vec<_>>();
        rows(left) == rows(right)
    };
    if !same(baseline.results, candidate.results) {
        return Err(Error::DifferentRows { candidate: new.name, baseline: old.name });
    }
    let specs =
        |results: &Results| results.measured.scorers.iter().map(|scorer| scorer.spec.clone()).collect::<Vec<_>>();
    if specs(baseline.results) != specs(candidate.results) {
        return Err(Error::DifferentScorers);
    }
    if old.name == new.name {
        old.name = format!("{}-{}", baseline.prefix, old.name);
        new.name = format!("{}-{}", candidate.prefix, new.name);
    }
    let (old_name, new_name) = (old.name.clone(), new.name.clone());
    let mut results = candidate.results.clone();
    results.arms = vec![old, new];
    results.candidate = Some(new_name.clone());
    results.decided = None;
    results.provenance = Provenance { name: format!("{new_name} against {old_name}"), ..results.provenance };
    let mut results = Board::of(&results)?.recompute()?;
    let mut decision = decision(&results, &old_name, &new_name, margin)?;
    decision.gates.min_clusters = min_groups;
    let (registration, _) = Registration::register(None, &decision, now)?;
    let standing = Standing::Exploratory { registered_sha256: None, changed: Vec::new() };
    let claims = vec![Claim { registration, decision, standing, reads: 1 }];
    let leaked = |side: &Side<'_>| side.results.provenance.leaked_rows;
    let leaked_rows = leaked(baseline).zip(leaked(candidate)).map(|(old, new)| old.max(new));
    results.provenance.leaked_rows = leaked_rows;
    let premises = Premises { claims, leaked_rows, local_costs: None };
    results.decided = decide_all(&results, &premises)?;
    results.no_verdict = None;
    Ok((results, premises))
}

fn arm(side: &Side<'_>) -> Result<ArmResult, Error> {
    let named = side.arm.map(str::to_owned).or_else(|| side.results.candidate.clone());
    let name = named.unwrap_or_else(|| "tuned".to_owned());
    let found = compare::arm(&side.results.arms, &name)?;
    match &found.skipped {
        Some(reason) => Err(Error::NotMeasured { arm: name, reason: reason.clone() }),
        None => Ok(found.clone()),
    }
}

fn decision(results: &Results, baseline: &str, candidate: &str, margin: f64) -> Result<Decision, Error> {
    let specs = results.measured.scorers.iter().map(|scorer| scorer.spec.clone()).collect();
    let metric = results.measured.primary.clone();
    let task = Task::new(specs, results.labels.as_deref(), Some(metric.clone()))?;
    let once = results.arms.iter().all(|arm| arm.repeats <= 1);
    let independent = results.clusters().independent();
    let everywhere = |name: &str| results.rows.iter().all(|row| row.covariates.contains_key(name));
    let covariates = everywhere("input_tokens")
        .then(|| Covariate { name: "input tokens".to_owned(), bins: Bins::Merged { variance: 0.1 } });
    let provenance = &results.provenance;
    Ok(Decision {
        version: decision::VERSION,
        baseline: baseline.to_owned(),
        candidates: vec![candidate.to_owned()],
        margin,
        alpha: 0.05,
        power: 0.8,
        test: decision::choose(task.is_mean(&metric), once && task.is_right_or_wrong(&metric), independent),
        metric,
        groups: results.group_name.clone().unwrap_or_else(|| "groups".to_owned()),
        slices: Slices::default(),
        guardrails: Vec::new(),
        covariates: covariates.into_iter().collect(),
        n_max: results.rows.len(),
        gates: GateLimits::default(),
        seed: results.seed,
        set_sha256: provenance.set_sha256.clone(),
        held_out_sha256: Some(sha256_of_rows(&results.rows, results.labels.as_deref())?),
        prompt_sha256: provenance.prompt_sha256.clone(),
        scorer_sha256: provenance.scorer_sha256.clone(),
    })
}
