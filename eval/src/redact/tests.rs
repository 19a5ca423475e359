//! Properties of the whole redactor: planted values never survive, everything else does, and the way back is exact.
//! Knows nothing about single kinds beyond how their values are written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::Role;

const FILLER: [&str; 8] = [
    "the tenant shall pay",
    "see clause 4.2",
    "(as agreed)",
    "on 01.02.2024,",
    "EUR 1,250.00;",
    "naïve «Wörter»",
    "第一条",
    "1234567",
];

fn redactor() -> Redactor {
    let mut kinds: Vec<Box<dyn Kind>> = vec![Box::new(Names::from_lines("Jürgen Müller\nJane Roe\nRoe\n").unwrap())];
    kinds.extend(RedactOptions::default().redactor(Path::new("")).unwrap().kinds);
    kinds.push(Box::new(Pattern::new("docket", r"DK-[0-9]{4}").unwrap()));
    Redactor::new(kinds)
}

fn luhn_digit(body: &str) -> char {
    let sum: u32 = digits::values(body)
        .rev()
        .enumerate()
        .map(|(at, d)| if at % 2 == 1 { d } else { d * 2 - if d > 4 { 9 } else { 0 } })
        .sum();
    char::from_digit((10 - sum % 10) % 10, 10).unwrap()
}

fn in_fours(text: &str, separator: &str) -> String {
    let parts: Vec<&str> = (0..text.len()).step_by(4).map(|at| &text[at..(at + 4).min(text.len())]).collect();
    parts.join(separator)
}

/// The only two digits that make the account valid.
fn iban(country: &str, body: &str) -> String {
    let fits = |check: &u32| !Iban.find(&format!("{country}{check:02}{body}")).is_empty();
    format!("{country}{:02}{body}", (2..99).find(fits).unwrap())
}

/// The first of all continuations that a kind takes for a value.
fn completed(kind: &dyn Kind, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates.into_iter().find(|text| kind.find(text).first() == Some(&(0..text.len())))
}

fn values() -> BoxedStrategy<String> {
    let separators = || select(vec!["", " ", "-", "\u{A0}", "\u{2011}", "\u{202F}"]);
    prop_oneof![
        "[a-z]{1,8}(\\.[a-z0-9]{1,8})?(\\+[a-z]{1,4})?@[a-z]{1,8}(-[a-z]{1,4})?\\.(com|org|co\\.uk|museum)",
        ("[1-9][0-9]{12,17}", separators())
            .prop_map(|(body, separator)| {
                let body = if separator.is_empty() { body } else { format!("4{body}") };
                in_fours(&format!("{body}{}", luhn_digit(&body))[..], separator)
            })
            .prop_filter("at most 19 digits", |card| card.chars().filter(char::is_ascii_digit).count() <= 19),
        (select(vec![("DE", 18), ("NO", 11), ("ES", 20), ("SA", 20)]), "[0-9]{20}", separators())
            .prop_map(|((country, len), body, separator)| in_fours(&iban(country, &body[..len]), separator)),
        ("\\+49 ?[1-9][0-9]{1,3}[ -][0-9]{3,4}[ -]?[0-9]{2,4}", Just(())).prop_map(|(text, ())| text),
        "\\+1 ?\\([2-9][0-9]{2}\\) ?[2-9][0-9]{2}-[0-9]{4}",
        "0[1-9][0-9]{1,2}[ /][1-9][0-9]{5,6}",
        "[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4}",
        "(25[0-5]|1[0-9]{2}|[1-9][0-9])(\\.(25[0-5]|1[0-9]{2}|[0-9])){3}",
        any::<[u16; 8]>().prop_map(|parts| std::net::Ipv6Addr::from(parts).to_string()),
        "(0[1-9][0-9]|[1-5][0-9]{2})-(0[1-9]|[1-9][0-9])-[1-9][0-9]{3}",
        "[ABCEHJLMPRSTWXY][ABCEHJLMPRSTWXY] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[ABCD]",
        "[1-9][0-9]{7}".prop_map(|body| completed(
            &national::EsDni,
            ('A'..='Z').map(|letter| format!("{body}{letter}"))
        )
        .unwrap()),
        "[2-9][0-9]{10}".prop_map(|body| completed(
            &national::InAadhaar,
            (0..10).map(|digit| format!("{body}{digit}"))
        )
        .unwrap()),
        "[1-9][0-9]{8}".prop_filter_map("no repdigit", |body| {
            completed(&national::BrCpf, (0..100).map(|check| format!("{body}{check:02}")))
        }),
        "[1-9][0-9]{7}".prop_filter_map("no digit fits", |body| completed(
            &national::NlBsn,
            (0..10).map(|digit| format!("{body}{digit}"))
        )),
        "[12][0-9]{2}0[1-9][0-9]{2}[0-9]{6}".prop_map(|body| completed(
            &national::FrNir,
            (1..98).map(|key| format!("{body}{key:02}"))
        )
        .unwrap()),
        select(vec!["86095742719", "47 036 892 816", "65929970489", "RCCMNL83S18D969H"]).prop_map(str::to_owned),
        select(vec!["Jürgen Müller", "JANE ROE", "jane roe", "Ju\u{308}rgen Mu\u{308}ller", "Roe", "DK-1234"])
            .prop_map(str::to_owned),
    ]
    .boxed()
}

/// The same value as somebody else might write it: invisible characters inside, digits and signs of another width.
fn disguised(value: &str, seed: u64) -> String {
    let mut state = seed | 1;
    let mut out = String::new();
    for c in value.chars() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (state >> 60, c) {
            (0 | 1, _) if !out.is_empty() => out.extend(['\u{200B}', c]),
            (2, _) if !out.is_empty() => out.extend(['\u{AD}', c]),
            (3 | 4, '0'..='9' | '@' | '.') => out.extend(char::from_u32(u32::from(c) + 0xFEE0)),
            (5, '-') => out.push('\u{2011}'),
            (6 | 7, ' ') => out.push('\u{A0}'),
            _ => out.push(c),
        }
    }
    out
}

fn bare(text: &str) -> String {
    fold::fold(text).chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn planted_values_never_survive_and_come_back(
        planted in proptest::collection::vec((values(), select(FILLER.to_vec()), any::<u64>(), any::<bool>()), 1..5),
    ) {
        let redactor = redactor();
        let written: Vec<String> = planted
            .iter()
            .map(|(value, _, seed, plain)| if *plain { value.clone() } else { disguised(value, *seed) })
            .collect();
        let text: String = planted.iter().zip(&written).map(|((_, filler, ..), value)| format!("{filler} {value}; ")).collect();
        let (hidden, originals) = redactor.redact_text(&text);
        for ((value, ..), written) in planted.iter().zip(&written) {
            prop_assert!(!hidden.contains(written.as_str()), "{written} is left in {hidden}");
            // Digits of the filler and of placeholders do not count: the value as one piece is gone in every spelling.
            let by_chance = FILLER.iter().any(|filler| bare(filler).contains(&bare(value)));
            let gone = by_chance || hidden.split(['[', ']', ';']).all(|piece| !bare(piece).contains(&bare(value)));
            prop_assert!(gone, "{value} is left in {hidden}");
        }
        prop_assert!(originals.hidden().values().sum::<usize>() >= planted.len());
        let (again, nothing) = redactor.redact_text(&hidden);
        prop_assert_eq!(&again, &hidden);
        prop_assert_eq!(nothing.num_values(), 0);
    }

    #[test]
    fn one_value_is_restored_byte_for_byte(value in values(), filler in select(FILLER.to_vec())) {
        let text = format!("{filler} {value}. {filler}");
        let (hidden, originals) = redactor().redact_text(&text);
        // Digits beside a value may be found as another one, and a value with two spellings comes back in the first.
        prop_assume!(originals.num_values() == 1);
        let restored = originals.restore(&hidden);
        prop_assert_eq!(restored.text, text);
        prop_assert!(restored.unknown.is_empty());
    }

    #[test]
    fn text_without_values_is_unchanged_byte_for_byte(
        words in proptest::collection::vec("[a-z]{1,9}|[0-9]{1,5}|[0-9]{1,2}\\.[0-9]{1,2}|\u{2019}|\\PC|, |\n|[A-Z][a-z]{2,8}", 0..40),
    ) {
        let text = words.join(" ");
        let redactor = redactor();
        let found: usize = redactor.kinds().map(|kind| kind.find(&fold::fold(&text)).len()).sum();
        let (hidden, _) = redactor.redact_text(&text);
        if found == 0 {
            prop_assert_eq!(hidden, text);
        }
    }

    #[test]
    fn any_text_is_redacted_once_and_for_all(text in "(\\PC|[0-9@.+ -]|\\[EMAIL_1\\]|\u{200B}|\u{308}){0,60}") {
        let redactor = redactor();
        let (once, originals) = redactor.redact_text(&text);
        prop_assert_eq!(&redactor.redact_text(&once).0, &once);
        if originals.num_values() == 0 {
            prop_assert_eq!(once, text);
        }
    }
}

#[test]
fn ordinary_legal_text_is_left_alone() {
    let text = "\u{FEFF}§ 12.3.4 — Term. This Agreement (the “Agreement”) of 12 March 2021 runs until 31.12.2025, 24:00. Section 1.2.3.4 \
                applies. Rent: EUR 1,250.00 (VAT 19 %), 10 000 000 shares, 2019 2020 2021, pp. 123–456, ISBN 978-3-16-148410-0, \
                12.5 x 30.25, 1/2, 3:45, v1.2.3, #4567, $12.50, No. 2021/1234, 60601-1234, call @noon, f::a(b), a@b.";
    assert_eq!(redactor().redact_text(text).0, text);
}

#[test]
fn one_value_has_one_placeholder_in_all_messages_of_a_prompt() {
    let messages = [
        Message::new(Role::System, "Answer john@example.com. [EMAIL_2] is a placeholder of ours."),
        Message::new(Role::User, "JOHN@example.com wrote to jane@example.com, +49 30 1234567 or 0049 30 123 45 67."),
    ];
    let redacted = redactor().redact(&messages);
    assert_eq!(redacted.messages[0].content, "Answer [EMAIL_1]. [EMAIL_2] is a placeholder of ours.");
    assert_eq!(redacted.messages[1].content, "[EMAIL_1] wrote to [EMAIL_3], [PHONE_1] or [PHONE_1].");
    assert_eq!(
        redacted.originals.hidden().iter().map(|(kind, n)| (kind.as_str(), *n)).collect::<Vec<_>>(),
        [("email", 3), ("phone", 2)]
    );
    assert_eq!(redacted.originals.restore("to [EMAIL_1] and [EMAIL_2]").text, "to john@example.com and [EMAIL_2]");
}

#[test]
fn a_pattern_across_a_placeholder_hides_what_is_around_it() {
    let mut kinds = vec![Box::new(Pattern::new("secret", "secret: .*").unwrap()) as Box<dyn Kind>];
    kinds.push(Box::new(Email));
    let (hidden, _) = Redactor::new(kinds).redact_text("secret: [EMAIL_1] hunter2\nopen");
    assert_eq!(hidden, "[SECRET_1][EMAIL_1][SECRET_2]\nopen");
}

#[test]
fn a_megabyte_of_anything_is_redacted_in_linear_time() {
    let redactor = redactor();
    for unit in
        ["1", "1 ", "12-", "+1 ", "a@", "a.", "DE89 ", "::1", "1.", "Roe ", "\u{200B}1", "０", "e\u{308}", "(0) ", "x"]
    {
        let text = unit.repeat(300_000 / unit.len());
        redactor.kinds().for_each(|kind| drop(kind.find(&fold::fold(&text))));
        let _ = redactor.redact_text(&text[..text.len() - text.len() % unit.len()]);
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    kind: String,
    text: String,
    value: Option<String>,
}

/// What the named kind makes of each case; every miss is told.
fn check_cases(json: &str) {
    let cases: Vec<Case> = serde_json::from_str(json).unwrap();
    let kinds: Vec<&dyn Kind> = ALL.into_iter().chain(national::ALL).collect();
    let mut wrong = Vec::new();
    for Case { kind, text, value } in &cases {
        let finder = kinds.iter().find(|known| known.name() == kind).unwrap();
        let folded = Folded::new(text, &[]);
        let found: Vec<&str> = finder.find(folded.text()).iter().map(|range| &text[folded.origin(range)]).collect();
        if found != value.as_deref().into_iter().collect::<Vec<_>>() {
            wrong.push(format!("{kind}: {text}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases: {:#?}", wrong.len(), cases.len(), &wrong[..wrong.len().min(40)]);
}

#[test]
fn a_sample_of_the_values_of_other_packages_is_found() {
    check_cases(include_str!("../../tests-data/redact/values.json"));
}

#[test]
#[ignore = "needs cases: run tests/oracles/redact_values.py as its head says, then set REDACT_CASES"]
fn values_of_other_packages_are_found_and_what_they_refuse_is_not() {
    check_cases(&std::fs::read_to_string(std::env::var("REDACT_CASES").unwrap()).unwrap());
}
