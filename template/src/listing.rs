//! Owns the filters that go through the items of a value, as Jinja2 has them: what it gives as a generator can be read once
//! here too. Knows values, their items and attributes.

use std::collections::HashSet;

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::growth::bytes;
use super::meter;
use super::methods::{bind, needed, number_or, pairs};
use super::number::{invalid, kind_of};
use super::operators::{add_two, item};
use super::order::{defined, equal, is_chat, order, sorted};
use super::value::{Kind, List, items, list, sequence, weigh};
use super::written::{join, like, print};

/// The items of a value; none of what is undefined, unless that is an error here.
fn each(state: &State, value: &Value) -> Result<Vec<Value>, Error> {
    defined(state, value)?;
    if value.is_none() && !is_chat(state) {
        return Ok(Vec::new());
    }
    items(value)
}

/// What Jinja2 gives as a generator; prompts get a list.
fn once(state: &State, items: Vec<Value>) -> Result<Value, Error> {
    sequence(if is_chat(state) { Kind::Once } else { Kind::List }, items)
}

/// Names with dots between them, a number for a place; no part for none.
fn path(attribute: Option<&Value>) -> Result<Vec<Value>, Error> {
    let Some(attribute) = attribute.filter(|attribute| !attribute.is_none()) else { return Ok(Vec::new()) };
    let Some(names) = attribute.as_str() else { return Ok(vec![attribute.clone()]) };
    meter::read(names.len() as u64)?;
    meter::room(24 * names.len() as u64)?;
    let part = |name: &str| match name.parse::<usize>() {
        Ok(place) if name.bytes().all(|byte| byte.is_ascii_digit()) => Value::from(place),
        _ => Value::from(name),
    };
    Ok(names.split('.').map(part).collect())
}

/// An attribute of a value; on the way the default stands for what is undefined.
fn follow(state: &State, value: &Value, path: &[Value], default: Option<&Value>) -> Result<Value, Error> {
    meter::work(path.len() as u64)?;
    let mut found = value.clone();
    for part in path {
        found = item(state, &found, part)?;
        if let (true, Some(default)) = (found.is_undefined(), default) {
            found = default.clone();
        }
    }
    Ok(found)
}

/// What a value is sorted by: small letters, unless case counts.
fn folded(value: Value, case_sensitive: bool) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) if !case_sensitive => {
            meter::read(text.len() as u64)?;
            Ok(Value::from(text.to_lowercase()))
        }
        _ => Ok(value),
    }
}

/// Pays for a sort by these keys.
fn pay_sort(keyed: &[(Value, Value)]) -> Result<(), Error> {
    let all =
        keyed.iter().try_fold(0, |sum: u64, (key, _)| Ok::<_, Error>(sum.saturating_add(weigh(key)?.bytes + 8)))?;
    meter::read(all.saturating_mul(2 * u64::from((keyed.len() as u64).max(1).ilog2() + 1)))
}

fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_true)
}

/// `select`, `reject`, `selectattr` and `rejectattr`, of which no more than `most` items are asked for.
pub(super) fn select(
    state: &State,
    value: &Value,
    rest: &[Value],
    (by_attribute, wanted): (bool, bool),
    most: usize,
) -> Result<Value, Error> {
    let (attribute, rest) = match rest.split_first() {
        Some((attribute, rest)) if by_attribute => (path(Some(attribute))?, rest),
        None if by_attribute => return Err(Error::from(ErrorKind::MissingArgument)),
        _ => (Vec::new(), rest),
    };
    defined(state, value)?;
    if !value.is_true() {
        return once(state, Vec::new());
    }
    let (test, rest) = match rest.split_first() {
        Some((test, rest)) => (Some(test.as_str().ok_or_else(|| invalid("a test is named by a text"))?), rest),
        None => (None, rest),
    };
    let mut chosen = Vec::new();
    for one in each(state, value)? {
        let asked = follow(state, &one, &attribute, None)?;
        meter::work(2 + rest.len() as u64)?;
        let passed = match test {
            Some(test) => {
                let args: Vec<Value> = std::iter::once(asked).chain(rest.iter().cloned()).collect();
                state.perform_test(test, &args)?
            }
            None => asked.is_true(),
        };
        if passed == wanted {
            chosen.push(one);
        }
        if chosen.len() == most {
            break;
        }
    }
    once(state, chosen)
}

/// `map`: an attribute of each, or a filter over each, of which no more than `most` are asked for.
pub(super) fn map_each(state: &State, value: &Value, rest: &[Value], most: usize) -> Result<Value, Error> {
    defined(state, value)?;
    let mut all = if value.is_true() { each(state, value)? } else { Vec::new() };
    all.truncate(most);
    let mut found = Vec::with_capacity(all.len());
    match rest.split_first().filter(|(first, _)| !first.is_kwargs()) {
        Some((name, args)) => {
            let name = name.as_str().ok_or_else(|| invalid("filter name must be a string"))?;
            if name == "map" {
                return Err(invalid("map cannot call itself"));
            }
            for one in all {
                meter::work(2 + args.len() as u64)?;
                let args: Vec<Value> = std::iter::once(one).chain(args.iter().cloned()).collect();
                found.push(state.apply_filter(name, &args)?);
            }
        }
        None => {
            let (_, named): (&[Value], Kwargs) = from_args(rest)?;
            if !named.has("attribute") {
                return Err(invalid("map requires a filter argument"));
            }
            let [attribute, default] = bind(["attribute", "default"], rest)?;
            let path = path(attribute.as_ref())?;
            let default = default.filter(|default| !default.is_none());
            for one in all {
                found.push(follow(state, &one, &path, default.as_ref())?);
            }
        }
    }
    once(state, found)
}

pub(super) fn list_of(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    list(each(state, value)?)
}

pub(super) fn first(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    let found = match (value.as_str(), value.downcast_object_ref::<List>()) {
        // The letters of a text that is marked as safe are not, unless they are asked for by their place.
        (Some(text), _) => return Ok(text.chars().next().map_or(Value::UNDEFINED, |one| Value::from(one.to_string()))),
        (_, Some(list)) => match list.kind() {
            Kind::Once => list.next(),
            Kind::Map => list.pairs().next().map(|(name, _)| name.clone()),
            _ => list.items().first().cloned(),
        },
        _ => each(state, value)?.into_iter().next(),
    };
    Ok(found.unwrap_or(Value::UNDEFINED))
}

pub(super) fn last(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    let found = match (value.as_str(), value.downcast_object_ref::<List>()) {
        (Some(text), _) => return text.chars().last().map_or(Ok(Value::UNDEFINED), |one| like(one.to_string(), value)),
        (_, Some(list)) => match list.kind() {
            Kind::Once => return Err(invalid("a generator has no last item: put `| list` before `| last`")),
            Kind::Map => list.pairs().last().map(|(name, _)| name.clone()),
            _ => list.items().last().cloned(),
        },
        _ => each(state, value)?.pop(),
    };
    Ok(found.unwrap_or(Value::UNDEFINED))
}

pub(super) fn reverse(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    if let Some(text) = value.as_str() {
        return like(text.chars().rev().collect(), value);
    }
    let is_generator = value.downcast_object_ref::<List>().is_some_and(|list| list.kind() == Kind::Once);
    let mut all = each(state, value)?;
    all.reverse();
    if is_generator { list(all) } else { once(state, all) }
}

pub(super) fn length(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    if let Some(text) = value.as_str() {
        return Ok(Value::from(text.chars().count()));
    }
    match value.downcast_object_ref::<List>() {
        Some(list) if list.kind() != Kind::Once => Ok(Value::from(list.items().len())),
        None if value.is_undefined() => Ok(Value::from(0)),
        _ => Err(invalid(format!("cannot calculate length of a value of the type {}", kind_of(value)))),
    }
}

pub(super) fn items_of(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    if value.is_undefined() {
        return once(state, Vec::new());
    }
    match value.downcast_object_ref::<List>() {
        Some(map) if map.kind() == Kind::Map => pairs(map, if is_chat(state) { Kind::Once } else { Kind::List }),
        _ => Err(invalid("Can only get item pairs from a mapping.")),
    }
}

pub(super) fn joined(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [glue, attribute] = bind(["d", "attribute"], rest)?;
    let mut text = String::new();
    if let Some(glue) = &glue {
        print(glue, &mut text)?;
    }
    let path = path(attribute.as_ref())?;
    if path.is_empty() {
        return if value.is_none() {
            each(state, value).and_then(|_| like(String::new(), value))
        } else {
            join(value, &text)
        };
    }
    let parts = each(state, value)?.iter().map(|one| follow(state, one, &path, None)).collect::<Result<_, _>>()?;
    join(&list(parts)?, &text)
}

pub(super) fn sort(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [reverse, case_sensitive, attribute] = bind(["reverse", "case_sensitive", "attribute"], rest)?;
    let paths = match attribute.as_ref().and_then(Value::as_str) {
        Some(names) => {
            meter::read(names.len() as u64)?;
            names.split(',').map(|name| path(Some(&Value::from(name)))).collect::<Result<Vec<_>, _>>()?
        }
        None => vec![path(attribute.as_ref())?],
    };
    let mut keyed = Vec::new();
    for one in each(state, value)? {
        let key = |path: &Vec<Value>| folded(follow(state, &one, path, None)?, is_true(case_sensitive.as_ref()));
        keyed.push((list(paths.iter().map(key).collect::<Result<_, _>>()?)?, one));
    }
    pay_sort(&keyed)?;
    let sorted = sorted(keyed, is_true(reverse.as_ref()))?;
    list(sorted.into_iter().map(|(_, one)| one).collect())
}

pub(super) fn dictsort(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [case_sensitive, by, reverse] = bind(["case_sensitive", "by", "reverse"], rest)?;
    let by_key = match by.as_ref().map_or(Some("key"), Value::as_str) {
        Some("key") => true,
        Some("value") => false,
        _ => return Err(invalid("You can only sort by either \"key\" or \"value\"")),
    };
    let map = value.downcast_object_ref::<List>().filter(|list| list.kind() == Kind::Map);
    let map = map.ok_or_else(|| invalid(format!("a value of the type {} has no items to sort", kind_of(value))))?;
    let pairs = pairs(map, Kind::List)?;
    let mut keyed = Vec::new();
    for (pair, (name, value)) in items(&pairs)?.into_iter().zip(map.pairs()) {
        let key = if by_key { name } else { value };
        keyed.push((folded(key.clone(), is_true(case_sensitive.as_ref()))?, pair));
    }
    pay_sort(&keyed)?;
    let sorted = sorted(keyed, is_true(reverse.as_ref()))?;
    list(sorted.into_iter().map(|(_, pair)| pair).collect())
}

pub(super) fn unique(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [case_sensitive, attribute] = bind(["case_sensitive", "attribute"], rest)?;
    let path = path(attribute.as_ref())?;
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for one in each(state, value)? {
        let key = folded(follow(state, &one, &path, None)?, is_true(case_sensitive.as_ref()))?;
        meter::read(2 * weigh(&key)?.bytes + 64)?;
        if seen.insert(told_apart(&key)?) {
            found.push(one);
        }
    }
    once(state, found)
}

/// A value as Python tells it apart from others: `true` is 1 is 1.0, and what holds a list or a map has no hash.
fn told_apart(key: &Value) -> Result<Value, Error> {
    meter::work(1)?;
    if let Some(list) = key.downcast_object_ref::<List>() {
        return match list.kind() {
            Kind::List | Kind::Map => {
                Err(invalid(format!("unique cannot tell values of the type {} apart", kind_of(key))))
            }
            Kind::Tuple => sequence(Kind::Tuple, list.items().iter().map(told_apart).collect::<Result<_, _>>()?),
            _ => Ok(key.clone()),
        };
    }
    let whole = || f64::try_from(key.clone()).ok().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
    match key.kind() {
        ValueKind::Bool => Ok(Value::from(i64::from(key.is_true()))),
        ValueKind::Number => Ok(whole().map_or_else(|| key.clone(), |number| Value::from(number as i64))),
        _ => Ok(key.clone()),
    }
}

pub(super) fn group(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [attribute, default, case_sensitive] = bind(["attribute", "default", "case_sensitive"], rest)?;
    let path = path(Some(&needed(attribute)?))?;
    let (default, case_sensitive) = (default.filter(|default| !default.is_none()), is_true(case_sensitive.as_ref()));
    let mut keyed = Vec::new();
    for one in each(state, value)? {
        keyed.push((folded(follow(state, &one, &path, default.as_ref())?, case_sensitive)?, one));
    }
    pay_sort(&keyed)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, one) in sorted(keyed, false)? {
        match groups.last_mut() {
            Some((grouper, members)) if equal(grouper, &key) => members.push(one),
            _ => groups.push((key, vec![one])),
        }
    }
    let mut found = Vec::with_capacity(groups.len());
    for (key, members) in groups {
        let grouper = match members.first() {
            // Where case does not count, the name of a group is that of its first member.
            Some(first) if !case_sensitive => follow(state, first, &path, default.as_ref())?,
            _ => key,
        };
        found.push(sequence(Kind::Group, vec![grouper, list(members)?])?);
    }
    list(found)
}

/// `min` and `max`: the first of the smallest or largest items.
pub(super) fn extreme(state: &State, value: &Value, rest: &[Value], largest: bool) -> Result<Value, Error> {
    let [case_sensitive, attribute] = bind(["case_sensitive", "attribute"], rest)?;
    let path = path(attribute.as_ref())?;
    let mut best: Option<(Value, Value)> = None;
    for one in each(state, value)? {
        let key = folded(follow(state, &one, &path, None)?, is_true(case_sensitive.as_ref()))?;
        meter::read(weigh(&key)?.bytes)?;
        let better = match &best {
            None => true,
            Some((known, _)) => {
                let order = order(&key, known)?;
                order.is_some_and(|order| if largest { order.is_gt() } else { order.is_lt() })
            }
        };
        if better {
            best = Some((key, one));
        }
    }
    Ok(best.map_or(Value::UNDEFINED, |(_, one)| one))
}

pub(super) fn sum(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [attribute, start] = bind(["attribute", "start"], rest)?;
    let path = path(attribute.as_ref())?;
    let mut sum = start.unwrap_or_else(|| Value::from(0));
    if sum.as_str().is_some() {
        return Err(invalid("sum cannot add texts: use join"));
    }
    for one in each(state, value)? {
        meter::work(1)?;
        sum = add_two(&sum, &follow(state, &one, &path, None)?)?;
    }
    Ok(sum)
}

pub(super) fn batch(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [count, fill] = bind(["linecount", "fill_with"], rest)?;
    let count =
        usize::try_from(number_or(Some(&needed(count)?), 0)?).map_err(|_| invalid("a batch has no negative size"))?;
    let (mut batches, mut batch) = (Vec::new(), Vec::new());
    for one in each(state, value)? {
        if batch.len() == count {
            batches.push(list(std::mem::take(&mut batch))?);
        }
        batch.push(one);
    }
    if !batch.is_empty() {
        if let Some(fill) = fill.filter(|fill| !fill.is_none()) {
            let missing = count.saturating_sub(batch.len());
            meter::room(24 * missing as u64)?;
            batch.extend(std::iter::repeat_n(fill, missing));
        }
        batches.push(list(batch)?);
    }
    once(state, batches)
}

pub(super) fn slices(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [count, fill] = bind(["slices", "fill_with"], rest)?;
    let count = usize::try_from(number_or(Some(&needed(count)?), 0)?).unwrap_or(0);
    let all = each(state, value)?;
    if count == 0 {
        return Err(invalid("a list cannot be cut into no slices"));
    }
    let (each, longer) = (all.len() / count, all.len() % count);
    let fill = fill.filter(|fill| !fill.is_none());
    let (mut found, mut rest) = (Vec::new(), all.as_slice());
    meter::room(64 * count as u64)?;
    for at in 0..count {
        let (slice, after) = rest.split_at(each + usize::from(at < longer));
        rest = after;
        let mut slice = slice.to_vec();
        slice.extend(fill.iter().filter(|_| at >= longer).cloned());
        meter::read(bytes(&slice)? / 8)?;
        found.push(list(slice)?);
    }
    once(state, found)
}
