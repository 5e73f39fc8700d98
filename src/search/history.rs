//! What the model-based algorithms remember: the told trials, how they compare, and which points are taken.

use std::collections::{HashMap, HashSet};

use num_bigint::BigUint;
use rand::Rng as _;

use super::Context;
use crate::cost::Feasible;
use crate::predict::normal;
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};
use crate::trial::{Goals, Score, Trial};

/// Draws before a point that nobody has tried is looked for systematically.
const DRAWS: usize = 32;

/// Weight of the sum in the augmented Chebyshev norm (Knowles 2006, "ParEGO", equation 2).
pub(super) const AUGMENTATION: f64 = 0.05;

/// Sixty-four bits that differ for different points (with all likelihood; a clash costs one proposal).
pub(super) fn fingerprint(point: &Point) -> u64 {
    let cells = point.codes().iter().map(|&code| code as u64);
    cells.chain(point.reals().iter().map(|real| real.to_bits())).fold(0xcbf2_9ce4_8422_2325, |hash, cell| {
        let mixed = (hash ^ cell).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    })
}

/// The points of finished trials, each with the number of trials told before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(HashMap<u64, usize>);

impl Seen {
    pub(super) fn insert(&mut self, point: &Point, position: usize) {
        self.0.entry(fingerprint(point)).or_insert(position);
    }

    /// Whether it is among the first `first` told.
    pub(super) fn contains(&self, point: &Point, first: usize) -> bool {
        self.0.get(&fingerprint(point)).is_some_and(|&position| position < first)
    }

    /// These and the running ones.
    pub(super) fn with<'a>(&'a self, running: &[Trial]) -> Taken<'a> {
        let mut taken = Taken { seen: self, more: HashSet::new() };
        for trial in running {
            taken.insert(&trial.point);
        }
        taken
    }
}

/// The points that are finished, running or already in this answer.
pub(super) struct Taken<'a> {
    seen: &'a Seen,
    more: HashSet<u64>,
}

impl Taken<'_> {
    pub(super) fn contains(&self, point: &Point) -> bool {
        let key = fingerprint(point);
        self.seen.0.contains_key(&key) || self.more.contains(&key)
    }

    pub(super) fn insert(&mut self, point: &Point) {
        if !self.contains(point) {
            self.more.insert(fingerprint(point));
        }
    }

    /// A random point that is not taken, within known bounds as long as there are such; `None` when all are taken.
    ///
    /// In a space with real decisions it may be taken after all, if none of `DRAWS` draws is free.
    pub(super) fn free(&self, cx: &Context<'_>, rng: &mut Rng) -> Option<Point> {
        let space = cx.space;
        let mut point = cx.draw(rng);
        for _ in 1..DRAWS {
            if !self.contains(&point) {
                return Some(point);
            }
            point = cx.draw(rng);
        }
        let Some(size) = space.size() else { return Some(point) };
        let taken = BigUint::from(self.seen.0.len() + self.more.len());
        if taken >= size {
            return None;
        }
        // Among one more successive points than are taken, one is free.
        let mut rank = BigUint::from(rng.random::<u128>()) % &size;
        loop {
            let point = space.unrank(&rank).ok()?;
            if !self.contains(&point) {
                return Some(point);
            }
            rank = (rank + 1_u8) % &size;
        }
    }
}

/// The told trials.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    points: Vec<Point>,
    /// `None`: failed, pruned or without a finite loss.
    scores: Vec<Option<Score>>,
    seen: Seen,
}

impl History {
    pub(super) fn tell(&mut self, goals: &Goals, trial: &Trial) {
        self.seen.insert(&trial.point, self.points.len());
        self.points.push(trial.point.clone());
        self.scores.push(
            trial
                .measurement()
                .map(|measurement| goals.score(measurement))
                .filter(|score| score.losses.iter().all(|loss| loss.is_finite())),
        );
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The first `first` trials.
    pub(super) fn past<'a>(&'a self, space: &'a SearchSpace, first: usize) -> Past<'a> {
        let (points, scores) = (&self.points[..first], &self.scores[..first]);
        Past { space, feasible: None, points, scores, seen: &self.seen }
    }
}

/// The trials that a model may learn from.
pub(super) struct Past<'a> {
    pub(super) space: &'a SearchSpace,
    feasible: Option<&'a Feasible>,
    pub(super) points: &'a [Point],
    pub(super) scores: &'a [Option<Score>],
    seen: &'a Seen,
}

impl<'a> Past<'a> {
    /// The same, of a study that knows its feasible points.
    pub(super) fn within(self, feasible: Option<&'a Feasible>) -> Self {
        Past { feasible, ..self }
    }

    /// A random point: one of the feasible ones, where they are known.
    pub(super) fn draw(&self, rng: &mut Rng) -> Point {
        match self.feasible {
            Some(feasible) => feasible.draw(rng),
            None => self.space.draw(rng),
        }
    }

    /// Whether a point is among these trials.
    pub(super) fn contains(&self, point: &Point) -> bool {
        self.seen.contains(point, self.points.len())
    }

    /// One number a trial, smaller is better: the normal score of its position when the feasible ones come first,
    /// by their loss, then the infeasible ones by their violation, then the failed ones.
    ///
    /// Several losses are one by the augmented Chebyshev norm of their ranks with these weights.
    pub(super) fn targets(&self, weights: &[f64]) -> Vec<f64> {
        let losses = self.scalarised(weights);
        let key = |i: usize| match &self.scores[i] {
            Some(score) if score.violation == 0.0 => (0, losses[i]),
            Some(score) => (1, score.violation),
            None => (2, 0.0),
        };
        let compare = |&a: &usize, &b: &usize| {
            let ((class_a, value_a), (class_b, value_b)) = (key(a), key(b));
            class_a.cmp(&class_b).then(value_a.total_cmp(&value_b))
        };
        let mut order: Vec<usize> = (0..self.points.len()).collect();
        order.sort_by(compare);
        let mut positions = vec![0.0; order.len()];
        for (position, tied) in order.chunk_by(|a, b| compare(a, b).is_eq()).enumerate() {
            for &i in tied {
                positions[i] = position as f64;
            }
        }
        normal::scores(&positions)
    }

    fn scalarised(&self, weights: &[f64]) -> Vec<f64> {
        if weights.len() == 1 {
            return self.scores.iter().map(|s| s.as_ref().map_or(0.0, |score| score.losses[0])).collect();
        }
        let mut worst = vec![0.0_f64; self.points.len()];
        let mut sum = vec![0.0; self.points.len()];
        for (objective, weight) in weights.iter().enumerate() {
            let scored: Vec<usize> = (0..self.scores.len()).filter(|&i| self.scores[i].is_some()).collect();
            let losses: Vec<f64> = scored
                .iter()
                .filter_map(|&i| self.scores[i].as_ref().map(|score| score.losses[objective]))
                .collect();
            let ranks = normal::scores(&losses).into_iter().map(normal::cumulative);
            for (i, rank) in scored.into_iter().zip(ranks) {
                worst[i] = worst[i].max(weight * rank);
                sum[i] += weight * rank;
            }
        }
        worst.iter().zip(&sum).map(|(worst, sum)| worst + AUGMENTATION * sum).collect()
    }

    /// The `count` trials with the smallest targets, best first, each point once.
    pub(super) fn best(&self, targets: &[f64], count: usize) -> Vec<&Point> {
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by(|&a, &b| targets[a].total_cmp(&targets[b]).then(a.cmp(&b)));
        let mut kept = HashSet::new();
        order
            .into_iter()
            .map(|i| &self.points[i])
            .filter(|point| kept.insert(fingerprint(point)))
            .take(count)
            .collect()
    }
}

/// Weights of `n` objectives, uniform over all that sum to 1.
pub(super) fn weights(n: usize, rng: &mut Rng) -> Vec<f64> {
    if n == 1 {
        return vec![1.0];
    }
    let drawn: Vec<f64> = (0..n).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
    let sum: f64 = drawn.iter().sum();
    drawn.into_iter().map(|weight| weight / sum.max(f64::MIN_POSITIVE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use crate::search::conformance::{grid, one_loss};
    use crate::trial::{Constraint, Direction, Fidelity, Measurement, Objective, Outcome};

    fn trial(id: u64, point: Point, outcome: Outcome) -> Trial {
        Trial { id, point, fidelity: Fidelity::Full, parent: None, outcome: Some(outcome) }
    }

    fn complete(values: &[f64]) -> Outcome {
        Outcome::Complete(Measurement { values: values.into() })
    }

    #[test]
    fn feasible_comes_before_infeasible_before_failed() {
        let objective = Objective { metric: "loss".into(), direction: Direction::Minimize };
        let bound = Constraint { metric: "size".into(), low: None, high: Some(1.0) };
        let goals = Goals::new(vec![objective], vec![bound]).unwrap();
        let space = grid(2, 3);
        let outcomes = [
            complete(&[5.0, 0.5]),
            complete(&[1.0, 3.0]),
            Outcome::Failed("no".into()),
            complete(&[2.0, 1.0]),
            complete(&[f64::NAN, 1.0]),
            complete(&[0.0, 2.0]),
        ];
        let mut history = History::default();
        for (i, outcome) in outcomes.into_iter().enumerate() {
            history.tell(&goals, &trial(i as u64, space.unrank(&BigUint::from(i)).unwrap(), outcome));
        }
        let past = history.past(&space, 6);
        let targets = past.targets(&[1.0]);
        let ascending = [3, 0, 5, 1, 2];
        assert!(ascending.windows(2).all(|pair| targets[pair[0]] < targets[pair[1]]), "{targets:?}");
        assert_eq!(targets[2], targets[4]);
        assert_eq!(past.best(&targets, 2), [&history.points[3], &history.points[0]]);
    }

    #[test]
    fn weights_steer_between_objectives() {
        let goal = |metric: &str| Objective { metric: metric.into(), direction: Direction::Minimize };
        let goals = Goals::new(vec![goal("a"), goal("b")], vec![]).unwrap();
        let space = grid(2, 3);
        let mut history = History::default();
        for (i, values) in [[0.0, 9.0], [9.0, 0.0], [1.0, 1.0], [10.0, 10.0]].iter().enumerate() {
            let point = space.unrank(&BigUint::from(i)).unwrap();
            history.tell(&goals, &trial(i as u64, point, complete(values)));
        }
        let past = history.past(&space, 4);
        let winner = |weights: &[f64]| past.best(&past.targets(weights), 1)[0].clone();
        assert_eq!(winner(&[0.9, 0.1]), history.points[0]);
        assert_eq!(winner(&[0.1, 0.9]), history.points[1]);
        assert_eq!(winner(&[0.5, 0.5]), history.points[2]);
    }

    #[test]
    fn the_last_free_point_is_found_and_then_none() {
        let space = grid(3, 4);
        let mut seen = Seen::default();
        let goals = one_loss();
        assert_eq!(goals.objectives().len(), 1);
        for rank in (0..64_u64).filter(|&rank| rank != 37) {
            seen.insert(&space.unrank(&BigUint::from(rank)).unwrap(), 0);
        }
        let mut taken = seen.with(&[]);
        let cx = Context { space: &space, goals: &goals, seed: 0, next: 63, running: &[], feasible: None };
        let free = taken.free(&cx, &mut stream(0, 0, "test")).unwrap();
        assert_eq!(space.rank(&free).unwrap(), BigUint::from(37_u8));
        taken.insert(&free);
        assert_eq!(taken.free(&cx, &mut stream(0, 1, "test")), None);
    }
}
