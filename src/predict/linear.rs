//! Ridge regression: a weight a column, shrunk towards zero.
//!
//! Hoerl and Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems" (doi
//! 10.1080/00401706.1970.10488634). With columns X and targets y centred, weights = (X'X + penalty I)^-1 X'y by a
//! Cholesky factor. The uncertainty is that of the Bayesian reading with a Gaussian prior (Bishop 2006, section
//! 3.3.2): noise variance times (1 + 1/n + x'(X'X + penalty I)^-1 x), the noise estimated from the residuals over
//! n less the effective degrees of freedom.
//!
//! Default: penalty 1, scikit-learn's. A fit costs O(n d^2 + d^3), a prediction O(d^2); the memory is d^2 numbers.

use faer::linalg::solvers::{DenseSolveCore as _, Llt, Solve as _};
use faer::{Mat, Side};

use super::{Fitted, Prediction, Rows, Surrogate, check};
use crate::error::{Error, Result};
use crate::rng::Rng;

/// Ridge regression.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Weight of the squared weights in the loss; above 0.
    pub penalty: f64,
}

impl Default for Linear {
    fn default() -> Self {
        Linear { penalty: 1.0 }
    }
}

struct Plane {
    centre: Vec<f64>,
    mean: f64,
    weights: Vec<f64>,
    /// (X'X + penalty I)^-1.
    inverse: Mat<f64>,
    noise: f64,
    n: f64,
}

impl Surrogate for Linear {
    fn fit(&self, rows: &Rows, targets: &[f64], _: &mut Rng) -> Result<Box<dyn Fitted>> {
        check(rows, targets)?;
        let (n, d) = (rows.len() as f64, rows.width());
        let mean = targets.iter().sum::<f64>() / n;
        let centre: Vec<f64> = (0..d).map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / n).collect();
        let x = Mat::from_fn(rows.len(), d, |i, j| rows.row(i)[j] - centre[j]);
        let y = Mat::from_fn(rows.len(), 1, |i, _| targets[i] - mean);
        let gram = x.transpose() * &x + Mat::from_fn(d, d, |i, j| if i == j { self.penalty } else { 0.0 });
        let factor = Llt::new(gram.as_ref(), Side::Lower)
            .map_err(|_| Error::Internal("ridge regression has no Cholesky factor".into()))?;
        let weights = factor.solve(x.transpose() * &y);
        let inverse = factor.inverse();
        let residuals = &x * &weights - &y;
        let square: f64 = residuals.col(0).iter().map(|r| r * r).sum();
        let freedom: f64 = d as f64 - self.penalty * (0..d).map(|i| inverse[(i, i)]).sum::<f64>();
        Ok(Box::new(Plane {
            centre,
            mean,
            weights: weights.col(0).iter().copied().collect(),
            inverse,
            noise: square / (n - 1.0 - freedom).max(1.0),
            n,
        }))
    }
}

impl Fitted for Plane {
    fn predict(&self, rows: &Rows) -> Result<Vec<Prediction>> {
        let d = self.centre.len();
        let x = Mat::from_fn(rows.len(), d, |i, j| rows.row(i)[j] - self.centre[j]);
        let spread = &x * &self.inverse;
        let believe = |i| {
            let mean = self.mean + (0..d).map(|j| x[(i, j)] * self.weights[j]).sum::<f64>();
            let leverage: f64 = (0..d).map(|j| x[(i, j)] * spread[(i, j)]).sum();
            Prediction { mean, std: (self.noise * (1.0 + 1.0 / self.n + leverage)).sqrt() }
        };
        Ok((0..rows.len()).map(believe).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn weights_solve_the_normal_equations() {
        let mut rows = Rows::new(2);
        for row in [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]] {
            rows.push(&row).unwrap();
        }
        // Centred columns are orthogonal with X'X = I, so each weight is X'y / (1 + penalty).
        let fitted =
            Linear { penalty: 1.0 }.fit(&rows, &[2.0, 4.0, 6.0, 0.0], &mut stream(0, 0, "test")).unwrap();
        let means: Vec<f64> = fitted.predict(&rows).unwrap().iter().map(|p| p.mean).collect();
        // y centred: -1, 1, 3, -3; X'y = (4, 2); weights (2, 1) around the mean 3.
        for (found, expected) in means.iter().zip([2.5, 3.5, 4.5, 1.5]) {
            assert!((found - expected).abs() < 1e-12, "{means:?}");
        }
    }

    #[test]
    fn without_noise_and_penalty_the_plane_is_found() {
        let mut rows = Rows::new(2);
        let mut targets = Vec::new();
        for i in 0..20 {
            let row = [f64::from(i % 5) / 5.0, f64::from(i / 5) / 4.0];
            rows.push(&row).unwrap();
            targets.push(3.0 * row[0] - 2.0 * row[1] + 1.0);
        }
        let fitted = Linear { penalty: 1e-9 }.fit(&rows, &targets, &mut stream(0, 0, "test")).unwrap();
        for (p, y) in fitted.predict(&rows).unwrap().iter().zip(&targets) {
            assert!((p.mean - y).abs() < 1e-6 && p.std < 1e-6, "{p:?} for {y}");
        }
    }
}
