//! SMAC: a random forest predicts, expected improvement decides, local search finds.
//!
//! Hutter, Hoos and Leyton-Brown 2011, "Sequential Model-Based Optimization for General Algorithm Configuration" (doi
//! 10.1007/978-3-642-25566-3_40), section 4: after every `every` trials a forest is fitted; local search on the expected
//! improvement starts from the best trials and from the best of many random points; all points met are tried in order of
//! their expected improvement, with random points in between so that the whole space is looked at in the end.
//!
//! Deviations: one instance, so no racing; losses are learnt by their normal scores (the paper's logarithm of run times
//! serves the same end); local search looks at all neighbours; running trials are skipped and not fantasised: to a tree,
//! a trial believed at its prediction changes nothing; several objectives and constraints as in `bananas`. Defaults: 1000
//! random points and 10 starts of the paper; forest of 50 trees, 5/6 of the columns and leaves of 3 (SMAC3's; its 10
//! trees give a coarser deviation); a random point with probability 0.1 (SMAC3's 0.08 to 0.2 by facade; the paper's 0.5
//! is made for parallel racing). A fit costs O(n log n) and 1,000 to 3,000 predictions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidates;
use super::history::{Past, weights};
use super::ranked::{Ranked, Ranker};
use super::{SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::predict::normal::log_improvement;
use crate::predict::{Forest, Rows, Surrogate as _};
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};
use crate::trial::Goals;

/// Steps of a local search, and neighbours looked at in each.
const ROUNDS: usize = 8;
const BREADTH: usize = 100;
/// Points that a ranking keeps, beyond those that the next model makes stale.
const SPARE: usize = 100;

/// SMAC (Hutter et al. 2011): random forest, expected improvement, local search, and random points in between. Robust on
/// mixed and conditional spaces.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Smac {
    /// Number of random trials at the start; 1 or more.
    pub startup: usize,
    /// A new forest is grown after so many further trials; 1 or more.
    pub every: usize,
    /// Number of trees; 1 or more.
    pub trees: usize,
    /// Random points among which each model chooses; 1 or more.
    pub samples: usize,
    /// Starts of local search; 1 or more.
    pub starts: usize,
    /// Probability of a random point in place of the model's, 0 to 1.
    pub random: f64,
}

impl Default for Smac {
    fn default() -> Self {
        Smac { startup: 10, every: 1, trees: 50, samples: 1000, starts: 10, random: 0.1 }
    }
}

impl Settings for Smac {
    const NAME: &'static str = "smac";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        for (name, value) in [
            ("startup", self.startup),
            ("every", self.every),
            ("trees", self.trees),
            ("samples", self.samples),
            ("starts", self.starts),
        ] {
            require(value >= 1, Self::NAME, || format!("{name} is {value}, expected 1 or more"))?;
        }
        require((0.0..=1.0).contains(&self.random), Self::NAME, || {
            format!("random is {}, expected 0 to 1", self.random)
        })?;
        let (startup, every, random) = (self.startup, self.every, self.random);
        Ok(Box::new(Ranked::new(self, startup, every, random)))
    }
}

impl Ranker for Smac {
    fn rank(&self, past: &Past<'_>, goals: &Goals, rng: &mut Rng) -> Result<Vec<Point>> {
        let targets = past.targets(&weights(goals.objectives().len(), rng));
        let rows = Rows::of(past.space, past.points);
        let forest = Forest { trees: self.trees, leaf: 3, columns: 5.0 / 6.0, ..Forest::default() };
        let fitted = forest.fit(&rows, &targets, rng)?;
        let best = targets.iter().copied().fold(f64::INFINITY, f64::min);
        let value = |points: &[Point]| -> Result<Vec<f64>> {
            let improvement = |belief: crate::predict::Prediction| {
                let std = belief.std.max(1e-9);
                std.ln() + log_improvement((best - belief.mean) / std)
            };
            Ok(fitted.predict(&Rows::of(past.space, points))?.into_iter().map(improvement).collect())
        };
        let mut starts: Vec<Point> = past.best(&targets, self.starts).into_iter().cloned().collect();
        starts.extend(candidates::random(past, self.samples, rng));
        let mut valued: Vec<(f64, Point)> = value(&starts)?.into_iter().zip(starts).collect();
        // Half of the starts are the best trials, half the best random points.
        let known = valued.len().min(self.starts.min(past.points.len()));
        valued[..known].sort_by(|a, b| b.0.total_cmp(&a.0));
        valued[known..].sort_by(|a, b| b.0.total_cmp(&a.0));
        let half = self.starts.div_ceil(2);
        let climbers =
            valued[..known].iter().take(half).chain(valued[known..].iter().take(half)).cloned().collect();
        let mut met = candidates::climb(past.space, climbers, ROUNDS, BREADTH, rng, value)?;
        met.extend(valued);
        met.retain(|(_, point)| !past.contains(point));
        let mut points = candidates::descending(met);
        points.truncate(2 * self.every + past.points.len() / 5 + SPARE);
        Ok(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::conformance::{digit_loss, gain_over_random, grid, mixed_gain};

    #[test]
    fn it_beats_random_search() {
        let settings = Smac { every: 3, ..Smac::default() };
        let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 60);
        assert!(gain > 2.0, "{gain}");
        let gain = mixed_gain(&settings, 60);
        assert!(gain > 0.1, "{gain}");
    }
}
