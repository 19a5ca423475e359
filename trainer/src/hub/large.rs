//! Large files of a publication: who sends them how, by the batch protocol of Git LFS with the hub's multipart transfer.
//! Owns one batch and its uploads. Knows nothing about commits; a file that the hub holds already is not sent again.
//!
//! Protocol: <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use eval::wire::Headers;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::listing::HINT;
use super::local_file::{LocalFile, segment};
use super::wire::{Content, Follow, JSON, LFS_JSON, Method, Request, Wire};

/// One file that is to be sent.
pub(super) struct Upload {
    sha256: String,
    actions: Actions,
}

#[derive(Deserialize)]
struct Batch {
    transfer: Option<String>,
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    actions: Option<Actions>,
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct ObjectError {
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: Option<BTreeMap<String, Value>>,
}

/// Asks which of some files the hub lacks, and where they go. What is not among the uploads is there already.
///
/// Xet is not offered: its client reports what it did to the host of the storage. A hub that stores by Xet takes files by
/// the other two ways and does the rest itself.
pub(super) fn plan(
    wire: &Wire,
    repo: &str,
    branch: &str,
    files: &[&LocalFile],
    tell: &dyn Fn(&str),
) -> Result<Vec<Upload>> {
    let objects: Vec<Value> = files.iter().map(|file| json!({ "oid": file.sha256, "size": file.bytes })).collect();
    let body = json!({
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": objects,
        "hash_algo": "sha256",
        "ref": { "name": branch },
    });
    let url = wire.url(&format!("{repo}.git/info/lfs/objects/batch"));
    let headers = vec![("accept".to_owned(), LFS_JSON.to_owned())];
    let bytes = serde_json::to_vec(&body)?;
    let answer = wire.ask(Request { headers: &headers, ..Request::post(&url, LFS_JSON, &bytes) }, tell)?;
    if !answer.is_good() {
        bail!("{}, asked where large files go\nhint: may the token write to {repo}?", answer.words());
    }
    uploads(&answer, files).map_err(|error| anyhow!("{}", wire.hide(&error.to_string())))
}

/// What an answer says about where files go.
pub(super) fn uploads(answer: &Answer, files: &[&LocalFile]) -> Result<Vec<Upload>> {
    let batch: Batch = answer.json()?;
    if let Some(other) = batch.transfer.as_deref().filter(|name| !["basic", "multipart"].contains(name)) {
        let other: String = other.chars().take(40).collect();
        bail!("the hub takes large files by {other} alone, which was not offered\n{HINT}");
    }
    if let Some(error) = batch.objects.iter().find_map(|object| object.error.as_ref()) {
        let message: String = error.message.chars().take(200).collect();
        bail!("the hub takes no large file: {message}\nhint: look at the storage of the account on its page");
    }
    if let Some(missing) = files.iter().find(|file| batch.objects.iter().all(|object| object.oid != file.sha256)) {
        bail!("the hub did not say where {} goes\n{HINT}", missing.path);
    }
    let wanted = batch.objects.into_iter().filter_map(|object| {
        let actions = object.actions.filter(|actions| actions.upload.is_some())?;
        Some(Upload { sha256: object.oid, actions })
    });
    Ok(wanted.collect())
}

impl Upload {
    /// Whether this is how a file is sent.
    pub(super) fn is_of(&self, file: &LocalFile) -> bool {
        self.sha256 == file.sha256
    }

    /// Sends a file and has the hub look at what came.
    pub(super) fn send(&self, wire: &Wire, file: &LocalFile, tell: &dyn Fn(&str)) -> Result<()> {
        let Some(upload) = &self.actions.upload else { return Ok(()) };
        match upload.number("chunk_size") {
            Some(bytes) if bytes > 0 => send_parts(wire, upload, bytes, file, tell)?,
            Some(_) => bail!("the hub wants {} in pieces of no byte\nhint: is HF_ENDPOINT right?", file.path),
            None => {
                let content = Content::Part { path: &file.at, start: 0, length: file.bytes };
                put(wire, &upload.href, &upload.headers(), content, file, tell)?;
            }
        }
        let Some(verify) = &self.actions.verify else { return Ok(()) };
        let body = serde_json::to_vec(&json!({ "oid": file.sha256, "size": file.bytes }))?;
        let headers = verify.headers();
        let answer = wire.ask(Request { headers: &headers, ..Request::post(&verify.href, LFS_JSON, &body) }, tell)?;
        if !answer.is_good() {
            bail!("{}, after {} was sent\nhint: run the same command again", answer.words(), file.path);
        }
        Ok(())
    }
}

impl Action {
    fn number(&self, name: &str) -> Option<u64> {
        match self.header.as_ref()?.get(name)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        }
    }

    /// Headers that the request must carry; numbers and the addresses of parts are none.
    fn headers(&self) -> Headers {
        let all = self.header.iter().flatten();
        let real = all.filter(|(name, _)| *name != "chunk_size" && !name.bytes().all(|byte| byte.is_ascii_digit()));
        real.filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned()))).collect()
    }

    /// The address of each part, in order.
    fn parts(&self) -> Vec<String> {
        let numbered = self.header.iter().flatten().filter_map(|(name, value)| {
            let number = name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse::<u64>().ok())??;
            Some((number, value.as_str()?.to_owned()))
        });
        numbered.collect::<BTreeMap<_, _>>().into_values().collect()
    }
}

fn send_parts(wire: &Wire, upload: &Action, size: u64, file: &LocalFile, tell: &dyn Fn(&str)) -> Result<()> {
    let addresses = upload.parts();
    let expected = file.bytes.div_ceil(size);
    if addresses.len() as u64 != expected {
        bail!(
            "the hub named {} places for the {expected} pieces of {}\nhint: run the same command again",
            addresses.len(),
            file.path
        );
    }
    let mut parts = Vec::new();
    for (at, address) in (0..).zip(&addresses) {
        let start = at * size;
        let content = Content::Part { path: &file.at, start, length: size.min(file.bytes - start) };
        let tag = put(wire, address, &Vec::new(), content, file, tell)?;
        let Some(tag) = tag else {
            bail!("piece {} of {} came without a tag\nhint: run the same command again", at + 1, file.path)
        };
        parts.push(json!({ "partNumber": at + 1, "etag": tag }));
    }
    let body = serde_json::to_vec(&json!({ "oid": file.sha256, "parts": parts }))?;
    let headers = vec![("accept".to_owned(), LFS_JSON.to_owned())];
    let answer = wire.ask(Request { headers: &headers, ..Request::post(&upload.href, LFS_JSON, &body) }, tell)?;
    if !answer.is_good() {
        bail!("{}, putting {} together\nhint: run the same command again", answer.words(), file.path);
    }
    Ok(())
}

/// Sends bytes to where they go; gives the tag that the store made of them.
fn put(
    wire: &Wire,
    url: &str,
    headers: &Headers,
    content: Content<'_>,
    file: &LocalFile,
    tell: &dyn Fn(&str),
) -> Result<Option<String>> {
    let request = Request { method: Method::Put, url, headers, content, follow: Follow::Here };
    let answer = wire.ask(request, tell)?;
    if !answer.is_good() {
        // An address that was signed too long ago is made anew by asking again.
        bail!("{}, sending {}\nhint: run the same command again", answer.words(), file.path);
    }
    Ok(answer.header("etag").map(str::to_owned))
}

/// Asks which files the hub keeps as large ones. Names that it would leave out are refused.
pub(super) fn modes(
    wire: &Wire,
    repo: &str,
    branch: &str,
    files: &[&LocalFile],
    tell: &dyn Fn(&str),
) -> Result<Vec<bool>> {
    let url = wire.url(&format!("api/models/{repo}/preupload/{}", segment(branch)));
    let samples: Result<Vec<Value>> = files.iter().map(|file| file.sample()).collect();
    let body = serde_json::to_vec(&json!({ "files": samples? }))?;
    let answer = wire.ask(Request::post(&url, JSON, &body), tell)?;
    if !answer.is_good() {
        bail!("{}, asked which files are large\nhint: may the token write to {repo}?", answer.words());
    }
    modes_of(&answer, repo, files)
}

/// What an answer says about each of the files.
pub(super) fn modes_of(answer: &Answer, repo: &str, files: &[&LocalFile]) -> Result<Vec<bool>> {
    #[derive(Deserialize)]
    struct Modes {
        files: Vec<Mode>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Mode {
        path: String,
        upload_mode: String,
        #[serde(default)]
        should_ignore: bool,
    }
    let modes: Modes = answer.json()?;
    let of = |file: &&LocalFile| match modes.files.iter().find(|mode| mode.path == file.path) {
        Some(mode) if mode.should_ignore => {
            bail!("{repo} ignores files named {}\nhint: change its .gitignore", file.path)
        }
        // The hub keeps empty files as they are.
        Some(mode) => Ok(mode.upload_mode == "lfs" && file.bytes > 0),
        None => bail!("the hub did not say how to send {}\nhint: is HF_ENDPOINT right?", file.path),
    };
    files.iter().map(of).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_the_order_of_their_numbers_and_are_no_headers() {
        let header = json!({"chunk_size": "5", "00002": "two", "00010": "ten", "00001": "one", "X-Sign": "s"});
        let action: Action = serde_json::from_value(json!({"href": "x", "header": header})).unwrap();
        assert_eq!(action.parts(), ["one", "two", "ten"]);
        assert_eq!(action.headers(), [("x-sign".to_owned(), "s".to_owned())]);
        assert_eq!(action.number("chunk_size"), Some(5));
    }
}
