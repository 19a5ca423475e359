//! Owns what the weights of rows and messages mean for a run: which rows are left out, and which answers of the others are
//! not learnt. Knows no token and no template; which turns are learnt without weights is said by `data.train_on`.

use anyhow::Result;
use datasets::{Record, Role, Split, Weight};

use super::ledger::DataLedger;
use super::refused::RowFaults;
use crate::config::raw::TrainOn;

/// The reason of a row that says it of itself.
pub(super) const OF_THE_ROW: &str = "its `weight` is 0";
/// The reason of a row whose answers all say it.
pub(super) const OF_THE_ANSWERS: &str = "the `weight` of each answer that counts is 0";

/// The rows of a split that count. A row that weighs nothing is neither learnt, nor watched, nor scored: its answer is not
/// what a model should say.
pub(super) fn counted(
    split: Split,
    records: Vec<Record>,
    train_on: TrainOn,
    ledger: &mut DataLedger,
) -> Result<Vec<Record>> {
    // Only the last answer of a held-out row is asked for, whatever is learnt.
    let learns = if split == Split::Test { TrainOn::Last } else { train_on };
    let (rows, mut faults, mut not_obeyed) = (records.len(), RowFaults::default(), 0);
    let mut kept = Vec::with_capacity(rows);
    for record in records {
        if record.weights.row == Some(Weight::Zero) {
            ledger.left_out(split, &record.id, OF_THE_ROW);
            continue;
        }
        let stated = &record.weights.messages;
        if learns == TrainOn::All && stated.values().any(|weight| *weight == Weight::Zero) {
            faults.add(
                &record.id,
                "a message has `weight` 0, and data.train_on = \"all\" learns every message",
                "--set data.train_on=assistant learns the answers that do not have it",
            );
            continue;
        }
        let last = record.messages.len().saturating_sub(1);
        let is_learnt = |at: usize| match learns {
            TrainOn::Last => at == last,
            TrainOn::Assistant => record.messages[at].role == Role::Assistant,
            TrainOn::All => true,
        };
        let zero = |at: &usize| stated.get(at) == Some(&Weight::Zero);
        if (0..record.messages.len()).filter(|at| is_learnt(*at)).all(|at| zero(&at)) {
            ledger.left_out(split, &record.id, OF_THE_ANSWERS);
            continue;
        }
        not_obeyed += usize::from(stated.iter().any(|(at, weight)| *weight == Weight::One && !is_learnt(*at)));
        kept.push(record);
    }
    faults.into_result(rows)?;
    if not_obeyed > 0 && split != Split::Test {
        ledger.warn(&format!(
            "{not_obeyed} of {rows} {} rows state `weight` 1 for a message that data.train_on = \"{}\" does not learn",
            split.as_str(),
            match train_on {
                TrainOn::Last => "last",
                TrainOn::Assistant => "assistant",
                TrainOn::All => "all",
            }
        ));
    }
    Ok(kept)
}

/// Why a row does not count whose last answer alone is asked for, whatever is learnt.
pub(super) fn left_out(record: &Record) -> Option<&'static str> {
    let last = record.messages.len().saturating_sub(1);
    match (record.weights.row, record.weights.messages.get(&last)) {
        (Some(Weight::Zero), _) => Some(OF_THE_ROW),
        (_, Some(Weight::Zero)) => Some(OF_THE_ANSWERS),
        _ => None,
    }
}

/// Whether a held-out row counts.
pub fn is_asked(record: &Record) -> bool {
    left_out(record).is_none()
}

/// The messages of a row that are not learnt, by their place among those that are rendered: a config may put a system
/// message in front.
pub(super) fn unlearnt(record: &Record, rendered: usize) -> Vec<usize> {
    let in_front = rendered.saturating_sub(record.messages.len());
    let stated = record.weights.messages.iter().filter(|(_, weight)| **weight == Weight::Zero);
    stated.map(|(at, _)| at + in_front).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datasets::{Ledger, Message};
    use serde_json::Map;

    use super::*;

    /// A row of questions and answers with the weights of its answers.
    fn row(id: &str, row: Option<Weight>, answers: &[Option<Weight>]) -> Record {
        let turns = answers.iter().flat_map(|_| [Message::new(Role::User, "q"), Message::new(Role::Assistant, "a")]);
        let mut record = Record::new(id.into(), turns.collect(), id.into(), Map::new()).unwrap();
        record.weights.row = row;
        let stated = answers.iter().enumerate().filter_map(|(at, weight)| Some((2 * at + 1, (*weight)?)));
        record.weights.messages = stated.collect();
        record
    }

    const ZERO: Option<Weight> = Some(Weight::Zero);
    const ONE: Option<Weight> = Some(Weight::One);

    fn rows() -> Vec<Record> {
        vec![
            row("plain", None, &[None, None]),
            row("no-row", ZERO, &[None]),
            row("row", ONE, &[ZERO, None]),
            row("no-last", None, &[ONE, ZERO]),
            row("no-answer", None, &[ZERO, ZERO]),
        ]
    }

    fn kept(split: Split, train_on: TrainOn) -> (Vec<String>, DataLedger) {
        let read = Ledger { rows_read: 5, used: 5, train: 5, valid: 5, test: 5, ..Ledger::default() };
        let mut ledger = DataLedger::new(read, 64);
        let kept = counted(split, rows(), train_on, &mut ledger).unwrap();
        assert_eq!((ledger.rows.unaccounted(), ledger.rows.used), (0, kept.len()));
        (kept.into_iter().map(|record| record.id).collect(), ledger)
    }

    #[test]
    fn a_row_is_left_out_with_a_reason_when_nothing_of_it_is_learnt() {
        let (last, ledger) = kept(Split::Train, TrainOn::Last);
        assert_eq!(last, ["plain", "row"]);
        let of = |reason: &str| ledger.refused_rows[reason].iter().map(|row| row.id.as_str()).collect::<Vec<_>>();
        assert_eq!(of(OF_THE_ROW), ["no-row"]);
        assert_eq!(of(OF_THE_ANSWERS), ["no-last", "no-answer"]);
        assert_eq!(ledger.rows.refused, [(OF_THE_ROW.to_owned(), 1), (OF_THE_ANSWERS.to_owned(), 2)]);
        let (every, ledger) = kept(Split::Train, TrainOn::Assistant);
        assert_eq!(every, ["plain", "row", "no-last"]);
        assert!(ledger.warnings.is_empty(), "{:?}", ledger.warnings);
    }

    #[test]
    fn a_held_out_row_counts_by_its_last_answer_whatever_is_learnt() {
        for train_on in [TrainOn::Last, TrainOn::Assistant, TrainOn::All] {
            assert_eq!(kept(Split::Test, train_on).0, ["plain", "row"]);
        }
        let asked: Vec<String> = rows().into_iter().filter(is_asked).map(|record| record.id).collect();
        assert_eq!(asked, ["plain", "row"], "the same before anything is counted");
    }

    #[test]
    fn a_weight_that_the_config_contradicts_is_refused_or_told() {
        let mut ledger = DataLedger::new(Ledger::default(), 64);
        let error = counted(Split::Train, rows(), TrainOn::All, &mut ledger).unwrap_err().to_string();
        assert!(error.starts_with("3 of 5 rows cannot be used\n  row `row`: a message has `weight` 0"), "{error}");
        assert!(error.contains("hint: --set data.train_on=assistant"), "{error}");
        let asks = vec![row("asks", None, &[ONE, ONE])];
        counted(Split::Train, asks.clone(), TrainOn::Last, &mut ledger).unwrap();
        assert_eq!(
            ledger.warnings,
            ["1 of 1 train rows state `weight` 1 for a message that data.train_on = \"last\" does not learn"]
        );
        let mut ledger = DataLedger::new(Ledger::default(), 64);
        counted(Split::Train, asks, TrainOn::Assistant, &mut ledger).unwrap();
        assert!(ledger.warnings.is_empty());
    }

    #[test]
    fn a_system_message_in_front_moves_the_places() {
        let row = row("a", None, &[ZERO, None, ZERO]);
        assert_eq!(unlearnt(&row, 6), [1, 5]);
        assert_eq!(unlearnt(&row, 7), [2, 6]);
    }
}
