//! Targets against answers of a closed set of labels, as the cells that are not zero: there are at most as many as rows,
//! however many labels there are.
//! Knows nothing about texts: it reads the label that the label scorer found in each answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq as _, SerializeStruct as _, Serializer};

use crate::Outcome;

/// How often each target was answered with each label, in the first answer of each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// The labels that are a target or an answer, in the order of the closed labels; in a [`Form::Square`] all of them.
    pub labels: Vec<String>,
    /// Target and answer, as places in `labels`, and how often; in order, and none of them zero.
    pub cells: Vec<(usize, usize, usize)>,
    /// For each label, the rows of this target whose answer is none of the labels, unscored rows included.
    pub unparsed: Vec<usize>,
    form: Form,
}

/// How a file holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `cells`: what this program writes.
    Cells,
    /// `counts[target][answer]` over all closed labels: what it wrote up to version 2 of the results.
    Square,
}

impl Confusion {
    /// Counts outcomes whose targets are all in `labels`; none when one is not, or when nothing read labels.
    pub fn count(outcomes: &[Outcome], targets: &[String], labels: &[String]) -> Option<Self> {
        let index: HashMap<&str, usize> = labels.iter().enumerate().map(|(at, label)| (label.as_str(), at)).collect();
        let mut counts: BTreeMap<(usize, Option<usize>), usize> = BTreeMap::new();
        for (outcome, target) in outcomes.iter().zip(targets) {
            let target = *index.get(target.as_str())?;
            let answer = outcome.scored("label")?.label.as_deref().and_then(|label| index.get(label).copied());
            *counts.entry((target, answer)).or_default() += 1;
        }
        let occurring: BTreeSet<usize> =
            counts.keys().flat_map(|&(target, answer)| [Some(target), answer]).flatten().collect();
        let place: HashMap<usize, usize> = occurring.iter().enumerate().map(|(place, &label)| (label, place)).collect();
        let mut found = Self {
            labels: occurring.iter().map(|&label| labels[label].clone()).collect(),
            cells: Vec::new(),
            unparsed: vec![0; occurring.len()],
            form: Form::Cells,
        };
        for ((target, answer), count) in counts {
            match answer {
                Some(answer) => found.cells.push((place[&target], place[&answer], count)),
                None => found.unparsed[place[&target]] += count,
            }
        }
        Some(found)
    }

    /// How a file held it, or will.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The same as files held it up to version 2, over all closed labels.
    #[must_use]
    pub(crate) fn square(&self, labels: &[String]) -> Self {
        let index: HashMap<&str, usize> = labels.iter().enumerate().map(|(at, label)| (label.as_str(), at)).collect();
        let place: Vec<usize> = self.labels.iter().filter_map(|label| index.get(label.as_str()).copied()).collect();
        let mut unparsed = vec![0; labels.len()];
        place.iter().zip(&self.unparsed).for_each(|(&at, &count)| unparsed[at] = count);
        let cells = self.cells.iter().map(|&(target, answer, count)| (place[target], place[answer], count));
        Self { labels: labels.to_vec(), cells: cells.collect(), unparsed, form: Form::Square }
    }

    /// The same as this program writes it, with the labels that occur.
    #[must_use]
    pub(crate) fn compact(&self) -> Self {
        let of_cells = self.cells.iter().flat_map(|&(target, answer, _)| [target, answer]);
        let unread = self.unparsed.iter().enumerate().filter(|&(_, &count)| count > 0).map(|(at, _)| at);
        let occurring: BTreeSet<usize> = of_cells.chain(unread).collect();
        let place: HashMap<usize, usize> = occurring.iter().enumerate().map(|(place, &at)| (at, place)).collect();
        Self {
            labels: occurring.iter().map(|&at| self.labels[at].clone()).collect(),
            cells: self.cells.iter().map(|&(target, answer, count)| (place[&target], place[&answer], count)).collect(),
            unparsed: occurring.iter().map(|&at| self.unparsed[at]).collect(),
            form: Form::Cells,
        }
    }

    /// What it says, whatever its form, in a size that does not grow with the square of the labels.
    pub(crate) fn facts(&self) -> serde_json::Value {
        serde_json::json!({ "labels": self.labels, "cells": self.cells, "unparsed": self.unparsed })
    }
}

impl Serialize for Confusion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Confusion", 3)?;
        object.serialize_field("labels", &self.labels)?;
        match self.form {
            Form::Cells => object.serialize_field("cells", &self.cells)?,
            Form::Square => object.serialize_field("counts", &Rows(self))?,
        }
        object.serialize_field("unparsed", &self.unparsed)?;
        object.end()
    }
}

/// The square, row by row: no more than one row of it is ever in memory.
struct Rows<'a>(&'a Confusion);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0.labels.len()))?;
        let mut row = vec![0; self.0.labels.len()];
        let mut cells = self.0.cells.iter().peekable();
        for target in 0..self.0.labels.len() {
            row.fill(0);
            while let Some(&(_, answer, count)) = cells.next_if(|cell| cell.0 == target) {
                row[answer] = count;
            }
            rows.serialize_element(&row)?;
        }
        rows.end()
    }
}

impl<'de> Deserialize<'de> for Confusion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            labels: Vec<String>,
            cells: Option<Vec<(usize, usize, usize)>>,
            counts: Option<Square>,
            unparsed: Vec<usize>,
        }
        let written = Written::deserialize(deserializer)?;
        let num_labels = written.labels.len();
        let (cells, form) = match (written.cells, written.counts) {
            (Some(cells), None) => (cells, Form::Cells),
            (None, Some(square))
                if square.rows == num_labels && square.width.is_none_or(|width| width == num_labels) =>
            {
                (square.cells, Form::Square)
            }
            (None, Some(_)) => {
                return Err(de::Error::custom("the counts of a confusion table are no square of its labels"));
            }
            _ => return Err(de::Error::custom("a confusion table has either cells or counts")),
        };
        let ordered = cells.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1));
        if !ordered || cells.iter().any(|&(target, answer, count)| target.max(answer) >= num_labels || count == 0) {
            return Err(de::Error::custom("the cells of a confusion table are not in order, or name no label"));
        }
        if written.unparsed.len() != num_labels {
            return Err(de::Error::custom("a confusion table has not as many unread answers as labels"));
        }
        Ok(Self { labels: written.labels, cells, unparsed: written.unparsed, form })
    }
}

/// The cells of a square that are not zero, so that reading takes no more memory than they do.
#[derive(Default)]
struct Square {
    rows: usize,
    width: Option<usize>,
    cells: Vec<(usize, usize, usize)>,
}

impl<'de> Deserialize<'de> for Square {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SquareVisitor)
    }
}

struct SquareVisitor;

impl<'de> Visitor<'de> for SquareVisitor {
    type Value = Square;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("rows of counts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Square, A::Error> {
        let mut square = Square::default();
        while let Some(width) = access.next_element_seed(Row { target: square.rows, cells: &mut square.cells })? {
            if *square.width.get_or_insert(width) != width {
                return Err(de::Error::custom("the rows of a confusion table differ in length"));
            }
            square.rows += 1;
        }
        Ok(square)
    }
}

struct Row<'a> {
    target: usize,
    cells: &'a mut Vec<(usize, usize, usize)>,
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a row of counts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<usize, A::Error> {
        let mut answer = 0;
        while let Some(count) = access.next_element::<usize>()? {
            if count > 0 {
                self.cells.push((self.target, answer, count));
            }
            answer += 1;
        }
        Ok(answer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::metric::tests::{oracle, outcomes};

    // The matrix `cm` of `classif` in oracles/statistics.json; its last column is the answers that are no label.
    #[test]
    fn confusion_counts_equal_scikit_learn() {
        let labels = ["neg", "neu", "pos"].map(str::to_owned);
        let (outcomes, targets) = oracle();
        let found = Confusion::count(&outcomes, &targets, &labels).unwrap();
        let text = serde_json::to_value(found.square(&labels)).unwrap();
        assert_eq!(text["counts"], serde_json::json!([[2, 1, 0], [1, 1, 0], [1, 0, 3]]));
        assert_eq!(found.unparsed, [1, 0, 0]);
        assert_eq!(Confusion::count(&outcomes, &targets, &[]), None);
    }

    #[test]
    fn only_labels_that_occur_are_kept_and_both_forms_are_read_as_they_were_written() {
        let labels: Vec<String> = (0..50_000).map(|label| format!("l{label}")).collect();
        let (outcomes, targets) = outcomes(&[("l7", Some("l40000")), ("l7", Some("l7")), ("l9", None)]);
        let found = Confusion::count(&outcomes, &targets, &labels).unwrap();
        assert_eq!(found.labels, ["l7", "l9", "l40000"]);
        assert_eq!((found.cells.as_slice(), found.unparsed.as_slice()), (&[(0, 0, 1), (0, 2, 1)][..], &[0, 1, 0][..]));
        let few = &labels[..10];
        let (outcomes, targets) = self::outcomes(&[("l7", Some("l7")), ("l9", None)]);
        let square = Confusion::count(&outcomes, &targets, few).unwrap().square(few);
        for confusion in [found, square.clone()] {
            let text = serde_json::to_string(&confusion).unwrap();
            assert_eq!(serde_json::from_str::<Confusion>(&text).unwrap(), confusion);
        }
        assert_eq!(square.compact(), Confusion::count(&outcomes, &targets, few).unwrap());
        assert_eq!(square.compact().square(few), square);
    }

    #[test]
    fn tables_that_do_not_fit_their_labels_are_refused() {
        for text in [
            r#"{"labels":["a"],"unparsed":[0]}"#,
            r#"{"labels":["a"],"cells":[],"counts":[[0]],"unparsed":[0]}"#,
            r#"{"labels":["a"],"cells":[[0,1,1]],"unparsed":[0]}"#,
            r#"{"labels":["a"],"cells":[[0,0,0]],"unparsed":[0]}"#,
            r#"{"labels":["a","b"],"cells":[[1,0,1],[0,0,1]],"unparsed":[0,0]}"#,
            r#"{"labels":["a","b"],"counts":[[0,1]],"unparsed":[0,0]}"#,
            r#"{"labels":["a","b"],"counts":[[0,1],[0]],"unparsed":[0,0]}"#,
            r#"{"labels":["a"],"cells":[],"unparsed":[0,0]}"#,
        ] {
            assert!(serde_json::from_str::<Confusion>(text).is_err(), "{text}");
        }
    }
}
