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
}
