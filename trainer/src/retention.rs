//! Owns which checkpoints may go. A pure rule; deletes nothing itself and knows no file.

/// The steps whose checkpoints may be deleted, oldest first: all but the newest `keep`. At least one always stays.
#[must_use]
pub fn superseded(steps: &[u64], keep: usize) -> Vec<u64> {
    let mut sorted = steps.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let stay = keep.max(1).min(sorted.len());
    sorted.truncate(sorted.len() - stay);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_whatever_their_order() {
        assert_eq!(superseded(&[150, 50, 100, 200], 2), [50, 100]);
        assert_eq!(superseded(&[50, 50, 100], 1), [50]);
    }

    #[test]
    fn the_last_one_is_never_deleted() {
        assert_eq!(superseded(&[50], 0), Vec::<u64>::new());
        assert_eq!(superseded(&[], 3), Vec::<u64>::new());
        assert_eq!(superseded(&[1, 2], 5), Vec::<u64>::new());
    }
}
