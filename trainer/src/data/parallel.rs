//! Owns doing the same with many rows on all cores, in order. Knows nothing about rows.

use std::num::NonZero;

/// Applies a function to every item; results come in the order of the items.
pub(super) fn map<T: Sync, R: Send>(items: &[T], apply: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let piece = items.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let apply = &apply;
        let workers: Vec<_> =
            items.chunks(piece).map(|chunk| scope.spawn(move || chunk.iter().map(apply).collect::<Vec<R>>())).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        // A panic of a worker goes on in the caller, as if it had done the work itself.
        joined.flat_map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_come_in_order_whatever_the_number_of_items() {
        for count in [0, 1, 2, 3, 1000] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(super::map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
