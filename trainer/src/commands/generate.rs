//! `trainer generate`: text from a prompt. Knows neither config nor run; `opened` brings their words.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use datasets::{Message, Role};
use eval::{GenerateOptions, LanguageModel};
use ground::read::Kind;

use super::{note, opened, print};
use crate::cli::Generate;
use crate::local_lm::LocalModel;

/// Runs the command.
pub fn run(arguments: Generate) -> Result<ExitCode> {
    let mut prompt = arguments.prompt.clone();
    if prompt == "-" {
        prompt = ground::read::stream_text(std::io::stdin().lock(), Kind::StandardInput)
            .context("cannot read the prompt from standard input")?;
    }
    let prompt = prompt.trim_end_matches('\n');
    if prompt.is_empty() {
        bail!("the prompt is empty\nhint: trainer generate --adapter RUN \"your prompt\"");
    }
    let chosen = opened::choose(&arguments.model)?;
    let messages = chosen.wording.prompt(&[Message::new(Role::User, prompt)])?;
    // What cannot be asked is refused before a weight is read.
    let tokens = chosen.speech.prompt_ids(&messages)?.len();
    let opened = chosen.load(&arguments.model, tokens + arguments.max_tokens)?;
    let options = GenerateOptions {
        max_tokens: arguments.max_tokens,
        temperature: f64::from(arguments.temperature),
        seed: arguments.seed,
    };
    let mut model = LocalModel::new(&opened.name, opened.model, opened.adapter, opened.speech);
    let start = std::time::Instant::now();
    let completions = model.generate(&[messages], &options)?;
    let Some(completion) = completions.into_iter().next() else { bail!("the model gave no answer") };
    let said = completion.said();
    if arguments.json {
        print(&serde_json::to_string(&said)?)?;
    } else {
        print(&said.text)?;
        let seconds = start.elapsed().as_secs_f64();
        let (prompt, answer) = (said.prompt_tokens, said.completion_tokens);
        note(&format!("{prompt} prompt tokens, {answer} new tokens, {seconds:.1} s"));
        if said.finish == eval::Finish::Length {
            note("the answer was cut by --max-tokens or by the end of the context");
        }
    }
    Ok(ExitCode::SUCCESS)
}
