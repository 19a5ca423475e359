//! Owns `dataset.toml`: what a set is, where it comes from, its hashes, how it is split. Strict: an unknown key or
//! version is refused, and all faults are reported at once. Knows nothing about rows and fetches nothing.

use std::path::{Path, PathBuf};

use ground::read::Kind;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::overlap;
use crate::recipe::Recipe;
use crate::split::Rule;

mod check;

/// The version this crate reads and no other.
pub const VERSION: u32 = 1;

/// One `dataset.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// Name of the set, equal to its folder.
    pub name: String,
    /// What a row asks and answers, in a sentence.
    pub description: String,
    /// SPDX expression of the data's licence.
    pub licence: String,
    /// Text that goes wherever the set or a model made from it goes.
    pub attribution: String,
    /// How the source becomes rows. Needed for a wheel, absent for files.
    pub recipe: Option<Recipe>,
    /// Closed list of targets, for classification.
    #[serde(default)]
    pub labels: Vec<String>,
    /// JSON Schema of the targets, for structured output: a file beside the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// What that file says. Filled by [`Manifest::read`], so that the schema goes where the manifest goes.
    #[serde(skip)]
    pub schema_document: Option<Value>,
    /// What a group is, in the plural, for reports: `owners`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// Where the data comes from.
    pub source: Source,
    /// What the recipe must give.
    pub output: Option<Output>,
    /// How rows are divided. Absent where the source is divided already.
    pub split: Option<Rule>,
    /// What counts as a leak between splits.
    #[serde(default)]
    pub overlap: overlap::Settings,
}

/// Where the data comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// Members of a Python wheel.
    Wheel(Wheel),
    /// JSON-lines files beside the manifest.
    Files(Files),
}

/// A pinned wheel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Name of the package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the wheel.
    pub sha256: String,
    /// Size of the wheel, so that the time left can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Members the recipe reads; one `*` stands for any characters but `/`.
    pub members: Vec<String>,
}

impl Wheel {
    /// Whether a member of the wheel is one the recipe reads.
    pub fn takes(&self, member: &str) -> bool {
        self.members.iter().any(|pattern| matches(pattern, member))
    }
}

/// Files of rows: one to be divided by the rule, or one for each split. Paths are relative to the dataset folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// All rows, divided by `[split]`.
    pub rows: Option<PathBuf>,
    /// Rows that are learnt from.
    pub train: Option<PathBuf>,
    /// Rows that choose between checkpoints.
    pub valid: Option<PathBuf>,
    /// Rows that are only scored.
    pub test: Option<PathBuf>,
}

/// The built file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name in the dataset folder.
    pub file: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Its rows.
    pub rows: usize,
}

impl Manifest {
    /// Reads a `dataset.toml` and the schema it names.
    pub fn read(path: &Path) -> Result<Manifest, Error> {
        let text = ground::read::text(path, Kind::Manifest).map_err(Error::io("read", path))?;
        let mut manifest = Manifest::parse(&text, path)?;
        if let Some(schema) = &manifest.schema {
            let schema_path = path.with_file_name(schema);
            let text = ground::read::text(&schema_path, Kind::Prompt).map_err(Error::io("read", &schema_path))?;
            let refuse = |what: String| Error::Manifest {
                path: path.to_path_buf(),
                faults: vec![format!("schema is `{schema}`, which {what}\nhint: a JSON Schema of the targets")],
            };
            let document: Value =
                serde_json::from_str(&text).map_err(|error| refuse(format!("is not JSON: {error}")))?;
            if !document.is_object() {
                return Err(refuse("is not a JSON object".to_string()));
            }
            manifest.schema_document = Some(document);
        }
        Ok(manifest)
    }

    /// Reads the text of a `dataset.toml`; `path` is only for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Manifest, Error> {
        let refuse = |faults| Error::Manifest { path: path.to_path_buf(), faults };
        // The version comes first: a newer file may well have keys that are unknown here.
        crate::nesting::check(text).map_err(|what| refuse(vec![what]))?;
        let table: toml::Table = text.parse().map_err(|error| refuse(vec![check::toml_fault(&error)]))?;
        match table.get("version").map(|version| version.as_integer()) {
            Some(Some(version)) if version == i64::from(VERSION) => {}
            Some(version) => {
                let found = version.map_or("not a number".to_string(), |version| version.to_string());
                return Err(refuse(vec![format!(
                    "version is {found}, this program reads version {VERSION}\nhint: use a newer trainer, or write `version = {VERSION}` if the keys are those of version {VERSION}"
                )]));
            }
            None => {
                return Err(refuse(vec![format!("no version\nhint: add `version = {VERSION}` at the top")]));
            }
        }
        let manifest: Manifest = toml::from_str(text).map_err(|error| refuse(vec![check::toml_fault(&error)]))?;
        let faults = check::faults(&manifest);
        if faults.is_empty() { Ok(manifest) } else { Err(refuse(faults)) }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => name
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
            .is_some_and(|between| !between.contains('/')),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use expect_test::{Expect, expect};

    use super::*;

    const WHEEL: &str = include_str!("../legal-provisions/dataset.toml");
    const FILES: &str = r#"
version = 1
name = "tickets"
description = "a ticket and its queue"
licence = "LicenseRef-internal"
attribution = "Acme"

[source]
kind = "files"
rows = "tickets.jsonl"

[split]
modulus = 10
valid_fraction = 0.1
"#;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text, Path::new("dataset.toml")).map_err(|error| error.to_string())
    }

    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&parse(text).unwrap_err());
    }

    #[test]
    fn the_shipped_manifest_is_read_and_survives_a_round_trip() {
        let manifest = parse(WHEEL).unwrap();
        assert_eq!(manifest.labels.len(), 16);
        assert_eq!(manifest.recipe, Some(Recipe::LegalProvisions));
        assert_eq!(parse(&toml::to_string(&manifest).unwrap()).unwrap(), manifest);
    }

    #[test]
    fn the_schema_beside_the_manifest_is_read_with_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("licence-notices");
        let manifest = Manifest::read(&folder.join("dataset.toml")).unwrap();
        assert_eq!(manifest.schema_document.as_ref().unwrap()["type"], "object");
        assert_eq!(manifest.group_name.as_deref(), Some("families of notices"));
        let again = parse(&toml::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(Manifest { schema_document: None, ..manifest }, again);
    }

    #[test]
    fn a_schema_that_is_missing_or_no_object_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("dataset.toml");
        fs::write(&path, FILES.replace("[source]", "schema = \"facts.json\"\n[source]")).unwrap();
        let refused = || Manifest::read(&path).unwrap_err().to_string();
        assert!(refused().starts_with("cannot read ") && refused().contains("facts.json"), "{}", refused());
        for (text, what) in [("[]", "is not a JSON object"), ("{", "is not JSON: EOF")] {
            fs::write(place.path().join("facts.json"), text).unwrap();
            assert!(refused().contains(&format!("schema is `facts.json`, which {what}")), "{}", refused());
        }
    }

    #[test]
    fn a_schema_elsewhere_or_beside_labels_and_an_empty_group_name_are_refused() {
        let keys = "labels = [\"a\"]\nschema = \"../facts.json\"\ngroup_name = \" \"\n\n[source]";
        check(
            &FILES.replace("[source]", keys),
            expect![[r#"
                dataset.toml is not a dataset manifest this version reads:
                schema is `../facts.json`
                hint: the name of a file beside dataset.toml
                `labels` and `schema`
                hint: a target is a label or an object, keep one
                group_name is empty
                hint: say what a group is, in the plural, or leave it out"#]],
        );
    }

    #[test]
    fn files_are_read_with_a_rule_or_apart() {
        assert_eq!(parse(FILES).unwrap().overlap, overlap::Settings::default());
        let apart = FILES.replace("rows = \"tickets.jsonl\"", "train = \"a.jsonl\"\ntest = \"b.jsonl\"");
        let apart = apart.split("[split]").next().unwrap().to_string();
        assert!(parse(&apart).unwrap().split.is_none());
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_right_one() {
        check(
            &FILES.replace("licence", "license"),
            expect![[r#"
            dataset.toml is not a dataset manifest this version reads:
            TOML parse error at line 5, column 1
              |
            5 | license = "LicenseRef-internal"
              | ^^^^^^^
            unknown field `license`, expected one of `version`, `name`, `description`, `licence`, `attribution`, `recipe`, `labels`, `schema`, `group_name`, `source`, `output`, `split`, `overlap`
            hint: did you mean `licence`?"#]],
        );
        check(
            &FILES.replace("rows =", "row ="),
            expect![[r#"
            dataset.toml is not a dataset manifest this version reads:
            TOML parse error at line 8, column 1
              |
            8 | [source]
              | ^^^^^^^^
            unknown field `row`, expected one of `rows`, `train`, `valid`, `test`
            hint: did you mean `rows`?"#]],
        );
        check(
            &FILES.replace("modulus", "modulo"),
            expect![[r#"
            dataset.toml is not a dataset manifest this version reads:
            TOML parse error at line 13, column 1
               |
            13 | modulo = 10
               | ^^^^^^
            unknown field `modulo`, expected one of `modulus`, `remainder`, `valid_fraction`
            hint: did you mean `modulus`?"#]],
        );
    }

    #[test]
    fn an_unknown_version_is_refused_before_anything_else() {
        check(
            &FILES.replace("version = 1", "version = 2\nnew = 1"),
            expect![[r#"
                dataset.toml is not a dataset manifest this version reads:
                version is 2, this program reads version 1
                hint: use a newer trainer, or write `version = 1` if the keys are those of version 1"#]],
        );
        check(
            &FILES.replace("version = 1", ""),
            expect![[r#"
            dataset.toml is not a dataset manifest this version reads:
            no version
            hint: add `version = 1` at the top"#]],
        );
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let text = FILES
            .replace("tickets\"\ndesc", "My Tickets\"\ndesc")
            .replace("\"Acme\"", "\" \"")
            .replace("modulus = 10", "modulus = 1")
            .replace("rows = ", "train = \"x\"\nrows = ");
        check(
            &text,
            expect![[r#"
            dataset.toml is not a dataset manifest this version reads:
            name is `My Tickets`
            hint: lower-case letters, digits and `-`, as its folder
            attribution is empty
            hint: say under what terms the rows may be used
            source has `rows` and files for splits
            hint: keep one of the two
            split.modulus is 1, which leaves nothing to train on
            hint: 5 puts one group in five into test"#]],
        );
    }

    #[test]
    fn a_value_that_reaches_another_program_or_a_path_is_one_word() {
        let refused = |from: &str, to: &str| {
            assert!(WHEEL.contains(from), "{from}");
            parse(&WHEEL.replace(from, to)).unwrap_err()
        };
        let bad = [
            ("package = \"licensedcode-data\"", "package = \"x==1 --hash=sha256:0\\n./evil.tar.gz\"", "source.package"),
            ("package = \"licensedcode-data\"", "package = \"-r\"", "source.package"),
            ("package = \"licensedcode-data\"", "package = \"x @ file:///x\"", "source.package"),
            ("version = \"32.1.0\"", "version = \"1\\n./evil.tar.gz\"", "source.version"),
            ("version = \"32.1.0\"", "version = \"1 --config-settings=x\"", "source.version"),
            ("version = \"32.1.0\"", "version = \"*\"", "source.version"),
            ("sha256 = \"18f6", "sha256 = \"18f6\\n", "source.sha256"),
            ("licensedcode/data/licenses/*.LICENSE", "../*.LICENSE", "source.members"),
            ("licensedcode/data/licenses/*.LICENSE", "/etc/*", "source.members"),
            ("file = \"legal-provisions.jsonl\"", "file = \"../x.jsonl\"", "output.file"),
            ("file = \"legal-provisions.jsonl\"", "file = \"ATTRIBUTION.txt\"", "output.file"),
            ("name = \"legal-provisions\"", "name = \"a\\nhint: b\"", "name is"),
        ];
        for (from, to, key) in bad {
            let error = refused(from, to);
            assert!(error.contains(key) && error.contains("hint: "), "{to}: {error}");
            assert_eq!(error.matches("evil").count(), error.matches("\\u{a}./evil").count(), "{error}");
        }
        for path in ["/etc/passwd", "../other/rows.jsonl"] {
            assert!(parse(&FILES.replace("tickets.jsonl", path)).unwrap_err().contains("source.rows"), "{path}");
        }
        assert!(parse(&FILES.replace("tickets.jsonl", "./parts/tickets.jsonl")).is_ok());
    }

    #[test]
    fn too_many_members_and_words_of_megabytes_are_refused_in_short_words() {
        let members = format!("members = [{}\"b\"]", "\"a\",".repeat(1000));
        let text = WHEEL.replace("members = [\"licensedcode/data/licenses/*.LICENSE\"]", &members);
        assert!(parse(&text).unwrap_err().contains("source.members has 1001 entries"));
        for text in [
            FILES.replace("description", &"d".repeat(1 << 20)),
            FILES.replace("name = \"tickets\"", &format!("name = \"{}\"", "N".repeat(1 << 20))),
            FILES.replace("attribution", &format!("x = {}1{}\nattribution", "[".repeat(100_000), "]".repeat(100_000))),
            FILES.replace("attribution", &format!("x{} = 1\nattribution", ".x".repeat(100_000))),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.len() < 5_000, "{} bytes of error", error.len());
        }
    }

    #[test]
    fn broken_bytes_are_a_manifest_or_an_error_and_nothing_else() {
        let words: [&[u8]; 8] =
            [b"\\n", b"[[[[", b"\"\"\"", b"../", b"--hash=sha256:", b"a.a.a.a", b"9223372036854775807", b"nan"];
        ground::mutate::rounds(|round| {
            let text = if round % 2 == 0 { WHEEL } else { FILES };
            let bytes = ground::mutate::mutated(text.as_bytes(), &words, round);
            let Ok(manifest) = parse(&String::from_utf8_lossy(&bytes)) else { return };
            if let Source::Wheel(wheel) = &manifest.source {
                assert!(ground::name::is_package(&wheel.package) && ground::name::is_version(&wheel.version));
                assert!(ground::name::is_sha256(&wheel.sha256));
            }
        });
    }

    #[test]
    fn a_star_stands_for_anything_but_a_slash() {
        assert!(matches("data/*.LICENSE", "data/mit.LICENSE"));
        assert!(!matches("data/*.LICENSE", "data/sub/mit.LICENSE"));
        assert!(!matches("aXb*Xb", "aXb"));
        assert!(matches("NOTICE", "NOTICE"));
    }
}
