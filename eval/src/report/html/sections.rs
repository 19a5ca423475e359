//! What stands in each section of the page, as words and grids.
//! Knows nothing about markup; every figure is one of the results'.

use serde_json::{Value, json};

use super::super::words;
use super::plot::{self, Bar, Step};
use super::{Grid, confusion, rows};
use crate::decision::Test;
use crate::metric::Unit;
use crate::proof::Decided;
use crate::results::MetricFacts;
use crate::verdict::{Answer, State, Verdict};
use crate::{ArmResult, Class, Error, Results};

/// Everything the page is filled with.
pub(super) fn page(results: &Results) -> Result<Value, Error> {
    let decided = results.decided.as_ref();
    let primary = results.metric(&results.measured.primary);
    let unit = primary.map_or(Unit::Share, |metric| metric.unit);
    let clustered = results.groups != results.rows.len();
    let (candidate, baseline) = sides(results);
    let flips = candidate.zip(baseline).and_then(|(new, old)| rows::flips(results, new, old));
    let confusion = confusion::of(results, [candidate, baseline]);
    let break_point = break_point(results)?;
    let mut sections = vec![("arms", "Arms")];
    let mut add = |present: bool, id, title| present.then(|| sections.push((id, title)));
    add(!results.comparisons.is_empty(), "differences", "Differences");
    add(decided.is_some(), "decision", "Why");
    add(break_point.is_some(), "break-point", "Break point");
    add(flips.is_some(), "rows", "Rows");
    add(!confusion.is_empty(), "confusion", "Confusion");
    add(true, "cost", "Time and money");
    add(true, "unscored", "Unscored");
    add(true, "method", "Method");
    let sections: Vec<Value> = sections.iter().map(|(id, title)| json!({ "id": id, "title": title })).collect();
    Ok(json!({
        "title": results.provenance.title(),
        "style": include_str!("style.css"),
        "script": include_str!("search.js"),
        "decision": decided.map(|decided| decision(&decided.verdict)),
        "no_verdict": results.no_verdict.clone().unwrap_or_else(|| "no decision was registered, so nothing is claimed".to_owned()),
        "facts": facts(results, unit),
        "sections": sections,
        "sample": words::sample_size(results),
        "clustered": clustered,
        "primary_title": primary.map_or("", |metric| metric.named.title.as_str()),
        "forest": forest(results, primary)?,
        "arms": arms(results),
        "skipped": skipped(results),
        "notes": notes(results),
        "comparisons": (!results.comparisons.is_empty()).then(|| comparisons(results)),
        "others": decided.filter(|decided| !decided.others.is_empty()).map(others),
        "break_point": break_point,
        "flips": flips,
        "confusion": (!confusion.is_empty()).then_some(confusion),
        "spending": spending(results),
        "spending_notes": spending_notes(results),
        "break_even": decided.and_then(|decided| decided.break_even.as_ref()).map(break_even),
        "classes": classes(results),
        "method": method(results),
        "registration": decided.map(registration).transpose()?,
        "command": results.provenance.command,
        "hashes": hashes(results),
        "footer": format!("trainer {}, {}", results.program, results.provenance.finished_at),
    }))
}

/// The arms a reader compares first: those of the decision, else the first two of the comparisons.
fn sides(results: &Results) -> (Option<&ArmResult>, Option<&ArmResult>) {
    let named = match (&results.decided, results.comparisons.first()) {
        (Some(decided), _) => Some((&decided.verdict.candidate, &decided.verdict.baseline)),
        (None, Some(comparison)) => Some((&comparison.candidate, &comparison.baseline)),
        (None, None) => None,
    };
    let find = |name: &String| results.arms.iter().find(|arm| arm.name == *name);
    named.map_or((None, None), |(candidate, baseline)| (find(candidate), find(baseline)))
}

fn decision(verdict: &Verdict) -> Value {
    let tone = match verdict.answer {
        Answer::Replace | Answer::ReplaceBetter => "good",
        Answer::KeepFrontier => "bad",
        Answer::Insufficient => "wait",
    };
    let sentence = verdict.sentence();
    let (word, rest) = sentence.split_once(": ").unwrap_or(("", &sentence));
    let mut figures = Grid::new(["figure", "value"]);
    let points =
        |value: Option<f64>| value.map_or(words::NONE.to_owned(), |value| format!("{:+.1} points", 100.0 * value));
    figures.line(["difference".to_owned(), points(verdict.estimate)]);
    figures.line([format!("lower bound, one-sided {:.1} %", 100.0 * (1.0 - verdict.alpha)), points(verdict.low)]);
    figures.line([format!("upper bound, one-sided {:.1} %", 100.0 * (1.0 - verdict.alpha)), points(verdict.high)]);
    let method = match verdict.method {
        Test::Tango => "Tango's score test, rows independent",
        Test::ClusteredT => "the more cautious of the cluster-robust t and Tango on the rows that the groups are worth",
        Test::ClusterBootstrap => "bootstrap over whole groups, widened where they are few",
    };
    figures.line(["how the bounds were made".to_owned(), method.to_owned()]);
    figures.line(["margin, the largest loss that is none".to_owned(), points(Some(-verdict.margin))]);
    figures.line(["p of \"the loss is the margin or more\"".to_owned(), words::p_value(verdict.p_not_worse)]);
    figures.line(["pairs, groups".to_owned(), format!("{}, {}", verdict.n, verdict.clusters)]);
    figures.line(["smallest difference it finds".to_owned(), points(verdict.detectable)]);
    let share = |value: f64| format!("{:.0} %", 100.0 * value);
    figures.line([
        "power for a model exactly as good".to_owned(),
        verdict.power_if_equal.map_or(words::NONE.to_owned(), share),
    ]);
    if let Some(needed) = verdict.needed {
        figures.line(["rows still needed".to_owned(), needed.to_string()]);
    }
    let mut gates = Grid::new(["gate", "passed", "what was seen"]);
    for gate in &verdict.gates {
        gates.line([name_of(&gate.name), if gate.pass { "✓" } else { "✗" }.to_owned(), gate.words.clone()]);
    }
    let mut guardrails = Grid::new(["guardrail", "state", "what was seen"]);
    for guardrail in &verdict.guardrails {
        let state = match guardrail.state {
            State::Pass => "holds",
            State::Broken => "broken",
            State::Undecided => "undecided",
        };
        guardrails.line([guardrail.name.replace('_', " "), state.to_owned(), guardrail.words.clone()]);
    }
    let mut slices = Grid::new(["slice", "rows", "groups", "difference", "p (Holm)", "answer"]);
    for slice in &verdict.slices {
        slices.line([
            slice.name.clone(),
            slice.n.to_string(),
            slice.clusters.to_string(),
            points(slice.estimate),
            words::p_value(slice.p_holm),
            name_of(&slice.answer),
        ]);
    }
    json!({
        "tone": tone,
        "word": word,
        "sentence": rest,
        "exploratory": verdict.standing.is_exploratory(),
        "reason": verdict.reason,
        "figures": figures,
        "gates": gates,
        "guardrails": (!verdict.guardrails.is_empty()).then_some(guardrails),
        "slices": (!verdict.slices.is_empty()).then_some(slices),
    })
}

/// A value that serialises to one word, as that word.
fn name_of(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
        .replace('_', " ")
}

fn facts(results: &Results, unit: Unit) -> Vec<Value> {
    let mut facts = Vec::new();
    let mut fact =
        |name: &str, value: String, note: String| facts.push(json!({ "name": name, "value": value, "note": note }));
    let (candidate, baseline) = sides(results);
    if let Some(verdict) = results.decided.as_ref().map(|decided| &decided.verdict)
        && let (Some(estimate), Some(low), Some(high)) = (verdict.estimate, verdict.low, verdict.high)
    {
        let value = format!("{:+.1} points", 100.0 * estimate + 0.0);
        fact("difference", value, format!("one-sided bounds {:+.1} and {:+.1}", 100.0 * low + 0.0, 100.0 * high + 0.0));
    }
    for arm in [candidate, baseline].into_iter().flatten() {
        if let Some(estimate) = arm.metrics.get(&results.measured.primary) {
            let whole = words::estimate(estimate, unit);
            let (value, interval) = whole.split_once(' ').unwrap_or((&whole, ""));
            fact(&arm.name, value.to_owned(), interval.to_owned());
        }
    }
    fact("prompts", results.rows.len().to_string(), words::sample_size(results));
    for arm in [candidate, baseline].into_iter().flatten() {
        let per_thousand = arm.cost.as_ref().and_then(|cost| cost.per_thousand_calls_usd);
        if let Some(cost) = per_thousand.filter(|cost| cost.value > 0.0) {
            fact(&format!("1,000 calls of {}", arm.name), words::usd(cost.value), String::new());
        }
        if let Some(latency) = &arm.latency {
            let p95 = latency.p95.seconds.map_or("above the time limit".to_owned(), words::seconds);
            let p50 = latency.p50.seconds.map_or("above the time limit".to_owned(), words::seconds);
            fact(&format!("p95 of {}", arm.name), p95, format!("half within {p50}"));
        }
    }
    if let Some(point) = results.decided.as_ref().and_then(|decided| decided.break_points.first()) {
        let until = point.certified.map_or("nothing certified".to_owned(), |edge| format!("{edge}"));
        fact("local until", until, point.covariate.clone());
    }
    facts
}

fn forest(results: &Results, primary: Option<&MetricFacts>) -> Result<String, Error> {
    let Some(metric) = primary else { return Ok(String::new()) };
    let bars: Vec<Bar> = results
        .arms
        .iter()
        .filter_map(|arm| {
            let estimate = arm.metrics.get(&metric.named.name)?;
            let words = words::estimate(estimate, metric.unit);
            let words = words.split(' ').next().unwrap_or_default().to_owned();
            Some(Bar { name: arm.name.clone(), value: estimate.value, low: estimate.low, high: estimate.high, words })
        })
        .collect();
    plot::forest(&bars, metric.unit == Unit::Share)
}

fn arms(results: &Results) -> Grid {
    let shown = words::shown(results);
    let mut header = vec!["arm".to_owned()];
    header.extend(shown.iter().map(|metric| metric.named.title.clone()));
    let line = |arm: &ArmResult| {
        let mut line = vec![arm.name.clone()];
        line.extend(shown.iter().map(|metric| match arm.metrics.get(&metric.named.name) {
            Some(estimate) => words::estimate(estimate, metric.unit),
            None => words::NONE.to_owned(),
        }));
        line
    };
    Grid { header, lines: results.arms.iter().filter(|arm| arm.is_measured()).map(line).collect() }
}

fn skipped(results: &Results) -> Vec<String> {
    let line = |arm: &ArmResult| Some(format!("{}: not measured, {}", arm.name, arm.skipped.as_ref()?));
    results.arms.iter().filter_map(line).collect()
}

fn notes(results: &Results) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(results.withheld.iter().map(|withheld| format!("Not in this file: {}.", withheld.what)));
    for arm in &results.arms {
        notes.extend(arm.notes.iter().map(|note| format!("{}: {note}.", arm.name)));
    }
    for arm in &results.arms {
        if let Some(agreement) = &arm.self_agreement {
            let share = words::estimate(agreement, Unit::Share);
            notes.push(format!(
                "{}: asked {} times a row, all answers agree on {share} of the rows.",
                arm.name, arm.repeats
            ));
        }
    }
    notes
}

fn comparisons(results: &Results) -> Grid {
    let mut grid = Grid::new(["difference", "metric", "points", "better", "worse", "p (Holm)", "detectable"]);
    for comparison in &results.comparisons {
        let Some(metric) = results.metric(&comparison.metric) else { continue };
        let found = &comparison.difference;
        let none = || words::NONE.to_owned();
        grid.line([
            format!("{} − {}", comparison.candidate, comparison.baseline),
            metric.named.title.clone(),
            words::difference(&found.estimate, metric.unit),
            found.flips.map_or_else(none, |flips| flips.gains.to_string()),
            found.flips.map_or_else(none, |flips| flips.regressions.to_string()),
            comparison.p_holm.map_or_else(none, words::p_value),
            found.detectable.map_or_else(none, |size| format!("±{:.1}", 100.0 * size)),
        ]);
    }
    grid
}

fn others(decided: &Decided) -> Grid {
    let mut grid = Grid::new(["baseline", "answer", "in words"]);
    for verdict in &decided.others {
        let sentence = verdict.sentence();
        let rest = sentence.split_once(": ").map_or(sentence.as_str(), |(_, rest)| rest).to_owned();
        grid.line([verdict.baseline.clone(), name_of(&verdict.answer), rest]);
    }
    grid
}

fn break_point(results: &Results) -> Result<Option<Value>, Error> {
    let Some(decided) = &results.decided else { return Ok(None) };
    let Some(point) = decided.break_points.first() else { return Ok(None) };
    let margin = decided.verdict.margin;
    let mut from = point.curve.first().map_or(0.0, |first| first.x);
    let steps: Vec<Step> = point
        .curve
        .iter()
        .map(|at| {
            let step = Step { from, to: at.x, value: at.fit, low: at.low, high: at.high };
            from = at.x;
            step
        })
        .filter(|step| step.to > step.from)
        .collect();
    let plot = plot::curve(&steps, margin, point.certified, &point.covariate)?;
    let mut bins = Grid::new(["above", "up to", "rows", "groups", "difference", "lower bound", "what became of it"]);
    let points = |value: Option<f64>| value.map_or(words::NONE.to_owned(), |value| format!("{:+.1}", 100.0 * value));
    for bin in &point.bins {
        bins.line([
            bin.above.map_or(words::NONE.to_owned(), |above| format!("{above}")),
            format!("{}", bin.up_to),
            bin.n.to_string(),
            bin.clusters.to_string(),
            points(bin.estimate),
            points(bin.low),
            name_of(&bin.state),
        ]);
    }
    let caption = format!(
        "Candidate minus baseline along {}, as the fit that never rises, with its 95 % band; the line is the margin of {:.1} points. The curve is a picture, the edge is the claim.",
        point.covariate,
        100.0 * margin
    );
    Ok(Some(json!({ "rule": decided.rule, "plot": plot, "caption": caption, "bins": bins })))
}

fn break_even(found: &crate::proof::BreakEvenFound) -> Value {
    let mut table = Grid::new(["frontier price", "dollars a call", "calls a month"]);
    for line in found.lines() {
        table.lines.push(line);
    }
    json!({ "sentence": found.sentence, "table": table, "notes": found.notes })
}

fn spending(results: &Results) -> Grid {
    let mut grid = Grid::new([
        "arm",
        "half within",
        "95 % within",
        "first token, half within",
        "tokens/s",
        "per 1,000 calls",
        "per right answer",
        "in all",
    ]);
    for arm in results.arms.iter().filter(|arm| arm.is_measured()) {
        let none = || words::NONE.to_owned();
        let quantile = |found: Option<&crate::spending::Quantile>| {
            found.map_or_else(none, |found| found.seconds.map_or("above the limit".to_owned(), words::seconds))
        };
        let money = |found: Option<crate::Estimate>| {
            found.map_or_else(none, |e| {
                format!("{} [{}, {}]", words::usd(e.value), words::usd(e.low), words::usd(e.high))
            })
        };
        let cost = arm.cost.as_ref().filter(|cost| cost.known > 0);
        grid.line([
            arm.name.clone(),
            quantile(arm.latency.as_ref().map(|latency| &latency.p50)),
            quantile(arm.latency.as_ref().map(|latency| &latency.p95)),
            quantile(arm.first_token.as_ref().map(|latency| &latency.p50)),
            arm.tokens_per_second.map_or_else(none, |rate| format!("{rate:.0}")),
            money(cost.and_then(|cost| cost.per_thousand_calls_usd)),
            money(cost.and_then(|cost| cost.per_correct_usd)),
            cost.map_or_else(|| "unknown".to_owned(), |cost| words::usd(cost.total_usd)),
        ]);
    }
    grid
}

fn spending_notes(results: &Results) -> Vec<String> {
    let mut notes = Vec::new();
    for arm in &results.arms {
        if let Some(cost) = arm.cost.as_ref().filter(|cost| cost.unknown > 0) {
            notes.push(format!(
                "{}: the cost of {} calls is not known, and unknown is not zero.",
                arm.name, cost.unknown
            ));
        }
    }
    let cached: usize = results.arms.iter().map(ArmResult::cached).sum();
    if cached > 0 {
        notes.push(format!("{cached} answers came from our own cache and stand in no figure of time or money."));
    }
    notes
}

fn classes(results: &Results) -> Grid {
    let measured = || results.arms.iter().filter(|arm| arm.is_measured());
    let all: std::collections::BTreeSet<Class> = measured().flat_map(|arm| arm.classes.keys().copied()).collect();
    let mut header = vec!["arm".to_owned()];
    header.extend(all.iter().map(|class| class.title().to_owned()));
    header.push("unreadable for".to_owned());
    let line = |arm: &ArmResult| {
        let mut line = vec![arm.name.clone()];
        line.extend(all.iter().map(|class| arm.classes.get(class).copied().unwrap_or(0).to_string()));
        let of = |(scorer, reasons): (&String, &std::collections::BTreeMap<crate::Reason, usize>)| {
            format!("{}: {}", scorer.replace('_', " "), reasons.values().sum::<usize>())
        };
        let unreadable: Vec<String> = arm.unparsed.iter().map(of).collect();
        line.push(if unreadable.is_empty() { words::NONE.to_owned() } else { unreadable.join(", ") });
        line
    };
    Grid { header, lines: measured().map(line).collect() }
}

fn method(results: &Results) -> Grid {
    let mut grid = Grid::new(["what", "policy"]);
    for scorer in &results.measured.scorers {
        grid.line([scorer.named.title.clone(), scorer.named.policy.clone()]);
    }
    for metric in &results.measured.metrics {
        if !results.measured.scorers.iter().any(|scorer| scorer.named.name == metric.named.name) {
            grid.line([metric.named.title.clone(), metric.named.policy.clone()]);
        }
    }
    grid
}

fn registration(decided: &Decided) -> Result<Value, Error> {
    let registration = &decided.registration;
    let mut lines = vec![format!(
        "Margin, error rate, metric, test, slices and guardrails were registered at {}, SHA-256 {}.",
        registration.registered_at, registration.registered_sha256
    )];
    if let Some(first) = &registration.first_output_at {
        lines.push(format!("The first output of the candidate was seen at {first}."));
    }
    lines.push(format!("Results were read against these rows {} times, this time included.", decided.verdict.reads));
    if decided.verdict.standing.is_exploratory() {
        lines.push("The decision changed after the first output, so this verdict is exploratory.".to_owned());
    }
    Ok(json!({ "lines": lines, "json": serde_json::to_string_pretty(&registration.decision)? }))
}

fn hashes(results: &Results) -> Grid {
    let mut grid = Grid::new(["of", "what", "value"]);
    for (name, value) in results.provenance.facts() {
        grid.line(["evaluation".to_owned(), name, value]);
    }
    for arm in results.arms.iter() {
        let identity = &arm.identity;
        grid.line([
            arm.name.clone(),
            "provider".to_owned(),
            format!("{}, prompts travel: {}", identity.provider, identity.egress),
        ]);
        if let Some(model) = &identity.model {
            grid.line([arm.name.clone(), "model".to_owned(), model.clone()]);
        }
        for (name, value) in &identity.facts {
            grid.line([arm.name.clone(), name.replace('_', " "), value.clone()]);
        }
    }
    grid
}
