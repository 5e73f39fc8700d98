//! Observers: who looks on while a study runs.

use super::Study;
use crate::error::Result;
use crate::trial::Trial;

/// Called by [`Study::optimize`]; an error from here ends the run and is what it returns.
pub trait Observer: Sync {
    /// Called at least every tenth of a second between evaluations, by the thread that called `optimize`. The place
    /// to look for Ctrl-C.
    fn poll(&self) -> Result<()> {
        Ok(())
    }

    /// Trials were recorded, and are durable if the study has a file. Called by the worker that evaluated them.
    fn told(&self, _study: &Study, _trials: &[Trial]) -> Result<()> {
        Ok(())
    }
}

/// Looks away.
pub struct Quiet;

impl Observer for Quiet {}
