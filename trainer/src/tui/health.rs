//! Owns the health of a run in words, as pure functions of recent numbers: each looks for one thing that goes wrong.
//! Knows no run, no clock and no terminal.

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth a look.
    Notice,
    /// Something goes wrong.
    Bad,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is, in a few words.
    pub words: String,
}

/// The numbers that the health of a run is read from, the newest last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vitals<'a> {
    /// Recent losses, with their steps.
    pub losses: &'a [(u64, f64)],
    /// Gradient norms of the same steps.
    pub gradient_norms: &'a [f64],
    /// All validations, with their steps.
    pub valid: &'a [(u64, f64)],
    /// The share of recent time in which the device waited for rows.
    pub waited_share: Option<f64>,
    /// Device memory: held, and in all.
    pub device_memory: Option<(u64, u64)>,
    /// Host memory: held, and in all.
    pub host_memory: Option<(u64, u64)>,
}

/// Everything that is found, the worst first.
#[must_use]
pub fn assess(vitals: &Vitals<'_>) -> Vec<Finding> {
    let bad = |words: String| Finding { level: Level::Bad, words };
    let notice = |words: String| Finding { level: Level::Notice, words };
    let losses: Vec<f64> = vitals.losses.iter().map(|(_, loss)| *loss).collect();
    let mut found = Vec::new();
    let is_diverging = diverging(&losses);
    if is_diverging {
        found.push(bad("loss diverging".to_owned()));
    }
    if exploding(vitals.gradient_norms) {
        found.push(bad("gradient norm exploding".to_owned()));
    }
    if let Some(step) = overfitting_since(vitals.valid) {
        found.push(bad(format!("overfitting since step {step}")));
    }
    if !is_diverging && let Some(step) = spike(vitals.losses) {
        found.push(notice(format!("loss spike at step {step}")));
    }
    if plateau(&losses) {
        found.push(notice("loss plateau".to_owned()));
    }
    if let Some(share) = vitals.waited_share.filter(|share| *share > STARVED_SHARE) {
        found.push(notice(format!("data-starved: the device waits {:.0} % of the time", 100.0 * share)));
    }
    for (what, memory) in [("device", vitals.device_memory), ("host", vitals.host_memory)] {
        if let Some(share) = memory.and_then(near_limit) {
            found.push(notice(format!("{what} memory near the limit: {:.0} %", 100.0 * share)));
        }
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    found
}

/// Fewer losses than this say nothing about a trend.
const TREND_STEPS: usize = 40;
/// The least rise over the best quarter that is called diverging.
const DIVERGING_RISE: f64 = 1.25;

/// Whether the loss goes up for good: the medians of four equal parts rise from the second to the last, by a quarter
/// over the best, and by more than the losses scatter.
#[must_use]
pub fn diverging(losses: &[f64]) -> bool {
    if losses.len() < TREND_STEPS {
        return false;
    }
    let parts: Vec<&[f64]> = losses.chunks(losses.len().div_ceil(4)).collect();
    let medians: Vec<f64> = parts.iter().map(|part| median(part)).collect();
    let [_, second, third, last] = medians[..] else { return false };
    let best = medians.iter().copied().fold(f64::INFINITY, f64::min);
    let scatter = parts.iter().map(|part| deviation(part)).fold(0.0, f64::max);
    second < third && third < last && last > DIVERGING_RISE * best && last - best > scatter
}

/// How many deviations from the median make a spike.
const SPIKE_DEVIATIONS: f64 = 8.0;
/// Steps in which a spike is news.
const SPIKE_STEPS: usize = 20;

/// The step of the newest loss far above those around it.
#[must_use]
pub fn spike(losses: &[(u64, f64)]) -> Option<u64> {
    if losses.len() < TREND_STEPS {
        return None;
    }
    let values: Vec<f64> = losses.iter().map(|(_, loss)| *loss).collect();
    let before = &values[..values.len() - SPIKE_STEPS.min(values.len() / 2)];
    let (middle, scatter) = (median(before), deviation(before));
    let limit = (middle + SPIKE_DEVIATIONS * scatter).max(1.5 * middle);
    // The first steps of a run are high because nothing is learnt yet, so only what lies behind a calm part counts.
    let news = losses.iter().rev().take(SPIKE_STEPS);
    news.filter(|(_, loss)| *loss > limit && *loss > 0.05).map(|(step, _)| *step).next()
}

/// Losses that a plateau takes.
const PLATEAU_STEPS: usize = 200;
/// The least relative progress from one half to the other.
const PLATEAU_PROGRESS: f64 = 0.005;

/// Whether the loss has not moved: the medians of both halves of the newest 200 steps are equal within half a per cent.
#[must_use]
pub fn plateau(losses: &[f64]) -> bool {
    let Some(start) = losses.len().checked_sub(PLATEAU_STEPS) else { return false };
    let (first, second) = losses[start..].split_at(PLATEAU_STEPS / 2);
    let (first, second) = (median(first), median(second));
    first > 1e-3 && ((first - second) / first).abs() < PLATEAU_PROGRESS
}

/// Whether gradients blow up: the newest ten are more than ten times those before.
#[must_use]
pub fn exploding(norms: &[f64]) -> bool {
    let Some(split) = norms.len().checked_sub(10).filter(|before| *before >= 20) else { return false };
    let (before, now) = norms.split_at(split);
    let (before, now) = (median(before), median(now));
    now.is_nan() || now > 10.0 * before.max(f64::MIN_POSITIVE)
}

/// A validation that is above the best by less than this share is noise.
const OVERFIT_RISE: f64 = 0.01;

/// The step of the best validation, if the two newest ones and all since are worse.
#[must_use]
pub fn overfitting_since(valid: &[(u64, f64)]) -> Option<u64> {
    let (at, (step, best)) = valid.iter().enumerate().min_by(|a, b| a.1.1.total_cmp(&b.1.1))?;
    let since = &valid[at + 1..];
    let worse = since.len() >= 2 && since.iter().all(|(_, loss)| *loss > best * (1.0 + OVERFIT_RISE));
    worse.then_some(*step)
}

/// More waiting than this is worth a word.
pub const STARVED_SHARE: f64 = 0.2;
/// Memory beyond this share of all there is leaves no room.
const NEAR_LIMIT: f64 = 0.92;

/// The share of memory in use, if it is near all there is.
#[must_use]
pub fn near_limit((held, total): (u64, u64)) -> Option<f64> {
    let share = held as f64 / total as f64;
    (share.is_finite() && share > NEAR_LIMIT).then_some(share)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median distance from the median.
fn deviation(values: &[f64]) -> f64 {
    let middle = median(values);
    median(&values.iter().map(|value| (value - middle).abs()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling(steps: u64) -> Vec<(u64, f64)> {
        // A little noise that is no function of a clock.
        (1..=steps)
            .map(|step| (step, 2.0 / (1.0 + 0.05 * step as f64) + 0.05 * ((step * 7919 % 13) as f64 / 13.0)))
            .collect()
    }

    fn values(losses: &[(u64, f64)]) -> Vec<f64> {
        losses.iter().map(|(_, loss)| *loss).collect()
    }

    fn words(vitals: &Vitals<'_>) -> Vec<String> {
        assess(vitals).into_iter().map(|finding| finding.words).collect()
    }

    #[test]
    fn a_run_that_learns_is_healthy() {
        for steps in [0, 1, 39, 40, 150, 250] {
            let losses = falling(steps);
            let norms = vec![1.0; losses.len()];
            let valid = [(50, 1.0), (100, 0.8), (150, 0.79), (200, 0.795)];
            let vitals = Vitals {
                losses: &losses,
                gradient_norms: &norms,
                valid: &valid,
                waited_share: Some(0.01),
                device_memory: Some((60, 80)),
                host_memory: Some((1, 100)),
            };
            assert!(assess(&vitals).is_empty(), "{steps}: {:?}", assess(&vitals));
        }
    }

    #[test]
    fn a_loss_that_rises_for_good_diverges_and_one_that_scatters_does_not() {
        let rising: Vec<f64> = (0..80).map(|at| 1.0 + 0.02 * f64::from(at)).collect();
        assert!(diverging(&rising));
        let scattered: Vec<f64> = (0..80).map(|at| if at % 2 == 0 { 1.0 } else { 3.0 }).collect();
        assert!(!diverging(&scattered));
        assert!(!diverging(&values(&falling(80))));
        assert!(!diverging(&rising[..20]));
    }

    #[test]
    fn a_spike_is_told_with_its_step_while_it_is_news() {
        let mut losses = falling(100);
        losses[94].1 = 4.0;
        assert_eq!(spike(&losses), Some(95));
        let mut old = falling(150);
        old[94].1 = 4.0;
        assert_eq!(spike(&old), None);
        assert_eq!(spike(&falling(100)), None);
    }

    #[test]
    fn a_loss_that_does_not_move_is_a_plateau() {
        let flat: Vec<f64> = (0..200_u64).map(|at| 0.7 + 0.01 * (at % 3) as f64).collect();
        assert!(plateau(&flat));
        assert!(!plateau(&flat[1..]));
        assert!(!plateau(&values(&falling(200))));
        assert!(!plateau(&[0.0; 200]), "a task that is learnt by heart has nothing left to learn");
    }

    #[test]
    fn gradients_that_grow_tenfold_explode() {
        let mut norms = vec![0.5; 40];
        norms.extend([9.0; 10]);
        assert!(exploding(&norms));
        norms.truncate(42);
        assert!(!exploding(&norms), "two steps are no trend");
    }

    #[test]
    fn overfitting_begins_at_the_best_validation() {
        assert_eq!(overfitting_since(&[(10, 1.0), (20, 0.8), (30, 0.9), (40, 1.0)]), Some(20));
        assert_eq!(overfitting_since(&[(10, 1.0), (20, 0.8), (30, 0.9)]), None);
        assert_eq!(overfitting_since(&[(10, 1.0), (20, 0.8), (30, 0.801), (40, 0.802)]), None);
        assert_eq!(overfitting_since(&[]), None);
    }

    #[test]
    fn findings_come_worst_first_and_in_words() {
        let vitals = Vitals {
            valid: &[(10, 1.0), (20, 0.8), (30, 0.9), (40, 1.0)],
            waited_share: Some(0.41),
            device_memory: Some((79, 80)),
            ..Vitals::default()
        };
        let expected = [
            "overfitting since step 20",
            "data-starved: the device waits 41 % of the time",
            "device memory near the limit: 99 %",
        ];
        assert_eq!(words(&vitals), expected);
        assert_eq!(near_limit((1, 0)), None);
    }
}
