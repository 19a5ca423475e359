//! Owns one `[[eval.arm]]` as it is typed: who answers, and how it is asked.
//! Knows nothing about what an arm scores.

use std::path::PathBuf;

use eval::wire::{Form, KeyHeader, SystemAs, by_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::MOST_NEW_TOKENS;
use super::shown;

/// One `[[eval.arm]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawArm {
    /// The name in tables and on the command line.
    #[schemars(length(max = 200))]
    pub name: String,
    /// Who answers.
    pub provider: Provider,
    /// The provider's exact name of the model; for hosted models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "needed by hosted models"))]
    pub model: Option<String>,
    /// An adapter folder, relative to the config file; for `adapter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "needed by `adapter`"))]
    pub adapter: Option<PathBuf>,
    /// The recording, relative to the config file; its lines are described in `docs/evaluation.md`; for `replay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "needed by `replay`"))]
    pub file: Option<PathBuf>,
    /// Address of the API without the path of a call, such as `http://127.0.0.1:8000/v1`; no user name, password or query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the provider's"))]
    pub url: Option<String>,
    /// Environment variable that holds the key, in capital letters, digits and `_`; the key itself stands in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of the provider"))]
    pub key_variable: Option<String>,
    /// Header that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the provider's, see [versions](#versions-keys-and-system-messages)"))]
    pub key_header: Option<KeyHeader>,
    /// Version of the API, as the provider spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), extend("x-default" = "the provider's, see [versions](#versions-keys-and-system-messages)"))]
    pub api_version: Option<String>,
    /// A system message instead of that of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of the rows"))]
    pub system: Option<String>,
    /// Where a system message stands in a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the provider's, see [versions](#versions-keys-and-system-messages)"))]
    pub system_as: Option<SystemAs>,
    /// Longest answer in tokens, thoughts included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_NEW_TOKENS), extend("x-default" = "`eval.max_new_tokens`"))]
    pub max_tokens: Option<usize>,
    /// 0 takes the most likely token; some models refuse the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100), extend("x-default" = "left out of the request"))]
    pub temperature: Option<f64>,
    /// How often each row is asked; its score is the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100), extend("x-default" = "3"))]
    pub repeats: Option<usize>,
    /// Most calls in flight; the arm starts with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024), extend("x-default" = "32"))]
    pub concurrency: Option<usize>,
    /// Tries after the first; `0` means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100), extend("x-default" = "2"))]
    pub max_retries: Option<u32>,
    /// Seconds a call may take with all its tries and waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400), extend("exclusiveMinimum" = 0, "x-default" = "600"))]
    pub timeout_secs: Option<f64>,
    /// Streamed answers give the time to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "`true`"))]
    pub stream: Option<bool>,
    /// The provider is asked to enforce the JSON Schema of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "`false`"))]
    pub enforce_schema: Option<bool>,
    /// Further fields of the request, as the provider names them; they win over ours. A key does not belong here.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>", extend("x-default" = "–"))]
    pub extra: toml::Table,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
            key_header: None,
            api_version: None,
            system: None,
            system_as: None,
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

    /// How its dialect is to be spoken.
    #[must_use]
    pub fn form(&self) -> Form {
        Form { api_version: self.api_version.clone(), key_header: self.key_header, system_as: self.system_as }
    }

    /// What is wrong with the arm by itself, and what to type; nothing if it can work.
    #[must_use]
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let name = &shown::name(&self.name);
        let mut fault = |what: String, hint: &str| faults.push((what, hint.to_owned()));
        if self.name.is_empty() || !self.name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            fault(format!("an arm is named \"{name}\""), "letters, digits, `-`, `_` and `.`");
        }
        let source = self.provider.source();
        let hosted = matches!(source, Source::Hosted(_));
        let only = |present: bool, fits: bool| present && !fits;
        let misplaced = [
            ("model", only(self.model.is_some(), hosted), "hosted models"),
            ("url", only(self.url.is_some(), hosted), "hosted models"),
            ("key_variable", only(self.key_variable.is_some(), hosted), "hosted models"),
            ("key_header", only(self.key_header.is_some(), hosted), "hosted models"),
            ("api_version", only(self.api_version.is_some(), hosted), "hosted models"),
            ("system_as", only(self.system_as.is_some(), hosted), "hosted models"),
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
        if let Source::Hosted(dialect) = source
            && let Some((what, hint)) = by_name(dialect).ok().and_then(|dialect| self.form().fault(dialect))
        {
            fault(format!("arm {name}: {what}"), &hint);
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
        let arm: RawArm = toml::from_str("name = \"a b\"\nprovider = \"openai-compatible\"").unwrap();
        let told: Vec<String> = arm.faults().into_iter().map(|fault| fault.0).collect();
        assert_eq!(told, ["an arm is named \"a b\"", "arm a b: no model", "arm a b: no url"]);
        assert!(toml::from_str::<RawArm>("name = \"a\"\nprovider = \"tuned\"\nmodle = 1").is_err());
    }

    #[test]
    fn what_a_provider_cannot_do_is_told_before_anything_is_sent() {
        let faults = |provider: &str, more: &str| {
            let text = format!("name = \"a\"\nprovider = \"{provider}\"\nmodel = \"m\"\nurl = \"http://x\"\n{more}");
            toml::from_str::<RawArm>(&text).unwrap().faults()
        };
        for (provider, more) in [
            ("anthropic", "api_version = \"2023-06-01\"\nkey_header = \"x-api-key\"\nsystem_as = \"user\""),
            ("openai", "api_version = \"2024-10-21\"\nkey_header = \"api-key\"\nsystem_as = \"developer\""),
            ("openai-responses", "key_header = \"authorization\"\nsystem_as = \"field\""),
            ("gemini", "api_version = \"v1\"\nkey_header = \"x-goog-api-key\"\nsystem_as = \"user\""),
        ] {
            assert_eq!(faults(provider, more), [], "{provider}");
        }
        let told =
            ("arm a: gemini has no place for a system message as \"system\"", "write system_as = one of: field, user");
        assert_eq!(faults("gemini", "system_as = \"system\""), [(told.0.to_owned(), told.1.to_owned())]);
        assert!(faults("openai", "api_version = \"1&x=2\"")[0].0.starts_with("arm a: api_version is "));
        let local: RawArm = toml::from_str("name = \"a\"\nprovider = \"tuned\"\nsystem_as = \"user\"").unwrap();
        assert_eq!(local.faults()[0].0, "arm a: system_as is only for hosted models");
    }
}
