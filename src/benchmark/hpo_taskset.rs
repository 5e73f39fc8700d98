//! TaskSet: eight hyper-parameters of Adam, 1,000 settings trained on twelve text tasks, with learning curves.
//!
//! Metz et al. 2020, "Using a thousand optimization tasks to learn hyperparameter search strategies", arXiv 2002.11887,
//! in the selection of Wistuba, Kadra and Grabocka 2022 (DyHPO, arXiv 2202.09774). The space is continuous; a point has
//! the values of the nearest recorded setting (Euclidean in the unit cube of the space), as is usual for recorded
//! hyper-parameter tables. The fidelities are the steps of the curve. "test_loss" is known of a full training only. A
//! training that diverged is refused.

use super::{Answers, Benchmark, Metric, Refusal};
use crate::error::{Error, Result};
use crate::space::{Decision, Domain, Point, SearchSpace};
use crate::trial::Fidelity;

/// The arrays of one task.
pub struct TaskSet<'a> {
    /// The names of the hyper-parameters.
    pub names: &'a [String],
    /// One row a setting, one column a hyper-parameter.
    pub settings: &'a [f64],
    /// One row a setting, one column a recorded step, the first one before training; NaN where it diverged.
    pub valid_loss: &'a [f64],
    /// One value a setting, at the end.
    pub test_loss: &'a [f64],
}

struct Curves {
    space: SearchSpace,
    /// Settings in the unit cube.
    places: Vec<Box<[f64]>>,
    valid_loss: Vec<Box<[f64]>>,
    test_loss: Vec<f64>,
}

/// The benchmark of one task.
///
/// # Errors
/// [`Error::Evaluation`] for arrays that do not fit each other.
pub fn hpo_taskset(task: TaskSet<'_>) -> Result<Benchmark> {
    let TaskSet { names, settings, valid_loss, test_loss } = task;
    let n = test_loss.len();
    let (width, steps) = (names.len(), valid_loss.len() / n.max(1));
    if n == 0 || settings.len() != n * width || valid_loss.len() != n * steps || steps < 2 {
        return Err(Error::Evaluation(format!(
            "the TaskSet table has {n} test losses, {} hyper-parameter values and {} validation losses; expected {width} \
             and at least 2 for each test loss",
            settings.len(),
            valid_loss.len()
        )));
    }
    let column = |i: usize| settings.iter().skip(i).step_by(width).copied();
    let decisions = names.iter().enumerate().map(|(i, name)| {
        let (low, high) =
            (column(i).fold(f64::INFINITY, f64::min), column(i).fold(f64::NEG_INFINITY, f64::max));
        // The moments' decay rates lie near 1 on a linear scale; everything else was drawn on a log scale.
        Decision::new(name, Domain::Real { low, high, log: low > 0.0 && !name.starts_with("beta") })
    });
    let space = SearchSpace::new(decisions.collect())?;
    let place = |row: &[f64]| row.iter().zip(space.decisions()).map(|(&x, d)| d.domain.to_unit(x)).collect();
    let places = settings.chunks_exact(width).map(place).collect();
    let last = steps - 1;
    let best =
        |values: &mut dyn Iterator<Item = f64>| values.filter(|x| x.is_finite()).fold(f64::NAN, f64::min);
    let optimum = vec![
        best(&mut valid_loss.iter().skip(last).step_by(steps).copied()),
        best(&mut test_loss.iter().copied()),
    ];
    let fidelities = (1..=last).map(|step| step as f64 / last as f64).collect();
    let curves = Curves {
        space: space.clone(),
        places,
        valid_loss: valid_loss.chunks_exact(steps).map(Into::into).collect(),
        test_loss: test_loss.to_vec(),
    };
    let metrics = vec![Metric::min("valid_loss"), Metric::min("test_loss")];
    Ok(Benchmark::new("hpo_taskset", space, metrics, (0, 1), optimum, fidelities, Box::new(curves)))
}

impl Curves {
    fn nearest(&self, point: &Point) -> usize {
        let units: Vec<f64> =
            point.reals().iter().zip(self.space.decisions()).map(|(&x, d)| d.domain.to_unit(x)).collect();
        let distance =
            |row: usize| self.places[row].iter().zip(&units).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        (0..self.places.len())
            .map(|row| (distance(row), row))
            .fold((f64::INFINITY, 0), |a, b| if b.0 < a.0 { b } else { a })
            .1
    }
}

impl Answers for Curves {
    fn answer(
        &self,
        point: &Point,
        fidelity: Fidelity,
        columns: &[usize],
        values: &mut [f64],
    ) -> std::result::Result<(), Refusal> {
        let row = self.nearest(point);
        let last = self.valid_loss[row].len() - 1;
        let step = match fidelity {
            Fidelity::Full => last,
            Fidelity::Partial(fraction) => ((fraction * last as f64 + 1e-9) as usize).clamp(1, last),
        };
        let loss = self.valid_loss[row][step];
        if loss.is_nan() {
            return Err("the recorded training diverged");
        }
        for (value, &column) in values.iter_mut().zip(columns) {
            *value = match column {
                0 => loss,
                _ if step == last => self.test_loss[row],
                _ => f64::NAN,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_setting_answers_with_its_curve() {
        let names = ["learning_rate", "beta1"].map(String::from);
        let nan = f64::NAN;
        let benchmark = hpo_taskset(TaskSet {
            names: &names,
            settings: &[1e-4, 0.1, 1e-2, 0.9, 1e-1, 0.9],
            valid_loss: &[9.0, 5.0, 4.0, 9.0, 3.0, 2.0, 9.0, 8.0, nan],
            test_loss: &[4.5, 2.5, nan],
        })
        .unwrap();
        let query = |lr: f64, beta: f64, fidelity| {
            let point = Point::new([0, 0], [lr, beta]);
            benchmark.space().check(&point).unwrap();
            benchmark.query(&point, fidelity)
        };
        assert_eq!(benchmark.fidelities(), [0.5, 1.0]);
        assert_eq!(query(2e-4, 0.2, Fidelity::Full).unwrap(), [4.0, 4.5]);
        assert_eq!(query(8e-3, 0.8, Fidelity::Partial(0.6)).unwrap()[0], 3.0);
        assert!(query(8e-3, 0.8, Fidelity::Partial(0.1)).unwrap()[1].is_nan());
        assert_eq!(query(1e-1, 0.9, Fidelity::Full).unwrap_err(), "the recorded training diverged");
        assert_eq!(benchmark.optimum(), [2.0, 2.5]);
        let none = TaskSet { names: &names, settings: &[], valid_loss: &[], test_loss: &[] };
        assert!(hpo_taskset(none).err().unwrap().to_string().contains("0 test losses"));
    }
}
