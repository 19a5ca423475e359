//! This program: `generate`, `score`, `eval`, `merge` and `fit` from an adapter. Asks the code that reads adapters.

use model::adapter;

use super::{Facts, Judgement, Reader};

/// `trainer`.
pub(super) struct Trainer;

impl Reader for Trainer {
    fn name(&self) -> &'static str {
        "trainer"
    }

    fn judge(&self, facts: &Facts) -> Judgement {
        let mut judgement = Judgement {
            how: format!("trainer generate --model BASE --adapter {} PROMPT", facts.folder.display()),
            ..Judgement::default()
        };
        let refusal = match &facts.base {
            Some(base) => adapter::load(&facts.folder, base).map(drop),
            None => adapter::read_settings(&facts.folder).map(drop),
        };
        if let Err(error) = refusal {
            let text = error.to_string();
            let (what, hint) = text
                .split_once("\nhint: ")
                .unwrap_or((&text, "use an adapter that PEFT or this program made for this base"));
            // The path is that of the question.
            let what = what.rsplit_once(": ").map_or(what, |(_, what)| what);
            judgement.refuse_if(true, what, hint);
        }
        if facts.base.is_none() {
            judgement
                .notes
                .push("shapes were not compared: the base is not on this machine (--model names it)".to_owned());
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
