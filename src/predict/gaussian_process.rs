//! Gaussian process: a belief about the target of every point, from how alike points are.
//!
//! Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning": posterior by a Cholesky factor (algorithm
//! 2.1), hyper-parameters by maximising the marginal likelihood (equations 5.8 and 5.9). The kernel is
//! `scale * matern52(r) * exp(-h)`, where `r^2` sums the weighted squared distances of the numeric decisions and `h` the
//! weighted number of labels in which the others differ (the Hamming kernel of Oh et al. 2019, "Combinatorial Bayesian
//! Optimization using the Graph Cartesian Product", arXiv 1902.00448, on a complete graph). Each decision has its own
//! weight. A decision active in one point and not in the other differs.
//!
//! Scale and noise have weak priors (those of Optuna's `GPSampler`). So has the geometric mean of the weights (centred by
//! the number of decisions as in Hvarfner et al. 2024, arXiv 2402.02229, because in many dimensions points are far apart),
//! and around it each weight has a stronger one of the same form: what few points cannot tell apart stays alike (partial
//! pooling; on the 26 decisions of NAS-Bench-101 Kendall's tau after 50 points rises from 0.10 to 0.17). They are found by
//! resilient propagation in their logarithms (Blum and Riedmiller 2013, "Optimization of Gaussian Process Hyperparameters
//! using Rprop"): bounded, without line search, deterministic.
//!
//! A fit costs `steps` times O(m^3 + m^2 decisions) for m = min(n, 200) rows, plus one O(n^3); a prediction of k rows
//! O(k n^2); a further row O(n^2). The memory is n^2 numbers.

use std::ops::Range;

use faer::linalg::solvers::{DenseSolveCore as _, Llt, Solve as _};
use faer::{Mat, Side};

use super::{Fitted, Prediction, Rows, Scale, Surrogate, check};
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::space::Columns;

/// The marginal likelihood is maximised on at most so many rows, evenly taken.
const MAX_LIKELIHOOD_ROWS: usize = 200;
/// The optimiser stops after so many steps that do not raise the log likelihood by that much.
const PATIENCE: usize = 4;
const WORTHWHILE: f64 = 0.1;
/// How strongly weights are held together.
const ALIKE: f64 = 1.5;

/// Gaussian process.
#[derive(Clone, Debug)]
pub struct GaussianProcess {
    groups: Vec<Group>,
    /// Steps of the optimiser of the hyper-parameters.
    pub steps: usize,
}

/// A decision as the kernel sees it.
#[derive(Clone, Debug)]
enum Group {
    /// Its columns, of which the squared distance counts.
    Number(Range<usize>),
    /// Its columns, in which different marks are counted.
    Labels(Range<usize>),
}

/// What the kernel is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyper {
    /// One weight a decision.
    weights: Vec<f64>,
    /// The variance of the function.
    scale: f64,
    /// The variance of the noise.
    noise: f64,
}

impl GaussianProcess {
    /// For rows with these columns.
    #[must_use]
    pub fn new(columns: Vec<Columns>) -> Self {
        let group = |columns: Columns| {
            if columns.numeric { Group::Number(columns.range) } else { Group::Labels(columns.range) }
        };
        GaussianProcess { groups: columns.into_iter().map(group).collect(), steps: 25 }
    }

    /// How far apart two rows are, decision by decision.
    fn distances<'a>(&'a self, a: &'a [f64], b: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        self.groups.iter().map(move |group| match group {
            Group::Number(range) => range.clone().map(|i| (a[i] - b[i]) * (a[i] - b[i])).sum(),
            Group::Labels(range) => {
                // Marks only in one row and marks only in the other: equal for two labels, different for one and none.
                let (mut only_a, mut only_b) = (0.0, 0.0);
                for i in range.clone() {
                    let difference = a[i] - b[i];
                    only_a += difference.max(0.0);
                    only_b -= difference.min(0.0);
                }
                f64::max(only_a, only_b)
            }
        })
    }

    fn covariance(&self, hyper: &Hyper, distances: impl Iterator<Item = f64>) -> Covariance {
        let (mut square, mut labels) = (0.0, 0.0);
        for ((group, weight), distance) in self.groups.iter().zip(&hyper.weights).zip(distances) {
            match group {
                Group::Number(_) => square += weight * distance,
                Group::Labels(_) => labels += weight * distance,
            }
        }
        let s = (5.0 * square).sqrt();
        // One exponential for both factors.
        let decay = hyper.scale * (-s - labels).exp();
        Covariance { value: decay * (1.0 + s + s * s / 3.0), by_square: -5.0 / 6.0 * decay * (1.0 + s) }
    }

    /// Where the weights' prior has its peak.
    fn centre(&self) -> f64 {
        (3.0 / self.groups.len().max(1) as f64).min(1.0)
    }

    /// The hyper-parameters that explain standardised targets best.
    #[must_use]
    pub fn explain(&self, rows: &Rows, targets: &[f64]) -> Hyper {
        let n = rows.len().min(MAX_LIKELIHOOD_ROWS);
        let taken: Vec<usize> = (0..n).map(|i| i * rows.len() / n.max(1)).collect();
        let mut distances = Vec::with_capacity(n * n.saturating_sub(1) / 2 * self.groups.len());
        for (i, &a) in taken.iter().enumerate() {
            for &b in &taken[..i] {
                distances.extend(self.distances(rows.row(a), rows.row(b)));
            }
        }
        let y = Mat::from_fn(n, 1, |i, _| targets[taken[i]]);

        let start = Hyper { weights: vec![self.centre(); self.groups.len()], scale: 1.0, noise: 0.01 };
        let mut logs: Vec<f64> =
            start.weights.iter().chain([&start.scale, &start.noise]).map(|v| v.ln()).collect();
        let mut bounds = vec![(1e-3_f64.ln(), 1e3_f64.ln()); self.groups.len()];
        bounds.extend([(0.05_f64.ln(), 20_f64.ln()), (1e-6_f64.ln(), 1_f64.ln())]);
        let (mut strides, mut last) = (vec![0.3; logs.len()], vec![0.0; logs.len()]);
        let mut best = (f64::NEG_INFINITY, start);
        let mut idle = 0;
        for _ in 0..self.steps {
            let hyper = Hyper {
                weights: logs[..self.groups.len()].iter().map(|v| v.exp()).collect(),
                scale: logs[self.groups.len()].exp(),
                noise: logs[self.groups.len() + 1].exp(),
            };
            let Some((value, slopes)) = self.likelihood(&hyper, &distances, &y) else { break };
            if value > best.0 + WORTHWHILE {
                idle = 0;
            } else {
                idle += 1;
            }
            if value > best.0 {
                best = (value, hyper);
            }
            if idle == PATIENCE {
                break;
            }
            for i in 0..logs.len() {
                let mut slope = slopes[i];
                let agreement = slope * last[i];
                if agreement > 0.0 {
                    strides[i] = (strides[i] * 1.2_f64).min(1.0);
                } else if agreement < 0.0 {
                    strides[i] = (strides[i] * 0.5_f64).max(1e-3);
                    slope = 0.0;
                }
                if slope != 0.0 {
                    logs[i] = (logs[i] + strides[i] * slope.signum()).clamp(bounds[i].0, bounds[i].1);
                }
                last[i] = slope;
            }
        }
        best.1
    }

    /// Logarithm of likelihood times prior, up to a constant, and its slopes by the logarithms of the
    /// hyper-parameters. `distances` are those of all pairs i > j, row after row.
    fn likelihood(&self, hyper: &Hyper, distances: &[f64], y: &Mat<f64>) -> Option<(f64, Vec<f64>)> {
        let n = y.nrows();
        let width = self.groups.len();
        let mut kernel = Mat::zeros(n, n);
        let mut by_square = vec![0.0; n * n.saturating_sub(1) / 2];
        let mut pair = 0;
        for i in 0..n {
            for j in 0..i {
                let apart = &distances[pair * width..(pair + 1) * width];
                let covariance = self.covariance(hyper, apart.iter().copied());
                kernel[(i, j)] = covariance.value;
                by_square[pair] = covariance.by_square;
                pair += 1;
            }
            kernel[(i, i)] = hyper.scale + hyper.noise;
        }
        let factor = Llt::new(kernel.as_ref(), Side::Lower).ok()?;
        let alpha = factor.solve(y);
        let inverse = factor.inverse();
        let log_determinant: f64 = (0..n).map(|i| factor.L()[(i, i)].ln()).sum();
        let fit: f64 = (0..n).map(|i| y[(i, 0)] * alpha[(i, 0)]).sum();
        let mut value = -0.5 * fit - log_determinant;

        let mut slopes = vec![0.0; width + 2];
        pair = 0;
        for i in 0..n {
            for j in 0..i {
                // Each pair stands twice in the symmetric matrix, so the half of equation 5.9 goes away.
                let weight = alpha[(i, 0)] * alpha[(j, 0)] - inverse[(i, j)];
                let value = weight * kernel[(i, j)];
                let square = weight * by_square[pair];
                let apart = &distances[pair * width..(pair + 1) * width];
                for ((slope, group), distance) in slopes.iter_mut().zip(&self.groups).zip(apart) {
                    *slope += distance * if matches!(group, Group::Number(_)) { square } else { -value };
                }
                slopes[width] += value;
                pair += 1;
            }
            let weight = 0.5 * (alpha[(i, 0)] * alpha[(i, 0)] - inverse[(i, i)]);
            slopes[width] += weight * hyper.scale;
            slopes[width + 1] += weight * hyper.noise;
        }

        // The prior: all weights are alike, and what they are alike is near the centre.
        let centre = self.centre();
        let middle =
            (hyper.weights.iter().map(|weight| weight.ln()).sum::<f64>() / width.max(1) as f64).exp();
        let pulls: Vec<f64> =
            hyper.weights.iter().map(|weight| ALIKE * (middle / weight - weight / middle)).collect();
        let pull = pulls.iter().sum::<f64>() / width.max(1) as f64;
        for ((slope, weight), own) in slopes.iter_mut().zip(&hyper.weights).zip(&pulls) {
            *slope *= weight;
            value -= ALIKE * (middle / weight + weight / middle) + 0.1 * (centre / middle + middle / centre);
            *slope += own - pull + 0.1 * (centre / middle - middle / centre);
        }
        value += hyper.scale.ln() - hyper.scale + 0.1 * hyper.noise.ln() - 30.0 * hyper.noise;
        slopes[width] += 1.0 - hyper.scale;
        slopes[width + 1] += 0.1 - 30.0 * hyper.noise;
        value.is_finite().then_some((value, slopes))
    }

    /// The factorised covariance of these rows.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has no factor, which the noise prevents.
    pub fn factorise(&self, hyper: Hyper, rows: Rows) -> Result<Factor> {
        let n = rows.len();
        let mut kernel = Mat::zeros(n, n);
        for i in 0..n {
            for j in 0..i {
                kernel[(i, j)] = self.covariance(&hyper, self.distances(rows.row(i), rows.row(j))).value;
            }
            kernel[(i, i)] = hyper.scale + hyper.noise;
        }
        let lower = Llt::new(kernel.as_ref(), Side::Lower)
            .map_err(|_| {
                Error::Internal("the covariance of a Gaussian process has no Cholesky factor".into())
            })?
            .L()
            .to_owned();
        Ok(Factor { process: self.clone(), hyper, rows, lower })
    }
}

struct Covariance {
    value: f64,
    /// Its derivative by the weighted squared distance.
    by_square: f64,
}

/// The covariance of some rows, factorised: all of a posterior that does not depend on the targets.
#[derive(Clone, Debug)]
pub struct Factor {
    process: GaussianProcess,
    hyper: Hyper,
    rows: Rows,
    lower: Mat<f64>,
}

impl Factor {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row: one triangular solve instead of a new factor.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for a row of another width.
    pub fn push(&mut self, row: &[f64]) -> Result<()> {
        let n = self.len();
        let mut side = Mat::from_fn(n, 1, |i, _| self.between(self.rows.row(i), row));
        self.lower.solve_lower_triangular_in_place(&mut side);
        let square: f64 = side.col(0).iter().map(|v| v * v).sum();
        // A repeated row leaves the noise; rounding may not leave less than nothing.
        let corner = (self.hyper.scale + self.hyper.noise - square).max(1e-10).sqrt();
        self.rows.push(row)?;
        self.lower.resize_with(n + 1, n + 1, |_, _| 0.0);
        for i in 0..n {
            self.lower[(n, i)] = side[(i, 0)];
        }
        self.lower[(n, n)] = corner;
        Ok(())
    }

    /// The weight of every row in the mean of a prediction, for these standardised targets.
    #[must_use]
    pub fn solve(&self, targets: &[f64]) -> Vec<f64> {
        let mut y = Mat::from_fn(self.len(), 1, |i, _| targets[i]);
        self.lower.solve_lower_triangular_in_place(&mut y);
        self.lower.transpose().solve_upper_triangular_in_place(&mut y);
        y.col(0).iter().copied().collect()
    }

    /// Mean and standard deviation (without the noise) of the function at each row.
    #[must_use]
    pub fn predict(&self, solved: &[f64], rows: &Rows) -> Vec<Prediction> {
        let mut cross = Mat::zeros(self.len(), rows.len());
        let mut means = Vec::with_capacity(rows.len());
        for (j, row) in rows.iter().enumerate() {
            let mut mean = 0.0;
            for (i, (known, weight)) in self.rows.iter().zip(solved).enumerate() {
                let covariance = self.between(known, row);
                cross[(i, j)] = covariance;
                mean += covariance * weight;
            }
            means.push(mean);
        }
        self.lower.solve_lower_triangular_in_place(&mut cross);
        let believe = |(j, mean): (usize, f64)| {
            let explained: f64 = cross.col(j).iter().map(|v| v * v).sum();
            Prediction { mean, std: (self.hyper.scale - explained).max(1e-12).sqrt() }
        };
        means.into_iter().enumerate().map(believe).collect()
    }

    fn between(&self, a: &[f64], b: &[f64]) -> f64 {
        self.process.covariance(&self.hyper, self.process.distances(a, b)).value
    }
}

struct Posterior {
    scale: Scale,
    factor: Factor,
    solved: Vec<f64>,
}

impl Surrogate for GaussianProcess {
    fn fit(&self, rows: &Rows, targets: &[f64], _: &mut Rng) -> Result<Box<dyn Fitted>> {
        check(rows, targets)?;
        let scale = Scale::of(targets);
        let standard: Vec<f64> = targets.iter().map(|&y| scale.apply(y)).collect();
        let factor = self.factorise(self.explain(rows, &standard), rows.clone())?;
        let solved = factor.solve(&standard);
        Ok(Box::new(Posterior { scale, factor, solved }))
    }
}

impl Fitted for Posterior {
    fn predict(&self, rows: &Rows) -> Result<Vec<Prediction>> {
        Ok(self.factor.predict(&self.solved, rows).into_iter().map(|p| self.scale.undo(p)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One category of two labels (columns 0, 1) and one number (column 2).
    fn process() -> GaussianProcess {
        GaussianProcess::new(vec![
            Columns { range: 0..2, numeric: false },
            Columns { range: 2..3, numeric: true },
        ])
    }

    fn rows(cells: &[[f64; 3]]) -> Rows {
        let mut rows = Rows::new(3);
        for row in cells {
            rows.push(row).unwrap();
        }
        rows
    }

    fn hyper() -> Hyper {
        Hyper { weights: vec![0.7, 2.0], scale: 1.5, noise: 0.1 }
    }

    #[test]
    fn the_posterior_of_two_rows_by_hand() {
        let known = rows(&[[1.0, 0.0, 0.2], [0.0, 1.0, 0.5]]);
        let asked = rows(&[[1.0, 0.0, 0.5]]);
        let matern = |distance: f64| {
            let s = (5.0 * 2.0 * distance * distance).sqrt();
            (1.0 + s + s * s / 3.0) * (-s).exp()
        };
        let apart = 1.5 * matern(0.3) * (-0.7_f64).exp();
        let (a, b) = (1.5 * matern(0.3), 1.5 * (-0.7_f64).exp());
        let (diagonal, y) = (1.6, [1.0, -2.0]);
        let determinant = diagonal * diagonal - apart * apart;
        let solve = |u: f64, v: f64| {
            ((diagonal * u - apart * v) / determinant, (diagonal * v - apart * u) / determinant)
        };
        let (p, q) = solve(y[0], y[1]);
        let (u, v) = solve(a, b);
        let factor = process().factorise(hyper(), known).unwrap();
        let found = factor.predict(&factor.solve(&y), &asked)[0];
        assert!((found.mean - (a * p + b * q)).abs() < 1e-12);
        assert!((found.std.powi(2) - (1.5 - a * u - b * v)).abs() < 1e-12);
    }

    #[test]
    fn pushed_rows_give_the_factor_of_all_rows() {
        let (space, rows, targets) = crate::predict::tests::problem(30, 5);
        let process = GaussianProcess::new(space.encoded_columns());
        let hyper = process.explain(&rows, &targets);
        let whole = process.factorise(hyper.clone(), rows.clone()).unwrap();
        let mut grown = process.factorise(hyper, Rows::new(rows.width())).unwrap();
        for row in rows.iter() {
            grown.push(row).unwrap();
        }
        let (_, asked, _) = crate::predict::tests::problem(10, 6);
        let both = [&whole, &grown].map(|factor| factor.predict(&factor.solve(&targets), &asked));
        for (a, b) in both[0].iter().zip(&both[1]) {
            assert!((a.mean - b.mean).abs() < 1e-8 && (a.std - b.std).abs() < 1e-8, "{a:?} {b:?}");
        }
    }

    #[test]
    fn slopes_agree_with_finite_differences() {
        let process = process();
        let known = rows(&[[1.0, 0.0, 0.2], [0.0, 1.0, 0.5], [1.0, 0.0, 0.9], [0.0, 0.0, 0.4]]);
        let mut distances = Vec::new();
        for i in 0..4 {
            for j in 0..i {
                distances.extend(process.distances(known.row(i), known.row(j)));
            }
        }
        let y = Mat::from_fn(4, 1, |i, _| [0.5, -1.0, 1.2, -0.3][i]);
        let at = |shift: [f64; 4]| {
            let h = hyper();
            let moved = Hyper {
                weights: vec![h.weights[0] * shift[0].exp(), h.weights[1] * shift[1].exp()],
                scale: h.scale * shift[2].exp(),
                noise: h.noise * shift[3].exp(),
            };
            process.likelihood(&moved, &distances, &y).unwrap()
        };
        let slopes = at([0.0; 4]).1;
        for i in 0..4 {
            let mut shift = [0.0; 4];
            shift[i] = 1e-5;
            let up = at(shift).0;
            shift[i] = -1e-5;
            let estimate = (up - at(shift).0) / 2e-5;
            assert!((slopes[i] - estimate).abs() < 1e-6, "{i}: {} against {estimate}", slopes[i]);
        }
    }

    #[test]
    fn a_decision_without_effect_gets_a_small_weight() {
        let (space, rows, _) = crate::predict::tests::problem(80, 3);
        let targets: Vec<f64> = rows.iter().map(|row| row[0] - row[1]).collect();
        let scale = Scale::of(&targets);
        let standard: Vec<f64> = targets.iter().map(|&y| scale.apply(y)).collect();
        let hyper = GaussianProcess::new(space.encoded_columns()).explain(&rows, &standard);
        assert!(hyper.weights[1..].iter().all(|w| *w < 0.5 * hyper.weights[0]), "{hyper:?}");
    }
}
