//! Whether what claims rest on agrees with itself and with where the results came from.
//! Knows nothing about answers; what was decided is computed again elsewhere.

use super::Claim;
use super::verify::{Proof, Tampered};
use crate::Error;
use crate::decision::{Standing, registration};
use crate::results::Provenance;

/// Names what does not agree.
///
/// # Errors
/// When a registered decision has a value that cannot work, or a time is not RFC 3339.
pub(super) fn check(proof: &Proof, tampered: &mut Vec<Tampered>) -> Result<(), Error> {
    let (stated, evaluated) = (proof.premises.leaked_rows, proof.results.provenance.leaked_rows);
    if stated != evaluated {
        let shown = |rows: Option<usize>| rows.map_or("null".to_owned(), |rows| rows.to_string());
        let path = "premises.leaked_rows".to_owned();
        tampered.push(Tampered { path, found: shown(stated), computed: shown(evaluated) });
    }
    for (at, claim) in proof.premises.claims.iter().enumerate() {
        let mut found = Found { path: format!("premises.claims[{at}]"), tampered };
        registered(claim, &mut found)?;
        standing(claim, &mut found)?;
        provenance(claim, &proof.results.provenance, &mut found);
    }
    Ok(())
}

struct Found<'a> {
    path: String,
    tampered: &'a mut Vec<Tampered>,
}

impl Found<'_> {
    fn require(&mut self, good: bool, key: &str, found: &str, computed: &str) {
        if !good {
            let path = format!("{}.{key}", self.path);
            self.tampered.push(Tampered { path, found: found.to_owned(), computed: computed.to_owned() });
        }
    }
}

fn registered(claim: &Claim, found: &mut Found<'_>) -> Result<(), Error> {
    let registration = &claim.registration;
    if registration.version != registration::VERSION {
        let (found, expected) = (u64::from(registration.version), u64::from(registration::VERSION));
        return Err(Error::UnknownVersion { found, expected });
    }
    registration.decision.check()?;
    let registered_at = registration::time(&registration.registered_at)?;
    if let Some(first) = &registration.first_output_at {
        let expect = format!("a time not before {}", registration.registered_at);
        found.require(registration::time(first)? >= registered_at, "registration.first_output_at", first, &expect);
    }
    let computed = registration.decision.registered_sha256()?;
    let stated = &registration.registered_sha256;
    found.require(*stated == computed, "registration.registered_sha256", stated, &computed);
    Ok(())
}

/// A standing follows from what was registered and what is decided by now. Who registered after the fact says so, and then nothing may have changed.
fn standing(claim: &Claim, found: &mut Found<'_>) -> Result<(), Error> {
    claim.decision.check()?;
    let computed = claim.registration.standing(&claim.decision)?;
    let after_the_fact = Standing::Exploratory { registered_sha256: None, changed: Vec::new() };
    let agrees = claim.standing == computed || claim.standing == after_the_fact && !computed.is_exploratory();
    // Before the first output a decision may change, and is then registered anew.
    let seen = claim.registration.first_output_at.is_some() || !computed.is_exploratory();
    found.require(seen, "registration.first_output_at", "null", "a time, since a later change is exploratory");
    let text = |standing: &Standing| serde_json::to_string(standing);
    found.require(agrees, "standing", &text(&claim.standing)?, &text(&computed)?);
    Ok(())
}

/// What is decided is about what was evaluated.
fn provenance(claim: &Claim, provenance: &Provenance, found: &mut Found<'_>) {
    let decision = &claim.decision;
    for (key, decided, evaluated) in [
        ("set_sha256", &decision.set_sha256, &provenance.set_sha256),
        ("prompt_sha256", &decision.prompt_sha256, &provenance.prompt_sha256),
        ("scorer_sha256", &decision.scorer_sha256, &provenance.scorer_sha256),
    ] {
        found.require(decided == evaluated, &format!("decision.{key}"), decided, evaluated);
    }
}
