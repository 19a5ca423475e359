//! Owns a curve of any length in bounded memory: neighbouring points share a bucket that keeps the lowest, the highest
//! and the mean, so a peak is never lost. Knows numbers; knows no terminal.

/// Buckets of a curve; twice as many as the dots of the widest terminal need.
const MOST_BUCKETS: usize = 4096;

/// One point of a curve, or several neighbours as one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Where the first of them lies.
    pub start: f64,
    /// Where the last of them lies.
    pub end: f64,
    /// The lowest value.
    pub low: f64,
    /// The highest value.
    pub high: f64,
    /// The sum of the values.
    sum: f64,
    /// How many values there are.
    pub count: u64,
}

impl Bucket {
    fn of(x: f64, y: f64) -> Self {
        Bucket { start: x, end: x, low: y, high: y, sum: y, count: 1 }
    }

    fn with(self, other: Bucket) -> Self {
        Bucket {
            start: self.start,
            end: other.end,
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            sum: self.sum + other.sum,
            count: self.count + other.count,
        }
    }

    /// The middle of its points.
    #[must_use]
    pub fn x(&self) -> f64 {
        f64::midpoint(self.start, self.end)
    }

    /// The mean of its values.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// A curve whose points come in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    buckets: Vec<Bucket>,
    /// Points that share a bucket.
    stride: u64,
}

impl Default for Series {
    fn default() -> Self {
        Series { buckets: Vec::new(), stride: 1 }
    }
}

impl Series {
    /// Adds a point. A value that is no number is left out: it has no place on an axis.
    pub fn push(&mut self, x: f64, y: f64) {
        if !x.is_finite() || !y.is_finite() {
            return;
        }
        match self.buckets.last_mut() {
            Some(last) if last.count < self.stride => *last = last.with(Bucket::of(x, y)),
            _ => self.buckets.push(Bucket::of(x, y)),
        }
        if self.buckets.len() > MOST_BUCKETS {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let pairs = self.buckets.chunks(2);
        self.buckets = pairs.filter_map(|pair| pair.iter().copied().reduce(Bucket::with)).collect();
        self.stride *= 2;
    }

    /// Forgets what came after a place, as a run does that goes on from a checkpoint.
    pub fn cut_after(&mut self, x: f64) {
        while self.buckets.last().is_some_and(|last| last.start > x) {
            self.buckets.pop();
        }
        if let Some(last) = self.buckets.last_mut() {
            last.end = last.end.min(x);
        }
    }

    /// Its buckets in order.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The buckets that touch a range.
    #[must_use]
    pub fn within(&self, from: f64, to: f64) -> &[Bucket] {
        let first = self.buckets.partition_point(|bucket| bucket.end < from);
        let after = self.buckets.partition_point(|bucket| bucket.start <= to);
        self.buckets.get(first..after).unwrap_or(&[])
    }

    /// The bucket nearest to a place.
    #[must_use]
    pub fn nearest(&self, x: f64) -> Option<&Bucket> {
        let at = self.buckets.partition_point(|bucket| bucket.end < x);
        let (before, after) = (at.checked_sub(1).and_then(|at| self.buckets.get(at)), self.buckets.get(at));
        match (before, after) {
            (Some(before), Some(after)) if x - before.end < after.start - x => Some(before),
            (before, after) => after.or(before),
        }
    }

    /// Where it begins and ends.
    #[must_use]
    pub fn extent(&self) -> Option<(f64, f64)> {
        Some((self.buckets.first()?.start, self.buckets.last()?.end))
    }

    /// The mean of the last bucket.
    #[cfg(test)]
    pub fn last(&self) -> Option<f64> {
        self.buckets.last().map(Bucket::mean)
    }
}

/// A smoothed line through buckets: each point is the mean of those before it, weighted by half for every
/// `half_life` along the axis. The start is not pulled towards zero, since the weights are divided out. On a logarithmic
/// axis (`log`) it is the geometric mean, which lies in the middle of what is seen there.
#[must_use]
pub fn smooth(buckets: &[Bucket], half_life: f64, log: bool) -> Vec<(f64, f64)> {
    let half_life = half_life.max(f64::MIN_POSITIVE);
    let (mut sum, mut weight, mut previous) = (0.0, 0.0, f64::NAN);
    let mut line = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let kept = if previous.is_nan() { 0.0 } else { 0.5_f64.powf((bucket.x() - previous).max(0.0) / half_life) };
        previous = bucket.x();
        let value = if log { bucket.mean().max(f64::MIN_POSITIVE).ln() } else { bucket.mean() };
        sum = kept * sum + value * bucket.count as f64;
        weight = kept * weight + bucket.count as f64;
        let mean = sum / weight;
        line.push((bucket.x(), if log { mean.exp() } else { mean }));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Series {
        let mut series = Series::default();
        values.into_iter().enumerate().for_each(|(x, y)| series.push(x as f64, y));
        series
    }

    #[test]
    fn a_million_points_keep_every_peak_in_little_memory() {
        let series = of((0..1_000_000).map(|at| match at {
            123_456 => 99.0,
            777_777 => -7.0,
            _ => 1.0,
        }));
        assert!(series.buckets().len() <= MOST_BUCKETS);
        assert_eq!(series.buckets().iter().map(|bucket| bucket.count).sum::<u64>(), 1_000_000);
        let peak = series.buckets().iter().find(|bucket| bucket.high == 99.0);
        assert!(peak.is_some_and(|peak| peak.start <= 123_456.0 && 123_456.0 <= peak.end));
        assert!(series.buckets().iter().any(|bucket| bucket.low == -7.0));
        assert_eq!(series.extent(), Some((0.0, 999_999.0)));
    }

    #[test]
    fn buckets_of_a_range_and_the_nearest_one_are_found() {
        let series = of([1.0, 2.0, 3.0, 4.0]);
        assert_eq!(series.within(1.0, 2.0).iter().map(Bucket::mean).collect::<Vec<_>>(), [2.0, 3.0]);
        assert!(series.within(9.0, 12.0).is_empty());
        let nearest = |x: f64| series.nearest(x).map(Bucket::mean);
        assert_eq!([nearest(-5.0), nearest(1.4), nearest(1.6), nearest(50.0)], [1.0, 2.0, 3.0, 4.0].map(Some));
        assert_eq!(Series::default().nearest(1.0), None);
    }

    #[test]
    fn what_came_after_a_checkpoint_is_forgotten() {
        let mut series = of([1.0, 2.0, 3.0, 4.0]);
        series.cut_after(1.0);
        assert_eq!((series.extent(), series.last()), (Some((0.0, 1.0)), Some(2.0)));
        series.push(2.0, 9.0);
        assert_eq!(series.last(), Some(9.0));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        assert!(of([f64::NAN, f64::INFINITY]).buckets().is_empty());
    }

    #[test]
    fn smoothing_keeps_a_constant_and_follows_a_step() {
        let flat = smooth(of([3.0; 50]).buckets(), 10.0, true);
        assert!(flat.iter().all(|(_, y)| (y - 3.0).abs() < 1e-12));
        let step = smooth(of((0..100).map(|at| if at < 50 { 0.0 } else { 1.0 })).buckets(), 5.0, false);
        assert!(step[49].1 < 1e-9 && step[60].1 > 0.6 && step[99].1 > 0.99, "{step:?}");
    }
}
