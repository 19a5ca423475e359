//! When a decision may still change: until the first output of a candidate is seen, and never again.
//! Knows nothing about files; times are given as text, so that every step is a pure function.

use serde::{Deserialize, Serialize};

use super::{Decision, hash};
use crate::Error;

/// The version of the format of a registration.
pub const VERSION: u32 = 1;

/// A decision with the time at which it was fixed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The version of this format.
    pub version: u32,
    /// When it was registered, RFC 3339.
    pub registered_at: String,
    /// SHA-256 of the canonical text of the decision.
    pub registered_sha256: String,
    /// When the first output of a candidate was seen; none before.
    pub first_output_at: Option<String>,
    /// What was decided.
    pub decision: Decision,
}

/// How far an evaluation has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is fixed.
    NotRegistered,
    /// Fixed, and no output of a candidate has been seen: a decision with this hash; another one may still take its place.
    Registered(String),
    /// An output has been seen: the decision with this hash holds for good.
    Observed(String),
}

/// What a verdict under a decision is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case", deny_unknown_fields)]
pub enum Standing {
    /// The decision is the one that was registered before the first output.
    Confirmatory {
        /// Its hash.
        registered_sha256: String,
    },
    /// It is not: the figures may be read, but the error rate is not kept.
    Exploratory {
        /// The hash of what was registered; none when nothing was.
        registered_sha256: Option<String>,
        /// The keys that differ from it.
        changed: Vec<String>,
    },
}

impl Standing {
    /// Whether the error rate is not kept.
    pub fn is_exploratory(&self) -> bool {
        matches!(self, Self::Exploratory { .. })
    }
}

impl Stage {
    /// Where a registration, or the lack of one, stands.
    pub fn of(registration: Option<&Registration>) -> Self {
        match registration {
            None => Self::NotRegistered,
            Some(found) if found.first_output_at.is_none() => Self::Registered(found.registered_sha256.clone()),
            Some(found) => Self::Observed(found.registered_sha256.clone()),
        }
    }

    /// The stage after a decision with this hash is handed in.
    #[must_use]
    pub fn after_decision(self, sha256: &str) -> Self {
        match self {
            Self::NotRegistered | Self::Registered(_) => Self::Registered(sha256.to_owned()),
            Self::Observed(first) => Self::Observed(first),
        }
    }

    /// The stage after an output of a candidate.
    ///
    /// # Errors
    /// When nothing is registered: such an output must not be asked for.
    pub fn after_output(self) -> Result<Self, Error> {
        match self {
            Self::NotRegistered => Err(Error::NotRegistered),
            Self::Registered(sha256) | Self::Observed(sha256) => Ok(Self::Observed(sha256)),
        }
    }
}

impl Registration {
    /// Fixes `decision` at `now` (RFC 3339), given what is already there; says what is kept, and what a verdict under `decision` is worth.
    ///
    /// Before the first output a changed decision takes the place of the old one; after it the old one stays and the verdict is exploratory.
    /// No time is written that lies before what is on record already: see [`later`].
    ///
    /// # Errors
    /// When the decision has a value that cannot work, or the time is not RFC 3339.
    pub fn register(earlier: Option<Self>, decision: &Decision, now: &str) -> Result<(Self, Standing), Error> {
        decision.check()?;
        require_time(now)?;
        require_exact_numbers(decision)?;
        let sha256 = decision.registered_sha256()?;
        let before = Stage::of(earlier.as_ref());
        let registered_at = match &earlier {
            Some(replaced) => later(now, &replaced.registered_at)?,
            None => now.to_owned(),
        };
        match (earlier, before.after_decision(&sha256)) {
            (Some(kept), Stage::Observed(_)) => {
                let standing = kept.standing(decision)?;
                Ok((kept, standing))
            }
            (Some(kept), _) if kept.registered_sha256 == sha256 => {
                Ok((kept, Standing::Confirmatory { registered_sha256: sha256 }))
            }
            _ => {
                let fresh = Self {
                    version: VERSION,
                    registered_at,
                    registered_sha256: sha256.clone(),
                    first_output_at: None,
                    decision: decision.clone(),
                };
                Ok((fresh, Standing::Confirmatory { registered_sha256: sha256 }))
            }
        }
    }

    /// Notes the first output of a candidate at `now` (RFC 3339); later ones change nothing. A clock that was set back since the
    /// registration does not turn the order around: then the time of the registration is noted.
    ///
    /// # Errors
    /// When the time is not RFC 3339.
    pub fn observe(mut self, now: &str) -> Result<Self, Error> {
        let at = later(now, &self.registered_at)?;
        self.first_output_at.get_or_insert(at);
        Ok(self)
    }

    /// What a verdict under `decision` is worth against this registration.
    ///
    /// # Errors
    /// When a decision cannot be written as JSON.
    pub fn standing(&self, decision: &Decision) -> Result<Standing, Error> {
        let registered_sha256 = self.registered_sha256.clone();
        let decision = decision.in_version(self.decision.version);
        let changed = hash::differing_keys(&serde_json::to_value(&self.decision)?, &serde_json::to_value(decision)?);
        Ok(if changed.is_empty() {
            Standing::Confirmatory { registered_sha256 }
        } else {
            Standing::Exploratory { registered_sha256: Some(registered_sha256), changed }
        })
    }

    /// Reads a registration and checks that its hash is that of its decision.
    ///
    /// # Errors
    /// When it is no JSON of this shape, has another version, or was edited.
    pub fn parse(text: &str) -> Result<Self, Error> {
        hash::require_version(text, VERSION..=VERSION)?;
        let found: Self = serde_json::from_str(text)?;
        found.decision.check()?;
        require_time(&found.registered_at)?;
        found.first_output_at.as_deref().map_or(Ok(()), require_time)?;
        if found.registered_sha256 != found.decision.registered_sha256()? {
            let problem = "the decision was edited after it was registered: its hash differs".to_owned();
            return Err(Error::BadDecision { problems: vec![problem] });
        }
        Ok(found)
    }
}

/// A reader of JSON may be off by the last bit of a number of 16 or 17 digits, and then the hash would not be found again.
fn require_exact_numbers(decision: &Decision) -> Result<(), Error> {
    let again: Decision = serde_json::from_str(&serde_json::to_string(decision)?)?;
    if again == *decision {
        return Ok(());
    }
    let problem = "a number does not survive writing and reading: use at most 15 digits".to_owned();
    Err(Error::BadDecision { problems: vec![problem] })
}

fn require_time(text: &str) -> Result<(), Error> {
    time(text).map(|_| ())
}

/// The later one of now and a time that is on record, both RFC 3339, as text.
///
/// What happened first is known by what is on record, not by the clock: a clock may be set back between two entries, and an
/// earlier time behind a later one would look like an order that was turned around afterwards.
///
/// # Errors
/// When one of them is not RFC 3339.
pub fn later(now: &str, on_record: &str) -> Result<String, Error> {
    Ok(if time(now)? < time(on_record)? { on_record.to_owned() } else { now.to_owned() })
}

/// A time, RFC 3339.
pub(crate) fn time(text: &str) -> Result<jiff::Timestamp, Error> {
    let bad = |_| Error::BadDecision { problems: vec![format!("the time \"{text}\" is not RFC 3339")] };
    text.parse::<jiff::Timestamp>().map_err(bad)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::decision::tests::decision;

    const NOON: &str = "2026-03-01T12:00:00Z";
    const ONE: &str = "2026-03-01T13:00:00Z";

    #[test]
    fn a_decision_may_change_until_the_first_output_and_then_never_again() {
        let (first, standing) = Registration::register(None, &decision(), NOON).unwrap();
        assert!(!standing.is_exploratory());
        let mut wider = decision();
        wider.margin = 0.05;
        let (second, standing) = Registration::register(Some(first), &wider, ONE).unwrap();
        assert!(!standing.is_exploratory());
        assert_eq!((second.decision.margin, second.registered_at.as_str()), (0.05, ONE));

        let observed = second.observe(ONE).unwrap();
        wider.margin = 0.08;
        wider.gates.min_clusters = 10;
        let (kept, standing) = Registration::register(Some(observed), &wider, ONE).unwrap();
        assert_eq!(kept.decision.margin, 0.05);
        let changed = vec!["gates.min_clusters".to_owned(), "margin".to_owned()];
        assert_eq!(
            standing,
            Standing::Exploratory { registered_sha256: Some(kept.registered_sha256.clone()), changed }
        );
        let same = kept.decision.clone();
        assert!(!Registration::register(Some(kept), &same, ONE).unwrap().1.is_exploratory());
    }

    #[test]
    fn another_split_is_another_decision_and_a_registration_of_version_1_is_held_to_what_it_fixed() {
        let (first, _) = Registration::register(None, &decision(), NOON).unwrap();
        let mut other = decision();
        other.held_out_sha256 = Some("e".repeat(64));
        assert_ne!(other.registered_sha256().unwrap(), first.registered_sha256);
        let standing = Registration::register(Some(first.observe(ONE).unwrap()), &other, ONE).unwrap().1;
        let Standing::Exploratory { changed, .. } = standing else { panic!("the split is not looked at") };
        assert_eq!(changed, ["held_out_sha256"]);

        let old = Decision { version: 1, held_out_sha256: None, ..decision() };
        let (old, _) = Registration::register(None, &old, NOON).unwrap();
        let text = serde_json::to_string(&old).unwrap();
        assert!(!text.contains("held_out"), "{text}");
        let old = Registration::parse(&text).unwrap().observe(ONE).unwrap();
        let (kept, standing) = Registration::register(Some(old.clone()), &other, ONE).unwrap();
        assert_eq!((kept.decision.version, standing.is_exploratory()), (1, false));
        other.margin = 0.05;
        assert!(Registration::register(Some(old), &other, ONE).unwrap().1.is_exploratory());
    }

    #[test]
    fn registering_the_same_again_keeps_the_first_time() {
        let (first, _) = Registration::register(None, &decision(), NOON).unwrap();
        let (second, _) = Registration::register(Some(first.clone()), &decision(), ONE).unwrap();
        assert_eq!(first, second);
        let observed = second.observe(NOON).unwrap().observe(ONE).unwrap();
        assert_eq!(observed.first_output_at.as_deref(), Some(NOON));
    }

    #[test]
    fn a_clock_that_is_set_back_turns_no_order_around() {
        // The same hour in another zone, and one before it.
        const ELEVEN: &str = "2026-03-01T13:00:00+02:00";
        let (first, _) = Registration::register(None, &decision(), NOON).unwrap();
        assert_eq!(first.clone().observe(ELEVEN).unwrap().first_output_at.as_deref(), Some(NOON));
        assert_eq!(first.clone().observe(ONE).unwrap().first_output_at.as_deref(), Some(ONE));
        let mut wider = decision();
        wider.margin = 0.05;
        let (second, _) = Registration::register(Some(first.clone()), &wider, ELEVEN).unwrap();
        assert_eq!((second.decision.margin, second.registered_at.as_str()), (0.05, NOON));
        assert!(first.observe("noon").is_err());
        assert_eq!(later(ELEVEN, "2026-03-01T11:00:00Z").unwrap(), ELEVEN);
    }

    #[test]
    fn an_output_without_a_registered_decision_is_refused() {
        let error = Stage::of(None).after_output().unwrap_err().to_string();
        assert!(error.contains("hint: register"), "{error}");
        let (first, _) = Registration::register(None, &decision(), NOON).unwrap();
        let stage = Stage::of(Some(&first));
        assert_eq!(stage, Stage::Registered(first.registered_sha256.clone()));
        let observed = stage.after_output().unwrap();
        assert_eq!(observed.clone().after_decision("other"), observed);
    }

    #[test]
    fn an_edited_registration_is_refused() {
        let (first, _) = Registration::register(None, &decision(), NOON).unwrap();
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(Registration::parse(&text).unwrap(), first);
        for (from, to) in
            [("0.03", "0.04"), ("\"seed\":7", "\"seed\":8"), (NOON, "noon"), ("\"version\":1", "\"version\":9")]
        {
            assert!(Registration::parse(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
        assert!(Registration::register(None, &decision(), "yesterday").is_err());
    }
}
