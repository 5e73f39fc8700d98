//! Evaluation (the paper's η): from a trial to its metrics.
//!
//! An evaluator knows how to measure a point; it knows no search algorithm, no file and no loop. One evaluator is one
//! file here (closed-form costs, tables) or in Python (everything that trains). A closure is an evaluator too.

pub mod rank;

use std::time::Duration;

use crate::error::Result;
use crate::trial::{Outcome, Trial, TrialId};

/// Measures trials. `Sync`, because several workers may measure at once.
pub trait Evaluator: Sync {
    /// One outcome a trial, in the same order.
    ///
    /// # Errors
    /// An error ends the run; a trial that merely failed is [`Outcome::Failed`].
    fn evaluate(&self, batch: &[Trial]) -> Result<Vec<Outcome>>;

    /// The names of the columns of its measurements; `None`: the columns of the study.
    fn metrics(&self) -> Option<&[String]> {
        None
    }
}

/// Has trials measured elsewhere, by workers that come and go: other processes, a cluster. Called from one thread.
pub trait RemoteEvaluator: Sync {
    /// How many trials the workers that are there now can hold at once.
    ///
    /// # Errors
    /// If there will be no workers any more.
    fn capacity(&self) -> Result<usize>;

    /// Hands trials out and returns at once.
    ///
    /// # Errors
    /// An error ends the run.
    fn submit(&self, trials: &[Trial]) -> Result<()>;

    /// What has come back, once each; waits for up to `patience` if nothing has.
    ///
    /// # Errors
    /// An error ends the run; a trial whose worker died is [`Outcome::Failed`], or is tried again and comes back later.
    fn collect(&self, patience: Duration) -> Result<Vec<(TrialId, Outcome)>>;
}

impl<F> Evaluator for F
where
    F: Fn(&Trial) -> Result<Outcome> + Sync,
{
    fn evaluate(&self, batch: &[Trial]) -> Result<Vec<Outcome>> {
        batch.iter().map(self).collect()
    }
}
