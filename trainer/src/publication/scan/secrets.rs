//! Keys of vendors and private keys, by their form, and the secrets of this machine, by their value.
//! Knows nothing about where a key would be used. A finding shows the first letters of a key and never more.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexSet};

use super::super::fault::Fault;
use super::text::Views;
use super::{Scanned, place};

/// The form of each kind of secret. Where a vendor has no form of its own, only the name beside the value tells.
const FORMS: [(&str, &str); 46] = [
    ("a token of Hugging Face", r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    ("a key of Anthropic", r"\bsk-ant-[A-Za-z0-9_-]{16,}"),
    ("a key of OpenRouter", r"\bsk-or-v1-[0-9a-f]{32,}"),
    ("a key of OpenAI or of a service like it", r"\bsk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_-]{20,}"),
    ("a key of Google", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("a token of Google", r"\bya29\.[0-9A-Za-z_-]{20,}"),
    ("a key of AWS", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    (
        "a secret key of AWS",
        r#"(?i)aws_?(?:secret_?access_?key|session_?token)["']?\s*[:=]\s*["']?[A-Za-z0-9/+=]{40,}"#,
    ),
    ("a token of GitHub", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    ("a token of GitLab", r"\bgl(?:pat|dt|rt|cbt|ptt|soat|ft)-[A-Za-z0-9_-]{20,}"),
    ("a token of Slack", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("a hook of Slack", r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,}"),
    ("a key of Stripe", r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9+/=]{24,}"),
    ("a token of npm", r"\bnpm_[A-Za-z0-9]{36}"),
    ("a token of the Python package index", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    ("a token of the registry of Cargo", r"\bcio[A-Za-z0-9]{32}\b"),
    ("a key of SendGrid", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    ("a key of Mailgun", r"\bkey-[0-9a-f]{32}\b"),
    ("a key of Mailchimp", r"\b[0-9a-f]{32}-us[0-9]{1,2}\b"),
    ("a key of Twilio", r"\b(?:AC|SK)[0-9a-f]{32}\b"),
    ("a token of Telegram", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    ("a token of Discord", r"\b[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}"),
    ("a hook of Discord", r"discord(?:app)?\.com/api/webhooks/[0-9]{17,}/[A-Za-z0-9_-]{40,}"),
    ("a key of Azure storage", r"(?i)\bAccountKey=[A-Za-z0-9+/=]{40,}"),
    ("a signed address of Azure", r"[?&]sig=[A-Za-z0-9%+/=]{40,}"),
    ("a signed address of AWS", r"X-Amz-Signature=[0-9a-f]{64}"),
    ("a secret of Azure", r"\b[A-Za-z0-9_~.-]{3}8Q~[A-Za-z0-9_~.-]{31,34}"),
    ("a key of Groq", r"\bgsk_[A-Za-z0-9]{40,}"),
    ("a token of Replicate", r"\br8_[A-Za-z0-9]{36,}"),
    ("a key of Perplexity", r"\bpplx-[A-Za-z0-9]{40,}"),
    ("a key of xAI", r"\bxai-[A-Za-z0-9]{60,}"),
    ("a key of NVIDIA", r"\bnvapi-[A-Za-z0-9_-]{60,}"),
    ("a token of Databricks", r"\bdapi[0-9a-f]{32}"),
    ("a token of DigitalOcean", r"\bdo[opr]_v1_[0-9a-f]{64}"),
    ("a token of HashiCorp Vault", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    ("a token of Terraform", r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}"),
    ("a token of Shopify", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("a key of Linear", r"\blin_api_[A-Za-z0-9]{40}"),
    ("a token of Notion", r"\b(?:ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43})"),
    ("a token of Docker", r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    ("a key of Grafana", r"\bgl(?:sa|c)_[A-Za-z0-9+/=_-]{32,}"),
    ("a private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[23]:"),
    ("a private key of age", r"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}"),
    ("a signed token (JWT)", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    (
        "a password in an address",
        r#"\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@"'<>]{1,100}:[^/\s:@"'<>]{3,200}@[A-Za-z0-9.-]+"#,
    ),
    (
        "what is named a secret",
        r#"(?i)\b(?:api[_-]?key|access[_-]?key|secret[_-]?key|client[_-]?secret|private[_-]?key|auth[_-]?token|access[_-]?token|refresh[_-]?token|passw(?:or)?d)["']?\s*[:=]\s*["']?[A-Za-z0-9_./+=-]{16,}|\bbearer\s+[A-Za-z0-9_./+=-]{20,}"#,
    ),
];

/// A value shorter than this stands in too many texts by chance.
const LEAST_KNOWN: usize = 12;

/// All forms at once, and each of them to find where it is.
static READ: LazyLock<Result<(RegexSet, Vec<Regex>), regex::Error>> = LazyLock::new(|| {
    let forms = || FORMS.iter().map(|(_, form)| bytes(form));
    Ok((RegexSet::new(forms())?, forms().map(|form| Regex::new(&form)).collect::<Result<_, _>>()?))
});

/// Secrets of this machine: what its environment and login files hold.
#[derive(Debug, Clone, Default)]
pub struct Known(Vec<(String, String)>);

impl Known {
    /// From variables whose name says that they hold a secret, and the token of the hub.
    pub fn of(variables: impl Iterator<Item = (String, String)>, token: Option<&str>) -> Self {
        let named = |name: &str| {
            let name = name.to_ascii_uppercase();
            ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "ACCESS_KEY", "CREDENTIAL"]
                .iter()
                .any(|word| name.contains(word))
        };
        let mut known: Vec<(String, String)> = variables.filter(|(name, _)| named(name)).collect();
        known.extend(token.map(|token| ("the token of the hub".to_owned(), token.to_owned())));
        known.retain(|(_, value)| value.trim().len() >= LEAST_KNOWN && !value.starts_with(['/', '.']));
        Self(known)
    }
}

/// What a file must not hold.
pub(super) fn find(file: &Scanned<'_>, views: &Views, known: &Known) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut add = |fault: Option<Fault>| {
        if let Some(fault) = fault.filter(|fault| !faults.iter().any(|known| known.what == fault.what)) {
            faults.push(fault);
        }
    };
    let raw = std::iter::once((file.bytes, true));
    let texts = raw.chain(views.all().map(|text| (text.as_bytes(), false)));
    for (bytes, raw) in texts {
        match READ.as_ref() {
            Ok((set, each)) => {
                for form in set.matches(bytes) {
                    let found = each[form].find(bytes);
                    add(found.map(|found| {
                        let value = String::from_utf8_lossy(found.as_bytes());
                        fault(file, bytes, raw, found.start(), FORMS[form].0, &value)
                    }));
                }
            }
            // Nothing is published that was not looked through.
            Err(error) => add(Some(Fault::new(
                file.path,
                format!("cannot be searched for secrets: {error}"),
                "this is a fault of the program, and nothing can be published with it",
            ))),
        }
        for (name, value) in &known.0 {
            let at = find_bytes(bytes, value.trim().as_bytes());
            add(at.map(|at| fault(file, bytes, raw, at, &format!("the value of {name}"), value)));
        }
    }
    faults
}

fn fault(file: &Scanned<'_>, bytes: &[u8], raw: bool, at: usize, kind: &str, value: &str) -> Fault {
    let shown: String = value.chars().take(4).collect();
    Fault::new(
        place(file.path, bytes, at, raw),
        format!("holds {kind} ({shown}…)"),
        "take it out where it comes from, and make it invalid: whoever could read this folder could read it",
    )
}

/// Patterns are about bytes, so that they run over any file.
fn bytes(form: &str) -> String {
    format!("(?-u){form}")
}

fn find_bytes(bytes: &[u8], value: &[u8]) -> Option<usize> {
    let first = *value.first()?;
    bytes.windows(value.len()).position(|window| window[0] == first && window == value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(in super::super) mod tests {
    use super::*;

    /// One secret of many a kind, put together here so that no scanner takes this file for a leak.
    pub(in super::super) fn samples() -> Vec<String> {
        let long = |letter: &str, count: usize| letter.repeat(count);
        vec![
            format!("hf_{}", long("aB3", 12)),
            format!("sk-ant-api03-{}", long("xY9_", 10)),
            format!("sk-proj-{}", long("Ab1", 12)),
            format!("AIza{}", long("a1B2c", 7)),
            format!("AKIA{}", long("Z7", 8)),
            format!("ghp_{}", long("a1B", 13)),
            format!("glpat-{}", long("q9W-", 6)),
            format!("xoxb-{}", long("12-ab", 5)),
            format!("sk_live_{}", long("a1", 12)),
            format!("npm_{}", long("aB3", 12)),
            format!("gsk_{}", long("aB3d", 13)),
            format!("dapi{}", long("0a1f", 8)),
            format!("-----BEGIN {} KEY-----", "RSA PRIVATE"),
            format!("eyJ{0}.eyJ{0}.{0}", long("a1B2", 5)),
            format!("postgres://roe:{}@db.example.org/x", "hunter22"),
            format!("client_secret = \"{}\"", long("z9", 12)),
        ]
    }

    #[test]
    fn every_form_is_a_pattern_and_every_sample_is_found_and_not_shown() {
        assert!(READ.is_ok());
        for secret in samples() {
            let text = format!("{{\"note\": \"{}\"}}", secret.replace('"', "\\\""));
            let file = Scanned { path: "a.json", bytes: text.as_bytes(), of_the_base: true };
            let found = find(&file, &Views::of("a.json", text.as_bytes()), &Known::default());
            assert!(!found.is_empty(), "{secret}");
            assert!(found.iter().all(|fault| !fault.what.contains(&secret)), "{secret}");
        }
    }

    #[test]
    fn a_secret_of_this_machine_is_found_by_its_value() {
        let environment = [("FIRM_API_KEY", "plain-words-as-key"), ("HOME_TOKEN_PATH", "/x/y/z/token-file")];
        let known = Known::of(environment.map(|(a, b)| (a.to_owned(), b.to_owned())).into_iter(), None);
        let text = "see plain-words-as-key and /x/y/z/token-file";
        let file = Scanned { path: "a.md", bytes: text.as_bytes(), of_the_base: false };
        let found = find(&file, &Views::of("a.md", text.as_bytes()), &known);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].place.as_str(), found[0].what.as_str()),
            ("a.md:1", "holds the value of FIRM_API_KEY (plai…)")
        );
    }

    #[test]
    fn hashes_tokens_of_a_vocabulary_and_settings_are_no_secrets() {
        let text = format!(
            "{{\"sha256\": \"{}\", \"eos_token\": \"<|im_end|>\", \"pad_token\": \"<pad>\", \"max_new_tokens\": 16}}",
            "0a".repeat(32)
        );
        let file = Scanned { path: "a.json", bytes: text.as_bytes(), of_the_base: false };
        assert_eq!(find(&file, &Views::of("a.json", text.as_bytes()), &Known::default()), []);
    }
}
