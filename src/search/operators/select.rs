//! Selection: which of several scored trials becomes a parent.

use rand::Rng as _;

use crate::rng::Rng;
use crate::trial::Score;

/// Tournament: the best of `size` draws with replacement from `scores` (which must not be empty).
///
/// With several objectives the winner is drawn uniformly from the non-dominated ones of the tournament. Ties of one
/// objective go to the first drawn.
#[must_use]
pub fn tournament<'a>(score: impl Fn(usize) -> &'a Score, n: usize, size: usize, rng: &mut Rng) -> usize {
    let mut best = rng.random_range(0..n);
    if score(best).losses.len() == 1 {
        for _ in 1..size {
            let rival = rng.random_range(0..n);
            if score(rival).compare(score(best)).is_lt() {
                best = rival;
            }
        }
        return best;
    }
    let mut drawn = vec![best];
    drawn.extend((1..size).map(|_| rng.random_range(0..n)));
    let winners: Vec<usize> =
        drawn.iter().copied().filter(|&i| !drawn.iter().any(|&j| score(j).dominates(score(i)))).collect();
    winners[rng.random_range(0..winners.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

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
    }
}
