//! `trainer publish`: adapter, card and evidence of a finished run to the hub, in one commit. Owns what is told;
//! what goes in is `publication`'s business, how it gets there the hub's.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use super::{note, print};
use crate::cli::Publish;
use crate::hub::HubSettings;
use crate::hub::publish::{self, Publication, Visibility};
use crate::publication::{self, Known, Ready, Record, Said, To};
use crate::run_dir;

/// Runs the command.
pub fn run(arguments: Publish) -> Result<ExitCode> {
    let repo = arguments.repo.as_str();
    if !crate::hub::is_repository(repo) {
        bail!("--repo {repo} is no name of a repository\nhint: --repo OWNER/NAME, of letters, digits and - _ .");
    }
    let settings = HubSettings::from_env();
    let said = Said {
        base: arguments.base.clone(),
        dataset: arguments.dataset.clone(),
        languages: arguments.languages.clone(),
        accepted: arguments.accept_licence.clone(),
    };
    let known = Known::of(std::env::vars(), settings.token());
    let hub = settings.address()?;
    // What is sent is read from the folder that is made here: two at once would send each other's. What is no run is
    // refused below, in words.
    let is_run = arguments.run.join("config.toml").is_file();
    let target = arguments.run.join(publication::FOLDER);
    let _held = is_run.then(|| run_dir::hold_place(&target, "wait for it")).transpose()?;
    let ready = publication::prepare(&arguments.run, To { hub: &hub, repo }, &said, &known)?;
    ready.notes.iter().for_each(|line| note(&format!("note: {line}")));
    if arguments.dry_run {
        return dry(&ready, arguments.json);
    }
    let record = Record::read(&arguments.run)?;
    let branch = arguments.revision.as_str();
    let wanted = Publication {
        repo: repo.to_owned(),
        branch: branch.to_owned(),
        visibility: match (arguments.private, arguments.public) {
            (true, _) => Visibility::Private,
            (_, true) => Visibility::PublicIfNew,
            _ => Visibility::PrivateIfNew,
        },
        files: ready.files.clone(),
        message: format!("Publish the adapter with its card and evidence, by trainer {}", env!("CARGO_PKG_VERSION")),
        seen: record.commit(repo, branch),
        demanded: arguments.parent.clone(),
    };
    let published = publish::publish(&settings, &wanted, &|line| note(line))?;
    record.write(&arguments.run, repo, branch, &published.commit, eval::now())?;
    if arguments.json {
        let value = json!({
            "repo": repo,
            "url": published.url,
            "branch": branch,
            "commit": published.commit,
            "created": published.created,
            "private": published.private,
            "changed": published.changed,
            "sent": published.sent,
            "files": listed(&ready),
        });
        print(&serde_json::to_string(&value)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&published.url)?;
    match published.changed.len() {
        0 => note(&format!("everything is there already, as commit {}", published.commit)),
        changed => note(&format!(
            "commit    {}: {changed} files, every one compared with what the hub lists",
            published.commit
        )),
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists what would be published.
fn dry(ready: &Ready, json: bool) -> Result<ExitCode> {
    if json {
        print(&serde_json::to_string(&json!({ "folder": ready.folder, "files": listed(ready) }))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for file in &ready.files {
        print(&format!("{:>12}  {}  {}", file.bytes, file.sha256, file.path))?;
    }
    note(&format!("folder    {}", ready.folder.display()));
    note("nothing was sent; leave out --dry-run to publish these files");
    Ok(ExitCode::SUCCESS)
}

fn listed(ready: &Ready) -> serde_json::Value {
    let file = |file: &publish::LocalFile| json!({ "path": file.path, "bytes": file.bytes, "sha256": file.sha256 });
    ready.files.iter().map(file).collect()
}
