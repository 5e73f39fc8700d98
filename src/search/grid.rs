//! Grid search: every point once, in a random order or in lexicographic order.
//!
//! Trial number `i` evaluates the point at position `i` of the order, so there is nothing to remember and any number of
//! workers share one grid. Points are unranked from their number: the grid is exact for spaces far beyond 2^64 points
//! and nothing is ever listed. The random order is a permutation of the ranks (`space/shuffle.rs`): search without
//! repetition, which in small spaces beats drawing with replacement (Bergstra and Bengio 2012, JMLR 13:281, for why
//! random order beats lexicographic order when the budget does not cover the grid).
//!
//! A real decision stands for `levels` values, evenly spaced on its scale, ends included. The search claims
//! exhaustion: no point twice, and an empty answer at the end of the grid; a trial that fails is not tried again.
//! Numbers of trials that others took (points a user enqueued) count as positions. An ask costs O(decisions) big-integer
//! steps, a tell and the memory nothing.

use num_bigint::BigUint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::{Error, Result};
use crate::space::{Decision, Domain, Point, SearchSpace, Shuffle};
use crate::trial::{Goals, Proposal, Trial};

/// In which order a grid is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// At random, as the seed says.
    Shuffled,
    /// The last decision fastest.
    Lexicographic,
}

/// Grid search: every point of the space exactly once, then the search ends. Exact for spaces of any size.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grid {
    /// "shuffled" (a random order without repetition) or "lexicographic" (the last decision fastest).
    pub order: Order,
    /// Number of values that stand for a real decision, evenly spaced on its (logarithmic) scale with both ends; 1 or
    /// more (1: the middle).
    pub levels: usize,
}

impl Default for Grid {
    fn default() -> Self {
        Grid { order: Order::Shuffled, levels: 10 }
    }
}

impl Settings for Grid {
    const NAME: &'static str = "grid";

    fn build(self, space: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        require((1..1 << 31).contains(&self.levels), Self::NAME, || {
            format!("levels is {}, expected 1 to 2147483647", self.levels)
        })?;
        Ok(Box::new(Numbered { order: self.order, lattice: Lattice::new(space, self.levels)? }))
    }
}

struct Numbered {
    order: Order,
    lattice: Lattice,
}

impl SearchAlgorithm for Numbered {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let shuffle = Shuffle::new(self.lattice.size.clone(), cx.seed);
        (cx.next..)
            .take(count)
            .map(BigUint::from)
            .take_while(|position| *position < self.lattice.size)
            .map(|position| {
                let rank = match self.order {
                    Order::Shuffled => shuffle.at(&position),
                    Order::Lexicographic => position,
                };
                Ok(Proposal::new(self.lattice.point(cx.space, &rank)?))
            })
            .collect()
    }

    fn tell(&mut self, _: &Context<'_>, _: &[Trial]) -> Result<()> {
        Ok(())
    }
}

/// The space with every real decision replaced by the numbers of its levels.
struct Lattice {
    discrete: SearchSpace,
    size: BigUint,
}

impl Lattice {
    fn new(space: &SearchSpace, levels: usize) -> Result<Self> {
        let decisions = space.decisions().iter().map(|decision| {
            let domain = match &decision.domain {
                Domain::Real { low, high, .. } => {
                    let last = if low < high { levels as i64 - 1 } else { 0 };
                    Domain::Integer { low: 0, high: last, step: 1 }
                }
                other => other.clone(),
            };
            Decision { domain, ..decision.clone() }
        });
        let discrete = SearchSpace::new(decisions.collect())?;
        let size = discrete.size().ok_or_else(|| Error::Internal("a lattice with a real decision".into()))?;
        Ok(Lattice { discrete, size })
    }

    fn point(&self, space: &SearchSpace, rank: &BigUint) -> Result<Point> {
        let lattice = self.discrete.unrank(rank)?;
        let mut codes = lattice.codes().to_vec();
        let mut reals = vec![0.0; space.n_reals()];
        for (i, code) in codes.iter_mut().enumerate() {
            if let Some(slot) = space.real_slot(i).filter(|_| lattice.is_active(i)) {
                let last = self.discrete.count(i) - 1;
                let unit = if last > 0 { f64::from(*code) / f64::from(last) } else { 0.5 };
                reals[slot] = space.decisions()[i].domain.from_unit(unit) + 0.0;
                *code = 0;
            }
        }
        Ok(Point::new(codes, reals))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::conformance::{grid, one_loss};
    use super::*;
    use crate::space::tests::{any_space, mixed};

    fn all(settings: Grid, space: &SearchSpace, seed: u64) -> Vec<Point> {
        let goals = one_loss();
        let algorithm = settings.build(space, &goals).unwrap();
        let mut points = Vec::new();
        loop {
            let cx = Context {
                space,
                goals: &goals,
                seed,
                next: points.len() as u64,
                running: &[],
                feasible: None,
            };
            let proposals = algorithm.ask(&cx, 7).unwrap();
            if proposals.is_empty() {
                return points;
            }
            points.extend(proposals.into_iter().map(|proposal| proposal.point));
        }
    }

    proptest! {
        #[test]
        fn every_point_comes_once_and_then_nothing(space in any_space(), seed in any::<u64>()) {
            let size = usize::try_from(space.size().unwrap()).unwrap();
            prop_assume!(size <= 500);
            for order in [Order::Shuffled, Order::Lexicographic] {
                let points = all(Grid { order, levels: 3 }, &space, seed);
                prop_assert_eq!(points.len(), size);
                prop_assert_eq!(points.iter().collect::<HashSet<_>>().len(), size);
            }
        }
    }

    #[test]
    fn lexicographic_order_is_that_of_the_ranks() {
        let space = grid(3, 3);
        let points = all(Grid { order: Order::Lexicographic, levels: 3 }, &space, 0);
        assert!(points.iter().enumerate().all(|(i, p)| space.rank(p).unwrap() == BigUint::from(i)));
    }

    #[test]
    fn reals_are_gridded_on_their_scale() {
        let space = mixed();
        let points = all(Grid { order: Order::Shuffled, levels: 4 }, &space, 0);
        assert_eq!(points.len(), (3 + 1) * 8 * 4);
        for point in &points {
            space.check(point).unwrap();
        }
        let exponents: HashSet<i64> =
            points.iter().map(|p| (p.reals()[0].log10() * 100.0).round() as i64).collect();
        assert_eq!(exponents, HashSet::from([-400, -300, -200, -100]));
    }

    #[test]
    fn huge_spaces_are_not_listed() {
        let points = {
            let space = grid(200, 7);
            let goals = one_loss();
            let algorithm = Grid::default().build(&space, &goals).unwrap();
            let cx = Context { space: &space, goals: &goals, seed: 1, next: 0, running: &[], feasible: None };
            algorithm.ask(&cx, 100).unwrap()
        };
        let mean: f64 = points.iter().map(|p| p.point.codes().iter().sum::<i32>()).sum::<i32>().into();
        assert!((mean / 100.0 - 600.0).abs() < 12.0, "{mean}");
    }
}
