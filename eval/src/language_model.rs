//! The seam between the evaluation and whatever writes the answers: one trait, messages in, text and log-likelihoods out.
//! Knows nothing about tokens, tensors or sockets; a local checkpoint, a hosted service and a scripted fake look the same from here.

pub use datasets::{Message, Role};
use serde::{Deserialize, Serialize};

use crate::{Error, reasoning};

/// How answers are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateOptions {
    /// The most tokens one answer may have; an answer that reaches it is `Finish::Length`.
    pub max_tokens: usize,
    /// 0 takes the most likely token each time.
    pub temperature: f64,
    /// What the random numbers of this call start from; the rows of one call must still differ from each other.
    pub seed: u64,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Finish {
    /// The model ended its turn.
    Stop,
    /// The answer reached `max_tokens`: it is not known how it would have gone on.
    Length,
    /// The model refused.
    Refusal {
        /// The provider's word for why, if it gave one.
        category: Option<String>,
    },
    /// A filter of the provider cut the answer or held it back.
    ContentFilter {
        /// The provider's word for why, if it gave one.
        category: Option<String>,
    },
    /// The time allowed ended before the answer did.
    Timeout,
    /// No answer could be had for this row, for a reason that is not the model's judgement, such as a provider that is down.
    Failed {
        /// The reason, for the report.
        reason: String,
    },
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// The text, the reasoning of a thinking model included, without the end-of-turn token and without what a chat template
    /// writes around an answer.
    pub text: String,
    /// All that was written, where that is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt as the model saw it.
    pub prompt_tokens: usize,
    /// Tokens of the answer, the end-of-turn token included.
    pub completion_tokens: usize,
}

impl Completion {
    /// A text that ended so, of nobody who counted tokens.
    #[must_use]
    pub(crate) fn of(text: impl Into<String>, finish: Finish) -> Self {
        Self { text: text.into(), written: None, finish, prompt_tokens: 0, completion_tokens: 0 }
    }

    /// What counts of it: its text without reasoning. Its tokens stay those of all that was written.
    #[must_use]
    pub fn said(&self) -> Self {
        let text = reasoning::content(&self.text);
        let more = (text.len() < self.text.len()).then(|| self.text.clone());
        Self { text: text.to_owned(), written: self.written.clone().or(more), ..self.clone() }
    }
}

/// Something that answers prompts with text.
pub trait LanguageModel {
    /// The name in reports.
    fn name(&self) -> &str;

    /// One completion for each prompt, in the order of the prompts.
    ///
    /// # Errors
    /// When the model fails as a whole; a failure of one row is `Finish::Failed`.
    fn generate(&mut self, prompts: &[Vec<Message>], options: &GenerateOptions) -> Result<Vec<Completion>, Error>;

    /// For each prompt the total log-likelihood (natural logarithm) of each label as the whole answer of the assistant, end-of-turn token included.
    ///
    /// This is a capability: the default says that the model does not have it, and a model that has it
    /// returns an empty list for no prompts, which is how the evaluation asks before the run.
    ///
    /// # Errors
    /// `Error::Unsupported` when the model cannot rank, or when the model fails as a whole.
    fn rank(&mut self, _prompts: &[Vec<Message>], _labels: &[String]) -> Result<Vec<Vec<f64>>, Error> {
        Err(Error::Unsupported { model: self.name().to_owned(), capability: "rank labels by likelihood" })
    }
}
