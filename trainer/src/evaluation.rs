//! Owns one evaluation of a config: the rows as models are asked them, the arms in order, and where the results go.
//! Knows the run; what lives in this process is `held_out`'s business and the scores are `eval`'s.

mod asked;
mod live;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use eval::proof::{Premises, Proof};
use eval::reasoning::content;
use eval::report::{Report, Table};
use eval::results::Provenance;
use eval::scorer::ScorerSpec;
use eval::{Arm, ArmResult, HeldOut, Identity, Progress, Results, Task};
use ground::write::Access;
use model::train::Session;
use serde_json::Value;

use crate::claims::{self, Claims};
use crate::config::Config;
use crate::config::arm::{Provider, RawArm, Source};
use crate::controls::Stopped;
use crate::data::{self, SourceRows};
use crate::disk;
use crate::event::Event;
use crate::held_out::{self, Asking, Local};
use crate::observer::Observer;
use crate::outside::{self, Asked, Outside};
use crate::prepared::Prepared;
use crate::run_dir::RunDir;
use crate::start;

use live::Live;

/// Entries that an error names.
const MOST_NAMED: usize = 5;

/// What an evaluation may do.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Whether arms outside this process are asked. Training never asks them, so it never spends money.
    pub outside: bool,
    /// The arms to ask; empty for all.
    pub only: Vec<String>,
    /// Recorded answers that stand as an arm of their own.
    pub replay: Option<PathBuf>,
    /// What to type to do it again.
    pub command: Option<String>,
    /// Whether it must come to a verdict.
    pub must_decide: bool,
}

impl Scope {
    fn wants(&self, arm: &RawArm) -> bool {
        // Whoever names a recording on the command line asks for it.
        let is_recording = self.replay.is_some() && arm.file == self.replay;
        self.only.is_empty() || is_recording || self.only.contains(&arm.name)
    }

    /// The arm of the recording that the command line names.
    fn recording(&self) -> Option<RawArm> {
        let file = self.replay.clone()?;
        Some(RawArm { file: Some(file), ..RawArm::plain(Provider::Replay) })
    }
}

/// Evaluates at the end of a run and writes `eval/results.json` and `eval/table.txt`.
pub fn at_the_end(
    config: &Config,
    prepared: &Prepared,
    session: &Session,
    run_dir: &RunDir,
    stop: &Arc<AtomicBool>,
    observer: &mut dyn Observer,
) -> Result<Option<Results>> {
    if !config.eval.enabled {
        return Ok(None);
    }
    if prepared.data.test.is_empty() {
        observer.on(&Event::Warning { message: "no held-out rows, so nothing is evaluated".to_owned() })?;
        return Ok(None);
    }
    let start = Instant::now();
    let local = Local {
        model: session.model(),
        tuned: session.adapter(),
        others: BTreeMap::new(),
        speech: &prepared.speech,
        base: base_facts(prepared),
        adapters: adapter_facts("tuned", &run_dir.join("adapter"))?,
    };
    let mut lost = None;
    let found = run(config, prepared, &local, run_dir.path(), &Scope::default(), stop, &mut |event| {
        if let Err(error) = observer.on(event) {
            lost = Some(error);
        }
    })
    .context("the adapter is saved, the evaluation is not done\nhint: trainer eval CONFIG evaluates it again");
    let (results, premises) = found?;
    if let Some(error) = lost {
        return Err(error);
    }
    let path = run_dir.publish_folder("eval", |folder| fill(&results, &premises, folder))?;
    let seconds = start.elapsed().as_secs_f64();
    observer.on(&Event::EvalFinished { rows: results.rows.len() as u64, path, seconds })?;
    Ok(Some(results))
}

/// Evaluates every arm of a config and holds the registered decisions against what was found.
pub fn run(
    config: &Config,
    prepared: &Prepared,
    local: &Local<'_>,
    run_folder: &Path,
    scope: &Scope,
    stop: &Arc<AtomicBool>,
    tell: &mut dyn FnMut(&Event),
) -> Result<(Results, Premises)> {
    let held_out = asked::rows(config, prepared)?;
    let task = task(config, prepared.data.schema.as_ref(), &held_out)?;
    let records = &prepared.data.train.records;
    let train: Vec<(String, String)> =
        records.iter().map(|record| (record.prompt_text(), content(record.target()).to_owned())).collect();
    let asking = Asking {
        held_out: &held_out,
        task: &task,
        train: &train,
        max_new_tokens: config.eval.max_new_tokens,
        batch_rows: config.eval.batch_rows,
        seed: config.train.seed,
        stop: Arc::clone(stop),
    };
    let arms = arms(config, scope, held_out.labels().is_some())?;
    let mut claims = Claims::register(config, prepared, run_folder, &arms, &held_out, &task)?;
    let wanted = |arm: &&RawArm| scope.wants(arm);
    let asked_outside = |arm: &RawArm| matches!(arm.provider.source(), Source::Hosted(_) | Source::Recorded);
    let outside = if scope.outside && arms.iter().filter(wanted).any(asked_outside) {
        let schema = prepared.data.schema.clone();
        Some(Outside::open(config, run_folder, schema)?)
    } else {
        None
    };
    let mut live = Live::new(&held_out, &task, &config.decision.candidate, config.cost.max_usd, tell);
    let mut results = Vec::with_capacity(arms.len());
    for arm in arms.iter().filter(wanted) {
        if stop.load(Ordering::SeqCst) {
            return Err(Stopped.into());
        }
        if arm.name == config.decision.candidate {
            claims.observe()?;
        }
        let progress = &mut |progress: Progress<'_>| live.hear(progress);
        let not_loaded = arm.provider == Provider::Adapter && !local.others.contains_key(&arm.name);
        let result = match (asked_outside(arm), &outside) {
            (false, _) if not_loaded => skipped(arm, "trainer eval asks it"),
            (false, _) => held_out::evaluate(&asking, arm, local, progress)?,
            (true, None) => skipped(arm, "trainer eval asks it"),
            (true, Some(outside)) => {
                let found = outside.ask(config, arm, &held_out, stop, progress);
                let name = arm.name.clone();
                let found = found.with_context(|| format!("cannot evaluate {name}"))?;
                if stop.load(Ordering::SeqCst) {
                    // Rows that were not asked any more are no missing answers.
                    return Err(Stopped.into());
                }
                let asked = match found {
                    Asked::Answered(identity, answers) => Arm::Answered { name, identity, answers },
                    Asked::Skipped(identity, reason) => Arm::Skipped { name, identity, reason },
                };
                let options = eval::EvaluateOptions::default();
                eval::evaluate_arm(&held_out, &task, asked, &options, progress)?
            }
        };
        live.done(&result);
        results.push(result);
    }
    let candidate = results.iter().find(|arm| arm.name == config.decision.candidate && arm.is_measured());
    let candidate = candidate.map(|arm| arm.name.clone());
    let mut results = Results::new(&held_out, &task, results, candidate.as_deref(), config.train.seed)?;
    results.provenance = Provenance {
        name: config.name.clone(),
        set: prepared.data.name.clone(),
        set_sha256: claims.set_sha256().to_owned(),
        prompt_sha256: claims::prompt_sha256(config, prepared),
        scorer_sha256: task.sha256()?,
        prices: outside.iter().flat_map(Outside::price_stamps).collect(),
        command: scope.command.clone().unwrap_or_else(|| format!("trainer eval {}", config.file_name())),
        finished_at: claims.now()?,
        leaked_rows: prepared.data.leaked_rows(),
        attribution: prepared.attribution.clone(),
    };
    let total = prepared.data.test.len();
    if results.rows.len() < total {
        // A look at some of the rows is no test: whoever looks often enough finds a sample that passes.
        results.no_verdict = Some(format!("only {} of {total} held-out rows were judged", results.rows.len()));
        live.results(&results);
        return Ok((results, Premises::default()));
    }
    let premises = claims.premises(config, &results)?;
    results.decided = eval::proof::decide_all(&results, &premises)?;
    results.no_verdict = results.decided.is_none().then(|| no_verdict(config, &results));
    live.results(&results);
    Ok((results, premises))
}

/// Looks at the files that an evaluation reads, before any row is: recordings, schemas, adapters of other arms, earlier
/// decisions of the run. That prices and names to redact can be read is held where the config is.
pub fn look_at_files(config: &Config, scope: &Scope, run: &Path) -> Result<()> {
    for options in &config.eval.scorer {
        ScorerSpec::new(options.clone(), None)?;
    }
    if scope.outside {
        for arm in config.eval.arm.iter().filter(|arm| scope.wants(arm)) {
            match (arm.provider, &arm.adapter) {
                (Provider::Adapter, Some(folder)) => start::look_at(folder)
                    .with_context(|| format!("arm {}: {} has no adapter that fits", arm.name, folder.display()))?,
                (Provider::Replay, _) => outside::look_at_recording(arm)?,
                _ => {}
            }
        }
        scope.recording().iter().try_for_each(outside::look_at_recording)?;
    }
    claims::look(run)
}

/// Refuses what rows show before any of them is tokenised: see [`preflight`], which sees the rows that are left. Gives how many
/// there are.
pub fn look_at_rows(config: &Config, rows: &SourceRows, scope: &Scope, metrics: &[String]) -> Result<usize> {
    if !rows.prepared.splits.test.iter().any(data::is_asked) {
        return Ok(0);
    }
    let (held_out, total) = asked::before_tokens(config, rows)?;
    let task = refuse_endless(config, &held_out, rows.schema.as_ref(), scope, metrics)?;
    // Last, since it alone looks at every row.
    eval::right_targets::check(&held_out, &task)?;
    Ok(total)
}

/// Refuses, before anything is asked or learnt, an evaluation that could not end or would mean nothing: an unknown metric,
/// slice, covariate or candidate, a key that no header can hold, targets that are wrong by their own scorers. Refuses one
/// that must come to a verdict and cannot.
/// `looked_at` is what [`look_at_rows`] gave.
pub fn preflight(
    config: &Config,
    prepared: &Prepared,
    scope: &Scope,
    metrics: &[String],
    looked_at: usize,
) -> Result<()> {
    let total = prepared.data.test.len();
    if total == 0 {
        return Ok(());
    }
    let held_out = asked::rows(config, prepared)?;
    let task = refuse_endless(config, &held_out, prepared.data.schema.as_ref(), scope, metrics)?;
    // Where no row was lost these are the rows that were judged; where one was, a sample of them is another one.
    if total != looked_at {
        eval::right_targets::check(&held_out, &task)?;
    }
    if scope.outside {
        // Which rows are asked, and in which words, is known only now.
        let arms = arms(config, scope, held_out.labels().is_some())?;
        arms.iter().filter(|arm| scope.wants(arm)).try_for_each(|arm| outside::look_at_answers(arm, &held_out))?;
    }
    // How many rows are left is known only now.
    match config.eval.limit.filter(|limit| scope.must_decide && *limit < total) {
        Some(limit) => bail!(
            "a verdict needs all {total} held-out rows, and only {limit} would be judged\n\
             hint: leave --limit and eval.limit out"
        ),
        None => Ok(()),
    }
}

fn refuse_endless(
    config: &Config,
    held_out: &HeldOut,
    schema: Option<&Value>,
    scope: &Scope,
    metrics: &[String],
) -> Result<Task> {
    let task = task(config, schema, held_out)?;
    let known = task.metrics()?;
    for metric in metrics {
        eval::metric::by_name(&known, metric)?;
    }
    let mut arms = arms(config, scope, held_out.labels().is_some())?;
    if scope.outside {
        arms.iter().filter(|arm| scope.wants(arm)).try_for_each(outside::look_at_key)?;
    }
    claims::check(config, &arms, held_out)?;
    arms.retain(|arm| scope.wants(arm));
    if scope.must_decide {
        claims::must_decide(config, &arms)?;
    }
    Ok(task)
}

/// The scorers of a config, else those that suit the set.
fn task(config: &Config, schema: Option<&Value>, held_out: &HeldOut) -> Result<Task> {
    let metric = config.decision.metric.clone();
    if config.eval.scorer.is_empty() {
        return Ok(Task::standard(held_out.labels(), metric)?);
    }
    let specs: Result<Vec<ScorerSpec>, eval::Error> =
        config.eval.scorer.iter().map(|options| ScorerSpec::new(options.clone(), schema)).collect();
    Ok(Task::new(specs?, held_out.labels(), metric)?)
}

/// The arms of a config, and a recording if one is given on the command line.
fn arms(config: &Config, scope: &Scope, labels: bool) -> Result<Vec<RawArm>> {
    let mut arms = held_out::arms(&config.eval.arm, config.eval.baselines, labels)?;
    arms.extend(scope.recording());
    if let Some(unknown) = scope.only.iter().find(|name| arms.iter().all(|arm| arm.name != **name)) {
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        bail!("no arm is named \"{unknown}\"\nhint: the arms are {}", names.join(", "));
    }
    Ok(arms)
}

fn no_verdict(config: &Config, results: &Results) -> String {
    let candidate = &config.decision.candidate;
    if results.candidate.is_none() {
        return format!("{candidate} was not measured");
    }
    format!("nothing that {candidate} could replace was measured")
}

/// The file of the proof in a folder of results.
pub const PROOF: &str = "proof.json";

/// Writes every report of what an evaluation found, and its proof, as one folder that is replaced as a whole.
pub fn write(results: &Results, premises: &Premises, folder: &Path) -> Result<()> {
    disk::folder(folder, |folder| fill(results, premises, folder))
}

/// They hold rows and answers, so they are the user's alone.
fn fill(results: &Results, premises: &Premises, folder: &Path) -> Result<()> {
    for report in eval::report::ALL {
        disk::write_new(&folder.join(report.file()), report.render(results)?.as_bytes(), Access::Private)?;
    }
    disk::write_new(&folder.join(PROOF), Proof::write(results, premises)?.as_bytes(), Access::Private)
}

/// Refuses a folder that results cannot replace as a whole: a link, a file, or one that holds something else.
pub fn refuse_others(folder: &Path) -> Result<()> {
    let shown = folder.display();
    let Ok(found) = std::fs::symlink_metadata(folder) else { return Ok(()) };
    if !found.is_dir() {
        bail!("{shown} is a link or a file, and results are a folder\nhint: choose another folder with --out");
    }
    let is_result = |name: &str| name == PROOF || eval::report::ALL.iter().any(|report| report.file() == name);
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {shown}"))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut others: Vec<String> = names.filter(|name| !is_result(name)).take(MOST_NAMED).collect();
    if !others.is_empty() {
        others.sort();
        bail!(
            "{shown} holds what no evaluation writes ({}), and it would be replaced as a whole\n\
             hint: move that elsewhere, or choose another folder with --out",
            others.join(", ")
        );
    }
    Ok(())
}

/// The table on stdout, with the verdict under it.
pub fn print_table(results: &Results) -> Result<()> {
    crate::terminal_lines::print(Table.render(results)?.trim_end())
}

/// What identifies the base of local arms.
#[must_use]
pub fn base_facts(prepared: &Prepared) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("base".to_owned(), prepared.base_name.clone()),
        ("base_sha256".to_owned(), prepared.base_sha256.clone()),
    ])
}

/// What identifies the adapter of an arm.
pub fn adapter_facts(arm: &str, folder: &Path) -> Result<BTreeMap<String, String>> {
    let path = folder.join("adapter_model.safetensors");
    let sha256 = datasets::digest::sha256_of_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BTreeMap::from([(arm.to_owned(), sha256)]))
}

fn skipped(arm: &RawArm, reason: &str) -> ArmResult {
    let identity =
        Identity { provider: arm.provider.as_str().to_owned(), model: arm.model.clone(), ..Identity::default() };
    ArmResult::skipped(&arm.name, identity, reason)
}
