//! Hyperband: successive halving from every starting fidelity in turn, against noise of low fidelities.
//!
//! Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar 2018, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
//! Optimization", arXiv 1603.06560, algorithm 1. Bracket s starts ceil((s_max + 1) / (s + 1) eta^s) random points at
//! fidelity eta^-s; the brackets s_max to 0 follow one another for ever. The last bracket is random search.
//!
//! Deviations: those of successive halving. Defaults: eta 3 (section 3.6 of the paper) and a lowest fidelity of 1/27, so
//! four brackets of 27, 12, 6 and 4 points, 69 trials a round. Cost as in successive halving.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::brackets::Brackets;
use super::rungs::{MIN_FIDELITY, Rungs};
use super::successive_halving::Halving;
use super::{SearchAlgorithm, Settings};
use crate::error::Result;
use crate::space::SearchSpace;
use crate::trial::Goals;

/// Hyperband (Li et al. 2018, arXiv 1603.06560): successive halving from every starting fidelity in turn. For
/// evaluators that obey `fidelity`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperband {
    /// The least fraction of a full evaluation, above 0 and up to 1.
    pub min_fidelity: f64,
    /// One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
    pub eta: usize,
}

impl Default for Hyperband {
    fn default() -> Self {
        Hyperband { min_fidelity: MIN_FIDELITY, eta: 3 }
    }
}

impl Settings for Hyperband {
    const NAME: &'static str = "hyperband";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let rungs = Rungs::new(self.min_fidelity, self.eta, Self::NAME)?;
        let shapes = rungs.brackets();
        Ok(Box::new(Halving(Brackets::new(rungs, shapes))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, grid, search};
    use super::*;
    use crate::trial::Fidelity;

    #[test]
    fn a_round_has_the_trials_of_all_brackets() {
        let told = search(Hyperband::default(), &grid(8, 10), |p| vec![digit_loss(p)], 138, 0);
        let full =
            |trials: &[crate::trial::Trial]| trials.iter().filter(|t| t.fidelity == Fidelity::Full).count();
        assert_eq!((full(&told[..69]), full(&told[69..])), (1 + 1 + 2 + 4, 8));
        assert!(told[65..69].iter().all(|trial| trial.fidelity == Fidelity::Full && trial.parent.is_none()));
    }
}
