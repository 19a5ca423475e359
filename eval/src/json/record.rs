//! Compares two records leaf by leaf: which leaves were wanted, which were predicted, which were right.
//! Knows nothing about scores or answers; a rule says for a path how leaves are compared and how lists are matched.

use std::collections::HashMap;

use serde_json::Value;

use super::list_match::{items_of, pairs};
use super::{Comparator, Path};
use crate::scorer::Tally;
use crate::work::{TooMuch, Work};

/// What holds at one path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// How leaves are compared.
    pub comparator: Comparator,
    /// How the items of a list find each other.
    pub list: ListRule,
}

/// How the items of a list find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListRule {
    /// First with first, second with second.
    #[default]
    Ordered,
    /// Any with any, so that as many leaves as possible are right.
    Assignment,
    /// Like `Assignment` after repeats of the same item are removed on each side.
    Set,
    /// Only objects whose value of this key is the same under the rule of that key; of several such objects the best.
    ByKey(String),
}

/// Rules by path; a path without one is compared exactly and in order.
pub type Rules = HashMap<Path, Rule>;

/// Counts the leaves of both records by path: wanted, predicted, and right.
///
/// A leaf is a text, a number or a truth value; null, `{}` and `[]` hold none, so null is absent.
/// A wrong value is thus one false positive and one false negative, a missing leaf a false negative, an extra one a false positive.
///
/// # Errors
/// When the work is more than is left.
pub(crate) fn tally(
    predicted: Option<&Value>,
    wanted: &Value,
    rules: &Rules,
    work: &mut Work,
) -> Result<Tally, TooMuch> {
    let mut tally = Tally::default();
    let root = Path::root();
    for_each_leaf(wanted, &root, rules, work, &mut |path| tally.wanted(&path.to_string()))?;
    if let Some(predicted) = predicted {
        for_each_leaf(predicted, &root, rules, work, &mut |path| tally.predicted(&path.to_string()))?;
        for_each_right(predicted, wanted, &root, rules, work, &mut |path| tally.credit(&path.to_string(), 1.0))?;
    }
    tally.checked()
}

fn for_each_leaf(
    value: &Value,
    path: &Path,
    rules: &Rules,
    work: &mut Work,
    leaf: &mut impl FnMut(&Path),
) -> Result<(), TooMuch> {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (key, value) in object {
                for_each_leaf(value, &child(path, key, work)?, rules, work, leaf)?;
            }
        }
        Value::Array(list) => {
            let items = path.items();
            for value in items_of(list, path, rules, work)? {
                for_each_leaf(value, &items, rules, work, leaf)?;
            }
        }
        _ => {
            work.spend(1 + path.len())?;
            leaf(path);
        }
    }
    Ok(())
}

/// Calls `right` with the path of each leaf that is right.
pub(super) fn for_each_right(
    predicted: &Value,
    wanted: &Value,
    path: &Path,
    rules: &Rules,
    work: &mut Work,
    right: &mut dyn FnMut(&Path),
) -> Result<(), TooMuch> {
    match (predicted, wanted) {
        (Value::Object(predicted), Value::Object(wanted)) => {
            for (key, wanted) in wanted {
                if let Some(predicted) = predicted.get(key) {
                    for_each_right(predicted, wanted, &child(path, key, work)?, rules, work, right)?;
                }
            }
        }
        (Value::Array(predicted), Value::Array(wanted)) => {
            let predicted = items_of(predicted, path, rules, work)?;
            let wanted = items_of(wanted, path, rules, work)?;
            let items = path.items();
            for (predicted, wanted) in pairs(&predicted, &wanted, path, rules, work)? {
                for_each_right(predicted, wanted, &items, rules, work, right)?;
            }
        }
        (predicted, wanted) if is_leaf(predicted) && is_leaf(wanted) => {
            work.spend(1 + path.len())?;
            if comparator_of(path, rules).same(predicted, wanted, work)? {
                right(path);
            }
        }
        _ => {}
    }
    Ok(())
}

/// How leaves at a path are compared.
pub(super) fn comparator_of(path: &Path, rules: &Rules) -> Comparator {
    rules.get(path).map_or_else(Comparator::default, |rule| rule.comparator)
}

pub(super) fn is_leaf(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

/// A path costs its length, also where a long key stands above many others.
fn child(path: &Path, key: &str, work: &mut Work) -> Result<Path, TooMuch> {
    work.spend(1 + path.len() + key.len())?;
    Ok(path.key(key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn tally(predicted: Option<&Value>, wanted: &Value, rules: &Rules) -> Tally {
        super::tally(predicted, wanted, rules, &mut Work::of_a_judgement()).unwrap()
    }

    fn rules(list: ListRule) -> Rules {
        let rule = Rule { list, ..Rule::default() };
        Rules::from([(Path::parse("a").unwrap(), rule.clone()), (Path::root(), rule)])
    }

    /// Credit, predicted and wanted over all leaves.
    fn sums(list: ListRule, predicted: &Value, wanted: &Value) -> [f64; 3] {
        let counts = tally(Some(predicted), wanted, &rules(list)).into_counts();
        counts.iter().fold([0.0; 3], |[credit, predicted, wanted], count| {
            [credit + count.credit, predicted + count.predicted, wanted + count.wanted]
        })
    }

    #[test]
    fn wrong_missing_extra_and_null_leaves_count_as_the_policy_says() {
        let wanted = json!({"a": 1, "b": "x", "c": null, "d": {"e": true}});
        let check =
            |predicted: Value, expect| assert_eq!(sums(ListRule::Ordered, &predicted, &wanted), expect, "{predicted}");
        check(wanted.clone(), [3.0, 3.0, 3.0]);
        check(json!({"a": 2, "b": "x", "d": {"e": true}}), [2.0, 3.0, 3.0]);
        check(json!({"a": 1}), [1.0, 1.0, 3.0]);
        check(json!({"a": 1, "b": "x", "c": "extra", "d": {"e": true, "f": []}}), [3.0, 4.0, 3.0]);
        check(json!({"a": {"a": 1}, "d": null}), [0.0, 1.0, 3.0]);
        check(json!([1, "x"]), [0.0, 2.0, 3.0]);
        check(json!(null), [0.0, 0.0, 3.0]);
        assert_eq!(sums(ListRule::Ordered, &json!(3), &json!(3)), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn lists_are_matched_in_order_as_sets_by_key_or_as_is_best() {
        let (predicted, wanted) = (json!({"a": [3, 1, 1]}), json!({"a": [1, 2, 3]}));
        assert_eq!(sums(ListRule::Ordered, &predicted, &wanted), [0.0, 3.0, 3.0]);
        assert_eq!(sums(ListRule::Assignment, &predicted, &wanted), [2.0, 3.0, 3.0]);
        assert_eq!(sums(ListRule::Set, &predicted, &wanted), [2.0, 2.0, 3.0]);
        let predicted = json!([{"id": 2, "x": 1, "y": 1}, {"x": 5}]);
        let wanted = json!([{"id": 1, "x": 1, "y": 1}, {"id": 2, "x": 2, "y": 1}]);
        assert_eq!(sums(ListRule::ByKey("id".to_owned()), &predicted, &wanted), [2.0, 4.0, 6.0]);
        assert_eq!(sums(ListRule::Assignment, &predicted, &wanted), [2.0, 4.0, 6.0]);
        assert_eq!(sums(ListRule::Ordered, &predicted, &wanted), [2.0, 4.0, 6.0]);
    }

    #[test]
    fn counts_carry_the_path_without_indices_and_rules_reach_the_items() {
        let path = Path::parse("parties[].name").unwrap();
        let rules = Rules::from([(path, Rule { comparator: Comparator::Folded, ..Rule::default() })]);
        let wanted = json!({"parties": [{"name": "Acme"}, {"name": "Foo"}]});
        let counts = tally(Some(&json!({"parties": [{"name": "ACME"}]})), &wanted, &rules).into_counts();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].name.as_str(), counts[0].credit), ("parties[].name", 1.0));
        assert_eq!((counts[0].predicted, counts[0].wanted), (1.0, 2.0));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_list() -> impl Strategy<Value = ListRule> {
        prop_oneof![Just(ListRule::Ordered), Just(ListRule::Assignment), Just(ListRule::Set)]
    }

    proptest! {
        #[test]
        fn a_record_is_itself(value in value(), list in any_list()) {
            prop_assert_eq!(tally(Some(&value), &value, &rules(list)).f1(), 1.0);
        }

        #[test]
        fn exact_scores_do_not_know_which_side_is_which(one in value(), other in value(), list in any_list()) {
            let (forth, back) = (sums(list.clone(), &one, &other), sums(list, &other, &one));
            prop_assert_eq!(forth[0], back[0]);
            prop_assert_eq!((forth[1], forth[2]), (back[2], back[1]));
            prop_assert!(forth[0] <= forth[1].min(forth[2]));
        }

        #[test]
        fn sets_and_assignments_do_not_know_the_order(
            (items, shuffled) in proptest::collection::vec(value(), 0..5).prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
            other in proptest::collection::vec(value(), 0..5),
            list in prop_oneof![Just(ListRule::Assignment), Just(ListRule::Set), Just(ListRule::ByKey("a".to_owned()))],
        ) {
            let other = Value::from(other);
            prop_assert_eq!(sums(list.clone(), &Value::from(items), &other), sums(list, &Value::from(shuffled), &other));
        }
    }

    #[test]
    fn a_long_key_above_many_others_is_refused_and_not_repeated_for_each() {
        let inside: serde_json::Map<String, Value> = (0..100_000).map(|at| (format!("k{at}"), json!(1))).collect();
        let value = json!({ "k".repeat(1_000_000): inside });
        let found = super::tally(Some(&value), &value, &Rules::new(), &mut Work::of_a_judgement());
        assert_eq!(found, Err(TooMuch::Steps));
        let wide: serde_json::Map<String, Value> = (0..200_000).map(|at| (format!("key {at}"), json!(1))).collect();
        let found = super::tally(None, &Value::from(wide), &Rules::new(), &mut Work::of_a_judgement());
        assert_eq!(found, Err(TooMuch::Names));
    }
}
