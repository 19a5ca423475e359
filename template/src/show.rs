//! Owns how values are written: as Python's `str` and `repr` write them. Knows no filter and no bound; the writer that it
//! is given knows how much may come.

use std::fmt::{self, Write};

use minijinja::Value;

use super::value::{Kind, List, Space, is_loop, is_macro};

/// Writes a value as `str` does.
pub(super) fn text(value: &Value, out: &mut dyn Write) -> fmt::Result {
    match value.as_str() {
        Some(text) => out.write_str(text),
        None if value.is_undefined() => Ok(()),
        None => repr(value, out),
    }
}

/// Writes a value as `repr` does.
pub(super) fn repr(value: &Value, out: &mut dyn Write) -> fmt::Result {
    if let Some(text) = value.as_str() {
        return if value.is_safe() {
            out.write_str("Markup(")?;
            quoted(text, out)?;
            out.write_char(')')
        } else {
            quoted(text, out)
        };
    }
    if value.is_undefined() {
        return out.write_str("Undefined");
    }
    if value.is_number() && !value.is_integer() {
        return out.write_str(&float(f64::try_from(value.clone()).unwrap_or(f64::NAN)));
    }
    if let Some(list) = value.downcast_object_ref::<List>() {
        return sequence(list, out);
    }
    if let Some(space) = value.downcast_object_ref::<Space>() {
        out.write_str("<Namespace ")?;
        pairs(space.entries().iter().map(|(name, value)| (name, value)), out)?;
        return out.write_char('>');
    }
    let Some(object) = value.as_object() else { return write!(out, "{value}") };
    let part = |name: &str| object.get_value_by_str(name).unwrap_or_default();
    if is_macro(value) {
        out.write_str("<Macro ")?;
        repr(&part("name"), out)?;
        return out.write_char('>');
    }
    if is_loop(value) {
        return write!(out, "<LoopContext {}/{}>", part("index"), part("length"));
    }
    write!(out, "{value}")
}

fn sequence(list: &List, out: &mut dyn Write) -> fmt::Result {
    match list.kind() {
        Kind::Map => pairs(list.pairs(), out),
        Kind::List => items(list, "[", "]", out),
        Kind::Tuple | Kind::Group => items(list, "(", if list.items().len() == 1 { ",)" } else { ")" }, out),
        Kind::Range { start, stop, step: 1 } => write!(out, "range({start}, {stop})"),
        Kind::Range { start, stop, step } => write!(out, "range({start}, {stop}, {step})"),
        Kind::Keys => items(list, "dict_keys([", "])", out),
        Kind::Values => items(list, "dict_values([", "])", out),
        Kind::Items => items(list, "dict_items([", "])", out),
        Kind::Once => out.write_str("<generator object>"),
    }
}

fn items(list: &List, open: &str, close: &str, out: &mut dyn Write) -> fmt::Result {
    out.write_str(open)?;
    for (at, item) in list.items().iter().enumerate() {
        if at > 0 {
            out.write_str(", ")?;
        }
        repr(item, out)?;
    }
    out.write_str(close)
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>, out: &mut dyn Write) -> fmt::Result {
    out.write_char('{')?;
    for (at, (key, value)) in pairs.enumerate() {
        if at > 0 {
            out.write_str(", ")?;
        }
        repr(key, out)?;
        out.write_str(": ")?;
        repr(value, out)?;
    }
    out.write_char('}')
}

/// A text between quotes, with the escapes of Python.
fn quoted(text: &str, out: &mut dyn Write) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for letter in text.chars() {
        match letter {
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            _ if letter == quote => write!(out, "\\{letter}")?,
            _ if is_printable(letter) => out.write_char(letter)?,
            '\0'..='\u{ff}' => write!(out, "\\x{:02x}", u32::from(letter))?,
            '\0'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(letter))?,
            _ => write!(out, "\\U{:08x}", u32::from(letter))?,
        }
    }
    out.write_char(quote)
}

/// Whether Python calls a letter printable. The standard library has the same rule for what it escapes inside a text,
/// but for combining marks, which it escapes only at the start of one.
pub(super) fn is_printable(letter: char) -> bool {
    match letter {
        ' '..='~' => true,
        '\0'..='\u{7f}' => false,
        _ => {
            let mut pair = String::from("a");
            pair.push(letter);
            pair.escape_debug().count() == 2
        }
    }
}

/// A float as `repr` writes it: the shortest digits that are read back as the same number.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    // What Python 3.11 writes for the same numbers.
    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (number, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e20, "1.5e+20"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (1e100, "1e+100"),
            (123_456_789.125, "123456789.125"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(number), expected);
        }
    }

    #[test]
    fn letters_are_printable_where_python_says_so() {
        for letter in [' ', '~', 'é', '日', '\u{301}', '😀'] {
            assert!(is_printable(letter), "{letter:?}");
        }
        for letter in ['\0', '\u{7f}', '\u{85}', '\u{a0}', '\u{ad}', '\u{200b}', '\u{2028}', '\u{3000}', '\u{feff}'] {
            assert!(!is_printable(letter), "{letter:?}");
        }
    }
}
