//! Translation edit rate (Snover et al. 2006, aclanthology.org/2006.amta-papers.25), equal to sacrebleu 2.6.0 with its defaults:
//! the search of Tercom, words between white space, lower case, punctuation counts.
//! Knows nothing about rows. Lower is better, and it may exceed 1.

use super::beam_distance::{BeamDistance, Edit, Rows};
use super::{ngrams, signature as signed, words};
use crate::work::{TooMuch, Work};

/// The settings as sacrebleu writes them, without the number of references.
pub const SETTINGS: &str = "case:lc|tok:tercom|norm:no|punct:yes|asian:no";
/// Edits, and the length of the reference in words.
pub const NUM_SUMS: usize = 2;

// The limits of sacrebleu's search; they are part of the figure.
const MAX_SHIFT_WORDS: usize = 10;
const MAX_SHIFT_DISTANCE: usize = 50;
const MAX_SHIFTS_TRIED: usize = 1000;

/// Cells of the beam that are kept at once: 256 MiB.
const MOST_CELLS: usize = 1 << 26;

/// The statistics of one text, to be added over rows: the edits to the closest reference, and the mean length of the references.
///
/// # Errors
/// When the work is more than is left.
pub fn statistics<S: AsRef<str>>(text: &str, references: &[S], work: &mut Work) -> Result<[f64; NUM_SUMS], TooMuch> {
    if references.is_empty() {
        return Ok([0.0; NUM_SUMS]);
    }
    let text = text.to_lowercase();
    let references: Vec<String> = references.iter().map(|reference| reference.as_ref().to_lowercase()).collect();
    let mut vocabulary = ngrams::Vocabulary::default();
    let said = vocabulary.numbers(words(&text));
    let (mut fewest, mut total_words) = (usize::MAX, 0);
    for reference in &references {
        let wanted = vocabulary.numbers(words(reference));
        fewest = fewest.min(num_edits(&said, &wanted, work)?);
        total_words += wanted.len();
    }
    Ok([fewest as f64, total_words as f64 / references.len() as f64])
}

/// TER of a text or a corpus from (summed) statistics: edits by words of the reference; not a number when there are not [`NUM_SUMS`] sums.
///
/// Without any reference word it is 1 when there are edits and else 0.
pub fn corpus(sums: &[f64]) -> f64 {
    match *sums {
        [edits, length] if length > 0.0 => edits / length,
        [edits, _] => f64::from(u8::from(edits > 0.0)),
        _ => f64::NAN,
    }
}

/// The signature of a corpus score; `None` says that rows have different numbers of references.
pub fn signature(num_references: Option<usize>) -> String {
    signed(num_references, SETTINGS)
}

/// Insertions, deletions, substitutions and shifts of blocks, found greedily: the shift that helps most first.
fn num_edits(text: &[u32], reference: &[u32], work: &mut Work) -> Result<usize, TooMuch> {
    if reference.is_empty() {
        return Ok(text.len());
    }
    work.spend(text.len() + reference.len())?;
    let distance = BeamDistance::new(reference, text.len());
    let mut text = text.to_vec();
    let mut num_shifts = 0;
    let mut num_tried = 0;
    loop {
        let num_cells = distance.num_cells(0);
        work.spend(num_cells)?;
        if num_cells > MOST_CELLS {
            return Err(TooMuch::Steps);
        }
        let rows = distance.rows(&text);
        let best = Search::new(&text, reference, &distance, &rows).best_shift(&mut num_tried, work)?;
        match best {
            // When the search was cut short its last find is not used, as in sacrebleu.
            Some(best) if best.gain > 0 && num_tried < MAX_SHIFTS_TRIED => {
                num_shifts += 1;
                let mut shifted = Vec::with_capacity(text.len());
                best.shift.apply(&text, &mut shifted);
                text = shifted;
            }
            _ => return Ok(num_shifts + distance.distance(&rows) as usize),
        }
    }
}

/// A block of words that moves.
#[derive(Clone, Copy, Debug)]
struct Shift {
    start: usize,
    length: usize,
    target: usize,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    gain: i64,
    shift: Shift,
}

impl Candidate {
    /// Tercom's order: the most edits saved, then the longest block, the earliest block, the earliest target.
    fn is_better_than(&self, other: &Self) -> bool {
        let rank = |candidate: &Self| {
            let Shift { start, length, target } = candidate.shift;
            (candidate.gain, length, std::cmp::Reverse(start), std::cmp::Reverse(target))
        };
        rank(self) > rank(other)
    }
}

impl Shift {
    fn apply(self, words: &[u32], out: &mut Vec<u32>) {
        let Self { start, length, target } = self;
        let end = start + length;
        let block = &words[start..end];
        out.clear();
        if target < start {
            for part in [&words[..target], block, &words[target..start], &words[end..]] {
                out.extend_from_slice(part);
            }
        } else {
            // A target inside the block means that many words further on.
            let until = if target > end { target } else { (target + length).min(words.len()) };
            for part in [&words[..start], &words[end..until], block, &words[until..]] {
                out.extend_from_slice(part);
            }
        }
    }
}

/// How the text stands against the reference before a shift.
struct Search<'a> {
    text: &'a [u32],
    reference: &'a [u32],
    distance: &'a BeamDistance<'a>,
    rows: &'a Rows,
    /// For each word of the reference the index after the word of the text that it is aligned with.
    after_aligned: Vec<usize>,
    text_errors: Vec<bool>,
    reference_errors: Vec<bool>,
}

impl<'a> Search<'a> {
    fn new(text: &'a [u32], reference: &'a [u32], distance: &'a BeamDistance<'a>, rows: &'a Rows) -> Self {
        let mut search = Self {
            text,
            reference,
            distance,
            rows,
            after_aligned: Vec::with_capacity(reference.len()),
            text_errors: Vec::with_capacity(text.len()),
            reference_errors: Vec::with_capacity(reference.len()),
        };
        for edit in distance.trace(rows, text) {
            let is_error = edit != Edit::Keep;
            if edit != Edit::Insert {
                search.text_errors.push(is_error);
            }
            if edit != Edit::Delete {
                search.after_aligned.push(search.text_errors.len());
                search.reference_errors.push(is_error);
            }
        }
        search
    }

    /// The best of all shifts of a block that also stands in the reference, or none when there is nothing to try.
    fn best_shift(&self, num_tried: &mut usize, work: &mut Work) -> Result<Option<Candidate>, TooMuch> {
        let mut best: Option<Candidate> = None;
        let (mut shifted, mut buffers) = (Vec::with_capacity(self.text.len()), [Vec::new(), Vec::new()]);
        let before = i64::from(self.distance.distance(self.rows));
        for start in 0..self.text.len() {
            work.spend(2 * MAX_SHIFT_DISTANCE)?;
            let nearest = start.saturating_sub(MAX_SHIFT_DISTANCE);
            let furthest = self.reference.len().min(start + MAX_SHIFT_DISTANCE + 1);
            for reference_start in nearest..furthest {
                let both = self.text[start..].iter().zip(&self.reference[reference_start..]);
                let longest = both.take(MAX_SHIFT_WORDS).take_while(|(said, wanted)| said == wanted).count();
                for length in 1..=longest {
                    if !self.may_help(start, reference_start, length) {
                        continue;
                    }
                    for target in self.targets(reference_start, length) {
                        let shift = Shift { start, length, target };
                        shift.apply(self.text, &mut shifted);
                        work.spend(self.text.len() + self.distance.num_cells(start.min(target)))?;
                        let same = start.min(target);
                        let after = self.distance.distance_from(self.rows, &shifted, same, &mut buffers);
                        let candidate = Candidate { gain: before - i64::from(after), shift };
                        *num_tried += 1;
                        if best.is_none_or(|best| candidate.is_better_than(&best)) {
                            best = Some(candidate);
                        }
                    }
                    if *num_tried >= MAX_SHIFTS_TRIED {
                        return Ok(best);
                    }
                }
            }
        }
        Ok(best)
    }

    /// Both places hold an error, and the block would not move within itself.
    fn may_help(&self, start: usize, reference_start: usize, length: usize) -> bool {
        let is_inside = (start + 1..=start + length).contains(&self.after_aligned[reference_start]);
        !is_inside
            && self.text_errors[start..start + length].contains(&true)
            && self.reference_errors[reference_start..reference_start + length].contains(&true)
    }

    /// Where the block may go: before and after each word that its place in the reference is aligned with, each target once in a row.
    fn targets(&self, reference_start: usize, length: usize) -> impl Iterator<Item = usize> {
        let first = reference_start.checked_sub(1).map_or(0, |before| self.after_aligned[before]);
        let rest = &self.after_aligned[reference_start..(reference_start + length)];
        let mut last = None;
        std::iter::once(first).chain(rest.iter().copied()).filter(move |&target| last.replace(target) != Some(target))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::text::cross_check::{ORACLE, summed};

    fn statistics(text: &str, references: &[&str]) -> [f64; NUM_SUMS] {
        super::statistics(text, references, &mut Work::of_a_judgement()).unwrap()
    }

    // `text` in oracles/statistics.json.
    #[test]
    fn corpus_equals_sacrebleu() {
        let sums = summed(&ORACLE, |text, reference| statistics(text, &[reference]).to_vec());
        assert!((100.0 * corpus(&sums) - 35.294_117_647_058_826).abs() < 1e-9);
        assert_eq!(signature(Some(1)), "nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0");
    }

    #[test]
    fn a_moved_block_is_one_edit() {
        let edits = |text: &str, reference: &str| statistics(text, &[reference])[0];
        assert_eq!(edits("on Monday the parties met", "The parties met on Monday"), 1.0);
        assert_eq!(edits("a b c", "a b c"), 0.0);
        assert_eq!(edits("a b c", "a c"), 1.0);
        assert_eq!(edits("", "a b"), 2.0);
        assert_eq!(edits("a b", ""), 2.0);
    }

    #[test]
    fn the_closest_reference_gives_the_edits_and_all_give_the_length() {
        assert_eq!(statistics("a b", &["a b", "x y z w"]), [0.0, 3.0]);
        assert_eq!(statistics("a b", &[]), [0.0, 0.0]);
    }

    #[test]
    fn without_reference_words_the_rate_is_all_or_nothing() {
        assert_eq!((corpus(&[3.0, 0.0]), corpus(&[0.0, 0.0])), (1.0, 0.0));
        assert_eq!(corpus(&[3.0, 2.0]), 1.5);
        assert!(corpus(&[1.0]).is_nan());
    }
}
