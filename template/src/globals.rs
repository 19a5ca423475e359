//! Owns the functions that every template has: `range`, `dict`, `namespace`, `cycler` and `joiner`. Knows values.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{Object, ObjectRepr, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::meter;
use super::number::invalid;
use super::order::is_chat;
use super::value::{Kind, Space, items, length, map, sequence};

/// How long a `range` may be; the sandbox of transformers has the same limit.
const RANGE: u64 = 100_000;

/// Gives the engine the functions.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    // It writes everything that the template knows.
    environment.remove_global("debug");
    environment.add_function("range", range);
    environment.add_function("dict", |state: &State, rest: Rest<Value>| map(entries(state, &rest)?));
    environment.add_function("namespace", |state: &State, rest: Rest<Value>| {
        let space = Space::default();
        for (name, value) in entries(state, &rest)? {
            named(state, &name)?;
            space.set(&name, value)?;
        }
        Ok::<Value, Error>(Value::from_object(space))
    });
    environment.add_function("cycler", |rest: Rest<Value>| {
        if rest.is_empty() || rest.iter().any(|value| value.as_object().is_some()) {
            return Err(invalid("cycler takes at least one value, and texts and numbers only"));
        }
        Ok(Value::from_object(Cycler { values: rest.0, at: AtomicUsize::new(0) }))
    });
    environment.add_function("joiner", |glue: Option<String>| {
        let glue = Value::from(glue.unwrap_or_else(|| ", ".to_owned()));
        Value::from_object(Joiner { glue, used: AtomicBool::new(false) })
    });
    environment.add_function("lipsum", |_: Rest<Value>| -> Result<Value, Error> {
        Err(invalid("lipsum writes other words each time, which a chat template cannot want"))
    });
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
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    let mut numbers = Vec::new();
    let mut next = start;
    for _ in 0..count {
        numbers.push(i64::try_from(next).map_or(Value::UNDEFINED, Value::from));
        next += step;
    }
    sequence(Kind::Range { start, stop, step }, numbers)
}

/// Whether a namespace may have this name; transformers keeps those of Python's own out.
pub(super) fn named(state: &State, name: &Value) -> Result<(), Error> {
    match name.as_str() {
        Some(name) if is_chat(state) && name.starts_with('_') => {
            Err(invalid(format!("transformers refuses a namespace the name {name:?}: it begins with _")))
        }
        _ => Ok(()),
    }
}

/// What `dict` is called with: a map or pairs, and named arguments.
fn entries(state: &State, values: &[Value]) -> Result<Vec<(Value, Value)>, Error> {
    let (given, other) = match values {
        [given, other @ ..] if is_chat(state) && !given.is_kwargs() => (given, other),
        _ => return pairs(values),
    };
    if other.iter().any(|value| !value.is_kwargs()) {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    if given.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let mut all = Vec::new();
    if given.kind() == ValueKind::Map {
        all = pairs(std::slice::from_ref(given))?;
    } else {
        for pair in items(given)? {
            match items(&pair)?.as_slice() {
                [name, value] => all.push((name.clone(), value.clone())),
                _ => return Err(invalid("a map is made of pairs")),
            }
        }
    }
    all.extend(pairs(other)?);
    Ok(all)
}

/// The entries of all maps among arguments, named arguments included.
pub(super) fn pairs(values: &[Value]) -> Result<Vec<(Value, Value)>, Error> {
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

/// What `cycler()` gives: one value after the other.
#[derive(Debug)]
struct Cycler {
    values: Vec<Value>,
    at: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        let at = self.at.load(Ordering::Relaxed) % self.values.len().max(1);
        self.values.get(at).cloned().unwrap_or_default()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        (key == "current").then(|| self.current())
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, name: &str, _: &[Value]) -> Result<Value, Error> {
        match name {
            "next" => {
                let value = self.current();
                self.at.fetch_add(1, Ordering::Relaxed);
                Ok(value)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// What `joiner()` gives: nothing at its first call, then what stands between.
#[derive(Debug)]
struct Joiner {
    glue: Value,
    used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        Ok(if self.used.swap(true, Ordering::Relaxed) { self.glue.clone() } else { Value::from("") })
    }
}
