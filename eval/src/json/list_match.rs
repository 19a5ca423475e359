//! Which items of two lists are compared with which.
//! Knows nothing about scores; a rule says how items find each other, and how many leaves of two items are right is asked of
//! `record`.
//!
//! Items that are the same find each other by a key, without a table of all pairs. For what is left there is the best
//! assignment, and its table holds only pairs that share a right leaf; a list for which even that is too much is refused.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::assignment::assign;
use super::comparator::{Key, exact};
use super::record::{ListRule, Rules, comparator_of, for_each_right, is_leaf};
use super::{Comparator, Path};
use crate::work::{TooMuch, Work};

/// Cells of a table of all pairs that is made without a second thought, so that of equally good assignments the same one
/// is chosen as ever.
const FEW_CELLS: usize = 1 << 16;
/// Pairs with a right leaf that are kept at once.
const MOST_EDGES: usize = 1 << 22;

/// The items of a list, without repeats when the list is a set.
pub(super) fn items_of<'a>(
    list: &'a [Value],
    path: &Path,
    rules: &Rules,
    work: &mut Work,
) -> Result<Vec<&'a Value>, TooMuch> {
    let is_set = rules.get(path).is_some_and(|rule| rule.list == ListRule::Set);
    work.spend(list.len())?;
    if !is_set {
        return Ok(list.iter().collect());
    }
    let mut items: Vec<&Value> = Vec::with_capacity(list.len());
    let mut seen: HashMap<u64, Vec<&Value>> = HashMap::new();
    for item in list {
        let alike = seen.entry(rough(item, work)?).or_default();
        let mut is_new = true;
        for seen in alike.iter() {
            work.spend(size(seen))?;
            is_new &= !exact(seen, item);
        }
        if is_new {
            alike.push(item);
            items.push(item);
        }
    }
    Ok(items)
}

/// Which items are compared with which.
pub(super) fn pairs<'a>(
    predicted: &[&'a Value],
    wanted: &[&'a Value],
    path: &Path,
    rules: &Rules,
    work: &mut Work,
) -> Result<Vec<(&'a Value, &'a Value)>, TooMuch> {
    let list = rules.get(path).map(|rule| &rule.list).unwrap_or(&ListRule::Ordered);
    if *list == ListRule::Ordered {
        return Ok(predicted.iter().copied().zip(wanted.iter().copied()).collect());
    }
    let lists = Lists { list, items: path.items(), rules };
    let mut found = Vec::new();
    let is_small = predicted.len().saturating_mul(wanted.len()) <= FEW_CELLS;
    let all_leaves = predicted.iter().chain(wanted).all(|item| is_leaf(item));
    let (predicted, wanted) = match list {
        // Which of several equal leaves finds which does not matter, since all of them are counted at one path.
        ListRule::Assignment | ListRule::Set if all_leaves || !is_small => {
            lists.take_the_same(predicted, wanted, &mut found, work)?
        }
        _ => (predicted.to_vec(), wanted.to_vec()),
    };
    let edges = if is_small { None } else { lists.edges_by_key(&predicted, &wanted, work)? };
    match edges {
        None if predicted.len().saturating_mul(wanted.len()) <= FEW_CELLS => {
            lists.assign_all(&predicted, &wanted, &mut found, work)?;
        }
        None => {
            let edges = lists.edges(&predicted, &wanted, work)?;
            assign_parts(&predicted, &wanted, &edges, &mut found, work)?;
        }
        Some(edges) => assign_parts(&predicted, &wanted, &edges, &mut found, work)?,
    }
    Ok(found)
}

type Pair<'a> = (&'a Value, &'a Value);
/// Places of two items, and how many of their leaves are right.
type Edge = (usize, usize, i64);

struct Lists<'r> {
    list: &'r ListRule,
    items: Path,
    rules: &'r Rules,
}

impl Lists<'_> {
    /// Pairs items that are the same, and returns the rest.
    ///
    /// Leaves that are the same have the same key, and a leaf can have no better partner. The same holds for whole items
    /// as long as no difference is forgiven: whatever two items would lose to each other's partners, these partners share.
    fn take_the_same<'a>(
        &self,
        predicted: &[&'a Value],
        wanted: &[&'a Value],
        found: &mut Vec<Pair<'a>>,
        work: &mut Work,
    ) -> Result<(Vec<&'a Value>, Vec<&'a Value>), TooMuch> {
        let none_forgiven = self.rules.values().all(|rule| rule.comparator.is_equivalence());
        let comparator = comparator_of(&self.items, self.rules);
        let (mut waiting, mut rest) = (HashMap::<Same, Vec<usize>>::new(), Vec::new());
        let mut same_of = |item: &Value| -> Result<Option<Same>, TooMuch> {
            work.spend(size(item))?;
            Ok(if is_leaf(item) {
                comparator.key(item).map(Same::Leaf)
            } else if none_forgiven && has_exact_numbers(item) {
                Some(Same::Item(item.to_string()))
            } else {
                None
            })
        };
        let mut is_taken = vec![false; wanted.len()];
        for (at, item) in wanted.iter().enumerate().rev() {
            if let Some(same) = same_of(item)? {
                waiting.entry(same).or_default().push(at);
            }
        }
        for &item in predicted {
            let partner = same_of(item)?.and_then(|same| waiting.get_mut(&same)?.pop());
            match partner {
                Some(at) => {
                    is_taken[at] = true;
                    found.push((item, wanted[at]));
                }
                // A leaf with a key has no partner that is left.
                None if is_leaf(item) && comparator.is_equivalence() && comparator.key(item).is_some() => {}
                None => rest.push(item),
            }
        }
        let left = wanted.iter().zip(is_taken).filter(|(_, is_taken)| !is_taken).map(|(item, _)| *item);
        Ok((rest, left.collect()))
    }

    /// The best assignment of all to all.
    fn assign_all<'a>(
        &self,
        predicted: &[&'a Value],
        wanted: &[&'a Value],
        found: &mut Vec<Pair<'a>>,
        work: &mut Work,
    ) -> Result<(), TooMuch> {
        let mut weights = Vec::with_capacity(predicted.len() * wanted.len());
        for predicted in predicted {
            for wanted in wanted {
                weights.push(self.weight(predicted, wanted, work)?);
            }
        }
        work.spend(steps(predicted.len(), wanted.len()))?;
        for (at, column) in assign(&weights, predicted.len(), wanted.len()).into_iter().enumerate() {
            // Items without a right leaf, among them all that may not meet, need no partner.
            if let Some(column) = column.filter(|column| weights[at * wanted.len() + column] > 0) {
                found.push((predicted[at], wanted[column]));
            }
        }
        Ok(())
    }

    /// The pairs with a right leaf where items are told apart by a key of their own; none where they are not.
    fn edges_by_key(
        &self,
        predicted: &[&Value],
        wanted: &[&Value],
        work: &mut Work,
    ) -> Result<Option<Vec<Edge>>, TooMuch> {
        let ListRule::ByKey(key) = self.list else { return Ok(None) };
        let comparator = comparator_of(&self.items.key(key), self.rules);
        let mut waiting: HashMap<Key, Vec<usize>> = HashMap::new();
        let leaf = |item: &Value| item.get(key).filter(|leaf| is_leaf(leaf)).cloned();
        for (at, leaf) in wanted.iter().enumerate().filter_map(|(at, item)| Some((at, leaf(item)?))) {
            let Some(key) = comparator.key(&leaf) else { return Ok(None) };
            waiting.entry(key).or_default().push(at);
        }
        let mut edges = Vec::new();
        for (at, leaf) in predicted.iter().enumerate().filter_map(|(at, item)| Some((at, leaf(item)?))) {
            let Some(key) = comparator.key(&leaf) else { return Ok(None) };
            for &other in waiting.get(&key).into_iter().flatten() {
                self.push_edge(&mut edges, (at, predicted[at]), (other, wanted[other]), work)?;
            }
        }
        Ok(Some(edges))
    }

    /// The pairs with a right leaf among all pairs.
    fn edges(&self, predicted: &[&Value], wanted: &[&Value], work: &mut Work) -> Result<Vec<Edge>, TooMuch> {
        let mut edges = Vec::new();
        for (at, one) in predicted.iter().enumerate() {
            for (other_at, other) in wanted.iter().enumerate() {
                self.push_edge(&mut edges, (at, one), (other_at, other), work)?;
            }
        }
        Ok(edges)
    }

    fn push_edge(
        &self,
        edges: &mut Vec<Edge>,
        (at, predicted): (usize, &Value),
        (other, wanted): (usize, &Value),
        work: &mut Work,
    ) -> Result<(), TooMuch> {
        let weight = self.weight(predicted, wanted, work)?;
        if weight > 0 {
            if edges.len() == MOST_EDGES {
                return Err(TooMuch::Steps);
            }
            edges.push((at, other, weight));
        }
        Ok(())
    }

    /// How many leaves are right if two items meet.
    fn weight(&self, predicted: &Value, wanted: &Value, work: &mut Work) -> Result<i64, TooMuch> {
        work.spend(1)?;
        let may_meet = match self.list {
            ListRule::ByKey(key) => match (predicted.get(key), wanted.get(key)) {
                (Some(predicted), Some(wanted)) if is_leaf(predicted) && is_leaf(wanted) => {
                    comparator_of(&self.items.key(key), self.rules).same(predicted, wanted, work)?
                }
                _ => false,
            },
            _ => true,
        };
        let mut right = 0;
        if may_meet {
            for_each_right(predicted, wanted, &self.items, self.rules, work, &mut |_| right += 1)?;
        }
        Ok(right)
    }
}

/// What stands for an item that can have no better partner than one like it.
#[derive(PartialEq, Eq, Hash)]
enum Same {
    Leaf(Key),
    /// As it is written.
    Item(String),
}

/// The best assignment, part by part: items that are joined by no chain of pairs do not compete.
fn assign_parts<'a>(
    predicted: &[&'a Value],
    wanted: &[&'a Value],
    edges: &[Edge],
    found: &mut Vec<Pair<'a>>,
    work: &mut Work,
) -> Result<(), TooMuch> {
    let mut parts = Parts((0..predicted.len() + wanted.len()).collect());
    for &(at, other, _) in edges {
        parts.join(at, predicted.len() + other);
    }
    let mut by_part: HashMap<usize, Vec<Edge>> = HashMap::new();
    for edge in edges {
        by_part.entry(parts.of(edge.0)).or_default().push(*edge);
    }
    let mut by_part: Vec<Vec<Edge>> = by_part.into_values().collect();
    by_part.sort_unstable();
    for edges in by_part {
        let places = |of: fn(&Edge) -> usize| {
            let mut places: Vec<usize> = edges.iter().map(of).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        let (rows, columns) = (places(|edge| edge.0), places(|edge| edge.1));
        work.spend(steps(rows.len(), columns.len()))?;
        let mut weights = vec![0; rows.len() * columns.len()];
        for (row, column, weight) in edges {
            let at = |places: &[usize], place: usize| places.binary_search(&place).unwrap_or_default();
            weights[at(&rows, row) * columns.len() + at(&columns, column)] = weight;
        }
        for (at, column) in assign(&weights, rows.len(), columns.len()).into_iter().enumerate() {
            if let Some(column) = column.filter(|column| weights[at * columns.len() + column] > 0) {
                found.push((predicted[rows[at]], wanted[columns[column]]));
            }
        }
    }
    Ok(())
}

/// Sets that are joined (Tarjan 1975), with halved paths.
struct Parts(Vec<usize>);

impl Parts {
    fn of(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}

/// Steps of an assignment.
fn steps(rows: usize, columns: usize) -> usize {
    let (few, many) = (rows.min(columns), rows.max(columns));
    few.saturating_mul(few).saturating_mul(many)
}

/// A number that is equal for equal items, and most often only for those.
fn rough(value: &Value, work: &mut Work) -> Result<u64, TooMuch> {
    work.spend(size(value))?;
    Ok(rough_of(value))
}

fn rough_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    match value {
        Value::Null => 0_u8.hash(&mut hasher),
        Value::Bool(value) => value.hash(&mut hasher),
        Value::Number(number) => {
            let value = number.as_f64().unwrap_or_default();
            (1_u8, (if value == 0.0 { 0.0 } else { value }).to_bits()).hash(&mut hasher);
        }
        Value::String(text) => text.nfc().collect::<String>().hash(&mut hasher),
        Value::Array(list) => {
            2_u8.hash(&mut hasher);
            list.iter().for_each(|item| rough_of(item).hash(&mut hasher));
        }
        Value::Object(object) => {
            // The order of keys does not matter.
            let entry = |(key, value): (&String, &Value)| {
                let mut hasher = DefaultHasher::new();
                (key, rough_of(value)).hash(&mut hasher);
                hasher.finish()
            };
            (3_u8, object.iter().map(entry).fold(0_u64, u64::wrapping_add)).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// About the bytes of a value.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => 8 + text.len(),
        Value::Array(list) => 8 + list.iter().map(size).sum::<usize>(),
        Value::Object(object) => 8 + object.iter().map(|(key, value)| 8 + key.len() + size(value)).sum::<usize>(),
        _ => 8,
    }
}

/// Whether equality of its numbers is no matter of how they are written.
fn has_exact_numbers(value: &Value) -> bool {
    match value {
        Value::Number(_) => Comparator::Exact.key(value).is_some(),
        Value::Array(list) => list.iter().all(has_exact_numbers),
        Value::Object(object) => object.values().all(has_exact_numbers),
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::record::Rule;
    use super::*;

    fn rules(list: ListRule, comparator: Comparator) -> Rules {
        let rule = Rule { list, ..Rule::default() };
        let inside = Rule { comparator, ..Rule::default() };
        Rules::from([(Path::root(), rule), (Path::root().items(), inside)])
    }

    /// The right leaves of the pairs that are found.
    fn right(predicted: &[Value], wanted: &[Value], rules: &Rules, work: &mut Work) -> Result<usize, TooMuch> {
        let mut right = 0;
        let (predicted, wanted) = (Value::from(predicted.to_vec()), Value::from(wanted.to_vec()));
        for_each_right(&predicted, &wanted, &Path::root(), rules, work, &mut |_| right += 1)?;
        Ok(right)
    }

    #[test]
    fn long_lists_of_equal_leaves_find_each_other_in_any_order() {
        let numbers: Vec<Value> = (0..20_000).map(Value::from).collect();
        let turned: Vec<Value> = numbers.iter().rev().cloned().collect();
        for list in [ListRule::Set, ListRule::Assignment] {
            for comparator in [Comparator::Exact, Comparator::Folded, Comparator::Date] {
                let rules = rules(list.clone(), comparator);
                assert_eq!(right(&turned, &numbers, &rules, &mut Work::of(2_000_000)), Ok(20_000));
                assert_eq!(right(&turned[1..], &numbers[1..], &rules, &mut Work::of(2_000_000)), Ok(19_998));
            }
        }
    }

    #[test]
    fn long_lists_of_items_find_each_other_by_what_they_are_and_by_key() {
        let item = |id: i32, x: i32| json!({"id": id, "x": x});
        let wanted: Vec<Value> = (0..5_000).map(|id| item(id, id % 7)).collect();
        let predicted: Vec<Value> = (0..5_000).rev().map(|id| item(id, id % 7)).collect();
        let of = |list| right(&predicted, &wanted, &rules(list, Comparator::Exact), &mut Work::of(5_000_000));
        assert_eq!(of(ListRule::Assignment), Ok(10_000));
        assert_eq!(of(ListRule::Set), Ok(10_000));
        assert_eq!(of(ListRule::ByKey("id".to_owned())), Ok(10_000));
        assert_eq!(of(ListRule::ByKey("x".to_owned())), Err(TooMuch::Steps));
    }

    #[test]
    fn long_lists_without_equal_leaves_are_refused_and_not_compared_for_hours() {
        let list = |from: usize| (from..from + 20_000).map(|at| json!(format!("text {at}"))).collect::<Vec<_>>();
        let rules = rules(ListRule::Assignment, Comparator::Fuzzy { threshold: 0.9 });
        assert_eq!(right(&list(0), &list(100_000), &rules, &mut Work::of(10_000_000)), Err(TooMuch::Steps));
    }

    fn item() -> impl Strategy<Value = Value> {
        prop_oneof![
            (0..4).prop_map(Value::from),
            "[ab]{0,1}".prop_map(Value::from),
            (0..3, 0..3, 0..3).prop_map(|(id, x, y)| json!({"id": id, "x": [x, y]})),
        ]
    }

    proptest! {
        #[test]
        fn what_finds_each_other_by_keys_and_parts_is_the_best_assignment(
            predicted in proptest::collection::vec(item(), 0..8),
            wanted in proptest::collection::vec(item(), 0..8),
            list in prop_oneof![Just(ListRule::Assignment), Just(ListRule::ByKey("id".to_owned()))],
            comparator in prop_oneof![
                Just(Comparator::Exact),
                Just(Comparator::Folded),
                Just(Comparator::Fuzzy { threshold: 0.5 }),
                Just(Comparator::Number { absolute: 1.0, relative: 0.0, format: Default::default() }),
            ],
        ) {
            let rules = rules(list.clone(), comparator);
            let lists = Lists { list: &list, items: Path::root().items(), rules: &rules };
            let (predicted, wanted): (Vec<&Value>, Vec<&Value>) = (predicted.iter().collect(), wanted.iter().collect());
            let work = &mut Work::of_a_judgement();
            let weight = |pairs: &[Pair<'_>], work: &mut Work| -> i64 {
                pairs.iter().map(|(one, other)| lists.weight(one, other, work).unwrap()).sum()
            };
            let mut best = Vec::new();
            lists.assign_all(&predicted, &wanted, &mut best, work).unwrap();
            let mut found = Vec::new();
            let (rest, left) = match list {
                ListRule::Assignment => lists.take_the_same(&predicted, &wanted, &mut found, work).unwrap(),
                _ => (predicted.clone(), wanted.clone()),
            };
            let edges = match lists.edges_by_key(&rest, &left, work).unwrap() {
                Some(edges) => edges,
                None => lists.edges(&rest, &left, work).unwrap(),
            };
            assign_parts(&rest, &left, &edges, &mut found, work).unwrap();
            prop_assert_eq!(weight(&found, work), weight(&best, work));
        }

        #[test]
        fn a_set_holds_each_item_once(items in proptest::collection::vec(item(), 0..12)) {
            let rules = rules(ListRule::Set, Comparator::Exact);
            let found = items_of(&items, &Path::root(), &rules, &mut Work::of_a_judgement()).unwrap();
            let mut plain: Vec<&Value> = Vec::new();
            for item in &items {
                if !plain.iter().any(|seen| exact(seen, item)) {
                    plain.push(item);
                }
            }
            prop_assert_eq!(found, plain);
        }
    }
}
