//! Owns what a `tokenizer.json` of a stranger may ask of the library that reads it: how many tokens, how long they are, how
//! far its steps multiply a text, and how long a text may take. Looked at before the library sees the file, and again, in
//! constant time, before it sees a text. Knows the file; knows no ids of a model.

use ground::read::size;
use serde::Deserialize;
use serde_json::Value;

use self::counted::{Count, Vocabulary};
use self::steps::Steps;
use crate::foreign::{parse_text, quoted};

mod counted;
mod steps;

type Refused<T> = Result<T, String>;

/// Most tokens, and most merges; the largest vocabularies in use have 262,144 and 514,906.
const MOST_TOKENS: usize = 1 << 20;
/// Most added tokens, each of which is looked for in every message; the most in use are 6,415.
const MOST_ADDED: usize = 1 << 16;
/// Bytes of the longest token; the longest in use have some hundred.
const LONGEST_TOKEN: usize = 1 << 12;
/// Bytes of all tokens of a model whose tokens become a tree of bytes, of which each takes 400 bytes in memory.
const MOST_TREE_BYTES: usize = 1 << 22;
/// Bytes of the longest added token after its normalisation, and of all of them: they become two automata.
const LONGEST_ADDED: u64 = 1 << 12;
const MOST_ADDED_BYTES: u64 = 1 << 21;
/// Bytes that a text may become on its way: the library keeps up to some hundred bytes of memory for each.
const MOST_TEXT_BYTES: u64 = 8 << 20;
/// Bytes that may be copied and compared for one text: some seconds.
const MOST_WORK: u64 = 1 << 32;
/// Bytes that decoding may make.
const MOST_DECODED_BYTES: u64 = 1 << 28;
/// Letters that a word may have where all of its parts are tried.
const LONGEST_WORD: u64 = 200;

/// What is known of a tokenizer before it is used.
#[derive(Debug)]
pub(super) struct Bounds {
    /// How many times longer a text may become while it is encoded.
    growth: u64,
    /// Bytes that may be copied for each byte of a text.
    work: u64,
    /// How many times longer a token may become while it is decoded.
    decoded_growth: u64,
    longest_token: u64,
    /// How many times longer an added token may become by normalisation.
    normalised: u64,
    /// Added tokens so far, and their bytes after it.
    added_count: usize,
    added_bytes: u64,
    /// Whether an expression of the file may go back over a text many times.
    pub(super) backtracks: bool,
    /// The largest id of the vocabulary, with its token.
    pub(super) largest: Option<(u32, String)>,
    /// Added tokens with the ids that the file gives them.
    pub(super) added: Vec<(u32, String)>,
}

/// The parts of a `tokenizer.json` that decide.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Option<Vec<Added>>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    normalized: Option<bool>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Vocabulary,
    #[serde(default)]
    merges: Count,
    dropout: Option<f64>,
    max_input_chars_per_word: Option<u64>,
}

impl Bounds {
    /// Looks at a file and refuses what would panic, swell or hang.
    pub(super) fn of(json: &[u8]) -> Refused<Self> {
        let File { added_tokens, normalizer, pre_tokenizer, decoder, model } = parse_text(json)?;
        let Model { kind, vocab, merges, dropout, max_input_chars_per_word } = model;
        // Older files do not say the kind of a model; the library takes what has merges for this one.
        let kind = kind.or_else(|| merges.0.map(|_| "BPE".to_owned()));
        for (what, count) in [("tokens", vocab.count), ("merges", merges.0.unwrap_or(0))] {
            if count > MOST_TOKENS {
                return Err(format!("{count} {what}, more than the {MOST_TOKENS} that are read"));
            }
        }
        if vocab.longest > LONGEST_TOKEN {
            return Err(format!(
                "a token of {}, longer than {}",
                size(vocab.longest as u64),
                size(LONGEST_TOKEN as u64)
            ));
        }
        if dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err("dropout would cut the same text into other tokens each time\nhint: set it to null".to_owned());
        }
        let is_tree = kind.as_deref().is_none_or(|kind| kind == "Unigram");
        if is_tree && vocab.total > MOST_TREE_BYTES {
            let (found, most) = (size(vocab.total as u64), size(MOST_TREE_BYTES as u64));
            return Err(format!("a vocabulary of {found} of text, more than the {most} that are read of this kind"));
        }
        let longest = vocab.longest as u64;
        let work = match kind.as_deref() {
            Some("BPE" | "WordLevel") => 64,
            // Every token that a text begins with is copied, at each of its places.
            Some("Unigram") => longest + longest * longest / 2,
            // Every part of a word is copied and looked up.
            _ => {
                let letters = max_input_chars_per_word.unwrap_or(100);
                if letters > LONGEST_WORD {
                    return Err(format!("max_input_chars_per_word is {letters}, more than {LONGEST_WORD}"));
                }
                4 * letters * letters + longest * longest
            }
        };
        let mut steps = Steps::default();
        let normalised = steps.growth(&normalizer)?;
        let growth = normalised.saturating_mul(steps.growth(&pre_tokenizer)?);
        let decoded_growth = steps.growth(&decoder)?;
        let mut bounds = Bounds {
            growth,
            work,
            decoded_growth,
            longest_token: longest,
            normalised,
            added_count: 0,
            added_bytes: 0,
            backtracks: steps.backtracks,
            largest: vocab.largest,
            added: Vec::new(),
        };
        for Added { id, content, normalized } in added_tokens.unwrap_or_default() {
            bounds.add(&content, normalized != Some(false))?;
            bounds.added.push((id, content));
        }
        Ok(bounds)
    }

    /// Counts one more added token, or refuses it.
    pub(super) fn add(&mut self, content: &str, normalized: bool) -> Refused<()> {
        let growth = if normalized { self.normalised } else { 1 };
        let length = (content.len() as u64).saturating_mul(growth);
        self.added_bytes = self.added_bytes.saturating_add(length);
        self.added_count += 1;
        self.longest_token = self.longest_token.max(content.len() as u64);
        if length > LONGEST_ADDED || self.added_bytes > MOST_ADDED_BYTES {
            let (longest, all) = (size(LONGEST_ADDED), size(MOST_ADDED_BYTES));
            return Err(format!(
                "added token {} has {}, which become up to {}; one may have {longest}, all of them {all}",
                quoted(content),
                size(content.len() as u64),
                size(length)
            ));
        }
        match self.added_count > MOST_ADDED {
            true => Err(format!("more than {MOST_ADDED} added tokens, which are all that are read")),
            false => Ok(()),
        }
    }

    /// Refuses a text that would become too long, or take too long.
    pub(super) fn admit(&self, bytes: usize) -> Refused<()> {
        let becomes = (bytes as u64).saturating_mul(self.growth);
        let most = MOST_TEXT_BYTES.min(MOST_WORK / self.work.max(1));
        if becomes <= most {
            return Ok(());
        }
        Err(format!(
            "a text of {}, of which this tokenizer may make {}: at most {} are cut into tokens at once\n\
             hint: cut the text into shorter ones",
            size(bytes as u64),
            size(becomes),
            size(most)
        ))
    }

    /// Refuses ids whose text could be too long.
    pub(super) fn admit_ids(&self, count: usize) -> Refused<()> {
        let becomes = (count as u64).saturating_mul(self.longest_token.max(4)).saturating_mul(self.decoded_growth);
        match becomes <= MOST_DECODED_BYTES {
            true => Ok(()),
            false => Err(format!("{count} tokens, of which this tokenizer may make {}", size(becomes))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::steps::{may_backtrack, repetitions};
    use super::*;

    fn file(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut file = json!({
            "added_tokens": [{"id": 0, "content": "<s>", "special": true}], "normalizer": null, "decoder": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 7}, "merges": [["a", "b"]]}
        });
        edit(&mut file);
        serde_json::to_vec(&file).unwrap()
    }

    fn refused(edit: impl FnOnce(&mut Value)) -> String {
        Bounds::of(&file(edit)).unwrap_err()
    }

    #[test]
    fn a_plain_file_has_room_for_the_longest_context() {
        let bounds = Bounds::of(&file(|_| ())).unwrap();
        assert_eq!(bounds.largest, Some((7, "ab".to_owned())));
        bounds.admit(4 << 20).unwrap();
        assert!(bounds.admit(5 << 20).unwrap_err().contains("hint: cut the text"));
        assert!(!bounds.backtracks);
    }

    #[test]
    fn steps_that_multiply_a_text_leave_room_for_less_of_it() {
        let chain = |times: usize, content: &str| {
            let step = json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
            let steps = vec![step; times];
            move |file: &mut Value| {
                file["added_tokens"] = json!([]);
                file["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
            }
        };
        let bounds = Bounds::of(&file(chain(1, "aa"))).unwrap();
        bounds.admit(2 << 20).unwrap();
        assert!(bounds.admit(3 << 20).is_err());
        let bounds = Bounds::of(&file(chain(60, "aaaaaaaaaaaaaaaa"))).unwrap();
        assert!(bounds.admit(1).unwrap_err().contains("of which this tokenizer may make"));
        assert!(refused(chain(300, "b")).contains("more than 256 steps"));
        let nameless = json!({"normalizers": [{"prepend": "x".repeat(1 << 20)}]});
        let bounds =
            Bounds::of(&file(|file| (file["added_tokens"], file["normalizer"]) = (json!([]), nameless))).unwrap();
        bounds.admit(3).unwrap();
        assert!(bounds.admit(1000).is_err());
        let decoder = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x".repeat(1 << 20)});
        let bounds = Bounds::of(&file(|file| file["decoder"] = decoder)).unwrap();
        assert!(bounds.admit_ids(1000).is_err());
    }

    #[test]
    fn what_makes_the_library_swell_is_refused_by_name() {
        let long = "x".repeat(5000);
        assert!(refused(|file| file["model"]["vocab"] = json!({ long.clone(): 1 })).contains("a token of 4.9 KiB"));
        let added = json!([{"id": 9, "content": "y".repeat(20 << 20)}]);
        let message = refused(|file| file["added_tokens"] = added);
        assert!(message.contains("added token \"yyy") && message.len() < 400, "{message}");
        let multiplied = json!({"type": "Replace", "pattern": {"String": "s"}, "content": "s".repeat(5000)});
        assert!(refused(|file| file["normalizer"] = multiplied).contains("added token \"<s>\""));
        assert!(refused(|file| file["model"]["merges"] = json!(vec![0; MOST_TOKENS + 1])).contains("1048577 merges"));
        assert!(refused(|file| file["model"]["dropout"] = json!(0.1)).contains("dropout"));
        let scores: Vec<Value> = (0..1100).map(|index| json!([format!("{index:04000}"), -1.0])).collect();
        let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": scores});
        assert!(refused(|file| file["model"] = unigram).contains("of this kind"));
        let letters = json!({"type": "WordPiece", "vocab": {"a": 0}, "max_input_chars_per_word": u64::MAX});
        assert!(refused(|file| file["model"] = letters).contains("max_input_chars_per_word"));
        assert!(
            refused(|file| file["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0})).contains("length 0")
        );
    }

    #[test]
    fn a_table_that_lies_about_its_length_is_refused_and_its_longest_text_counts() {
        let table = |length: u32, rest: &[u8]| {
            let bytes = [&length.to_le_bytes()[..], rest].concat();
            json!({"type": "Precompiled", "precompiled_charsmap": base64::engine::general_purpose::STANDARD.encode(bytes)})
        };
        assert!(
            refused(|file| file["normalizer"] = table(u32::MAX, &[0; 16])).contains("precompiled_charsmap is broken")
        );
        assert!(refused(|file| file["normalizer"]["precompiled_charsmap"] = json!("//")).contains("broken"));
        let texts = [&[0; 8][..], "a\0aaaaaaaa\0".as_bytes()].concat();
        let bounds = Bounds::of(&file(|file| file["normalizer"] = table(8, &texts))).unwrap();
        assert_eq!(bounds.growth, 16);
    }

    #[test]
    fn a_long_token_leaves_room_for_less_text_where_all_tokens_are_tried() {
        let vocab = json!([["<unk>", 0.0], ["a".repeat(4000), -1.0]]);
        let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": vocab});
        let bounds = Bounds::of(&file(|file| file["model"] = unigram)).unwrap();
        bounds.admit(200).unwrap();
        assert!(bounds.admit(1 << 20).is_err());
    }

    #[test]
    fn expressions_that_swell_are_refused() {
        let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let swells = [r"(\p{L}{99}){99}(?=a)", r"(?:a{16,}){16}(?=b)(?:a{16}){1,16}"];
        for regex in swells.map(str::to_owned).into_iter().chain([r"\p{L}(?=a)".repeat(2000)]) {
            assert!(refused(|file| file["pre_tokenizer"] = split(&regex)).contains("too large"), "{regex}");
        }
        assert_eq!((repetitions(r"\p{N}{1,3}|a{2}"), repetitions("a{b}{,}{99999999999999999999}")), (6, 1));
    }

    #[test]
    fn expressions_that_go_back_are_told_from_the_usual_ones() {
        for usual in [r"\p{N}{1,3}| ?\p{L}+|\s+(?!\S)|\s+", r"'s|\s+(?!\S)", r"(a+)+$", "[0-9]"] {
            assert!(!may_backtrack(usual), "{usual}");
        }
        for other in [r"(?=(a+)+$)", r"(a)\1", r"(?:a|aa|\s+(?!\S)){20}c", r"(?:a|aa){20}(?=c)|.|\s+(?!\S)|\s+"] {
            assert!(may_backtrack(other), "{other}");
        }
    }
}
