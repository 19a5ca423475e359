//! How hard a prompt may be before the candidate stops being good enough: bins from easy to hard, tested in that order.
//! Knows nothing about how a covariate is measured; it must be known before the answer, and its bins come from the inputs alone.
//!
//! Each bin is tested for non-inferiority at full alpha, and the first that does not pass ends it, so that the chance of certifying
//! any bin wrongly stays alpha (Maurer, Hothorn and Lehmacher 1995; Westfall and Krishen 2001). With two covariates each has α/2.
//! What is certified is the mean over each bin of one covariate. The curve in `curve` is a picture; the edge is the claim.

pub mod bins;
pub mod curve;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::decision::{Bins, Decision};
use crate::stats::Clusters;
use crate::stats::non_inferiority::PairedDifference;
pub use curve::CurvePoint;

/// Complete pairs with what was known about each prompt before the answer.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The covariate of each row, finite.
    pub covariate: &'a [f64],
    /// Scores of the candidate, 0 to 1.
    pub candidate: &'a [f64],
    /// Scores of the baseline, 0 to 1.
    pub baseline: &'a [f64],
    /// Which rows belong together.
    pub clusters: &'a Clusters,
}

/// What became of one bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinState {
    /// Not worse by the margin.
    Passed,
    /// Tested and not proven; nothing harder is tested.
    Failed,
    /// An easier bin did not pass.
    NotTested,
}

/// One bin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinResult {
    /// Rows above this; none for the easiest bin.
    pub above: Option<f64>,
    /// Up to and with this.
    pub up_to: f64,
    /// Rows.
    pub n: usize,
    /// Groups they belong to.
    pub clusters: usize,
    /// Candidate minus baseline; none in an empty bin.
    pub estimate: Option<f64>,
    /// Its lower one-sided bound; none in an empty bin.
    pub low: Option<f64>,
    /// The one-sided p-value; none where the bin was not tested.
    pub p: Option<f64>,
    /// What became of it.
    pub state: BinState,
}

/// Where a candidate stops being good enough along one covariate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakPoint {
    /// The covariate, in words that fit after a number.
    pub covariate: String,
    /// The one-sided error rate of the whole sequence.
    pub alpha: f64,
    /// The bins, easy to hard.
    pub bins: Vec<BinResult>,
    /// The upper edge of the last bin that passed; none when the first did not.
    pub certified: Option<f64>,
    /// Whether every bin passed, so that the end was not found.
    pub end_not_reached: bool,
    /// Rows above the last edge, about which nothing is said.
    pub rows_above: usize,
    /// The fit that never rises, with its band.
    pub curve: Vec<CurvePoint>,
}

/// The break point along every registered covariate, each at its share of alpha, and the rule in words.
///
/// # Errors
/// When the samples are not of exactly the registered covariates in their order, or hold numbers that cannot be used.
pub fn find(decision: &Decision, samples: &[(&str, Sample<'_>)]) -> Result<(Vec<BreakPoint>, String), Error> {
    if !decision.covariates.iter().map(|c| c.name.as_str()).eq(samples.iter().map(|(name, _)| *name)) {
        let (registered, names): (Vec<_>, Vec<_>) = (
            decision.covariates.iter().map(|c| c.name.as_str()).collect(),
            samples.iter().map(|(name, _)| *name).collect(),
        );
        let problem = format!("the registered covariates are {registered:?}, the evidence has {names:?}");
        return Err(Error::BadEvidence { problem });
    }
    let alpha = decision.alpha / samples.len().max(1) as f64;
    let mut points = Vec::new();
    for (covariate, (_, sample)) in decision.covariates.iter().zip(samples) {
        let edges = match &covariate.bins {
            Bins::Edges { upper } => upper.clone(),
            Bins::Merged { variance } => {
                let rows = bins::rows_needed(*variance, decision.margin, alpha, decision.power);
                bins::merged(sample.covariate, sample.clusters, rows, decision.gates.min_clusters)?
            }
        };
        let mut point = test_in_order(&covariate.name, &edges, sample, decision, alpha)?;
        point.curve = curve::non_increasing(sample, decision.seed)?;
        points.push(point);
    }
    let words = rule(&points, decision.candidates.first().map_or("the candidate", String::as_str), &decision.baseline);
    Ok((points, words))
}

/// Tests the bins in order; the curve is left empty.
fn test_in_order(
    name: &str,
    edges: &[f64],
    sample: &Sample<'_>,
    decision: &Decision,
    alpha: f64,
) -> Result<BreakPoint, Error> {
    sample.check()?;
    let mut open = true;
    let mut results: Vec<BinResult> = Vec::new();
    for &up_to in edges {
        let above = results.last().map(|bin| bin.up_to);
        let inside = |x: f64| x <= up_to && above.is_none_or(|above| x > above);
        let rows: Vec<usize> = (0..sample.covariate.len()).filter(|&row| inside(sample.covariate[row])).collect();
        let clusters = sample.clusters.subset(&rows);
        let pick = |scores: &[f64]| rows.iter().map(|&row| scores[row]).collect::<Vec<f64>>();
        let difference = (!rows.is_empty())
            .then(|| PairedDifference::of_means(&pick(sample.candidate), &pick(sample.baseline), &clusters));
        let enough = clusters.num_clusters() >= decision.gates.min_clusters;
        let p = difference.as_ref().map_or(1.0, |found| found.p_not_worse(decision.margin));
        let state = match (open, enough && p <= alpha) {
            (false, _) => BinState::NotTested,
            (true, true) => BinState::Passed,
            (true, false) => BinState::Failed,
        };
        results.push(BinResult {
            above,
            up_to,
            n: rows.len(),
            clusters: clusters.num_clusters(),
            estimate: difference.as_ref().map(|found| found.value),
            low: difference.as_ref().map(|found| found.low(alpha)),
            p: open.then_some(p),
            state,
        });
        open &= state == BinState::Passed;
    }
    let certified = results.iter().take_while(|bin| bin.state == BinState::Passed).last().map(|bin| bin.up_to);
    let last = edges.last().copied();
    let rows_above = sample.covariate.iter().filter(|&&x| last.is_none_or(|last| x > last)).count();
    let end_not_reached = certified.is_some() && certified == last;
    let covariate = name.to_owned();
    Ok(BreakPoint { covariate, alpha, bins: results, certified, end_not_reached, rows_above, curve: Vec::new() })
}

/// The rule that a router follows: "up to 1 900 input tokens and 3 nested objects: tuned, else frontier".
pub fn rule(points: &[BreakPoint], candidate: &str, baseline: &str) -> String {
    if points.is_empty() {
        return "no covariate is registered, so there is no rule".to_owned();
    }
    let certified: Vec<String> =
        points.iter().filter_map(|point| Some(format!("{} {}", grouped(point.certified?), point.covariate))).collect();
    if let Some(failed) = points.iter().find(|point| point.certified.is_none()) {
        let edge = failed.bins.first().map_or_else(String::new, |bin| format!(" (up to {})", grouped(bin.up_to)));
        return format!(
            "nothing is certified: the easiest prompts by {}{edge} do not pass, all go to {baseline}",
            failed.covariate
        );
    }
    let open: Vec<&str> = points.iter().filter(|p| p.end_not_reached).map(|p| p.covariate.as_str()).collect();
    let note = if open.is_empty() {
        String::new()
    } else {
        format!(" (every tested bin of {} passes; longer ones are not tested)", open.join(" and "))
    };
    format!("up to {}: {candidate}, else {baseline}{note}", certified.join(" and "))
}

impl Sample<'_> {
    fn check(&self) -> Result<(), Error> {
        let rows = self.clusters.num_rows();
        let bad = |problem: String| Err(Error::BadEvidence { problem });
        if [self.covariate, self.candidate, self.baseline].iter().any(|column| column.len() != rows) {
            return bad(format!("a break point needs a covariate and two scores for each of {rows} rows"));
        }
        let usable = |row: usize| {
            let scores = [self.candidate[row], self.baseline[row]];
            self.covariate[row].is_finite() && scores.iter().all(|score| (0.0..=1.0).contains(score))
        };
        match (0..rows).find(|&row| !usable(row)) {
            Some(row) => bad(format!("row {row} has a covariate that is not a number, or a score outside 0 to 1")),
            None => Ok(()),
        }
    }
}

/// 1900 as "1 900"; a number that is not whole keeps its decimals.
pub(crate) fn grouped(value: f64) -> String {
    let text = format!("{value}");
    let (whole, decimals) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    decimals.map_or(out.clone(), |decimals| format!("{out}.{decimals}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use ground::random::{STEP, mix, unit_f64};

    use super::*;
    use crate::decision::Covariate;
    use crate::decision::tests::decision;

    struct Made {
        covariate: Vec<f64>,
        candidate: Vec<f64>,
        baseline: Vec<f64>,
        clusters: Clusters,
    }

    /// Rows of three bins of 600 with these shares lost; each gains what makes its mean difference `gain − loss`.
    fn made(flips: [(f64, f64); 3], seed: u64) -> Made {
        let mut state = seed.wrapping_mul(0xd129_0b26_4d2c_59b1);
        let mut uniform = || {
            let bits = mix(state);
            state = state.wrapping_add(STEP);
            unit_f64(bits)
        };
        let (mut covariate, mut candidate, mut baseline) = (Vec::new(), Vec::new(), Vec::new());
        for (bin, &(loss, gain)) in flips.iter().enumerate() {
            for row in 0..600 {
                let u = uniform();
                covariate.push((1000 * bin + row) as f64);
                candidate.push(if u < loss { 0.0 } else { 1.0 });
                baseline.push(if (loss..loss + gain).contains(&u) { 0.0 } else { 1.0 });
            }
        }
        Made { covariate, candidate, baseline, clusters: Clusters::new(vec![None; 1800]) }
    }

    fn sample(made: &Made) -> Sample<'_> {
        Sample {
            covariate: &made.covariate,
            candidate: &made.candidate,
            baseline: &made.baseline,
            clusters: &made.clusters,
        }
    }

    const EDGES: [f64; 3] = [900.0, 1900.0, 2500.0];

    #[test]
    fn the_sequence_stops_at_the_first_failure_and_certifies_the_edge_before_it() {
        let made = made([(0.01, 0.01), (0.01, 0.01), (0.3, 0.0)], 3);
        let mut decision = decision();
        decision.covariates =
            vec![Covariate { name: "input tokens".to_owned(), bins: Bins::Edges { upper: EDGES.to_vec() } }];
        let (points, words) = find(&decision, &[("input tokens", sample(&made))]).unwrap();
        assert_eq!((points[0].certified, points[0].rows_above), (Some(1900.0), 99));
        assert_eq!(words, "up to 1 900 input tokens: tuned, else tfidf");
        assert!(!points[0].curve.is_empty());
        assert!(find(&decision, &[("labels", sample(&made))]).is_err());
    }

    #[test]
    fn nothing_is_certified_when_the_easiest_bin_fails_however_good_the_others_are() {
        let made = made([(0.3, 0.0), (0.0, 0.0), (0.0, 0.0)], 3);
        let point = test_in_order("input tokens", &EDGES, &sample(&made), &decision(), 0.05).unwrap();
        let states: Vec<_> = point.bins.iter().map(|bin| bin.state).collect();
        assert_eq!(states, [BinState::Failed, BinState::NotTested, BinState::NotTested]);
        assert_eq!((point.certified, point.bins[1].p), (None, None));
        let words = rule(&[point], "tuned", "frontier");
        assert_eq!(
            words,
            "nothing is certified: the easiest prompts by input tokens (up to 900) do not pass, all go to frontier"
        );
    }

    #[test]
    fn two_covariates_have_half_of_alpha_each_and_make_one_rule() {
        let made = made([(0.01, 0.01), (0.01, 0.01), (0.0, 0.0)], 5);
        let mut decision = decision();
        let covariate = |name: &str| Covariate { name: name.to_owned(), bins: Bins::Merged { variance: 0.05 } };
        decision.covariates = vec![covariate("input tokens"), covariate("labels")];
        let (points, words) = find(&decision, &[("input tokens", sample(&made)), ("labels", sample(&made))]).unwrap();
        assert!(points.iter().all(|point| point.alpha == 0.025 && point.end_not_reached));
        assert!(
            words.starts_with("up to 2 599 input tokens and 2 599 labels: tuned, else tfidf (every tested bin"),
            "{words}"
        );
    }

    #[test]
    fn four_hundred_searches_rarely_certify_a_bin_whose_loss_is_the_margin() {
        let decision = decision();
        let wrong = (0..400).filter(|&seed| {
            let made = made([(0.02, 0.02), (0.06, 0.03), (0.06, 0.03)], seed + 1);
            let point = test_in_order("input tokens", &EDGES, &sample(&made), &decision, 0.05).unwrap();
            point.certified.is_some_and(|edge| edge > 900.0)
        });
        // 400 runs have a standard error of 1.1 points at 5 %.
        let share = wrong.count() as f64 / 400.0;
        assert!(share <= 0.08, "{share}");
    }

    #[test]
    fn few_groups_and_bad_numbers_are_not_certified() {
        let made = made([(0.0, 0.0); 3], 1);
        let few: Vec<String> = (0..1800).map(|row| format!("g{}", row % 19)).collect();
        let clusters = Clusters::new(few.iter().map(|name| Some(name.as_str())));
        let grouped = Sample { clusters: &clusters, ..sample(&made) };
        assert_eq!(test_in_order("x", &EDGES, &grouped, &decision(), 0.05).unwrap().certified, None);
        let nan = vec![f64::NAN; 1800];
        let broken = Sample { covariate: &nan, ..sample(&made) };
        assert!(test_in_order("x", &EDGES, &broken, &decision(), 0.05).is_err());
        assert_eq!(super::grouped(-1_234_567.5), "-1 234 567.5");
    }
}
