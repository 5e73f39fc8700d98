//! MOEA/D: several objectives decomposed into single ones that help their neighbours.
//!
//! Zhang and Li 2007, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition", DOI
//! 10.1109/TEVC.2007.892759: each of `population` evenly spread weights is a subproblem, the least weighted Chebyshev
//! distance to the ideal point (equation 5), and remembers its best individual. A trial belongs to one subproblem; its
//! parents come from the subproblem's neighbours, and it replaces the individuals of those that it serves better.
//! From MOEA/D-DE (Li and Zhang 2009, DOI 10.1109/TEVC.2008.925798): parents and replaced come from all subproblems with
//! chance 1 - `locality`, and a trial replaces at most `replacements` individuals.
//!
//! Deviations: the subproblem of a trial is its number modulo their count, so that proposals need no order; losses are
//! scaled to the extent of the current individuals, remeasured once a round (the paper's section IV-C scales likewise);
//! less violation of constraints always serves better (Jan and Khanum 2013); no external archive, the study keeps all
//! trials. With one objective all subproblems are equal and the neighbourhoods a ring. Defaults: 100 subproblems and 20
//! neighbours as in both papers (fewer where 100 even weights do not exist, 91 for three objectives), locality 0.9 and 2
//! replacements of the second. An ask costs O(decisions), a tell O(neighbours x objectives); memory is `population`
//! points.

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::individual::Individual;
use super::operators::Variation;
use super::operators::cross::Crossover;
use super::operators::weights::directions;
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::{Rng, stream};
use crate::space::SearchSpace;
use crate::trial::{Goals, Proposal, Score, Trial, TrialId};

/// MOEA/D (Zhang and Li 2007, DOI 10.1109/TEVC.2007.892759): several objectives as many weighted ones that are solved
/// together and exchange their solutions with neighbours.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Moead {
    /// Number of subproblems, and of random trials at the start; 2 or more. With three and more objectives the largest
    /// number of evenly spread weights that is not more.
    pub population: usize,
    /// Number of subproblems nearest to one, itself included, that give parents and receive children; 2 or more.
    pub neighbours: usize,
    /// The chance that parents come from the neighbours and not from anywhere, 0 to 1.
    pub locality: f64,
    /// How many individuals a child may replace; 1 or more.
    pub replacements: usize,
    /// How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other decisions
    /// from either parent).
    pub crossover: Crossover,
    /// The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
    pub crossover_rate: f64,
    /// The chance of each active decision to change, 0 to 1; None: one over the number of active decisions.
    pub mutation_rate: Option<f64>,
}

impl Default for Moead {
    fn default() -> Self {
        Moead {
            population: 100,
            neighbours: 20,
            locality: 0.9,
            replacements: 2,
            crossover: Crossover::Sbx,
            crossover_rate: 1.0,
            mutation_rate: None,
        }
    }
}

impl Settings for Moead {
    const NAME: &'static str = "moead";

    fn build(self, _: &SearchSpace, goals: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Moead { population, neighbours, locality, replacements, .. } = self;
        require(population >= 2, Self::NAME, || format!("population is {population}, expected 2 or more"))?;
        require(neighbours >= 2, Self::NAME, || format!("neighbours is {neighbours}, expected 2 or more"))?;
        require((0.0..=1.0).contains(&locality), Self::NAME, || {
            format!("locality is {locality}, expected 0 to 1")
        })?;
        require(replacements >= 1, Self::NAME, || {
            format!("replacements is {replacements}, expected 1 or more")
        })?;
        let variation = Variation {
            crossover: self.crossover,
            crossover_rate: self.crossover_rate,
            mutation_rate: self.mutation_rate,
        };
        variation.check(Self::NAME)?;
        let objectives = goals.objectives().len();
        let weights = match objectives {
            1 => vec![vec![1.0]; population],
            _ => directions(objectives, population),
        };
        let nearby = (0..weights.len()).map(|i| nearest(&weights, i, neighbours)).collect();
        Ok(Box::new(Decomposed {
            locality,
            replacements,
            variation,
            nearby,
            best: weights.iter().map(|_| None).collect(),
            weights,
            ideal: vec![f64::INFINITY; objectives],
            extent: vec![1.0; objectives],
            until_measured: 0,
        }))
    }
}

/// The subproblems nearest to one, itself first; equally near ones in the order of a ring.
fn nearest(weights: &[Vec<f64>], of: usize, count: usize) -> Vec<usize> {
    let n = weights.len();
    let distance = |i: usize| weights[of].iter().zip(&weights[i]).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let around = |i: usize| {
        let steps = (i + n - of) % n;
        steps.min(n - steps)
    };
    let mut all: Vec<usize> = (0..n).collect();
    all.sort_by(|&i, &j| distance(i).total_cmp(&distance(j)).then((around(i), i).cmp(&(around(j), j))));
    all.truncate(count);
    all
}

struct Decomposed {
    locality: f64,
    replacements: usize,
    variation: Variation,
    weights: Vec<Vec<f64>>,
    /// Of each subproblem, the nearest ones.
    nearby: Vec<Vec<usize>>,
    /// Of each subproblem, the individual that serves it best.
    best: Vec<Option<Individual>>,
    ideal: Vec<f64>,
    /// Between the ideal point and the worst of the current individuals.
    extent: Vec<f64>,
    /// Tells until the extent is measured again.
    until_measured: usize,
}

impl Decomposed {
    fn subproblem(&self, trial: TrialId) -> usize {
        (trial % self.weights.len() as u64) as usize
    }

    /// Whether a trial mates and replaces among neighbours only; ask and tell must agree on it.
    fn is_local(&self, seed: u64, trial: TrialId) -> bool {
        stream(seed, trial, "pool").random::<f64>() < self.locality
    }

    fn parents(&self, seed: u64, trial: TrialId, rng: &mut Rng) -> Option<(&Individual, &Individual)> {
        let own = self.subproblem(trial);
        let among = |i: usize| self.best[i].as_ref();
        let local: Vec<&Individual> = if self.is_local(seed, trial) {
            self.nearby[own].iter().filter_map(|&i| among(i)).collect()
        } else {
            vec![]
        };
        let pool = if local.is_empty() { self.best.iter().flatten().collect() } else { local };
        if pool.is_empty() {
            return None;
        }
        let mut pick = || pool[rng.random_range(0..pool.len())];
        Some((pick(), pick()))
    }

    /// The Chebyshev distance of equation 5 in scaled losses, for a weight; a weight of 0 counts as 1e-6 as usual.
    fn distance(&self, weight: &[f64], losses: &[f64]) -> f64 {
        let parts = weight.iter().zip(losses).zip(self.ideal.iter().zip(&self.extent));
        parts.map(|((w, x), (ideal, extent))| w.max(1e-6) * (x - ideal) / extent).fold(0.0, f64::max)
    }

    fn serves_better(&self, subproblem: usize, new: &Score, old: &Score) -> bool {
        let weight = &self.weights[subproblem];
        let distance = |score: &Score| self.distance(weight, &score.losses);
        let order = new.violation.total_cmp(&old.violation);
        order.then_with(|| distance(new).total_cmp(&distance(old))).is_le()
    }

    fn measure(&mut self) {
        for k in 0..self.ideal.len() {
            let worst = self.best.iter().flatten().map(|one| one.score.losses[k]).filter(|x| x.is_finite());
            let extent = worst.fold(f64::NEG_INFINITY, f64::max) - self.ideal[k];
            self.extent[k] = if extent.is_finite() && extent > 1e-12 { extent } else { 1.0 };
        }
        self.until_measured = self.weights.len();
    }

    fn place(&mut self, cx: &Context<'_>, individual: Individual) {
        for (ideal, &x) in self.ideal.iter_mut().zip(&individual.score.losses) {
            *ideal = ideal.min(x);
        }
        let own = self.subproblem(individual.id);
        let first_round = individual.id < self.weights.len() as u64;
        let mut pool = if first_round {
            vec![own]
        } else if self.is_local(cx.seed, individual.id) {
            self.nearby[own].clone()
        } else {
            (0..self.weights.len()).collect()
        };
        pool.shuffle(&mut stream(cx.seed, individual.id, "replacement"));
        let mut left = self.replacements;
        for i in pool {
            if self.best[i].as_ref().is_none_or(|old| self.serves_better(i, &individual.score, &old.score)) {
                self.best[i] = Some(individual.clone());
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
    }
}

impl SearchAlgorithm for Decomposed {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let propose = |offset: usize| {
            let rng = &mut cx.rng(offset);
            let trial = cx.next + offset as u64;
            let started = trial >= self.weights.len() as u64;
            match self.parents(cx.seed, trial, rng).filter(|_| started) {
                None => Proposal::new(cx.draw(&mut cx.rng(offset))),
                Some((a, b)) => Proposal {
                    parent: Some(a.id),
                    ..Proposal::new(self.variation.child(cx.space, &a.point, &b.point, rng))
                },
            }
        };
        Ok((0..count).map(propose).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            if let Some(individual) = Individual::of(trial, cx.goals) {
                self.place(cx, individual);
                self.until_measured = self.until_measured.saturating_sub(1);
                if self.until_measured == 0 {
                    self.measure();
                }
            }
        }
        Ok(())
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
        let settings = Moead { population: 20, neighbours: 5, ..Moead::default() };
        let moead = mean_hypervolume(&settings, &space, two_losses, 600);
        let evolution = RegularizedEvolution { population: 20, sample: 5 };
        let evolution = mean_hypervolume(&evolution, &space, two_losses, 600);
        let random = mean_hypervolume(&Random {}, &space, two_losses, 600);
        assert!(moead > evolution && moead > random + 0.1, "{moead} {evolution} {random}");
    }

    #[test]
    fn with_one_objective_it_climbs() {
        let settings = Moead { population: 20, neighbours: 5, ..Moead::default() };
        let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
        assert!(gain > 8.0, "{gain}");
    }

    #[test]
    fn neighbours_are_the_nearest_weights_or_a_ring() {
        let line: Vec<Vec<f64>> =
            (0..5).map(|i| vec![f64::from(i) / 4.0, 1.0 - f64::from(i) / 4.0]).collect();
        assert_eq!(nearest(&line, 0, 3), [0, 1, 2]);
        assert_eq!(nearest(&line, 3, 3), [3, 2, 4]);
        assert_eq!(nearest(&vec![vec![1.0]; 5], 0, 3), [0, 1, 4]);
    }
}
