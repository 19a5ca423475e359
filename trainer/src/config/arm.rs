//! Owns one `[[eval.arm]]` as it is typed: who answers, and how it is asked.
//! Knows nothing about what an arm scores.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One `[[eval.arm]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawArm {
    /// The name in tables and on the command line.
    pub name: String,
    /// Who answers.
    pub provider: Provider,
    /// The model by the provider's exact name. Only for hosted models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// An adapter folder, relative to the config file. Only for `adapter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// Recorded answers, relative to the config file. Only for `replay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The address of the API, without the path of a call. Needed by `openai-compatible`, else the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The environment variable that holds the key. The key itself stands in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_variable: Option<String>,
    /// A system message instead of that of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Longest answer in tokens; without it `eval.max_new_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// 0 takes the most likely token; left out where a model refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// How often each row is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<usize>,
    /// Most calls in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// How often a failed call is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Seconds a call may take with all its retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<f64>,
    /// Whether answers are streamed, which gives the time to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Whether the provider is asked to enforce the schema of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforce_schema: Option<bool>,
    /// Further fields of the request, as the provider names them.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub extra: toml::Table,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// The most frequent answer of the training rows.
    Majority,
    /// TF-IDF and logistic regression, for a closed list of answers.
    Tfidf,
    /// The answer of the nearest training row by TF-IDF.
    Nearest,
    /// The model without the adapter.
    Base,
    /// The model with the adapter of the run.
    Tuned,
    /// The model with another adapter.
    Adapter,
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions.
    Openai,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Gemini.
    Gemini,
    /// Any server that speaks Chat Completions.
    OpenaiCompatible,
    /// Recorded answers.
    Replay,
}

/// Where the answers of a provider come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Learned from the training rows.
    Baseline,
    /// A checkpoint in this process.
    Local,
    /// A service that is called, by the name of its dialect.
    Hosted(&'static str),
    /// A file.
    Recorded,
}

impl Provider {
    /// Where its answers come from.
    #[must_use]
    pub fn source(self) -> Source {
        match self {
            Self::Majority | Self::Tfidf | Self::Nearest => Source::Baseline,
            Self::Base | Self::Tuned | Self::Adapter => Source::Local,
            Self::Anthropic => Source::Hosted("anthropic"),
            Self::Openai => Source::Hosted("openai"),
            Self::OpenaiResponses => Source::Hosted("openai-responses"),
            Self::Gemini => Source::Hosted("gemini"),
            Self::OpenaiCompatible => Source::Hosted("openai-compatible"),
            Self::Replay => Source::Recorded,
        }
    }

    /// The word in configs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Majority => "majority",
            Self::Tfidf => "tfidf",
            Self::Nearest => "nearest",
            Self::Base => "base",
            Self::Tuned => "tuned",
            Self::Adapter => "adapter",
            Self::Replay => "replay",
            Self::Anthropic | Self::Openai | Self::OpenaiResponses | Self::Gemini | Self::OpenaiCompatible => {
                match self.source() {
                    Source::Hosted(dialect) => dialect,
                    _ => "",
                }
            }
        }
    }
}

impl RawArm {
    /// An arm that needs nothing but its provider, named after it.
    #[must_use]
    pub fn plain(provider: Provider) -> Self {
        Self {
            name: provider.as_str().to_owned(),
            provider,
            model: None,
            adapter: None,
            file: None,
            url: None,
            key_variable: None,
            system: None,
            max_tokens: None,
            temperature: None,
            repeats: None,
            concurrency: None,
            max_retries: None,
            timeout_secs: None,
            stream: None,
            enforce_schema: None,
            extra: toml::Table::new(),
        }
    }

    /// What is wrong with the arm by itself, and what to type; nothing if it can work.
    #[must_use]
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let name = &self.name;
        let mut fault = |what: String, hint: &str| faults.push((what, hint.to_owned()));
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            fault(format!("an arm is named \"{name}\""), "letters, digits, `-`, `_` and `.`");
        }
        let source = self.provider.source();
        let hosted = matches!(source, Source::Hosted(_));
        let only = |present: bool, fits: bool| present && !fits;
        let misplaced = [
            ("model", only(self.model.is_some(), hosted), "hosted models"),
            ("url", only(self.url.is_some(), hosted), "hosted models"),
            ("key_variable", only(self.key_variable.is_some(), hosted), "hosted models"),
            ("repeats", only(self.repeats.is_some(), hosted), "hosted models"),
            ("concurrency", only(self.concurrency.is_some(), hosted), "hosted models"),
            ("max_retries", only(self.max_retries.is_some(), hosted), "hosted models"),
            ("timeout_secs", only(self.timeout_secs.is_some(), hosted), "hosted models"),
            ("stream", only(self.stream.is_some(), hosted), "hosted models"),
            ("enforce_schema", only(self.enforce_schema.is_some(), hosted), "hosted models"),
            ("extra", only(!self.extra.is_empty(), hosted), "hosted models"),
            ("system", only(self.system.is_some(), hosted), "hosted models"),
            ("temperature", only(self.temperature.is_some(), hosted), "hosted models"),
            ("max_tokens", only(self.max_tokens.is_some(), hosted), "hosted models"),
            ("adapter", only(self.adapter.is_some(), self.provider == Provider::Adapter), "provider \"adapter\""),
            ("file", only(self.file.is_some(), self.provider == Provider::Replay), "provider \"replay\""),
        ];
        for (key, wrong, whose) in misplaced {
            if wrong {
                fault(format!("arm {name}: {key} is only for {whose}"), "take it out");
            }
        }
        if hosted && self.model.is_none() {
            fault(format!("arm {name}: no model"), "write model = \"the provider's exact name\"");
        }
        if self.provider == Provider::OpenaiCompatible && self.url.is_none() {
            fault(format!("arm {name}: no url"), "write url = \"http://127.0.0.1:8000\"");
        }
        if self.provider == Provider::Adapter && self.adapter.is_none() {
            fault(format!("arm {name}: no adapter"), "write adapter = \"the folder of an adapter\"");
        }
        if self.provider == Provider::Replay && self.file.is_none() {
            fault(format!("arm {name}: no file"), "write file = \"answers.jsonl\"");
        }
        for (key, zero) in [
            ("max_tokens", self.max_tokens == Some(0)),
            ("repeats", self.repeats == Some(0)),
            ("concurrency", self.concurrency == Some(0)),
            ("timeout_secs", self.timeout_secs.is_some_and(|secs| !(secs > 0.0 && secs.is_finite()))),
        ] {
            if zero {
                fault(format!("arm {name}: {key} must be above 0"), "take it out for the default");
            }
        }
        faults
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_provider_and_a_missing_one_are_told() {
        let arm: RawArm = toml::from_str("name = \"a\"\nprovider = \"tuned\"\nurl = \"http://x\"").unwrap();
        assert_eq!(arm.faults()[0].0, "arm a: url is only for hosted models");
        let arm: RawArm = toml::from_str("name = \"a b\"\nprovider = \"openai-compatible\"\nrepeats = 0").unwrap();
        let told: Vec<String> = arm.faults().into_iter().map(|fault| fault.0).collect();
        assert_eq!(
            told,
            ["an arm is named \"a b\"", "arm a b: no model", "arm a b: no url", "arm a b: repeats must be above 0"]
        );
        assert!(toml::from_str::<RawArm>("name = \"a\"\nprovider = \"tuned\"\nmodle = 1").is_err());
    }
}
