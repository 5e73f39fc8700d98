//! Local search: climb from a start to the best of its neighbours until none is better, then start anew.
//!
//! White, Nolen and Savani 2020, "Exploring the Loss Landscape in Neural Architecture Search", arXiv 2005.02960,
//! algorithm 1; den Ottelander, Dushatskiy, Virgolin and Bosman 2020, arXiv 2004.08996, show how strong it is on NAS
//! spaces. `best` improvement looks at all neighbours before it moves (the paper's algorithm), `first` moves as soon as
//! one is better (its variant "query until lower"). The first start is the best of `starts` random points, later ones
//! are single random points. Neighbours are those of `space/neighbours.rs`, in random order.
//!
//! Deviations: with several objectives "better" is constrained Pareto domination, and every climb ends in a local
//! optimum of that; parallel asks that find the neighbourhood handed out continue with the next starts; neighbours
//! that an earlier climb has visited are not looked at again, so climbs do not merge. In a space without reals this
//! search claims exhaustion: starts are the next unvisited points of a random order of all points (uniform over points),
//! no point is proposed twice, and an empty answer ends it; with reals, and among feasible points where they are known
//! and not all visited, they are drawn. Defaults: 10 starts are those of
//! the paper's code, `first` is ours (fewer trials a step). A move costs its neighbourhood, an ask O(decisions) else;
//! memory is all visited points.

use std::collections::HashSet;

use num_bigint::BigUint;
use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::individual::Individual;
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::stream;
use crate::space::{Point, SearchSpace, Shuffle};
use crate::trial::{Goals, Proposal, Trial};

/// When local search moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Improvement {
    /// As soon as a neighbour is better.
    First,
    /// To the best neighbour, after all were looked at.
    Best,
}

/// Local search with restarts (White et al. 2020, arXiv 2005.02960): moves to better neighbours until there is none,
/// then starts from another random point. Never repeats a point in a space without real decisions, and ends when all
/// were tried.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LocalSearch {
    /// "first": move as soon as a neighbour is better; "best": look at all neighbours before each move.
    pub improvement: Improvement,
    /// Number of random trials of which the best is the first start; 1 or more.
    pub starts: usize,
}

impl Default for LocalSearch {
    fn default() -> Self {
        LocalSearch { improvement: Improvement::First, starts: 10 }
    }
}

impl Settings for LocalSearch {
    const NAME: &'static str = "local_search";

    fn build(self, space: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        require(self.starts >= 1, Self::NAME, || format!("starts is {}, expected 1 or more", self.starts))?;
        Ok(Box::new(Climb {
            settings: self,
            size: space.size(),
            told: 0,
            best_start: None,
            centre: None,
            candidate: None,
            open: Vec::new(),
            visited: HashSet::new(),
            cursor: BigUint::ZERO,
            next_start: None,
        }))
    }
}

struct Climb {
    settings: LocalSearch,
    /// The number of points; `None` with real decisions.
    size: Option<BigUint>,
    told: usize,
    /// The best of the first starts.
    best_start: Option<Individual>,
    /// Where the climb stands; `None` before the first start and after a local optimum.
    centre: Option<Individual>,
    /// The best neighbour so far that is better than the centre.
    candidate: Option<Individual>,
    /// Neighbours of the centre that were not told yet, in the order of proposal.
    open: Vec<Point>,
    visited: HashSet<Point>,
    /// The positions before this one in the random order of all points are visited.
    cursor: BigUint,
    /// The point at the cursor, not visited; `None` before the first tell and at the end.
    next_start: Option<Point>,
}

impl Climb {
    /// The point at a position of the random order of a countable space.
    fn numbered(&self, space: &SearchSpace, seed: u64, position: &BigUint) -> Result<Option<Point>> {
        match &self.size {
            Some(size) if position < size => {
                space.unrank(&Shuffle::new(size.clone(), seed).at(position)).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn stand_on(&mut self, cx: &Context<'_>, centre: Individual) {
        self.open = cx.space.neighbours(&centre.point);
        self.open.retain(|point| !self.visited.contains(point));
        self.open.shuffle(&mut stream(cx.seed, centre.id, "neighbours"));
        // A local optimum without an open neighbour ends the climb at once.
        self.centre = (!self.open.is_empty()).then_some(centre);
        self.candidate = None;
    }

    fn learn(&mut self, cx: &Context<'_>, trial: &Trial) {
        let individual = Individual::of(trial, cx.goals);
        let better = |a: &Individual, b: Option<&Individual>| b.is_none_or(|b| a.score.dominates(&b.score));
        self.told += 1;
        if self.told <= self.settings.starts {
            if let Some(start) = individual.filter(|start| better(start, self.best_start.as_ref())) {
                self.best_start = Some(start);
            }
            if self.told == self.settings.starts
                && let Some(start) = self.best_start.take()
            {
                self.stand_on(cx, start);
            }
            return;
        }
        let Some(centre) = &self.centre else {
            // A neighbour of an earlier climb that comes late is no start.
            if let Some(start) = individual.filter(|_| trial.parent.is_none()) {
                self.stand_on(cx, start);
            }
            return;
        };
        let Some(at) = self.open.iter().position(|point| *point == trial.point) else { return };
        self.open.remove(at);
        if let Some(next) = individual
            && better(&next, Some(centre))
            && better(&next, self.candidate.as_ref())
        {
            self.candidate = Some(next);
        }
        if self.open.is_empty() || self.settings.improvement == Improvement::First {
            match self.candidate.take() {
                Some(next) => self.stand_on(cx, next),
                None if self.open.is_empty() => self.centre = None,
                None => {}
            }
        }
    }
}

/// How often a feasible start is drawn before the next point of all takes its place; few feasible points may all be known.
const FEASIBLE_TRIES: usize = 20;

impl SearchAlgorithm for Climb {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let mut taken: HashSet<&Point> = cx.running.iter().map(|trial| &trial.point).collect();
        let mut proposals = Vec::with_capacity(count);
        if let Some(centre) = &self.centre {
            for point in &self.open {
                if proposals.len() == count {
                    break;
                }
                if taken.insert(point) {
                    proposals.push(Proposal { parent: Some(centre.id), ..Proposal::new(point.clone()) });
                }
            }
        }
        let mut position = self.cursor.clone();
        while proposals.len() < count {
            if self.size.is_none() {
                proposals.push(Proposal::new(cx.draw(&mut cx.rng(proposals.len()))));
                continue;
            }
            if let Some(feasible) = cx.feasible {
                let mut rng = cx.rng(proposals.len());
                let drawn = (0..FEASIBLE_TRIES).map(|_| feasible.draw(&mut rng));
                let proposed = |point: &Point| proposals.iter().any(|known: &Proposal| known.point == *point);
                let new = |point: &Point| {
                    !self.visited.contains(point) && !taken.contains(point) && !proposed(point)
                };
                if let Some(point) = drawn.into_iter().find(new) {
                    proposals.push(Proposal::new(point));
                    continue;
                }
            }
            let Some(point) = self.numbered(cx.space, cx.seed, &position)? else { break };
            position += 1_u8;
            let proposed = cx.feasible.is_some() && proposals.iter().any(|known| known.point == point);
            if !self.visited.contains(&point) && !taken.contains(&point) && !proposed {
                proposals.push(Proposal::new(point));
            }
        }
        Ok(proposals)
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            self.visited.insert(trial.point.clone());
            if self.next_start.as_ref().is_none_or(|start| *start == trial.point) {
                self.next_start = self.numbered(cx.space, cx.seed, &self.cursor)?;
                while self.next_start.as_ref().is_some_and(|start| self.visited.contains(start)) {
                    self.cursor += 1_u8;
                    self.next_start = self.numbered(cx.space, cx.seed, &self.cursor)?;
                }
            }
            self.learn(cx, trial);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, gain_over_random, grid, mean_best, numeric, search};
    use super::*;

    #[test]
    fn it_climbs_where_random_search_does_not() {
        for improvement in [Improvement::First, Improvement::Best] {
            let settings = LocalSearch { improvement, ..LocalSearch::default() };
            let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
            assert!(gain > 8.0, "{gain} with {improvement:?}");
        }
    }

    #[test]
    fn every_point_is_tried_once_and_then_it_ends() {
        for improvement in [Improvement::First, Improvement::Best] {
            let settings = LocalSearch { improvement, starts: 3 };
            let told = search(settings, &grid(3, 4), |point| vec![digit_loss(point)], 1_000, 5);
            assert_eq!(told.len(), 64);
            assert_eq!(told.iter().map(|trial| &trial.point).collect::<HashSet<_>>().len(), 64);
        }
    }

    #[test]
    fn the_best_improvement_looks_at_all_neighbours() {
        let settings = LocalSearch { improvement: Improvement::Best, starts: 1 };
        let told = search(settings, &grid(3, 4), |point| vec![digit_loss(point)], 10, 5);
        assert!(told[1..].iter().all(|trial| trial.parent == Some(0)));
    }

    #[test]
    fn numbers_are_climbed_by_steps() {
        let settings = LocalSearch::default();
        let loss = |point: &Point| (point.reals()[0] - 1.0).abs();
        assert!(mean_best(&settings, &numeric(), loss, 200) < 0.3);
    }
}
