//! What the hub of the tests answers to each call, after it looked at what came. Knows the state; no sockets.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{Answer, Call, READ, Repo, SCOPED, Setup, State, Stored, Transfer, WRITE, json_of, new_repo, refused};
use crate::hub_hashes::{pointer, sha256};

/// Whose token it is; none when it is nobody's.
fn account(call: &Call) -> Option<(&'static str, Value)> {
    let token = call.headers.get("authorization")?.strip_prefix("Bearer ")?;
    let scoped = json!({"role": "fineGrained", "fineGrained": {"global": [], "scoped": [{"entity": {"type": "model", "name": "firm/one"}, "permissions": ["repo.content.read", "repo.write"]}]}});
    match token {
        WRITE => Some(("roe", json!({"role": "write", "displayName": "w"}))),
        READ => Some(("roe", json!({"role": "read", "displayName": "r"}))),
        SCOPED => Some(("roe", scoped)),
        _ => None,
    }
}

pub(super) fn answer(call: &Call, setup: &Setup, state: &mut State) -> Answer {
    let path = call.path.split('?').next().unwrap_or_default();
    let segments: Vec<String> = path.split('/').skip(1).map(decoded).collect();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    if parts.first() == Some(&"store") {
        assert!(!call.headers.contains_key("authorization"), "a store must not be shown the token of the hub");
    } else if account(call).is_none()
        && (call.method != "GET" && call.method != "HEAD" || parts == ["api", "whoami-v2"])
    {
        return refused(401, "", "Invalid username or password.");
    }
    match (call.method.as_str(), parts.as_slice()) {
        ("GET", ["api", "whoami-v2"]) => {
            let (name, token) = account(call).unwrap();
            let orgs = json!([{"type": "org", "name": "firm", "roleInOrg": "write"}]);
            json_of(
                200,
                &json!({"type": "user", "name": name, "orgs": orgs, "auth": {"type": "access_token", "accessToken": token}}),
            )
        }
        ("POST", ["api", "repos", "create"]) => create(call, setup, state),
        ("GET" | "POST", ["api", "models", owner, name, rest @ ..]) => {
            let repo = format!("{owner}/{name}");
            let hidden = |repo: &Repo| repo.private && account(call).is_none();
            match state.repos.get_mut(&repo) {
                Some(found) if !hidden(found) => match (call.method.as_str(), rest) {
                    ("GET", []) => info(&repo, found, "main"),
                    ("GET", ["revision", revision]) => info(&repo, found, revision),
                    ("GET", ["tree", revision]) => tree(found, revision),
                    ("POST", ["preupload", revision]) => preupload(call, setup, found, revision),
                    ("POST", ["branch", branch]) => make_branch(found, branch),
                    ("POST", ["commit", branch]) => {
                        let objects = state.objects.clone();
                        commit(call, setup, found, branch, &objects, &repo)
                    }
                    _ => refused(404, "", "no such call"),
                },
                _ => refused(404, "RepoNotFound", "Repository not found"),
            }
        }
        ("POST", [owner, name, "info", "lfs", "objects", "batch"]) if name.ends_with(".git") => {
            match state.repos.contains_key(&format!("{owner}/{}", name.trim_end_matches(".git"))) {
                true => batch(call, setup, state),
                false => refused(404, "RepoNotFound", "Repository not found"),
            }
        }
        ("PUT", ["store", oid]) => {
            let found = sha256(&call.body);
            if *oid != found {
                return refused(400, "", "other bytes than those that were named");
            }
            state.objects.insert(found, call.body.clone());
            Answer(200, vec![("etag", format!("\"{oid}\""))], Vec::new())
        }
        ("PUT", ["store", oid, part]) => {
            state.parts.insert(((*oid).to_owned(), part.parse().unwrap()), call.body.clone());
            Answer(200, vec![("etag", format!("\"tag-{part}\""))], Vec::new())
        }
        ("POST", ["complete", oid]) => complete(call, state, oid),
        ("POST", ["verify"]) => {
            let body: Value = serde_json::from_slice(&call.body).unwrap();
            let held = body["oid"].as_str().and_then(|oid| state.objects.get(oid));
            let same = held.is_some_and(|held| body["size"].as_u64() == Some(held.len() as u64));
            if same { json_of(200, &json!({})) } else { refused(422, "", "not what was named") }
        }
        ("GET" | "HEAD", [owner, name, "resolve", revision, file @ ..]) => {
            match state.repos.get(&format!("{owner}/{name}")) {
                Some(repo) if !repo.private || account(call).is_some() => {
                    resolve(call, repo, revision, &file.join("/"))
                }
                _ => refused(404, "RepoNotFound", "Repository not found"),
            }
        }
        _ => refused(404, "", "no such call"),
    }
}

fn create(call: &Call, setup: &Setup, state: &mut State) -> Answer {
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(body["type"], "model");
    let repo = format!("{}/{}", body["organization"].as_str().unwrap_or("roe"), body["name"].as_str().unwrap());
    let url = format!("{}/{repo}", setup.url);
    if state.repos.contains_key(&repo) {
        return json_of(409, &json!({ "error": "You already created this model repo", "url": url }));
    }
    let private = body["private"] == true || body["visibility"] == "private";
    state.repos.insert(repo.clone(), Repo { private, ..new_repo() });
    json_of(200, &json!({ "url": url, "name": repo, "id": "1" }))
}

fn info(name: &str, repo: &Repo, revision: &str) -> Answer {
    let Some(commit) = repo.resolve(revision) else {
        return refused(404, "RevisionNotFound", "Invalid rev id");
    };
    let files = repo.files(Some(&commit)).unwrap();
    let siblings: Vec<Value> = files.keys().map(|path| json!({ "rfilename": path })).collect();
    json_of(
        200,
        &json!({"_id": "1", "id": name, "modelId": name, "sha": commit, "private": repo.private, "gated": false, "disabled": false, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}),
    )
}

fn tree(repo: &Repo, revision: &str) -> Answer {
    let Some(commit) = repo.resolve(revision) else { return refused(404, "RevisionNotFound", "Invalid rev id") };
    let file = |(path, file): (&String, &Stored)| {
        let mut entry = json!({"type": "file", "oid": file.object(), "size": file.bytes.len(), "path": path});
        if file.large {
            let (oid, size) = file.large();
            entry["size"] = json!(size);
            entry["lfs"] = json!({"oid": oid, "size": size, "pointerSize": pointer(&oid, size).len()});
        }
        entry
    };
    let entries: Vec<Value> = repo.files(Some(&commit)).unwrap().iter().map(file).collect();
    json_of(200, &Value::Array(entries))
}

fn preupload(call: &Call, setup: &Setup, repo: &Repo, revision: &str) -> Answer {
    if repo.resolve(revision).is_none() {
        return refused(404, "RevisionNotFound", "Invalid rev id");
    }
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    let mode = |file: &Value| {
        let (path, size) = (file["path"].as_str().unwrap(), file["size"].as_u64().unwrap() as usize);
        let sample = BASE64.decode(file["sample"].as_str().unwrap()).unwrap();
        assert_eq!(sample.len(), size.min(512));
        let large = path.ends_with(".safetensors") || size > setup.large_above;
        json!({"path": path, "uploadMode": if large { "lfs" } else { "regular" }, "shouldIgnore": false, "oid": null})
    };
    let files: Vec<Value> = body["files"].as_array().unwrap().iter().map(mode).collect();
    json_of(200, &json!({ "files": files }))
}

fn make_branch(repo: &mut Repo, branch: &str) -> Answer {
    if repo.branches.contains_key(branch) {
        return refused(409, "", "Reference already exists");
    }
    let main = repo.branches["main"].clone();
    repo.branches.insert(branch.to_owned(), main);
    json_of(200, &json!({}))
}

fn batch(call: &Call, setup: &Setup, state: &State) -> Answer {
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!((body["operation"].as_str(), body["hash_algo"].as_str()), (Some("upload"), Some("sha256")));
    let object = |object: &Value| {
        let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
        if state.objects.contains_key(oid) {
            return json!({ "oid": oid, "size": size });
        }
        let verify = json!({ "href": format!("{}/verify", setup.url), "header": {} });
        // The store is another host, as the real one is.
        let store = format!("{}/store/{oid}", setup.url.replace("127.0.0.1", "localhost"));
        let upload = match setup.transfer {
            Transfer::Basic | Transfer::Xet => json!({ "href": store }),
            Transfer::Multipart(bytes) => {
                let mut header = json!({ "chunk_size": bytes.to_string() });
                for part in 1..=size.div_ceil(bytes) {
                    header[format!("{part:05}")] = json!(format!("{store}/{part}"));
                }
                json!({ "href": format!("{}/complete/{oid}", setup.url), "header": header })
            }
        };
        json!({ "oid": oid, "size": size, "actions": { "upload": upload, "verify": verify } })
    };
    let objects: Vec<Value> = body["objects"].as_array().unwrap().iter().map(object).collect();
    let offered = |name: &str| body["transfers"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let transfer = match setup.transfer {
        Transfer::Xet if offered("xet") => "xet",
        Transfer::Basic | Transfer::Xet => "basic",
        Transfer::Multipart(_) => "multipart",
    };
    json_of(200, &json!({ "transfer": transfer, "objects": objects }))
}

fn complete(call: &Call, state: &mut State, oid: &str) -> Answer {
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    let mut bytes = Vec::new();
    for (at, part) in body["parts"].as_array().unwrap().iter().enumerate() {
        assert_eq!(part["partNumber"], at + 1);
        assert_eq!(part["etag"], format!("\"tag-{}\"", at + 1));
        bytes.extend_from_slice(&state.parts[&(oid.to_owned(), at + 1)]);
    }
    if sha256(&bytes) != oid {
        return refused(400, "", "other bytes than those that were named");
    }
    state.objects.insert(oid.to_owned(), bytes);
    json_of(200, &json!({}))
}

fn commit(
    call: &Call,
    setup: &Setup,
    repo: &mut Repo,
    branch: &str,
    objects: &BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Answer {
    assert_eq!(call.headers["content-type"], "application/x-ndjson");
    let Some(head) = repo.branches.get(branch).cloned() else {
        return refused(404, "RevisionNotFound", "Invalid rev id");
    };
    let (mut changes, mut message) = (BTreeMap::new(), String::new());
    for line in call.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).unwrap();
        let value = &line["value"];
        let path = || value["path"].as_str().unwrap().to_owned();
        match line["key"].as_str().unwrap() {
            "header" => {
                value["summary"].as_str().unwrap().clone_into(&mut message);
                if value["parentCommit"].as_str().is_some_and(|parent| parent != head) {
                    return refused(setup.moved, "", "A commit has happened since. Please refresh and try again.");
                }
            }
            "file" => {
                assert_eq!(value["encoding"], "base64");
                let bytes = BASE64.decode(value["content"].as_str().unwrap()).unwrap();
                changes.insert(path(), Stored::plain(&bytes));
            }
            "lfsFile" => match objects.get(value["oid"].as_str().unwrap()) {
                Some(bytes) if value["size"] == bytes.len() => {
                    changes.insert(path(), Stored { bytes: bytes.clone(), large: true });
                }
                _ => return refused(400, "", "LFS pointer to a file that is not there"),
            },
            other => return refused(400, "", other),
        }
    }
    let id = repo.commit(branch, changes, &message);
    let url = format!("{}/{name}/commit/{id}", setup.url);
    json_of(200, &json!({ "success": true, "commitOid": id, "commitUrl": url, "hookOutput": "" }))
}

fn resolve(call: &Call, repo: &Repo, revision: &str, path: &str) -> Answer {
    let Some(commit) = repo.resolve(revision) else { return refused(404, "RevisionNotFound", "Invalid rev id") };
    let Some(file) = repo.files(Some(&commit)).and_then(|files| files.get(path)) else {
        return refused(404, "EntryNotFound", "Entry not found");
    };
    let mut headers = vec![("x-repo-commit", commit), ("accept-ranges", "bytes".to_owned())];
    if file.large {
        let (oid, size) = file.large();
        headers.extend([("x-linked-etag", format!("\"{oid}\"")), ("x-linked-size", size.to_string())]);
    }
    headers.push(("etag", format!("\"{}\"", if file.large { sha256(&file.bytes) } else { file.object() })));
    let range = call.headers.get("range").and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        let start: usize = start.parse().ok()?;
        Some(start..end.parse::<usize>().map_or(file.bytes.len(), |end| end + 1).min(file.bytes.len()))
    });
    match range {
        Some(range) => {
            headers.push(("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, file.bytes.len())));
            Answer(206, headers, file.bytes[range].to_vec())
        }
        None if call.method == "HEAD" => {
            headers.push(("content-length", file.bytes.len().to_string()));
            Answer(200, headers, Vec::new())
        }
        None => Answer(200, headers, file.bytes.clone()),
    }
}

/// A segment of an address without its escapes.
fn decoded(segment: &str) -> String {
    let (mut out, mut bytes) = (Vec::new(), segment.bytes());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap()
}
