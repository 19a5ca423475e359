//! Owns holding what a file says against the schema: unknown keys, kinds, ranges, words, lengths and secrets in the wrong
//! place, everywhere in the file at once. What is wrong is taken out, so that nothing later repeats it.
//! Knows nothing about what values mean together.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::error::{Fault, MOST_TOLD, Place};
use super::places::Places;
use super::schema::{FILE, KEYS, SECTIONS, path};
use super::shape::{Field, LeftOut, Shape};
use super::{keys, misplaced, shown, synonyms};
use crate::secret;

/// What was found in a file, and of which keys it says something that could not be understood.
#[derive(Default)]
pub(super) struct Found {
    /// What is wrong.
    pub(super) faults: Vec<Fault>,
    /// Faults beyond those that are told.
    pub(super) more: usize,
    /// Keys of which nothing may be concluded.
    pub(super) doubtful: BTreeSet<String>,
}

/// A key that nothing knows; what it may have been is looked up only for those that are told.
struct Unknown {
    place: Place,
    section: String,
    name: String,
}

/// Reports and removes every unknown key and every value that its key cannot take.
pub(super) fn take_out_faulty(table: &mut Table, places: &Places) -> Found {
    let mut check = Check { places, found: Found::default(), unknown: Vec::new() };
    check.file(table);
    let Check { mut found, mut unknown, .. } = check;
    if unknown.len() > MOST_TOLD {
        unknown.sort_by(|a, b| a.place.cmp(&b.place));
        found.more += unknown.len() - MOST_TOLD;
        unknown.truncate(MOST_TOLD);
    }
    for Unknown { place, section, name } in unknown {
        let what = format!("unknown key `{}`", path(&section, &shown::name(&name)));
        if let Some(synonym) = synonyms::of_key(&section, &name) {
            found.faults.push(Fault { place, what, hint: synonym.hint() });
            found.doubtful.insert(synonym.key.to_owned());
            continue;
        }
        if let Some(hint) = synonyms::not_here(&name) {
            found.faults.push(Fault { place, what, hint: hint.to_owned() });
            continue;
        }
        let near = keys::nearest(&section, &name);
        let here = || {
            let known: Vec<&str> =
                KEYS.iter().filter(|key| key.section == section).map(|key| key.field.name.as_str()).collect();
            format!("known keys: {}", known.join(", "))
        };
        let hint = keys::did_you_mean(&near, here);
        found.faults.push(Fault { place, what, hint });
        found.doubtful.extend(near);
    }
    found
}

struct Check<'a> {
    places: &'a Places,
    found: Found,
    unknown: Vec<Unknown>,
}

impl Check<'_> {
    fn fault(&mut self, path: &str, what: String, hint: impl Into<String>) {
        self.found.faults.push(Fault { place: self.places.of(path), what, hint: hint.into() });
    }

    fn file(&mut self, table: &mut Table) {
        let names: Vec<String> = table.keys().cloned().collect();
        for name in names {
            let Some(value) = table.get_mut(&name) else { continue };
            let stays = match FILE.iter().find(|field| field.name == name) {
                Some(field) => self.top(field, value),
                None if value.is_table() => {
                    self.unknown_section(&name, value);
                    false
                }
                None => {
                    self.unknown.push(Unknown {
                        place: self.places.of(&name),
                        section: String::new(),
                        name: name.clone(),
                    });
                    false
                }
            };
            if !stays {
                table.remove(&name);
            }
        }
    }

    fn top(&mut self, field: &'static Field, value: &mut Value) -> bool {
        let name = &field.name;
        match (&field.shape, value) {
            (Shape::Table(fields), Value::Table(table)) => {
                self.section(name, fields, table);
                true
            }
            (Shape::Table(fields), _) => {
                self.found.doubtful.extend(fields.iter().map(|field| path(name, &field.name)));
                self.fault(name, format!("{name} is not a section"), format!("write [{name}]"));
                false
            }
            (_, Value::Table(_)) => {
                self.found.doubtful.insert(name.clone());
                self.fault(name, format!("{name} is a table"), "write a value");
                false
            }
            (shape, value) => self.holds(shape, value, name),
        }
    }

    fn unknown_section(&mut self, name: &str, value: &Value) {
        if self.too_many() {
            self.found.more += 1;
            return;
        }
        let synonym = synonyms::of_section(name);
        let near = synonym.map_or_else(|| keys::nearest_word(name, &SECTIONS), |section| vec![section.to_owned()]);
        for name in value.as_table().into_iter().flat_map(Table::keys).take(MOST_TOLD) {
            let key = |near: &String| synonyms::of_key(near, name).map_or(path(near, name), |one| one.key.to_owned());
            self.found.doubtful.extend(near.iter().map(key));
        }
        let hint = match (synonyms::not_here(name), synonym) {
            (Some(hint), _) => hint.to_owned(),
            (None, Some(section)) => format!("here it is [{section}]; the keys of each section: configs/README.md"),
            (None, None) => keys::did_you_mean(&near, || format!("sections are: {}", SECTIONS.join(", "))),
        };
        self.fault(name, format!("unknown section [{}]", shown::name(name)), hint);
    }

    fn section(&mut self, section: &str, fields: &'static [Field], table: &mut Table) {
        table.retain(|name, value| {
            let path = path(section, name);
            match fields.iter().find(|field| field.name == *name) {
                Some(field) => self.holds(&field.shape, value, &path),
                None => {
                    let (section, name) = (section.to_owned(), name.to_owned());
                    self.unknown.push(Unknown { place: self.places.of(&path), section, name });
                    false
                }
            }
        });
    }

    /// Whether a key can take its value; what is wrong is told, and the key is doubtful then.
    fn holds(&mut self, shape: &Shape, value: &Value, path: &str) -> bool {
        let before = self.found.faults.len();
        self.value(shape, value, path, path);
        let holds = self.found.faults.len() == before;
        if !holds {
            self.found.doubtful.insert(path.to_owned());
        }
        holds
    }

    /// `key` is where faults are looked up in the file, `path` how they call it.
    fn value(&mut self, shape: &Shape, value: &Value, key: &str, path: &str) {
        if let Some(kind) = value.as_str().and_then(secret::form) {
            return self.fault(key, format!("{path} holds {kind}"), misplaced::HINT);
        }
        if let Some((what, hint)) = refuse(shape, value, path) {
            return self.fault(key, format!("{path} {what}"), hint);
        }
        match (shape, value) {
            (Shape::List { of, .. }, Value::Array(list)) => self.items(of, list, key, path),
            (Shape::Named { of, .. }, Value::Table(table)) => {
                for (name, value) in table {
                    if self.too_many() {
                        return;
                    }
                    if let Some(kind) = secret::form(name) {
                        self.fault(key, format!("{path} holds {kind}"), misplaced::HINT);
                    }
                    self.value(of, value, key, &format!("{path}.{}", shown::name(name)));
                }
            }
            (Shape::Table(fields), Value::Table(table)) => self.table(fields, None, table, key, path),
            (Shape::Tagged { tag, kinds }, Value::Table(table)) => {
                let word = table.get(tag).and_then(Value::as_str);
                // That it is one of the words was held above.
                if let Some(kind) = kinds.iter().find(|kind| Some(kind.word.as_str()) == word) {
                    self.table(&kind.fields, Some(tag), table, key, path);
                }
            }
            (Shape::Either(shapes), value) => {
                if let Some(shape) = shapes.iter().find(|shape| refuse(shape, value, path).is_none()) {
                    self.value(shape, value, key, path);
                }
            }
            _ => {}
        }
    }

    fn items(&mut self, of: &Shape, list: &[Value], key: &str, path: &str) {
        for (at, value) in list.iter().enumerate() {
            if self.too_many() {
                return;
            }
            let number = at + 1;
            self.value(of, value, &format!("{key}[{number}]"), &format!("{path} number {number}:"));
        }
    }

    fn table(&mut self, fields: &[Field], tag: Option<&str>, table: &Table, key: &str, path: &str) {
        let start = path.trim_end_matches(':').len();
        let of = |name: &str| if start < path.len() { format!("{path} {name}") } else { format!("{path}.{name}") };
        for (name, value) in table.iter().filter(|(name, _)| Some(name.as_str()) != tag) {
            if self.too_many() {
                return;
            }
            let place = format!("{key}.{name}");
            match fields.iter().find(|field| field.name == *name) {
                Some(field) => self.value(&field.shape, value, &place, &of(name)),
                None => {
                    let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                    let near = keys::nearest_word(name, &known);
                    let hint = keys::did_you_mean(&near, || match known[..] {
                        [] => "it has no keys of its own".to_owned(),
                        _ => format!("known keys: {}", known.join(", ")),
                    });
                    self.fault(&place, format!("{} is an unknown key", of(&shown::name(name))), hint);
                }
            }
        }
        for field in fields.iter().filter(|field| field.left_out == LeftOut::Needed && !table.contains_key(&field.name))
        {
            self.fault(key, format!("{} is missing", of(&field.name)), format!("write {}", field.shape.wanted()));
        }
        if key.starts_with("eval.arm[") {
            for (name, what) in misplaced::in_arm(table) {
                self.fault(&format!("{key}.{name}"), format!("{} {what}", of(name)), misplaced::HINT);
            }
        }
    }

    /// Whether so much is wrong that what follows need not be looked at.
    fn too_many(&self) -> bool {
        self.found.faults.len() > MOST_TOLD
    }
}

/// What is wrong with a value and what to type, if anything is; what stands in it is not looked at.
fn refuse(shape: &Shape, value: &Value, path: &str) -> Option<(String, String)> {
    let write = || format!("write {}", shape.wanted());
    let is = || Some((format!("is {}", shown::value(path, value)), write()));
    let many = |count: usize, what: &str| Some((format!("has {count} {what}"), write()));
    match (shape, value) {
        (Shape::Text(most), Value::String(text)) => match most {
            Some(most) if text.chars().count() > *most => many(text.chars().count(), "letters"),
            _ => None,
        },
        (Shape::Flag, Value::Boolean(_)) | (Shape::Table(_), Value::Table(_)) | (Shape::Free, _) => None,
        (Shape::Whole(range), Value::Integer(number)) if range.contains_whole(i128::from(*number)) => None,
        (Shape::Number(range), Value::Integer(number)) if range.contains(*number as f64) => None,
        (Shape::Number(range), Value::Float(number)) if range.contains(*number) => None,
        (Shape::Words(words), Value::String(word)) => {
            let known: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
            (!known.contains(&word.as_str())).then(|| unknown_word(path, value, word, &known))
        }
        (Shape::List { most, .. }, Value::Array(list)) => {
            if list.len() > *most {
                many(list.len(), "entries")
            } else {
                None
            }
        }
        (Shape::Named { most, .. }, Value::Table(table)) => {
            if table.len() > *most {
                many(table.len(), "entries")
            } else {
                None
            }
        }
        (Shape::Tagged { tag, kinds }, Value::Table(table)) => {
            let known: Vec<&str> = kinds.iter().map(|kind| kind.word.as_str()).collect();
            match table.get(tag) {
                Some(Value::String(word)) if known.contains(&word.as_str()) => None,
                Some(value) => {
                    let (what, hint) = unknown_word(path, value, value.as_str().unwrap_or_default(), &known);
                    Some((format!("{tag} {what}"), hint))
                }
                None => Some((format!("has no {tag}"), format!("write {tag} = one of: {}", known.join(", ")))),
            }
        }
        (Shape::Either(shapes), value) => match shapes.iter().all(|shape| refuse(shape, value, path).is_some()) {
            true => is(),
            false => None,
        },
        _ => is(),
    }
}

fn unknown_word(path: &str, value: &Value, word: &str, known: &[&str]) -> (String, String) {
    let near = keys::nearest_word(word, known);
    let hint = keys::did_you_mean(&near, || format!("write one of: {}", known.join(", ")));
    (format!("has the unknown value {}", shown::value(path, value)), hint)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(String, String)> {
        let mut table: Table = text.parse().unwrap();
        let found = take_out_faulty(&mut table, &Places::default());
        found.faults.into_iter().map(|fault| (fault.what, fault.hint)).collect()
    }

    fn told(text: &str) -> String {
        faults(text).into_iter().map(|(what, hint)| format!("{what}; {hint}\n")).collect()
    }

    #[test]
    fn a_value_of_another_kind_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("[lora]\nr = -1", "lora.r is -1; write a whole number from 1 to 4096\n"),
            ("[lora]\nr = 16.0", "lora.r is 16.0; write a whole number from 1 to 4096\n"),
            ("[train]\nepochs = nan", "train.epochs is nan; write a number above 0, at most 10000\n"),
            (
                "[train]\nlearning_rate = \"fast\"",
                "train.learning_rate is \"fast\"; write a number above 0, at most 10\n",
            ),
            ("[eval]\nenabled = \"yes\"", "eval.enabled is \"yes\"; write true or false\n"),
            (
                "[train]\nschedule = \"lineer\"",
                "train.schedule has the unknown value \"lineer\"; did you mean `linear`?\n",
            ),
            ("[train]\nseed = -1", "train.seed is -1; write a whole number from 0\n"),
        ] {
            assert_eq!(told(text), expected);
        }
        assert_eq!(told("[train]\nepochs = 2\nseed = 9223372036854775807\n[lora]\nr = 4096"), "");
    }

    #[test]
    fn entries_of_lists_are_held_against_the_same_ranges() {
        let arm = |more: &str| {
            told(&format!("[eval]\narm = [{{ name = \"a\", provider = \"openai\", model = \"m\", {more} }}]"))
        };
        for (more, expected) in [
            ("repeats = 0", "eval.arm number 1: repeats is 0; write a whole number from 1 to 100\n"),
            ("temperature = inf", "eval.arm number 1: temperature is inf; write a number from 0 to 100\n"),
            (
                "timeout_secs = 1e300",
                "eval.arm number 1: timeout_secs is 1e300; write a number above 0, at most 86400\n",
            ),
            ("modle = 1", "eval.arm number 1: modle is an unknown key; did you mean `model`?\n"),
        ] {
            assert_eq!(arm(more), expected);
        }
        let guardrail = "[decision]\nguardrail = [{ kind = \"latency_p95\", limit_secs = nan }]";
        assert!(told(guardrail).starts_with("decision.guardrail number 1: limit_secs is nan; "), "{}", told(guardrail));
        let field = "[[eval.scorer]]\nkind = \"json_fields\"\nfield = [{ path = \"a\", threshold = 2.0 }]";
        assert!(told(field).starts_with("eval.scorer number 1: field number 1: threshold is 2.0; "), "{}", told(field));
        let kind = "[[eval.scorer]]\nkind = \"rouge_9\"";
        assert!(told(kind).starts_with("eval.scorer number 1: kind has the unknown value \"rouge_9\"; did you mean "));
        assert!(told("[[eval.scorer]]\nlenient = true").contains("has no kind"));
        assert!(told("[[decision.guardrail]]\nkind = \"refusal_rate\"").contains("number 1: margin is missing"));
    }

    #[test]
    fn every_number_of_the_file_is_refused_beyond_its_range() {
        for key in KEYS.iter() {
            let text = |value: &str| match key.section.as_str() {
                "" => format!("{} = {value}", key.field.name),
                section => format!("[{section}]\n{} = {value}", key.field.name),
            };
            let numbers: &[&str] = match key.field.shape {
                Shape::Whole(range) if range.most.is_some() => &["-1", "9223372036854775807", "1.5", "nan", "1e308"],
                Shape::Whole(_) => &["-1", "1.5", "inf"],
                Shape::Number(_) => &["nan", "inf", "-inf", "1e308", "-1e308", "-9223372036854775808"],
                _ => continue,
            };
            for number in numbers {
                let told = told(&text(number));
                assert!(told.starts_with(&format!("{} is ", key.path())) && told.contains("; write a"), "{told}");
            }
        }
    }

    #[test]
    fn a_word_of_another_tool_is_told_in_ours_with_what_differs() {
        for (text, expected) in [
            ("[train]\nlr = 1e-4", "unknown key `train.lr`; here it is `train.learning_rate`\n"),
            (
                "[lora]\nalpha = 16",
                "unknown key `lora.alpha`; here it is `lora.lora_alpha`: as in PEFT, the scale is lora_alpha / r\n",
            ),
            (
                "[train]\nbatch_size = 4",
                "unknown key `train.batch_size`; here it is `train.rows_per_step`: rows of one optimiser step, which is \
                 rows a device times accumulation steps times devices; what goes through at once is \
                 train.micro_batch_tokens\n",
            ),
            // A flat file, and a word with hyphens.
            ("base_model = \"x\"", "unknown key `base_model`; here it is `model.base`\n"),
            (
                "[train]\n\"LR-Scheduler-Type\" = 1",
                "unknown key `train.LR-Scheduler-Type`; here it is `train.schedule`",
            ),
            (
                "[optimizer]\nlr = 1",
                "unknown section [optimizer]; here it is [train]; the keys of each section: configs/README.md\n",
            ),
        ] {
            let told = told(text);
            assert!(told.starts_with(expected), "{told}");
        }
        let mut table: Table = "[train]\nlr = 1".parse().unwrap();
        let found = take_out_faulty(&mut table, &Places::default());
        assert!(found.doubtful.contains("train.learning_rate") && found.faults.len() == 1);
    }

    #[test]
    fn what_is_wrong_is_taken_out_and_doubtful() {
        let mut table: Table = "nme = 1\n[lora]\nr = 0\nlora_alpha = 8\n[trian]\nepochs = 1".parse().unwrap();
        let found = take_out_faulty(&mut table, &Places::default());
        assert_eq!(table.to_string(), "[lora]\nlora_alpha = 8\n");
        let doubtful: Vec<&str> = found.doubtful.iter().map(String::as_str).collect();
        assert_eq!(doubtful, ["lora.r", "name", "train.epochs"]);
    }

    #[test]
    fn of_many_unknown_keys_the_first_are_told_and_the_rest_are_counted() {
        let text: String = (0..50_000).map(|number| format!("k{number} = 1\n")).collect();
        let mut table: Table = text.parse().unwrap();
        let found = take_out_faulty(&mut table, &Places::default());
        assert_eq!((found.faults.len() + found.more, table.len()), (50_000, 0));
        assert_eq!(found.faults.len(), MOST_TOLD);
    }
}
