//! chrF (Popović 2015, aclanthology.org/W15-3049) and chrF++ (Popović 2017, W17-4770), equal to sacrebleu 2.6.0
//! with its defaults: β 2, character 1- to 6-grams without white space, effective order, case counts.
//! Knows nothing about rows; it works for every script, which BLEU and ROUGE do not.

use super::{is_space, ngrams, signature as signed, words};

const CHAR_ORDER: usize = 6;
/// Recall counts β² times as much as precision.
const BETA_SQUARED: f64 = 4.0;
/// Numbers per order: n-grams of the text, n-grams of the reference, matches.
const SUMS_PER_ORDER: usize = 3;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Characters only.
    Chrf,
    /// Characters, and single words and pairs of words, with punctuation cut off the words.
    ChrfPlusPlus,
}

impl Variant {
    fn word_order(self) -> usize {
        match self {
            Self::Chrf => 0,
            Self::ChrfPlusPlus => 2,
        }
    }

    /// How many statistics there are: n-grams of the text, of the reference, and matches, for each order; characters first.
    pub fn num_sums(self) -> usize {
        SUMS_PER_ORDER * (CHAR_ORDER + self.word_order())
    }

    /// The settings as sacrebleu writes them, without the number of references.
    pub fn settings(self) -> &'static str {
        match self {
            Self::Chrf => "case:mixed|eff:yes|nc:6|nw:0|space:no",
            Self::ChrfPlusPlus => "case:mixed|eff:yes|nc:6|nw:2|space:no",
        }
    }

    /// The signature of a corpus score; `None` says that rows have different numbers of references.
    pub fn signature(self, num_references: Option<usize>) -> String {
        signed(num_references, self.settings())
    }

    /// The statistics of one text, to be added over rows; of several references those of the best, of equally good the first.
    pub fn statistics<S: AsRef<str>>(self, text: &str, references: &[S]) -> Vec<f64> {
        let mut vocabulary = ngrams::Vocabulary::default();
        let said = self.symbols(text, &mut vocabulary);
        let wanted: Vec<Symbols> =
            references.iter().map(|reference| self.symbols(reference.as_ref(), &mut vocabulary)).collect();
        let mut sums = vec![Vec::with_capacity(self.num_sums()); references.len()];
        // One order after the other, since the n-grams of all of them would take a hundred times the text.
        for order in self.orders() {
            let grams = said.grams(order);
            for (wanted, sums) in wanted.iter().zip(&mut sums) {
                sums.extend(matches(&grams, &wanted.grams(order)));
            }
        }
        let mut best: Option<(f64, Vec<f64>)> = None;
        for sums in sums {
            let score = corpus(&sums);
            if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                best = Some((score, sums));
            }
        }
        best.map_or_else(|| vec![0.0; self.num_sums()], |(_, sums)| sums)
    }

    fn orders(self) -> impl Iterator<Item = Order> {
        (1..=CHAR_ORDER).map(Order::Characters).chain((1..=self.word_order()).map(Order::Words))
    }

    fn symbols<'a>(self, text: &'a str, vocabulary: &mut ngrams::Vocabulary<'a>) -> Symbols {
        let characters = text.chars().filter(|&c| !is_space(c)).map(u32::from).collect();
        let words = if self.word_order() > 0 {
            vocabulary.numbers(words(text).flat_map(without_punctuation))
        } else {
            Vec::new()
        };
        Symbols { characters, words }
    }
}

#[derive(Clone, Copy)]
enum Order {
    Characters(usize),
    Words(usize),
}

/// What n-grams are made of.
struct Symbols {
    characters: Vec<u32>,
    words: Vec<u32>,
}

impl Symbols {
    fn grams(&self, order: Order) -> Vec<u128> {
        match order {
            Order::Characters(order) => ngrams::sorted(&self.characters, order, ngrams::CHAR_BITS),
            Order::Words(order) => ngrams::sorted(&self.words, order, ngrams::WORD_BITS),
        }
    }
}

/// chrF of a text or a corpus from (summed) statistics, between 0 and 1; not a number when their number is not that of a variant.
///
/// Precision and recall are averaged over the orders that both sides have, then joined.
pub fn corpus(sums: &[f64]) -> f64 {
    if sums.len() != Variant::Chrf.num_sums() && sums.len() != Variant::ChrfPlusPlus.num_sums() {
        return f64::NAN;
    }
    let (mut precision, mut recall, mut num_orders) = (0.0, 0.0, 0.0);
    for order in sums.chunks_exact(SUMS_PER_ORDER) {
        if order[0] > 0.0 && order[1] > 0.0 {
            precision += order[2] / order[0];
            recall += order[2] / order[1];
            num_orders += 1.0;
        }
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / num_orders, recall / num_orders);
    (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
}

/// A text is not blamed for n-grams of an order that its reference is too short for.
fn matches(said: &[u128], wanted: &[u128]) -> [f64; SUMS_PER_ORDER] {
    let judged = if wanted.is_empty() { 0 } else { said.len() };
    [judged as f64, wanted.len() as f64, ngrams::num_shared(said, wanted) as f64]
}

/// A word with one mark of ASCII punctuation cut off its end, or else off its beginning.
fn without_punctuation(word: &str) -> impl Iterator<Item = &str> {
    let is_mark = |c: char| c.is_ascii_punctuation();
    let (first, second) = if word.chars().nth(1).is_none() {
        (word, "")
    } else if word.ends_with(is_mark) {
        word.split_at(word.len() - 1)
    } else if word.starts_with(is_mark) {
        word.split_at(1)
    } else {
        (word, "")
    };
    [first, second].into_iter().filter(|part| !part.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::text::cross_check::{ORACLE, summed};

    // `text` in oracles/statistics.json.
    #[test]
    fn corpus_equals_sacrebleu() {
        for (variant, expect) in
            [(Variant::Chrf, 79.216_486_743_695_24), (Variant::ChrfPlusPlus, 78.206_169_643_889_87)]
        {
            let sums = summed(&ORACLE, |text, reference| variant.statistics(text, &[reference]));
            assert_eq!(sums.len(), variant.num_sums());
            assert!((100.0 * corpus(&sums) - expect).abs() < 1e-9, "{variant:?}");
        }
        let expect = "nrefs:var|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0";
        assert_eq!(Variant::ChrfPlusPlus.signature(None), expect);
    }

    #[test]
    fn one_mark_is_cut_off_a_word_and_a_lone_mark_stays() {
        let check = |word, expect: &[&str]| assert_eq!(without_punctuation(word).collect::<Vec<_>>(), expect, "{word}");
        check("(end).", &["(end)", "."]);
        check("(end", &["(", "end"]);
        check(".", &["."]);
        check("\u{2014}\u{e9}", &["\u{2014}\u{e9}"]);
    }

    #[test]
    fn a_perfect_text_scores_exactly_one_an_empty_one_nothing_and_the_best_reference_counts() {
        for variant in [Variant::Chrf, Variant::ChrfPlusPlus] {
            let of = |text: &str, references: &[&str]| corpus(&variant.statistics(text, references));
            assert_eq!(of("Договор расторгнут.", &["Договор расторгнут."]), 1.0);
            assert_eq!(of("条約", &["別の文", "条約"]), 1.0);
            assert_eq!(of("", &["a b"]), 0.0);
            assert_eq!(of("a b", &[""]), 0.0);
            assert_eq!(of("a b", &[]), 0.0);
        }
        assert!(corpus(&[1.0; 4]).is_nan());
    }
}
