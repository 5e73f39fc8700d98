//! NSGA-II: the fast elitist genetic algorithm for several objectives.
//!
//! Deb, Pratap, Agarwal and Meyarivan 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", DOI
//! 10.1109/4235.996017. Parents are drawn by binary tournaments in the crowded comparison (non-domination rank, then
//! crowding distance; section III-C), children come from crossover and mutation, and the best `population` of parents
//! and offspring together live on (section III-C, figure 2). Constraints enter by constrained domination (section VI-A).
//!
//! Deviations: one child a mating, so that a proposal depends on its own number only; ties of rank and distance go to
//! the earlier trial instead of a coin; a child that equals a parent is changed in one decision, since NAS spaces are
//! discrete and the paper's real-coded children never repeat; generations do not wait for stragglers (see
//! `generational.rs`). Defaults: population 100, crossover rate 0.9, mutation rate 1 / decisions, distribution indices
//! 20 are the paper's (section V); numbers are blended by SBX, categories exchanged uniformly. An ask costs
//! O(decisions), a tell O(log population) amortised with two objectives; memory is two populations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generational::{Generational, Survival, take};
use super::individual::Individual;
use super::operators::Variation;
use super::operators::cross::Crossover;
use super::operators::select::Selection;
use super::{SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::Rng;
use crate::space::SearchSpace;
use crate::trial::{Goals, Score, crowded_order};

/// NSGA-II (Deb et al. 2002, DOI 10.1109/4235.996017): a genetic algorithm for two or three objectives that keeps the
/// non-dominated and, among them, the lonely. With one objective it is a plain elitist genetic algorithm.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nsga2 {
    /// Trials of a generation, and random trials at the start; 2 or more.
    pub population: usize,
    /// How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other decisions
    /// from either parent).
    pub crossover: Crossover,
    /// The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
    pub crossover_rate: f64,
    /// The chance of each active decision to change, 0 to 1; None: one over the number of active decisions.
    pub mutation_rate: Option<f64>,
}

impl Default for Nsga2 {
    fn default() -> Self {
        Nsga2 { population: 100, crossover: Crossover::Sbx, crossover_rate: 0.9, mutation_rate: None }
    }
}

impl Settings for Nsga2 {
    const NAME: &'static str = "nsga2";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Nsga2 { population, crossover, crossover_rate, mutation_rate } = self;
        require(population >= 2, Self::NAME, || format!("population is {population}, expected 2 or more"))?;
        let variation = Variation { crossover, crossover_rate, mutation_rate };
        variation.check(Self::NAME)?;
        Ok(Box::new(Generational::new(population, Selection::Tournament, 2, variation, Crowded)))
    }
}

/// Survival of the best in the crowded comparison.
struct Crowded;

impl Survival for Crowded {
    fn survive(
        &mut self,
        mut parents: Vec<Individual>,
        offspring: Vec<Individual>,
        keep: usize,
        _: &mut Rng,
    ) -> Vec<Individual> {
        parents.extend(offspring);
        let scores: Vec<&Score> = parents.iter().map(|individual| &individual.score).collect();
        let order = crowded_order(&scores, keep);
        take(parents, order)
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, gain_over_random, grid, mean_hypervolume, two_losses};
    use super::super::{Random, RegularizedEvolution};
    use super::*;

    #[test]
    fn its_front_dominates_more_than_that_of_others() {
        let space = grid(16, 4);
        let nsga2 = mean_hypervolume(&Nsga2 { population: 20, ..Nsga2::default() }, &space, two_losses, 600);
        let evolution = RegularizedEvolution { population: 20, sample: 5 };
        let evolution = mean_hypervolume(&evolution, &space, two_losses, 600);
        let random = mean_hypervolume(&Random {}, &space, two_losses, 600);
        assert!(nsga2 > evolution && nsga2 > random + 0.1, "{nsga2} {evolution} {random}");
    }

    #[test]
    fn with_one_objective_it_climbs() {
        let settings = Nsga2 { population: 20, ..Nsga2::default() };
        let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
        assert!(gain > 8.0, "{gain}");
    }
}
