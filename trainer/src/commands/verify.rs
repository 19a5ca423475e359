//! `trainer verify`: computes every number of a proof again and says which differ.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use eval::proof::Tampered;

use super::{note, of_evaluation, print};
use crate::cli::Verify;
use crate::ending::Ended;
use crate::evaluation::PROOF;

/// Runs the command.
pub fn run(arguments: Verify) -> Result<ExitCode> {
    let proof = of_evaluation(&arguments.proof, PROOF)?;
    let text = read(&proof)?;
    let mut tampered = verify(&text, &proof)?;
    if let Some(named) = &arguments.whole {
        let path = &of_evaluation(named, PROOF)?;
        let whole = read(path)?;
        tampered.extend(
            verify(&whole, path)?.into_iter().map(|one| Tampered { path: format!("whole.{}", one.path), ..one }),
        );
        let made = eval::proof::withhold(&whole)?.proof;
        if made != text {
            tampered.push(Tampered {
                path: "the published proof".to_owned(),
                found: proof.display().to_string(),
                computed: format!("another one from {}", path.display()),
            });
        }
    }
    if arguments.json {
        print(&serde_json::to_string_pretty(&tampered)?)?;
    } else {
        for one in &tampered {
            print(&format!("{}: {} stands there, {} was computed", one.path, one.found, one.computed))?;
        }
    }
    let withheld = eval::proof::withhold::of(&text)?;
    if let Some(withheld) = withheld.filter(|_| arguments.whole.is_none()) {
        note(&format!(
            "withheld: {}; judgements were taken as they stand, and the rest was computed from them\n\
             hint: whoever holds the whole proof, which states SHA-256 {}, can check the judgements too, with --whole",
            withheld.what, withheld.whole_sha256
        ));
    }
    if tampered.is_empty() {
        note("every number was computed again and holds");
        return Ok(ExitCode::SUCCESS);
    }
    Err(Ended::NotMet(format!("{} entries differ from what the answers say", tampered.len())).into())
}

fn read(path: &Path) -> Result<String> {
    ground::read::text(path, ground::read::Kind::Proof).with_context(|| {
        format!("cannot read {}\nhint: trainer eval writes proof.json beside its report", path.display())
    })
}

fn verify(text: &str, path: &Path) -> Result<Vec<Tampered>> {
    eval::proof::verify(text)
        .with_context(|| format!("{} is no proof\nhint: give a proof.json as trainer eval wrote it", path.display()))
}
