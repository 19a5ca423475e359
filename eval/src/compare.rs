//! Paired comparisons of one arm with the others on the same rows.
//! Knows nothing about verdicts: it says how large a difference is and how sure, not what to do about it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::metric::{self, Metric, Setting};
use crate::stats::multiplicity::holm;
use crate::stats::paired::Difference;
use crate::{ArmResult, Error, Task};

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
    /// Rows both arms got wrong with different answers, for the metric that decides.
    pub churn: Option<usize>,
}

/// Compares the arm `candidate` with every other measured arm, on each compared metric that both carry.
///
/// # Errors
/// When there is no such arm, two arms share a name, or an arm was scored on other rows.
pub fn compare(
    task: &Task,
    metrics: &[Box<dyn Metric>],
    results: &[ArmResult],
    candidate: &str,
    setting: Setting<'_>,
) -> Result<Vec<Comparison>, Error> {
    let mut names = HashSet::new();
    if let Some(twice) = results.iter().find(|result| !names.insert(result.name.as_str())) {
        return Err(Error::DuplicateArm { name: twice.name.clone() });
    }
    let chosen = arm(results, candidate)?;
    if !chosen.is_measured() {
        return Ok(Vec::new());
    }
    let mut comparisons = Vec::new();
    for name in task.compared(metrics) {
        let metric = metric::by_name(metrics, &name)?;
        for other in results.iter().filter(|result| result.name != candidate && result.is_measured()) {
            if !same_rows(chosen, other) {
                let (candidate, baseline) = (candidate.to_owned(), other.name.clone());
                return Err(Error::DifferentRows { candidate, baseline });
            }
            if let Some(difference) = metric::difference(metric, &chosen.outcomes, &other.outcomes, setting) {
                comparisons.push(Comparison {
                    candidate: candidate.to_owned(),
                    baseline: other.name.clone(),
                    metric: name.clone(),
                    churn: difference.flips.map(|_| churn(&name, chosen, other)).filter(|_| name == task.primary()),
                    difference,
                    p_holm: None,
                });
            }
        }
    }
    correct(&mut comparisons);
    Ok(comparisons)
}

/// The arm of this name.
///
/// # Errors
/// When there is none.
pub fn arm<'a>(results: &'a [ArmResult], name: &str) -> Result<&'a ArmResult, Error> {
    results.iter().find(|result| result.name == name).ok_or_else(|| {
        let known = results.iter().map(|result| result.name.clone()).collect();
        Error::UnknownArm { name: name.to_owned(), known }
    })
}

fn same_rows(one: &ArmResult, other: &ArmResult) -> bool {
    one.outcomes.iter().map(|outcome| &outcome.id).eq(other.outcomes.iter().map(|outcome| &outcome.id))
}

fn churn(scorer: &str, candidate: &ArmResult, baseline: &ArmResult) -> usize {
    let wrong = |outcome: &crate::Outcome| !outcome.is_missing() && outcome.score(scorer).unwrap_or(0.0) == 0.0;
    let pairs = candidate.outcomes.iter().zip(&baseline.outcomes);
    pairs.filter(|(new, old)| wrong(new) && wrong(old) && new.text().trim() != old.text().trim()).count()
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
    use crate::results::Results;
    use crate::stats::paired::Flips;
    use crate::{Arm, Completion, EvaluateOptions, Finish, HeldOut, Identity, Message, Role, Row, evaluate_arms};

    fn held_out(num_rows: usize) -> HeldOut {
        let rows = (0..num_rows).map(|row| Row {
            id: format!("r{row}"),
            prompt: vec![Message::new(Role::User, row.to_string())],
            target: "a".to_owned(),
            ..Row::default()
        });
        HeldOut::new(rows.collect(), Some(vec!["a".to_owned(), "b".to_owned()])).unwrap()
    }

    fn arms(num_rows: usize) -> Vec<ArmResult> {
        arms_that_lose(num_rows, 0)
    }

    /// The base gives no answer to the first rows.
    fn arms_that_lose(num_rows: usize, lost: usize) -> Vec<ArmResult> {
        let right_below = |limit: usize, lost: usize| {
            Scripted::new("fake", move |prompt, _| {
                let row: usize = prompt[0].content.parse().unwrap();
                let said = says(prompt, if row < limit { "a" } else { "b" });
                let finish = Finish::Failed { reason: "lost".to_owned() };
                if row < lost { Completion { finish, ..said } } else { said }
            })
        };
        let (mut low, mut high) = (right_below(4, lost), right_below(18, 0));
        let arms = vec![
            Arm::Model { name: "base".to_owned(), identity: Identity::default(), model: &mut low },
            Arm::Model { name: "tuned".to_owned(), identity: Identity::default(), model: &mut high },
        ];
        let options = EvaluateOptions::default();
        evaluate_arms(
            &held_out(num_rows),
            &Task::standard(held_out(3).labels(), None).unwrap(),
            arms,
            &options,
            &mut |_| {},
        )
        .unwrap()
    }

    fn check(arms: Vec<ArmResult>, candidate: &str) -> Result<Vec<Comparison>, Error> {
        let results = Results::new(
            &held_out(20),
            &Task::standard(held_out(3).labels(), None).unwrap(),
            arms,
            Some(candidate),
            0,
        )?;
        Ok(results.comparisons)
    }

    #[test]
    fn the_same_rows_are_compared_one_by_one() {
        let found = check(arms(20), "tuned").unwrap();
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
    fn a_row_without_an_answer_is_no_gain_for_the_other_arm() {
        let found = check(arms_that_lose(20, 10), "tuned").unwrap();
        // Of the ten rows that are left eight are gains and two are wrong in both.
        let flips = Flips { both_right: 0, regressions: 0, gains: 8, both_wrong: 2 };
        assert_eq!((found[0].difference.flips, found[0].difference.estimate.n), (Some(flips), 10));
        assert_eq!((found[1].difference.estimate.n, found[0].churn), (10, Some(0)));
        // Without any answer there is nothing to compare, whatever the figures of the arm are.
        assert_eq!(check(arms_that_lose(20, 20), "tuned").unwrap(), Vec::new());
    }

    #[test]
    fn an_arm_that_was_not_measured_is_not_compared() {
        let mut all = arms(20);
        all.push(ArmResult::skipped("frontier", Identity::default(), "no key"));
        assert_eq!(check(all, "tuned").unwrap().len(), 2);
    }

    #[test]
    fn arms_of_other_rows_and_unknown_arms_are_refused() {
        let mut mixed = arms(20);
        mixed[0] = arms(19).remove(0);
        let other = check(mixed, "tuned").unwrap_err().to_string();
        assert!(other.starts_with("arm base has 19 rows, the evaluation 20"), "{other}");
        let unknown = check(arms(20), "tunned").unwrap_err().to_string();
        assert!(unknown.ends_with("hint: the arms are base, tuned"), "{unknown}");
        let mut twice = arms(20);
        twice[0].name = "tuned".to_owned();
        let double = check(twice, "tuned").unwrap_err().to_string();
        assert!(double.starts_with("two arms are named \"tuned\""), "{double}");
    }
}
