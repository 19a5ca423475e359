//! Owns how long hostile values are made up for a test: some cases by default, or as long as `TRAINER_FUZZ_SECONDS` asks.
//! Only tests have it.

use std::time::Instant;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Runs a test on made-up values.
#[track_caller]
pub(crate) fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let end = Instant::now() + ground::mutate::asked().unwrap_or_default();
    loop {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        if let Err(failure) = runner.run(strategy, &test) {
            panic!("{failure}");
        }
        if Instant::now() >= end {
            return;
        }
    }
}

/// Bytes with some of them changed, and perhaps cut short.
pub(crate) fn spoilt(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((proptest::num::usize::ANY, proptest::num::u8::ANY), 0..6);
    (changes, proptest::option::of(0..=bytes.len())).prop_map(move |(changes, cut)| {
        let mut spoilt = bytes.clone();
        for (at, byte) in changes {
            let length = spoilt.len().max(1);
            if let Some(found) = spoilt.get_mut(at % length) {
                *found = byte;
            }
        }
        spoilt.truncate(cut.unwrap_or(usize::MAX));
        spoilt
    })
}
