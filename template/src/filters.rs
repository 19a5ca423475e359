//! Owns the list of filters and functions of templates, and the filters of one text, number or value. They are those of
//! Jinja2; a few of it are named here only to say that they are not here. Each pays for its work, and the size of its
//! result is found before it is made.

use minijinja::value::Rest;
use minijinja::{Environment, Error, ErrorKind, State, Value, filters as engine};

use super::Dialect;
use super::globals;
use super::growth::{allow, bytes};
use super::letters::{self, Ends};
use super::listing;
use super::meter;
use super::methods::{self, bind, needed, number_or};
use super::number::{invalid, kind_of, negative, real_of, whole, whole_of};
use super::operators::add_two;
use super::order::defined;
use super::percent;
use super::value::{List, keep, length, map};
use super::written::{escaped, like, print};

type Filter = fn(&State, &Value, &[Value]) -> Result<Value, Error>;

/// The filters of Jinja2.
const FILTERS: &[(&str, Filter)] = &[
    ("abs", abs),
    ("attr", attr),
    ("batch", listing::batch),
    ("capitalize", |_, value, rest| changed(value, rest, letters::capitalize)),
    ("center", center),
    ("count", listing::length),
    ("d", default),
    ("default", default),
    ("dictsort", listing::dictsort),
    ("e", escape),
    ("escape", escape),
    ("filesizeformat", not_here),
    ("first", listing::first),
    ("float", float),
    ("forceescape", force_escape),
    ("format", format),
    ("groupby", listing::group),
    ("indent", indent),
    ("int", int),
    ("items", listing::items_of),
    ("join", listing::joined),
    ("last", listing::last),
    ("length", listing::length),
    ("list", listing::list_of),
    ("lower", |_, value, rest| changed(value, rest, str::to_lowercase)),
    ("map", |state, value, rest| listing::map_each(state, value, rest, usize::MAX)),
    ("max", |state, value, rest| listing::extreme(state, value, rest, true)),
    ("min", |state, value, rest| listing::extreme(state, value, rest, false)),
    ("pprint", not_here),
    ("random", not_here),
    ("reject", |state, value, rest| listing::select(state, value, rest, (false, false), usize::MAX)),
    ("rejectattr", |state, value, rest| listing::select(state, value, rest, (true, false), usize::MAX)),
    ("replace", replace),
    ("reverse", listing::reverse),
    ("round", round),
    ("safe", safe),
    ("select", |state, value, rest| listing::select(state, value, rest, (false, true), usize::MAX)),
    ("selectattr", |state, value, rest| listing::select(state, value, rest, (true, true), usize::MAX)),
    ("slice", listing::slices),
    ("sort", listing::sort),
    ("string", |_, value, rest| {
        let [] = bind([], rest)?;
        soft(value)
    }),
    ("striptags", not_here),
    ("sum", listing::sum),
    // Made of parts: of a text that is marked as safe it is not.
    ("title", |_, value, rest| {
        changed(value, rest, letters::title_words).map(|title| Value::from(title.as_str().unwrap_or_default()))
    }),
    ("tojson", not_here),
    ("trim", trim),
    ("truncate", truncate),
    ("unique", listing::unique),
    ("upper", |_, value, rest| changed(value, rest, str::to_uppercase)),
    ("urlencode", not_here),
    ("urlize", not_here),
    ("wordcount", word_count),
    ("wordwrap", not_here),
    ("xmlattr", not_here),
];

/// The same for one item, by a name of its own: `first` takes no more from what Jinja2 makes item by item, and what comes
/// behind that item is never looked at.
const FOR_ONE: [(&str, &str, Filter); 5] = [
    ("map", "__one_map", |state, value, rest| listing::map_each(state, value, rest, 1)),
    ("reject", "__one_reject", |state, value, rest| listing::select(state, value, rest, (false, false), 1)),
    ("rejectattr", "__one_rejectattr", |state, value, rest| listing::select(state, value, rest, (true, false), 1)),
    ("select", "__one_select", |state, value, rest| listing::select(state, value, rest, (false, true), 1)),
    ("selectattr", "__one_selectattr", |state, value, rest| listing::select(state, value, rest, (true, true), 1)),
];

/// The name of a filter that is asked for one item.
pub(super) fn for_one(name: &str) -> Option<&'static str> {
    FOR_ONE.iter().find(|(plain, ..)| *plain == name).map(|(_, one, _)| *one)
}

/// Filters of the engine that prompts may use beside those of Jinja2.
fn of_prompts() -> Vec<(&'static str, Value)> {
    vec![
        ("bool", Value::from_function(engine::bool)),
        ("chain", Value::from_function(engine::chain)),
        ("lines", Value::from_function(engine::lines)),
        ("pprint", Value::from_function(engine::pprint)),
        ("split", Value::from_function(engine::split)),
        ("tojson", Value::from_function(engine::tojson)),
        ("zip", Value::from_function(engine::zip)),
    ]
}

/// Whether Jinja2 has a filter of this name.
pub(super) fn is_known(name: &str) -> bool {
    FILTERS.iter().any(|(known, _)| *known == name)
}

/// Gives the engine the filters and functions.
pub(super) fn add_to(environment: &mut Environment<'static>, dialect: Dialect) {
    let all = FILTERS.iter().map(|&(name, filter)| (name, name, filter));
    for (plain, name, filter) in all.chain(FOR_ONE) {
        environment.add_filter(name, move |state: &State, value: &Value, rest: Rest<Value>| {
            if !matches!(plain, "default" | "d") {
                defined(state, value)?;
            }
            pay(plain, value, &rest)?;
            keep(filter(state, value, &rest)?)
        });
    }
    if dialect == Dialect::Prompt {
        for (name, inner) in of_prompts() {
            environment.add_filter(name, move |state: &State, value: &Value, rest: Rest<Value>| {
                let values: Vec<Value> = std::iter::once(value.clone()).chain(rest.0).collect();
                meter::read(bytes(&values)?)?;
                meter::work(values.iter().filter(|value| value.as_object().is_some()).map(length).sum())?;
                allow(name, &values)?;
                keep(inner.call(state, &values)?)
            });
        }
    }
    globals::add_to(environment);
}

/// Pays for texts and arguments that are read, and has the size of the result allowed.
fn pay(name: &str, value: &Value, rest: &[Value]) -> Result<(), Error> {
    let values: Vec<Value> = std::iter::once(value).chain(rest).cloned().collect();
    meter::read(values.iter().filter_map(Value::as_str).map(|text| text.len() as u64).sum())?;
    allow(name, &values)
}

/// In place of filters that no chat template is known to use.
fn not_here(_: &State, _: &Value, _: &[Value]) -> Result<Value, Error> {
    Err(invalid("this filter of Jinja2 is not here"))
}

/// A value as a text, which stays marked as safe where it is.
fn soft(value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let mut text = String::new();
    print(value, &mut text)?;
    Ok(Value::from(text))
}

fn changed(value: &Value, rest: &[Value], change: impl Fn(&str) -> String) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    let text = soft(value)?;
    meter::room(3 * text.as_str().map_or(0, str::len) as u64)?;
    like(change(text.as_str().unwrap_or_default()), value)
}

fn default(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [default, boolean] = bind(["default_value", "boolean"], rest)?;
    let missing = value.is_undefined() || (boolean.is_some_and(|boolean| boolean.is_true()) && !value.is_true());
    Ok(if missing { default.unwrap_or_else(|| Value::from("")) } else { value.clone() })
}

fn abs(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    let is_negative = real_of(value).is_some_and(f64::is_sign_negative);
    match whole_of(value) {
        _ if is_negative => negative(value),
        Some(number) => Ok(whole(number)),
        None if real_of(value).is_some() => Ok(value.clone()),
        None => Err(invalid(format!("a value of the type {} has no size", kind_of(value)))),
    }
}

fn attr(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [name] = bind(["name"], rest)?;
    let name = needed(name)?;
    let name = name.as_str().ok_or_else(|| invalid("an attribute is named by a text"))?;
    if let Some(method) = methods::bound(value, name) {
        return Ok(method);
    }
    // Items of a list or map are no attributes.
    if value.downcast_object_ref::<List>().is_some() { Ok(Value::UNDEFINED) } else { value.get_attr(name) }
}

fn center(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [width] = bind(["width"], rest)?;
    let width = usize::try_from(number_or(width.as_ref(), 80)?.max(0)).unwrap_or(usize::MAX);
    let text = soft(value)?;
    like(letters::pad(text.as_str().unwrap_or_default(), width, ' ', "center"), value)
}

fn escape(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    escaped(value).map(Value::from_safe_string)
}

fn force_escape(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    escaped(&Value::from(soft(value)?.as_str().unwrap_or_default())).map(Value::from_safe_string)
}

fn safe(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    let mut text = String::new();
    print(value, &mut text)?;
    Ok(Value::from_safe_string(text))
}

fn trim(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [gone] = bind(["chars"], rest)?;
    let text = soft(value)?;
    let gone = gone.filter(|gone| !gone.is_none());
    let gone = gone.as_ref().map(|gone| gone.as_str().ok_or_else(|| invalid("what is trimmed must be a text")));
    like(letters::strip(text.as_str().unwrap_or_default(), gone.transpose()?, Ends::Both).to_owned(), value)
}

fn replace(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [old, new, count] = bind(["old", "new", "count"], rest)?;
    let (text, old, new) = (soft(value)?, soft(&needed(old)?)?, soft(&needed(new)?)?);
    let count = count.filter(|count| !count.is_none());
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    methods::replace(&part(&text), &part(&old), &part(&new), number_or(count.as_ref(), -1)?).map(Value::from)
}

fn indent(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [width, first, blank] = bind(["width", "first", "blank"], rest)?;
    let gap = match width.as_ref().and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => " ".repeat(usize::try_from(number_or(width.as_ref(), 4)?.max(0)).unwrap_or(0)),
    };
    let text = value.as_str().ok_or_else(|| invalid(format!("a value of the type {} has no lines", kind_of(value))))?;
    if width.is_some_and(|width| width.is_safe()) && !value.is_safe() {
        return Err(invalid("an indentation that is marked as safe is not here"));
    }
    let is_set = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (first, blank) = (is_set(first), is_set(blank));
    let ended = format!("{text}\n");
    let lines = letters::lines(&ended, false);
    meter::room((ended.len() as u64).saturating_add((gap.len() as u64).saturating_mul(lines.len() as u64)))?;
    let mut out = String::new();
    for (at, line) in lines.into_iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        if if at == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&gap);
        }
        out.push_str(line);
    }
    like(out, value)
}

fn truncate(state: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [length, killwords, end, leeway] = bind(["length", "killwords", "end", "leeway"], rest)?;
    let end = end.unwrap_or_else(|| Value::from("..."));
    let end_letters = end.as_str().map(|end| end.chars().count());
    let end_letters = end_letters.ok_or_else(|| invalid("the end of what is cut short must be a text"))?;
    let leeway = leeway.filter(|leeway| !leeway.is_none());
    let (most, leeway) = (number_or(length.as_ref(), 255)?, number_or(leeway.as_ref(), 5)?);
    let kept = most - end_letters as i128;
    if kept < 0 || leeway < 0 {
        return Err(invalid("a text cannot be cut shorter than its end"));
    }
    // A list may be short enough too.
    let length = listing::length(state, value, &[])?;
    if whole_of(&length).is_some_and(|length| length <= most.saturating_add(leeway)) {
        return Ok(value.clone());
    }
    let text = value.as_str().ok_or_else(|| invalid(format!("a {} cannot be cut short", kind_of(value))))?;
    let cut = text.char_indices().nth(usize::try_from(kept).unwrap_or(usize::MAX)).map_or(text.len(), |(at, _)| at);
    let head = match text[..cut].rsplit_once(' ') {
        Some((head, _)) if !killwords.is_some_and(|kill| kill.is_true()) => head,
        _ => &text[..cut],
    };
    // As a sum: what is marked as safe escapes its end.
    add_two(&like(head.to_owned(), value)?, &end)
}

fn word_count(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [] = bind([], rest)?;
    let text = soft(value)?;
    let words = text.as_str().unwrap_or_default().split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    Ok(Value::from(words.filter(|word| !word.is_empty()).count()))
}

fn format(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let (places, names) = match rest.split_last() {
        Some((last, before)) if last.is_kwargs() => (before, Some(map(globals::pairs(std::slice::from_ref(last))?)?)),
        _ => (rest, None),
    };
    percent::filter(&soft(value)?, places, names)
}

/// A text as a whole number, with `_` between digits, or as a float.
fn without_marks(text: &str) -> Option<String> {
    let text = letters::strip(text, None, Ends::Both);
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let placed =
        bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || digit(at.checked_sub(1)) && digit(Some(at + 1)));
    placed.then(|| text.replace('_', ""))
}

fn int(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [default, base] = bind(["default", "base"], rest)?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let base = u32::try_from(number_or(base.as_ref(), 10)?).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| invalid("a base is a number from 2 to 36"))?;
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let real = match value.as_str() {
        Some(text) => {
            let Some(text) = without_marks(text) else { return Ok(default) };
            let (sign, digits) = match text.strip_prefix('-') {
                Some(digits) => ("-", digits),
                None => ("", text.strip_prefix('+').unwrap_or(&text)),
            };
            let prefix = match base {
                2 => ["0b", "0B"],
                8 => ["0o", "0O"],
                16 => ["0x", "0X"],
                _ => ["", ""],
            };
            let digits = prefix.iter().find_map(|prefix| digits.strip_prefix(prefix)).unwrap_or(digits);
            if !digits.starts_with(['+', '-'])
                && let Ok(number) = i128::from_str_radix(&format!("{sign}{digits}"), base)
            {
                return Ok(whole(number));
            }
            if digits.len() > 38 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid("whole numbers of more than 128 bits are not here"));
            }
            text.parse::<f64>().ok().filter(|real| real.is_finite())
        }
        None => match (whole_of(value), real_of(value)) {
            (Some(number), _) => return Ok(whole(number)),
            (None, Some(real)) if real.is_infinite() => return Err(invalid("infinity is no whole number")),
            (None, real) => real.filter(|real| real.is_finite()),
        },
    };
    match real {
        None => Ok(default),
        Some(real) if real.abs() < 1e38 => Ok(whole(real.trunc() as i128)),
        Some(_) => Err(invalid("whole numbers of more than 128 bits are not here")),
    }
}

fn float(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [default] = bind(["default"], rest)?;
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let real = match value.as_str() {
        Some(text) => without_marks(text).and_then(|text| text.parse().ok()),
        None => real_of(value),
    };
    Ok(real.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from))
}

fn round(_: &State, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    let [precision, method] = bind(["precision", "method"], rest)?;
    let places = number_or(precision.as_ref(), 0)?;
    let method = method.unwrap_or_else(|| Value::from("common"));
    let Some(real) = real_of(value) else {
        return Err(invalid(format!("a value of the type {} cannot be rounded", kind_of(value))));
    };
    let tens = 10_f64.powi(i32::try_from(places.clamp(-400, 400)).unwrap_or(0));
    match (method.as_str(), whole_of(value)) {
        (Some("ceil"), _) => Ok(Value::from((real * tens).ceil() / tens)),
        (Some("floor"), _) => Ok(Value::from((real * tens).floor() / tens)),
        (Some("common"), Some(number)) if places >= 0 => Ok(whole(number)),
        (Some("common"), Some(number)) => {
            let unit = u32::try_from(places.unsigned_abs()).ok().and_then(|places| 10_i128.checked_pow(places));
            Ok(whole(unit.map_or(0, |unit| nearest(number, unit))))
        }
        (Some("common"), None) if !real.is_finite() => Ok(value.clone()),
        (Some("common"), None) if places >= 0 => {
            // Beyond these digits a float has none.
            let places = usize::try_from(places.min(330)).unwrap_or(0);
            Ok(Value::from(format!("{real:.places$}").parse::<f64>().unwrap_or(real)))
        }
        (Some("common"), None) if real.abs() < 1e37 => {
            // In halves, so that a fraction counts where a whole number would be in the middle.
            let halves = 2 * (real.abs().trunc() as i128) + i128::from(real.fract() != 0.0);
            let unit = u32::try_from(places.unsigned_abs())
                .ok()
                .and_then(|places| 10_i128.checked_pow(places)?.checked_mul(2));
            let rounded = unit.map_or(0, |unit| nearest(halves, unit) / 2);
            Ok(Value::from((rounded as f64).copysign(real)))
        }
        (Some("common"), None) => Err(invalid("rounding so large a float to tens is not here")),
        _ => Err(invalid("method must be common, ceil or floor")),
    }
}

/// The multiple of a unit that is nearest to a number; of two the even one.
fn nearest(number: i128, unit: i128) -> i128 {
    let (down, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
    let up = match rest.cmp(&(unit - rest)) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Greater => 1,
        std::cmp::Ordering::Equal => down.rem_euclid(2),
    };
    (down + up).saturating_mul(unit)
}
