//! Owns the tests of templates (`value is test`), as Jinja2 has them: what is none cannot be iterated, what is undefined
//! can, and a truth is a number. Knows values.

use minijinja::value::Rest;
use minijinja::{Environment, Error, State, Value};

use super::Dialect;
use super::filters;
use super::letters;
use super::meter;
use super::methods::is_callable;
use super::number::{invalid, kind_of, remainder, whole_of};
use super::order::{compare, equal};
use super::value::{Kind, List, is_loop};
use super::written::print;

type Check = fn(&Value) -> Result<bool, Error>;

/// Tests of one value.
const OF_ONE: &[(&str, Check)] = &[
    ("boolean", |value| Ok(truth(value).is_some())),
    ("callable", |value| Ok(is_callable(value))),
    ("defined", |value| Ok(!value.is_undefined())),
    ("escaped", |value| Ok(value.is_safe())),
    ("even", |value| Ok(equal(&remainder(value, &Value::from(2))?, &Value::from(0)))),
    ("false", |value| Ok(truth(value) == Some(false))),
    ("filter", |value| Ok(value.as_str().is_some_and(filters::is_known))),
    ("float", |value| Ok(value.is_number() && !value.is_integer())),
    ("integer", |value| Ok(value.is_integer())),
    ("iterable", |value| Ok(is_iterable(value))),
    ("lower", |value| cased(value, "islower")),
    ("mapping", |value| Ok(kind(value) == Some(Kind::Map))),
    ("none", |value| Ok(value.is_none())),
    ("number", |value| Ok(value.is_number() || truth(value).is_some())),
    ("odd", |value| Ok(equal(&remainder(value, &Value::from(2))?, &Value::from(1)))),
    ("sequence", |value| Ok(is_sequence(value))),
    ("string", |value| Ok(value.as_str().is_some())),
    ("test", |value| Ok(value.as_str().is_some_and(is_known))),
    ("true", |value| Ok(truth(value) == Some(true))),
    ("undefined", |value| Ok(value.is_undefined())),
    ("upper", |value| cased(value, "isupper")),
];

/// Tests that compare, with the signs of the operators.
const COMPARISONS: [(&str, char); 16] = [
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
];

/// Whether Jinja2 has a test of this name.
pub(super) fn is_known(name: &str) -> bool {
    matches!(name, "divisibleby" | "sameas")
        || OF_ONE.iter().any(|(known, _)| *known == name)
        || COMPARISONS.iter().any(|(known, _)| *known == name)
}

/// Gives the engine the tests.
pub(super) fn add_to(environment: &mut Environment<'static>, dialect: Dialect) {
    for &(name, check) in OF_ONE {
        environment.add_test(name, move |value: &Value| check(value));
    }
    for (name, sign) in COMPARISONS {
        environment.add_test(name, move |state: &State, left: &Value, right: &Value| compare(state, sign, left, right));
    }
    environment.add_test("divisibleby", |value: &Value, by: &Value| -> Result<bool, Error> {
        Ok(equal(&remainder(value, by)?, &Value::from(0)))
    });
    environment.add_test("sameas", |value: &Value, other: &Value| same(value, other));
    if dialect == Dialect::Prompt {
        for (name, inner) in [
            ("endingwith", Value::from_function(minijinja::tests::is_endingwith)),
            ("startingwith", Value::from_function(minijinja::tests::is_startingwith)),
        ] {
            environment.add_test(name, move |state: &State, value: &Value, rest: Rest<Value>| {
                let values: Vec<Value> = std::iter::once(value.clone()).chain(rest.0).collect();
                meter::read(super::growth::bytes(&values)?)?;
                inner.call(state, &values).map(|value| value.is_true())
            });
        }
    }
}

fn kind(value: &Value) -> Option<Kind> {
    value.downcast_object_ref::<List>().map(List::kind)
}

fn truth(value: &Value) -> Option<bool> {
    (value.kind() == minijinja::value::ValueKind::Bool).then(|| value.is_true())
}

/// Whether `iter(value)` works: for what is undefined too.
fn is_iterable(value: &Value) -> bool {
    value.is_undefined() || value.as_str().is_some() || kind(value).is_some() || is_loop(value)
}

/// Whether a value has a length and items by place or name: a map has, and what is undefined says that it has.
fn is_sequence(value: &Value) -> bool {
    let list = value.downcast_object_ref::<List>();
    value.is_undefined()
        || value.as_str().is_some()
        || list.is_some_and(|list| list.is_sequence() || list.kind() == Kind::Map)
}

/// `str(value).islower()` and `isupper()`.
fn cased(value: &Value, name: &str) -> Result<bool, Error> {
    let mut text = String::new();
    print(value, &mut text)?;
    meter::read(text.len() as u64)?;
    Ok(letters::is(&text, name).unwrap_or(false))
}

/// `value is other` of Python, where that does not hang on what it keeps in memory.
fn same(value: &Value, other: &Value) -> Result<bool, Error> {
    let small = |value: &Value| whole_of(value).is_some_and(|number| (-5..=256).contains(&number));
    match (value.downcast_object_ref::<List>(), other.downcast_object_ref::<List>()) {
        (Some(one), Some(other)) => return Ok(std::ptr::eq(one, other)),
        (None, None) => {}
        _ => return Ok(false),
    }
    if value.kind() != other.kind() || value.is_none() || truth(value).is_some() {
        return Ok(value.kind() == other.kind() && equal(value, other));
    }
    if value.is_integer() && other.is_integer() && (small(value) || small(other)) {
        return Ok(equal(value, other));
    }
    if value.as_object().is_some() {
        return Ok(equal(value, other));
    }
    Err(invalid(format!(
        "whether two values of the type {} are the same hangs on Python's memory, which is not here: compare with ==",
        kind_of(value)
    )))
}
