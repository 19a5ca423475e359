//! Owns secrets that were typed where none belongs: a key in place of the name of its variable, in an address, in a field
//! of a request. Says where and what to type, and never what stands there. What has the form of a key is refused in every
//! text of a config by `check`; knows nothing about other faults.

use toml::{Table, Value};

use crate::secret;

/// What to type where a key stands in a config.
pub(super) const HINT: &str = "write key_variable = \"OPENAI_API_KEY\" (the name of an environment variable that holds the key) and take the key \
                    out of this file; if it was ever shared, make it invalid";

/// The keys of an arm that hold a secret or may hold one, each with what is wrong.
pub(super) fn in_arm(arm: &Table) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (name, value) in arm {
        let (name, what) = match (name.as_str(), value) {
            ("key_variable", Value::String(variable)) => {
                let fits = ground::name::is_variable(variable) && !secret::looks_like(variable);
                let what = "is not the name of a variable: capital letters, digits and `_`";
                ("key_variable", (!fits).then(|| what.to_owned()))
            }
            ("url", Value::String(url)) => ("url", in_address(url)),
            ("extra", extra) => ("extra", in_fields(extra)),
            _ => continue,
        };
        found.extend(what.map(|what| (name, what)));
    }
    found
}

/// What of an address may be a secret: whatever is neither scheme, host, port nor path.
fn in_address(url: &str) -> Option<String> {
    if url.contains('@') {
        return Some("holds a user name or a password".to_owned());
    }
    if url.contains(['?', '#']) {
        return Some(
            "holds more than a host and a path: take out what follows `?` or `#`; a version goes into api_version"
                .to_owned(),
        );
    }
    None
}

/// Fields of a request, at any depth; tables are no deeper than the reader of TOML allows.
fn in_fields(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => secret::looks_like(text).then(|| "holds what looks like a key".to_owned()),
        Value::Array(list) => list.iter().find_map(in_fields),
        Value::Table(fields) => fields.iter().find_map(|(name, value)| {
            if secret::looks_like(name) {
                return Some("holds what looks like a key".to_owned());
            }
            if secret::is_named(name) {
                return Some(format!("holds a field `{name}`, beside which a key stands"));
            }
            in_fields(value)
        }),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&'static str, String)> {
        in_arm(&text.parse().unwrap())
    }

    #[test]
    fn a_key_in_the_wrong_place_is_found_and_not_repeated() {
        let key = "sk-live-NOTAKEY0123456789";
        for line in [
            format!("key_variable = \"{key}\""),
            "key_variable = \"NOTAKEY0123456789\"".to_owned(),
            "key_variable = \"openai key\"".to_owned(),
            format!("url = \"https://{key}@api.example.org\""),
            format!("url = \"https://team:{key}@api.example.org/v1\""),
            format!("url = \"https://api.example.org/v1?key={key}\""),
            "url = \"https://api.example.org/v1?api-version=1\"".to_owned(),
            format!("extra = {{ headers = {{ Authorization = \"{key}\" }} }}"),
            "extra = { api_key = \"hunter2\" }".to_owned(),
            format!("extra = {{ note = [\"x {key}\"] }}"),
            format!("extra = {{ \"{key}\" = 1 }}"),
        ] {
            let found = found(&line);
            assert_eq!(found.len(), 1, "{line}");
            let told = format!("{found:?}");
            assert!(!told.contains("NOTAKEY") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn what_people_write_is_no_secret() {
        let arm = "name = \"frontier\"\nprovider = \"openai\"\nmodel = \"gpt-5.2-mini-2026-01-31\"\n\
                   url = \"https://a1b2c3d4e5f6g7h8.eu.example.org:8443/openai/deployments/legal\"\n\
                   key_variable = \"TEAM_OPENAI_API_KEY_2026\"\nsystem = \"Name the type of the provision.\"\n\
                   [extra]\nservice_tier = \"flex\"\nprompt_cache_key = \"legal\"\nmax_completion_tokens = 9\n\
                   stop = [\"###\"]\nlogit_bias = { 50256 = -100 }\nthinking = { type = \"enabled\", budget_tokens = 1024 }\n\
                   user = \"550e8400-e29b-41d4-a716-446655440000\"";
        assert_eq!(found(arm), []);
    }
}
