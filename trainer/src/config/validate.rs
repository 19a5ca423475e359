//! Owns which settings contradict each other or the machine's files. Every check runs, so that all are told at once.
//! Knows nothing about where in a file a key stands.

use std::collections::HashSet;
use std::path::Path;

use eval::egress::{self, Egress};
use eval::wire::prices::PriceTable;
use ground::read::{self, Kind};
use model::lora::TargetModules;

use super::arm::{Provider, RawArm, Source};
use super::plan::{Roots, is_path};
use super::raw::{Decay, InitWeights, Overflow, RawConfig, RawData, RawEval, RawLora, RawTrain, TrainOn};
use super::{keys, shown};
use crate::model_source::ModelSource;

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
    variables(raw, &mut all);
    source(&raw.data, roots, &mut all);
    rows(&raw.data, &raw.train, &mut all);
    lora(&raw.lora, &mut all);
    train(&raw.train, &raw.data, &mut all);
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
    let template = read::text(path, Kind::Prompt).map_err(|error| {
        fault(format!("data.prompt {shown} cannot be read: {error}"), "paths are relative to the config file")
    })?;
    let compiled = template::Template::new(&template, template::Dialect::Prompt)
        .map_err(|error| fault(format!("data.prompt {shown} is not a template: {error}"), "it is Jinja: {{ text }}"))?;
    let used = compiled.reads();
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
pub(super) fn device_fault(name: &str, error: &model::Error) -> Contradiction {
    let hint = "devices are auto, cpu, cuda[:N], vulkan[:N] and metal[:N]; what is here: trainer doctor".to_owned();
    let what = error.to_string();
    let what = first_line(&what);
    let what = if name.is_empty() { what.to_owned() } else { what.replace(name, &shown::name(name)) };
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
}

fn run_name(raw: &RawConfig, all: &mut Findings) {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = raw.name.chars().all(plain) && !raw.name.starts_with('.');
    let hint = "it names the run's folder: letters, digits, `-`, `_` and `.`, such as name = \"legal\"";
    if raw.name.is_empty() {
        all.require("name", false, "no name", hint);
    } else {
        all.require("name", fits, format!("name is \"{}\"", shown::name(&raw.name)), hint);
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
    let names = ModelSource::names(&roots.configs);
    if !names.iter().any(|name| name == base) {
        named("model.base", base, &models, &names, all);
    }
}

fn variables(raw: &RawConfig, all: &mut Findings) {
    let of_ours = ["messages", "add_generation_prompt", "tools", "documents"];
    let is_free = |name: &str| {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        plain
            && !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !of_ours.contains(&name)
            && !name.ends_with("_token")
    };
    if let Some(name) = raw.model.template.keys().find(|name| !is_free(name)) {
        let hint = "a variable that the chat template asks for, such as template = { enable_thinking = false }";
        all.require("model.template", false, format!("model.template sets {}", shown::name(name)), hint);
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
    let modulus = data.split_modulus.unwrap_or(datasets::Rule::default().modulus);
    all.require_all(
        &["data.split_remainder", "data.split_modulus"],
        data.split_remainder.is_none_or(|remainder| remainder < modulus),
        "data.split_remainder is a class that no group has",
        format!("it lies between 0 and {}", modulus.saturating_sub(1)),
    );
}

fn lora(lora: &RawLora, all: &mut Findings) {
    let hint = "write \"all-linear\", or names such as [\"q_proj\", \"v_proj\"]";
    match &lora.target_modules {
        TargetModules::Names(names) => {
            let named = !names.is_empty() && names.iter().all(|name| !name.trim().is_empty());
            all.require("lora.target_modules", named, "lora.target_modules names nothing", hint);
        }
        TargetModules::Pattern(pattern) => {
            let fits = !pattern.is_empty() && (pattern == "all-linear" || regex::Regex::new(pattern).is_ok());
            let what = format!("lora.target_modules \"{}\" is no regular expression", shown::name(pattern));
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

fn train(train: &RawTrain, data: &RawData, all: &mut Findings) {
    if let (Some(warmup), Some(max_steps)) = (train.warmup_steps, train.max_steps) {
        all.require_all(
            &["train.warmup_steps", "train.max_steps"],
            warmup < max_steps,
            format!("train.warmup_steps is {warmup}, and the run ends after {max_steps} steps"),
            "write a smaller warmup_steps, such as 0, or leave it out for one that fits the run",
        );
    }
    let of_files = data.set.is_none() && data.train.is_some();
    let divides = data.test.is_none() && data.valid_fraction.is_some_and(|share| share > 0.0);
    all.require_all(
        &["train.valid_every_steps", "data.valid", "data.valid_fraction"],
        train.valid_every_steps == 0 || !of_files || data.valid.is_some() || divides,
        format!("train.valid_every_steps is {}, and there are no validation rows", train.valid_every_steps),
        match data.test {
            Some(_) => "name a file of them with data.valid, or write valid_every_steps = 0",
            None => "write valid_fraction = 0.1 under [data], or valid_every_steps = 0",
        },
    );
    let floor = train.min_learning_rate_share;
    all.require_all(
        &["train.min_learning_rate_share", "train.schedule"],
        floor == 0.0 || train.schedule != Decay::Constant,
        "train.min_learning_rate_share for a learning rate that does not fall",
        "remove it, or write schedule = \"linear\"",
    );
}

fn eval(eval: &RawEval, all: &mut Findings) {
    let mut names = HashSet::new();
    for arm in &eval.arm {
        for (what, hint) in arm.faults() {
            all.require("eval.arm", false, format!("eval.arm: {what}"), hint);
        }
        let hosted = matches!(arm.provider.source(), Source::Hosted(_));
        all.require_all(
            &["eval.egress", "eval.arm"],
            !(hosted && eval.egress == Egress::None),
            format!("eval.egress is \"none\", and arm {} is asked over a network", shown::name(&arm.name)),
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
        let what = format!("two arms are named \"{}\"", shown::name(&arm.name));
        all.require("eval.arm", names.insert(&arm.name), what, "each name stands once");
    }
    if let Some(labels) = &eval.labels {
        let hint = "leave labels out for those of the set's dataset.toml";
        all.require("eval.labels", !labels.is_empty(), "eval.labels is empty", hint);
        let mut known = HashSet::new();
        let wrong = labels.iter().find(|label| label.trim().is_empty() || !known.insert(label.as_str()));
        let what = wrong.map(|label| format!("eval.labels has \"{}\" twice or empty", shown::name(label)));
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
    let rising = decision
        .bin_edges
        .as_ref()
        .is_none_or(|edges| !edges.is_empty() && edges.windows(2).all(|pair| pair[0] < pair[1]));
    all.require("decision.bin_edges", rising, "decision.bin_edges do not rise", "such as [100, 200, 400]");
    if raw.eval.arm.is_empty() {
        return;
    }
    // Which of the last two stands there hangs on the rows.
    let free = [Provider::Majority, Provider::Tfidf, Provider::Nearest].map(Provider::as_str);
    let free: &[&str] = if raw.eval.baselines { &free } else { &[] };
    let arms = || raw.eval.arm.iter().map(|arm| arm.name.as_str()).chain(free.iter().copied());
    let named = |name: &String| arms().any(|arm| arm == name);
    let mut names: Vec<String> = Vec::new();
    for name in arms().map(|name| shown::name(name).into_owned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let names = names.join(", ");
    for baseline in decision.baseline.iter().filter(|name| !named(name)) {
        let what = format!("decision.baseline: no arm is named \"{}\"", shown::name(baseline));
        all.require("decision.baseline", false, what, format!("the arms are {names}"));
    }
}

fn cost(raw: &RawConfig, all: &mut Findings) {
    let cost = &raw.cost;
    if let Some(path) = &cost.prices {
        let shown = path.display().to_string();
        let parsed = read::text(path, Kind::Prompt)
            .map_err(|error| format!("{shown}: {error}"))
            .and_then(|text| PriceTable::parse(&shown, &text).map_err(|error| error.to_string()));
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

/// What an error says first; its hint is for another place.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn named(key: &'static str, name: &str, folder: &Path, names: &[String], all: &mut Findings) {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = keys::did_you_mean(&keys::nearest_word(name, &known), || match names {
        [] => format!("there is nothing in {}; give a path such as ./{}", folder.display(), shown::name(name)),
        names => format!("names are: {}; a path has a `/` in it", names.join(", ")),
    });
    all.require(key, false, format!("{key}: {} has no \"{}\"", folder.display(), shown::name(name)), hint);
}

fn names_in(folder: &Path, name: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| name(&entry.file_name().to_string_lossy())).collect();
    names.sort();
    names
}
