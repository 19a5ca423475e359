//! The descriptions of `configs/models/` as they were when the program was built, so that a shipped name means the same
//! wherever a config lies. Knows nothing about what they say.

/// Every shipped description, by name.
pub(super) const ALL: [(&str, &str); 4] = [
    ("llama-3.1-8b", include_str!("../../../configs/models/llama-3.1-8b.toml")),
    ("mistral-7b-v0.3", include_str!("../../../configs/models/mistral-7b-v0.3.toml")),
    ("qwen2.5-7b", include_str!("../../../configs/models/qwen2.5-7b.toml")),
    ("smollm2-135m-instruct", include_str!("../../../configs/models/smollm2-135m-instruct.toml")),
];

/// The description of this name.
pub(super) fn text(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_description_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/models");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().replace(".toml", ""))
            .collect();
        names.sort();
        assert_eq!(names, ALL.map(|(name, _)| name));
    }
}
