//! Owns the methods of texts, lists and maps that the sandbox of Jinja2 allows, each with its work paid and the size of its
//! result found before. What would change a value is refused there and here. Knows no filter and no operator.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::braces;
use super::growth::{allow, bytes};
use super::letters::{self, Ends};
use super::meter;
use super::number::{invalid, kind_of, whole, whole_of};
use super::order::{equal, hashable};
use super::value::{Kind, List, Method, items, key_cost, length, list, sequence, weigh};
use super::written::{escaped, join, like};

/// The methods of texts.
const OF_TEXTS: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];
/// Those of Python's texts that are not here.
const NOT_HERE: &[&str] = &["encode", "format_map", "isidentifier", "maketrans", "translate"];
/// Of Python's numbers and ranges nothing is here.
const OF_NUMBERS: &[&str] = &[
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "conjugate",
    "denominator",
    "from_bytes",
    "fromhex",
    "hex",
    "imag",
    "is_integer",
    "numerator",
    "real",
    "to_bytes",
];
const OF_RANGES: &[&str] = &["start", "step", "stop"];
const OF_MAPS: &[&str] = &["copy", "get", "items", "keys", "values"];
const OF_LISTS: &[&str] = &["copy", "count", "index"];
const OF_TUPLES: &[&str] = &["count", "index"];
/// What the sandbox of Jinja2 refuses, because it changes the value.
const CHANGES_MAPS: &[&str] = &["clear", "pop", "popitem", "setdefault", "update"];
const CHANGES_LISTS: &[&str] = &["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];

/// Whether a value of some type has a method of this name, so that `value.name` is no item of a map.
pub(super) fn is_name(name: &str) -> bool {
    [OF_TEXTS, NOT_HERE, OF_NUMBERS, OF_RANGES, OF_MAPS, OF_LISTS, CHANGES_MAPS, CHANGES_LISTS]
        .iter()
        .any(|names| names.contains(&name))
}

fn names(value: &Value) -> (&'static [&'static str], &'static [&'static str]) {
    if value.as_str().is_some() {
        return (OF_TEXTS, &[]);
    }
    match value.downcast_object_ref::<List>().map(List::kind) {
        Some(Kind::Map) => (OF_MAPS, CHANGES_MAPS),
        Some(Kind::List) => (OF_LISTS, CHANGES_LISTS),
        Some(Kind::Tuple | Kind::Group | Kind::Range { .. }) => (OF_TUPLES, &[]),
        _ => (&[], &[]),
    }
}

/// A method that is not called; what is undefined where the sandbox does not give it, as there.
pub(super) fn bound(value: &Value, name: &str) -> Option<Value> {
    let (known, changing) = names(value);
    if changing.contains(&name) {
        return Some(Value::UNDEFINED);
    }
    known
        .contains(&name)
        .then(|| Value::from_object(Method { of: value.clone(), name: name.to_owned(), calling: call }))
}

/// Refuses what Python has under this name, and is not here.
pub(super) fn here(value: &Value, name: &str) -> Result<(), Error> {
    let is_range = || value.downcast_object_ref::<List>().is_some_and(|list| matches!(list.kind(), Kind::Range { .. }));
    let missing = (NOT_HERE.contains(&name) && value.as_str().is_some())
        || (OF_NUMBERS.contains(&name) && matches!(value.kind(), ValueKind::Number | ValueKind::Bool))
        || (OF_RANGES.contains(&name) && is_range());
    if missing { Err(invalid(format!("{name} of a value of the type {} is not here", kind_of(value)))) } else { Ok(()) }
}

/// Calls a method.
///
/// # Errors
/// For names that the value's type has not, arguments that do not fit, and what would change the value.
pub(super) fn call(_: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (known, changing) = names(value);
    if changing.contains(&name) {
        let what = format!(
            "access to attribute {name:?} of {:?} object is unsafe: templates cannot change values",
            kind_of(value)
        );
        return Err(invalid(what));
    }
    here(value, name)?;
    if !known.contains(&name) {
        return Err(Error::from(ErrorKind::UnknownMethod));
    }
    if !args.is_empty() {
        meter::read(bytes(args)?)?;
    }
    match value.as_str() {
        Some(text) => of_text(value, text, name, args),
        None => of_list(value, name, args),
    }
}

/// Arguments by place or by name, as Python binds them.
///
/// # Errors
/// For too many, for names that are not known and for what is given twice.
pub(super) fn bind<const N: usize>(names: [&str; N], values: &[Value]) -> Result<[Option<Value>; N], Error> {
    let (places, named): (&[Value], Kwargs) = from_args(values)?;
    if places.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut bound: [Option<Value>; N] = std::array::from_fn(|at| places.get(at).cloned());
    for (name, place) in names.iter().zip(&mut bound) {
        if named.has(name) {
            let value = named.get::<Value>(name)?;
            if place.replace(value).is_some() {
                return Err(invalid(format!("the argument {name} is given twice")));
            }
        }
    }
    named.assert_all_used()?;
    Ok(bound)
}

/// An argument that must be given.
pub(super) fn needed(value: Option<Value>) -> Result<Value, Error> {
    value.ok_or_else(|| Error::from(ErrorKind::MissingArgument))
}

/// A whole number, or what it is without one.
pub(super) fn number_or(value: Option<&Value>, default: i128) -> Result<i128, Error> {
    match value {
        None => Ok(default),
        Some(value) => whole_of(value)
            .ok_or_else(|| invalid(format!("a whole number is needed, and this is of the type {}", kind_of(value)))),
    }
}

fn of_list(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(own) = value.downcast_object_ref::<List>() else { return Err(Error::from(ErrorKind::UnknownMethod)) };
    meter::work(1 + if name == "get" { 0 } else { length(value) })?;
    match name {
        "get" => {
            let [key, default] = bind(["", "default"], args)?;
            let key = needed(key)?;
            hashable(&key)?;
            meter::work(key_cost(&key)?)?;
            let found = value.as_object().and_then(|map| map.get_value(&key));
            Ok(found.or(default).unwrap_or_else(|| Value::from(())))
        }
        "count" | "index" => {
            let [wanted, start, stop] = bind(["", "", ""], args)?;
            let wanted = needed(wanted)?;
            meter::read(weigh(value)?.bytes)?;
            let all = own.items();
            if name == "count" {
                return Ok(Value::from(all.iter().filter(|item| equal(item, &wanted)).count()));
            }
            let (start, stop) = ends(all.len(), start.as_ref(), stop.as_ref())?;
            let found = all.iter().enumerate().take(stop).skip(start).find(|(_, item)| equal(item, &wanted));
            found.map(|(at, _)| Value::from(at)).ok_or_else(|| invalid("the value is not in the list"))
        }
        _ => {
            let [] = bind([], args)?;
            match name {
                "keys" => sequence(Kind::Keys, items(value)?),
                "values" => sequence(Kind::Values, own.items().to_vec()),
                "items" => pairs(own, Kind::Items),
                _ => Ok(value.clone()),
            }
        }
    }
}

/// The pairs of a map.
pub(super) fn pairs(map: &List, kind: Kind) -> Result<Value, Error> {
    let pair = |(name, value): (&Value, &Value)| sequence(Kind::Tuple, vec![name.clone(), value.clone()]);
    sequence(kind, map.pairs().map(pair).collect::<Result<_, _>>()?)
}

/// Where a part of so many items begins and ends.
fn ends(length: usize, start: Option<&Value>, stop: Option<&Value>) -> Result<(usize, usize), Error> {
    let place = |value: Option<&Value>, none: usize| -> Result<usize, Error> {
        let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(none) };
        let at = number_or(Some(value), 0)?;
        let at = if at < 0 { at.saturating_add(length as i128).max(0) } else { at };
        Ok(usize::try_from(at).unwrap_or(usize::MAX))
    };
    Ok((place(start, 0)?, place(stop, length)?.min(length)))
}

/// A text that an argument must be.
fn text_of<'a>(value: Option<&'a Value>, what: &str) -> Result<&'a str, Error> {
    value.and_then(Value::as_str).ok_or_else(|| invalid(format!("{what} must be a text")))
}

fn of_text(value: &Value, text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    meter::read(text.len() as u64)?;
    let counted = if name == "join" { "str.join" } else { name };
    let all: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
    allow(counted, &all)?;
    let optional = |value: &Option<Value>| value.as_ref().filter(|value| !value.is_none()).cloned();
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [letters] = bind([""], args)?;
            let letters = optional(&letters);
            let letters = letters.as_ref().map(|letters| text_of(Some(letters), "what is stripped")).transpose()?;
            let side = match name {
                "strip" => Ends::Both,
                "lstrip" => Ends::Left,
                _ => Ends::Right,
            };
            like(letters::strip(text, letters, side).to_owned(), value)
        }
        "split" | "rsplit" => {
            let [separator, most] = bind(["sep", "maxsplit"], args)?;
            let most = usize::try_from(number_or(most.as_ref(), -1)?).ok();
            let separator = optional(&separator);
            let parts: Vec<&str> = match separator.as_ref() {
                None if name == "split" => letters::words(text, most),
                None => letters::words_from_end(text, most),
                Some(separator) => {
                    let separator = text_of(Some(separator), "a separator")?;
                    if separator.is_empty() {
                        return Err(invalid("a separator is not empty"));
                    }
                    let parts = most.map_or(usize::MAX, |most| most.saturating_add(1));
                    if name == "split" {
                        text.splitn(parts, separator).collect()
                    } else {
                        let mut found: Vec<&str> = text.rsplitn(parts, separator).collect();
                        found.reverse();
                        found
                    }
                }
            };
            texts(parts, value)
        }
        "splitlines" => {
            let [keep_ends] = bind(["keepends"], args)?;
            texts(letters::lines(text, keep_ends.is_some_and(|keep| keep.is_true())), value)
        }
        "partition" | "rpartition" => {
            let [separator] = bind([""], args)?;
            let separator = text_of(separator.as_ref(), "a separator")?;
            if separator.is_empty() {
                return Err(invalid("a separator is not empty"));
            }
            let parts = match name {
                "partition" => text.split_once(separator).map_or([text, "", ""], |(a, b)| [a, separator, b]),
                _ => text.rsplit_once(separator).map_or(["", "", text], |(a, b)| [a, separator, b]),
            };
            let parts = parts.iter().map(|part| like((*part).to_owned(), value));
            sequence(Kind::Tuple, parts.collect::<Result<_, _>>()?)
        }
        "startswith" | "endswith" => {
            let [affix, start, stop] = bind(["", "", ""], args)?;
            let affix = needed(affix)?;
            let Some(part) = part(text, start.as_ref(), stop.as_ref())? else { return Ok(Value::from(false)) };
            let holds = |affix: &Value| -> Result<bool, Error> {
                let affix = text_of(Some(affix), "what a text begins or ends with")?;
                Ok(if name == "startswith" { part.1.starts_with(affix) } else { part.1.ends_with(affix) })
            };
            match affix.downcast_object_ref::<List>().filter(|list| list.kind() == Kind::Tuple) {
                Some(any) => {
                    for affix in any.items() {
                        if holds(affix)? {
                            return Ok(Value::from(true));
                        }
                    }
                    Ok(Value::from(false))
                }
                None => holds(&affix).map(Value::from),
            }
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [wanted, start, stop] = bind(["", "", ""], args)?;
            let wanted = text_of(wanted.as_ref(), "what is looked for")?;
            let found = part(text, start.as_ref(), stop.as_ref())?;
            if name == "count" {
                let count = found.map_or(0, |(_, part)| match wanted {
                    "" => part.chars().count() + 1,
                    _ => part.matches(wanted).count(),
                });
                return Ok(Value::from(count));
            }
            let place = found.and_then(|(before, part)| {
                let at = if name.starts_with('r') { part.rfind(wanted) } else { part.find(wanted) }?;
                Some(before + part[..at].chars().count())
            });
            match place {
                Some(place) => Ok(Value::from(place)),
                None if name.ends_with("index") => Err(invalid("the text is not found")),
                None => Ok(whole(-1)),
            }
        }
        "replace" => {
            let [old, new, most] = bind(["", "", "count"], args)?;
            let old = text_of(old.as_ref(), "what is replaced")?;
            let new = new.ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
            text_of(Some(&new), "what comes in its place")?;
            let new = if value.is_safe() { escaped(&new)? } else { new.as_str().unwrap_or_default().to_owned() };
            like(replace(text, old, &new, number_or(most.as_ref(), -1)?)?, value)
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = bind([""], args)?;
            let affix = text_of(affix.as_ref(), "what is removed")?;
            let rest = if name == "removeprefix" { text.strip_prefix(affix) } else { text.strip_suffix(affix) };
            like(rest.unwrap_or(text).to_owned(), value)
        }
        "join" => {
            let [parts] = bind([""], args)?;
            let parts = items(&needed(parts)?)?;
            if let Some(part) = parts.iter().find(|part| part.as_str().is_none()).filter(|_| !value.is_safe()) {
                return Err(invalid(format!("join takes texts, and one is of the type {}", kind_of(part))));
            }
            if !value.is_safe() {
                return join(&list(parts)?, text);
            }
            let parts = parts.iter().map(|part| Ok(Value::from(escaped(part)?)));
            let joined = join(&list(parts.collect::<Result<_, Error>>()?)?, text)?;
            like(joined.as_str().unwrap_or_default().to_owned(), value)
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = bind(["", ""], args)?;
            let width = usize::try_from(number_or(Some(&needed(width)?), 0)?.max(0)).unwrap_or(usize::MAX);
            let fill = fill.as_ref().map_or(Ok(" "), |fill| text_of(Some(fill), "what fills"))?;
            let mut letters = fill.chars();
            match (letters.next(), letters.next()) {
                (Some(fill), None) => like(letters::pad(text, width, fill, name), value),
                _ => Err(invalid("what fills is one letter")),
            }
        }
        "zfill" | "expandtabs" => {
            let [width] = bind([if name == "zfill" { "" } else { "tabsize" }], args)?;
            let width = if name == "zfill" { Some(needed(width)?) } else { width };
            let width = usize::try_from(number_or(width.as_ref(), 8)?.max(0)).unwrap_or(usize::MAX);
            let made = if name == "zfill" { letters::zero_fill } else { letters::expand_tabs };
            like(made(text, width), value)
        }
        "format" => {
            if value.is_safe() {
                return Err(invalid("format of a text that is marked as safe is not here"));
            }
            match args.split_last() {
                Some((names, places)) if names.is_kwargs() => braces::format(text, places, names),
                _ => braces::format(text, args, &Value::UNDEFINED),
            }
        }
        _ => {
            let [] = bind([], args)?;
            if let Some(answer) = letters::is(text, name) {
                return Ok(Value::from(answer));
            }
            let changed = match name {
                "upper" => text.to_uppercase(),
                "capitalize" => letters::capitalize(text),
                "title" => letters::title(text),
                "swapcase" => letters::swap_case(text),
                "casefold" => text.to_lowercase().replace('ß', "ss"),
                _ => text.to_lowercase(),
            };
            like(changed, value)
        }
    }
}

/// Texts as a list.
fn texts(parts: Vec<&str>, like_this: &Value) -> Result<Value, Error> {
    list(parts.into_iter().map(|part| like(part.to_owned(), like_this)).collect::<Result<_, _>>()?)
}

/// The part of a text between two places, and how many letters stand before it; nothing where it begins behind its end.
fn part<'a>(text: &'a str, start: Option<&Value>, stop: Option<&Value>) -> Result<Option<(usize, &'a str)>, Error> {
    if start.is_none() && stop.is_none() {
        return Ok(Some((0, text)));
    }
    let length = text.chars().count();
    let (start, stop) = ends(length, start, stop)?;
    if start > stop {
        return Ok(None);
    }
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    Ok(Some((start, &text[byte(start)..byte(stop)])))
}

/// A text with some of its parts replaced, at most so many unless that is negative.
pub(super) fn replace(text: &str, old: &str, new: &str, most: i128) -> Result<String, Error> {
    let made = match usize::try_from(most) {
        Ok(most) => text.replacen(old, new, most),
        Err(_) => text.replace(old, new),
    };
    meter::room(made.len() as u64)?;
    Ok(made)
}

/// Whether a value can be called: macros, functions, methods and loops.
pub(super) fn is_callable(value: &Value) -> bool {
    value.is_undefined()
        || (value.as_object().is_some()
            && value.downcast_object_ref::<List>().is_none()
            && value.downcast_object_ref::<super::value::Space>().is_none()
            && value.kind() != ValueKind::Seq)
}
