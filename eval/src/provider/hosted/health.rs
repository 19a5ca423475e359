//! When an arm is stopped as a whole: a wrong key or model fails every row in the same way, and a long outage loses every row.
//! Knows nothing about rows but how they ended, in the order in which they ended.

use super::record::CallOutcome;
use crate::Error;
use crate::wire::CallError;

/// The kind of every prompt that is too long for the model, which says nothing about the other prompts.
const TOO_LONG: &str = "context_length_exceeded";

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRules {
    /// Rows in a row that are refused in the same way; a refusal of the key, model or address before any answer stops at once. 0 never stops.
    pub same_refusals: u32,
    /// Rows in a row that the provider does not answer: outages, timeouts, malformed answers. 0 never stops.
    pub outages: u32,
}

impl Default for StopRules {
    fn default() -> Self {
        Self { same_refusals: 5, outages: 50 }
    }
}

/// The state behind the rules, as a value.
#[derive(Debug)]
pub(super) struct Health {
    rules: StopRules,
    has_answered: bool,
    same: Option<(u16, String)>,
    num_same: u32,
    num_outages: u32,
}

impl Health {
    pub(super) fn new(rules: StopRules) -> Self {
        Self { rules, has_answered: false, same: None, num_same: 0, num_outages: 0 }
    }

    /// Takes note of how a row ended; the error that stops the arm, if it should be stopped.
    pub(super) fn note(
        &mut self,
        model: &str,
        key_variable: &str,
        outcome: CallOutcome,
        error: Option<&CallError>,
    ) -> Option<Error> {
        if let Some(refusal) = error.and_then(|error| Refusal::of(error, outcome, key_variable)) {
            let this = (refusal.status, refusal.kind.to_owned());
            self.num_same = if self.same.as_ref() == Some(&this) { self.num_same + 1 } else { 1 };
            self.same = Some(this);
            let enough = match (self.has_answered, refusal.about) {
                (false, About::Account | About::Field) => self.rules.same_refusals.min(1),
                (false, About::Unknown) | (true, About::Account) => self.rules.same_refusals,
                // Once one row was answered, prompts that are refused are refused for themselves, such as for their length.
                (true, About::Field | About::Unknown) => 0,
            };
            let halt = enough > 0 && self.num_same >= enough && refusal.kind != TOO_LONG;
            return halt.then(|| Error::ArmRefused {
                model: model.to_owned(),
                problem: error.map(ToString::to_string).unwrap_or_default(),
                hint: refusal.hint,
            });
        }
        match outcome {
            outcome if outcome.is_answer() => {
                (self.has_answered, self.same, self.num_same, self.num_outages) = (true, None, 0, 0);
                None
            }
            // A server that hangs, or speaks another dialect, loses every row just as one that is down.
            CallOutcome::ProviderOutage | CallOutcome::Timeout | CallOutcome::Malformed => {
                self.num_outages += 1;
                let halt = self.rules.outages > 0 && self.num_outages >= self.rules.outages;
                halt.then(|| Error::ProviderDown {
                    model: model.to_owned(),
                    rows: self.num_outages,
                    problem: error.map(ToString::to_string).unwrap_or_default(),
                })
            }
            // Rows that were not sent say nothing about the provider.
            _ => None,
        }
    }
}

/// What a provider refuses, as far as it can be told from its answer.
#[derive(Clone, Copy, Debug)]
enum About {
    /// The key, the model, the address or the money: every row.
    Account,
    /// A field that stands in the request of every row.
    Field,
    /// The prompt of this row, or something of all rows.
    Unknown,
}

/// One refusal, with what to do about it.
struct Refusal<'a> {
    status: u16,
    kind: &'a str,
    about: About,
    hint: String,
}

impl<'a> Refusal<'a> {
    /// None when the error is no refusal.
    fn of(error: &'a CallError, outcome: CallOutcome, key_variable: &str) -> Option<Self> {
        match error {
            CallError::Refused { status, kind, remedy, .. } => {
                Some(Self { status: *status, kind, about: About::Field, hint: remedy.clone() })
            }
            CallError::Api { status, kind, last, .. } if outcome == CallOutcome::ClientError || *last => {
                let of_account = *last || matches!(status, 300..=399 | 401..=404);
                let about = if of_account { About::Account } else { About::Unknown };
                Some(Self { status: *status, kind, about, hint: hint(*status, *last, key_variable) })
            }
            _ => None,
        }
    }
}

fn hint(status: u16, last: bool, key_variable: &str) -> String {
    match status {
        401 => format!(
            "check that {key_variable} holds a whole key of this provider, which takes it as key_header and api_version say"
        ),
        _ if last => {
            "the money or the quota of the account is used up: add some, or go on when it is renewed".to_owned()
        }
        402 => "the account has no money left".to_owned(),
        403 => format!("the account of {key_variable} may not use this model, or not from here"),
        404 => "check the exact name of the model, the address and the api_version".to_owned(),
        300..=399 => "the address redirects, and a key does not follow: set the final address".to_owned(),
        _ => "check max_tokens, temperature, system_as and extra of this arm: some models refuse sampling fields"
            .to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn api(status: u16, last: bool) -> CallError {
        CallError::Api {
            status,
            kind: format!("kind-{status}"),
            message: "no".to_owned(),
            field: None,
            wait_secs: None,
            should_retry: None,
            last,
        }
    }

    fn refused(health: &mut Health, status: u16) -> Option<String> {
        let error = health.note("m", "THE_KEY", CallOutcome::ClientError, Some(&api(status, false)));
        error.map(|error| error.to_string())
    }

    #[test]
    fn a_wrong_key_model_or_address_stops_the_arm_at_the_first_row() {
        for (status, word) in [(401, "THE_KEY"), (403, "may not"), (404, "exact name"), (307, "redirects")] {
            let error = refused(&mut Health::new(StopRules::default()), status).unwrap();
            assert!(error.contains(word) && error.contains("hint:"), "{error}");
        }
    }

    #[test]
    fn the_same_bad_request_five_times_stops_an_arm_that_never_answered() {
        let mut health = Health::new(StopRules::default());
        assert!((0..4).all(|_| refused(&mut health, 400).is_none()));
        assert!(refused(&mut health, 400).unwrap().contains("max_tokens"));
    }

    #[test]
    fn a_field_that_is_refused_stops_the_arm_at_the_first_row_and_says_what_to_leave_out() {
        let error = CallError::Refused {
            status: 400,
            kind: "invalid_request_error".to_owned(),
            message: "no".to_owned(),
            parameter: "temperature".to_owned(),
            remedy: "take temperature out of the arm".to_owned(),
        };
        let mut health = Health::new(StopRules::default());
        let told = health.note("m", "K", CallOutcome::ClientError, Some(&error)).unwrap().to_string();
        assert!(told.contains("it refuses `temperature`"), "{told}");
        assert!(told.ends_with("\nhint: take temperature out of the arm"), "{told}");
        let mut health = Health::new(StopRules::default());
        health.note("m", "K", CallOutcome::Ok, None);
        assert!((0..100).all(|_| health.note("m", "K", CallOutcome::ClientError, Some(&error)).is_none()));
    }

    #[test]
    fn after_an_answer_only_what_is_about_the_account_stops_the_arm() {
        let mut health = Health::new(StopRules::default());
        health.note("m", "K", CallOutcome::Ok, None);
        assert!((0..100).all(|_| refused(&mut health, 400).is_none()));
        assert!((0..4).all(|_| refused(&mut health, 401).is_none()));
        assert!(refused(&mut health, 401).is_some());
    }

    #[test]
    fn an_answer_between_refusals_starts_the_count_again() {
        let mut health = Health::new(StopRules::default());
        health.note("m", "K", CallOutcome::Ok, None);
        for _ in 0..10 {
            assert!((0..4).all(|_| refused(&mut health, 401).is_none()));
            health.note("m", "K", CallOutcome::Truncated, None);
        }
    }

    #[test]
    fn a_used_up_quota_and_a_long_outage_stop_the_arm() {
        let mut health = Health::new(StopRules { outages: 3, ..StopRules::default() });
        let quota = health.note("m", "K", CallOutcome::ProviderOutage, Some(&api(429, true)));
        assert!(quota.unwrap().to_string().contains("used up"));
        let mut down = || health.note("m", "K", CallOutcome::ProviderOutage, Some(&api(500, false)));
        assert!(down().is_none() && down().is_none());
        assert!(matches!(down(), Some(Error::ProviderDown { rows: 3, .. })));
    }

    #[test]
    fn a_server_that_hangs_or_speaks_another_dialect_stops_the_arm_too() {
        let mut health = Health::new(StopRules { outages: 2, ..StopRules::default() });
        let timeout = CallError::Timeout { seconds: 9.0 };
        assert!(health.note("m", "K", CallOutcome::Timeout, Some(&timeout)).is_none());
        assert!(health.note("m", "K", CallOutcome::Ok, None).is_none());
        assert!(health.note("m", "K", CallOutcome::Timeout, Some(&timeout)).is_none());
        let malformed = CallError::Malformed { what: String::new() };
        assert!(health.note("m", "K", CallOutcome::Malformed, Some(&malformed)).is_some());
    }

    #[test]
    fn a_prompt_that_is_too_long_says_nothing_about_the_others() {
        let mut health = Health::new(StopRules::default());
        let mut error = api(400, false);
        if let CallError::Api { kind, .. } = &mut error {
            *kind = TOO_LONG.to_owned();
        }
        assert!((0..100).all(|_| health.note("m", "K", CallOutcome::ClientError, Some(&error)).is_none()));
    }

    #[test]
    fn zero_means_never() {
        let mut health = Health::new(StopRules { same_refusals: 0, outages: 0 });
        assert!((0..100).all(|_| refused(&mut health, 401).is_none()));
        let down = (0..100).map(|_| health.note("m", "K", CallOutcome::ProviderOutage, Some(&api(500, false))));
        assert!(down.into_iter().all(|stopped| stopped.is_none()));
    }
}
