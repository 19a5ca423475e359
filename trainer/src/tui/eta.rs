//! Owns how long a run still takes: robust against a slow step, and steady for whoever reads it.
//! Knows durations of steps; knows no clock.

use std::collections::VecDeque;

/// Steps whose time tells how long the rest takes.
const RECENT_STEPS: usize = 200;
/// Seconds of training between two estimates.
const PAUSE_SECS: f64 = 0.5;
/// An estimate that is off by more than this share is not noise.
const JUMP: f64 = 0.3;
/// So many estimates must be far off in a row before the shown time jumps.
const JUMP_AFTER: u32 = 4;
/// The share of a new estimate in the shown time.
const PULL: f64 = 0.1;

/// The mean of the middle four fifths: a checkpoint or a first step that compiles does not count for all.
#[must_use]
pub fn trimmed_mean(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let cut = (sorted.len() / 10).max(usize::from(sorted.len() >= 3));
    let middle = sorted.get(cut..sorted.len() - cut)?;
    (!middle.is_empty()).then(|| middle.iter().sum::<f64>() / middle.len() as f64)
}

/// The time left, as it is shown.
#[derive(Debug, Clone, Default)]
pub struct TimeLeft {
    recent: VecDeque<f64>,
    last_elapsed: Option<f64>,
    told_at: f64,
    /// Seconds of a step, as the shown time counts them.
    pace: Option<f64>,
    far_off: u32,
    steps_left: u64,
}

impl TimeLeft {
    /// Takes a step that was done `elapsed` seconds after the process began to train.
    pub fn step(&mut self, elapsed: f64, steps_left: u64) {
        if !elapsed.is_finite() {
            return;
        }
        self.steps_left = steps_left;
        // A resumed run counts its seconds from zero again.
        let before = self.last_elapsed.filter(|before| *before <= elapsed).unwrap_or(0.0);
        self.last_elapsed = Some(elapsed);
        if self.recent.len() == RECENT_STEPS {
            self.recent.pop_front();
        }
        self.recent.push_back(elapsed - before);
        if self.recent.len() < 10 || !(0.0..PAUSE_SECS).contains(&(elapsed - self.told_at)) {
            self.told_at = elapsed;
            self.take_pace();
        }
    }

    fn take_pace(&mut self) {
        let Some(mean) = self.step_secs() else { return };
        // The first steps of a run know little, so nothing is held on to.
        let Some(pace) = self.pace.filter(|_| self.recent.len() >= 10) else {
            self.pace = Some(mean);
            return;
        };
        let is_far = (mean - pace).abs() > JUMP * pace;
        self.far_off = if is_far { self.far_off + 1 } else { 0 };
        let jump = self.far_off >= JUMP_AFTER;
        self.pace = Some(if jump { mean } else { pace + PULL * (mean - pace) });
    }

    /// Seconds left; none before the first step.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        self.pace.map(|pace| pace * self.steps_left as f64)
    }

    /// The mean seconds of recent steps.
    #[must_use]
    pub fn step_secs(&self) -> Option<f64> {
        trimmed_mean(&self.recent.iter().copied().collect::<Vec<_>>())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is shown after each step, with the seconds of each.
    fn shown(steps: &[f64]) -> Vec<f64> {
        let mut left = TimeLeft::default();
        let mut elapsed = 0.0;
        let total = steps.len() as u64;
        let mut told = Vec::new();
        for (at, secs) in (1..).zip(steps) {
            elapsed += secs;
            left.step(elapsed, total - at);
            told.push(left.seconds().unwrap());
        }
        told
    }

    #[test]
    fn even_steps_give_the_exact_time() {
        let told = shown(&[2.0; 100]);
        assert!((told[49] - 100.0).abs() < 1e-6 && told[99] == 0.0, "{told:?}");
    }

    #[test]
    fn one_slow_step_does_not_make_it_jump() {
        let mut steps = [1.0; 100];
        (steps[0], steps[50]) = (40.0, 30.0);
        let told = shown(&steps);
        for (at, told) in (1_i32..).zip(&told).skip(2) {
            assert!((told - f64::from(100 - at)).abs() < 1.0, "step {at}: {told}");
        }
    }

    #[test]
    fn a_lasting_change_of_speed_is_followed() {
        let steps: Vec<f64> = (0..800).map(|at| if at < 300 { 1.0 } else { 3.0 }).collect();
        let told = shown(&steps);
        assert!((told[600] - 597.0).abs() < 60.0, "{}", told[600]);
    }

    #[test]
    fn a_resumed_run_begins_its_seconds_again() {
        let mut left = TimeLeft::default();
        for step in 1..50_u64 {
            left.step(step as f64, 100 - step);
        }
        left.step(1.0, 50);
        left.step(2.0, 49);
        assert!((left.seconds().unwrap() - 49.0).abs() < 5.0, "{left:?}");
        left.step(f64::NAN, 48);
    }

    #[test]
    fn the_middle_is_meant() {
        assert_eq!(trimmed_mean(&[]), None);
        assert_eq!(trimmed_mean(&[2.0]), Some(2.0));
        let mut values = [1.0; 20];
        values[3] = 1e9;
        assert_eq!(trimmed_mean(&values), Some(1.0));
    }
}
