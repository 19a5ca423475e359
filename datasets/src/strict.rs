//! Owns JSON in which no key stands twice, at any depth: readers differ in which of the two they take.
//! Knows no shape of row; answers of models are read by it too.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How the message about a repeated key ends, without its place.
const TWICE: &str = " occurs twice";

/// Any value in which no object has a key twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Strict(pub Value);

/// An object in which no object, itself included, has a key twice.
#[derive(Debug, Clone, PartialEq)]
pub struct StrictObject(pub Map<String, Value>);

/// Whether a message of the parser, without its place, is about a key that stands twice.
pub(crate) fn is_about_a_repeated_key(message: &str) -> bool {
    message.starts_with("key ") && message.ends_with(TWICE)
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Strict)
    }
}

impl<'de> Deserialize<'de> for StrictObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneObject).map(StrictObject)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = access.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        OneObject.visit_map(access).map(Value::Object)
    }
}

struct OneObject;

impl<'de> Visitor<'de> for OneObject {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Map<String, Value>, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key {key:?}{TWICE}")));
            }
            let Strict(value) = access.next_value()?;
            object.insert(key, value);
        }
        Ok(object)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":{},"a":null}]}"#, r#"{"b":{"c":{"a":1,"x":[],"a":2}}}"#] {
            let error = serde_json::from_str::<StrictObject>(text).unwrap_err().to_string();
            let message = error.split(" at line ").next().unwrap();
            assert_eq!(message, "key \"a\" occurs twice", "{text}");
            assert!(is_about_a_repeated_key(message));
        }
        assert!(!is_about_a_repeated_key("invalid type: string \"key a occurs twice\", expected a JSON object"));
    }

    #[test]
    fn everything_else_is_read_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,2.5,18446744073709551615,true,null,"\u00e9",{"a":{"a":1}}],"b":{}}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_str::<Strict>(text).unwrap().0, value);
        assert_eq!(Value::Object(serde_json::from_str::<StrictObject>(text).unwrap().0), value);
        assert!(serde_json::from_str::<StrictObject>("[1]").is_err());
    }
}
