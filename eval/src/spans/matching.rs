//! Matches predicted spans with wanted ones in four modes and counts the credit by type.
//! Knows nothing about texts; offsets may be of characters or of tokens.

use serde::{Deserialize, Serialize};

use super::Span;
use crate::scorer::Tally;

/// When a predicted span is right (Segura-Bedmar, Martínez & Herrero-Zazo 2013, SemEval-2013 task 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The same start, end and type.
    #[default]
    Strict,
    /// The same start and end; types are not read.
    Exact,
    /// The same type and an overlap.
    Type,
    /// The same start and end, or half a credit for an overlap; types are not read.
    Partial,
}

/// Counts credit, predicted and wanted spans by type; each span finds at most one other.
///
/// Both sides hold each span once. Spans are visited in the order of their offsets, so the order they were written in does not matter.
/// Spans overlap when at least 1 % of the wanted one is covered, as in nervaluate 1.2.1, to which the sums over all types are equal
/// as long as predicted spans do not overlap each other. Where they do, nervaluate lets a wrong span take a wanted one away from
/// the right span that comes after it in the list; here spans that are right in every respect find each other first, except
/// in `Type`, where nervaluate is followed in this too.
///
/// Where types are not read, a predicted span that found a wanted one is counted under the type of the wanted one,
/// so that the counts of each type make sense and their sums stay the same.
pub(crate) fn tally(mode: Mode, predicted: &[Span], wanted: &[Span]) -> Tally {
    let (mut predicted, mut wanted): (Vec<&Span>, Vec<&Span>) = (predicted.iter().collect(), wanted.iter().collect());
    predicted.sort_unstable();
    wanted.sort_unstable();
    let same = |one: &Span, other: &Span| one == other;
    let same_place = |one: &Span, other: &Span| (one.start, one.end) == (other.start, other.end);
    let mut pairing = Pairing::new(&predicted, &wanted);
    match mode {
        Mode::Strict => pairing.pair(1.0, same),
        Mode::Exact | Mode::Partial => {
            pairing.pair(1.0, same);
            pairing.pair(1.0, same_place);
            if mode == Mode::Partial {
                pairing.pair(0.5, overlaps);
            }
        }
        Mode::Type => pairing.pair_by_type(),
    }
    let mut tally = Tally::default();
    for (span, found) in predicted.iter().zip(&pairing.found) {
        match found {
            Some((at, credit)) => {
                let kind = &wanted[*at].kind;
                tally.predicted(if mode == Mode::Type { &span.kind } else { kind });
                tally.credit(kind, *credit);
            }
            None => tally.predicted(&span.kind),
        }
    }
    for span in wanted {
        tally.wanted(&span.kind);
    }
    tally
}

/// Which wanted span each predicted one has found, and the credit for it.
struct Pairing<'a> {
    predicted: &'a [&'a Span],
    wanted: &'a [&'a Span],
    found: Vec<Option<(usize, f64)>>,
    is_taken: Vec<bool>,
}

impl<'a> Pairing<'a> {
    fn new(predicted: &'a [&'a Span], wanted: &'a [&'a Span]) -> Self {
        Self { predicted, wanted, found: vec![None; predicted.len()], is_taken: vec![false; wanted.len()] }
    }

    /// Each predicted span that has found nothing yet takes the first free wanted one that suits.
    fn pair(&mut self, credit: f64, suits: impl Fn(&Span, &Span) -> bool) {
        for (at, span) in self.predicted.iter().enumerate() {
            if self.found[at].is_some() {
                continue;
            }
            let first = (0..self.wanted.len()).find(|&other| !self.is_taken[other] && suits(span, self.wanted[other]));
            if let Some(other) = first {
                self.is_taken[other] = true;
                self.found[at] = Some((other, credit));
            }
        }
    }

    /// Each predicted span takes the nearest free wanted one of its type, or else the first of another type, which nobody gets then.
    fn pair_by_type(&mut self) {
        for (at, span) in self.predicted.iter().enumerate() {
            let free = |other: &usize| !self.is_taken[*other] && overlaps(span, self.wanted[*other]);
            let candidates: Vec<usize> = (0..self.wanted.len()).filter(free).collect();
            let of_type = candidates.iter().copied().filter(|&other| self.wanted[other].kind == span.kind);
            let nearest = of_type.min_by_key(|&other| distance(span, self.wanted[other]));
            if let Some(other) = nearest {
                self.found[at] = Some((other, 1.0));
            }
            if let Some(other) = nearest.or_else(|| candidates.first().copied()) {
                self.is_taken[other] = true;
            }
        }
    }
}

/// Whether a predicted span covers at least a hundredth of a wanted one.
fn overlaps(predicted: &Span, wanted: &Span) -> bool {
    let shared = predicted.end.min(wanted.end).saturating_sub(predicted.start.max(wanted.start));
    shared > 0 && shared.saturating_mul(100) >= wanted.end - wanted.start
}

/// How far apart the ends are in all.
fn distance(predicted: &Span, wanted: &Span) -> usize {
    predicted.start.abs_diff(wanted.start).saturating_add(predicted.end.abs_diff(wanted.end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODES: [Mode; 4] = [Mode::Strict, Mode::Exact, Mode::Type, Mode::Partial];

    fn spans(spans: &[(&str, usize, usize)]) -> Vec<Span> {
        spans.iter().map(|&(kind, start, end)| Span { start, end, kind: kind.to_owned() }).collect()
    }

    /// Credit, predicted and wanted over all types.
    fn sums(mode: Mode, predicted: &[Span], wanted: &[Span]) -> [f64; 3] {
        let counts = tally(mode, predicted, wanted).into_counts();
        counts.iter().fold([0.0; 3], |[credit, predicted, wanted], count| {
            [credit + count.credit, predicted + count.predicted, wanted + count.wanted]
        })
    }

    #[test]
    fn the_documents_of_nervaluate_give_its_values() {
        let documents = [
            (
                spans(&[("PER", 0, 9), ("ORG", 22, 30), ("ORG", 40, 45)]),
                spans(&[("PER", 0, 9), ("ORG", 20, 30), ("LOC", 40, 45)]),
            ),
            (spans(&[("PER", 5, 12), ("LOC", 50, 54)]), spans(&[("PER", 5, 12), ("DATE", 30, 34)])),
        ];
        for (mode, expect) in MODES.into_iter().zip([0.4, 0.6, 0.6, 0.7]) {
            let [credit, predicted, wanted] = documents.iter().fold([0.0; 3], |sum, (predicted, wanted)| {
                let one = sums(mode, predicted, wanted);
                [0, 1, 2].map(|at| sum[at] + one[at])
            });
            assert!((2.0 * credit / (predicted + wanted) - expect).abs() < 1e-12, "{mode:?}");
        }
    }

    #[test]
    fn neighbours_do_not_overlap_and_a_hundredth_is_the_least_overlap() {
        let wanted = spans(&[("A", 0, 200)]);
        assert_eq!(sums(Mode::Partial, &spans(&[("A", 200, 210)]), &wanted)[0], 0.0);
        assert_eq!(sums(Mode::Partial, &spans(&[("A", 199, 210)]), &wanted)[0], 0.0);
        assert_eq!(sums(Mode::Partial, &spans(&[("A", 198, 210)]), &wanted)[0], 0.5);
    }

    #[test]
    fn a_wrong_span_takes_nothing_away_from_a_right_one() {
        let wanted = spans(&[("PER", 0, 9)]);
        let predicted = spans(&[("ORG", 0, 5), ("PER", 0, 9)]);
        assert_eq!(sums(Mode::Strict, &predicted, &wanted), [1.0, 2.0, 1.0]);
        assert_eq!(sums(Mode::Partial, &predicted, &wanted), [1.0, 2.0, 1.0]);
    }

    #[test]
    fn a_span_of_another_type_counts_under_the_type_it_found_where_types_are_not_read() {
        let counts = tally(Mode::Exact, &spans(&[("ORG", 0, 3)]), &spans(&[("LOC", 0, 3)])).into_counts();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].name.as_str(), counts[0].credit, counts[0].predicted), ("LOC", 1.0, 1.0));
        assert_eq!(tally(Mode::Strict, &spans(&[("ORG", 0, 3)]), &spans(&[("LOC", 0, 3)])).into_counts().len(), 2);
    }

    fn some() -> impl Strategy<Value = Vec<Span>> {
        let span =
            ("[AB]", 0usize..12, 1usize..5).prop_map(|(kind, start, length)| Span { start, end: start + length, kind });
        proptest::collection::btree_set(span, 0..7).prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn spans_find_themselves(spans in some()) {
            for mode in MODES {
                prop_assert_eq!(sums(mode, &spans, &spans)[0], spans.len() as f64, "{:?}", mode);
            }
        }

        #[test]
        fn the_order_of_the_spans_does_not_matter(shuffled in some().prop_shuffle(), wanted in some()) {
            let mut ordered = shuffled.clone();
            ordered.sort();
            for mode in MODES {
                prop_assert_eq!(tally(mode, &shuffled, &wanted), tally(mode, &ordered, &wanted));
            }
        }

        #[test]
        fn strict_is_the_intersection_and_no_mode_is_stricter_than_exact_or_gives_more_than_there_is(one in some(), other in some()) {
            let shared = one.iter().filter(|span| other.contains(span)).count() as f64;
            let [strict, exact, by_type, partial] = MODES.map(|mode| sums(mode, &one, &other)[0]);
            prop_assert_eq!(strict, shared);
            prop_assert!(strict <= exact && exact <= partial);
            prop_assert!(partial.max(by_type) <= one.len().min(other.len()) as f64);
        }
    }
}
