//! Owns which row is in which split: a pure rule over the group, so that no document or owner lies in two splits.
//! Knows nothing about files, nor about texts that are alike (`overlap`).

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::digest::sha256_u64_le;
use crate::error::{Error, short};
use crate::record::Record;

/// Put before the group so that the choice of valid rows is independent of the choice of test rows.
const VALID_SALT: &str = "valid:";

/// A part of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Rows that are learnt from.
    Train,
    /// Rows that choose between checkpoints.
    Valid,
    /// Rows that are only scored.
    Test,
}

impl Split {
    /// The word in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }
}

/// Test when `u64_le(SHA-256(group)[0..8]) mod modulus == remainder`; of the rest, a fraction of the groups is valid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// One group in this many is in test.
    pub modulus: u64,
    /// Which residue class is test.
    #[serde(default)]
    pub remainder: u64,
    /// Share of the groups outside test that is valid.
    #[serde(default)]
    pub valid_fraction: f64,
}

impl Default for Rule {
    fn default() -> Self {
        Rule { modulus: 5, remainder: 0, valid_fraction: 0.0 }
    }
}

impl Rule {
    /// Everything wrong with the numbers, each with its hint.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.modulus < 2 {
            faults.push(format!(
                "split.modulus is {}, which leaves nothing to train on\nhint: 5 puts one group in five into test",
                self.modulus
            ));
        } else if self.remainder >= self.modulus {
            faults.push(format!(
                "split.remainder is {}, which no group has\nhint: it lies between 0 and {}",
                self.remainder,
                self.modulus - 1
            ));
        }
        if !(0.0..1.0).contains(&self.valid_fraction) {
            faults.push(format!(
                "split.valid_fraction is {}\nhint: it is a share of the groups, from 0 to below 1",
                self.valid_fraction
            ));
        }
        faults
    }
}

/// The split of a group. The rule is one that [`Rule::faults`] has nothing against; a modulus of 0 puts all in train.
pub fn assign(group: &str, rule: &Rule) -> Split {
    if sha256_u64_le(group.as_bytes()).checked_rem(rule.modulus) == Some(rule.remainder) {
        return Split::Test;
    }
    // The 53 bits an f64 holds exactly.
    let salted = sha256_u64_le(format!("{VALID_SALT}{group}").as_bytes()) >> 11;
    let share = salted as f64 / (1u64 << 53) as f64;
    if share < rule.valid_fraction { Split::Valid } else { Split::Train }
}

/// The rows of a set, apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Splits {
    /// Rows that are learnt from.
    pub train: Vec<Record>,
    /// Rows that choose between checkpoints. May be empty.
    pub valid: Vec<Record>,
    /// Rows that are only scored.
    pub test: Vec<Record>,
}

impl Splits {
    /// Divides by the rule. Order within a split is the order of the rows.
    pub fn by_rule(records: Vec<Record>, rule: &Rule) -> Result<Splits, Error> {
        let num_rows = records.len();
        let mut splits = Splits::default();
        for record in records {
            match assign(&record.group, rule) {
                Split::Train => splits.train.push(record),
                Split::Valid => splits.valid.push(record),
                Split::Test => splits.test.push(record),
            }
        }
        let wanted = [
            (Split::Train, splits.train.is_empty(), true),
            (Split::Valid, splits.valid.is_empty(), rule.valid_fraction > 0.0),
            (Split::Test, splits.test.is_empty(), true),
        ];
        match wanted.iter().find(|(_, empty, wanted)| *empty && *wanted) {
            None => Ok(splits),
            Some((split, ..)) => Err(Error::EmptySplit {
                split: split.as_str(),
                why: format!("the rule put none of the {num_rows} rows there"),
                hint:
                    "a group is never cut: bring rows of more groups, or another modulus, remainder or valid_fraction"
                        .to_string(),
            }),
        }
    }

    /// Takes splits that somebody else made. A group or an id in two of them is refused.
    pub fn from_parts(train: Vec<Record>, valid: Vec<Record>, test: Vec<Record>) -> Result<Splits, Error> {
        let splits = Splits { train, valid, test };
        if let Some(shared) = splits.shared(|record| &record.id) {
            let Shared { total, name: id, first, second } = shared;
            return Err(Error::SharedId { total, id: short(&id), first, second });
        }
        if let Some(shared) = splits.shared(|record| &record.group) {
            let Shared { total, name: group, first, second } = shared;
            return Err(Error::SharedGroup { total, group: short(&group), first, second });
        }
        Ok(splits)
    }

    /// Rows in all.
    pub fn len(&self) -> usize {
        self.train.len() + self.valid.len() + self.test.len()
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shared(&self, name: impl Fn(&Record) -> &String) -> Option<Shared> {
        let mut home: HashMap<&str, Split> = HashMap::new();
        let mut shared: Option<Shared> = None;
        let mut counted: HashSet<&str> = HashSet::new();
        for (split, rows) in [(Split::Train, &self.train), (Split::Valid, &self.valid), (Split::Test, &self.test)] {
            for row in rows {
                let first = *home.entry(name(row)).or_insert(split);
                if first != split && counted.insert(name(row)) {
                    shared = Some(match shared {
                        Some(found) => Shared { total: found.total + 1, ..found },
                        None => {
                            Shared { total: 1, name: name(row).clone(), first: first.as_str(), second: split.as_str() }
                        }
                    });
                }
            }
        }
        shared
    }
}

struct Shared {
    total: usize,
    name: String,
    first: &'static str,
    second: &'static str,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;
    use crate::record::{Message, Role};

    fn row(id: &str, group: &str) -> Record {
        let messages = vec![Message::new(Role::User, id), Message::new(Role::Assistant, "a")];
        Record::new(id.into(), messages, group.into(), Map::new()).unwrap()
    }

    #[test]
    fn the_rule_is_the_published_one() {
        // python3: int.from_bytes(hashlib.sha256(b"Microsoft").digest()[:8], "little") % 5
        let rule = Rule::default();
        let test = ["Apache Software Foundation", "Microsoft", "Google", "Square", "MonetDB"]
            .map(|group| assign(group, &rule) == Split::Test);
        assert_eq!(test, [true, false, false, false, true]);
    }

    #[test]
    fn an_owner_in_train_and_in_test_is_refused() {
        let error = Splits::from_parts(vec![row("a", "Acme")], vec![], vec![row("b", "Acme"), row("c", "Acme")]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("groups that lie in two splits: 1, first `Acme`, in train and in test\nhint: "),
            "{text}"
        );
    }

    #[test]
    fn an_id_in_two_splits_is_refused() {
        let error = Splits::from_parts(vec![row("a", "x")], vec![row("a", "y")], vec![row("b", "z")]);
        assert!(error.unwrap_err().to_string().contains("first `a`, in train and in valid"));
    }

    #[test]
    fn a_rule_that_leaves_a_split_empty_is_refused() {
        let rows = vec![row("a", "Acme"), row("b", "Acme")];
        let text = Splits::by_rule(rows, &Rule::default()).unwrap_err().to_string();
        assert!(text.contains("split is empty: the rule put none of the 2 rows there"), "{text}");
    }

    #[test]
    fn impossible_rules_are_named() {
        assert_eq!(Rule::default().faults(), Vec::<String>::new());
        let rule = Rule { modulus: 1, remainder: 0, valid_fraction: 1.0 };
        assert_eq!(rule.faults().len(), 2);
        let rule = Rule { modulus: 5, remainder: 5, valid_fraction: f64::NAN };
        assert_eq!(rule.faults().len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_row_is_in_one_split_and_no_group_in_two(
            groups in proptest::collection::vec("[a-f]{1,2}", 1..80),
            modulus in 2u64..7,
            valid_fraction in 0.0f64..0.5,
        ) {
            let rule = Rule { modulus, remainder: modulus - 1, valid_fraction };
            let rows: Vec<_> = groups.iter().enumerate().map(|(n, group)| row(&n.to_string(), group)).collect();
            if let Ok(splits) = Splits::by_rule(rows, &rule) {
                prop_assert_eq!(splits.len(), groups.len());
                prop_assert!(Splits::from_parts(splits.train, splits.valid, splits.test).is_ok());
            }
        }

        #[test]
        fn more_valid_never_moves_a_group_into_or_out_of_test(group in "\\PC{1,8}", fraction in 0.0f64..1.0) {
            let without = assign(&group, &Rule::default());
            let with = assign(&group, &Rule { valid_fraction: fraction, ..Rule::default() });
            prop_assert_eq!(without == Split::Test, with == Split::Test);
        }
    }
}
