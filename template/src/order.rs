//! Owns which values are equal, which comes first and which holds which, as Python has it: a truth is a number, a list is
//! no tuple, and a text is neither before nor after a number. Knows no operator's name and no filter.

use std::cmp::Ordering;

use minijinja::value::ValueKind;
use minijinja::{Error, State, UndefinedBehavior, Value};

use super::meter;
use super::number::{beside, invalid, kind_of};
use super::value::{Kind, List, Method, Space, key_cost, weigh};

/// Whether a comparison holds: `=`, `!`, `<`, `l` for <=, `>`, `g` for >=, `i` for in, `n` for not in.
pub(super) fn compare(state: &State, sign: char, left: &Value, right: &Value) -> Result<bool, Error> {
    defined(state, left)?;
    if matches!(sign, 'i' | 'n') {
        if state.undefined_behavior() == UndefinedBehavior::Strict {
            defined(state, right)?;
        }
        return contains(right, left).map(|found| found == (sign == 'i'));
    }
    defined(state, right)?;
    if left.as_object().is_some() || right.as_object().is_some() || left.as_str().is_some() {
        meter::read(weigh(left)?.bytes.min(weigh(right)?.bytes))?;
    }
    if matches!(sign, '=' | '!') {
        return Ok(equal(left, right) == (sign == '='));
    }
    let Some(order) = order(left, right)? else { return Ok(false) };
    Ok(match sign {
        '<' => order == Ordering::Less,
        'l' => order != Ordering::Greater,
        '>' => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}

/// Whether a value is there, where that matters.
pub(super) fn defined(state: &State, value: &Value) -> Result<(), Error> {
    let strict = matches!(state.undefined_behavior(), UndefinedBehavior::Strict | UndefinedBehavior::SemiStrict);
    if strict && value.is_undefined() { Err(Error::from(minijinja::ErrorKind::UndefinedError)) } else { Ok(()) }
}

/// Whether a chat template is rendered: what is undefined is an error in a prompt.
pub(super) fn is_chat(state: &State) -> bool {
    state.undefined_behavior() == UndefinedBehavior::Lenient
}

/// Whether two values are equal. Whoever asks has paid for reading them.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return left == right;
    }
    if let Some(order) = beside(left, right) {
        return order == Some(Ordering::Equal);
    }
    let lists = (left.downcast_object_ref::<List>(), right.downcast_object_ref::<List>());
    let (Some(one), Some(other)) = lists else {
        return lists.0.is_none() && lists.1.is_none() && left.kind() == right.kind() && same(left, right);
    };
    if std::ptr::eq(one, other) {
        return true;
    }
    let items = || {
        one.items().len() == other.items().len()
            && one.items().iter().zip(other.items()).all(|(left, right)| equal(left, right))
    };
    match (one.kind(), other.kind()) {
        (Kind::Map, Kind::Map) => {
            one.items().len() == other.items().len()
                && one.pairs().all(|(name, value)| {
                    right.as_object().and_then(|map| map.get_value(name)).is_some_and(|found| equal(value, &found))
                })
        }
        (Kind::List, Kind::List)
        | (Kind::Tuple | Kind::Group, Kind::Tuple | Kind::Group)
        | (Kind::Range { .. }, Kind::Range { .. })
        | (Kind::Keys, Kind::Keys)
        | (Kind::Items, Kind::Items) => items(),
        _ => false,
    }
}

/// Whether two values that are neither texts nor numbers nor lists are equal: namespaces only to themselves.
fn same(left: &Value, right: &Value) -> bool {
    let spaces = (left.downcast_object_ref::<Space>(), right.downcast_object_ref::<Space>());
    let methods = (left.downcast_object_ref::<Method>(), right.downcast_object_ref::<Method>());
    match (spaces, methods) {
        ((Some(left), Some(right)), _) => std::ptr::eq(left, right),
        (_, (Some(left), Some(right))) => left.name == right.name && equal(&left.of, &right.of),
        ((None, None), (None, None)) => left == right,
        _ => false,
    }
}

/// Which of two values comes first; nothing where one is no number at all (`nan`).
///
/// # Errors
/// For values of kinds that have no order.
pub(super) fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, Error> {
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok(Some(left.cmp(right)));
    }
    if let Some(order) = beside(left, right) {
        return Ok(order);
    }
    let lists = (left.downcast_object_ref::<List>(), right.downcast_object_ref::<List>());
    if let (Some(one), Some(other)) = lists {
        let ordered = matches!(
            (one.kind(), other.kind()),
            (Kind::List, Kind::List) | (Kind::Tuple | Kind::Group, Kind::Tuple | Kind::Group)
        );
        if ordered {
            let differing = one.items().iter().zip(other.items()).find(|(left, right)| !equal(left, right));
            return match differing {
                Some((left, right)) => order(left, right),
                None => Ok(Some(one.items().len().cmp(&other.items().len()))),
            };
        }
    }
    Err(invalid(format!("values of the types {} and {} have no order", kind_of(left), kind_of(right))))
}

/// Sorts values by their keys, equal ones as they stand.
///
/// # Errors
/// For keys that have no order.
pub(super) fn sorted(mut keyed: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<(Value, Value)>, Error> {
    if keyed.len() < 2 {
        return Ok(keyed);
    }
    let right = keyed.split_off(keyed.len() / 2);
    let total = keyed.len() + right.len();
    let mut left = sorted(keyed, reverse)?.into_iter().peekable();
    let mut right = sorted(right, reverse)?.into_iter().peekable();
    let mut all = Vec::with_capacity(total);
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let wanted = if reverse { Ordering::Greater } else { Ordering::Less };
        let taken = if order(&other.0, &one.0)? == Some(wanted) { right.next() } else { left.next() };
        all.extend(taken);
    }
    all.extend(left);
    all.extend(right);
    Ok(all)
}

/// Whether a value can be a key of a map: no list, no map, and no tuple that holds one.
pub(super) fn hashable(value: &Value) -> Result<(), Error> {
    match value.downcast_object_ref::<List>() {
        Some(list) if matches!(list.kind(), Kind::List | Kind::Map) => {
            Err(invalid(format!("a {} is no key of a map", kind_of(value))))
        }
        Some(list) if list.kind() == Kind::Tuple => list.items().iter().try_for_each(hashable),
        _ => Ok(()),
    }
}

fn contains(container: &Value, value: &Value) -> Result<bool, Error> {
    if container.is_undefined() {
        return Ok(false);
    }
    if let Some(text) = container.as_str() {
        meter::read(text.len() as u64)?;
        let Some(part) = value.as_str() else {
            return Err(invalid(format!("a text holds texts only, and this is of the type {}", kind_of(value))));
        };
        meter::read(part.len() as u64)?;
        return Ok(text.contains(part));
    }
    if let Some(list) = container.downcast_object_ref::<List>() {
        if matches!(list.kind(), Kind::Map | Kind::Keys) {
            meter::work(1 + key_cost(value)?)?;
            hashable(value)?;
        }
        if list.kind() == Kind::Map {
            return Ok(container.as_object().is_some_and(|map| map.get_value(value).is_some()));
        }
        meter::read(weigh(container)?.bytes)?;
        if list.kind() == Kind::Once {
            return Ok(std::iter::from_fn(|| list.next()).any(|item| equal(&item, value)));
        }
        return Ok(list.items().iter().any(|item| equal(item, value)));
    }
    match container.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            meter::read(weigh(container)?.bytes)?;
            Ok(container.try_iter()?.any(|item| equal(&item, value)))
        }
        _ => Err(invalid(format!("a value of the type {} holds nothing", kind_of(container)))),
    }
}
