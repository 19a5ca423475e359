//! The report as Markdown, for a pull request or a mail.
//! Knows nothing about HTML; it shows the same numbers in fewer words.

use super::escape::{Cell, code, inline, table};
use super::{Report, words};
use crate::Results;
use crate::{ArmResult, Error};

/// Markdown.
#[derive(Clone, Copy, Debug)]
pub struct Markdown;

impl Report for Markdown {
    fn name(&self) -> &'static str {
        "markdown"
    }

    fn file(&self) -> &'static str {
        "report.md"
    }

    fn render(&self, results: &Results) -> Result<String, Error> {
        let mut text = format!("# {}\n\n", inline(&results.provenance.title()));
        match &results.decided {
            Some(decided) => text += &format!("**{}**\n\n", inline(&decided.verdict.sentence())),
            None => {
                let why = results.no_verdict.as_deref().unwrap_or("no decision was registered");
                text += &format!("**No verdict**: {}\n\n", inline(why));
            }
        }
        text += &format!("{}; 95 % intervals.\n\n", inline(&words::sample_size(results)));
        text += &grid(arms(results));
        for arm in results.arms.iter().filter(|arm| !arm.is_measured()) {
            let why = arm.skipped.as_deref().unwrap_or_default();
            text += &format!("\n{}: not measured, {}\n", inline(&arm.name), inline(why));
        }
        if !results.comparisons.is_empty() {
            text += "\n## Paired differences, in points\n\n";
            text += &grid(differences(results));
        }
        if let Some(decided) = &results.decided {
            text += "\n## Gates and guardrails\n\n";
            for gate in &decided.verdict.gates {
                text += &format!("- {} {}\n", if gate.pass { "✓" } else { "✗" }, inline(&gate.words));
            }
            for guardrail in &decided.verdict.guardrails {
                text += &format!("- {}\n", inline(&guardrail.words));
            }
            if !decided.rule.is_empty() {
                text += &format!("\n## Until which difficulty\n\n{}\n", inline(&decided.rule));
            }
            if let Some(found) = &decided.break_even {
                text +=
                    &format!("\n## From how many calls the local model is cheaper\n\n{}\n", inline(&found.sentence));
            }
            let registration = &decided.registration;
            let (at, sha256) = (&registration.registered_at, &registration.registered_sha256);
            text += &format!("\nDecision registered at {}, SHA-256 {}.\n", inline(at), code(sha256));
        }
        text += &format!("\nTo do it again: {}\n", code(&results.provenance.command));
        Ok(text)
    }
}

fn arms(results: &Results) -> Vec<Vec<String>> {
    let shown = words::shown(results);
    let mut header = vec!["arm".to_owned()];
    header.extend(shown.iter().map(|metric| metric.named.title.clone()));
    header.extend(["half within", "95 % within", "per 1,000 calls"].map(str::to_owned));
    let line = |arm: &ArmResult| {
        let mut line = vec![arm.name.clone()];
        line.extend(shown.iter().map(|metric| match arm.metrics.get(&metric.named.name) {
            Some(estimate) => words::estimate(estimate, metric.unit),
            None => words::NONE.to_owned(),
        }));
        let secs = |secs: Option<f64>| secs.map_or_else(|| words::NONE.to_owned(), words::seconds);
        line.push(secs(arm.latency.as_ref().and_then(|latency| latency.p50.seconds)));
        line.push(secs(arm.latency.as_ref().and_then(|latency| latency.p95.seconds)));
        let cost = arm.cost.as_ref().and_then(|cost| cost.per_thousand_calls_usd);
        line.push(cost.map_or_else(|| words::NONE.to_owned(), |cost| words::usd(cost.value)));
        line
    };
    std::iter::once(header).chain(results.arms.iter().filter(|arm| arm.is_measured()).map(line)).collect()
}

fn differences(results: &Results) -> Vec<Vec<String>> {
    let mut lines = vec![["difference", "metric", "points", "better", "worse", "p (Holm)"].map(str::to_owned).to_vec()];
    for comparison in &results.comparisons {
        let Some(metric) = results.metric(&comparison.metric) else { continue };
        let found = &comparison.difference;
        let none = || words::NONE.to_owned();
        lines.push(vec![
            format!("{} − {}", comparison.candidate, comparison.baseline),
            metric.named.title.clone(),
            words::difference(&found.estimate, metric.unit),
            found.flips.map_or_else(none, |flips| flips.gains.to_string()),
            found.flips.map_or_else(none, |flips| flips.regressions.to_string()),
            comparison.p_holm.map_or_else(none, words::p_value),
        ]);
    }
    lines
}

fn grid(lines: Vec<Vec<String>>) -> String {
    let mut lines = lines.into_iter().map(|line| line.into_iter().map(Cell::Text).collect::<Vec<_>>());
    let header = lines.next().unwrap_or_default();
    table(&header, &lines.collect::<Vec<_>>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use pulldown_cmark::{Event, Options, Parser, Tag};

    use super::*;
    use crate::report::tests::results;

    #[test]
    fn text_of_others_is_text_in_every_place() {
        let clean = headings(&Markdown.render(&results()).unwrap());
        let evil = "\n\n# x\n[a](http://b.c) ![d](e) <b>f</b> | g\n---\n```\n";
        let mut results = results();
        for arm in &mut results.arms {
            arm.name += evil;
        }
        results.arms[0].skipped = Some(evil.to_owned());
        results.no_verdict = Some(evil.to_owned());
        results.group_name = Some(evil.to_owned());
        results.provenance.command += evil;
        for comparison in &mut results.comparisons {
            comparison.candidate += evil;
        }
        let text = Markdown.render(&results).unwrap();
        assert_eq!(headings(&text), clean, "{text}");
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            let bad = matches!(event, Event::Html(_) | Event::InlineHtml(_) | Event::Rule)
                || matches!(event, Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::CodeBlock(_)));
            assert!(!bad, "{event:?} in\n{text}");
        }
    }

    fn headings(text: &str) -> Vec<String> {
        text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn the_same_numbers_stand_in_tables_that_markdown_reads() {
        let text = Markdown.render(&results()).unwrap();
        assert!(text.contains("| tuned | 90.0% \\[81.1, 98.9\\] |"), "{text}");
        assert!(text.contains("**No verdict**"), "{text}");
        let widths: Vec<usize> =
            text.lines().filter(|line| line.starts_with("| ")).map(|line| line.matches(" | ").count()).collect();
        assert!(widths.len() >= 5);
    }
}
