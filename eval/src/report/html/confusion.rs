//! What was taken for what: a matrix as long as it can be read, else the pairs that were confused most often.
//! Knows nothing about markup. What is not shown is counted in the note.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::Grid;
use crate::metric::Confusion;
use crate::{ArmResult, Results};

/// Labels of a matrix that a person can still read.
const MOST_LABELS: usize = 40;
/// Lines of a list of pairs.
const MOST_PAIRS: usize = 50;

/// The tables of the arms that are compared.
pub(super) fn of(results: &Results, arms: [Option<&ArmResult>; 2]) -> Vec<Value> {
    let closed = results.labels.as_deref().unwrap_or_default();
    let shown = |arm: &ArmResult| arm.confusion.as_ref().map(|confusion| table(&arm.name, confusion, closed));
    arms.into_iter().flatten().filter_map(shown).collect()
}

fn table(arm: &str, confusion: &Confusion, closed: &[String]) -> Value {
    let of_cells = confusion.cells.iter().flat_map(|&(target, answer, _)| [target, answer]);
    let unread = confusion.unparsed.iter().enumerate().filter(|&(_, &count)| count > 0).map(|(at, _)| at);
    let occurring: BTreeSet<usize> = of_cells.chain(unread).collect();
    if closed.len() <= MOST_LABELS {
        matrix(arm, confusion, closed)
    } else if occurring.len() <= MOST_LABELS {
        let labels: Vec<String> = occurring.iter().map(|&at| confusion.labels[at].clone()).collect();
        matrix(arm, confusion, &labels)
    } else {
        pairs(arm, confusion)
    }
    .left_out(closed.len(), occurring.len())
}

/// A table before it is said what it leaves out.
struct Shown {
    value: Value,
    labels: usize,
    note: String,
}

impl Shown {
    fn left_out(mut self, closed: usize, occurring: usize) -> Value {
        if self.labels < closed && occurring < closed {
            self.note.push_str(&format!(
                " Of {closed} labels, the {} that are neither a target nor an answer are left out.",
                closed - occurring
            ));
        }
        self.value["note"] = Value::from(self.note);
        self.value
    }
}

/// Each cell with its share of its row.
fn matrix(arm: &str, confusion: &Confusion, labels: &[String]) -> Shown {
    let place: HashMap<&str, usize> = labels.iter().enumerate().map(|(at, label)| (label.as_str(), at)).collect();
    let at = |label: usize| confusion.labels.get(label).and_then(|label| place.get(label.as_str()).copied());
    // One column more, for answers that are none of the labels.
    let mut counts = vec![vec![0_usize; labels.len() + 1]; labels.len()];
    for &(target, answer, count) in &confusion.cells {
        if let (Some(target), Some(answer)) = (at(target), at(answer)) {
            counts[target][answer] += count;
        }
    }
    for (label, &count) in confusion.unparsed.iter().enumerate() {
        if let Some(target) = at(label) {
            counts[target][labels.len()] += count;
        }
    }
    let lines = counts.iter().enumerate().map(|(target, row)| {
        let total = row.iter().sum::<usize>().max(1) as f64;
        let cell = |(column, &count): (usize, &usize)| {
            let kind = if column == target { "right" } else { "wrong" };
            json!({ "count": count, "share": (count as f64 / total * 100.0).round() / 100.0, "kind": kind })
        };
        json!({ "label": labels[target], "cells": row.iter().enumerate().map(cell).collect::<Vec<_>>() })
    });
    Shown {
        value: json!({ "arm": arm, "labels": labels, "lines": lines.collect::<Vec<_>>() }),
        labels: labels.len(),
        note: "Rows are what was wanted, columns what was answered; shading is the share of the row.".to_owned(),
    }
}

/// The pairs that were confused most often.
fn pairs(arm: &str, confusion: &Confusion) -> Shown {
    let wrong = confusion.cells.iter().filter(|(target, answer, _)| target != answer);
    let unread = confusion.unparsed.iter().enumerate().filter(|&(_, &count)| count > 0);
    let mut found: Vec<(usize, Option<usize>, usize)> = wrong
        .map(|&(target, answer, count)| (target, Some(answer), count))
        .chain(unread.map(|(target, &count)| (target, None, count)))
        .collect();
    // The sort is stable: of equally frequent pairs the first by their labels.
    found.sort_by_key(|&(_, _, count)| std::cmp::Reverse(count));
    let mut grid = Grid::new(["target", "answer", "rows"]);
    for &(target, answer, count) in found.iter().take(MOST_PAIRS) {
        let answer = answer.map_or("none of them", |answer| &confusion.labels[answer]);
        grid.lines.push(vec![confusion.labels[target].clone(), answer.to_owned(), count.to_string()]);
    }
    let note = match found.len().checked_sub(MOST_PAIRS) {
        Some(rest) if rest > 0 => {
            let rows: usize = found[MOST_PAIRS..].iter().map(|&(_, _, count)| count).sum();
            format!(
                "The {MOST_PAIRS} pairs that were confused most often; {rest} further pairs with {rows} rows are in results.json."
            )
        }
        _ => "Every pair that was confused; what was answered right is not shown.".to_owned(),
    };
    Shown { value: json!({ "arm": arm, "pairs": grid }), labels: 0, note }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::metric::tests::outcomes;

    fn shown(num_labels: usize, rows: &[(&str, Option<&str>)]) -> Value {
        let labels: Vec<String> = (0..num_labels).map(|label| format!("l{label}")).collect();
        let (outcomes, targets) = outcomes(rows);
        table("tuned", &Confusion::count(&outcomes, &targets, &labels).unwrap(), &labels)
    }

    #[test]
    fn few_labels_are_a_matrix_of_all_of_them() {
        let value = shown(3, &[("l0", Some("l1")), ("l0", Some("l0")), ("l2", None)]);
        assert_eq!(value["labels"].as_array().unwrap().len(), 3);
        assert_eq!(value["lines"][0]["cells"][1], json!({"count": 1, "share": 0.5, "kind": "wrong"}));
        assert_eq!(value["lines"][2]["cells"][3]["count"], 1);
        assert!(!value["note"].as_str().unwrap().contains("left out"));
    }

    #[test]
    fn of_many_labels_only_those_that_occur_are_shown_and_the_rest_is_counted() {
        let value = shown(10_000, &[("l0", Some("l7")), ("l9", None)]);
        assert_eq!(value["labels"], json!(["l0", "l7", "l9"]));
        assert!(value["note"].as_str().unwrap().contains("Of 10000 labels, the 9997"), "{value}");
    }

    #[test]
    fn of_many_pairs_the_most_frequent_are_listed_and_the_rest_is_counted() {
        let names: Vec<(String, String)> = (0..100).map(|at| (format!("l{at}"), format!("l{}", at + 1))).collect();
        let mut rows: Vec<(&str, Option<&str>)> =
            names.iter().map(|(target, answer)| (target.as_str(), Some(answer.as_str()))).collect();
        rows.push(("l70", Some("l71")));
        let value = shown(5_000, &rows);
        assert_eq!(value["pairs"]["lines"].as_array().unwrap().len(), MOST_PAIRS);
        assert_eq!(value["pairs"]["lines"][0], json!(["l70", "l71", "2"]));
        assert!(value["note"].as_str().unwrap().contains("50 further pairs with 50 rows"), "{value}");
    }
}
