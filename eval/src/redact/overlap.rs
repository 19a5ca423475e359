//! Which of several finds at one place stands: the longest, then the kind that comes first.
//! Knows nothing about what was found.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

/// A find and the place of its kind in the list.
pub(super) type Find = (Range<usize>, usize);

/// The parts to hide, in order and without overlap; none of them touches `masks`.
///
/// Everything that was found is hidden: what a find holds beyond a longer one becomes a part of its own,
/// unless that rest holds no letter and no digit.
pub(super) fn resolve(text: &str, mut finds: Vec<Find>, masks: &[Range<usize>]) -> Vec<Find> {
    finds.sort_by_key(|(range, kind)| (Reverse(range.len()), *kind, range.start));
    let mut taken: BTreeMap<usize, (usize, Option<usize>)> =
        masks.iter().map(|mask| (mask.start, (mask.end, None))).collect();
    for (range, kind) in finds {
        for part in free(&taken, range.clone()) {
            if part == range || text[part.clone()].chars().any(char::is_alphanumeric) {
                taken.insert(part.start, (part.end, Some(kind)));
            }
        }
    }
    taken.into_iter().filter_map(|(start, (end, kind))| kind.map(|kind| (start..end, kind))).collect()
}

/// What of `range` is not taken yet.
fn free(taken: &BTreeMap<usize, (usize, Option<usize>)>, range: Range<usize>) -> Vec<Range<usize>> {
    let before = taken.range(..range.start).next_back().map_or(0, |(_, &(end, _))| end);
    let mut at = range.start.max(before);
    let mut parts = Vec::new();
    for (&start, &(end, _)) in taken.range(range.clone()) {
        if start > at {
            parts.push(at..start);
        }
        at = at.max(end);
    }
    if at < range.end {
        parts.push(at..range.end);
    }
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_stands_then_the_first_kind_and_the_rest_is_hidden_too() {
        let text = "abcdefghij";
        assert_eq!(resolve(text, vec![(2..5, 1), (2..5, 0), (4..8, 2)], &[]), [(2..4, 0), (4..8, 2)]);
        assert_eq!(resolve(text, vec![(0..2, 1), (0..10, 0)], &[]), [(0..10, 0)]);
        assert_eq!(resolve(text, vec![(0..10, 0)], &[3..4, 6..8]), [(0..3, 0), (4..6, 0), (8..10, 0)]);
        assert_eq!(resolve("ab - cd", vec![(0..4, 0), (2..7, 1)], &[]), [(0..2, 0), (2..7, 1)]);
    }

    proptest! {
        #[test]
        fn all_that_was_found_is_hidden_once_whatever_the_order(
            finds in proptest::collection::vec((0usize..40, 1usize..12, 0usize..4), 0..12),
        ) {
            let text = "x".repeat(60);
            let mut finds: Vec<Find> = finds.into_iter().map(|(start, len, kind)| (start..start + len, kind)).collect();
            let parts = resolve(&text, finds.clone(), &[]);
            finds.reverse();
            prop_assert_eq!(&resolve(&text, finds.clone(), &[]), &parts);
            for at in 0..60 {
                let found = finds.iter().any(|(range, _)| range.contains(&at));
                prop_assert_eq!(parts.iter().filter(|(range, _)| range.contains(&at)).count(), usize::from(found));
            }
        }
    }
}
