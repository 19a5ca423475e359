//! `trainer compare`: a paired verdict from two folders of results. Asks no model.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use eval::Results;
use eval::proof::{Premises, Side, pair};
use eval::report::{Json, Report, Table, json};

use super::{of_evaluation, print};
use crate::cli::Compare;

/// Runs the command.
pub fn run(arguments: Compare) -> Result<ExitCode> {
    let (baseline, candidate) = (read(&arguments.baseline)?, read(&arguments.candidate)?);
    let old = Side { results: &baseline, arm: arguments.baseline_arm.as_deref(), prefix: "first" };
    let new = Side { results: &candidate, arm: arguments.candidate_arm.as_deref(), prefix: "second" };
    let (results, _): (Results, Premises) = pair(&old, &new, arguments.margin, arguments.min_groups, &eval::now())?;
    if arguments.json {
        print(Json.render(&results)?.trim_end())?;
    } else {
        print(Table.render(&results)?.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Results> {
    let file = of_evaluation(path, "results.json")?;
    let text = ground::read::text(&file, ground::read::Kind::Results)
        .with_context(|| format!("cannot read {}\nhint: give a folder that trainer eval wrote", file.display()))?;
    json::read(&text).with_context(|| {
        format!("{} holds no results\nhint: give a folder as trainer eval of this version wrote it", file.display())
    })
}
