//! `trainer score`: log-likelihood of the target of each row, in all or token by token. Knows neither
//! config nor run; `opened` brings their words, `answered` the rows.

use std::process::ExitCode;

use anyhow::Result;

use super::{note, opened, print};
use crate::cli::Score;
use crate::data::answered::{self, Answered};

/// Most tokens of one forward pass.
const PACK_TOKENS: usize = 4096;

/// Runs the command.
pub fn run(arguments: Score) -> Result<ExitCode> {
    let chosen = opened::choose(&arguments.model)?;
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let rows = answered::read(&arguments.file, limit, &chosen.language(), &chosen.wording)?;
    let opened = chosen.load(&arguments.model, answered::longest(&rows))?;
    let (mut total, mut tokens) = (0.0_f64, 0_usize);
    let mut start = 0;
    while start < rows.len() {
        let mut end = start + 1;
        let mut packed = rows[start].ids.len();
        while end < rows.len() && packed + rows[end].ids.len() <= PACK_TOKENS {
            packed += rows[end].ids.len();
            end += 1;
        }
        let pack = &rows[start..end];
        let masks: Vec<Vec<bool>> =
            pack.iter().map(|row| (0..row.ids.len()).map(|token| token >= row.first_target).collect()).collect();
        let documents = pack.iter().zip(&masks).map(|(row, mask)| (row.ids.as_slice(), mask.as_slice()));
        let batch = model::train::Batch::pack(documents);
        let scores = opened.model.log_probabilities(opened.adapter, &batch)?;
        let mut scores = scores.into_iter();
        for row in pack {
            let of_row: Vec<f32> = scores.by_ref().take(row.targets()).collect();
            let sum: f64 = of_row.iter().map(|&score| f64::from(score)).sum();
            total += sum;
            tokens += of_row.len();
            print(&line(row, &of_row, sum, &arguments)?)?;
        }
        start = end;
    }
    note(&format!("{} rows, {tokens} target tokens, mean log-likelihood {:.4}", rows.len(), total / tokens as f64));
    Ok(ExitCode::SUCCESS)
}

fn line(row: &Answered, scores: &[f32], sum: f64, arguments: &Score) -> Result<String> {
    if !arguments.json {
        let each = || scores.iter().map(|score| format!("{score:.4}")).collect::<Vec<_>>().join(" ");
        let tokens = if arguments.tokens { format!("  {}", each()) } else { String::new() };
        return Ok(format!("{}  {sum:.4}  {} tokens{tokens}", row.id, scores.len()));
    }
    let mut value = serde_json::json!({ "id": row.id, "log_likelihood": sum, "num_tokens": scores.len() });
    if arguments.tokens {
        let tokens: Vec<serde_json::Value> = (row.first_target..)
            .zip(scores)
            .map(|(position, &logprob)| {
                serde_json::json!({ "position": position, "id": row.ids[position], "logprob": logprob })
            })
            .collect();
        value = serde_json::json!({ "id": row.id, "ids": row.ids, "tokens": tokens });
    }
    Ok(serde_json::to_string(&value)?)
}
