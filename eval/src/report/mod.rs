//! The list of reports, and the results that every report is made of.
//! Knows nothing about files or the terminal: a report is a string.

pub mod json;
pub mod table;
pub mod words;

pub use json::Json;
pub use table::Table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arm_result::measure;
use crate::metric::{Setting, Unit};
use crate::task::{Named, count_names};
use crate::{ArmResult, Comparison, Error, HeldOut, Task, compare};

/// Every report, by the name a user writes.
pub const ALL: [&dyn Report; 2] = [&Table, &Json];

/// The version of the results that this program writes and reads.
pub const VERSION: u64 = 2;

/// Everything one evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The version of this format.
    pub version: u64,
    /// The program that wrote it.
    pub program: String,
    /// What was measured.
    pub measured: Measured,
    /// Groups the rows belong to; as many as rows when rows are independent.
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
    /// The rows, in the order of each arm's outcomes.
    pub rows: Vec<ResultRow>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What judged single answers.
    pub scorers: Vec<Named>,
    /// What was computed over many rows.
    pub metrics: Vec<MetricFacts>,
    /// The metric that decides.
    pub primary: String,
    /// The scorer whose score is that of a single row.
    pub primary_scorer: String,
}

/// One metric as reports name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricFacts {
    /// The names and what it counts.
    pub named: Named,
    /// How its value is written.
    pub unit: Unit,
}

/// One held-out row as results keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRow {
    /// The row.
    pub id: String,
    /// The document or owner that clustered errors use; none means that the row stands alone.
    pub group: Option<String>,
    /// The bare input, without the instructions that all rows share.
    pub text: String,
    /// What an arm should have written.
    pub target: String,
    /// Further answers that are as right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Numbers known before the answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub covariates: BTreeMap<String, f64>,
    /// Parts of the set this row belongs to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slices: BTreeMap<String, String>,
}

impl Results {
    /// Puts arms together, computes their metrics and compares `candidate`, if one is named, with the others.
    ///
    /// # Errors
    /// When there is no such arm or metric, or arms were scored on other rows.
    pub fn new(
        held_out: &HeldOut,
        task: &Task,
        mut arms: Vec<ArmResult>,
        candidate: Option<&str>,
        seed: u64,
    ) -> Result<Self, Error> {
        let rows = held_out.rows();
        for arm in arms.iter().filter(|arm| arm.is_measured() && arm.outcomes.len() != rows.len()) {
            let (arm, found) = (arm.name.clone(), arm.outcomes.len());
            return Err(Error::OtherRows { arm, found, expected: rows.len() });
        }
        let metrics = task.metrics()?;
        let targets: Vec<String> = rows.iter().map(|row| row.target.clone()).collect();
        let names = count_names(arms.iter().flat_map(|arm| &arm.outcomes));
        let setting = Setting {
            targets: &targets,
            labels: held_out.labels(),
            names: &names,
            clusters: held_out.clusters(),
            seed,
        };
        for arm in &mut arms {
            measure(arm, &metrics, task.primary_scorer(), setting);
        }
        let comparisons = match candidate {
            Some(candidate) => compare(task, &metrics, &arms, candidate, setting)?,
            None => Vec::new(),
        };
        let facts = |metric: &Box<dyn crate::metric::Metric>| MetricFacts {
            named: Named { name: metric.name(), title: metric.title(), policy: metric.policy() },
            unit: metric.unit(),
        };
        Ok(Self {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            measured: Measured {
                scorers: task.described(),
                metrics: metrics.iter().map(facts).collect(),
                primary: task.primary().to_owned(),
                primary_scorer: task.primary_scorer().to_owned(),
            },
            groups: held_out.clusters().num_clusters(),
            group_name: held_out.group_name().map(str::to_owned),
            labels: held_out.labels().map(<[String]>::to_vec),
            level: crate::stats::LEVEL,
            seed,
            arms,
            comparisons,
            rows: rows.iter().map(ResultRow::from).collect(),
        })
    }

    /// The metric of this name.
    pub fn metric(&self, name: &str) -> Option<&MetricFacts> {
        self.measured.metrics.iter().find(|metric| metric.named.name == name)
    }
}

impl From<&crate::Row> for ResultRow {
    fn from(row: &crate::Row) -> Self {
        Self {
            id: row.id.clone(),
            group: row.group.clone(),
            text: row.text.clone(),
            target: row.target.clone(),
            others: row.others.clone(),
            covariates: row.covariates.clone(),
            slices: row.slices.clone(),
        }
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
    use crate::{Arm, EvaluateOptions, Identity, Message, Role, Row, evaluate_arms};

    /// Two arms on 40 rows of 8 owners with times that do not change from run to run.
    pub(crate) fn results() -> Results {
        let labels = ["export control", "termination"].map(str::to_owned);
        let rows = (0..40).map(|row| Row {
            id: format!("r{row}"),
            group: Some(format!("g{}", row % 8)),
            prompt: vec![Message::new(Role::User, row.to_string())],
            target: labels[usize::from(row % 3 == 0)].clone(),
            ..Row::default()
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
        let arms = vec![
            Arm::Model { name: "base".to_owned(), identity: Identity::default(), model: &mut base },
            Arm::Model { name: "tuned".to_owned(), identity: Identity::default(), model: &mut tuned },
        ];
        let task = Task::standard(true);
        let mut scored = evaluate_arms(&held_out, &task, arms, &EvaluateOptions::default(), &mut |_| {}).unwrap();
        for result in &mut scored {
            result.seconds = 12.345;
            result.tokens_per_second = Some(1234.5);
            result.latency = None;
        }
        scored[0].tokens_per_second = None;
        Results::new(&held_out, &task, scored, Some("tuned"), 0).unwrap()
    }

    #[test]
    fn every_report_has_its_own_name_and_ends_with_a_line_break() {
        let results = results();
        assert_ne!(ALL[0].name(), ALL[1].name());
        assert!(ALL.iter().all(|report| report.render(&results).unwrap().ends_with('\n')));
    }
}
