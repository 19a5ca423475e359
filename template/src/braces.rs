//! Owns the fields of `format` as Python has them: `'{}: {:>5}'.format(name, number)`. Knows values and their texts.

use minijinja::{Error, Value};

use super::letters::pad;
use super::number::{invalid, kind_of, real_of, whole_of};
use super::percent::{ascii, exponent};
use super::show;
use super::value::{keep, list};
use super::written::print;

/// `text.format(*places, **names)`. Who calls has allowed the size of the result.
///
/// # Errors
/// Where values and fields do not fit.
pub(super) fn format(text: &str, places: &[Value], names: &Value) -> Result<Value, Error> {
    let (mut out, mut rest) = (String::new(), text);
    // Fields count themselves or say their number, all of them alike.
    let (mut counted, mut numbered) = (0, false);
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        let Some((field, after)) = rest.split_once('}').filter(|_| brace == "{") else {
            return Err(invalid("a brace of a text that is filled stands alone"));
        };
        rest = after;
        if field.contains('{') {
            return Err(invalid("a field inside another is not here"));
        }
        let (field, spec) = field.split_once(':').unwrap_or((field, ""));
        let (path, conversion) = field.split_once('!').map_or((field, None), |(path, name)| (path, Some(name)));
        if path.contains(['.', '[']) {
            return Err(invalid("a field that takes an attribute or item of a value is not here"));
        }
        let number = match path.parse::<usize>() {
            _ if path.is_empty() => {
                counted += 1;
                Some(counted - 1)
            }
            Ok(number) => {
                numbered = true;
                Some(number)
            }
            Err(_) => None,
        };
        if numbered && counted > 0 {
            return Err(invalid("fields that count themselves stand beside fields with a number"));
        }
        let found = match number {
            Some(number) => places.get(number).cloned(),
            None => names.as_object().and_then(|names| names.get_value_by_str(path)),
        };
        let value = found.ok_or_else(|| invalid(format!("there is no value for the field {{{field}}}")))?;
        out.push_str(&converted(&value, conversion, spec)?);
    }
    out.push_str(rest);
    keep(Value::from(out))
}

fn converted(value: &Value, conversion: Option<&str>, spec: &str) -> Result<String, Error> {
    let mut text = String::new();
    match conversion {
        Some("r" | "a") => {
            // Its size is that of the text of a list that holds it.
            print(&list(vec![value.clone()])?, &mut text)?;
            text = text[1..text.len() - 1].to_owned();
            if conversion == Some("a") {
                text = ascii(&text);
            }
        }
        Some("s") => print(value, &mut text)?,
        Some(other) => return Err(invalid(format!("a field has no conversion {other:?}"))),
        None if spec.is_empty() || value.as_str().is_some() => print(value, &mut text)?,
        None => return Spec::read(spec)?.number(value),
    }
    if spec.is_empty() { Ok(text) } else { Spec::read(spec)?.text(text) }
}

/// What stands behind the colon of a field.
struct Spec<'a> {
    fill: char,
    align: Option<char>,
    sign: Option<char>,
    prefixed: bool,
    zeros: bool,
    width: usize,
    group: Option<char>,
    precision: Option<usize>,
    letter: &'a str,
}

impl<'a> Spec<'a> {
    fn read(spec: &'a str) -> Result<Self, Error> {
        let is_align = |letter: &char| matches!(letter, '<' | '>' | '^' | '=');
        let mut letters = spec.chars();
        let (first, second) = (letters.next(), letters.next());
        let (fill, align, mut rest) = match (first, second.filter(is_align), first.filter(is_align)) {
            (Some(fill), Some(align), _) => (fill, Some(align), &spec[fill.len_utf8() + 1..]),
            (_, None, Some(align)) => (' ', Some(align), &spec[1..]),
            _ => (' ', None, spec),
        };
        let mut take = |letters: &[char]| -> Option<char> {
            let found = rest.chars().next().filter(|letter| letters.contains(letter))?;
            rest = &rest[1..];
            Some(found)
        };
        let sign = take(&['+', '-', ' ']);
        let prefixed = take(&['#']).is_some();
        let zeros = take(&['0']).is_some();
        let number = |rest: &mut &str| -> Option<usize> {
            let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
            let found = rest[..digits].parse().ok();
            *rest = &rest[digits..];
            found
        };
        let width = number(&mut rest).unwrap_or(0);
        let group = rest.chars().next().filter(|letter| matches!(letter, ',' | '_'));
        rest = &rest[group.map_or(0, char::len_utf8)..];
        let precision = match rest.strip_prefix('.') {
            Some(after) => {
                rest = after;
                Some(number(&mut rest).ok_or_else(|| invalid("a field has a dot and no precision"))?)
            }
            None => None,
        };
        let fill = if zeros && align.is_none() { '0' } else { fill };
        Ok(Self { fill, align, sign, prefixed, zeros, width, group, precision, letter: rest })
    }

    fn text(&self, text: String) -> Result<String, Error> {
        let number_only = self.sign.is_some() || self.prefixed || self.group.is_some() || self.align == Some('=');
        if number_only || !matches!(self.letter, "" | "s") {
            return Err(invalid("a field of a number is filled with a text"));
        }
        let end = self.precision.and_then(|most| text.char_indices().nth(most)).map_or(text.len(), |(end, _)| end);
        Ok(self.padded(&text[..end], '<'))
    }

    fn number(&self, value: &Value) -> Result<String, Error> {
        let unfit = || invalid(format!("the field {:?} takes no value of the type {}", self.letter, kind_of(value)));
        let whole = whole_of(value);
        let (negative, prefix, digits) = match (whole, self.letter) {
            (Some(whole), "" | "d" | "x" | "X" | "o" | "b") => {
                if self.precision.is_some() {
                    return Err(invalid("a field of a whole number has no precision"));
                }
                let size = whole.unsigned_abs();
                let (prefix, digits) = match self.letter {
                    "x" => ("0x", format!("{size:x}")),
                    "X" => ("0X", format!("{size:X}")),
                    "o" => ("0o", format!("{size:o}")),
                    "b" => ("0b", format!("{size:b}")),
                    _ => ("", size.to_string()),
                };
                (whole < 0, if self.prefixed { prefix } else { "" }, digits)
            }
            (_, "f" | "F" | "e" | "E" | "%") => {
                let real = real_of(value).ok_or_else(unfit)?;
                let (size, places) = (real.abs(), self.precision.unwrap_or(6));
                let digits = match self.letter {
                    "%" if size.is_finite() => format!("{:.places$}%", size * 100.0),
                    _ if !size.is_finite() => show::float(size),
                    "f" | "F" => format!("{size:.places$}"),
                    letter => exponent(&format!("{size:.places$e}"), if letter == "e" { 'e' } else { 'E' }),
                };
                (real.is_sign_negative() && !real.is_nan(), "", digits)
            }
            (None, "") if self.precision.is_none() && real_of(value).is_some() => {
                let real = real_of(value).unwrap_or_default();
                (real.is_sign_negative() && !real.is_nan(), "", show::float(real.abs()))
            }
            _ if real_of(value).is_some() => {
                return Err(invalid(format!("the field {:?} of a number is not here", self.letter)));
            }
            _ => return Err(unfit()),
        };
        let sign = match (negative, self.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            _ => "",
        };
        let digits = match self.group {
            Some(mark) if matches!(self.letter, "x" | "X" | "o" | "b") || (self.zeros && self.width > 0) => {
                return Err(invalid(format!("the mark {mark:?} in such a number is not here")));
            }
            Some(mark) => grouped(&digits, mark),
            None => digits,
        };
        let head = format!("{sign}{prefix}");
        if self.align == Some('=') || (self.zeros && self.align.is_none()) {
            let width = self.width.saturating_sub(head.chars().count());
            return Ok(head + &pad(&digits, width, self.fill, "rjust"));
        }
        Ok(self.padded(&(head + &digits), '>'))
    }

    fn padded(&self, text: &str, align: char) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        let left = match self.align.unwrap_or(align) {
            '<' => 0,
            '^' => missing / 2,
            _ => missing,
        };
        let fill = |count: usize| self.fill.to_string().repeat(count);
        fill(left) + text + &fill(missing - left)
    }
}

/// A mark before each three digits of the whole part.
fn grouped(digits: &str, mark: char) -> String {
    let whole = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    let mut out = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits[..whole].chars().enumerate() {
        if at > 0 && (whole - at) % 3 == 0 {
            out.push(mark);
        }
        out.push(digit);
    }
    out + &digits[whole..]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::value::map;

    // What Python 3.11 gives for the same arguments.
    #[test]
    fn fields_are_filled_as_python_fills_them() {
        let names = map(vec![(Value::from("a"), Value::from(2.5))]).unwrap();
        let filled = |text: &str, value: Value| format(text, &[value, Value::from("b")], &names);
        for (text, value, expected) in [
            ("{} {} {{}}", Value::from("x"), "x b {}"),
            ("{1}{0}{a}", Value::from(()), "bNone2.5"),
            ("{:>4}|{:^4}|", Value::from("x"), "   x| b  |"),
            ("{:*<4}|{!r:.2}|", Value::from(true), "1***|'b|"),
            ("{:05d}|{:05}", Value::from(-7), "-0007|b0000"),
            (
                "{0:+}|{0:,}|{0:#x}|{0:.1f}|{0:e}|{0:%}",
                Value::from(1234),
                "+1234|1,234|0x4d2|1234.0|1.234000e+03|123400.000000%",
            ),
            ("{0:8}|{0:.2f}|{0:<8}|{0:=+8}", Value::from(2.0), "     2.0|2.00|2.0     |+    2.0"),
        ] {
            assert_eq!(filled(text, value).unwrap(), Value::from(expected), "{text}");
        }
        for text in ["{", "}", "{} {} {}", "{0}{}", "{:d}{1:d}", "{c}", "{0:{1}}", "{0.x}", "{:g}", "{!z}"] {
            assert!(filled(text, Value::from(1)).is_err(), "{text}");
        }
        assert!(filled("{:5}", Value::from(())).is_err());
    }
}
