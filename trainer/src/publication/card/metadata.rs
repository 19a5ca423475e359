//! The head of a card, by the names that the hub documents for model cards.
//! Knows what programs look for; a metric carries its interval in its name, for people, and in `args`, for programs.

use eval::Estimate;
use eval::results::MetricFacts;
use serde_json::{Map, Value, json};

use super::{Facts, three};
use crate::publication::licences::{UNKNOWN, hub_name};

/// The fields in the order in which they are written.
pub(super) fn of(facts: &Facts<'_>) -> Value {
    let mut head = Map::new();
    let mut put = |key: &str, value: Value| head.insert(key.to_owned(), value);
    put("base_model", json!(facts.base_on_hub()));
    put("base_model_relation", json!("adapter"));
    put("library_name", json!("peft"));
    put("pipeline_tag", json!("text-generation"));
    let licence = facts.base.licence.as_ref().map_or(UNKNOWN, |licence| licence.licence.as_str());
    match hub_name(licence) {
        Some(name) => _ = put("license", json!(name)),
        None => {
            put("license", json!("other"));
            // The hub takes names in lower case with dashes.
            let words = licence.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|word| !word.is_empty());
            put("license_name", json!(words.collect::<Vec<_>>().join("-").to_ascii_lowercase()));
            put("license_link", json!(format!("{}/{}", facts.hub, facts.base_on_hub())));
        }
    }
    if !facts.languages.is_empty() {
        put("language", json!(facts.languages));
    }
    if let Some(set) = &facts.data.hub {
        put("datasets", json!([set]));
    }
    put("tags", json!(["lora", "peft", "trainer"]));
    if let Some((results, arm)) = facts.found
        && let Some(arm) = results.arms.iter().find(|found| found.name == arm)
    {
        let metrics: Vec<&MetricFacts> =
            results.measured.metrics.iter().filter(|metric| arm.metrics.contains_key(&metric.named.name)).collect();
        put("metrics", json!(metrics.iter().map(|metric| metric.named.name.as_str()).collect::<Vec<_>>()));
        let metrics: Vec<Value> = metrics
            .iter()
            .filter_map(|facts| Some(metric(facts, arm.metrics.get(&facts.named.name)?, results.level)))
            .collect();
        let set = &results.provenance.set;
        let kind = set
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-");
        put(
            "model-index",
            json!([{
                "name": facts.name(),
                "results": [{
                    "task": { "type": "text-generation", "name": facts.task.unwrap_or("text generation") },
                    "dataset": {
                        "type": kind.to_ascii_lowercase(),
                        "name": set,
                        "split": "test",
                        "args": { "set_sha256": results.provenance.set_sha256 },
                    },
                    "metrics": metrics,
                }],
            }]),
        );
    }
    Value::Object(head)
}

fn metric(facts: &MetricFacts, estimate: &Estimate, level: f64) -> Value {
    let name = format!(
        "{} (interval {} to {} at level {level}, n = {})",
        facts.named.title,
        three(estimate.low),
        three(estimate.high),
        estimate.n
    );
    json!({
        "type": facts.named.name,
        "value": estimate.value,
        "name": name,
        "args": {
            "low": estimate.low,
            "high": estimate.high,
            "level": level,
            "n": estimate.n,
            "groups": estimate.groups,
            "method": estimate.method,
        },
    })
}
