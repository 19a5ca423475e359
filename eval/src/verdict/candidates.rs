//! Several candidates against one test set: Holm's step-down over them, because reading more models is more chances.
//! Knows nothing about a single verdict; it only says at which error rate each candidate is judged.

use super::{Verdict, decide_at};
use crate::Error;
use crate::decision::{Decision, Standing};

/// The verdicts about all registered candidates, in the registered order.
///
/// The candidate with the smallest p-value is judged at α/m, the next at α/(m − 1), and so on; after the first that is not proven
/// the rest keep its error rate. A candidate whose gates or guardrails do not pass comes last. A bound is always shown at the rate it was judged at.
///
/// # Errors
/// When the evidence is not of exactly the registered candidates in their order, or does not fit the decision.
pub fn decide_candidates(
    decision: &Decision,
    standing: &Standing,
    evidence: &[super::Evidence<'_>],
) -> Result<Vec<Verdict>, Error> {
    if !decision.candidates.iter().map(String::as_str).eq(evidence.iter().map(|found| found.candidate)) {
        let names: Vec<&str> = evidence.iter().map(|found| found.candidate).collect();
        let problem = format!("the registered candidates are {:?}, the evidence is of {names:?}", decision.candidates);
        return Err(Error::BadEvidence { problem });
    }
    let num = evidence.len();
    let strictest = decision.alpha / num as f64;
    let judge = |index: usize, alpha: f64| decide_at(decision, standing, &evidence[index], alpha);
    let mut verdicts = (0..num).map(|index| judge(index, strictest)).collect::<Result<Vec<_>, _>>()?;
    let p_of = |verdict: &Verdict| if verdict.gates.iter().all(|gate| gate.pass) { verdict.p_not_worse } else { 1.0 };
    let mut order: Vec<usize> = (0..num).collect();
    order.sort_by(|&a, &b| p_of(&verdicts[a]).total_cmp(&p_of(&verdicts[b])));
    let mut alpha = strictest;
    let mut stopped = false;
    for (rank, &index) in order.iter().enumerate() {
        if !stopped {
            alpha = decision.alpha / (num - rank) as f64;
        }
        if alpha > strictest {
            verdicts[index] = judge(index, alpha)?;
        }
        // Quality is what Holm's steps are about; guardrails have their own tests.
        stopped |= p_of(&verdicts[index]) > alpha;
    }
    Ok(verdicts)
}
