//! Owns how values become texts within the bounds of the meter: written as Python's `str` writes them, one after the
//! other, with others between them, or as markup. Knows no operator and no filter.

use minijinja::{Error, Value};

use super::meter;
use super::number::invalid;
use super::show;
use super::value::{List, Method, Space, is_loop, is_macro, items, keep, weigh};

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
    let mut out = meter::Bounded::new(text);
    write(value, &mut out).and_then(|result| out.done(result)).map(|_| ())
}

/// Pays for a value and writes it as Python's `str` does.
///
/// # Errors
/// For what Python would write with an address in memory.
pub(super) fn write(value: &Value, out: &mut meter::Bounded<'_>) -> Result<std::fmt::Result, Error> {
    let size = weigh(value)?;
    meter::work(size.bytes / 8)?;
    if size.is_once {
        return Err(invalid(
            "it writes a generator, whose text in Jinja2 is an address, which is not here: put `| list` or `| join` behind",
        ));
    }
    if let Some(method) = value.downcast_object_ref::<Method>() {
        return Err(invalid(format!(
            "it writes the method {}, whose text in Jinja2 is an address, which is not here: call it",
            method.name
        )));
    }
    let is_written = value.downcast_object_ref::<List>().is_some()
        || value.downcast_object_ref::<Space>().is_some()
        || is_macro(value)
        || is_loop(value);
    if value.as_object().is_some() && !is_written {
        return Err(invalid("it writes a function, whose text in Jinja2 is an address, which is not here: call it"));
    }
    Ok(show::text(value, out))
}

/// A text that is marked as safe where another one is.
pub(super) fn like(text: String, other: &Value) -> Result<Value, Error> {
    keep(if other.is_safe() { Value::from_safe_string(text) } else { Value::from(text) })
}

/// The text of a value as markup: what is not marked as safe has its signs escaped.
pub(super) fn escaped(value: &Value) -> Result<String, Error> {
    let mut plain = String::new();
    print(value, &mut plain)?;
    if value.is_safe() {
        return Ok(plain);
    }
    meter::room(5 * plain.len() as u64)?;
    let mut text = String::with_capacity(plain.len());
    for letter in plain.chars() {
        match letter {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '\'' => text.push_str("&#39;"),
            '"' => text.push_str("&#34;"),
            _ => text.push(letter),
        }
    }
    Ok(text)
}
