//! Overlap of two texts: BLEU, chrF, TER, ROUGE, the prefix that an autocomplete user accepts, and bits per byte.
//! Pure functions of text. Knows nothing about rows, answers that failed, clusters or intervals; scorers and metrics call it.
//!
//! BLEU, chrF and TER come in two parts, so that a bootstrap replicate costs one addition per row:
//! `statistics` turns one text and its references into numbers that may be added over rows, `corpus` turns the sums into the figure.
//! Figures are shares, 100 times smaller than what sacrebleu prints.

pub mod bits_per_byte;
pub mod bleu;
pub mod chrf;
pub mod edit_distance;
pub mod lcs;
pub mod porter;
pub mod prefix;
pub mod rouge;
pub mod ter;
pub mod tokens_13a;

mod beam_distance;
mod ngrams;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
mod cross_check;

/// The version of sacrebleu whose figures ours equal.
const SACREBLEU_VERSION: &str = "2.6.0";

/// A signature as sacrebleu writes it; `None` says that rows have different numbers of references.
fn signature(num_references: Option<usize>, settings: &str) -> String {
    let num_references = num_references.map_or_else(|| "var".to_owned(), |number| number.to_string());
    format!("nrefs:{num_references}|{settings}|version:{SACREBLEU_VERSION}")
}

/// White space as Python's `str.split` sees it: that of Unicode and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The words between white space, as Python's `str.split` gives them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_where_python_splits_them() {
        let text = "\u{1c}a\u{a0}b\u{3000}c\u{200b}d\u{85}e\u{1f}\n f\u{2028}";
        assert_eq!(words(text).collect::<Vec<_>>(), ["a", "b", "c\u{200b}d", "e", "f"]);
    }

    #[test]
    fn a_signature_names_the_number_of_references() {
        assert_eq!(signature(Some(2), "case:lc"), "nrefs:2|case:lc|version:2.6.0");
        assert_eq!(signature(None, "case:lc"), "nrefs:var|case:lc|version:2.6.0");
    }
}
