//! Owns the evaluation of what lives in this process: baselines, the base and adapters as arms on the same held-out rows.
//! Knows no network and no file of results; computes no score itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use eval::baseline::Example;
use eval::{Arm, ArmResult, EvaluateOptions, GenerateOptions, HeldOut, Identity, Progress};
use model::Model;
use model::engine::AdapterId;

use crate::config::arm::{Provider, RawArm, Source};
use crate::local_lm::{LocalModel, Speech};

/// The model that local arms are made of.
pub struct Local<'a> {
    /// The base with its adapters.
    pub model: &'a Model,
    /// The adapter of the run.
    pub tuned: AdapterId,
    /// Other adapters with the words that they are asked in, by the name of their arm.
    pub others: BTreeMap<String, (AdapterId, Speech)>,
    /// Text to ids and back.
    pub speech: &'a Speech,
    /// What identifies the base.
    pub base: BTreeMap<String, String>,
    /// What identifies each adapter, by the name of its arm.
    pub adapters: BTreeMap<String, String>,
}

/// What is asked, and how.
pub struct Asking<'a> {
    /// The held-out rows.
    pub held_out: &'a HeldOut,
    /// What judges them.
    pub task: &'a eval::Task,
    /// Training rows as the baselines learn them: bare input and answer.
    pub train: &'a [(String, String)],
    /// Most new tokens of an answer.
    pub max_new_tokens: usize,
    /// Rows asked at once.
    pub batch_rows: usize,
    /// Seed of what is drawn.
    pub seed: u64,
    /// Set by whoever asks to stop: the evaluation ends before its next batch.
    pub stop: Arc<AtomicBool>,
}

/// The arms of a config that names none.
#[must_use]
fn standard_arms(labels: bool) -> Vec<RawArm> {
    let learned = if labels { Provider::Tfidf } else { Provider::Nearest };
    [Provider::Majority, learned, Provider::Base, Provider::Tuned].map(RawArm::plain).to_vec()
}

/// The arms that are asked: those that a config names and the free baselines, which stand beside them unless the config
/// leaves them out; the standard ones where it names none.
pub fn arms(named: &[RawArm], baselines: bool, labels: bool) -> Result<Vec<RawArm>> {
    let (free, local): (Vec<RawArm>, Vec<RawArm>) =
        standard_arms(labels).into_iter().partition(|arm| arm.provider.source() == Source::Baseline);
    let free = if baselines { free } else { Vec::new() };
    if named.is_empty() {
        return Ok(free.into_iter().chain(local).collect());
    }
    let mut arms = named.to_vec();
    for baseline in free.into_iter().filter(|free| named.iter().all(|arm| arm.provider != free.provider)) {
        if named.iter().any(|arm| arm.name == baseline.name) {
            bail!(
                "eval.arm: an arm of another kind is named \"{}\", and the baseline of that name stands beside it\n\
                 hint: rename the arm, or write baselines = false under [eval]",
                baseline.name
            );
        }
        arms.push(baseline);
    }
    Ok(arms)
}

/// Asks and judges one arm that needs no network: a baseline, the base or an adapter.
pub fn evaluate(
    asking: &Asking<'_>,
    arm: &RawArm,
    local: &Local<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ArmResult> {
    let options = EvaluateOptions {
        generate: GenerateOptions { max_tokens: asking.max_new_tokens, temperature: 0.0, seed: asking.seed },
        batch_rows: asking.batch_rows,
    };
    let name = arm.name.clone();
    let result = if arm.provider.source() == Source::Baseline {
        let examples: Vec<Example<'_>> =
            asking.train.iter().map(|(text, label)| Example { text, label: label.as_str() }).collect();
        let learned = eval::baseline::fit(arm.provider.as_str(), &examples);
        learned.and_then(|learned| {
            let arm = Arm::Baseline { name, learned: &learned };
            eval::evaluate_arm(asking.held_out, asking.task, arm, &options, progress)
        })
    } else {
        let (adapter, speech) = match arm.provider {
            Provider::Base => (None, local.speech),
            Provider::Tuned => (Some(local.tuned), local.speech),
            _ => {
                let (adapter, speech) = local.others.get(&arm.name).context("the adapter was not loaded")?;
                (Some(*adapter), speech)
            }
        };
        let mut model =
            LocalModel::new(&arm.name, local.model.clone(), adapter, speech.clone()).stopped_by(asking.stop.clone());
        let mut facts = local.base.clone();
        if speech.template.sha256() != local.speech.template.sha256() {
            facts.insert("chat_template_sha256".to_owned(), speech.template.sha256());
        }
        facts.extend(local.adapters.get(&arm.name).map(|sha256| ("adapter_sha256".to_owned(), sha256.clone())));
        let model_name = facts.get("base").cloned();
        let identity = Identity { provider: "local".to_owned(), model: model_name, egress: "none".to_owned(), facts };
        let arm = Arm::Model { name, identity, model: &mut model };
        eval::evaluate_arm(asking.held_out, asking.task, arm, &options, progress)
    };
    result.with_context(|| format!("cannot evaluate {}", arm.name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(arms: &[Provider]) -> Vec<RawArm> {
        arms.iter().copied().map(RawArm::plain).collect()
    }

    fn names(named: &[RawArm], baselines: bool, labels: bool) -> Vec<String> {
        arms(named, baselines, labels).unwrap().into_iter().map(|arm| arm.name).collect()
    }

    #[test]
    fn the_free_baselines_stand_beside_the_arms_that_are_named() {
        let own = named(&[Provider::Tuned]);
        assert_eq!(names(&own, true, true), ["tuned", "majority", "tfidf"]);
        assert_eq!(names(&own, true, false), ["tuned", "majority", "nearest"]);
        assert_eq!(names(&own, false, true), ["tuned"]);
        // What is named already is not asked twice, whatever it is called.
        let cheap = RawArm { name: "cheap".to_owned(), ..RawArm::plain(Provider::Majority) };
        assert_eq!(names(&[cheap], true, true), ["cheap", "tfidf"]);
        assert_eq!(names(&[], true, true), ["majority", "tfidf", "base", "tuned"]);
        assert_eq!(names(&[], false, true), ["base", "tuned"]);
    }

    #[test]
    fn an_arm_with_the_name_of_a_baseline_is_refused_with_two_ways_out() {
        let arm = RawArm { name: "majority".to_owned(), ..RawArm::plain(Provider::Tuned) };
        let error = arms(std::slice::from_ref(&arm), true, true).unwrap_err().to_string();
        assert!(error.contains("hint: rename the arm, or write baselines = false"), "{error}");
        assert_eq!(names(&[arm], false, true), ["majority"]);
    }
}
