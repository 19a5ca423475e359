//! How long the bootstrap of a large evaluation takes, and how much memory: 100 000 rows, 10 000 replicates, paired accuracy and paired macro-F1.
//! Knows nothing about metrics of the product; it holds one slow test with a bar.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use super::{REPLICATES, Sums, paired};
use crate::clock::Stopwatch;
use crate::stats::Clusters;
use crate::stats::random::Stream;

const ROWS: usize = 100_000;
const LABELS: usize = 16;

/// True positives, false positives and false negatives of each label; rare labels are a tenth as frequent as common ones.
fn tallies(arm: u64, accuracy: f64) -> Vec<Vec<(usize, f64)>> {
    let row = |row: u64| {
        let truth = (LABELS as f64 * Stream::new(1, row).uniform(0).powf(1.5)) as usize;
        let stream = Stream::new(2 + arm, row);
        if stream.uniform(0) < accuracy {
            return vec![(3 * truth, 1.0)];
        }
        let answer = (LABELS as f64 * stream.uniform(1)) as usize;
        if answer == truth { vec![(3 * truth, 1.0)] } else { vec![(3 * truth + 2, 1.0), (3 * answer + 1, 1.0)] }
    };
    (0..ROWS as u64).map(row).collect()
}

fn macro_f1(total: &[f64]) -> f64 {
    let f1 = |tally: &[f64]| 2.0 * tally[0] / (2.0 * tally[0] + tally[1] + tally[2]).max(1.0);
    total.chunks_exact(3).map(f1).sum::<f64>() / LABELS as f64
}

fn measure(name: &str, clusters: &Clusters, graded: bool) {
    let (new, old) = (tallies(0, 0.90), tallies(1, 0.91));
    let accuracy = |rows: &[Vec<(usize, f64)>], arm: u64| {
        let score = |row: usize, cells: &Vec<(usize, f64)>| {
            let right = f64::from(cells.len() == 1);
            // Graded scores all differ, so that no two clusters are of one kind.
            if graded { 0.5 * right + 0.5 * Stream::new(9 + arm, row as u64).uniform(0) } else { right }
        };
        Sums::new(2, rows.iter().enumerate().map(|(row, cells)| [score(row, cells), 1.0]), clusters).unwrap()
    };
    let mut watch = Stopwatch::default();
    let share = |total: &[f64]| total[0] / total[1];
    let draws = watch.time(|| paired(&accuracy(&new, 0), &accuracy(&old, 1), share, REPLICATES, 1).unwrap());
    let of_accuracy = watch.seconds();
    let (lower, upper) = draws.bca_bounds(0.05).unwrap();
    println!("{name}: mean {:+.5} [{lower:+.5}, {upper:+.5}] in {of_accuracy:.2} s", draws.observed);
    let sums = |rows: &[Vec<(usize, f64)>]| Sums::sparse(3 * LABELS, rows.iter().cloned(), clusters).unwrap();
    let mut watch = Stopwatch::default();
    let draws = watch.time(|| paired(&sums(&new), &sums(&old), macro_f1, REPLICATES, 1).unwrap());
    let of_macro_f1 = watch.seconds();
    let (lower, upper) = draws.bca_bounds(0.05).unwrap();
    println!("{name}: macro-F1 {:+.5} [{lower:+.5}, {upper:+.5}] in {of_macro_f1:.2} s", draws.observed);
    assert!(of_accuracy + of_macro_f1 < 60.0);
}

#[test]
#[ignore = "seconds of work; run with `RAYON_NUM_THREADS=2 cargo test --release -p eval bootstrap::speed -- --ignored --nocapture`"]
fn a_hundred_thousand_rows_are_bootstrapped_in_under_a_minute() {
    let alone = Clusters::new(vec![None; ROWS]);
    measure("independent rows", &alone, false);
    measure("independent rows, graded", &alone, true);
    let names: Vec<String> = (0..ROWS).map(|row| format!("g{}", row / 8)).collect();
    measure("groups of 8", &Clusters::new(names.iter().map(|name| Some(name.as_str()))), false);
    // Where the system tells it, the peak of the whole process.
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(str::trim).unwrap_or("unknown");
        println!("peak memory: {peak}");
        let kib: f64 = peak.trim_end_matches(" kB").trim().parse().unwrap();
        assert!(kib < 1024.0 * 1024.0);
    }
}
