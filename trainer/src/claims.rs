//! Owns what a run claims before it looks: one decision for each baseline it may be held against, registered in the run's folder.
//! Knows configs and where the files lie; what a decision means is `eval`'s business.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use eval::decision::{self, Bins, Covariate, Decision, GateLimits, Read, Registration, Slices, Standing, store};
use eval::proof::{Claim, LocalCosts, Premises};
use eval::{HeldOut, Results, Task};

use crate::config::Config;
use crate::config::arm::{RawArm, Source};
use crate::config::decision::RawDecision;
use crate::prepared::Prepared;

/// The decisions of one run.
pub struct Claims {
    folder: PathBuf,
    reads: PathBuf,
    registered: Vec<Registered>,
    set_sha256: String,
}

/// One registration, what is decided by now, and what a verdict under it is worth.
struct Registered {
    registration: Registration,
    decision: Decision,
    standing: Standing,
}

impl Claims {
    /// Registers a decision for each baseline among `arms`, before any of them is asked.
    pub fn register(
        config: &Config,
        prepared: &Prepared,
        run: &Path,
        arms: &[RawArm],
        held_out: &HeldOut,
        task: &Task,
    ) -> Result<Self> {
        let folder = run.join(FOLDER);
        // Reads are counted over all runs of a folder: what wears a held-out set out is how many models looked at it.
        let reads = run.parent().unwrap_or(run).join(store::READS_FILE);
        let set_sha256 = prepared.data.sha256.clone();
        let mut claims = Self { folder, reads, registered: Vec::new(), set_sha256 };
        let Some(candidate) = arms.iter().find(|arm| arm.name == config.decision.candidate) else { return Ok(claims) };
        let has_looked = claims.has_looked()?;
        for baseline in baselines(config, arms) {
            let decision = claims.decision(config, prepared, [candidate, baseline], held_out, task)?;
            let path = claims.path(&baseline.name);
            let earlier = store::load(&path)?;
            let is_new = earlier.is_none();
            let replaced = earlier.as_ref().map(|one| one.registered_sha256.clone());
            let now = eval::now();
            let (registration, mut standing) = Registration::register(earlier, &decision, &now)?;
            if replaced.is_some_and(|sha256| sha256 != registration.registered_sha256) {
                tell_of_the_clock(&now, &registration.registered_at);
            }
            if is_new && has_looked {
                // The candidate's answers are known, so what is decided now was not decided before.
                standing = Standing::Exploratory { registered_sha256: None, changed: Vec::new() };
            } else {
                store::save(&path, &registration)?;
            }
            claims.registered.push(Registered { registration, decision, standing });
        }
        Ok(claims)
    }

    /// Notes that the candidate is about to be asked: from here on a changed decision is exploratory.
    pub fn observe(&mut self) -> Result<()> {
        let late = Standing::Exploratory { registered_sha256: None, changed: Vec::new() };
        for one in self.registered.iter_mut().filter(|one| one.standing != late) {
            let now = eval::now();
            let is_first = one.registration.first_output_at.is_none();
            one.registration = one.registration.clone().observe(&now)?;
            if let (true, Some(noted)) = (is_first, &one.registration.first_output_at) {
                tell_of_the_clock(&now, noted);
            }
            store::save(&self.folder.join(file_name(&one.registration.decision.baseline)), &one.registration)?;
        }
        Ok(())
    }

    /// Counts this reading of the held-out rows and puts together what verdicts are made from.
    pub fn premises(&self, config: &Config, results: &Results) -> Result<Premises> {
        let measured = |name: &str| results.arms.iter().any(|arm| arm.name == name && arm.is_measured());
        let candidate = &config.decision.candidate;
        let mut claims: Vec<Claim> = self
            .registered
            .iter()
            .filter(|one| measured(candidate) && measured(&one.decision.baseline))
            .map(|one| Claim {
                registration: one.registration.clone(),
                decision: one.decision.clone(),
                standing: one.standing.clone(),
                reads: 0,
            })
            .collect();
        if let Some(first) = claims.first() {
            let mut read = Read {
                version: decision::reads::VERSION,
                at: eval::now(),
                set_sha256: self.set_sha256.clone(),
                registered_sha256: first.registration.registered_sha256.clone(),
                candidate: candidate.clone(),
            };
            let now = read.at.clone();
            let reads = store::append_read(&self.reads, &mut read)?;
            tell_of_the_clock(&now, &read.at);
            claims.iter_mut().for_each(|claim| claim.reads = reads);
        }
        let local_costs = config.cost.hardware_usd_per_hour.map(|hardware_usd_per_hour| LocalCosts {
            hardware_usd_per_hour,
            fixed_usd_per_month: config.cost.fixed_usd_per_month.unwrap_or(0.0),
            local_share: config.cost.local_share,
        });
        Ok(Premises { claims, leaked_rows: results.provenance.leaked_rows, local_costs })
    }

    /// The time, but never one before the first answer that is on record.
    pub fn now(&self) -> Result<String> {
        let noted = self.registered.iter().filter_map(|one| one.registration.first_output_at.as_deref());
        let now = eval::now();
        noted
            .map(|noted| decision::later(&now, noted))
            .try_fold(now.clone(), |latest, at| Ok(decision::later(&at?, &latest)?))
    }

    /// The hash of the held-out set.
    #[must_use]
    pub fn set_sha256(&self) -> &str {
        &self.set_sha256
    }

    /// Whether the candidate's answers were seen under any decision of this run.
    fn has_looked(&self) -> Result<bool> {
        Ok(registrations(&self.folder)?.iter().any(|one| one.first_output_at.is_some()))
    }

    fn path(&self, baseline: &str) -> PathBuf {
        self.folder.join(file_name(baseline))
    }

    fn decision(
        &self,
        config: &Config,
        prepared: &Prepared,
        [candidate, baseline]: [&RawArm; 2],
        held_out: &HeldOut,
        task: &Task,
    ) -> Result<Decision> {
        let raw = &config.decision;
        let metric = task.primary().to_owned();
        // The mean of several answers is no longer right or wrong.
        let once = |arm: &RawArm| !matches!(arm.provider.source(), Source::Hosted(_)) || arm.repeats == Some(1);
        let binary = once(candidate) && once(baseline) && task.is_right_or_wrong(&metric);
        let bins = || match &raw.bin_edges {
            Some(upper) => Bins::Edges { upper: upper.clone() },
            None => Bins::Merged { variance: raw.expected_flips },
        };
        let covariate = |name: &String| Covariate { name: name.replace('_', " "), bins: bins() };
        Ok(Decision {
            version: decision::VERSION,
            baseline: baseline.name.clone(),
            candidates: vec![raw.candidate.clone()],
            margin: raw.margin,
            alpha: raw.alpha,
            power: raw.power,
            test: decision::choose(task.is_mean(&metric), binary, held_out.clusters().independent()),
            metric,
            groups: held_out.group_name().unwrap_or("groups").to_owned(),
            slices: Slices { names: slice_names(&raw.slices, held_out)?, ..Slices::default() },
            guardrails: raw.guardrail.clone(),
            covariates: raw.covariates.iter().map(covariate).collect(),
            n_max: raw.n_max.unwrap_or(prepared.data.test.len()),
            gates: GateLimits {
                min_clusters: raw.min_groups,
                baseline_floor: raw.baseline_floor,
                ..GateLimits::default()
            },
            seed: config.train.seed,
            set_sha256: self.set_sha256.clone(),
            held_out_sha256: Some(held_out.sha256()?),
            prompt_sha256: prompt_sha256(config, prepared),
            scorer_sha256: task.sha256()?,
        })
    }
}

/// The folder of the decisions of a run.
const FOLDER: &str = "decisions";

/// Looks at the decisions that a run registered earlier: one that cannot be read is told before anything is asked.
pub fn look(run: &Path) -> Result<()> {
    registrations(&run.join(FOLDER)).map(drop)
}

/// Every decision in a folder; none where there is no folder.
fn registrations(folder: &Path) -> Result<Vec<Registration>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.extension().is_some_and(|end| end == "json") {
            found.extend(store::load(&path)?);
        }
    }
    Ok(found)
}

/// Refuses decisions that these arms and rows cannot decide.
pub fn check(config: &Config, arms: &[RawArm], held_out: &HeldOut) -> Result<()> {
    let raw = &config.decision;
    let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    let chosen = raw.candidate != RawDecision::default().candidate || !raw.baseline.is_empty();
    if chosen && !names.contains(&raw.candidate.as_str()) {
        bail!("decision.candidate: no arm is named \"{}\"\nhint: the arms are {}", raw.candidate, names.join(", "));
    }
    if let Some(unknown) = raw.baseline.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("decision.baseline: no arm is named \"{unknown}\"\nhint: the arms are {}", names.join(", "));
    }
    if raw.baseline.contains(&raw.candidate) {
        bail!("decision.baseline names the candidate \"{}\"\nhint: name the arms that it may replace", raw.candidate);
    }
    slice_names(&raw.slices, held_out)?;
    for name in &raw.covariates {
        if let Some(row) = held_out.rows().iter().find(|row| !row.covariates.contains_key(name)) {
            let known: Vec<&str> = row.covariates.keys().map(String::as_str).collect();
            bail!(
                "decision.covariates: row \"{}\" has no number \"{name}\"\nhint: it has {}",
                row.id,
                known.join(", ")
            );
        }
    }
    Ok(())
}

/// Refuses arms of which no verdict can come: without the candidate, or without one that it may replace.
pub fn must_decide(config: &Config, asked: &[RawArm]) -> Result<()> {
    let candidate = &config.decision.candidate;
    let names: Vec<&str> = asked.iter().map(|arm| arm.name.as_str()).collect();
    let lacking = if !names.contains(&candidate.as_str()) {
        format!("the candidate \"{candidate}\" is not asked")
    } else if baselines(config, asked).is_empty() {
        format!("no arm is asked that \"{candidate}\" may replace")
    } else {
        return Ok(());
    };
    bail!("a verdict is required, and {lacking}\nhint: ask more arms than {}", names.join(", "))
}

/// The arms a candidate is held against: those the config names, else what answers outside first, then the cheap baselines.
fn baselines<'a>(config: &Config, arms: &'a [RawArm]) -> Vec<&'a RawArm> {
    let others = || arms.iter().filter(|arm| arm.name != config.decision.candidate);
    if !config.decision.baseline.is_empty() {
        let named = |name: &String| others().find(|arm| arm.name == *name);
        return config.decision.baseline.iter().filter_map(named).collect();
    }
    let rank = |arm: &&RawArm| match (arm.provider.source(), arm.provider.as_str()) {
        (Source::Hosted(_), _) => 0,
        (Source::Recorded, _) => 1,
        (_, "tfidf") => 2,
        (_, "nearest") => 3,
        (Source::Baseline, _) => 4,
        (Source::Local, _) => 5,
    };
    let mut all: Vec<&RawArm> = others().collect();
    all.sort_by_key(rank);
    all
}

/// Every part of each division that the rows have, as `division=part`.
fn slice_names(divisions: &[String], held_out: &HeldOut) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for division in divisions {
        let parts = held_out.rows().iter().filter_map(|row| row.slices.get(division));
        let before = names.len();
        names.extend(parts.map(|part| format!("{division}={part}")));
        if names.len() == before {
            bail!("decision.slices: no held-out row has \"{division}\"\nhint: a slice is a text in the rows' `meta`");
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The file of a decision. An arm may be named as its service names the model, with a separator of paths in it, and what
/// somebody else named must stay in this folder.
fn file_name(baseline: &str) -> String {
    let is_plain = |sign: char| !matches!(sign, '/' | '\\' | '%') && !sign.is_control();
    let plain = |sign: char| if is_plain(sign) { sign.to_string() } else { format!("%{:02x}", u32::from(sign)) };
    format!("{}.json", baseline.chars().map(plain).collect::<String>())
}

/// Says that the clock was set back, where a later time than now was noted for it.
fn tell_of_the_clock(now: &str, noted: &str) {
    if decision::later(now, noted).is_ok_and(|later| later != now) {
        crate::terminal_lines::note(&format!(
            "warning: the clock of this machine says {now}, and {noted} is on record already: the clock was set back, and \
             {noted} is noted again, so that the order of things stays what it was"
        ));
    }
}

/// SHA-256 of the words around each row: system message, prompt template, chat template.
#[must_use]
pub fn prompt_sha256(config: &Config, prepared: &Prepared) -> String {
    let system = config.data.system.as_deref().unwrap_or_default();
    let prompt = config.prompt.as_ref().map_or("", |prompt| prompt.template.as_str());
    let template = prepared.speech.template.sha256();
    datasets::digest::sha256_hex(format!("{system}\u{0}{prompt}\u{0}{template}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_stays_in_its_folder_whatever_its_arm_is_called() {
        assert_eq!(file_name("tfidf"), "tfidf.json");
        assert_eq!(file_name("llama3:8b"), "llama3:8b.json");
        for name in ["../../../home/roe/config", "owner/model", "..", "a\\b", "/etc/passwd", "%2f"] {
            let path = Path::new("decisions").join(file_name(name));
            assert_eq!((path.parent(), path.components().count()), (Some(Path::new("decisions")), 2), "{name}");
        }
        assert_ne!(file_name("a/b"), file_name("a%2fb"));
    }
}
