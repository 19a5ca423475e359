//! Many rows at once: worker threads, one call for equal requests, and the answers in the order of the questions.
//! Knows nothing about single attempts.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::cache_key::CacheKey;
use super::call::Batch;
use super::health::Health;
use super::limiter::{Gate, Limiter};
use super::record::{Answered, CallOutcome};
use super::transport::Transport;
use super::{Ask, CallProgress, HostedModel, journal};
use crate::Error;
use crate::wire::CallError;

impl HostedModel {
    /// Answers every question, in their order, many at a time.
    ///
    /// Rows that the journal holds are not sent. Equal requests are sent once, the others count as cached. When `stop`
    /// becomes true nothing more is sent and what is in flight ends; rows that were not sent are `cancelled`, or
    /// `budget` when the cap would have been passed. `progress` is called from many threads, once for each row.
    ///
    /// # Errors
    /// When the arm fails as a whole: a key, model or address that is refused, a provider that is down for long, a
    /// journal that cannot be written, a cap without a price. What was answered before is in the journal, and the same
    /// call goes on from there.
    pub fn answer_all(
        &self,
        asks: &[Ask],
        stop: &AtomicBool,
        progress: &(dyn Fn(CallProgress) + Sync),
    ) -> Result<Vec<Answered>, Error> {
        // Only the keys are kept: the bodies of many rows would not fit into memory beside the rows.
        let keys = asks.iter().map(|ask| Ok(self.wire_request(ask)?.cache_key)).collect::<Result<Vec<_>, Error>>()?;
        let groups = groups(asks, &keys)?;
        let num_workers = self.settings.max_concurrency.clamp(1, groups.len().max(1));
        let Some(first) = asks.first() else { return Ok(Vec::new()) };
        let url = self.url(&first.request)?;
        let transport =
            Transport::new(self.settings.transport.clone(), self.settings.policy.connect_secs, &url, num_workers);
        let gate = Gate::new(Limiter::new(num_workers));
        let halted = Mutex::new(None);
        let has_halted = AtomicBool::new(false);
        let stopped = || stop.load(Ordering::Relaxed) || has_halted.load(Ordering::Relaxed);
        let halt = |error: Error| {
            has_halted.store(true, Ordering::Relaxed);
            halted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        let health = Mutex::new(Health::new(self.settings.stop));
        let note = |outcome: CallOutcome, error: Option<&CallError>| {
            let mut health = health.lock().unwrap_or_else(PoisonError::into_inner);
            let stops = health.note(
                &self.settings.name,
                self.settings.key_variable.as_deref().unwrap_or(self.dialect.key_variable()),
                outcome,
                error,
            );
            stops.into_iter().for_each(halt);
        };
        let batch = Batch { model: self, transport: &transport, gate: &gate, stopped: &stopped, note: &note };
        let (next, num_done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let report = |answered: &Answered| {
            progress(CallProgress {
                num_done: num_done.fetch_add(1, Ordering::Relaxed) + 1,
                num_rows: asks.len(),
                outcome: answered.record.outcome,
                cached: answered.record.cached,
                spent: self.shared.budget.spent(),
                concurrency: gate.limit(),
            });
        };
        let work = || {
            let mut answers = Vec::new();
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some((&leader, followers)) = group.split_first() else { continue };
                let answered =
                    match self.wire_request(&asks[leader]).and_then(|wire| batch.answer(&asks[leader], &wire)) {
                        Ok(answered) => answered,
                        Err(error) => {
                            halt(error);
                            break;
                        }
                    };
                for &follower in followers {
                    let copied = copy(&answered, &asks[follower]);
                    report(&copied);
                    answers.push((follower, copied));
                }
                report(&answered);
                answers.push((leader, answered));
            }
            answers
        };
        let mut answers: Vec<Option<Answered>> = vec![None; asks.len()];
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..num_workers).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                // A panic of a worker goes on here: rows would be missing without it.
                for (at, answered) in worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                    answers[at] = Some(answered);
                }
            }
        });
        if let Some(error) = halted.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let found = answers.iter().flatten().count();
        let count =
            Error::WrongCount { model: self.settings.name.clone(), what: "answers", expected: asks.len(), found };
        answers.into_iter().collect::<Option<Vec<_>>>().ok_or(count)
    }
}

/// The questions by equal request, in the order of their first.
fn groups(asks: &[Ask], keys: &[CacheKey]) -> Result<Vec<Vec<usize>>, Error> {
    let mut ids = HashSet::new();
    let mut places = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, (ask, key)) in asks.iter().zip(keys).enumerate() {
        if !ids.insert((&ask.id, ask.repeat)) {
            return Err(Error::DuplicateId { id: ask.id.clone() });
        }
        let place = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    Ok(groups)
}

/// What a row is given whose request equals one that was made.
fn copy(answered: &Answered, ask: &Ask) -> Answered {
    let record = answered.record.clone();
    let mut record = journal::as_cached(record);
    // Nothing came back that could be cached, and nothing was spent on this row.
    record.cached = record.outcome.is_final();
    Answered { id: ask.id.clone(), repeat: ask.repeat, completion: answered.completion.clone(), record }
}
