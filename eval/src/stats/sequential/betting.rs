//! The betting e-process: wealth that grows only where the null is false (Waudby-Smith and Ramdas 2024, arXiv 2010.09686; validity by Ville 1939).
//! Knows nothing about what is observed: any number with a known range, one per step; exact for every number of steps.

use serde::{Deserialize, Serialize};

use crate::Error;

/// The share of what could be lost that is staked at most.
const CAP: f64 = 0.75;

/// Points of the grid between the ends of the range, for bounds.
pub const GRID: usize = 2001;

/// A test of "the mean is at most `null`", whose state can be stored and carried on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Betting {
    low: f64,
    high: f64,
    null: f64,
    /// Observations enter with this sign.
    sign: f64,
    num_steps: u64,
    total: f64,
    squares: f64,
    log_wealth: f64,
    max_log_wealth: f64,
}

impl Betting {
    /// Tests that the mean of numbers between `low` and `high` is at most `null`.
    ///
    /// # Errors
    /// When `null` is not strictly inside the range: nothing could be lost or nothing won.
    pub fn new(low: f64, high: f64, null: f64) -> Result<Self, Error> {
        if !(low.is_finite() && high.is_finite() && low < null && null < high) {
            return Err(bad("the null must lie strictly inside a finite range"));
        }
        let empty = Self {
            low,
            high,
            null,
            sign: 1.0,
            num_steps: 0,
            total: 0.0,
            squares: 0.0,
            log_wealth: 0.0,
            max_log_wealth: 0.0,
        };
        Ok(empty)
    }

    /// Tests that candidate minus baseline, between −1 and 1, is at most −`margin`; wealth is evidence that the candidate is good enough.
    ///
    /// With a margin of 0 it is evidence that the candidate is better.
    ///
    /// # Errors
    /// When the margin is not between −1 and 1.
    pub fn non_inferiority(margin: f64) -> Result<Self, Error> {
        Self::new(-1.0, 1.0, -margin)
    }

    /// The opposite: tests that candidate minus baseline is at least −`margin`; wealth is evidence of harm. It is fed the same differences.
    ///
    /// # Errors
    /// When the margin is not between −1 and 1.
    pub fn harm(margin: f64) -> Result<Self, Error> {
        Ok(Self { sign: -1.0, ..Self::new(-1.0, 1.0, margin)? })
    }

    /// For an unpaired split with logged probability `share_local` of the local arm: tests that the weighted difference is at most −`margin`.
    ///
    /// Feed it [`weighted_difference`] (Waudby-Smith et al. 2024, arXiv 2210.10768).
    ///
    /// # Errors
    /// When the share is not strictly between 0 and 1 or the margin is out of range.
    pub fn unpaired(share_local: f64, margin: f64) -> Result<Self, Error> {
        if !(share_local > 0.0 && share_local < 1.0) {
            return Err(bad("the share of the local arm must lie strictly between 0 and 1"));
        }
        Self::new(-1.0 / (1.0 - share_local), 1.0 / share_local, -margin)
    }

    /// Takes one observation: one request, or the mean of one conversation where requests of a conversation are not independent.
    ///
    /// # Errors
    /// When it is not a number in the range; the state is then unchanged.
    pub fn observe(&mut self, observation: f64) -> Result<(), Error> {
        let value = self.sign * observation;
        // Weights are rounded, so that an observation at the end of the range may lie a rounding error outside.
        let slack = 1e-9 * (self.high - self.low);
        if !(value >= self.low - slack && value <= self.high + slack) {
            return Err(bad("an observation lies outside the range"));
        }
        let x = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        let null = (self.null - self.low) / (self.high - self.low);
        self.log_wealth += (self.bet(null) * (x - null)).ln_1p();
        self.max_log_wealth = self.max_log_wealth.max(self.log_wealth);
        self.num_steps += 1;
        self.total += x;
        self.squares += (x - (0.5 + self.total) / (self.num_steps as f64 + 1.0)).powi(2);
        Ok(())
    }

    /// The log of the wealth now.
    pub fn log_wealth(&self) -> f64 {
        self.log_wealth
    }

    /// The log of the largest wealth so far.
    pub fn max_log_wealth(&self) -> f64 {
        self.max_log_wealth
    }

    /// Steps taken.
    pub fn num_steps(&self) -> u64 {
        self.num_steps
    }

    /// Whether the null has been rejected with error rate `alpha`, now or at an earlier step.
    pub fn rejected(&self, alpha: f64) -> bool {
        self.max_log_wealth >= (1.0 / alpha).ln()
    }

    /// The stake of the next step: from the past alone, with one prior observation (the approximate growth-optimal bet).
    fn bet(&self, null: f64) -> f64 {
        let t = self.num_steps as f64 + 1.0;
        let (mean, variance) = ((0.5 + self.total) / t, (0.25 + self.squares) / t);
        let edge = mean - null;
        (edge / (variance + edge * edge)).clamp(0.0, CAP / null)
    }
}

/// What one request of an unpaired split says about local minus frontier: its score over the probability of its arm, negative for the frontier.
pub fn weighted_difference(score: f64, is_local: bool, share_local: f64) -> f64 {
    if is_local { score / share_local } else { -score / (1.0 - share_local) }
}

/// A lower bound of the mean that holds at every step: the end of the run of nulls that have been rejected, from the lowest up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LowerBound {
    bound: f64,
    alpha: f64,
    /// Tests of the nulls above the bound, in rising order.
    open: Vec<Betting>,
}

impl LowerBound {
    /// Starts at the low end of the range, with [`GRID`] nulls.
    ///
    /// # Errors
    /// When the range is empty or not finite.
    pub fn new(low: f64, high: f64, alpha: f64) -> Result<Self, Error> {
        let step = (high - low) / (GRID - 1) as f64;
        let nulls = (1..GRID - 1).map(|at| Betting::new(low, high, low + at as f64 * step));
        Ok(Self { bound: low, alpha, open: nulls.collect::<Result<_, _>>()? })
    }

    /// Takes one observation.
    ///
    /// # Errors
    /// When it is not a number in the range.
    pub fn observe(&mut self, observation: f64) -> Result<(), Error> {
        for test in &mut self.open {
            test.observe(observation)?;
        }
        let rejected = self.open.iter().take_while(|test| test.rejected(self.alpha)).count();
        if let Some(last) = self.open.drain(..rejected).next_back() {
            self.bound = last.null;
        }
        Ok(())
    }

    /// The bound now; it never falls.
    pub fn value(&self) -> f64 {
        self.bound
    }
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "betting e-process", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const STREAM: [f64; 10] = [0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-10, "{found} is not {expect}");
    }

    // `log wealth 10 steps delta .03` and `log wealth 200 steps delta .03` in oracles/reference_values.json.
    #[test]
    fn log_wealth_equals_the_reference_at_every_step() {
        let expect = [
            0.000_898_786_698_543_282_1,
            0.002_693_940_267_294_082_4,
            0.091_117_172_087_035_44,
            0.108_868_179_678_838_58,
            -0.801_148_754_669_854_8,
            -0.799_080_263_930_027_1,
            -0.796_668_271_719_496_4,
            -0.706_166_423_032_991,
            -0.695_556_124_451_844_4,
            -0.684_695_906_531_854_1,
        ];
        let mut process = Betting::non_inferiority(0.03).unwrap();
        for (step, d) in STREAM.iter().cycle().take(200).enumerate() {
            process.observe(*d).unwrap();
            if let Some(&expect) = expect.get(step) {
                close(process.log_wealth(), expect);
            }
        }
        close(process.log_wealth(), 3.167_625_460_781_804_4);
        assert!(process.rejected(0.05) && process.num_steps() == 200);
    }

    // `opposite log wealth 200 steps of -stream` in oracles/reference_values.json.
    #[test]
    fn the_opposite_process_equals_the_reference() {
        let mut process = Betting::harm(0.03).unwrap();
        for d in STREAM.iter().cycle().take(200) {
            process.observe(-d).unwrap();
        }
        close(process.log_wealth(), -0.648_235_439_753_493_9);
    }

    // `betting lower bound 200 steps` in oracles/reference_values.json.
    #[test]
    fn the_lower_bound_equals_the_reference_and_never_falls() {
        let mut sequence = LowerBound::new(-1.0, 1.0, 0.05).unwrap();
        let mut before = -1.0;
        for d in STREAM.iter().cycle().take(200) {
            sequence.observe(*d).unwrap();
            assert!(sequence.value() >= before);
            before = sequence.value();
        }
        close(sequence.value(), -0.027);
    }

    #[test]
    fn a_stored_process_goes_on_as_if_it_had_not_stopped() {
        let mut whole = Betting::non_inferiority(0.05).unwrap();
        STREAM.iter().for_each(|d| whole.observe(*d).unwrap());
        let mut halves = Betting::non_inferiority(0.05).unwrap();
        STREAM[..4].iter().for_each(|d| halves.observe(*d).unwrap());
        let text = serde_json::to_string(&halves).unwrap();
        let mut halves: Betting = serde_json::from_str(&text).unwrap();
        STREAM[4..].iter().for_each(|d| halves.observe(*d).unwrap());
        assert_eq!(whole, halves);
    }

    #[test]
    fn the_weighted_difference_of_an_unpaired_split_has_the_difference_of_the_arms_as_its_mean() {
        let (share, local, frontier) = (0.25, 0.9, 0.8);
        let mean = share * weighted_difference(local, true, share)
            + (1.0 - share) * weighted_difference(frontier, false, share);
        close(mean, 0.1);
        let mut process = Betting::unpaired(share, 0.03).unwrap();
        process.observe(weighted_difference(1.0, true, share)).unwrap();
        process.observe(weighted_difference(1.0, false, share)).unwrap();
    }

    #[test]
    fn what_is_out_of_range_is_refused_and_changes_nothing() {
        let mut process = Betting::non_inferiority(0.03).unwrap();
        let before = process;
        assert!(process.observe(1.1).is_err() && process.observe(f64::NAN).is_err());
        assert_eq!(process, before);
        assert!(Betting::non_inferiority(1.0).is_err() && Betting::unpaired(0.0, 0.03).is_err());
    }
}
