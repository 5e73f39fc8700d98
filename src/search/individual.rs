//! What the evolutionary algorithms keep of a told trial.

use crate::space::Point;
use crate::trial::{Goals, Score, Trial, TrialId};

/// A completed trial with its score.
#[derive(Clone, Debug)]
pub(crate) struct Individual {
    pub(crate) id: TrialId,
    pub(crate) point: Point,
    pub(crate) score: Score,
}

impl Individual {
    /// `None` for a trial that failed or was pruned.
    pub(crate) fn of(trial: &Trial, goals: &Goals) -> Option<Self> {
        let score = goals.score(trial.measurement()?);
        Some(Individual { id: trial.id, point: trial.point.clone(), score })
    }

    /// The individual of another trial, in the memory of this one; false, and nothing is changed, for a trial that
    /// failed or was pruned.
    pub(crate) fn become_of(&mut self, trial: &Trial, goals: &Goals) -> bool {
        let Some(measurement) = trial.measurement() else { return false };
        self.id = trial.id;
        self.point.clone_from(&trial.point);
        goals.score_into(measurement, &mut self.score);
        true
    }

    /// Puts a child in the place of its target, as differential evolution does: if there is none yet, or if the child is
    /// no worse.
    pub(crate) fn compete(self, target: &mut Option<Individual>) {
        if target
            .as_ref()
            .is_none_or(|target| self.score == target.score || self.score.dominates(&target.score))
        {
            *target = Some(self);
        }
    }
}
