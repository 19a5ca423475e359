//! The held-out rows of one evaluation, checked once: what is asked, what is right, which rows belong together.
//! Knows nothing about models or scores.

use std::collections::{BTreeMap, HashMap, HashSet};

use datasets::Record;

use crate::results::ResultRow;
use crate::scorer::label::normalise;
use crate::stats::Clusters;
use crate::{Error, Message, reasoning};

/// One held-out row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Unique among the rows.
    pub id: String,
    /// The document or owner that clustered errors use; none means that the row stands alone.
    pub group: Option<String>,
    /// What a model is asked, without the answer.
    pub prompt: Vec<Message>,
    /// What the cheap baselines read: the bare input, without the instructions that all rows share.
    pub text: String,
    /// The right answer.
    pub target: String,
    /// Further answers that are as right.
    pub others: Vec<String>,
    /// Numbers known before the answer, along which a break point may be sought, such as `input_tokens`.
    pub covariates: BTreeMap<String, f64>,
    /// Parts of the set this row belongs to, by the name of the division.
    pub slices: BTreeMap<String, String>,
}

impl Row {
    /// A row as models are asked it; the baselines read the prompt without its system turns, and reasoning before the
    /// answer is no part of what is right.
    pub fn from_record(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            group: Some(record.group.clone()),
            prompt: record.prompt().to_vec(),
            text: record.prompt_text(),
            target: reasoning::content(record.target()).to_owned(),
            ..Self::default()
        }
    }
}

/// Rows that passed every check.
#[derive(Clone, Debug)]
pub struct HeldOut {
    rows: Vec<Row>,
    labels: Option<Vec<String>>,
    clusters: Clusters,
    group_name: Option<String>,
}

impl HeldOut {
    /// Checks the rows: at least one, unique ids, prompts that ask something, and targets among the closed labels if there are labels.
    ///
    /// # Errors
    /// The first row or label that breaks a rule.
    pub fn new(rows: Vec<Row>, labels: Option<Vec<String>>) -> Result<Self, Error> {
        check(rows.iter().map(|row| (row.id.as_str(), row.target.as_str())), labels.as_deref())?;
        if let Some(row) = rows.iter().find(|row| row.prompt.is_empty()) {
            return Err(Error::BadRow { id: row.id.clone(), problem: "the prompt has no messages" });
        }
        let clusters = Clusters::new(rows.iter().map(|row| row.group.as_deref()));
        Ok(Self { rows, labels, clusters, group_name: None })
    }

    /// Says in reports what a group is, in the plural: "owners", "documents".
    #[must_use]
    pub fn grouped_by(mut self, name: impl Into<String>) -> Self {
        self.group_name = Some(name.into());
        self
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The closed labels, or nothing for free text.
    pub fn labels(&self) -> Option<&[String]> {
        self.labels.as_deref()
    }

    /// Which rows belong together.
    pub fn clusters(&self) -> &Clusters {
        &self.clusters
    }

    /// SHA-256 of what is held out: the rows in their order, each with its group and what is right, and the labels.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn sha256(&self) -> Result<String, Error> {
        let rows = self.rows.iter().map(|row| (row.id.as_str(), row.group.as_deref(), row.target.as_str()));
        sha256_of(rows.collect(), self.labels())
    }

    /// What a group is.
    pub fn group_name(&self) -> Option<&str> {
        self.group_name.as_deref()
    }
}

/// The same for rows as results keep them.
pub(crate) fn sha256_of_rows(rows: &[ResultRow], labels: Option<&[String]>) -> Result<String, Error> {
    let rows = rows.iter().map(|row| (row.id.as_str(), row.group.as_deref(), row.target.as_str()));
    sha256_of(rows.collect(), labels)
}

fn sha256_of(rows: Vec<(&str, Option<&str>, &str)>, labels: Option<&[String]>) -> Result<String, Error> {
    Ok(datasets::digest::sha256_hex(&serde_json::to_vec(&(rows, labels))?))
}

/// The same rules for rows as results keep them, which is without their prompts.
pub(crate) fn check_rows(rows: &[ResultRow], labels: Option<&[String]>) -> Result<(), Error> {
    check(rows.iter().map(|row| (row.id.as_str(), row.target.as_str())), labels)
}

/// Ids and targets of rows: at least one, unique, not empty, and among the closed labels if there are labels.
fn check<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>, labels: Option<&[String]>) -> Result<(), Error> {
    labels.map_or(Ok(()), check_labels)?;
    let known: Option<HashSet<&str>> = labels.map(|labels| labels.iter().map(String::as_str).collect());
    let mut ids = HashSet::new();
    for (id, target) in rows {
        if !ids.insert(id) {
            return Err(Error::DuplicateId { id: id.to_owned() });
        }
        if target.trim().is_empty() {
            return Err(Error::BadRow { id: id.to_owned(), problem: "the target is empty" });
        }
        if known.as_ref().is_some_and(|known| !known.contains(target)) {
            return Err(Error::UnknownTarget { id: id.to_owned(), target: target.to_owned() });
        }
    }
    if ids.is_empty() { Err(Error::NoRows) } else { Ok(()) }
}

fn check_labels(labels: &[String]) -> Result<(), Error> {
    if labels.is_empty() {
        return Err(Error::NoLabels);
    }
    let mut known: HashMap<String, &String> = HashMap::new();
    for label in labels {
        if let Some(first) = known.insert(normalise(label), label) {
            return Err(Error::DuplicateLabel { first: first.clone(), second: label.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Role;

    fn row(id: &str, target: &str) -> Row {
        Row {
            id: id.to_owned(),
            group: None,
            prompt: vec![Message::new(Role::User, "which clause is this?")],
            text: String::new(),
            target: target.to_owned(),
            ..Row::default()
        }
    }

    fn check(rows: &[Row], labels: Option<&[&str]>, expect: &str) {
        let labels = labels.map(|labels| labels.iter().map(|&label| label.to_owned()).collect());
        let message = HeldOut::new(rows.to_vec(), labels).unwrap_err().to_string();
        assert!(message.starts_with(expect), "{message}");
    }

    #[test]
    fn rows_that_cannot_be_scored_fairly_are_refused_before_the_run() {
        check(&[], None, "no held-out rows");
        check(&[row("a", "x"), row("a", "x")], None, "row id \"a\" occurs more than once");
        check(&[row("a", " ")], None, "row \"a\": the target is empty");
        check(&[Row { prompt: vec![], ..row("a", "x") }], None, "row \"a\": the prompt has no messages");
        check(&[row("a", "x")], Some(&["y"]), "row \"a\": the target \"x\" is not one of the labels");
        check(&[row("a", "x")], Some(&[]), "the closed set of labels is empty");
        check(&[row("a", "x")], Some(&["x", "X."]), "labels \"x\" and \"X.\" are the same");
    }

    #[test]
    fn every_part_of_what_is_held_out_is_in_its_hash() {
        let labels = |labels: &[&str]| Some(labels.iter().map(|&label| label.to_owned()).collect());
        let grouped = |id: &str| Row { group: Some("g".to_owned()), ..row(id, "x") };
        let whole = HeldOut::new(vec![row("a", "x"), row("b", "y")], None).unwrap();
        let others = [
            HeldOut::new(vec![row("b", "y"), row("a", "x")], None),
            HeldOut::new(vec![row("a", "x")], None),
            HeldOut::new(vec![row("a", "x"), row("b", "x")], None),
            HeldOut::new(vec![grouped("a"), row("b", "y")], None),
            HeldOut::new(vec![row("a", "x"), row("b", "y")], labels(&["x", "y"])),
            HeldOut::new(vec![row("a", "x"), row("b", "y")], labels(&["x", "y", "z"])),
        ];
        let mut seen: HashSet<String> = others.into_iter().map(|other| other.unwrap().sha256().unwrap()).collect();
        assert!(seen.insert(whole.sha256().unwrap()) && seen.len() == 7);
        let results: Vec<ResultRow> = whole.rows().iter().map(ResultRow::from).collect();
        assert_eq!(sha256_of_rows(&results, None).unwrap(), whole.sha256().unwrap());
    }

    #[test]
    fn a_record_becomes_a_row_and_system_turns_are_not_read_by_baselines() {
        let messages = vec![
            Message::new(Role::System, "name the clause"),
            Message::new(Role::User, "you may not sell it"),
            Message::new(Role::Assistant, "restrictions"),
        ];
        let record = Record::new("a".into(), messages, "owner".into(), Default::default()).unwrap();
        let row = Row::from_record(&record);
        assert_eq!((row.prompt.len(), row.text.as_str()), (2, "you may not sell it"));
        assert_eq!((row.target.as_str(), row.group.as_deref()), ("restrictions", Some("owner")));
    }
}
