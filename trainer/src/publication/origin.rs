//! What an adapter was made from: the base model and the rows, their names, licences, and what must be said of them.
//! Owns finding them again by the run's config, and every word of the rows, so that it can be looked for.

use anyhow::Result;
use datasets::Record;
use serde_json::Value;

use super::fault::Fault;
use super::licences::{Licence, Work};
use super::scan::Texts;
use crate::config::Config;
use crate::config::plan::{Base, Source};
use crate::hub::is_repository;
use crate::model_source::ModelSource;
use crate::pull::{self, Cache};
use crate::terminal_lines::{PullLine, note};

/// Something that the adapter was made from.
pub struct Origin {
    /// Its name.
    pub name: String,
    /// Its name on the hub.
    pub hub: Option<String>,
    /// Its licence, and whether a person took it on.
    pub licence: Option<Licence>,
    /// What must be said wherever it goes.
    pub attribution: Option<String>,
}

/// What a person says about a publication.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// The base's name on the hub.
    pub base: Option<String>,
    /// The set's name on the hub.
    pub dataset: Option<String>,
    /// Languages of the rows, as ISO 639 codes.
    pub languages: Vec<String>,
    /// Licences that were taken on.
    pub accepted: Vec<String>,
}

impl Said {
    /// What was said and cannot be.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for set in self.dataset.iter().filter(|set| !is_repository(set)) {
            faults.push(Fault::new(
                format!("--dataset {set}"),
                "is no name of a set on the hub",
                "--dataset OWNER/NAME",
            ));
        }
        let code = |word: &str| matches!(word.len(), 2 | 3) && word.bytes().all(|byte| byte.is_ascii_lowercase());
        for word in self.languages.iter().filter(|word| !code(word)) {
            let hint = "two or three letters of ISO 639, such as en or deu";
            faults.push(Fault::new(format!("--language {word}"), "is no code of a language", hint));
        }
        faults
    }
}

/// Licences that do not allow to publish, and accepted ones that nothing has.
pub fn licence_faults(origins: &[&Origin], said: &Said) -> Vec<Fault> {
    let licences: Vec<&Licence> = origins.iter().filter_map(|origin| origin.licence.as_ref()).collect();
    let unmet = licences.iter().filter_map(|licence| licence.fault());
    unmet.chain(said.accepted.iter().filter_map(|accepted| nobodys(accepted, &licences))).collect()
}

/// A licence that was accepted and that nothing here has: most likely a misspelt one.
fn nobodys(accepted: &str, licences: &[&Licence]) -> Option<Fault> {
    if licences.iter().any(|licence| licence.licence.eq_ignore_ascii_case(accepted)) {
        return None;
    }
    let names: Vec<String> = licences.iter().map(|licence| format!("\"{}\"", licence.licence)).collect();
    let what = "nothing that the adapter was made from has this licence";
    Some(Fault::new(format!("--accept-licence {accepted}"), what, format!("the licences are {}", names.join(", "))))
}

/// The base of a run.
pub fn base(config: &Config, name: String, said: &Said, faults: &mut Vec<Fault>) -> Result<Origin> {
    let mut origin = Origin { name, hub: said.base.clone(), licence: None, attribution: None };
    let stated = match &config.base {
        Base::Name(name) => match ModelSource::find(name, &config.roots.configs)? {
            Some(source) => {
                let repo = source.sources.iter().find_map(|source| match source {
                    pull::Source::Hub { repo, .. } => Some(repo.clone()),
                    _ => None,
                });
                origin.hub = origin.hub.or(repo);
                origin.name = source.name;
                origin.attribution = Some(source.attribution);
                Some(source.licence)
            }
            None => None,
        },
        // A folder that is gone or no checkpoint any more says nothing about its licence.
        Base::Path(path) => model::Checkpoint::open(path).ok().and_then(|checkpoint| {
            origin.hub = origin.hub.take().or_else(|| Some(checkpoint.name()).filter(|name| is_repository(name)));
            checkpoint.licence()
        }),
    };
    if origin.hub.as_deref().is_none_or(|hub| !is_repository(hub)) {
        faults.push(Fault::new(
            format!("base model {}", origin.name),
            "has no name on the hub, so nobody else could find what the adapter belongs to",
            "add  --base OWNER/NAME  of the very model it was trained on",
        ));
    }
    origin.licence = Some(Licence::new(Work::Base, &origin.name, stated.as_deref(), &said.accepted));
    Ok(origin)
}

/// Where the rows came from, what they ask, and every word of them.
pub fn data(
    config: &Config,
    summary: &Value,
    said: &Said,
    texts: &mut Texts,
    faults: &mut Vec<Fault>,
) -> Result<(Origin, Option<String>)> {
    let name = summary["data"]["name"].as_str().unwrap_or_default().to_owned();
    let mut origin = Origin { name: name.clone(), hub: said.dataset.clone(), licence: None, attribution: None };
    let mut task = None;
    let folder = match &config.source {
        Source::Files { .. } => Ok(None),
        Source::Set(set) => {
            let mut line = PullLine::new();
            let mut watch = |progress: &pull::Progress| line.show(progress);
            let cache = Cache::open()?;
            pull::dataset(set, &config.roots.datasets, &cache, &mut |text| note(text), &mut watch)
                .map(|set| Some(set.folder))
        }
    };
    if let Ok(Some(folder)) = &folder {
        let manifest = &folder.manifest;
        origin.licence = Some(Licence::new(Work::Data, &manifest.name, Some(&manifest.licence), &said.accepted));
        origin.attribution = Some(manifest.attribution.trim().to_owned());
        task = Some(manifest.description.clone());
    }
    let hint = "put them back where the run found them: what nobody can look for, nobody can promise to have left out";
    let read = folder.and_then(|folder| crate::data::read(config, folder));
    match read {
        Err(error) => {
            let what = format!("its rows cannot be read ({})", format!("{error:#}").lines().next().unwrap_or_default());
            faults.push(Fault::new(format!("data {name}"), what, hint));
        }
        Ok(rows) if Some(rows.sha256.as_str()) != summary["data"]["sha256"].as_str() => {
            faults.push(Fault::new(format!("data {name}"), "its rows are not those that the run learnt from", hint));
        }
        Ok(rows) => {
            let splits = &rows.prepared.splits;
            for (split, records) in
                [("training", &splits.train), ("validation", &splits.valid), ("held-out", &splits.test)]
            {
                records
                    .iter()
                    .enumerate()
                    .for_each(|(at, record)| add(record, &format!("{split} row {}", at + 1), &rows.labels, texts));
            }
        }
    }
    Ok((origin, task))
}

/// Adds what a record says; a closed label is no row.
fn add(record: &Record, what: &str, labels: &[String], texts: &mut Texts) {
    for message in &record.messages {
        if !labels.contains(&message.content) {
            texts.add(what, &message.content);
        }
    }
}
