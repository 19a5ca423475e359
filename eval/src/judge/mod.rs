//! A language model as judge: pairs in both orders, rubrics, repeats with their spread, and the audit against people.
//! Knows nothing about providers or verdicts: it asks any `LanguageModel` and returns scores and facts; gates are decided elsewhere.

pub mod audit;
pub mod pairwise;
pub mod prompt;
pub mod reply;
pub mod rubric;
pub mod spread;

pub use audit::{Agreement, Audit, AuditState, LabelledSplit};
pub use pairwise::{Pair, PairResult, judge_pairs};
pub use prompt::{Form, JudgePrompt, Material};
pub use rubric::{Criterion, Graded, RubricResult, judge_rubric};
pub use spread::Spread;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Completion, Error, GenerateOptions, LanguageModel, Message};

/// How a judge is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeOptions {
    /// How often each question is asked, at least twice: one reply says nothing about how sure a judge is.
    pub repeats: usize,
    /// The most tokens of one reply.
    pub max_tokens: usize,
    /// 0 takes the most likely token each time.
    pub temperature: f64,
    /// What random numbers start from; each repeat has its own.
    pub seed: u64,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        Self { repeats: 2, max_tokens: 1024, temperature: 0.0, seed: 0 }
    }
}

/// Replies that gave no judgement, by why.
pub type Missing = BTreeMap<String, usize>;

/// What to print when a judge could favour the baseline because it comes from the same vendor, or when that cannot be told.
///
/// The baseline's vendor may be one of several judges, never the only one (Panickssery et al. 2024, self-preference).
pub fn self_preference(judge_vendors: &[&str], baseline_vendor: &str) -> Option<String> {
    let plain = |vendor: &str| vendor.trim().to_lowercase();
    let baseline = plain(baseline_vendor);
    if baseline.is_empty() || judge_vendors.iter().any(|vendor| plain(vendor).is_empty()) {
        return Some("self-preference: the vendor of judge or baseline is not known".to_owned());
    }
    let alone = !judge_vendors.is_empty() && judge_vendors.iter().all(|vendor| plain(vendor) == baseline);
    alone.then(|| format!("self-preference: the only judge and the baseline both come from {}", baseline_vendor.trim()))
}

/// The replies to all prompts of one repeat.
fn ask(
    model: &mut dyn LanguageModel,
    prompts: &[Vec<Message>],
    options: &JudgeOptions,
    repeat: usize,
) -> Result<Vec<Completion>, Error> {
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    let seed = options.seed.wrapping_add(repeat as u64);
    let options = GenerateOptions { max_tokens: options.max_tokens, temperature: options.temperature, seed };
    let replies = model.generate(prompts, &options)?;
    if replies.len() != prompts.len() {
        let (expected, found) = (prompts.len(), replies.len());
        return Err(Error::WrongCount { model: model.name().to_owned(), what: "judgements", expected, found });
    }
    Ok(replies)
}

fn check_repeats(options: &JudgeOptions) -> Result<(), Error> {
    if options.repeats < 2 {
        return Err(Error::BadOption {
            option: "judge.repeats",
            expected: "at least 2, so that the spread of the judge is known",
        });
    }
    Ok(())
}

fn count<T>(reply: Result<T, String>, missing: &mut Missing) -> Option<T> {
    reply.map_err(|reason| *missing.entry(reason).or_default() += 1).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_vendor_of_the_baseline_is_never_the_only_judge() {
        assert!(self_preference(&["Acme"], "acme ").unwrap().contains("both come from acme"));
        assert_eq!(self_preference(&["acme", "other"], "acme"), None);
        assert_eq!(self_preference(&["other"], "acme"), None);
        assert!(self_preference(&[""], "acme").unwrap().contains("not known"));
    }

    #[test]
    fn one_reply_alone_is_refused() {
        let error = check_repeats(&JudgeOptions { repeats: 1, ..JudgeOptions::default() }).unwrap_err().to_string();
        assert!(error.starts_with("judge.repeats must be at least 2"), "{error}");
    }
}
