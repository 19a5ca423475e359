//! The simulation that says what peeking costs and what the sequential tests keep: paired outcomes, a look at every request from 50 to 3 000.
//! Knows nothing about the canary; it holds tests only, the long one behind `--ignored`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::asymptotic::{half_width_one_sided, tuning_rho};
use super::betting::Betting;
use crate::stats::random::Stream;

const STEPS: usize = 3000;
const FIRST_LOOK: usize = 50;
const MARGIN: f64 = 0.03;
const ALPHA: f64 = 0.05;

/// Shares of runs approved, with the median step where there is one.
#[derive(Debug, Default)]
struct Approved {
    once_at_1000: f64,
    peeking: f64,
    asymptotic: (f64, f64),
    betting: (f64, f64),
}

fn simulate(lose: f64, win: f64, runs: usize) -> Approved {
    let rho = tuning_rho(2.0 * ALPHA, 1000.0);
    let (mut once, mut peeking) = (0, 0);
    let (mut asymptotic, mut betting) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let stream = Stream::new(7, run as u64);
        let mut process = Betting::non_inferiority(MARGIN).unwrap();
        let (mut sum, mut squares, mut peeked, mut approved) = (0.0, 0.0, false, None);
        let mut won = None;
        for step in 0..STEPS {
            let u = stream.uniform(step as u64);
            let d = if u < lose { -1.0 } else { f64::from(u < lose + win) };
            let n = (step + 1) as f64;
            sum += d;
            squares += d * d;
            let mean = sum / n;
            let variance = squares / n - mean * mean;
            let fixed = mean - 1.645 * (variance.max(1e-12) / n).sqrt() > -MARGIN;
            once += usize::from(fixed && step == 999);
            if step + 1 >= FIRST_LOOK {
                peeked |= fixed;
                // The width is only computed where the mean could pass at all.
                if approved.is_none() && mean > -MARGIN {
                    let half = half_width_one_sided(n, variance.max(1e-9), ALPHA, rho);
                    approved = (mean - half > -MARGIN).then_some(n);
                }
            }
            if won.is_none() {
                process.observe(d).unwrap();
                won = process.rejected(ALPHA).then_some(n);
            }
        }
        peeking += usize::from(peeked);
        asymptotic.extend(approved);
        betting.extend(won);
    }
    let share = |count: usize| count as f64 / runs as f64;
    let summary = |mut steps: Vec<f64>| {
        steps.sort_by(f64::total_cmp);
        (share(steps.len()), steps.get(steps.len() / 2).copied().unwrap_or(f64::NAN))
    };
    Approved {
        once_at_1000: share(once),
        peeking: share(peeking),
        asymptotic: summary(asymptotic),
        betting: summary(betting),
    }
}

/// Compares with `simulation` in oracles/reference_values.json, which rests on 2 000 runs of another generator.
fn check(runs: usize) {
    let reference = [
        ("at the margin", 0.08, 0.05, [0.057, 0.3815, 0.0395, 0.0295], None),
        ("equal, 12% flips", 0.06, 0.06, [0.8585, 1.0, 0.989, 0.948], Some((768.5, 1041.5))),
        ("equal, 6% flips", 0.03, 0.03, [0.9885, 1.0, 1.0, 0.999], Some((400.0, 490.0))),
        ("+2 points", 0.04, 0.06, [1.0, 1.0, 1.0, 1.0], Some((298.5, 296.5))),
    ];
    for (name, lose, win, expect, medians) in reference {
        let found = simulate(lose, win, runs);
        let shares = [found.once_at_1000, found.peeking, found.asymptotic.0, found.betting.0];
        for (share, expect) in shares.into_iter().zip(expect) {
            // Four standard errors of the difference; a share of 1 in 2 000 runs is known to about one in a thousand.
            let p: f64 = f64::clamp(expect, 0.001, 0.999);
            let noise = (p * (1.0 - p) * (1.0 / runs as f64 + 1.0 / 2000.0)).sqrt();
            assert!((share - expect).abs() <= 4.0 * noise, "{name}: {found:?}");
        }
        if let Some((asymptotic, betting)) = medians {
            assert!((found.asymptotic.1 / asymptotic - 1.0).abs() < 0.12, "{name}: {found:?}");
            assert!((found.betting.1 / betting - 1.0).abs() < 0.12, "{name}: {found:?}");
        }
    }
}

#[test]
fn approvals_equal_the_reference_within_the_noise_of_a_few_runs() {
    check(300);
}

#[test]
#[ignore = "twenty times the runs of the short one; run with `cargo test --release -p eval simulation -- --ignored`"]
fn approvals_equal_the_reference_within_the_noise_of_many_runs() {
    check(6000);
    let found = simulate(0.08, 0.05, 6000);
    assert!(found.betting.0 <= 0.05 && found.asymptotic.0 <= 0.05 && found.peeking > 0.3, "{found:?}");
}
