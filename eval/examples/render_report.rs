//! Writes the HTML report of results that are there already: to look at a changed page without asking a model again.
//!
//!     cargo run --release -p eval --example render_report -- runs/legal/eval/results.json report.html
#![allow(clippy::print_stderr, reason = "an example talks to whoever started it")]

use std::process::ExitCode;

use eval::report::{Html, Report, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [results, page] = arguments.as_slice() else {
        eprintln!("usage: render_report RESULTS.json REPORT.html");
        return ExitCode::from(2);
    };
    let rendered = std::fs::read_to_string(results)
        .map_err(|error| error.to_string())
        .and_then(|text| json::read(&text).map_err(|error| error.to_string()))
        .and_then(|results| Html.render(&results).map_err(|error| error.to_string()))
        .and_then(|text| std::fs::write(page, text).map_err(|error| error.to_string()));
    match rendered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
