//! What a verdict is made from, read off two arms of the results.
//! Knows nothing about decisions; it turns outcomes into plain numbers.

use crate::Results;
use crate::metric::{self, Metric, PerRow};
use crate::outcome::{Outcome, Parse, Reason};
use crate::results::Board;
use crate::stats::bootstrap::{self, REPLICATES, Sums};
use crate::verdict::{Cost, Pairs, Replicates, Score, Side};
use crate::{ArmResult, Error, Finish};

/// Two arms row by row, and what is needed for a metric that is not a mean.
pub(super) struct Sides<'a> {
    pub(super) new: Vec<Side>,
    pub(super) old: Vec<Side>,
    metric: Box<dyn Metric>,
    board: Board<'a>,
    candidate: &'a ArmResult,
    baseline: &'a ArmResult,
}

/// Draws of a metric that is not a mean.
pub(super) struct Draws {
    value: f64,
    baseline: f64,
    sorted: Vec<f64>,
}

impl Draws {
    pub(super) fn replicates(&self) -> Replicates<'_> {
        Replicates { value: self.value, baseline: self.baseline, sorted: &self.sorted }
    }
}

impl<'a> Sides<'a> {
    pub(super) fn of(
        results: &'a Results,
        metric: &str,
        candidate: &'a ArmResult,
        baseline: &'a ArmResult,
    ) -> Result<Self, Error> {
        let board = Board::of(results)?;
        let mut metrics = board.metrics()?;
        metric::by_name(&metrics, metric)?;
        let at = metrics.iter().position(|known| known.name() == metric).unwrap_or(0);
        let metric = metrics.swap_remove(at);
        let side = |arm: &ArmResult| -> Result<Vec<Side>, Error> {
            let setting = board.setting();
            let scores = match metric.per_row(&arm.outcomes, setting) {
                Some(PerRow::Scores(scores)) => scores,
                // Pairing needs a score of each row; what decides is drawn from sums.
                Some(PerRow::Sums(_)) => scores_of(arm, &results.measured.primary_scorer),
                None => {
                    let (arm, metric) = (arm.name.clone(), metric.name());
                    return Err(Error::MetricMissing { arm, metric });
                }
            };
            Ok(arm.outcomes.iter().zip(scores).map(|(outcome, score)| side(outcome, score)).collect())
        };
        Ok(Self { new: side(candidate)?, old: side(baseline)?, metric, board, candidate, baseline })
    }

    /// The rows that both arms have a score of.
    pub(super) fn kept(&self) -> Result<Vec<usize>, Error> {
        self.kept_of(&(0..self.new.len()).collect::<Vec<_>>())
    }

    /// Those among `rows`.
    pub(super) fn kept_of(&self, rows: &[usize]) -> Result<Vec<usize>, Error> {
        Ok(Pairs::new(&self.new, &self.old, self.board.clusters(), rows)?.kept)
    }

    /// Draws over the kept rows; none when the metric is a mean or nothing is kept.
    pub(super) fn draws(&self, kept: &[usize], seed: u64) -> Result<Option<Draws>, Error> {
        if kept.is_empty() {
            return Ok(None);
        }
        let clusters = self.board.clusters_of(kept);
        // A row is read on its own, so that what was read of all rows can be cut to some of them.
        let sums = |arm: &ArmResult| match self.metric.per_row(&arm.outcomes, self.board.setting()) {
            Some(PerRow::Sums(rows)) => {
                Sums::sparse(rows.width(), kept.iter().map(|&row| rows.row(row)), &clusters).map(Some)
            }
            _ => Ok(None),
        };
        let (Some(new), Some(old)) = (sums(self.candidate)?, sums(self.baseline)?) else { return Ok(None) };
        let [new, old] = metric::both(self.metric.as_ref(), new, old);
        let of = |sums: &[f64]| self.metric.of_sums(sums) / metric::top(self.metric.unit());
        let baseline = of(&old.total());
        let value = of(&new.total()) - baseline;
        let drawn = bootstrap::paired(&new, &old, of, REPLICATES, seed)?;
        if drawn.undefined > 0 {
            let problem = format!("{} has no value on {} of {REPLICATES} draws", self.metric.name(), drawn.undefined);
            return Err(Error::BadEvidence { problem });
        }
        Ok(Some(Draws { value, baseline, sorted: drawn.sorted }))
    }
}

fn scores_of(arm: &ArmResult, scorer: &str) -> Vec<f64> {
    arm.outcomes.iter().map(|outcome| outcome.score(scorer).unwrap_or(0.0)).collect()
}

fn side(outcome: &Outcome, score: f64) -> Side {
    let first = outcome.first();
    let finish = first.map(|sample| &sample.finish);
    let unreadable = |scored: &crate::scorer::Scored| match scored.parse {
        Parse::Unparsed { reason } => !matches!(reason, Reason::Refused | Reason::Filtered | Reason::TimedOut),
        _ => false,
    };
    let call = first.and_then(|sample| sample.call.as_ref());
    let names = ["schema_valid", "schema_valid_lenient", "json_strict", "json_lenient"];
    let schema = names.iter().find_map(|name| outcome.scored(name)).filter(|_| !outcome.is_missing());
    Side {
        score: if outcome.is_missing() { Score::Outage } else { Score::Given(score) },
        unparsed: first.is_some_and(|sample| sample.scored.values().any(unreadable)),
        schema_valid: schema.map(|scored| scored.score == Some(1.0)),
        refused: matches!(finish, Some(Finish::Refusal { .. } | Finish::ContentFilter { .. })),
        timed_out: matches!(finish, Some(Finish::Timeout)),
        latency_secs: call.filter(|call| !call.cached).and_then(|call| call.latency_secs),
        cost: match call {
            Some(call) if call.cached => Cost::Cached,
            Some(call) => call.cost_usd.map_or(Cost::Unknown, Cost::Usd),
            None => Cost::Unknown,
        },
    }
}

/// The rows of each slice, which is named `division=part`.
pub(super) fn slices(results: &Results, names: &[String]) -> Result<Vec<(String, Vec<usize>)>, Error> {
    let find = |name: &String| {
        let bad = || Error::BadEvidence { problem: format!("slice \"{name}\" holds no row") };
        let (division, part) = name.split_once('=').ok_or_else(bad)?;
        let holds = |row: &crate::results::ResultRow| row.slices.get(division).is_some_and(|found| found == part);
        let rows: Vec<usize> =
            results.rows.iter().enumerate().filter(|(_, row)| holds(row)).map(|(at, _)| at).collect();
        if rows.is_empty() { Err(bad()) } else { Ok((name.clone(), rows)) }
    };
    names.iter().map(find).collect()
}

/// A covariate of the kept rows; its name may have spaces for underscores.
pub(super) fn covariate(results: &Results, name: &str, kept: &[usize]) -> Result<Vec<f64>, Error> {
    let key = name.replace(' ', "_");
    let value = |&row: &usize| {
        let row = &results.rows[row];
        row.covariates
            .get(&key)
            .copied()
            .ok_or_else(|| Error::BadEvidence { problem: format!("row \"{}\" has no covariate \"{key}\"", row.id) })
    };
    kept.iter().map(value).collect()
}
