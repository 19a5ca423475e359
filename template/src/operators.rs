//! Owns the operators and what rewritten templates call in their place: sums, products, joined texts, slices, items of
//! values, comparisons, and the literals of lists and maps. They do what Python does, within the bounds of the meter.

use std::cell::RefCell;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Rest};
use minijinja::{Environment, Error, State, Value};

use super::globals::named;
use super::methods;
use super::number::{self, impossible, invalid, kind_of, whole_of};
use super::order::{compare, defined, hashable, is_chat};
use super::percent::percent;
use super::value::{Kind, List, Space, items, keep, key_cost, length, list, map, sequence, weigh};
use super::written::{concatenate, escaped, like};
use super::{GENERATION, marks, meter};

/// How many arguments a list or map may become.
const ARGUMENTS: u64 = 4096;

thread_local! {
    /// Whether a turn of a loop came to its end, for the loops whose `else` asks; the innermost last.
    static TURNS: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
    /// The middle values of the chains of comparisons that are being read, the innermost last.
    static WAITING: RefCell<Vec<Value>> = const { RefCell::new(Vec::new()) };
}

/// What is undefined on its way to a macro that has defaults for what is not given.
#[derive(Debug)]
struct Given;

impl Object for Given {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// Forgets what a rendering left that ended in an error.
pub(super) fn begin() {
    TURNS.with_borrow_mut(Vec::clear);
    WAITING.with_borrow_mut(Vec::clear);
}

/// Gives the engine the filters that rewritten templates call.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("__turns", |says: &str| {
        TURNS.with_borrow_mut(|turns| {
            match (says, turns.last_mut()) {
                ("ended", Some(ended)) => *ended = true,
                ("begin", _) => turns.push(false),
                _ => return Value::from(turns.pop() == Some(false)),
            }
            Value::from("")
        })
    });
    environment.add_filter("__catch", marks::catch);
    environment.add_filter("__text", |value: Value| match value.as_str() {
        Some(_) => Ok(value),
        None => Err(invalid(format!("a filter block writes texts, and this is of the type {}", kind_of(&value)))),
    });
    environment.add_filter(GENERATION, marks::mark);
    environment.add_filter("__steps", |steps: u64| meter::work(steps).map(|()| ""));
    environment.add_filter("__defines", |steps: u64| meter::defines(steps).map(|()| ""));
    environment.add_filter("__refuse", |what: &str| -> Result<Value, Error> { Err(invalid(what.to_owned())) });
    environment.add_filter("__set", set);
    environment.add_filter("__read", |value: Value| -> Result<Value, Error> {
        meter::read(weigh(&value)?.bytes.saturating_mul(2))?;
        Ok(value)
    });
    // The engine counts the letters of a text before a loop over it. What is left of a generator becomes a list, so that
    // the loop knows its length.
    environment.add_filter("__each", |state: &State, value: Value| -> Result<Value, Error> {
        if let Some(text) = value.as_str().filter(|_| is_chat(state)) {
            // The engine does not know how many letters a text has.
            meter::room(24 * text.len() as u64)?;
            meter::read(24 * text.len() as u64)?;
            return list(text.chars().map(|letter| Value::from(letter.to_string())).collect());
        }
        meter::read(value.as_str().map_or(0, str::len) as u64)?;
        if value.is_none() && is_chat(state) {
            return Err(invalid("none is not iterable"));
        }
        match value.downcast_object_ref::<List>().map(List::kind) {
            Some(Kind::Once) => list(items(&value)?),
            _ => Ok(value),
        }
    });
    environment.add_filter("__arguments", |value: Value| {
        if length(&value) > ARGUMENTS {
            return Err(meter::refuse(&format!("it gives a call more than {ARGUMENTS} arguments")));
        }
        meter::work(length(&value).saturating_mul(4).saturating_add(weigh(&value)?.bytes / 8))?;
        Ok(value)
    });
    environment
        .add_filter("__given", |value: Value| if value.is_undefined() { Value::from_object(Given) } else { value });
    environment.add_filter("__taken", |value: Value| {
        if value.downcast_object_ref::<Given>().is_some() { Value::UNDEFINED } else { value }
    });
    environment
        .add_filter("__list", |first: Value, rest: Rest<Value>| list(std::iter::once(first).chain(rest.0).collect()));
    environment.add_filter("__tuple", |first: Value, rest: Rest<Value>| {
        sequence(Kind::Tuple, std::iter::once(first).chain(rest.0).collect())
    });
    environment.add_filter("__map", |first: Value, rest: Rest<Value>| {
        let parts: Vec<Value> = std::iter::once(first).chain(rest.0).collect();
        parts.iter().step_by(2).try_for_each(hashable)?;
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
    for (name, operation) in [
        ("__subtract", number::subtract as fn(&Value, &Value) -> Result<Value, Error>),
        ("__divide", number::divide),
        ("__floor_divide", number::floor_divide),
        ("__remainder", remainder),
        ("__power", number::power),
    ] {
        environment.add_filter(name, move |left: &Value, right: &Value| operation(left, right));
    }
    environment.add_filter("__negative", number::negative);
    environment.add_filter("__item", |state: &State, value: &Value, key: &Value| item(state, value, key));
    environment.add_filter("__attribute", attribute);
    for (name, sign) in
        [("__eq", '='), ("__ne", '!'), ("__lt", '<'), ("__le", 'l'), ("__gt", '>'), ("__ge", 'g'), ("__in", 'i')]
    {
        environment
            .add_filter(name, move |state: &State, left: &Value, right: &Value| compare(state, sign, left, right));
    }
    // `a < b < c` is `a < b and b < c` with one `b`, which waits here while `c` is found.
    environment.add_filter("__link", |state: &State, left: &Value, sign: char, right: &Value| {
        let holds = compare(state, sign, left, right)?;
        if holds {
            WAITING.with_borrow_mut(|waiting| waiting.push(right.clone()));
        }
        Ok::<bool, Error>(holds)
    });
    environment.add_filter("__next", |state: &State, right: &Value, sign: char, is_last: bool| {
        let left = WAITING.with_borrow_mut(Vec::pop).unwrap_or_default();
        let holds = compare(state, sign, &left, right)?;
        if holds && !is_last {
            WAITING.with_borrow_mut(|waiting| waiting.push(right.clone()));
        }
        Ok::<bool, Error>(holds)
    });
}

/// `value[key]`: an item, else a method of that name.
pub(super) fn item(state: &State, value: &Value, key: &Value) -> Result<Value, Error> {
    meter::read(value.as_str().map_or(0, str::len) as u64)?;
    meter::work(key_cost(key)?)?;
    let found = value.get_item(key)?;
    match key.as_str() {
        None if value.is_safe() => like(found.as_str().unwrap_or_default().to_owned(), value),
        Some(name) if found.is_undefined() && is_chat(state) => Ok(methods::bound(value, name).unwrap_or(found)),
        _ => Ok(found),
    }
}

/// `value.name`: a method, else an item of that name.
fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    methods::here(value, name)?;
    methods::bound(value, name).map_or_else(|| value.get_attr(name), Ok)
}

/// `left % right`: a remainder, or a text with its fields filled.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    if left.as_str().is_some() { percent(left, right) } else { number::remainder(left, right) }
}

fn set(state: &State, space: &Value, name: &Value, value: Value) -> Result<&'static str, Error> {
    named(state, name)?;
    match space.downcast_object_ref::<Space>() {
        Some(space) => space.set(name, value).map(|()| ""),
        None => Err(invalid(format!("can only assign to namespaces, not {}", space.kind()))),
    }
}

fn add(first: &Value, rest: &[Value]) -> Result<Value, Error> {
    let plain = |part: &Value| part.as_str().is_some() && !part.is_safe();
    if plain(first) && rest.iter().all(plain) {
        return concatenate(std::iter::once(first).chain(rest));
    }
    let mut sum = first.clone();
    for part in rest {
        sum = add_two(&sum, part)?;
    }
    Ok(sum)
}

pub(super) fn add_two(left: &Value, right: &Value) -> Result<Value, Error> {
    let kind = |value: &Value| value.downcast_object_ref::<List>().map(List::kind);
    if let (Some(one), Some(other)) = (kind(left), kind(right)) {
        let kind = match (one, other) {
            (Kind::List, Kind::List) => Kind::List,
            (Kind::Tuple | Kind::Group, Kind::Tuple | Kind::Group) => Kind::Tuple,
            _ => return Err(impossible("+", left, right)),
        };
        let mut all = items(left)?;
        meter::room(24 * (all.len() as u64).saturating_add(length(right)))?;
        all.extend(items(right)?);
        return sequence(kind, all);
    }
    if left.as_str().is_some() && right.as_str().is_some() {
        if left.is_safe() || right.is_safe() {
            // What is marked as safe escapes the other, on either side.
            let text = escaped(left)? + &escaped(right)?;
            meter::room(text.len() as u64)?;
            return keep(Value::from_safe_string(text));
        }
        return concatenate([left, right].into_iter());
    }
    number::sum(left, right)
}

fn multiply(left: &Value, right: &Value) -> Result<Value, Error> {
    let times = |count: &Value, what: &str| {
        // A negative count repeats nothing, as in Python.
        whole_of(count)
            .map(|count| u64::try_from(count.max(0)).unwrap_or(u64::MAX))
            .ok_or_else(|| invalid(format!("{what} can only be multiplied with integers")))
    };
    if let Some((text, count)) = left.as_str().map(|_| (left, right)).or_else(|| right.as_str().map(|_| (right, left)))
    {
        let (count, letters) = (times(count, "strings")?, text.as_str().unwrap_or_default());
        let bytes = count.saturating_mul(letters.len() as u64);
        meter::room(bytes)?;
        meter::read(bytes)?;
        return like(letters.repeat(usize::try_from(count).ok().filter(|_| bytes > 0).unwrap_or(0)), text);
    }
    let repeated = |value: &Value| match value.downcast_object_ref::<List>().map(List::kind)? {
        Kind::List => Some(Kind::List),
        Kind::Tuple | Kind::Group => Some(Kind::Tuple),
        _ => None,
    };
    if let Some((kind, values, count)) =
        repeated(left).map(|kind| (kind, left, right)).or_else(|| repeated(right).map(|kind| (kind, right, left)))
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
        return sequence(kind, all);
    }
    number::product(left, right)
}

/// `value[start:stop:step]`, with the indices of Python.
pub(super) fn slice(state: &State, value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let index = |value: &Value| -> Result<Option<i64>, Error> {
        if value.is_none() {
            return Ok(None);
        }
        let whole = whole_of(value).ok_or_else(|| invalid("the places of a slice are whole numbers"))?;
        Ok(Some(i64::try_from(whole).unwrap_or(if whole > 0 { i64::MAX } else { i64::MIN })))
    };
    defined(state, value)?;
    let (start, stop, step) = (index(start)?, index(stop)?, index(step)?.unwrap_or(1));
    if step == 0 {
        return Err(invalid("cannot slice by step size of 0"));
    }
    if let Some(text) = value.as_str() {
        meter::read(text.len() as u64)?;
        if text.is_ascii() {
            let bytes = text.as_bytes();
            let picked: Vec<u8> =
                picks(bytes.len(), start, stop, step).filter_map(|at| bytes.get(at).copied()).collect();
            return like(String::from_utf8(picked).unwrap_or_default(), value);
        }
        meter::read(text.len() as u64 * 4)?;
        meter::room(text.len() as u64 * 4)?;
        let letters: Vec<char> = text.chars().collect();
        let picked = picks(letters.len(), start, stop, step).filter_map(|at| letters.get(at));
        return like(picked.collect::<String>(), value);
    }
    if value.is_none() && !is_chat(state) {
        return list(Vec::new());
    }
    let Some(all) = value.downcast_object_ref::<List>() else {
        let what = "cannot be sliced; of a constant Jinja2 makes what is undefined, which is not here";
        return Err(invalid(format!("a value of the type {} {what}", kind_of(value))));
    };
    let kind = match all.kind() {
        Kind::List => Kind::List,
        Kind::Tuple | Kind::Group => Kind::Tuple,
        Kind::Range { start: first, step: wide, .. } => {
            let (low, high) = ends(all.items().len(), start, stop, step);
            let place = |at: i64| first + i128::from(at) * wide;
            Kind::Range { start: place(low), stop: place(high), step: wide * i128::from(step) }
        }
        _ => return Err(invalid(format!("a value of the type {} cannot be sliced", kind_of(value)))),
    };
    let values = items(value)?;
    sequence(kind, picks(values.len(), start, stop, step).filter_map(|at| values.get(at).cloned()).collect())
}

/// Where a slice of so many items begins and ends.
fn ends(length: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> (i64, i64) {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |given: Option<i64>, none: i64| match given {
        None => none,
        Some(at) if at < 0 => at.saturating_add(length).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    if step > 0 { (place(start, low), place(stop, high)) } else { (place(start, high), place(stop, low)) }
}

/// The places that a slice of so many items takes.
fn picks(length: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> impl Iterator<Item = usize> {
    let (start, stop) = ends(length, start, stop, step);
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
