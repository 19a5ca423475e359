//! Owns the work tables of attention: which rows of which document a block works on, the longest first.
//! Pure functions of document bounds; knows no device.

/// Words of an entry: first row of the tile, start and end of its document, and one that is free.
pub const ENTRY_WORDS: usize = 4;

/// Whether the work of a tile grows with the rows before it in its document, or with the rows after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Tiles of queries: they see what is before them.
    Queries,
    /// Tiles of keys: they are seen by what is after them.
    Keys,
}

/// One entry for each tile of `rows` rows of each document, the ones with most work first. A query sees at most `window`
/// keys, its own included; zero is no limit.
#[must_use]
pub fn table(bounds: &[usize], rows: usize, window: usize, order: Order) -> Vec<u32> {
    let window = if window == 0 { usize::MAX } else { window };
    let mut entries: Vec<(usize, [u32; ENTRY_WORDS])> = Vec::new();
    for (start, end) in bounds.windows(2).map(|pair| (pair[0], pair[1])) {
        for first in (start..end).step_by(rows) {
            let last = (first + rows).min(end) - 1;
            let work = match order {
                // From the first key that the first query sees to the last query's own.
                Order::Queries => last + 1 - start.max((first + 1).saturating_sub(window)),
                // From the first key's own query to the last query that sees the last key.
                Order::Keys => end.min(last.saturating_add(window)) - first,
            };
            entries.push((work, [first as u32, start as u32, end as u32, 0]));
        }
    }
    // Stable, so that equal work keeps the order of the pack.
    entries.sort_by_key(|(work, _)| std::cmp::Reverse(*work));
    entries.into_iter().flat_map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(table: &[u32]) -> Vec<u32> {
        table.chunks(ENTRY_WORDS).map(|entry| entry[0]).collect()
    }

    #[test]
    fn every_row_is_in_one_tile_and_long_work_comes_first() {
        let bounds = [0, 13, 13, 300];
        let queries = table(&bounds, 128, 0, Order::Queries);
        assert_eq!(firsts(&queries), [269, 141, 13, 0]);
        let keys = table(&bounds, 128, 0, Order::Keys);
        assert_eq!(firsts(&keys), [13, 141, 269, 0]);
        assert_eq!(keys[..4], [13, 13, 300, 0]);
    }

    #[test]
    fn a_window_limits_the_work_that_tiles_are_sorted_by() {
        // Queries 64 to 127 meet 64 + 9 keys, queries 0 to 63 only 64, and the last two 2 + 9; and so the other way.
        assert_eq!(firsts(&table(&[0, 130], 64, 10, Order::Queries)), [64, 0, 128]);
        assert_eq!(firsts(&table(&[0, 130], 64, 10, Order::Keys)), [0, 64, 128]);
    }
}
