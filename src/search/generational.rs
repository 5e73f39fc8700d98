//! Generations: what `genetic`, `nsga2` and `nsga3` share.
//!
//! Completed trials gather as offspring; when there are as many as the population is large, a survival rule makes the
//! next parents of them and the last ones. Until the first generation is complete all proposals are random. Nothing
//! waits: a trial told late belongs to the generation in which it is told, a failed or pruned one to none, so parallel
//! and serial runs follow the same rule.

use super::individual::Individual;
use super::operators::Variation;
use super::operators::select::Selection;
use super::{Context, SearchAlgorithm};
use crate::error::Result;
use crate::rng::{Rng, stream};
use crate::trial::{Proposal, Trial};

/// Who lives on.
pub(crate) trait Survival: Send {
    /// The next parents, at most `keep` of them, best first.
    fn survive(
        &mut self,
        parents: Vec<Individual>,
        offspring: Vec<Individual>,
        keep: usize,
        rng: &mut Rng,
    ) -> Vec<Individual>;
}

/// A search by generations.
pub(crate) struct Generational<S> {
    pub(crate) population: usize,
    pub(crate) selection: Selection,
    pub(crate) sample: usize,
    pub(crate) variation: Variation,
    pub(crate) survival: S,
    /// Best first; empty until the first generation is complete.
    parents: Vec<Individual>,
    offspring: Vec<Individual>,
}

impl<S> Generational<S> {
    pub(crate) fn new(
        population: usize,
        selection: Selection,
        sample: usize,
        variation: Variation,
        survival: S,
    ) -> Self {
        Generational {
            population,
            selection,
            sample,
            variation,
            survival,
            parents: vec![],
            offspring: vec![],
        }
    }
}

impl<S: Survival> SearchAlgorithm for Generational<S> {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let propose = |offset: usize| {
            let rng = &mut cx.rng(offset);
            if self.parents.is_empty() {
                return Proposal::new(cx.draw(rng));
            }
            let mut pick = || &self.parents[self.selection.pick(self.parents.len(), self.sample, rng)];
            let (a, b) = (pick(), pick());
            Proposal {
                parent: Some(a.id),
                ..Proposal::new(self.variation.child(cx.space, &a.point, &b.point, rng))
            }
        };
        Ok((0..count).map(propose).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            self.offspring.extend(Individual::of(trial, cx.goals));
            if self.offspring.len() >= self.population {
                let (parents, offspring) =
                    (std::mem::take(&mut self.parents), std::mem::take(&mut self.offspring));
                let rng = &mut stream(cx.seed, trial.id, "survival");
                self.parents = self.survival.survive(parents, offspring, self.population, rng);
            }
        }
        Ok(())
    }
}

/// The individuals at these positions, in this order; each position at most once.
pub(crate) fn take(from: Vec<Individual>, positions: impl IntoIterator<Item = usize>) -> Vec<Individual> {
    let mut slots: Vec<Option<Individual>> = from.into_iter().map(Some).collect();
    positions.into_iter().filter_map(|i| slots[i].take()).collect()
}
