//! When a run ends.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::trial::{Direction, Goals, Outcome, Score};

/// The conditions that end a run; the first that holds does. Trials of earlier runs and of other processes count.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// So many finished trials, pruned and failed ones included.
    pub trials: Option<u64>,
    /// So many seconds from the start of this run; trials that run then are finished.
    pub timeout_s: Option<f64>,
    /// One feasible complete trial as good as this in each of these objectives.
    pub target: Vec<(String, f64)>,
    /// So many finished trials in a row that brought nothing new to the front (of one objective: the best).
    pub plateau: Option<u64>,
    /// Sums of metrics over all trials, such as hours of a GPU; the first to be reached ends the run.
    pub budget: Vec<(String, f64)>,
}

impl Stop {
    /// After so many finished trials.
    #[must_use]
    pub fn after(trials: u64) -> Self {
        Stop { trials: Some(trials), ..Stop::default() }
    }

    /// # Errors
    /// [`Error::Study`] for a condition that is out of range, for none at all, and for targets that are no objectives.
    pub(super) fn check(&self, goals: &Goals) -> Result<()> {
        let refuse = |message: String| Err(Error::Study(message));
        if self.trials == Some(0) {
            return refuse(
                "trials is 0; expected 1 or more, the number of finished trials wanted in the study in all"
                    .into(),
            );
        }
        if let Some(seconds) = self.timeout_s.filter(|seconds| seconds.is_nan() || *seconds <= 0.0) {
            return refuse(format!(
                "timeout_s is {seconds}; expected more than 0 seconds, or None for no limit"
            ));
        }
        if self.plateau == Some(0) {
            return refuse("plateau is 0; expected 1 or more, a number of trials without improvement".into());
        }
        for (metric, target) in &self.target {
            if goals.objectives().iter().all(|objective| objective.metric != *metric) {
                return refuse(format!("target '{metric}' is none of the objectives"));
            }
            if target.is_nan() {
                return refuse(format!("target '{metric}' is nan; expected a number"));
            }
        }
        for (metric, limit) in &self.budget {
            if limit.is_nan() || *limit <= 0.0 {
                return refuse(format!("budget '{metric}' is {limit}; expected more than 0"));
            }
        }
        Ok(())
    }

    /// When the time is up for a run that starts now; `None` also for times beyond what a [`Duration`] can hold.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timeout = Duration::try_from_secs_f64(self.timeout_s?).ok()?;
        Instant::now().checked_add(timeout)
    }

    /// Whether a [`Watch`] is needed.
    pub(super) fn watches(&self) -> bool {
        !self.target.is_empty() || self.plateau.is_some() || !self.budget.is_empty()
    }

    /// Which condition on what was told holds.
    pub(super) fn reached(&self, goals: &Goals, watch: &Watch) -> Option<Stopped> {
        let hit = |score: &Score| {
            score.violation == 0.0
                && self.target.iter().all(|(metric, target)| {
                    goals.objectives().iter().zip(&score.losses).any(|(objective, loss)| {
                        let target = match objective.direction {
                            Direction::Minimize => *target,
                            Direction::Maximize => -target,
                        };
                        objective.metric == *metric && *loss <= target
                    })
                })
        };
        if !self.target.is_empty() && watch.front.iter().any(hit) {
            Some(Stopped::Target)
        } else if self.plateau.is_some_and(|plateau| watch.since_improvement >= plateau) {
            Some(Stopped::Plateau)
        } else if self.budget.iter().zip(&watch.spent).any(|((_, limit), (_, spent))| spent >= limit) {
            Some(Stopped::Budget)
        } else {
            None
        }
    }
}

/// What conditions look at: kept along by the books, since a look back at every trial would cost more with each.
#[derive(Debug)]
pub(super) struct Watch {
    front: Vec<Score>,
    since_improvement: u64,
    spent: Vec<(usize, f64)>,
}

impl Watch {
    /// With the sums of these columns.
    pub(super) fn new(columns: &[usize]) -> Self {
        let spent = columns.iter().map(|&column| (column, 0.0)).collect();
        Watch { front: Vec::new(), since_improvement: 0, spent }
    }

    pub(super) fn see(&mut self, goals: &Goals, outcome: &Outcome) {
        self.since_improvement += 1;
        let (Outcome::Complete(measurement) | Outcome::Pruned(measurement)) = outcome else { return };
        for (column, sum) in &mut self.spent {
            *sum += measurement.values.get(*column).copied().filter(|value| value.is_finite()).unwrap_or(0.0);
        }
        if let Outcome::Pruned(_) = outcome {
            return;
        }
        let score = goals.score(measurement);
        if self.front.iter().all(|member| member.dominance(&score).is_none_or(std::cmp::Ordering::is_gt)) {
            self.front.retain(|member| !score.dominates(member));
            self.front.push(score);
            self.since_improvement = 0;
        }
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The study holds the wanted number of finished trials.
    Trials,
    /// The time was up.
    Timeout,
    /// The algorithm has no more points to propose.
    Exhausted,
    /// A trial is as good as was wanted.
    Target,
    /// Nothing new came for a while.
    Plateau,
    /// The budget of a metric is spent.
    Budget,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Constraint, Measurement, Objective};

    fn goals() -> Goals {
        let objective = |metric: &str, direction| Objective { metric: metric.into(), direction };
        Goals::new(
            vec![objective("accuracy", Direction::Maximize), objective("ms", Direction::Minimize)],
            vec![Constraint { metric: "macs".into(), low: None, high: Some(10.0) }],
        )
        .unwrap()
    }

    #[test]
    fn conditions_are_checked() {
        let refusal = |stop: Stop| stop.check(&goals()).unwrap_err().to_string();
        assert_eq!(
            refusal(Stop::after(0)),
            "trials is 0; expected 1 or more, the number of finished trials wanted in the study in all"
        );
        assert_eq!(
            refusal(Stop { timeout_s: Some(-1.0), ..Stop::default() }),
            "timeout_s is -1; expected more than 0 seconds, or None for no limit"
        );
        assert!(Stop { timeout_s: Some(f64::NAN), ..Stop::default() }.check(&goals()).is_err());
        assert!(Stop { timeout_s: Some(1e300), ..Stop::default() }.deadline().is_none());
        assert_eq!(
            refusal(Stop { target: vec![("macs".into(), 1.0)], ..Stop::default() }),
            "target 'macs' is none of the objectives"
        );
        assert_eq!(
            refusal(Stop { budget: vec![("gpu_h".into(), 0.0)], ..Stop::default() }),
            "budget 'gpu_h' is 0; expected more than 0"
        );
    }

    #[test]
    fn the_front_says_what_is_new_and_what_is_reached() {
        let mut watch = Watch::new(&[2]);
        let target = Stop { target: vec![("accuracy".into(), 0.9)], ..Stop::default() };
        let plateau = Stop { plateau: Some(2), ..Stop::default() };
        let budget = Stop { budget: vec![("macs".into(), 60.0)], ..Stop::default() };
        let mut see = |values: [f64; 3]| {
            watch.see(&goals(), &Outcome::Complete(Measurement { values: values.into() }));
            [&target, &plateau, &budget].map(|stop| stop.reached(&goals(), &watch))
        };
        assert_eq!(see([0.95, 1.0, 50.0]), [None; 3], "not feasible");
        assert_eq!(see([0.5, 5.0, 5.0]), [None; 3]);
        assert_eq!(see([0.4, 4.0, 0.0]), [None; 3], "neither dominates");
        assert_eq!(see([0.4, 4.0, 0.0]), [None; 3], "the same again is nothing new");
        assert_eq!(see([0.3, 9.0, 0.0]), [None, Some(Stopped::Plateau), None]);
        assert_eq!(see([0.9, 9.0, 5.0]), [Some(Stopped::Target), None, Some(Stopped::Budget)]);
    }
}
