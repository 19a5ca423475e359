//! Finds texts in a source: the first occurrence that is not taken yet.
//! Knows nothing about types or answers; offsets are those of the source as it was given, in Unicode scalar values.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A source text in Unicode normal form C that still knows where each character came from.
#[derive(Clone, Debug)]
pub struct Source {
    normal: Vec<char>,
    /// For each character of the normal form where its piece begins and ends in the source.
    pieces: Vec<(usize, usize)>,
}

/// What was looked for and where it was found, so that it is found only once.
#[derive(Clone, Debug, Default)]
pub struct Taken(HashSet<(usize, usize)>);

impl Source {
    /// A source.
    pub fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let (mut normal, mut pieces) = (Vec::with_capacity(chars.len()), Vec::with_capacity(chars.len()));
        let mut start = 0;
        while start < chars.len() {
            let marks = chars[start + 1..].iter().take_while(|&&c| joins_what_is_before(c)).count();
            let end = start + 1 + marks;
            for c in chars[start..end].iter().copied().nfc() {
                normal.push(c);
                pieces.push((start, end));
            }
            start = end;
        }
        Self { normal, pieces }
    }

    /// The first occurrence of a text that is not taken, from its first to after its last character; it is taken then.
    pub fn find(&self, text: &str, taken: &mut Taken) -> Option<(usize, usize)> {
        let wanted: Vec<char> = text.nfc().collect();
        if wanted.is_empty() {
            return None;
        }
        let places = self.normal.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
        let mut spans = places.map(|(at, _)| (self.pieces[at].0, self.pieces[at + wanted.len() - 1].1));
        spans.find(|&span| taken.0.insert(span))
    }
}

/// Marks, and the Korean letters that join into one syllable.
fn joins_what_is_before(c: char) -> bool {
    is_combining_mark(c) || ('\u{1160}'..='\u{11ff}').contains(&c)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn occurrences_are_taken_from_left_to_right() {
        let (source, mut taken) = (Source::new("Ann met Ann."), Taken::default());
        assert_eq!(source.find("Ann", &mut taken), Some((0, 3)));
        assert_eq!(source.find("Ann", &mut taken), Some((8, 11)));
        assert_eq!(source.find("Ann", &mut taken), None);
        // A stretch inside a taken one is another occurrence.
        assert_eq!(source.find("An", &mut taken), Some((0, 2)));
        assert_eq!(source.find("Bob", &mut taken), None);
        assert_eq!(source.find("", &mut taken), None);
    }

    #[test]
    fn two_spellings_of_a_letter_are_found_at_the_offsets_of_the_source() {
        let source = Source::new("le cafe\u{301} d'Ève 한");
        assert_eq!(source.find("caf\u{e9}", &mut Taken::default()), Some((3, 8)));
        assert_eq!(source.find("d'E\u{300}ve", &mut Taken::default()), Some((9, 14)));
        let decomposed = Source::new("x \u{1112}\u{1161}\u{11ab}");
        assert_eq!(decomposed.find("한", &mut Taken::default()), Some((2, 5)));
    }

    proptest! {
        #[test]
        fn any_piece_of_a_text_in_normal_form_is_found(text in "[ab\u{e9} 漢😀]{1,20}", from in 0usize..20, length in 1usize..5) {
            let chars: Vec<char> = text.chars().collect();
            let from = from % chars.len();
            let piece: String = chars[from..].iter().take(length).collect();
            let (start, end) = Source::new(&text).find(&piece, &mut Taken::default()).unwrap();
            prop_assert_eq!(chars[start..end].iter().collect::<String>(), piece);
            prop_assert!(start <= from);
        }

        #[test]
        fn the_pieces_make_up_the_normal_form(text in ".{0,20}|[e\u{301}\u{323}a한\u{1112}\u{1161}\u{11ab}]{0,12}") {
            prop_assert_eq!(Source::new(&text).normal, text.nfc().collect::<Vec<_>>());
        }
    }
}
