//! Owns reading the rows that a config names, with its changes to the split and to what counts as a leak.
//! Knows no token; the `datasets` crate reads, divides and compares.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use datasets::manifest::Source as ManifestSource;
use datasets::prepare::{self, Prepared};
use datasets::{Folder, Record, Rule, Split, jsonl, overlap};
use eval::reasoning::content;

use super::is_asked;
use crate::config::Config;
use crate::config::plan::Source;
use crate::config::raw::RawData;

/// Rows that an error names.
const MOST_NAMED: usize = 5;
/// Signs of a target that an error repeats.
const SHOWN_SIGNS: usize = 60;

/// Rows in clean splits, with what is known about them.
#[derive(Debug, Clone)]
pub struct SourceRows {
    /// The name of the set, or of the file.
    pub name: String,
    /// Closed list of answers; empty if there is none.
    pub labels: Vec<String>,
    /// The JSON Schema of the answers, if there is one.
    pub schema: Option<serde_json::Value>,
    /// What a group is, in the plural.
    pub group_name: Option<String>,
    /// How repeats between the splits were looked for.
    pub overlap: overlap::Settings,
    /// SHA-256 of the files.
    pub sha256: String,
    /// The rows.
    pub prepared: Prepared,
}

/// Reads the rows of a config. `set` is the pulled set when the config names one.
pub fn read(config: &Config, set: Option<Folder>) -> Result<SourceRows> {
    let mut known = (None, None);
    let mut settings = overlap_of(&config.data, overlap::Settings::default());
    let (name, labels, prepared) = match (&config.source, set) {
        (Source::Set(_), Some(set)) => {
            settings = overlap_of(&config.data, set.manifest.overlap.clone());
            known = (set.manifest.schema_document.clone(), set.manifest.group_name.clone());
            of_set(&config.data, set)?
        }
        (Source::Set(name), None) => bail!("set {name} was not pulled\nhint: trainer pull {name}"),
        (Source::Files { train, valid, test }, _) => {
            let named =
                |path: &std::path::PathBuf| anyhow::Ok((path.display().to_string(), jsonl::read_counted(path)?));
            let rows = named(train)?;
            let prepared = match test {
                None => prepare::by_rule(&rows.0, rows.1, &rule_of(&config.data, Rule::default()), &settings)?,
                Some(test) => {
                    let valid = valid.as_ref().map(named).transpose()?;
                    let valid = valid.as_ref().map(|(name, rows)| (name.as_str(), rows.clone()));
                    let test = named(test)?;
                    prepare::from_parts((&rows.0, rows.1), valid, (&test.0, test.1), &settings)?
                }
            };
            let name = train.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, Vec::new(), prepared)
        }
    };
    let labels = config.eval.labels.clone().unwrap_or(labels);
    let (schema, group_name) = known;
    let sha256 = Folder::sha256(&prepared);
    Ok(SourceRows { name, labels, schema, group_name, overlap: settings, sha256, prepared })
}

impl SourceRows {
    /// Refuses rows to learn from, or to watch, whose target is none of the declared labels, as a held-out one is: what they
    /// teach is wrong by every scorer of labels.
    pub fn refuse_other_targets(&self) -> Result<()> {
        if self.labels.is_empty() {
            return Ok(());
        }
        let labels: HashSet<&str> = self.labels.iter().map(String::as_str).collect();
        let splits = &self.prepared.splits;
        for (split, rows) in [(Split::Train, &splits.train), (Split::Valid, &splits.valid)] {
            let other = |row: &&Record| is_asked(row) && !labels.contains(content(row.target()));
            let others: Vec<&Record> = rows.iter().filter(other).collect();
            if others.is_empty() {
                continue;
            }
            let named = |row: &&Record| format!("row \"{}\" with \"{}\"", row.id, short(content(row.target())));
            let named: Vec<String> = others.iter().take(MOST_NAMED).map(named).collect();
            bail!(
                "{} of {} {} rows have a target that is none of the {} labels: {}{}\n\
                 hint: correct the target, add it to eval.labels, leave eval.labels out for free-text targets, or write \
                 \"weight\": 0 into rows that are not learnt",
                others.len(),
                rows.len(),
                split.as_str(),
                labels.len(),
                named.join(", "),
                if others.len() > named.len() { ", …" } else { "" }
            );
        }
        Ok(())
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_SIGNS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn of_set(data: &RawData, mut set: Folder) -> Result<(String, Vec<String>, Prepared)> {
    let divided = matches!(&set.manifest.source, ManifestSource::Files(files) if files.rows.is_none());
    let changed = data.valid_fraction.is_some() || data.split_modulus.is_some() || data.split_remainder.is_some();
    if changed && divided {
        bail!(
            "data.valid_fraction, split_modulus and split_remainder cannot divide {}: it is divided already\n\
             hint: remove them from [data]",
            set.manifest.name
        );
    }
    if changed {
        set.manifest.split = Some(rule_of(data, set.manifest.split.clone().unwrap_or_default()));
    }
    set.manifest.overlap = overlap_of(data, set.manifest.overlap.clone());
    let prepared = set.prepare().with_context(|| format!("cannot read data set {}", set.manifest.name))?;
    Ok((set.manifest.name, set.manifest.labels, prepared))
}

fn rule_of(data: &RawData, rule: Rule) -> Rule {
    Rule {
        modulus: data.split_modulus.unwrap_or(rule.modulus),
        remainder: data.split_remainder.unwrap_or(rule.remainder),
        valid_fraction: data.valid_fraction.unwrap_or(rule.valid_fraction),
    }
}

fn overlap_of(data: &RawData, settings: overlap::Settings) -> overlap::Settings {
    overlap::Settings {
        near: data.near_duplicates.unwrap_or(settings.near),
        jaccard: data.jaccard.unwrap_or(settings.jaccard),
        cosine: data.cosine.unwrap_or(settings.cosine),
    }
}
