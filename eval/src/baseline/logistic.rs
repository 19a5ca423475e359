//! Logistic regression over sparse rows, with the objective of scikit-learn's `LogisticRegression`.
//! Knows nothing about text; the minimum is found by the L-BFGS of the `argmin` crate.

use std::cell::RefCell;

use argmin::core::{CostFunction, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

/// A sparse row: features and their values.
pub type SparseRow = Vec<(u32, f32)>;

/// How the regression is fitted.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Inverse strength of the penalty: the objective is C times the sum of the losses plus half the squared weights; the intercept is free.
    pub c: f64,
    /// Solver steps after which it stops, converged or not.
    pub max_iter: u64,
}

/// A fitted regression.
#[derive(Clone, Debug)]
pub struct LogisticRegression {
    shape: Shape,
    parameters: Vec<f64>,
    /// The largest slope left of the mean objective.
    pub largest_slope: f64,
    /// Solver steps taken.
    pub iterations: u64,
}

/// The slope at which the weights are taken as final: the default `tol` of scikit-learn.
pub const TOLERANCE: f64 = 1e-4;

impl LogisticRegression {
    /// Fits `rows` with features below `num_features` to classes below `num_classes`.
    ///
    /// # Errors
    /// What the solver said, when it refused to run.
    pub fn fit(
        rows: &[SparseRow],
        classes: &[usize],
        num_features: usize,
        num_classes: usize,
        settings: Settings,
    ) -> Result<Self, String> {
        let shape = Shape::new(num_features, num_classes);
        let objective = Objective {
            rows,
            classes,
            shape,
            // Divided by the number of rows and C, so that slopes do not grow with the data.
            penalty: 1.0 / (settings.c * rows.len().max(1) as f64),
            last: RefCell::new(None),
        };
        let start = vec![0.0; shape.len()];
        // Far below `TOLERANCE`, so that the predictions do not depend on where the solver stopped.
        let solver = LBFGS::new(MoreThuenteLineSearch::new(), 10)
            .with_tolerance_grad(1e-6)
            .map_err(|error| error.to_string())?;
        let result = Executor::new(&objective, solver)
            .configure(|state| state.param(start).max_iters(settings.max_iter))
            .ctrlc(false)
            .timer(false)
            .run()
            .map_err(|error| error.to_string())?;
        let iterations = result.state.get_iter();
        let parameters =
            result.state.get_best_param().cloned().ok_or_else(|| "the solver returned no weights".to_owned())?;
        let (_, gradient) = objective.evaluate(&parameters);
        let largest_slope = gradient.iter().fold(0.0_f64, |most, slope| most.max(slope.abs()));
        Ok(Self { shape, parameters, largest_slope, iterations })
    }

    /// Whether the solver reached the minimum.
    pub fn converged(&self) -> bool {
        self.largest_slope <= TOLERANCE
    }

    /// The probability of each class.
    pub fn probabilities(&self, row: &[(u32, f32)]) -> Vec<f64> {
        let mut probabilities = vec![0.0; self.shape.num_classes];
        let mut scores = vec![0.0; self.shape.width];
        self.shape.probabilities(&self.parameters, row, &mut scores, &mut probabilities);
        probabilities
    }

    /// The most probable class; of equal classes the first.
    pub fn predict(&self, row: &[(u32, f32)]) -> usize {
        let mut best = (0, f64::NEG_INFINITY);
        for (class, probability) in self.probabilities(row).into_iter().enumerate() {
            if probability > best.1 {
                best = (class, probability);
            }
        }
        best.0
    }
}

/// Where each weight lies: feature after feature, the classes of a feature side by side, the intercepts last.
#[derive(Clone, Copy, Debug)]
struct Shape {
    num_features: usize,
    num_classes: usize,
    /// Weights per feature: two classes need one, as in scikit-learn, where more need one each.
    width: usize,
}

impl Shape {
    fn new(num_features: usize, num_classes: usize) -> Self {
        let width = if num_classes == 2 { 1 } else { num_classes };
        Self { num_features, num_classes, width }
    }

    fn len(self) -> usize {
        (self.num_features + 1) * self.width
    }

    fn intercepts(self) -> usize {
        self.num_features * self.width
    }

    /// Writes the probabilities of a row and returns the logarithm of their normaliser.
    fn probabilities(
        self,
        parameters: &[f64],
        row: &[(u32, f32)],
        scores: &mut [f64],
        probabilities: &mut [f64],
    ) -> f64 {
        scores.copy_from_slice(&parameters[self.intercepts()..]);
        for &(feature, value) in row {
            let at = feature as usize * self.width;
            let weights = &parameters[at..at + self.width];
            for (score, weight) in scores.iter_mut().zip(weights) {
                *score += f64::from(value) * weight;
            }
        }
        // With two classes the first has the fixed score 0.
        let fixed = self.num_classes - self.width;
        probabilities[..fixed].fill(0.0);
        probabilities[fixed..].copy_from_slice(scores);
        let highest = probabilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for value in probabilities.iter_mut() {
            *value = (*value - highest).exp();
            sum += *value;
        }
        for value in probabilities.iter_mut() {
            *value /= sum;
        }
        highest + sum.ln()
    }
}

/// The mean loss plus the penalty, and its slope.
struct Objective<'a> {
    rows: &'a [SparseRow],
    classes: &'a [usize],
    shape: Shape,
    penalty: f64,
    /// The solver asks for the value and for the slope of the same point, one after the other.
    last: RefCell<Option<Evaluated>>,
}

struct Evaluated {
    parameters: Vec<f64>,
    cost: f64,
    gradient: Vec<f64>,
}

impl Objective<'_> {
    fn evaluate(&self, parameters: &[f64]) -> (f64, Vec<f64>) {
        let shape = self.shape;
        let mut gradient = vec![0.0; shape.len()];
        let mut scores = vec![0.0; shape.width];
        let mut probabilities = vec![0.0; shape.num_classes];
        let fixed = shape.num_classes - shape.width;
        let mut loss = 0.0;
        for (row, &class) in self.rows.iter().zip(self.classes) {
            let normaliser = shape.probabilities(parameters, row, &mut scores, &mut probabilities);
            let score = if class < fixed { 0.0 } else { scores[class - fixed] };
            loss += normaliser - score;
            probabilities[class] -= 1.0;
            let slopes = &probabilities[fixed..];
            for &(feature, value) in row {
                let at = feature as usize * shape.width;
                for (sum, slope) in gradient[at..at + shape.width].iter_mut().zip(slopes) {
                    *sum += f64::from(value) * slope;
                }
            }
            for (sum, slope) in gradient[shape.intercepts()..].iter_mut().zip(slopes) {
                *sum += slope;
            }
        }
        let per_row = 1.0 / self.rows.len().max(1) as f64;
        gradient.iter_mut().for_each(|slope| *slope *= per_row);
        let weights = &parameters[..shape.intercepts()];
        let mut squares = 0.0;
        for (slope, weight) in gradient.iter_mut().zip(weights) {
            *slope += self.penalty * weight;
            squares += weight * weight;
        }
        (loss * per_row + 0.5 * self.penalty * squares, gradient)
    }

    fn cached<T>(&self, parameters: &[f64], pick: impl Fn(&Evaluated) -> T) -> T {
        let mut last = self.last.borrow_mut();
        if let Some(found) = last.as_ref().filter(|found| found.parameters == parameters) {
            return pick(found);
        }
        let (cost, gradient) = self.evaluate(parameters);
        pick(last.insert(Evaluated { parameters: parameters.to_vec(), cost, gradient }))
    }
}

impl CostFunction for &Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        Ok(self.cached(parameters, |found| found.cost))
    }
}

impl Gradient for &Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Vec<f64>) -> Result<Vec<f64>, argmin::core::Error> {
        Ok(self.cached(parameters, |found| found.gradient.clone()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn rows() -> Vec<SparseRow> {
        vec![
            vec![(0, 1.0), (2, 0.5)],
            vec![(0, 0.8), (1, 0.3)],
            vec![(1, 1.0)],
            vec![(1, 0.7), (2, 0.7)],
            vec![(2, 1.0), (3, 0.2)],
            vec![(3, 1.0)],
            vec![(0, 0.2), (3, 0.9)],
            vec![(0, 0.5), (1, 0.5)],
        ]
    }

    fn check(classes: &[usize], first: &[f64], sixth: &[f64]) {
        let rows = rows();
        let settings = Settings { c: 10.0, max_iter: 500 };
        let fitted = LogisticRegression::fit(&rows, classes, 4, first.len(), settings).unwrap();
        assert!(fitted.converged(), "{}", fitted.largest_slope);
        for (row, expect) in [(&rows[0], first), (&rows[5], sixth)] {
            for (found, expect) in fitted.probabilities(row).iter().zip(expect) {
                assert!((found - expect).abs() < 1e-4, "{found} is not {expect}");
            }
        }
    }

    // Both: LogisticRegression(C=10, max_iter=5000, tol=1e-12) of scikit-learn 1.9.1 on the dense form of `rows`.
    #[test]
    fn three_classes_equal_scikit_learn() {
        check(
            &[0, 0, 1, 1, 2, 2, 2, 1],
            &[0.865_195_534_433_996, 0.058_236_146_240_193_7, 0.076_568_319_325_810_18],
            &[0.019_746_865_503_582_55, 0.039_067_253_134_916_53, 0.941_185_881_361_500_9],
        );
    }

    #[test]
    fn two_classes_equal_scikit_learn_which_gives_them_one_weight_per_feature() {
        check(
            &[0, 0, 1, 1, 1, 0, 1, 0],
            &[0.872_077_285_559_762_8, 0.127_922_714_440_237_17],
            &[0.458_284_340_889_074_4, 0.541_715_659_110_925_6],
        );
    }

    #[test]
    fn a_solver_that_is_stopped_early_says_so() {
        let settings = Settings { c: 1e6, max_iter: 1 };
        let classes = [0, 0, 1, 1, 2, 2, 2, 1];
        let fitted = LogisticRegression::fit(&rows(), &classes, 4, 3, settings).unwrap();
        assert!(!fitted.converged());
        assert_eq!(fitted.iterations, 1);
    }
}
