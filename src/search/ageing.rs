//! The ageing population that the regularized evolutions share: random trials first, then mutants; the oldest dies.
//!
//! Real, Aggarwal, Huang and Le 2018, arXiv 1802.01548, algorithm 1; which parent a tournament elects is the caller's.

use std::collections::VecDeque;

use super::individual::Individual;
use super::operators::mutate;
use super::{Context, SearchAlgorithm, require};
use crate::error::Result;
use crate::rng::Rng;
use crate::trial::{Proposal, Trial};

/// The last `population` completed trials, and how a parent is elected among them.
pub(super) struct Ageing<Elect> {
    population: usize,
    /// Oldest first.
    alive: VecDeque<Individual>,
    elect: Elect,
}

impl<Elect: Fn(&VecDeque<Individual>, &mut Rng) -> usize> Ageing<Elect> {
    /// Nobody yet. `elect` gets a population that is not empty.
    pub(super) fn new(algorithm: &str, population: usize, sample: usize, elect: Elect) -> Result<Self> {
        require(population >= 1, algorithm, || format!("population is {population}, expected 1 or more"))?;
        require(sample >= 1, algorithm, || format!("sample is {sample}, expected 1 or more"))?;
        Ok(Ageing { population, alive: VecDeque::new(), elect })
    }
}

impl<Elect: Fn(&VecDeque<Individual>, &mut Rng) -> usize + Send> SearchAlgorithm for Ageing<Elect> {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let propose = |offset: usize| {
            let rng = &mut cx.rng(offset);
            let started = cx.next + offset as u64 >= self.population as u64;
            if !started || self.alive.is_empty() {
                return Proposal::new(cx.space.draw(rng));
            }
            let parent = &self.alive[(self.elect)(&self.alive, rng)];
            let point = mutate::one_decision(cx.space, &parent.point, rng);
            Proposal { parent: Some(parent.id), ..Proposal::new(point) }
        };
        Ok((0..count).map(propose).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            self.alive.extend(Individual::of(trial, cx.goals));
            if self.alive.len() > self.population {
                self.alive.pop_front();
            }
        }
        Ok(())
    }
}
