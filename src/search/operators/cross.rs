//! Crossover: one child of two points.
//!
//! Every decision of the child comes from one parent, or from the other where it is inactive in the first; decisions
//! active in neither parent are drawn. Numbers can also be blended (simulated binary crossover).

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};

/// How two parents make a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Crossover {
    /// Each decision from either parent (Syswerda 1989).
    Uniform,
    /// The decisions up to a random one from one parent, the rest from the other (Holland 1975).
    OnePoint,
    /// A random run of decisions from one parent, the rest from the other.
    TwoPoint,
    /// Numbers blended (simulated binary crossover, Deb and Agrawal 1995), other decisions from either parent.
    Sbx,
}

impl Crossover {
    /// A child of two points of the space.
    #[must_use]
    pub fn child(self, space: &SearchSpace, a: &Point, b: &Point, rng: &mut Rng) -> Point {
        match self {
            Crossover::Uniform => uniform(space, a, b, rng),
            Crossover::OnePoint => n_point(space, a, b, 1, rng),
            Crossover::TwoPoint => n_point(space, a, b, 2, rng),
            Crossover::Sbx => sbx(space, a, b, SBX_INDEX, rng),
        }
    }
}

/// Distribution index of simulated binary crossover in NSGA-II (Deb et al. 2002, section V).
pub const SBX_INDEX: f64 = 20.0;

/// Each decision from either parent.
#[must_use]
pub fn uniform(space: &SearchSpace, a: &Point, b: &Point, rng: &mut Rng) -> Point {
    let mut coins = Coins::default();
    let child = combine(space, a, b, rng, |_, rng| coins.flip(rng));
    settled(space, child, rng)
}

/// The decisions cut into `cuts + 1` runs (cuts may fall together), taken from the parents in turn.
#[must_use]
pub fn n_point(space: &SearchSpace, a: &Point, b: &Point, cuts: usize, rng: &mut Rng) -> Point {
    let at: Vec<usize> = (0..cuts).map(|_| rng.random_range(0..=space.len())).collect();
    let swapped = rng.random::<bool>();
    let child =
        combine(space, a, b, rng, |i, _| (at.iter().filter(|&&cut| cut <= i).count() % 2 == 1) != swapped);
    settled(space, child, rng)
}

/// Simulated binary crossover of integers and reals on their unit scale, bounded as in Deb's reference code (Deb and
/// Agrawal 1995, Complex Systems 9:115; Deb et al. 2002): each number is blended with probability one half, near its
/// parents for a large `index`. Other decisions come from either parent.
#[must_use]
pub fn sbx(space: &SearchSpace, a: &Point, b: &Point, index: f64, rng: &mut Rng) -> Point {
    let mut coins = Coins::default();
    let mut child = combine(space, a, b, rng, |_, rng| coins.flip(rng));
    for i in 0..space.len() {
        // Equal codes of a discrete decision first: it spares the look at the domain.
        let same = a.codes[i] == b.codes[i] && space.real_slot(i).is_none();
        if same || !(a.is_active(i) && b.is_active(i) && unit::is_numeric(space, i)) {
            continue;
        }
        let (x, y) = (unit::of(space, a, i), unit::of(space, b, i));
        let (low, high) = (x.min(y), x.max(y));
        if high - low < 1e-14 || coins.flip(rng) {
            continue;
        }
        let (u, upper) = (rng.random::<f64>(), coins.flip(rng));
        // The child's room beyond its parents bounds the spread on its side.
        let room = if upper { 1.0 - high } else { low };
        let alpha = 2.0 - (1.0 + 2.0 * room / (high - low)).powf(-(index + 1.0));
        let spread =
            if u <= 1.0 / alpha { u * alpha } else { 1.0 / (2.0 - u * alpha) }.powf(1.0 / (index + 1.0));
        let middle = 0.5 * (low + high);
        let half = 0.5 * spread * (high - low);
        unit::set(space, &mut child, i, if upper { middle + half } else { middle - half });
    }
    settled(space, child, rng)
}

/// A child that takes decision `i` from `b` where `from_b(i)`, else from `a`; not yet settled, so that a later change of
/// a deciding decision still finds the parents' values.
fn combine(
    space: &SearchSpace,
    a: &Point,
    b: &Point,
    rng: &mut Rng,
    mut from_b: impl FnMut(usize, &mut Rng) -> bool,
) -> Point {
    let mut child = a.clone();
    for i in 0..space.len() {
        let take_b = from_b(i, rng);
        if b.is_active(i) && (take_b || !a.is_active(i)) {
            child.codes[i] = b.codes[i];
            if let Some(slot) = space.real_slot(i) {
                child.reals[slot] = b.reals[slot];
            }
        }
    }
    child
}

fn settled(space: &SearchSpace, mut point: Point, rng: &mut Rng) -> Point {
    space.settle(&mut point, rng);
    point
}

/// Fair coins, 64 to a draw.
#[derive(Default)]
struct Coins {
    bits: u64,
    left: u32,
}

impl Coins {
    fn flip(&mut self, rng: &mut Rng) -> bool {
        if self.left == 0 {
            (self.bits, self.left) = (rng.random(), 64);
        }
        self.left -= 1;
        let coin = self.bits & 1 == 1;
        self.bits >>= 1;
        coin
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::stream;
    use crate::space::tests::{any_space, mixed};

    const ALL: [Crossover; 4] =
        [Crossover::Uniform, Crossover::OnePoint, Crossover::TwoPoint, Crossover::Sbx];

    proptest! {
        #[test]
        fn a_child_is_a_point_of_its_parents_values(space in any_space(), seed in any::<u64>()) {
            let (a, b) = (space.sample(seed, 0), space.sample(seed, 1));
            for crossover in ALL {
                let child = crossover.child(&space, &a, &b, &mut stream(seed, 2, "test"));
                space.check(&child).unwrap();
                for i in (0..space.len()).filter(|&i| child.is_active(i)) {
                    let values: Vec<i32> =
                        [&a, &b].iter().map(|p| p.codes()[i]).filter(|&code| code >= 0).collect();
                    let blended = crossover == Crossover::Sbx && unit::is_numeric(&space, i);
                    prop_assert!(values.is_empty() || blended || values.contains(&child.codes()[i]));
                }
            }
        }

        #[test]
        fn the_child_of_equals_is_their_equal(space in any_space(), seed in any::<u64>()) {
            let a = space.sample(seed, 0);
            for crossover in ALL {
                prop_assert_eq!(&crossover.child(&space, &a, &a, &mut stream(seed, 2, "test")), &a);
            }
        }
    }

    #[test]
    fn blended_numbers_stay_in_their_interval_and_keep_their_mean() {
        let space = mixed();
        let at = |lr: f64| space.point_from_json(&format!(r#"{{"op":"pool","n":1,"lr":{lr}}}"#)).unwrap();
        let (a, b) = (at(1e-4), at(1e-2));
        let mut sum = 0.0;
        for trial in 0..2_000 {
            let child = sbx(&space, &a, &b, 2.0, &mut stream(1, trial, "test"));
            space.check(&child).unwrap();
            sum += child.reals()[0].log10() / 2_000.0;
        }
        assert!((sum + 3.0).abs() < 0.15, "{sum}");
    }
}
