//! What is written down about the call of one row: how it ended, how long it took, what it used and what it cost.
//! Knows nothing about scores; a call that failed is a class here and never a number.

use serde::{Deserialize, Serialize};

use super::stage::Stage;
use crate::wire::Usd;
use crate::wire::{CallError, Usage};
use crate::{Completion, Finish};

/// How the call of one row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// The model answered.
    Ok,
    /// The model refused.
    Refusal,
    /// A filter of the provider held the answer back.
    ContentFilter,
    /// The answer reached the token limit.
    Truncated,
    /// No whole answer came within the time allowed.
    Timeout,
    /// The provider could not be had, after all retries.
    ProviderOutage,
    /// The provider refused the request itself.
    ClientError,
    /// What came back is not an answer of this dialect.
    Malformed,
    /// Not sent, or not sent again, because the money cap would have been passed.
    Budget,
    /// Not sent, or not sent again, because the run was stopped.
    Cancelled,
    /// A replay has no recorded answer for it.
    NotRecorded,
}

impl CallOutcome {
    /// Every class, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::Refusal,
        Self::ContentFilter,
        Self::Truncated,
        Self::Timeout,
        Self::ProviderOutage,
        Self::ClientError,
        Self::Malformed,
        Self::Budget,
        Self::Cancelled,
        Self::NotRecorded,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refusal => "refusal",
            Self::ContentFilter => "content_filter",
            Self::Truncated => "truncated",
            Self::Timeout => "timeout",
            Self::ProviderOutage => "provider_outage",
            Self::ClientError => "client_error",
            Self::Malformed => "malformed",
            Self::Budget => "budget",
            Self::Cancelled => "cancelled",
            Self::NotRecorded => "not_recorded",
        }
    }

    /// Whether the model itself had its say: such a row is cached, for every run.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Ok | Self::Refusal | Self::ContentFilter | Self::Truncated)
    }

    /// Whether a resumed run takes the row as it is. A row that timed out or came back malformed was judged, and
    /// asking again until it comes out well would favour the arm; rows that were never answered are asked again.
    pub fn is_final(self) -> bool {
        self.is_answer() || matches!(self, Self::Timeout | Self::Malformed)
    }
}

/// Why the usage of an answer cannot be trusted; its cost is then unknown and its worst case counts as possibly spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageProblem {
    /// The provider named none.
    Missing,
    /// It names no input at all, or no output for an answer that has text.
    Empty,
    /// It names more tokens than the request can have used.
    AboveBound,
    /// It was counted by us, so it is no ground for an exact cost.
    Estimated,
}

/// What is written down about the call of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRecord {
    /// How it ended.
    pub outcome: CallOutcome,
    /// Why there is no answer, if there is none.
    pub reason: Option<String>,
    /// Seconds from sending to the last byte, of the last attempt; waits between attempts are not part of it.
    pub latency_secs: Option<f64>,
    /// Seconds from sending to the first text, of a streamed answer.
    pub time_to_first_token_secs: Option<f64>,
    /// Attempts after the first.
    pub retries: u32,
    /// What the provider says it used.
    pub usage: Option<Usage>,
    /// Why that cannot be trusted.
    pub usage_problem: Option<UsageProblem>,
    /// What the answer cost, exactly; none when it is not known, which is not nothing.
    pub cost_usd: Option<Usd>,
    /// The worst case of the attempts of this row that may have been billed without a usage.
    pub possibly_spent_usd: Usd,
    /// The model that answered, by its own word.
    pub served_model: Option<String>,
    /// The provider's name for the call.
    pub request_id: Option<String>,
    /// Whether the answer was paid for elsewhere: by another run, or by another row with the same request.
    /// Its latency and cost are those of the first time and must feed neither latency nor cost figures.
    pub cached: bool,
    /// The SHA-256 of the price table behind the cost.
    pub price_table_sha256: Option<String>,
}

impl CallRecord {
    /// The record of a row that was not sent.
    pub(in crate::provider) fn without_answer(outcome: CallOutcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            reason: Some(reason.into()),
            latency_secs: None,
            time_to_first_token_secs: None,
            retries: 0,
            usage: None,
            usage_problem: None,
            cost_usd: None,
            possibly_spent_usd: Usd::ZERO,
            served_model: None,
            request_id: None,
            cached: false,
            price_table_sha256: None,
        }
    }
}

/// The completion of one row and the record of its call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// The row.
    pub id: String,
    /// Which of the repeats of this row it is, from 0.
    pub repeat: u32,
    /// The answer.
    pub completion: Completion,
    /// The record.
    pub record: CallRecord,
}

/// The class of an answer that ended so.
pub(in crate::provider) fn outcome_of_finish(finish: &Finish) -> CallOutcome {
    match finish {
        Finish::Stop => CallOutcome::Ok,
        Finish::Length => CallOutcome::Truncated,
        Finish::Refusal { .. } => CallOutcome::Refusal,
        Finish::ContentFilter { .. } => CallOutcome::ContentFilter,
        Finish::Timeout => CallOutcome::Timeout,
        // The provider says that the model wrote something that it cannot show.
        Finish::Failed { .. } => CallOutcome::Malformed,
    }
}

/// The class of an error that will not be retried; `outage` is what the retry rules say about it.
pub(super) fn outcome_of_error(error: &CallError, outage: bool) -> CallOutcome {
    match error {
        CallError::Timeout { .. } => CallOutcome::Timeout,
        CallError::Malformed { .. } => CallOutcome::Malformed,
        CallError::Cut { .. } | CallError::Connection { .. } => CallOutcome::ProviderOutage,
        CallError::Api { kind, .. } if is_filter(kind) => CallOutcome::ContentFilter,
        CallError::Api { .. } if outage => CallOutcome::ProviderOutage,
        CallError::Api { .. } | CallError::Refused { .. } => CallOutcome::ClientError,
    }
}

/// Whether an attempt that ended so may have been billed; nothing that did not leave this machine is.
///
/// Requests that are refused before the model runs cost nothing: 4xx but 408, and the statuses that say "too busy".
/// Anything else may have run the model, so it may be on the invoice.
pub(super) fn may_be_billed(error: &CallError, stage: Stage) -> bool {
    match error {
        CallError::Api { status: 408, .. } => stage.is_sent(),
        CallError::Refused { .. } | CallError::Api { status: 300..=499 | 503 | 529, .. } => false,
        _ => stage.is_sent(),
    }
}

/// The completion of a row that has no answer.
pub(in crate::provider) fn completion_without_answer(outcome: CallOutcome, reason: &str) -> Completion {
    let finish = match outcome {
        CallOutcome::Timeout => Finish::Timeout,
        CallOutcome::ContentFilter => Finish::ContentFilter { category: Some(reason.to_owned()) },
        _ => Finish::Failed { reason: format!("{}: {reason}", outcome.name()) },
    };
    Completion::of("", finish)
}

/// Some hosts answer 400 when their filter stops a prompt; that is a judgement on the row, not a faulty request.
fn is_filter(kind: &str) -> bool {
    ["content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"].contains(&kind)
}

/// What is wrong with a usage, given the most tokens that the request can have used.
pub(in crate::provider) fn check_usage(
    usage: Option<&Usage>,
    has_text: bool,
    max_input: u64,
    max_output: u64,
) -> Option<UsageProblem> {
    let Some(usage) = usage else { return Some(UsageProblem::Missing) };
    let sum = |parts: &[u64]| parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
    // Not `usage.input()`: absurd counts must not overflow.
    let input = sum(&[usage.input_uncached, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h]);
    let output = sum(&[usage.output_visible, usage.output_reasoning]);
    match (input, output) {
        (Some(input), Some(output)) if input <= max_input && output <= max_output => {
            if input == 0 || (has_text && output == 0) {
                Some(UsageProblem::Empty)
            } else {
                usage.estimated.then_some(UsageProblem::Estimated)
            }
        }
        _ => Some(UsageProblem::AboveBound),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn api(status: u16, kind: &str) -> CallError {
        CallError::Api {
            status,
            kind: kind.to_owned(),
            message: String::new(),
            field: None,
            wait_secs: None,
            should_retry: None,
            last: false,
        }
    }

    #[test]
    fn names_are_what_files_say() {
        for outcome in CallOutcome::ALL {
            assert_eq!(serde_json::to_string(&outcome).unwrap(), format!("\"{}\"", outcome.name()));
        }
    }

    #[test]
    fn a_rate_limit_is_an_outage_and_a_wrong_key_is_a_client_error() {
        assert_eq!(outcome_of_error(&api(429, ""), true), CallOutcome::ProviderOutage);
        assert_eq!(outcome_of_error(&api(401, ""), false), CallOutcome::ClientError);
        assert_eq!(outcome_of_error(&api(400, "content_filter"), false), CallOutcome::ContentFilter);
        assert_eq!(outcome_of_error(&CallError::Timeout { seconds: 1.0 }, false), CallOutcome::Timeout);
    }

    #[test]
    fn only_what_was_refused_before_the_model_ran_is_certainly_free() {
        for status in [302, 400, 401, 413, 429, 503, 529] {
            assert!(!may_be_billed(&api(status, ""), Stage::Sent), "{status}");
        }
        for status in [200, 408, 500, 502, 504] {
            assert!(may_be_billed(&api(status, ""), Stage::Sent), "{status}");
        }
        assert!(may_be_billed(&CallError::Cut { characters: 0 }, Stage::Sent));
        let connection = CallError::Connection { what: String::new() };
        assert!(may_be_billed(&connection, Stage::Sent));
        assert!(!may_be_billed(&connection, Stage::Name) && !may_be_billed(&connection, Stage::Connection));
    }

    #[test]
    fn usage_that_cannot_be_is_named() {
        let usage = |input, output| Usage { input_uncached: input, output_visible: output, ..Usage::default() };
        let check = |usage: Usage| check_usage(Some(&usage), true, 100, 10);
        assert_eq!(check(usage(100, 10)), None);
        assert_eq!(check(usage(101, 10)), Some(UsageProblem::AboveBound));
        assert_eq!(check(usage(5, 11)), Some(UsageProblem::AboveBound));
        assert_eq!(check(Usage { cache_read: u64::MAX, ..usage(5, 5) }), Some(UsageProblem::AboveBound));
        assert_eq!(check(usage(0, 3)), Some(UsageProblem::Empty));
        assert_eq!(check(usage(3, 0)), Some(UsageProblem::Empty));
        assert_eq!(check(Usage { estimated: true, ..usage(3, 3) }), Some(UsageProblem::Estimated));
        assert_eq!(check_usage(None, true, 1, 1), Some(UsageProblem::Missing));
    }

    #[test]
    fn a_record_with_a_field_we_do_not_know_is_refused() {
        let record = CallRecord::without_answer(CallOutcome::Budget, "not sent");
        let mut json = serde_json::to_value(&record).unwrap();
        assert_eq!(serde_json::from_value::<CallRecord>(json.clone()).unwrap(), record);
        json["colour"] = "red".into();
        assert!(serde_json::from_value::<CallRecord>(json).is_err());
    }
}
