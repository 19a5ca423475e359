//! Owns axes: from values to places between 0 and 1, linear or logarithmic, and where the marks stand.
//! Knows numbers; knows no terminal.

/// Values beyond this, or on a logarithmic axis below its inverse, have no place: nothing that is measured is so large.
const HUGEST: f64 = 1e200;

/// One axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// An axis that shows all values. A logarithmic one needs values above zero; without any it is linear.
    #[must_use]
    pub fn around(values: impl Iterator<Item = f64> + Clone, log: bool) -> Axis {
        let has_place = |value: &f64| value.abs() < HUGEST && (!log || *value > 1.0 / HUGEST);
        let log = log && values.clone().any(|value| has_place(&value));
        let shown = values.filter(|value| value.abs() < HUGEST && (!log || *value > 1.0 / HUGEST));
        let (low, high) =
            shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        if log {
            let (low, high) = (low.ln(), high.ln());
            let room = 0.04 * (high - low).max(0.05);
            return Axis { low: low - room, high: high + room, log };
        }
        let room = (0.04 * (high - low)).max(if high == low { 0.05 * high.abs().max(1e-9) } else { 0.0 });
        // A curve that never goes below zero needs no room there.
        let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Axis { low: (low - room).max(floor), high: high + room, log }
    }

    /// A linear axis from one value to another.
    #[must_use]
    pub fn from_to(low: f64, high: f64) -> Axis {
        Axis { low, high: if high > low { high } else { low + 1.0 }, log: false }
    }

    /// The place of a value; outside 0 to 1 it is not shown.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        (value - self.low) / (self.high - self.low)
    }

    /// The value of a place.
    #[must_use]
    pub fn value(&self, place: f64) -> f64 {
        let value = self.low + place * (self.high - self.low);
        if self.log { value.exp() } else { value }
    }

    /// Round values for about so many marks, rising.
    #[must_use]
    pub fn marks(&self, most: usize) -> Vec<f64> {
        let (low, high) = (self.value(0.0), self.value(1.0));
        if self.log && high / low > 8.0 {
            let decades: Vec<i32> = (low.log10().ceil() as i32..=high.log10().floor() as i32).collect();
            let steps: &[f64] = if decades.len() >= most.min(3) { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let first = low.log10().floor() as i32;
            let last = high.log10().ceil() as i32;
            let all = (first..=last).flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
            let shown: Vec<f64> = all.filter(|value| (low..=high).contains(value)).collect();
            let every = shown.len().div_ceil(most.max(1)).max(1);
            return shown.into_iter().step_by(every).collect();
        }
        round_marks(low, high, most)
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn round_marks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || most == 0 {
        return Vec::new();
    }
    let raw = span / most as f64;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= raw).unwrap_or(span);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    if last.saturating_sub(first) > 100 {
        return Vec::new();
    }
    (first..=last).map(|at| at as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_has_round_marks() {
        let axis = Axis::from_to(0.0, 148.0);
        assert_eq!(axis.marks(5), [0.0, 50.0, 100.0]);
        assert_eq!(axis.place(74.0), 0.5);
        assert_eq!(axis.value(0.5), 74.0);
        assert!(Axis::from_to(0.0, 1.0).marks(0).is_empty());
    }

    #[test]
    fn a_logarithmic_axis_has_decades_and_leaves_out_what_has_no_place() {
        let values = [0.0, -3.0, f64::NAN, 0.01, 10.0];
        let axis = Axis::around(values.iter().copied(), true);
        assert!(axis.place(0.01) > 0.0 && axis.place(10.0) < 1.0);
        assert!((axis.place(0.316_227_766) - 0.5).abs() < 1e-6);
        assert_eq!(axis.marks(5), [0.01, 0.1, 1.0, 10.0]);
        let narrow = Axis::around([0.9, 9.0].into_iter(), true);
        assert_eq!(narrow.marks(5), [1.0, 2.0, 5.0]);
        assert!(axis.place(0.0) < 0.0, "zero lies below");
    }

    #[test]
    fn without_values_or_with_one_there_still_is_an_axis() {
        let none = Axis::around(std::iter::empty(), true);
        assert!(none.place(0.5).is_finite());
        let one = Axis::around([0.7].into_iter(), false);
        assert!((0.0..=1.0).contains(&one.place(0.7)));
        let zero = Axis::around([0.0, 0.0].into_iter(), true);
        assert!(zero.place(0.0).is_finite());
        for vast in [f64::MAX, 1e199, f64::MIN_POSITIVE] {
            for log in [false, true] {
                let axis = Axis::around([-vast, vast, vast / 1e100].into_iter(), log);
                assert!(axis.marks(5).len() < 200 && axis.place(1.0).is_finite());
            }
        }
    }
}
