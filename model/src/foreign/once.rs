//! Owns the refusal of JSON in which a key stands twice, at any depth: readers differ in which of the two they take, so
//! such a file says two things. Builds nothing of it and knows no format.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::quoted;

/// A value in which no object has a key twice.
pub(super) struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Once)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
        while access.next_element::<Once>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            access.next_value::<Once>()?;
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format_args!("key {} stands twice", quoted(&twice))));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_text_once;

    #[test]
    fn a_key_that_stands_twice_is_refused_by_name_wherever_it_stands() {
        for text in [r#"{"r":1,"r":1}"#, r#"{"a":[{"r":{},"r":null}]}"#, r#"{"a":{"b":{"r":1,"x":[],"\u0072":2}}}"#] {
            let said = parse_text_once(text.as_bytes()).err().unwrap_or_default();
            assert!(said.contains("key \"r\" stands twice") && said.contains("\nhint: "), "{text}: {said}");
        }
        for text in [r#"{"r":1,"a":{"r":[1,-2,2.5,18446744073709551616,true,null,"x"]},"R":2}"#, "[{},{}]", "3"] {
            let plain: Result<serde_json::Value, String> = super::super::parse_text(text.as_bytes());
            assert_eq!(parse_text_once(text.as_bytes()).ok(), plain.ok(), "{text}");
        }
    }
}
