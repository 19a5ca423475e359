//! This program: `generate`, `score`, `eval`, `merge` and `fit` from an adapter. Asks the code that reads adapters.

use std::path::Path;

use model::{Error, adapter};

use super::{Facts, Judgement, Reader};

/// `trainer`.
pub(super) struct Trainer;

impl Reader for Trainer {
    fn name(&self) -> &'static str {
        "trainer"
    }

    fn judge(&self, facts: &Facts) -> Judgement {
        let mut judgement = Judgement { how: how(&facts.folder), ..Judgement::default() };
        let refusals = adapter::refusals(&facts.config);
        let read = match &facts.base {
            // Each of these is a reason; what is read stops at the first.
            _ if !refusals.is_empty() => Ok(()),
            Some(base) => adapter::load(&facts.folder, base).map(drop),
            None => adapter::check(&facts.folder),
        };
        for refusal in refusals {
            judgement.refuse_if(true, refusal.what, refusal.way_out);
        }
        if let Err(error) = read {
            let text = match error {
                // The path is that of the question.
                Error::Adapter { what, .. } | Error::Malformed { what, .. } => what,
                Error::UnsupportedFeature { what, .. } => format!("{what} is not supported"),
                other => other.to_string(),
            };
            let (what, hint) =
                text.split_once("\nhint: ").unwrap_or((&text, "fetch the adapter again, from where it is from"));
            judgement.refuse_if(true, what, hint);
        }
        if facts.base.is_none() {
            judgement.notes.push("names and shapes were not held against the base (--model names it)".to_owned());
        }
        match &facts.words {
            Some(Err(text)) => {
                let (what, hint) = text.split_once("\nhint: ").unwrap_or((text, "take the tokenizer of its base"));
                let what = what.split_once(": ").map_or(what, |(_, what)| what);
                judgement.refuse_if(true, what, hint);
            }
            Some(Ok(brought)) if brought.tokenizer || brought.template => judgement
                .notes
                .push("it brings its own tokenizer or chat template, used in place of the base's".to_owned()),
            _ => {}
        }
        judgement
    }
}

/// What to type: a run knows its base and the words that it was trained with, its adapter folder alone does not.
fn how(folder: &Path) -> String {
    match folder.parent().filter(|run| folder.ends_with("adapter") && run.join("config.toml").is_file()) {
        Some(run) => format!("trainer generate --adapter {} PROMPT", run.display()),
        None => format!("trainer generate --model BASE --adapter {} PROMPT", folder.display()),
    }
}
