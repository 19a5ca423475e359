//! Owns the way from rows to clean splits with their account. Knows nothing about where the rows came from, nor about
//! tokens.

use crate::error::Error;
use crate::jsonl::Rows;
use crate::ledger::Ledger;
use crate::overlap::{self, Dropped, Kind, Settings};
use crate::record::Record;
use crate::split::{Rule, Split, Splits};

/// Splits without leaks, and where every row went.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The rows that are used.
    pub splits: Splits,
    /// The rows that repeat another split.
    pub dropped: Dropped,
    /// The account.
    pub ledger: Ledger,
}

/// The rows of one file, divided by the rule.
pub fn by_rule(name: &str, rows: Rows, rule: &Rule, overlap: &Settings) -> Result<Prepared, Error> {
    let mut ledger = Ledger::default();
    let records = enter(&mut ledger, name, rows);
    clean(Splits::by_rule(records, rule)?, ledger, overlap)
}

/// The rows of files that somebody else divided, each with its name.
pub fn from_parts(
    train: (&str, Rows),
    valid: Option<(&str, Rows)>,
    test: (&str, Rows),
    overlap: &Settings,
) -> Result<Prepared, Error> {
    let mut ledger = Ledger::default();
    let train = enter(&mut ledger, train.0, train.1);
    let valid = valid.map(|(name, rows)| enter(&mut ledger, name, rows)).unwrap_or_default();
    let test = enter(&mut ledger, test.0, test.1);
    clean(Splits::from_parts(train, valid, test)?, ledger, overlap)
}

fn enter(ledger: &mut Ledger, name: &str, rows: Rows) -> Vec<Record> {
    ledger.rows_read += rows.records.len();
    ledger.blank_lines += rows.blank_lines;
    ledger.files.push((name.to_string(), rows.sha256));
    rows.records
}

fn clean(mut splits: Splits, mut ledger: Ledger, settings: &Settings) -> Result<Prepared, Error> {
    ledger.train = splits.train.len();
    ledger.valid = splits.valid.len();
    ledger.test = splits.test.len();
    ledger.used = splits.len();
    let dropped = overlap::drop_leaks(&mut splits, settings);
    ledger.leaked(Split::Valid, &dropped.valid_leaks);
    ledger.leaked(Split::Test, &dropped.test_leaks);
    for (split, rows, leaks) in
        [(Split::Valid, &splits.valid, &dropped.valid_leaks), (Split::Test, &splits.test, &dropped.test_leaks)]
    {
        if rows.is_empty() && !leaks.is_empty() {
            let near = leaks.iter().filter(|leak| leak.kind != Kind::Exact).count();
            let how = if near > 0 { format!(", {near} of them nearly") } else { String::new() };
            // What only looks alike to us may be what the rows are about.
            let key = if near > 0 { "; data.near_duplicates, jaccard and cosine say what is near" } else { "" };
            return Err(Error::EmptySplit {
                split: split.as_str(),
                why: format!("all its {} rows repeat rows that are learnt from{how}", leaks.len()),
                hint: format!("bring held-out rows from other documents{key}"),
            });
        }
    }
    Ok(Prepared { splits, dropped, ledger })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Map;

    use super::*;
    use crate::record::{Message, Role};

    fn rows(texts: &[(&str, &str)]) -> Rows {
        let record = |(id, text): &(&str, &str)| {
            let messages = vec![Message::new(Role::User, *text), Message::new(Role::Assistant, "a")];
            Record::new(id.to_string(), messages, id.to_string(), Map::new()).unwrap()
        };
        let records = texts.iter().map(record).collect();
        Rows { records, blank_lines: 1, shapes: BTreeMap::new(), sha256: "00".into() }
    }

    #[test]
    fn a_planted_leak_is_dropped_and_counted() {
        let train = rows(&[("a", "one"), ("b", "two")]);
        let test = rows(&[("c", "three"), ("d", "Two!")]);
        let prepared = from_parts(("train.jsonl", train), None, ("test.jsonl", test), &Settings::default()).unwrap();
        let ledger = prepared.ledger;
        assert_eq!((ledger.rows_read, ledger.used, ledger.test, ledger.blank_lines), (4, 3, 1, 2));
        assert_eq!((ledger.leaks[0].rows, ledger.unaccounted()), (1, 0));
        assert_eq!(prepared.dropped.test[0].id, "d");
    }

    #[test]
    fn a_test_split_that_only_repeats_train_is_refused() {
        let error = from_parts(("x", rows(&[("a", "one")])), None, ("y", rows(&[("b", "one")])), &Settings::default());
        assert!(error.unwrap_err().to_string().contains("the test split is empty: all its 1 rows repeat"));
    }

    #[test]
    fn a_split_that_is_lost_to_near_repeats_names_what_says_so() {
        let long = "who pays for the repair of the roof if it leaks in the third winter after the sale";
        let near = format!("{long} please");
        let refused = |text: &str| {
            let (train, test) = (rows(&[("a", long)]), rows(&[("b", text)]));
            from_parts(("x", train), None, ("y", test), &Settings::default()).unwrap_err().to_string()
        };
        let (near, exact) = (refused(&near), refused(long));
        assert!(near.contains("learnt from, 1 of them nearly") && near.contains("data.near_duplicates"), "{near}");
        assert!(!exact.contains("near"), "{exact}");
    }

    #[test]
    fn the_rule_divides_and_the_account_adds_up() {
        let names: Vec<String> = (0..50).map(|n| format!("group {n}")).collect();
        let texts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let rule = Rule { valid_fraction: 0.2, ..Rule::default() };
        let prepared = by_rule("rows.jsonl", rows(&texts), &rule, &Settings::default()).unwrap();
        assert_eq!(prepared.ledger.used, 50);
        assert_eq!(prepared.ledger.unaccounted(), 0);
        assert!(!prepared.splits.valid.is_empty());
    }
}
