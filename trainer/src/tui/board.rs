//! Owns what is known of an evaluation: arms, flips, disagreements and the verdict, in bounded memory.
//! Knows events; computes no score and no interval.

use std::collections::VecDeque;

use crate::event::{ArmStanding, Disagreement, Event, Flips};

/// Arms that are kept.
const MOST_ARMS: usize = 64;
/// Rows on which arms disagree that are kept.
const MOST_DISAGREEMENTS: usize = 200;

/// An evaluation as it is watched.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    /// Each arm, in the order in which they came.
    pub arms: Vec<ArmStanding>,
    /// On how many rows the candidate and others disagree.
    pub flips: Vec<Flips>,
    /// Rows on which they do, the oldest first.
    pub disagreements: VecDeque<Disagreement>,
    /// What was decided, and why.
    pub verdict: Option<(String, String)>,
    /// Rows and seconds, once it is done.
    pub finished: Option<(u64, f64)>,
}

impl Board {
    /// Hears one event of an evaluation; others are no news here.
    pub fn update(&mut self, event: &Event) {
        match event {
            Event::EvalProgress { arm, done, rows } => {
                // The name may be followed by what is being done.
                let name = arm.split(", ").next().unwrap_or(arm);
                if let Some(standing) = self.arm(name) {
                    (standing.done, standing.rows) = (*done, *rows);
                }
            }
            Event::EvalArm(standing) => {
                if let Some(known) = self.arm(&standing.arm) {
                    *known = (**standing).clone();
                }
            }
            Event::EvalFlips(flips) => {
                let same = |known: &Flips| known.candidate == flips.candidate && known.baseline == flips.baseline;
                match self.flips.iter().position(same) {
                    Some(at) => self.flips[at].clone_from(flips),
                    None if self.flips.len() < MOST_ARMS => self.flips.push(flips.clone()),
                    None => {}
                }
            }
            Event::EvalDisagreement(row) => {
                if self.disagreements.len() == MOST_DISAGREEMENTS {
                    self.disagreements.pop_front();
                }
                self.disagreements.push_back((**row).clone());
            }
            Event::EvalVerdict { answer, reason } => self.verdict = Some((answer.clone(), reason.clone())),
            Event::EvalFinished { rows, seconds, .. } => self.finished = Some((*rows, *seconds)),
            _ => {}
        }
    }

    /// The standing of an arm; none when there are too many.
    fn arm(&mut self, name: &str) -> Option<&mut ArmStanding> {
        let at = self.arms.iter().position(|arm| arm.arm == name);
        let at = at.or_else(|| {
            (self.arms.len() < MOST_ARMS).then(|| {
                self.arms.push(ArmStanding { arm: name.to_owned(), ..ArmStanding::default() });
                self.arms.len() - 1
            })
        })?;
        self.arms.get_mut(at)
    }

    /// Dollars spent by all arms, if any arm tells.
    #[must_use]
    pub fn spent_usd(&self) -> Option<f64> {
        // The budget is one for all arms, and each arm tells what all of them have spent.
        self.arms.iter().filter_map(|arm| arm.spent_usd).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_standing_replaces_an_earlier_one() {
        let mut board = Board::default();
        board.update(&Event::EvalProgress { arm: "tuned, answers".into(), done: 8, rows: 16 });
        let standing = ArmStanding { arm: "tuned".into(), done: 16, rows: 16, score: Some(0.5), ..Default::default() };
        board.update(&Event::EvalArm(Box::new(standing.clone())));
        assert_eq!(board.arms, [standing]);
        let flips = |gains| Flips { candidate: "a".into(), baseline: "b".into(), gains, ..Flips::default() };
        board.update(&Event::EvalFlips(flips(1)));
        board.update(&Event::EvalFlips(flips(2)));
        assert_eq!(board.flips, [flips(2)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut board = Board::default();
        for at in 0..1000_u64 {
            board.update(&Event::EvalProgress { arm: format!("arm {at}"), done: 0, rows: 1 });
            board.update(&Event::EvalDisagreement(Box::default()));
            board.update(&Event::EvalFlips(Flips { candidate: at.to_string(), ..Flips::default() }));
        }
        let sizes = (board.arms.len(), board.flips.len(), board.disagreements.len());
        assert_eq!(sizes, (MOST_ARMS, MOST_ARMS, MOST_DISAGREEMENTS));
    }
}
