//! What a row says beside its turns: weights, parts, null extras, roles and keys that stand twice, with and without a
//! group; and targets that their own scorer cannot read. Obeyed, or refused before anything is trained.

use crate::util::{Scene, row, rows, summary, tiny_chat, trainer};

/// A row of text turns with something more in the row and in its answer.
fn with(around: &str, answer: &str) -> String {
    format!(
        "{{{around}\"messages\": [{{\"role\": \"user\", \"content\": \"q\"}}, {{\"role\": \"assistant\", {answer}}}]}}\n"
    )
}

#[test]
fn a_file_of_rows_is_read_alike_with_and_without_a_group() {
    let scene = Scene::new();
    let plain = "\"content\": \"a\"";
    let parts = "\"content\": [{\"type\": \"text\", \"text\": \"a\"}]";
    let nulls = "\"content\": \"a\", \"name\": null, \"tool_calls\": null, \"refusal\": null";
    for group in ["", "\"group\": \"doc1\", "] {
        for answer in [plain, parts, nulls, "\"content\": \"a\", \"weight\": 0"] {
            let file = scene.write("rows.jsonl", with(group, answer)).display().to_string();
            let shown = scene.run(&["show", &file, "--json"]).good().json();
            assert_eq!(shown["rows"], 1, "{group}{answer}");
            assert_eq!(shown["first_target"], "a", "{group}{answer}");
        }
        for (answer, told) in [
            ("\"content\": \"a\", \"content\": \"b\"", "rows.jsonl:1: key \"content\" occurs twice"),
            ("\"content\": \"a\", \"tool_calls\": [{}]", "rows.jsonl:1: messages[1]: a message with `tool_calls`"),
            ("\"content\": \"a\", \"weight\": 0.5", "rows.jsonl:1: messages[1]: `weight` 0.5 is not supported"),
        ] {
            let file = scene.write("rows.jsonl", with(group, answer)).display().to_string();
            scene.run(&["show", &file]).refused(&[told]);
        }
        let developer = with(group, plain).replace("[{", "[{\"role\": \"developer\", \"content\": \"s\"}, {");
        let file = scene.write("rows.jsonl", developer).display().to_string();
        assert_eq!(scene.run(&["show", &file, "--json"]).good().json()["messages"], 3);
        for (more, told) in [
            ("\"weight\": 0.5, ", "rows.jsonl:1: `weight` 0.5 is not supported"),
            ("\"images\": [\"a.png\"], ", "rows.jsonl:1: `images` is not supported"),
            ("\"weigth\": 0, ", "rows.jsonl:1: unknown key `weigth`"),
        ] {
            let file = scene.write("rows.jsonl", with(&format!("{group}{more}"), plain)).display().to_string();
            scene.run(&["show", &file]).refused(&[told]);
        }
    }
}

#[test]
fn rows_of_weight_0_are_not_learnt_and_the_ledger_says_so() {
    let scene = Scene::new();
    let line = |number: usize, weight: &str, answer: &str| {
        let row = row(&format!("row-{number}"), &format!("Is number {number} right{}?", "!".repeat(number)), answer);
        row.replacen('{', &format!("{{\"weight\": {weight}, "), 1)
    };
    // One row in four counts, and all others say something else.
    let weighed = |number: usize| match number % 4 {
        0 => line(number, "1.0", "termination"),
        _ => line(number, "0.0", "assignment"),
    };
    let train: String = (0..8).map(weighed).collect();
    scene.write("train.jsonl", train);
    let done = scene.overfit("run").good();
    let told = format!("{}{}", done.stdout, done.stderr);
    assert!(told.contains("refused   6 rows: its `weight` is 0"), "{told}");
    assert_eq!(summary(&scene.path("run"))["data"]["rows"], 2);
    let (model, adapter) = (tiny_chat().display().to_string(), scene.text("run"));
    for number in [0, 1, 4, 5] {
        let prompt = format!("Is number {number} right{}?", "!".repeat(number));
        let said = trainer(&["generate", "--model", &model, "--adapter", &adapter, "--json", &prompt]).good().json();
        assert_ne!(said["text"], "assignment", "row {number} was learnt: {said}");
        assert!(number % 4 > 0 || said["text"] == "termination", "row {number} was not learnt: {said}");
    }
}

#[test]
fn an_answer_of_weight_0_is_read_and_not_learnt() {
    let scene = Scene::new();
    let turns = |weight: &str| {
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"one?\"}}, {{\"role\": \"assistant\", \"content\": \"first\"{weight}}}, \
             {{\"role\": \"user\", \"content\": \"two?\"}}, {{\"role\": \"assistant\", \"content\": \"second\"}}]}}\n"
        )
    };
    let sample = |line: &str| {
        scene.write("train.jsonl", line);
        let config = scene.text("config.toml");
        let done = scene.run(&["check", &config, "--set", "data.train_on=assistant", "--set", "train.epochs=8"]).good();
        done.stdout.lines().skip_while(|line| !line.starts_with("sample ")).collect::<Vec<_>>().join("\n")
    };
    let both = sample(&turns(""));
    assert!(both.contains("[[first<|im_end|>]]") && both.contains("[[second<|im_end|>]]"), "{both}");
    let one = sample(&turns(", \"weight\": 0"));
    assert!(
        one.contains("first<|im_end|>") && !one.contains("[[first") && one.contains("[[second<|im_end|>]]"),
        "{one}"
    );
    scene.write("train.jsonl", turns(", \"weight\": 0"));
    scene
        .run(&["check", &scene.text("config.toml"), "--set", "data.train_on=all", "--set", "train.epochs=8"])
        .refused(&["1 of 1 rows cannot be used", "`weight` 0", "data.train_on=assistant"]);
    scene.write("train.jsonl", turns("").replacen('{', "{\"weight\": 0, ", 1));
    scene.fit("run", &["--set", "train.epochs=8"]).refused(&["no training row is left", "its `weight` is 0"]);
    scene.nothing_written("run");
}

#[test]
fn targets_that_their_own_scorer_cannot_read_are_refused_before_anything_is_trained() {
    let list = "[{\"type\":\"LAW\",\"text\":\"law\"}]";
    for (scorer, good, bad, told) in [
        ("kind = \"numeric\"", "12", "twelve", "numeric: the target is not a number"),
        ("kind = \"spans\"", list, "law: LAW", "spans: the target cannot be read: "),
        ("kind = \"json_valid\"", "{}", "{'a': 1}", "json_strict: invalid json: "),
        ("kind = \"json_fields\"", "{}", "a = 1", "json_fields: the target is not JSON: "),
        ("kind = \"regex\"\npattern = \"^[0-9]+$\"", "12", "twelve", "regex: scores 0.0000"),
    ] {
        let scene = Scene::new();
        scene.edit_config(
            "[eval]\nenabled = false\n",
            &format!("[eval]\nmax_new_tokens = 64\n[[eval.scorer]]\n{scorer}\n"),
        );
        let held_out = |second: &str| {
            let asked = |id: &str, answer: &str| row(id, &format!("{id}: which law?"), answer);
            format!("{}{}{}", asked("one", good), asked("two", second), asked("three", good))
        };
        scene.write("test.jsonl", held_out(bad));
        let told = ["1 of 3 held-out rows", "row 2 (`two`), ", told, "[[eval.scorer]]"];
        scene.run(&["check", &scene.text("config.toml")]).refused(&told);
        scene.fit("run", &[]).refused(&told);
        scene.nothing_written("run");
        scene.write("test.jsonl", held_out(good));
        scene.run(&["check", &scene.text("config.toml")]).good();
    }
    // Rows that are only learnt are judged by nobody.
    let scene = Scene::new();
    scene.edit_config("[eval]\nenabled = false\n", "[eval]\n[[eval.scorer]]\nkind = \"numeric\"\n");
    scene.write("train.jsonl", rows(0..16));
    scene.write("test.jsonl", row("one", "how many?", "12"));
    scene.run(&["check", &scene.text("config.toml")]).good();
}
