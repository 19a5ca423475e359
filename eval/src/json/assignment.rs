//! The best assignment of rows to columns, each used at most once.
//! Knows nothing about what is assigned; weights are whole numbers, so that the best is exactly the best.

/// For each row the column it is assigned to, so that the sum of the weights is as large as it can be.
///
/// The Hungarian method with potentials, O(min² · max) steps (Kuhn 1955; Munkres 1957; shortest augmenting paths, Jonker & Volgenant 1987).
/// With more columns than rows every row gets a column, with more rows every column a row; weights must not be negative.
///
/// # Shapes
/// `weights[row * columns + column]`.
pub fn assign(weights: &[i64], rows: usize, columns: usize) -> Vec<Option<usize>> {
    if rows == 0 || columns == 0 {
        return vec![None; rows];
    }
    if rows <= columns {
        return narrow(rows, columns, |row, column| -weights[row * columns + column]).into_iter().map(Some).collect();
    }
    let mut assigned = vec![None; rows];
    for (column, row) in narrow(columns, rows, |column, row| -weights[row * columns + column]).into_iter().enumerate() {
        assigned[row] = Some(column);
    }
    assigned
}

/// The cheapest column of each row, for at most as many rows as columns.
fn narrow(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> i64) -> Vec<usize> {
    // Index 0 is a column that does not exist, from which each search starts; real rows and columns count from 1.
    let mut row_potential = vec![0i64; rows + 1];
    let mut column_potential = vec![0i64; columns + 1];
    let mut row_of = vec![0usize; columns + 1];
    let mut came_from = vec![0usize; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut column = 0;
        let mut slack = vec![i64::MAX; columns + 1];
        let mut done = vec![false; columns + 1];
        while row_of[column] != 0 {
            done[column] = true;
            let at = row_of[column];
            let (mut step, mut next) = (i64::MAX, 0);
            for other in 1..=columns {
                if done[other] {
                    continue;
                }
                let reduced = cost(at - 1, other - 1) - row_potential[at] - column_potential[other];
                if reduced < slack[other] {
                    slack[other] = reduced;
                    came_from[other] = column;
                }
                if slack[other] < step {
                    step = slack[other];
                    next = other;
                }
            }
            for other in 0..=columns {
                if done[other] {
                    row_potential[row_of[other]] += step;
                    column_potential[other] -= step;
                } else if slack[other] != i64::MAX {
                    slack[other] -= step;
                }
            }
            column = next;
        }
        // Each column on the path takes the row of the column before it.
        while column != 0 {
            row_of[column] = row_of[came_from[column]];
            column = came_from[column];
        }
    }
    let mut column_of = vec![0; rows];
    for column in 1..=columns {
        if row_of[column] != 0 {
            column_of[row_of[column] - 1] = column - 1;
        }
    }
    column_of
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tries every assignment.
    fn best_of_all(weights: &[i64], rows: usize, columns: usize, row: usize, used: u32) -> i64 {
        if row == rows {
            return 0;
        }
        let skipped = best_of_all(weights, rows, columns, row + 1, used);
        (0..columns).filter(|column| used & (1 << column) == 0).fold(skipped, |best, column| {
            let rest = best_of_all(weights, rows, columns, row + 1, used | (1 << column));
            best.max(weights[row * columns + column] + rest)
        })
    }

    #[test]
    fn the_best_sum_is_not_always_the_greedy_one() {
        assert_eq!(assign(&[3, 2, 3, 0], 2, 2), [Some(1), Some(0)]);
        assert_eq!(assign(&[1, 5, 4], 3, 1), [None, Some(0), None]);
        assert_eq!(assign(&[], 2, 0), [None, None]);
        assert_eq!(assign(&[], 0, 3), []);
    }

    proptest! {
        #[test]
        fn it_equals_trying_every_assignment(rows in 0usize..6, columns in 0usize..6, weights in proptest::collection::vec(0i64..6, 36)) {
            let weights = &weights[..rows * columns];
            let assigned = assign(weights, rows, columns);
            let pairs: Vec<_> = assigned.iter().enumerate().filter_map(|(row, &column)| Some((row, column?))).collect();
            let mut columns_used: Vec<_> = pairs.iter().map(|pair| pair.1).collect();
            columns_used.sort_unstable();
            columns_used.dedup();
            prop_assert_eq!(columns_used.len(), pairs.len());
            prop_assert_eq!(pairs.len(), rows.min(columns));
            let sum: i64 = pairs.iter().map(|&(row, column)| weights[row * columns + column]).sum();
            prop_assert_eq!(sum, best_of_all(weights, rows, columns, 0, 0));
        }
    }
}
