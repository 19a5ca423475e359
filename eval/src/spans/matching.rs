//! Matches predicted spans with wanted ones in four modes and counts the credit by type.
//! Knows nothing about texts; offsets may be of characters or of tokens.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::Span;
use crate::scorer::Tally;
use crate::work::{TooMuch, Work};

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
///
/// # Errors
/// When the work is more than is left, as where thousands of spans overlap each other.
pub(crate) fn tally(mode: Mode, predicted: &[Span], wanted: &[Span], work: &mut Work) -> Result<Tally, TooMuch> {
    let (mut predicted, mut wanted): (Vec<&Span>, Vec<&Span>) = (predicted.iter().collect(), wanted.iter().collect());
    predicted.sort_unstable();
    wanted.sort_unstable();
    let mut pairing = Pairing::new(&predicted, &wanted);
    match mode {
        Mode::Strict => pairing.pair_same(|span| (span.start, span.end, span.kind.as_str())),
        Mode::Exact | Mode::Partial => {
            pairing.pair_same(|span| (span.start, span.end, span.kind.as_str()));
            pairing.pair_same(|span| (span.start, span.end, ""));
            if mode == Mode::Partial {
                pairing.pair_overlapping(0.5, work)?;
            }
        }
        Mode::Type => pairing.pair_by_type(work)?,
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
    tally.checked()
}

/// Which wanted span each predicted one has found, and the credit for it.
struct Pairing<'a> {
    predicted: &'a [&'a Span],
    wanted: &'a [&'a Span],
    /// For each wanted span the furthest end of those up to it.
    ends: Vec<usize>,
    found: Vec<Option<(usize, f64)>>,
    is_taken: Vec<bool>,
}

impl<'a> Pairing<'a> {
    /// Both sides are in order.
    fn new(predicted: &'a [&'a Span], wanted: &'a [&'a Span]) -> Self {
        let furthest = |end: &mut usize, span: &&Span| {
            *end = span.end.max(*end);
            Some(*end)
        };
        let ends = wanted.iter().scan(0, furthest).collect();
        Self { predicted, wanted, ends, found: vec![None; predicted.len()], is_taken: vec![false; wanted.len()] }
    }

    /// Each predicted span that has found nothing yet takes the first free wanted one that is the same.
    fn pair_same<K: Eq + Hash>(&mut self, key: impl Fn(&'a Span) -> K) {
        let mut free: HashMap<K, Vec<usize>> = HashMap::new();
        for (other, span) in self.wanted.iter().enumerate().rev().filter(|(other, _)| !self.is_taken[*other]) {
            free.entry(key(span)).or_default().push(other);
        }
        for (at, span) in self.predicted.iter().enumerate() {
            if self.found[at].is_some() {
                continue;
            }
            if let Some(other) = free.get_mut(&key(span)).and_then(Vec::pop) {
                self.is_taken[other] = true;
                self.found[at] = Some((other, 1.0));
            }
        }
    }

    /// Each predicted span that has found nothing yet takes the first free wanted one that it overlaps.
    fn pair_overlapping(&mut self, credit: f64, work: &mut Work) -> Result<(), TooMuch> {
        for at in 0..self.predicted.len() {
            if self.found[at].is_some() {
                continue;
            }
            let candidates = self.free_that_overlap(self.predicted[at], work)?;
            if let Some(&other) = candidates.first() {
                self.is_taken[other] = true;
                self.found[at] = Some((other, credit));
            }
        }
        Ok(())
    }

    /// Each predicted span takes the nearest free wanted one of its type, or else the first of another type, which nobody gets then.
    fn pair_by_type(&mut self, work: &mut Work) -> Result<(), TooMuch> {
        for (at, span) in self.predicted.iter().enumerate() {
            let candidates = self.free_that_overlap(span, work)?;
            let of_type = candidates.iter().copied().filter(|&other| self.wanted[other].kind == span.kind);
            let nearest = of_type.min_by_key(|&other| distance(span, self.wanted[other]));
            if let Some(other) = nearest {
                self.found[at] = Some((other, 1.0));
            }
            if let Some(other) = nearest.or_else(|| candidates.first().copied()) {
                self.is_taken[other] = true;
            }
        }
        Ok(())
    }

    /// The free wanted spans that a predicted one overlaps, in order.
    fn free_that_overlap(&self, span: &Span, work: &mut Work) -> Result<Vec<usize>, TooMuch> {
        // Before `first` all end too early, from `last` on all start too late.
        let first = self.ends.partition_point(|&end| end <= span.start);
        let last = self.wanted.partition_point(|wanted| wanted.start < span.end);
        work.spend(1 + last.saturating_sub(first))?;
        let is_free = |other: &usize| !self.is_taken[*other] && overlaps(span, self.wanted[*other]);
        Ok((first..last).filter(is_free).collect())
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

    fn tally(mode: Mode, predicted: &[Span], wanted: &[Span]) -> Tally {
        super::tally(mode, predicted, wanted, &mut Work::of_a_judgement()).unwrap()
    }

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

    /// The plain twin: every wanted span is looked at for each predicted one.
    fn plain(mode: Mode, predicted: &[Span], wanted: &[Span]) -> Tally {
        let (mut predicted, mut wanted) = (predicted.to_vec(), wanted.to_vec());
        predicted.sort();
        wanted.sort();
        let (mut found, mut is_taken) = (vec![None; predicted.len()], vec![false; wanted.len()]);
        let same_place = |one: &Span, other: &Span| (one.start, one.end) == (other.start, other.end);
        let mut pair = |credit: f64, suits: &dyn Fn(&Span, &Span) -> bool| {
            for (at, span) in predicted.iter().enumerate() {
                let first = (0..wanted.len()).find(|&other| !is_taken[other] && suits(span, &wanted[other]));
                if let (None, Some(other)) = (found[at], first) {
                    is_taken[other] = true;
                    found[at] = Some((other, credit));
                }
            }
        };
        match mode {
            Mode::Type => {
                for (at, span) in predicted.iter().enumerate() {
                    let free = |other: &usize| !is_taken[*other] && overlaps(span, &wanted[*other]);
                    let candidates: Vec<usize> = (0..wanted.len()).filter(free).collect();
                    let of_type = candidates.iter().copied().filter(|&other| wanted[other].kind == span.kind);
                    let nearest = of_type.min_by_key(|&other| distance(span, &wanted[other]));
                    found[at] = nearest.map(|other| (other, 1.0));
                    if let Some(other) = nearest.or_else(|| candidates.first().copied()) {
                        is_taken[other] = true;
                    }
                }
            }
            _ => {
                pair(1.0, &|one, other| one == other);
                if mode != Mode::Strict {
                    pair(1.0, &same_place);
                }
                if mode == Mode::Partial {
                    pair(0.5, &overlaps);
                }
            }
        }
        let mut tally = Tally::default();
        for (span, found) in predicted.iter().zip(&found) {
            let kind = found.map(|(at, credit)| (&wanted[at].kind, credit));
            tally.predicted(kind.filter(|_| mode != Mode::Type).map_or(&span.kind, |(kind, _)| kind));
            if let Some((kind, credit)) = kind {
                tally.credit(kind, credit);
            }
        }
        wanted.iter().for_each(|span| tally.wanted(&span.kind));
        tally
    }

    #[test]
    fn many_spans_side_by_side_are_matched_and_many_upon_each_other_are_refused() {
        let side_by_side: Vec<Span> =
            (0..50_000).map(|at| Span { start: 10 * at, end: 10 * at + 5, kind: "A".to_owned() }).collect();
        let moved: Vec<Span> = side_by_side.iter().map(|span| Span { start: span.start + 1, ..span.clone() }).collect();
        for mode in MODES {
            let tally = super::tally(mode, &moved, &side_by_side, &mut Work::of(1_000_000)).unwrap();
            assert!(
                tally.f1()
                    == if mode == Mode::Type {
                        1.0
                    } else if mode == Mode::Partial {
                        0.5
                    } else {
                        0.0
                    }
            );
        }
        let nested = |from: usize| -> Vec<Span> {
            (0..20_000).map(|at| Span { start: from + at, end: 1_000_000 - at, kind: "A".to_owned() }).collect()
        };
        let found = super::tally(Mode::Type, &nested(0), &nested(7), &mut Work::of(10_000_000));
        assert_eq!(found, Err(TooMuch::Steps));
    }

    proptest! {
        #[test]
        fn pairs_are_those_that_looking_at_all_spans_finds(one in some(), other in some()) {
            for mode in MODES {
                prop_assert_eq!(tally(mode, &one, &other), plain(mode, &one, &other), "{:?}", mode);
            }
        }

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
