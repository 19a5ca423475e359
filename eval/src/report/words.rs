//! How numbers are written in every report: shares in per cent, differences in points, small p-values as bounds.
//! Knows nothing about where a number stands.

use crate::Results;
use crate::metric::Unit;
use crate::stats::{Estimate, Method};

/// What stands where there is no number.
pub const NONE: &str = "-";

/// A value with its interval.
pub fn estimate(estimate: &Estimate, unit: Unit) -> String {
    let Estimate { value, low, high, .. } = *estimate;
    match unit {
        Unit::Share => format!("{:.1}% [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high),
        Unit::Fraction => format!("{value:.3} [{low:.3}, {high:.3}]"),
        Unit::Hundred => format!("{value:.1} [{low:.1}, {high:.1}]"),
    }
}

/// A difference with its interval, in points.
pub fn difference(estimate: &Estimate, unit: Unit) -> String {
    let scale = if unit == Unit::Hundred { 1.0 } else { 100.0 };
    // Adding zero turns a negative zero into a positive one.
    let round = |value: f64| (10.0 * scale * value).round() / 10.0 + 0.0;
    let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(round);
    match estimate.method {
        Method::Undetermined => format!("{value:+.1} [undetermined]"),
        _ => format!("{value:+.1} [{low:+.1}, {high:+.1}]"),
    }
}

/// A p-value.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// Seconds as a person reads them.
pub fn seconds(secs: f64) -> String {
    if secs < 0.000_05 {
        "<0.1 ms".to_owned()
    } else if secs < 0.0995 {
        format!("{:.1} ms", 1000.0 * secs)
    } else if secs < 9.95 {
        format!("{secs:.2} s")
    } else {
        format!("{secs:.1} s")
    }
}

/// Dollars with enough digits to tell small sums apart.
pub fn usd(usd: f64) -> String {
    if usd == 0.0 {
        "$0".to_owned()
    } else if usd.abs() < 0.01 {
        format!("${usd:.6}")
    } else {
        format!("${usd:.2}")
    }
}

/// The rows and groups behind every number.
pub fn sample_size(results: &Results) -> String {
    let (rows, groups) = (results.rows.len(), results.groups);
    if groups == rows {
        return format!("{rows} rows");
    }
    let name = results.group_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{rows} rows, {groups} groups{name}")
}

/// The metrics that a narrow table shows, in order: the one that decides first.
pub fn shown(results: &Results) -> Vec<&crate::results::MetricFacts> {
    let primary = results.measured.primary.as_str();
    let also = |name: &str| {
        let scorer = results.measured.scorers.iter().any(|scorer| scorer.named.name == name);
        let hidden = matches!(name, "label" | "label_likelihood_per_byte");
        (scorer && !hidden)
            || matches!(name, "label_valid" | "macro_f1")
            || name.ends_with("_micro_f1")
            || name.starts_with("corpus_")
    };
    let all = &results.measured.metrics;
    let first = all.iter().filter(|metric| metric.named.name == primary);
    let rest = all.iter().filter(|metric| metric.named.name != primary && also(&metric.named.name));
    let held = |metric: &&crate::results::MetricFacts| {
        results.arms.iter().any(|arm| arm.metrics.contains_key(&metric.named.name))
    };
    first.chain(rest).filter(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_keep_their_meaning() {
        assert_eq!(
            (seconds(0.0123).as_str(), seconds(1.234).as_str(), seconds(61.0).as_str()),
            ("12.3 ms", "1.23 s", "61.0 s")
        );
        assert_eq!((usd(0.0).as_str(), usd(0.000_292).as_str(), usd(12.5).as_str()), ("$0", "$0.000292", "$12.50"));
        assert_eq!((p_value(0.0004).as_str(), p_value(0.05).as_str()), ("<0.001", "0.050"));
    }
}
