//! The table at the end of a run: each number with its interval, then the paired differences.
//! Knows nothing about colour or the width of the terminal.

use super::{Report, Results};
use crate::stats::{Estimate, Method};
use crate::{ArmResult, Comparison, Error, metric};

/// Aligned text that reads without colour.
#[derive(Clone, Copy, Debug)]
pub struct Table;

impl Report for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn render(&self, results: &Results) -> Result<String, Error> {
        let mut text = heading(results) + "\n";
        text += &align(&arms(results));
        if !results.comparisons.is_empty() {
            text += "\npaired differences on the same rows, in points, 95% intervals\n";
            text += &align(&differences(&results.comparisons)?);
        }
        let notes = notes(results);
        if !notes.is_empty() {
            text += "\n";
            for note in notes {
                text += &format!("note: {note}\n");
            }
        }
        Ok(text)
    }
}

fn heading(results: &Results) -> String {
    if results.groups == results.rows {
        return format!("held-out: {} rows, 95% intervals", results.rows);
    }
    let name = results.group_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let (rows, groups) = (results.rows, results.groups);
    format!("held-out: {rows} rows, {groups} groups{name}, 95% intervals clustered by group")
}

/// A title and what stands under it for an arm.
type Column = (&'static str, fn(&ArmResult) -> String);

fn arms(results: &Results) -> Vec<Vec<String>> {
    let any = |has: fn(&ArmResult) -> bool| results.arms.iter().any(has);
    let labelled = results.labels.is_some();
    let mut columns: Vec<Column> =
        vec![("arm", |arm| arm.name.clone()), ("exact match", |arm| percent(Some(arm.exact)))];
    if labelled {
        columns.push(("label likelihood", |arm| percent(arm.likelihood)));
        columns.push(("valid label", |arm| percent(arm.valid_label)));
        columns.push(("macro-F1", |arm| fraction(arm.macro_f1)));
    }
    // Counts that are zero everywhere would only take room; where one is not, the column shows all of them.
    if any(|arm| arm.unscored > 0) {
        columns.push(("unscored", |arm| arm.unscored.to_string()));
    }
    if any(|arm| arm.unranked > 0) {
        columns.push(("unranked", |arm| arm.unranked.to_string()));
    }
    if any(|arm| arm.truncated > 0) {
        columns.push(("truncated", |arm| arm.truncated.to_string()));
    }
    columns.push(("tokens/s", |arm| arm.tokens_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))));
    columns.push(("seconds", |arm| format!("{:.1}", arm.seconds)));
    let header = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let lines = results.arms.iter().map(|arm| columns.iter().map(|(_, cell)| cell(arm)).collect());
    std::iter::once(header).chain(lines).collect()
}

fn differences(comparisons: &[Comparison]) -> Result<Vec<Vec<String>>, Error> {
    let header = ["difference", "metric", "points", "gains", "regressions", "p (Holm)", "detectable"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for comparison in comparisons {
        let found = &comparison.difference;
        let flips = |pick: fn(&crate::stats::paired::Flips) -> usize| {
            found.flips.as_ref().map_or_else(|| "-".to_owned(), |flips| pick(flips).to_string())
        };
        let detectable = found.detectable.map(|size| format!("±{:.1}", 100.0 * size));
        lines.push(vec![
            format!("{} − {}", comparison.candidate, comparison.baseline),
            metric::by_name(&comparison.metric)?.title().to_owned(),
            points(&found.estimate),
            flips(|flips| flips.gains),
            flips(|flips| flips.regressions),
            comparison.p_holm.map_or_else(|| "-".to_owned(), p_value),
            detectable.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    Ok(lines)
}

fn notes(results: &Results) -> Vec<String> {
    let mut notes = Vec::new();
    for arm in &results.arms {
        notes.extend(arm.notes.iter().map(|note| format!("{}: {note}", arm.name)));
    }
    if results.arms.iter().any(|arm| arm.tokens_per_second.is_some()) {
        notes.push("tokens/s counts prompt and answer tokens while answers are written".to_owned());
    }
    let lost = |arm: &&ArmResult| arm.unscored + arm.unranked > 0;
    for arm in results.arms.iter().filter(lost) {
        let (unscored, unranked) = (arm.unscored, arm.unranked);
        notes.push(format!(
            "{}: {unscored} rows without an answer and {unranked} without usable likelihoods count as wrong",
            arm.name
        ));
    }
    for arm in results.arms.iter().filter(|arm| arm.truncated > 0) {
        let truncated = arm.truncated;
        notes.push(format!("{}: {truncated} answers reached the token limit and count as wrong", arm.name));
    }
    if !results.comparisons.is_empty() {
        notes.push(
            "p (Holm) is corrected for all comparisons of the table; detectable is the smallest true difference such a comparison finds four times out of five".to_owned(),
        );
    }
    notes
}

fn percent(estimate: Option<Estimate>) -> String {
    let show = |e: Estimate| format!("{:.1}% [{:.1}, {:.1}]", 100.0 * e.value, 100.0 * e.low, 100.0 * e.high);
    estimate.map_or_else(|| "-".to_owned(), show)
}

fn fraction(estimate: Option<Estimate>) -> String {
    let show = |e: Estimate| format!("{:.3} [{:.3}, {:.3}]", e.value, e.low, e.high);
    estimate.map_or_else(|| "-".to_owned(), show)
}

fn points(estimate: &Estimate) -> String {
    // Adding zero turns a negative zero into a positive one.
    let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(|v| (1000.0 * v).round() / 10.0 + 0.0);
    match estimate.method {
        Method::Undetermined => format!("{value:+.1} [undetermined]"),
        _ => format!("{value:+.1} [{low:+.1}, {high:+.1}]"),
    }
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// Columns two spaces apart, all but the last padded.
fn align(lines: &[Vec<String>]) -> String {
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
                arm    exact match         label likelihood    valid label         macro-F1              tokens/s  seconds
                base   7.5% [0.0, 16.2]    65.0% [57.3, 72.7]  7.5% [0.0, 16.2]    0.138 [0.034, 0.256]  -         12.3
                tuned  90.0% [81.1, 98.9]  65.0% [57.3, 72.7]  90.0% [81.1, 98.9]  0.942 [0.890, 0.983]  1234      12.3

                paired differences on the same rows, in points, 95% intervals
                difference    metric            points                gains  regressions  p (Holm)  detectable
                tuned − base  exact match       +82.5 [+76.6, +88.4]  33     0            <0.001    ±7.0
                tuned − base  label likelihood  +0.0 [-32.4, +32.4]   0      0            1.000     -
                tuned − base  macro-F1          +80.3 [+71.3, +89.8]  -      -            -         -

                note: tokens/s counts prompt and answer tokens while answers are written
                note: p (Holm) is corrected for all comparisons of the table; detectable is the smallest true difference such a comparison finds four times out of five
            "#]],
        );
    }

    #[test]
    fn rows_that_could_not_be_scored_are_shown_and_free_text_has_no_label_columns() {
        let mut results = results();
        results.labels = None;
        results.groups = results.rows;
        results.comparisons.clear();
        results.arms[0].unscored = 2;
        results.arms[1].truncated = 3;
        check(
            &results,
            expect![[r#"
            held-out: 40 rows, 95% intervals
            arm    exact match         unscored  truncated  tokens/s  seconds
            base   7.5% [0.0, 16.2]    2         0          -         12.3
            tuned  90.0% [81.1, 98.9]  0         3          1234      12.3

            note: tokens/s counts prompt and answer tokens while answers are written
            note: base: 2 rows without an answer and 0 without usable likelihoods count as wrong
            note: tuned: 3 answers reached the token limit and count as wrong
        "#]],
        );
    }
}
