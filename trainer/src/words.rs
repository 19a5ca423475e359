//! Owns how an error reads: its chain of causes in one text, hints behind what they are about, and what to type for
//! causes whose own words have no hint. Knows the error types of the libraries; knows no command.

use std::error::Error;
use std::io::ErrorKind;

/// The chain of causes in one text, without a cause that another one names already.
#[must_use]
pub fn of(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !causes.iter().any(|said| said.contains(&cause)) {
            causes.push(cause);
        }
    }
    // The innermost cause may list several faults, each with its hint; those stay where they are.
    let innermost = causes.pop().unwrap_or_default();
    let mut hints: Vec<String> = Vec::new();
    let mut text = String::new();
    for cause in &causes {
        let (hint_lines, lines): (Vec<&str>, Vec<&str>) = cause.lines().partition(|line| line.starts_with("hint: "));
        text.push_str(&lines.join("\n"));
        text.push_str(": ");
        hints.extend(hint_lines.into_iter().map(str::to_owned));
    }
    text.push_str(&innermost);
    if hints.is_empty() && !text.contains("hint: ") {
        hints.extend(error.chain().find_map(general_hint).map(|hint| format!("hint: {hint}")));
    }
    for hint in hints {
        text.push('\n');
        text.push_str(&hint);
    }
    text
}

/// What to do about a kind of failure, where the failure itself does not say.
fn general_hint(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = cause.downcast_ref::<model::Error>() {
        return of_model(error);
    }
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        return of_system(error.kind());
    }
    if cause.is::<toml::de::Error>() {
        return Some("compare the keys with those of the files beside it");
    }
    None
}

fn of_model(error: &model::Error) -> Option<&'static str> {
    use model::Error as E;
    Some(match error {
        error if error.is_out_of_memory() => "ask fewer rows at once (eval.batch_rows), or take a smaller base model",
        E::Io { source, .. } => return of_system(source.kind()),
        E::Malformed { .. } => {
            "the file is broken, cut off or of another kind: fetch it again, and compare its hash with that of its source"
        }
        E::WrongShape { .. } => "config.json and weights belong to different models: fetch both again",
        E::UnsupportedArchitecture { .. } | E::UnsupportedFeature { .. } => {
            "it would be computed wrongly without that, so it is refused: take a base of configs/models/"
        }
        E::Adapter { .. } => "use an adapter that PEFT or this program made for this base model",
        E::Template { .. } => "correct the row or the prompt, or use the chat template the model was made for",
        E::Tokenizer { .. } => "fetch tokenizer.json again, from where the weights are from",
        E::TooLong { .. } => "shorten the prompt, or take a base model with a longer context",
        E::NonFinite { .. } => {
            "a weight is broken, or too large for the format: fetch the model or the adapter again, or ask for another format"
        }
        E::Diverged { .. } => "lower train.learning_rate, and look at the rows of the step",
        _ => return None,
    })
}

fn of_system(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound => "look at the path: is everything there, and is it relative to the right folder?",
        // What is no regular file, or larger than its kind may be (`ground::read`).
        ErrorKind::InvalidInput => "look at what lies there: a file of this kind is regular, and not larger than that",
        ErrorKind::PermissionDenied => "look at who owns the path, or choose another folder",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free disk space; what was saved before is intact",
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;

    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_hint_of_an_outer_cause_comes_after_the_inner_one() {
        let error = anyhow!("no config.json").context("not a checkpoint\nhint: name a folder");
        assert_eq!(of(&error), "not a checkpoint: no config.json\nhint: name a folder");
    }

    #[test]
    fn each_fault_of_a_list_keeps_its_hint() {
        let error = anyhow!("a is 0\nhint: write 1\nb is 0\nhint: write 2").context("cannot run");
        assert_eq!(of(&error), "cannot run: a is 0\nhint: write 1\nb is 0\nhint: write 2");
    }

    #[test]
    fn the_learning_rate_is_named_where_training_diverged_and_nowhere_else() {
        let text = |error: model::Error| of(&anyhow::Error::from(error));
        let diverged = text(model::Error::Diverged { what: "the loss".to_owned() });
        assert!(diverged.starts_with("the loss is not finite\nhint: lower train.learning_rate"), "{diverged}");
        let broken = text(model::Error::NonFinite { what: "a weight of a.safetensors".to_owned() });
        assert!(broken.starts_with("a weight of a.safetensors is not finite\nhint: a weight is broken"), "{broken}");
    }

    #[test]
    fn a_cause_is_said_once_and_its_kind_gives_the_hint() {
        let absent = std::io::Error::from(ErrorKind::NotFound);
        let error = model::Error::Io { path: PathBuf::from("a.gguf"), source: absent };
        let text = of(&anyhow::Error::from(error).context("cannot open the base"));
        assert!(text.starts_with("cannot open the base: a.gguf: "), "{text}");
        assert_eq!((text.matches("not found").count(), text.matches("hint: ").count()), (1, 1), "{text}");
        let text = of(&Err::<(), _>(model::Error::TooLong { tokens: 9, limit: 8 }).context("row 1").unwrap_err());
        assert_eq!(text.lines().next(), Some("row 1: 9 tokens, the limit is 8"));
        assert!(text.contains("\nhint: shorten the prompt"), "{text}");
    }
}
