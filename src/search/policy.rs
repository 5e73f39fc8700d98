//! A policy: one categorical distribution a decision, given by logits, independent of one another.
//!
//! Values of a discrete decision have a logit each; reals, and discrete decisions of more than 64 values, are cut into
//! 16 bins that are uniform within. An inactive decision takes no part.

use rand::Rng as _;

use crate::rng::Rng;
use crate::space::{Point, SearchSpace};

/// Discrete decisions of more values are cut into bins.
const MOST_VALUES: i32 = 64;
const BINS: usize = 16;

/// Which entry of its table each active decision of a point took.
pub(super) type Choices = Vec<(usize, usize)>;

/// The logits of every decision.
pub(super) struct Policy {
    pub(super) logits: Vec<Vec<f64>>,
}

impl Policy {
    /// The uniform policy.
    pub(super) fn new(space: &SearchSpace) -> Self {
        let entries = |i: usize| match space.count(i) {
            0 => BINS,
            count if count > MOST_VALUES => BINS,
            count => count as usize,
        };
        Policy { logits: (0..space.len()).map(|i| vec![0.0; entries(i)]).collect() }
    }

    /// A point drawn from the policy.
    pub(super) fn draw(&self, space: &SearchSpace, rng: &mut Rng) -> Point {
        let mut point = Point::new(vec![crate::space::INACTIVE; space.len()], vec![0.0; space.n_reals()]);
        space.settle_with(&mut point, |point, i| {
            let entry = self.entry(i, rng);
            if let Some(slot) = space.real_slot(i) {
                let unit = (entry as f64 + rng.random::<f64>()) / self.logits[i].len() as f64;
                point.codes[i] = 0;
                point.reals[slot] = space.decisions()[i].domain.from_unit(unit) + 0.0;
            } else {
                let codes = codes_of(entry, self.logits[i].len(), space.count(i));
                point.codes[i] = rng.random_range(codes);
            }
        });
        point
    }

    fn entry(&self, decision: usize, rng: &mut Rng) -> usize {
        let probabilities = self.probabilities(decision);
        let mut rest = rng.random::<f64>();
        for (entry, p) in probabilities.iter().enumerate() {
            rest -= p;
            if rest < 0.0 {
                return entry;
            }
        }
        // Rounding left a little.
        probabilities.len() - 1
    }

    /// The softmax of a decision's logits.
    pub(super) fn probabilities(&self, decision: usize) -> Vec<f64> {
        let logits = &self.logits[decision];
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut probabilities: Vec<f64> = logits.iter().map(|logit| (logit - highest).exp()).collect();
        let sum: f64 = probabilities.iter().sum();
        for p in &mut probabilities {
            *p /= sum;
        }
        probabilities
    }

    /// What the point chose.
    pub(super) fn choices(&self, space: &SearchSpace, point: &Point) -> Choices {
        (0..space.len())
            .filter(|&i| point.is_active(i))
            .map(|i| {
                let n = self.logits[i].len();
                let entry = match space.real_slot(i) {
                    Some(slot) => ((space.decisions()[i].domain.to_unit(point.reals()[slot]) * n as f64)
                        as usize)
                        .min(n - 1),
                    None => entry_of(point.codes()[i], n, space.count(i)),
                };
                (i, entry)
            })
            .collect()
    }

    /// The logarithm of the probability of these choices.
    pub(super) fn log_probability(&self, choices: &Choices) -> f64 {
        choices.iter().map(|&(i, entry)| self.probabilities(i)[entry].max(f64::MIN_POSITIVE).ln()).sum()
    }

    /// Adds `weight` times the gradient of the log probability of the choices, and `entropy` times that of the entropy
    /// of their decisions, to `gradient`, which is shaped like the logits.
    pub(super) fn add_gradient(
        &self,
        choices: &Choices,
        weight: f64,
        entropy: f64,
        gradient: &mut [Vec<f64>],
    ) {
        for &(i, entry) in choices {
            let probabilities = self.probabilities(i);
            let log = |p: f64| p.max(f64::MIN_POSITIVE).ln();
            let uncertainty: f64 = -probabilities.iter().map(|&p| p * log(p)).sum::<f64>();
            for (k, (slope, &p)) in gradient[i].iter_mut().zip(&probabilities).enumerate() {
                *slope +=
                    weight * (f64::from(u8::from(k == entry)) - p) - entropy * p * (log(p) + uncertainty);
            }
        }
    }

    /// A gradient of zeros.
    pub(super) fn zeros(&self) -> Vec<Vec<f64>> {
        self.logits.iter().map(|logits| vec![0.0; logits.len()]).collect()
    }

    /// One step up the gradient.
    pub(super) fn step(&mut self, gradient: &[Vec<f64>], rate: f64) {
        for (logit, slope) in self.logits.iter_mut().flatten().zip(gradient.iter().flatten()) {
            *logit += rate * slope;
        }
    }
}

/// The codes of an entry: as even a cut of `0..count` into `n` parts as there is.
fn codes_of(entry: usize, n: usize, count: i32) -> std::ops::Range<i32> {
    let edge = |k: usize| (k as i64 * i64::from(count) / n as i64) as i32;
    edge(entry)..edge(entry + 1)
}

fn entry_of(code: i32, n: usize, count: i32) -> usize {
    // The largest k whose first code is not above `code`.
    (((i64::from(code) + 1) * n as i64 - 1) / i64::from(count)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::conformance::numeric;
    use super::*;
    use crate::rng::stream;
    use crate::space::tests::any_space;

    proptest! {
        #[test]
        fn draws_are_points_and_choices_are_what_was_drawn(space in any_space(), seed in any::<u64>()) {
            let mut policy = Policy::new(&space);
            let point = policy.draw(&space, &mut stream(seed, 0, "test"));
            space.check(&point).unwrap();
            let choices = policy.choices(&space, &point);
            // Certain of these choices, it draws them again.
            for &(i, entry) in &choices {
                policy.logits[i][entry] = 50.0;
            }
            prop_assert!(policy.log_probability(&choices).abs() < 1e-6);
            prop_assert_eq!(policy.draw(&space, &mut stream(seed, 1, "test")), point);
        }

        #[test]
        fn bins_cut_all_codes(count in 1_i32..1_000_000, code in any::<prop::sample::Index>(), n in 1_usize..20) {
            prop_assume!(count as usize >= n);
            let code = code.index(count as usize) as i32;
            prop_assert!(codes_of(entry_of(code, n, count), n, count).contains(&code));
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let space = numeric();
        let mut policy = Policy::new(&space);
        let mut rng = stream(0, 0, "test");
        policy.logits.iter_mut().flatten().for_each(|logit| *logit = rand::Rng::random::<f64>(&mut rng));
        let choices = policy.choices(&space, &policy.draw(&space, &mut rng));
        let value = |policy: &Policy| {
            let entropy = choices
                .iter()
                .map(|&(i, _)| -policy.probabilities(i).iter().map(|p| p * p.ln()).sum::<f64>());
            2.0 * policy.log_probability(&choices) + 0.5 * entropy.sum::<f64>()
        };
        let mut gradient = policy.zeros();
        policy.add_gradient(&choices, 2.0, 0.5, &mut gradient);
        for &(i, _) in &choices {
            for (k, &found) in gradient[i].iter().enumerate() {
                let mut nearby = Policy { logits: policy.logits.clone() };
                nearby.logits[i][k] += 1e-6;
                let slope = (value(&nearby) - value(&policy)) / 1e-6;
                assert!((slope - found).abs() < 1e-4, "{slope} {found}");
            }
        }
    }
}
