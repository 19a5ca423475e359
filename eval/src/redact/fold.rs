//! A second view of a text in which a value has one spelling: no invisible characters, plain spaces, hyphens, dots and digits, letters composed.
//! Knows nothing about what is looked for; every place in the view leads back to bytes of the original.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, compose};

/// Stands in the view for a placeholder that is already in the text.
const MASK: char = '\u{FFFC}';

/// The view of one text.
pub(super) struct Folded<'a> {
    text: std::borrow::Cow<'a, str>,
    /// For each byte of the view the bytes of the original that it stands for; none when both are the same.
    origins: Option<Vec<Range<usize>>>,
    masks: Vec<Range<usize>>,
}

impl<'a> Folded<'a> {
    /// The view of `text`; `placeholders` are ranges of it, in order, in which nothing is to be found.
    pub(super) fn new(text: &'a str, placeholders: &[Range<usize>]) -> Self {
        if placeholders.is_empty() && text.chars().all(|c| c.is_ascii() && !invisible(c)) {
            return Self { text: text.into(), origins: None, masks: Vec::new() };
        }
        Self::general(text, placeholders)
    }

    /// The twin of `new` that takes no short way for plain texts.
    fn general(text: &'a str, placeholders: &[Range<usize>]) -> Self {
        let mut view = View { text: String::with_capacity(text.len()), origins: Vec::with_capacity(text.len()) };
        let mut masks = Vec::with_capacity(placeholders.len());
        let mut at = 0;
        for placeholder in placeholders {
            view.push_text(text, at..placeholder.start);
            let start = view.text.len();
            view.push(MASK, placeholder);
            masks.push(start..view.text.len());
            at = placeholder.end;
        }
        view.push_text(text, at..text.len());
        Self { text: view.text.into(), origins: Some(view.origins), masks }
    }

    /// The view.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where in the view the placeholders are.
    pub(super) fn masks(&self) -> &[Range<usize>] {
        &self.masks
    }

    /// The bytes of the original that a part of the view stands for.
    pub(super) fn origin(&self, part: &Range<usize>) -> Range<usize> {
        match &self.origins {
            Some(origins) if !part.is_empty() => origins[part.start].start..origins[part.end - 1].end,
            _ => part.clone(),
        }
    }
}

/// One string in the spelling of the view.
pub(super) fn fold(text: &str) -> String {
    Folded::new(text, &[]).text().to_owned()
}

struct View {
    text: String,
    origins: Vec<Range<usize>>,
}

impl View {
    fn push(&mut self, c: char, origin: &Range<usize>) {
        self.text.push(c);
        self.origins.resize(self.text.len(), origin.clone());
    }

    /// Composes letters with their marks, which canonical equivalence demands, then folds character by character.
    fn push_text(&mut self, text: &str, part: Range<usize>) {
        let mut pending = String::new();
        let mut origin = part.start..part.start;
        for (offset, c) in text[part.clone()].char_indices().filter(|(_, c)| !invisible(*c)) {
            let start = part.start + offset;
            if !pending.is_empty() && !joins(&pending, c) {
                self.push_composed(&pending, &origin);
                pending.clear();
            }
            if pending.is_empty() {
                origin.start = start;
            }
            pending.push(c);
            origin.end = start + c.len_utf8();
        }
        self.push_composed(&pending, &origin);
    }

    fn push_composed(&mut self, cluster: &str, origin: &Range<usize>) {
        if cluster.is_ascii() {
            cluster.chars().for_each(|c| self.push(c, origin));
            return;
        }
        let mut folded = String::with_capacity(cluster.len());
        for c in cluster.nfc() {
            match plain(c) {
                Some(plain) => folded.push(plain),
                None => folded.extend(std::iter::once(c).nfkc().map(|c| plain(c).unwrap_or(c))),
            }
        }
        // What a sign was taken apart into is put in order among the marks behind it, or a second fold would do so.
        folded.nfc().for_each(|c| self.push(c, origin));
    }
}

/// Whether `c` may become one character with what stands before it.
fn joins(before: &str, c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    canonical_combining_class(c) != 0 || before.nfc().last().is_some_and(|last| compose(last, c).is_some())
}

/// Characters without width or ink, which split a value for a program but not for a reader.
fn invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
        || (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}'))
}

/// The plain twin of a look-alike. Superscripts and fractions stay: a footnote mark is no digit of the number before it.
fn plain(c: char) -> Option<char> {
    match c {
        _ if c.is_ascii() => Some(c),
        '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        _ if c.is_whitespace() => Some(' '),
        '\u{2010}'..='\u{2015}'
        | '\u{2043}'
        | '\u{2212}'
        | '\u{FE58}'
        | '\u{FE63}'
        | '\u{FF0D}'
        | '\u{1806}'
        | '\u{2E3A}'
        | '\u{2E3B}'
        | '\u{30A0}' => Some('-'),
        '\u{2024}' | '\u{3002}' | '\u{FE52}' | '\u{FF0E}' | '\u{FF61}' => Some('.'),
        '\u{2018}' | '\u{2019}' | '\u{201B}' | '\u{2BC}' | '\u{2B9}' | '\u{FF07}' => Some('\''),
        '\u{2044}' | '\u{2215}' | '\u{FF0F}' => Some('/'),
        '\u{FE55}' | '\u{FF1A}' | '\u{2236}' => Some(':'),
        _ if c.is_numeric() => Some(digit(c).unwrap_or(c)),
        _ => None,
    }
}

/// The ASCII twin of a decimal digit of any script.
fn digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let after = ZEROS.partition_point(|&zero| zero <= code);
    let zero = *ZEROS.get(after.checked_sub(1)?)?;
    // The mathematical digits are five runs of ten without a gap.
    let value = if zero == 0x1D7CE { (code < 0x1D800).then(|| (code - zero) % 10) } else { Some(code - zero) };
    value.filter(|&value| value < 10).and_then(|value| char::from_digit(value, 10))
}

/// The zero of each run of ten decimal digits (Unicode 16, general category Nd), ASCII left out.
const ZEROS: [u32; 71] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20,
    0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0,
    0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0,
    0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50,
    0x11D50, 0x11DA0, 0x11F50, 0x16130, 0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0, 0x1D7CE, 0x1E140, 0x1E2F0,
    0x1E4F0, 0x1E5F1, 0x1E950, 0x1FBF0,
];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn look_alikes_have_one_spelling() {
        for (written, plain) in [
            ("john\u{200B}.doe\u{FF20}example\u{FF0E}com", "john.doe@example.com"),
            ("\u{FF14}\u{FF11}11\u{A0}11\u{2011}11", "4111 11-11"),
            ("٠١٢ ०१२ 𝟎𝟗𝟘𝟡", "012 012 0909"),
            ("Mu\u{308}ller Mu\u{200D}\u{308}ller", "Müller Müller"),
            ("O\u{2019}Brien 1\u{2044}2", "O'Brien 1/2"),
            ("4111\u{B2} ½", "4111² ½"),
            ("\u{1112}\u{1161}\u{11AB}", "한"),
        ] {
            assert_eq!(fold(written), plain, "{written:?}");
        }
    }

    // A Greek sign that is taken apart into a space and two marks, before a mark that sorts in front of them.
    #[test]
    fn marks_of_a_sign_that_is_taken_apart_are_in_order() {
        let once = fold("\u{1FED}\u{DCA}");
        assert_eq!(fold(&once), once);
    }

    #[test]
    fn the_zeros_are_sorted_and_every_one_is_a_number() {
        assert!(ZEROS.is_sorted());
        for zero in ZEROS {
            for value in 0..10 {
                let c = char::from_u32(zero + value).unwrap();
                assert_eq!(plain(c), char::from_digit(value, 10), "{c:?}");
            }
        }
    }

    #[test]
    fn a_part_of_the_view_leads_to_all_bytes_of_the_original() {
        let text = "a Mu\u{308}\u{200B}ller z";
        let folded = Folded::new(text, &[]);
        let start = folded.text().find("Müller").unwrap();
        assert_eq!(&text[folded.origin(&(start..start + "Müller".len()))], "Mu\u{308}\u{200B}ller");
    }

    #[test]
    fn a_placeholder_is_one_opaque_character_of_the_view() {
        let folded = Folded::new("a [NAME_1] b", std::slice::from_ref(&(2..10)));
        assert_eq!((folded.text(), folded.masks().first()), ("a \u{FFFC} b", Some(&(2..5))));
        assert_eq!(folded.origin(&(0..folded.text().len())), 0..12);
    }

    proptest! {
        #[test]
        fn plain_texts_take_the_short_way_to_the_same_view(text in "[ -~\n\t]{0,80}") {
            let (short, long) = (Folded::new(&text, &[]), Folded::general(&text, &[]));
            prop_assert_eq!(short.text(), long.text());
            for at in 0..text.len() {
                prop_assert_eq!(short.origin(&(at..at + 1)), long.origin(&(at..at + 1)));
            }
        }

        #[test]
        fn a_fold_is_folded_and_parts_stay_in_order(text in "\\PC{0,40}") {
            let folded = Folded::new(&text, &[]);
            let again = fold(folded.text());
            prop_assert_eq!(&again, folded.text());
            let mut last = 0;
            for at in 0..folded.text().len() {
                let origin = folded.origin(&(at..at + 1));
                prop_assert!(origin.start >= last && text.is_char_boundary(origin.start) && text.is_char_boundary(origin.end));
                last = origin.start;
            }
        }
    }
}
