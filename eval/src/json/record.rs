//! Compares two records leaf by leaf: which leaves were wanted, which were predicted, which were right.
//! Knows nothing about scores or answers; a rule says for a path how leaves are compared and how lists are matched.

use std::collections::HashMap;

use serde_json::Value;

use super::assignment::assign;
use super::{Comparator, Path};
use crate::scorer::Tally;

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
pub(crate) fn tally(predicted: Option<&Value>, wanted: &Value, rules: &Rules) -> Tally {
    let mut tally = Tally::default();
    let root = Path::root();
    for_each_leaf(wanted, &root, rules, &mut |path| tally.wanted(&path.to_string()));
    if let Some(predicted) = predicted {
        for_each_leaf(predicted, &root, rules, &mut |path| tally.predicted(&path.to_string()));
        let mut right = Vec::new();
        collect_right(predicted, wanted, &root, rules, &mut right);
        for path in right {
            tally.credit(&path.to_string(), 1.0);
        }
    }
    tally
}

fn for_each_leaf(value: &Value, path: &Path, rules: &Rules, leaf: &mut impl FnMut(&Path)) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| for_each_leaf(value, &path.key(key), rules, leaf))
        }
        Value::Array(list) => {
            let items = path.items();
            items_of(list, path, rules).into_iter().for_each(|value| for_each_leaf(value, &items, rules, leaf));
        }
        _ => leaf(path),
    }
}

/// The paths of the leaves that are right.
fn collect_right(predicted: &Value, wanted: &Value, path: &Path, rules: &Rules, right: &mut Vec<Path>) {
    match (predicted, wanted) {
        (Value::Object(predicted), Value::Object(wanted)) => {
            for (key, wanted) in wanted {
                if let Some(predicted) = predicted.get(key) {
                    collect_right(predicted, wanted, &path.key(key), rules, right);
                }
            }
        }
        (Value::Array(predicted), Value::Array(wanted)) => {
            let (predicted, wanted) = (items_of(predicted, path, rules), items_of(wanted, path, rules));
            let items = path.items();
            for (predicted, wanted) in pairs(&predicted, &wanted, path, rules) {
                collect_right(predicted, wanted, &items, rules, right);
            }
        }
        (predicted, wanted) if is_leaf(predicted) && is_leaf(wanted) => {
            let comparator = rules.get(path).map_or_else(Comparator::default, |rule| rule.comparator);
            if comparator.same(predicted, wanted) {
                right.push(path.clone());
            }
        }
        _ => {}
    }
}

/// Which items are compared with which.
fn pairs<'a>(predicted: &[&'a Value], wanted: &[&'a Value], path: &Path, rules: &Rules) -> Vec<(&'a Value, &'a Value)> {
    let items = path.items();
    let list = rules.get(path).map(|rule| &rule.list).unwrap_or(&ListRule::Ordered);
    if *list == ListRule::Ordered {
        return predicted.iter().copied().zip(wanted.iter().copied()).collect();
    }
    let may_meet = |predicted: &Value, wanted: &Value| match list {
        ListRule::ByKey(key) => match (predicted.get(key), wanted.get(key)) {
            (Some(predicted), Some(wanted)) if is_leaf(predicted) && is_leaf(wanted) => {
                let comparator = rules.get(&items.key(key)).map_or_else(Comparator::default, |rule| rule.comparator);
                comparator.same(predicted, wanted)
            }
            _ => false,
        },
        _ => true,
    };
    let mut weights = Vec::with_capacity(predicted.len() * wanted.len());
    for predicted in predicted {
        for wanted in wanted {
            let mut right = Vec::new();
            if may_meet(predicted, wanted) {
                collect_right(predicted, wanted, &items, rules, &mut right);
            }
            weights.push(right.len() as i64);
        }
    }
    assign(&weights, predicted.len(), wanted.len())
        .into_iter()
        .enumerate()
        .filter_map(|(at, column)| {
            let column = column?;
            // Items without a right leaf, among them all that may not meet, need no partner.
            (weights[at * wanted.len() + column] > 0).then(|| (predicted[at], wanted[column]))
        })
        .collect()
}

/// The items of a list, without repeats when the list is a set.
fn items_of<'a>(list: &'a [Value], path: &Path, rules: &Rules) -> Vec<&'a Value> {
    let is_set = rules.get(path).is_some_and(|rule| rule.list == ListRule::Set);
    let mut items: Vec<&Value> = Vec::with_capacity(list.len());
    for item in list {
        if !is_set || !items.iter().any(|seen| Comparator::Exact.same(seen, item)) {
            items.push(item);
        }
    }
    items
}

fn is_leaf(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
}
