//! What values of a decision cannot work.
//! Knows nothing about files; all problems are named at once, each with its key.

use std::collections::HashSet;

use super::{Bins, Covariate, Decision, Guardrail, OLDEST, VERSION};

/// Every problem of a decision; none when it can be registered.
pub(crate) fn problems(decision: &Decision) -> Vec<String> {
    let mut found = Problems::default();
    let d = decision;
    found.require((OLDEST..=VERSION).contains(&d.version), || format!("version must be {OLDEST} to {VERSION}"));
    found.require(d.held_out_sha256.is_some() == (d.version > OLDEST), || {
        format!("held_out_sha256 stands in version {VERSION} and not in version {OLDEST}")
    });
    d.held_out_sha256.iter().for_each(|sha256| found.sha256("held_out_sha256", sha256));
    found.named("baseline", &d.baseline);
    found.named("metric", &d.metric);
    found.named("groups", &d.groups);
    found.require(!d.candidates.is_empty(), || "candidates must name at least one arm".to_owned());
    found.distinct("candidates", &d.candidates);
    found.require(!d.candidates.contains(&d.baseline), || {
        format!("candidates must not hold the baseline \"{}\"", d.baseline)
    });
    found.within("margin", d.margin, 0.0, 1.0, "a loss of score such as 0.03");
    found.within("alpha", d.alpha, 0.0, 0.5, "a one-sided error rate such as 0.05");
    found.within("power", d.power, 0.5, 1.0, "a chance such as 0.8");
    found.distinct("slices.names", &d.slices.names);
    guardrails(&d.guardrails, &mut found);
    d.covariates.iter().for_each(|covariate| bins(covariate, &mut found));
    found.distinct("covariates", &d.covariates.iter().map(|c| c.name.clone()).collect::<Vec<_>>());
    found.require(d.n_max > 0, || "n_max must be at least 1".to_owned());
    found.share("gates.missing_share", d.gates.missing_share);
    found.share("gates.missing_difference_p", d.gates.missing_difference_p);
    found.share("gates.unparsed_share", d.gates.unparsed_share);
    found.require(d.gates.min_clusters >= 2, || "gates.min_clusters must be at least 2".to_owned());
    if let Some(floor) = d.gates.baseline_floor {
        found.share("gates.baseline_floor", floor);
    }
    found.sha256("set_sha256", &d.set_sha256);
    found.sha256("prompt_sha256", &d.prompt_sha256);
    found.sha256("scorer_sha256", &d.scorer_sha256);
    found.list
}

fn guardrails(guardrails: &[Guardrail], found: &mut Problems) {
    let mut seen = HashSet::new();
    for guardrail in guardrails {
        let name = guardrail.name();
        found.require(seen.insert(name), || format!("guardrails: {name} is there twice"));
        match *guardrail {
            Guardrail::SchemaValidity { margin }
            | Guardrail::RefusalRate { margin }
            | Guardrail::TimeoutRate { margin } => {
                found.within(&format!("guardrails.{name}.margin"), margin, 0.0, 1.0, "a share such as 0.01");
            }
            Guardrail::LatencyP95 { limit_secs } => found.require(limit_secs > 0.0 && limit_secs.is_finite(), || {
                format!("guardrails.{name}.limit_secs must be seconds above 0")
            }),
            Guardrail::CostPerCorrect { margin } => found.require(margin > -1.0 && margin.is_finite(), || {
                format!("guardrails.{name}.margin must be a share above -1; -0.5 asks for half the cost")
            }),
        }
    }
}

fn bins(covariate: &Covariate, found: &mut Problems) {
    found.named("covariates.name", &covariate.name);
    let name = &covariate.name;
    match &covariate.bins {
        Bins::Edges { upper } => {
            let growing = upper.windows(2).all(|pair| pair[0] < pair[1]) && upper.iter().all(|edge| edge.is_finite());
            found.require(!upper.is_empty() && growing, || format!("covariates.{name}: upper edges must grow"));
        }
        Bins::Merged { variance } => {
            found.within(&format!("covariates.{name}.variance"), *variance, 0.0, 1.0, "a share of flips such as 0.12");
        }
    }
}

#[derive(Default)]
struct Problems {
    list: Vec<String>,
}

impl Problems {
    fn require(&mut self, good: bool, problem: impl FnOnce() -> String) {
        if !good {
            self.list.push(problem());
        }
    }

    fn named(&mut self, key: &str, value: &str) {
        self.require(!value.trim().is_empty(), || format!("{key} must not be empty"));
    }

    fn within(&mut self, key: &str, value: f64, low: f64, high: f64, what: &str) {
        self.require(value > low && value < high, || format!("{key} must lie between {low} and {high}: {what}"));
    }

    fn share(&mut self, key: &str, value: f64) {
        self.require((0.0..=1.0).contains(&value), || format!("{key} must be a share from 0 to 1"));
    }

    fn sha256(&mut self, key: &str, value: &str) {
        let hexadecimal = value.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        self.require(value.len() == 64 && hexadecimal, || format!("{key} must be 64 lower-case hexadecimal digits"));
    }

    fn distinct(&mut self, key: &str, values: &[String]) {
        let mut seen = HashSet::new();
        for value in values {
            self.named(key, value);
            self.require(seen.insert(value), || format!("{key}: \"{value}\" is there twice"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::decision::tests::decision;

    #[test]
    fn a_good_decision_has_no_problem() {
        assert_eq!(problems(&decision()), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let mut bad = decision();
        bad.margin = 0.0;
        bad.alpha = f64::NAN;
        bad.candidates = vec!["tfidf".to_owned(), "a".to_owned(), "a".to_owned()];
        bad.guardrails = vec![Guardrail::LatencyP95 { limit_secs: 0.0 }, Guardrail::LatencyP95 { limit_secs: 1.0 }];
        bad.covariates = vec![Covariate { name: "labels".to_owned(), bins: Bins::Edges { upper: vec![3.0, 3.0] } }];
        bad.set_sha256 = "A".repeat(64);
        bad.n_max = 0;
        let found = problems(&bad).join("\n");
        for key in [
            "margin",
            "alpha",
            "the baseline",
            "\"a\" is there twice",
            "limit_secs",
            "latency_p95 is there twice",
            "edges",
            "set_sha256",
            "n_max",
        ] {
            assert!(found.contains(key), "{key} is not in {found}");
        }
        assert_eq!(problems(&bad).len(), 9);
    }
}
