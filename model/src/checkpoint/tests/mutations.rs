//! Mutates small checkpoints thousands of times: no file, however broken, may cause a panic or take long.
//! Knows nothing of what a mutation means; the checkpoints are those of the module above and of `tests/golden`.
//!
//! Longer, and with a limit of memory: `ulimit -v 20000000; TRAINER_FUZZ_SECONDS=600 cargo test --release --workspace --lib
//! -- mutated`.

use std::time::{Duration, Instant};

use super::*;
use crate::adapter;

#[test]
fn mutated_gguf_files_never_panic() {
    let whole = gguf_file(&entries(), &gguf_tensors());
    let (_folder, path) = gguf_on_disk(&whole);
    many(0x9E37_79B9_7F4A_7C15, 6000, |random| {
        fs::write(&path, random.mutate(&whole, 2200)).unwrap();
        exercise(&path)
    });
}

#[test]
fn mutated_safetensors_files_never_panic() {
    let folder = folder(&config_json(), &config().tensors());
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    many(0xD1B5_4A32_D192_ED03, 6000, |random| {
        fs::write(&path, random.mutate(&whole, 1200)).unwrap();
        exercise(folder.path())
    });
}

#[test]
fn mutated_texts_of_a_folder_never_panic() {
    let folder = copy(&golden("tiny-chat"));
    for (name, text) in [
        ("chat_template.jinja", "{{ messages[0].content }}"),
        ("special_tokens_map.json", r#"{"bos_token": {"content": "<|im_start|>"}, "extra_special_tokens": ["a"]}"#),
        ("added_tokens.json", r#"{"<|im_end|>": 2, "<|endoftext|>": 0, "a": 67}"#),
    ] {
        // Spaces at the end, of which some can be lost without a fault.
        fs::write(folder.path().join(name), format!("{text:<200}")).unwrap();
    }
    let texts = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ];
    for (seed, name) in (1..).zip(texts) {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        many(0xA076_1D64_78BD_642F + seed, 700, |random| {
            let bytes = match random.below(2) {
                0 => random.mutate(&whole, whole.len()),
                _ => random.value(&whole),
            };
            fs::write(&path, bytes).unwrap();
            exercise(folder.path())
        });
        fs::write(&path, whole).unwrap();
        assert!(exercise(folder.path()), "the whole folder is accepted");
    }
}

#[test]
fn mutated_lists_of_shards_never_panic() {
    let folder = copy(&golden("llama-sharded"));
    let path = folder.path().join("model.safetensors.index.json");
    let whole = fs::read(&path).unwrap();
    many(0xE703_7ED1_A0B4_28DB, 1000, |random| {
        let bytes = match random.below(2) {
            0 => random.mutate(&whole, whole.len()),
            _ => random.value(&whole),
        };
        fs::write(&path, bytes).unwrap();
        exercise(folder.path())
    });
}

#[test]
fn mutated_adapters_never_panic() {
    let base = Checkpoint::open(&golden("llama-tied")).unwrap().config;
    let folder = copy(&golden("llama-tied/adapter"));
    let accepted = || adapter::load(folder.path(), &base).is_ok_and(|read| read.values.len() == read.layout.length());
    for (seed, name, header) in [(1, adapter::CONFIG_FILE, 1200), (2, adapter::WEIGHTS_FILE, 4000)] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        many(0x8EBC_6AF0_9C88_C6E3 + seed, 2000, |random| {
            let bytes = match random.below(3) {
                0 if name == adapter::CONFIG_FILE => random.value(&whole),
                _ => random.mutate(&whole, header),
            };
            fs::write(&path, bytes).unwrap();
            let _ = (adapter::base_of(folder.path()), adapter::check(folder.path()));
            let _ = adapter::shapes(&folder.path().join(adapter::WEIGHTS_FILE));
            accepted()
        });
        fs::write(&path, whole).unwrap();
        assert!(accepted(), "the whole adapter is accepted");
    }
}

/// Calls `attempt` so many times, or for so many seconds as the environment says: some are accepted, and not all.
fn many(seed: u64, count: usize, mut attempt: impl FnMut(&mut Random) -> bool) {
    let end = ground::mutate::asked().map(|long| Instant::now() + long);
    let (mut random, mut accepted, mut tried) = (Random(seed), 0, 0);
    while end.map_or(tried < count, |end| Instant::now() < end) {
        let start = Instant::now();
        accepted += usize::from(attempt(&mut random));
        tried += 1;
        assert!(start.elapsed() < Duration::from_secs(10), "attempt {tried} of seed {seed} took {:?}", start.elapsed());
    }
    assert!((1..tried * 9 / 10).contains(&accepted), "{accepted} of {tried} accepted");
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// The files of a folder in a temporary one.
fn copy(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// A small generator, so that every run sees the same mutations.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }

    /// A JSON text with one of its values, wherever it lies, replaced by another: what a reader trips over when all else is
    /// right.
    fn value(&mut self, whole: &[u8]) -> Vec<u8> {
        let mut json: serde_json::Value = serde_json::from_slice(whole).unwrap();
        let mut place = &mut json;
        loop {
            let deeper = match &*place {
                serde_json::Value::Array(list) => list.len(),
                serde_json::Value::Object(map) => map.len(),
                _ => 0,
            };
            if deeper == 0 || self.below(6) == 0 {
                break;
            }
            let at = self.below(deeper);
            place = match place {
                serde_json::Value::Array(list) => &mut list[at],
                serde_json::Value::Object(map) => map.values_mut().nth(at).unwrap(),
                _ => unreachable!("it has something inside"),
            };
        }
        let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaa"});
        let all = [
            json!(null),
            json!(0),
            json!(-1),
            json!(1),
            json!(u64::MAX),
            json!(1_u64 << 31),
            json!(u32::MAX),
            json!(1e308),
            json!(0.5),
            json!(true),
            json!(""),
            json!("\u{202e}a"),
            json!("x".repeat(5000)),
            json!([]),
            json!([0, 1]),
            json!({}),
            json!({"type": "FixedLength", "length": 0}),
            json!({"type": "FixedLength", "length": 3}),
            json!({"type": "Precompiled", "precompiled_charsmap": "/////wEBAQEBAQEBAQEBAQEBAQE="}),
            json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8AAAAA"}),
            json!({"type": "Sequence", "normalizers": vec![replace.clone(); 6]}),
            json!({"type": "Sequence", "normalizers": vec![replace; 80]}),
            json!({"type": "Strip", "content": "a", "start": u64::MAX, "stop": 1}),
            json!({"type": "Prepend", "prepend": "▁"}),
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
            json!({"type": "Split", "pattern": {"Regex": r"(?=(a+)+$)|(b)\1"}, "behavior": "Isolated", "invert": false}),
            json!({"type": "Split", "pattern": {"Regex": "((((a{99}){99}){99}){99})"}, "behavior": "Removed", "invert": true}),
            json!({"type": "Unigram", "unk_id": 9, "vocab": [["a", -1.0]], "byte_fallback": true}),
            json!({"type": "Unigram", "unk_id": null, "vocab": [["a", 1e308], ["aa", -1e308]], "byte_fallback": false}),
            json!({"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                   "vocab": {"a": 0, "##b": 1}}),
            json!({"type": "BPE", "vocab": {"a": 4_000_000_000_u32, "b": 1}, "merges": ["a b"], "unk_token": "none"}),
            json!({"type": "BPE", "continuing_subword_prefix": "ééé", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}),
        ];
        let chosen = self.below(all.len());
        *place = all[chosen].clone();
        serde_json::to_vec(&json).unwrap()
    }

    /// Flips, overwrites, cuts or repeats something, mostly in the first `header` bytes.
    fn mutate(&mut self, whole: &[u8], header: usize) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for _ in 0..=self.below(3) {
            let size = bytes.len();
            let at = if self.below(8) == 0 { self.below(size) } else { self.below(header.min(size)) };
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.below(256) as u8,
                2 => {
                    let value = [0, 1, u64::MAX, 1 << 63, 1 << 32, size as u64, u64::from(u32::MAX)][self.below(7)];
                    let room = (size - at).min(8);
                    bytes[at..at + room].copy_from_slice(&value.to_le_bytes()[..room]);
                }
                3 => bytes.truncate(at.max(1)),
                4 => {
                    let end = (at + self.below(40)).min(size);
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes[at] = *b"0123456789[]{}\",:-e".get(self.below(19)).unwrap(),
            }
        }
        bytes
    }
}

/// Whatever the file says, the answer is an error or a checkpoint of which everything can be read.
fn exercise(path: &Path) -> bool {
    let Ok(checkpoint) = Checkpoint::open(path) else { return false };
    for name in checkpoint.names() {
        let tensor = checkpoint.tensor(name).unwrap();
        assert_eq!(tensor.to_f32().len(), tensor.shape.iter().product::<usize>());
    }
    if !checkpoint.has_tokenizer() {
        return true;
    }
    let Ok(tokenizer) = checkpoint.tokenizer() else { return false };
    let mut good = true;
    for text in ["abab <s> 12", "", "a", "  naïve\n\n日本語 🙂<|im_end|>\u{202e}", &"ab ".repeat(2000)] {
        let ids = tokenizer.encode(text);
        good &= ids.is_ok() && tokenizer.encode_with_offsets(text).is_ok();
        for id in ids.into_iter().flatten() {
            assert!((id as usize) < checkpoint.config.vocab_size, "id {id}");
        }
    }
    let _ = tokenizer.decode(&[0, 1, 2, 3, 4, 5], false).and(tokenizer.decode(&[1; 300], true));
    let _ = tokenizer.chat_template();
    good
}
