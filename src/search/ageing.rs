//! The ageing population that the regularized evolutions share: random trials first, then mutants; the oldest dies.
//!
//! Real, Aggarwal, Huang and Le 2018, arXiv 1802.01548, algorithm 1; which parent a tournament elects is the caller's.

use super::individual::Individual;
use super::operators::mutate;
use super::{Context, SearchAlgorithm, require};
use crate::error::Result;
use crate::rng::Rng;
use crate::space::Point;
use crate::trial::{Fidelity, Proposal, Trial};

/// The last `population` completed trials, and how a parent is elected among them.
pub(super) struct Ageing<Elect> {
    population: usize,
    /// A ring once it is full, so that the youngest is written into the memory of the oldest.
    alive: Vec<Individual>,
    /// What orders them, side by side for tournaments; empty with several objectives.
    keys: Vec<i128>,
    /// Where the oldest stands in a full ring.
    oldest: usize,
    elect: Elect,
}

impl<Elect: Fn(&[Individual], &[i128], &mut Rng) -> usize> Ageing<Elect> {
    /// Nobody yet. `elect` gets a population that is not empty, in no order, and its keys.
    pub(super) fn new(algorithm: &str, population: usize, sample: usize, elect: Elect) -> Result<Self> {
        require(population >= 1, algorithm, || format!("population is {population}, expected 1 or more"))?;
        require(sample >= 1, algorithm, || format!("sample is {sample}, expected 1 or more"))?;
        Ok(Ageing { population, alive: Vec::new(), keys: Vec::new(), oldest: 0, elect })
    }

    fn propose(&self, cx: &Context<'_>, offset: usize, proposal: &mut Proposal) {
        let rng = &mut cx.rng(offset);
        proposal.fidelity = Fidelity::Full;
        let started = cx.next + offset as u64 >= self.population as u64;
        if !started || self.alive.is_empty() {
            proposal.parent = None;
            cx.draw_into(&mut proposal.point, rng);
            return;
        }
        let parent = &self.alive[(self.elect)(&self.alive, &self.keys, rng)];
        proposal.parent = Some(parent.id);
        proposal.point.clone_from(&parent.point);
        mutate::one_decision_in(cx.space, &mut proposal.point, rng);
    }
}

impl<Elect: Fn(&[Individual], &[i128], &mut Rng) -> usize + Send> SearchAlgorithm for Ageing<Elect> {
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
            let place = if self.alive.len() < self.population {
                let Some(individual) = Individual::of(trial, cx.goals) else { continue };
                self.alive.push(individual);
                self.alive.len() - 1
            } else if self.alive[self.oldest].become_of(trial, cx.goals) {
                let youngest = self.oldest;
                self.oldest = (self.oldest + 1) % self.population;
                youngest
            } else {
                continue;
            };
            if cx.goals.objectives().len() == 1 {
                let key = self.alive[place].score.key();
                match self.keys.get_mut(place) {
                    Some(old) => *old = key,
                    None => self.keys.push(key),
                }
            }
        }
        Ok(())
    }
}
