//! The report as JUnit XML, so that a build server shows gates and rows as tests.
//! Knows nothing about build servers. The library escapes XML and drops control signs; here they are shown instead.

use ground::terminal::{shown, shown_in_line};
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
    let mut suite = TestSuite::new(&*shown_in_line(&arm.name));
    if let Some(why) = &arm.skipped {
        let mut status = TestCaseStatus::skipped();
        status.set_message(&*shown(why));
        suite.add_test_case(TestCase::new("not measured", status));
    }
    for (row, outcome) in results.rows.iter().zip(&arm.outcomes) {
        let status = match outcome.score(&results.measured.primary_scorer) {
            Some(score) if score >= 1.0 => TestCaseStatus::success(),
            Some(score) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let words = format!("score {score:.3}: wanted {:?}, got {:?}", row.target, outcome.text());
                status.set_message(&*shown(&words));
                status
            }
            None => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message("no answer that could be scored");
                status
            }
        };
        suite.add_test_case(TestCase::new(&*shown_in_line(&row.id), status));
    }
    suite
}

fn case(name: &str, pass: bool, words: &str) -> TestCase {
    let mut status =
        if pass { TestCaseStatus::success() } else { TestCaseStatus::non_success(NonSuccessKind::Failure) };
    if !pass {
        status.set_message(&*shown(words));
    }
    TestCase::new(&*shown_in_line(name), status)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::report::tests::results;

    #[test]
    fn text_of_others_is_shown_and_makes_no_element() {
        let mut results = results();
        let evil = "</testcase>\"<x y=\"\u{1b}[2J\u{202e}]]>&amp;\0\n";
        results.rows[0].id = evil.to_owned();
        results.arms[1].name = evil.to_owned();
        results.arms[1].outcomes[0].samples[0].text = evil.to_owned();
        let text = Junit.render(&results).unwrap();
        assert!(text.contains("\\u{1b}[2J\\u{202e}") && text.contains("\\u{0}\\u{a}"), "{text}");
        assert_eq!(text.matches("<testcase").count(), 80);
        assert!(!text.contains("<x ") && !text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }

    #[test]
    fn every_row_of_every_arm_is_a_test() {
        let text = Junit.render(&results()).unwrap();
        assert!(text.contains("<testsuite name=\"tuned\" tests=\"40\""), "{text}");
        assert_eq!(text.matches("<testcase").count(), 80);
        assert!(text.contains("failures=\"4\""));
    }
}
