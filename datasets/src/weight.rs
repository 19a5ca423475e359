//! Owns what a row says about what of it is learnt: `weight` 0 or 1 on the row and on its messages, as hosted fine-tuning
//! services read it. Knows nothing about which turns a run learns.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::error::Fault;
use crate::turn::kind;

/// What to do about any other weight. The loss is a sum over whole tokens, so a share of one cannot be honoured.
const HINT: &str = "`weight` is 1 for what is learnt and 0 for what is not: write one of them, repeat a row that counts more, \
                    or move a number of another meaning under `meta`";

/// Whether something is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It is not.
    Zero,
    /// It is.
    One,
}

/// The weights that a row states; what states none is learnt as the run says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights {
    /// Of the row.
    pub row: Option<Weight>,
    /// Of messages, by their place in the row.
    pub messages: BTreeMap<usize, Weight>,
}

impl Weight {
    /// Reads the value of the key; null states nothing.
    pub(crate) fn read(value: &Value) -> Result<Option<Weight>, Fault> {
        match value {
            Value::Null => Ok(None),
            Value::Number(number) if number.as_f64() == Some(0.0) => Ok(Some(Weight::Zero)),
            Value::Number(number) if number.as_f64() == Some(1.0) => Ok(Some(Weight::One)),
            Value::Number(number) => Err(Fault::new(format!("`weight` {number} is not supported"), HINT)),
            other => Err(Fault::new(format!("`weight` is {}", kind(other)), HINT)),
        }
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Weight::Zero => 0,
            Weight::One => 1,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn zero_and_one_are_read_however_they_are_written_and_anything_else_is_refused() {
        let read = |value: Value| Weight::read(&value);
        for (value, expected) in [
            (json!(0), Some(Weight::Zero)),
            (json!(0.0), Some(Weight::Zero)),
            (json!(-0.0), Some(Weight::Zero)),
            (json!(1), Some(Weight::One)),
            (json!(1.0), Some(Weight::One)),
            (json!(null), None),
        ] {
            assert_eq!(read(value).unwrap(), expected);
        }
        for (value, what) in [
            (json!(0.5), "`weight` 0.5 is not supported"),
            (json!(2), "`weight` 2 is not supported"),
            (json!(-1), "`weight` -1 is not supported"),
            (json!("0"), "`weight` is text"),
            (json!(false), "`weight` is true or false"),
            (json!([0]), "`weight` is a list"),
        ] {
            let fault = read(value).unwrap_err();
            assert_eq!(fault.what, what);
            assert!(fault.hint.contains("under `meta`"));
        }
    }
}
