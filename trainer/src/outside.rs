//! Owns the arms that are answered elsewhere: hosted models and recordings. Keys come from the environment and go nowhere else.
//! Knows configs and held-out rows; calls, retries, money and caches are `eval`'s, and scores are not made here.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use anyhow::{Context, Result, bail};
use eval::egress::{self, Egress};
use eval::provider::hosted::{
    Answered, Ask, CallOutcome, CallProgress, HostedModel, HostedSettings, Journal, Priced, Shared, Tariff,
    TransportSettings,
};
use eval::provider::replay::{Replay, ReplayAsk};
use eval::redact::{Originals, Redactor};
use eval::wire::prices::{PriceTable, Service};
use eval::wire::{Dialect, Key, Request, Usd};
use eval::{Answers, HeldOut, Identity, Message, Progress, Role};
use ground::read::Kind;
use serde_json::Value;

use crate::config::Config;
use crate::config::arm::{RawArm, Source};

/// How often a hosted model is asked each row unless the config says otherwise: even at temperature 0 it is not the same twice.
const REPEATS: usize = 3;

/// What a journal counts spending under: it lies in the folder of its run, so all evaluations of a run share one budget.
const RUN: &str = "evaluation";

/// What the arms outside share: one journal, one budget, one table of prices, one redactor.
pub struct Outside {
    shared: Shared,
    prices: PriceTable,
    redactor: Option<Redactor>,
    schema: Option<Value>,
}

/// What came of asking an arm.
pub enum Asked {
    /// Its answers.
    Answered(Identity, Answers),
    /// Why it was not asked.
    Skipped(Identity, String),
}

/// Reads the recording of an arm and takes nothing from it: what is wrong with it is told before anything is asked.
pub fn look_at_recording(arm: &RawArm) -> Result<()> {
    recording(arm).map(drop)
}

fn recording(arm: &RawArm) -> Result<Replay> {
    let path = arm.file.as_deref().context("no file of recorded answers")?;
    Ok(Replay::open(&arm.name, path)?)
}

/// Each row once.
fn recorded_asks(held_out: &HeldOut) -> Vec<ReplayAsk<'_>> {
    held_out.rows().iter().map(|row| ReplayAsk { id: &row.id, repeat: 0, messages: &row.prompt }).collect()
}

/// Refuses a recording that says nothing about a row that is asked.
pub fn look_at_answers(arm: &RawArm, held_out: &HeldOut) -> Result<()> {
    if arm.provider.source() == Source::Recorded {
        recording(arm)?.holds_all(&recorded_asks(held_out)).with_context(|| format!("arm {}", arm.name))?;
    }
    Ok(())
}

/// Refuses a key that no header can hold. A key that is not there leaves its arm out, which is told in its place.
pub fn look_at_key(arm: &RawArm) -> Result<()> {
    if let Source::Hosted(dialect) = arm.provider.source() {
        key(arm, eval::wire::by_name(dialect)?)?;
    }
    Ok(())
}

/// The key of an arm and the variable that it is looked up under.
fn key(arm: &RawArm, dialect: &'static dyn Dialect) -> Result<(Option<Key>, String)> {
    let variable = arm.key_variable.as_deref().unwrap_or(dialect.key_variable());
    let key = Key::from_environment(variable, |name| std::env::var(name).ok())?;
    Ok((key, variable.to_owned()))
}

impl Outside {
    /// Opens the journal of calls of a run folder and reads prices and redaction.
    pub fn open(config: &Config, run: &Path, schema: Option<Value>) -> Result<Self> {
        let journal = &run.join("calls.sqlite");
        refuse_forgotten(journal, &run.join("eval/results.json"))?;
        let cap = config.cost.max_usd.map(usd).transpose()?;
        let shared = Shared::new(Journal::open(journal, RUN)?, cap)?;
        if shared.journal.num_lost() > 0 {
            let lost = shared.journal.num_lost();
            crate::terminal_lines::note(&format!(
                "{lost} calls were in flight when the last process ended and count as spent"
            ));
        }
        Ok(Self { shared, prices: prices(config)?, redactor: redactor(config)?, schema })
    }

    /// The files that prices come from.
    pub fn price_stamps(&self) -> Vec<String> {
        let words =
            |stamp: &eval::wire::prices::Stamp| format!("{} of {}, SHA-256 {}", stamp.file, stamp.date, stamp.sha256);
        self.prices.stamps().iter().map(words).collect()
    }

    /// Asks an arm every held-out row.
    pub fn ask(
        &self,
        config: &Config,
        arm: &RawArm,
        held_out: &HeldOut,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Asked> {
        match arm.provider.source() {
            Source::Hosted(dialect) => {
                self.ask_hosted(config, arm, eval::wire::by_name(dialect)?, held_out, stop, progress)
            }
            Source::Recorded => replay(arm, held_out),
            Source::Baseline | Source::Local => bail!("arm {} is answered in this process", arm.name),
        }
    }

    fn ask_hosted(
        &self,
        config: &Config,
        arm: &RawArm,
        dialect: &'static dyn Dialect,
        held_out: &HeldOut,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Asked> {
        let (key, variable) = key(arm, dialect)?;
        // A server of one's own may want no key; the services always do.
        if key.is_none() && (arm.key_variable.is_some() || arm.url.is_none()) {
            let (provider, model) = (dialect.name().to_owned(), arm.model.clone());
            let identity = Identity { provider, model, egress: "none".to_owned(), ..Identity::default() };
            return Ok(Asked::Skipped(identity, format!("set {variable}")));
        }
        let (identity, url, egress) = identify(config, arm, dialect)?;
        let model = arm.model.clone().unwrap_or_default();
        let tier = arm.extra.get("service_tier").and_then(toml::Value::as_str);
        let today = eval::today();
        let rate =
            Service::from_tier(tier).and_then(|service| self.prices.rate(dialect.name(), &model, today, service));
        let tariff = rate.map(|rate| Arc::new(Priced::new(&self.prices, rate)) as Arc<dyn Tariff>);
        let mut notes = Vec::new();
        if tariff.is_none() {
            notes.push(format!(
                "the price of {model} is not known, so neither is its cost; a table of your own: cost.prices"
            ));
        }
        let repeats = arm.repeats.unwrap_or(REPEATS);
        let (asks, originals) = self.asks(config, arm, &model, held_out, repeats)?;
        let mut hidden: std::collections::BTreeMap<String, usize> = Default::default();
        for (kind, count) in originals.iter().flatten().flat_map(|originals| originals.hidden().clone()) {
            *hidden.entry(kind).or_default() += count;
        }
        if self.redactor.is_some() {
            let counts: Vec<String> = hidden.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
            notes.push(format!("hidden from the provider: {counts}"));
        }
        let settings = settings(config, arm, url, egress);
        let hosted = HostedModel::new(dialect, key, tariff, settings, self.shared.clone())?;
        let answered = watched(&arm.name, held_out.rows().len(), repeats, &asks, progress, |told| {
            hosted.answer_all(&asks, stop, told)
        })?;
        let restored = answered.into_iter().enumerate().map(|(at, mut answered)| {
            if let Some(Some(originals)) = originals.get(at / repeats) {
                answered.completion.text = originals.restore(&answered.completion.text).text;
            }
            answered
        });
        let answers = eval::provider::hosted::answers(held_out.rows().len(), repeats, restored.collect(), notes)?;
        Ok(Asked::Answered(identity, answers))
    }

    /// The questions, all repeats of a row side by side, and of each row what was hidden.
    fn asks(
        &self,
        config: &Config,
        arm: &RawArm,
        model: &str,
        held_out: &HeldOut,
        repeats: usize,
    ) -> Result<(Vec<Ask>, Vec<Option<Originals>>)> {
        let repeats = u32::try_from(repeats).context("repeats is too large")?;
        let extra = serde_json::to_value(&arm.extra)?.as_object().cloned().unwrap_or_default();
        let mut rows = Vec::new();
        let mut all_originals = Vec::new();
        for row in held_out.rows() {
            let mut messages = row.prompt.clone();
            if let Some(system) = &arm.system {
                messages.retain(|message| message.role != Role::System);
                messages.insert(0, Message::new(Role::System, system.clone()));
            }
            let originals = self.redactor.as_ref().map(|redactor| {
                let redacted = redactor.redact(&messages);
                messages = redacted.messages;
                redacted.originals
            });
            let schema = self.schema.clone().filter(|_| arm.enforce_schema == Some(true));
            let request = Request {
                model: model.to_owned(),
                messages,
                max_tokens: arm.max_tokens.unwrap_or(config.eval.max_new_tokens),
                temperature: arm.temperature,
                schema,
                stream: arm.stream.unwrap_or(true),
                extra: extra.clone(),
                form: arm.form(),
            };
            rows.push((row.id.clone(), request));
            all_originals.push(originals);
        }
        Ok((Ask::repeated(rows, repeats), all_originals))
    }
}

/// Refuses a run without a journal whose results tell of calls: what they cost would be spent a second time.
fn refuse_forgotten(journal: &Path, results: &Path) -> Result<()> {
    if journal.symlink_metadata().is_ok() || !results.is_file() {
        return Ok(());
    }
    let results_text = crate::disk::text(results, Kind::Results)?;
    // Results of another version are replaced, and tell this program nothing.
    let Ok(results_read) = eval::report::json::read(&results_text) else { return Ok(()) };
    let calls = results_read.arms.iter().filter(|arm| arm.identity.egress != Egress::None.to_string());
    let samples = calls.flat_map(|arm| &arm.outcomes).flat_map(|outcome| &outcome.samples);
    let made = samples.filter(|sample| sample.call.as_ref().is_some_and(|call| !call.cached)).count();
    if made > 0 {
        bail!(
            "{} is gone, and {} tells of {made} calls, so what was spent is not known\n\
             hint: put it back from a copy, or evaluate in a new run folder, which has a budget of its own",
            journal.display(),
            results.display()
        );
    }
    Ok(())
}

fn settings(config: &Config, arm: &RawArm, url: String, egress: Egress) -> HostedSettings {
    let mut settings = HostedSettings::new(&arm.name);
    settings.url = Some(url);
    settings.seed = config.train.seed;
    settings.max_concurrency = arm.concurrency.unwrap_or(settings.max_concurrency);
    settings.policy.max_retries = arm.max_retries.unwrap_or(settings.policy.max_retries);
    settings.policy.total_secs = arm.timeout_secs.unwrap_or(settings.policy.total_secs);
    settings.key_variable.clone_from(&arm.key_variable);
    // Inside the own network there is often no certificate, and a proxy would take the prompt out of it.
    let inside = egress != Egress::Public;
    settings.transport = TransportSettings {
        allow_plain_http: inside,
        use_proxy: !inside,
        // What the name leads to later may be no further than what was found now: the rest follows from it.
        egress,
        private_hosts: config.eval.private_hosts.clone(),
        ..settings.transport
    };
    settings
}

/// What answers, and the address that it may be asked at.
fn identify(config: &Config, arm: &RawArm, dialect: &'static dyn Dialect) -> Result<(Identity, String, Egress)> {
    let url = arm.url.as_deref().or(dialect.default_url());
    let url =
        url.with_context(|| format!("arm {} has no url\nhint: write url = \"http://127.0.0.1:8000\"", arm.name))?;
    let look_up = eval::provider::hosted::look_up;
    let destination = egress::check(&arm.name, config.egress(), url, &config.eval.private_hosts, look_up)?;
    let mut facts = std::collections::BTreeMap::from([("host".to_owned(), destination.host)]);
    if let Some(system) = &arm.system {
        facts.insert("system_sha256".to_owned(), datasets::digest::sha256_hex(system.as_bytes()));
    }
    let form = arm.form();
    facts.extend(form.version(dialect).map(|version| ("api_version".to_owned(), version.to_owned())));
    facts.extend(form.system_as.map(|place| ("system_as".to_owned(), place.name().to_owned())));
    facts.extend(arm.temperature.map(|temperature| ("temperature".to_owned(), temperature.to_string())));
    if !arm.extra.is_empty() {
        // Its values may be long, and the user's own.
        let extra = serde_json::to_vec(&arm.extra)?;
        facts.insert("extra_sha256".to_owned(), datasets::digest::sha256_hex(&extra));
    }
    let identity = Identity {
        provider: dialect.name().to_owned(),
        model: arm.model.clone(),
        egress: destination.egress.to_string(),
        facts,
    };
    Ok((identity, url.to_owned(), destination.egress))
}

/// Why a call brought no answer, in a word; none if it brought one.
fn failure(outcome: CallOutcome) -> Option<&'static str> {
    Some(match outcome {
        CallOutcome::Ok => return None,
        CallOutcome::Refusal => "refused",
        CallOutcome::ContentFilter => "filtered",
        CallOutcome::Truncated => "cut",
        CallOutcome::Timeout => "timed out",
        CallOutcome::ProviderOutage => "outage",
        CallOutcome::ClientError => "bad request",
        CallOutcome::Malformed => "malformed",
        CallOutcome::Budget => "over budget",
        CallOutcome::Cancelled => "cancelled",
        CallOutcome::NotRecorded => "not recorded",
    })
}

/// Runs calls on threads of their own and tells of their progress on this one.
fn watched(
    name: &str,
    rows: usize,
    repeats: usize,
    asks: &[Ask],
    progress: &mut dyn FnMut(Progress<'_>),
    run: impl FnOnce(&(dyn Fn(CallProgress) + Sync)) -> Result<Vec<Answered>, eval::Error> + Send,
) -> Result<Vec<Answered>> {
    progress(Progress::Started { arm: name, rows });
    let (sender, receiver) = mpsc::channel();
    let answered = std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let sender = Mutex::new(sender);
            run(&|told| {
                // The listener only goes away with the process.
                let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(told);
            })
        });
        for told in receiver {
            let done = told.num_done.div_ceil(repeats);
            progress(Progress::Called {
                arm: name,
                done,
                rows,
                spent_usd: told.spent.total().picodollars() as f64 / 1e12,
                in_flight: told.concurrency.min(told.num_rows.saturating_sub(told.num_done)),
                failure: failure(told.outcome),
            });
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    debug_assert_eq!(answered.len(), asks.len());
    Ok(answered)
}

fn replay(arm: &RawArm, held_out: &HeldOut) -> Result<Asked> {
    let path = arm.file.as_deref().context("no file of recorded answers")?;
    let (recording, asks) = (recording(arm)?, recorded_asks(held_out));
    // The file may be another one than that which was looked at.
    recording.holds_all(&asks)?;
    let replayed = recording.answer_all(&asks);
    let mut notes = vec!["recorded answers: nothing was asked and nothing was paid".to_owned()];
    if replayed.num_missing > 0 {
        notes.push(format!("{} rows are recorded without an answer and are missing", replayed.num_missing));
    }
    if !replayed.extra.is_empty() {
        notes.push(format!("{} recorded answers belong to no row", replayed.extra.len()));
    }
    let identity = Identity {
        provider: "replay".to_owned(),
        model: None,
        egress: Egress::None.to_string(),
        facts: [("recording_sha256".to_owned(), datasets::digest::sha256_of_file(path)?)].into(),
    };
    let answers = eval::provider::hosted::answers(held_out.rows().len(), 1, replayed.answered, notes)?;
    Ok(Asked::Answered(identity, answers))
}

fn prices(config: &Config) -> Result<PriceTable> {
    let table = PriceTable::bundled()?;
    let Some(path) = &config.cost.prices else { return Ok(table) };
    let text = ground::read::text(path, ground::read::Kind::Prompt)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(table.overridden_by(PriceTable::parse(&path.display().to_string(), &text)?))
}

fn redactor(config: &Config) -> Result<Option<Redactor>> {
    if config.redact.is_off() {
        return Ok(None);
    }
    let options = config.redact.options();
    match options.redactor(Path::new("")) {
        Ok(redactor) => Ok(Some(redactor)),
        Err(errors) => bail!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// Dollars of a config as exact money.
fn usd(dollars: f64) -> Result<Usd> {
    let picodollars = dollars * 1e12;
    if !(0.0..1.8e19).contains(&picodollars) {
        bail!("cost.max_usd is {dollars}\nhint: write a number of dollars from 0");
    }
    Ok(Usd::from_picodollars(picodollars.round() as u64))
}
