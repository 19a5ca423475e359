//! The verdict in one sentence for a person who reads nothing else.
//! Knows nothing about how it came about; every figure is one of the verdict's.

use super::{Answer, Verdict};
use crate::decision::Standing;

/// "REPLACE: tuned is not worse than tfidf by more than 3.0 points on 232 prompts of 36 owners (difference +0.4, 95 % one-sided bound −2.1)".
pub(crate) fn of(verdict: &Verdict) -> String {
    let (name, claim) = match verdict.answer {
        Answer::ReplaceBetter => {
            ("REPLACE_BETTER", format!("{} is better than {}", verdict.candidate, verdict.baseline))
        }
        Answer::Replace => (
            "REPLACE",
            format!(
                "{} is not worse than {} by more than {} points",
                verdict.candidate,
                verdict.baseline,
                points(verdict.margin)
            ),
        ),
        Answer::KeepFrontier => ("KEEP_FRONTIER", format!("{} stays, {}", verdict.baseline, verdict.reason)),
        Answer::Insufficient => {
            ("INSUFFICIENT", format!("nothing is proven about {} against {}", verdict.candidate, verdict.baseline))
        }
    };
    // What is missing may be long, so it comes after the figures.
    let reason = if verdict.answer == Answer::Insufficient { format!(": {}", verdict.reason) } else { String::new() };
    let (prompts, figures) = (prompts(verdict), figures(verdict));
    format!("{name}: {claim} on {prompts}{figures}{reason}{}{}", reads(verdict), exploratory(verdict))
}

fn prompts(verdict: &Verdict) -> String {
    if verdict.n == verdict.clusters {
        format!("{} independent prompts", verdict.n)
    } else {
        format!("{} prompts of {} {}", verdict.n, verdict.clusters, verdict.groups)
    }
}

fn figures(verdict: &Verdict) -> String {
    let (Some(estimate), Some(low), Some(high)) = (verdict.estimate, verdict.low, verdict.high) else {
        return String::new();
    };
    // The bound that the answer rests on: the upper one where the candidate is shown to be worse.
    let bound = if verdict.answer == Answer::KeepFrontier { high } else { low };
    let level = number(100.0 * (1.0 - verdict.alpha));
    format!(" (difference {}, {level} % one-sided bound {})", signed(estimate), signed(bound))
}

fn reads(verdict: &Verdict) -> String {
    if verdict.reads > 1 { format!("; these rows were read {} times", verdict.reads) } else { String::new() }
}

fn exploratory(verdict: &Verdict) -> String {
    match &verdict.standing {
        Standing::Confirmatory { .. } => String::new(),
        Standing::Exploratory { registered_sha256: None, .. } => "; exploratory: no decision was registered".to_owned(),
        Standing::Exploratory { changed, .. } => {
            format!("; exploratory: {} changed after the first output", changed.join(", "))
        }
    }
}

fn points(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn signed(share: f64) -> String {
    let text = points(share.abs());
    // A difference that rounds to nothing has no sign.
    let sign = if text == "0.0" {
        ""
    } else if share < 0.0 {
        "\u{2212}"
    } else {
        "+"
    };
    format!("{sign}{text}")
}

/// 95, 97.5 or 98.33, without zeros at the end.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
