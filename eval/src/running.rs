//! How an arm stands while it is still asked: the score of the rows so far with its interval, how long answers took, and
//! what became of them. A preview for whoever waits; results are computed from all rows, elsewhere.

use std::collections::BTreeMap;

use crate::arm_result::judge_written;
use crate::outcome::{Call, Class};
use crate::spending::Latency;
use crate::stats::{Clusters, Estimate, interval};
use crate::{Completion, Finish, HeldOut, Task};

/// The rows of an arm that were answered so far.
pub struct Running<'a> {
    held_out: &'a HeldOut,
    task: &'a Task,
    scores: Vec<f64>,
    groups: Vec<Option<&'a str>>,
    latencies: Vec<Option<f64>>,
    classes: BTreeMap<Class, usize>,
}

impl<'a> Running<'a> {
    /// Before the first answer.
    pub fn new(held_out: &'a HeldOut, task: &'a Task) -> Self {
        let (scores, groups, latencies) = (Vec::new(), Vec::new(), Vec::new());
        Self { held_out, task, scores, groups, latencies, classes: BTreeMap::new() }
    }

    /// Takes the answer to a row, by the place of the row. A row that is not there is passed over.
    pub fn take(&mut self, row: usize, completion: &Completion, call: Option<&Call>) {
        let Some(asked) = self.held_out.rows().get(row) else { return };
        let completion = &completion.said();
        *self.classes.entry(Class::of(&completion.finish, &completion.text)).or_default() += 1;
        if let Some(call) = call.filter(|call| !call.cached) {
            match completion.finish {
                Finish::Timeout => self.latencies.push(None),
                Finish::Failed { .. } => {}
                _ => self.latencies.extend(call.latency_secs.map(Some)),
            }
        }
        let judged = judge_written(completion, asked, self.held_out.labels(), self.task);
        if let Some(scored) = judged.get(self.task.primary_scorer()) {
            // As in results: an answer that could not be judged counts as wrong.
            self.scores.push(scored.score.unwrap_or(0.0));
            self.groups.push(asked.group.as_deref());
        }
    }

    /// The mean score of the scorer that decides, over the rows so far; none before the first, or where it scores no text.
    pub fn estimate(&self) -> Option<Estimate> {
        let clusters = || Clusters::new(self.groups.iter().copied());
        (!self.scores.is_empty()).then(|| interval::mean(&self.scores, &clusters()))
    }

    /// How long answers took.
    pub fn latency(&self) -> Option<Latency> {
        Latency::of(self.latencies.iter().copied())
    }

    /// What became of the answers.
    pub fn classes(&self) -> &BTreeMap<Class, usize> {
        &self.classes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Message, Role, Row};

    #[test]
    fn the_interval_narrows_as_rows_come_in() {
        let row = |at: usize| Row {
            id: format!("r{at}"),
            prompt: vec![Message::new(Role::User, "a or b?")],
            target: "a".to_owned(),
            ..Row::default()
        };
        let labels = Some(vec!["a".to_owned(), "b".to_owned()]);
        let held_out = HeldOut::new((0..40).map(row).collect(), labels).unwrap();
        let task = Task::standard(held_out.labels(), None).unwrap();
        let mut running = Running::new(&held_out, &task);
        assert_eq!((running.estimate(), running.latency()), (None, None));
        let call = Call { latency_secs: Some(0.5), ..Call::default() };
        let mut widths = Vec::new();
        for at in 0..40 {
            let text = if at % 4 == 0 { "b" } else { "a" }.to_owned();
            let said = Completion { text, written: None, finish: Finish::Stop, prompt_tokens: 1, completion_tokens: 1 };
            running.take(at, &said, Some(&call));
            let now = running.estimate().unwrap();
            widths.push(now.high - now.low);
        }
        let now = running.estimate().unwrap();
        assert_eq!((now.n, now.value, running.classes()[&Class::Ok]), (40, 0.75, 40));
        assert!(widths[39] < widths[19] && widths[19] < widths[4], "{widths:?}");
        assert_eq!(running.latency().unwrap().p50.seconds, Some(0.5));
        running.take(
            99,
            &Completion {
                text: String::new(),
                written: None,
                finish: Finish::Stop,
                prompt_tokens: 0,
                completion_tokens: 0,
            },
            None,
        );
    }
}
