//! A trial: one evaluated point, and what "better" means.
//!
//! Records and pure functions of them; no loop, no memory, no randomness. Objectives of either direction are compared
//! as *losses* (smaller is better), constraints as a *violation* (0 is feasible).

mod hypervolume;
mod pareto;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

pub use hypervolume::{feasible_hypervolume, hypervolume};
pub use pareto::{by_rank, constrained_ranks, crowded_order, crowding, dominates, front, ranks};

use crate::error::{Error, Result};
use crate::space::Point;

/// The number of a trial in its study, from 0.
pub type TrialId = u64;

/// Which way an objective is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Smaller is better.
    #[serde(rename = "min")]
    Minimize,
    /// Larger is better.
    #[serde(rename = "max")]
    Maximize,
}

/// A metric to be minimised or maximised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// The name of the metric.
    pub metric: String,
    /// Which way it is better.
    pub direction: Direction,
}

impl Objective {
    /// A value of the metric, turned so that smaller is better.
    fn loss(&self, value: f64) -> f64 {
        match self.direction {
            // -NaN would be the least number of the total order; + 0.0 turns -0.0 into 0.0, which ties with it.
            _ if value.is_nan() => f64::NAN,
            Direction::Minimize => value + 0.0,
            Direction::Maximize => -value + 0.0,
        }
    }
}

/// A metric that must lie within bounds, both included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    /// The name of the metric.
    pub metric: String,
    /// The smallest feasible value.
    pub low: Option<f64>,
    /// The largest feasible value.
    pub high: Option<f64>,
}

impl Constraint {
    /// How far a value is out of bounds, relative to the bound; infinite for NaN.
    fn overshoot(&self, value: f64) -> f64 {
        let over = |bound: f64, over: f64| {
            if over.is_nan() {
                f64::INFINITY
            } else if over > 0.0 {
                over / if bound == 0.0 { 1.0 } else { bound.abs() }
            } else {
                0.0
            }
        };
        self.low.map_or(0.0, |low| over(low, low - value))
            + self.high.map_or(0.0, |high| over(high, value - high))
    }
}

/// How much of an evaluation is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Fidelity {
    /// All of it.
    #[default]
    Full,
    /// This fraction of all of it, above 0 and below 1; the evaluator knows of what (epochs, steps, data).
    Partial(f64),
}

/// What an algorithm wants evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Where.
    pub point: Point,
    /// How thoroughly.
    pub fidelity: Fidelity,
    /// The trial whose weights the evaluator may inherit.
    pub parent: Option<TrialId>,
}

impl Proposal {
    /// A full evaluation of a point from scratch.
    #[must_use]
    pub fn new(point: Point) -> Self {
        Proposal { point, fidelity: Fidelity::Full, parent: None }
    }
}

/// The metrics of one evaluation: the columns of [`Goals::metrics`] first, further ones after; NaN: not measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// One value a metric.
    pub values: Box<[f64]>,
}

/// How an evaluation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With all metrics.
    Complete(Measurement),
    /// Early, on purpose, with what was measured so far.
    Pruned(Measurement),
    /// Without a result, for this reason.
    Failed(String),
}

/// One evaluated point of a study; `outcome` is `None` while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its number.
    pub id: TrialId,
    /// The point.
    pub point: Point,
    /// How thoroughly it is evaluated.
    pub fidelity: Fidelity,
    /// The trial whose weights it inherits.
    pub parent: Option<TrialId>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

impl Trial {
    /// The measurement of a complete trial.
    #[must_use]
    pub fn measurement(&self) -> Option<&Measurement> {
        match &self.outcome {
            Some(Outcome::Complete(measurement)) => Some(measurement),
            _ => None,
        }
    }
}

/// What a study is after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goals {
    objectives: Vec<Objective>,
    constraints: Vec<Constraint>,
    /// Names of objectives and constrained metrics; the column order of every [`Measurement`].
    #[serde(skip)]
    metrics: Vec<String>,
    #[serde(skip)]
    constraint_columns: Vec<usize>,
}

impl Goals {
    /// These objectives under these constraints.
    ///
    /// # Errors
    /// [`Error::Study`] without an objective, for a metric given twice, or for empty bounds.
    pub fn new(objectives: Vec<Objective>, constraints: Vec<Constraint>) -> Result<Self> {
        if objectives.is_empty() {
            return Err(Error::Study(
                "no objectives given; give at least one, such as {\"accuracy\": \"max\"}".into(),
            ));
        }
        let mut metrics: Vec<String> = Vec::new();
        for objective in &objectives {
            if metrics.contains(&objective.metric) {
                return Err(Error::Study(format!("objective '{}' is given twice", objective.metric)));
            }
            metrics.push(objective.metric.clone());
        }
        let mut constraint_columns = Vec::new();
        for constraint in &constraints {
            let Constraint { metric, low, high } = constraint;
            if low.is_none() && high.is_none() {
                return Err(Error::Study(format!(
                    "constraint '{metric}' has neither a low nor a high bound; give (low, high), None for an open side"
                )));
            }
            if low.is_some_and(f64::is_nan)
                || high.is_some_and(f64::is_nan)
                || low.zip(*high).is_some_and(|(l, h)| l > h)
            {
                let text =
                    |bound: &Option<f64>| bound.map_or("None".to_string(), |bound| format!("{bound:?}"));
                return Err(Error::Study(format!(
                    "constraint '{metric}' is ({}, {}); expected (low, high) with low <= high",
                    text(low),
                    text(high)
                )));
            }
            let column = metrics.iter().position(|m| m == metric).unwrap_or_else(|| {
                metrics.push(metric.clone());
                metrics.len() - 1
            });
            constraint_columns.push(column);
        }
        Ok(Goals { objectives, constraints, metrics, constraint_columns })
    }

    /// The objectives.
    #[must_use]
    pub fn objectives(&self) -> &[Objective] {
        &self.objectives
    }

    /// The constraints.
    #[must_use]
    pub fn constraints(&self) -> &[Constraint] {
        &self.constraints
    }

    /// The metrics that every complete trial must have, objectives first.
    #[must_use]
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// The objectives of a measurement, turned so that smaller is better; NaN stays the worst.
    #[must_use]
    pub fn losses(&self, measurement: &Measurement) -> Box<[f64]> {
        self.objectives
            .iter()
            .zip(&measurement.values)
            .map(|(objective, &value)| objective.loss(value))
            .collect()
    }

    /// [`Goals::score`], written over a score of the same goals.
    pub fn score_into(&self, measurement: &Measurement, score: &mut Score) {
        if score.losses.len() == self.objectives.len() && measurement.values.len() >= self.objectives.len() {
            score.violation = self.violation(measurement);
            for ((loss, objective), &value) in
                score.losses.iter_mut().zip(&self.objectives).zip(&measurement.values)
            {
                *loss = objective.loss(value);
            }
        } else {
            *score = self.score(measurement);
        }
    }

    /// How far a measurement is from feasible: the sum of each constraint's overshoot relative to its bound.
    #[must_use]
    pub fn violation(&self, measurement: &Measurement) -> f64 {
        self.constraints
            .iter()
            .zip(&self.constraint_columns)
            .map(|(constraint, &column)| {
                constraint.overshoot(measurement.values.get(column).copied().unwrap_or(f64::NAN))
            })
            .sum()
    }

    /// The score by some metrics alone (column and value), for comparing trials of which the same metrics are known:
    /// losses of those objectives, overshoot of those constraints. A loss that is NaN counts as infinite.
    #[must_use]
    pub fn partial_score(&self, known: &[(usize, f64)]) -> Score {
        let loss = |&(column, value): &(usize, f64)| {
            let loss = self.objectives.get(column)?.loss(value);
            Some(if loss.is_nan() { f64::INFINITY } else { loss })
        };
        let overshoot = |(constraint, column): (&Constraint, &usize)| {
            let (_, value) = known.iter().find(|(one, _)| one == column)?;
            Some(constraint.overshoot(*value))
        };
        Score {
            violation: self.constraints.iter().zip(&self.constraint_columns).filter_map(overshoot).sum(),
            losses: known.iter().filter_map(loss).collect(),
        }
    }

    /// Both at once, which is all that an algorithm needs to compare trials.
    #[must_use]
    pub fn score(&self, measurement: &Measurement) -> Score {
        Score { violation: self.violation(measurement), losses: self.losses(measurement) }
    }
}

/// A measurement as algorithms see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Distance from the feasible set; 0 inside.
    pub violation: f64,
    /// One loss an objective; smaller is better.
    pub losses: Box<[f64]>,
}

impl Score {
    /// Feasible first, then less violation, then the first objective, then the further ones. Total.
    #[must_use]
    pub fn compare(&self, other: &Score) -> Ordering {
        self.violation.total_cmp(&other.violation).then_with(|| {
            self.losses
                .iter()
                .zip(&other.losses)
                .map(|(a, b)| a.total_cmp(b))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    }

    /// A number that orders scores of one objective as [`Score::compare`] does.
    #[must_use]
    #[inline]
    pub fn key(&self) -> i128 {
        let loss = self.losses.first().copied().unwrap_or_default();
        // The lower half is unsigned: flipping the sign bit keeps the order.
        let low = pareto::ordered(loss) as u64 ^ (1 << 63);
        i128::from(pareto::ordered(self.violation)) << 64 | i128::from(low)
    }

    /// Constrained domination (Deb et al. 2002, section VI-A): a feasible one beats an infeasible one, of two
    /// infeasible ones the nearer wins, two feasible ones are compared by Pareto domination.
    #[must_use]
    pub fn dominates(&self, other: &Score) -> bool {
        self.dominance(other) == Some(Ordering::Less)
    }

    /// Less if this score dominates the other, greater if the other dominates this one, equal if nothing tells them
    /// apart, `None` if each is better in something.
    #[must_use]
    pub fn dominance(&self, other: &Score) -> Option<Ordering> {
        if self.violation > 0.0 || other.violation > 0.0 {
            return Some(self.violation.total_cmp(&other.violation));
        }
        let mut sofar = Ordering::Equal;
        for (a, b) in self.losses.iter().zip(&other.losses) {
            let here = a.total_cmp(b);
            if here != Ordering::Equal {
                if sofar == here.reverse() {
                    return None;
                }
                sofar = here;
            }
        }
        Some(sofar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goals() -> Goals {
        let objective = |metric: &str, direction| Objective { metric: metric.into(), direction };
        Goals::new(
            vec![objective("accuracy", Direction::Maximize), objective("latency_ms", Direction::Minimize)],
            vec![
                Constraint { metric: "macs".into(), low: None, high: Some(100.0) },
                Constraint { metric: "accuracy".into(), low: Some(0.5), high: None },
            ],
        )
        .unwrap()
    }

    fn measured(values: [f64; 3]) -> Measurement {
        Measurement { values: values.into() }
    }

    #[test]
    fn losses_turn_maximised_objectives_round() {
        let goals = goals();
        assert_eq!(goals.metrics(), ["accuracy", "latency_ms", "macs"]);
        assert_eq!(*goals.losses(&measured([0.9, 3.0, 50.0])), [-0.9, 3.0]);
        assert!(goals.losses(&measured([f64::NAN, 3.0, 50.0]))[0].is_sign_positive());
        assert!(goals.losses(&measured([0.0, -0.0, 50.0])).iter().all(|loss| loss.is_sign_positive()));
    }

    #[test]
    fn violations_are_relative_and_nan_is_infinite() {
        let goals = goals();
        assert_eq!(goals.violation(&measured([0.9, 3.0, 100.0])), 0.0);
        assert!((goals.violation(&measured([0.25, 3.0, 150.0])) - 1.0).abs() < 1e-12);
        assert_eq!(goals.violation(&measured([0.9, 3.0, f64::NAN])), f64::INFINITY);
    }

    #[test]
    fn feasibility_comes_first() {
        let goals = goals();
        let good = goals.score(&measured([0.6, 9.0, 100.0]));
        let fast_but_large = goals.score(&measured([0.9, 1.0, 101.0]));
        assert!(good.dominates(&fast_but_large) && !fast_but_large.dominates(&good));
        assert_eq!(good.compare(&fast_but_large), Ordering::Less);
    }

    #[test]
    fn bounds_are_checked() {
        let objective = Objective { metric: "a".into(), direction: Direction::Minimize };
        let bounds = |low, high| {
            Goals::new(vec![objective.clone()], vec![Constraint { metric: "m".into(), low, high }])
                .unwrap_err()
                .to_string()
        };
        assert!(bounds(None, None).starts_with("constraint 'm' has neither"));
        assert!(bounds(Some(2.0), Some(1.0)).starts_with("constraint 'm' is (2.0, 1.0); expected"));
        assert!(Goals::new(vec![], vec![]).is_err());
        assert!(Goals::new(vec![objective.clone(), objective], vec![]).is_err());
    }
}
