//! Owns how large the result of a filter or method will be, found before it is made. Knows texts and numbers.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::meter;
use super::value::{length, weigh};

/// The widest field, precision or indentation.
const WIDEST: u64 = 9999;
/// What one item of a list takes.
const SLOT: u64 = 32;

/// Bytes of all values when they are written.
pub(super) fn bytes(values: &[Value]) -> Result<u64, Error> {
    values.iter().try_fold(0, |sum: u64, value| Ok(sum.saturating_add(weigh(value)?.bytes)))
}

/// Allows a filter or method of this name its result, or refuses it.
///
/// Names that stand for a filter and for a method of texts do the same in both forms.
pub(super) fn allow(name: &str, values: &[Value]) -> Result<(), Error> {
    let [value, rest @ ..] = values else { return Ok(()) };
    let all = bytes(values)?;
    let text = value.as_str().unwrap_or_default();
    let argument = |at: usize| rest.get(at).and_then(Value::as_str).unwrap_or_default();
    let result = match name {
        "replace" => {
            let (old, new) = (argument(0), weight(rest.get(1))?);
            // What is no text is written first, and its letters are not known here.
            let times = match value.as_str() {
                Some(text) if !old.is_empty() => text.matches(old).count() as u64,
                _ => all.saturating_mul(8).saturating_add(1),
            };
            all.saturating_add(times.saturating_mul(new))
        }
        "join" => all.saturating_add(length(value).saturating_mul(weight(rest.first())?)),
        "str.join" => all.saturating_add(rest.first().map_or(0, length).saturating_mul(text.len() as u64)),
        "indent" => {
            narrow(rest)?;
            all.saturating_add((lines(value, all) + 1).saturating_mul(largest_number(rest)))
        }
        "format" => format_bytes(text, rest, all)?,
        "batch" => length(value).saturating_mul(4 * SLOT).saturating_add(largest_number(rest).saturating_mul(SLOT)),
        "slice" => length(value).saturating_add(largest_number(rest)).saturating_mul(4 * SLOT),
        "split" | "rsplit" | "splitlines" | "lines" => {
            let parts = match rest.first().and_then(Value::as_str) {
                Some("") => all,
                Some(separator) => text.matches(separator).count() as u64,
                None => text.split_whitespace().count().max(text.lines().count()) as u64,
            };
            all.saturating_add((parts + 2).saturating_mul(SLOT))
        }
        "tojson" => {
            narrow(rest)?;
            all.saturating_mul(6 + 3 * largest_number(rest))
        }
        "escape" | "e" | "pprint" => all.saturating_mul(8),
        "strip" | "lstrip" | "rstrip" | "trim" => {
            // Each letter is looked for among all that are given.
            meter::read(text.len() as u64 * argument(0).len() as u64 / 4)?;
            all
        }
        "center" | "ljust" | "rjust" | "zfill" => {
            if largest_number(rest) > WIDEST {
                return Err(meter::refuse(&format!("it fills a text to more than {WIDEST} letters")));
            }
            all.saturating_add(largest_number(rest).saturating_mul(4))
        }
        "expandtabs" => {
            narrow(rest)?;
            let tabs = text.matches('\t').count() as u64;
            all.saturating_add(tabs.saturating_mul(largest_number(rest).max(8)))
        }
        "upper" | "lower" | "title" | "capitalize" | "swapcase" | "casefold" => all.saturating_mul(3),
        // What takes the letters of a text makes a value of each.
        _ if LISTS.contains(&name) => {
            values.iter().filter_map(Value::as_str).map(|text| text.len() as u64 * SLOT).sum()
        }
        _ => 0,
    };
    meter::room(result)
}

/// Filters that take the letters of a text for items.
const LISTS: [&str; 13] = [
    "list",
    "sort",
    "unique",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "map",
    "zip",
    "chain",
    "min",
    "max",
    "sum",
];

fn lines(value: &Value, bytes: u64) -> u64 {
    value.as_str().map_or(bytes, |text| text.matches(['\n', '\r']).count() as u64)
}

/// The largest whole number among arguments, also named ones.
fn largest_number(values: &[Value]) -> u64 {
    let own = |value: &Value| {
        let number = i128::try_from(value.clone()).ok().filter(|_| value.is_integer());
        number.map_or(0, |number| u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX))
    };
    let named = |value: &Value| match value.as_object() {
        Some(object) if value.kind() == ValueKind::Map => {
            object.try_iter_pairs().into_iter().flatten().map(|(_, value)| own(&value)).max().unwrap_or(0)
        }
        _ => 0,
    };
    values.iter().map(|value| own(value).max(named(value))).max().unwrap_or(0)
}

fn narrow(values: &[Value]) -> Result<(), Error> {
    if largest_number(values) > WIDEST {
        return Err(meter::refuse(&format!("it indents by more than {WIDEST} spaces")));
    }
    Ok(())
}

/// Fields of `%` and of `{}` with their widths and precisions, which are numbers between a sign that opens a field and
/// the letter that ends it.
fn format_bytes(format: &str, values: &[Value], all: u64) -> Result<u64, Error> {
    let (mut fields, mut widest, mut number) = (0_u64, 0_u64, 0_u64);
    let (mut open, mut curly, keyed) = (false, false, format.contains("%("));
    for byte in format.bytes() {
        match byte {
            b'0'..=b'9' if open => {
                number = number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                widest = widest.max(number);
                continue;
            }
            b'%' | b'{' => {
                fields += 1;
                open = true;
                curly |= byte == b'{';
            }
            b'}' => (open, curly) = (false, false),
            b'*' => widest = widest.max(largest_number(values)),
            b':' | b'<' | b'>' | b'^' | b'=' | b'.' | b',' | b'_' if curly => open = true,
            b')' if keyed => open = true,
            _ if byte.is_ascii_alphabetic() || !byte.is_ascii() => open = false,
            _ => {}
        }
        number = 0;
    }
    if widest > WIDEST {
        return Err(meter::refuse(&format!("it writes a field wider than {WIDEST}")));
    }
    let field = (8 * widest).saturating_add(700).saturating_add(all.saturating_mul(2));
    Ok(all.saturating_add(fields.saturating_mul(field)))
}

fn weight(value: Option<&Value>) -> Result<u64, Error> {
    value.map_or(Ok(0), |value| weigh(value).map(|size| size.bytes))
}
