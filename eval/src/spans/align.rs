//! Finds texts in a source: the first occurrence that is not taken yet.
//! Knows nothing about types or answers; offsets are those of the source as it was given, in Unicode scalar values.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::work::{TooMuch, Work};

/// A source text in Unicode normal form C that still knows where each character came from.
#[derive(Clone, Debug)]
pub struct Source {
    normal: String,
    /// For each character of the normal form where it begins there, in bytes.
    starts: Vec<usize>,
    /// For each character of the normal form where its piece begins and ends in the source.
    pieces: Vec<(usize, usize)>,
}

/// What was looked for and where it was found, so that it is found only once.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    spans: HashSet<(usize, usize)>,
    /// For each text the character before which all occurrences are taken: what is taken stays so.
    searched: HashMap<String, usize>,
}

impl Source {
    /// A source.
    pub fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut source = Self { normal: String::with_capacity(text.len()), starts: Vec::new(), pieces: Vec::new() };
        let mut start = 0;
        while start < chars.len() {
            let marks = chars[start + 1..].iter().take_while(|&&c| joins_what_is_before(c)).count();
            let end = start + 1 + marks;
            for c in chars[start..end].iter().copied().nfc() {
                source.starts.push(source.normal.len());
                source.normal.push(c);
                source.pieces.push((start, end));
            }
            start = end;
        }
        source
    }

    /// The first occurrence of a text that is not taken, from its first to after its last character; it is taken then.
    ///
    /// # Errors
    /// When the work is more than is left.
    pub fn find(&self, text: &str, taken: &mut Taken, work: &mut Work) -> Result<Option<(usize, usize)>, TooMuch> {
        work.spend(1 + text.len())?;
        let wanted: String = text.nfc().collect();
        let length = wanted.chars().count();
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut at = taken.searched.get(&wanted).copied().unwrap_or(0);
        let mut found = None;
        while let Some(&start) = self.starts.get(at) {
            let place = self.normal[start..].find(&wanted).map(|place| start + place);
            work.spend(1 + wanted.len() + place.unwrap_or(self.normal.len()) - start)?;
            let Some(place) = place else {
                at = self.starts.len();
                break;
            };
            // A text of whole characters is found where a character begins.
            let first = self.starts.partition_point(|&start| start < place);
            at = first + 1;
            let span = (self.pieces[first].0, self.pieces[first + length - 1].1);
            if taken.spans.insert(span) {
                found = Some(span);
                break;
            }
        }
        taken.searched.insert(wanted, at);
        Ok(found)
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

    fn find(source: &Source, text: &str, taken: &mut Taken) -> Option<(usize, usize)> {
        source.find(text, taken, &mut Work::of_a_judgement()).unwrap()
    }

    #[test]
    fn a_text_that_is_looked_for_again_goes_on_where_it_was_found() {
        let (source, mut taken, mut work) = (Source::new(&"ab".repeat(50_000)), Taken::default(), Work::of(1_000_000));
        for at in 0..50_000 {
            assert_eq!(source.find("ab", &mut taken, &mut work), Ok(Some((2 * at, 2 * at + 2))));
        }
        assert_eq!(source.find("ab", &mut taken, &mut work), Ok(None));
        let mut work = Work::of(1_000_000);
        let all = (0..100).map(|at| source.find(&format!("x{at}"), &mut taken, &mut work));
        assert!(all.collect::<Result<Vec<_>, _>>().is_err());
    }

    #[test]
    fn occurrences_are_taken_from_left_to_right() {
        let (source, mut taken) = (Source::new("Ann met Ann."), Taken::default());
        assert_eq!(find(&source, "Ann", &mut taken), Some((0, 3)));
        assert_eq!(find(&source, "Ann", &mut taken), Some((8, 11)));
        assert_eq!(find(&source, "Ann", &mut taken), None);
        // A stretch inside a taken one is another occurrence.
        assert_eq!(find(&source, "An", &mut taken), Some((0, 2)));
        assert_eq!(find(&source, "Bob", &mut taken), None);
        assert_eq!(find(&source, "", &mut taken), None);
    }

    #[test]
    fn two_spellings_of_a_letter_are_found_at_the_offsets_of_the_source() {
        let source = Source::new("le cafe\u{301} d'Ève 한");
        assert_eq!(find(&source, "caf\u{e9}", &mut Taken::default()), Some((3, 8)));
        assert_eq!(find(&source, "d'E\u{300}ve", &mut Taken::default()), Some((9, 14)));
        let decomposed = Source::new("x \u{1112}\u{1161}\u{11ab}");
        assert_eq!(find(&decomposed, "한", &mut Taken::default()), Some((2, 5)));
    }

    proptest! {
        #[test]
        fn any_piece_of_a_text_in_normal_form_is_found(text in "[ab\u{e9} 漢😀]{1,20}", from in 0usize..20, length in 1usize..5) {
            let chars: Vec<char> = text.chars().collect();
            let from = from % chars.len();
            let piece: String = chars[from..].iter().take(length).collect();
            let (start, end) = find(&Source::new(&text), &piece, &mut Taken::default()).unwrap();
            prop_assert_eq!(chars[start..end].iter().collect::<String>(), piece);
            prop_assert!(start <= from);
        }

        #[test]
        fn the_pieces_make_up_the_normal_form(text in ".{0,20}|[e\u{301}\u{323}a한\u{1112}\u{1161}\u{11ab}]{0,12}") {
            prop_assert_eq!(Source::new(&text).normal, text.nfc().collect::<String>());
        }
    }
}
