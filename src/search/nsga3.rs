//! NSGA-III: NSGA-II with reference lines instead of crowding, for three and more objectives.
//!
//! Deb and Jain 2014, "An Evolutionary Many-Objective Optimization Algorithm Using Reference-Point-Based Nondominated
//! Sorting Approach, Part I", DOI 10.1109/TEVC.2013.2281535. Whole fronts live on (algorithm 1) until one does not fit;
//! of that one, those live on whose reference lines have the fewest companions (algorithms 3 and 4), after the losses
//! were scaled by the ideal point and the intercepts of the hyperplane through the extreme points (algorithm 2).
//! Constraints as in Part II (Jain and Deb 2014, DOI 10.1109/TEVC.2013.2281534): feasible ones first, then the least
//! violation.
//!
//! Deviations: where the intercepts do not exist or are not above the ideal point, the worst losses of the front scale
//! (the paper leaves that open); extreme points are kept from generation to generation, as in the authors' later code;
//! one child a mating; a child that equals a parent is changed in one decision; generations do not wait for stragglers
//! (see `generational.rs`). Under constraints parents come from binary tournaments in order of survival. Defaults:
//! population 100 and the finest reference points that are not more; crossover rate 1 and mutation rate 1 / decisions
//! are the paper's (table II); both distribution indices are NSGA-II's 20 instead of 30 and 20. An ask costs
//! O(decisions), a tell O(objectives x population) amortised; memory is two populations.

use std::collections::BTreeMap;

use faer::linalg::solvers::Solve as _;
use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generational::{Generational, Survival, take};
use super::individual::Individual;
use super::operators::Variation;
use super::operators::cross::Crossover;
use super::operators::select::Selection;
use super::operators::weights::directions;
use super::{SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::Rng;
use crate::space::SearchSpace;
use crate::trial::{Goals, Score, by_rank, constrained_ranks, crowded_order};

/// NSGA-III (Deb and Jain 2014, DOI 10.1109/TEVC.2013.2281535): a genetic algorithm for three and more objectives that
/// keeps the non-dominated and spreads them over reference directions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nsga3 {
    /// Trials of a generation, and random trials at the start; 2 or more. There are as many reference directions as
    /// evenly fit into it.
    pub population: usize,
    /// How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other decisions
    /// from either parent).
    pub crossover: Crossover,
    /// The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
    pub crossover_rate: f64,
    /// The chance of each active decision to change, 0 to 1; None: one over the number of active decisions.
    pub mutation_rate: Option<f64>,
}

impl Default for Nsga3 {
    fn default() -> Self {
        Nsga3 { population: 100, crossover: Crossover::Sbx, crossover_rate: 1.0, mutation_rate: None }
    }
}

impl Settings for Nsga3 {
    const NAME: &'static str = "nsga3";

    fn build(self, _: &SearchSpace, goals: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Nsga3 { population, crossover, crossover_rate, mutation_rate } = self;
        require(population >= 2, Self::NAME, || format!("population is {population}, expected 2 or more"))?;
        let variation = Variation { crossover, crossover_rate, mutation_rate };
        variation.check(Self::NAME)?;
        let sample = if goals.constraints().is_empty() { 1 } else { 2 };
        let niches = Niches::new(goals.objectives().len(), population);
        Ok(Box::new(Generational::new(population, Selection::Tournament, sample, variation, niches)))
    }
}

/// Survival by reference lines.
struct Niches {
    objectives: usize,
    /// Unit vectors, one after the other.
    lines: Vec<f64>,
    scale: Scale,
}

impl Survival for Niches {
    fn survive(
        &mut self,
        mut parents: Vec<Individual>,
        offspring: Vec<Individual>,
        keep: usize,
        rng: &mut Rng,
    ) -> Vec<Individual> {
        parents.extend(offspring);
        let scores: Vec<&Score> = parents.iter().map(|individual| &individual.score).collect();
        let order =
            if self.objectives == 1 { crowded_order(&scores, keep) } else { self.order(&scores, keep, rng) };
        take(parents, order)
    }
}

impl Niches {
    fn new(objectives: usize, population: usize) -> Self {
        let mut lines = Vec::new();
        for row in directions(objectives, population) {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            lines.extend(row.into_iter().map(|x| x / length));
        }
        Niches { objectives, lines, scale: Scale::default() }
    }

    fn order(&mut self, scores: &[&Score], keep: usize, rng: &mut Rng) -> Vec<usize> {
        let mut order = Vec::with_capacity(keep);
        let mut partial = Vec::new();
        let mut nondominated = Vec::new();
        for front in by_rank(&constrained_ranks(scores)) {
            if nondominated.is_empty() {
                nondominated.clone_from(&front);
            }
            if order.len() + front.len() > keep {
                partial = front;
                break;
            }
            order.extend(front);
        }
        let losses = |i: usize| &*scores[i].losses;
        let feasible = |i: &usize| scores[*i].violation <= 0.0;
        let considered: Vec<&[f64]> =
            order.iter().chain(&partial).copied().filter(|i| feasible(i)).map(losses).collect();
        let first: Vec<&[f64]> = nondominated.iter().copied().filter(|i| feasible(i)).map(losses).collect();
        if !first.is_empty() {
            self.scale.learn(&considered, &first);
        }
        if partial.first().is_none_or(|first| !feasible(first)) {
            // Equal violations: nothing tells them apart.
            order.extend(partial.into_iter().take(keep - order.len()));
            return order;
        }
        let mut companions = vec![0_usize; self.lines.len() / self.objectives];
        for &i in &order {
            companions[self.nearest(losses(i)).0] += 1;
        }
        // Candidates of each line with their distances, the nearest last.
        let mut waiting: Vec<Vec<(f64, usize)>> = vec![Vec::new(); companions.len()];
        for &i in &partial {
            let (line, distance) = self.nearest(losses(i));
            waiting[line].push((distance, i));
        }
        // Lines with candidates, by the number of their companions.
        let mut rarest: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (line, list) in waiting.iter_mut().enumerate().filter(|(_, list)| !list.is_empty()) {
            list.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            rarest.entry(companions[line]).or_default().push(line);
        }
        while order.len() < keep {
            let Some(mut entry) = rarest.first_entry() else { break };
            let fewest = *entry.key();
            let lines = entry.get_mut();
            let line = lines.swap_remove(rng.random_range(0..lines.len()));
            if lines.is_empty() {
                entry.remove();
            }
            // The nearest to a line without companions, any other one else.
            let list = &mut waiting[line];
            let pick = if fewest == 0 { list.len() - 1 } else { rng.random_range(0..list.len()) };
            order.push(list.remove(pick).1);
            if !list.is_empty() {
                rarest.entry(fewest + 1).or_default().push(line);
            }
        }
        order
    }

    /// The line nearest to a point in the scaled losses, and its distance.
    fn nearest(&self, losses: &[f64]) -> (usize, f64) {
        let scaled = self.scale.apply(losses);
        let mut best = (0, f64::NEG_INFINITY);
        for (at, line) in self.lines.chunks_exact(self.objectives).enumerate() {
            let along: f64 = line.iter().zip(&scaled).map(|(a, b)| a * b).sum();
            if along > best.1 {
                best = (at, along);
            }
        }
        // Of unit vectors from the origin, the nearest line has the longest projection.
        (best.0, scaled.iter().map(|x| x * x).sum::<f64>() - best.1 * best.1)
    }
}

/// The normalisation of algorithm 2.
#[derive(Debug, Default)]
struct Scale {
    ideal: Vec<f64>,
    /// Losses of the most extreme point along each axis.
    extremes: Vec<Vec<f64>>,
    /// Ideal point plus intercepts.
    nadir: Vec<f64>,
}

impl Scale {
    /// Learns from all considered losses and from those of the first front.
    fn learn(&mut self, considered: &[&[f64]], front: &[&[f64]]) {
        let m = considered[0].len();
        if self.ideal.is_empty() {
            self.ideal = vec![f64::INFINITY; m];
        }
        for losses in considered {
            for (least, &x) in self.ideal.iter_mut().zip(*losses) {
                *least = least.min(x);
            }
        }
        let ideal = &self.ideal;
        let achievement = |losses: &[f64], axis: usize| {
            let along = |k: usize| (losses[k] - ideal[k]) / if k == axis { 1.0 } else { 1e-6 };
            (0..m).map(along).fold(f64::NEG_INFINITY, f64::max)
        };
        let extremes: Vec<Vec<f64>> = (0..m)
            .filter_map(|axis| {
                let known = self.extremes.iter().map(Vec::as_slice);
                known
                    .chain(front.iter().copied())
                    .min_by(|a, b| achievement(a, axis).total_cmp(&achievement(b, axis)))
                    .map(<[f64]>::to_vec)
            })
            .collect();
        self.extremes = extremes;
        let worst = |k: usize| front.iter().map(|losses| losses[k]).fold(f64::NEG_INFINITY, f64::max);
        self.nadir = match self.intercepts() {
            Some(intercepts) => intercepts.iter().zip(&self.ideal).map(|(a, b)| a + b).collect(),
            None => (0..m).map(worst).collect(),
        };
    }

    /// Where the hyperplane through the extreme points cuts the axes; `None` if it cuts one not at all or below the ideal
    /// point.
    fn intercepts(&self) -> Option<Vec<f64>> {
        let m = self.ideal.len();
        let plane = faer::Mat::from_fn(m, m, |i, j| self.extremes[i][j] - self.ideal[j]);
        if !plane.norm_max().is_finite() {
            return None;
        }
        let ones = faer::Mat::from_fn(m, 1, |_, _| 1.0);
        let solution = plane.full_piv_lu().solve(&ones);
        let intercepts: Vec<f64> = (0..m).map(|k| 1.0 / solution[(k, 0)]).collect();
        intercepts.iter().all(|x| x.is_finite() && *x > 1e-9).then_some(intercepts)
    }

    fn apply(&self, losses: &[f64]) -> Vec<f64> {
        let scaled = |(k, &x): (usize, &f64)| {
            let (ideal, nadir) = (self.ideal.get(k).copied(), self.nadir.get(k).copied());
            let (Some(ideal), Some(nadir)) = (ideal, nadir) else { return x };
            let unit = (x - ideal) / (nadir - ideal).max(1e-12);
            // A loss that is not finite is as far as can be told apart.
            if unit.is_finite() { unit } else { 1e12 }
        };
        losses.iter().enumerate().map(scaled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, gain_over_random, grid, mean_hypervolume, two_losses};
    use super::super::{Random, RegularizedEvolution};
    use super::*;
    use crate::rng::stream;

    #[test]
    fn its_front_dominates_more_than_that_of_others() {
        let space = grid(16, 4);
        let nsga3 = mean_hypervolume(&Nsga3 { population: 20, ..Nsga3::default() }, &space, two_losses, 600);
        let evolution = RegularizedEvolution { population: 20, sample: 5 };
        let evolution = mean_hypervolume(&evolution, &space, two_losses, 600);
        let random = mean_hypervolume(&Random {}, &space, two_losses, 600);
        assert!(nsga3 > evolution && nsga3 > random + 0.1, "{nsga3} {evolution} {random}");
    }

    #[test]
    fn with_one_objective_it_climbs() {
        let settings = Nsga3 { population: 20, ..Nsga3::default() };
        let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
        assert!(gain > 8.0, "{gain}");
    }

    #[test]
    fn intercepts_are_those_of_the_plane_through_the_extremes() {
        let mut scale = Scale::default();
        let points = [[0.0, 0.0, 4.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.5, 0.5, 0.5]];
        let rows: Vec<&[f64]> = points.iter().map(<[f64; 3]>::as_slice).collect();
        scale.learn(&rows, &rows);
        assert_eq!(scale.ideal, [0.0; 3]);
        assert!(scale.nadir.iter().zip([2.0, 3.0, 4.0]).all(|(a, b)| (a - b).abs() < 1e-9), "{scale:?}");
    }

    #[test]
    fn a_partial_front_is_thinned_evenly() {
        // A hundred points bunched at one end of a line, five spread over the rest: those five live on.
        let score = |x: f64| Score { violation: 0.0, losses: [x, 1.0 - x].into() };
        let mut scores: Vec<Score> = (0..100).map(|i| score(f64::from(i) * 1e-4)).collect();
        scores.extend([0.2, 0.4, 0.6, 0.8, 1.0].map(score));
        let mut niches = Niches::new(2, 6);
        let borrowed: Vec<&Score> = scores.iter().collect();
        let mut kept = niches.order(&borrowed, 6, &mut stream(0, 0, "test"));
        kept.sort_unstable();
        assert_eq!(kept, [0, 100, 101, 102, 103, 104]);
    }
}
