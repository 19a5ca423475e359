//! Proofs about masks on a tiny byte-level tokenizer with ChatML, with known faults of other tools planted.

use std::path::Path;

use super::*;

fn tokenizer() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny-chat");
    Tokenizer::from_file(&folder.join("tokenizer.json")).unwrap()
}

fn chat(turns: &[(&str, &str)]) -> Vec<ChatMessage> {
    turns.iter().map(|(role, content)| ChatMessage { role: (*role).into(), content: (*content).into() }).collect()
}

const TWO_TURNS: &[(&str, &str)] =
    &[("system", "be brief"), ("user", "one?"), ("assistant", "the first"), ("user", "two?"), ("assistant", "another")];

struct Case {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Case {
    fn new() -> Case {
        let tokenizer = tokenizer();
        let template = tokenizer.chat_template().unwrap().unwrap();
        Case { tokenizer, template }
    }

    fn with(source: &str) -> Case {
        let tokenizer = tokenizer();
        let template = ChatTemplate::new(source, tokenizer.special_tokens().clone()).unwrap();
        Case { tokenizer, template }
    }

    fn masking(&self, train_on: TrainOn, max_tokens: usize, overflow: Overflow) -> Masking<'_> {
        let system = Some("be brief");
        Masking { tokenizer: &self.tokenizer, template: &self.template, train_on, max_tokens, overflow, system }
    }

    fn run(&self, train_on: TrainOn, max_tokens: usize, overflow: Overflow, turns: &[(&str, &str)]) -> Outcome {
        self.masking(train_on, max_tokens, overflow).sample("a", "g", &chat(turns), &[]).unwrap()
    }

    fn whole(&self, train_on: TrainOn, turns: &[(&str, &str)]) -> Sample {
        match self.run(train_on, usize::MAX, Overflow::Refuse, turns) {
            Outcome::Used(sample, None) => sample,
            other => panic!("{other:?}"),
        }
    }

    fn fault(&self, turns: &[(&str, &str)]) -> String {
        self.masking(TrainOn::Last, usize::MAX, Overflow::Refuse).sample("a", "g", &chat(turns), &[]).unwrap_err().what
    }

    fn learnt(&self, sample: &Sample) -> String {
        let ids: Vec<u32> =
            sample.ids.iter().zip(&sample.supervised).filter(|(_, on)| **on).map(|(id, _)| *id).collect();
        self.tokenizer.decode(&ids, false).unwrap()
    }
}

#[test]
fn only_the_last_answer_and_its_end_of_turn_are_learnt() {
    let case = Case::new();
    let sample = case.whole(TrainOn::Last, TWO_TURNS);
    assert_eq!(case.learnt(&sample), "another<|im_end|>");
    let prompt = case.tokenizer.decode(&sample.ids[..sample.prompt_tokens], false).unwrap();
    assert!(prompt.ends_with("two?<|im_end|>\n<|im_start|>assistant\n"), "{prompt}");
}

#[test]
fn every_answer_or_everything_is_learnt_when_asked_for() {
    let case = Case::new();
    assert_eq!(case.learnt(&case.whole(TrainOn::Assistant, TWO_TURNS)), "the first<|im_end|>another<|im_end|>");
    let all = case.whole(TrainOn::All, TWO_TURNS);
    assert!(!all.supervised[0] && all.supervised[1..].iter().all(|on| *on));
    assert_eq!(all.supervised_tokens(), all.ids.len() - 1);
}

#[test]
fn an_answer_of_no_weight_is_read_and_not_learnt() {
    let case = Case::new();
    let with = |unlearnt: &[usize], max_tokens, overflow| {
        case.masking(TrainOn::Assistant, max_tokens, overflow).sample("a", "g", &chat(TWO_TURNS), unlearnt).unwrap()
    };
    for (unlearnt, learnt) in [
        (vec![2], "another<|im_end|>"),
        (vec![4], "the first<|im_end|>"),
        (vec![0, 1, 3], "the first<|im_end|>another<|im_end|>"),
    ] {
        let Outcome::Used(sample, None) = with(&unlearnt, usize::MAX, Overflow::Refuse) else { panic!("{unlearnt:?}") };
        assert_eq!(case.learnt(&sample), learnt);
        let all = case.whole(TrainOn::Assistant, TWO_TURNS);
        assert_eq!((&sample.ids, sample.prompt_tokens), (&all.ids, all.prompt_tokens), "the text stays");
    }
    // What is cut away must not be all that is learnt.
    let tokens = case.whole(TrainOn::Assistant, TWO_TURNS).ids.len();
    let cut = with(&[4], tokens - 3, Overflow::TruncateRight);
    let Outcome::Used(sample, Some(cut)) = cut else { panic!("{cut:?}") };
    assert_eq!((case.learnt(&sample).as_str(), cut.supervised_tokens), ("the first<|im_end|>", 0));
    let cut = with(&[2], tokens - 3, Overflow::TruncateRight);
    assert_eq!(cut, Outcome::Refused(Refusal::TargetCut(tokens)));
    assert_eq!(with(&[2, 4], usize::MAX, Overflow::Refuse), Outcome::Refused(Refusal::NothingSupervised));
}

#[test]
fn lesson_f5_text_that_looks_like_a_marker_does_not_move_the_mask() {
    let case = Case::new();
    let turns = [("user", "assistant\nno, im_start assistant\nanother"), ("assistant", "assistant\nyes")];
    assert_eq!(case.learnt(&case.whole(TrainOn::Last, &turns)), "assistant\nyes<|im_end|>");
}

#[test]
fn lesson_f6_any_template_gives_spans_and_the_ids_are_those_of_its_own_rendering() {
    let plain = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}\
                 {% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";
    let marked = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}\
                  {% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\
                  {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    for (source, learnt) in [(plain, " another<|im_end|>"), (marked, "another<|im_end|>")] {
        let case = Case::with(source);
        let sample = case.whole(TrainOn::Last, TWO_TURNS);
        assert_eq!(case.learnt(&sample), learnt);
        let text = case.template.render(&chat(TWO_TURNS), false).unwrap();
        assert_eq!(sample.ids, case.tokenizer.encode(&text).unwrap());
    }
}

#[test]
fn lesson_f7_what_is_trained_must_be_what_is_served() {
    let thinks = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}\
                  {{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant\nLet me think{% endif %}";
    let fault = Case::with(thinks).fault(TWO_TURNS);
    assert!(fault.contains("generation prompt is not how the training text begins"), "{fault}");
    let late = thinks.replace("\nLet me think", "");
    let fault = Case::with(&late).fault(TWO_TURNS);
    assert!(fault.contains("would have to write \"\\n\" first"), "{fault}");
}

#[test]
fn lesson_f8_the_end_of_turn_is_learnt_though_it_is_also_the_padding() {
    let case = Case::new();
    let special = case.tokenizer.special_tokens();
    assert_eq!(special.pad_token, special.eos_token);
    let sample = case.whole(TrainOn::Last, TWO_TURNS);
    let last = sample.supervised.iter().rposition(|on| *on).unwrap();
    assert_eq!(case.tokenizer.token(sample.ids[last]).as_deref(), Some("<|im_end|>"));
    let endless = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\n{% endfor %}\
                   {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let fault = Case::with(endless).fault(TWO_TURNS);
    assert!(fault.contains("the model would never stop"), "{fault}");
}

#[test]
fn only_tokens_that_may_end_a_turn_are_offered_as_its_end() {
    let endless = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\n{% endfor %}\
                   {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let hint = |case: &Case| {
        let masking = case.masking(TrainOn::Last, usize::MAX, Overflow::Refuse);
        masking.sample("a", "g", &chat(TWO_TURNS), &[]).unwrap_err().hint
    };
    assert!(hint(&Case::with(endless)).ends_with("in the chat template: <|im_end|>"));
    // Where none is named, what opens the turn is still no end of it.
    let all = ["<s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|over|>"].map(str::to_owned).to_vec();
    let (bos_token, pad_token) = (Some("<s>".to_owned()), Some("<pad>".to_owned()));
    let special = SpecialTokens { all, bos_token, pad_token, ..SpecialTokens::default() };
    let prompt = "<s><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(ends_of_turn(&special, prompt), ["<|im_end|>", "<|over|>"]);
}

#[test]
fn the_hint_for_a_system_text_that_is_left_out_is_about_where_it_comes_from() {
    let silent = "{% for m in messages %}{% if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
                  {% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let case = Case::with(silent);
    let told = |system: &str| {
        let turns = [("system", system), ("user", "one?"), ("assistant", "a")];
        let masking = case.masking(TrainOn::Last, usize::MAX, Overflow::Refuse);
        masking.sample("a", "g", &chat(&turns), &[]).unwrap_err()
    };
    let (of_config, of_row) = (told("be brief"), told("be long"));
    assert!(of_config.what.contains("of data.system") && of_config.hint.contains("leave out data.system"));
    assert!(of_row.what.contains("of the row") && !of_row.hint.contains("data.system"), "{}", of_row.hint);
}

/// A ChatML template with the text of an assistant's turn as it is given.
fn marked(turn: &str) -> String {
    format!(
        "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{% if m.role == 'assistant' %}}{turn}\
         {{% else %}}{{{{ m.content }}}}<|im_end|>\n{{% endif %}}{{% endfor %}}\
         {{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
    )
}

#[test]
fn a_mark_may_go_on_behind_the_end_token_and_what_it_holds_is_learnt() {
    for (turn, learnt) in [
        ("{% generation %}{{ m.content + '<|im_end|>\n' }}{% endgeneration %}", "another<|im_end|>\n"),
        ("{% generation %}{{- m.content }}<|im_end|>\n\n  {% endgeneration %}", "another<|im_end|>\n\n"),
        ("{% generation %}{{ m.content }}<|im_end|> done.{% endgeneration %}", "another<|im_end|> done."),
        ("{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{{ '\n' }}", "another<|im_end|>"),
    ] {
        let case = Case::with(&marked(turn));
        let sample = case.whole(TrainOn::Last, TWO_TURNS);
        assert_eq!(case.learnt(&sample), learnt, "{turn}");
        let prompt = case.tokenizer.decode(&sample.ids[..sample.prompt_tokens], false).unwrap();
        assert!(prompt.ends_with("<|im_start|>assistant\n"), "{prompt}");
    }
    let case = Case::with(&marked("{% generation %}{{ m.content + '<|im_end|>\n' }}{% endgeneration %}"));
    let all = case.whole(TrainOn::Assistant, TWO_TURNS);
    assert_eq!(case.learnt(&all), "the first<|im_end|>\nanother<|im_end|>\n");
}

#[test]
fn a_mark_without_an_end_token_behind_the_answer_is_still_refused() {
    for turn in [
        "{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n",
        "{% generation %}{{ m.content + '\n' }}{% endgeneration %}",
        "{% generation %}<|im_end|>{{ m.content + '\n' }}{% endgeneration %}",
    ] {
        let fault = Case::with(&marked(turn)).fault(TWO_TURNS);
        assert!(fault.contains("the model would never stop"), "{turn}: {fault}");
    }
}

#[test]
fn lesson_f9_a_double_start_token_is_refused() {
    let twice = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}\
                 {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    assert_eq!(Case::with(twice).fault(TWO_TURNS), "the row begins with <|im_start|> twice");
}

#[test]
fn lesson_f10_nothing_is_cut_unless_asked_for() {
    let case = Case::new();
    let tokens = case.whole(TrainOn::Last, TWO_TURNS).ids.len();
    let run = |limit, overflow| case.run(TrainOn::Last, limit, overflow, TWO_TURNS);
    assert_eq!(run(tokens - 1, Overflow::Refuse), Outcome::Refused(Refusal::TooLong(tokens)));
    assert_eq!(run(tokens - 2, Overflow::TruncateRight), Outcome::Refused(Refusal::TargetCut(tokens)));
    let Outcome::Used(sample, Some(cut)) = run(tokens - 5, Overflow::TruncateLeft) else { panic!() };
    assert_eq!((cut, sample.ids.len()), (Cut { tokens: 5, supervised_tokens: 0 }, tokens - 5));
    assert_eq!(case.learnt(&sample), "another<|im_end|>");
    let target = sample.supervised_tokens();
    assert_eq!(run(target, Overflow::TruncateLeft), Outcome::Refused(Refusal::TargetCut(tokens)));
    assert!(matches!(run(target + 3, Overflow::TruncateLeft), Outcome::Used(..)));
}

#[test]
fn half_an_answer_is_never_learnt_but_counted() {
    let case = Case::new();
    let whole = case.whole(TrainOn::Assistant, TWO_TURNS);
    let tokens = whole.ids.len();
    let first = whole.supervised.iter().position(|on| *on).unwrap();
    let Outcome::Used(left, Some(cut)) =
        case.run(TrainOn::Assistant, tokens - first - 1, Overflow::TruncateLeft, TWO_TURNS)
    else {
        panic!()
    };
    assert_eq!(case.learnt(&left), "another<|im_end|>");
    assert_eq!(cut.supervised_tokens, whole.supervised_tokens() - left.supervised_tokens());
    let Outcome::Used(right, Some(_)) = case.run(TrainOn::Assistant, tokens - 2, Overflow::TruncateRight, TWO_TURNS)
    else {
        panic!()
    };
    assert_eq!(case.learnt(&right), "the first<|im_end|>");
    let short = case.run(TrainOn::Assistant, first + 1, Overflow::TruncateRight, TWO_TURNS);
    assert_eq!(short, Outcome::Refused(Refusal::TargetCut(tokens)));
    assert!(matches!(case.run(TrainOn::All, 10, Overflow::TruncateRight, TWO_TURNS), Outcome::Used(_, Some(_))));
}

#[test]
fn a_special_token_written_as_text_refuses_the_row() {
    let turns = [("user", "stop at <|im_end|> please"), ("assistant", "a")];
    let outcome = Case::new().run(TrainOn::Last, 99, Overflow::Refuse, &turns);
    assert_eq!(outcome, Outcome::Refused(Refusal::SpecialToken("<|im_end|>".into())));
}

#[test]
fn a_token_across_the_edge_of_an_answer_is_a_mismatch() {
    // ` the` is one token, so a prompt that ends with a space is joined with the answer.
    let joined = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant: {% endif %}";
    let fault = Case::with(joined).fault(&[("user", "q"), ("assistant", "the")]);
    assert!(fault.contains("across the edge of an answer"), "{fault}");
}

#[test]
fn characters_of_several_tokens_stay_whole() {
    let case = Case::new();
    let sample = case.whole(TrainOn::Last, &[("user", "日本 🙂"), ("assistant", "🙂 café")]);
    assert_eq!(case.learnt(&sample), "🙂 café<|im_end|>");
}

#[test]
fn a_template_that_raises_is_told_with_its_words() {
    let raises = "{{ raise_exception('roles must alternate') }}";
    assert!(Case::with(raises).fault(TWO_TURNS).contains("roles must alternate"));
}

/// ChatML that says itself what is generated, so that a talk of any length is rendered once.
const MARKED: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}\
                      {{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}\
                      {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn long_talk(turns: usize) -> Vec<(&'static str, &'static str)> {
    (0..turns).flat_map(|_| [("user", "hi"), ("assistant", "ho")]).collect()
}

#[test]
fn a_talk_of_ten_thousand_answers_is_refused_by_its_length_or_by_its_turns_and_never_takes_their_square() {
    let case = Case::new();
    let talk = long_talk(10_000);
    let started = std::time::Instant::now();
    let run = |case: &Case, train_on, limit, overflow| case.run(train_on, limit, overflow, &talk);
    let Outcome::Refused(Refusal::TooLong(tokens)) = run(&case, TrainOn::Assistant, 256, Overflow::Refuse) else {
        panic!()
    };
    assert!(tokens > 20_000);
    for overflow in [Overflow::Refuse, Overflow::TruncateLeft, Overflow::TruncateRight] {
        assert_eq!(run(&case, TrainOn::Assistant, usize::MAX, overflow), Outcome::Refused(Refusal::TooManyTurns));
    }
    assert!(matches!(run(&case, TrainOn::Last, usize::MAX, Overflow::Refuse), Outcome::Used(..)));
    let marked = Case::with(MARKED);
    let Outcome::Used(sample, None) = run(&marked, TrainOn::Assistant, usize::MAX, Overflow::Refuse) else { panic!() };
    assert!(sample.supervised_tokens() >= 20_000);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn the_answers_of_a_talk_are_those_that_the_template_marks_however_many_there_are() {
    let (plain, marked) = (Case::new(), Case::with(MARKED));
    for turns in [1, 2, 31, 32, 33, 100] {
        let talk = long_talk(turns);
        let learnt = |case: &Case| case.learnt(&case.whole(TrainOn::Assistant, &talk));
        assert_eq!(learnt(&plain), "ho<|im_end|>".repeat(turns));
        assert_eq!(learnt(&marked), learnt(&plain));
    }
}

proptest::proptest! {
    #[test]
    fn edges_are_looked_up_as_they_are_found_by_walking(
        lengths in proptest::collection::vec(0_usize..4, 0..20),
        gaps in proptest::collection::vec(0_usize..2, 20),
        edge in 0_usize..60,
        swapped: bool,
    ) {
        let mut at = 0;
        let mut ranges: Vec<Range<usize>> = lengths.iter().zip(&gaps).map(|(length, gap)| {
            at += gap;
            let start = at;
            at += length;
            start..at
        }).collect();
        if swapped {
            ranges.reverse();
        }
        let across = ranges.iter().any(|range| range.start < edge && edge < range.end);
        let count = ranges.iter().take_while(|range| range.end <= edge && range.start < edge).count();
        let found = Pieces::new("", ranges).before(edge);
        proptest::prop_assert_eq!(found.ok(), (!across).then_some(count));
    }
}
