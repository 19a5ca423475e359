//! From calls to answers of rows, as the evaluation judges them.
//! Knows nothing about how the calls were made.

use super::record::Answered;
use crate::outcome::Call;
use crate::{Answers, Error};

/// The answers of an arm: `repeats` of each of `num_rows` rows side by side, in the order of the rows.
///
/// # Errors
/// When there are more or fewer answers than that.
pub fn answers(
    num_rows: usize,
    repeats: usize,
    answered: Vec<Answered>,
    mut notes: Vec<String>,
) -> Result<Answers, Error> {
    let (expected, found) = (num_rows * repeats, answered.len());
    if expected != found {
        return Err(Error::WrongCount { model: "a hosted model".to_owned(), what: "answers", expected, found });
    }
    let problems = answered.iter().filter(|one| one.record.usage_problem.is_some()).count();
    if problems > 0 {
        notes.push(format!("the usage of {problems} calls is missing or cannot be right, so their cost is not known"));
    }
    let possible: u64 = answered.iter().map(|one| one.record.possibly_spent_usd.picodollars()).sum();
    if possible > 0 {
        let usd = possible as f64 / 1e12;
        notes.push(format!("up to ${usd:.4} more may have been billed for calls that gave no answer"));
    }
    let samples = answered.iter().map(|one| (one.completion.clone(), Some(call(one)))).collect::<Vec<_>>();
    let writing_secs = answered.iter().filter_map(|one| one.record.latency_secs).sum();
    let samples = samples.chunks(repeats.max(1)).map(<[_]>::to_vec).collect();
    // Calls run side by side, so the sum of their seconds is no measure of speed.
    Ok(Answers { samples, writing_secs, counts_tokens: false, notes, ..Answers::default() })
}

fn call(answered: &Answered) -> Call {
    let record = &answered.record;
    let usage = record.usage.unwrap_or_default();
    Call {
        latency_secs: record.latency_secs,
        first_token_secs: record.time_to_first_token_secs,
        prompt_tokens: usage.input(),
        completion_tokens: usage.output(),
        tokens_estimated: usage.estimated,
        cost_usd: record.cost_usd.map(|cost| cost.picodollars() as f64 / 1e12),
        cached: record.cached,
        retries: record.retries,
        served_model: record.served_model.clone(),
    }
}
