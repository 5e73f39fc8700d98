//! Regularized evolution for several objectives: the loneliest of a tournament's front becomes the parent.
//!
//! Regularized evolution (Real et al. 2018, arXiv 1802.01548, algorithm 1) whose tournament is decided by non-domination
//! and then by crowding distance (Deb et al. 2002, DOI 10.1109/4235.996017, section III-C), as the multi-objective
//! variants of NAS libraries do (syne-tune's MO-REA ranks by non-dominated sorting). The oldest dies.
//!
//! Against `regularized_evolution`, which draws any of the front of its tournament, the distance spreads the parents
//! over the front. Deviations: ranks are taken within the tournament, not over the population, so a trial costs
//! O(sample x front of the sample) and not a sort of everybody. Defaults: population 100 and sample 25 as in Real et
//! al. Memory is `population` points.

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ageing::Ageing;
use super::individual::Individual;
use super::operators::select;
use super::{SearchAlgorithm, Settings};
use crate::error::Result;
use crate::rng::Rng;
use crate::space::SearchSpace;
use crate::trial::{Goals, crowding};

/// Regularized evolution for several objectives (Real et al. 2018, arXiv 1802.01548): mutates the loneliest
/// non-dominated trial of a tournament among the last `population` ones.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MoRegularizedEvolution {
    /// Number of trials kept, and of random trials at the start; 1 or more.
    pub population: usize,
    /// Size of the tournament; 1 (a random parent) or more.
    pub sample: usize,
}

impl Default for MoRegularizedEvolution {
    fn default() -> Self {
        MoRegularizedEvolution { population: 100, sample: 25 }
    }
}

impl Settings for MoRegularizedEvolution {
    const NAME: &'static str = "mo_regularized_evolution";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let elect = move |alive: &[Individual], rng: &mut Rng| loneliest(alive, self.sample, rng);
        Ok(Box::new(Ageing::new(Self::NAME, self.population, self.sample, elect)?))
    }
}

/// The least crowded of the non-dominated ones of a tournament.
fn loneliest(alive: &[Individual], sample: usize, rng: &mut Rng) -> usize {
    let mut front = Vec::with_capacity(sample);
    for _ in 0..sample {
        let one = rng.random_range(0..alive.len());
        // One drawn twice would crowd itself.
        if !front.contains(&one) {
            select::enter(|i| &alive[i].score, &mut front, one);
        }
    }
    let losses: Vec<&[f64]> = front.iter().map(|&i| &*alive[i].score.losses).collect();
    let distances = crowding(&losses);
    // Of equally lonely ones (both ends of the front) any.
    let most = distances.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lonely = || (0..front.len()).filter(|&at| distances[at] >= most);
    let pick = rng.random_range(0..lonely().count().max(1));
    lonely().nth(pick).map_or(0, |at| front[at])
}

#[cfg(test)]
mod tests {
    use super::super::Random;
    use super::super::conformance::{digit_loss, gain_over_random, grid, mean_hypervolume, two_losses};
    use super::*;

    #[test]
    fn its_front_dominates_more_than_random_search() {
        let space = grid(16, 4);
        let settings = MoRegularizedEvolution { population: 30, sample: 10 };
        let found = mean_hypervolume(&settings, &space, two_losses, 600);
        let random = mean_hypervolume(&Random {}, &space, two_losses, 600);
        assert!(found > random + 0.1, "{found} against {random}");
    }

    #[test]
    fn with_one_objective_it_climbs() {
        let settings = MoRegularizedEvolution { population: 20, sample: 5 };
        let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
        assert!(gain > 8.0, "{gain}");
    }
}
