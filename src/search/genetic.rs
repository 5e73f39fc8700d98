//! The genetic algorithm by generations: selection, crossover, mutation, all replaced but the elite.
//!
//! Holland 1975, "Adaptation in Natural and Artificial Systems"; Goldberg 1989, "Genetic Algorithms in Search,
//! Optimization and Machine Learning", chapter 3. Parents are drawn from the last generation, sorted best first, by
//! tournament (Goldberg and Deb 1991) or truncation; children come from crossover and mutation; the `elite` best live
//! on (De Jong 1975).
//!
//! Deviations: one child a mating; a child that equals a parent is changed in one decision, since it would repeat an
//! evaluation; infeasible individuals rank behind feasible ones; with several objectives the order is that of NSGA-II,
//! but without its elitism: prefer `nsga2` there. Fitness-proportional selection is left out: it is not invariant to
//! adding a constant to the objective; a tournament of 2 has the expectation of linear ranking. Defaults: population
//! 100, crossover rate 0.9 and mutation rate 1 / decisions as in Deb et al. 2002; tournaments of 3 and one elite are
//! ours. An ask costs O(sample + decisions), a tell O(log population) amortised; memory is two populations.

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

/// The genetic algorithm by generations (Holland 1975; Goldberg 1989): selection, crossover and mutation, after which
/// all but an elite are replaced.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Genetic {
    /// Individuals of a generation, and random trials at the start; 2 or more.
    pub population: usize,
    /// How many of the best live on unchanged, below `population`.
    pub elite: usize,
    /// How parents are drawn: "tournament" (the best of `sample` draws) or "truncation" (any of the `sample` best).
    pub selection: Selection,
    /// Size of the tournament, or number of the best that may become parents; 1 or more.
    pub sample: usize,
    /// How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other decisions
    /// from either parent).
    pub crossover: Crossover,
    /// The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
    pub crossover_rate: f64,
    /// The chance of each active decision to change, 0 to 1; None: one over the number of active decisions.
    pub mutation_rate: Option<f64>,
}

impl Default for Genetic {
    fn default() -> Self {
        Genetic {
            population: 100,
            elite: 1,
            selection: Selection::Tournament,
            sample: 3,
            crossover: Crossover::Uniform,
            crossover_rate: 0.9,
            mutation_rate: None,
        }
    }
}

impl Settings for Genetic {
    const NAME: &'static str = "genetic";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Genetic { population, elite, selection, sample, crossover, crossover_rate, mutation_rate } = self;
        require(population >= 2, Self::NAME, || format!("population is {population}, expected 2 or more"))?;
        require(elite < population, Self::NAME, || {
            format!("elite is {elite}, expected less than the population of {population}")
        })?;
        require(sample >= 1, Self::NAME, || format!("sample is {sample}, expected 1 or more"))?;
        let variation = Variation { crossover, crossover_rate, mutation_rate };
        variation.check(Self::NAME)?;
        Ok(Box::new(Generational::new(population, selection, sample, variation, Elite(elite))))
    }
}

/// Survival of the offspring and so many of the best parents.
struct Elite(usize);

impl Survival for Elite {
    fn survive(
        &mut self,
        mut parents: Vec<Individual>,
        offspring: Vec<Individual>,
        keep: usize,
        _: &mut Rng,
    ) -> Vec<Individual> {
        parents.truncate(self.0);
        parents.extend(offspring);
        let scores: Vec<&Score> = parents.iter().map(|individual| &individual.score).collect();
        let order = crowded_order(&scores, keep);
        take(parents, order)
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, gain_over_random, grid, mean_best, numeric};
    use super::*;

    #[test]
    fn it_climbs_where_random_search_does_not() {
        for selection in [Selection::Tournament, Selection::Truncation] {
            let settings = Genetic { population: 20, selection, ..Genetic::default() };
            let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
            assert!(gain > 8.0, "{gain} with {settings:?}");
        }
    }

    #[test]
    fn numbers_are_blended_and_refined() {
        let settings = Genetic { population: 20, crossover: Crossover::Sbx, ..Genetic::default() };
        let loss = |point: &crate::space::Point| (point.reals()[0] - 1.234).abs();
        let found = mean_best(&settings, &numeric(), loss, 600);
        assert!(found < 2e-3, "{found}");
    }

    #[test]
    fn the_elite_lives_on() {
        let score = |x: f64| Score { violation: 0.0, losses: [x].into() };
        let individual = |id: u64, x| {
            let point = grid(1, 9).sample(0, id);
            Individual { id, point, score: score(x) }
        };
        let parents = vec![individual(0, 0.0), individual(1, 1.0)];
        let offspring = vec![individual(2, 3.0), individual(3, 2.0)];
        let next = Elite(1).survive(parents, offspring, 2, &mut crate::rng::stream(0, 0, "test"));
        assert_eq!(next.iter().map(|one| one.id).collect::<Vec<_>>(), [0, 3]);
    }
}
