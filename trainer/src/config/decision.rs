//! Owns `[decision]`, `[cost]` and `[redact]` as they are typed: what is decided before the first answer, what things cost,
//! what must not leave. Knows nothing about scores.

use std::path::PathBuf;

use eval::redact::{PatternOptions, RedactOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{MOST_ROWS, MOST_TABLES, MOST_USD};

/// `[decision]`: registered and hashed before the first answer of the candidate is seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawDecision {
    /// The arm that may replace another.
    pub candidate: String,
    /// Names of arms: the verdict is against the first that is measured, the rest are read as exploratory.
    #[schemars(
        length(max = MOST_TABLES),
        extend("x-default" = "the other arms: hosted, recorded, `tfidf`, `nearest`, majority, local")
    )]
    pub baseline: Vec<String>,
    /// The metric that decides, see [scorers](#scorers-and-metrics).
    #[schemars(extend("x-default" = "the first scorer"))]
    pub metric: Option<String>,
    /// The largest loss that is still no loss, as a share of the score.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub margin: f64,
    /// One-sided error rate of the claim.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 0.5))]
    pub alpha: f64,
    /// Power that "rows still needed" and the smallest detectable difference promise.
    #[schemars(extend("exclusiveMinimum" = 0.5, "exclusiveMaximum" = 1))]
    pub power: f64,
    /// Most rows that may be judged.
    #[schemars(range(min = 1, max = MOST_ROWS), extend("x-default" = "all held-out rows"))]
    pub n_max: Option<usize>,
    /// A baseline under this score is taken for broken.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub baseline_floor: Option<f64>,
    /// Fewest groups that a claim may rest on.
    #[schemars(range(min = 2, max = MOST_ROWS))]
    pub min_groups: usize,
    /// What the break point is sought along, in this order: `input_tokens`, or a number in the rows' `meta`.
    #[schemars(length(max = MOST_TABLES))]
    pub covariates: Vec<String>,
    /// Upper edges of the break point's bins, inclusive and rising, for every covariate.
    #[schemars(length(max = 1000), inner(range(min = -1e15, max = 1e15)), extend("x-default" = "bins are merged"))]
    pub bin_edges: Option<Vec<f64>>,
    /// Share of rows expected to flip between the arms; says how many rows a merged bin needs.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub expected_flips: f64,
    /// Divisions of the rows about which a claim may be made: text keys of the rows' `meta`.
    #[schemars(length(max = MOST_TABLES))]
    pub slices: Vec<String>,
    /// What must not get worse, see [guardrails](#guardrails).
    #[schemars(length(max = MOST_TABLES))]
    pub guardrail: Vec<eval::decision::Guardrail>,
}

/// `[cost]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCost {
    /// Most dollars that the evaluations of a run may spend on hosted models, all arms together.
    #[schemars(range(min = 0, max = MOST_USD))]
    pub max_usd: Option<f64>,
    /// A price table of your own, see [prices](#prices).
    #[schemars(extend("x-default" = "the program's table"))]
    pub prices: Option<PathBuf>,
    /// What the machine of the local model costs an hour; without it there is no break-even.
    #[schemars(range(min = 0, max = MOST_USD))]
    pub hardware_usd_per_hour: Option<f64>,
    /// What the local model costs a month whether it is asked or not.
    #[schemars(range(min = 0, max = MOST_USD), extend("x-default" = "0"))]
    pub fixed_usd_per_month: Option<f64>,
    /// Share of the calls that would be answered locally.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub local_share: f64,
}

/// `[redact]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRedact {
    /// Kinds of values that are hidden from hosted models, see [redaction](#egress-and-redaction).
    #[schemars(length(max = MOST_TABLES))]
    pub kinds: Vec<String>,
    /// A file of names to hide, one on each line; lines that begin with `#` are left out.
    pub names: Option<PathBuf>,
    /// Patterns of your own.
    #[schemars(length(max = MOST_TABLES))]
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
