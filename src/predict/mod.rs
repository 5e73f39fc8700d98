//! Surrogates: what a point will score, guessed from the points that were scored.
//!
//! The room knows of a space only how it is encoded: rows of numbers, and which columns belong together. It knows no
//! trials, no goals and no search; what a target means is the caller's affair. One surrogate is one file (copy
//! `linear.rs`): a struct of settings with [`Surrogate::fit`], and what it has learnt behind [`Fitted`].
//!
//! A fit is a function of rows, targets and generator, on any number of threads.

pub mod boosting;
pub mod by_rank;
pub mod ensemble;
pub mod forest;
pub mod gaussian_process;
pub mod linear;
pub mod mlp;
pub mod normal;
mod tree;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use boosting::Boosting;
pub use by_rank::ByRank;
pub use ensemble::Ensemble;
pub use forest::Forest;
pub use gaussian_process::GaussianProcess;
pub use linear::Linear;
pub use mlp::Mlp;

use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::space::{Columns, Point, SearchSpace};

/// Encoded points, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    width: usize,
    len: usize,
    cells: Vec<f64>,
}

impl Rows {
    /// No rows yet, of this many columns.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Rows { width, len: 0, cells: Vec::new() }
    }

    /// The rows of these points.
    pub fn of<'a>(space: &SearchSpace, points: impl IntoIterator<Item = &'a Point>) -> Self {
        let mut rows = Rows::new(space.encoded_width());
        for point in points {
            space.encode(point, &mut rows.cells);
            rows.len += 1;
        }
        rows
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`Error::Evaluation`] if it has another width.
    pub fn push(&mut self, row: &[f64]) -> Result<()> {
        if row.len() != self.width {
            return Err(Error::Evaluation(format!(
                "a row has {} columns, the others have {}; encode all points by one space",
                row.len(),
                self.width
            )));
        }
        self.cells.extend_from_slice(row);
        self.len += 1;
        Ok(())
    }

    /// The number of columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One row.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f64] {
        &self.cells[i * self.width..(i + 1) * self.width]
    }

    /// All rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        (0..self.len).map(|i| self.row(i))
    }
}

/// What a surrogate expects of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The expected target.
    pub mean: f64,
    /// The standard deviation of that belief.
    pub std: f64,
}

/// A way to learn targets from rows.
pub trait Surrogate: Send + Sync {
    /// What these targets of these rows teach.
    ///
    /// # Errors
    /// [`Error::Evaluation`] without a row, with a target that is not finite, or if there are not as many of both.
    fn fit(&self, rows: &Rows, targets: &[f64], rng: &mut Rng) -> Result<Box<dyn Fitted>>;
}

/// What a surrogate has learnt.
pub trait Fitted: Send + Sync {
    /// One prediction a row, which must be as wide as those learnt from.
    ///
    /// # Errors
    /// Whatever a model from outside this room reports; those in it report nothing.
    fn predict(&self, rows: &Rows) -> Result<Vec<Prediction>>;
}

/// The surrogates with their default settings, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// Gaussian process: best on few trials, cubic in their number, honest uncertainty.
    Gp,
    /// Random forest: robust, quick.
    Forest,
    /// Gradient-boosted trees: robust, good ranks on many trials.
    Boosting,
    /// A small ensemble of neural networks.
    Mlp,
    /// Ridge regression: quickest, no interactions between decisions.
    Linear,
    /// Gaussian process, forest and boosting together.
    Ensemble,
}

impl Model {
    /// The surrogate for targets of any distribution: it learns their ranks (see [`ByRank`]).
    #[must_use]
    pub fn by_rank(self, space: &SearchSpace) -> ByRank {
        ByRank::new(self.surrogate(space))
    }

    /// The bare surrogate for the points of one space, best on targets that are about normally distributed.
    #[must_use]
    pub fn surrogate(self, space: &SearchSpace) -> Box<dyn Surrogate> {
        self.of_columns(space.encoded_columns())
    }

    /// The same for rows of any encoding.
    #[must_use]
    pub fn of_columns(self, columns: Vec<Columns>) -> Box<dyn Surrogate> {
        match self {
            Model::Gp => Box::new(GaussianProcess::new(columns)),
            Model::Forest => Box::new(Forest::default()),
            Model::Boosting => Box::new(Boosting::default()),
            Model::Mlp => Box::new(Mlp::default()),
            Model::Linear => Box::new(Linear::default()),
            Model::Ensemble => Box::new(Ensemble::new(
                [Model::Gp, Model::Forest, Model::Boosting]
                    .map(|model| model.of_columns(columns.clone()))
                    .into(),
            )),
        }
    }
}

/// Checks what every surrogate demands of what it learns from.
fn check(rows: &Rows, targets: &[f64]) -> Result<()> {
    if rows.len() != targets.len() || targets.is_empty() {
        return Err(Error::Evaluation(format!(
            "a surrogate is given {} rows and {} targets; expected as many of both, at least one",
            rows.len(),
            targets.len()
        )));
    }
    match targets.iter().position(|target| !target.is_finite()) {
        Some(i) => {
            Err(Error::Evaluation(format!("target {i} is {}; a surrogate needs finite ones", targets[i])))
        }
        None => Ok(()),
    }
}

/// Shift and scale that give numbers mean 0 and standard deviation 1 (1 where they are all equal).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) mean: f64,
    pub(crate) std: f64,
}

impl Scale {
    pub(crate) fn of(values: &[f64]) -> Self {
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n).sqrt();
        Scale { mean, std: if std > 1e-12 * (1.0 + mean.abs()) { std } else { 1.0 } }
    }

    pub(crate) fn apply(self, value: f64) -> f64 {
        (value - self.mean) / self.std
    }

    pub(crate) fn undo(self, prediction: Prediction) -> Prediction {
        Prediction { mean: self.mean + self.std * prediction.mean, std: self.std * prediction.std }
    }
}

/// Mean and spread of several beliefs about the same thing, by the law of total variance.
fn mixture(beliefs: impl ExactSizeIterator<Item = Prediction>) -> Prediction {
    let n = beliefs.len() as f64;
    let (mut mean, mut second) = (0.0, 0.0);
    for belief in beliefs {
        mean += belief.mean / n;
        second += (belief.std.powi(2) + belief.mean.powi(2)) / n;
    }
    Prediction { mean, std: (second - mean * mean).max(0.0).sqrt() }
}

#[cfg(test)]
pub(crate) mod tests {
    use rand::Rng as _;

    use super::*;
    use crate::rng::stream;
    use crate::space::{Decision, Domain, Label};

    pub(crate) const MODELS: [Model; 6] =
        [Model::Gp, Model::Forest, Model::Boosting, Model::Mlp, Model::Linear, Model::Ensemble];

    /// Four categories and two numbers, with a target that needs both.
    pub(crate) fn problem(n: u64, seed: u64) -> (SearchSpace, Rows, Vec<f64>) {
        let mut decisions: Vec<Decision> = (0..4)
            .map(|i| Decision::new(format!("c{i}"), Domain::Categorical((0..4).map(Label::Int).collect())))
            .collect();
        decisions.push(Decision::new("x", Domain::Real { low: -1.0, high: 1.0, log: false }));
        decisions.push(Decision::new("n", Domain::Integer { low: 0, high: 9, step: 1 }));
        let space = SearchSpace::new(decisions).unwrap();
        let points: Vec<Point> = (0..n).map(|i| space.sample(seed, i)).collect();
        let targets = points
            .iter()
            .map(|p| {
                let categories: f64 = p.codes()[..4].iter().map(|&c| [0.0, 0.3, 1.0, 0.5][c as usize]).sum();
                10.0 + categories + p.reals()[0].powi(2) + 0.1 * f64::from(p.codes()[5])
            })
            .collect();
        let rows = Rows::of(&space, &points);
        (space, rows, targets)
    }

    pub(crate) fn kendall(a: &[f64], b: &[f64]) -> f64 {
        let mut sum = 0.0;
        for i in 0..a.len() {
            for j in 0..i {
                sum += ((a[i] - a[j]) * (b[i] - b[j])).signum();
            }
        }
        sum / (a.len() * (a.len() - 1) / 2) as f64
    }

    #[test]
    fn every_surrogate_ranks_what_it_has_not_seen() {
        let (space, rows, targets) = problem(150, 0);
        let (_, unseen, truth) = problem(100, 1);
        for model in MODELS {
            let by_rank: Box<dyn Surrogate> = Box::new(model.by_rank(&space));
            for surrogate in [model.surrogate(&space), by_rank] {
                let fitted = surrogate.fit(&rows, &targets, &mut stream(0, 0, "fit")).unwrap();
                let found: Vec<f64> = fitted.predict(&unseen).unwrap().iter().map(|p| p.mean).collect();
                let tau = kendall(&found, &truth);
                assert!(tau > 0.6, "{model:?}: {tau}");
            }
        }
    }

    #[test]
    fn a_fit_is_a_function_of_its_generator_and_bears_any_targets() {
        let (space, rows, targets) = problem(20, 0);
        for model in MODELS {
            let surrogate = model.surrogate(&space);
            let predict = |targets: &[f64]| {
                surrogate.fit(&rows, targets, &mut stream(3, 1, "fit")).unwrap().predict(&rows).unwrap()
            };
            assert_eq!(predict(&targets), predict(&targets), "{model:?}");
            for constant in [0.0, -1e9, 1e-9] {
                for p in predict(&[constant; 20]) {
                    let near = (p.mean - constant).abs() <= 1e-4 * (1.0 + constant.abs());
                    assert!(near && p.std.is_finite() && p.std >= 0.0, "{model:?}: {p:?} for {constant}");
                }
            }
            let wild: Vec<f64> = (0..20).map(|i| stream(1, i, "wild").random_range(-1e12..1e12)).collect();
            assert!(predict(&wild).iter().all(|p| p.mean.is_finite() && p.std.is_finite()), "{model:?}");
        }
    }

    #[test]
    fn one_row_is_enough_and_none_is_an_error() {
        let (space, rows, targets) = problem(1, 0);
        for model in MODELS {
            let surrogate = model.surrogate(&space);
            let fitted = surrogate.fit(&rows, &targets, &mut stream(0, 0, "fit")).unwrap();
            assert!((fitted.predict(&rows).unwrap()[0].mean - targets[0]).abs() < 1e-6, "{model:?}");
            let none = surrogate.fit(&Rows::new(rows.width()), &[], &mut stream(0, 0, "fit"));
            assert_eq!(
                none.err().unwrap().to_string(),
                "a surrogate is given 0 rows and 0 targets; expected as many of both, at least one"
            );
            let error = surrogate.fit(&rows, &[f64::NAN], &mut stream(0, 0, "fit")).err().unwrap();
            assert_eq!(error.to_string(), "target 0 is NaN; a surrogate needs finite ones");
        }
    }
}
