//! Owns how a command ends: its exit codes, and how an end that is not success is told, in words or as JSON.
//! Knows no command; how an error reads is the business of `words`.

use std::ffi::OsString;
use std::fmt;

use ground::terminal::is_steering;
use serde_json::json;

use crate::terminal_lines::note;
use crate::words;

/// Ran, and missed a bar that the user set, or `verify` found a difference.
pub const NOT_MET: u8 = 1;
/// An error.
pub const ERROR: u8 = 2;
/// Stopped and saved: the same work goes on when it is started again. `EX_TEMPFAIL` of `sysexits.h`, for schedulers that
/// start such a job again.
pub const STOPPED: u8 = 75;
/// Ended at once by Ctrl-C, as a shell counts an end by SIGINT.
pub const AT_ONCE: u8 = 130;

/// The exit codes as `trainer --help` lists them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    ran, and missed a bar that you set, or verify found a difference
  2    error
  75   stopped and saved, start it again to go on
  130  ended at once by a second Ctrl-C

With --json the ends 1, 2 and 75 are told as one JSON object, the last line on stderr:
  {\"error\":{\"message\":TEXT,\"hint\":TEXT or null,\"exit_code\":NUMBER}}";

/// What signals do, as `trainer fit --help` says it.
pub const SIGNALS: &str = "\
Signals:
  INT (Ctrl-C), TERM, USR1, USR2
       save after the step under way and end with 75
       a second Ctrl-C ends at once with 130, any other second signal waits for the save
  HUP  the run goes on where its terminal was closed; a job without one saves and ends with 75";

/// An end that is neither success nor an error. Its text may have `hint:` lines.
#[derive(Debug)]
pub enum Ended {
    /// The command ran, and a bar was missed.
    NotMet(String),
    /// The command was asked to stop, and nothing that it did is lost.
    Stopped(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::NotMet(text) | Ended::Stopped(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Ended {}

/// Tells an end that is not success on stderr, and returns its exit code.
pub fn tell(error: &anyhow::Error) -> u8 {
    let (code, text) = (code(error), words::of(error));
    tell_as(&text, if code == ERROR { "error: " } else { "" }, code);
    code
}

/// Tells a refusal that reads as an error already, such as one of what was typed.
pub fn tell_refusal(text: &str, code: u8) {
    match text.strip_prefix("error: ") {
        Some(text) => tell_as(text, "error: ", code),
        None => tell_as(text, "", code),
    }
}

fn tell_as(text: &str, word: &str, code: u8) {
    if asks_for_json(std::env::args_os().skip(1)) {
        note(&object(text, code));
    } else {
        note(&format!("{word}{text}"));
    }
}

/// Whether `--json` is among the words, all of which may be wrong otherwise: a refusal of them is told as JSON too.
fn asks_for_json(words: impl Iterator<Item = OsString>) -> bool {
    words.take_while(|word| word != "--").any(|word| word == "--json")
}

fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Ended>() {
        Some(Ended::NotMet(_)) => NOT_MET,
        Some(Ended::Stopped(_)) => STOPPED,
        None => ERROR,
    }
}

/// One line. Signs that steer a terminal are escaped as JSON escapes, so that it stays JSON on its way through `note`.
fn object(text: &str, code: u8) -> String {
    let (hints, message): (Vec<&str>, Vec<&str>) = text.trim().lines().partition(|line| line.starts_with(HINT));
    let hints: Vec<&str> = hints.iter().filter_map(|line| line.strip_prefix(HINT)).collect();
    let hint = (!hints.is_empty()).then(|| hints.join("\n"));
    let plain = json!({ "error": { "message": message.join("\n"), "hint": hint, "exit_code": code } }).to_string();
    let mut escaped = String::with_capacity(plain.len());
    for sign in plain.chars() {
        if is_steering(sign) {
            sign.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        } else {
            escaped.push(sign);
        }
    }
    escaped
}

const HINT: &str = "hint: ";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_end_has_its_code() {
        let of = |ended: Ended| code(&anyhow::Error::from(ended));
        assert_eq!(of(Ended::NotMet("a".to_owned())), 1);
        assert_eq!(of(Ended::Stopped("a".to_owned())), 75);
        assert_eq!(code(&anyhow::anyhow!("a")), 2);
    }

    #[test]
    fn the_codes_are_those_that_the_help_lists() {
        let listed: Vec<u8> =
            EXIT_CODES.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(listed, [0, NOT_MET, ERROR, STOPPED, AT_ONCE]);
    }

    #[test]
    fn an_object_is_one_line_of_json_that_steers_no_terminal() {
        let text = "a \"b\"\nhint: c\nd \u{1b}[2J\u{202e}\u{e0001}é\nhint: e\n";
        let line = object(text, 2);
        assert!(!line.contains('\n') && !line.chars().any(is_steering), "{line}");
        assert_eq!(ground::terminal::shown(&line), line);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = json!({ "message": "a \"b\"\nd \u{1b}[2J\u{202e}\u{e0001}é", "hint": "c\ne", "exit_code": 2 });
        assert_eq!(read, json!({ "error": expected }));
        let plain: serde_json::Value = serde_json::from_str(&object("a", 75)).unwrap();
        assert!(plain["error"]["hint"].is_null() && plain["error"]["exit_code"] == 75);
    }

    #[test]
    fn json_is_asked_for_by_an_option_and_by_no_other_word() {
        let asks = |words: &str| asks_for_json(words.split(' ').map(OsString::from));
        assert!(asks("fit a.toml --json") && asks("--json fitt"));
        assert!(!asks("fit a.toml") && !asks("generate -- --json") && !asks("--jsonl"));
    }
}
