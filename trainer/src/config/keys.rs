//! Owns the list of every config key with the kind of value it takes, and finding the one a misspelt key was meant
//! to be. Knows nothing about defaults or about values that contradict each other.

use eval::decision::Guardrail;
use eval::redact::PatternOptions;
use eval::scorer::ScorerOptions;
use toml::Value;

use super::arm::RawArm;

/// One key of the config file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// The section, empty for the top of the file.
    pub section: &'static str,
    /// The key in it.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// A list of numbers.
    Numbers,
    /// A whole number, not negative.
    Count,
    /// Any number.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A text or a list of texts.
    TextOrTexts,
    /// `true`, `false` or a text.
    FlagOrText,
    /// Tables of their own, each checked as a whole: `[[section.key]]`.
    Entries(Entry),
}

/// What one table of a list of tables is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry {
    /// Who answers in an evaluation.
    Arm,
    /// What judges an answer.
    Scorer,
    /// What must not get worse.
    Guardrail,
    /// What is hidden from models outside.
    Pattern,
}

impl Entry {
    fn refuse(self, value: &Value) -> Option<String> {
        let read = match self {
            Entry::Arm => value.clone().try_into::<RawArm>().map(drop),
            Entry::Scorer => value.clone().try_into::<ScorerOptions>().map(drop),
            Entry::Guardrail => value.clone().try_into::<Guardrail>().map(drop),
            Entry::Pattern => value.clone().try_into::<PatternOptions>().map(drop),
        };
        read.err().map(|error| error.message().lines().next().unwrap_or_default().to_owned())
    }
}

/// Sections of the file, in its order.
pub const SECTIONS: &[&str] =
    &["model", "data", "lora", "train", "eval", "decision", "cost", "redact", "device", "output"];

/// Every key of the file, in its order.
pub const KEYS: &[Key] = &[
    key("", "version", Kind::Count),
    key("", "name", Kind::Text),
    key("model", "base", Kind::Text),
    key("data", "set", Kind::Text),
    key("data", "train", Kind::Text),
    key("data", "valid", Kind::Text),
    key("data", "test", Kind::Text),
    key("data", "system", Kind::Text),
    key("data", "prompt", Kind::Text),
    key("data", "max_tokens", Kind::Count),
    key("data", "overflow", Kind::Choice(&["refuse", "truncate-left", "truncate-right"])),
    key("data", "train_on", Kind::Choice(&["last", "assistant", "all"])),
    key("data", "valid_fraction", Kind::Number),
    key("data", "split_modulus", Kind::Count),
    key("data", "split_remainder", Kind::Count),
    key("data", "near_duplicates", Kind::Choice(&["none", "minhash", "tfidf-cosine", "both"])),
    key("data", "jaccard", Kind::Number),
    key("data", "cosine", Kind::Number),
    key("data", "limit_train", Kind::Count),
    key("data", "limit_valid", Kind::Count),
    key("data", "limit_test", Kind::Count),
    key("lora", "r", Kind::Count),
    key("lora", "lora_alpha", Kind::Number),
    key("lora", "lora_dropout", Kind::Number),
    key("lora", "target_modules", Kind::TextOrTexts),
    key("lora", "use_rslora", Kind::Flag),
    key("lora", "init_lora_weights", Kind::FlagOrText),
    key("lora", "init_adapter", Kind::Text),
    key("train", "epochs", Kind::Number),
    key("train", "max_steps", Kind::Count),
    key("train", "rows_per_step", Kind::Count),
    key("train", "micro_batch_tokens", Kind::Count),
    key("train", "learning_rate", Kind::Number),
    key("train", "schedule", Kind::Choice(&["linear", "cosine", "constant"])),
    key("train", "warmup_steps", Kind::Count),
    key("train", "min_learning_rate_share", Kind::Number),
    key("train", "adam_beta1", Kind::Number),
    key("train", "adam_beta2", Kind::Number),
    key("train", "adam_epsilon", Kind::Number),
    key("train", "weight_decay", Kind::Number),
    key("train", "max_grad_norm", Kind::Number),
    key("train", "seed", Kind::Count),
    key("train", "recompute", Kind::Choice(&["auto", "never", "always"])),
    key("train", "save_every_steps", Kind::Count),
    key("train", "keep_checkpoints", Kind::Count),
    key("train", "valid_every_steps", Kind::Count),
    key("train", "log_every_steps", Kind::Count),
    key("eval", "enabled", Kind::Flag),
    key("eval", "max_new_tokens", Kind::Count),
    key("eval", "batch_rows", Kind::Count),
    key("eval", "labels", Kind::Texts),
    key("eval", "arm", Kind::Entries(Entry::Arm)),
    key("eval", "limit", Kind::Count),
    key("eval", "scorer", Kind::Entries(Entry::Scorer)),
    key("eval", "egress", Kind::Choice(&["none", "loopback", "private", "public"])),
    key("eval", "private_hosts", Kind::Texts),
    key("decision", "candidate", Kind::Text),
    key("decision", "baseline", Kind::Texts),
    key("decision", "metric", Kind::Text),
    key("decision", "margin", Kind::Number),
    key("decision", "alpha", Kind::Number),
    key("decision", "power", Kind::Number),
    key("decision", "n_max", Kind::Count),
    key("decision", "baseline_floor", Kind::Number),
    key("decision", "min_groups", Kind::Count),
    key("decision", "covariates", Kind::Texts),
    key("decision", "bin_edges", Kind::Numbers),
    key("decision", "expected_flips", Kind::Number),
    key("decision", "slices", Kind::Texts),
    key("decision", "guardrail", Kind::Entries(Entry::Guardrail)),
    key("cost", "max_usd", Kind::Number),
    key("cost", "prices", Kind::Text),
    key("cost", "hardware_usd_per_hour", Kind::Number),
    key("cost", "fixed_usd_per_month", Kind::Number),
    key("cost", "local_share", Kind::Number),
    key("redact", "kinds", Kind::Texts),
    key("redact", "names", Kind::Text),
    key("redact", "pattern", Kind::Entries(Entry::Pattern)),
    key("device", "name", Kind::Text),
    key("device", "precision", Kind::Choice(&["auto", "f32", "f16", "bf16"])),
    key("output", "dir", Kind::Text),
];

const fn key(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, kind }
}

impl Key {
    /// The key with its section, as `--set` takes it.
    #[must_use]
    pub fn path(&self) -> String {
        path(self.section, self.name)
    }

    /// Finds a key by its path.
    #[must_use]
    pub fn find(wanted: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.path() == wanted)
    }
}

/// A key with its section.
#[must_use]
pub fn path(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// The keys that a misspelt or misplaced one may have been: the nearest in its section, else elsewhere.
#[must_use]
pub fn nearest(section: &str, name: &str) -> Vec<String> {
    let of = |within: bool| {
        let candidates = KEYS.iter().filter(|key| (key.section == section) == within);
        nearest_of(name, candidates.map(|key| (key.name, key.path())))
    };
    let inside = of(true);
    if inside.is_empty() { of(false) } else { inside }
}

/// The words that a misspelt one may have been; more than one where they are equally near.
#[must_use]
pub fn nearest_word(wrong: &str, known: &[&str]) -> Vec<String> {
    nearest_of(wrong, known.iter().map(|word| (*word, (*word).to_owned())))
}

fn nearest_of<'a>(wrong: &str, known: impl Iterator<Item = (&'a str, String)>) -> Vec<String> {
    let near: Vec<(usize, String)> = known
        .map(|(word, shown)| (strsim::damerau_levenshtein(wrong, word), word.len(), shown))
        .filter(|(distance, length, _)| *distance <= 1 + length / 3)
        .map(|(distance, _, shown)| (distance, shown))
        .collect();
    let least = near.iter().map(|(distance, _)| *distance).min();
    near.into_iter().filter(|(distance, _)| Some(*distance) == least).map(|(_, shown)| shown).collect()
}

/// `did you mean …?`, or the list of what is known.
#[must_use]
pub fn did_you_mean(near: &[String], otherwise: impl FnOnce() -> String) -> String {
    match near {
        [] => otherwise(),
        near => {
            let quoted: Vec<String> = near.iter().map(|key| format!("`{key}`")).collect();
            format!("did you mean {}?", quoted.join(" or "))
        }
    }
}

impl Kind {
    /// What is wrong with a value and what to type, if anything is.
    #[must_use]
    pub fn refuse(&self, value: &Value) -> Option<(String, String)> {
        let fits = match self {
            Kind::Text => value.is_str(),
            Kind::Texts => is_texts(value),
            Kind::Numbers => {
                value.as_array().is_some_and(|list| list.iter().all(|one| one.is_float() || one.is_integer()))
            }
            Kind::Count => value.as_integer().is_some_and(|number| number >= 0),
            Kind::Number => value.is_float() || value.is_integer(),
            Kind::Flag => value.is_bool(),
            Kind::TextOrTexts => value.is_str() || is_texts(value),
            Kind::FlagOrText => value.is_bool() || value.is_str(),
            Kind::Entries(entry) => match value.as_array() {
                Some(list) => return entry_refused(*entry, list),
                None => false,
            },
            Kind::Choice(words) => return words_refused(words, std::slice::from_ref(value)),
        };
        (!fits).then(|| (format!("is {}", shown(value)), format!("write {}", self.wanted())))
    }

    fn wanted(&self) -> String {
        match self {
            Kind::Text => "a text in quotes".to_owned(),
            Kind::Texts => "a list of texts, such as [\"a\", \"b\"]".to_owned(),
            Kind::Numbers => "a list of numbers, such as [100, 200]".to_owned(),
            Kind::Count => "a whole number from 0".to_owned(),
            Kind::Number => "a number".to_owned(),
            Kind::Flag => "true or false".to_owned(),
            Kind::Choice(words) => format!("one of: {}", words.join(", ")),
            Kind::TextOrTexts => "a text or a list of texts".to_owned(),
            Kind::FlagOrText => "true or a text".to_owned(),
            Kind::Entries(_) => "tables, each under its own [[heading]]".to_owned(),
        }
    }
}

fn entry_refused(entry: Entry, list: &[Value]) -> Option<(String, String)> {
    let wrong = |(at, value): (usize, &Value)| entry.refuse(value).map(|what| (at + 1, what));
    let (at, what) = list.iter().enumerate().find_map(wrong)?;
    Some((format!("number {at}: {what}"), "its keys are in configs/README.md".to_owned()))
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_str))
}

fn words_refused(words: &'static [&'static str], values: &[Value]) -> Option<(String, String)> {
    let wrong = values.iter().find(|value| !value.as_str().is_some_and(|word| words.contains(&word)))?;
    let near = wrong.as_str().map(|word| nearest_word(word, words)).unwrap_or_default();
    let known = format!("write {}", Kind::Choice(words).wanted());
    let hint = if near.is_empty() { known } else { did_you_mean(&near, String::new) };
    Some((format!("has the unknown value {}", shown(wrong)), hint))
}

/// A value as the file writes it, or its kind where that would be long.
#[must_use]
pub fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_owned(),
        other => {
            let text = other.to_string();
            if text.chars().count() > 60 { format!("a {}", other.type_str()) } else { text }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_or_misplaced_key_finds_its_place() {
        assert_eq!(nearest("train", "learning_rte"), ["train.learning_rate"]);
        assert_eq!(nearest("lora", "learning_rate"), ["train.learning_rate"]);
        assert_eq!(nearest("train", "adam_betax"), ["train.adam_beta1", "train.adam_beta2"]);
        assert!(nearest("data", "completely_different").is_empty());
    }

    #[test]
    fn a_value_of_another_kind_is_refused_with_what_to_write() {
        let refuse = |kind: Kind, text: &str| {
            let table: toml::Table = format!("v = {text}").parse().unwrap();
            kind.refuse(&table["v"])
        };
        assert_eq!(refuse(Kind::Count, "-1").unwrap(), ("is -1".into(), "write a whole number from 0".into()));
        assert_eq!(refuse(Kind::Number, "2"), None);
        assert!(refuse(Kind::Flag, "\"yes\"").unwrap().1.contains("true or false"));
        let (what, hint) = refuse(Kind::Choice(&["linear", "cosine"]), "\"lineer\"").unwrap();
        assert_eq!((what.as_str(), hint.as_str()), ("has the unknown value \"lineer\"", "did you mean `linear`?"));
        let (what, _) = refuse(Kind::Entries(Entry::Arm), "[{ name = \"a\", provider = \"gpt\" }]").unwrap();
        assert!(what.starts_with("number 1: unknown variant `gpt`"), "{what}");
        assert!(refuse(Kind::Texts, "[1]").is_some());
    }
}
