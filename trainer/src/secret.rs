//! Owns what looks like a secret: the forms of vendors' keys, words that nobody wrote by hand, and names beside which one
//! stands. Knows nothing about files, configs or publications: it is asked about a text and says yes or no.

use std::borrow::Cow;
use std::sync::{LazyLock, OnceLock};

use regex::bytes::{Captures, Regex, RegexSet};

/// The form of each kind of secret. Where a vendor has no form of its own, only the name beside the value tells.
pub(crate) const FORMS: [(&str, &str); 46] = [
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

/// A form that words of a language in a path may have too (`sk-…` for Slovak): it counts where a word was drawn as well.
const OPENAI_LIKE: &str = "a key of OpenAI or of a service like it";

/// What stands where a secret is not shown.
pub(crate) const NOT_SHOWN: &str = "[not shown]";

/// Names that say that a secret stands beside them, without what separates their words: whole names, and parts of names.
const WHOLE_NAMES: [&str; 7] = ["key", "token", "auth", "pwd", "pass", "pat", "bearer"];
const PARTS_OF_NAMES: [&str; 16] = [
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "subscriptionkey",
    "signingkey",
    "accesstoken",
    "authtoken",
    "apitoken",
    "bearertoken",
    "sessiontoken",
    "refreshtoken",
    "passw",
    "secret",
    "authorization",
    "credential",
];

/// A run of letters and digits from this length on is looked at for chance.
const LEAST_RANDOM: usize = 16;

/// All forms at once. Patterns are about bytes, so that they run over any file.
pub(crate) static READ: LazyLock<Result<RegexSet, regex::Error>> =
    LazyLock::new(|| RegexSet::new(FORMS.iter().map(|(_, form)| format!("(?-u){form}"))));

/// Each form, to find where it is. Compiled where it is met: most texts hold none.
static EACH: [OnceLock<Option<Regex>>; FORMS.len()] = [const { OnceLock::new() }; FORMS.len()];

/// A form of [`FORMS`]; none where it is no expression, which a test excludes.
pub(crate) fn each(form: usize) -> Option<&'static Regex> {
    EACH[form].get_or_init(|| Regex::new(&format!("(?-u){}", FORMS[form].1)).ok()).as_ref()
}

/// What kind of secret stands in a text, by its form.
pub(crate) fn form(text: &str) -> Option<&'static str> {
    match READ.as_ref() {
        Ok(set) => {
            // A form that cannot be looked for is not ruled out.
            let counts = |form: &usize| {
                each(*form)
                    .is_none_or(|each| each.find_iter(text.as_bytes()).any(|found| counts(*form, found.as_bytes())))
            };
            set.matches(text.as_bytes()).into_iter().find(counts).map(|form| FORMS[form].0)
        }
        // What cannot be looked through is not shown.
        Err(_) => Some("what could not be looked through"),
    }
}

/// Whether a text may be or hold a secret: by its form, or because a word of it was drawn and not written.
#[must_use]
pub(crate) fn looks_like(text: &str) -> bool {
    form(text).is_some() || has_drawn_word(text)
}

/// Whether a name says that what stands beside it is a secret: `api_key`, `Authorization`, `client-secret`.
#[must_use]
pub(crate) fn is_named(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    WHOLE_NAMES.contains(&plain.as_str()) || PARTS_OF_NAMES.iter().any(|part| plain.contains(part))
}

/// Whether a name smells of a secret, so that nothing beside it is repeated: as [`is_named`], or one of its words is.
#[must_use]
pub(crate) fn smells(name: &str) -> bool {
    let mut words = name.split(|sign: char| !sign.is_ascii_alphanumeric());
    is_named(name) || words.any(|word| WHOLE_NAMES.contains(&word.to_ascii_lowercase().as_str()))
}

/// A text with what has the form of a secret taken out, for a message that repeats what others wrote.
#[must_use]
pub(crate) fn hidden(text: &str) -> Cow<'_, str> {
    let Ok(set) = READ.as_ref() else { return Cow::Borrowed(NOT_SHOWN) };
    let mut shown = Cow::Borrowed(text);
    for form in set.matches(text.as_bytes()) {
        let Some(each) = each(form) else { return Cow::Borrowed(NOT_SHOWN) };
        let replaced = each.replace_all(shown.as_bytes(), |found: &Captures<'_>| {
            let found = &found[0];
            if counts(form, found) { NOT_SHOWN.as_bytes().to_vec() } else { found.to_vec() }
        });
        let replaced = String::from_utf8_lossy(&replaced).into_owned();
        shown = Cow::Owned(replaced);
    }
    shown
}

/// Whether what has a form is a secret.
fn counts(form: usize, found: &[u8]) -> bool {
    FORMS[form].0 != OPENAI_LIKE || has_drawn_word(&String::from_utf8_lossy(found))
}

fn has_drawn_word(text: &str) -> bool {
    text.split(|sign: char| !sign.is_ascii_alphanumeric()).any(is_drawn)
}

/// Whether a word was drawn and not written: long, of letters with digits among them, or of large and small letters in
/// no order. Names of models and files have shorter words.
fn is_drawn(word: &str) -> bool {
    if word.len() < LEAST_RANDOM {
        return false;
    }
    let bytes = word.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let turns = bytes.windows(2).filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()).count();
    let letters = bytes.len() - digits;
    (digits >= 3 && letters >= 3) || (word.len() >= 20 && turns >= 4)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// One secret of many a kind, put together here so that no scanner takes this file for a leak.
    pub(crate) fn samples() -> Vec<String> {
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
    fn every_form_is_a_pattern_and_every_sample_is_found_and_taken_out() {
        assert!(READ.is_ok());
        assert!((0..FORMS.len()).all(|form| each(form).is_some()));
        for secret in samples() {
            assert!(form(&secret).is_some() && looks_like(&secret), "{secret}");
            let shown = hidden(&format!("a.toml:3: it is \"{secret}\" and no more")).into_owned();
            assert!(shown.starts_with("a.toml:3: it is ") && shown.ends_with(" and no more"), "{shown}");
            assert!(shown.contains(NOT_SHOWN) && !shown.contains(&secret), "{shown}");
        }
    }

    #[test]
    fn a_word_that_was_drawn_is_a_secret_and_one_that_was_written_is_none() {
        for drawn in
            ["NOTAKEY0123456789", "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "qWeRtYuIoPaSdFgHjKlZ", "x=a1B2c3D4e5F6g7H8"]
        {
            assert!(looks_like(drawn), "{drawn}");
        }
        let written = [
            "smollm2-135m-instruct",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "claude-opus-5-5-20260401",
            "gpt-5.2-mini-2026-01-31",
            "OPENAI_COMPATIBLE_API_KEY",
            "http://127.0.0.1:8000/v1",
            "https://models.example.org/openai/deployments/legal",
            "You are a careful lawyer. Name the type of the provision.",
            "/srv/firm/rows/2026-01-31/train.jsonl",
            "/srv/rows/sk-legal-provisions-of-2026.jsonl",
            "meta-llama/Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        ];
        for text in written {
            assert!(!looks_like(text), "{text}");
            assert_eq!(hidden(text), text);
        }
    }

    #[test]
    fn names_beside_which_a_secret_stands_are_known() {
        for name in ["api_key", "X-Api-Key", "Authorization", "client_secret", "token", "key", "password", "apiKey"] {
            assert!(is_named(name) && smells(name), "{name}");
        }
        for name in ["max_tokens", "prompt_cache_key_prefixes", "logit_bias", "keys", "monkey", "path", "stop"] {
            assert!(!is_named(name), "{name}");
        }
        assert!(smells("my_key") && smells("eval.hf.token") && !smells("train.max_tokens"));
    }
}
