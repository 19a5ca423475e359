//! How an adapter was made, what proves it, and whose work it rests on. Knows the published summary and origins.

use eval::report::escape::{Cell, code, inline, table};
use serde_json::Value;

use super::{Facts, Origin, stated};
use crate::publication::licences::Work;

/// Training in numbers.
pub(super) fn section(facts: &Facts<'_>) -> String {
    let summary = facts.summary;
    let settings = &summary["settings"];
    let (lora, train) = (&settings["lora"], &settings["train"]);
    let rounded = |value: &Value| value.as_f64().map_or("-".to_owned(), |value| format!("{value:.3}"));
    let seconds = |value: &Value| value.as_f64().map_or("-".to_owned(), |value| format!("{value:.1}"));
    let mut lines = vec![
        row("weights of the base from", stated(&summary["base"]["source"])),
        row("rows learnt from", stated(&summary["data"]["rows"])),
        row("steps, of rows", format!("{}, {}", stated(&summary["steps"]), stated(&train["rows_per_step"]))),
        row("tokens, supervised", format!("{}, {}", stated(&summary["tokens"]), stated(&summary["supervised_tokens"]))),
        row("rank, alpha, dropout", [&lora["r"], &lora["lora_alpha"], &lora["lora_dropout"]].map(stated).join(", ")),
        row("modules", stated(&lora["target_modules"])),
        row("learning rate, schedule", format!("{}, {}", stated(&train["learning_rate"]), stated(&train["schedule"]))),
        row("warm-up steps", stated(&train["warmup_steps"])),
        row(
            "weight decay, gradient norm at most",
            format!("{}, {}", stated(&train["weight_decay"]), stated(&train["max_grad_norm"])),
        ),
        row("seed", stated(&train["seed"])),
        row("loss on training rows at the end", rounded(&summary["train_loss"])),
        row("loss on validation rows", rounded(&summary["valid_loss"])),
        row("seconds of training", rounded(&summary["train_seconds"])),
        row("device", stated(&summary["device"])),
        row("program", format!("trainer {}", stated(&summary["program"]))),
    ];
    if summary["power"].is_object() {
        let power = &summary["power"];
        lines.push(row(
            "mean power in watts, of samples",
            format!("{}, {}", seconds(&power["mean_watts"]), stated(&power["samples"])),
        ));
        lines.push(row("energy of training in watt-hours", rounded(&power["train_watt_hours"])));
    } else {
        lines.push(row("energy", "not measured".to_owned()));
    }
    let hashes = [
        ("adapter weights", &summary["adapter"]["sha256"]),
        ("base weights", &summary["base"]["sha256"]),
        ("rows", &summary["data"]["sha256"]),
        ("tokenizer", &summary["tokenizer_sha256"]),
        ("chat template", &summary["chat_template_sha256"]),
    ];
    let hashes: Vec<Vec<Cell>> =
        hashes.iter().map(|(what, value)| vec![(*what).into(), Cell::Code(stated(value))]).collect();
    format!(
        "## How it was made\n\n{}\n{}",
        table(&["what".into(), "value".into()], &lines),
        table(&["SHA-256 of".into(), "value".into()], &hashes).trim_end()
    )
}

fn row(what: &str, value: String) -> Vec<Cell> {
    vec![what.into(), value.into()]
}

/// What proves the numbers.
pub(super) fn evidence(facts: &Facts<'_>) -> String {
    let Some((results, _)) = facts.found else {
        return "## Evidence\n\nThere is none: nothing was evaluated.".to_owned();
    };
    let withheld = results.withheld.as_ref().map_or(String::new(), |withheld| {
        format!(
            "\nNot in these files: {}. Answers are replaced by salted digests, and how each was judged stands as it was judged.\n\
             Whoever is given the whole proof, which states SHA-256 {}, can check the judgements too: `trainer verify PUBLISHED --whole WHOLE`.",
            inline(&withheld.what),
            code(&withheld.whole_sha256)
        )
    });
    format!(
        "## Evidence\n\n`trainer/report.html` shows every arm and every flip, `trainer/results.json` holds all numbers, `trainer/proof.json` what they follow from.\n\
         Every number can be computed again from the judgements of single answers:\n\n\
         ```sh\nhf download {repo} --local-dir {name}\ntrainer verify {name}/trainer/proof.json\n```\n{withheld}",
        repo = facts.repo,
        name = facts.name(),
    )
}

/// Licences and what must be said.
pub(super) fn licences(facts: &Facts<'_>) -> String {
    let mut text = "## Licences and attribution\n".to_owned();
    for origin in [facts.base, facts.data] {
        text += &format!("\n{}", origin_of(origin));
    }
    text
}

fn origin_of(origin: &Origin) -> String {
    let Origin { name, licence, attribution, .. } = origin;
    let stated = match licence {
        Some(licence) => {
            let what = if licence.of == Work::Base { "Base model" } else { "Data set" };
            let accepted = if licence.accepted {
                " Whoever published this accepted that licence with `--accept-licence`."
            } else {
                ""
            };
            format!("{what} {}: {}.{accepted}", inline(name), inline(&licence.licence))
        }
        None => format!(
            "Data {}: rows of whoever published this; they are not part of this repository, and no licence is stated for them.",
            inline(name)
        ),
    };
    match attribution {
        Some(words) => format!("- {stated}\n  {}\n", inline(words)),
        None => format!("- {stated}\n"),
    }
}
