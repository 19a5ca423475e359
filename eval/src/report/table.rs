//! The table at the end of a run: each number with its interval, then the paired differences.
//! Knows nothing about colour or the width of the terminal.

use std::collections::BTreeSet;

use ground::terminal::{shown, shown_in_line};

use super::{Report, words};
use crate::Results;
use crate::stats::paired::Flips;
use crate::{ArmResult, Class, Error, Outcome};

/// Aligned text that reads without colour.
#[derive(Clone, Copy, Debug)]
pub struct Table;

impl Report for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn file(&self) -> &'static str {
        "table.txt"
    }

    fn render(&self, results: &Results) -> Result<String, Error> {
        let clustered = if results.groups == results.rows.len() { "" } else { " clustered by group" };
        let mut text = format!("held-out: {}, 95% intervals{clustered}\n", words::sample_size(results));
        text += &align(&arms(results));
        for arm in results.arms.iter().filter(|arm| !arm.is_measured()) {
            text += &format!("{}: not measured, {}\n", arm.name, arm.skipped.as_deref().unwrap_or_default());
        }
        if !results.comparisons.is_empty() {
            text += "\npaired differences on the same rows, in points, 95% intervals\n";
            text += &align(&differences(results));
        }
        if let Some(decided) = &results.decided {
            text += &format!("\n{}\n", decided.verdict.sentence());
            if !decided.rule.is_empty() {
                text += &format!("{}\n", decided.rule);
            }
        }
        let notes = notes(results);
        if !notes.is_empty() {
            text += "\n";
            for note in notes {
                text += &format!("note: {note}\n");
            }
        }
        // Names and reasons may be text of others, and this text is read on terminals.
        Ok(shown(&text).into_owned())
    }
}

/// A title and what stands under it for an arm.
type Column<'a> = (String, Box<dyn Fn(&ArmResult) -> String + 'a>);

fn arms(results: &Results) -> Vec<Vec<String>> {
    let measured = || results.arms.iter().filter(|arm| arm.is_measured());
    let mut columns: Vec<Column<'_>> = vec![("arm".to_owned(), Box::new(|arm| arm.name.clone()))];
    for metric in words::shown(results) {
        let of = move |arm: &ArmResult| match arm.metrics.get(&metric.named.name) {
            Some(estimate) => words::estimate(estimate, metric.unit),
            None => words::NONE.to_owned(),
        };
        columns.push((metric.named.title.clone(), Box::new(of)));
    }
    // Counts that are zero everywhere would only take room; where one is not, the column shows all of them.
    let classes: BTreeSet<Class> = measured().flat_map(|arm| arm.classes.keys().copied()).collect();
    for class in classes.into_iter().filter(|class| *class != Class::Ok) {
        let of = move |arm: &ArmResult| arm.classes.get(&class).copied().unwrap_or(0).to_string();
        columns.push((class.title().to_owned(), Box::new(of)));
    }
    if measured().any(|arm| arm.cost.as_ref().is_some_and(|cost| cost.total_usd > 0.0)) {
        let of = |arm: &ArmResult| {
            let per_thousand = arm.cost.as_ref().and_then(|cost| cost.per_thousand_calls_usd);
            per_thousand.map_or_else(|| "unknown".to_owned(), |estimate| words::usd(estimate.value))
        };
        columns.push(("per 1,000 calls".to_owned(), Box::new(of)));
    }
    let rate = |arm: &ArmResult| arm.tokens_per_second.map_or_else(|| words::NONE.to_owned(), |r| format!("{r:.0}"));
    columns.push(("tokens/s".to_owned(), Box::new(rate)));
    columns.push(("seconds".to_owned(), Box::new(|arm| format!("{:.1}", arm.seconds))));
    let header = columns.iter().map(|(title, _)| title.clone()).collect();
    let lines = measured().map(|arm| columns.iter().map(|(_, cell)| cell(arm)).collect());
    std::iter::once(header).chain(lines).collect()
}

fn differences(results: &Results) -> Vec<Vec<String>> {
    let header = ["difference", "metric", "points", "gains", "regressions", "p (Holm)", "detectable"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for comparison in &results.comparisons {
        let Some(metric) = results.metric(&comparison.metric) else { continue };
        let found = &comparison.difference;
        let none = || words::NONE.to_owned();
        let flips = |pick: fn(&Flips) -> usize| found.flips.as_ref().map_or_else(none, |flips| pick(flips).to_string());
        lines.push(vec![
            format!("{} − {}", comparison.candidate, comparison.baseline),
            metric.named.title.clone(),
            words::difference(&found.estimate, metric.unit),
            flips(|flips| flips.gains),
            flips(|flips| flips.regressions),
            comparison.p_holm.map_or_else(none, words::p_value),
            found.detectable.map_or_else(none, |size| format!("±{:.1}", 100.0 * size)),
        ]);
    }
    lines
}

fn notes(results: &Results) -> Vec<String> {
    let mut notes = Vec::new();
    for arm in &results.arms {
        notes.extend(arm.notes.iter().map(|note| format!("{}: {note}", arm.name)));
    }
    if results.arms.iter().any(|arm| arm.tokens_per_second.is_some()) {
        notes.push("tokens/s counts prompt and answer tokens while answers are written".to_owned());
    }
    for arm in &results.arms {
        for (scorer, count) in &arm.unscored {
            notes.push(format!("{}: {count} rows could not be scored by {scorer} and count as wrong", arm.name));
        }
    }
    let mut told = BTreeSet::new();
    for comparison in &results.comparisons {
        let missing = results.rows.len().saturating_sub(comparison.difference.estimate.n);
        if missing > 0 && told.insert(&comparison.baseline) {
            let (candidate, baseline) = (&comparison.candidate, &comparison.baseline);
            notes.push(format!(
                "{candidate} − {baseline}: {missing} rows that one of them gave no answer to are left out of the differences"
            ));
        }
    }
    let silent = |arm: &&ArmResult| !arm.outcomes.is_empty() && arm.outcomes.iter().all(Outcome::is_missing);
    for arm in results.arms.iter().filter(silent) {
        notes.push(format!("{}: it gave no answer to any row, so nothing is compared with it", arm.name));
    }
    if !results.comparisons.is_empty() {
        notes.push(
            "p (Holm) is corrected for all comparisons of the table; detectable is the smallest true difference such a comparison finds four times out of five".to_owned(),
        );
    }
    notes
}

/// Columns two spaces apart, all but the last padded.
fn align(lines: &[Vec<String>]) -> String {
    // Before columns are measured: an escape is wider than the sign that it stands for.
    let show = |line: &Vec<String>| line.iter().map(|cell| shown_in_line(cell).into_owned()).collect();
    let lines: &[Vec<String>] = &lines.iter().map(show).collect::<Vec<_>>();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..).map_while(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::report::tests::results;

    fn check(results: &Results, expect: Expect) {
        expect.assert_eq(&Table.render(results).unwrap());
    }

    #[test]
    fn the_end_table_shows_each_number_with_its_interval() {
        check(
            &results(),
            expect![[r#"
                held-out: 40 rows, 8 groups (owners), 95% intervals clustered by group
                arm    exact match         valid label         macro-F1              label likelihood    tokens/s  seconds
                base   7.5% [0.0, 16.2]    7.5% [0.0, 16.2]    0.138 [0.034, 0.256]  65.0% [57.3, 72.7]  -         12.3
                tuned  90.0% [81.1, 98.9]  90.0% [81.1, 98.9]  0.942 [0.890, 0.983]  65.0% [57.3, 72.7]  1234      12.3

                paired differences on the same rows, in points, 95% intervals
                difference    metric            points                gains  regressions  p (Holm)  detectable
                tuned − base  exact match       +82.5 [+76.6, +88.4]  33     0            <0.001    ±7.0
                tuned − base  macro-F1          +80.3 [+71.3, +90.2]  -      -            -         -
                tuned − base  label likelihood  +0.0 [-32.4, +32.4]   0      0            1.000     -

                note: base: answers were written 16 at a time; a latency is that of its batch
                note: tuned: answers were written 16 at a time; a latency is that of its batch
                note: tokens/s counts prompt and answer tokens while answers are written
                note: p (Holm) is corrected for all comparisons of the table; detectable is the smallest true difference such a comparison finds four times out of five
            "#]],
        );
    }

    #[test]
    fn rows_that_could_not_be_scored_are_shown_and_free_text_has_no_label_columns() {
        let mut results = results();
        results.groups = results.rows.len();
        results.comparisons.clear();
        results.measured.metrics.truncate(1);
        results.arms[0].unscored.insert("exact_match".to_owned(), 2);
        results.arms[1].classes.insert(Class::Truncated, 3);
        check(
            &results,
            expect![[r#"
                held-out: 40 rows, 95% intervals
                arm    exact match         cut at the token limit  tokens/s  seconds
                base   7.5% [0.0, 16.2]    0                       -         12.3
                tuned  90.0% [81.1, 98.9]  3                       1234      12.3

                note: base: answers were written 16 at a time; a latency is that of its batch
                note: tuned: answers were written 16 at a time; a latency is that of its batch
                note: tokens/s counts prompt and answer tokens while answers are written
                note: base: 2 rows could not be scored by exact_match and count as wrong
            "#]],
        );
    }
}
