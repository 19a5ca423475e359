//! Owns what one judgement may cost: the longest texts that are compared, and a budget of steps that is counted and not
//! timed, so that every machine judges the same. Knows nothing about what is compared.
//!
//! Scorers compare texts of strangers: what a hosted model wrote, what a recording or a proof holds. Whatever is beyond
//! these bounds is unscored with the reason, never guessed: its row counts as missing and is never a pass.
//!
//! | what is compared | steps for n and m | kept in memory |
//! |---|---|---|
//! | exact, label, includes, regex, prefixes, numbers | n + m for each right answer | the texts |
//! | BLEU, chrF, ROUGE-1 and -2 | (n + m) log(n + m) | n-grams of one order |
//! | ROUGE-L | at most n · m / 64, one for each word that both have | n + m / 64 |
//! | ROUGE-Lsum | the same for each pair of lines that share a word | the square root of n, times m / 64 |
//! | TER | 1,000 shifts at most, each n times the beam | n times the beam |
//! | fuzzy text | n · d / 64, where d is the distance that the threshold allows | n + m |
//! | lists: in order, or as a set | n + m | n + m |
//! | lists: assignment, by key | n · m comparisons unless items or keys are equal, then min² · max | pairs that share a leaf |
//! | spans | n log n, and the spans that overlap each other | n |

use std::fmt;

/// Bytes of an answer or of a right answer that are compared: a million tokens.
pub const MOST_BYTES: usize = 4 << 20;
/// Steps of one judgement, each of about a nanosecond.
pub const MOST_STEPS: u64 = 1 << 30;
/// Bytes of the names of all fields or types that one judgement counts.
pub const MOST_NAME_BYTES: usize = 1 << 20;

/// What is left of the budget of one judgement.
#[derive(Debug)]
pub struct Work {
    left: u64,
}

/// What a judgement would have taken too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMuch {
    /// Steps.
    Steps,
    /// Names of fields or types.
    Names,
}

impl Work {
    /// The budget of one judgement.
    #[must_use]
    pub fn of_a_judgement() -> Self {
        Self::of(MOST_STEPS)
    }

    /// A budget of some steps.
    #[must_use]
    pub fn of(steps: u64) -> Self {
        Self { left: steps }
    }

    /// Takes steps from the budget, before they are done.
    ///
    /// # Errors
    /// When there are not as many left; then nothing is.
    pub fn spend(&mut self, steps: usize) -> Result<(), TooMuch> {
        match self.left.checked_sub(steps as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(TooMuch::Steps)
            }
        }
    }
}

impl fmt::Display for TooMuch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps => {
                write!(
                    formatter,
                    "comparing it with the target takes more than the {MOST_STEPS} steps of one judgement"
                )
            }
            Self::Names => {
                write!(formatter, "its fields or types have more than {MOST_NAME_BYTES} bytes of names")
            }
        }
    }
}

/// Why right answers of these lengths are not compared with anything; none when they are.
#[must_use]
pub fn too_long_targets(lengths: impl IntoIterator<Item = usize>) -> Option<String> {
    let sum = lengths.into_iter().fold(0_usize, usize::saturating_add);
    (sum > MOST_BYTES)
        .then(|| format!("the right answers have {sum} bytes together, and at most {MOST_BYTES} are compared"))
}

/// Why an answer of this length is not compared with so many right answers; none when it is.
#[must_use]
pub fn too_long_answer(length: usize, num_targets: usize) -> Option<String> {
    if length > MOST_BYTES {
        return Some(format!("the answer has {length} bytes, and at most {MOST_BYTES} are judged"));
    }
    ((length as u64).saturating_mul(num_targets as u64) > MOST_STEPS)
        .then(|| format!("an answer of {length} bytes is not compared with {num_targets} right answers"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once() {
        let mut work = Work::of(10);
        let spent = [10, 0, 1, 0].map(|steps| work.spend(steps));
        assert_eq!(spent, [Ok(()), Ok(()), Err(TooMuch::Steps), Ok(())]);
        assert!(Work::of(10).spend(usize::MAX).is_err());
        assert!(TooMuch::Steps.to_string().contains("1073741824"));
    }

    #[test]
    fn texts_are_refused_by_length_and_by_number() {
        assert_eq!((too_long_answer(MOST_BYTES, 1), too_long_targets([MOST_BYTES])), (None, None));
        assert!(too_long_answer(MOST_BYTES + 1, 1).unwrap().contains("the answer has 4194305 bytes"));
        assert!(too_long_targets([MOST_BYTES, 1]).unwrap().contains("right answers have"));
        assert!(too_long_answer(MOST_BYTES, 257).unwrap().contains("257 right answers"));
    }
}
