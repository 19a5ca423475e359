//! Owns handing out the micro-batches of a step. Stateless: a resumed run asks for the step it is at.
//! Knows ids and masks; knows no loss and no tensor.

use anyhow::{Result, bail};
use model::train::Batch;

use super::pack::{self, Order};
use super::parallel;
use super::template_mask::Sample;
use crate::config::raw::RawTrain;

/// Steps of a run at most: each is looked at before the first, and no run of months has more.
const MOST_STEPS: u64 = 10_000_000;
/// Steps that are looked at at once.
const STEPS_AT_ONCE: u64 = 1 << 16;

/// Training samples and the order they come in.
#[derive(Debug, Clone)]
pub struct Loader<'a> {
    samples: &'a [Sample],
    lengths: Vec<usize>,
    order: Order,
    micro_batch_tokens: usize,
    total_steps: u64,
}

/// What one optimiser step learns from.
#[derive(Debug, Clone)]
pub struct StepBatches {
    /// Rows of each micro-batch, by their place in the samples.
    pub rows: Vec<Vec<usize>>,
    /// The same, packed.
    pub micro_batches: Vec<Batch>,
    /// Tokens of the step.
    pub tokens: usize,
    /// Of these, tokens that are learnt: what every loss of the step is divided by.
    pub supervised_tokens: usize,
    /// Passes over the rows, this step included.
    pub epochs: f64,
}

/// How large the micro-batches of a run get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Tokens of the largest.
    pub max_tokens: usize,
    /// Supervised tokens of the one that has most.
    pub max_supervised: usize,
    /// Tokens of the longest row: no micro-batch can be smaller.
    pub longest_row: usize,
    /// The largest that is learnt from; of equally large ones that with most supervised tokens.
    pub largest: Batch,
}

impl<'a> Loader<'a> {
    /// A loader over samples; a row that fits no micro-batch is an error now, not in the middle of a run.
    pub fn new(samples: &'a [Sample], train: &RawTrain) -> Result<Self> {
        let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
        let order = Order { seed: train.seed, rows: samples.len(), rows_per_step: train.rows_per_step };
        if let Some(row) = lengths.iter().position(|tokens| *tokens > train.micro_batch_tokens) {
            bail!(
                "row `{}` has {} tokens, and train.micro_batch_tokens is {}\nhint: --set train.micro_batch_tokens={}",
                samples[row].id,
                lengths[row],
                train.micro_batch_tokens,
                lengths[row].next_multiple_of(512)
            );
        }
        if samples.is_empty() {
            bail!("there is no row to learn from\nhint: look at the ledger above");
        }
        let total_steps = order.total_steps(train.epochs, train.max_steps);
        if total_steps > MOST_STEPS {
            bail!(
                "train.epochs = {} of {} rows with train.rows_per_step = {} are {total_steps} steps, and a run has at most \
                 {MOST_STEPS}\nhint: fewer epochs, more rows_per_step, or --set train.max_steps={MOST_STEPS}",
                train.epochs,
                samples.len(),
                train.rows_per_step
            );
        }
        Ok(Loader { samples, lengths, order, micro_batch_tokens: train.micro_batch_tokens, total_steps })
    }

    /// Optimiser steps of the whole run.
    #[must_use]
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// The order rows come in.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// The micro-batches of a step, counted from 0.
    #[must_use]
    pub fn step(&self, step: u64) -> StepBatches {
        let rows = pack::step_plan(&self.order, &self.lengths, self.micro_batch_tokens, step);
        let micro_batches: Vec<Batch> = rows.iter().map(|rows| batch(self.samples, rows)).collect();
        let place = self.order.places(step).end as f64 / self.order.rows as f64;
        StepBatches {
            tokens: micro_batches.iter().map(|batch| batch.ids.len()).sum(),
            supervised_tokens: micro_batches.iter().map(Batch::supervised_tokens).sum(),
            epochs: self.order.epoch(step) as f64 + place,
            rows,
            micro_batches,
        }
    }

    /// The extremes over all micro-batches of the run and of its validations.
    #[must_use]
    pub fn extent(&self, valid: &[Sample]) -> Extent {
        let limit = self.micro_batch_tokens;
        let supervised: Vec<usize> = self.samples.iter().map(Sample::supervised_tokens).collect();
        let size = |rows: &[usize]| {
            let sum = |of: &[usize]| rows.iter().map(|row| of[*row]).sum::<usize>();
            (sum(&self.lengths), sum(&supervised))
        };
        // Every row of every epoch is looked up once, which is seconds for a run of millions of rows.
        let largest_of = |step: &u64| {
            let plan = pack::step_plan(&self.order, &self.lengths, limit, *step);
            let max_supervised = plan.iter().map(|rows| size(rows).1).max().unwrap_or(0);
            (plan.into_iter().max_by_key(|rows| size(rows)).unwrap_or_default(), max_supervised)
        };
        // Piece by piece, so that a long run takes no more memory than a short one. Of equally large ones the last counts.
        let (mut largest, mut most_supervised) = (Vec::new(), 0);
        for start in (0..self.total_steps).step_by(STEPS_AT_ONCE as usize) {
            let steps: Vec<u64> = (start..self.total_steps.min(start + STEPS_AT_ONCE)).collect();
            for (rows, supervised) in parallel::map(&steps, largest_of) {
                most_supervised = most_supervised.max(supervised);
                if size(&rows) >= size(&largest) {
                    largest = rows;
                }
            }
        }
        let validations = all(valid, limit);
        let longest = |samples: &[Sample]| samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0);
        let max = |train: usize, valid: Option<usize>| train.max(valid.unwrap_or(0));
        Extent {
            max_tokens: max(size(&largest).0, validations.iter().map(|batch| batch.ids.len()).max()),
            max_supervised: max(most_supervised, validations.iter().map(Batch::supervised_tokens).max()),
            longest_row: longest(self.samples).max(longest(valid)),
            largest: batch(self.samples, &largest),
        }
    }

    /// Tokens of a step, and of these the learnt ones.
    #[must_use]
    pub fn counts(&self, step: u64) -> (usize, usize) {
        let rows = self.order.step_rows(step).into_iter();
        let counts = rows.map(|row| (self.lengths[row], self.samples[row].supervised_tokens()));
        counts.fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1))
    }

    /// The ids of the rows of a micro-batch, for an error that names them.
    #[must_use]
    pub fn ids(&self, rows: &[usize]) -> Vec<&'a str> {
        rows.iter().filter_map(|row| self.samples.get(*row)).map(|sample| sample.id.as_str()).collect()
    }
}

/// All samples once, in packed micro-batches, for a loss over all of them.
#[must_use]
pub fn all(samples: &[Sample], micro_batch_tokens: usize) -> Vec<Batch> {
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
    let rows: Vec<usize> = (0..samples.len()).collect();
    pack::pack(&rows, &lengths, micro_batch_tokens).iter().map(|rows| batch(samples, rows)).collect()
}

fn batch(samples: &[Sample], rows: &[usize]) -> Batch {
    Batch::pack(rows.iter().map(|row| (samples[*row].ids.as_slice(), samples[*row].supervised.as_slice())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::RawConfig;

    fn samples() -> Vec<Sample> {
        let sample = |row: u32| {
            let length = 3 + row as usize % 4;
            let supervised = (0..length).map(|at| at + 2 >= length).collect();
            Sample {
                id: format!("row {row}"),
                group: "g".into(),
                ids: vec![row; length],
                supervised,
                prompt_tokens: length - 2,
            }
        };
        (0..10).map(sample).collect()
    }

    fn settings() -> RawTrain {
        RawTrain { rows_per_step: 4, micro_batch_tokens: 9, epochs: 2.0, ..RawConfig::default().train }
    }

    #[test]
    fn a_step_counts_its_tokens_and_its_micro_batches_hold_whole_rows() {
        let samples = samples();
        let loader = Loader::new(&samples, &settings()).unwrap();
        assert_eq!(loader.total_steps(), 6);
        let mut seen: Vec<u32> = Vec::new();
        for number in 0..3 {
            let step = loader.step(number);
            assert_eq!(step.supervised_tokens, 2 * step.rows.iter().flatten().count());
            for (rows, batch) in step.rows.iter().zip(&step.micro_batches) {
                assert!(batch.ids.len() <= 9);
                assert_eq!(batch.bounds.len(), rows.len() + 1);
                assert_eq!(loader.ids(rows)[0], format!("row {}", batch.ids[0]));
            }
            seen.extend(step.rows.iter().flatten().map(|row| *row as u32));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert!((loader.step(1).epochs - 0.8).abs() < 1e-12 && (loader.step(2).epochs - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_row_that_fits_no_micro_batch_is_named_before_training() {
        let error = Loader::new(&samples(), &RawTrain { micro_batch_tokens: 5, ..settings() }).unwrap_err().to_string();
        assert!(error.starts_with("row `row 3` has 6 tokens, and train.micro_batch_tokens is 5"), "{error}");
    }

    #[test]
    fn a_run_of_too_many_steps_is_refused_and_a_long_one_is_looked_at_piece_by_piece() {
        let samples = samples();
        let train = RawTrain { epochs: 10_000.0, rows_per_step: 1, ..settings() };
        let loader = Loader::new(&samples, &train).unwrap();
        assert!(loader.total_steps() > STEPS_AT_ONCE);
        assert_eq!(loader.extent(&[]).max_tokens, 6);
        let many: Vec<Sample> = samples.iter().cycle().take(1001).cloned().collect();
        let error = Loader::new(&many, &train).unwrap_err().to_string();
        assert!(error.contains("10010000 steps") && error.contains("hint: "), "{error}");
        assert!(Loader::new(&many, &RawTrain { max_steps: Some(9), ..train }).is_ok());
    }

    #[test]
    fn the_extent_is_that_of_the_largest_batch_of_any_step_or_validation() {
        let samples = samples();
        let loader = Loader::new(&samples, &settings()).unwrap();
        let batches: Vec<Batch> = (0..loader.total_steps()).flat_map(|step| loader.step(step).micro_batches).collect();
        let extent = loader.extent(&[]);
        let most = |of: &dyn Fn(&Batch) -> usize| batches.iter().map(of).max().unwrap();
        assert_eq!(extent.max_tokens, most(&|batch| batch.ids.len()));
        assert_eq!(extent.max_supervised, most(&Batch::supervised_tokens));
        assert_eq!(extent.longest_row, 6);
        assert_eq!(extent.largest.ids.len(), extent.max_tokens);
        assert!(batches.contains(&extent.largest));
        let long = Sample { ids: vec![1; 40], supervised: vec![true; 40], ..samples[0].clone() };
        let with_valid = loader.extent(&[long]);
        assert_eq!((with_valid.max_tokens, with_valid.max_supervised, with_valid.longest_row), (40, 39, 40));
        assert_eq!(with_valid.largest, extent.largest, "a validation has no backward pass");
    }

    #[test]
    fn validation_takes_every_row_once() {
        let batches = all(&samples(), 9);
        let tokens: usize = batches.iter().map(|batch| batch.ids.len()).sum();
        assert_eq!(tokens, samples().iter().map(|sample| sample.ids.len()).sum::<usize>());
    }
}
