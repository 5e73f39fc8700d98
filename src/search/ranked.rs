//! The loop of all algorithms that fit a model, rank candidates with it and try the best of them, one after another.
//!
//! The ranking after m told trials is a function of those m trials and the seed. It is made when it is first asked for
//! and kept until the next is due, which is a cache and nothing else: `ask` answers the same without it. A ranking is due
//! every `every` trials, later every tenth part of the history, so that fits which grow with the history cost the same
//! a trial throughout. Trials that run, were tried or are in the same answer are skipped; when the ranking is used up,
//! and with probability `explore`, a random free point is proposed.

use std::sync::{Mutex, PoisonError};

use rand::Rng as _;

use super::history::{History, Past};
use super::{Context, SearchAlgorithm};
use crate::error::Result;
use crate::rng::{Rng, stream};
use crate::space::Point;
use crate::trial::{Goals, Proposal, Trial};

/// Candidates from a model of the past.
pub(super) trait Ranker: Send {
    /// What to try next, best first.
    fn rank(&self, past: &Past<'_>, goals: &Goals, rng: &mut Rng) -> Result<Vec<Point>>;
}

pub(super) struct Ranked<R> {
    ranker: R,
    /// Random trials before the first model.
    startup: usize,
    every: usize,
    explore: f64,
    history: History,
    ranking: Mutex<Option<Ranking>>,
}

struct Ranking {
    /// Trials it is made from.
    told: usize,
    points: Vec<Point>,
}

impl<R: Ranker> Ranked<R> {
    pub(super) fn new(ranker: R, startup: usize, every: usize, explore: f64) -> Self {
        Ranked { ranker, startup, every, explore, history: History::default(), ranking: Mutex::new(None) }
    }
}

/// How many of `told` trials the model in force is made from.
pub(super) fn due(told: usize, startup: usize, every: usize) -> usize {
    let mut due = startup.max(1);
    if told < due {
        return told;
    }
    loop {
        let next = due + every.max(due / 10).max(1);
        if next > told {
            return due;
        }
        due = next;
    }
}

impl<R: Ranker> SearchAlgorithm for Ranked<R> {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let mut taken = self.history.seen().with(cx.running);
        let mut cache = self.ranking.lock().unwrap_or_else(PoisonError::into_inner);
        let told = due(self.history.len(), self.startup, self.every);
        let mut proposals = Vec::with_capacity(count);
        for offset in 0..count {
            let rng = &mut cx.rng(offset);
            let started = told >= 2 && cx.next + offset as u64 >= self.startup as u64;
            let mut point = None;
            if started && rng.random::<f64>() >= self.explore {
                if cache.as_ref().is_none_or(|ranking| ranking.told != told) {
                    let past = self.history.past(cx.space, told).within(cx.feasible);
                    let points =
                        self.ranker.rank(&past, cx.goals, &mut stream(cx.seed, told as u64, "rank"))?;
                    *cache = Some(Ranking { told, points });
                }
                point = cache
                    .as_ref()
                    .and_then(|ranking| ranking.points.iter().find(|point| !taken.contains(point)))
                    .cloned();
            }
            let Some(point) = point.or_else(|| taken.free(cx, rng)) else { break };
            taken.insert(&point);
            proposals.push(Proposal::new(point));
        }
        Ok(proposals)
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            self.history.tell(cx.goals, trial);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_due_at_fixed_numbers_of_trials() {
        let dues: Vec<usize> = (0..16).map(|told| due(told, 4, 5)).collect();
        assert_eq!(dues, [0, 1, 2, 3, 4, 4, 4, 4, 4, 9, 9, 9, 9, 9, 14, 14]);
        assert_eq!(due(0, 0, 0), 0);
        let late = (0..10_000).map(|told| due(told, 10, 1)).collect::<std::collections::BTreeSet<_>>();
        assert!(late.len() < 100, "{}", late.len());
    }
}
