//! Owns the lines between two `---` at the top of a file: the small part of YAML that the licence index is written in,
//! scalars and lists of scalars. Refuses what it does not know. Knows nothing about what the fields mean.

use std::collections::BTreeMap;

/// Bytes of one value. The longest in use are expressions of many licences.
const LONGEST_VALUE: usize = 1 << 16;

/// The fields of a file and the text below them.
pub(super) struct FrontMatter<'f> {
    fields: BTreeMap<&'f str, Field>,
    /// Everything after the closing line.
    pub(super) text: &'f str,
}

enum Field {
    Scalar(String),
    List(Vec<String>),
}

impl<'f> FrontMatter<'f> {
    /// Divides a file.
    pub(super) fn parse(bytes: &'f [u8]) -> Result<FrontMatter<'f>, String> {
        let whole = str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let mut lines = whole.split_inclusive('\n');
        let mut end = match lines.next() {
            Some(first) if first.trim_end() == "---" => first.len(),
            _ => return Err("no front matter".to_string()),
        };
        let mut fields: BTreeMap<&str, Field> = BTreeMap::new();
        let mut open = None;
        for line in lines {
            end += line.len();
            let said = line.trim();
            if line.trim_end() == "---" {
                return Ok(FrontMatter { fields, text: &whole[end..] });
            }
            if said.is_empty() {
                continue;
            }
            if !line.starts_with([' ', '-']) {
                let (name, value) = said.split_once(':').ok_or_else(|| format!("`{said}` is no field"))?;
                let field = match value.trim() {
                    "" => Field::List(Vec::new()),
                    value => Field::Scalar(value.to_string()),
                };
                fields.insert(name, field);
                open = Some(name);
                continue;
            }
            match open.and_then(|name| fields.get_mut(name)) {
                None => return Err(format!("`{said}` stands before the first field")),
                Some(field) => field.go_on(said),
            }
        }
        Err("the front matter does not end".to_string())
    }

    /// The one value of a field. An empty one counts as absent.
    pub(super) fn value(&self, name: &str) -> Result<Option<&str>, String> {
        match self.fields.get(name) {
            None => Ok(None),
            Some(Field::List(items)) if items.is_empty() => Ok(None),
            Some(Field::List(_)) => Err(format!("`{name}` is a list")),
            Some(Field::Scalar(value)) => plain(name, value).map(|value| Some(value).filter(|value| !value.is_empty())),
        }
    }

    /// The one value of a field that must be there.
    pub(super) fn needed(&self, name: &str) -> Result<&str, String> {
        self.value(name)?.ok_or_else(|| format!("no `{name}` in the front matter"))
    }

    /// Whether a field says yes.
    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.value(name)? {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => Err(format!("`{name}` is `{other}`, neither yes nor no")),
        }
    }

    /// The values of a list; none where the field is absent.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&str>, String> {
        match self.fields.get(name) {
            None => Ok(Vec::new()),
            Some(Field::Scalar(_)) => Err(format!("`{name}` is no list")),
            Some(Field::List(items)) => items.iter().map(|item| plain(name, item)).collect(),
        }
    }
}

impl Field {
    /// An indented line is the next item of a list or the rest of the value above it.
    fn go_on(&mut self, said: &str) {
        match self {
            Field::Scalar(value) => add(value, said),
            Field::List(items) => match (said.strip_prefix("- "), items.last_mut()) {
                (Some(item), _) => items.push(item.trim().to_string()),
                (None, Some(last)) => add(last, said),
                // A value that begins on the line below its name.
                (None, None) => *self = Field::Scalar(said.to_string()),
            },
        }
    }
}

fn add(value: &mut String, said: &str) {
    value.push(' ');
    value.push_str(said);
}

/// The value without its quotes.
fn plain<'v>(name: &str, value: &'v str) -> Result<&'v str, String> {
    if value.len() > LONGEST_VALUE {
        return Err(format!("`{name}` has more than {LONGEST_VALUE} bytes"));
    }
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(inner) = within('"').or_else(|| within('\'')) {
        return Ok(inner);
    }
    if value.starts_with(['|', '>', '[', '{', '&', '*', '!', '%', '@', '`']) {
        return Err(format!("`{name}` is written in a way this reader does not know: {value}"));
    }
    Ok(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FILE: &str = "---\nkey: mit\nname: 'MIT License'\nurls:\n   - http://a.example/x\n   - \"b\"\nnotes: |\n    two\n    lines\nexpression: a OR\n  b\nempty:\n---\n\ntext\n---\n";

    #[test]
    fn scalars_lists_and_the_text_below_are_told_apart() {
        let read = FrontMatter::parse(FILE.as_bytes()).unwrap();
        assert_eq!((read.value("key").unwrap(), read.value("name").unwrap()), (Some("mit"), Some("MIT License")));
        assert_eq!(read.list("urls").unwrap(), ["http://a.example/x", "b"]);
        assert_eq!(read.needed("expression").unwrap(), "a OR b");
        assert_eq!((read.value("empty").unwrap(), read.value("absent").unwrap()), (None, None));
        assert_eq!(read.text, "\ntext\n---\n");
    }

    #[test]
    fn line_ends_of_two_bytes_and_a_file_without_text_are_read() {
        let read = FrontMatter::parse(b"---\r\nkey: mit\r\nis_deprecated: yes\r\n---\r\ntext").unwrap();
        assert_eq!((read.needed("key").unwrap(), read.text), ("mit", "text"));
        assert!(read.flag("is_deprecated").unwrap() && !read.flag("is_exception").unwrap());
        assert_eq!(FrontMatter::parse(b"---\nkey: mit\n---").unwrap().text, "");
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        let refused = |text: &str| FrontMatter::parse(text.as_bytes()).err().unwrap();
        assert_eq!(refused("text"), "no front matter");
        assert_eq!(refused("---\nkey: mit\n"), "the front matter does not end");
        assert_eq!(refused("---\n  - x\n---\n"), "`- x` stands before the first field");
        assert_eq!(refused("---\nkey\n---\n"), "`key` is no field");
        let read = FrontMatter::parse(FILE.as_bytes()).unwrap();
        assert_eq!(read.value("urls").unwrap_err(), "`urls` is a list");
        assert_eq!(read.list("key").unwrap_err(), "`key` is no list");
        assert_eq!(read.flag("key").unwrap_err(), "`key` is `mit`, neither yes nor no");
        assert_eq!(read.needed("owner").unwrap_err(), "no `owner` in the front matter");
        assert!(read.value("notes").unwrap_err().contains("does not know"));
    }
}
