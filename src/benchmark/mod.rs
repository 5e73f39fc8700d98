//! Benchmarks: evaluators that know every answer.
//!
//! A benchmark is a space, the metrics it knows of every point, which of them a search is after and which one is
//! reported of what it found, and the answers. Published tables are one file each (copy `nasbench_macro.rs`): it turns
//! arrays as they lie in the published file into a [`Table`]; closed forms are in `synthetic.rs`. [`replay()`] runs
//! algorithms on a benchmark over many seeds. The room knows no file format but one (`tfrecord.rs`): Python reads the
//! rest with NumPy. It arrows to evaluate, space, trial and search.

mod cell;
mod dense;
mod hpo_taskset;
mod nasbench101;
mod nasbench201;
mod nasbench_graph;
mod nasbench_macro;
mod replay;
mod synthetic;
mod table;
pub mod tfrecord;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use rayon::prelude::*;

pub use cell::{Cell, MAX_EDGES, MAX_VERTICES};
pub use hpo_taskset::{TaskSet, hpo_taskset};
pub use nasbench_graph::{Graph, nasbench_graph};
pub use nasbench_macro::nasbench_macro;
pub use nasbench101::{cell_of, nasbench101, nasbench101_space};
pub use nasbench201::nasbench201;
pub use replay::{Curves, Replay, replay};
pub use synthetic::synthetic;
pub use table::{Column, Table};

use crate::error::{Error, Result, suggest};
use crate::evaluate::Evaluator;
use crate::space::{Point, SearchSpace};
use crate::trial::{Direction, Fidelity, Goals, Measurement, Objective, Outcome, Trial};

/// A metric that a benchmark knows of every point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Which way it is better.
    pub direction: Direction,
}

impl Metric {
    /// A metric to be maximised.
    pub fn max(name: impl Into<String>) -> Self {
        Metric { name: name.into(), direction: Direction::Maximize }
    }

    /// A metric to be minimised.
    pub fn min(name: impl Into<String>) -> Self {
        Metric { name: name.into(), direction: Direction::Minimize }
    }

    /// The better of two values; NaN is worse than any.
    #[must_use]
    pub fn better(&self, a: f64, b: f64) -> f64 {
        match self.direction {
            Direction::Maximize => a.max(b),
            Direction::Minimize => a.min(b),
        }
    }
}

/// Why a benchmark has no answer for a point.
pub type Refusal = &'static str;

/// Where the answers come from.
pub trait Answers: Send + Sync {
    /// Writes the metrics with these numbers to `values`, in that order; NaN: not known.
    ///
    /// # Errors
    /// A [`Refusal`] for a point that the benchmark rejects.
    fn answer(
        &self,
        point: &Point,
        fidelity: Fidelity,
        columns: &[usize],
        values: &mut [f64],
    ) -> std::result::Result<(), Refusal>;

    /// What equal architectures have in common, other than their point.
    fn identity(&self, point: &Point) -> u64 {
        let mut hasher = DefaultHasher::new();
        point.hash(&mut hasher);
        hasher.finish()
    }

    /// One value for each of many points of a space without reals whose codes nobody has checked; `false`: not done, or
    /// some are no point, and the values mean nothing. A table can check while it looks up.
    fn answer_unchecked(
        &self,
        _codes: &[i32],
        _fidelity: Fidelity,
        _columns: &[usize],
        _values: &mut [f64],
    ) -> bool {
        false
    }

    /// [`Answers::answer`] for many points of a space without reals: `width` codes and one value a metric for each, NaN
    /// where the benchmark refuses.
    fn answer_all(
        &self,
        codes: &[i32],
        width: usize,
        fidelity: Fidelity,
        columns: &[usize],
        values: &mut [f64],
    ) {
        let mut point = Point::new([], []);
        for (codes, values) in codes.chunks_exact(width).zip(values.chunks_exact_mut(columns.len())) {
            point.set_codes(codes);
            if self.answer(&point, fidelity, columns, values).is_err() {
                values.fill(f64::NAN);
            }
        }
    }
}

/// An evaluator that knows every answer.
pub struct Benchmark {
    name: String,
    space: Arc<SearchSpace>,
    metrics: Vec<Metric>,
    names: Vec<String>,
    all: Vec<usize>,
    objective: usize,
    reported: usize,
    optimum: Vec<f64>,
    fidelities: Vec<f64>,
    answers: Box<dyn Answers>,
}

impl Benchmark {
    /// A benchmark whose search is after the metric number `objective`, and whose success is number `reported`.
    ///
    /// `optimum` has the best value of each metric over the space, NaN where nobody knows; `fidelities` are the
    /// fractions of a full evaluation that have answers of their own, ascending, the last one 1.
    pub fn new(
        name: impl Into<String>,
        space: SearchSpace,
        metrics: Vec<Metric>,
        (objective, reported): (usize, usize),
        optimum: Vec<f64>,
        fidelities: Vec<f64>,
        answers: Box<dyn Answers>,
    ) -> Self {
        Benchmark {
            name: name.into(),
            space: Arc::new(space),
            names: metrics.iter().map(|metric| metric.name.clone()).collect(),
            all: (0..metrics.len()).collect(),
            metrics,
            objective,
            reported,
            optimum,
            fidelities,
            answers,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its space.
    #[must_use]
    pub fn space(&self) -> &Arc<SearchSpace> {
        &self.space
    }

    /// What it knows of every point.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The number of the metric that a search on it is after.
    #[must_use]
    pub fn objective(&self) -> usize {
        self.objective
    }

    /// The number of the metric by which a search on it is judged.
    #[must_use]
    pub fn reported(&self) -> usize {
        self.reported
    }

    /// The best value of each metric over the space; NaN where nobody knows.
    #[must_use]
    pub fn optimum(&self) -> &[f64] {
        &self.optimum
    }

    /// The fractions of a full evaluation that have answers of their own, ascending.
    #[must_use]
    pub fn fidelities(&self) -> &[f64] {
        &self.fidelities
    }

    /// What a search on it is after.
    pub fn goals(&self) -> Result<Goals> {
        let Metric { name, direction } = self.metrics[self.objective].clone();
        Goals::new(vec![Objective { metric: name, direction }], vec![])
    }

    /// All metrics of a point.
    ///
    /// # Errors
    /// A [`Refusal`] for a point that the benchmark rejects.
    pub fn query(&self, point: &Point, fidelity: Fidelity) -> std::result::Result<Vec<f64>, Refusal> {
        let mut values = vec![f64::NAN; self.all.len()];
        self.answers.answer(point, fidelity, &self.all, &mut values)?;
        Ok(values)
    }

    /// The number of the metric of this name.
    ///
    /// # Errors
    /// [`Error::Evaluation`] with near matches.
    pub fn column(&self, metric: &str) -> Result<usize> {
        self.names.iter().position(|name| name == metric).ok_or_else(|| {
            let known = self.names.iter().map(String::as_str);
            let suggestion = suggest(metric, known);
            Error::Evaluation(format!("benchmark '{}' has no metric '{metric}'{suggestion}", self.name))
        })
    }

    /// The evaluator that measures these metrics, and the objective and the reported one besides.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for a metric that it does not know.
    pub fn measuring(&self, metrics: &[String]) -> Result<Measured<'_>> {
        let mut columns = metrics.iter().map(|metric| self.column(metric)).collect::<Result<Vec<_>>>()?;
        for column in [self.objective, self.reported] {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let names = columns.iter().map(|&column| self.names[column].clone()).collect();
        Ok(Measured { benchmark: self, columns, names })
    }

    /// Some metrics of a point, without an allocation.
    ///
    /// # Errors
    /// A [`Refusal`] for a point that the benchmark rejects.
    pub fn answer(
        &self,
        point: &Point,
        fidelity: Fidelity,
        columns: &[usize],
        values: &mut [f64],
    ) -> std::result::Result<(), Refusal> {
        self.answers.answer(point, fidelity, columns, values)
    }

    /// A number that points of the same architecture share, as isomorphic cells do.
    #[must_use]
    pub fn identity(&self, point: &Point) -> u64 {
        self.answers.identity(point)
    }
}

impl Benchmark {
    /// Some metrics of many points of a space without reals, by all threads: a row of codes and a row of values for
    /// each, NaN where the benchmark refuses.
    ///
    /// # Errors
    /// [`Error::Space`] for codes that are no point of the space.
    pub fn answer_all(&self, codes: &[i32], fidelity: Fidelity, columns: &[usize]) -> Result<Vec<f64>> {
        const PIECE: usize = 1 << 15;
        let (width, wanted) = (self.space.len().max(1), columns.len().max(1));
        let mut values = vec![f64::NAN; codes.len() / width * wanted];
        if columns.is_empty() {
            return Ok(values);
        }
        let piece = |(codes, values): (&[i32], &mut [f64])| {
            if !self.answers.answer_unchecked(codes, fidelity, columns, values) {
                self.space.check_codes(codes)?;
                self.answers.answer_all(codes, width, fidelity, columns, values);
            }
            Ok(())
        };
        // Few are not worth waking another thread.
        let checked = if codes.len() <= PIECE * width {
            piece((codes, &mut values))
        } else {
            let pieces = codes.par_chunks(PIECE * width).zip(values.par_chunks_mut(PIECE * wanted));
            pieces.try_for_each(piece)
        };
        // All are checked again where some are wrong, so that the error counts rows from the first.
        checked.or_else(|error| self.space.check_codes(codes).and(Err(error)))?;
        Ok(values)
    }
}

impl Evaluator for Benchmark {
    fn evaluate(&self, batch: &[Trial]) -> Result<Vec<Outcome>> {
        let outcome = |trial: &Trial| match self.query(&trial.point, trial.fidelity) {
            Ok(values) => Outcome::Complete(Measurement { values: values.into() }),
            Err(refusal) => Outcome::Failed(refusal.to_string()),
        };
        Ok(batch.iter().map(outcome).collect())
    }

    fn metrics(&self) -> Option<&[String]> {
        Some(&self.names)
    }
}

/// A benchmark that measures some of its metrics only, which is what a study needs to remember of it.
pub struct Measured<'a> {
    benchmark: &'a Benchmark,
    columns: Vec<usize>,
    names: Vec<String>,
}

impl Evaluator for Measured<'_> {
    fn evaluate(&self, batch: &[Trial]) -> Result<Vec<Outcome>> {
        let outcome = |trial: &Trial| {
            let mut values = vec![f64::NAN; self.columns.len()].into_boxed_slice();
            match self.benchmark.answer(&trial.point, trial.fidelity, &self.columns, &mut values) {
                Ok(()) => Outcome::Complete(Measurement { values }),
                Err(refusal) => Outcome::Failed(refusal.to_string()),
            }
        };
        Ok(batch.iter().map(outcome).collect())
    }

    fn metrics(&self) -> Option<&[String]> {
        Some(&self.names)
    }
}

/// Ten decisions of four values whose validation accuracy is the number of "right" ones: a benchmark for tests.
#[cfg(test)]
pub(crate) fn digits() -> Benchmark {
    use crate::space::{Decision, Domain, Label};

    struct Digits;
    impl Answers for Digits {
        fn answer(
            &self,
            point: &Point,
            _: Fidelity,
            columns: &[usize],
            values: &mut [f64],
        ) -> std::result::Result<(), Refusal> {
            let right = point.codes().iter().filter(|&&code| code == 3).count() as f64;
            for (value, &column) in values.iter_mut().zip(columns) {
                *value = right + column as f64;
            }
            if point.codes()[0] == 0 { Err("it starts with 0") } else { Ok(()) }
        }
    }
    let domain = Domain::Categorical((0..4).map(Label::Int).collect());
    let space = SearchSpace::new((0..10).map(|i| Decision::new(format!("d{i}"), domain.clone())).collect());
    let metrics = vec![Metric::max("valid_accuracy"), Metric::max("test_accuracy")];
    Benchmark::new("digits", space.unwrap(), metrics, (0, 1), vec![10.0, 11.0], vec![1.0], Box::new(Digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_evaluator_that_fails_what_it_refuses() {
        let benchmark = digits();
        let trial = |first: i32| Trial {
            id: 0,
            point: Point::new([first, 3, 3, 0, 0, 0, 0, 0, 0, 0], []),
            fidelity: Fidelity::Full,
            parent: None,
            outcome: None,
        };
        let outcomes = benchmark.evaluate(&[trial(1), trial(0)]).unwrap();
        assert_eq!(outcomes[0], Outcome::Complete(Measurement { values: [2.0, 3.0].into() }));
        assert_eq!(outcomes[1], Outcome::Failed("it starts with 0".into()));
        assert_eq!(Evaluator::metrics(&benchmark).unwrap(), ["valid_accuracy", "test_accuracy"]);
        assert_eq!(benchmark.goals().unwrap().metrics(), ["valid_accuracy"]);
        let measured = benchmark.measuring(&["test_accuracy".into()]).unwrap();
        assert_eq!(Evaluator::metrics(&measured).unwrap(), ["test_accuracy", "valid_accuracy"]);
        let outcomes = measured.evaluate(&[trial(1)]).unwrap();
        assert_eq!(outcomes, [Outcome::Complete(Measurement { values: [3.0, 2.0].into() })]);
        let message = benchmark.measuring(&["accuracy".into()]).err().unwrap().to_string();
        assert_eq!(message, "benchmark 'digits' has no metric 'accuracy'; did you mean 'test_accuracy'?");
    }
}
