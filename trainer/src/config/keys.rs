//! Owns finding the key or word that a misspelt one was meant to be. Knows nothing about what a value may be.

use super::schema::KEYS;

/// A longer word is no misspelt one.
const MOST_LETTERS: usize = 60;

/// The keys that a misspelt or misplaced one may have been: the nearest in its section, else elsewhere.
#[must_use]
pub fn nearest(section: &str, name: &str) -> Vec<String> {
    let of = |within: bool| {
        let candidates = KEYS.iter().filter(|key| (key.section == section) == within);
        nearest_of(name, candidates.map(|key| (key.field.name.as_str(), key.path())))
    };
    let inside = of(true);
    if inside.is_empty() { of(false) } else { inside }
}

/// The words that a misspelt one may have been; more than one where they are equally near.
#[must_use]
pub fn nearest_word(wrong: &str, known: &[&str]) -> Vec<String> {
    nearest_of(wrong, known.iter().map(|word| (*word, (*word).to_owned())))
}

fn nearest_of<'a>(wrong: &str, known: impl Iterator<Item = (&'a str, String)>) -> Vec<String> {
    // What is much longer than every key is near none, and a comparison would take its length in memory.
    if wrong.len() > MOST_LETTERS {
        return Vec::new();
    }
    let near: Vec<(usize, String)> = known
        .map(|(word, shown)| (strsim::damerau_levenshtein(wrong, word), word.len(), shown))
        .filter(|(distance, length, _)| *distance <= 1 + length / 3)
        .map(|(distance, _, shown)| (distance, shown))
        .collect();
    let least = near.iter().map(|(distance, _)| *distance).min();
    near.into_iter().filter(|(distance, _)| Some(*distance) == least).map(|(_, shown)| shown).collect()
}

/// `did you mean …?`, or the list of what is known.
#[must_use]
pub fn did_you_mean(near: &[String], otherwise: impl FnOnce() -> String) -> String {
    match near {
        [] => otherwise(),
        near => {
            let quoted: Vec<String> = near.iter().map(|key| format!("`{key}`")).collect();
            format!("did you mean {}?", quoted.join(" or "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_or_misplaced_key_finds_its_place() {
        assert_eq!(nearest("train", "learning_rte"), ["train.learning_rate"]);
        assert_eq!(nearest("lora", "learning_rate"), ["train.learning_rate"]);
        assert_eq!(nearest("train", "adam_betax"), ["train.adam_beta1", "train.adam_beta2"]);
        assert!(nearest("data", "completely_different").is_empty());
        assert!(nearest("data", &"a".repeat(1 << 22)).is_empty());
    }
}
