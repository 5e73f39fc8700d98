//! DEHB: Hyperband's timetable, with a population of differential evolution on every rung.
//!
//! Awad, Mallik and Hutter 2021, "DEHB: Evolutionary Hyperband for Scalable, Robust and Efficient Hyperparameter
//! Optimization", arXiv 2105.09821, algorithms 1 and 2. The first bracket is plain successive halving and fills the
//! populations. From then on every trial is a child of DE/rand/1/bin: its target is the next member of its rung's
//! population, in turns; the three others come from the best of the rung below, which is how low fidelities guide high
//! ones, or on a bracket's first rung from the rung itself. A child takes its target's place unless it is worse.
//!
//! Deviations: which rung, bracket and target a trial has follows from its number alone, so nobody waits; a promotion in
//! the first bracket takes the best told so far. Children are made as in `differential_evolution.rs`, and with several
//! objectives a child must dominate its target or equal it. Defaults: eta 3, F = 0.5 and crossover rate 0.5 are the
//! paper's. An ask costs O(population log population + decisions); the memory is the populations, 49 points by default.

use std::collections::HashSet;

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::brackets::{Shape, best_first};
use super::differential_evolution::child;
use super::individual::Individual;
use super::rungs::{MIN_FIDELITY, Rungs};
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::Rng;
use crate::space::SearchSpace;
use crate::trial::{Goals, Proposal, Trial, TrialId};

/// DEHB (Awad et al. 2021, arXiv 2105.09821): Hyperband with differential evolution on every fidelity. For evaluators
/// that obey `fidelity`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dehb {
    /// The least fraction of a full evaluation, above 0 and up to 1.
    pub min_fidelity: f64,
    /// One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
    pub eta: usize,
    /// F, the factor of the difference; above 0, at most 2.
    pub factor: f64,
    /// The chance of each decision to come from the mutant and not from the target, 0 to 1.
    pub crossover_rate: f64,
}

impl Default for Dehb {
    fn default() -> Self {
        Dehb { min_fidelity: MIN_FIDELITY, eta: 3, factor: 0.5, crossover_rate: 0.5 }
    }
}

impl Settings for Dehb {
    const NAME: &'static str = "dehb";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Dehb { factor, crossover_rate, .. } = self;
        require(factor > 0.0 && factor <= 2.0, Self::NAME, || {
            format!("factor is {factor}, expected above 0 and at most 2")
        })?;
        require((0.0..=1.0).contains(&crossover_rate), Self::NAME, || {
            format!("crossover_rate is {crossover_rate}, expected 0 to 1")
        })?;
        let rungs = Rungs::new(self.min_fidelity, self.eta, Self::NAME)?;
        let shapes = rungs.brackets();
        let sizes =
            (0..rungs.len()).map(|rung| shapes.iter().map(|shape| places(shape, rung)).max().unwrap_or(0));
        let populations = sizes.map(|size| vec![None; size]).collect();
        Ok(Box::new(Evolving {
            rates: (factor, crossover_rate),
            rungs,
            shapes,
            populations,
            promoted: HashSet::new(),
        }))
    }
}

/// Trials of a bracket on a rung.
fn places((first, sizes): &Shape, rung: usize) -> usize {
    rung.checked_sub(*first).and_then(|level| sizes.get(level)).copied().unwrap_or(0)
}

struct Evolving {
    /// F and the crossover rate.
    rates: (f64, f64),
    rungs: Rungs,
    shapes: Vec<Shape>,
    /// One a rung, with as many places as the largest bracket has there.
    populations: Vec<Vec<Option<Individual>>>,
    /// Trials that the first bracket took to the next rung.
    promoted: HashSet<TrialId>,
}

/// What a trial is for.
#[derive(Debug, PartialEq)]
struct Job {
    rung: usize,
    /// Its target in the rung's population.
    slot: usize,
    /// Trials of its bracket on this rung.
    size: usize,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// Of the first bracket, on its first rung.
    Random,
    /// Of the first bracket, above.
    Promotion,
    /// Of a later one, on its first rung.
    Bottom,
    /// Of a later one, above.
    Above,
}

impl Evolving {
    fn job(&self, trial: TrialId) -> Job {
        let per_rung: Vec<usize> = (0..self.rungs.len())
            .map(|rung| self.shapes.iter().map(|shape| places(shape, rung)).sum())
            .collect();
        let round = per_rung.iter().sum::<usize>() as u64;
        let (number, mut rest) = ((trial / round) as usize, (trial % round) as usize);
        let mut before: Vec<usize> = per_rung.iter().map(|n| n * number).collect();
        for (bracket, (first, sizes)) in self.shapes.iter().enumerate() {
            for (level, &size) in sizes.iter().enumerate() {
                let rung = first + level;
                if rest < size {
                    let kind = match (number + bracket, level) {
                        (0, 0) => Kind::Random,
                        (0, _) => Kind::Promotion,
                        (_, 0) => Kind::Bottom,
                        _ => Kind::Above,
                    };
                    return Job {
                        rung,
                        slot: (before[rung] + rest) % self.populations[rung].len(),
                        size,
                        kind,
                    };
                }
                rest -= size;
                before[rung] += size;
            }
        }
        // The brackets of a round have as many trials as the round.
        Job { rung: 0, slot: 0, size: 1, kind: Kind::Random }
    }

    fn members(&self, rung: usize) -> Vec<&Individual> {
        self.populations[rung].iter().flatten().collect()
    }

    /// The best of a rung, best first.
    fn best(&self, rung: usize, keep: usize) -> Vec<&Individual> {
        let members = self.members(rung);
        let owned: Vec<Individual> = members.iter().map(|&one| one.clone()).collect();
        best_first(&owned, keep).into_iter().map(|i| members[i]).collect()
    }

    /// Three different individuals besides the target: of the parents' pool, and if that is small, of all rungs.
    fn three(&self, job: &Job, target: TrialId, rng: &mut Rng) -> Option<[&Individual; 3]> {
        let mut pool = match (job.kind == Kind::Above, job.rung.checked_sub(1)) {
            (true, Some(below)) => self.best(below, job.size),
            _ => self.members(job.rung),
        };
        pool.retain(|one| one.id != target);
        for rung in (0..self.rungs.len()).rev() {
            if pool.len() >= 3 {
                break;
            }
            for one in self.members(rung) {
                if one.id != target && pool.iter().all(|known| known.id != one.id) {
                    pool.push(one);
                }
            }
        }
        if pool.len() < 3 {
            return None;
        }
        let mut pick = || pool.swap_remove(rng.random_range(0..pool.len()));
        Some([pick(), pick(), pick()])
    }

    fn propose(&self, cx: &Context<'_>, offset: usize, taken: &mut Vec<TrialId>) -> Proposal {
        let rng = &mut cx.rng(offset);
        let job = self.job(cx.next + offset as u64);
        let fidelity = self.rungs.fidelity(job.rung);
        let random = |rng: &mut Rng| Proposal { fidelity, ..Proposal::new(cx.draw(rng)) };
        if let (Kind::Promotion, Some(below)) = (&job.kind, job.rung.checked_sub(1)) {
            let free = |one: &&Individual| !self.promoted.contains(&one.id) && !taken.contains(&one.id);
            return match self.best(below, usize::MAX).into_iter().find(free) {
                Some(one) => {
                    taken.push(one.id);
                    Proposal { point: one.point.clone(), fidelity, parent: Some(one.id) }
                }
                None => random(rng),
            };
        }
        match &self.populations[job.rung][job.slot] {
            Some(target) if job.kind != Kind::Random => match self.three(&job, target.id, rng) {
                Some([a, b, c]) => {
                    let others = [&a.point, &b.point, &c.point];
                    let point = child(cx.space, &target.point, others, self.rates, rng);
                    Proposal { point, fidelity, parent: Some(target.id) }
                }
                None => random(rng),
            },
            _ => random(rng),
        }
    }
}

impl SearchAlgorithm for Evolving {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let mut taken: Vec<TrialId> = cx.running.iter().filter_map(|trial| trial.parent).collect();
        Ok((0..count).map(|offset| self.propose(cx, offset, &mut taken)).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            let job = self.job(trial.id);
            if job.kind == Kind::Promotion {
                self.promoted.extend(trial.parent);
            }
            if let Some(one) = Individual::of(trial, cx.goals) {
                one.compete(&mut self.populations[job.rung][job.slot]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, gain_over_random, grid, search};
    use super::*;
    use crate::trial::Fidelity;

    #[test]
    fn the_first_bracket_halves_and_the_others_evolve() {
        let told = search(Dehb::default(), &grid(8, 10), |p| vec![digit_loss(p)], 200, 0);
        let loss = |trial: &Trial| trial.measurement().unwrap().values[0];
        let mut first: Vec<f64> = told[..27].iter().map(loss).collect();
        first.sort_by(f64::total_cmp);
        assert_eq!(told[27..36].iter().map(loss).collect::<Vec<_>>(), first[..9]);
        assert_eq!((told[39].fidelity, loss(&told[39])), (Fidelity::Full, first[0]));
        // 27 + 9 + 3 + 1, then a bracket that starts one rung higher: three places there are still empty.
        assert!(told[40..43].iter().all(|trial| trial.parent.is_none()));
        assert!(told[44..52].iter().all(|trial| trial.parent.is_some()));
        let full = told.iter().filter(|trial| trial.fidelity == Fidelity::Full).count();
        assert_eq!(full, 8 + 8 + 1 + 1);
    }

    #[test]
    fn it_beats_random_search() {
        let gain = gain_over_random(&Dehb::default(), &grid(8, 10), digit_loss, 400);
        assert!(gain > 5.0, "{gain}");
    }
}
