//! Differential evolution: a child moves by the difference of two others, on every kind of decision.
//!
//! Storn and Price 1997, "Differential Evolution", DOI 10.1023/A:1008202821328, scheme DE/rand/1/bin: for the target
//! individual a mutant v = a + F (b - c) is made of three others (equation 2); each decision comes from the mutant with
//! chance `crossover_rate`, one at least, else from the target (equation 4); the child takes the target's place unless
//! it is worse. For NAS: Awad, Mallik and Hutter 2020, arXiv 2012.06400, who show that it does well on discrete
//! spaces when every decision is an interval cut into as many bins as it has values.
//!
//! Deviations: the original of a discrete value is not kept; a value stands for a uniformly drawn place in its bin, so
//! that a point alone carries the state, any told point can take part, and differences of small domains round without
//! bias. A mutant outside the interval is drawn anew, as in arXiv 2012.06400; so is one of a decision that is inactive
//! in one of the three. A child that equals its target is changed in one decision. The target of a trial is its number
//! modulo the population, and targets are replaced at once, so nothing waits for a generation. Infeasible ones are worse
//! than feasible ones; with several objectives a child must dominate its target or equal it (GDE; Lampinen 2001).
//! Defaults: population 20, F = 0.5 and crossover rate 0.5 of arXiv 2012.06400. An ask costs O(decisions), a tell O(1);
//! memory is `population` points.

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::individual::Individual;
use super::operators::mutate;
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};
use crate::trial::{Goals, Proposal, Trial, TrialId};

/// Differential evolution (Storn and Price 1997; for architectures Awad et al. 2020, arXiv 2012.06400): children move
/// along the differences of others; works on all kinds of decisions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DifferentialEvolution {
    /// Number of individuals, and of random trials at the start; 4 or more.
    pub population: usize,
    /// F, the factor of the difference; above 0, at most 2.
    pub factor: f64,
    /// The chance of each decision to come from the mutant and not from the target, 0 to 1.
    pub crossover_rate: f64,
}

impl Default for DifferentialEvolution {
    fn default() -> Self {
        DifferentialEvolution { population: 20, factor: 0.5, crossover_rate: 0.5 }
    }
}

impl Settings for DifferentialEvolution {
    const NAME: &'static str = "differential_evolution";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let DifferentialEvolution { population, factor, crossover_rate } = self;
        require(population >= 4, Self::NAME, || format!("population is {population}, expected 4 or more"))?;
        require(factor > 0.0 && factor <= 2.0, Self::NAME, || {
            format!("factor is {factor}, expected above 0 and at most 2")
        })?;
        require((0.0..=1.0).contains(&crossover_rate), Self::NAME, || {
            format!("crossover_rate is {crossover_rate}, expected 0 to 1")
        })?;
        let targets = (0..population).map(|_| None).collect();
        Ok(Box::new(Differences { settings: self, targets }))
    }
}

struct Differences {
    settings: DifferentialEvolution,
    /// Empty where all trials so far failed.
    targets: Vec<Option<Individual>>,
}

impl Differences {
    fn slot(&self, trial: TrialId) -> usize {
        (trial % self.targets.len() as u64) as usize
    }
}

/// Three different positions among `n >= 4`, none of them `besides`.
fn three_others(n: usize, besides: usize, rng: &mut Rng) -> [usize; 3] {
    let mut found = [besides; 3];
    for k in 0..3 {
        found[k] = loop {
            let i = rng.random_range(0..n);
            if i != besides && !found[..k].contains(&i) {
                break i;
            }
        };
    }
    found
}

/// The child of a target and the mutant of three others: each decision comes from the mutant with chance
/// `crossover_rate`. It differs from its target if anything can.
pub(super) fn child(
    space: &SearchSpace,
    target: &Point,
    others: [&Point; 3],
    (factor, crossover_rate): (f64, f64),
    rng: &mut Rng,
) -> Point {
    let mut child = target.clone();
    if space.is_empty() {
        return child;
    }
    let surely = rng.random_range(0..space.len());
    for i in 0..space.len() {
        if i != surely && rng.random::<f64>() >= crossover_rate {
            continue;
        }
        let [a, b, c] = others.map(|point| place(space, point, i, rng));
        let mutant = match (a, b, c) {
            (Some(a), Some(b), Some(c)) => a + factor * (b - c),
            (Some(a), ..) => a,
            _ => continue,
        };
        let mutant = if (0.0..1.0).contains(&mutant) { mutant } else { rng.random() };
        match space.real_slot(i) {
            Some(slot) => {
                child.codes[i] = 0;
                child.reals[slot] = space.decisions()[i].domain.from_unit(mutant) + 0.0;
            }
            None => child.codes[i] = (mutant * f64::from(space.count(i))) as i32,
        }
    }
    space.settle(&mut child, rng);
    if child == *target { mutate::one_decision(space, &child, rng) } else { child }
}

/// Where a decision of a point stands in `[0, 1)`: a real on its scale, a discrete value anywhere in its bin.
fn place(space: &SearchSpace, point: &Point, decision: usize, rng: &mut Rng) -> Option<f64> {
    point.is_active(decision).then(|| match space.real_slot(decision) {
        Some(slot) => space.decisions()[decision].domain.to_unit(point.reals()[slot]),
        None => (f64::from(point.codes()[decision]) + rng.random::<f64>()) / f64::from(space.count(decision)),
    })
}

impl SearchAlgorithm for Differences {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let propose = |offset: usize| {
            let rng = &mut cx.rng(offset);
            let trial = cx.next + offset as u64;
            let slot = self.slot(trial);
            let started = trial >= self.targets.len() as u64;
            let others = three_others(self.targets.len(), slot, rng);
            let [a, b, c] = others.map(|i| self.targets[i].as_ref());
            match (self.targets[slot].as_ref().filter(|_| started), a, b, c) {
                (Some(target), Some(a), Some(b), Some(c)) => {
                    let rates = (self.settings.factor, self.settings.crossover_rate);
                    let point = child(cx.space, &target.point, [&a.point, &b.point, &c.point], rates, rng);
                    Proposal { parent: Some(target.id), ..Proposal::new(point) }
                }
                _ => Proposal::new(cx.draw(rng)),
            }
        };
        Ok((0..count).map(propose).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            if let Some(child) = Individual::of(trial, cx.goals) {
                let slot = self.slot(trial.id);
                child.compete(&mut self.targets[slot]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Random;
    use super::super::conformance::{
        digit_loss, gain_over_random, grid, mean_best, mean_hypervolume, numeric, two_losses,
    };
    use super::*;
    use crate::rng::stream;
    use crate::space::tests::any_space;
    use crate::space::{Decision, Domain};

    proptest! {
        #[test]
        fn children_are_other_points(space in any_space(), seed in any::<u64>()) {
            let points: Vec<Point> = (0..4).map(|i| space.sample(seed, i)).collect();
            let others = [&points[1], &points[2], &points[3]];
            let child = child(&space, &points[0], others, (0.5, 0.5), &mut stream(seed, 4, "test"));
            space.check(&child).unwrap();
            let movable = (0..space.len()).any(|i| points[0].is_active(i) && space.spreads(i));
            prop_assert!(child != points[0] || !movable);
        }
    }

    #[test]
    fn it_beats_random_search_on_digits_and_on_a_sphere() {
        let settings = DifferentialEvolution::default();
        let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
        assert!(gain > 6.0, "{gain}");
        let domain = Domain::Real { low: -5.0, high: 5.0, log: false };
        let cube = SearchSpace::new((0..6).map(|i| Decision::new(format!("x{i}"), domain.clone())).collect())
            .unwrap();
        let sphere = |point: &Point| point.reals().iter().map(|x| (x - 1.0).powi(2)).sum::<f64>();
        let found = mean_best(&settings, &cube, sphere, 2_000);
        assert!(found < 1e-2, "{found}");
        let loss = |point: &Point| (point.reals()[0] - 1.0).abs();
        assert!(mean_best(&settings, &numeric(), loss, 400) < 0.05);
    }

    #[test]
    fn with_two_objectives_it_beats_random_search() {
        let space = grid(16, 4);
        let found = mean_hypervolume(&DifferentialEvolution::default(), &space, two_losses, 600);
        let random = mean_hypervolume(&Random {}, &space, two_losses, 600);
        assert!(found > random + 0.05, "{found} against {random}");
    }

    #[test]
    fn the_three_others_differ() {
        for trial in 0..200 {
            let [a, b, c] = three_others(4, 2, &mut stream(0, trial, "test"));
            let mut all = [a, b, c, 2];
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3]);
        }
    }
}
