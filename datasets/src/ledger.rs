//! Owns the account of a set's rows: read, used, refused, leaked, cut, with nothing left over. The text part is filled
//! here; whoever counts tokens fills the rest. Knows nothing about tokenizers and prints nothing.

use serde::{Deserialize, Serialize};

use crate::overlap::{Kind, Leak};
use crate::split::Split;

/// Leaks that are kept as examples, per split and kind.
const EXAMPLES: usize = 3;
/// Rows listed as the longest.
const LONGEST: usize = 5;

/// Where every row of a set went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Rows of all files, blank lines not counted.
    pub rows_read: usize,
    /// Lines with nothing but space.
    pub blank_lines: usize,
    /// Rows that are trained on or scored.
    pub used: usize,
    /// Of these, rows in train.
    pub train: usize,
    /// Of these, rows in valid.
    pub valid: usize,
    /// Of these, rows in test.
    pub test: usize,
    /// Rows left out and why, in the order of the reasons' first use.
    pub refused: Vec<(String, usize)>,
    /// Rows left out because they repeat another split.
    pub leaks: Vec<LeakCount>,
    /// SHA-256 of each file, by its name.
    pub files: Vec<(String, String)>,
    /// Tokens of the used rows.
    pub tokens: Option<usize>,
    /// Of these, tokens that are learnt.
    pub supervised_tokens: Option<usize>,
    /// Rows cut to the length limit.
    pub truncated_rows: usize,
    /// Tokens cut away.
    pub truncated_tokens: usize,
    /// The longest rows with their tokens, longest first.
    pub longest: Vec<(String, usize)>,
}

/// Leaks of one kind into one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakCount {
    /// The split the rows were taken out of.
    pub split: Split,
    /// How they were found.
    pub kind: Kind,
    /// How many.
    pub rows: usize,
    /// A few of them.
    pub examples: Vec<Leak>,
}

impl Ledger {
    /// Adds rows left out of a split; they no longer count as used.
    pub fn refuse(&mut self, split: Split, reason: &str, rows: usize) {
        if rows == 0 {
            return;
        }
        self.leave_out(split, rows);
        match self.refused.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => *count += rows,
            None => self.refused.push((reason.to_string(), rows)),
        }
    }

    /// Adds rows that repeat another split; they no longer count as used.
    pub fn leaked(&mut self, split: Split, leaks: &[Leak]) {
        self.leave_out(split, leaks.len());
        for kind in [Kind::Exact, Kind::NearMinhash, Kind::NearTfidf] {
            let of_kind: Vec<&Leak> = leaks.iter().filter(|leak| leak.kind == kind).collect();
            if !of_kind.is_empty() {
                let examples = of_kind.iter().take(EXAMPLES).map(|leak| (*leak).clone()).collect();
                self.leaks.push(LeakCount { split, kind, rows: of_kind.len(), examples });
            }
        }
    }

    /// Adds a used row of known length.
    pub fn count_tokens(&mut self, id: &str, tokens: usize, supervised_tokens: usize) {
        *self.tokens.get_or_insert(0) += tokens;
        *self.supervised_tokens.get_or_insert(0) += supervised_tokens;
        let place = self.longest.partition_point(|(_, known)| *known >= tokens);
        if place < LONGEST {
            self.longest.insert(place, (id.to_string(), tokens));
            self.longest.truncate(LONGEST);
        }
    }

    /// Rows that are neither used nor left out with a reason. Anything but 0 is a fault in the program.
    pub fn unaccounted(&self) -> i64 {
        let refused: usize = self.refused.iter().map(|(_, rows)| rows).sum();
        let leaked: usize = self.leaks.iter().map(|leak| leak.rows).sum();
        self.rows_read as i64 - (self.used + refused + leaked) as i64
    }

    /// The account as a person reads it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "rows      {} read, {} used: {} train, {} valid, {} test",
            self.rows_read, self.used, self.train, self.valid, self.test
        )];
        if self.blank_lines > 0 {
            lines.push(format!("blank     {} lines", self.blank_lines));
        }
        for (reason, rows) in &self.refused {
            lines.push(format!("refused   {rows} rows: {reason}"));
        }
        for leak in &self.leaks {
            let (split, kind) = (leak.split.as_str(), leak.kind.as_str());
            let examples: Vec<String> = leak.examples.iter().map(example).collect();
            let key = if leak.kind == Kind::Exact { "" } else { " (data.near_duplicates)" };
            lines.push(format!("leaked    {} {split} rows dropped, {kind}{key}: {}", leak.rows, examples.join("; ")));
        }
        if let (Some(tokens), Some(supervised)) = (self.tokens, self.supervised_tokens) {
            lines.push(format!("tokens    {tokens}, {supervised} supervised"));
        }
        if self.truncated_rows > 0 {
            lines.push(format!("cut       {} tokens off {} rows", self.truncated_tokens, self.truncated_rows));
        }
        if !self.longest.is_empty() {
            let rows: Vec<String> = self.longest.iter().map(|(id, tokens)| format!("{id} ({tokens})")).collect();
            lines.push(format!("longest   {}", rows.join(", ")));
        }
        if self.unaccounted() != 0 {
            lines.push(format!("fault     {} rows are not accounted for", self.unaccounted()));
        }
        lines
    }

    fn leave_out(&mut self, split: Split, rows: usize) {
        let count = match split {
            Split::Train => &mut self.train,
            Split::Valid => &mut self.valid,
            Split::Test => &mut self.test,
        };
        *count = count.saturating_sub(rows);
        self.used = self.used.saturating_sub(rows);
    }
}

fn example(leak: &Leak) -> String {
    format!("{} repeats {} ({:.3})", leak.test_id, leak.train_id, leak.similarity)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn every_row_is_accounted_for_and_printed() {
        let mut ledger =
            Ledger { rows_read: 10, blank_lines: 1, used: 10, train: 7, valid: 1, test: 2, ..Ledger::default() };
        let leak = Leak { test_id: "b:1".into(), train_id: "a:1".into(), kind: Kind::NearTfidf, similarity: 0.95 };
        ledger.leaked(Split::Test, &[leak]);
        ledger.refuse(Split::Train, "longer than max_tokens = 512", 2);
        ledger.refuse(Split::Test, "longer than max_tokens = 512", 0);
        for (id, tokens) in [("a", 10), ("b", 30), ("c", 20), ("d", 5), ("e", 6), ("f", 7)] {
            ledger.count_tokens(id, tokens, 2);
        }
        assert_eq!(ledger.unaccounted(), 0);
        expect![[r#"
            rows      10 read, 7 used: 5 train, 1 valid, 1 test
            blank     1 lines
            refused   2 rows: longer than max_tokens = 512
            leaked    1 test rows dropped, near (tf-idf) (data.near_duplicates): b:1 repeats a:1 (0.950)
            tokens    78, 12 supervised
            longest   b (30), c (20), a (10), f (7), e (6)
        "#]]
        .assert_eq(&format!("{}\n", ledger.lines().join("\n")));
    }

    #[test]
    fn a_lost_row_is_said() {
        let ledger = Ledger { rows_read: 2, used: 1, ..Ledger::default() };
        assert_eq!(ledger.lines().last().unwrap(), "fault     1 rows are not accounted for");
    }

    #[test]
    fn the_ledger_round_trips_through_json() {
        let mut ledger = Ledger { rows_read: 1, used: 1, ..Ledger::default() };
        ledger.count_tokens("a", 3, 1);
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
    }
}
