//! What a card says about how good the adapter is: verdict, arms, break point, and what follows for whoever uses it.
//! Knows results; every figure is one of theirs, in their unit.

use eval::report::escape::{Cell, inline, table};
use eval::results::MetricFacts;
use eval::stats::Estimate;
use eval::verdict::{Answer, Verdict};
use eval::{ArmResult, Results};

use super::{Facts, stated, three};

/// What was proven, on which prompts, against what.
pub(super) fn section(facts: &Facts<'_>) -> String {
    let title = "## What is proven";
    let Some((results, _)) = facts.found else {
        return format!("{title}\n\nNothing: this adapter was not evaluated on held-out rows.");
    };
    let mut text = format!("{title}\n\n{}\n\n", prompts(results));
    match &results.decided {
        Some(decided) => {
            text += &format!("{}\n\n", sentence(&decided.verdict));
            text += &verdict_table(&decided.verdict, &decided.registration.registered_sha256);
        }
        None => {
            let why = results.no_verdict.as_deref().unwrap_or("no decision was registered");
            text += &format!("**No verdict**: {}.", inline(why));
        }
    }
    text += &format!("\n\n### Every arm\n\n{}", arms(results));
    for arm in results.arms.iter().filter(|arm| !arm.is_measured()) {
        text += &format!(
            "\n\n{}: not measured, {}.",
            inline(&arm.name),
            inline(arm.skipped.as_deref().unwrap_or_default())
        );
    }
    if let Some(decided) = &results.decided {
        text += &format!("\n\n### Until which difficulty\n\n{}", break_points(results, &decided.rule));
        if let Some(found) = &decided.break_even {
            text += &format!("\n\n### From how many calls on it is cheaper\n\n{}", inline(&found.sentence));
        }
    }
    text
}

/// What it is not good for.
pub(super) fn limits(facts: &Facts<'_>) -> String {
    let mut lines = Vec::new();
    if let Some((results, arm)) = facts.found {
        if let Some(verdict) = results.decided.as_ref().map(|decided| &decided.verdict) {
            let failed = verdict.gates.iter().filter(|gate| !gate.pass).map(|gate| gate.words.clone());
            lines.extend(failed.chain(verdict.guardrails.iter().map(|guardrail| guardrail.words.clone())));
        }
        lines.extend(no_better_than(results, arm));
        lines.extend(results.arms.iter().find(|found| found.name == arm).and_then(unreadable));
    } else {
        lines.push("anything that matters, before somebody evaluated it".to_owned());
    }
    let set = &facts.data.name;
    lines.push(format!("prompts of another kind than those of {set}: nothing was measured there"));
    let tokens = stated(&facts.summary["settings"]["data"]["max_tokens"]);
    lines.push(format!(
        "prompts that are longer than what it learnt from, which was cut or left out above {tokens} tokens"
    ));
    lines.push("decisions about people, money, health or rights without a person who looks at the answer".to_owned());
    let lines: Vec<String> = lines.iter().map(|line| format!("- {}", inline(line))).collect();
    format!("## What it is not good for\n\n{}", lines.join("\n"))
}

fn prompts(results: &Results) -> String {
    let (rows, groups) = (results.rows.len(), results.groups);
    let whose = match &results.group_name {
        Some(name) if groups != rows => format!(" of {groups} {}", inline(name)),
        None if groups != rows => format!(" of {groups} groups"),
        _ => String::new(),
    };
    format!(
        "On {rows} held-out prompts{whose} of the set {}, none of which it learnt from. Intervals are at level {}.",
        inline(&results.provenance.set),
        results.level
    )
}

fn sentence(verdict: &Verdict) -> String {
    let Verdict { candidate, baseline, metric, reason, .. } = verdict;
    let (name, claim) = match verdict.answer {
        Answer::ReplaceBetter => ("REPLACE_BETTER", format!("{candidate} is better than {baseline} by {metric}")),
        Answer::Replace => {
            ("REPLACE", format!("{candidate} is not worse than {baseline} by {metric}, within the margin"))
        }
        Answer::KeepFrontier => ("KEEP_FRONTIER", format!("{baseline} stays")),
        Answer::Insufficient => ("INSUFFICIENT", format!("nothing is proven about {candidate} against {baseline}")),
    };
    let exploratory = if verdict.standing.is_exploratory() {
        " The decision was not registered before the answers were seen, so this is exploratory."
    } else {
        ""
    };
    format!("**{name}**: {}; {}.{exploratory}", inline(&claim), inline(reason.trim_end_matches('.')))
}

fn verdict_table(verdict: &Verdict, registered: &str) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), three);
    let mut lines: Vec<(&str, Cell)> = vec![
        ("baseline", verdict.baseline.as_str().into()),
        ("metric", verdict.metric.as_str().into()),
        ("difference, adapter minus baseline", number(verdict.estimate).into()),
        ("lower and upper one-sided bound", format!("{} and {}", number(verdict.low), number(verdict.high)).into()),
        ("margin", verdict.margin.to_string().into()),
        ("one-sided error rate", verdict.alpha.to_string().into()),
        ("pairs and groups", format!("{} and {}", verdict.n, verdict.clusters).into()),
        ("decision registered as", Cell::Code(registered.to_owned())),
    ];
    if let Some(flips) = &verdict.flips {
        let shown = format!(
            "both right {}, only the adapter {}, only the baseline {}, both wrong {}",
            flips.both_right, flips.gains, flips.regressions, flips.both_wrong
        );
        lines.insert(7, ("rows", shown.into()));
    }
    let lines: Vec<Vec<Cell>> = lines.into_iter().map(|(what, value)| vec![what.into(), value]).collect();
    table(&["verdict".into(), "value".into()], &lines).trim_end().to_owned()
}

fn arms(results: &Results) -> String {
    let shown: Vec<&MetricFacts> = eval::report::words::shown(results);
    let mut header: Vec<Cell> = vec!["arm".into()];
    header.extend(shown.iter().map(|metric| metric.named.title.as_str().into()));
    let line = |arm: &ArmResult| {
        let mut cells: Vec<Cell> = vec![arm.name.as_str().into()];
        let cell = |metric: &&MetricFacts| arm.metrics.get(&metric.named.name).map_or("-".into(), interval);
        cells.extend(shown.iter().map(cell));
        cells
    };
    let lines: Vec<Vec<Cell>> = results.arms.iter().filter(|arm| arm.is_measured()).map(line).collect();
    table(&header, &lines).trim_end().to_owned()
}

fn interval(estimate: &Estimate) -> Cell {
    format!("{} [{}, {}]", three(estimate.value), three(estimate.low), three(estimate.high)).into()
}

fn break_points(results: &Results, rule: &str) -> String {
    let decided = results.decided.as_ref();
    let points = decided.map(|decided| decided.break_points.as_slice()).unwrap_or_default();
    if points.is_empty() {
        return "No break point was looked for.".to_owned();
    }
    let mut lines: Vec<String> = points
        .iter()
        .map(|point| match point.certified {
            Some(edge) if point.end_not_reached => {
                format!("- up to {edge} {}, which is as far as the prompts go", inline(&point.covariate))
            }
            Some(edge) => format!("- up to {edge} {}; beyond that it is not proven", inline(&point.covariate)),
            None => format!("- along {} nothing is certified", inline(&point.covariate)),
        })
        .collect();
    if !rule.is_empty() {
        lines.push(format!("\n{}", inline(rule)));
    }
    lines.join("\n")
}

/// Simple methods that the adapter is not proven to beat.
fn no_better_than(results: &Results, arm: &str) -> Vec<String> {
    let primary = &results.measured.primary;
    let compared = results.comparisons.iter().filter(|found| found.candidate == arm && found.metric == *primary);
    let simple = |name: &str| {
        results
            .arms
            .iter()
            .any(|arm| arm.name == name && (arm.identity.provider == "baseline" || arm.identity.provider == "local"))
    };
    compared
        .filter(|found| simple(&found.baseline) && found.difference.estimate.low <= 0.0)
        .map(|found| {
            let Estimate { value, low, high, .. } = found.difference.estimate;
            let what = if high < 0.0 { "it is worse" } else { "that is not proven" };
            let interval = format!("{} [{}, {}]", three(value), three(low), three(high));
            format!("beating {}: {what}, with a difference of {interval}", found.baseline)
        })
        .collect()
}

/// Answers that came to nothing.
fn unreadable(arm: &ArmResult) -> Option<String> {
    let lost: Vec<String> = arm
        .classes
        .iter()
        .filter(|(class, _)| **class != eval::Class::Ok)
        .map(|(class, count)| format!("{} {count}", class.title()))
        .collect();
    (!lost.is_empty())
        .then(|| format!("places where every answer must be usable: of its answers were {}", lost.join(", ")))
}
