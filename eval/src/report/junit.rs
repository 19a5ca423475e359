//! The report as JUnit XML, so that a build server shows gates and rows as tests.
//! Knows nothing about build servers.

use quick_junit::{NonSuccessKind, Report as Suites, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use crate::Results;
use crate::verdict::State;
use crate::{ArmResult, Error};

/// JUnit XML.
#[derive(Clone, Copy, Debug)]
pub struct Junit;

impl Report for Junit {
    fn name(&self) -> &'static str {
        "junit"
    }

    fn file(&self) -> &'static str {
        "junit.xml"
    }

    fn render(&self, results: &Results) -> Result<String, Error> {
        let mut suites = Suites::new("trainer eval");
        if let Some(decided) = &results.decided {
            let verdict = &decided.verdict;
            let mut suite = TestSuite::new("decision");
            suite.add_test_case(case("verdict", verdict.replaces(), &verdict.sentence()));
            for gate in &verdict.gates {
                suite.add_test_case(case(&format!("gate: {}", gate.words), gate.pass, &gate.words));
            }
            for guardrail in &verdict.guardrails {
                let name = format!("guardrail: {}", guardrail.name);
                suite.add_test_case(case(&name, guardrail.state == State::Pass, &guardrail.words));
            }
            suites.add_test_suite(suite);
        }
        for arm in &results.arms {
            suites.add_test_suite(rows(results, arm));
        }
        suites.to_string().map(|text| text + "\n").map_err(|error| Error::Picture { what: error.to_string() })
    }
}

/// Each row of an arm: right is a pass, unscored an error, anything else a failure.
fn rows(results: &Results, arm: &ArmResult) -> TestSuite {
    let mut suite = TestSuite::new(arm.name.as_str());
    if let Some(why) = &arm.skipped {
        let mut status = TestCaseStatus::skipped();
        status.set_message(why.as_str());
        suite.add_test_case(TestCase::new("not measured", status));
    }
    for (row, outcome) in results.rows.iter().zip(&arm.outcomes) {
        let status = match outcome.score(&results.measured.primary_scorer) {
            Some(score) if score >= 1.0 => TestCaseStatus::success(),
            Some(score) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(format!("score {score:.3}: wanted {:?}, got {:?}", row.target, outcome.text()));
                status
            }
            None => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message("no answer that could be scored");
                status
            }
        };
        suite.add_test_case(TestCase::new(row.id.as_str(), status));
    }
    suite
}

fn case(name: &str, pass: bool, words: &str) -> TestCase {
    let mut status =
        if pass { TestCaseStatus::success() } else { TestCaseStatus::non_success(NonSuccessKind::Failure) };
    if !pass {
        status.set_message(words);
    }
    TestCase::new(name, status)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::report::tests::results;

    #[test]
    fn every_row_of_every_arm_is_a_test() {
        let text = Junit.render(&results()).unwrap();
        assert!(text.contains("<testsuite name=\"tuned\" tests=\"40\""), "{text}");
        assert_eq!(text.matches("<testcase").count(), 80);
        assert!(text.contains("failures=\"4\""));
    }
}
