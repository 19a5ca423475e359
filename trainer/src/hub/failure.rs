//! Owns what a refusal of the hub means, in words that say what to do. Knows statuses and the hub's own codes; nothing
//! about what was tried.

use anyhow::{Error, anyhow};

use super::answer::Answer;

/// What to type about a missing token.
pub(super) const LOG_IN: &str = "hint: set HF_TOKEN to a token with write access, or log in once with  hf auth login";
const TO_READ: &str = "hint: set HF_TOKEN to a token of an account that may read it";

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// A repository as it stands.
    Repository,
    /// A branch, tag or commit of it.
    Revision(&'a str),
    /// A file of it.
    File(&'a str),
}

/// Why something of a repository cannot be read. Never shows an address, which can carry a signature.
pub(super) fn unreadable(answer: &Answer, repo: &str, asked: Asked<'_>, has_token: bool) -> Error {
    let code = answer.code();
    let words = match (answer.status, code) {
        (401, Some("GatedRepo")) => {
            format!("{repo} is gated and needs a login: accept its terms on its page\n{TO_READ}")
        }
        (401, Some("RepoNotFound")) => {
            format!("no repository named {repo}, or it is private and needs a login\n{TO_READ}")
        }
        (401, _) if has_token => format!("the hub refused the token for {repo}\n{TO_READ}"),
        (401, _) => format!("{repo} needs a login\n{TO_READ}"),
        (403, Some("GatedRepo")) => {
            format!("{repo} is gated and this account has no access yet: accept its terms on its page\n{TO_READ}")
        }
        (403, _) => format!("this account may not read {repo}\n{TO_READ}"),
        (404, Some("RepoNotFound")) => format!("no repository named {repo}"),
        (404, _) => match asked {
            Asked::Repository => format!("no repository named {repo}"),
            Asked::Revision(revision) => format!("{repo} has no revision {revision}"),
            Asked::File(path) => format!("{repo} has no file {path}"),
        },
        (429, _) => "the hub limits the rate of requests; try again later".to_owned(),
        (300..=399, _) => format!(
            "{}, which is not followed\nhint: is HF_ENDPOINT the address of a model hub, or of a page that leads to one?",
            answer.words()
        ),
        _ => answer.words(),
    };
    anyhow!("{words}")
}

/// Why something of a repository cannot be written.
pub(super) fn unwritable(answer: &Answer, repo: &str) -> Error {
    match answer.status {
        401 => anyhow!("the hub refused the token for {repo}\n{LOG_IN}"),
        403 => anyhow!(
            "the token may not write to {repo}\nhint: ask its owner for the role \"write\", or use a token with write access"
        ),
        _ => anyhow!("{}, publishing {repo}\nhint: look at the page of the repository", answer.words()),
    }
}
