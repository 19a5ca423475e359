//! What a verdict is made from: each row under both arms, and what is known about the rows.
//! Knows nothing about decisions; values come as plain numbers, so that any source of results can be judged.

use crate::Error;
use crate::stats::Clusters;

/// What a row scored under one arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Score {
    /// A score from 0 to 1; refusals, timeouts, cut and unreadable answers are 0.
    Given(f64),
    /// The provider was out: the pair is missing for both arms.
    Outage,
    /// The judge's answer could not be read: the pair is missing, and the verdict must also hold in the worst case.
    JudgeUnreadable,
}

impl Score {
    fn given(self) -> Option<f64> {
        if let Self::Given(score) = self { Some(score) } else { None }
    }
}

/// What a call cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// Dollars.
    Usd(f64),
    /// The answer came from the cache and says nothing about cost or latency.
    Cached,
    /// There is no price.
    Unknown,
}

/// One row under one arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// The score.
    pub score: Score,
    /// Whether there is an answer that could not be parsed; refusals and timeouts are classes of their own.
    pub unparsed: bool,
    /// Whether the schema allows the answer; none without a schema.
    pub schema_valid: Option<bool>,
    /// Whether the model refused or a filter held the answer back.
    pub refused: bool,
    /// Whether no whole answer came in time.
    pub timed_out: bool,
    /// Seconds until the whole answer; none for cached rows and where nothing was timed.
    pub latency_secs: Option<f64>,
    /// The cost.
    pub cost: Cost,
}

impl Side {
    /// A parsed answer with this score, and nothing else known.
    pub fn scored(score: f64) -> Self {
        Self {
            score: Score::Given(score),
            unparsed: false,
            schema_valid: None,
            refused: false,
            timed_out: false,
            latency_secs: None,
            cost: Cost::Unknown,
        }
    }

    /// Whether there is an answer at all.
    pub(crate) fn answered(&self) -> bool {
        self.score != Score::Outage
    }
}

/// Draws of whole groups for a metric that is not a mean, over the rows that [`Pairs::kept`] names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replicates<'a> {
    /// Candidate minus baseline on the kept rows.
    pub value: f64,
    /// The metric of the baseline on the kept rows, for the sanity floor.
    pub baseline: f64,
    /// Candidate minus baseline on each draw, sorted.
    pub sorted: &'a [f64],
}

/// Whether a judge was used and may be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judge {
    /// No judge scored these rows.
    #[default]
    NotUsed,
    /// Its audit is of this judge prompt.
    Audited,
    /// There is no audit.
    NotAudited,
    /// The judge prompt is newer than the audit.
    AuditOutdated,
}

/// A registered slice and its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceRows<'a> {
    /// Its registered name.
    pub name: String,
    /// Indices of its rows.
    pub rows: Vec<usize>,
    /// Its replicates, for a metric that is not a mean.
    pub replicates: Option<Replicates<'a>>,
}

/// Everything that a verdict about one candidate is made from.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The candidate's name.
    pub candidate: &'a str,
    /// Which rows belong together.
    pub clusters: &'a Clusters,
    /// Each row under the candidate, in the order of `clusters`.
    pub new: &'a [Side],
    /// Each row under the baseline, likewise.
    pub old: &'a [Side],
    /// Replicates, for a metric that is not a mean.
    pub replicates: Option<Replicates<'a>>,
    /// The same with candidate 0 and baseline 1 where the judge could not be read; only needed when there are such rows.
    pub worst_case: Option<Replicates<'a>>,
    /// The registered slices.
    pub slices: Vec<SliceRows<'a>>,
    /// Evaluation rows found in a training shard; none when nobody looked.
    pub leaked_rows: Option<usize>,
    /// Whether a judge was used.
    pub judge: Judge,
    /// How often results were read against these rows, this time included.
    pub reads: usize,
}

/// The scores of the pairs that are complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// Indices of their rows.
    pub kept: Vec<usize>,
    /// Scores of the candidate.
    pub candidate: Vec<f64>,
    /// Scores of the baseline.
    pub baseline: Vec<f64>,
    /// Which of them belong together.
    pub clusters: Clusters,
}

impl Pairs {
    /// The complete pairs among `rows`; both sides are in the order of `clusters`.
    ///
    /// # Errors
    /// When lengths differ, a row does not exist or occurs twice, or a score lies outside 0 to 1.
    pub fn new(new: &[Side], old: &[Side], clusters: &Clusters, rows: &[usize]) -> Result<Self, Error> {
        Self::collect(new, old, clusters, rows, None)
    }

    /// The same with candidate 0 and baseline 1 where a judge could not be read.
    pub(crate) fn worst_case(new: &[Side], old: &[Side], clusters: &Clusters, rows: &[usize]) -> Result<Self, Error> {
        Self::collect(new, old, clusters, rows, Some((0.0, 1.0)))
    }

    fn collect(
        new: &[Side],
        old: &[Side],
        clusters: &Clusters,
        rows: &[usize],
        unreadable: Option<(f64, f64)>,
    ) -> Result<Self, Error> {
        let bad = |problem: String| Err(Error::BadEvidence { problem });
        if new.len() != clusters.num_rows() || old.len() != clusters.num_rows() {
            let (new, old, rows) = (new.len(), old.len(), clusters.num_rows());
            return bad(format!("{new} rows of the candidate and {old} of the baseline for {rows} rows of groups"));
        }
        let (mut kept, mut candidate, mut baseline) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = vec![false; new.len()];
        for &row in rows {
            let (Some(a), Some(b), Some(seen)) = (new.get(row), old.get(row), seen.get_mut(row)) else {
                return bad(format!("there is no row {row}"));
            };
            if std::mem::replace(seen, true) {
                return bad(format!("row {row} is named twice"));
            }
            let pair = match (a.score.given(), b.score.given()) {
                (Some(a), Some(b)) => Some((a, b)),
                _ if a.answered() && b.answered() => unreadable,
                _ => None,
            };
            let Some((a, b)) = pair else { continue };
            if !(0.0..=1.0).contains(&a) || !(0.0..=1.0).contains(&b) {
                return bad(format!("row {row} has the scores {a} and {b}, which must lie between 0 and 1"));
            }
            kept.push(row);
            candidate.push(a);
            baseline.push(b);
        }
        let clusters = clusters.subset(&kept);
        Ok(Self { kept, candidate, baseline, clusters })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn side(score: Score) -> Side {
        Side { score, ..Side::scored(0.0) }
    }

    #[test]
    fn an_outage_of_either_arm_takes_the_pair_out_and_an_unreadable_judge_can_be_the_worst_case() {
        let new = [side(Score::Given(1.0)), side(Score::Outage), side(Score::JudgeUnreadable), side(Score::Given(0.5))];
        let old = [side(Score::Given(0.0)), side(Score::Given(1.0)), side(Score::Given(0.2)), side(Score::Given(0.5))];
        let clusters = Clusters::new([Some("a"), Some("a"), Some("b"), Some("b")]);
        let rows = [0, 1, 2, 3];
        let pairs = Pairs::new(&new, &old, &clusters, &rows).unwrap();
        assert_eq!((pairs.kept.as_slice(), pairs.clusters.num_clusters()), ([0, 3].as_slice(), 2));
        let worst = Pairs::worst_case(&new, &old, &clusters, &rows).unwrap();
        assert_eq!(worst.candidate, [1.0, 0.0, 0.5]);
        assert_eq!(worst.baseline, [0.0, 1.0, 0.5]);
    }

    #[test]
    fn scores_outside_the_scale_and_rows_that_do_not_exist_are_refused() {
        let clusters = Clusters::new([None; 2]);
        let good = [Side::scored(1.0); 2];
        assert!(Pairs::new(&[Side::scored(1.1); 2], &good, &clusters, &[0, 1]).is_err());
        assert!(Pairs::new(&[Side::scored(f64::NAN); 2], &good, &clusters, &[0]).is_err());
        assert!(Pairs::new(&good, &good, &clusters, &[2]).is_err());
        assert!(Pairs::new(&good, &good, &clusters, &[1, 1]).is_err());
        assert!(Pairs::new(&good[..1], &good, &clusters, &[0]).is_err());
    }
}
