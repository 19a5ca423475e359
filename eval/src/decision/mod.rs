//! What is decided before the first output of a candidate is seen: margin, error rate, metric, test, slices, guardrails, limits.
//! Knows nothing about scores or verdicts; the file that holds a decision is in `store`, who may still change it in `registration`.

mod check;
mod hash;
pub mod reads;
pub mod registration;
pub mod store;

use serde::{Deserialize, Serialize};

use crate::Error;
pub use crate::stats::non_inferiority::{Test, choose};
pub use hash::differing_keys;
pub use reads::{Read, Reads};
pub use registration::{Registration, Stage, Standing, later};

/// The version of the format of a decision.
pub const VERSION: u32 = 2;
/// The oldest version that is read: its decisions did not fix which rows the split holds out.
pub const OLDEST: u32 = 1;

/// Everything a verdict depends on that a person could choose after the fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The version of this format.
    pub version: u32,
    /// The arm that is in use now.
    pub baseline: String,
    /// The arms that may replace it; with several, Holm's correction runs over them.
    pub candidates: Vec<String>,
    /// The metric that decides.
    pub metric: String,
    /// δ: the largest loss, in units of the score, that is still no loss.
    pub margin: f64,
    /// The one-sided error rate of the claim.
    pub alpha: f64,
    /// The power that `items needed` and the smallest detectable difference promise.
    pub power: f64,
    /// How the bounds are made; see [`choose`].
    pub test: Test,
    /// What the groups of rows are, as a plural for the reader: `owners`, `documents`.
    pub groups: String,
    /// Slices about which a claim may be made.
    pub slices: Slices,
    /// What must not get worse besides the metric.
    pub guardrails: Vec<Guardrail>,
    /// What the break point is searched along, in this order; each has its share of alpha.
    pub covariates: Vec<Covariate>,
    /// Rows that may be judged at most.
    pub n_max: usize,
    /// The limits of the validity gates.
    pub gates: GateLimits,
    /// The seed of everything random.
    pub seed: u64,
    /// SHA-256 of the files that the rows come from.
    pub set_sha256: String,
    /// SHA-256 of the rows that the split holds out, with their groups and targets, and of the labels; none in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_sha256: Option<String>,
    /// SHA-256 of the prompt template.
    pub prompt_sha256: String,
    /// SHA-256 of the scorer and its settings.
    pub scorer_sha256: String,
}

/// Registered slices and the correction for reading them together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slices {
    /// The correction.
    pub family: Family,
    /// Their names.
    pub names: Vec<String>,
}

/// A correction for several claims at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Holm (1979).
    #[default]
    Holm,
}

/// What must not get worse, with its own margin or limit; each is tested at full alpha (intersection–union test, Berger 1982).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Guardrail {
    /// The share of answers that the schema allows may fall by less than `margin`.
    SchemaValidity {
        /// Largest loss of the share.
        #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
        margin: f64,
    },
    /// The share of refused answers may rise by less than `margin`.
    RefusalRate {
        /// Largest rise of the share.
        #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
        margin: f64,
    },
    /// The share of answers that did not come in time may rise by less than `margin`.
    TimeoutRate {
        /// Largest rise of the share.
        #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
        margin: f64,
    },
    /// 95 % of the candidate's answers come within the limit; a timeout never does.
    LatencyP95 {
        /// The limit in seconds.
        #[schemars(range(max = 86_400), extend("exclusiveMinimum" = 0))]
        limit_secs: f64,
    },
    /// A correct answer of the candidate costs at most 1 + `margin` times what it costs from the baseline; `-0.5` asks for
    /// half.
    CostPerCorrect {
        /// Largest rise, as a share of the baseline's cost.
        #[schemars(range(max = 1000), extend("exclusiveMinimum" = -1))]
        margin: f64,
    },
}

impl Guardrail {
    /// The name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SchemaValidity { .. } => "schema_validity",
            Self::RefusalRate { .. } => "refusal_rate",
            Self::TimeoutRate { .. } => "timeout_rate",
            Self::LatencyP95 { .. } => "latency_p95",
            Self::CostPerCorrect { .. } => "cost_per_correct",
        }
    }
}

/// Something known before the answer that says how hard a prompt is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covariate {
    /// Its name in words that fit after a number: `input tokens`, `labels`.
    pub name: String,
    /// Where its bins end.
    pub bins: Bins,
}

/// How the bins of a covariate come to be; both ways use the inputs only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Bins {
    /// Upper edges, inclusive and growing; rows above the last one are not tested.
    Edges {
        /// The edges.
        upper: Vec<f64>,
    },
    /// Bins of at least the rows that the power formula asks for with this variance of a row's difference.
    Merged {
        /// n·SE² of a pilot, or the expected share of rows that flip.
        variance: f64,
    },
}

/// The limits of the validity gates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateLimits {
    /// Largest share of pairs without a score.
    pub missing_share: f64,
    /// Smallest p-value of McNemar's exact test on which arm the scores are missing in.
    pub missing_difference_p: f64,
    /// Largest share of answers, of either arm, that cannot be parsed.
    pub unparsed_share: f64,
    /// Fewest groups.
    pub min_clusters: usize,
    /// The score under which the baseline is taken for broken; none when the task declares none.
    pub baseline_floor: Option<f64>,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            missing_share: 0.02,
            missing_difference_p: 0.05,
            unparsed_share: 0.05,
            min_clusters: 20,
            baseline_floor: None,
        }
    }
}

impl Decision {
    /// Reads a decision and checks it.
    ///
    /// # Errors
    /// When it is no JSON of this shape, has another version, or a value that cannot work.
    pub fn parse(text: &str) -> Result<Self, Error> {
        hash::require_version(text, OLDEST..=VERSION)?;
        let decision: Self = serde_json::from_str(text)?;
        decision.check()?;
        Ok(decision)
    }

    /// The same in the words of a version: what that one did not fix is not held against it.
    #[must_use]
    pub(crate) fn in_version(&self, version: u32) -> Self {
        let held_out_sha256 = self.held_out_sha256.clone().filter(|_| version > OLDEST);
        Self { version: version.min(self.version), held_out_sha256, ..self.clone() }
    }

    /// Checks every value, and names all problems at once.
    ///
    /// # Errors
    /// When a value cannot work.
    pub fn check(&self) -> Result<(), Error> {
        let problems = check::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(Error::BadDecision { problems }) }
    }

    /// The one text of this decision: JSON with sorted keys and without white space, numbers in their shortest exact form.
    ///
    /// # Errors
    /// When the decision cannot be written as JSON.
    pub fn canonical_json(&self) -> Result<String, Error> {
        Ok(hash::canonical(&serde_json::to_value(self)?))
    }

    /// SHA-256 of [`Self::canonical_json`], in lower-case hexadecimal: the name by which reports cite the decision.
    ///
    /// # Errors
    /// When the decision cannot be written as JSON.
    pub fn registered_sha256(&self) -> Result<String, Error> {
        Ok(datasets::digest::sha256_hex(self.canonical_json()?.as_bytes()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn decision() -> Decision {
        Decision {
            version: VERSION,
            baseline: "tfidf".to_owned(),
            candidates: vec!["tuned".to_owned()],
            metric: "exact_match".to_owned(),
            margin: 0.03,
            alpha: 0.05,
            power: 0.8,
            test: Test::Tango,
            groups: "owners".to_owned(),
            slices: Slices::default(),
            guardrails: Vec::new(),
            covariates: Vec::new(),
            n_max: 100_000,
            gates: GateLimits::default(),
            seed: 7,
            set_sha256: "a".repeat(64),
            held_out_sha256: Some("d".repeat(64)),
            prompt_sha256: "b".repeat(64),
            scorer_sha256: "c".repeat(64),
        }
    }

    #[test]
    fn a_decision_survives_writing_and_reading_and_keeps_its_hash() {
        let mut decision = decision();
        decision.guardrails =
            vec![Guardrail::SchemaValidity { margin: 0.01 }, Guardrail::LatencyP95 { limit_secs: 2.5 }];
        decision.covariates = vec![
            Covariate { name: "labels".to_owned(), bins: Bins::Edges { upper: vec![3.0, 9.0] } },
            Covariate { name: "input tokens".to_owned(), bins: Bins::Merged { variance: 0.1 } },
        ];
        let pretty = serde_json::to_string_pretty(&decision).unwrap();
        let again = Decision::parse(&pretty).unwrap();
        assert_eq!(again, decision);
        assert_eq!(again.registered_sha256().unwrap(), decision.registered_sha256().unwrap());
        decision.margin = 0.030_000_000_000_000_002;
        assert_ne!(again.registered_sha256().unwrap(), decision.registered_sha256().unwrap());
    }

    #[test]
    fn unknown_keys_at_any_depth_and_other_versions_are_refused() {
        let good = serde_json::to_string(&{
            let mut decision = decision();
            decision.guardrails = vec![Guardrail::RefusalRate { margin: 0.01 }];
            decision
        })
        .unwrap();
        assert!(Decision::parse(&good).is_ok());
        for (from, to) in [
            ("\"alpha\"", "\"alfa\""),
            ("\"kind\":", "\"limit\":1,\"kind\":"),
            ("\"min_clusters\"", "\"min_groups\""),
            ("\"version\":2", "\"version\":3"),
            ("\"version\":2", "\"version\":1"),
            ("held_out_sha256", "heldout_sha256"),
        ] {
            assert_ne!(good.replace(from, to), good);
            assert!(Decision::parse(&good.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn keys_are_sorted_so_that_the_order_of_fields_in_the_code_does_not_matter() {
        let canonical = decision().canonical_json().unwrap();
        assert!(
            canonical.starts_with("{\"alpha\":0.05,\"baseline\":\"tfidf\",\"candidates\":[\"tuned\"],"),
            "{canonical}"
        );
        assert!(!canonical.contains(' '));
    }
}
