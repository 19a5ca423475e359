//! The list of reports, and the results that every report is made of.
//! Knows nothing about files or the terminal: a report is a string.

pub mod json;
pub mod table;

pub use json::Json;
pub use table::Table;

use serde::{Deserialize, Serialize};

use crate::{ArmResult, Comparison, Error, HeldOut, compare};

/// Every report, by the name a user writes.
pub const ALL: [&dyn Report; 2] = [&Table, &Json];

/// The version of the results that this program writes and reads.
pub const VERSION: u64 = 1;

/// Everything one evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The version of this format.
    pub version: u64,
    /// Held-out rows.
    pub rows: usize,
    /// Groups they belong to; equal to `rows` when rows are independent.
    pub groups: usize,
    /// What a group is, in the plural.
    pub group_name: Option<String>,
    /// The closed labels, or nothing for free text.
    pub labels: Option<Vec<String>>,
    /// The two-sided level of every interval.
    pub level: f64,
    /// What the draws of bootstrap intervals started from.
    pub seed: u64,
    /// Each arm.
    pub arms: Vec<ArmResult>,
    /// Paired differences of one arm with the others.
    pub comparisons: Vec<Comparison>,
}

impl Results {
    /// Puts arms together and compares `candidate`, if one is named, with the others.
    ///
    /// # Errors
    /// When there is no such arm, or arms were scored on other rows.
    pub fn new(held_out: &HeldOut, arms: Vec<ArmResult>, candidate: Option<&str>, seed: u64) -> Result<Self, Error> {
        let comparisons = match candidate {
            Some(candidate) => compare(held_out, &arms, candidate, seed)?,
            None => Vec::new(),
        };
        Ok(Self {
            version: VERSION,
            rows: held_out.rows().len(),
            groups: held_out.clusters().num_clusters(),
            group_name: held_out.group_name().map(str::to_owned),
            labels: held_out.labels().map(<[String]>::to_vec),
            level: crate::stats::LEVEL,
            seed,
            arms,
            comparisons,
        })
    }
}

/// One way to show results.
pub trait Report: Sync {
    /// The name a user writes.
    fn name(&self) -> &'static str;
    /// The report, with a line break at its end.
    ///
    /// # Errors
    /// When the results cannot be written this way.
    fn render(&self, results: &Results) -> Result<String, Error>;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;
    use crate::provider::scripted::{Scripted, says};
    use crate::{Arm, EvaluateOptions, Message, Role, Row, evaluate_arms};

    /// Two arms on 40 rows of 8 owners with times that do not change from run to run.
    pub(crate) fn results() -> Results {
        let labels = ["export control", "termination"].map(str::to_owned);
        let rows = (0..40).map(|row| Row {
            id: format!("r{row}"),
            group: Some(format!("g{}", row % 8)),
            prompt: vec![Message::new(Role::User, row.to_string())],
            text: String::new(),
            target: labels[usize::from(row % 3 == 0)].clone(),
        });
        let held_out = HeldOut::new(rows.collect(), Some(labels.to_vec())).unwrap();
        let held_out = held_out.grouped_by("owners");
        let answers = |limit: usize| {
            Scripted::new("fake", move |prompt, _| {
                let row: usize = prompt[0].content.parse().unwrap();
                let right = ["export control", "termination"][usize::from(row.is_multiple_of(3))];
                says(prompt, if row < limit { right } else { "This is a clause" })
            })
        };
        let mut base = answers(3).with_ranking(|_, _| vec![-1.0, -2.0]);
        let mut tuned = answers(36).with_ranking(|_, _| vec![-2.0, -3.0]);
        let mut arms = [
            Arm::Model { name: "base".to_owned(), model: &mut base },
            Arm::Model { name: "tuned".to_owned(), model: &mut tuned },
        ];
        let options = EvaluateOptions::default();
        let mut scored = evaluate_arms(&held_out, &mut arms, &options, &mut |_| {}).unwrap();
        for result in &mut scored {
            result.seconds = 12.345;
            result.tokens_per_second = Some(1234.5);
        }
        scored[0].tokens_per_second = None;
        Results::new(&held_out, scored, Some("tuned"), 0).unwrap()
    }

    #[test]
    fn every_report_has_its_own_name_and_ends_with_a_line_break() {
        let results = results();
        assert_ne!(ALL[0].name(), ALL[1].name());
        assert!(ALL.iter().all(|report| report.render(&results).unwrap().ends_with('\n')));
    }
}
