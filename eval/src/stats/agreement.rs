//! Agreement between raters beyond chance: Cohen's kappa for two, Krippendorff's alpha for more or with gaps.
//! Knows nothing about who the raters are; raw agreement is not reported alone.

use std::collections::BTreeMap;

use crate::Error;

/// Cohen's kappa (1960) of a square table `counts[first][second]`; none when chance alone agrees always, as with one category.
///
/// # Errors
/// When the table is not square or holds nothing.
pub fn cohen_kappa(counts: &[Vec<u64>]) -> Result<Option<f64>, Error> {
    let total: u64 = counts.iter().flatten().sum();
    if total == 0 || counts.iter().any(|row| row.len() != counts.len()) {
        return Err(bad("kappa needs a square table with counts"));
    }
    let n = total as f64;
    let observed = (0..counts.len()).map(|at| counts[at][at]).sum::<u64>() as f64 / n;
    let chance = |at: usize| {
        let (row, column) = (counts[at].iter().sum::<u64>(), counts.iter().map(|row| row[at]).sum::<u64>());
        row as f64 / n * (column as f64 / n)
    };
    let chance: f64 = (0..counts.len()).map(chance).sum();
    Ok((chance < 1.0).then(|| (observed - chance) / (1.0 - chance)))
}

/// Krippendorff's alpha (2004) for nominal categories: `ratings[rater][unit]`, none where a rater gave no answer.
///
/// A unit with fewer than two ratings says nothing. None when nothing can disagree: fewer than two categories were ever used.
///
/// # Errors
/// When the raters were given different numbers of units.
pub fn krippendorff_alpha<T: Ord, R: AsRef<[Option<T>]>>(ratings: &[R]) -> Result<Option<f64>, Error> {
    let num_units = ratings.first().map_or(0, |rater| rater.as_ref().len());
    if ratings.iter().any(|rater| rater.as_ref().len() != num_units) {
        return Err(bad("each rater needs an entry for each unit, empty where there is no answer"));
    }
    let mut totals: BTreeMap<&T, f64> = BTreeMap::new();
    let mut disagreement = 0.0;
    for unit in 0..num_units {
        let mut counts: BTreeMap<&T, f64> = BTreeMap::new();
        for value in ratings.iter().filter_map(|rater| rater.as_ref()[unit].as_ref()) {
            *counts.entry(value).or_default() += 1.0;
        }
        let num_ratings: f64 = counts.values().sum();
        if num_ratings < 2.0 {
            continue;
        }
        let agreeing: f64 = counts.values().map(|count| count * (count - 1.0)).sum();
        disagreement += num_ratings - agreeing / (num_ratings - 1.0);
        for (value, count) in counts {
            *totals.entry(value).or_default() += count;
        }
    }
    let n: f64 = totals.values().sum();
    let by_chance = (n * n - totals.values().map(|count| count * count).sum::<f64>()) / (n - 1.0);
    Ok((totals.len() > 1).then(|| 1.0 - disagreement / by_chance))
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "agreement", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn close(found: Option<f64>, expect: f64) {
        assert!((found.unwrap() - expect).abs() < 1e-12, "{found:?} is not {expect}");
    }

    // scikit-learn 1.9.1; `kappa` in oracles/reference_values.json.
    #[test]
    fn kappa_equals_scikit_learn() {
        close(cohen_kappa(&[vec![45, 5], vec![10, 40]]).unwrap(), 0.7);
    }

    // krippendorff 0.9.0, `krippendorff` in oracles/statistics.json: three raters, ten units, gaps.
    #[test]
    fn alpha_equals_the_reference_package() {
        let row = |text: &str| -> Vec<Option<char>> { text.chars().map(|c| (c != '.').then_some(c)).collect() };
        let ratings = [row("123321412."), row("1233224125"), row(".333234225")];
        close(krippendorff_alpha(&ratings).unwrap(), 0.675_257_731_958_762_9);
    }

    #[test]
    fn one_category_has_no_agreement_beyond_chance() {
        assert_eq!(cohen_kappa(&[vec![9, 0], vec![0, 0]]).unwrap(), None);
        assert_eq!(krippendorff_alpha(&[[Some(1), Some(1)], [Some(1), Some(1)]]).unwrap(), None);
        assert_eq!(krippendorff_alpha(&[[Some(1), Some(2)]]).unwrap(), None);
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        assert!(cohen_kappa(&[vec![1, 2]]).is_err() && cohen_kappa(&[]).is_err());
        assert!(krippendorff_alpha(&[vec![Some(1)], vec![Some(1), None]]).is_err());
    }
}
