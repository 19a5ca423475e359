//! The list of reports, each a view of the same results.
//! Knows nothing about files or the terminal: a report is a string.

pub mod escape;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod table;
pub mod words;

pub use html::Html;
pub use json::Json;
pub use junit::Junit;
pub use markdown::Markdown;
pub use table::Table;

use crate::{Error, Results};

/// Every report, by the name a user writes.
pub const ALL: [&dyn Report; 5] = [&Table, &Json, &Html, &Markdown, &Junit];

/// One way to show results.
pub trait Report: Sync {
    /// The name a user writes.
    fn name(&self) -> &'static str;
    /// The file in a folder of results.
    fn file(&self) -> &'static str;
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
    use crate::Task;
    use crate::held_out::HeldOut;
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
        let task = Task::standard(held_out.labels(), None).unwrap();
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
        let mut names: Vec<_> = ALL.iter().flat_map(|report| [report.name(), report.file()]).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 2 * ALL.len());
        assert!(ALL.iter().all(|report| report.render(&results).unwrap().ends_with('\n')));
    }
}
