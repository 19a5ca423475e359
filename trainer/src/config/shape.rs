//! Owns what a key takes, as the schema says it in words of its own: kinds of values, ranges, words, lists, tables.
//! Knows nothing about a value that was written; `check` does.

use serde_json::Value;

/// The most entries of a list whose key says nothing else.
const MOST_ENTRIES: usize = 10_000;

/// One key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The key.
    pub name: String,
    /// What it takes.
    pub shape: Shape,
    /// What it means: the doc comment, on one line.
    pub doc: String,
    /// What holds where it is left out.
    pub left_out: LeftOut,
}

/// What holds where a key is left out.
#[derive(Debug, Clone, PartialEq)]
pub enum LeftOut {
    /// Nothing: it must be there.
    Needed,
    /// This value.
    Is(Value),
    /// What these words say.
    Words(String),
    /// Nothing, and it may be so.
    Nothing,
}

/// What a key takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A text of so many letters at most, where the key bounds them.
    Text(Option<usize>),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Whole(Range),
    /// Any number.
    Number(Range),
    /// One of some words, each with what it means.
    Words(Vec<(String, String)>),
    /// So many of a kind at most.
    List {
        /// Of what.
        of: Box<Shape>,
        /// How many.
        most: usize,
    },
    /// Values of one kind under names of the user's own.
    Named {
        /// Of what.
        of: Box<Shape>,
        /// How many.
        most: usize,
    },
    /// A table with these keys and no others.
    Table(Vec<Field>),
    /// A table whose keys depend on the word of one of them.
    Tagged {
        /// The key with the word.
        tag: String,
        /// What each word means.
        kinds: Vec<Kind>,
    },
    /// One of these.
    Either(Vec<Shape>),
    /// Anything: fields of a request that its receiver names.
    Free,
}

/// What one word of a tagged table means.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// The word.
    pub word: String,
    /// What it means.
    pub doc: String,
    /// The other keys.
    pub fields: Vec<Field>,
}

/// Which numbers are allowed. No range holds what is not a number or has no end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Range {
    /// The smallest.
    pub least: Option<f64>,
    /// What is smaller than all.
    pub above: Option<f64>,
    /// The largest.
    pub most: Option<f64>,
    /// What is larger than all.
    pub below: Option<f64>,
}

impl Range {
    /// Whether it holds a number.
    #[must_use]
    pub fn contains(&self, number: f64) -> bool {
        number.is_finite()
            && self.least.is_none_or(|least| number >= least)
            && self.above.is_none_or(|above| number > above)
            && self.most.is_none_or(|most| number <= most)
            && self.below.is_none_or(|below| number < below)
    }

    /// Whether it holds a whole number. Limits are small enough to be exact.
    #[must_use]
    pub fn contains_whole(&self, number: i128) -> bool {
        self.contains(number as f64)
    }

    /// The range as a person reads it: `from 1 to 4096`, `above 0, at most 10`, `from 0 to below 1`.
    #[must_use]
    pub fn words(&self) -> String {
        match (self.above, self.least, self.below, self.most) {
            (None, Some(least), None, Some(most)) if least == most => digits(least),
            (None, Some(least), None, Some(most)) => format!("from {} to {}", digits(least), digits(most)),
            (None, Some(least), Some(below), _) => format!("from {} to below {}", digits(least), digits(below)),
            (None, Some(least), None, None) => format!("from {}", digits(least)),
            (Some(above), _, Some(below), _) => format!("above {}, below {}", digits(above), digits(below)),
            (Some(above), _, None, Some(most)) => format!("above {}, at most {}", digits(above), digits(most)),
            (Some(above), _, None, None) => format!("above {}", digits(above)),
            (None, None, Some(below), _) => format!("below {}", digits(below)),
            (None, None, None, Some(most)) => format!("at most {}", digits(most)),
            (None, None, None, None) => "any".to_owned(),
        }
    }
}

/// A limit without a fraction that is none, and in powers of ten where it would be long.
fn digits(number: f64) -> String {
    let plain = format!("{number}");
    if plain.len() > 10 { format!("{number:e}") } else { plain }
}

impl Shape {
    /// What a schema says. What is not understood is free, and a test holds that only one key is.
    #[must_use]
    pub(super) fn of(schema: &Value) -> Shape {
        for key in ["oneOf", "anyOf"] {
            if let Some(shapes) = schema.get(key).and_then(Value::as_array) {
                return Shape::of_choice(shapes);
            }
        }
        if let Some(word) = schema.get("const").and_then(Value::as_str) {
            return Shape::Words(vec![(word.to_owned(), doc(schema))]);
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words = words.iter().filter_map(Value::as_str);
            return Shape::Words(words.map(|word| (word.to_owned(), String::new())).collect());
        }
        let most = |key: &str| schema.get(key).and_then(Value::as_u64).map(|most| most as usize);
        match kind(schema) {
            Some("string") => Shape::Text(most("maxLength")),
            Some("boolean") => Shape::Flag,
            Some("integer") => Shape::Whole(range(schema)),
            Some("number") => Shape::Number(range(schema)),
            Some("array") => Shape::List {
                of: Box::new(schema.get("items").map_or(Shape::Free, Shape::of)),
                most: most("maxItems").unwrap_or(MOST_ENTRIES),
            },
            Some("object") => match (schema.get("properties"), schema.get("additionalProperties")) {
                (None, Some(of)) if of.is_object() => {
                    Shape::Named { of: Box::new(Shape::of(of)), most: most("maxProperties").unwrap_or(MOST_ENTRIES) }
                }
                (None, Some(Value::Bool(true))) => Shape::Free,
                _ => Shape::Table(fields(schema)),
            },
            _ => Shape::Free,
        }
    }

    /// One of several schemas: words, tables that a word tells apart, or kinds of values. Null only says that the key may
    /// be left out, which it may by being left out.
    fn of_choice(shapes: &[Value]) -> Shape {
        let shapes: Vec<&Value> = shapes.iter().filter(|schema| kind(schema) != Some("null")).collect();
        if let [only] = shapes[..] {
            return Shape::of(only);
        }
        if let Some(tag) = shapes.first().and_then(|schema| tag(schema)) {
            let kinds = shapes.iter().filter_map(|schema| {
                let word = schema.pointer(&format!("/properties/{tag}/const"))?.as_str()?.to_owned();
                let mut fields = fields(schema);
                fields.retain(|field| field.name != tag);
                Some(Kind { word, doc: doc(schema), fields })
            });
            return Shape::Tagged { tag: tag.to_owned(), kinds: kinds.collect() };
        }
        let shapes: Vec<Shape> = shapes.into_iter().map(Shape::of).collect();
        let words = shapes.iter().map(|shape| if let Shape::Words(words) = shape { Some(words.clone()) } else { None });
        match words.collect::<Option<Vec<_>>>() {
            Some(words) => Shape::Words(words.concat()),
            None => Shape::Either(shapes),
        }
    }

    /// The keys of a table or of the tables of a list, where they do not depend on a word.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match self {
            Shape::Table(fields) => fields,
            Shape::List { of, .. } => of.fields(),
            _ => &[],
        }
    }

    /// What to type for it, after "write".
    #[must_use]
    pub fn wanted(&self) -> String {
        match self {
            Shape::Text(None) => "a text in quotes".to_owned(),
            Shape::Text(Some(most)) => format!("a text in quotes, of at most {most} letters"),
            Shape::Flag => "true or false".to_owned(),
            Shape::Whole(range) => format!("a whole number {}", range.words()),
            Shape::Number(range) => format!("a number {}", range.words()),
            Shape::Words(words) => {
                format!("one of: {}", words.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(", "))
            }
            Shape::List { of, most } => match &**of {
                Shape::Text(_) => format!("a list of texts, such as [\"a\", \"b\"], at most {most}"),
                Shape::Number(range) => {
                    format!("a list of at most {most} numbers {}, such as [100, 200]", range.words())
                }
                _ => format!("tables, each under its own [[heading]], at most {most}"),
            },
            Shape::Named { .. } | Shape::Table(_) | Shape::Tagged { .. } | Shape::Free => "a table".to_owned(),
            Shape::Either(shapes) => shapes.iter().map(Shape::wanted).collect::<Vec<_>>().join(", or "),
        }
    }
}

/// The type of a schema, aside from null.
fn kind(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ => None,
    }
}

/// The key whose word tells a table from others.
fn tag(schema: &Value) -> Option<&str> {
    let properties = schema.get("properties")?.as_object()?;
    properties.iter().find(|(_, schema)| schema.get("const").is_some()).map(|(name, _)| name.as_str())
}

fn range(schema: &Value) -> Range {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let above = number("exclusiveMinimum");
    // What is above a limit needs no smallest number beside it, unless that is the higher one.
    let least = number("minimum").filter(|least| above.is_none_or(|above| *least > above));
    let below = number("exclusiveMaximum");
    let most = number("maximum").filter(|_| below.is_none());
    Range { least, above: above.filter(|_| least.is_none()), most, below }
}

fn fields(schema: &Value) -> Vec<Field> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let needed: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let field = |(name, schema): (&String, &Value)| Field {
        name: name.clone(),
        shape: Shape::of(schema),
        doc: doc(schema),
        left_out: match (schema.get("x-default"), schema.get("default")) {
            (Some(Value::String(words)), _) if words == "needed" => LeftOut::Needed,
            (Some(Value::String(words)), _) => LeftOut::Words(words.clone()),
            _ if needed.contains(&name.as_str()) => LeftOut::Needed,
            (_, Some(value)) if !value.is_null() => LeftOut::Is(value.clone()),
            _ => LeftOut::Nothing,
        },
    };
    properties.iter().map(field).collect()
}

fn doc(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_to(least: f64, most: f64) -> Range {
        Range { least: Some(least), most: Some(most), ..Range::default() }
    }

    #[test]
    fn a_range_holds_what_its_words_say_and_no_number_that_is_none() {
        let above = Range { above: Some(0.0), most: Some(10.0), ..Range::default() };
        let share = Range { least: Some(0.0), below: Some(1.0), ..Range::default() };
        assert_eq!(above.words(), "above 0, at most 10");
        assert_eq!(share.words(), "from 0 to below 1");
        assert_eq!(from_to(1.0, 4096.0).words(), "from 1 to 4096");
        assert_eq!(from_to(0.0, 1e12).words(), "from 0 to 1e12");
        assert!(above.contains(1e-30) && above.contains(10.0) && !above.contains(0.0) && !above.contains(10.1));
        assert!(share.contains(0.0) && !share.contains(1.0));
        for range in [above, share, Range::default()] {
            assert!(!range.contains(f64::NAN) && !range.contains(f64::INFINITY) && !range.contains(f64::NEG_INFINITY));
        }
        assert!(!from_to(1.0, 4096.0).contains_whole(i128::from(i64::MAX)));
    }

    #[test]
    fn schemas_become_shapes_without_null() {
        let of = |text: &str| serde_json::from_str(text).map(|schema: Value| Shape::of(&schema));
        let number = of(r#"{"type": ["number", "null"], "exclusiveMinimum": 0, "minimum": 0, "maximum": 2}"#);
        let range = Range { above: Some(0.0), most: Some(2.0), ..Range::default() };
        assert_eq!(number.ok(), Some(Shape::Number(range)));
        let words =
            r#"{"anyOf": [{"oneOf": [{"const": "a", "description": "one"}, {"const": "b"}]}, {"type": "null"}]}"#;
        let words = of(words).ok();
        assert_eq!(words, Some(Shape::Words(vec![("a".into(), "one".into()), ("b".into(), String::new())])));
        let either = of(r#"{"anyOf": [{"type": "boolean"}, {"type": "string"}]}"#).ok();
        assert_eq!(either, Some(Shape::Either(vec![Shape::Flag, Shape::Text(None)])));
    }
}
