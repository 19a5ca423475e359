//! Results as JSON, for other programs and for later comparisons.
//! Knows nothing about where the text is kept; a version it does not know is refused and never guessed at.

use serde::Deserialize;
use serde_json::Value;

use super::Report;
use crate::Error;
use crate::Results;
use crate::json::layout;
use crate::results::known_version;

/// Levels that are spread over lines; below them, an answer to a row is one line.
const LEVELS: usize = 4;

/// Results with each row.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Report for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn file(&self) -> &'static str {
        "results.json"
    }

    fn render(&self, results: &Results) -> Result<String, Error> {
        layout::to_string(results, LEVELS)
    }
}

/// Reads what [`Json`] wrote, also in the version before this one.
///
/// # Errors
/// When the text is not JSON, has a field that is not ours, or has another version.
pub fn read(text: &str) -> Result<Results, Error> {
    /// The one field that is looked at before all others, so that the message is about the version.
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(default)]
        version: Value,
    }
    known_version(serde_json::from_str::<Versioned>(text)?.version.as_u64().unwrap_or_default())?;
    let results: Results = serde_json::from_str(text)?;
    results.check_version()?;
    Ok(results.upgraded())
}

/// The results without the single rows, to stand inside a larger summary.
///
/// # Errors
/// When the results cannot be written as JSON.
pub fn summary(results: &Results) -> Result<Value, Error> {
    let mut value = serde_json::to_value(results.without_rows())?;
    if let Some(results) = value.as_object_mut() {
        results.remove("rows");
    }
    if let Some(arms) = value.get_mut("arms").and_then(Value::as_array_mut) {
        for arm in arms.iter_mut().filter_map(Value::as_object_mut) {
            arm.remove("outcomes");
        }
    }
    Ok(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::report::tests::results;

    #[test]
    fn results_are_read_back_as_they_were_written() {
        let results = results();
        let again = read(&Json.render(&results).unwrap()).unwrap();
        assert_eq!(again.arms[1].outcomes, results.arms[1].outcomes);
        assert_eq!(again.comparisons.len(), results.comparisons.len());
        // The JSON reader may miss the last bit of a number.
        let (found, expect) = (again.arms[1].metrics["exact_match"], results.arms[1].metrics["exact_match"]);
        assert_eq!((found.n, found.groups, found.method), (expect.n, expect.groups, expect.method));
        assert!((found.low - expect.low).abs() < 1e-15 && (found.high - expect.high).abs() < 1e-15);
    }

    #[test]
    fn another_version_and_an_unknown_field_are_refused() {
        let text = Json.render(&results()).unwrap();
        let newer = text.replacen("\"version\": 3", "\"version\": 4", 1);
        assert!(matches!(read(&newer), Err(Error::UnknownVersion { found: 4, .. })));
        let odd = text.replacen("\"version\": 3", "\"version\": 3, \"surprise\": 0", 1);
        assert!(read(&odd).unwrap_err().to_string().contains("surprise"));
    }

    #[test]
    fn results_of_the_version_before_are_read_as_if_they_were_written_today() {
        let results = results();
        let labels = results.labels.clone().unwrap();
        let mut before = results.clone();
        before.version = 2;
        for arm in &mut before.arms {
            arm.confusion = arm.confusion.as_ref().map(|confusion| confusion.square(&labels));
        }
        let text = Json.render(&before).unwrap();
        assert!(text.contains("\"counts\"") && !text.contains("\"cells\""));
        let again = read(&text).unwrap();
        assert_eq!((again.version, &again.arms[1].confusion), (3, &results.arms[1].confusion));
        let mixed = text.replacen("\"version\": 2", "\"version\": 3", 1);
        assert!(read(&mixed).unwrap_err().to_string().contains("not written as in version 3"));
    }

    #[test]
    fn a_summary_keeps_the_numbers_and_leaves_the_rows_out() {
        let value = summary(&results()).unwrap();
        assert_eq!(value["version"], 3);
        assert_eq!(value["arms"][1]["metrics"]["exact_match"]["n"], 40);
        assert!(value["arms"][1].get("outcomes").is_none());
    }
}
