//! What every scorer said of one answer, by the scorer's name.
//! Knows nothing about scorers; it is a small map in a list, because an evaluation holds one for each answer and a tree would need five times the memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Scored;

/// Judgements in the order of the scorers' names, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgements(Vec<(Box<str>, Scored)>);

impl Judgements {
    /// What this scorer said.
    pub fn get(&self, scorer: &str) -> Option<&Scored> {
        self.0.iter().find(|(name, _)| **name == *scorer).map(|(_, scored)| scored)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, scorer: &str) -> Option<&mut Scored> {
        self.0.iter_mut().find(|(name, _)| **name == *scorer).map(|(_, scored)| scored)
    }

    /// Adds what a scorer said; what it said before is returned.
    pub fn insert(&mut self, scorer: String, scored: Scored) -> Option<Scored> {
        match self.0.binary_search_by(|(name, _)| (**name).cmp(&scorer)) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, scored)),
            Err(at) => {
                self.0.insert(at, (scorer.into(), scored));
                None
            }
        }
    }

    /// Names and judgements, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Scored)> {
        self.0.iter().map(|(name, scored)| (&**name, scored))
    }

    /// The judgements, in the order of the names.
    pub fn values(&self) -> impl Iterator<Item = &Scored> {
        self.0.iter().map(|(_, scored)| scored)
    }
}

impl FromIterator<(String, Scored)> for Judgements {
    fn from_iter<I: IntoIterator<Item = (String, Scored)>>(judged: I) -> Self {
        let mut judgements = Self::default();
        for (scorer, scored) in judged {
            judgements.insert(scorer, scored);
        }
        judgements.0.shrink_to_fit();
        judgements
    }
}

impl<const N: usize> From<[(String, Scored); N]> for Judgements {
    fn from(judged: [(String, Scored); N]) -> Self {
        judged.into_iter().collect()
    }
}

impl Serialize for Judgements {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Judgements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(|judged: BTreeMap<String, Scored>| judged.into_iter().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn judgements_are_found_by_name_and_written_in_the_order_of_the_names() {
        let right = Scored::right_or_wrong(true);
        let mut found = Judgements::from([("label".to_owned(), right.clone()), ("exact".to_owned(), right.clone())]);
        assert_eq!(found.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["exact", "label"]);
        let wrong = Scored::right_or_wrong(false);
        assert_eq!((found.insert("label".to_owned(), wrong.clone()), found.get("label")), (Some(right), Some(&wrong)));
        assert_eq!((found.get("other"), found.values().count()), (None, 2));
        let text = serde_json::to_string(&found).unwrap();
        assert!(text.starts_with("{\"exact\":{\"score\":1.0"), "{text}");
        assert_eq!(serde_json::from_str::<Judgements>(&text).unwrap(), found);
    }
}
