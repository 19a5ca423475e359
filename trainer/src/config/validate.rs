//! Owns which settings contradict each other or the machine's files. Every check runs, so that all are told at once.
//! Knows nothing about where in a file a key stands.

use std::path::Path;

use eval::decision::Guardrail;
use eval::egress::{self, Egress};
use eval::wire::prices::PriceTable;
use model::lora::TargetModules;

use super::arm::{RawArm, Source};
use super::keys;
use super::plan::{Roots, is_path};
use super::raw::{Decay, InitWeights, Overflow, RawConfig, RawData, RawEval, RawLora, RawTrain, TrainOn};

/// Settings that cannot hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// The keys it is about, the one to point at first.
    pub(super) keys: Vec<&'static str>,
    /// What is wrong.
    pub(super) what: String,
    /// What to type instead.
    pub(super) hint: String,
}

/// Everything wrong with a config but its prompt and its device. Paths in it are absolute already.
#[must_use]
pub(super) fn contradictions(raw: &RawConfig, roots: &Roots) -> Vec<Contradiction> {
    let mut all = Findings::default();
    run_name(raw, &mut all);
    base(&raw.model.base, roots, &mut all);
    source(&raw.data, roots, &mut all);
    rows(&raw.data, &raw.train, &mut all);
    lora(&raw.lora, &mut all);
    train(&raw.train, &mut all);
    eval(&raw.eval, &mut all);
    decision(raw, &mut all);
    cost(raw, &mut all);
    redact(raw, &mut all);
    all.require("output.dir", !raw.output.dir.as_os_str().is_empty(), "output.dir is empty", "write dir = \"runs\"");
    all.0
}

/// The text of a prompt template that compiles and puts `text` somewhere.
pub(super) fn read_prompt(path: &Path) -> Result<String, Contradiction> {
    let fault = |what: String, hint: &str| Contradiction { keys: vec!["data.prompt"], what, hint: hint.to_owned() };
    let shown = path.display();
    let template = std::fs::read_to_string(path).map_err(|error| {
        fault(format!("data.prompt {shown} cannot be read: {error}"), "paths are relative to the config file")
    })?;
    let compiled = ground::template::Template::new(&template, ground::template::Dialect::Prompt)
        .map_err(|error| fault(format!("data.prompt {shown} is not a template: {error}"), "it is Jinja: {{ text }}"))?;
    let used = compiled.undeclared();
    let hint = "its one variable is the last user message: {{ text }}";
    if let Some(unknown) = used.iter().find(|name| *name != "text") {
        return Err(fault(format!("data.prompt {shown} uses the unknown variable `{unknown}`"), hint));
    }
    if used.is_empty() {
        return Err(fault(format!("data.prompt {shown} does not use the message, so all rows would be equal"), hint));
    }
    Ok(template)
}

/// What is wrong with `device.name`.
pub(super) fn device_fault(error: &model::Error) -> Contradiction {
    let hint = "devices are auto, cpu, cuda[:N], vulkan[:N] and metal[:N]; what is here: trainer doctor".to_owned();
    let what = error.to_string();
    let what = what.lines().next().unwrap_or_default().to_owned();
    Contradiction { keys: vec!["device.name"], what: format!("device.name: {what}"), hint }
}

#[derive(Default)]
struct Findings(Vec<Contradiction>);

impl Findings {
    fn require(&mut self, key: &'static str, holds: bool, what: impl Into<String>, hint: impl Into<String>) {
        self.require_all(&[key], holds, what, hint);
    }

    fn require_all(&mut self, keys: &[&'static str], holds: bool, what: impl Into<String>, hint: impl Into<String>) {
        if !holds {
            self.0.push(Contradiction { keys: keys.to_vec(), what: what.into(), hint: hint.into() });
        }
    }

    fn at_least_one(&mut self, key: &'static str, value: Option<u64>, hint: &str) {
        self.require(key, value != Some(0), format!("{key} is 0"), hint);
    }
}

fn run_name(raw: &RawConfig, all: &mut Findings) {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = raw.name.chars().all(plain) && !raw.name.starts_with('.');
    let hint = "it names the run's folder: letters, digits, `-`, `_` and `.`, such as name = \"legal\"";
    if raw.name.is_empty() {
        all.require("name", false, "no name", hint);
    } else {
        all.require("name", fits, format!("name is \"{}\"", raw.name), hint);
    }
}

fn base(base: &str, roots: &Roots, all: &mut Findings) {
    if base.is_empty() {
        let hint = "write base = \"smollm2-135m-instruct\" under [model], or the path of a checkpoint";
        return all.require("model.base", false, "no model.base", hint);
    }
    if is_path(base) {
        let hint = "a folder with config.json and *.safetensors, or a .gguf file, relative to the config file";
        return all.require("model.base", Path::new(base).exists(), format!("model.base: there is no {base}"), hint);
    }
    let models = roots.configs.join("models");
    if !models.join(format!("{base}.toml")).is_file() {
        let names = names_in(&models, |entry| Some(entry.strip_suffix(".toml")?.to_owned()));
        named("model.base", base, &models, &names, all);
    }
}

fn source(data: &RawData, roots: &Roots, all: &mut Findings) {
    let keys = &["data.set", "data.train"];
    match (&data.set, &data.train) {
        (Some(_), Some(_)) => {
            all.require_all(keys, false, "data.set and data.train are both given", "keep one of the two")
        }
        (None, None) => {
            let hint = "write set = \"legal-provisions\" or train = \"rows.jsonl\" under [data]";
            all.require_all(keys, false, "no rows: neither data.set nor data.train", hint);
        }
        _ => {}
    }
    if let Some(set) = &data.set {
        let belongs = "valid and test belong to train: a set brings its own";
        all.require_all(&["data.valid", "data.set"], data.valid.is_none(), "data.valid beside data.set", belongs);
        all.require_all(&["data.test", "data.set"], data.test.is_none(), "data.test beside data.set", belongs);
        if is_path(set) {
            let there = Path::new(set).join("dataset.toml").is_file();
            let hint = "a folder with a dataset.toml, relative to the config file";
            all.require("data.set", there, format!("data.set: there is no {set}/dataset.toml"), hint);
        } else if !roots.datasets.join(set).join("dataset.toml").is_file() {
            let of_set =
                |entry: &str| roots.datasets.join(entry).join("dataset.toml").is_file().then(|| entry.to_owned());
            named("data.set", set, &roots.datasets, &names_in(&roots.datasets, of_set), all);
        }
    }
    for (key, path) in [("data.train", &data.train), ("data.valid", &data.valid), ("data.test", &data.test)] {
        let Some(path) = path else { continue };
        let what = format!("{key}: there is no file {}", path.display());
        all.require(key, path.is_file(), what, "paths are relative to the config file");
    }
    let hint = "name a test file too, or leave valid out and set valid_fraction";
    let alone = data.set.is_none() && data.valid.is_some() && data.test.is_none();
    all.require_all(&["data.valid", "data.test"], !alone, "data.valid without data.test", hint);
    let rule = [
        ("data.valid_fraction", data.valid_fraction.is_some()),
        ("data.split_modulus", data.split_modulus.is_some()),
        ("data.split_remainder", data.split_remainder.is_some()),
    ];
    for (key, given) in rule {
        let what = format!("{key} for rows that data.test divides already");
        all.require_all(&[key, "data.test"], !given || data.test.is_none(), what, "remove one of the two");
    }
}

fn rows(data: &RawData, train: &RawTrain, all: &mut Findings) {
    let says_something = data.system.as_ref().is_none_or(|system| !system.trim().is_empty());
    all.require(
        "data.system",
        says_something,
        "data.system is empty",
        "leave it out for rows without a system message",
    );
    all.at_least_one("data.max_tokens", Some(data.max_tokens as u64), "the longest row in tokens, such as 512");
    all.require_all(
        &["train.micro_batch_tokens", "data.max_tokens"],
        train.micro_batch_tokens >= data.max_tokens,
        format!(
            "train.micro_batch_tokens is {}, and a row may have data.max_tokens = {}",
            train.micro_batch_tokens, data.max_tokens
        ),
        "a row is never cut between micro-batches: raise one or lower the other",
    );
    all.require_all(
        &["data.overflow", "data.train_on"],
        (data.overflow, data.train_on) != (Overflow::TruncateRight, TrainOn::Last),
        "data.overflow = \"truncate-right\" cuts off the answer, which is all that data.train_on = \"last\" learns",
        "write overflow = \"truncate-left\", or \"refuse\"",
    );
    let share = data.valid_fraction.is_none_or(|share| (0.0..1.0).contains(&share));
    all.require("data.valid_fraction", share, "data.valid_fraction is no share", "from 0 to below 1");
    let modulus = data.split_modulus.unwrap_or(datasets::Rule::default().modulus);
    all.require(
        "data.split_modulus",
        modulus >= 2,
        "data.split_modulus leaves nothing to train on",
        "5 holds out a fifth",
    );
    all.require_all(
        &["data.split_remainder", "data.split_modulus"],
        modulus < 2 || data.split_remainder.is_none_or(|remainder| remainder < modulus),
        "data.split_remainder is a class that no group has",
        format!("it lies between 0 and {}", modulus.saturating_sub(1)),
    );
    for (key, value) in [("data.jaccard", data.jaccard), ("data.cosine", data.cosine)] {
        let fits = value.is_none_or(|value| value > 0.0 && value <= 1.0);
        all.require(key, fits, format!("{key} is no similarity"), "above 0, at most 1");
    }
    let limits = [
        ("data.limit_train", data.limit_train),
        ("data.limit_valid", data.limit_valid),
        ("data.limit_test", data.limit_test),
    ];
    for (key, limit) in limits {
        all.at_least_one(key, limit.map(|limit| limit as u64), "leave it out to use all rows");
    }
}

fn lora(lora: &RawLora, all: &mut Findings) {
    all.at_least_one("lora.r", Some(lora.r as u64), "the rank, such as 16");
    let alpha = lora.lora_alpha;
    all.require("lora.lora_alpha", positive(alpha), format!("lora.lora_alpha is {alpha}"), "above 0, such as 2 x r");
    let dropout = lora.lora_dropout;
    let fits = (0.0..1.0).contains(&dropout);
    all.require("lora.lora_dropout", fits, format!("lora.lora_dropout is {dropout}"), "from 0 to below 1");
    let hint = "write \"all-linear\", or names such as [\"q_proj\", \"v_proj\"]";
    match &lora.target_modules {
        TargetModules::Names(names) => {
            let named = !names.is_empty() && names.iter().all(|name| !name.trim().is_empty());
            all.require("lora.target_modules", named, "lora.target_modules names nothing", hint);
        }
        TargetModules::Pattern(pattern) => {
            let fits = !pattern.is_empty() && (pattern == "all-linear" || regex::Regex::new(pattern).is_ok());
            let what = format!("lora.target_modules \"{pattern}\" is no regular expression");
            all.require("lora.target_modules", fits, what, hint);
        }
    }
    let known = match &lora.init_lora_weights {
        InitWeights::Flag(flag) => *flag,
        InitWeights::Named(name) => name == "gaussian",
    };
    let hint = "write true or \"gaussian\"";
    all.require("lora.init_lora_weights", known, "lora.init_lora_weights is not a start this program knows", hint);
    let both = lora.init_adapter.is_some() && lora.init_lora_weights != InitWeights::Flag(true);
    let what = "lora.init_lora_weights says how a fresh adapter starts, and lora.init_adapter names one to start from";
    all.require("lora.init_adapter", !both, what, "take one of the two out");
}

fn train(train: &RawTrain, all: &mut Findings) {
    let epochs = train.epochs;
    all.require("train.epochs", positive(epochs), format!("train.epochs is {epochs}"), "above 0, such as 2.0");
    all.at_least_one("train.max_steps", train.max_steps, "leave it out to train for whole epochs");
    all.at_least_one("train.rows_per_step", Some(train.rows_per_step as u64), "such as 16");
    all.at_least_one("train.micro_batch_tokens", Some(train.micro_batch_tokens as u64), "such as 4096");
    let rate = train.learning_rate;
    all.require(
        "train.learning_rate",
        positive(rate),
        format!("train.learning_rate is {rate}"),
        "above 0, such as 1e-3",
    );
    if let Some(max_steps) = train.max_steps.filter(|steps| *steps > 0) {
        all.require_all(
            &["train.warmup_steps", "train.max_steps"],
            train.warmup_steps < max_steps,
            format!("train.warmup_steps is {}, and the run ends after {max_steps} steps", train.warmup_steps),
            "write a smaller warmup_steps, such as 0",
        );
    }
    let floor = train.min_learning_rate_share;
    let what = format!("train.min_learning_rate_share is {floor}");
    all.require("train.min_learning_rate_share", (0.0..=1.0).contains(&floor), what, "a share, from 0 to 1");
    all.require_all(
        &["train.min_learning_rate_share", "train.schedule"],
        floor == 0.0 || train.schedule != Decay::Constant,
        "train.min_learning_rate_share for a learning rate that does not fall",
        "remove it, or write schedule = \"linear\"",
    );
    for (key, beta) in [("train.adam_beta1", train.adam_beta1), ("train.adam_beta2", train.adam_beta2)] {
        all.require(key, (0.0..1.0).contains(&beta), format!("{key} is {beta}"), "from 0 to below 1");
    }
    for (key, value) in [("train.adam_epsilon", train.adam_epsilon), ("train.max_grad_norm", train.max_grad_norm)] {
        all.require(key, positive(value), format!("{key} is {value}"), "above 0");
    }
    let decay = train.weight_decay;
    let fits = decay >= 0.0 && decay.is_finite();
    all.require("train.weight_decay", fits, format!("train.weight_decay is {decay}"), "0 or above");
    all.at_least_one("train.save_every_steps", Some(train.save_every_steps), "such as 50");
    all.at_least_one("train.keep_checkpoints", Some(train.keep_checkpoints as u64), "1 keeps the newest");
    all.at_least_one("train.log_every_steps", Some(train.log_every_steps), "1 logs every step");
}

fn eval(eval: &RawEval, all: &mut Findings) {
    all.at_least_one("eval.max_new_tokens", Some(eval.max_new_tokens as u64), "such as 16");
    all.at_least_one("eval.batch_rows", Some(eval.batch_rows as u64), "such as 16");
    all.at_least_one("eval.limit", eval.limit.map(|limit| limit as u64), "leave it out to score all held-out rows");
    for (at, arm) in eval.arm.iter().enumerate() {
        for (what, hint) in arm.faults() {
            all.require("eval.arm", false, format!("eval.arm: {what}"), hint);
        }
        let hosted = matches!(arm.provider.source(), Source::Hosted(_));
        all.require_all(
            &["eval.egress", "eval.arm"],
            !(hosted && eval.egress == Egress::None),
            format!("eval.egress is \"none\", and arm {} is asked over a network", arm.name),
            "write egress = \"public\" under [eval] if its prompts may leave, or take the arm out",
        );
        if let (Some(what), false) = (too_far(arm, eval), eval.egress == Egress::None) {
            all.require_all(
                &["eval.egress", "eval.arm"],
                false,
                what,
                "allow more with eval.egress, or take the arm out",
            );
        }
        if eval.arm[..at].iter().any(|earlier| earlier.name == arm.name) {
            all.require("eval.arm", false, format!("two arms are named \"{}\"", arm.name), "each name stands once");
        }
    }
    if let Some(labels) = &eval.labels {
        let hint = "leave labels out for those of the set's dataset.toml";
        all.require("eval.labels", !labels.is_empty(), "eval.labels is empty", hint);
        let wrong =
            labels.iter().enumerate().find(|(at, label)| label.trim().is_empty() || labels[..*at].contains(label));
        let what = wrong.map(|(_, label)| format!("eval.labels has \"{label}\" twice or empty"));
        all.require("eval.labels", wrong.is_none(), what.unwrap_or_default(), "each label stands once");
    }
}

/// What is wrong with the address of an arm as far as it can be told without a name server.
fn too_far(arm: &RawArm, eval: &RawEval) -> Option<String> {
    let Source::Hosted(dialect) = arm.provider.source() else { return None };
    let default = eval::wire::by_name(dialect).ok().and_then(|dialect| dialect.default_url());
    let url = arm.url.as_deref().or(default)?;
    // A service of its own is public; a name of the user may be anything until it is looked up.
    let unknown = if arm.url.is_some() { [127, 0, 0, 1] } else { [8, 8, 8, 8] };
    let found = egress::check(&arm.name, eval.egress, url, &eval.private_hosts, |_| vec![unknown.into()]);
    found.err().map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

fn decision(raw: &RawConfig, all: &mut Findings) {
    let decision = &raw.decision;
    let share = |value: f64| value > 0.0 && value < 1.0;
    for (key, value, holds, hint) in [
        ("decision.margin", decision.margin, share(decision.margin), "the largest loss that is none, such as 0.03"),
        ("decision.alpha", decision.alpha, decision.alpha > 0.0 && decision.alpha < 0.5, "such as 0.05"),
        ("decision.power", decision.power, decision.power > 0.5 && decision.power < 1.0, "such as 0.8"),
        ("decision.expected_flips", decision.expected_flips, share(decision.expected_flips), "a share, such as 0.1"),
    ] {
        all.require(key, holds, format!("{key} is {value}"), hint);
    }
    let floor = decision.baseline_floor.is_none_or(|floor| (0.0..1.0).contains(&floor));
    all.require("decision.baseline_floor", floor, "decision.baseline_floor is no share", "such as 0.5");
    all.at_least_one("decision.n_max", decision.n_max.map(|rows| rows as u64), "leave it out for all held-out rows");
    let rising = decision.bin_edges.as_ref().is_none_or(|edges| {
        !edges.is_empty() && edges.iter().all(|edge| edge.is_finite()) && edges.windows(2).all(|pair| pair[0] < pair[1])
    });
    all.require("decision.bin_edges", rising, "decision.bin_edges do not rise", "such as [100, 200, 400]");
    for guardrail in &decision.guardrail {
        let limit = match guardrail {
            Guardrail::LatencyP95 { limit_secs } => *limit_secs,
            Guardrail::SchemaValidity { margin }
            | Guardrail::RefusalRate { margin }
            | Guardrail::TimeoutRate { margin }
            | Guardrail::CostPerCorrect { margin } => *margin,
        };
        let what = format!("decision.guardrail: {} has the limit {limit}", guardrail.name());
        all.require("decision.guardrail", limit > 0.0 && limit.is_finite(), what, "a number above 0");
    }
    if raw.eval.arm.is_empty() {
        return;
    }
    let named = |name: &String| raw.eval.arm.iter().any(|arm| arm.name == *name);
    let names = raw.eval.arm.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>().join(", ");
    for baseline in decision.baseline.iter().filter(|name| !named(name)) {
        let what = format!("decision.baseline: no arm is named \"{baseline}\"");
        all.require("decision.baseline", false, what, format!("the arms are {names}"));
    }
}

fn cost(raw: &RawConfig, all: &mut Findings) {
    let cost = &raw.cost;
    let amount = |value: Option<f64>| value.is_none_or(|value| value >= 0.0 && value.is_finite());
    for (key, value) in [
        ("cost.max_usd", cost.max_usd),
        ("cost.hardware_usd_per_hour", cost.hardware_usd_per_hour),
        ("cost.fixed_usd_per_month", cost.fixed_usd_per_month),
    ] {
        all.require(key, amount(value), format!("{key} is below 0"), "a number of dollars from 0");
    }
    let share = cost.local_share > 0.0 && cost.local_share <= 1.0;
    all.require("cost.local_share", share, format!("cost.local_share is {}", cost.local_share), "above 0, at most 1");
    if let Some(path) = &cost.prices {
        let parsed = std::fs::read_to_string(path)
            .map_err(|error| error.to_string())
            .and_then(|text| PriceTable::parse(&path.display().to_string(), &text).map_err(|error| error.to_string()));
        let what = parsed.err().map(|error| format!("cost.prices: {error}"));
        all.require("cost.prices", what.is_none(), what.unwrap_or_default(), "compare it with configs/prices/");
    }
}

fn redact(raw: &RawConfig, all: &mut Findings) {
    let redact = &raw.redact;
    if redact.is_off() {
        return;
    }
    for error in redact.options().redactor(Path::new("")).err().unwrap_or_default() {
        let text = error.to_string();
        let (what, hint) = text.split_once("\nhint: ").unwrap_or((&text, "kinds are in configs/README.md"));
        all.require("redact.kinds", false, format!("redact: {what}"), hint);
    }
}

fn positive(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

fn named(key: &'static str, name: &str, folder: &Path, names: &[String], all: &mut Findings) {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = keys::did_you_mean(&keys::nearest_word(name, &known), || match names {
        [] => format!("there is nothing in {}; give a path such as ./{name}", folder.display()),
        names => format!("names are: {}; a path has a `/` in it", names.join(", ")),
    });
    all.require(key, false, format!("{key}: {} has no \"{name}\"", folder.display()), hint);
}

fn names_in(folder: &Path, name: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| name(&entry.file_name().to_string_lossy())).collect();
    names.sort();
    names
}
