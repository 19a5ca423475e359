//! Owns the keys of a config that take one of a few words, and what each word means. Knows no section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a row above `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// It is left out and counted.
    Refuse,
    /// Its start is cut off and counted.
    TruncateLeft,
    /// Its end is cut off and counted.
    TruncateRight,
}

/// Which tokens are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrainOn {
    /// The last assistant turn.
    Last,
    /// Every assistant turn.
    Assistant,
    /// Everything but the first token.
    All,
}

/// How the learning rate falls after its peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// In a straight line.
    Linear,
    /// Along half a cosine.
    Cosine,
    /// Not at all.
    Constant,
}

/// Whether layers are computed twice to save memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Recompute {
    /// As few as the memory of the device asks for; none where that is not known, as on a CPU.
    Auto,
    /// None.
    Never,
    /// All.
    Always,
}

/// The number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stored {
    /// What is fast on the device.
    Auto,
    /// Four bytes.
    F32,
    /// Half precision.
    F16,
    /// Two bytes with the range of f32.
    Bf16,
}

/// PEFT's `init_lora_weights`: a flag or a word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InitWeights {
    /// `true`.
    Flag(bool),
    /// `gaussian`.
    Named(String),
}

/// The value of a variable of the chat template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Variable {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Whole(u64),
    /// A text.
    Text(String),
}

impl Variable {
    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&String> {
        match self {
            Variable::Text(text) => Some(text),
            Variable::Flag(_) | Variable::Whole(_) => None,
        }
    }
}
