//! Every way to change one place of a JSON text, and the hash that fits the changed text.
//! Knows nothing about what the places mean.

use serde_json::{Value, json};

use crate::json::layout;
use crate::proof::verify::LEVELS;

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) place: Vec<Step>,
    pub(crate) kind: Kind,
}

/// What happens at a place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Another value stands there.
    Set(Value),
    /// The key or the item is gone.
    Remove,
    /// The item stands there twice.
    Repeat,
    /// The item and the next have changed places.
    Swap,
}

impl Change {
    /// The place with a star for each index, so that what holds for one row is said once.
    pub(crate) fn pattern(&self) -> String {
        let step = |step: &Step| match step {
            Step::Key(key) => format!(".{key}"),
            Step::Index(_) => "[*]".to_owned(),
        };
        self.place.iter().map(step).collect::<String>().trim_start_matches('.').to_owned()
    }

    /// What happens, in a word.
    pub(crate) fn verb(&self) -> &'static str {
        match self.kind {
            Kind::Set(_) => "set",
            Kind::Remove => "remove",
            Kind::Repeat => "repeat",
            Kind::Swap => "swap",
        }
    }

    /// The value after the change.
    pub(crate) fn of(&self, whole: &Value) -> Value {
        let mut changed = whole.clone();
        let (last, above) = self.place.split_last().unwrap();
        let parent = above.iter().fold(&mut changed, |value, step| match step {
            Step::Key(key) => &mut value[key.as_str()],
            Step::Index(at) => &mut value[at],
        });
        match (last, &self.kind) {
            (Step::Key(key), Kind::Set(value)) => parent[key.as_str()] = value.clone(),
            (Step::Index(at), Kind::Set(value)) => parent[at] = value.clone(),
            (Step::Key(key), _) => drop(parent.as_object_mut().unwrap().shift_remove(key)),
            (Step::Index(at), Kind::Remove) => drop(parent.as_array_mut().unwrap().remove(*at)),
            (Step::Index(at), Kind::Repeat) => {
                let item = parent[at].clone();
                parent.as_array_mut().unwrap().insert(*at, item);
            }
            (Step::Index(at), Kind::Swap) => parent.as_array_mut().unwrap().swap(*at, at + 1),
        }
        changed
    }
}

/// Every change of one place.
pub(crate) fn all(whole: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    walk(whole, &mut Vec::new(), &mut found);
    found
}

fn walk(value: &Value, place: &mut Vec<Step>, found: &mut Vec<Change>) {
    let mut add = |kind: Kind, place: &[Step]| found.push(Change { place: place.to_vec(), kind });
    match value {
        Value::Object(map) => {
            for (key, part) in map {
                place.push(Step::Key(key.clone()));
                found.push(Change { place: place.clone(), kind: Kind::Remove });
                walk(part, place, found);
                place.pop();
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                place.push(Step::Index(at));
                found.push(Change { place: place.clone(), kind: Kind::Remove });
                found.push(Change { place: place.clone(), kind: Kind::Repeat });
                // Two equal neighbours can change places and nothing is changed.
                if items.get(at + 1).is_some_and(|next| next != item) {
                    found.push(Change { place: place.clone(), kind: Kind::Swap });
                }
                walk(item, place, found);
                place.pop();
            }
        }
        leaf => others(leaf).into_iter().filter(|other| other != leaf).for_each(|value| add(Kind::Set(value), place)),
    }
}

/// Other values of the same type, and one of another.
fn others(leaf: &Value) -> Vec<Value> {
    match leaf {
        Value::Null => vec![json!(0), json!(0.5), json!("x"), json!(true)],
        Value::Bool(value) => vec![json!(!value), Value::Null],
        Value::Number(number) => match (number.as_u64(), number.as_f64().unwrap()) {
            (Some(0), _) => vec![json!(1), json!(2), Value::Null],
            (Some(number), _) => vec![json!(number + 1), json!(number - 1), Value::Null],
            (None, number) => {
                let mut values = vec![json!(number + 0.25), json!(-number - 0.5), Value::Null];
                // A small step, yet larger than rounding.
                values.extend((number.abs() > 1e-12).then(|| json!(number * 1.000_001)));
                values
            }
        },
        Value::String(text) => {
            let mut values = vec![json!(format!("{text}x")), json!(""), Value::Null];
            // Another text of the same shape: another time, another hash, another number in words.
            let digit = text.rfind(|c: char| c.is_ascii_digit());
            values.extend(digit.map(|at| {
                let next = if &text[at..=at] == "0" { "1" } else { "0" };
                json!(format!("{}{next}{}", &text[..at], &text[at + 1..]))
            }));
            values
        }
        Value::Array(_) | Value::Object(_) => Vec::new(),
    }
}

/// Numbers and texts that no evaluation has, in place of one of the same type.
pub(crate) fn extremes(leaf: &Value) -> Vec<Value> {
    match leaf {
        Value::Number(number) if number.is_f64() => [0.0, -1.0, 1e308, -1e308, 5e-324, 1e18].map(Value::from).to_vec(),
        Value::Number(_) => [0, 1, u64::from(u32::MAX), 1 << 53, u64::MAX].map(Value::from).to_vec(),
        Value::String(_) => ["", "\u{0}", "[*", "row-1", "tuned", "=", "é"].map(Value::from).to_vec(),
        Value::Null => [json!(0), json!(u64::MAX), json!(1e308), json!(""), json!(true)].to_vec(),
        _ => Vec::new(),
    }
}

/// The text of a value as proofs are laid out, with the hash that stands in it.
pub(crate) fn text(value: &Value) -> String {
    layout::to_string(value, LEVELS).unwrap()
}

/// The text of a value with the hash that fits, as somebody who knows the format would write it.
pub(crate) fn fitted(value: &Value) -> String {
    let mut value = value.clone();
    if value["sha256"].is_string() {
        value["sha256"] = json!("");
        value["sha256"] = json!(datasets::digest::sha256_hex(text(&value).as_bytes()));
    }
    text(&value)
}

/// What stands at a place.
pub(crate) fn at<'a>(whole: &'a Value, place: &[Step]) -> &'a Value {
    place.iter().fold(whole, |value, step| match step {
        Step::Key(key) => &value[key.as_str()],
        Step::Index(at) => &value[at],
    })
}
