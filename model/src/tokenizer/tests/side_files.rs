//! Tokens that only a file beside `tokenizer.json` names: what transformers makes of each, and what is refused.

use tempfile::TempDir;

use super::*;

/// The number of tokens of the tokenizer beside which files are put: the next id.
const NEXT: u32 = 263;

/// A folder with a byte-level tokenizer that has `<|im_start|>` 0, `<|im_end|>` 1, `<tool>` 2 and no name for any of them,
/// and files beside it.
fn folder(files: &[(&str, Value)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), read(&byte_level("gpt-2")).unwrap().json).unwrap();
    for (name, value) in files {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn open(files: &[(&str, Value)]) -> Result<Tokenizer> {
    Tokenizer::from_file(&folder(files).path().join("tokenizer.json"))
}

fn told(files: &[(&str, Value)]) -> Tokenizer {
    open(files).unwrap()
}

#[track_caller]
fn refused(files: &[(&str, Value)], parts: &[&str]) {
    let message = open(files).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

fn token(content: &str, special: bool) -> Value {
    json!({"content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
           "special": special})
}

/// The text of a chat, rendered by the template that came with a tokenizer.
fn chat(tokenizer: &Tokenizer) -> String {
    let say = |content: &str| crate::chat_template::ChatMessage { role: "user".into(), content: content.into() };
    tokenizer.chat_template().unwrap().unwrap().render(&[say("hi")], false).unwrap()
}

#[test]
fn tokens_of_the_settings_get_the_ids_that_stand_there() {
    let decoder = json!({"264": token("<b>", false), "263": token("<stop>", true), "1": token("<|im_end|>", true)});
    let one = told(&[("tokenizer_config.json", json!({"eos_token": "<stop>", "added_tokens_decoder": decoder}))]);
    let letter = one.token_id("a").unwrap();
    assert_eq!(one.encode("a<stop><b>a<|im_end|>").unwrap(), [letter, NEXT, NEXT + 1, letter, 1]);
    assert_eq!(one.decode(&[NEXT, letter, NEXT + 1], true).unwrap(), "a<b>", "what is special is left out");
    assert_eq!(one.special_tokens().all, ["<|im_start|>", "<|im_end|>", "<stop>"]);
    assert_eq!(one.special_tokens_in("x<stop>"), ["<stop>"]);
    assert_eq!(one.vocab_size(), NEXT as usize + 2);
}

#[test]
fn added_tokens_are_special_where_they_have_a_name() {
    let added = ("added_tokens.json", json!({"<stop>": 263, "word": 264}));
    let one = told(&[("tokenizer_config.json", json!({"eos_token": "<stop>"})), added.clone()]);
    assert_eq!(one.encode("<stop>word").unwrap(), [NEXT, NEXT + 1]);
    assert_eq!(one.decode(&[NEXT, NEXT + 1], true).unwrap(), "word");
    // Where the settings give ids, transformers looks at neither of the older files.
    let settings = json!({"added_tokens_decoder": {}, "bos_token": "<|im_start|>"});
    let names = ("special_tokens_map.json", json!({"bos_token": "<|im_end|>"}));
    let one = told(&[("tokenizer_config.json", settings), added, names]);
    assert_eq!((one.token_id("<stop>"), one.special_tokens().bos_token.as_deref()), (None, Some("<|im_start|>")));
}

#[test]
fn the_map_of_special_tokens_counts_before_the_settings() {
    let settings =
        json!({"bos_token": "<|im_start|>", "unk_token": "<|im_end|>", "additional_special_tokens": ["<a>"]});
    let names = json!({"bos_token": "<|im_end|>", "pad_token": {"content": "<tool>", "normalized": false},
                       "unk_token": null, "additional_special_tokens": ["<a>", "<b>"]});
    let one = told(&[("tokenizer_config.json", settings), ("special_tokens_map.json", names)]);
    let special = one.special_tokens();
    assert_eq!((special.bos_token.as_deref(), special.pad_token.as_deref()), (Some("<|im_end|>"), Some("<tool>")));
    assert_eq!(special.unk_token, None);
    // What has a name is special, also where `tokenizer.json` says otherwise; what has no id yet gets the next one.
    assert_eq!(special.all, ["<|im_start|>", "<|im_end|>", "<tool>", "<a>", "<b>"]);
    assert_eq!(one.encode("<tool><b><a>").unwrap(), [2, NEXT + 1, NEXT]);
    let alone = told(&[("special_tokens_map.json", json!({"eos_token": "<|im_end|>"}))]);
    assert_eq!(alone.special_tokens().eos_token.as_deref(), Some("<|im_end|>"));
}

#[test]
fn a_template_sees_every_name_and_only_those() {
    let settings = json!({
        "sep_token": "he", "add_bos_token": true, "boi_token": "<tool>", "cls_token": null,
        "extra_special_tokens": {"image_token": "<|im_end|>"}
    });
    let source =
        "{{ sep_token }}|{{ image_token }}|{{ boi_token }}|{{ 'x' if cls_token is defined or mask_token is defined }}";
    let one = told(&[("tokenizer_config.json", settings), ("chat_template.jinja", json!(source))]);
    assert_eq!(chat(&one), "he|<|im_end|>|<tool>|");
    // A token of the vocabulary that has a name is matched before any merging.
    assert_eq!(pieces(&one, " he"), ["Ġ", "he"]);
    assert_eq!(pieces(&told(&[]), " he"), ["Ġhe"]);
}

#[test]
fn files_that_contradict_each_other_are_refused_by_name() {
    let decoder = |id: &str| {
        let list: Map<String, Value> = [(id.to_owned(), token("<stop>", true))].into_iter().collect();
        [("tokenizer_config.json", json!({ "added_tokens_decoder": list }))]
    };
    refused(&decoder("1"), &["tokenizer_config.json", "\"<stop>\" the id 1", "there 1 is \"<|im_end|>\"", "hint: "]);
    refused(&decoder("300"), &["tokenizer_config.json", "\"<stop>\" the id 300", "gets 263"]);
    refused(&decoder("x"), &["tokenizer_config.json", "no token under the id"]);
    let added = |value: Value| [("added_tokens.json", value)];
    refused(&added(json!({"<|im_end|>": 5})), &["added_tokens.json", "\"<|im_end|>\" the id 5"]);
    refused(&added(json!({"<a>": 263, "<b>": 263})), &["added_tokens.json", "\"<a>\" and \"<b>\""]);
    refused(&added(json!({"<a>": "263"})), &["added_tokens.json", "the id of \"<a>\""]);
    refused(&added(json!([])), &["added_tokens.json", "not a JSON object"]);
    let settings = |value: Value| [("tokenizer_config.json", value)];
    refused(&settings(json!({"eos_token": 7})), &["eos_token of tokenizer_config.json"]);
    refused(&settings(json!({"additional_special_tokens": "<a>"})), &["additional_special_tokens of tokenizer_config"]);
    refused(&settings(json!({"split_special_tokens": true})), &["split_special_tokens of tokenizer_config.json"]);
    refused(&[("special_tokens_map.json", json!({"pad_token": []}))], &["pad_token of special_tokens_map.json"]);
}

#[test]
fn what_other_files_add_is_bounded_as_the_tokenizer_is() {
    let many: Map<String, Value> = (0..70_000_u32).map(|at| (format!("<{at}>"), json!(NEXT + at))).collect();
    refused(&[("added_tokens.json", json!(many))], &["added tokens"]);
    let long = "x".repeat(5000);
    refused(&[("added_tokens.json", json!({ long: NEXT }))], &["added token \"xxx"]);
    let names: Map<String, Value> = (0..1001).map(|at| (format!("t{at}"), json!("he"))).collect();
    refused(&[("tokenizer_config.json", json!({"extra_special_tokens": names}))], &["names of tokens"]);
}

#[test]
fn a_copy_says_in_two_files_what_was_told_in_four() {
    let files = [
        ("tokenizer_config.json", json!({"eos_token": "<stop>", "sep_token": "<tool>"})),
        ("special_tokens_map.json", json!({"bos_token": "<|im_start|>"})),
        ("added_tokens.json", json!({"<stop>": 263})),
        ("chat_template.json", json!({"chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"})),
    ];
    let one = told(&files);
    let copy = tempfile::tempdir().unwrap();
    one.save(copy.path()).unwrap();
    let mut names: Vec<_> = fs::read_dir(copy.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["tokenizer.json", "tokenizer_config.json"]);
    let again = Tokenizer::from_file(&copy.path().join("tokenizer.json")).unwrap();
    assert_eq!((again.special_tokens(), chat(&again)), (one.special_tokens(), "<|im_start|>hi<stop>".to_owned()));
    assert_eq!(again.encode("<stop><tool>").unwrap(), [NEXT, 2]);
    assert_eq!(again.fingerprint(), one.fingerprint());
    // The file is that of a tokenizer without these tokens; what decides ids is not.
    assert_eq!((one.sha256(), told(&[]).fingerprint()), (told(&[]).sha256(), told(&[]).sha256()));
    assert_ne!(one.fingerprint(), one.sha256());
}

#[test]
fn an_adapter_brings_its_own_words_over_those_of_its_base() {
    let base =
        told(&[("tokenizer_config.json", json!({"eos_token": "<|im_end|>"})), ("chat_template.jinja", json!("b"))]);
    let of = |files: &[(&str, Value)], whole: bool| {
        let folder = folder(files);
        if !whole {
            fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
        }
        Tokenizer::of_adapter(folder.path(), Some(&base)).unwrap()
    };
    let source = |own: &Tokenizer| own.template.clone();
    assert!(of(&[], false).is_none());
    let nothing_new = of(&[("tokenizer_config.json", json!({"eos_token": "<|im_end|>"}))], true).unwrap();
    assert_eq!((nothing_new.brings(Some(&base)), source(&nothing_new).as_deref()), (Brought::default(), Some("b")));
    let template = of(&[("chat_template.jinja", json!("a"))], false).unwrap();
    assert_eq!(template.brings(Some(&base)), Brought { tokenizer: false, template: true });
    assert_eq!((source(&template).as_deref(), template.special_tokens()), (Some("a"), base.special_tokens()));
    let named = of(&[("tokenizer_config.json", json!({"eos_token": "<tool>"}))], false).unwrap();
    assert_eq!(named.brings(Some(&base)), Brought { tokenizer: true, template: false });
    assert_eq!((named.encode("<tool>").unwrap(), source(&named).as_deref()), (vec![2], Some("b")));
    let added = of(&[("added_tokens.json", json!({"<stop>": 263}))], true).unwrap();
    assert!(added.brings(Some(&base)).tokenizer && added.encode("<stop>").unwrap() == [NEXT]);
    added.refuse_other_ids(&base, Path::new("adapter")).unwrap();
}

#[test]
fn an_adapter_whose_ids_mean_other_tokens_than_those_of_the_base_is_refused() {
    let base = told(&[]);
    let renamed = |from: &str, to: &str| {
        let text = String::from_utf8(base.json.clone()).unwrap().replace(from, to);
        Tokenizer::from_parts(text.into_bytes(), Told::default()).unwrap()
    };
    let refused = |own: &Tokenizer| own.refuse_other_ids(&base, Path::new("adapter")).unwrap_err().to_string();
    let message = refused(&renamed("<tool>", "<call>"));
    assert!(
        message.contains("token \"<call>\" the id 2") && message.contains("in the base 2 is \"<tool>\""),
        "{message}"
    );
    let swapped = String::from_utf8(base.json.clone()).unwrap();
    let swapped = swapped.replace("<|im_end|>", "<|x|>").replace("<tool>", "<|im_end|>").replace("<|x|>", "<tool>");
    let own = Tokenizer::from_parts(swapped.into_bytes(), Told::default()).unwrap();
    let message = refused(&own);
    assert!(message.contains("token \"<tool>\" the id 1, and the base gives it 2\nhint: "), "{message}");
}
