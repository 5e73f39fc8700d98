//! Successive halving: many points get little, the best third of them three times as much, and so on.
//!
//! Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", arXiv
//! 1502.07943, figure 3. `candidates` random points are evaluated at `min_fidelity`, the best `1 / eta` of them at `eta`
//! times as much, until the last ones are evaluated fully; then it begins anew.
//!
//! Deviations: trials asked for while a rung is not complete begin the next run, so nobody waits; failed trials are not
//! promoted, and a rung with fewer completed trials than places promotes fewer; with several objectives a rung is ordered
//! by non-dominated rank, then by crowding distance. Defaults: eta 3 and four rungs, as usual since Hyperband. An ask
//! costs O(open runs + pending trials), a rung one sort; the memory is the points of the open runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::brackets::Brackets;
use super::rungs::{MIN_FIDELITY, Rungs};
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::space::SearchSpace;
use crate::trial::{Goals, Proposal, Trial};

/// Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): many points are evaluated a little, the best of
/// them more, the last ones fully. For evaluators that obey `fidelity`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessiveHalving {
    /// The least fraction of a full evaluation, above 0 and up to 1.
    pub min_fidelity: f64,
    /// One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
    pub eta: usize,
    /// Points at the lowest fidelity; 1 or more. None: as many as leave one for a full evaluation.
    pub candidates: Option<usize>,
}

impl Default for SuccessiveHalving {
    fn default() -> Self {
        SuccessiveHalving { min_fidelity: MIN_FIDELITY, eta: 3, candidates: None }
    }
}

impl Settings for SuccessiveHalving {
    const NAME: &'static str = "successive_halving";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let rungs = Rungs::new(self.min_fidelity, self.eta, Self::NAME)?;
        let candidates = self.candidates.unwrap_or(self.eta.pow(rungs.len() as u32 - 1));
        require(candidates >= 1, Self::NAME, || format!("candidates is {candidates}, expected 1 or more"))?;
        let sizes = rungs.sizes(candidates, 0);
        Ok(Box::new(Halving(Brackets::new(rungs, vec![(0, sizes)]))))
    }
}

/// Brackets filled with random points.
pub(super) struct Halving(pub(super) Brackets);

impl SearchAlgorithm for Halving {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        Ok(self.0.ask(cx, count, |i| cx.draw(&mut cx.rng(i))))
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            self.0.tell(cx, trial);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, grid, search};
    use super::*;
    use crate::trial::Fidelity;

    #[test]
    fn the_best_of_the_candidates_is_evaluated_fully() {
        let told = search(SuccessiveHalving::default(), &grid(8, 10), |p| vec![digit_loss(p)], 40, 0);
        let loss = |trial: &Trial| trial.measurement().unwrap().values[0];
        let full: Vec<&Trial> = told.iter().filter(|t| t.fidelity == Fidelity::Full).collect();
        assert_eq!(full.len(), 1);
        let best = told[..27].iter().map(loss).fold(f64::INFINITY, f64::min);
        assert_eq!(loss(full[0]), best);
    }

    #[test]
    fn fewer_candidates_stop_at_the_rung_that_one_reaches() {
        let settings = SuccessiveHalving { candidates: Some(3), ..SuccessiveHalving::default() };
        let told = search(settings, &grid(8, 10), |p| vec![digit_loss(p)], 8, 0);
        let rungs = Rungs::new(MIN_FIDELITY, 3, "x").unwrap();
        let climbed: Vec<usize> = told.iter().map(|t| rungs.rung(t.fidelity)).collect();
        assert_eq!(climbed, [0, 0, 0, 1, 0, 0, 0, 1]);
    }
}
