//! Owns the filters, tests, functions and methods of templates: those of the engine, each with the size of its result
//! found before and its work paid, and in their place our own where they call others or stay lazy.

use std::cmp::Ordering;
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value, filters, tests};

use super::growth::{allow, bytes};
use super::meter;
use super::operators::{compare, defined, invalid, join, print};
use super::value::{Space, items, keep, key_cost, length, list, map, weigh};

/// How long a `range` may be; the sandbox of transformers has the same limit.
const RANGE: u64 = 100_000;

/// What a filter of the engine reads of its arguments.
#[derive(Clone, Copy)]
enum Reads {
    /// All of a text, and of a list hardly anything.
    Length,
    /// The items of a list, or all of a text.
    Items,
    /// All that its arguments hold.
    All,
    /// All, as text: what is no text is written first.
    Text,
    /// All of them, as often as a sort does.
    Sorted,
}

/// The filters of the engine that are kept.
fn engine_filters() -> Vec<(&'static str, Value, Reads)> {
    use Reads::{All, Items, Length, Sorted, Text};
    vec![
        ("abs", Value::from_function(filters::abs), Length),
        ("attr", Value::from_function(filters::attr), Length),
        ("batch", Value::from_function(filters::batch), Items),
        ("bool", Value::from_function(filters::bool), Length),
        ("capitalize", Value::from_function(filters::capitalize), Text),
        ("chain", Value::from_function(filters::chain), Items),
        ("count", Value::from_function(filters::length), Length),
        ("d", Value::from_function(filters::default), Length),
        ("default", Value::from_function(filters::default), Length),
        ("dictsort", Value::from_function(filters::dictsort), Sorted),
        ("e", Value::from_function(filters::escape), Text),
        ("escape", Value::from_function(filters::escape), Text),
        ("first", Value::from_function(filters::first), Length),
        ("float", Value::from_function(filters::float), Length),
        ("format", Value::from_function(filters::format), All),
        ("indent", Value::from_function(filters::indent), Text),
        ("int", Value::from_function(filters::int), Length),
        ("items", Value::from_function(filters::items), Items),
        ("last", Value::from_function(filters::last), Length),
        ("length", Value::from_function(filters::length), Length),
        ("lines", Value::from_function(filters::lines), Text),
        ("list", Value::from_function(filters::list), Items),
        ("lower", Value::from_function(filters::lower), Text),
        ("max", Value::from_function(filters::max), All),
        ("min", Value::from_function(filters::min), All),
        ("pprint", Value::from_function(filters::pprint), All),
        ("replace", Value::from_function(filters::replace), Text),
        ("reverse", Value::from_function(filters::reverse), Items),
        ("round", Value::from_function(filters::round), Length),
        ("safe", Value::from_function(filters::safe), Text),
        ("slice", Value::from_function(filters::slice), Items),
        ("sort", Value::from_function(filters::sort), Sorted),
        ("split", Value::from_function(filters::split), Text),
        ("sum", Value::from_function(filters::sum), Items),
        ("title", Value::from_function(filters::title), Text),
        ("tojson", Value::from_function(filters::tojson), All),
        ("trim", Value::from_function(filters::trim), Text),
        ("unique", Value::from_function(filters::unique), Sorted),
        ("upper", Value::from_function(filters::upper), Text),
        ("zip", Value::from_function(filters::zip), Items),
    ]
}

/// Gives the engine the filters, tests and functions.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    for (name, inner, reads) in engine_filters() {
        environment.add_filter(name, move |state: &State, value: &Value, rest: Rest<Value>| {
            let mut values: Vec<Value> = std::iter::once(value.clone()).chain(rest.0).collect();
            pay(reads, &values)?;
            if matches!(reads, Reads::Text) {
                for value in values.iter_mut().filter(|value| value.as_object().is_some() && !value.is_kwargs()) {
                    *value = written(value)?;
                }
            }
            allow(name, &values)?;
            keep(inner.call(state, &values)?)
        });
    }
    for (name, by_attribute, wanted) in
        [("select", false, true), ("reject", false, false), ("selectattr", true, true), ("rejectattr", true, false)]
    {
        environment.add_filter(name, move |state: &State, value: &Value, rest: Rest<Value>| {
            let (attribute, rest) = match rest.split_first() {
                Some((attribute, rest)) if by_attribute => (Some(path(attribute)?), rest),
                None if by_attribute => return Err(Error::from(ErrorKind::MissingArgument)),
                _ => (None, &rest[..]),
            };
            select(state, value, attribute, rest, wanted)
        });
    }
    environment.add_filter("string", |state: &State, value: &Value| {
        defined(state, value)?;
        written(value)
    });
    environment.add_filter("join", |value: &Value, glue: Option<Value>| {
        let glue = glue.map_or_else(|| Ok(Value::from("")), |glue| written(&glue))?;
        allow("join", &[value.clone(), glue.clone()])?;
        join(value, glue.as_str().unwrap_or_default())
    });
    environment.add_filter("map", map_each);
    environment.add_filter("groupby", group);
    for (name, sign) in [
        ("eq", '='),
        ("equalto", '='),
        ("==", '='),
        ("ne", '!'),
        ("!=", '!'),
        ("lt", '<'),
        ("lessthan", '<'),
        ("<", '<'),
        ("le", 'l'),
        ("<=", 'l'),
        ("gt", '>'),
        ("greaterthan", '>'),
        (">", '>'),
        ("ge", 'g'),
        (">=", 'g'),
        ("in", 'i'),
    ] {
        environment.add_test(name, move |state: &State, left: &Value, right: &Value| compare(state, sign, left, right));
    }
    for (name, inner) in [
        ("endingwith", Value::from_function(tests::is_endingwith)),
        ("lower", Value::from_function(tests::is_lower)),
        ("sameas", Value::from_function(tests::is_sameas)),
        ("startingwith", Value::from_function(tests::is_startingwith)),
        ("upper", Value::from_function(tests::is_upper)),
    ] {
        environment.add_test(name, move |state: &State, value: &Value, rest: Rest<Value>| {
            let values: Vec<Value> = std::iter::once(value.clone()).chain(rest.0).collect();
            pay(Reads::All, &values)?;
            meter::room(bytes(&values)?)?;
            inner.call(state, &values).map(|value| value.is_true())
        });
    }
    // It writes everything that the template knows.
    environment.remove_global("debug");
    environment.add_function("range", range);
    environment.add_function("dict", |rest: Rest<Value>| map(pairs(&rest)?));
    environment.add_function("namespace", |rest: Rest<Value>| {
        let space = Space::default();
        for (name, value) in pairs(&rest)? {
            space.set(&name, value)?;
        }
        Ok::<Value, Error>(Value::from_object(space))
    });
}

/// The methods of texts, lists and maps.
pub(super) fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if !matches!(value.kind(), ValueKind::String | ValueKind::Map | ValueKind::Seq) {
        return Err(Error::from(ErrorKind::UnknownMethod));
    }
    if value.kind() == ValueKind::Map && !matches!(name, "keys" | "values" | "items" | "get") {
        return Err(Error::from(ErrorKind::UnknownMethod));
    }
    let text = value.as_str();
    let counted = if name == "join" && text.is_some() { "str.join" } else { name };
    if let Some(text) = text {
        meter::read(text.len() as u64)?;
        if name == "count" && args.first().and_then(Value::as_str) == Some("") {
            return Ok(Value::from(text.chars().count() + 1));
        }
    } else {
        meter::work(1 + if name == "get" { 0 } else { length(value) })?;
        if name == "count" {
            meter::read(weigh(value)?.bytes)?;
        }
    }
    if !args.is_empty() {
        meter::read(bytes(args)?)?;
        if name == "get" {
            meter::work(key_cost(&args[0])?)?;
        }
    }
    if text.is_some() {
        let values: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
        allow(counted, &values)?;
    }
    if let ("str.join", Some(glue), [value]) = (counted, text, args) {
        return join(value, glue);
    }
    keep(minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)?)
}

/// A value as a text.
fn written(value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let mut text = String::new();
    print(value, &mut text)?;
    keep(Value::from(text))
}

fn pay(reads: Reads, values: &[Value]) -> Result<(), Error> {
    let read = match reads {
        Reads::Length | Reads::Items => {
            let texts: u64 = values.iter().filter_map(Value::as_str).map(|text| text.len() as u64).sum();
            if matches!(reads, Reads::Items) {
                meter::work(values.iter().filter(|value| value.as_object().is_some()).map(length).sum())?;
            }
            texts
        }
        Reads::All | Reads::Text => bytes(values)?,
        Reads::Sorted => {
            let items = values.first().map_or(1, length).max(1);
            let rounds = u64::from(items.ilog2()) + 1;
            let named = values.get(1..).map_or(Ok(0), bytes)?;
            let each =
                bytes(values)?.saturating_add(named.saturating_mul(items)).saturating_add(items.saturating_mul(8));
            each.saturating_mul(rounds).saturating_mul(2)
        }
    };
    meter::read(read)
}

/// Names with dots between them.
fn path(value: &Value) -> Result<String, Error> {
    value.as_str().map(str::to_owned).ok_or_else(|| invalid("an attribute is named by a text"))
}

fn follow(value: &Value, path: &str) -> Result<Value, Error> {
    meter::read(path.len() as u64)?;
    let mut found = value.clone();
    for part in path.split('.') {
        found = match part.parse::<usize>() {
            Ok(index) => found.get_item_by_index(index)?,
            Err(_) => found.get_attr(part)?,
        };
    }
    Ok(found)
}

fn select(
    state: &State,
    value: &Value,
    attribute: Option<String>,
    rest: &[Value],
    wanted: bool,
) -> Result<Value, Error> {
    let (test, rest) = match rest.split_first() {
        Some((test, rest)) => (Some(path(test)?), rest),
        None => (None, rest),
    };
    let mut chosen = Vec::new();
    for item in each(state, value)? {
        let asked = match &attribute {
            Some(attribute) => follow(&item, attribute)?,
            None => item.clone(),
        };
        meter::work(2 + rest.len() as u64)?;
        let passed = match &test {
            Some(test) => {
                let args: Vec<Value> = std::iter::once(asked).chain(rest.iter().cloned()).collect();
                state.perform_test(test, &args)?
            }
            None => asked.is_true(),
        };
        if passed == wanted {
            chosen.push(item);
        }
    }
    list(chosen)
}

fn map_each(state: &State, value: &Value, rest: Rest<Value>) -> Result<Value, Error> {
    let (args, named): (&[Value], Kwargs) = from_args(&rest)?;
    let mut found = Vec::new();
    if let Some(attribute) = named.get::<Option<Value>>("attribute")? {
        if !args.is_empty() {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        let default = if named.has("default") { named.get::<Value>("default")? } else { Value::UNDEFINED };
        named.assert_all_used()?;
        for item in each(state, value)? {
            let own = match attribute.as_str() {
                Some(path) => follow(&item, path),
                None => item.get_item(&attribute),
            };
            found.push(match own {
                Ok(own) if own.is_undefined() => default.clone(),
                Ok(own) => own,
                Err(_) if !default.is_undefined() => default.clone(),
                Err(error) => return Err(error),
            });
        }
        return list(found);
    }
    let (name, args) = args.split_first().ok_or_else(|| invalid("filter name is required"))?;
    let name = name.as_str().ok_or_else(|| invalid("filter name must be a string"))?;
    if name == "map" {
        return Err(invalid("map cannot call itself"));
    }
    for item in each(state, value)? {
        meter::work(2 + args.len() as u64)?;
        let args: Vec<Value> = std::iter::once(item).chain(args.iter().cloned()).collect();
        found.push(state.apply_filter(name, &args)?);
    }
    list(found)
}

/// One group of `groupby`: a pair, whose parts have names.
#[derive(Debug)]
struct Group {
    grouper: Value,
    list: Value,
}

impl Object for Group {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match (key.as_usize(), key.as_str()) {
            (Some(0), None) | (None, Some("grouper")) => Some(self.grouper.clone()),
            (Some(1), None) | (None, Some("list")) => Some(self.list.clone()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(2)
    }
}

fn group(state: &State, value: &Value, rest: Rest<Value>) -> Result<Value, Error> {
    let (args, named): (&[Value], Kwargs) = from_args(&rest)?;
    let attribute = match args.first() {
        Some(attribute) => path(attribute)?,
        None => named.get::<&str>("attribute")?.to_owned(),
    };
    let default = named.get::<Option<Value>>("default")?.unwrap_or_default();
    let case_sensitive = named.get::<Option<bool>>("case_sensitive")?.unwrap_or(false);
    named.assert_all_used()?;
    let mut keyed = Vec::new();
    for item in each(state, value)? {
        let key = follow(&item, &attribute).ok().filter(|key| !key.is_undefined()).unwrap_or_else(|| default.clone());
        keyed.push((key, item));
    }
    let all =
        keyed.iter().try_fold(0, |sum: u64, (key, _)| Ok::<_, Error>(sum.saturating_add(weigh(key)?.bytes + 8)))?;
    meter::read(all.saturating_mul(2 * u64::from((keyed.len() as u64).max(1).ilog2() + 1)))?;
    let order = |left: &Value, right: &Value| match (left.as_str(), right.as_str()) {
        (Some(left), Some(right)) if !case_sensitive => {
            left.bytes().map(|b| b.to_ascii_lowercase()).cmp(right.bytes().map(|b| b.to_ascii_lowercase()))
        }
        _ => left.cmp(right),
    };
    keyed.sort_by(|left, right| order(&left.0, &right.0));
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in keyed {
        match groups.last_mut() {
            Some((grouper, members)) if order(grouper, &key) == Ordering::Equal => {
                *grouper = key;
                members.push(item);
            }
            _ => groups.push((key, vec![item])),
        }
    }
    let mut found = Vec::with_capacity(groups.len());
    for (grouper, members) in groups {
        found.push(Value::from_object(Group { grouper, list: list(members)? }));
    }
    // The groups keep the names of their parts, which a list of this module would not.
    Ok(Value::from(found))
}

/// The items of a value; none of what is undefined, unless that is an error here.
fn each(state: &State, value: &Value) -> Result<Vec<Value>, Error> {
    if value.is_undefined() {
        let strict = state.undefined_behavior() == UndefinedBehavior::Strict;
        return if strict { Err(Error::from(ErrorKind::UndefinedError)) } else { Ok(Vec::new()) };
    }
    allow("list", std::slice::from_ref(value))?;
    items(value)
}

fn range(lower: i64, upper: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, stop) = upper.map_or((0, lower), |upper| (lower, upper));
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(invalid("cannot create range with step of 0"));
    }
    let distance = if step > 0 { i128::from(stop) - i128::from(start) } else { i128::from(start) - i128::from(stop) };
    let wide = i128::from(step).abs();
    let count = u64::try_from((distance.max(0) + wide - 1) / wide).unwrap_or(u64::MAX);
    if count > RANGE {
        return Err(meter::refuse(&format!("it makes a range of more than {RANGE} numbers")));
    }
    let mut numbers = Vec::new();
    let mut next = i128::from(start);
    for _ in 0..count {
        numbers.push(i64::try_from(next).map_or(Value::UNDEFINED, Value::from));
        next += i128::from(step);
    }
    list(numbers)
}

/// The entries of all maps among arguments, named arguments included.
fn pairs(values: &[Value]) -> Result<Vec<(Value, Value)>, Error> {
    let mut all = Vec::new();
    for value in values {
        match value.as_object() {
            Some(object) if value.kind() == ValueKind::Map => {
                meter::work(length(value))?;
                meter::room(24 * (all.len() as u64 + length(value)))?;
                all.extend(object.try_iter_pairs().into_iter().flatten());
            }
            _ if value.is_undefined() => {}
            _ => return Err(invalid(format!("expected object or keyword arguments, got {}", value.kind()))),
        }
    }
    Ok(all)
}
