//! Whether a failed call is tried again, and after how long: one table for all providers.
//! Knows nothing about clocks, sockets or random numbers; the total time of a call is watched by whoever makes it.

use serde::{Deserialize, Serialize};

use super::CallError;

/// The longest wait of a provider that is honoured, in seconds; a longer one is replaced by our own.
pub const LONGEST_WAIT_SECS: f64 = 60.0;
const FIRST_BACKOFF_SECS: f64 = 0.5;
const LONGEST_BACKOFF_SECS: f64 = 8.0;
/// How much of a wait chance may take away, so that many callers do not come back at once.
const JITTER: f64 = 0.25;
/// Errors inside a stream that began with status 200, by the words of the providers for what would have been a status to retry.
const RETRIED_KINDS: [&str; 11] = [
    "overloaded_error",
    "rate_limit_error",
    "api_error",
    "timeout_error",
    "server_error",
    "rate_limit_exceeded",
    "service_unavailable_error",
    "UNAVAILABLE",
    "INTERNAL",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
];

/// How often and how long a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Tries after the first; 0 means none.
    pub max_retries: u32,
    /// The time for all tries and waits of one call.
    pub total_secs: f64,
    /// The time to connect.
    pub connect_secs: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_retries: 2, total_secs: 600.0, connect_secs: 5.0 }
    }
}

/// What becomes of a failed call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// It is tried again after so many seconds.
    Wait(f64),
    /// It is not tried again.
    GiveUp {
        /// Whether the provider is to blame, so that the row is missing; otherwise the request is, or the time was over.
        outage: bool,
    },
}

/// The table: `x-should-retry` decides alone; else 408, 409, 429, 5xx, their words inside a stream, broken and malformed answers are retried.
///
/// `uniform` is a random number in [0, 1). Waits are those of the official client libraries of Anthropic and OpenAI.
pub fn decide(error: &CallError, retries_so_far: u32, policy: &Policy, uniform: f64) -> Decision {
    let outage = is_outage(error);
    if !is_retried(error) || retries_so_far >= policy.max_retries {
        return Decision::GiveUp { outage };
    }
    let asked = match error {
        CallError::Api { wait_secs, .. } => wait_secs.filter(|wait| *wait > 0.0 && *wait <= LONGEST_WAIT_SECS),
        _ => None,
    };
    Decision::Wait(asked.unwrap_or_else(|| backoff_secs(retries_so_far, uniform)))
}

/// min(0.5·2^k, 8) · (1 − 0.25·U) seconds.
pub fn backoff_secs(retries_so_far: u32, uniform: f64) -> f64 {
    // Doubling stops long before the exponent could overflow.
    let doubled = FIRST_BACKOFF_SECS * f64::from(1_u32 << retries_so_far.min(16));
    doubled.min(LONGEST_BACKOFF_SECS) * (1.0 - JITTER * uniform.clamp(0.0, 1.0))
}

fn is_retried(error: &CallError) -> bool {
    match error {
        CallError::Api { should_retry: Some(decided), .. } => *decided,
        CallError::Api { last, .. } => !last && is_outage(error),
        // The time allowed covers all tries, so that none is left; and what is refused now is refused again.
        CallError::Timeout { .. } | CallError::Refused { .. } => false,
        CallError::Connection { .. } | CallError::Cut { .. } | CallError::Malformed { .. } => true,
    }
}

fn is_outage(error: &CallError) -> bool {
    match error {
        CallError::Api { status, kind, last, should_retry, .. } => {
            let in_stream = *status == 200 && RETRIED_KINDS.contains(&kind.as_str());
            *last || *should_retry == Some(true) || in_stream || matches!(status, 408 | 409 | 429) || *status >= 500
        }
        CallError::Timeout { .. } | CallError::Refused { .. } => false,
        CallError::Connection { .. } | CallError::Cut { .. } | CallError::Malformed { .. } => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn api(status: u16, kind: &str, wait_secs: Option<f64>, should_retry: Option<bool>, last: bool) -> CallError {
        let (kind, message) = (kind.to_owned(), String::new());
        CallError::Api { status, kind, message, field: None, wait_secs, should_retry, last }
    }

    fn first(error: &CallError) -> Decision {
        decide(error, 0, &Policy::default(), 0.0)
    }

    #[test]
    fn the_table_of_statuses_is_followed() {
        for status in [408, 409, 429, 500, 502, 503, 504, 529] {
            assert_eq!(first(&api(status, "", None, None, false)), Decision::Wait(0.5), "{status}");
        }
        for status in [400, 401, 402, 403, 404, 413, 422] {
            assert_eq!(first(&api(status, "", None, None, false)), Decision::GiveUp { outage: false }, "{status}");
        }
    }

    #[test]
    fn a_field_that_is_refused_is_not_sent_again() {
        let words = || String::new();
        let error = CallError::Refused {
            status: 400,
            kind: words(),
            message: words(),
            parameter: "temperature".to_owned(),
            remedy: words(),
        };
        assert_eq!(first(&error), Decision::GiveUp { outage: false });
    }

    #[test]
    fn an_error_inside_a_stream_is_judged_by_its_word() {
        assert_eq!(first(&api(200, "overloaded_error", None, None, false)), Decision::Wait(0.5));
        assert_eq!(first(&api(200, "invalid_request_error", None, None, false)), Decision::GiveUp { outage: false });
    }

    #[test]
    fn the_header_decides_alone() {
        assert_eq!(first(&api(400, "", None, Some(true), false)), Decision::Wait(0.5));
        assert_eq!(first(&api(429, "", None, Some(false), false)), Decision::GiveUp { outage: true });
    }

    #[test]
    fn a_quota_per_day_is_not_waited_for_and_is_an_outage() {
        assert_eq!(first(&api(429, "", Some(3.0), None, true)), Decision::GiveUp { outage: true });
        assert_eq!(first(&api(400, "billing_error", None, None, true)), Decision::GiveUp { outage: true });
    }

    #[test]
    fn broken_answers_are_tried_again_and_a_spent_time_is_not() {
        for error in [
            CallError::Connection { what: String::new() },
            CallError::Cut { characters: 3 },
            CallError::Malformed { what: String::new() },
        ] {
            assert_eq!(first(&error), Decision::Wait(0.5));
            assert_eq!(decide(&error, 2, &Policy::default(), 0.0), Decision::GiveUp { outage: true });
        }
        assert_eq!(first(&CallError::Timeout { seconds: 600.0 }), Decision::GiveUp { outage: false });
    }

    #[test]
    fn zero_retries_means_none() {
        let policy = Policy { max_retries: 0, ..Policy::default() };
        assert_eq!(
            decide(&api(429, "", Some(1.0), Some(true), false), 0, &policy, 0.0),
            Decision::GiveUp { outage: true }
        );
    }

    #[test]
    fn a_wait_is_honoured_between_zero_and_a_minute() {
        for (asked, wait) in [(12.5, 12.5), (60.0, 60.0), (60.1, 0.5), (0.0, 0.5), (-1.0, 0.5)] {
            assert_eq!(first(&api(429, "", Some(asked), None, false)), Decision::Wait(wait), "{asked}");
        }
    }

    #[test]
    fn our_own_waits_double_up_to_eight_seconds_less_a_quarter_by_chance() {
        let waits: Vec<f64> = (0..7).map(|retries| backoff_secs(retries, 0.0)).collect();
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
        assert_eq!(backoff_secs(u32::MAX, 1.0), 6.0);
        assert_eq!(backoff_secs(1, 0.5), 0.875);
    }
}
