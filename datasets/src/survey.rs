//! Owns what a file of rows holds, in numbers: read one row at a time and none kept, so that a file may have any length.
//! Knows nothing about splits, nor what is done with rows.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::BufReader;
use std::path::Path;

use ground::read::{Kind, Lines};

use crate::digest::Hashing;
use crate::error::{Error, Fault, RowFault, SHOWN_ROWS};
use crate::jsonl;

/// What a file of rows holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Rows.
    pub rows: usize,
    /// Groups that rows belong to.
    pub groups: usize,
    /// Messages of all rows.
    pub messages: usize,
    /// Lines with nothing but space.
    pub blank_lines: usize,
    /// What should be answered in the first row.
    pub first_target: Option<String>,
    /// SHA-256 of the bytes of the file.
    pub sha256: String,
}

/// Reads every row, or says what is wrong with all of them, as [`jsonl::read`] does. Of ids and groups a number is kept.
///
/// # Errors
/// When the file is no regular file, cannot be read, or holds no rows or broken ones.
pub fn survey(path: &Path) -> Result<Survey, Error> {
    let file = ground::read::open(path).map_err(Error::io("open", path))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut input = Hashing::new(file);
    let (mut found, mut groups, mut lines_of_ids) = (Survey::default(), HashSet::new(), HashMap::new());
    let (mut seen, mut broken, mut shown) = (0, 0, Vec::new());
    for (at, line) in Lines::new(BufReader::with_capacity(1 << 18, &mut input), Kind::Row).enumerate() {
        let line = line.map_err(Error::io("read", path))?;
        let text = if at == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if text.trim_ascii().is_empty() {
            found.blank_lines += 1;
            continue;
        }
        if seen == 0 && text.trim_ascii_start().first() == Some(&b'[') {
            return Err(Error::JsonArray { path: path.to_path_buf() });
        }
        seen += 1;
        let fault = match jsonl::parse(text.trim_ascii_end(), &format!("{stem}:{}", at + 1)) {
            Err(fault) => fault,
            Ok((record, _)) => match lines_of_ids.insert(number_of(&record.id), at + 1) {
                Some(first) => Fault::new(
                    format!("id `{}` is already used in line {first}", record.id),
                    "give each row its own id, or leave `id` out",
                ),
                None => {
                    found.messages += record.messages.len();
                    groups.insert(number_of(&record.group));
                    found.first_target.get_or_insert_with(|| record.target().to_owned());
                    continue;
                }
            },
        };
        broken += 1;
        if shown.len() < SHOWN_ROWS {
            shown.push(RowFault { line: at + 1, fault });
        }
    }
    let path = path.to_path_buf();
    if broken > 0 {
        return Err(Error::Rows { path, rows: seen, total: broken, shown });
    }
    if seen == 0 {
        return Err(Error::NoRows { path, blank_lines: found.blank_lines });
    }
    Ok(Survey { rows: seen, groups: groups.len(), sha256: input.finish(), ..found })
}

/// A name as a number: two of a file that share one are as rare as a broken disk.
fn number_of(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Survey, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, text).unwrap();
        let found = survey(&path);
        let whole = jsonl::read_counted(&path);
        match (&found, &whole) {
            (Ok(found), Ok(whole)) => {
                let groups: HashSet<&str> = whole.records.iter().map(|row| row.group.as_str()).collect();
                assert_eq!((found.rows, found.groups), (whole.records.len(), groups.len()));
                assert_eq!((&found.sha256, found.blank_lines), (&whole.sha256, whole.blank_lines));
            }
            (Err(found), Err(whole)) => assert_eq!(found.to_string(), whole.to_string()),
            other => panic!("{other:?}"),
        }
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn the_numbers_of_a_file_are_those_of_its_rows() {
        let row = |id: &str, group: &str| {
            format!(
                r#"{{"id":"{id}","messages":[{{"role":"user","content":"q"}},{{"role":"assistant","content":"a {id}"}}],"group":"{group}","meta":{{}}}}"#
            )
        };
        let found = of(&format!("{}\n\n{}\n{}\n", row("a", "g"), row("b", "g"), row("c", "h"))).unwrap();
        assert_eq!((found.rows, found.groups, found.messages, found.blank_lines), (3, 2, 6, 1));
        assert_eq!(found.first_target.as_deref(), Some("a a"));
        of(&format!("{}\n{}\n", row("a", "g"), row("a", "g"))).unwrap_err();
        of("[1]\n").unwrap_err();
        of("\n").unwrap_err();
        of("nonsense\n{}\n").unwrap_err();
    }
}
