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

use super::individual::Individual;
use super::operators::{mutate, select};
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::space::{Point, SearchSpace};
use crate::trial::{Fidelity, Goals, Proposal, Trial};

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
        require(self.population >= 1, Self::NAME, || {
            format!("population is {}, expected 1 or more", self.population)
        })?;
        require(self.sample >= 1, Self::NAME, || format!("sample is {}, expected 1 or more", self.sample))?;
        Ok(Box::new(Ageing { settings: self, alive: Vec::new(), oldest: 0 }))
    }
}

struct Ageing {
    settings: RegularizedEvolution,
    /// In a ring.
    alive: Vec<Individual>,
    /// Where the oldest stands once the ring is full.
    oldest: usize,
}

impl Ageing {
    fn propose(&self, cx: &Context<'_>, offset: usize, proposal: &mut Proposal) {
        let rng = &mut cx.rng(offset);
        proposal.fidelity = Fidelity::Full;
        let started = cx.next + offset as u64 >= self.settings.population as u64;
        if !started || self.alive.is_empty() {
            proposal.parent = None;
            cx.space.draw_into(&mut proposal.point, rng);
            return;
        }
        let winner =
            select::tournament(|i| &self.alive[i].score, self.alive.len(), self.settings.sample, rng);
        let parent = &self.alive[winner];
        proposal.parent = Some(parent.id);
        proposal.point.clone_from(&parent.point);
        mutate::one_decision_in(cx.space, &mut proposal.point, rng);
    }
}

impl SearchAlgorithm for Ageing {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let propose = |offset| {
            let mut proposal = Proposal::new(Point::new([], []));
            self.propose(cx, offset, &mut proposal);
            proposal
        };
        Ok((0..count).map(propose).collect())
    }

    fn ask_into(&self, cx: &Context<'_>, proposal: &mut Proposal) -> Result<bool> {
        self.propose(cx, 0, proposal);
        Ok(true)
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            if self.alive.len() < self.settings.population {
                self.alive.extend(Individual::of(trial, cx.goals));
            } else if self.alive[self.oldest].become_of(trial, cx.goals) {
                self.oldest = (self.oldest + 1) % self.settings.population;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Decision, Domain, Label};
    use crate::trial::{Direction, Measurement, Objective, Outcome};

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
            let cx = Context { space: &space, goals: &goals, seed, next, running: &[] };
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
