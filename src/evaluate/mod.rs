//! Evaluation (the paper's η): from a trial to its metrics.
//!
//! An evaluator knows how to measure a point; it knows no search algorithm, no file and no loop. One evaluator is one
//! file here (closed-form costs, tables) or in Python (everything that trains). A closure is an evaluator too.

pub mod rank;

use crate::error::Result;
use crate::trial::{Outcome, Trial};

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

impl<F> Evaluator for F
where
    F: Fn(&Trial) -> Result<Outcome> + Sync,
{
    fn evaluate(&self, batch: &[Trial]) -> Result<Vec<Outcome>> {
        batch.iter().map(self).collect()
    }
}
