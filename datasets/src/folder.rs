//! Owns a dataset folder on disk: building the set into it, checked against the manifest, and reading it back as clean
//! splits. Knows nothing about where the files of a source come from.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ground::write::Access;

use crate::digest::sha256_hex;
use crate::error::{Error, short};
use crate::jsonl::{self, Rows};
use crate::manifest::{Files, Manifest, Output, Source};
use crate::prepare::{self, Prepared};
use crate::recipe::Built;
use crate::split::Rule;

/// A manifest and the folder its rows lie in, which need not be the folder of the manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// What the set is. Its `split` and `overlap` may be replaced before [`Folder::prepare`].
    pub manifest: Manifest,
    /// Where the rows are.
    pub path: PathBuf,
}

impl Folder {
    /// The set of a manifest with its rows in `path`.
    pub fn new(manifest: Manifest, path: impl Into<PathBuf>) -> Folder {
        Folder { manifest, path: path.into() }
    }

    /// The set whose `dataset.toml` and rows lie in `path`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Folder, Error> {
        let path = path.into();
        Ok(Folder { manifest: Manifest::read(&path.join("dataset.toml"))?, path })
    }

    /// Where the built set is or will be. `None` for a set of files.
    pub fn built_path(&self) -> Option<PathBuf> {
        self.manifest.output.as_ref().map(|output| self.path.join(&output.file))
    }

    /// Whether every file of the set is there. Says nothing about what is in them.
    pub fn is_complete(&self) -> bool {
        self.files().iter().all(|path| path.is_file())
    }

    /// Builds the set from the files of its source and writes it, with the attribution beside it. A set that is not
    /// the one of the manifest is an error, and nothing is written.
    pub fn build(&self, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Built, Error> {
        let (Some(recipe), Some(output)) = (self.manifest.recipe, &self.manifest.output) else {
            return Err(Error::NoRecipe { name: self.manifest.name.clone() });
        };
        let built = recipe.build(files)?;
        self.check_targets(&built.records)?;
        self.same(
            output,
            built.records.len(),
            jsonl::sha256(&built.records)?,
            "the source or the recipe changed: state the new rows and sha256 under [output] and look at the rows first",
        )?;
        jsonl::write(&self.path.join(&output.file), &built.records)?;
        let path = self.path.join("ATTRIBUTION.txt");
        let text = format!("{}\n", self.manifest.attribution.trim());
        ground::write::file(&path, text.as_bytes(), Access::AsUsual).map_err(Error::io("write", &path))?;
        Ok(built)
    }

    /// Reads the set, checks it against the manifest, divides it and drops what leaks.
    pub fn prepare(&self) -> Result<Prepared, Error> {
        let rule = self.manifest.split.clone().unwrap_or_default();
        match &self.manifest.source {
            Source::Files(files) => self.prepare_files(files, &rule),
            Source::Wheel(_) => {
                let Some(output) = &self.manifest.output else {
                    return Err(Error::NoRecipe { name: self.manifest.name.clone() });
                };
                let rows = self.built(output)?;
                prepare::by_rule(&output.file, rows, &rule, &self.manifest.overlap)
            }
        }
    }

    /// One hash for the data of the set: of its file, or of the hashes of its files.
    pub fn sha256(prepared: &Prepared) -> String {
        match prepared.ledger.files.as_slice() {
            [(_, sha256)] => sha256.clone(),
            files => {
                let all: Vec<&str> = files.iter().map(|(_, sha256)| sha256.as_str()).collect();
                sha256_hex(all.join("\n").as_bytes())
            }
        }
    }

    fn built(&self, output: &Output) -> Result<Rows, Error> {
        let path = self.path.join(&output.file);
        if !path.is_file() {
            return Err(Error::NotBuilt { name: self.manifest.name.clone(), path });
        }
        let rows = self.read(&path)?;
        let hint = format!("remove {} and run: trainer pull {}", path.display(), self.manifest.name);
        self.same(output, rows.records.len(), rows.sha256.clone(), &hint)?;
        Ok(rows)
    }

    fn prepare_files(&self, files: &Files, rule: &Rule) -> Result<Prepared, Error> {
        let overlap = &self.manifest.overlap;
        let named = |path: &Path| Ok((path.display().to_string(), self.read(&self.path.join(path))?));
        match (&files.rows, &files.train, &files.test) {
            (Some(path), ..) => {
                let (name, rows) = named(path)?;
                prepare::by_rule(&name, rows, rule, overlap)
            }
            (None, Some(train), Some(test)) => {
                let train = named(train)?;
                let valid = files.valid.as_deref().map(named).transpose()?;
                let test = named(test)?;
                let valid = valid.as_ref().map(|(name, rows)| (name.as_str(), rows.clone()));
                prepare::from_parts((&train.0, train.1), valid, (&test.0, test.1), overlap)
            }
            (None, ..) => Err(Error::NoRecipe { name: self.manifest.name.clone() }),
        }
    }

    fn read(&self, path: &Path) -> Result<Rows, Error> {
        let rows = jsonl::read_counted(path)?;
        self.check_targets(&rows.records)?;
        Ok(rows)
    }

    fn files(&self) -> Vec<PathBuf> {
        match (&self.manifest.source, self.built_path()) {
            (Source::Wheel(_), built) => built.into_iter().collect(),
            (Source::Files(Files { rows, train, valid, test }), _) => {
                [rows, train, valid, test].into_iter().flatten().map(|path| self.path.join(path)).collect()
            }
        }
    }

    /// Targets are labels of the list, or JSON where there is a schema. Whether the schema accepts them is checked by
    /// whoever scores.
    fn check_targets(&self, records: &[crate::Record]) -> Result<(), Error> {
        let is_json = |target: &str| serde_json::from_str::<serde::de::IgnoredAny>(target).is_ok();
        let broken = |record: &&crate::Record| self.manifest.schema.is_some() && !is_json(record.target());
        if let Some(first) = records.iter().find(broken) {
            return Err(Error::NotJson {
                name: self.manifest.name.clone(),
                total: records.iter().filter(broken).count(),
                id: short(&first.id),
            });
        }
        let labels: HashSet<&str> = self.manifest.labels.iter().map(String::as_str).collect();
        let foreign = |record: &&crate::Record| !labels.contains(record.target());
        if labels.is_empty() {
            return Ok(());
        }
        match records.iter().find(foreign) {
            None => Ok(()),
            Some(first) => Err(Error::UnknownLabel {
                name: self.manifest.name.clone(),
                total: records.iter().filter(foreign).count(),
                num_labels: labels.len(),
                id: short(&first.id),
                target: short(first.target()),
            }),
        }
    }

    fn same(&self, output: &Output, rows: usize, sha256: String, hint: &str) -> Result<(), Error> {
        if rows == output.rows && sha256 == output.sha256 {
            return Ok(());
        }
        Err(Error::BuiltDiffers {
            name: self.manifest.name.clone(),
            expected_rows: output.rows,
            expected_sha256: output.sha256.clone(),
            found_rows: rows,
            found_sha256: sha256,
            hint: hint.to_string(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::fs;

    use super::*;

    const MANIFEST: &str = include_str!("../legal-provisions/dataset.toml");
    const CLAUSE: &str = "The parties agree on a good many things that take more than twelve words to say in full.";

    fn files(clause: &str) -> Vec<(String, Vec<u8>)> {
        let owners = ["Adobe Systems", "Microsoft", "Google"];
        let one = |owner: &str| {
            let text = format!(
                "---\nkey: {owner}\nowner: {owner}\ncategory: Commercial\n---\n1. Export. {owner} says: {clause}"
            );
            (format!("{owner}.LICENSE"), text.into_bytes())
        };
        owners.map(one).to_vec()
    }

    /// A manifest for the three rows of [`files`].
    fn folder(path: &Path) -> Folder {
        let mut manifest = Manifest::parse(MANIFEST, Path::new("dataset.toml")).unwrap();
        let records = manifest.recipe.unwrap().build(files(CLAUSE)).unwrap().records;
        let sha256 = jsonl::sha256(&records).unwrap();
        manifest.output = Some(Output { file: "rows.jsonl".into(), sha256, rows: 3 });
        manifest.overlap.near = crate::overlap::Near::None;
        Folder::new(manifest, path)
    }

    #[test]
    fn a_built_set_is_read_back_as_splits_by_owner() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        assert!(!folder.is_complete());
        assert!(folder.prepare().unwrap_err().to_string().ends_with("hint: trainer pull legal-provisions"));
        folder.build(files(CLAUSE)).unwrap();
        assert!(folder.is_complete());
        let prepared = folder.prepare().unwrap();
        assert_eq!((prepared.splits.train.len(), prepared.splits.test.len()), (2, 1));
        assert_eq!(Folder::sha256(&prepared), folder.manifest.output.as_ref().unwrap().sha256);
        assert!(fs::read_to_string(place.path().join("ATTRIBUTION.txt")).unwrap().contains("nexB"));
    }

    #[test]
    fn a_set_that_differs_from_its_manifest_is_refused_and_not_written() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        let error = folder.build(files(&CLAUSE.replace("good", "great"))).unwrap_err().to_string();
        assert!(error.contains("expected 3 rows with SHA-256") && error.contains("found 3 rows"), "{error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_built_set_that_was_changed_later_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        folder.build(files(CLAUSE)).unwrap();
        let path = place.path().join("rows.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("Google says", "Gogle says")).unwrap();
        assert!(folder.prepare().unwrap_err().to_string().contains("differs from its manifest"));
    }

    #[test]
    fn a_target_outside_the_labels_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = folder(place.path());
        folder.build(files(CLAUSE)).unwrap();
        folder.manifest.labels = vec!["definitions".into()];
        let error = folder.prepare().unwrap_err().to_string();
        assert!(
            error.starts_with("rows of legal-provisions with a target that is not one of its 1 labels: 3"),
            "{error}"
        );
    }

    #[test]
    fn a_target_that_is_no_json_is_refused_where_there_is_a_schema() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = folder(place.path());
        folder.manifest.labels.clear();
        folder.manifest.schema = Some("schema.json".into());
        let error = folder.build(files(CLAUSE)).unwrap_err().to_string();
        assert!(
            error.starts_with("rows of legal-provisions with a target that is not JSON: 3, first `Adobe Systems:1`"),
            "{error}"
        );
    }

    #[test]
    #[ignore = "needs the unpacked wheel: LICENSEDCODE_DATA=FOLDER cargo test --release -p datasets -- --ignored"]
    fn every_shipped_set_is_built_twice_as_its_manifest_says() {
        let source = std::path::PathBuf::from(std::env::var_os("LICENSEDCODE_DATA").unwrap());
        for (name, train, test) in [("legal-provisions", 1169, 232), ("licence-notices", 1054, 280)] {
            let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join("dataset.toml");
            let manifest = Manifest::read(&shipped).unwrap();
            let Source::Wheel(wheel) = &manifest.source else { panic!("{name} comes from a wheel") };
            let place = tempfile::tempdir().unwrap();
            for _ in 0..2 {
                let mut files = Vec::new();
                for part in ["licenses", "rules"] {
                    for entry in fs::read_dir(source.join(part)).unwrap() {
                        let path = entry.unwrap().path();
                        let member = format!("licensedcode/data/{part}/{}", path.file_name().unwrap().display());
                        if wheel.takes(&member) {
                            files.push((member, fs::read(&path).unwrap()));
                        }
                    }
                }
                Folder::new(manifest.clone(), place.path()).build(files).unwrap();
            }
            let prepared = Folder::new(manifest.clone(), place.path()).prepare().unwrap();
            assert_eq!((prepared.splits.train.len(), prepared.splits.test.len()), (train, test), "{name}");
            assert_eq!(prepared.ledger.unaccounted(), 0);
        }
    }

    #[test]
    fn files_that_are_divided_already_are_taken_as_they_are() {
        let place = tempfile::tempdir().unwrap();
        let text = r#"
            version = 1
            name = "tickets"
            description = "a ticket and its queue"
            licence = "LicenseRef-internal"
            attribution = "Acme"
            [source]
            kind = "files"
            train = "train.jsonl"
            test = "test.jsonl"
        "#;
        fs::write(place.path().join("dataset.toml"), text).unwrap();
        fs::write(place.path().join("train.jsonl"), "{\"prompt\":\"q\",\"completion\":\"a\"}\n").unwrap();
        fs::write(place.path().join("test.jsonl"), "{\"prompt\":\"r\",\"completion\":\"a\"}\n\n").unwrap();
        let folder = Folder::open(place.path()).unwrap();
        assert!(folder.is_complete());
        let prepared = folder.prepare().unwrap();
        assert_eq!(prepared.ledger.files.len(), 2);
        assert_eq!((prepared.ledger.used, prepared.ledger.blank_lines), (2, 1));
        assert_eq!(Folder::sha256(&prepared).len(), 64);
    }
}
