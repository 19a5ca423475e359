//! Owns reading an answer of a verdict from a command line. Knows no command.

use eval::verdict::Answer;

/// An answer by its name, in any case.
pub(super) fn read(text: &str) -> Result<Answer, String> {
    let named = Answer::ALL.into_iter().find(|answer| answer.name().eq_ignore_ascii_case(text));
    named.ok_or_else(|| {
        let names = Answer::ALL.map(Answer::name).join(", ");
        format!("no answer of a verdict\nhint: write one of {names}; the first is the best for the candidate")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_its_name_and_another_word_is_refused_with_all_of_them() {
        assert_eq!(read("REPLACE"), Ok(Answer::Replace));
        assert_eq!(read("replace_better"), Ok(Answer::ReplaceBetter));
        let refused = read("YES").err().unwrap_or_default();
        assert!(
            refused.contains("hint: write one of REPLACE_BETTER, REPLACE, INSUFFICIENT, KEEP_FRONTIER"),
            "{refused}"
        );
    }
}
