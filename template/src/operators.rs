//! Owns the operators that can grow a value or read much of it: sums, products, joined texts, slices, comparisons, and
//! the literals of lists and maps. They do what Python does, within the bounds of the meter.

use std::cmp::Ordering;
use std::fmt::Write as _;

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::meter;
use super::value::{Space, items, keep, key_cost, length, list, map, weigh};

/// How many arguments a list or map may become.
const ARGUMENTS: u64 = 4096;

/// Gives the engine the filters that rewritten templates call.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("__steps", |steps: u64| meter::work(steps).map(|()| ""));
    environment.add_filter("__defines", |steps: u64| meter::defines(steps).map(|()| ""));
    environment.add_filter("__refuse", |what: &str| -> Result<Value, Error> { Err(invalid(what.to_owned())) });
    environment.add_filter("__set", set);
    environment.add_filter("__read", |value: Value| -> Result<Value, Error> {
        meter::read(weigh(&value)?.bytes.saturating_mul(2))?;
        Ok(value)
    });
    // The engine counts the letters of a text before a loop over it.
    environment.add_filter("__each", |value: Value| -> Result<Value, Error> {
        meter::read(value.as_str().map_or(0, str::len) as u64)?;
        Ok(value)
    });
    environment.add_filter("__arguments", |value: Value| {
        if length(&value) > ARGUMENTS {
            return Err(meter::refuse(&format!("it gives a call more than {ARGUMENTS} arguments")));
        }
        meter::work(length(&value).saturating_mul(4).saturating_add(weigh(&value)?.bytes / 8))?;
        Ok(value)
    });
    environment
        .add_filter("__list", |first: Value, rest: Rest<Value>| list(std::iter::once(first).chain(rest.0).collect()));
    environment.add_filter("__map", |first: Value, rest: Rest<Value>| {
        let parts: Vec<Value> = std::iter::once(first).chain(rest.0).collect();
        map(parts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    });
    environment.add_filter("__add", |first: &Value, rest: Rest<Value>| add(first, &rest));
    environment.add_filter("__multiply", multiply);
    environment.add_filter("__join", |state: &State, first: &Value, rest: Rest<Value>| {
        let parts = std::iter::once(first).chain(rest.iter());
        parts.clone().try_for_each(|part| defined(state, part))?;
        concatenate(parts)
    });
    environment.add_filter("__slice", slice);
    environment.add_filter("__item", |value: &Value, key: &Value| {
        meter::read(value.as_str().map_or(0, str::len) as u64)?;
        meter::work(key_cost(key)?)?;
        value.get_item(key)
    });
    for (name, sign) in
        [("__eq", '='), ("__ne", '!'), ("__lt", '<'), ("__le", 'l'), ("__gt", '>'), ("__ge", 'g'), ("__in", 'i')]
    {
        environment
            .add_filter(name, move |state: &State, left: &Value, right: &Value| compare(state, sign, left, right));
    }
    environment.add_filter("__compare", |state: &State, first: &Value, signs: &str, rest: Rest<Value>| {
        let mut left = first;
        for (sign, right) in signs.chars().zip(rest.iter()) {
            if !compare(state, sign, left, right)? {
                return Ok(false);
            }
            left = right;
        }
        Ok::<bool, Error>(true)
    });
}

/// An error of the template itself.
pub(super) fn invalid(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// Writes values one after the other.
pub(super) fn concatenate<'a>(parts: impl Iterator<Item = &'a Value> + Clone) -> Result<Value, Error> {
    let bytes = parts.clone().filter_map(Value::as_str).fold(0, |sum: u64, text| sum.saturating_add(text.len() as u64));
    meter::room(bytes)?;
    let mut text = String::with_capacity(usize::try_from(bytes).unwrap_or(0));
    for part in parts {
        print(part, &mut text)?;
    }
    meter::room(text.len() as u64)?;
    keep(Value::from(text))
}

/// Writes the items of a value with `glue` between them.
pub(super) fn join(value: &Value, glue: &str) -> Result<Value, Error> {
    let mut text = String::new();
    for (at, item) in items(value)?.iter().enumerate() {
        if at > 0 {
            text.push_str(glue);
        }
        print(item, &mut text)?;
        meter::room(text.len() as u64)?;
    }
    meter::read(text.len() as u64)?;
    keep(Value::from(text))
}

/// Writes one value to the end of a text.
pub(super) fn print(value: &Value, text: &mut String) -> Result<(), Error> {
    if let Some(part) = value.as_str() {
        meter::read(part.len() as u64)?;
        text.push_str(part);
        return Ok(());
    }
    meter::work(weigh(value)?.bytes / 8)?;
    let mut out = meter::Bounded::new(text);
    let result = write!(out, "{value}");
    out.done(result).map(|_| ())
}

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
    Ok(match sign {
        '=' => left == right,
        '!' => left != right,
        _ => {
            let order = left.cmp(right);
            match sign {
                '<' => order == Ordering::Less,
                'l' => order != Ordering::Greater,
                '>' => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }
        }
    })
}

fn contains(container: &Value, value: &Value) -> Result<bool, Error> {
    if container.is_undefined() {
        return Ok(false);
    }
    if let Some(text) = container.as_str() {
        meter::read(text.len() as u64)?;
        if let Some(part) = value.as_str() {
            meter::read(part.len() as u64)?;
            return Ok(text.contains(part));
        }
        let mut part = String::new();
        print(value, &mut part)?;
        return Ok(text.contains(&part));
    }
    match container.kind() {
        ValueKind::Map => {
            meter::work(1 + key_cost(value)?)?;
            Ok(container.as_object().is_some_and(|map| map.get_value(value).is_some()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            meter::read(weigh(container)?.bytes)?;
            Ok(container.try_iter()?.any(|item| item == *value))
        }
        ValueKind::Plain => Ok(false),
        _ => Err(invalid("cannot perform a containment check on this value")),
    }
}

/// Whether a value is there, where that matters.
pub(super) fn defined(state: &State, value: &Value) -> Result<(), Error> {
    let strict = matches!(state.undefined_behavior(), UndefinedBehavior::Strict | UndefinedBehavior::SemiStrict);
    if strict && value.is_undefined() { Err(Error::from(ErrorKind::UndefinedError)) } else { Ok(()) }
}

fn set(space: &Value, name: &Value, value: Value) -> Result<&'static str, Error> {
    match space.downcast_object_ref::<Space>() {
        Some(space) => space.set(name, value).map(|()| ""),
        None => Err(invalid(format!("can only assign to namespaces, not {}", space.kind()))),
    }
}

fn add(first: &Value, rest: &[Value]) -> Result<Value, Error> {
    if first.as_str().is_some() && rest.iter().all(|part| part.as_str().is_some()) {
        return concatenate(std::iter::once(first).chain(rest));
    }
    let mut sum = first.clone();
    for part in rest {
        sum = add_two(&sum, part)?;
    }
    Ok(sum)
}

fn add_two(left: &Value, right: &Value) -> Result<Value, Error> {
    let sequence = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if sequence(left) && sequence(right) {
        let mut all = items(left)?;
        meter::room(24 * (all.len() as u64).saturating_add(length(right)))?;
        all.extend(items(right)?);
        return list(all);
    }
    if left.as_str().is_some() && right.as_str().is_some() {
        return concatenate([left, right].into_iter());
    }
    match numbers(left, right) {
        Some(Numbers::Whole(a, b)) => {
            a.checked_add(b).map(whole).ok_or_else(|| invalid(format!("unable to calculate {a} + {b}")))
        }
        Some(Numbers::Real(a, b)) => Ok(Value::from(a + b)),
        None => Err(impossible("+", left, right)),
    }
}

fn multiply(left: &Value, right: &Value) -> Result<Value, Error> {
    let times = |count: &Value, what: &str| {
        // A negative count repeats nothing, as in Python.
        let whole =
            i128::try_from(count.clone()).ok().filter(|_| count.is_integer() || count.kind() == ValueKind::Bool);
        whole
            .map(|count| u64::try_from(count.max(0)).unwrap_or(u64::MAX))
            .ok_or_else(|| invalid(format!("{what} can only be multiplied with integers")))
    };
    if let Some((text, count)) =
        left.as_str().map(|text| (text, right)).or_else(|| right.as_str().map(|text| (text, left)))
    {
        let count = times(count, "strings")?;
        let bytes = count.saturating_mul(text.len() as u64);
        meter::room(bytes)?;
        meter::read(bytes)?;
        return keep(Value::from(text.repeat(usize::try_from(count).ok().filter(|_| bytes > 0).unwrap_or(0))));
    }
    let sequence = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if let Some((values, count)) =
        sequence(left).then_some((left, right)).or_else(|| sequence(right).then_some((right, left)))
    {
        let count = times(count, "sequences and iterables")?;
        let values = items(values)?;
        let slots = count.saturating_mul(values.len() as u64);
        meter::room(slots.saturating_mul(24))?;
        meter::work(slots / 4)?;
        let mut all = Vec::with_capacity(usize::try_from(slots).unwrap_or(0));
        for _ in 0..if slots > 0 { count } else { 0 } {
            all.extend_from_slice(&values);
        }
        return list(all);
    }
    match numbers(left, right) {
        Some(Numbers::Whole(a, b)) => {
            a.checked_mul(b).map(whole).ok_or_else(|| invalid(format!("unable to calculate {a} * {b}")))
        }
        Some(Numbers::Real(a, b)) => Ok(Value::from(a * b)),
        None => Err(impossible("*", left, right)),
    }
}

enum Numbers {
    Whole(i128, i128),
    Real(f64, f64),
}

/// Both as numbers of one kind.
fn numbers(left: &Value, right: &Value) -> Option<Numbers> {
    let whole = |value: &Value| value.is_integer() || value.kind() == ValueKind::Bool;
    let number = |value: &Value| value.is_number() || value.kind() == ValueKind::Bool;
    if whole(left) && whole(right) {
        return Some(Numbers::Whole(i128::try_from(left.clone()).ok()?, i128::try_from(right.clone()).ok()?));
    }
    if !(number(left) && number(right)) {
        return None;
    }
    let real = |value: &Value| {
        if whole(value) {
            i128::try_from(value.clone()).ok().map(|whole| whole as f64)
        } else {
            f64::try_from(value.clone()).ok()
        }
    };
    Some(Numbers::Real(real(left)?, real(right)?))
}

fn whole(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

fn impossible(op: &str, left: &Value, right: &Value) -> Error {
    invalid(format!("tried to use {op} operator on unsupported types {} and {}", left.kind(), right.kind()))
}

/// `value[start:stop:step]`, with the indices of Python.
fn slice(state: &State, value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let index = |value: &Value| -> Result<Option<i64>, Error> {
        if value.is_none() { Ok(None) } else { i64::try_from(value.clone()).map(Some) }
    };
    let (start, stop, step) = (index(start)?, index(stop)?, index(step)?.unwrap_or(1));
    if step == 0 {
        return Err(invalid("cannot slice by step size of 0"));
    }
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            meter::read(text.len() as u64)?;
            if text.is_ascii() {
                let bytes = text.as_bytes();
                let picked: Vec<u8> =
                    picks(bytes.len(), start, stop, step).filter_map(|at| bytes.get(at).copied()).collect();
                return keep(Value::from(String::from_utf8(picked).unwrap_or_default()));
            }
            meter::read(text.len() as u64 * 4)?;
            meter::room(text.len() as u64 * 4)?;
            let letters: Vec<char> = text.chars().collect();
            let picked = picks(letters.len(), start, stop, step).filter_map(|at| letters.get(at));
            keep(Value::from(picked.collect::<String>()))
        }
        ValueKind::Undefined | ValueKind::None => {
            defined(state, value)?;
            list(Vec::new())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let values = items(value)?;
            list(picks(values.len(), start, stop, step).filter_map(|at| values.get(at).cloned()).collect())
        }
        kind => Err(invalid(format!("value of type {kind} cannot be sliced"))),
    }
}

/// The places that a slice of so many items takes.
fn picks(length: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> impl Iterator<Item = usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |given: Option<i64>, none: i64| match given {
        None => none,
        Some(at) if at < 0 => at.saturating_add(length).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    let (start, stop) =
        if step > 0 { (place(start, low), place(stop, high)) } else { (place(start, high), place(stop, low)) };
    let mut next = Some(start);
    std::iter::from_fn(move || {
        let at = next.filter(|at| if step > 0 { *at < stop } else { *at > stop })?;
        next = at.checked_add(step);
        usize::try_from(at).ok()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn slices_take_the_places_that_python_takes() {
        let of = |start, stop, step| picks(5, start, stop, step).collect::<Vec<_>>();
        assert_eq!(of(None, None, 1), [0, 1, 2, 3, 4]);
        assert_eq!(of(None, None, -1), [4, 3, 2, 1, 0]);
        assert_eq!(of(Some(1), Some(-1), 1), [1, 2, 3]);
        assert_eq!(of(Some(-2), None, 1), [3, 4]);
        assert_eq!(of(Some(3), Some(0), -2), [3, 1]);
        assert_eq!(of(Some(9), Some(-9), -1), [4, 3, 2, 1, 0]);
        assert_eq!(of(Some(i64::MIN), Some(i64::MAX), i64::MAX), [0]);
        assert!(of(Some(4), Some(2), 1).is_empty() && of(Some(i64::MIN), Some(i64::MAX), i64::MIN).is_empty());
    }
}
