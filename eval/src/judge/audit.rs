//! The audit of a judge: labels that people gave without knowing the arm, how far the judge agrees with them, and whether the audit still holds.
//! Knows nothing about gates or corrections: it states facts and hands the numbers to whatever formula corrects with them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;

/// The version of the file format.
pub const VERSION: u32 = 1;

/// What people said about answers, and which judge it is to be compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The version of this format.
    pub version: u32,
    /// The model that judged.
    pub judge: String,
    /// The version of its prompt at the time.
    pub prompt_version: String,
    /// The labels.
    pub labels: Vec<HumanLabel>,
}

/// What a person said about one line of the sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HumanLabel {
    /// The id on the sheet, which does not tell the arm.
    pub id: String,
    /// The label, such as pass and fail, or left, right and tie.
    pub label: String,
}

/// Whether an audit speaks about the judge in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum AuditState {
    /// It does.
    Valid,
    /// There is none.
    Absent,
    /// It speaks about another prompt or model.
    Stale {
        /// What was audited: model and version of the prompt.
        audited: String,
        /// What judges now.
        in_use: String,
    },
}

/// How far a judge agrees with people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// The labels, sorted.
    pub categories: Vec<String>,
    /// Counts: rows are what people said, columns what the judge said.
    pub table: Vec<Vec<u64>>,
    /// Lines that people labelled and the judge gave no verdict on; they are in no figure.
    pub unjudged: usize,
    /// The share on which both agree; never reported without kappa.
    pub observed: f64,
    /// Cohen's kappa (1960); none when both always say the same one label, so that chance explains all.
    pub kappa: Option<f64>,
    /// The label that counts as positive.
    pub positive: String,
    /// The share of positives by people that the judge calls positive; none without any.
    pub sensitivity: Option<f64>,
    /// Positives by people.
    pub num_positive: usize,
    /// The share of negatives by people that the judge does not call positive; none without any.
    pub specificity: Option<f64>,
    /// Negatives by people.
    pub num_negative: usize,
}

/// What the correction of Rogan and Gladen (1978) is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRates {
    /// The share that the judge calls positive.
    pub share: f64,
    /// Rows behind that share.
    pub n: usize,
    /// The judge's sensitivity.
    pub sensitivity: f64,
    /// Rows behind the sensitivity.
    pub num_positive: usize,
    /// The judge's specificity.
    pub specificity: f64,
    /// Rows behind the specificity.
    pub num_negative: usize,
}

/// The rows of a judge, split by whether a person scored them: what the prediction-powered mean (Angelopoulos et al. 2023) is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelledSplit {
    /// Rows without a human score, for their clusters.
    pub unlabelled_ids: Vec<String>,
    /// The judge's scores of these rows.
    pub unlabelled: Vec<f64>,
    /// Rows with a human score, for their clusters.
    pub labelled_ids: Vec<String>,
    /// The judge's scores of these rows.
    pub labelled: Vec<f64>,
    /// The human scores of the same rows.
    pub labels: Vec<f64>,
    /// Rows with a human score that the judge gave none; they are in no figure.
    pub unjudged: usize,
}

impl Audit {
    /// Reads an audit.
    ///
    /// # Errors
    /// When it is not JSON of this format and version, has no label, or has an id twice.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let audit: Self = serde_json::from_str(text)?;
        if audit.version != VERSION {
            return Err(bad("its version is not one that this program reads", &audit.version.to_string()));
        }
        if audit.labels.is_empty() {
            return Err(bad("it has no labels", ""));
        }
        let mut ids = BTreeSet::new();
        match audit.labels.iter().find(|label| !ids.insert(label.id.as_str())) {
            Some(twice) => Err(bad("an id occurs twice", &twice.id)),
            None => Ok(audit),
        }
    }

    /// How far the judge agrees, given what it said about the lines of the sheet; none for a line without a verdict.
    ///
    /// # Errors
    /// When people labelled a line that the judge was not given, or nothing is `positive`.
    pub fn agreement(&self, judged: &BTreeMap<String, Option<String>>, positive: &str) -> Result<Agreement, Error> {
        let mut pairs = Vec::new();
        for HumanLabel { id, label } in &self.labels {
            let said = judged.get(id).ok_or_else(|| bad("the judge was not asked about an id", id))?;
            pairs.push((label.as_str(), said.as_deref()));
        }
        let categories: BTreeSet<&str> =
            pairs.iter().flat_map(|(human, judge)| [Some(*human), *judge]).flatten().collect();
        if !categories.contains(positive) {
            return Err(bad("nobody uses the positive label", positive));
        }
        let categories: Vec<&str> = categories.into_iter().collect();
        let mut table = vec![vec![0; categories.len()]; categories.len()];
        for (human, judge) in &pairs {
            let place = |label: &str| categories.binary_search(&label).ok();
            if let (Some(row), Some(column)) = (place(human), judge.and_then(place)) {
                table[row][column] += 1;
            }
        }
        let unjudged = pairs.iter().filter(|(_, judge)| judge.is_none()).count();
        if unjudged == pairs.len() {
            return Err(bad("the judge gave no verdict on any line", &self.judge));
        }
        Ok(agreement(&categories, table, unjudged, positive))
    }
}

impl AuditState {
    /// Whether `audit` speaks about `judge` with the prompt of `prompt_version`.
    pub fn of(audit: Option<&Audit>, judge: &str, prompt_version: &str) -> Self {
        match audit {
            None => Self::Absent,
            Some(audit) if audit.judge == judge && audit.prompt_version == prompt_version => Self::Valid,
            Some(audit) => Self::Stale {
                audited: format!("{} with prompt {}", audit.judge, audit.prompt_version),
                in_use: format!("{judge} with prompt {prompt_version}"),
            },
        }
    }

    /// Whether the validity gate of the judge may pass.
    pub fn holds(&self) -> bool {
        *self == Self::Valid
    }
}

impl Agreement {
    /// What `correct`, such as the formula of Rogan and Gladen, makes of the share that the judge calls positive in `n` rows;
    /// none when people gave no positive or no negative label.
    pub fn corrected<T>(&self, share: f64, n: usize, correct: impl FnOnce(ErrorRates) -> T) -> Option<T> {
        let (sensitivity, specificity) = (self.sensitivity?, self.specificity?);
        let (num_positive, num_negative) = (self.num_positive, self.num_negative);
        Some(correct(ErrorRates { share, n, sensitivity, num_positive, specificity, num_negative }))
    }
}

impl LabelledSplit {
    /// Splits the judge's scores of all rows by whether a person scored the row as well; scores may be paired differences.
    ///
    /// # Errors
    /// When a person scored a row that is not among those of the judge.
    pub fn new(judged: &BTreeMap<String, Option<f64>>, human: &BTreeMap<String, f64>) -> Result<Self, Error> {
        if let Some(id) = human.keys().find(|id| !judged.contains_key(*id)) {
            return Err(bad("the judge was not asked about an id", id));
        }
        let mut split = Self::default();
        for (id, score) in judged {
            match (human.get(id), score) {
                (Some(label), Some(score)) => {
                    split.labelled_ids.push(id.clone());
                    split.labelled.push(*score);
                    split.labels.push(*label);
                }
                (Some(_), None) => split.unjudged += 1,
                (None, Some(score)) => {
                    split.unlabelled_ids.push(id.clone());
                    split.unlabelled.push(*score);
                }
                (None, None) => {}
            }
        }
        Ok(split)
    }
}

/// The id of one answer on a sheet for people: it tells neither arm nor row.
pub fn blind_id(seed: u64, arm: &str, row: &str) -> String {
    digest(seed, "id", &[arm, row])[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the candidate stands on the left for people who compare a pair; drawn from the seed, so that the sheet can be undone.
pub fn candidate_is_left(seed: u64, row: &str) -> bool {
    digest(seed, "side", &[row])[0].is_multiple_of(2)
}

/// The `n` rows whose turn it is to be labelled, a random choice that only the seed decides, in the order of the sheet.
pub fn sample<'a>(seed: u64, rows: impl IntoIterator<Item = &'a str>, n: usize) -> Vec<&'a str> {
    let mut rows: Vec<&str> = rows.into_iter().collect();
    rows.sort_by_key(|row| digest(seed, "sample", &[row]));
    rows.truncate(n);
    rows
}

fn agreement(categories: &[&str], table: Vec<Vec<u64>>, unjudged: usize, positive: &str) -> Agreement {
    let size = categories.len();
    let rows: Vec<u64> = table.iter().map(|row| row.iter().sum()).collect();
    let columns: Vec<u64> = (0..size).map(|at| table.iter().map(|row| row[at]).sum()).collect();
    let total = rows.iter().sum::<u64>() as f64;
    let observed = (0..size).map(|at| table[at][at]).sum::<u64>() as f64 / total;
    let chance =
        rows.iter().zip(&columns).map(|(&row, &column)| row as f64 * column as f64).sum::<f64>() / (total * total);
    let place = categories.iter().position(|label| *label == positive).unwrap_or(size);
    let both = table.get(place).map_or(0, |row| row[place]);
    let (num_positive, called) = (rows.get(place).copied().unwrap_or(0), columns.get(place).copied().unwrap_or(0));
    let num_negative = rows.iter().sum::<u64>() - num_positive;
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    Agreement {
        categories: categories.iter().map(|&label| label.to_owned()).collect(),
        unjudged,
        observed,
        kappa: (chance < 1.0).then(|| (observed - chance) / (1.0 - chance)),
        positive: positive.to_owned(),
        sensitivity: share(both, num_positive),
        num_positive: num_positive as usize,
        specificity: share(num_negative - (called - both), num_negative),
        num_negative: num_negative as usize,
        table,
    }
}

fn digest(seed: u64, purpose: &str, parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(seed.to_le_bytes());
    for part in [purpose].iter().chain(parts) {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().into()
}

fn bad(problem: &'static str, id: &str) -> Error {
    Error::BadAudit { problem, id: id.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn audit(labels: &[&str]) -> Audit {
        let labels =
            labels.iter().enumerate().map(|(at, label)| HumanLabel { id: at.to_string(), label: (*label).to_owned() });
        Audit { version: VERSION, judge: "j".to_owned(), prompt_version: "v1".to_owned(), labels: labels.collect() }
    }

    fn said(labels: &[Option<&str>]) -> BTreeMap<String, Option<String>> {
        labels.iter().enumerate().map(|(at, label)| (at.to_string(), label.map(str::to_owned))).collect()
    }

    // `kappa` in oracles/reference_values.json: [[45, 5], [10, 40]] gives 0.7.
    #[test]
    fn agreement_has_the_values_of_the_table() {
        let (mut human, mut judge) = (Vec::new(), Vec::new());
        for (label, verdict, times) in
            [("pass", "pass", 45), ("pass", "fail", 5), ("fail", "pass", 10), ("fail", "fail", 40)]
        {
            human.extend(vec![label; times]);
            judge.extend(vec![Some(verdict); times]);
        }
        human.push("pass");
        judge.push(None);
        let found = audit(&human).agreement(&said(&judge), "pass").unwrap();
        assert!((found.kappa.unwrap() - 0.7).abs() < 1e-12);
        assert_eq!((found.sensitivity, found.specificity), (Some(0.9), Some(0.8)));
        assert_eq!((found.num_positive, found.num_negative, found.unjudged), (50, 50, 1));
        assert_eq!(found.table, [[40, 10], [5, 45]]);
        let rates = found.corrected(0.82, 500, |rates| rates).unwrap();
        assert_eq!((rates.share, rates.n, rates.num_positive), (0.82, 500, 50));
    }

    #[test]
    fn people_who_always_say_the_same_leave_nothing_to_correct_with() {
        let found = audit(&["pass", "pass"]).agreement(&said(&[Some("pass"), Some("pass")]), "pass").unwrap();
        assert_eq!((found.observed, found.kappa, found.specificity), (1.0, None, None));
        assert_eq!(found.corrected(0.5, 10, |_| ()), None);
    }

    #[test]
    fn an_audit_of_another_prompt_or_model_or_none_does_not_hold() {
        let audit = audit(&["pass"]);
        assert!(AuditState::of(Some(&audit), "j", "v1").holds());
        assert!(!AuditState::of(Some(&audit), "j", "v2").holds() && !AuditState::of(Some(&audit), "k", "v1").holds());
        assert_eq!(AuditState::of(None, "j", "v1"), AuditState::Absent);
    }

    #[test]
    fn an_audit_that_does_not_fit_is_refused() {
        let text = serde_json::to_string(&audit(&["pass", "fail"])).unwrap();
        assert_eq!(Audit::from_json(&text).unwrap(), audit(&["pass", "fail"]));
        for (from, to, expect) in [
            ("\"version\":1", "\"version\":2", "version"),
            ("\"id\":\"1\"", "\"id\":\"0\"", "an id occurs twice: \"0\""),
            ("\"judge\"", "\"judges\"", "cannot be read"),
        ] {
            let error = Audit::from_json(&text.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
        let error = audit(&["pass", "fail"]).agreement(&said(&[Some("pass")]), "pass").unwrap_err().to_string();
        assert!(error.starts_with("audit: the judge was not asked about an id: \"1\""), "{error}");
        assert!(audit(&["pass"]).agreement(&said(&[Some("pass")]), "good").is_err());
        assert!(audit(&["pass"]).agreement(&said(&[None]), "pass").is_err());
    }

    #[test]
    fn labelled_rows_are_kept_apart_from_the_rest() {
        let judged =
            BTreeMap::from([("a".into(), Some(1.0)), ("b".into(), Some(0.5)), ("c".into(), None), ("d".into(), None)]);
        let split = LabelledSplit::new(&judged, &BTreeMap::from([("b".into(), 0.0), ("c".into(), 1.0)])).unwrap();
        let expect = LabelledSplit {
            unlabelled_ids: vec!["a".to_owned()],
            unlabelled: vec![1.0],
            labelled_ids: vec!["b".to_owned()],
            labelled: vec![0.5],
            labels: vec![0.0],
            unjudged: 1,
        };
        assert_eq!(split, expect);
        assert!(LabelledSplit::new(&judged, &BTreeMap::from([("x".into(), 0.0)])).is_err());
    }

    #[test]
    fn a_sheet_is_blind_and_can_be_made_again() {
        let rows: Vec<String> = (0..400).map(|at| format!("r{at}")).collect();
        let left = rows.iter().filter(|row| candidate_is_left(7, row)).count();
        assert!((150..250).contains(&left), "{left}");
        let chosen = sample(7, rows.iter().map(String::as_str), 20);
        assert_eq!(chosen, sample(7, rows.iter().rev().map(String::as_str), 20));
        assert_ne!(chosen, sample(8, rows.iter().map(String::as_str), 20));
        assert_ne!(blind_id(7, "tuned", "r1"), blind_id(7, "frontier", "r1"));
        assert_eq!(blind_id(7, "tuned", "r1").len(), 16);
    }
}
