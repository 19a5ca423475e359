//! Simulated evaluations through the whole verdict, gates on: how often a candidate whose true loss is exactly the margin is approved,
//! and how often an equal one is. Knows nothing about how bounds are made, so that it can judge any of them.
//!
//! Groups are urns (Pólya and Eggenberger 1923): each row repeats the outcome of an earlier row of its group with a chance that gives
//! any two rows of a group the correlation ρ. Rows keep their expected loss, whatever the sizes.

use ground::random::{STEP, mix, unit_f64};

use super::tests::{Made, confirmatory};
use super::{Side, decide};
use crate::decision::{Decision, Test, tests::decision};
use crate::stats::Clusters;

#[derive(Clone, Copy, Debug)]
enum Sizes {
    Alone(usize),
    Equal(usize),
    /// 1 to 40, all equally likely.
    Uniform,
    /// 1 to 40, uniform in the logarithm: many small groups, few large.
    Skewed,
    /// One group in ten has 40 rows, the others 1 to 3.
    Giants,
}

#[derive(Clone, Copy, Debug)]
enum Rows {
    /// Right-or-wrong rows: the share only the baseline gets right, and the share only the candidate does.
    Flips(f64, f64),
    /// Graded scores with a spread of ±0.2 within and between groups around a mean difference.
    Spread(f64),
    /// Graded scores that mostly move by a little, and with this share fall from 1 to 0; the mean difference is −0.03.
    RareFalls(f64),
}

/// A counter stream: SplitMix64 of (seed, draw).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        let bits = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        unit_f64(bits)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.uniform() * bound as f64) as usize).min(bound - 1)
    }

    fn size(&mut self, sizes: Sizes, group: usize) -> usize {
        match sizes {
            Sizes::Alone(_) => 1,
            Sizes::Equal(size) => size,
            Sizes::Uniform => 1 + self.below(40),
            Sizes::Skewed => (41.0_f64.powf(self.uniform()) as usize).clamp(1, 40),
            Sizes::Giants if group.is_multiple_of(10) => 40,
            Sizes::Giants => 1 + self.below(3),
        }
    }

    /// Scores of the candidate and the baseline for a fresh row; `shift` belongs to its group.
    fn row(&mut self, rows: Rows, shift: f64) -> (f64, f64) {
        let u = self.uniform();
        match rows {
            Rows::Flips(lost, _) if u < lost => (0.0, 1.0),
            Rows::Flips(lost, gained) if u < lost + gained => (1.0, 0.0),
            Rows::Flips(..) => (1.0, 1.0),
            Rows::Spread(mean) => (0.5 + mean + shift + 0.4 * (u - 0.5), 0.5),
            Rows::RareFalls(share) if u < share => (0.0, 1.0),
            Rows::RareFalls(share) => (0.5 + (share - 0.03) / (1.0 - share) + 0.1 * (self.uniform() - 0.5), 0.5),
        }
    }
}

fn made(groups: usize, sizes: Sizes, rows: Rows, correlation: f64, seed: u64) -> Made {
    let mut random = Random(seed.wrapping_mul(0xd129_0b26_4d2c_59b1));
    let (mut new, mut old, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let groups = if let Sizes::Alone(n) = sizes { n } else { groups };
    for group in 0..groups {
        let mut urn: Vec<(f64, f64)> = Vec::new();
        let shift = 0.4 * (random.uniform() - 0.5);
        for _ in 0..random.size(sizes, group) {
            let fresh = (1.0 - correlation) / correlation.max(1e-12);
            let repeat = random.uniform() * (fresh + urn.len() as f64) >= fresh && correlation > 0.0;
            let row = if repeat { urn[random.below(urn.len())] } else { random.row(rows, shift) };
            urn.push(row);
            names.push(group.to_string());
            new.push(Side::scored(row.0));
            old.push(Side::scored(row.1));
        }
    }
    let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
    Made { new, old, clusters }
}

fn with_test(sizes: Sizes, rows: Rows) -> Decision {
    let mut decision = decision();
    if !matches!((sizes, rows), (Sizes::Alone(_), Rows::Flips(..))) {
        decision.test = Test::ClusteredT;
    }
    decision
}

/// The share of `runs` evaluations that end in REPLACE or REPLACE_BETTER, and the mean number of rows.
fn approved(decision: &Decision, groups: usize, sizes: Sizes, rows: Rows, correlation: f64, runs: u64) -> (f64, f64) {
    let (mut count, mut total) = (0_usize, 0_usize);
    for run in 0..runs {
        let made = made(groups, sizes, rows, correlation, run + 1);
        let verdict = decide(decision, &confirmatory(), &made.evidence("tuned")).expect("evidence fits the decision");
        count += usize::from(verdict.replaces());
        total += verdict.n;
    }
    (count as f64 / runs as f64, total as f64 / runs as f64)
}

const AT_THE_MARGIN: [Rows; 3] = [Rows::Flips(0.08, 0.05), Rows::Flips(0.05, 0.02), Rows::Flips(0.03, 0.0)];

#[test]
fn four_hundred_candidates_at_the_margin_are_rarely_approved() {
    // 400 runs have a standard error of 1.1 points at 5 %; the full simulation below holds the bound of 6 %.
    const LIMIT: f64 = 0.08;
    let check = |groups, sizes, rows, correlation| {
        let (share, n) = approved(&with_test(sizes, rows), groups, sizes, rows, correlation, 400);
        assert!(share <= LIMIT, "{share} approved of {groups} groups, {sizes:?}, {rows:?}, {correlation}, {n} rows");
    };
    for rows in AT_THE_MARGIN {
        check(0, Sizes::Alone(400), rows, 0.0);
        check(20, Sizes::Skewed, rows, 0.1);
        check(36, Sizes::Uniform, rows, 0.3);
        check(100, Sizes::Giants, rows, 0.3);
    }
    check(36, Sizes::Skewed, Rows::Spread(-0.03), 0.0);
    check(36, Sizes::Skewed, Rows::RareFalls(0.02), 0.3);
}

// `read once at 1 000` of the table in section 8 of the statistics notes, made by numpy with a normal bound.
const READ_ONCE: [(f64, f64, f64); 3] = [(0.06, 0.06, 0.859), (0.03, 0.03, 0.989), (0.04, 0.06, 1.0)];

#[test]
fn equal_and_better_candidates_are_approved_as_often_as_the_power_table_says() {
    power_table(400, 0.05);
}

/// The table and the two planned sample sizes, with `slack` on each share.
fn power_table(runs: u64, slack: f64) -> Vec<(String, f64, f64)> {
    let mut table = Vec::new();
    let mut check = |what: String, decision: &Decision, n: usize, rows: Rows, expect: f64| {
        let share = approved(decision, 0, Sizes::Alone(n), rows, 0.0, runs).0;
        assert!((share - expect).abs() <= slack, "{what}: {share} is not {expect}");
        table.push((what, expect, share));
    };
    for (lost, gained, expect) in READ_ONCE {
        check(format!("n 1000, lost {lost}, gained {gained}"), &decision(), 1000, Rows::Flips(lost, gained), expect);
    }
    check("n 1100, variance .16, alpha .05".to_owned(), &decision(), 1100, Rows::Flips(0.08, 0.08), 0.8);
    let mut two_sided = decision();
    two_sided.alpha = 0.025;
    let ninth = 1.0 / 18.0;
    check("n 969, variance 1/9, alpha .025".to_owned(), &two_sided, 969, Rows::Flips(ninth, ninth), 0.8);
    table
}

#[test]
#[ignore = "about four minutes: cargo test --release -p eval simulation -- --ignored --nocapture"]
#[allow(clippy::print_stderr)]
fn at_most_six_percent_of_two_thousand_candidates_at_the_margin_are_approved() {
    let mut worst: f64 = 0.0;
    let mut check = |groups: usize, sizes: Sizes, rows: Rows, correlation: f64| {
        let (share, n) = approved(&with_test(sizes, rows), groups, sizes, rows, correlation, 2000);
        eprintln!("{groups:>4} groups  {sizes:?}  n {n:.0}  {rows:?}  correlation {correlation}  approved {share:.4}");
        worst = worst.max(share);
    };
    for rows in AT_THE_MARGIN {
        for n in [200, 500, 1000, 1500] {
            check(0, Sizes::Alone(n), rows, 0.0);
        }
        for groups in [20, 36, 100] {
            for sizes in [Sizes::Equal(10), Sizes::Uniform, Sizes::Skewed, Sizes::Giants] {
                for correlation in [0.0, 0.1, 0.3] {
                    check(groups, sizes, rows, correlation);
                }
            }
        }
    }
    for rows in [Rows::Spread(-0.03), Rows::RareFalls(0.02), Rows::RareFalls(0.03)] {
        check(0, Sizes::Alone(500), rows, 0.0);
        for groups in [20, 36, 100] {
            for (sizes, correlation) in [(Sizes::Equal(10), 0.1), (Sizes::Uniform, 0.1), (Sizes::Skewed, 0.3)] {
                check(groups, sizes, rows, correlation);
            }
        }
    }
    for (what, expect, share) in power_table(2000, 0.03) {
        eprintln!("{what}: expected {expect:.3}, approved {share:.4}");
    }
    assert!(worst <= 0.06, "{worst} of the candidates at the margin were approved");
}
