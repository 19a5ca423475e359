//! Who a token belongs to and whether it may write, asked before any byte of a publication is sent.
//! Owns the answer of `whoami-v2` and what it forbids. Knows nothing about files.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use super::wire::{Request, Wire};

/// The longest name that is shown, in characters, and how many of them.
const LONGEST_NAME: usize = 96;
const MOST_NAMES: usize = 20;
/// What to type about a token that may not write.
const WRITE_TOKEN: &str =
    "hint: make a token with write access on the page of your account (Settings, Access Tokens) and set HF_TOKEN to it";

/// The name of the account, if its token may write to the owner's repositories.
pub(super) fn writer(wire: &Wire, repo: &str, tell: &dyn Fn(&str)) -> Result<String> {
    let url = wire.url("api/whoami-v2");
    let answer = wire.ask(Request::get(&url), tell)?;
    match answer.status {
        401 | 403 => bail!("the hub does not know this token: it is wrong, expired or revoked\n{WRITE_TOKEN}"),
        _ if !answer.is_good() => bail!("{}, asked whose token this is\nhint: try again later", answer.words()),
        // Names of the hub are shown, and a hub could repeat the token as one.
        _ => match may_write(&answer.json()?, repo) {
            Ok(name) => Ok(wire.hide(&name)),
            Err(error) => Err(anyhow!("{}", wire.hide(&error.to_string()))),
        },
    }
}

/// The name of the account. A right that the hub does not state is left to the hub to refuse.
pub(super) fn may_write(who: &Value, repo: &str) -> Result<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().chars().take(LONGEST_NAME).collect::<String>();
    let name = text(&who["name"]);
    let token = &who["auth"]["accessToken"];
    let owner = repo.split('/').next().unwrap_or_default();
    let same = |value: &Value, name: &str| value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(name));
    match token["role"].as_str() {
        Some("read") => bail!("the token of {name} may only read\n{WRITE_TOKEN}"),
        Some("fineGrained") => {
            let scoped = token["fineGrained"]["scoped"].as_array().cloned().unwrap_or_default();
            let global = token["fineGrained"]["global"].as_array().cloned().unwrap_or_default();
            let writes = |permissions: &[Value]| {
                permissions
                    .iter()
                    .any(|one| one.as_str().is_some_and(|one| one.starts_with("repo.") && one.contains("write")))
            };
            let covers = |scope: &Value| {
                let entity = &scope["entity"]["name"];
                (same(entity, owner) || same(entity, repo))
                    && scope["permissions"].as_array().is_some_and(|permissions| writes(permissions))
            };
            if !writes(&global) && !scoped.iter().any(covers) {
                bail!("the token of {name} may not write to the repositories of {owner}\n{WRITE_TOKEN}");
            }
        }
        _ => {}
    }
    if same(&who["name"], owner) {
        return Ok(name);
    }
    let orgs = who["orgs"].as_array().cloned().unwrap_or_default();
    match orgs.iter().find(|org| same(&org["name"], owner)) {
        Some(org) if same(&org["roleInOrg"], "read") => bail!(
            "{name} may only read what belongs to {owner}\nhint: ask an administrator of {owner} for the role \"write\" or \"contributor\""
        ),
        Some(_) => Ok(name),
        None => {
            let mut known = vec![name.clone()];
            known.extend(orgs.iter().take(MOST_NAMES).map(|org| text(&org["name"])));
            bail!("{name} does not belong to {owner}\nhint: the owner of --repo OWNER/NAME may be {}", known.join(", "))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(token: Value, repo: &str) -> String {
        let who = json!({"name": "roe", "auth": {"accessToken": token}, "orgs": [{"name": "firm", "roleInOrg": "write"}, {"name": "court", "roleInOrg": "read"}]});
        match may_write(&who, repo) {
            Ok(name) => name,
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn a_token_is_refused_for_what_it_may_not_do() {
        let write = json!({"role": "write"});
        assert_eq!(check(write.clone(), "Roe/x"), "roe");
        assert_eq!(check(write.clone(), "firm/x"), "roe");
        assert_eq!(check(write.clone(), "court/x"), "roe may only read what belongs to court");
        assert_eq!(check(write, "other/x"), "roe does not belong to other");
        assert_eq!(check(json!({"role": "read"}), "roe/x"), "the token of roe may only read");
        let scoped = |entity: &str, permission: &str| json!({"role": "fineGrained", "fineGrained": {"scoped": [{"entity": {"name": entity}, "permissions": [permission]}]}});
        assert_eq!(check(scoped("roe", "repo.write"), "roe/x"), "roe");
        assert_eq!(check(scoped("roe/x", "repo.write"), "roe/x"), "roe");
        let refused = "the token of roe may not write to the repositories of roe";
        assert_eq!(check(scoped("roe", "repo.content.read"), "roe/x"), refused);
        assert_eq!(check(scoped("firm", "repo.write"), "roe/x"), refused);
    }
}
