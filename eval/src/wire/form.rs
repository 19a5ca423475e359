//! How an arm wants its dialect spoken: which version of the API, which header holds the key, where a system message stands.
//! Knows nothing about any one provider: each dialect says what it does where nothing is asked for, and what it can do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Dialect, Headers};

/// What an arm asks of its dialect; what it leaves out is as the dialect does it by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The version of the API, as the provider spells it.
    pub api_version: Option<String>,
    /// The header of the key.
    pub key_header: Option<KeyHeader>,
    /// Where a system message stands.
    pub system_as: Option<SystemAs>,
}

/// The one header that holds a key. None stands in an address: proxies and servers write addresses down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHeader {
    /// Behind the word `Bearer`.
    Authorization,
    /// As Anthropic took it before 2026-10-21.
    XApiKey,
    /// As Azure takes it.
    ApiKey,
    /// As Google takes it.
    XGoogApiKey,
}

/// Where a system message stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SystemAs {
    /// In a field of its own beside the conversation.
    Field,
    /// In the conversation, under the role `system`.
    System,
    /// In the conversation, under the role `developer`.
    Developer,
    /// At the start of the first message of the user.
    User,
}

impl Form {
    /// What of it this dialect cannot do, and what to type; none if it can do everything.
    pub fn fault(&self, dialect: &dyn Dialect) -> Option<(String, String)> {
        if let Some(version) = self.api_version.as_deref().filter(|version| !is_version(version)) {
            // A version goes into headers and addresses, and what is shown of it onto a terminal.
            let shown: String = version.chars().take(40).collect();
            let hint = "letters, digits, `-`, `_` and `.`, such as api_version = \"2026-10-21\"";
            return Some((format!("api_version is {shown:?}"), hint.to_owned()));
        }
        let able = dialect.systems(self);
        let place = self.system_as.filter(|place| !able.contains(place))?;
        let able: Vec<&str> = able.iter().map(|place| place.name()).collect();
        let what = format!("{} has no place for a system message as \"{}\"", dialect.name(), place.name());
        Some((what, format!("write system_as = one of: {}", able.join(", "))))
    }

    /// The version that is asked for, if one is.
    pub fn version<'a>(&'a self, dialect: &dyn Dialect) -> Option<&'a str> {
        self.api_version.as_deref().or(dialect.api_version())
    }

    /// Where a system message stands.
    pub(super) fn system_place(&self, dialect: &dyn Dialect) -> SystemAs {
        self.system_as.or_else(|| dialect.systems(self).first().copied()).unwrap_or(SystemAs::User)
    }

    /// The headers that every dialect has; a key stands in exactly one of them.
    pub(super) fn headers(&self, own: KeyHeader, key: Option<&str>) -> Headers {
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(key.map(|key| self.key_header.unwrap_or(own).with(key)));
        headers
    }
}

impl KeyHeader {
    fn with(self, key: &str) -> (String, String) {
        let (name, value) = match self {
            Self::Authorization => ("authorization", format!("Bearer {key}")),
            Self::XApiKey => ("x-api-key", key.to_owned()),
            Self::ApiKey => ("api-key", key.to_owned()),
            Self::XGoogApiKey => ("x-goog-api-key", key.to_owned()),
        };
        (name.to_owned(), value)
    }
}

impl SystemAs {
    /// The word in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
        }
    }
}

fn is_version(text: &str) -> bool {
    text.len() <= 40
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::{ALL, Anthropic, Gemini, OpenAiChat};
    use super::*;

    fn with_version(version: &str) -> Form {
        Form { api_version: Some(version.to_owned()), ..Form::default() }
    }

    #[test]
    fn every_dialect_can_do_what_it_does_by_itself() {
        for dialect in ALL {
            assert_eq!(Form::default().fault(dialect), None, "{}", dialect.name());
            for place in dialect.systems(&Form::default()) {
                let form = Form { system_as: Some(*place), ..Form::default() };
                assert_eq!(form.fault(dialect), None, "{} {place:?}", dialect.name());
            }
        }
    }

    #[test]
    fn a_place_that_a_dialect_does_not_have_is_told_with_those_it_has() {
        let form = Form { system_as: Some(SystemAs::Developer), ..Form::default() };
        let (what, hint) = form.fault(&Gemini).unwrap();
        assert_eq!(what, "gemini has no place for a system message as \"developer\"");
        assert_eq!(hint, "write system_as = one of: field, user");
        let form = Form { system_as: Some(SystemAs::Field), ..Form::default() };
        assert!(form.fault(&OpenAiChat).is_some());
        // Only newer versions take the role inside the conversation.
        let form = Form { system_as: Some(SystemAs::System), ..with_version("2023-06-01") };
        assert!(form.fault(&Anthropic).unwrap().1.ends_with("field, user"));
    }

    #[test]
    fn a_version_that_could_change_an_address_or_a_header_is_refused() {
        for version in ["", "..", "1&key=2", "1\r\nx: y", "v1/../..", "é", &"1".repeat(41)] {
            assert!(with_version(version).fault(&Anthropic).unwrap().0.starts_with("api_version is "), "{version}");
        }
        for version in ["2023-06-01", "v1beta", "2024-10-21", "preview"] {
            assert_eq!(with_version(version).fault(&Anthropic), None);
        }
    }

    #[test]
    fn words_are_those_of_configs() {
        let word = |place: SystemAs| serde_json::to_value(place).unwrap();
        for place in [SystemAs::Field, SystemAs::System, SystemAs::Developer, SystemAs::User] {
            assert_eq!(word(place), place.name());
        }
        for header in [KeyHeader::Authorization, KeyHeader::XApiKey, KeyHeader::ApiKey, KeyHeader::XGoogApiKey] {
            assert_eq!(serde_json::to_value(header).unwrap(), header.with("k").0);
        }
    }
}
