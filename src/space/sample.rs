//! Sampling: every decision uniform over its values, decided from the roots down.
//!
//! Uniform *per decision*, not per point: a branch with a large sub-space below it is not drawn more often for that,
//! which is what "random search" means in the NAS literature (and in Optuna). A real value is uniform in its interval
//! (log-uniform on a log scale).

use rand::Rng as _;

use super::{INACTIVE, Point, SearchSpace};
use crate::rng::{Rng, stream};

impl SearchSpace {
    /// The `index`-th random point of a seed.
    #[must_use]
    pub fn sample(&self, seed: u64, index: u64) -> Point {
        self.draw(&mut stream(seed, index, "sample"))
    }

    /// A random point.
    pub fn draw(&self, rng: &mut Rng) -> Point {
        let mut point = Point::new(vec![INACTIVE; self.len()], vec![0.0; self.n_reals()]);
        self.settle(&mut point, rng);
        point
    }

    /// A random point, written over another one of this space.
    pub fn draw_into(&self, point: &mut Point, rng: &mut Rng) {
        if point.codes.len() == self.len() && point.reals.len() == self.n_reals() {
            point.codes.fill(INACTIVE);
            self.settle(point, rng);
        } else {
            *point = self.draw(rng);
        }
    }

    /// Makes a point valid after some of its codes were changed: decisions that became inactive lose their value,
    /// decisions that became active (or were set to [`INACTIVE`] while active) are drawn anew.
    pub fn settle(&self, point: &mut Point, rng: &mut Rng) {
        self.settle_with(point, |point, i| self.redraw(point, i, rng));
    }

    /// [`SearchSpace::settle`] with the caller's way to give a newly active decision its value.
    pub fn settle_with(&self, point: &mut Point, mut fill: impl FnMut(&mut Point, usize)) {
        for &i in &self.order {
            if !self.is_open(i, &point.codes) {
                point.codes[i] = INACTIVE;
                if let Some(slot) = self.real_slots[i] {
                    point.reals[slot] = 0.0;
                }
            } else if point.codes[i] == INACTIVE {
                fill(point, i);
            }
        }
    }

    /// Gives one active decision a new value, uniform over its domain.
    pub fn redraw(&self, point: &mut Point, decision: usize, rng: &mut Rng) {
        if let Some(slot) = self.real_slots[decision] {
            point.codes[decision] = 0;
            point.reals[slot] = self.decisions[decision].domain.from_unit(rng.random::<f64>()) + 0.0;
        } else {
            point.codes[decision] = rng.random_range(0..self.counts[decision]);
        }
    }

    /// Codes of `count` random points of a discrete space, row after row: the paths of `count` training steps from
    /// `first` on. Row `i` equals `sample(seed, first + i)`.
    #[must_use]
    pub fn sample_codes(&self, seed: u64, first: u64, count: usize) -> Vec<i32> {
        let mut rows = Vec::with_capacity(count * self.len());
        for index in 0..count as u64 {
            rows.extend_from_slice(&self.sample(seed, first.wrapping_add(index)).codes);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{any_space, mixed};
    use super::*;

    proptest! {
        #[test]
        fn samples_are_points(space in any_space(), seed in any::<u64>(), index in any::<u64>()) {
            space.check(&space.sample(seed, index)).unwrap();
        }

        #[test]
        fn settling_after_any_change_gives_a_point(space in any_space(), seed in any::<u64>(), which in any::<u16>()) {
            let mut point = space.sample(seed, 0);
            let decision = usize::from(which) % space.len();
            let mut rng = stream(seed, 1, "test");
            if point.is_active(decision) {
                space.redraw(&mut point, decision, &mut rng);
            }
            space.settle(&mut point, &mut rng);
            space.check(&point).unwrap();
        }
    }

    #[test]
    fn every_decision_is_uniform_on_its_own_scale() {
        let space = mixed();
        let points: Vec<Point> = (0..4_000).map(|i| space.sample(7, i)).collect();
        let conv = points.iter().filter(|p| p.codes[0] == 0).count();
        assert!((1_800..2_200).contains(&conv), "{conv}");
        let below = points.iter().filter(|p| p.reals[0] < 1e-3).count();
        assert!((1_200..1_460).contains(&below), "a third of the log scale, got {below}");
    }

    #[test]
    fn bulk_rows_are_the_single_samples() {
        let space = mixed();
        let rows = space.sample_codes(3, 5, 4);
        for i in 0..4 {
            assert_eq!(&rows[i * 4..i * 4 + 4], space.sample(3, 5 + i as u64).codes());
        }
    }
}
