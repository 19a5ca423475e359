//! One row: attempts until there is an answer, no reason to try again, no money, or a stop.
//! Knows nothing about the other rows but through the gate and the budget.

use super::attempt::{Attempted, WireRequest, attempt};
use super::budget::{Reserved, Spend};
use super::journal::{Begin, Done, Settle};
use super::limiter::{Echo, Gate};
use super::record::{self, Answered, CallOutcome, CallRecord};
use super::transport::Transport;
use super::{Ask, HostedModel, Place};
use crate::wire::retry::{Decision, decide};
use crate::wire::{Answer, CallError, Usd};
use crate::{Completion, Error};

/// A wait is slept in pieces of at most this, so that a stop does not have to wait for it.
const NAP_SECS: f64 = 0.1;

/// What one row needs of its batch.
pub(super) struct Batch<'a> {
    pub(super) model: &'a HostedModel,
    pub(super) transport: &'a Transport,
    pub(super) gate: &'a Gate,
    pub(super) stopped: &'a (dyn Fn() -> bool + Sync),
    /// Is told how each row ended that was sent, before its place is given to another row.
    pub(super) note: &'a (dyn Fn(CallOutcome, Option<&CallError>) + Sync),
}

impl Batch<'_> {
    /// Answers one row.
    ///
    /// # Errors
    /// When the journal cannot be written: without it nothing may be sent.
    pub(super) fn answer(&self, ask: &Ask, wire: &WireRequest) -> Result<Answered, Error> {
        let shared = &self.model.shared;
        let place = Place { arm: self.model.settings.name.clone(), row: ask.id.clone(), repeat: ask.repeat };
        if let Some(found) = shared.journal.find(&wire.cache_key, &place)? {
            return Ok(Answered {
                id: place.row,
                repeat: place.repeat,
                completion: found.completion,
                record: found.record,
            });
        }
        let mut call = Call {
            batch: self,
            wire,
            worst: self.model.worst_case(wire.bound.input_tokens, wire.bound.output_tokens)?,
            possibly_spent: shared.journal.possibly_spent(&place)?,
            place,
            retries: 0,
            used_secs: 0.0,
            last_error: None,
        };
        call.run()
    }

    fn sleep(&self, seconds: f64) {
        let clock = &self.model.shared.clock;
        let end_secs = clock.now_secs() + seconds;
        while !(self.stopped)() {
            let left_secs = end_secs - clock.now_secs();
            if left_secs <= 0.0 {
                return;
            }
            clock.sleep(left_secs.min(NAP_SECS));
        }
    }
}

/// The call of one row as it goes on.
struct Call<'a> {
    batch: &'a Batch<'a>,
    wire: &'a WireRequest,
    place: Place,
    /// The most one attempt can cost; none without a price.
    worst: Option<Usd>,
    possibly_spent: Usd,
    retries: u32,
    /// Seconds of attempts and of waits between them. Waiting for a place or for money is not the provider's doing.
    used_secs: f64,
    last_error: Option<CallError>,
}

impl Call<'_> {
    fn run(&mut self) -> Result<Answered, Error> {
        let shared = &self.batch.model.shared;
        loop {
            if !self.batch.gate.enter(self.batch.stopped) {
                return Ok(self.not_sent(CallOutcome::Cancelled, "the run was stopped"));
            }
            let reserved = shared.budget.reserve(self.worst.unwrap_or_default(), self.batch.stopped);
            if reserved != Reserved::Granted {
                self.leave(Echo::Silent);
                return Ok(match reserved {
                    Reserved::Refused => self.not_sent(CallOutcome::Budget, "not sent: the money cap"),
                    _ => self.not_sent(CallOutcome::Cancelled, "the run was stopped"),
                });
            }
            if let Some(answered) = self.send()? {
                return Ok(answered);
            }
        }
    }

    /// One attempt, for which there is a place and money; the row if it is done, after which nothing is held any more.
    fn send(&mut self) -> Result<Option<Answered>, Error> {
        let HostedModel { dialect, key, settings, shared, .. } = self.batch.model;
        let begun = shared.journal.begin(Begin {
            key: self.wire.cache_key,
            place: self.place.clone(),
            unix_secs: shared.clock.unix_secs(),
            reserved: self.worst,
        });
        let attempt_id = match begun {
            Ok(attempt_id) => attempt_id,
            Err(error) => {
                shared.budget.settle(self.worst.unwrap_or_default(), Spend::Nothing);
                self.leave(Echo::Silent);
                return Err(error);
            }
        };
        let left_secs = settings.policy.total_secs - self.used_secs;
        let attempted = attempt(self.batch.transport, &*shared.clock, *dialect, key.as_ref(), self.wire, left_secs);
        self.used_secs += attempted.latency_secs;
        let spend = self.spend(&attempted);
        if let Spend::Possible(amount) = spend {
            self.possibly_spent = self.possibly_spent.plus(amount);
        }
        let jitter = self.wire.cache_key.uniform(settings.seed, self.retries);
        let decision = match &attempted.result {
            Ok(_) => None,
            Err(error) => Some(decide(error, self.retries, &settings.policy, jitter)),
        };
        let wait_secs = match decision {
            // A wait that ends after the time allowed is not waited for.
            Some(Decision::Wait(wait_secs)) if self.used_secs + wait_secs < settings.policy.total_secs => {
                Some(wait_secs)
            }
            _ => None,
        };
        let outage = !matches!(decision, Some(Decision::GiveUp { outage: false }));
        let done = wait_secs.is_none().then(|| self.done(&attempted, spend, outage));
        let kept = done.as_ref().filter(|answered| answered.record.outcome.is_final()).map(|answered| Done {
            key: self.wire.cache_key,
            arm: self.place.arm.clone(),
            answered: answered.clone(),
        });
        if let Some(answered) = &done {
            (self.batch.note)(answered.record.outcome, attempted.result.as_ref().err());
        }
        self.leave(echo(&attempted.result));
        let error = attempted.result.err();
        let settled = shared.journal.settle(Settle {
            attempt: attempt_id,
            spend,
            error: error.as_ref().map(ToString::to_string),
            done: kept,
        });
        shared.budget.settle(self.worst.unwrap_or_default(), spend);
        settled?;
        if done.is_some() {
            return Ok(done);
        }
        let wait_secs = wait_secs.unwrap_or_default();
        self.retries += 1;
        self.used_secs += wait_secs;
        self.last_error = error;
        self.batch.sleep(wait_secs);
        Ok(None)
    }

    /// What an attempt is settled at.
    fn spend(&self, attempted: &Attempted) -> Spend {
        if let Err(error) = &attempted.result
            && !record::may_be_billed(error, attempted.stage)
        {
            return Spend::Nothing;
        }
        let (Some(worst), Some(tariff)) = (self.worst, &self.batch.model.tariff) else { return Spend::Unknown };
        match &attempted.result {
            // A cost above the worst case would mean that the table contradicts itself.
            Ok(answer) if self.usage_problem(answer).is_none() => answer
                .usage
                .and_then(|usage| tariff.cost(&usage))
                .filter(|cost| *cost <= worst)
                .map_or(Spend::Possible(worst), Spend::Exact),
            Ok(_) | Err(_) => Spend::Possible(worst),
        }
    }

    fn usage_problem(&self, answer: &Answer) -> Option<record::UsageProblem> {
        let bound = self.wire.bound;
        let has_text = !answer.text.is_empty();
        record::check_usage(answer.usage.as_ref(), has_text, bound.input_tokens, bound.output_tokens)
    }

    fn done(&self, attempted: &Attempted, spend: Spend, outage: bool) -> Answered {
        let (completion, outcome, reason) = match &attempted.result {
            Ok(answer) => {
                let tokens = |count: fn(&crate::wire::Usage) -> u64| {
                    let trusted = answer.usage.as_ref().filter(|_| self.usage_problem(answer).is_none());
                    trusted.map_or(0, |usage| usize::try_from(count(usage)).unwrap_or(usize::MAX))
                };
                let completion = Completion {
                    text: answer.text.clone(),
                    written: None,
                    finish: answer.finish.clone(),
                    prompt_tokens: tokens(crate::wire::Usage::input),
                    completion_tokens: tokens(crate::wire::Usage::output),
                };
                (completion, record::outcome_of_finish(&answer.finish), None)
            }
            Err(error) => {
                let outcome = record::outcome_of_error(error, outage);
                let reason = error.to_string();
                (record::completion_without_answer(outcome, &reason), outcome, Some(reason))
            }
        };
        let answer = attempted.result.as_ref().ok();
        let record = CallRecord {
            outcome,
            reason,
            latency_secs: attempted.stage.is_sent().then_some(attempted.latency_secs),
            time_to_first_token_secs: attempted.time_to_first_token_secs,
            retries: self.retries,
            usage: answer.and_then(|answer| answer.usage),
            usage_problem: answer.and_then(|answer| self.usage_problem(answer)),
            cost_usd: match spend {
                Spend::Exact(cost) => Some(cost),
                _ => None,
            },
            possibly_spent_usd: self.possibly_spent,
            served_model: answer.and_then(|answer| answer.model.clone()),
            request_id: attempted.request_id.clone(),
            cached: false,
            price_table_sha256: self.batch.model.tariff.as_ref().map(|tariff| tariff.table_sha256().to_owned()),
        };
        Answered { id: self.place.row.clone(), repeat: self.place.repeat, completion, record }
    }

    fn not_sent(&self, outcome: CallOutcome, why: &str) -> Answered {
        let reason = match &self.last_error {
            Some(error) => format!("{why}, after {error}"),
            None => why.to_owned(),
        };
        let record = CallRecord {
            retries: self.retries.saturating_sub(1),
            possibly_spent_usd: self.possibly_spent,
            ..CallRecord::without_answer(outcome, reason.clone())
        };
        let completion = record::completion_without_answer(outcome, &reason);
        Answered { id: self.place.row.clone(), repeat: self.place.repeat, completion, record }
    }

    fn leave(&self, echo: Echo) {
        self.batch.gate.leave(echo, self.batch.model.shared.clock.now_secs());
    }
}

/// What an attempt says about how many calls the provider bears.
fn echo(result: &Result<Answer, CallError>) -> Echo {
    match result {
        Ok(_) => Echo::Good,
        Err(CallError::Api { status: 429 | 529, .. }) => Echo::Overloaded,
        Err(CallError::Api { kind, .. }) if kind == "overloaded_error" || kind == "rate_limit_error" => {
            Echo::Overloaded
        }
        Err(_) => Echo::Silent,
    }
}
