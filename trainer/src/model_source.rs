//! What a base model is and where it comes from: one file under `configs/models/`.
//!
//! Owns the strict format of these files and finding them by name: in one folder, else as they were compiled in. Knows
//! nothing about weights or about pulling.

mod compiled;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ground::read::Kind;
use ground::terminal::shown_in_line;
use serde::Deserialize;

use crate::pull::source::{RawSource, SOURCE_KEYS, Source};

const VERSION: i64 = 1;
/// Sources of one model.
const MOST_SOURCES: usize = 50;
/// Unknown keys that one error lists, and the longest that is held against the known ones.
const MOST_PROBLEMS: usize = 20;
const LONGEST_KEY: usize = 64;
const KEYS: &[&str] = &["version", "name", "licence", "attribution", "sources", "shape"];
/// Keys of `[shape]`: those of a Hugging Face `config.json` that describe a decoder.
const SHAPE_KEYS: &[&str] = &[
    "architectures",
    "attention_bias",
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "tie_word_embeddings",
    "torch_dtype",
    "use_sliding_window",
    "vocab_size",
];
const ROPE_SCALING_KEYS: &[&str] = &[
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "factor",
    "high_freq_factor",
    "low_freq_factor",
    "original_max_position_embeddings",
    "rope_type",
];

/// A base model: its licence, its sources in the order they are tried, and its shape.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// Name shown to users.
    pub name: String,
    /// SPDX name, or the name of the terms.
    pub licence: String,
    /// Text that must go along with everything derived from it.
    pub attribution: String,
    /// Where to pull it from; the first that answers wins.
    pub sources: Vec<Source>,
    /// The same keys as in its `config.json`, so that a plan needs no weights.
    pub shape: Option<serde_json::Value>,
    /// The file this was read from.
    pub file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "version")]
    _version: i64,
    name: String,
    licence: String,
    attribution: String,
    sources: Vec<RawSource>,
    shape: Option<serde_json::Value>,
}

impl ModelSource {
    /// Reads one file; reports all misspelt keys at once.
    pub fn load(file: &Path) -> Result<Self> {
        let text =
            ground::read::text(file, Kind::Manifest).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text, file)
    }

    /// The model of this name under `configs_root/models/`, else the shipped one; `None` when nothing has that name.
    pub fn find(name: &str, configs_root: &Path) -> Result<Option<Self>> {
        if name.is_empty() || name.contains(['/', '\\']) {
            return Ok(None);
        }
        let file = configs_root.join("models").join(format!("{name}.toml"));
        if file.is_file() {
            return Self::load(&file).map(Some);
        }
        let shipped = Path::new("configs/models").join(format!("{name}.toml"));
        compiled::text(name).map(|text| Self::parse(text, &shipped)).transpose()
    }

    /// What to tell of a name that a file under `configs_root/models/` describes, unless it is the shipped description: a
    /// person must see whose word it is that a model comes from somewhere.
    #[must_use]
    pub fn told(name: &str, configs_root: &Path) -> Option<String> {
        let file = configs_root.join("models").join(format!("{name}.toml"));
        let found = ground::read::text(&file, Kind::Manifest).ok().filter(|_| !name.contains(['/', '\\']))?;
        (compiled::text(name) != Some(found.as_str())).then(|| format!("model {name} is what {} says", file.display()))
    }

    /// All names under `configs_root/models/` and those that are compiled in, sorted.
    #[must_use]
    pub fn names(configs_root: &Path) -> Vec<String> {
        let entries = fs::read_dir(configs_root.join("models")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok()?.strip_suffix(".toml").map(str::to_owned))
            .chain(compiled::ALL.iter().map(|(name, _)| (*name).to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn parse(text: &str, file: &Path) -> Result<Self> {
        let shown = file.display();
        datasets::nesting::check(text).map_err(|what| anyhow::anyhow!("{shown}: {what}"))?;
        let table: toml::Table = toml::from_str(text).map_err(cut).with_context(|| format!("{shown} is not TOML"))?;
        match table.get("version").and_then(toml::Value::as_integer) {
            Some(VERSION) => {}
            Some(other) => bail!("{shown}: version {other} is unknown, this program reads version {VERSION}"),
            None => bail!("{shown}: `version` is missing\nhint: version = {VERSION}"),
        }
        let problems = unknown_keys(&table);
        if !problems.is_empty() {
            bail!("{shown}: {}", problems.join(&format!("\n{shown}: ")));
        }
        let raw: Raw =
            toml::from_str(text).map_err(cut).with_context(|| format!("{shown} does not describe a model"))?;
        if raw.sources.is_empty() {
            bail!("{shown}: `sources` is empty, so the model can come from nowhere\nhint: add a [[sources]] table");
        }
        if raw.sources.len() > MOST_SOURCES {
            bail!("{shown}: {} sources, and a model may have {MOST_SOURCES}", raw.sources.len());
        }
        let base = file.parent().unwrap_or(Path::new("."));
        let sources = raw
            .sources
            .into_iter()
            .enumerate()
            .map(|(at, source)| {
                let place =
                    || format!("{shown}: source {}\nhint: compare it with the sources of the files beside it", at + 1);
                Source::from_raw(source, base).with_context(place)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            name: raw.name,
            licence: raw.licence,
            attribution: raw.attribution,
            sources,
            shape: raw.shape,
            file: file.to_owned(),
        })
    }
}

/// The parser repeats the line it stopped at, which may be all of the file.
fn cut(error: toml::de::Error) -> anyhow::Error {
    let text = error.to_string();
    let lines = text.trim_end().lines().take(12).map(|line| line.chars().take(300).collect::<String>());
    let lines = lines.collect::<Vec<_>>().join("\n");
    anyhow::anyhow!("{lines}\nhint: compare the keys with those of the files beside it")
}

/// The candidate closest to a misspelt name, if one is close enough to be meant.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn unknown_keys(table: &toml::Table) -> Vec<String> {
    let mut problems = Vec::new();
    let mut more = 0;
    let mut check = |place: &str, table: &toml::Table, known: &[&str]| {
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            if problems.len() == MOST_PROBLEMS {
                more += 1;
                continue;
            }
            // Likeness takes time with the product of the lengths.
            let near = if key.len() > LONGEST_KEY { None } else { nearest(key, known.iter().copied()) };
            let key = shown_in_line(&key.chars().take(LONGEST_KEY).collect::<String>()).into_owned();
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            problems.push(format!("unknown key `{place}{key}`\nhint: {hint}"));
        }
    };
    check("", table, KEYS);
    for (at, source) in table.get("sources").and_then(toml::Value::as_array).into_iter().flatten().enumerate() {
        if let Some(source) = source.as_table() {
            check(&format!("sources[{at}]."), source, SOURCE_KEYS);
        }
    }
    if let Some(shape) = table.get("shape").and_then(toml::Value::as_table) {
        check("shape.", shape, SHAPE_KEYS);
        if let Some(scaling) = shape.get("rope_scaling").and_then(toml::Value::as_table) {
            check("shape.rope_scaling.", scaling, ROPE_SCALING_KEYS);
        }
    }
    if more > 0 {
        problems.push(format!("and {more} more unknown keys"));
    }
    problems
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
version = 1
name = "tiny"
licence = "MIT"
attribution = "nobody"
[[sources]]
kind = "hub"
repo = "owner/name"
[shape]
hidden_size = 8
"#;

    fn parse(text: &str) -> Result<ModelSource> {
        ModelSource::parse(text, Path::new("configs/models/tiny.toml"))
    }

    fn refusal(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn a_full_file_is_read() {
        let model = parse(GOOD).unwrap();
        assert_eq!(model.sources, [Source::Hub { repo: "owner/name".into(), revision: None, files: Vec::new() }]);
        assert_eq!(model.shape.unwrap()["hidden_size"], 8);
    }

    #[test]
    fn every_misspelt_key_is_named_with_the_nearest_right_one() {
        let text = GOOD.replace("licence", "license").replace("repo =", "rep =").replace("hidden_size", "hiden_size");
        let error = refusal(&text);
        for expected in [
            "configs/models/tiny.toml: unknown key `license`\nhint: did you mean `licence`?",
            "unknown key `sources[0].rep`\nhint: did you mean `repo`?",
            "unknown key `shape.hiden_size`\nhint: did you mean `hidden_size`?",
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn broken_bytes_are_a_model_or_an_error_of_some_words() {
        let many: String = (0..100_000).map(|at| format!("x{at} = 1\n")).collect();
        let long = format!("{}\n{}", "k".repeat(1 << 20), GOOD);
        for text in [format!("{many}{GOOD}"), long, GOOD.replace("owner/name", &"o".repeat(1 << 20))] {
            let error = refusal(&text);
            assert!(error.len() < 10_000, "{}", error.len());
        }
        let words: [&[u8]; 6] = [b"[[sources]]", b"kind = \"wheel\"", b"..", b"\\n", b"[[[[[[", b"a.a.a.a"];
        ground::mutate::rounds(|round| {
            let bytes = ground::mutate::mutated(GOOD.as_bytes(), &words, round);
            if let Ok(model) = parse(&String::from_utf8_lossy(&bytes)) {
                for source in &model.sources {
                    let Source::Hub { repo, revision, files } = source else { continue };
                    assert!(crate::hub::is_repository(repo) && files.iter().all(|file| !file.contains('/')));
                    assert!(revision.as_deref().is_none_or(ground::name::is_revision));
                }
            }
        });
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let error = refusal(&GOOD.replace("repo = \"owner/name\"", "repo = \"owner/name\"\npath = \"x\""));
        assert!(error.contains("unknown field `path`"), "{error}");
    }

    #[test]
    fn an_unknown_version_kind_or_repository_form_is_refused() {
        assert!(refusal(&GOOD.replace("version = 1", "version = 2")).contains("version 2 is unknown"));
        assert!(refusal(&GOOD.replace("version = 1", "")).contains("hint: version = 1"));
        assert!(refusal(&GOOD.replace("\"hub\"", "\"ftp\"")).contains("unknown variant `ftp`"));
        assert!(refusal(&GOOD.replace("owner/name", "name")).contains("not of the form owner/name"));
    }

    #[test]
    fn a_name_means_the_file_beside_it_else_what_is_compiled_in_and_the_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (root, name) = (folder.path(), "smollm2-135m-instruct");
        let shipped = ModelSource::find(name, root).unwrap().unwrap();
        assert!(shipped.sources.iter().all(|source| matches!(source.kind(), "hub" | "wheel")), "no path of a machine");
        assert_eq!(ModelSource::told(name, root), None);
        assert!(ModelSource::names(root).iter().any(|known| known == name));
        std::fs::create_dir(root.join("models")).unwrap();
        std::fs::write(root.join(format!("models/{name}.toml")), GOOD).unwrap();
        assert_eq!(ModelSource::find(name, root).unwrap().unwrap().name, "tiny");
        assert!(ModelSource::told(name, root).unwrap().contains(&format!("models/{name}.toml")));
        let same = compiled::text(name).unwrap();
        std::fs::write(root.join(format!("models/{name}.toml")), same).unwrap();
        assert_eq!(ModelSource::told(name, root), None, "the shipped one is no news");
        assert!(ModelSource::find("mine", root).unwrap().is_none());
    }

    #[test]
    fn every_shipped_model_file_is_read() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let names = ModelSource::names(&configs);
        assert!(names.len() >= 4, "{names:?}");
        for name in names {
            let model = ModelSource::find(&name, &configs).unwrap().unwrap();
            let shape = model.shape.unwrap_or_else(|| panic!("{name} has no shape"));
            for key in ["model_type", "hidden_size", "num_hidden_layers", "vocab_size", "rope_theta"] {
                assert!(shape.get(key).is_some(), "{name} has no {key}");
            }
        }
    }
}
