//! Owns counting what a file lists without keeping it: tokens with their ids, merges. Knows no limit.

use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a vocabulary comes to, without keeping it: an object of ids, or a list of tokens with scores.
#[derive(Default)]
pub(super) struct Vocabulary {
    pub(super) count: usize,
    /// Bytes of the longest token.
    pub(super) longest: usize,
    /// Bytes of all tokens.
    pub(super) total: usize,
    /// The largest id, with its token.
    pub(super) largest: Option<(u32, String)>,
}

impl Vocabulary {
    fn add(&mut self, token: String, id: u32) {
        self.count += 1;
        self.longest = self.longest.max(token.len());
        self.total += token.len();
        if self.largest.as_ref().is_none_or(|(largest, _)| id > *largest) {
            self.largest = Some((id, token));
        }
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a vocabulary")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
        let mut all = Vocabulary::default();
        while let Some((token, id)) = map.next_entry::<String, u32>()? {
            all.add(token, id);
        }
        Ok(all)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocabulary, A::Error> {
        let mut all = Vocabulary::default();
        while let Some((token, _)) = list.next_element::<(String, f64)>()? {
            let id = u32::try_from(all.count).unwrap_or(u32::MAX);
            all.add(token, id);
        }
        Ok(all)
    }
}

/// How many elements a list has, if there is one.
#[derive(Default)]
pub(super) struct Count(pub(super) Option<usize>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
        let mut count = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Count(Some(count)))
    }
}
