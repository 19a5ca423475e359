//! Proofs about the way from rows on disk to samples, on the shipped smoke config.

use std::path::{Path, PathBuf};

use expect_test::expect;

use super::*;
use crate::config;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn loaded(overrides: &[&str]) -> Result<Data> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    let config = config::load(&repository().join("configs/smoke.toml"), &overrides)?;
    let tokenizer = Tokenizer::from_file(&repository().join("tests/golden/tiny-chat/tokenizer.json"))?;
    let template = tokenizer.chat_template()?.unwrap();
    let set = Folder::open(repository().join("datasets/smoke"))?;
    load(&config, Some(set), &Language { tokenizer: &tokenizer, template: &template, context_tokens: 1024 })
}

fn refusal(overrides: &[&str]) -> String {
    loaded(overrides).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_smoke_set_is_read_split_and_accounted_for() {
    let data = loaded(&[]).unwrap();
    expect![[r#"
        rows      60 read, 60 used: 36 train, 12 valid, 12 test
        tokens    4137, 420 supervised
        longest   ticket-59 (77), ticket-14 (76), ticket-50 (76), ticket-47 (76), ticket-02 (75)
        train     36 rows, 2451 tokens, 252 of them learnt
        valid     12 rows, 829 tokens, 84 of them scored
        test      12 rows, 857 tokens, 84 of them scored
    "#]]
    .assert_eq(&(data.ledger.lines().join("\n") + "\n"));
    assert_eq!(data.ledger.warnings, Vec::<String>::new());
    assert_eq!((data.name.as_str(), data.labels.len()), ("smoke", 3));
    assert_eq!(data.train.records.len(), data.train.samples.len());
    for (record, sample) in data.train.records.iter().zip(&data.train.samples) {
        assert_eq!((&record.id, &record.group), (&sample.id, &sample.group));
    }
}

#[test]
fn held_out_rows_are_asked_in_the_words_of_training() {
    let data = loaded(&[]).unwrap();
    let row = &data.test[0];
    let roles: Vec<&str> = row.prompt.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user"]);
    assert_eq!(row.prompt[0].content, "Name the queue of this ticket.");
    assert_eq!(row.record.messages.len(), 2);
}

#[test]
fn rows_above_the_limits_are_counted_and_named() {
    let data = loaded(&["data.limit_train=20", "data.limit_test=3", "data.max_tokens=72"]).unwrap();
    let ledger = &data.ledger;
    assert_eq!((data.test.len(), ledger.rows.unaccounted()), (3, 0));
    assert!(data.train.samples.len() < 20 && data.train.samples.iter().all(|sample| sample.ids.len() <= 72));
    assert!(ledger.warnings[0].contains("train rows (") && ledger.warnings[0].ends_with("were left out or cut"));
    let text = ledger.lines().join("\n");
    for expected in
        ["above data.limit_train = 20", "above data.limit_test = 3", "longer than data.max_tokens = 72", "scored whole"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let again: DataLedger = serde_json::from_str(&serde_json::to_string(ledger).unwrap()).unwrap();
    assert_eq!(again, *ledger);
}

#[test]
fn cut_rows_keep_their_answer_and_are_counted() {
    let data = loaded(&["data.max_tokens=72", "data.overflow=truncate-left"]).unwrap();
    assert!(data.ledger.rows.truncated_rows > 0 && data.ledger.rows.refused.is_empty());
    assert_eq!(data.ledger.truncated_supervised_tokens, 0);
    let whole = loaded(&[]).unwrap();
    assert_eq!(data.ledger.tokens["train"].supervised_tokens, whole.ledger.tokens["train"].supervised_tokens);
}

#[test]
fn what_cannot_be_trained_is_refused_before_it_is_tried() {
    assert!(
        refusal(&["data.max_tokens=2048", "train.micro_batch_tokens=4096"]).contains("the model's context is 1024")
    );
    assert!(refusal(&["data.max_tokens=5"]).starts_with("no training row is left"));
    assert!(refusal(&["data.valid_fraction=0.0"]).contains("there are no validation rows"));
    assert!(refusal(&["eval.max_new_tokens=980"]).contains("the context leaves room for 44"));
}

#[test]
fn right_answers_that_no_model_has_the_tokens_to_say_are_told() {
    // Five, six and seven tokens, and the end of the turn.
    assert!(loaded(&["eval.max_new_tokens=8"]).unwrap().ledger.warnings.is_empty());
    let told = loaded(&["eval.max_new_tokens=7"]).unwrap().ledger.warnings;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("of 12 right answers have more than eval.max_new_tokens = 7 tokens"), "{told:?}");
    assert!(told[0].ends_with("--set eval.max_new_tokens=8"), "{told:?}");
    assert!(loaded(&["eval.max_new_tokens=7", "eval.enabled=false"]).unwrap().ledger.warnings.is_empty());
}

#[test]
fn files_of_the_user_are_split_or_taken_as_they_are_divided() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(repository().join("datasets/smoke/tickets.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(folder.path().join("all.jsonl"), &text).unwrap();
    std::fs::write(folder.path().join("a.jsonl"), lines[..30].join("\n")).unwrap();
    std::fs::write(folder.path().join("b.jsonl"), lines[30..45].join("\n")).unwrap();
    std::fs::write(folder.path().join("c.jsonl"), lines[45..].join("\n")).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let one =
        loaded(&["data.set=", &format!("data.train={}", file("all.jsonl")), "data.near_duplicates=none"]).unwrap();
    assert_eq!((one.name.as_str(), one.ledger.rows.used), ("all", 60));
    let divided = loaded(&[
        "data.set=",
        "data.valid_fraction=",
        &format!("data.train={}", file("a.jsonl")),
        &format!("data.valid={}", file("b.jsonl")),
        &format!("data.test={}", file("c.jsonl")),
        "data.near_duplicates=none",
    ])
    .unwrap();
    let rows = (divided.train.samples.len(), divided.valid.samples.len(), divided.test.len());
    assert_eq!(rows, (30, 15, 15));
    assert!(divided.labels.is_empty());
}

#[test]
fn a_fault_of_the_template_names_its_rows() {
    let config = config::load(&repository().join("configs/smoke.toml"), &[]).unwrap();
    let tokenizer = Tokenizer::from_file(&repository().join("tests/golden/tiny-chat/tokenizer.json")).unwrap();
    let template =
        ChatTemplate::new("{{ raise_exception('no system turn') }}", tokenizer.special_tokens().clone()).unwrap();
    let set = Folder::open(repository().join("datasets/smoke")).unwrap();
    let language = Language { tokenizer: &tokenizer, template: &template, context_tokens: 1024 };
    let error = load(&config, Some(set), &language).unwrap_err().to_string();
    assert!(error.starts_with("36 of 36 rows cannot be used\n  row `ticket-"), "{error}");
    assert!(error.contains("no system turn") && error.ends_with("and 26 more"), "{error}");
}

#[test]
fn weights_leave_out_rows_and_answers_and_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let turns = |at: usize, first: &str, last: &str| {
        format!(
            r#"{{"role":"user","content":"one {at}?"}},{{"role":"assistant","content":"1"{first}}},{{"role":"user","content":"two?"}},{{"role":"assistant","content":"22"{last}}}"#
        )
    };
    let (zero, one) = (r#","weight":0"#, r#","weight":1.0"#);
    let write = |name: &str, lines: &[String]| {
        std::fs::write(folder.path().join(name), lines.join("\n")).unwrap();
        folder.path().join(name).display().to_string()
    };
    let train = [
        format!(r#"{{"id":"plain","messages":[{}]}}"#, turns(0, "", "")),
        format!(r#"{{"id":"off","weight":0.0,"messages":[{}]}}"#, turns(1, "", "")),
        format!(r#"{{"id":"half","group":"g","weight":1,"messages":[{}]}}"#, turns(2, zero, one)),
        format!(r#"{{"id":"none","group":"h","messages":[{}]}}"#, turns(3, zero, zero)),
        format!(r#"{{"id":"first","messages":[{}]}}"#, turns(4, one, zero)),
    ];
    let test = [
        format!(r#"{{"id":"asked","messages":[{}]}}"#, turns(5, zero, "")),
        format!(r#"{{"id":"wrong","messages":[{}]}}"#, turns(6, "", zero)),
    ];
    let (train, test) = (write("train.jsonl", &train), write("test.jsonl", &test));
    let with = |train_on: &str| {
        loaded(&[
            "data.set=",
            "data.valid_fraction=",
            "train.valid_every_steps=0",
            "data.near_duplicates=none",
            &format!("data.train={train}"),
            &format!("data.test={test}"),
            &format!("data.train_on={train_on}"),
        ])
    };
    let ids = |data: &Data| data.train.samples.iter().map(|sample| sample.id.clone()).collect::<Vec<_>>();
    let learnt = |data: &Data| data.train.samples.iter().map(Sample::supervised_tokens).collect::<Vec<_>>();
    let last = with("last").unwrap();
    assert_eq!(ids(&last), ["plain", "half"]);
    assert_eq!(learnt(&last)[0], learnt(&last)[1], "the last answer of both is learnt");
    assert_eq!(last.test.iter().map(|row| row.record.id.as_str()).collect::<Vec<_>>(), ["asked"]);
    let ledger = last.ledger.lines().join("\n");
    assert!(ledger.contains("refused   1 rows: its `weight` is 0"), "{ledger}");
    assert!(ledger.contains("refused   3 rows: the `weight` of each answer that counts is 0"), "{ledger}");
    assert_eq!((last.ledger.rows.unaccounted(), last.ledger.rows.used), (0, 3));
    let every = with("assistant").unwrap();
    assert_eq!(ids(&every), ["plain", "half", "first"]);
    let [plain, half, first] = learnt(&every)[..] else { panic!("three rows are learnt") };
    assert_eq!((half, plain), (learnt(&last)[1], half + first), "each answer is learnt once");
    let error = with("all").unwrap_err().to_string();
    assert!(error.starts_with("3 of 5 rows cannot be used\n  row `half`: a message has `weight` 0"), "{error}");
}
