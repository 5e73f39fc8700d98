//! Operators of evolutionary search: pure functions of points, scores and a generator.

pub mod cross;
pub mod mutate;
pub mod select;
pub mod unit;
pub mod weights;

use rand::Rng as _;

use crate::error::Result;
use crate::rng::Rng;
use crate::search::require;
use crate::space::{Point, SearchSpace};
use cross::Crossover;

/// Crossover, then mutation: how a pair of parents gets a child in the generational algorithms.
#[derive(Clone, Debug)]
pub struct Variation {
    /// How two parents are combined.
    pub crossover: Crossover,
    /// The chance that they are combined; otherwise the child starts as a copy of the first.
    pub crossover_rate: f64,
    /// The chance of each active decision to change; `None`: one over their number.
    pub mutation_rate: Option<f64>,
}

impl Variation {
    /// Checks the rates for the settings of `algorithm`.
    pub(crate) fn check(&self, algorithm: &str) -> Result<()> {
        let unit = 0.0..=1.0;
        require(unit.contains(&self.crossover_rate), algorithm, || {
            format!("crossover_rate is {}, expected 0 to 1", self.crossover_rate)
        })?;
        let rate = self.mutation_rate.unwrap_or(0.0);
        require(unit.contains(&rate), algorithm, || format!("mutation_rate is {rate}, expected 0 to 1"))
    }

    /// A child of two points. One that came out as the equal of a parent is changed in one decision, so that few
    /// evaluations are spent on copies (the change can still lead to the other parent).
    #[must_use]
    pub fn child(&self, space: &SearchSpace, a: &Point, b: &Point, rng: &mut Rng) -> Point {
        let crossed = self.crossover_rate > 0.0 && rng.random::<f64>() < self.crossover_rate;
        let child = if crossed { self.crossover.child(space, a, b, rng) } else { a.clone() };
        let rate = self.mutation_rate.unwrap_or_else(|| {
            let movable = (0..space.len()).filter(|&i| child.is_active(i) && space.spreads(i)).count();
            1.0 / movable.max(1) as f64
        });
        let child = mutate::each_near(space, child, rate, mutate::POLYNOMIAL_INDEX, rng);
        if child == *a || child == *b {
            return mutate::one_step(space, &child, mutate::POLYNOMIAL_INDEX, rng);
        }
        child
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::stream;
    use crate::space::tests::any_space;

    proptest! {
        #[test]
        fn a_child_is_a_point_and_no_copy_of_equal_parents(space in any_space(), seed in any::<u64>(), mutation_rate in 0.0..=1.0) {
            let (a, b) = (space.sample(seed, 0), space.sample(seed, 1));
            let variation =
                Variation { crossover: Crossover::Uniform, crossover_rate: 0.5, mutation_rate: Some(mutation_rate) };
            let child = variation.child(&space, &a, &b, &mut stream(seed, 2, "test"));
            space.check(&child).unwrap();
            let movable = (0..space.len()).any(|i| a.is_active(i) && space.spreads(i));
            prop_assert!(!movable || child != a || child != b);
        }
    }
}
