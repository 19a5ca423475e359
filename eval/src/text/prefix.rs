//! What a user of an autocomplete accepts: the common prefix of suggestion and text, and whether the first line is right.
//! Knows nothing about normal forms or about how an answer ended.

/// Characters (Unicode scalar values) that the suggestion and the reference have in common from the start.
pub fn num_accepted_chars(suggestion: &str, reference: &str) -> usize {
    suggestion.chars().zip(reference.chars()).take_while(|(said, wanted)| said == wanted).count()
}

/// The text up to its first line break, without white space at the right end; indentation stays.
pub fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default().trim_end()
}

/// Accepted characters as a share of the reference characters, from summed `[accepted, reference, ...]`; not a number without reference characters.
pub fn accepted_share(sums: &[f64]) -> f64 {
    match sums {
        [accepted, reference, ..] if *reference > 0.0 => accepted / reference,
        _ => f64::NAN,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    // `prefix accept` in oracles/reference_values.json.
    #[test]
    fn the_common_prefix_is_counted_in_characters() {
        assert_eq!(num_accepted_chars("the party shall pay", "the party must pay"), 10);
        assert_eq!(num_accepted_chars("Überweisung", "Übertrag"), 4);
        assert_eq!(num_accepted_chars("", "a"), 0);
        assert_eq!(num_accepted_chars("a", "ab"), 1);
    }

    #[test]
    fn only_the_right_end_of_the_first_line_is_trimmed() {
        assert_eq!(first_line("  let x = 1;\t\r\nlet y"), "  let x = 1;");
        assert_eq!(first_line("\nnext"), "");
        assert_eq!(first_line(""), "");
    }

    #[test]
    fn the_share_is_of_all_characters_and_never_made_up() {
        assert_eq!(accepted_share(&[3.0, 12.0, 1.0, 4.0]), 0.25);
        assert!(accepted_share(&[0.0, 0.0]).is_nan() && accepted_share(&[]).is_nan());
    }
}
