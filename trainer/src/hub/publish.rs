//! Puts a folder into a repository of the hub in one commit.
//!
//! Owns the order: account, repository, what is there, large files, commit, and a look at what came of it. Knows hashes
//! and sizes of files; nothing about what is in them. What it did not see it does not overwrite, and what is there
//! already it does not send.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::json;

use super::answer::Answer;
use super::failure::{LOG_IN, unwritable};
use super::listing::{self, Head, Listed};
pub use super::local_file::LocalFile;
use super::local_file::{self, segment};
use super::patience::{Attempt, patiently};
use super::wire::{JSON, Request, Wire};
use super::{HubSettings, account, large};

/// What to publish, and where.
#[derive(Debug, Clone)]
pub struct Publication {
    /// `owner/name`.
    pub repo: String,
    /// The branch.
    pub branch: String,
    /// Whether a repository that is made now is closed to others; one that is there must be, where this is demanded.
    pub visibility: Visibility,
    /// The files.
    pub files: Vec<LocalFile>,
    /// The first line of the commit.
    pub message: String,
    /// The commit that an earlier publication made.
    pub seen: Option<String>,
    /// The commit that a person looked at: the branch must stand there, and its files may be replaced.
    pub demanded: Option<String>,
}

/// Who may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// A new repository is private; one that is there stays as it is.
    PrivateIfNew,
    /// Private, whether new or not.
    Private,
    /// A new repository is public; one that is there stays as it is.
    PublicIfNew,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Published {
    /// The commit that holds the files.
    pub commit: String,
    /// The page of the repository.
    pub url: String,
    /// Whether the repository was made.
    pub created: bool,
    /// Whether only some may read it, as far as the hub says.
    pub private: Option<bool>,
    /// Paths that were part of the commit; none when everything was there.
    pub changed: Vec<String>,
    /// Large files that were sent, beside those that the hub held already.
    pub sent: Vec<String>,
}

/// Publishes; `tell` hears what is done and what is waited for.
pub fn publish(settings: &HubSettings, wanted: &Publication, tell: &dyn Fn(&str)) -> Result<Published> {
    if settings.offline {
        bail!("switched off by HF_HUB_OFFLINE\nhint: unset it, or look at the files with --dry-run");
    }
    if settings.token.is_none() {
        bail!("publishing needs a token, and there is none in HF_TOKEN or in the login file of the hub\n{LOG_IN}")
    }
    let endpoint = settings.address()?;
    let wire = Wire::new(settings, &endpoint)?;
    let account = account::writer(&wire, &wanted.repo, tell)?;
    let task = Task { wanted, wire: &wire, tell };
    let (head, created) = task.head_or_create(&account)?;
    let url = format!("{}/{}", endpoint.trim_end_matches('/'), wanted.repo);
    let there = match &head.commit {
        Some(commit) => task.tree(commit)?,
        None => BTreeMap::new(),
    };
    let changed = task.changed(&there)?;
    let private = head.private;
    if changed.is_empty() {
        let commit = head.commit.context("the hub named no commit")?;
        return Ok(Published { commit, url, created, private, changed: Vec::new(), sent: Vec::new() });
    }
    task.refuse_unseen(&head, &there, &changed)?;
    let (commit, sent) = task.send(&head, &changed)?;
    task.look(&commit)?;
    let changed = changed.into_iter().map(|file| file.path.clone()).collect();
    Ok(Published { commit, url, created, private, changed, sent })
}

struct Task<'a> {
    wanted: &'a Publication,
    wire: &'a Wire,
    tell: &'a dyn Fn(&str),
}

impl<'a> Task<'a> {
    /// Where the branch stands; makes the repository or the branch if it is not there.
    fn head_or_create(&self, account: &str) -> Result<(Head, bool)> {
        let Publication { repo, branch, visibility, .. } = self.wanted;
        let found = self.head("main")?;
        let created = found.is_none();
        let main = match found {
            Some(head) => {
                if *visibility == Visibility::Private && head.private == Some(false) {
                    bail!(
                        "{repo} is there and public, and --private was asked for\n\
                         hint: make it private on its page first, or choose another --repo"
                    );
                }
                head
            }
            None => {
                let private = *visibility != Visibility::PublicIfNew;
                let word = if private { "private" } else { "public" };
                (self.tell)(&format!("making the {word} repository {repo} as {account}"));
                let (owner, name) =
                    repo.split_once('/').map_or((None, repo.as_str()), |(owner, name)| (Some(owner), name));
                let wanted = json!({ "name": name, "organization": owner, "private": private, "type": "model" });
                self.make("api/repos/create", &wanted)?;
                self.head("main")?.with_context(|| format!("{repo} was made and is not there\nhint: run it again"))?
            }
        };
        if branch == "main" {
            return Ok((main, created));
        }
        let head = match self.head(branch)? {
            Some(head) => head,
            None => {
                (self.tell)(&format!("making the branch {branch}"));
                self.make(&format!("api/models/{repo}/branch/{}", segment(branch)), &json!({}))?;
                self.head(branch)?
                    .with_context(|| format!("branch {branch} was made and is not there\nhint: run it again"))?
            }
        };
        Ok((head, created))
    }

    /// Has the hub make something.
    fn make(&self, path: &str, wanted: &serde_json::Value) -> Result<()> {
        let (url, body) = (self.wire.url(path), serde_json::to_vec(wanted)?);
        let answer = self.wire.ask(Request::post(&url, JSON, &body), self.tell)?;
        match answer.status {
            // Whoever made it meanwhile is found when it is looked at.
            200..300 | 409 => Ok(()),
            _ => Err(unwritable(&answer, &self.wanted.repo)),
        }
    }

    /// None when there is no such repository or branch.
    fn head(&self, branch: &str) -> Result<Option<Head>> {
        let url = self.wire.url(&listing::info_path(&self.wanted.repo, Some(branch)));
        let answer = self.wire.ask(Request::get(&url), self.tell)?;
        match (answer.status, answer.code()) {
            (200..300, _) => Ok(Some(listing::head(&answer)?)),
            // A hub does not tell who may not look whether there is anything.
            (404, _) | (401, Some("RepoNotFound")) => Ok(None),
            _ => Err(unwritable(&answer, &self.wanted.repo)),
        }
    }

    /// Every file of a commit.
    fn tree(&self, commit: &str) -> Result<BTreeMap<String, Listed>> {
        let repo = &self.wanted.repo;
        listing::tree(self.wire, repo, commit, true, &mut |request| {
            let answer = self.wire.ask(request, self.tell)?;
            if answer.is_good() { Ok(answer) } else { Err(unwritable(&answer, repo)) }
        })
    }

    /// The files that are not there as they are here.
    fn changed(&self, there: &BTreeMap<String, Listed>) -> Result<Vec<&'a LocalFile>> {
        let wanted = self.wanted;
        let mut changed = Vec::new();
        for file in &wanted.files {
            let same = match there.get(&file.path) {
                Some(listed) => file.is(listed)?,
                None => false,
            };
            if !same {
                changed.push(file);
            }
        }
        Ok(changed)
    }

    /// A file that is there and differs was written by somebody: nobody who did not see it replaces it.
    fn refuse_unseen(&self, head: &Head, there: &BTreeMap<String, Listed>, changed: &[&LocalFile]) -> Result<()> {
        let Publication { repo, branch, seen, demanded, .. } = self.wanted;
        let now = head.commit.as_deref().unwrap_or("nothing");
        if let Some(demanded) = demanded {
            if demanded == now {
                return Ok(());
            }
            bail!(
                "{branch} of {repo} is at {now} and not at {demanded}: it changed since you looked\n\
                 hint: look again, then publish with --parent {now}"
            );
        }
        let replaced: Vec<&str> =
            changed.iter().map(|file| file.path.as_str()).filter(|path| there.contains_key(*path)).collect();
        if replaced.is_empty() || head.commit == *seen {
            return Ok(());
        }
        let seen = match seen {
            Some(seen) => format!("{branch} was last seen at {seen} and is at {now}"),
            None => format!("{branch} is at {now}, which no publication of this run made"),
        };
        bail!(
            "{repo} holds other files of these names, and {seen}: {}\n\
             hint: look at them; to replace them, publish with --parent {now}",
            replaced.join(", ")
        )
    }

    /// Sends what the hub lacks and commits; gives the commit and the large files that were sent.
    fn send(&self, head: &Head, changed: &[&LocalFile]) -> Result<(String, Vec<String>)> {
        let Publication { repo, branch, .. } = self.wanted;
        let large = large::modes(self.wire, repo, branch, changed, self.tell)?;
        let of = |wanted: bool| -> Vec<&LocalFile> {
            changed.iter().zip(&large).filter(|(_, large)| **large == wanted).map(|(file, _)| *file).collect()
        };
        let (large, plain) = (of(true), of(false));
        let mut sent = Vec::new();
        if !large.is_empty() {
            let uploads = large::plan(self.wire, repo, branch, &large, self.tell)?;
            for file in &large {
                match uploads.iter().find(|upload| upload.is_of(file)) {
                    Some(upload) => {
                        (self.tell)(&format!("sending {} ({} bytes)", file.path, file.bytes));
                        upload.send(self.wire, file, self.tell)?;
                        sent.push(file.path.clone());
                    }
                    None => (self.tell)(&format!("{} is there already", file.path)),
                }
            }
        }
        let body = local_file::commit(&self.wanted.message, head.commit.as_deref(), &plain, &large)?;
        Ok((self.commit(head, &body)?, sent))
    }

    /// One commit on top of what was seen.
    fn commit(&self, head: &Head, body: &[u8]) -> Result<String> {
        let url = self.wire.url(&format!("api/models/{}/commit/{}", self.wanted.repo, segment(&self.wanted.branch)));
        let request = Request::post(&url, "application/x-ndjson", body);
        patiently(self.tell, || {
            let answer = match self.wire.once(request) {
                Ok(answer) => answer,
                Err(broken) => return self.unless_made(head, broken.attempt()),
            };
            match answer.status {
                200..300 => Attempt::of(made_commit(&answer)),
                409 | 412 => Attempt::of(self.moved(head, &answer.words())),
                413 => Attempt::Final(anyhow!(
                    "the hub takes no commit of {} bytes\nhint: is there a large text file in the adapter folder of the run?",
                    body.len()
                )),
                _ => match answer.passing() {
                    Some(passing) => self.unless_made(head, passing),
                    None => Attempt::Final(anyhow!(
                        "{}, committing\nhint: may the token write to {}?",
                        answer.words(),
                        self.wanted.repo
                    )),
                },
            }
        })
    }

    /// A commit is not repeated blindly: whoever heard no answer does not know whether it was made.
    fn unless_made(&self, head: &Head, failure: Attempt<String>) -> Attempt<String> {
        match self.made_meanwhile(head) {
            Ok(Some(commit)) => Attempt::Done(commit),
            Ok(None) => failure,
            Err(error) => Attempt::Final(error),
        }
    }

    /// The branch is not where it was: either our own commit is there and its answer was lost, or somebody else's is.
    fn moved(&self, head: &Head, why: &str) -> Result<String> {
        if let Some(commit) = self.made_meanwhile(head)? {
            return Ok(commit);
        }
        let Publication { repo, branch, .. } = self.wanted;
        let now = self.head(branch)?.and_then(|head| head.commit).unwrap_or_default();
        let before = head.commit.as_deref().unwrap_or("nothing");
        bail!(
            "{repo} changed while this was published ({why}): {branch} was at {before}, now it is at {now}; nothing was written\n\
             hint: look at what changed there, then run the same command again, with --parent {now} if files of these names are to be replaced"
        )
    }

    /// The head of the branch, if it moved and holds all files as they are here.
    fn made_meanwhile(&self, head: &Head) -> Result<Option<String>> {
        let Some(now) = self.head(&self.wanted.branch)?.and_then(|head| head.commit) else { return Ok(None) };
        if Some(&now) == head.commit.as_ref() {
            return Ok(None);
        }
        let there = self.tree(&now)?;
        Ok(self.changed(&there)?.is_empty().then_some(now))
    }

    /// Reads back what the hub lists of the commit and compares every file.
    fn look(&self, commit: &str) -> Result<()> {
        let there = self.tree(commit)?;
        let wrong = paths(&self.changed(&there)?);
        if wrong.is_empty() {
            return Ok(());
        }
        bail!(
            "commit {commit} of {} does not hold what was sent: {}\nhint: look at the commit on its page, and run the same command again",
            self.wanted.repo,
            wrong.join(", ")
        )
    }
}

/// The commit that the hub says it made.
pub(super) fn made_commit(answer: &Answer) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Made {
        commit_oid: String,
    }
    listing::commit_name(answer.json::<Made>()?.commit_oid)
}

fn paths(files: &[&LocalFile]) -> Vec<String> {
    files.iter().map(|file| file.path.clone()).collect()
}
