//! Random cases whose values other packages computed: a small sample always, a thousand of each kind when asked.
//! Knows nothing about those packages; `tests/oracles/statistics_cases.py` writes the cases and says how to run it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use serde_json::Value;

use super::paired::Flips;
use super::power::{Sides, items_needed};
use super::{
    Clusters, agreement, binomial, calibration, classification, interval, isotonic, mcnemar, multiplicity, newcombe,
    order_statistics, proportion, quantile, rank, sequential, tango,
};

/// Largest difference allowed, relative to values above 1.
const TOLERANCE: f64 = 1e-9;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn wholes(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(whole).collect()
}

/// What this crate says to a case; NaN where there is no value.
fn answer(kind: &str, given: &[Value]) -> Vec<f64> {
    let pair = |(low, high): (f64, f64)| vec![low, high];
    match kind {
        "wilson" => pair(interval::wilson(number(&given[0]), number(&given[1]), 0.95)),
        "clopper_pearson" => {
            let (k, n) = (whole(&given[0]), whole(&given[1]));
            let (low, high) = proportion::clopper_pearson(k, n, 0.95);
            vec![low, high, proportion::clopper_pearson_upper(k, n, 0.05)]
        }
        "newcombe_independent" => {
            let [k1, n1, k2, n2] = [0, 1, 2, 3].map(|at| whole(&given[at]));
            pair(newcombe::independent((k1, n1), (k2, n2), 0.95))
        }
        "mcnemar_tests" => {
            let (b, c) = (whole(&given[0]) as usize, whole(&given[1]) as usize);
            let (plain, corrected) = (mcnemar::chi_square(b, c, false), mcnemar::chi_square(b, c, true));
            let ((plain, plain_p), (corrected, corrected_p)) = (plain.unwrap(), corrected.unwrap());
            vec![mcnemar::exact(b, c), mcnemar::mid_p(b, c), plain, plain_p, corrected, corrected_p]
        }
        "tango" => {
            let [b, c, n, difference] = [0, 1, 2, 3].map(|at| number(&given[at]));
            vec![tango::statistic(b, c, n, difference)]
        }
        "multiple_tests" => {
            let p = numbers(&given[0]);
            let all = [
                multiplicity::holm,
                multiplicity::bonferroni,
                multiplicity::benjamini_hochberg,
                multiplicity::benjamini_yekutieli,
            ];
            all.iter().flat_map(|correct| correct(&p)).collect()
        }
        "mann_whitney" => {
            let found = rank::mann_whitney(&numbers(&given[0]), &numbers(&given[1])).unwrap();
            vec![found.statistic, found.p_value]
        }
        "wilcoxon" => {
            let found = rank::wilcoxon_signed_rank(&numbers(&given[0]), &numbers(&given[1])).unwrap();
            vec![found.statistic, found.p_value]
        }
        "clustered" => {
            let (scores, groups) = (numbers(&given[0]), wholes(&given[1]));
            let names: Vec<String> = groups.iter().map(u64::to_string).collect();
            let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
            let error = interval::clustered_standard_error(&scores, &clusters).unwrap();
            let alone = Clusters::new(vec![None; scores.len()]);
            let plain = interval::clustered_standard_error(&scores, &alone).unwrap();
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            let half = quantile::student(0.95, clusters.num_clusters() as f64 - 1.0) * error;
            vec![mean, error, plain, mean - half, mean + half]
        }
        "paired_t" => {
            let (new, old) = (numbers(&given[0]), numbers(&given[1]));
            let found = super::paired::difference(&new, &old, &Clusters::new(vec![None; new.len()]));
            vec![found.p_value.unwrap(), found.estimate.low, found.estimate.high]
        }
        "quantiles" => {
            let [p, freedom, t] = [0, 1, 2].map(|at| number(&given[at]));
            let tails = [quantile::student_two_sided(t, freedom), quantile::normal_upper_tail(t)];
            vec![quantile::normal(p), quantile::student(p, freedom), tails[0], tails[1]]
        }
        "binomial" => {
            let (k, n, p) = (whole(&given[0]), whole(&given[1]), number(&given[2]));
            let (low, high) = order_statistics::ranks(n, p, 0.95);
            let sums = [binomial::probability(k, n, p), binomial::at_most(k, n, p), binomial::at_least(k, n, p)];
            vec![sums[0], sums[1], sums[2], low as f64, high as f64]
        }
        "kappa" => {
            let table: Vec<Vec<u64>> = given[0].as_array().unwrap().iter().map(wholes).collect();
            vec![agreement::cohen_kappa(&table).unwrap().unwrap()]
        }
        "krippendorff_alpha" => {
            let rater = |row: &Value| row.as_array().unwrap().iter().map(Value::as_u64).collect::<Vec<_>>();
            let ratings: Vec<_> = given[0].as_array().unwrap().iter().map(rater).collect();
            vec![agreement::krippendorff_alpha(&ratings).unwrap().unwrap()]
        }
        "classification" => {
            let answers = given[2].as_array().unwrap().iter().map(|answer| answer.as_u64().map(|a| a as usize));
            let truth = wholes(&given[1]).into_iter().map(|label| label as usize);
            let table = classification::Table::count(whole(&given[0]) as usize, truth.zip(answers)).unwrap();
            vec![
                table.accuracy(),
                table.macro_f1(),
                table.macro_f1_with_invalid_class(),
                table.weighted_f1(),
                table.balanced_accuracy(),
                table.matthews_correlation(),
                table.kappa().unwrap_or(f64::NAN),
            ]
        }
        "calibration" => {
            let came_true = wholes(&given[1]).into_iter().map(|y| y == 1);
            let rows: Vec<_> = numbers(&given[0]).into_iter().zip(came_true).collect();
            let ranks = [calibration::roc_auc(&rows), calibration::average_precision(&rows)];
            let [auc, precision] = ranks.map(|found| found.unwrap().unwrap_or(f64::NAN));
            vec![calibration::brier(&rows).unwrap(), calibration::log_loss(&rows).unwrap(), auc, precision]
        }
        "power" => {
            let [variance, margin, alpha, power] = [0, 1, 2, 3].map(|at| number(&given[at]));
            [Sides::One, Sides::Two].map(|sides| items_needed(variance, margin, 0.0, alpha, power, sides)).to_vec()
        }
        "isotonic_fit" => isotonic::non_increasing(&numbers(&given[0]), &numbers(&given[1])).unwrap(),
        "bernoulli_sequence" => pair(sequential::bernoulli::interval(whole(&given[0]), whole(&given[1]), 0.05)),
        "sample_ratio" => {
            vec![sequential::sample_ratio::log_e_value(&wholes(&given[0]), &numbers(&given[1])).unwrap()]
        }
        _ => panic!("unknown kind {kind}"),
    }
}

/// Compares every case; returns the kinds with their number of cases, largest difference and largest relative difference.
fn compare(text: &str) -> Vec<(String, usize, f64, f64)> {
    let all: Value = serde_json::from_str(text).unwrap();
    let mut report = Vec::new();
    for (kind, cases) in all.as_object().unwrap() {
        let cases = cases.as_array().unwrap();
        let (mut largest, mut relative) = (0.0_f64, 0.0_f64);
        for case in cases {
            let found = answer(kind, case["in"].as_array().unwrap());
            let expect = case["out"].as_array().unwrap();
            assert_eq!(found.len(), expect.len(), "{kind}: {case}");
            for (&found, expect) in found.iter().zip(expect) {
                let Some(expect) = expect.as_f64() else {
                    assert!(found.is_nan(), "{kind}: {found} where there is no value: {case}");
                    continue;
                };
                let difference = (found - expect).abs();
                assert!(difference <= TOLERANCE * expect.abs().max(1.0), "{kind}: {found} is not {expect}: {case}");
                largest = largest.max(difference);
                relative = relative.max(if expect.abs() > 1e-250 { difference / expect.abs() } else { 0.0 });
            }
        }
        report.push((kind.clone(), cases.len(), largest, relative));
    }
    report
}

#[test]
fn a_sample_of_random_cases_equals_other_packages() {
    let report = compare(include_str!("../../tests-data/statistics-cases.json"));
    assert!(report.len() >= 20 && report.iter().all(|(_, cases, _, _)| *cases >= 10));
}

#[test]
#[ignore = "needs the file that tests/oracles/statistics_cases.py writes, its path in STATISTICS_CASES"]
fn random_cases_of_other_packages() {
    let path = std::env::var("STATISTICS_CASES").expect("STATISTICS_CASES names the file of cases");
    for (kind, cases, largest, relative) in compare(&std::fs::read_to_string(path).unwrap()) {
        println!("{kind}: {cases} cases, largest difference {largest:.1e}, relative {relative:.1e}");
        assert!(cases >= 1000, "{kind}: {cases}");
    }
}

// Method 10 for paired proportions has no package; it must at least mirror when the arms are swapped.
#[test]
fn swapped_arms_mirror_the_paired_interval() {
    for (lost, won) in [(3, 11), (0, 5), (20, 20)] {
        let flips = Flips { both_right: 40, regressions: lost, gains: won, both_wrong: 13 };
        let swapped = Flips { regressions: won, gains: lost, ..flips };
        let (found, mirrored) = (newcombe::paired(&flips, 0.95), newcombe::paired(&swapped, 0.95));
        assert!((found.0 + mirrored.1).abs() < 1e-12 && (found.1 + mirrored.0).abs() < 1e-12);
    }
}
