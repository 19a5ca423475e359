//! Recorded answers instead of calls: the outputs of another run, or a log of production calls, one JSON object per line.
//! Knows nothing about sockets and costs nothing. A row that is recorded as missing is unscored; one that is not recorded and
//! one that is recorded twice are refused.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use ground::read::{self, Kind};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::hosted::record::{check_usage, completion_without_answer, outcome_of_finish};
use super::hosted::{Answered, CallOutcome, CallRecord, UsageProblem};
use crate::wire::{Usage, Usd};
use crate::{Completion, Error, Finish, Message};

/// The name of the provider in configs.
pub const NAME: &str = "replay";

/// One line of a recording. Exactly one of `id` and `prompt_sha256` says which prompt it answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The row.
    id: Option<String>,
    /// `prompt_sha256` of the messages, in hexadecimal digits.
    prompt_sha256: Option<String>,
    /// Which repeat it is.
    #[serde(default)]
    repeat: u32,
    text: String,
    #[serde(default)]
    finish: RecordedFinish,
    /// The category of a refusal or filter.
    category: Option<String>,
    usage: Option<RecordedUsage>,
    latency_secs: Option<f64>,
    time_to_first_token_secs: Option<f64>,
    cost_usd: Option<Usd>,
    model: Option<String>,
    /// Whether latency and cost belong to an earlier call and must not feed figures.
    #[serde(default)]
    cached: bool,
}

/// The usage of a call as a log may hold it. Not every provider has a cache or thoughts, so those buckets are nothing where
/// they are not named; without the two that every call has, the usage is unknown.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RecordedUsage {
    input_uncached: Option<u64>,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    output_visible: Option<u64>,
    output_reasoning: u64,
    estimated: bool,
}

impl RecordedUsage {
    fn known(self) -> Option<Usage> {
        Some(Usage {
            input_uncached: self.input_uncached?,
            cache_read: self.cache_read,
            cache_write_5m: self.cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            output_visible: self.output_visible?,
            output_reasoning: self.output_reasoning,
            estimated: self.estimated,
        })
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RecordedFinish {
    #[default]
    Stop,
    Length,
    Refusal,
    ContentFilter,
    Timeout,
    /// Nobody had an answer: the service was down, or the row was never sent.
    Missing,
}

/// Rows that an error names.
const SHOWN_ROWS: usize = 5;

/// Which prompt a line answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    Id(String),
    Prompt(String),
}

/// One question to a recording.
#[derive(Clone, Copy, Debug)]
pub struct ReplayAsk<'a> {
    /// The row.
    pub id: &'a str,
    /// Which repeat of it.
    pub repeat: u32,
    /// The prompt, for recordings that name prompts by their hash.
    pub messages: &'a [Message],
}

/// What a recording says to a list of questions.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// An answer or an unscored row for each question, in their order.
    pub answered: Vec<Answered>,
    /// Questions of which the recording says that there is no answer, or says nothing.
    pub num_missing: usize,
    /// Ids and prompt hashes in the recording that nobody asked for, sorted.
    pub extra: Vec<String>,
}

/// A recording.
#[derive(Clone, Debug)]
pub struct Replay {
    name: String,
    path: PathBuf,
    lines: HashMap<(Name, u32), Line>,
}

impl Replay {
    /// Reads a recording.
    ///
    /// # Errors
    /// `Error::ReadFile` when the file cannot be read; `Error::Recording` when it holds no answer, a line is not what is
    /// expected, or a prompt is answered twice.
    pub fn open(name: impl Into<String>, path: &Path) -> Result<Self, Error> {
        let bad = |line: usize, problem: String| Error::Recording { path: path.to_owned(), line, problem };
        let mut lines = HashMap::new();
        let read = read::lines(path, Kind::Row).map_err(|source| Error::ReadFile { path: path.to_owned(), source })?;
        for (at, line) in read.enumerate() {
            let bad = |problem: String| bad(at + 1, problem);
            let line = line.map_err(|source| bad(source.to_string()))?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_slice(&line).map_err(|source| bad(source.to_string()))?;
            let name = line.name().map_err(|problem| bad(problem.to_owned()))?;
            let shown = name.text().to_owned();
            if lines.insert((name, line.repeat), line).is_some() {
                return Err(bad(format!("\"{shown}\" is recorded more than once")));
            }
        }
        if lines.is_empty() {
            return Err(bad(0, "it holds no recorded answer".to_owned()));
        }
        Ok(Self { name: name.into(), path: path.to_owned(), lines })
    }

    /// Refuses questions that the recording says nothing about: an answer that was not written down is none, and would
    /// read as a wrong one in the figures of the arm.
    ///
    /// # Errors
    /// `Error::NotRecorded` with the first of them.
    pub fn holds_all(&self, asks: &[ReplayAsk<'_>]) -> Result<(), Error> {
        let absent: Vec<&str> = asks.iter().filter(|ask| self.find(ask).is_none()).map(|ask| ask.id).collect();
        if absent.is_empty() {
            return Ok(());
        }
        let shown = absent.iter().take(SHOWN_ROWS).map(|id| (*id).to_owned()).collect();
        Err(Error::NotRecorded { path: self.path.clone(), rows: asks.len(), absent: absent.len(), shown })
    }

    fn find(&self, ask: &ReplayAsk<'_>) -> Option<(&(Name, u32), &Line)> {
        let names = [Name::Id(ask.id.to_owned()), Name::Prompt(prompt_sha256(ask.messages))];
        names.into_iter().find_map(|name| self.lines.get_key_value(&(name, ask.repeat)))
    }

    /// The name of the arm.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks up each question by its id, else by the hash of its prompt.
    pub fn answer_all(&self, asks: &[ReplayAsk<'_>]) -> Replayed {
        let mut used = BTreeSet::new();
        let mut num_missing = 0;
        let answered = asks
            .iter()
            .map(|ask| {
                let found = self.find(ask);
                if let Some((key, _)) = found {
                    used.insert(key);
                }
                let (completion, record) = match found.filter(|(_, line)| line.is_answer()) {
                    Some((_, line)) => (line.completion(), line.record()),
                    None => {
                        num_missing += 1;
                        let reason = format!("{} holds no answer for it", self.name);
                        let completion = completion_without_answer(CallOutcome::NotRecorded, &reason);
                        (completion, CallRecord::without_answer(CallOutcome::NotRecorded, reason))
                    }
                };
                Answered { id: ask.id.to_owned(), repeat: ask.repeat, completion, record }
            })
            .collect();
        let extra: BTreeSet<&(Name, u32)> = self.lines.keys().filter(|key| !used.contains(key)).collect();
        let extra = extra.into_iter().map(|(name, _)| name.text().to_owned()).collect();
        Replayed { answered, num_missing, extra }
    }
}

/// The SHA-256 of a prompt in hexadecimal digits: role and content of each message, each behind its length in bytes as eight bytes, little end first.
pub fn prompt_sha256(messages: &[Message]) -> String {
    let mut hash = Sha256::new();
    for message in messages {
        for part in [message.role.as_str(), message.content.as_str()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Id(text) | Self::Prompt(text) => text,
        }
    }
}

impl Line {
    fn name(&self) -> Result<Name, &'static str> {
        if self
            .latency_secs
            .into_iter()
            .chain(self.time_to_first_token_secs)
            .any(|secs| !secs.is_finite() || secs < 0.0)
        {
            return Err("a time must not be negative");
        }
        if check_usage(self.usage().as_ref(), false, u64::MAX, u64::MAX) == Some(UsageProblem::AboveBound) {
            return Err("the usage has more tokens than can be counted");
        }
        if !self.is_answer() && !self.text.is_empty() {
            return Err("what is missing has no text: write \"text\": \"\"");
        }
        match (&self.id, &self.prompt_sha256) {
            (Some(id), None) => Ok(Name::Id(id.clone())),
            (None, Some(hash)) => Ok(Name::Prompt(hash.to_ascii_lowercase())),
            _ => Err("exactly one of `id` and `prompt_sha256` must be there"),
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.and_then(RecordedUsage::known)
    }

    fn is_answer(&self) -> bool {
        !matches!(self.finish, RecordedFinish::Missing)
    }

    fn finish(&self) -> Finish {
        match self.finish {
            RecordedFinish::Missing => Finish::Failed { reason: CallOutcome::NotRecorded.name().to_owned() },
            RecordedFinish::Stop => Finish::Stop,
            RecordedFinish::Length => Finish::Length,
            RecordedFinish::Refusal => Finish::Refusal { category: self.category.clone() },
            RecordedFinish::ContentFilter => Finish::ContentFilter { category: self.category.clone() },
            RecordedFinish::Timeout => Finish::Timeout,
        }
    }

    fn completion(&self) -> Completion {
        let usage = self.usage();
        let tokens = |count: fn(&Usage) -> u64| {
            usage.as_ref().map_or(0, |usage| usize::try_from(count(usage)).unwrap_or(usize::MAX))
        };
        Completion {
            text: self.text.clone(),
            written: None,
            finish: self.finish(),
            prompt_tokens: tokens(Usage::input),
            completion_tokens: tokens(Usage::output),
        }
    }

    fn record(&self) -> CallRecord {
        let mut record = CallRecord::without_answer(outcome_of_finish(&self.finish()), "");
        record.reason = None;
        record.usage = self.usage();
        record.latency_secs = self.latency_secs;
        record.time_to_first_token_secs = self.time_to_first_token_secs;
        record.cost_usd = self.cost_usd;
        record.served_model.clone_from(&self.model);
        record.cached = self.cached;
        record
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Role;

    fn open(lines: &[&str]) -> Result<Replay, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recorded.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        Replay::open("log", &path)
    }

    fn ask(id: &str) -> ReplayAsk<'_> {
        ReplayAsk { id, repeat: 0, messages: &[] }
    }

    #[test]
    fn recorded_answers_come_back_missing_ones_are_unscored_and_extra_ones_are_named() {
        let usage = r#""usage":{"input_uncached":5,"cache_read":0,"cache_write_5m":0,"cache_write_1h":0,"output_visible":2,"output_reasoning":0,"estimated":false}"#;
        let full = format!(r#"{{"id":"a","text":"yes","latency_secs":1.5,"cost_usd":"0.0002",{usage}}}"#);
        let replay = open(&[
            &full,
            "",
            r#"{"id":"b","text":"","finish":"refusal","category":"bio"}"#,
            r#"{"id":"z","text":"x"}"#,
        ]);
        let said = replay.unwrap().answer_all(&[ask("b"), ask("c"), ask("a")]);
        assert_eq!((said.num_missing, said.extra), (1, vec!["z".to_owned()]));
        let outcomes: Vec<CallOutcome> = said.answered.iter().map(|row| row.record.outcome).collect();
        assert_eq!(outcomes, [CallOutcome::Refusal, CallOutcome::NotRecorded, CallOutcome::Ok]);
        assert!(matches!(said.answered[1].completion.finish, Finish::Failed { .. }));
        let last = &said.answered[2];
        assert_eq!((last.completion.prompt_tokens, last.completion.completion_tokens), (5, 2));
        assert_eq!(last.record.cost_usd.unwrap().to_string(), "0.0002");
        assert_eq!(last.record.latency_secs, Some(1.5));
    }

    #[test]
    fn what_is_not_recorded_is_refused_by_its_row_and_what_is_recorded_as_missing_is_missing() {
        let lost = r#"{"id":"b","text":"","finish":"missing"}"#;
        let replay = open(&[r#"{"id":"a","text":"x"}"#, lost]).unwrap();
        assert!(replay.holds_all(&[ask("a"), ask("b")]).is_ok());
        let said = replay.answer_all(&[ask("a"), ask("b")]);
        assert_eq!((said.num_missing, said.extra.len()), (1, 0));
        assert!(matches!(said.answered[1].completion.finish, Finish::Failed { .. }));
        assert_eq!(said.answered[1].record.outcome, CallOutcome::NotRecorded);
        let asks = ["a", "c", "d", "e", "f", "g", "h"].map(ask);
        let error = replay.holds_all(&asks).unwrap_err().to_string();
        assert!(error.contains("holds no answer to 6 of 7 rows: \"c\", \"d\", \"e\", \"f\", \"g\", …"), "{error}");
        assert!(error.contains("hint: ") && error.contains("\"finish\": \"missing\""), "{error}");
        for empty in [Vec::new(), vec!["", "  "]] {
            assert!(open(&empty).unwrap_err().to_string().contains("holds no recorded answer"));
        }
        let said = open(&[r#"{"id":"a","text":"x","finish":"missing"}"#]).unwrap_err().to_string();
        assert!(said.contains("has no text"), "{said}");
    }

    #[test]
    fn buckets_that_are_not_named_are_nothing_and_a_usage_without_input_or_output_is_unknown() {
        let line = |usage: &str| format!(r#"{{"id":"a","text":"yes","usage":{{{usage}}}}}"#);
        let said = |usage: &str| open(&[&line(usage)]).unwrap().answer_all(&[ask("a")]).answered.remove(0);
        let two = said(r#""input_uncached":5,"output_visible":2"#);
        let usage = Usage { input_uncached: 5, output_visible: 2, ..Usage::default() };
        assert_eq!((two.record.usage, two.completion.prompt_tokens), (Some(usage), 5));
        let cached = said(r#""input_uncached":5,"cache_read":3,"output_visible":2,"output_reasoning":4"#);
        assert_eq!((cached.completion.prompt_tokens, cached.completion.completion_tokens), (8, 6));
        for unknown in [r#""input_uncached":5"#, r#""output_visible":2,"cache_read":3"#, ""] {
            assert_eq!(said(unknown).record.usage, None, "{unknown}");
        }
        // What nobody wrote down is unknown, never free of charge.
        assert_eq!(two.record.cost_usd, None);
        let error = open(&[&line(r#""input_tokens":5"#)]).unwrap_err().to_string();
        assert!(error.contains("input_tokens") && error.contains("input_uncached"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_line_may_end_with_two_signs() {
        let error = Replay::open("log", tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
        assert!(error.contains("is a folder, not a file"), "{error}");
        assert!(open(&["{\"id\":\"a\",\"text\":\"x\"}\r", "  \r", "{\"id\":\"b\",\"text\":\"y\"}"]).is_ok());
    }

    #[test]
    fn a_prompt_is_found_by_its_hash() {
        let messages = [Message::new(Role::User, "2 + 2")];
        let line = format!(r#"{{"prompt_sha256":"{}","text":"4"}}"#, prompt_sha256(&messages).to_uppercase());
        let said = open(&[&line]).unwrap().answer_all(&[ReplayAsk { id: "a", repeat: 0, messages: &messages }]);
        assert_eq!(said.answered[0].completion.text, "4");
        assert_ne!(prompt_sha256(&messages), prompt_sha256(&[Message::new(Role::System, "2 + 2")]));
    }

    #[test]
    fn repeats_are_kept_apart() {
        let replay = open(&[r#"{"id":"a","text":"x"}"#, r#"{"id":"a","repeat":1,"text":"y"}"#]).unwrap();
        let said = replay.answer_all(&[ReplayAsk { id: "a", repeat: 1, messages: &[] }]);
        assert_eq!((said.answered[0].completion.text.as_str(), said.extra), ("y", vec!["a".to_owned()]));
    }

    #[test]
    fn faulty_lines_are_refused_with_their_number() {
        for (line, word) in [
            (r#"{"id":"a","text":"x"}"#, "more than once"),
            (r#"{"id":"b","text":"x","colour":"red"}"#, "colour"),
            (r#"{"text":"x"}"#, "exactly one"),
            (r#"{"id":"b","prompt_sha256":"00","text":"x"}"#, "exactly one"),
            (r#"{"id":"b"}"#, "text"),
            (r#"{"id":"b","text":"x","finish":"done"}"#, "done"),
            (r#"{"id":"b","text":"x","cost_usd":"-1"}"#, "dollars"),
            (r#"{"id":"b","text":"x","latency_secs":-1}"#, "negative"),
            ("{", "EOF"),
        ] {
            let error = open(&[r#"{"id":"a","text":"x"}"#, line]).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("recorded.jsonl:2:"), "{line}: {error}");
        }
    }
}
