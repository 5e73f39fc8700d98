//! Candidates for a model to choose among: steps away from good points, and a climb along them.

use std::collections::HashSet;

use rand::Rng as _;

use super::history::{Past, fingerprint};
use super::operators::mutate;
use crate::error::Result;
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};

/// Indices of polynomial mutation, from steps across half of a number's range to steps of a hundredth.
const INDICES: [f64; 4] = [1.0, 5.0, 20.0, 100.0];

/// A point one random step away: another label, or a number moved far or near.
pub(super) fn step(space: &SearchSpace, point: &Point, rng: &mut Rng) -> Point {
    let index = INDICES[rng.random_range(0..INDICES.len())];
    mutate::one_step(space, point, index, rng)
}

/// Up to `count` different points that nobody has tried: each one step (half of them two or more) from one of the
/// parents in turn. Every fifth is random, which keeps a model from circling in one region; more are where the parents'
/// surroundings are known.
pub(super) fn around(past: &Past<'_>, parents: &[&Point], count: usize, rng: &mut Rng) -> Vec<Point> {
    let mut kept = HashSet::new();
    fresh(past, parents, count, rng, |point| !past.contains(point) && kept.insert(fingerprint(point)))
}

/// The same, where the caller says which points are new.
pub(super) fn fresh(
    past: &Past<'_>,
    parents: &[&Point],
    count: usize,
    rng: &mut Rng,
    mut new: impl FnMut(&Point) -> bool,
) -> Vec<Point> {
    let space = past.space;
    let mut found = Vec::with_capacity(count);
    for attempt in 0..4 * count {
        if found.len() == count {
            break;
        }
        let point = if parents.is_empty() || attempt % 5 == 4 || attempt >= 3 * count {
            past.draw(rng)
        } else {
            let mut child = step(space, parents[attempt % parents.len()], rng);
            while rng.random::<bool>() {
                child = mutate::one_decision(space, &child, rng);
            }
            child
        };
        if new(&point) {
            found.push(point);
        }
    }
    found
}

/// Different random points that nobody has tried, up to `count`.
pub(super) fn random(past: &Past<'_>, count: usize, rng: &mut Rng) -> Vec<Point> {
    around(past, &[], count, rng)
}

/// Climbs from every start to a neighbour with a higher value until none has one, `rounds` times at most; all points
/// on the way with their values.
///
/// Values of the neighbours of all starts are asked for together. At most `breadth` neighbours of a point are looked at.
pub(super) fn climb(
    space: &SearchSpace,
    starts: Vec<(f64, Point)>,
    rounds: usize,
    breadth: usize,
    rng: &mut Rng,
    mut value: impl FnMut(&[Point]) -> Result<Vec<f64>>,
) -> Result<Vec<(f64, Point)>> {
    let mut visited = starts.clone();
    let mut known: HashSet<u64> = starts.iter().map(|(_, point)| fingerprint(point)).collect();
    let mut climbers = starts;
    for _ in 0..rounds {
        let mut batch = Vec::new();
        let mut owners = Vec::new();
        for (owner, (_, point)) in climbers.iter().enumerate() {
            let mut near = space.neighbours(point);
            if space.n_reals() > 0 {
                near.extend((0..4 * space.n_reals()).map(|_| step(space, point, rng)));
            }
            while near.len() > breadth {
                let out = rng.random_range(0..near.len());
                near.swap_remove(out);
            }
            for neighbour in near {
                if known.insert(fingerprint(&neighbour)) {
                    batch.push(neighbour);
                    owners.push(owner);
                }
            }
        }
        let values = value(&batch)?;
        let mut moved = vec![false; climbers.len()];
        for ((point, value), owner) in batch.into_iter().zip(values).zip(owners) {
            if value > climbers[owner].0 {
                climbers[owner] = (value, point.clone());
                moved[owner] = true;
            }
            visited.push((value, point));
        }
        climbers = climbers.into_iter().zip(moved).filter(|(_, moved)| *moved).map(|(c, _)| c).collect();
        if climbers.is_empty() {
            break;
        }
    }
    Ok(visited)
}

/// The points of these pairs, largest value first.
pub(super) fn descending(mut valued: Vec<(f64, Point)>) -> Vec<Point> {
    valued.sort_by(|a, b| b.0.total_cmp(&a.0));
    valued.into_iter().map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use crate::search::conformance::grid;

    #[test]
    fn a_climb_reaches_the_top() {
        let space = grid(6, 5);
        let height = |points: &[Point]| {
            Ok(points.iter().map(|p| p.codes().iter().map(|&c| f64::from(c)).sum()).collect::<Vec<f64>>())
        };
        let start = space.sample(0, 0);
        let value = height(std::slice::from_ref(&start)).unwrap()[0];
        let visited =
            climb(&space, vec![(value, start)], 50, 100, &mut stream(0, 0, "test"), height).unwrap();
        assert_eq!(descending(visited)[0].codes(), [4; 6]);
    }
}
