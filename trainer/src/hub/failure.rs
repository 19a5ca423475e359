//! What a failure of the hub's own client means when something is published: it passes, the branch moved, or words that
//! say what to do. Knows nothing about what was tried.

use anyhow::anyhow;
use hf_hub::HFError;

use super::patience::Attempt;
use super::root_cause;

/// What to type about a missing token.
pub(super) const LOG_IN: &str = "hint: set HF_TOKEN to a token with write access, or log in once with  hf auth login";

/// Whether a commit was refused because the branch is not where it was.
pub(super) fn is_moved(error: &HFError) -> bool {
    match error {
        HFError::Conflict { .. } => true,
        HFError::Http { context } => context.status.as_u16() == 412,
        _ => false,
    }
}

/// What the hub says about a failure.
pub(super) fn said(error: &HFError) -> String {
    match error {
        HFError::Conflict { context } | HFError::Http { context } => {
            let words = context.server_message.clone().unwrap_or_default();
            format!("the hub answered {} {words}", context.status.as_u16()).trim_end().to_owned()
        }
        other => root_cause(other),
    }
}

/// A failure of the hub's client: one that passes, or words that say what to do.
pub(super) fn attempt_of<T>(error: HFError, repo: &str) -> Attempt<T> {
    let passing = |why: String| Attempt::Passing { why, asked_secs: None };
    match &error {
        HFError::RateLimited { retry_after, .. } => Attempt::Passing {
            why: "the hub limits the rate of requests".to_owned(),
            asked_secs: retry_after.map(|wait| wait.as_secs_f64()),
        },
        HFError::Request { source, .. } if source.is_connect() => {
            passing(format!("the hub is not reachable: {}", root_cause(source)))
        }
        HFError::Request { source, .. } => passing(format!("the connection to the hub broke: {}", root_cause(source))),
        HFError::Http { context } if context.status.is_server_error() => passing(said(&error)),
        HFError::AuthRequired { .. } => Attempt::Final(anyhow!("the hub refused the token for {repo}\n{LOG_IN}")),
        HFError::Forbidden { .. } => Attempt::Final(anyhow!(
            "the token may not write to {repo}\nhint: ask its owner for the role \"write\", or use a token with write access"
        )),
        other => {
            Attempt::Final(anyhow!("{}, publishing {repo}\nhint: look at the page of the repository", said(other)))
        }
    }
}
