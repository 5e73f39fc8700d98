//! Regularized (ageing) evolution: tournament selection, one mutation, the oldest dies.
//!
//! Real, Aggarwal, Huang and Le 2018, "Regularized Evolution for Image Classifier Architecture Search", arXiv
//! 1802.01548, algorithm 1. The first `population` trials are random; then each trial mutates the winner of a
//! tournament of `sample` draws with replacement from the last `population` completed trials.
//!
//! Deviations: failed and pruned trials do not enter the population (the paper has none); infeasible trials lose
//! against feasible ones (Deb et al. 2002); with several objectives the tournament's winner is drawn from its
//! non-dominated ones; asks in parallel do not wait for the generation. Defaults: population 100 and sample 25 are
//! the paper's for CIFAR-10 (its section "Experiment Setup"). An ask costs O(sample + decisions), the memory is
//! `population` points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ageing::Ageing;
use super::individual::Individual;
use super::operators::select;
use super::{SearchAlgorithm, Settings};
use crate::error::Result;
use crate::rng::Rng;
use crate::space::SearchSpace;
use crate::trial::Goals;

/// Regularized (ageing) evolution (Real et al. 2018, arXiv 1802.01548): mutates the winner of a tournament among the
/// last `population` trials; the oldest is forgotten.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegularizedEvolution {
    /// Number of trials kept, and of random trials at the start; 1 or more.
    pub population: usize,
    /// Size of the tournament; 1 (a random parent) or more.
    pub sample: usize,
}

impl Default for RegularizedEvolution {
    fn default() -> Self {
        RegularizedEvolution { population: 100, sample: 25 }
    }
}

impl Settings for RegularizedEvolution {
    const NAME: &'static str = "regularized_evolution";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let elect = move |alive: &[Individual], keys: &[i128], rng: &mut Rng| {
            if keys.is_empty() {
                select::tournament(|i| &alive[i].score, alive.len(), self.sample, rng)
            } else {
                select::tournament_of_keys(keys, self.sample, rng)
            }
        };
        Ok(Box::new(Ageing::new(Self::NAME, self.population, self.sample, elect)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Context;
    use super::*;
    use crate::space::{Decision, Domain, Label};
    use crate::trial::{Direction, Measurement, Objective, Outcome, Trial};

    /// Best value after `trials` on "sum of eight digits 0..=9", which evolution climbs and random search does not.
    fn best_sum(settings: RegularizedEvolution, trials: u64, seed: u64) -> f64 {
        let space = SearchSpace::new(
            (0..8)
                .map(|i| {
                    Decision::new(format!("d{i}"), Domain::Categorical((0..10).map(Label::Int).collect()))
                })
                .collect(),
        )
        .unwrap();
        let goals =
            Goals::new(vec![Objective { metric: "sum".into(), direction: Direction::Maximize }], vec![])
                .unwrap();
        let mut algorithm = settings.build(&space, &goals).unwrap();
        let mut best = f64::NEG_INFINITY;
        for next in 0..trials {
            let cx = Context { space: &space, goals: &goals, seed, next, running: &[], feasible: None };
            let proposal = algorithm.ask(&cx, 1).unwrap().remove(0);
            let sum: f64 = proposal.point.codes().iter().map(|&c| f64::from(c)).sum();
            best = best.max(sum);
            let outcome = Some(Outcome::Complete(Measurement { values: [sum].into() }));
            let trial =
                Trial { id: next, point: proposal.point, fidelity: proposal.fidelity, parent: None, outcome };
            algorithm.tell(&cx, &[trial]).unwrap();
        }
        best
    }

    #[test]
    fn it_climbs_where_random_search_does_not() {
        let evolution: f64 =
            (0..5).map(|s| best_sum(RegularizedEvolution { population: 20, sample: 5 }, 400, s)).sum();
        let random: f64 =
            (0..5).map(|s| best_sum(RegularizedEvolution { population: 400, sample: 5 }, 400, s)).sum();
        assert!(evolution / 5.0 > 65.0, "{evolution}");
        assert!(evolution > random, "{evolution} against {random}");
    }
}
