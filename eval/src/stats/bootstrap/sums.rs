//! Sufficient statistics added up by cluster, kept sparse, and the compression that makes a draw cheap.
//! Knows nothing about what the columns mean and draws nothing.

use crate::Error;
use crate::stats::Clusters;

/// Rows of numbers of which most are zero, such as the counts of each label in one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    width: usize,
    /// Where the entries of each row start; one more than there are rows.
    starts: Vec<usize>,
    /// Column and value.
    entries: Vec<(usize, f64)>,
}

impl SparseRows {
    /// No row yet; each will have `width` numbers.
    pub fn new(width: usize) -> Self {
        Self { width, starts: vec![0], entries: Vec::new() }
    }

    /// Numbers of one row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Adds a row; numbers of the same column are added up, and those that are zero need not be there.
    pub fn push(&mut self, row: impl IntoIterator<Item = (usize, f64)>) {
        let start = self.starts.last().copied().unwrap_or_default();
        self.entries.extend(row);
        // The sort is stable, so that equal input is added up in equal order.
        self.entries[start..].sort_by_key(|&(column, _)| column);
        let mut end = start;
        for at in start..self.entries.len() {
            let (column, value) = self.entries[at];
            if end > start && self.entries[end - 1].0 == column {
                self.entries[end - 1].1 += value;
            } else {
                self.entries[end] = (column, value);
                end += 1;
            }
        }
        self.entries.truncate(end);
        self.starts.push(end);
    }

    /// The numbers of a row, as (column, value).
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.entries[self.starts[row]..self.starts[row + 1]].iter().copied()
    }

    /// Row after row.
    pub fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = (usize, f64)> + '_> + '_ {
        (0..self.starts.len() - 1).map(|row| self.row(row))
    }
}

/// One vector of additive statistics for each cluster, such as true positives, false positives and false negatives of each label.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    width: usize,
    /// Where the entries of each cluster start; one more than there are clusters.
    starts: Vec<usize>,
    /// Column and value; columns grow within a cluster and no value is zero.
    entries: Vec<(u32, f64)>,
}

impl Sums {
    /// Adds up one dense vector of length `width` for each row, in the order of the rows of `clusters`.
    ///
    /// # Errors
    /// When there are more or fewer rows than `clusters` has, a row has another length, or a number is not finite.
    pub fn new<R: AsRef<[f64]>>(
        width: usize,
        rows: impl IntoIterator<Item = R>,
        clusters: &Clusters,
    ) -> Result<Self, Error> {
        let mut lengths_agree = true;
        let sums = Self::sparse(
            width,
            rows.into_iter().map(|row| {
                let row = row.as_ref();
                lengths_agree &= row.len() == width;
                row.iter().copied().enumerate().filter(|&(_, value)| value != 0.0).collect::<Vec<_>>()
            }),
            clusters,
        );
        if lengths_agree { sums } else { Err(bad("a row has more or fewer columns than the others")) }
    }

    /// Adds up the (column, value) pairs of each row; a column may occur more than once.
    ///
    /// # Errors
    /// When there are more or fewer rows than `clusters` has, a column is not below `width`, or a number is not finite.
    pub fn sparse<R: IntoIterator<Item = (usize, f64)>>(
        width: usize,
        rows: impl IntoIterator<Item = R>,
        clusters: &Clusters,
    ) -> Result<Self, Error> {
        if u32::try_from(width).is_err() || u32::try_from(clusters.num_clusters()).is_err() {
            return Err(bad("more than 4 billion columns or clusters"));
        }
        let mut found: Vec<(u32, u32, f64)> = Vec::new();
        let mut num_rows = 0;
        for row in rows {
            let cluster = *clusters.of_row().get(num_rows).ok_or_else(|| bad("more rows than the clusters have"))?;
            num_rows += 1;
            for (column, value) in row {
                if column >= width || !value.is_finite() {
                    return Err(bad("a column is out of range or a value is not finite"));
                }
                found.push((cluster as u32, column as u32, value));
            }
        }
        if num_rows != clusters.num_rows() {
            return Err(bad("fewer rows than the clusters have"));
        }
        // The sort is stable, so that equal input is added up in equal order.
        found.sort_by_key(|&(cluster, column, _)| (cluster, column));
        Ok(Self::collect(width, clusters.num_clusters(), found))
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of clusters.
    pub fn num_clusters(&self) -> usize {
        self.starts.len() - 1
    }

    /// The entries of a cluster that are not zero, as (column, value).
    pub fn of_cluster(&self, cluster: usize) -> &[(u32, f64)] {
        &self.entries[self.starts[cluster]..self.starts[cluster + 1]]
    }

    /// Takes out the parts of `part` neighbouring columns in which none of the sums has an entry: what is zero in every
    /// cluster is zero in every draw. The order of columns stays.
    pub fn without_zeros<const N: usize>(sums: [&Self; N], part: usize) -> [Self; N] {
        let part = u32::try_from(part).unwrap_or(u32::MAX).max(1);
        let entries = sums.iter().flat_map(|sums| &sums.entries);
        let mut used: Vec<u32> = entries.map(|&(column, _)| column / part).collect();
        used.sort_unstable();
        used.dedup();
        sums.map(|sums| {
            let place =
                |column: u32| used.binary_search(&(column / part)).unwrap_or_default() as u32 * part + column % part;
            let entries = sums.entries.iter().map(|&(column, value)| (place(column), value)).collect();
            Self { width: used.len() * part as usize, starts: sums.starts.clone(), entries }
        })
    }

    /// The sums over all clusters.
    pub fn total(&self) -> Vec<f64> {
        let mut total = vec![0.0; self.width];
        for &(column, value) in &self.entries {
            total[column as usize] += value;
        }
        total
    }

    /// The columns of `other` behind those of `self`, cluster by cluster.
    ///
    /// # Errors
    /// When the two do not have the same number of clusters.
    pub fn beside(&self, other: &Self) -> Result<Self, Error> {
        if self.num_clusters() != other.num_clusters() {
            return Err(bad("the two arms do not have the same clusters"));
        }
        let mut found = Vec::with_capacity(self.entries.len() + other.entries.len());
        for cluster in 0..self.num_clusters() {
            let here = cluster as u32;
            found.extend(self.of_cluster(cluster).iter().map(|&(column, value)| (here, column, value)));
            let shift = self.width as u32;
            found.extend(other.of_cluster(cluster).iter().map(|&(column, value)| (here, column + shift, value)));
        }
        Ok(Self::collect(self.width + other.width, self.num_clusters(), found))
    }

    /// From (cluster, column, value) in that order.
    fn collect(width: usize, num_clusters: usize, mut sorted: Vec<(u32, u32, f64)>) -> Self {
        sorted.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            kept.2 += if same { next.2 } else { 0.0 };
            same
        });
        sorted.retain(|&(_, _, value)| value != 0.0);
        let mut starts = vec![0; num_clusters + 1];
        for &(cluster, _, _) in &sorted {
            starts[cluster as usize + 1] += 1;
        }
        for cluster in 0..num_clusters {
            starts[cluster + 1] += starts[cluster];
        }
        let entries = sorted.into_iter().map(|(_, column, value)| (column, value)).collect();
        Self { width, starts, entries }
    }
}

/// Clusters with exactly the same sums are of one kind: a draw then only counts kinds.
#[derive(Debug)]
pub(crate) struct Kinds {
    /// The kind of each cluster.
    pub(crate) of_cluster: Vec<u32>,
    /// For each kind, a cluster that shows it and how many there are.
    pub(crate) examples: Vec<(usize, u32)>,
    starts: Vec<usize>,
    /// Kind after kind in memory, because every draw walks through all of them.
    entries: Vec<(u32, f64)>,
}

impl Kinds {
    pub(crate) fn new(sums: &Sums) -> Self {
        let bits = |cluster: usize| sums.of_cluster(cluster).iter().map(|&(column, value)| (column, value.to_bits()));
        let mut order: Vec<usize> = (0..sums.num_clusters()).collect();
        order.sort_by(|&a, &b| bits(a).cmp(bits(b)));
        let mut of_cluster = vec![0; order.len()];
        let mut examples: Vec<(usize, u32)> = Vec::new();
        for cluster in order {
            match examples.last_mut().filter(|(example, _)| bits(*example).eq(bits(cluster))) {
                Some((_, count)) => *count += 1,
                None => examples.push((cluster, 1)),
            }
            of_cluster[cluster] = examples.len() as u32 - 1;
        }
        let (mut starts, mut entries) = (vec![0], Vec::new());
        for &(example, _) in &examples {
            entries.extend_from_slice(sums.of_cluster(example));
            starts.push(entries.len());
        }
        Self { of_cluster, examples, starts, entries }
    }

    /// Number of kinds.
    pub(crate) fn len(&self) -> usize {
        self.examples.len()
    }

    /// What a cluster of this kind adds to each column, as (column, value).
    pub(crate) fn entries(&self, kind: usize) -> &[(u32, f64)] {
        &self.entries[self.starts[kind]..self.starts[kind + 1]]
    }
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "sums by cluster", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn clusters() -> Clusters {
        Clusters::new([Some("a"), Some("b"), Some("a"), None])
    }

    #[test]
    fn rows_are_added_up_by_cluster() {
        let rows = [[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [0.0, 2.0]];
        let sums = Sums::new(2, rows, &clusters()).unwrap();
        assert_eq!(sums.of_cluster(0), [(0, 4.0), (1, 4.0)]);
        assert_eq!(sums.of_cluster(1), [(1, 2.0)]);
        assert_eq!(sums.total(), [4.0, 8.0]);
        let sparse = [vec![(0, 1.0)], vec![(1, 2.0)], vec![(1, 4.0), (0, 1.0), (0, 2.0)], vec![(1, 2.0)]];
        assert_eq!(Sums::sparse(2, sparse, &clusters()).unwrap(), sums);
        let both = sums.beside(&sums).unwrap();
        assert_eq!(both.of_cluster(0), [(0, 4.0), (1, 4.0), (2, 4.0), (3, 4.0)]);
    }

    #[test]
    fn clusters_with_the_same_sums_are_of_one_kind() {
        let sums = Sums::new(1, [[1.0], [2.0], [1.0], [2.0]], &clusters()).unwrap();
        let kinds = Kinds::new(&sums);
        assert_eq!(kinds.of_cluster, [0, 0, 0]);
        assert_eq!(kinds.examples, [(0, 3)]);
        assert_eq!((kinds.len(), kinds.entries(0)), (1, &[(0, 2.0)][..]));
    }

    #[test]
    fn parts_without_an_entry_are_taken_out_of_both_alike() {
        let mut rows = SparseRows::new(9);
        rows.push([(8, 0.5), (3, 2.0), (4, 0.0), (8, 0.5)]);
        rows.push([]);
        let alone = Clusters::new([None; 2]);
        let sums = Sums::sparse(rows.width(), rows.rows(), &alone).unwrap();
        let other = Sums::sparse(9, [vec![(7, 5.0)], vec![]], &alone).unwrap();
        let [cut, other] = Sums::without_zeros([&sums, &other], 3);
        assert_eq!((cut.width(), cut.of_cluster(0)), (6, &[(0, 2.0), (5, 1.0)][..]));
        assert_eq!(other.of_cluster(0), [(4, 5.0)]);
        assert_eq!(cut.total(), [2.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let of = |rows: &[&[f64]]| Sums::new(1, rows.iter().copied(), &clusters()).unwrap_err().to_string();
        assert!(of(&[&[1.0][..]]).contains("fewer rows"));
        assert!(of(&[&[1.0][..]; 5]).contains("more rows"));
        assert!(of(&[&[1.0][..], &[1.0, 2.0], &[1.0], &[1.0]]).contains("columns"));
        assert!(of(&[&[f64::NAN][..]; 4]).contains("not finite"));
        let two = Sums::new(1, [[1.0]; 2], &Clusters::new([None; 2])).unwrap();
        let three = Sums::new(1, [[1.0]; 3], &Clusters::new([None; 3])).unwrap();
        assert!(two.beside(&three).is_err());
    }
}
