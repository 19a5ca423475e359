//! Small tokenizers made here, one of each family, and what they must not do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use super::*;
use crate::checkpoint::gguf::{Metadata, Metadatum};

mod side_files;

/// A byte-level tokenizer: two control tokens, a user-defined one, all bytes, and a few merges.
fn byte_level(pre: &str) -> Metadata {
    let mut letters: Vec<String> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().map(String::from).collect();
    letters.sort();
    let mut tokens = vec!["<|im_start|>".to_string(), "<|im_end|>".to_string(), "<tool>".to_string()];
    let kinds = [3, 3, 4].into_iter().chain(std::iter::repeat_n(1, letters.len() + 4)).collect();
    tokens.extend(letters);
    tokens.extend(["ĠĠ", "he", "Ġhe", "20"].map(String::from));
    let merges = ["Ġ Ġ", "h e", "Ġ he", "2 0"].map(String::from).to_vec();
    Metadata::of([
        ("tokenizer.ggml.model", Metadatum::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Metadatum::Text(pre.into())),
        ("tokenizer.ggml.tokens", Metadatum::Texts(tokens)),
        ("tokenizer.ggml.token_type", Metadatum::Integers(kinds)),
        ("tokenizer.ggml.merges", Metadatum::Texts(merges)),
        ("tokenizer.ggml.bos_token_id", Metadatum::Unsigned(0)),
        ("tokenizer.ggml.eos_token_id", Metadatum::Unsigned(1)),
        ("tokenizer.chat_template", Metadatum::Text("{{ bos_token }}{{ messages[0].content }}".into())),
    ])
}

fn read(metadata: &Metadata) -> Result<Tokenizer> {
    Tokenizer::from_gguf(metadata, Path::new("m.gguf"))
}

fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text).unwrap().into_iter().map(|id| tokenizer.token(id).unwrap()).collect()
}

#[test]
fn smollm_cuts_digits_before_spaces() {
    let smollm = read(&byte_level("smollm")).unwrap();
    assert_eq!(pieces(&smollm, "a  2024"), ["a", "ĠĠ", "2", "0", "2", "4"]);
    let gpt2 = read(&byte_level("gpt-2")).unwrap();
    assert_eq!(pieces(&gpt2, "a  2024"), ["a", "Ġ", "Ġ", "20", "2", "4"]);
    assert!(read(&byte_level("mystery")).unwrap_err().to_string().contains("mystery"));
}

#[test]
fn special_tokens_are_matched_whole_and_none_is_added() {
    let tokenizer = read(&byte_level("smollm")).unwrap();
    assert_eq!(pieces(&tokenizer, "<|im_start|>he he<|im_end|>"), ["<|im_start|>", "he", "Ġhe", "<|im_end|>"]);
    assert_eq!(tokenizer.encode("").unwrap(), Vec::<u32>::new());
    assert_eq!(tokenizer.special_tokens_in("x<|im_end|>y<tool><|im_start|><|im_end|>"), ["<|im_end|>", "<|im_start|>"]);
    assert!(tokenizer.special_tokens_in("<|im_end >").is_empty());
    assert_eq!(tokenizer.special_tokens().eos_token.as_deref(), Some("<|im_end|>"));
}

#[test]
fn offsets_cover_the_text_and_decoding_gives_it_back() {
    for pre in ["smollm", "gpt-2", "llama-bpe", "tekken", "default"] {
        let tokenizer = read(&byte_level(pre)).unwrap();
        let text = "<|im_start|>  he said:\n\n\"é 😀\" 2024's <tool>\t ";
        let found = tokenizer.encode_with_offsets(text).unwrap();
        let ids: Vec<u32> = found.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, tokenizer.encode(text).unwrap());
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text, "{pre}");
        let mut covered = 0;
        for (_, range) in &found {
            assert!(range.start <= covered && range.end >= covered, "{pre}: {range:?} after {covered}");
            covered = range.end;
        }
        assert_eq!(covered, text.len());
    }
    let tokenizer = read(&byte_level("smollm")).unwrap();
    assert_eq!(tokenizer.decode(&[1, 0], true).unwrap(), "");
    assert!(tokenizer.decode(&[100_000], false).unwrap_err().to_string().contains("100000"));
}

#[test]
fn a_saved_tokenizer_is_the_same_tokenizer() {
    let tokenizer = read(&byte_level("smollm")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path()).unwrap();
    let again = Tokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(again.sha256(), tokenizer.sha256());
    assert_eq!(again.special_tokens(), tokenizer.special_tokens());
    assert_eq!(again.chat_template().unwrap().unwrap().source(), tokenizer.chat_template().unwrap().unwrap().source());
    assert_eq!(again.encode("he  2024<|im_end|>").unwrap(), tokenizer.encode("he  2024<|im_end|>").unwrap());
}

#[test]
fn a_length_in_the_file_neither_cuts_nor_pads() {
    let folder = tempfile::tempdir().unwrap();
    read(&byte_level("smollm")).unwrap().save(folder.path()).unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 1,
                             "pad_type_id": 0, "pad_token": "<|im_end|>"});
    fs::write(&path, json.to_string()).unwrap();
    assert_eq!(Tokenizer::from_file(&path).unwrap().encode("abcd").unwrap().len(), 4);
}

#[test]
fn the_template_file_wins_over_the_settings_and_a_list_gives_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = read(&byte_level("smollm")).unwrap();
    tokenizer.save(folder.path()).unwrap();
    let source = || {
        let tokenizer = Tokenizer::from_file(&folder.path().join("tokenizer.json"))?;
        Ok::<_, Error>(tokenizer.chat_template()?.map(|template| template.source().to_string()))
    };
    let settings = folder.path().join("tokenizer_config.json");
    let list = json!({"eos_token": {"content": "<|im_end|>"}, "chat_template": [
        {"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]});
    fs::write(&settings, list.to_string()).unwrap();
    assert_eq!(source().unwrap().as_deref(), Some("d"));
    fs::write(&settings, json!({"chat_template": [{"name": "rag", "template": "t"}]}).to_string()).unwrap();
    assert!(source().unwrap_err().to_string().contains("rag"));
    fs::write(&settings, "{}").unwrap();
    assert_eq!(source().unwrap(), None);
    fs::write(folder.path().join("chat_template.jinja"), "file").unwrap();
    assert_eq!(source().unwrap().as_deref(), Some("file"));
}

/// Tokens of a SentencePiece model with scores, best first.
fn sentence_piece() -> Vec<(&'static str, Metadatum)> {
    let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "▁h", "▁he", "he", "▁", "h", "e", "a"];
    let scores = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0, -1.0, -3.0, -10.0, -11.0, -12.0, -13.0];
    let kinds = [2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1];
    vec![
        ("tokenizer.ggml.model", Metadatum::Text("llama".into())),
        ("tokenizer.ggml.tokens", Metadatum::Texts(tokens.map(String::from).to_vec())),
        ("tokenizer.ggml.scores", Metadatum::Floats(scores.to_vec())),
        ("tokenizer.ggml.token_type", Metadatum::Integers(kinds.to_vec())),
        ("tokenizer.ggml.unknown_token_id", Metadatum::Unsigned(0)),
        ("tokenizer.ggml.eos_token_id", Metadatum::Unsigned(2)),
    ]
}

#[test]
fn sentence_piece_models_merge_by_score_and_fall_back_to_bytes() {
    let tokenizer = read(&Metadata::of(sentence_piece())).unwrap();
    assert_eq!(pieces(&tokenizer, "he é"), ["▁he", "▁", "<0xC3>", "<0xA9>"]);
    assert_eq!(pieces(&tokenizer, "he</s>a\n"), ["▁he", "</s>", "▁", "a", "<0x0A>"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("he é\n").unwrap(), false).unwrap(), "he é\n");
    assert_eq!(tokenizer.special_tokens_in("</s>"), ["</s>"]);
    let mut bare = sentence_piece();
    bare.push(("tokenizer.ggml.add_space_prefix", Metadatum::Bool(false)));
    let bare = read(&Metadata::of(bare)).unwrap();
    assert_eq!(pieces(&bare, "he he"), ["he", "▁he"]);
    assert_eq!(bare.decode(&bare.encode("he he").unwrap(), false).unwrap(), "he he");
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let edit = |key: &'static str, value: Metadatum| {
        let mut values = sentence_piece();
        values.push((key, value));
        read(&Metadata::of(values)).unwrap_err().to_string()
    };
    assert!(edit("tokenizer.ggml.tokens", Metadatum::Texts(vec!["a".into(); 13])).contains("has the ids 0 and 1"));
    assert!(edit("tokenizer.ggml.scores", Metadatum::Floats(vec![0.0])).contains("scores"));
    assert!(edit("tokenizer.ggml.token_type", Metadatum::Integers(vec![1])).contains("token_type"));
    assert!(edit("tokenizer.ggml.model", Metadatum::Text("bert".into())).contains("bert"));
    let broken = Metadata::of([
        ("tokenizer.ggml.model", Metadatum::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Metadatum::Text("gpt-2".into())),
        ("tokenizer.ggml.tokens", Metadatum::Texts(vec!["a".into(), "b".into()])),
        ("tokenizer.ggml.merges", Metadatum::Texts(vec!["a b".into()])),
    ]);
    assert!(read(&broken).unwrap_err().to_string().contains("needs the token \"ab\""));
}

/// A tokenizer.json that is read, with some of its parts replaced.
fn with(parts: &[(&str, Value)]) -> Result<Tokenizer> {
    let json = read(&byte_level("gpt-2")).unwrap().json;
    let mut file: Value = serde_json::from_slice(&json).unwrap();
    for (key, value) in parts {
        file[*key] = value.clone();
    }
    Tokenizer::from_parts(serde_json::to_vec(&file).unwrap(), Told::default())
}

#[test]
fn what_the_library_panics_on_is_an_error_when_it_is_read_or_when_it_is_met() {
    let refused = |parts: &[(&str, Value)]| match with(parts) {
        Err(error) => error.to_string(),
        Ok(tokenizer) => tokenizer.encode("item one?").unwrap_err().to_string(),
    };
    let table = |table: &str| json!({"type": "Precompiled", "precompiled_charsmap": table});
    assert!(
        refused(&[("normalizer", table("/////wEBAQEBAQEBAQEBAQEBAQE="))]).contains("precompiled_charsmap is broken")
    );
    // Two units, of which the first points far behind the second.
    assert!(refused(&[("normalizer", table("CAAAAP////////9/YQA="))]).contains("its reader ended in the middle"));
    assert!(refused(&[("pre_tokenizer", json!({"type": "FixedLength", "length": 0}))]).contains("length 0"));
    let without_unknown = json!({"type": "Unigram", "unk_id": null, "vocab": [["a", -1.0]]});
    assert!(refused(&[("model", without_unknown), ("added_tokens", json!([]))]).contains("unk_id"));
}

#[test]
fn a_tokenizer_that_panicked_goes_on_as_before() {
    let tokenizer =
        with(&[("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "CAAAAP////////9/YQA="}))]);
    let tokenizer = tokenizer.unwrap();
    for _ in 0..3 {
        assert!(tokenizer.encode("he").is_err());
        assert_eq!(tokenizer.encode("<|im_end|>").unwrap(), [1]);
    }
}

#[test]
fn an_expression_that_goes_back_without_end_is_given_up() {
    let cut = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})
    };
    // Each letter costs a quarter of a million steps, which the library takes without a word.
    let slow = with(&[("pre_tokenizer", cut(r"(?:h|hh){17}(?=e)|."))]).unwrap();
    let start = std::time::Instant::now();
    let message = slow.encode(&"h".repeat(20_000)).unwrap_err().to_string();
    assert!(message.contains("goes back over it again and again") && message.contains("10s"), "{message}");
    assert_eq!(slow.encode(&"h".repeat(10_000)).unwrap_err().to_string(), message);
    assert!(start.elapsed() < PATIENCE * 2);
    assert_eq!(slow.encode("he").unwrap().len(), 2);
    // One that is only unusual is waited for.
    let unusual = with(&[("pre_tokenizer", cut(r"(?<=h)e|."))]).unwrap();
    assert_eq!(unusual.encode(&"he".repeat(1000)).unwrap().len(), 2000);
}

#[test]
fn long_words_of_a_sentence_piece_model_take_time_by_their_length() {
    let tokenizer = read(&Metadata::of(sentence_piece())).unwrap();
    let start = std::time::Instant::now();
    assert_eq!(tokenizer.encode(&"he".repeat(100_000)).unwrap().len(), 100_000);
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    // A token of 200,000 letters could be made of others in 200,000 ways, each of which is as long.
    let mut values = sentence_piece();
    let long = |token: &str| {
        Metadatum::Texts(
            ["<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", token, "▁he", "he", "▁", "h", "e", "a"]
                .map(String::from)
                .to_vec(),
        )
    };
    values.push(("tokenizer.ggml.tokens", long(&"h".repeat(200_000))));
    let message = read(&Metadata::of(values)).unwrap_err().to_string();
    assert!(message.contains("too long to find out") && message.len() < 400, "{message}");
}
