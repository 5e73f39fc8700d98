//! Steady-state evolution: a good parent, a child, and the worst dies.
//!
//! Real, Moore, Selle, Saxena, Suematsu, Tan, Le and Kurakin 2017, "Large-Scale Evolution of Image Classifiers", arXiv
//! 1703.01041, section 3.1, in the form that Real et al. 2018 (arXiv 1802.01548) compare with and call non-aging
//! evolution (NRE in the ModularNAS paper, Lin et al., MLSys 2021): the first `population` trials are random; then each
//! trial is a child of the winner of a tournament, and the worst of the population makes room for it.
//!
//! The original library's genetic optimizer is this algorithm with `selection="truncation"`, `sample=10`,
//! `crossover="uniform"`, `crossover_rate=1` and `mutation_rate=0.01`: parents are any of the ten best, a child takes
//! each decision from either, and each of its decisions changes with a chance of 1%.
//!
//! Deviations: the worst of all dies, not the loser of a pair, since nothing here needs the lock-free pairs of the 2017
//! paper's workers; of equals the oldest dies; failed and pruned trials do not enter; infeasible individuals are worse
//! than feasible ones; with several objectives parents come from the front of a tournament, and who dies is found by
//! random pairs as in the 2017 paper. The original never repeated a point; here a child only differs from its parents.
//! Defaults: population 100 and sample 25 as in Real et al. 2018; exactly one changed decision, no crossover. An ask
//! costs O(sample + decisions), a tell O(population) moves of a sorted list; memory is `population` points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::individual::Individual;
use super::operators::cross::Crossover;
use super::operators::select::{self, Selection};
use super::operators::{Variation, mutate};
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::{Rng, stream};
use crate::space::SearchSpace;
use crate::trial::{Goals, Proposal, Trial};

/// Steady-state evolution (Real et al. 2017, arXiv 1703.01041): a child of a good parent replaces the worst. With other
/// settings it is the genetic optimizer of the original ModularNAS.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Evolution {
    /// Individuals kept, and random trials at the start; 1 or more.
    pub population: usize,
    /// How parents are drawn: "tournament" (the best of `sample` draws) or "truncation" (any of the `sample` best).
    pub selection: Selection,
    /// Size of the tournament, or number of the best that may become parents; 1 or more.
    pub sample: usize,
    /// How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other decisions
    /// from either parent).
    pub crossover: Crossover,
    /// The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
    pub crossover_rate: f64,
    /// The chance of each active decision to change, 0 to 1; None: exactly one decision changes, or with crossover
    /// one in expectation.
    pub mutation_rate: Option<f64>,
}

impl Default for Evolution {
    fn default() -> Self {
        Evolution {
            population: 100,
            selection: Selection::Tournament,
            sample: 25,
            crossover: Crossover::Uniform,
            crossover_rate: 0.0,
            mutation_rate: None,
        }
    }
}

impl Settings for Evolution {
    const NAME: &'static str = "evolution";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Evolution { population, selection, sample, crossover, crossover_rate, mutation_rate } = self;
        require(population >= 1, Self::NAME, || format!("population is {population}, expected 1 or more"))?;
        require(sample >= 1, Self::NAME, || format!("sample is {sample}, expected 1 or more"))?;
        let variation = Variation { crossover, crossover_rate, mutation_rate };
        variation.check(Self::NAME)?;
        Ok(Box::new(WorstDies { population, selection, sample, variation, alive: Vec::new() }))
    }
}

struct WorstDies {
    population: usize,
    selection: Selection,
    sample: usize,
    variation: Variation,
    /// Best first; with several objectives newest last.
    alive: Vec<Individual>,
}

impl WorstDies {
    fn parent(&self, objectives: usize, rng: &mut Rng) -> &Individual {
        let n = self.alive.len();
        &self.alive[if objectives == 1 {
            self.selection.pick(n, self.sample, rng)
        } else {
            select::tournament(|i| &self.alive[i].score, n, self.sample, rng)
        }]
    }

    fn add(&mut self, individual: Individual, rng: &mut Rng) {
        if individual.score.losses.len() == 1 {
            // Before its equals, so that of equals the oldest is last and dies: drift on plateaus.
            let at = self.alive.partition_point(|other| other.score.compare(&individual.score).is_lt());
            self.alive.insert(at, individual);
            self.alive.truncate(self.population);
            return;
        }
        self.alive.push(individual);
        if self.alive.len() > self.population {
            let victim = select::loser(|i| &self.alive[i].score, self.alive.len(), self.sample, rng);
            self.alive.remove(victim);
        }
    }
}

impl SearchAlgorithm for WorstDies {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let objectives = cx.goals.objectives().len();
        let propose = |offset: usize| {
            let rng = &mut cx.rng(offset);
            let started = cx.next + offset as u64 >= self.population as u64;
            if !started || self.alive.is_empty() {
                return Proposal::new(cx.draw(rng));
            }
            let parent = self.parent(objectives, rng);
            let point = if self.variation.crossover_rate == 0.0 && self.variation.mutation_rate.is_none() {
                mutate::one_decision(cx.space, &parent.point, rng)
            } else {
                let mate = self.parent(objectives, rng);
                self.variation.child(cx.space, &parent.point, &mate.point, rng)
            };
            Proposal { parent: Some(parent.id), ..Proposal::new(point) }
        };
        Ok((0..count).map(propose).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            if let Some(individual) = Individual::of(trial, cx.goals) {
                self.add(individual, &mut stream(cx.seed, trial.id, "death"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, gain_over_random, grid, one_loss};
    use super::*;

    #[test]
    fn it_climbs_where_random_search_does_not() {
        let non_aging = Evolution { population: 20, sample: 5, ..Evolution::default() };
        let original = Evolution {
            population: 20,
            selection: Selection::Truncation,
            sample: 5,
            crossover_rate: 1.0,
            mutation_rate: Some(0.01),
            ..Evolution::default()
        };
        for settings in [non_aging, original] {
            let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
            assert!(gain > 8.0, "{gain} with {settings:?}");
        }
    }

    #[test]
    fn the_worst_and_oldest_dies() {
        let (space, goals) = (grid(1, 5), one_loss());
        let mut state = WorstDies {
            population: 2,
            selection: Selection::Tournament,
            sample: 2,
            variation: Variation { crossover: Crossover::Uniform, crossover_rate: 0.0, mutation_rate: None },
            alive: vec![],
        };
        let mut add = |id, loss| {
            let score = crate::trial::Score { violation: 0.0, losses: [loss].into() };
            state.add(Individual { id, point: space.sample(0, id), score }, &mut stream(0, id, "test"));
            state.alive.iter().map(|one| one.id).collect::<Vec<_>>()
        };
        assert_eq!(add(0, 1.0), [0]);
        assert_eq!(add(1, 1.0), [1, 0]);
        assert_eq!(add(2, 1.0), [2, 1]);
        assert_eq!(add(3, 0.0), [3, 2]);
        assert_eq!(add(4, 2.0), [3, 2]);
        let wrong = Evolution { crossover_rate: 1.5, ..Evolution::default() };
        let message = wrong.build(&space, &goals).err().unwrap().to_string();
        assert_eq!(message, "search algorithm 'evolution': crossover_rate is 1.5, expected 0 to 1");
    }
}
