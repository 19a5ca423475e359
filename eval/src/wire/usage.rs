//! What one call used, in buckets that do not overlap.
//! Knows nothing about prices; each dialect converts its own counts into these.

use serde::{Deserialize, Serialize};

/// Tokens of one call; the first four are the whole input, the last two the whole output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Input that no cache had.
    pub input_uncached: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to a cache of five minutes.
    pub cache_write_5m: u64,
    /// Input written to a cache of one hour.
    pub cache_write_1h: u64,
    /// Output that is in the answer.
    pub output_visible: u64,
    /// Output that is thought and not shown.
    pub output_reasoning: u64,
    /// Whether we counted because the provider did not say.
    pub estimated: bool,
}

impl Usage {
    /// All input tokens.
    pub fn input(&self) -> u64 {
        self.input_uncached + self.cache_read + self.cache_write_5m + self.cache_write_1h
    }

    /// All output tokens.
    pub fn output(&self) -> u64 {
        self.output_visible + self.output_reasoning
    }
}
