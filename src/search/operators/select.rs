//! Selection: which of several scored trials becomes a parent.

use std::cmp::Ordering;

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rng::{Rng, below};
use crate::trial::Score;

/// How a parent is drawn from a population that is sorted best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The best of `sample` draws with replacement.
    Tournament,
    /// Any of the best `sample`.
    Truncation,
}

impl Selection {
    /// The position of a parent among `n` (at least 1) that are sorted best first.
    #[must_use]
    pub fn pick(self, n: usize, sample: usize, rng: &mut Rng) -> usize {
        match self {
            Selection::Tournament => {
                (1..sample).fold(rng.random_range(0..n), |best, _| best.min(rng.random_range(0..n)))
            }
            Selection::Truncation => rng.random_range(0..sample.clamp(1, n)),
        }
    }
}

/// Tournament: the best of `size` draws with replacement from `scores` (which must not be empty).
///
/// With several objectives the winner is drawn uniformly from the non-dominated ones of the tournament. Ties of one
/// objective go to the first drawn.
#[must_use]
pub fn tournament<'a>(score: impl Fn(usize) -> &'a Score, n: usize, size: usize, rng: &mut Rng) -> usize {
    let mut best = below(rng, n);
    if score(best).losses.len() == 1 {
        // One number a score, so that the loop is without branches that nobody can predict.
        let key = |i: usize| score(i).key();
        let mut lowest = key(best);
        for _ in 1..size {
            let rival = below(rng, n);
            let rivals = key(rival);
            let lower = rivals < lowest;
            best = if lower { rival } else { best };
            lowest = if lower { rivals } else { lowest };
        }
        return best;
    }
    let mut winners = vec![best];
    for _ in 1..size {
        enter(&score, &mut winners, rng.random_range(0..n));
    }
    winners[rng.random_range(0..winners.len())]
}

/// Adds one to a list of individuals that do not dominate one another, unless one of them dominates it; those that it
/// dominates leave.
pub fn enter<'a>(score: impl Fn(usize) -> &'a Score, undominated: &mut Vec<usize>, one: usize) {
    let new = score(one);
    let mut beaten = false;
    // What dominates `one` and what `one` dominates cannot both be in the list.
    undominated.retain(|&other| match new.dominance(score(other)) {
        Some(Ordering::Greater) => {
            beaten = true;
            true
        }
        Some(Ordering::Less) => false,
        _ => true,
    });
    if !beaten {
        undominated.push(one);
    }
}

/// A loser: of up to `pairs` random pairs, the dominated one of the first in which one dominates the other (Real et al.
/// 2017, arXiv 1703.01041, section 3.1); any if there is none.
#[must_use]
pub fn loser<'a>(score: impl Fn(usize) -> &'a Score, n: usize, pairs: usize, rng: &mut Rng) -> usize {
    for _ in 0..pairs {
        let (a, b) = (rng.random_range(0..n), rng.random_range(0..n));
        match score(a).dominance(score(b)) {
            Some(Ordering::Less) => return b,
            Some(Ordering::Greater) => return a,
            _ => {}
        }
    }
    rng.random_range(0..n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn selection_prefers_the_front_of_the_list() {
        let mut counts = [[0; 10]; 2];
        for trial in 0..2_000 {
            let mut rng = stream(0, trial, "test");
            counts[0][Selection::Tournament.pick(10, 2, &mut rng)] += 1;
            counts[1][Selection::Truncation.pick(10, 4, &mut rng)] += 1;
        }
        // Of two draws, the chance that the lesser is i is (19 - 2i) / 100.
        assert!((320..440).contains(&counts[0][0]) && counts[0][9] < 45, "{counts:?}");
        assert!(counts[1][..4].iter().all(|n| (420..580).contains(n)), "{counts:?}");
        assert_eq!(Selection::Truncation.pick(1, 5, &mut stream(0, 0, "test")), 0);
    }

    #[test]
    fn a_large_tournament_finds_the_best() {
        let scores: Vec<Score> =
            (0..20).map(|i| Score { violation: 0.0, losses: [f64::from((i + 7) % 20)].into() }).collect();
        let winner = tournament(|i| &scores[i], scores.len(), 400, &mut stream(0, 0, "test"));
        assert_eq!(scores[winner].losses[0], 0.0);
    }

    #[test]
    fn with_two_objectives_only_the_front_wins() {
        let scores: Vec<Score> = [[0.0, 3.0], [1.0, 1.0], [3.0, 0.0], [2.0, 2.0], [3.0, 3.0]]
            .map(|losses| Score { violation: 0.0, losses: losses.into() })
            .to_vec();
        let mut wins = [0; 5];
        for trial in 0..300 {
            wins[tournament(|i| &scores[i], 5, 100, &mut stream(0, trial, "test"))] += 1;
        }
        assert!(wins[..3].iter().all(|&n| n > 50) && wins[3..] == [0, 0], "{wins:?}");
        for trial in 0..100 {
            assert!(loser(|i| &scores[i], 5, 100, &mut stream(0, trial, "test")) >= 3);
        }
    }
}
