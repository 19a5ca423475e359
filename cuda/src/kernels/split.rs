//! Owns the choice of how many blocks share one sum. Knows steps and blocks; knows no kernel. The choice depends on the
//! shape and the device alone, so the order of a sum does too.

/// A sum of many steps in runs that different blocks take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Number of runs; none is empty.
    pub(crate) runs: usize,
    /// Steps of a run; the last may have fewer.
    pub(crate) steps: usize,
}

impl Split {
    /// The split that is done first when `sums` sums of `steps` steps each are spread over multiprocessors, and a run
    /// costs `overhead` steps more: to fill its pipeline, and to write what it summed and read it again.
    pub(crate) fn new(sums: usize, steps: usize, overhead: usize, multiprocessors: u32) -> Self {
        let multiprocessors = multiprocessors as usize;
        // Beyond one run a multiprocessor only the overhead grows; but many sums even out when each is cut into a few.
        let most = steps.clamp(1, multiprocessors.max(16));
        let time = |split: &Split| (sums * split.runs).div_ceil(multiprocessors) * (split.steps + overhead);
        let splits = (1..=most).map(|runs| Self::of(steps, steps.div_ceil(runs).max(1)));
        splits.min_by_key(time).unwrap_or(Self::of(steps, steps.max(1)))
    }

    fn of(all: usize, steps: usize) -> Self {
        Split { runs: all.div_ceil(steps).max(1), steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_fills_the_multiprocessors_and_covers_every_step() {
        assert_eq!(Split::new(32, 448, 6, 132), Split { runs: 4, steps: 112 });
        assert_eq!(Split::new(128, 9, 7, 132), Split { runs: 1, steps: 9 });
        assert_eq!(Split::new(1, 3, 8, 132), Split { runs: 3, steps: 1 });
        assert_eq!(Split::new(0, 0, 8, 132), Split { runs: 1, steps: 1 });
        for sums in [1, 2, 7, 131, 133, 272] {
            for steps in 1..300 {
                let split = Split::new(sums, steps, 6, 132);
                assert!(split.runs * split.steps >= steps && (split.runs - 1) * split.steps < steps, "{split:?}");
            }
        }
    }
}
