//! A kernel density over points: what good (or bad) trials have in common.
//!
//! One kernel a point, a product over decisions as in Falkner et al. 2018 (arXiv 1807.01774, section 3.2): a Gaussian for
//! numbers on their unit scale, Aitchison and Aitken's kernel for categories and subsets. Where a decision is active in
//! the looked-up point only, the kernel is uniform.

use rand::Rng as _;

use super::operators::unit;
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};

/// No bandwidth is less (as in the authors' code), so that equal points still have neighbours.
const LEAST: f64 = 1e-3;

/// A density with one kernel a point.
pub(super) struct Density<'a> {
    space: &'a SearchSpace,
    points: Vec<&'a Point>,
    /// One a decision: the standard deviation of numbers, the chance of another value of categories.
    bandwidths: Vec<f64>,
}

impl<'a> Density<'a> {
    /// The density of these points (at least one), with bandwidths by the normal reference rule.
    pub(super) fn new(space: &'a SearchSpace, points: Vec<&'a Point>) -> Self {
        let shrink = (points.len() as f64).powf(-1.0 / (4.0 + space.len() as f64));
        // Half a step of an integer at least: a spread of 0 would never reach its neighbours.
        let least = |i: usize| match space.count(i) {
            count if count > 1 && unit::is_numeric(space, i) => 0.5 / f64::from(count - 1),
            _ => LEAST,
        };
        let bandwidths =
            (0..space.len()).map(|i| (1.06 * spread(space, &points, i) * shrink).max(least(i))).collect();
        Density { space, points, bandwidths }
    }

    /// The logarithm of the density at a point.
    pub(super) fn log(&self, at: &Point) -> f64 {
        let sum: f64 = self.points.iter().map(|point| self.kernel(point, at)).sum();
        (sum / self.points.len() as f64).max(f64::MIN_POSITIVE).ln()
    }

    fn kernel(&self, point: &Point, at: &Point) -> f64 {
        let mut product = 1.0;
        for i in (0..self.space.len()).filter(|&i| at.is_active(i)) {
            let numeric = unit::is_numeric(self.space, i);
            let others = f64::from((self.space.count(i) - 1).max(1));
            let width = self.bandwidths[i];
            product *= match (point.is_active(i), numeric) {
                (true, true) => {
                    let z = (unit::of(self.space, at, i) - unit::of(self.space, point, i)) / width;
                    (-0.5 * z * z).exp() / width
                }
                (true, false) if point.codes()[i] == at.codes()[i] => 1.0 - self.chance(i),
                (true, false) => self.chance(i) / others,
                (false, true) => 1.0,
                (false, false) => 1.0 / (others + 1.0),
            };
        }
        product
    }

    /// The chance of another value, at most that of the uniform distribution.
    fn chance(&self, decision: usize) -> f64 {
        let count = f64::from(self.space.count(decision).max(1));
        self.bandwidths[decision].min(1.0 - 1.0 / count)
    }

    /// A point near one of the points, with the bandwidths of numbers `widen` times as large.
    pub(super) fn draw(&self, widen: f64, rng: &mut Rng) -> Point {
        let base = self.points[rng.random_range(0..self.points.len())];
        let mut point = base.clone();
        for i in (0..self.space.len()).filter(|&i| base.is_active(i) && self.space.spreads(i)) {
            if unit::is_numeric(self.space, i) {
                let at = unit::of(self.space, base, i);
                unit::set(self.space, &mut point, i, truncated(at, self.bandwidths[i] * widen, rng));
            } else if rng.random::<f64>() < self.chance(i) {
                let code = rng.random_range(0..self.space.count(i) - 1);
                point.codes[i] = code + i32::from(code >= base.codes()[i]);
            }
        }
        self.space.settle(&mut point, rng);
        point
    }
}

/// The spread of a decision over the points where it is active: the standard deviation of numbers, for categories the
/// chance that two differ, with one more point that has every value in part, so that no value is ever ruled out.
fn spread(space: &SearchSpace, points: &[&Point], decision: usize) -> f64 {
    let active = || points.iter().filter(|point| point.is_active(decision));
    let n = active().count() as f64;
    if n == 0.0 {
        return 1.0;
    }
    if unit::is_numeric(space, decision) {
        let mean = active().map(|point| unit::of(space, point, decision)).sum::<f64>() / n;
        return (active().map(|point| (unit::of(space, point, decision) - mean).powi(2)).sum::<f64>() / n)
            .sqrt();
    }
    let mut codes: Vec<i32> = active().map(|point| point.codes()[decision]).collect();
    codes.sort_unstable();
    let count = f64::from(space.count(decision));
    let share = |times: usize| ((times as f64 + 1.0 / count) / (n + 1.0)).powi(2);
    let seen = codes.chunk_by(|a, b| a == b).map(<[i32]>::len);
    let unseen = count - seen.clone().count() as f64;
    1.0 - seen.map(share).sum::<f64>() - unseen * share(0)
}

/// A normal number within [0, 1], by rejection; the nearest end if that takes long.
fn truncated(mean: f64, deviation: f64, rng: &mut Rng) -> f64 {
    let mut drawn = mean;
    for _ in 0..20 {
        let z: f64 = rng.sample(rand_distr::StandardNormal);
        drawn = mean + deviation * z;
        if (0.0..=1.0).contains(&drawn) {
            break;
        }
    }
    drawn.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::conformance::{grid, numeric};
    use super::*;
    use crate::rng::stream;
    use crate::space::tests::{any_space, mixed};

    proptest! {
        #[test]
        fn draws_are_points_and_densities_are_numbers(space in any_space(), seed in any::<u64>(), n in 1_u64..9) {
            let points: Vec<Point> = (0..n).map(|i| space.sample(seed, i)).collect();
            let density = Density::new(&space, points.iter().collect());
            for i in 0..20 {
                let point = density.draw(3.0, &mut stream(seed, i, "test"));
                space.check(&point).unwrap();
                prop_assert!(density.log(&point).is_finite());
            }
        }
    }

    #[test]
    fn the_density_of_categories_sums_to_one() {
        let space = grid(2, 3);
        let points: Vec<Point> = (0..4).map(|i| space.sample(1, i)).collect();
        let density = Density::new(&space, points.iter().collect());
        let all = (0..9).map(|i| density.log(&Point::new([i / 3, i % 3], [])).exp());
        assert!((all.sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn it_is_high_where_the_points_are() {
        for space in [mixed(), numeric()] {
            let points = [space.sample(0, 0), space.sample(0, 0)];
            let density = Density::new(&space, points.iter().collect());
            let far = (1..50).map(|i| density.log(&space.sample(0, i)));
            assert!(far.fold(f64::NEG_INFINITY, f64::max) < density.log(&points[0]));
        }
    }
}
