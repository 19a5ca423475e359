//! Owns the question whether the targets of held-out rows are right by the scorers that will judge by them, asked before
//! anything is learnt: a target that its own scorer cannot read makes a perfect model look as if it had learnt nothing.
//! Knows no scorer by name; each declares what it says of a target.

pub(crate) mod wrong;

use rayon::prelude::*;
use serde_json::Value;

use crate::scorer::{Answer, OfTarget, Scored, Scorer, Target};
use crate::{Completion, Error, Finish, HeldOut, Parse, Row, Task, work};

pub use wrong::WrongTarget;

/// Rows that an error lists; the rest is a count.
const SHOWN_ROWS: usize = 10;
/// Characters of an id or of a scorer's note that an error repeats.
const SHOWN_CHARS: usize = 300;
/// How far from 1 a sum of rounded shares may end.
const ROUNDING: f64 = 1e-9;

/// Tries each target as the answer to its own row, with every scorer that reads targets. Time grows with the rows, and
/// tasks whose scorers only compare texts take none.
///
/// # Errors
/// All rows with a target that does not score 1, each with the first scorer that says so.
pub fn check(held_out: &HeldOut, task: &Task) -> Result<(), Error> {
    let tried: Vec<&dyn Scorer> = task
        .scorers()
        .iter()
        .map(|scorer| &**scorer)
        .filter(|scorer| matches!(scorer.of_target(), OfTarget::RightIfRead | OfTarget::GradedIfRead))
        .collect();
    if tried.is_empty() {
        return Ok(());
    }
    let labels = held_out.labels().unwrap_or_default();
    let wrong = |(at, row): (usize, &Row)| {
        let (scorer, note) = tried.iter().find_map(|scorer| Some((scorer.name(), fault(*scorer, row, labels)?)))?;
        Some(WrongTarget { row: at + 1, id: short(&row.id), scorer, note: short(&note) })
    };
    let mut shown: Vec<WrongTarget> = held_out.rows().par_iter().enumerate().filter_map(wrong).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let total = shown.len();
    shown.truncate(SHOWN_ROWS);
    Err(Error::WrongTargets { rows: held_out.rows().len(), total, shown })
}

/// What a scorer has against a target; none where it is right.
fn fault(scorer: &dyn Scorer, row: &Row, labels: &[String]) -> Option<String> {
    let targets = std::iter::once(&row.target).chain(&row.others);
    if let Some(reason) = work::too_long_targets(targets.map(String::len)) {
        return Some(reason);
    }
    let answer = Completion::of(row.target.as_str(), Finish::Stop);
    let target = Target { text: &row.target, others: &row.others, labels, source: &row.text };
    let Scored { score, parse, note, .. } = scorer.score(Answer::Written(&answer), target);
    let note = note.map(|note| format!(": {note}")).unwrap_or_default();
    match (score, parse) {
        (_, Parse::Unscored { reason }) => Some(format!("{reason}{note}")),
        (_, Parse::Unparsed { reason }) => {
            // The word that results count it under.
            let word = serde_json::to_value(reason).ok();
            let word = word.as_ref().and_then(Value::as_str).unwrap_or("cannot be read");
            Some(format!("{}{note}", word.replace('_', " ")))
        }
        (None, Parse::Parsed) => Some(format!("no score{note}")),
        // What is no number is no 1 either.
        (Some(score), Parse::Parsed)
            if score.max(0.0) < 1.0 - ROUNDING && scorer.of_target() == OfTarget::RightIfRead =>
        {
            Some(format!("scores {score:.4}{note}"))
        }
        (Some(_), Parse::Parsed) => None,
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}... ({} more bytes)", &text[..end], text.len() - end),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
