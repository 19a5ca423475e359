//! BLEU (Papineni et al. 2002, aclanthology.org/P02-1040), equal to sacrebleu 2.6.0 (Post 2018, arXiv 1804.08771)
//! with its defaults: 13a tokens, up to 4-grams, exponential smoothing, case counts.
//! Knows nothing about rows; the figure of a corpus comes from summed statistics, never from a mean of sentence scores.

use super::{ngrams, signature as signed, tokens_13a, words};

/// The longest n-gram.
const ORDER: usize = 4;
/// The settings as sacrebleu writes them, without the number of references.
pub const SETTINGS: &str = "case:mixed|eff:no|tok:13a|smooth:exp";
/// Length of the text, length of the closest reference, matches by order 1 to 4, n-grams by order 1 to 4.
pub const NUM_SUMS: usize = 2 + 2 * ORDER;

/// The statistics of one text, to be added over rows; see [`NUM_SUMS`] for their order.
///
/// With several references an n-gram matches as often as the reference that has it most often,
/// and the length that counts is the closest, of two equally close the shorter.
pub fn statistics<S: AsRef<str>>(text: &str, references: &[S]) -> [f64; NUM_SUMS] {
    let tokens = tokens_13a::tokenize(text);
    let reference_tokens: Vec<String> = references.iter().map(|text| tokens_13a::tokenize(text.as_ref())).collect();
    let mut vocabulary = ngrams::Vocabulary::default();
    let said = vocabulary.numbers(words(&tokens));
    let wanted: Vec<Vec<u32>> = reference_tokens.iter().map(|text| vocabulary.numbers(words(text))).collect();

    let mut sums = [0.0; NUM_SUMS];
    sums[0] = said.len() as f64;
    let closest = wanted.iter().map(Vec::len).min_by_key(|&length| (length.abs_diff(said.len()), length));
    sums[1] = closest.unwrap_or(0) as f64;
    for order in 1..=ORDER {
        let grams = ngrams::sorted(&said, order, ngrams::WORD_BITS);
        let others: Vec<_> = wanted.iter().map(|text| ngrams::sorted(text, order, ngrams::WORD_BITS)).collect();
        sums[1 + order] = ngrams::num_shared_with_any(&grams, &others) as f64;
        sums[1 + ORDER + order] = grams.len() as f64;
    }
    sums
}

/// BLEU of a corpus from summed statistics, between 0 and 1; not a number when there are not [`NUM_SUMS`] sums.
pub fn corpus(sums: &[f64]) -> f64 {
    from_sums(sums, false)
}

/// BLEU of one text from its statistics with effective order, between 0 and 1: orders that the text is too short for do not count.
///
/// For display: single sentences are too short for BLEU to decide anything.
pub fn sentence(sums: &[f64]) -> f64 {
    from_sums(sums, true)
}

/// The signature of a corpus score; `None` says that rows have different numbers of references.
pub fn signature(num_references: Option<usize>) -> String {
    signed(num_references, SETTINGS)
}

fn from_sums(sums: &[f64], effective_order: bool) -> f64 {
    let &[length, reference_length, ref rest @ ..] = sums else { return f64::NAN };
    if sums.len() != NUM_SUMS {
        return f64::NAN;
    }
    let (matches, totals) = rest.split_at(ORDER);
    if matches.iter().all(|&number| number == 0.0) {
        return 0.0;
    }
    let brevity = if length < reference_length { (1.0 - reference_length / length).exp() } else { 1.0 };
    let mut smoothing = 1.0;
    let (mut log_sum, mut num_orders) = (0.0, 0);
    for (&matched, &total) in matches.iter().zip(totals) {
        if total == 0.0 {
            break;
        }
        let precision = if matched == 0.0 {
            // Method 3 of Chen and Cherry 2014 (aclanthology.org/W14-3346): each order without a match halves the last guess.
            smoothing *= 2.0;
            1.0 / (smoothing * total)
        } else {
            matched / total
        };
        log_sum += precision.ln();
        num_orders += 1;
    }
    if effective_order {
        brevity * (log_sum / f64::from(num_orders)).exp()
    } else if num_orders == ORDER as i32 {
        brevity * (log_sum / ORDER as f64).exp()
    } else {
        // An order without any n-gram has precision 0, which smoothing does not mend.
        0.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::text::cross_check::{ORACLE, summed};

    // `text` in oracles/statistics.json.
    #[test]
    fn corpus_and_sentence_equal_sacrebleu() {
        let sums = summed(&ORACLE, |text, reference| statistics(text, &[reference]).to_vec());
        assert!((100.0 * corpus(&sums) - 50.074_256_895_104_71).abs() < 1e-9);
        let first = statistics(ORACLE[0].0, &[ORACLE[0].1]);
        assert!((100.0 * sentence(&first) - 48.892_302_243_490_086).abs() < 1e-9);
        assert_eq!(signature(Some(1)), "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0");
    }

    #[test]
    fn a_perfect_text_scores_exactly_one_and_a_short_one_only_with_effective_order() {
        let long = statistics("a b c d e", &["a b c d e"]);
        assert_eq!((corpus(&long), sentence(&long)), (1.0, 1.0));
        let short = statistics("a b", &["a b"]);
        assert_eq!((corpus(&short), sentence(&short)), (0.0, 1.0));
    }

    #[test]
    fn of_equally_close_references_the_shorter_counts_and_matches_are_the_best_of_each() {
        let sums = statistics("a a b", &["a a", "b a c d"]);
        assert_eq!(sums[..6], [3.0, 2.0, 3.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn an_empty_text_or_reference_scores_nothing_and_a_wrong_number_of_sums_is_no_number() {
        for (text, reference) in [("", "a"), ("a", ""), ("", "")] {
            let sums = statistics(text, &[reference]);
            assert_eq!((corpus(&sums), sentence(&sums)), (0.0, 0.0));
        }
        assert!(corpus(&[1.0; 3]).is_nan() && corpus(&[]).is_nan() && corpus(&[1.0; 11]).is_nan());
    }
}
