//! ROUGE-1, -2, -L and -Lsum (Lin 2004, aclanthology.org/W04-1013), equal to rouge-score 0.1.2 with its stemmer.
//! Knows nothing about rows. Its tokens are runs of `a` to `z` and digits: every other letter is lost, so that it says
//! nothing about most scripts; [`lost_letters`] tells a caller when to refuse it.

use super::{lcs::Columns, ngrams, porter};
use crate::work::{TooMuch, Work};

/// Which overlap is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Single words.
    One,
    /// Pairs of words that stand side by side.
    Two,
    /// The longest common subsequence of the whole texts.
    L,
    /// For each line of the reference the union of its longest common subsequences with the lines of the text.
    Lsum,
}

/// Precision, recall and their harmonic mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overlap {
    /// Share of the text that stands in the reference.
    pub precision: f64,
    /// Share of the reference that stands in the text.
    pub recall: f64,
    /// The harmonic mean of both; 0 when both are.
    pub f1: f64,
}

impl Overlap {
    fn new(hits: usize, num_said: usize, num_wanted: usize) -> Self {
        let precision = hits as f64 / num_said.max(1) as f64;
        let recall = hits as f64 / num_wanted.max(1) as f64;
        let f1 = if hits == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
        Self { precision, recall, f1 }
    }
}

/// The overlap with the reference that gives the highest F1, of equal ones the first.
///
/// # Errors
/// When the work is more than is left.
pub fn rouge<S: AsRef<str>>(
    variant: Variant,
    text: &str,
    references: &[S],
    work: &mut Work,
) -> Result<Overlap, TooMuch> {
    let mut best: Option<Overlap> = None;
    for reference in references {
        work.spend(text.len() + reference.as_ref().len())?;
        let overlap = match variant {
            Variant::One => rouge_n(1, text, reference.as_ref()),
            Variant::Two => rouge_n(2, text, reference.as_ref()),
            Variant::L => rouge_l(text, reference.as_ref(), work)?,
            Variant::Lsum => rouge_lsum(text, reference.as_ref(), work)?,
        };
        if best.is_none_or(|best| overlap.f1 > best.f1) {
            best = Some(overlap);
        }
    }
    Ok(best.unwrap_or_default())
}

/// Lower case, cut at everything but `a` to `z` and digits, words of more than three letters stemmed.
pub fn tokens(text: &str) -> Vec<String> {
    let is_kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let stem = |word: &str| if word.len() > 3 { porter::stem(word) } else { word.to_owned() };
    let text = text.to_lowercase();
    text.split(|c| !is_kept(c)).filter(|word| !word.is_empty()).map(stem).filter(|word| !word.is_empty()).collect()
}

/// Letters and digits of the text that ROUGE keeps, and those that it loses.
pub fn lost_letters(text: &str) -> (usize, usize) {
    let (kept, lost): (Vec<char>, Vec<char>) =
        text.chars().filter(|c| c.is_alphanumeric()).partition(char::is_ascii_alphanumeric);
    (kept.len(), lost.len())
}

fn rouge_n(order: usize, text: &str, reference: &str) -> Overlap {
    let (text, reference) = (tokens(text), tokens(reference));
    let mut vocabulary = ngrams::Vocabulary::default();
    let mut grams = |tokens| {
        let numbers = vocabulary.numbers(each_str(tokens));
        ngrams::sorted(&numbers, order, ngrams::WORD_BITS)
    };
    let (said, wanted) = (grams(&text), grams(&reference));
    Overlap::new(ngrams::num_shared(&said, &wanted), said.len(), wanted.len())
}

fn rouge_l(text: &str, reference: &str, work: &mut Work) -> Result<Overlap, TooMuch> {
    let (text, reference) = (tokens(text), tokens(reference));
    let mut vocabulary = ngrams::Vocabulary::default();
    let (said, wanted) = (vocabulary.numbers(each_str(&text)), vocabulary.numbers(each_str(&reference)));
    let mut columns = Columns::default();
    columns.set(&said);
    Ok(Overlap::new(columns.lcs_length(&wanted, work)?, said.len(), wanted.len()))
}

/// What a pair of lines takes besides its words, in steps of the budget (measured: 160 ns).
const PAIR_STEPS: usize = 160;

fn rouge_lsum(text: &str, reference: &str, work: &mut Work) -> Result<Overlap, TooMuch> {
    let lines = |text: &str| text.split('\n').map(tokens).collect::<Vec<_>>();
    let (text, reference) = (lines(text), lines(reference));
    let mut vocabulary = ngrams::Vocabulary::default();
    let said: Vec<Vec<u32>> = text.iter().map(|line| vocabulary.numbers(each_str(line))).collect();
    let wanted: Vec<Vec<u32>> = reference.iter().map(|line| vocabulary.numbers(each_str(line))).collect();

    let mut columns = Columns::default();
    let mut marks: Vec<Vec<bool>> = wanted.iter().map(|line| vec![false; line.len()]).collect();
    for line in &said {
        columns.set(line);
        for (wanted, marks) in wanted.iter().zip(&mut marks) {
            // A pair of lines costs this much, however short they are.
            work.spend(PAIR_STEPS)?;
            columns.mark_lcs(wanted, marks, work)?;
        }
    }
    // A word is hit at most as often as both sides have it, as in ROUGE 1.5.5.
    let mut left = vec![0_usize; vocabulary.len()];
    said.iter().flatten().for_each(|&word| left[word as usize] += 1);
    let marked = wanted.iter().flatten().zip(marks.iter().flatten()).filter(|&(_, &is_marked)| is_marked);
    let mut hits = 0;
    for (&word, _) in marked {
        if let Some(one_less) = left[word as usize].checked_sub(1) {
            left[word as usize] = one_less;
            hits += 1;
        }
    }
    Ok(Overlap::new(hits, said.iter().map(Vec::len).sum(), wanted.iter().map(Vec::len).sum()))
}

fn each_str(tokens: &[String]) -> impl Iterator<Item = &str> {
    tokens.iter().map(String::as_str)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn rouge(variant: Variant, text: &str, references: &[&str]) -> Overlap {
        super::rouge(variant, text, references, &mut Work::of_a_judgement()).unwrap()
    }

    // `rouge_stem` in oracles/statistics.json.
    #[test]
    fn the_published_pair_equals_rouge_score() {
        let target = "he was interested in world history because he read the book";
        let text = "He reads the book because he was interested in world history.";
        let expect = [1.0, 0.9, 6.0 / 11.0, 6.0 / 11.0];
        for (variant, expect) in [Variant::One, Variant::Two, Variant::L, Variant::Lsum].into_iter().zip(expect) {
            let Overlap { precision, recall, f1 } = rouge(variant, text, &[target]);
            for value in [precision, recall, f1] {
                assert!((value - expect).abs() < 1e-12, "{variant:?}: {value}");
            }
        }
    }

    #[test]
    fn lines_may_stand_in_another_order_for_lsum_only() {
        let (text, target) = ("a red fox\na blue dog", "a blue dog\na red fox");
        assert_eq!(rouge(Variant::Lsum, text, &[target]).f1, 1.0);
        assert!(rouge(Variant::L, text, &[target]).f1 < 1.0);
    }

    #[test]
    fn the_best_reference_counts_and_nothing_scores_nothing() {
        for variant in [Variant::One, Variant::Two, Variant::L, Variant::Lsum] {
            assert_eq!(rouge(variant, "red fox", &["blue dog", "the red fox", "red fox"]).f1, 1.0);
            for (text, references) in [("", vec!["a b"]), ("a b", vec![""]), ("", vec![""]), ("a b", vec![])] {
                assert_eq!(rouge(variant, text, &references), Overlap::default());
            }
        }
    }

    #[test]
    fn letters_outside_ascii_are_lost_and_counted() {
        assert_eq!(tokens("Été: 2 Kelvins, \u{212a}elvin"), ["t", "2", "kelvin", "kelvin"]);
        assert_eq!(lost_letters("Été 12!"), (3, 2));
        assert_eq!(lost_letters("Договор № 7"), (1, 7));
        assert_eq!(lost_letters("— 👍"), (0, 0));
    }
}
