//! Validity gates: what must be true before any difference may be read.
//! Knows nothing about differences; a gate that cannot be checked fails, because silence would pass for health.

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Judge, Pairs, Side};
use crate::decision::GateLimits;
use crate::stats::tango::mcnemar_exact;

/// One gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Its name.
    pub name: GateName,
    /// What was measured; none when it could not be.
    pub figure: Option<f64>,
    /// The limit it is held against; none where there is only yes or no.
    pub limit: Option<f64>,
    /// Whether it lets the verdict through.
    pub pass: bool,
    /// What was found, in words.
    pub words: String,
}

/// The gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateName {
    /// Share of pairs without both scores.
    Missing,
    /// Whether scores are missing in one arm rather than the other.
    MissingDifference,
    /// Share of the candidate's answers that cannot be parsed.
    CandidateParser,
    /// Share of the baseline's answers that cannot be parsed: a weak baseline is often a broken extractor.
    BaselineParser,
    /// Whether the baseline is as good as it should be.
    Floor,
    /// Number of groups.
    Clusters,
    /// Rows that a training shard holds too.
    Leakage,
    /// Whether the judge is audited.
    Judge,
}

/// All gates of a whole evaluation; `baseline` is its score on the complete pairs, none when there are none.
pub(crate) fn of_evaluation(
    limits: &GateLimits,
    evidence: &Evidence<'_>,
    pairs: &Pairs,
    baseline: Option<f64>,
) -> Vec<Gate> {
    let rows: Vec<usize> = (0..evidence.new.len()).collect();
    let mut gates = of_rows(limits, evidence.new, evidence.old, &rows, pairs);
    gates.insert(4, floor(limits.baseline_floor, baseline));
    gates.push(leakage(evidence.leaked_rows));
    gates.push(judge(evidence.judge));
    gates
}

/// The gates that apply to each slice too: missing, parser and groups.
pub(crate) fn of_rows(limits: &GateLimits, new: &[Side], old: &[Side], rows: &[usize], pairs: &Pairs) -> Vec<Gate> {
    let (mut only_new, mut only_old) = (0, 0);
    for (new, old) in rows.iter().filter_map(|&row| new.get(row).zip(old.get(row))) {
        match (is_missing(new), is_missing(old)) {
            (true, false) => only_new += 1,
            (false, true) => only_old += 1,
            _ => {}
        }
    }
    let missing = rows.len().saturating_sub(pairs.kept.len());
    vec![
        missing_share(limits.missing_share, missing, rows.len()),
        missing_difference(limits.missing_difference_p, only_new, only_old),
        parser(GateName::CandidateParser, limits.unparsed_share, new, rows),
        parser(GateName::BaselineParser, limits.unparsed_share, old, rows),
        clusters(limits.min_clusters, pairs.clusters.num_clusters()),
    ]
}

fn is_missing(side: &Side) -> bool {
    !matches!(side.score, super::evidence::Score::Given(_))
}

fn missing_share(limit: f64, missing: usize, rows: usize) -> Gate {
    let share = (rows > 0).then(|| missing as f64 / rows as f64);
    Gate {
        name: GateName::Missing,
        figure: share,
        limit: Some(limit),
        pass: share.is_some_and(|share| share <= limit),
        words: format!("{missing} of {rows} pairs have no score"),
    }
}

fn missing_difference(limit: f64, only_new: usize, only_old: usize) -> Gate {
    let p = mcnemar_exact(only_new, only_old);
    Gate {
        name: GateName::MissingDifference,
        figure: Some(p),
        limit: Some(limit),
        pass: p >= limit,
        words: format!(
            "scores are missing {only_new} times only for the candidate and {only_old} times only for the baseline"
        ),
    }
}

fn parser(name: GateName, limit: f64, sides: &[Side], rows: &[usize]) -> Gate {
    let answered = rows.iter().filter_map(|&row| sides.get(row)).filter(|side| side.answered());
    let (total, unparsed) = answered.fold((0_usize, 0_usize), |(n, k), side| (n + 1, k + usize::from(side.unparsed)));
    let share = (total > 0).then(|| unparsed as f64 / total as f64);
    let arm = if name == GateName::CandidateParser { "candidate" } else { "baseline" };
    Gate {
        name,
        figure: share,
        limit: Some(limit),
        pass: share.is_some_and(|share| share <= limit),
        words: format!("{unparsed} of {total} answers of the {arm} cannot be parsed"),
    }
}

fn floor(limit: Option<f64>, baseline: Option<f64>) -> Gate {
    let words = match (baseline, limit) {
        (Some(score), Some(limit)) => format!("the baseline scores {score:.3}, its sanity floor is {limit:.3}"),
        (None, _) => "the baseline has no score".to_owned(),
        (Some(_), None) => "the task declares no sanity floor".to_owned(),
    };
    let pass = baseline.is_some_and(|score| limit.is_none_or(|limit| score >= limit));
    Gate { name: GateName::Floor, figure: baseline, limit, pass, words }
}

fn clusters(limit: usize, found: usize) -> Gate {
    Gate {
        name: GateName::Clusters,
        figure: Some(found as f64),
        limit: Some(limit as f64),
        pass: found >= limit,
        words: format!("{found} independent groups, at least {limit} are needed"),
    }
}

fn leakage(leaked: Option<usize>) -> Gate {
    let words = match leaked {
        None => "nobody looked whether evaluation rows are in a training shard".to_owned(),
        Some(rows) => format!("{rows} evaluation rows are in a training shard"),
    };
    let figure = leaked.map(|rows| rows as f64);
    Gate { name: GateName::Leakage, figure, limit: Some(0.0), pass: leaked == Some(0), words }
}

fn judge(judge: Judge) -> Gate {
    let (pass, words) = match judge {
        Judge::NotUsed => (true, "no judge scored these rows"),
        Judge::Audited => (true, "the judge is audited"),
        Judge::NotAudited => (false, "a judge scored these rows and nobody audited it"),
        Judge::AuditOutdated => (false, "the judge's prompt is newer than its audit"),
    };
    Gate { name: GateName::Judge, figure: None, limit: None, pass, words: words.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::Clusters;
    use crate::verdict::evidence::Score;

    fn gates(new: &[Side], old: &[Side], change: impl FnOnce(&mut GateLimits, &mut Evidence<'_>)) -> Vec<GateName> {
        let clusters = Clusters::new(new.iter().map(|_| None));
        let rows: Vec<usize> = (0..new.len()).collect();
        let pairs = Pairs::new(new, old, &clusters, &rows).unwrap();
        let mut evidence = Evidence {
            candidate: "tuned",
            clusters: &clusters,
            new,
            old,
            replicates: None,
            worst_case: None,
            slices: Vec::new(),
            leaked_rows: Some(0),
            judge: Judge::NotUsed,
            reads: 1,
        };
        let mut limits = GateLimits::default();
        change(&mut limits, &mut evidence);
        let mean = pairs.baseline.iter().sum::<f64>() / pairs.baseline.len() as f64;
        let found = of_evaluation(&limits, &evidence, &pairs, Some(mean));
        assert_eq!(found.len(), 8);
        found.into_iter().filter(|gate| !gate.pass).map(|gate| gate.name).collect()
    }

    fn with(count: usize, change: impl Fn(&mut Side)) -> Vec<Side> {
        let mut sides = vec![Side::scored(1.0); 200];
        sides[..count].iter_mut().for_each(change);
        sides
    }

    #[test]
    fn healthy_evidence_passes_every_gate() {
        assert_eq!(gates(&with(0, |_| {}), &with(0, |_| {}), |_, _| {}), []);
    }

    #[test]
    fn each_gate_fails_just_beyond_its_limit() {
        let whole = with(0, |_| {});
        let out = |side: &mut Side| side.score = Score::Outage;
        // Both arms lose the same rows: the share decides, 4 of 200 pass and 5 do not.
        assert_eq!(gates(&with(4, out), &with(4, out), |_, _| {}), []);
        assert_eq!(gates(&with(5, out), &with(5, out), |_, _| {}), [GateName::Missing]);
        // Six rows missing in one arm alone are p = 2/2⁶ = .031; five are .0625.
        assert_eq!(gates(&with(5, out), &whole, |limits, _| limits.missing_share = 0.1), []);
        let lopsided = gates(&whole, &with(6, out), |limits, _| limits.missing_share = 0.1);
        assert_eq!(lopsided, [GateName::MissingDifference]);
        let unparsed = |side: &mut Side| side.unparsed = true;
        assert_eq!(gates(&with(10, unparsed), &with(10, unparsed), |_, _| {}), []);
        assert_eq!(gates(&with(11, unparsed), &whole, |_, _| {}), [GateName::CandidateParser]);
        assert_eq!(gates(&whole, &with(11, unparsed), |_, _| {}), [GateName::BaselineParser]);
        let wrong = with(100, |side| side.score = Score::Given(0.0));
        assert_eq!(gates(&whole, &wrong, |limits, _| limits.baseline_floor = Some(0.5)), []);
        assert_eq!(gates(&whole, &wrong, |limits, _| limits.baseline_floor = Some(0.51)), [GateName::Floor]);
        assert_eq!(gates(&whole, &whole, |limits, _| limits.min_clusters = 201), [GateName::Clusters]);
        assert_eq!(gates(&whole, &whole, |_, evidence| evidence.leaked_rows = Some(1)), [GateName::Leakage]);
        assert_eq!(gates(&whole, &whole, |_, evidence| evidence.leaked_rows = None), [GateName::Leakage]);
        assert_eq!(gates(&whole, &whole, |_, evidence| evidence.judge = Judge::NotAudited), [GateName::Judge]);
        assert_eq!(gates(&whole, &whole, |_, evidence| evidence.judge = Judge::AuditOutdated), [GateName::Judge]);
        assert_eq!(gates(&whole, &whole, |_, evidence| evidence.judge = Judge::Audited), []);
    }
}
