//! Population based training: points change while their networks train, and bad networks go on from good ones.
//!
//! Jaderberg et al. 2017, "Population Based Training of Neural Networks", arXiv 1711.09846, algorithm 1 with truncation
//! selection (section 4.1.1). A generation trains every member for one of `generations` equal parts of a full training:
//! generation g is evaluated at fidelity (g + 1) / generations and inherits the weights of [`Proposal::parent`]. After it
//! the worst `truncation` of the members continue from random ones of the best (exploit) with changed points (explore);
//! all others continue as they are. After the last generation a new population begins.
//!
//! Deviations: members wait for their generation (the paper compares whoever is ready), so an ask may give fewer than
//! wanted while trials run; failed members are replaced like bad ones. Explore multiplies a number by 1.2 or 0.8 or, with
//! `resample` chance, draws it anew, as the paper; a category, which cannot be multiplied, is only drawn anew, and one
//! decision changes at least. With several objectives the order is by non-dominated rank, then by crowding distance.
//! Defaults: truncation 0.2 and resample 0.25 are the paper's; its populations of 20 to 80 at the small end. An ask costs
//! O(decisions); the memory is two populations.

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::brackets::best_first;
use super::individual::Individual;
use super::operators::mutate;
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::Rng;
use crate::space::{Domain, Point, SearchSpace};
use crate::trial::{Fidelity, Goals, Proposal, Trial};

/// Population based training (Jaderberg et al. 2017, arXiv 1711.09846): points change during training, and bad networks
/// go on from the weights of good ones. For evaluators that obey `fidelity` and inherit from `parent`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pbt {
    /// Networks trained side by side; 2 or more.
    pub population: usize,
    /// Parts that a full training is cut into; 1 or more.
    pub generations: usize,
    /// The share of the worst that continue from the best; 0 to 0.5.
    pub truncation: f64,
    /// The chance that a decision is drawn anew and not only perturbed; 0 to 1.
    pub resample: f64,
}

impl Default for Pbt {
    fn default() -> Self {
        Pbt { population: 20, generations: 5, truncation: 0.2, resample: 0.25 }
    }
}

impl Settings for Pbt {
    const NAME: &'static str = "pbt";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Pbt { population, generations, truncation, resample } = self;
        require(population >= 2, Self::NAME, || format!("population is {population}, expected 2 or more"))?;
        require(generations >= 1, Self::NAME, || {
            format!("generations is {generations}, expected 1 or more")
        })?;
        require((0.0..=0.5).contains(&truncation), Self::NAME, || {
            format!("truncation is {truncation}, expected 0 to 0.5")
        })?;
        require((0.0..=1.0).contains(&resample), Self::NAME, || {
            format!("resample is {resample}, expected 0 to 1")
        })?;
        Ok(Box::new(Population { settings: self, generation: 0, told: 0, done: vec![], last: vec![] }))
    }
}

struct Population {
    settings: Pbt,
    generation: usize,
    /// Trials told of this generation, and those of them that completed.
    told: usize,
    done: Vec<Individual>,
    /// Completed in the generation before, best first; empty in the first one.
    last: Vec<Individual>,
}

impl Population {
    fn member(&self, cx: &Context<'_>, slot: usize, rng: &mut Rng) -> Proposal {
        let Pbt { population, generations, truncation, resample } = self.settings;
        let fidelity = if self.generation + 1 == generations {
            Fidelity::Full
        } else {
            Fidelity::Partial((self.generation + 1) as f64 / generations as f64)
        };
        if self.last.is_empty() {
            return Proposal { fidelity, ..Proposal::new(cx.draw(rng)) };
        }
        let cut = (population as f64 * truncation) as usize;
        if let Some(own) = self.last.get(slot).filter(|_| slot < population - cut) {
            return Proposal { point: own.point.clone(), fidelity, parent: Some(own.id) };
        }
        let better = &self.last[rng.random_range(0..cut.clamp(1, self.last.len()))];
        Proposal { point: explore(cx.space, &better.point, resample, rng), fidelity, parent: Some(better.id) }
    }
}

/// Every active decision of a point perturbed or drawn anew.
fn explore(space: &SearchSpace, point: &Point, resample: f64, rng: &mut Rng) -> Point {
    let mut changed = point.clone();
    for i in (0..space.len()).filter(|&i| point.is_active(i) && space.spreads(i)) {
        if rng.random::<f64>() < resample {
            space.redraw(&mut changed, i, rng);
            continue;
        }
        let factor = if rng.random() { 1.2 } else { 0.8 };
        match &space.decisions()[i].domain {
            Domain::Real { low, high, .. } => {
                if let Some(slot) = space.real_slot(i) {
                    changed.reals[slot] = (point.reals()[slot] * factor).clamp(*low, *high) + 0.0;
                }
            }
            Domain::Integer { low, step, .. } => {
                let value = *low as f64 + f64::from(point.codes()[i]) * *step as f64;
                let steps = (value * (factor - 1.0) / *step as f64).abs().round().max(1.0) as i32;
                let up = (factor > 1.0) == (value >= 0.0);
                let code = point.codes()[i].saturating_add(if up { steps } else { -steps });
                changed.codes[i] = code.clamp(0, space.count(i) - 1);
            }
            Domain::Categorical(_) | Domain::Subset { .. } => {}
        }
    }
    space.settle(&mut changed, rng);
    if changed == *point { mutate::one_decision(space, point, rng) } else { changed }
}

impl SearchAlgorithm for Population {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        // Members are asked for in the order of their slots, so those that are out or told say which slot is next.
        let first = self.told + cx.running.len();
        let slots = first..self.settings.population.min(first + count);
        Ok(slots.map(|slot| self.member(cx, slot, &mut cx.rng(slot - first))).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            self.told += 1;
            self.done.extend(Individual::of(trial, cx.goals));
            if self.told == self.settings.population {
                let done = std::mem::take(&mut self.done);
                self.told = 0;
                self.generation += 1;
                self.last = if self.generation < self.settings.generations && !done.is_empty() {
                    best_first(&done, done.len()).into_iter().map(|i| done[i].clone()).collect()
                } else {
                    self.generation = 0;
                    Vec::new()
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::conformance::{digit_loss, gain_over_random, grid, numeric, search};
    use super::*;
    use crate::rng::stream;
    use crate::space::tests::any_space;

    proptest! {
        #[test]
        fn explored_points_are_other_points(space in any_space(), seed in any::<u64>(), resample in 0.0..1.0) {
            let point = space.sample(seed, 0);
            let other = explore(&space, &point, resample, &mut stream(seed, 1, "test"));
            space.check(&other).unwrap();
            let movable = (0..space.len()).any(|i| point.is_active(i) && space.spreads(i));
            prop_assert_eq!(other != point, movable);
        }
    }

    #[test]
    fn numbers_are_multiplied() {
        let space = numeric();
        let point = space.point_from_json(r#"{"x":-2.0,"n":10,"lr":0.01}"#).unwrap();
        for i in 0..50 {
            let other = explore(&space, &point, 0.0, &mut stream(0, i, "test"));
            assert!([-2.4, -1.6].contains(&other.reals()[0]), "{other:?}");
            assert!([7, 11].contains(&other.codes()[1]));
            assert!((other.reals()[1] - 0.012).abs() < 1e-12 || (other.reals()[1] - 0.008).abs() < 1e-12);
        }
    }

    #[test]
    fn the_worst_go_on_from_the_best_and_the_others_from_themselves() {
        let settings = Pbt { population: 10, generations: 3, ..Pbt::default() };
        let told = search(settings, &grid(8, 10), |p| vec![digit_loss(p)], 60, 0);
        let loss = |trial: &Trial| trial.measurement().unwrap().values[0];
        for (generation, members) in told.chunks(10).enumerate() {
            let third = generation % 3;
            for (slot, member) in members.iter().enumerate() {
                let fraction =
                    [Fidelity::Partial(1.0 / 3.0), Fidelity::Partial(2.0 / 3.0), Fidelity::Full][third];
                assert_eq!(member.fidelity, fraction);
                assert_eq!(member.parent.is_some(), third > 0);
                if let Some(parent) = member.parent {
                    let last = &told[generation * 10 - 10..generation * 10];
                    let parent = last.iter().find(|trial| trial.id == parent).unwrap();
                    assert_eq!(parent.point == member.point, slot < 8);
                    let better = last.iter().filter(|other| loss(other) < loss(parent)).count();
                    assert!(slot < 8 || better < 2);
                }
            }
        }
    }

    #[test]
    fn it_beats_random_search() {
        let settings = Pbt { generations: 20, ..Pbt::default() };
        let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
        assert!(gain > 0.0, "{gain}");
    }

    #[test]
    fn an_ask_beyond_the_generation_gives_fewer() {
        let (space, goals) = (grid(2, 3), super::super::conformance::one_loss());
        let algorithm = Pbt { population: 4, ..Pbt::default() }.build(&space, &goals).unwrap();
        let cx = Context { space: &space, goals: &goals, seed: 0, next: 0, running: &[], feasible: None };
        assert_eq!(algorithm.ask(&cx, 9).unwrap().len(), 4);
    }
}
