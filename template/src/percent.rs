//! Owns the fields of `%` as Python has them: `'%s: %03d' % (name, number)`. Knows values and their texts.

use minijinja::{Error, Value};

use super::growth::allow;
use super::number::{invalid, kind_of, real_of, whole_of};
use super::show;
use super::value::{Kind, List, keep, list};
use super::written::{escaped, print};

/// One field: what stands between `%` and its letter, and the letter.
struct Field<'a> {
    name: Option<&'a str>,
    flags: &'a str,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

/// `format % values`: a tuple fills the fields in their order, a map by their names, anything else is the one value.
///
/// # Errors
/// Where values and fields do not fit.
pub(super) fn percent(format: &Value, values: &Value) -> Result<Value, Error> {
    let kind = values.downcast_object_ref::<List>().map(List::kind);
    let given: Vec<Value> = match (kind, values.downcast_object_ref::<List>()) {
        (Some(Kind::Tuple | Kind::Group), Some(tuple)) => tuple.items().to_vec(),
        _ => vec![values.clone()],
    };
    let all: Vec<Value> = std::iter::once(format.clone()).chain(given.iter().cloned()).collect();
    allow("format", &all)?;
    let mut left = given.iter();
    let (mut out, mut rest) = (String::new(), format.as_str().unwrap_or_default());
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let (field, after) = read(after, &mut left)?;
        rest = after;
        if field.letter == '%' {
            out.push('%');
            continue;
        }
        let value = match field.name {
            Some(name) if kind == Some(Kind::Map) => {
                let found = values.as_object().and_then(|map| map.get_value_by_str(name));
                found.ok_or_else(|| invalid(format!("the map has no value for the field {name}")))?
            }
            Some(_) => return Err(invalid("a field with a name is filled from a map")),
            None => left.next().cloned().ok_or_else(|| invalid("a text has more fields than there are values"))?,
        };
        pad(&field, fill(&field, &value, format.is_safe())?, &mut out);
    }
    out.push_str(rest);
    // A map need not be used, nor a list, nor what is undefined: all can be asked for items.
    if left.next().is_some()
        && !values.is_undefined()
        && !matches!(kind, Some(Kind::Map | Kind::List | Kind::Range { .. }))
    {
        return Err(invalid("a text has fewer fields than there are values"));
    }
    keep(if format.is_safe() { Value::from_safe_string(out) } else { Value::from(out) })
}

/// The `format` filter: values by place or by name.
///
/// # Errors
/// As [`percent`].
pub(super) fn filter(format: &Value, places: &[Value], names: Option<Value>) -> Result<Value, Error> {
    match names {
        Some(_) if !places.is_empty() => Err(invalid("format takes values by place or by name, not both")),
        Some(names) => percent(format, &names),
        None => percent(format, &super::value::sequence(Kind::Tuple, places.to_vec())?),
    }
}

fn read<'a>(text: &'a str, values: &mut std::slice::Iter<'_, Value>) -> Result<(Field<'a>, &'a str), Error> {
    let mut rest = text;
    let mut name = None;
    if let Some(named) = rest.strip_prefix('(') {
        let (found, after) = named.split_once(')').ok_or_else(|| invalid("a field has no `)`"))?;
        name = Some(found);
        rest = after;
    }
    let unflagged = rest.trim_start_matches(['-', '+', ' ', '0', '#']);
    let flags = &rest[..rest.len() - unflagged.len()];
    rest = unflagged;
    let mut number = |rest: &mut &'a str| -> Result<Option<i128>, Error> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            let value = values.next().and_then(whole_of);
            return value.map(Some).ok_or_else(|| invalid("`*` of a field needs a whole number"));
        }
        let after = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let digits = &rest[..rest.len() - after.len()];
        *rest = after;
        // The bounds are checked before; what is no number here is none at all.
        Ok(digits.parse().ok())
    };
    let width = number(&mut rest)?.unwrap_or(0);
    let precision = match rest.strip_prefix('.') {
        Some(after) => {
            rest = after;
            Some(number(&mut rest)?.unwrap_or(0))
        }
        None => None,
    };
    rest = rest.trim_start_matches(['h', 'l', 'L']);
    let letter = rest.chars().next().ok_or_else(|| invalid("a text ends inside a field"))?;
    let flags = if width < 0 { "-" } else { flags };
    let field = Field {
        name,
        flags,
        width: usize::try_from(width.unsigned_abs()).unwrap_or(0),
        precision: precision.map(|precision| usize::try_from(precision).unwrap_or(0)),
        letter,
    };
    Ok((field, &rest[letter.len_utf8()..]))
}

/// A field's value without padding.
fn fill(field: &Field<'_>, value: &Value, safe: bool) -> Result<String, Error> {
    let fits = |found: Option<i128>| {
        found.ok_or_else(|| {
            invalid(format!("the field %{} takes no value of the type {}", field.letter, kind_of(value)))
        })
    };
    let signed = |negative: bool, digits: String| {
        let sign = match negative {
            true => "-",
            false if field.flags.contains('+') => "+",
            false if field.flags.contains(' ') => " ",
            false => "",
        };
        format!("{sign}{digits}")
    };
    let text = match field.letter {
        's' | 'r' | 'a' => {
            let mut text = String::new();
            match field.letter {
                's' if safe => text = escaped(value)?,
                's' => print(value, &mut text)?,
                // Its size is that of the text of a list that holds it.
                _ => print(&list(vec![value.clone()])?, &mut text)?,
            }
            if field.letter != 's' {
                text = text[1..text.len() - 1].to_owned();
            }
            if field.letter == 'a' {
                text = ascii(&text);
            }
            match field.precision.and_then(|most| text.char_indices().nth(most)) {
                Some((end, _)) => text[..end].to_owned(),
                None => text,
            }
        }
        'd' | 'i' | 'u' => {
            let whole = match (whole_of(value), real_of(value)) {
                (None, Some(real)) if real.is_finite() && real.abs() < 1e38 => Some(real.trunc() as i128),
                (whole, _) => whole,
            };
            let whole = fits(whole)?;
            signed(whole < 0, format!("{:0>1$}", whole.unsigned_abs(), field.precision.unwrap_or(1)))
        }
        'x' | 'X' | 'o' => {
            let whole = fits(whole_of(value))?;
            let digits = match field.letter {
                'x' => format!("{:x}", whole.unsigned_abs()),
                'X' => format!("{:X}", whole.unsigned_abs()),
                _ => format!("{:o}", whole.unsigned_abs()),
            };
            let prefix = if field.flags.contains('#') { format!("0{}", field.letter) } else { String::new() };
            signed(whole < 0, prefix + &format!("{digits:0>0$}", field.precision.unwrap_or(1)))
        }
        'f' | 'F' | 'e' | 'E' => {
            let Some(real) = real_of(value) else { return fits(None).map(|_| String::new()) };
            let places = field.precision.unwrap_or(6);
            let size = real.abs();
            let digits = match field.letter {
                _ if !size.is_finite() => show::float(size),
                'f' | 'F' => format!("{size:.places$}"),
                _ => exponent(&format!("{size:.places$e}"), field.letter),
            };
            signed(real.is_sign_negative() && !real.is_nan(), digits)
        }
        'c' => match value.as_str() {
            Some(text) if text.chars().count() == 1 => text.to_owned(),
            _ => {
                let code = u32::try_from(fits(whole_of(value))?).ok().and_then(char::from_u32);
                code.ok_or_else(|| invalid("%c takes a letter or its number"))?.to_string()
            }
        },
        letter => return Err(invalid(format!("the field %{letter} is not here"))),
    };
    Ok(text)
}

/// `1.5e3` as C writes it, with two digits behind the sign.
pub(super) fn exponent(text: &str, letter: char) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    format!("{digits}{letter}{}{:02}", if power < 0 { '-' } else { '+' }, power.unsigned_abs())
}

/// What is no ASCII as Python escapes it.
pub(super) fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match u32::from(letter) {
            0..0x80 => out.push(letter),
            code @ 0x80..0x100 => out.push_str(&format!("\\x{code:02x}")),
            code @ 0x100..0x1_0000 => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

fn pad(field: &Field<'_>, text: String, out: &mut String) {
    let missing = field.width.saturating_sub(text.chars().count());
    let is_number = !matches!(field.letter, 's' | 'r' | 'a' | 'c');
    if field.flags.contains('-') {
        out.push_str(&text);
        out.push_str(&" ".repeat(missing));
    } else if field.flags.contains('0') && is_number {
        let signs = text.len() - text.trim_start_matches(['-', '+', ' ']).len();
        let prefix = if text[signs..].starts_with("0x") || text[signs..].starts_with("0X") { signs + 2 } else { signs };
        out.push_str(&text[..prefix]);
        out.push_str(&"0".repeat(missing));
        out.push_str(&text[prefix..]);
    } else {
        out.push_str(&" ".repeat(missing));
        out.push_str(&text);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::value::sequence;

    // What Python 3.11 gives for the same operands.
    #[test]
    fn fields_are_filled_as_python_fills_them() {
        let tuple = |values: Vec<Value>| sequence(Kind::Tuple, values).unwrap();
        for (format, values, expected) in [
            ("%s|%5s|%-5s|%.2s", tuple(["a", "b", "c", "def"].map(Value::from).to_vec()), "a|    b|c    |de"),
            ("%d|%03d|%+d|% d|%-4d|", tuple([7, 7, 7, 7, 7].map(Value::from).to_vec()), "7|007|+7| 7|7   |"),
            ("%05d|%x|%#X|%o", tuple([-7, 255, 255, 8].map(Value::from).to_vec()), "-0007|ff|0XFF|10"),
            (
                "%.2f|%7.1f|%e|%d",
                tuple([1.005, -2.25, 12345.678, 3.99].map(Value::from).to_vec()),
                "1.00|   -2.2|1.234568e+04|3",
            ),
            ("%s%%", Value::from(5), "5%"),
            ("%*d|%c", tuple(vec![Value::from(4), Value::from(7), Value::from("x")]), "   7|x"),
            ("%r %s", tuple(vec![Value::from("it's"), Value::from(())]), "\"it's\" None"),
        ] {
            assert_eq!(percent(&Value::from(format), &values).unwrap(), Value::from(expected), "{format}");
        }
        assert!(percent(&Value::from("%s %s"), &Value::from(1)).is_err());
        assert!(percent(&Value::from("a"), &Value::from(1)).is_err());
        assert!(
            percent(&Value::from("%d"), &Value::from("a")).is_err()
                && percent(&Value::from("%"), &tuple(vec![])).is_err()
        );
    }
}
