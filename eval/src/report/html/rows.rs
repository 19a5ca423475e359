//! The rows themselves: which flipped, and what both arms wrote.
//! Knows nothing about verdicts.

use serde::Serialize;

use crate::{ArmResult, Outcome, Results};

/// The most rows one page holds; all of them are in the results.
const MOST: usize = 2000;

/// The flip table and its rows.
#[derive(Serialize)]
pub(super) struct Flips {
    baseline: String,
    candidate: String,
    counts: Vec<Count>,
    options: Vec<Choice>,
    note: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Count {
    kind: &'static str,
    title: String,
    count: usize,
}

#[derive(Serialize)]
struct Choice {
    value: &'static str,
    title: String,
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    mark: &'static str,
    id: String,
    group: Option<String>,
    short: String,
    text: String,
    target: String,
    baseline: String,
    baseline_score: String,
    candidate: String,
    candidate_score: String,
}

/// Kinds in the order of the page: what a reader must see first.
const KINDS: [(&str, &str); 6] = [
    ("regression", "worse"),
    ("gain", "better"),
    ("churn", "other wrong answer"),
    ("wrong", "same wrong answer"),
    ("missing", "no pair"),
    ("right", "both right"),
];

/// The rows of two arms; none when either was not measured.
pub(super) fn flips(results: &Results, candidate: &ArmResult, baseline: &ArmResult) -> Option<Flips> {
    if !(candidate.is_measured() && baseline.is_measured()) {
        return None;
    }
    let scorer = &results.measured.primary_scorer;
    let pairs = || results.rows.iter().zip(candidate.outcomes.iter().zip(&baseline.outcomes));
    let place = |kind: &str| KINDS.iter().position(|known| known.0 == kind).unwrap_or(KINDS.len());
    let mut order: Vec<(usize, usize)> =
        pairs().enumerate().map(|(at, (_, (new, old)))| (place(kind(new, old, scorer)), at)).collect();
    order.sort_unstable();
    let count = |wanted: &str| order.iter().filter(|(found, _)| *found == place(wanted)).count();
    let title = |kind: &str| match kind {
        "regression" => format!("only {} is better", baseline.name),
        "gain" => format!("only {} is better", candidate.name),
        "churn" => "both wrong, different answers".to_owned(),
        "wrong" => "both wrong, the same answer".to_owned(),
        "missing" => "without a pair of answers".to_owned(),
        _ => "as good as each other".to_owned(),
    };
    let counts: Vec<Count> = KINDS
        .iter()
        .map(|&(kind, _)| Count { kind, title: title(kind), count: count(kind) })
        .filter(|line| line.count > 0 || line.kind != "missing")
        .collect();
    let mut options = vec![Choice { value: "", title: "all rows".to_owned() }];
    options.extend(
        counts.iter().map(|line| Choice { value: line.kind, title: format!("{} ({})", line.title, line.count) }),
    );
    let all = order.len();
    let note = if all > MOST {
        format!("The first {MOST} of {all} rows, worse ones first; all of them are in results.json.")
    } else {
        format!("All {all} rows, worse ones first.")
    };
    let shown = |&(place, at): &(usize, usize)| {
        let (row, new, old) = (&results.rows[at], &candidate.outcomes[at], &baseline.outcomes[at]);
        let (kind, mark) = KINDS.get(place).copied().unwrap_or(("", ""));
        Row {
            kind,
            mark,
            id: row.id.clone(),
            group: row.group.clone(),
            short: short(&row.text),
            text: row.text.clone(),
            target: row.target.clone(),
            baseline: written(old),
            baseline_score: score(old, scorer),
            candidate: written(new),
            candidate_score: score(new, scorer),
        }
    };
    let rows = order.iter().take(MOST).map(shown).collect();
    Some(Flips { baseline: baseline.name.clone(), candidate: candidate.name.clone(), counts, options, note, rows })
}

fn kind(new: &Outcome, old: &Outcome, scorer: &str) -> &'static str {
    let (Some(new_score), Some(old_score)) = (new.score(scorer), old.score(scorer)) else { return "missing" };
    if new_score > old_score {
        "gain"
    } else if new_score < old_score {
        "regression"
    } else if new_score >= 1.0 {
        "right"
    } else if new.text().trim() == old.text().trim() {
        "wrong"
    } else {
        "churn"
    }
}

fn written(outcome: &Outcome) -> String {
    let note = outcome.first().and_then(|sample| match &sample.finish {
        crate::Finish::Stop => None,
        crate::Finish::Length => Some("cut at the token limit".to_owned()),
        crate::Finish::Refusal { category } => Some(with("refused", category)),
        crate::Finish::ContentFilter { category } => Some(with("held back by a filter", category)),
        crate::Finish::Timeout => Some("timed out".to_owned()),
        crate::Finish::Failed { reason } => Some(format!("no answer: {reason}")),
    });
    match note {
        None => outcome.text().to_owned(),
        Some(note) if outcome.text().is_empty() => format!("[{note}]"),
        Some(note) => format!("{} [{note}]", outcome.text()),
    }
}

fn with(what: &str, category: &Option<String>) -> String {
    category.as_ref().map_or_else(|| what.to_owned(), |category| format!("{what}: {category}"))
}

fn score(outcome: &Outcome, scorer: &str) -> String {
    match outcome.score(scorer) {
        None => "(unscored)".to_owned(),
        Some(score) if score >= 1.0 => "✓".to_owned(),
        Some(score) if score <= 0.0 => "✗".to_owned(),
        Some(score) => format!("({score:.2})"),
    }
}

/// The beginning of a prompt, cut between words.
fn short(text: &str) -> String {
    let mut short = String::new();
    for word in text.split_whitespace() {
        if short.chars().count() + word.chars().count() > 140 {
            return short + " …";
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.extend(word.chars().take(140));
    }
    short
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_the_worst_rows_of_a_large_set_and_counts_all() {
        let mut results = crate::report::tests::results();
        let repeat = |times: usize, results: &mut Results| {
            results.rows = results.rows.iter().cycle().take(times * results.rows.len()).cloned().collect();
            for arm in &mut results.arms {
                arm.outcomes = arm.outcomes.iter().cycle().take(times * arm.outcomes.len()).cloned().collect();
            }
        };
        repeat(60, &mut results);
        // The candidate is the arm that is nearly always wrong, so that there is something worse to show.
        let found = flips(&results, &results.arms[0], &results.arms[1]).unwrap();
        assert_eq!((results.rows.len(), found.rows.len()), (2400, MOST));
        assert!(found.note.starts_with("The first 2000 of 2400 rows"), "{}", found.note);
        assert_eq!(found.counts.iter().map(|count| count.count).sum::<usize>(), 2400);
        let worse = found.counts.iter().find(|count| count.kind == "regression").unwrap().count;
        assert!(worse > 1000 && found.rows[..worse].iter().all(|row| row.kind == "regression"));
    }
}
