//! Owns preparing the batches of coming steps on a thread of its own, so that packing keeps no device waiting.
//! Knows the loader; changes neither what a step holds nor in which order steps come.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use super::loader::{Loader, StepBatches};

/// Steps that lie ready. Two, so that a step that takes long to pack is no gap after one that is over quickly.
const READY: usize = 2;

/// The steps from `from` to the end of the run. The thread ends when it has prepared them all or when nobody takes them
/// any more, so dropping the receiver is all it needs.
pub fn steps<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    loader: &'env Loader<'env>,
    from: u64,
) -> Receiver<StepBatches> {
    let (ready, taken) = sync_channel(READY);
    scope.spawn(move || (from..loader.total_steps()).try_for_each(|step| ready.send(loader.step(step))));
    taken
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::RawConfig;
    use crate::data::template_mask::Sample;

    fn samples() -> Vec<Sample> {
        let sample = |row: u32| {
            let ids = vec![row; 3 + row as usize % 4];
            let supervised = vec![true; ids.len()];
            Sample { id: format!("row {row}"), group: "g".into(), ids, supervised, prompt_tokens: 0 }
        };
        (0..30).map(sample).collect()
    }

    #[test]
    fn steps_come_in_order_and_as_the_loader_makes_them() {
        let samples = samples();
        let loader = Loader::new(&samples, &RawConfig::default().train).unwrap();
        let from = 1;
        let seen: Vec<StepBatches> = std::thread::scope(|scope| steps(scope, &loader, from).iter().collect());
        assert_eq!(seen.len() as u64, loader.total_steps() - from);
        for (step, batches) in (from..).zip(&seen) {
            let expected = loader.step(step);
            assert_eq!((&batches.rows, &batches.micro_batches), (&expected.rows, &expected.micro_batches));
        }
    }

    #[test]
    fn the_thread_ends_when_nobody_takes_what_it_prepares() {
        let samples = samples();
        let train = crate::config::raw::RawTrain { rows_per_step: 1, epochs: 1e5, ..RawConfig::default().train };
        let loader = Loader::new(&samples, &train).unwrap();
        // The scope waits for its threads: this returns only if the end of the receiver is theirs.
        let first = std::thread::scope(|scope| steps(scope, &loader, 0).recv().unwrap());
        assert_eq!(first.rows, loader.step(0).rows);
    }
}
