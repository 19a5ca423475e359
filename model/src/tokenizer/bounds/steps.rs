//! Owns how far the steps of a `tokenizer.json` (normalisation, cutting, decoding) multiply a text, and which of its
//! expressions may go over a text many times. Knows the steps; knows no vocabulary.

use base64::Engine as _;
use ground::read::size;
use serde_json::Value;

use super::Refused;

/// Most steps of a file.
const MOST_STEPS: usize = 256;
/// Bytes of all expressions, and how many copies of their parts they may become; the longest in use have some thousand bytes
/// and a count of three.
const MOST_EXPRESSION_BYTES: usize = 1 << 14;
const MOST_REPETITIONS: u64 = 1 << 12;
/// Bytes of the table that a `Precompiled` step brings; those in use have 0.3 MB.
const MOST_TABLE_BYTES: usize = 4 << 20;

/// Walks over the steps of a file. A step is known by its keys, as the library knows those without a type.
pub(super) struct Steps {
    count: usize,
    expression_bytes: usize,
    repetitions: u64,
    /// Whether an expression may go over a text many times.
    pub(super) backtracks: bool,
}

impl Default for Steps {
    fn default() -> Self {
        Steps { count: 0, expression_bytes: 0, repetitions: 1, backtracks: false }
    }
}

impl Steps {
    /// How many times longer a text may become by a step and those inside it.
    pub(super) fn growth(&mut self, step: &Value) -> Refused<u64> {
        let map = match step {
            Value::Array(list) => {
                return list.iter().try_fold(1_u64, |growth, step| Ok(growth.saturating_mul(self.growth(step)?)));
            }
            Value::Object(map) => map,
            _ => return Ok(1),
        };
        self.count += 1;
        if self.count > MOST_STEPS {
            return Err(format!("more than {MOST_STEPS} steps"));
        }
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let mut growth = match text("type") {
            // A byte becomes a letter of up to two bytes.
            Some("ByteLevel") => 2,
            Some("NFKC" | "NFKD" | "NFD") => 2,
            // Spaces go around some signs.
            Some("BertNormalizer" | "Bert") => 3,
            _ => 1,
        };
        if let Some(0) = map.get("length").and_then(Value::as_u64) {
            return Err("a step cuts a text into pieces of length 0".to_owned());
        }
        if let (Some(content), Some(pattern)) = (text("content"), map.get("pattern")) {
            let content = content.len() as u64;
            let replaced = pattern.get("String").and_then(Value::as_str).map_or(0, str::len) as u64;
            // An expression, and the empty text, match before every byte.
            let factor = if replaced == 0 { content.saturating_add(1) } else { content.div_ceil(replaced) };
            growth *= factor.max(1);
        }
        if let Some(expression) = map.get("pattern").and_then(|pattern| pattern.get("Regex")).and_then(Value::as_str) {
            self.expression_bytes += expression.len();
            self.repetitions = self.repetitions.saturating_mul(repetitions(expression));
            if self.expression_bytes > MOST_EXPRESSION_BYTES || self.repetitions > MOST_REPETITIONS {
                return Err("the expressions that cut a text are too large".to_owned());
            }
            self.backtracks |= may_backtrack(expression);
        }
        for key in ["prepend", "replacement"] {
            // Pieces between added tokens are normalised one by one, and each gets it.
            growth = growth.saturating_mul(text(key).map_or(1, |text| text.len() as u64 + 1));
        }
        if let Some(table) = text("precompiled_charsmap") {
            growth = growth.saturating_mul(longest_replacement(table)?);
        }
        for (_, inner) in map.iter().filter(|(key, _)| *key != "pattern") {
            growth = growth.saturating_mul(self.growth(inner)?);
        }
        Ok(growth)
    }
}

/// Whether an expression needs more than one pass over a text. What the plain engine compiles does not, nor does the last
/// part of the usual cuts: spaces up to the last one of a run.
pub(super) fn may_backtrack(expression: &str) -> bool {
    let plain = |expression: &str| regex::Regex::new(expression).is_ok();
    let without_end = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)"].iter().find_map(|end| expression.strip_suffix(end));
    !plain(expression) && !without_end.is_some_and(plain)
}

/// How many copies of a part of it an expression may become when it is compiled: the product of all its counts.
pub(super) fn repetitions(expression: &str) -> u64 {
    let counts = expression.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(count, _)| count);
    counts
        .filter_map(|count| count.split(',').filter_map(|number| number.trim().parse::<u64>().ok()).max())
        .fold(1, |product, count| product.saturating_mul(count.max(1)))
}

/// The longest text that a table of `Precompiled` puts in the place of a letter. The table says its own length first, which
/// the library believes.
fn longest_replacement(table: &str) -> Refused<u64> {
    let broken = || "precompiled_charsmap is broken".to_owned();
    if table.len() / 4 * 3 > MOST_TABLE_BYTES {
        return Err(format!("precompiled_charsmap has more than {}", size(MOST_TABLE_BYTES as u64)));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(table).map_err(|_| broken())?;
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(broken)?;
    let texts = rest.get(u32::from_le_bytes(*length) as usize / 4 * 4..).ok_or_else(broken)?;
    let longest = texts.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0);
    Ok((longest as u64).max(1))
}
