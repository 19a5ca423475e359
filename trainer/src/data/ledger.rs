//! Owns the account of a run's rows as it is written to `ledger.json` and printed: rows, tokens, cuts, warnings.
//! Knows nothing about why a row is refused, and prints nothing itself.

use std::collections::BTreeMap;

use datasets::{Ledger, Split};
use serde::{Deserialize, Serialize};

use super::template_mask::{Cut, Refusal, Sample};

/// The version of `ledger.json`.
pub const VERSION: u32 = 1;
/// Row ids that are kept for each reason.
const EXAMPLES: usize = 5;

/// Where every row and token went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataLedger {
    /// Version of this format.
    pub version: u32,
    /// The account of rows.
    pub rows: Ledger,
    /// The longest row that is learnt.
    pub max_tokens: usize,
    /// Tokens by split.
    pub tokens: BTreeMap<String, SplitTokens>,
    /// Tokens that would have been learnt and were cut away.
    pub truncated_supervised_tokens: usize,
    /// Some rows for each reason of refusal; of rows that are too long, the longest with their tokens.
    pub refused_rows: BTreeMap<String, Vec<RefusedRow>>,
    /// Held-out rows longer than what was learnt. They are scored all the same.
    pub long_test_rows: usize,
    /// What a user should know.
    pub warnings: Vec<String>,
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedRow {
    /// Its id.
    pub id: String,
    /// Its tokens, if that is why.
    pub tokens: Option<usize>,
}

/// Tokens of one split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitTokens {
    /// Used rows.
    pub rows: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Of these, tokens that are learnt or scored.
    pub supervised_tokens: usize,
}

impl DataLedger {
    /// Goes on from the account of the text.
    #[must_use]
    pub fn new(rows: Ledger, max_tokens: usize) -> Self {
        DataLedger {
            version: VERSION,
            rows,
            max_tokens,
            tokens: BTreeMap::new(),
            truncated_supervised_tokens: 0,
            refused_rows: BTreeMap::new(),
            long_test_rows: 0,
            warnings: Vec::new(),
        }
    }

    /// Enters a used row.
    pub fn used(&mut self, split: Split, sample: &Sample, cut: Option<Cut>) {
        let (tokens, supervised) = (sample.ids.len(), sample.supervised_tokens());
        self.rows.count_tokens(&sample.id, tokens, supervised);
        let of_split = self.tokens.entry(split.as_str().to_owned()).or_default();
        of_split.rows += 1;
        of_split.tokens += tokens;
        of_split.supervised_tokens += supervised;
        if let Some(cut) = cut {
            self.rows.truncated_rows += 1;
            self.rows.truncated_tokens += cut.tokens;
            self.truncated_supervised_tokens += cut.supervised_tokens;
        }
        if split == Split::Test && tokens > self.max_tokens {
            self.long_test_rows += 1;
        }
    }

    /// Enters a row that cannot be used.
    pub fn refused(&mut self, split: Split, id: &str, refusal: &Refusal) {
        self.enter(split, id, &refusal.reason(self.max_tokens), refusal.tokens());
    }

    /// Enters a row that is left out because it says so itself.
    pub fn left_out(&mut self, split: Split, id: &str, reason: &str) {
        self.enter(split, id, reason, None);
    }

    fn enter(&mut self, split: Split, id: &str, reason: &str, tokens: Option<usize>) {
        self.rows.refuse(split, reason, 1);
        let rows = self.refused_rows.entry(reason.to_owned()).or_default();
        // Longest first; rows without a length stay in their order.
        let place = rows.partition_point(|row| row.tokens >= tokens);
        if place < EXAMPLES {
            rows.insert(place, RefusedRow { id: id.to_owned(), tokens });
            rows.truncate(EXAMPLES);
        }
    }

    /// Enters something a user should know.
    pub fn warn(&mut self, message: &str) {
        self.warnings.push(message.to_owned());
    }

    /// The account as a person reads it, without the warnings.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.rows.lines();
        for (reason, rows) in &self.refused_rows {
            let shown = |row: &RefusedRow| match row.tokens {
                Some(tokens) => format!("{} ({tokens})", row.id),
                None => row.id.clone(),
            };
            let ids: Vec<String> = rows.iter().map(shown).collect();
            lines.push(format!("such as   {}: {reason}", ids.join(", ")));
        }
        for split in [Split::Train, Split::Valid, Split::Test] {
            if let Some(of) = self.tokens.get(split.as_str()) {
                let (name, verb) = (split.as_str(), if split == Split::Train { "learnt" } else { "scored" });
                lines.push(format!(
                    "{name:<9} {} rows, {} tokens, {} of them {verb}",
                    of.rows, of.tokens, of.supervised_tokens
                ));
            }
        }
        if self.truncated_supervised_tokens > 0 {
            lines.push(format!("not learnt {} tokens that were cut", self.truncated_supervised_tokens));
        }
        if self.long_test_rows > 0 {
            lines.push(format!(
                "long      {} test rows have more than data.max_tokens = {} tokens and are scored whole",
                self.long_test_rows, self.max_tokens
            ));
        }
        lines
    }
}
