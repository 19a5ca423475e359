//! A copy of results that strangers may read: every number, and no words of a row, an answer or a person.
//! Knows nothing about files. What is left still verifies: judgements stand, and all that follows from them is computed again.
//!
//! | what | becomes |
//! |---|---|
//! | text and target of a row, text of an answer | a digest; the closed labels stay, and so does what is empty |
//! | ids, groups | numbers, in the order in which they come |
//! | divisions and numbers known of a row | those that a decision names; `input_tokens` |
//! | notes on single answers, reasons of failures | nothing, and "withheld" |
//! | absolute paths in what was typed or noted | the name of the file |
//!
//! A digest is salted with the whole proof, which stays with its owner: nobody can try texts against it, and whoever is given the whole
//! proof can make this copy again and compare.

use std::collections::{BTreeMap, BTreeSet};

use datasets::digest::sha256_hex;
use serde::{Deserialize, Serialize};

use super::verify::{Proof, read, recompute};
use super::{Claim, Premises};
use crate::results::{ResultRow, VERSION};
use crate::{Error, Finish, Outcome, Parse, Results, Sample};

/// What stands where a reason was.
const WITHHELD: &str = "withheld";
/// Labels of a proof of an older version, which is copied in the form of that version.
const MOST_LABELS_OF_A_SQUARE: usize = 5_000;
/// Hexadecimal digits of a digest.
const DIGITS: usize = 16;

/// Results without the words of rows and answers. Their judgements stand as they were made, and everything that follows from them is computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withheld {
    /// What is not here, in words.
    pub what: String,
    /// SHA-256 that the whole proof states of itself; whoever is given that file can see that this one was made from it.
    pub whole_sha256: String,
}

/// Results and a proof that strangers may read.
#[derive(Clone, Debug)]
pub struct Shareable {
    /// The results.
    pub results: Results,
    /// The text of their proof.
    pub proof: String,
}

/// Makes the copy of a proof, and computes everything in it again.
///
/// # Errors
/// When the text is no proof of this version, or its numbers cannot be computed from what may be shown.
pub fn withhold(whole: &str) -> Result<Shareable, Error> {
    let Proof { sha256, premises, results, .. } = read(whole)?;
    if results.withheld.is_some() {
        return Ok(Shareable { results, proof: whole.to_owned() });
    }
    let labels = results.labels.as_ref().map_or(0, Vec::len);
    if results.version < VERSION && labels > MOST_LABELS_OF_A_SQUARE {
        let problem = format!("it has {labels} labels, and version {} writes the square of them", results.version);
        return Err(Error::BadEvidence { problem });
    }
    // What is published of the whole proof is another hash than the salt, and does not lead to it.
    let salt = sha256_hex(format!("texts of a proof\n{whole}").as_bytes());
    let reduced = Words::of(&results, &premises, &salt).taken_out(results, sha256);
    let results = recompute(reduced.inputs(), &premises)?;
    let proof = Proof::write(&results, &premises)?;
    Ok(Shareable { results, proof })
}

/// What the text of a proof says is not in it; none when all of it is there.
///
/// # Errors
/// When the text is no proof of this version.
pub fn of(proof: &str) -> Result<Option<Withheld>, Error> {
    Ok(read(proof)?.results.withheld)
}

/// What may stay, and what the rest becomes.
struct Words<'a> {
    salt: &'a str,
    labels: BTreeSet<String>,
    covariates: BTreeSet<String>,
    /// Named parts by division.
    slices: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Words<'a> {
    fn of(results: &Results, premises: &Premises, salt: &'a str) -> Self {
        let mut covariates = BTreeSet::from(["input_tokens".to_owned()]);
        let mut slices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for Claim { decision, registration, .. } in &premises.claims {
            for decision in [decision, &registration.decision] {
                covariates.extend(decision.covariates.iter().map(|covariate| covariate.name.replace(' ', "_")));
                for (division, part) in decision.slices.names.iter().filter_map(|name| name.split_once('=')) {
                    slices.entry(division.to_owned()).or_default().insert(part.to_owned());
                }
            }
        }
        Self { salt, labels: results.labels.iter().flatten().cloned().collect(), covariates, slices }
    }

    fn taken_out(&self, mut results: Results, whole_sha256: String) -> Results {
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        for (at, row) in results.rows.iter_mut().enumerate() {
            let group = row.group.take().map(|group| {
                let next = groups.len() + 1;
                format!("group-{}", groups.entry(group).or_insert(next))
            });
            *row = self.row(std::mem::take(&mut row.text), row, format!("row-{}", at + 1), group);
        }
        for arm in &mut results.arms {
            for (outcome, row) in arm.outcomes.iter_mut().zip(&results.rows) {
                self.outcome(outcome, row);
            }
            arm.notes.iter_mut().for_each(|note| *note = without_paths(note));
            arm.skipped = arm.skipped.as_deref().map(without_paths);
            arm.identity.model = arm.identity.model.as_deref().map(without_paths);
            arm.identity.facts.values_mut().for_each(|fact| *fact = without_paths(fact));
        }
        let provenance = &mut results.provenance;
        for text in [&mut provenance.command, &mut provenance.set, &mut provenance.name] {
            *text = without_paths(text);
        }
        provenance.prices.iter_mut().for_each(|prices| *prices = without_paths(prices));
        results.no_verdict = results.no_verdict.as_deref().map(without_paths);
        let what = "the texts of rows and answers, and who they belong to".to_owned();
        results.withheld = Some(Withheld { what, whole_sha256 });
        results
    }

    fn row(&self, text: String, row: &ResultRow, id: String, group: Option<String>) -> ResultRow {
        let covariates = row.covariates.iter().filter(|(name, _)| self.covariates.contains(*name));
        let slices = row.slices.iter().filter_map(|(division, part)| {
            let named = self.slices.get(division)?.contains(part);
            Some((division.clone(), if named { part.clone() } else { WITHHELD.to_owned() }))
        });
        ResultRow {
            id,
            group,
            text: self.text(&text),
            target: self.text(&row.target),
            others: row.others.iter().map(|other| self.text(other)).collect(),
            covariates: covariates.map(|(name, value)| (name.clone(), *value)).collect(),
            slices: slices.collect(),
        }
    }

    fn outcome(&self, outcome: &mut Outcome, row: &ResultRow) {
        outcome.id.clone_from(&row.id);
        for sample in &mut outcome.samples {
            self.sample(sample);
        }
    }

    fn sample(&self, sample: &mut Sample) {
        sample.text = self.text(&sample.text);
        sample.written = None;
        if let Finish::Failed { reason } = &mut sample.finish {
            WITHHELD.clone_into(reason);
        }
        let judged = sample.scored.iter().map(|(name, scored)| {
            let mut scored = scored.clone();
            scored.note = None;
            scored.label = scored.label.filter(|label| self.labels.contains(label));
            if let Parse::Unscored { reason } = &mut scored.parse {
                WITHHELD.clone_into(reason);
            }
            (name.to_owned(), scored)
        });
        sample.scored = judged.collect();
    }

    /// Texts that were the same but for white space around them stay the same.
    fn text(&self, text: &str) -> String {
        let text = text.trim();
        if text.is_empty() || self.labels.contains(text) {
            return text.to_owned();
        }
        let digest = sha256_hex(format!("{}\n{text}", self.salt).as_bytes());
        format!("{WITHHELD} {}", &digest[..DIGITS])
    }
}

/// A text in which every absolute path is the name of its file.
fn without_paths(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let starts = before.is_whitespace() || "\"'`=(,:[<".contains(before);
        let drive = rest.as_bytes().get(1..3).is_some_and(|next| next == b":\\") && first.is_ascii_alphabetic();
        // Two slashes are the address of a host and not a path.
        let path = first == '/' && !rest.starts_with("//") && rest.len() > 1;
        if starts && (drive || path) {
            let end = rest.find(|c: char| c.is_whitespace() || "\"'`),]>".contains(c)).unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or_default();
            out.push_str(name);
            rest = &rest[end..];
            before = 'x';
        } else {
            out.push(first);
            before = first;
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::proof::verify;
    use crate::report::{ALL, tests::results};

    /// Results with words in every place that may hold some.
    fn whole() -> String {
        let mut results = results();
        for (at, row) in results.rows.iter_mut().enumerate() {
            row.text = format!("Confidential matter {at} of Jane Roe");
            row.id = format!("jane-roe-{at}");
            row.slices.insert("client".to_owned(), "Roe Holdings".to_owned());
            row.covariates.insert("age".to_owned(), 41.0);
            row.covariates.insert("input_tokens".to_owned(), at as f64);
        }
        for arm in &mut results.arms {
            for (at, outcome) in arm.outcomes.iter_mut().enumerate() {
                outcome.id = format!("jane-roe-{at}");
            }
        }
        results.provenance.command = "trainer eval /srv/roe/legal.toml --run '/srv/roe/run'".to_owned();
        Proof::write(&results, &Premises::default()).unwrap()
    }

    #[test]
    fn no_word_of_a_row_is_left_and_every_number_is_the_same() {
        let whole = whole();
        let shared = withhold(&whole).unwrap();
        let before = read(&whole).unwrap().results;
        for (found, expect) in shared.results.arms.iter().zip(&before.arms) {
            assert_eq!((&found.metrics, &found.classes, found.n), (&expect.metrics, &expect.classes, expect.n));
            assert_eq!((&found.confusion, &found.unparsed), (&expect.confusion, &expect.unparsed));
        }
        assert_eq!(shared.results.comparisons, before.comparisons);
        assert_eq!(verify(&shared.proof).unwrap(), []);
        let texts = ALL.iter().map(|report| report.render(&shared.results).unwrap()).chain([shared.proof]);
        for text in texts {
            for word in ["Jane", "jane", "Roe", "roe", "Confidential", "This is a clause", "\"age\""] {
                assert!(!text.contains(word), "{word} is left in {}", &text[..200]);
            }
        }
    }

    #[test]
    fn a_number_that_does_not_follow_from_the_judgements_is_found() {
        let shared = withhold(&whole()).unwrap().proof;
        let at = shared.find("\"metrics\"").unwrap();
        let value = shared[at..].find("\"value\":0.").unwrap() + at;
        let mut changed = shared.clone();
        changed.replace_range(value..value + 11, "\"value\":0.9");
        assert!(!verify(&changed).unwrap().is_empty());
        let judged = shared.replacen("\"score\":1.0", "\"score\":7.0", 1);
        assert_ne!(judged, shared);
        assert!(verify(&judged).unwrap_err().to_string().contains("that no scorer makes"));
    }

    #[test]
    fn who_has_the_whole_proof_can_make_the_same_copy_again() {
        let whole = whole();
        let first = withhold(&whole).unwrap().proof;
        assert_eq!(withhold(&whole).unwrap().proof, first);
        assert_eq!(withhold(&first).unwrap().proof, first);
        let other = withhold(&whole.replace("matter 3 of", "matter 4 of")).unwrap().proof;
        assert_ne!(other, first);
    }

    #[test]
    fn absolute_paths_become_names_and_addresses_stay() {
        for (text, expect) in [
            ("trainer eval /srv/roe/legal.toml --set a=/x/y.json", "trainer eval legal.toml --set a=y.json"),
            (
                "see https://example.org/a/b and configs/legal.toml",
                "see https://example.org/a/b and configs/legal.toml",
            ),
            ("'C:\\Users\\roe\\a.toml' 1/2", "'a.toml' 1/2"),
        ] {
            assert_eq!(without_paths(text), expect);
        }
    }
}
