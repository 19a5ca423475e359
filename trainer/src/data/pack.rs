//! Owns which rows make which step and how a step is cut into micro-batches: pure functions of seed, epoch and lengths.
//! Knows row numbers and lengths; knows no text, no tensor and no state, so any step can be asked for at any time.

use std::ops::Range;

use ground::random;

/// Rounds of the shuffle; many more than needed to reach every part of a million rows.
const ROUNDS: usize = 96;

/// In what order rows come, and how many make a step. A function of seed and epoch alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What the order is drawn from.
    pub seed: u64,
    /// Number of rows.
    pub rows: usize,
    /// Rows of a step; the last of an epoch may have fewer.
    pub rows_per_step: usize,
}

impl Order {
    /// Steps of one epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.rows_per_step.max(1)) as u64
    }

    /// Steps of a run: whole epochs and the steps of the broken one, at least one, at most `max_steps`.
    #[must_use]
    pub fn total_steps(&self, epochs: f64, max_steps: Option<u64>) -> u64 {
        let per_epoch = self.steps_per_epoch();
        let (whole, part) = (epochs.trunc(), epochs.fract());
        // The small number keeps a fraction such as 0.3 of ten steps from becoming four.
        let rest = (part * per_epoch as f64 - 1e-9).ceil().max(0.0) as u64;
        let steps = (whole as u64).saturating_mul(per_epoch).saturating_add(rest).max(1);
        max_steps.map_or(steps, |most| steps.min(most))
    }

    /// The epoch of a step, both counted from 0.
    #[must_use]
    pub fn epoch(&self, step: u64) -> u64 {
        step / self.steps_per_epoch().max(1)
    }

    /// The places in its epoch of the rows of a step. A step never holds rows of two epochs.
    #[must_use]
    pub fn places(&self, step: u64) -> Range<usize> {
        let within = (step % self.steps_per_epoch().max(1)) as usize;
        let start = within * self.rows_per_step.max(1);
        start..(start + self.rows_per_step.max(1)).min(self.rows)
    }

    /// The row at a place of an epoch, without looking at any other place.
    #[must_use]
    pub fn row(&self, epoch: u64, place: usize) -> usize {
        Shuffle::of(self, epoch).row(place)
    }

    /// The rows of a step, in their order.
    #[must_use]
    pub fn step_rows(&self, step: u64) -> Vec<usize> {
        let shuffle = Shuffle::of(self, self.epoch(step));
        self.places(step).map(|place| shuffle.row(place)).collect()
    }
}

/// The order of one epoch.
///
/// The swap-or-not shuffle (Hoang, Morris and Rogaway, 2012): in each round a place is paired with another one by a key, and
/// a coin that both share says whether they swap. So it is a permutation whatever the keys are.
struct Shuffle {
    rows: u64,
    /// Of each round, what its coins are drawn from, and the sum of the two places of a pair.
    rounds: [(u64, u64); ROUNDS],
}

impl Shuffle {
    fn of(order: &Order, epoch: u64) -> Self {
        let rows = (order.rows as u64).max(1);
        let start = random::mix_all(random::STEP, &[order.seed, epoch]);
        let rounds = std::array::from_fn(|round| {
            let key = random::mix(start ^ round as u64);
            (key, random::mix(key ^ u64::MAX) % rows)
        });
        Self { rows, rounds }
    }

    fn row(&self, place: usize) -> usize {
        let swap = |x: u64, (key, pivot): &(u64, u64)| {
            let partner = (pivot + self.rows - x) % self.rows;
            if random::mix(key ^ x.max(partner)) & 1 == 1 { partner } else { x }
        };
        self.rounds.iter().fold(place as u64, swap) as usize
    }
}

/// The micro-batches of a step: rows by number, in an order that is the same each time.
#[must_use]
pub fn step_plan(order: &Order, lengths: &[usize], micro_batch_tokens: usize, step: u64) -> Vec<Vec<usize>> {
    pack(&order.step_rows(step), lengths, micro_batch_tokens)
}

/// Best fit, longest row first: each row goes where it leaves the least room. A row that is longer than the limit,
/// which configs and data rule out, gets a micro-batch of its own.
#[must_use]
pub fn pack(rows: &[usize], lengths: &[usize], micro_batch_tokens: usize) -> Vec<Vec<usize>> {
    let length = |row: usize| lengths.get(row).copied().unwrap_or(0);
    let mut by_length = rows.to_vec();
    // Stable, so rows of one length keep the order of the step.
    by_length.sort_by_key(|row| std::cmp::Reverse(length(*row)));
    let mut bins: Vec<(usize, Vec<usize>)> = Vec::new();
    for row in by_length {
        let tokens = length(row);
        let fitting = bins.iter_mut().filter(|(used, _)| used + tokens <= micro_batch_tokens);
        // `rev` makes the earliest of equally full bins the last maximum, which is the one `max_by_key` takes.
        match fitting.rev().max_by_key(|(used, _)| *used) {
            Some((used, rows)) => {
                *used += tokens;
                rows.push(row);
            }
            None => bins.push((tokens, vec![row])),
        }
    }
    bins.into_iter().map(|(_, rows)| rows).collect()
}

/// The first `limit` rows of a seeded shuffle, in their old order.
#[must_use]
pub fn sample(rows: usize, limit: usize, seed: u64) -> Vec<usize> {
    // An epoch number that no run reaches, so that the choice is not the start of the first epoch.
    let order = Order { seed, rows, rows_per_step: 1 };
    let mut chosen: Vec<usize> = (0..limit.min(rows)).map(|place| order.row(u64::MAX, place)).collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn epoch_rows(order: &Order, epoch: u64) -> Vec<usize> {
        let first = epoch * order.steps_per_epoch();
        (first..first + order.steps_per_epoch()).flat_map(|step| order.step_rows(step)).collect()
    }

    proptest! {
        #[test]
        fn every_row_comes_once_in_each_epoch(seed: u64, rows in 1_usize..300, rows_per_step in 1_usize..40, epoch in 0_u64..5) {
            let order = Order { seed, rows, rows_per_step };
            let mut seen = epoch_rows(&order, epoch);
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..rows).collect::<Vec<_>>());
        }

        #[test]
        fn a_micro_batch_keeps_the_limit_and_no_row_is_lost(lengths in vec(1_usize..100, 1..60), limit in 100_usize..400, seed: u64) {
            let order = Order { seed, rows: lengths.len(), rows_per_step: 16 };
            let plan = step_plan(&order, &lengths, limit, 0);
            let mut planned: Vec<usize> = plan.iter().flatten().copied().collect();
            let mut wanted = order.step_rows(0);
            planned.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(planned, wanted);
            for rows in &plan {
                prop_assert!(!rows.is_empty() && rows.iter().map(|row| lengths[*row]).sum::<usize>() <= limit);
            }
            prop_assert_eq!(step_plan(&order, &lengths, limit, 0), plan);
        }

        #[test]
        fn seeds_and_epochs_have_orders_of_their_own(seed: u64, rows in 30_usize..200) {
            let order = Order { seed, rows, rows_per_step: 7 };
            let other = Order { seed: seed ^ 1, ..order };
            prop_assert_eq!(epoch_rows(&order, 1), epoch_rows(&order, 1));
            prop_assert_ne!(epoch_rows(&order, 0), epoch_rows(&order, 1));
            prop_assert_ne!(epoch_rows(&order, 0), epoch_rows(&other, 0));
            prop_assert_ne!(epoch_rows(&order, 0), (0..rows).collect::<Vec<_>>());
        }

        #[test]
        fn a_sample_is_a_part_in_its_old_order(rows in 0_usize..100, limit in 0_usize..120, seed: u64) {
            let chosen = sample(rows, limit, seed);
            prop_assert_eq!(chosen.len(), rows.min(limit));
            prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(chosen.iter().all(|row| *row < rows));
        }
    }

    // What the first published version drew: a run that is resumed goes on in this order.
    #[test]
    fn the_order_is_that_of_older_runs() {
        let order = Order { seed: 7, rows: 10, rows_per_step: 10 };
        assert_eq!(epoch_rows(&order, 1), [5, 9, 6, 1, 4, 7, 8, 3, 2, 0]);
    }

    #[test]
    fn every_row_is_as_likely_in_every_place() {
        let mut counts = [[0_u32; 8]; 8];
        for seed in 0..4000 {
            let order = Order { seed, rows: 8, rows_per_step: 1 };
            for (place, counts) in counts.iter_mut().enumerate() {
                counts[order.row(0, place)] += 1;
            }
        }
        // 500 expected, standard deviation 21.
        assert!(counts.iter().flatten().all(|count| (400..600).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_step_never_mixes_epochs_and_the_last_one_is_smaller() {
        let order = Order { seed: 7, rows: 10, rows_per_step: 4 };
        assert_eq!(order.steps_per_epoch(), 3);
        let sizes: Vec<usize> = (0..6).map(|step| order.step_rows(step).len()).collect();
        assert_eq!(sizes, [4, 4, 2, 4, 4, 2]);
        assert_eq!((order.epoch(2), order.epoch(3)), (0, 1));
    }

    #[test]
    fn steps_follow_from_epochs_and_their_cap() {
        let order = Order { seed: 0, rows: 100, rows_per_step: 10 };
        assert_eq!(order.total_steps(2.0, None), 20);
        assert_eq!(order.total_steps(0.3, None), 3);
        assert_eq!(order.total_steps(1.01, None), 11);
        assert_eq!(order.total_steps(1e-9, None), 1);
        assert_eq!(order.total_steps(2.0, Some(5)), 5);
        assert_eq!(order.total_steps(2.0, Some(50)), 20);
    }

    #[test]
    fn the_best_fit_is_the_fullest_bin_that_still_takes_the_row() {
        let lengths = [60, 50, 40, 30, 20];
        assert_eq!(pack(&[4, 3, 2, 1, 0], &lengths, 100), [vec![0, 2], vec![1, 3, 4]]);
    }
}
