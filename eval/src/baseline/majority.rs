//! The majority baseline: always the most frequent label of the training rows.
//! Knows nothing about the text; whoever does not beat it has learned nothing.

use std::collections::BTreeMap;

use super::{Baseline, Example};
use crate::Error;

/// The name in tables.
pub const NAME: &str = "majority";

/// Learns the most frequent label; of equally frequent labels the first in alphabetical order.
///
/// # Errors
/// Without training rows.
pub fn fit(examples: &[Example<'_>]) -> Result<Box<dyn Baseline>, Error> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for example in examples {
        *counts.entry(example.label).or_default() += 1;
    }
    let mut best: Option<(&str, usize)> = None;
    for (label, count) in counts {
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((label, count));
        }
    }
    let (label, _) = best.ok_or(Error::NoTrainingRows { baseline: NAME })?;
    Ok(Box::new(Majority { label: label.to_owned() }))
}

struct Majority {
    label: String,
}

impl Baseline for Majority {
    fn name(&self) -> &'static str {
        NAME
    }

    fn predict(&self, _text: &str) -> String {
        self.label.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn check(labels: &[&str], expect: &str) {
        let examples: Vec<_> = labels.iter().map(|label| Example { text: "", label }).collect();
        assert_eq!(fit(&examples).unwrap().predict("anything"), expect);
    }

    #[test]
    fn the_most_frequent_label_wins_and_ties_go_by_the_alphabet() {
        check(&["b", "a", "b"], "b");
        check(&["b", "a"], "a");
    }
}
