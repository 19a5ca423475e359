//! Owns `[decision]`, `[cost]` and `[redact]` as they are typed: what is decided before the first answer, what things cost,
//! what must not leave. Knows nothing about scores.

use std::path::PathBuf;

use eval::redact::{PatternOptions, RedactOptions};
use serde::{Deserialize, Serialize};

/// `[decision]`: registered and hashed before the first answer of the candidate is seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDecision {
    /// The arm that may replace another.
    pub candidate: String,
    /// The arm in use now: the first of these that can be measured.
    pub baseline: Vec<String>,
    /// The metric that decides; without it the mean of the first scorer.
    pub metric: Option<String>,
    /// The largest loss that is still no loss, as a share of the score.
    pub margin: f64,
    /// The one-sided error rate of the claim.
    pub alpha: f64,
    /// The power that "rows still needed" promises.
    pub power: f64,
    /// The most rows that may be judged.
    pub n_max: Option<usize>,
    /// A baseline under this score is taken for broken.
    pub baseline_floor: Option<f64>,
    /// Fewest groups that a claim may rest on.
    pub min_groups: usize,
    /// What the break point is sought along: `input_tokens`, or a number in the rows' `meta`.
    pub covariates: Vec<String>,
    /// Upper edges of the break point's bins; without them bins are merged until each has the rows it needs.
    pub bin_edges: Option<Vec<f64>>,
    /// Share of rows expected to flip between the arms, which says how large a bin must be.
    pub expected_flips: f64,
    /// Divisions of the rows about which a claim may be made: keys of the rows' `meta`.
    pub slices: Vec<String>,
    /// What must not get worse.
    pub guardrail: Vec<eval::decision::Guardrail>,
}

/// `[cost]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCost {
    /// Most dollars that one evaluation may spend on hosted models.
    pub max_usd: Option<f64>,
    /// A table of prices that goes before that of the program, relative to the config file.
    pub prices: Option<PathBuf>,
    /// What the machine of the local model costs an hour.
    pub hardware_usd_per_hour: Option<f64>,
    /// What the local model costs a month whether it is asked or not.
    pub fixed_usd_per_month: Option<f64>,
    /// Share of the calls that would be answered locally.
    pub local_share: f64,
}

/// `[redact]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRedact {
    /// Kinds of values that are hidden from every model outside this process; none by default.
    pub kinds: Vec<String>,
    /// A file with one name on each line, relative to the config file.
    pub names: Option<PathBuf>,
    /// Patterns of your own.
    pub pattern: Vec<PatternOptions>,
}

impl RawRedact {
    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.kinds.is_empty() && self.names.is_none() && self.pattern.is_empty()
    }

    /// What a redactor is made from.
    #[must_use]
    pub fn options(&self) -> RedactOptions {
        RedactOptions { kinds: self.kinds.clone(), names: self.names.clone(), patterns: self.pattern.clone() }
    }
}

impl Default for RawDecision {
    fn default() -> Self {
        Self {
            candidate: "tuned".to_owned(),
            baseline: Vec::new(),
            metric: None,
            margin: 0.03,
            alpha: 0.05,
            power: 0.8,
            n_max: None,
            baseline_floor: None,
            min_groups: 20,
            covariates: vec!["input_tokens".to_owned()],
            bin_edges: None,
            expected_flips: 0.1,
            slices: Vec::new(),
            guardrail: Vec::new(),
        }
    }
}

impl Default for RawCost {
    fn default() -> Self {
        Self { max_usd: None, prices: None, hardware_usd_per_hour: None, fixed_usd_per_month: None, local_share: 1.0 }
    }
}
