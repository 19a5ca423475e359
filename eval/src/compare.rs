//! Paired comparisons of one arm with the others on the same rows.
//! Knows nothing about verdicts: it says how large a difference is and how sure, not what to do about it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::metric::{self, Setting};
use crate::stats::multiplicity::holm;
use crate::stats::paired::Difference;
use crate::{ArmResult, Error, HeldOut};

/// What is compared: the strict reading, what the model knows without the format, and the figure in which rare labels count.
pub const METRICS: [&str; 3] = ["exact_match", "label_likelihood", "macro_f1"];

/// One paired difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The arm that is judged.
    pub candidate: String,
    /// The arm it is judged against.
    pub baseline: String,
    /// The metric, by name.
    pub metric: String,
    /// Candidate minus baseline.
    pub difference: Difference,
    /// The p-value after Holm's correction for all comparisons made together.
    pub p_holm: Option<f64>,
    /// Rows both arms got wrong with different answers, for exact match.
    pub churn: Option<usize>,
}

/// Compares the arm `candidate` with every other arm, on each metric that both carry.
///
/// # Errors
/// When there is no such arm, two arms share a name, or an arm was scored on other rows.
pub fn compare(
    held_out: &HeldOut,
    results: &[ArmResult],
    candidate: &str,
    seed: u64,
) -> Result<Vec<Comparison>, Error> {
    let mut names = HashSet::new();
    if let Some(twice) = results.iter().find(|result| !names.insert(result.name.as_str())) {
        return Err(Error::DuplicateArm { name: twice.name.clone() });
    }
    let chosen = results.iter().find(|result| result.name == candidate).ok_or_else(|| {
        let known = results.iter().map(|result| result.name.clone()).collect();
        Error::UnknownArm { name: candidate.to_owned(), known }
    })?;
    let setting = Setting { labels: held_out.labels(), clusters: held_out.clusters(), seed };
    let mut comparisons = Vec::new();
    for name in METRICS {
        let metric = metric::by_name(name)?;
        for other in results.iter().filter(|result| result.name != candidate) {
            if !(same_rows(held_out, chosen) && same_rows(held_out, other)) {
                let (candidate, baseline) = (candidate.to_owned(), other.name.clone());
                return Err(Error::DifferentRows { candidate, baseline });
            }
            let found = metric.difference(&chosen.outcomes, &other.outcomes, setting);
            if let Some(difference) = found {
                comparisons.push(Comparison {
                    candidate: candidate.to_owned(),
                    baseline: other.name.clone(),
                    metric: name.to_owned(),
                    difference,
                    p_holm: None,
                    churn: (name == "exact_match").then(|| churn(chosen, other)),
                });
            }
        }
    }
    correct(&mut comparisons);
    Ok(comparisons)
}

fn same_rows(held_out: &HeldOut, result: &ArmResult) -> bool {
    let ids = held_out.rows().iter().map(|row| row.id.as_str());
    ids.eq(result.outcomes.iter().map(|outcome| outcome.id.as_str()))
}

fn churn(candidate: &ArmResult, baseline: &ArmResult) -> usize {
    let pairs = candidate.outcomes.iter().zip(&baseline.outcomes);
    pairs
        .filter(|(new, old)| new.exact() == 0.0 && old.exact() == 0.0)
        .filter(|(new, old)| new.text.trim() != old.text.trim())
        .count()
}

fn correct(comparisons: &mut [Comparison]) {
    let p_values: Vec<f64> = comparisons.iter().filter_map(|c| c.difference.p_value).collect();
    let mut adjusted = holm(&p_values).into_iter();
    for comparison in comparisons {
        comparison.p_holm = comparison.difference.p_value.and_then(|_| adjusted.next());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::provider::scripted::{Scripted, says};
    use crate::stats::paired::Flips;
    use crate::{Arm, EvaluateOptions, Message, Role, Row, evaluate_arms};

    fn held_out(num_rows: usize) -> HeldOut {
        let rows = (0..num_rows).map(|row| Row {
            id: format!("r{row}"),
            group: None,
            prompt: vec![Message::new(Role::User, row.to_string())],
            text: String::new(),
            target: "a".to_owned(),
        });
        HeldOut::new(rows.collect(), Some(vec!["a".to_owned(), "b".to_owned()])).unwrap()
    }

    fn results(held_out: &HeldOut) -> Vec<ArmResult> {
        let right_below = |limit: usize| {
            Scripted::new("fake", move |prompt, _| {
                let row: usize = prompt[0].content.parse().unwrap();
                says(prompt, if row < limit { "a" } else { "b" })
            })
        };
        let (mut low, mut high) = (right_below(4), right_below(18));
        let mut arms = [
            Arm::Model { name: "base".to_owned(), model: &mut low },
            Arm::Model { name: "tuned".to_owned(), model: &mut high },
        ];
        evaluate_arms(held_out, &mut arms, &EvaluateOptions::default(), &mut |_| {}).unwrap()
    }

    #[test]
    fn the_same_rows_are_compared_one_by_one() {
        let held_out = held_out(20);
        let found = compare(&held_out, &results(&held_out), "tuned", 0).unwrap();
        let names: Vec<_> = found.iter().map(|c| (c.baseline.as_str(), c.metric.as_str())).collect();
        assert_eq!(names, [("base", "exact_match"), ("base", "macro_f1")]);
        let exact = &found[0];
        assert!((exact.difference.estimate.value - 0.7).abs() < 1e-12);
        let flips = Flips { both_right: 4, regressions: 0, gains: 14, both_wrong: 2 };
        assert_eq!(exact.difference.flips, Some(flips));
        assert_eq!((exact.churn, exact.p_holm), (Some(0), exact.difference.p_value));
        assert_eq!(found[1].churn, None);
    }

    #[test]
    fn arms_of_other_rows_and_unknown_arms_are_refused() {
        let results = results(&held_out(20));
        let other = compare(&held_out(19), &results, "tuned", 0).unwrap_err().to_string();
        assert!(other.starts_with("arms tuned and base were not scored on the same rows"), "{other}");
        let unknown = compare(&held_out(20), &results, "tunned", 0).unwrap_err().to_string();
        assert!(unknown.ends_with("hint: the arms are base, tuned"), "{unknown}");
        let mut twice = results;
        twice[0].name = "tuned".to_owned();
        let double = compare(&held_out(20), &twice, "tuned", 0).unwrap_err().to_string();
        assert!(double.starts_with("two arms are named \"tuned\""), "{double}");
    }
}
