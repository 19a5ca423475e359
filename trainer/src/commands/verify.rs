//! `trainer verify`: computes every number of a proof again and says which differ.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{EXIT_NOT_MET, note, print};
use crate::cli::Verify;

/// Runs the command.
pub fn run(arguments: Verify) -> Result<ExitCode> {
    let path = &arguments.proof;
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read {}\nhint: trainer eval writes proof.json beside its report", path.display())
    })?;
    let tampered = eval::proof::verify(&text)
        .with_context(|| format!("{} is no proof\nhint: give a proof.json as trainer eval wrote it", path.display()))?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&tampered)?)?;
    } else {
        for one in &tampered {
            print(&format!("{}: {} stands there, {} was computed", one.path, one.found, one.computed))?;
        }
    }
    if let Some(withheld) = eval::proof::withhold::of(&text)? {
        note(&format!(
            "withheld: {}; judgements were taken as they stand, and the rest was computed from them\n\
             hint: whoever holds the whole proof, which states SHA-256 {}, can check the judgements too",
            withheld.what, withheld.whole_sha256
        ));
    }
    if tampered.is_empty() {
        note("every number was computed again and holds");
        return Ok(ExitCode::SUCCESS);
    }
    note(&format!("{} entries differ from what the answers say", tampered.len()));
    Ok(ExitCode::from(EXIT_NOT_MET))
}
