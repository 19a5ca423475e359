//! Owns how far a written model is from the one it was made of: Kullback-Leibler divergence over the whole vocabulary and
//! the difference of log-likelihood, at the tokens of held-out answers. Knows models and ids; knows no format.
//!
//! `KL(p || q) = Σ p·(ln p − ln q)`, in nats a token, where `p` is the base with its adapter and `q` what was written
//! (Kullback and Leibler 1951). Intervals are clustered by row: tokens of one answer are not independent.

use anyhow::{Result, bail};
use eval::stats::{Clusters, interval, quantile};
use model::Model;
use model::engine::AdapterId;
use model::train::Batch;
use serde_json::{Value, json};

use crate::data::answered::{Answered, longest};

/// Most bytes of reference distributions that are held while the other model is loaded.
const MOST_BYTES: usize = 1 << 30;
/// Most tokens of one forward pass.
const PACK_TOKENS: usize = 2048;

/// What the model that was asked first says about each token.
pub struct Reference {
    rows: Vec<Answered>,
    given: usize,
    vocab_size: usize,
    /// `[tokens, vocab_size]` log-probabilities.
    distributions: Vec<f32>,
}

/// How far the second model is from the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Rows that were asked, of how many.
    pub rows: usize,
    /// Rows that were given.
    pub given: usize,
    /// Tokens of their answers.
    pub tokens: usize,
    /// Mean KL a token, with its 95 % interval.
    pub kl: (f64, Option<(f64, f64)>),
    /// The largest KL of a token.
    pub largest_kl: f64,
    /// Mean log-likelihood of the answers' tokens, second model minus first, with its 95 % interval.
    pub log_likelihood: (f64, Option<(f64, f64)>),
    /// The largest difference of one token's log-probability, either way.
    pub largest_difference: f64,
    /// Tokens at which both find the same token most likely.
    pub same_choice: usize,
}

/// Asks the first model. Rows are taken in order as long as their distributions fit `MOST_BYTES`.
pub fn reference(model: &Model, adapter: Option<AdapterId>, rows: &[Answered]) -> Result<Reference> {
    let vocab_size = model.config().vocab_size;
    let room = MOST_BYTES / (4 * vocab_size);
    let mut tokens = 0;
    let fits = |row: &&Answered| {
        tokens += row.targets();
        tokens <= room
    };
    let chosen: Vec<Answered> = rows.iter().take_while(fits).cloned().collect();
    if chosen.is_empty() {
        bail!("no held-out row to compare on: the first answer alone is longer than {room} tokens");
    }
    let tokens: usize = chosen.iter().map(Answered::targets).sum();
    let mut distributions = vec![0.0; tokens * vocab_size];
    ask(model, adapter, &chosen, &mut |token, values| {
        distributions[token * vocab_size..][..vocab_size].copy_from_slice(values);
    })?;
    Ok(Reference { rows: chosen, given: rows.len(), vocab_size, distributions })
}

impl Reference {
    /// The longest row, in tokens.
    #[must_use]
    pub fn positions(&self) -> usize {
        longest(&self.rows)
    }

    /// Asks the second model the same.
    pub fn compare(&self, model: &Model) -> Result<Divergence> {
        if model.config().vocab_size != self.vocab_size {
            bail!("{} tokens in one vocabulary, {} in the other", self.vocab_size, model.config().vocab_size);
        }
        let targets: Vec<u32> = self.rows.iter().flat_map(|row| row.ids[row.first_target..].iter().copied()).collect();
        let (mut kl, mut difference) = (vec![f64::NAN; targets.len()], vec![f64::NAN; targets.len()]);
        let mut same_choice = 0;
        ask(model, None, &self.rows, &mut |token, second| {
            let first = &self.distributions[token * self.vocab_size..][..self.vocab_size];
            kl[token] = divergence(first, second);
            let target = targets[token] as usize;
            difference[token] = f64::from(second[target]) - f64::from(first[target]);
            same_choice += usize::from(most_likely(first) == most_likely(second));
        })?;
        if kl.iter().chain(&difference).any(|value| !value.is_finite()) {
            bail!("a log-probability is not finite");
        }
        let clusters =
            Clusters::new(self.rows.iter().flat_map(|row| std::iter::repeat_n(Some(row.id.as_str()), row.targets())));
        let largest = |values: &[f64]| values.iter().fold(0.0_f64, |most, one| most.max(one.abs()));
        Ok(Divergence {
            rows: self.rows.len(),
            given: self.given,
            tokens: targets.len(),
            kl: estimate(&kl, &clusters),
            largest_kl: largest(&kl),
            log_likelihood: estimate(&difference, &clusters),
            largest_difference: largest(&difference),
            same_choice,
        })
    }
}

impl Divergence {
    /// As it is written beside a model.
    #[must_use]
    pub fn json(&self) -> Value {
        let estimate = |(value, interval): (f64, Option<(f64, f64)>)| json!({ "mean": value, "low": interval.map(|it| it.0), "high": interval.map(|it| it.1) });
        json!({
            "rows": self.rows,
            "rows_given": self.given,
            "tokens": self.tokens,
            "kl_nats_per_token": estimate(self.kl),
            "largest_kl_nats": self.largest_kl,
            "log_likelihood_difference_per_token": estimate(self.log_likelihood),
            "largest_log_probability_difference": self.largest_difference,
            "same_most_likely_token": self.same_choice,
        })
    }

    /// Lines for a person.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let interval = |interval: Option<(f64, f64)>| match interval {
            Some((low, high)) => format!(" [{low:.2e}, {high:.2e}]"),
            None => " (one row: no interval)".to_owned(),
        };
        let part = if self.rows < self.given { format!(" of {}", self.given) } else { String::new() };
        vec![
            format!("compared on          {} answer tokens of {}{part} held-out rows", self.tokens, self.rows),
            format!("KL, nats a token     {:.2e}{}, largest {:.2e}", self.kl.0, interval(self.kl.1), self.largest_kl),
            format!(
                "log-likelihood       {:+.2e}{} a token, largest {:.2e}",
                self.log_likelihood.0,
                interval(self.log_likelihood.1),
                self.largest_difference
            ),
            format!("same first choice    {} of {} tokens", self.same_choice, self.tokens),
        ]
    }
}

/// Distributions in the place of every answer token of all rows, numbered through.
fn ask(
    model: &Model,
    adapter: Option<AdapterId>,
    rows: &[Answered],
    accept: &mut dyn FnMut(usize, &[f32]),
) -> Result<()> {
    let (mut start, mut before) = (0, 0);
    while start < rows.len() {
        let (mut end, mut packed) = (start, 0);
        while end < rows.len() && (end == start || packed + rows[end].ids.len() <= PACK_TOKENS) {
            packed += rows[end].ids.len();
            end += 1;
        }
        let pack = &rows[start..end];
        let mask = |row: &Answered| -> Vec<bool> { (0..row.ids.len()).map(|at| at >= row.first_target).collect() };
        let masks: Vec<Vec<bool>> = pack.iter().map(mask).collect();
        let documents = pack.iter().zip(&masks).map(|(row, mask)| (row.ids.as_slice(), mask.as_slice()));
        let batch = Batch::pack(documents);
        model.distributions(adapter, &batch, &mut |token, values| accept(before + token, values))?;
        before += pack.iter().map(Answered::targets).sum::<usize>();
        start = end;
    }
    Ok(())
}

fn divergence(first: &[f32], second: &[f32]) -> f64 {
    let each = first.iter().zip(second).map(|(p, q)| {
        let (p, q) = (f64::from(*p), f64::from(*q));
        p.exp() * (p - q)
    });
    // Rounding can bring the sum a little below zero, where the divergence itself never is.
    each.sum::<f64>().max(0.0)
}

fn most_likely(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (at, value)| if *value > values[best] { at } else { best })
}

/// A mean with its 95 % interval over rows; none with one row.
fn estimate(values: &[f64], clusters: &Clusters) -> (f64, Option<(f64, f64)>) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let error = interval::clustered_standard_error(values, clusters);
    let half = error.map(|error| quantile::student(0.975, clusters.num_clusters() as f64 - 1.0) * error);
    (mean, half.map(|half| (mean - half, mean + half)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_of_a_distribution_from_itself_is_zero_and_of_others_as_by_hand() {
        let ln = |values: &[f32]| values.iter().map(|one| one.ln()).collect::<Vec<f32>>();
        let (p, q) = (ln(&[0.5, 0.25, 0.25]), ln(&[0.25, 0.5, 0.25]));
        assert_eq!(divergence(&p, &p), 0.0);
        let by_hand = 0.5 * 2.0_f64.ln() - 0.25 * 2.0_f64.ln();
        assert!((divergence(&p, &q) - by_hand).abs() < 1e-7);
        assert_eq!((most_likely(&p), most_likely(&q)), (0, 1));
    }

    #[test]
    fn intervals_are_over_rows_and_one_row_has_none() {
        let clusters = |names: [&'static str; 4]| Clusters::new(names.map(Some));
        let (mean, interval) = estimate(&[1.0, 1.0, 3.0, 3.0], &clusters(["a", "a", "b", "b"]));
        // Two row means 1 and 3: standard error 1, t quantile 12.7 with one degree of freedom.
        assert_eq!(mean, 2.0);
        assert!((interval.unwrap().1 - 2.0 - 12.706).abs() < 1e-2, "{interval:?}");
        assert_eq!(estimate(&[1.0, 2.0, 3.0, 4.0], &clusters(["a", "a", "a", "a"])).1, None);
    }
}
