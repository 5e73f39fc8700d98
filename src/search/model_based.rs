//! Model-based search: any score model, any way to find its optima, and sometimes a random point.
//!
//! The scheme of the original ModularNAS (Lin et al., MLSys 2021, `ModelBasedOptim`) and of AutoTVM (Chen et al. 2018,
//! "Learning to Optimize Tensor Programs", arXiv 1805.08166, algorithm 1): every `every` trials a model is fitted to all
//! trials, an inner optimizer finds the points that it likes best, they are tried in that order, and with probability
//! `epsilon` a random point is tried instead.
//!
//! Deviations from the original: the model learns normal scores of the losses, so temperatures (1 to 0.01 instead of 1e4
//! to 1e-4) mean the same for every metric; annealing starts from the best trials as well as from random points; several
//! objectives and constraints as in `bananas`; numeric decisions take part. Defaults: `every` 32, `epsilon` 0.05, 1000
//! sampled points and 128 chains are the original's, gradient boosting stands for its XGBoost. A fit costs that of the
//! model and some 8,000 predictions (1,000 by sampling).

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidates;
use super::history::{Past, weights};
use super::ranked::{Ranked, Ranker};
use super::{SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::predict::{Fitted, Model, Rows, Surrogate};
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};
use crate::trial::Goals;

/// Random points of one inner search by sampling.
const SAMPLES: usize = 1000;
/// Chains of one inner search by annealing, and steps of each.
const CHAINS: usize = 128;
const STEPS: usize = 60;
/// Temperature at the first and the last step, in standard deviations of the target.
const TEMPERATURES: [f64; 2] = [1.0, 0.01];

/// How points that the model likes are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// The best of many random points.
    Sampling,
    /// Simulated annealing on the model.
    SimulatedAnnealing,
}

/// Model-based search, the scheme of the original ModularNAS: a score model is fitted to all trials, an inner optimizer
/// finds the points that it likes best, and these are evaluated; now and then a random one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelBased {
    /// What predicts the loss.
    pub model: Model,
    /// How points that the model likes are found.
    pub optimizer: Optimizer,
    /// Number of random trials at the start; 1 or more.
    pub startup: usize,
    /// A new model is fitted after so many further trials; 1 or more.
    pub every: usize,
    /// Probability of a random point in place of the model's, 0 to 1.
    pub epsilon: f64,
}

impl Default for ModelBased {
    fn default() -> Self {
        ModelBased {
            model: Model::Boosting,
            optimizer: Optimizer::SimulatedAnnealing,
            startup: 32,
            every: 32,
            epsilon: 0.05,
        }
    }
}

impl Settings for ModelBased {
    const NAME: &'static str = "model_based";

    fn build(self, space: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let model = self.model.surrogate(space);
        self.build_with(model)
    }
}

impl ModelBased {
    /// The algorithm with a score model of the caller's instead of `model`.
    ///
    /// # Errors
    /// [`crate::error::Error::Search`] for settings out of range.
    pub fn build_with(self, model: Box<dyn Surrogate>) -> Result<Box<dyn SearchAlgorithm>> {
        for (name, value) in [("startup", self.startup), ("every", self.every)] {
            require(value >= 1, Self::NAME, || format!("{name} is {value}, expected 1 or more"))?;
        }
        require((0.0..=1.0).contains(&self.epsilon), Self::NAME, || {
            format!("epsilon is {}, expected 0 to 1", self.epsilon)
        })?;
        let (startup, every, epsilon) = (self.startup, self.every, self.epsilon);
        Ok(Box::new(Ranked::new(Scheme { optimizer: self.optimizer, model, every }, startup, every, epsilon)))
    }
}

struct Scheme {
    optimizer: Optimizer,
    model: Box<dyn Surrogate>,
    every: usize,
}

impl Ranker for Scheme {
    fn rank(&self, past: &Past<'_>, goals: &Goals, rng: &mut Rng) -> Result<Vec<Point>> {
        let targets = past.targets(&weights(goals.objectives().len(), rng));
        let rows = Rows::of(past.space, past.points);
        let fitted = self.model.fit(&rows, &targets, rng)?;
        let valued = match self.optimizer {
            Optimizer::Sampling => {
                let points = candidates::random(past, SAMPLES, rng);
                losses(&*fitted, past.space, &points)?.into_iter().map(|loss| -loss).zip(points).collect()
            }
            Optimizer::SimulatedAnnealing => anneal(&*fitted, past, &targets, rng)?,
        };
        let mut points = candidates::descending(valued);
        // Enough for the trials until the next model, and as many again that run when it comes.
        points.truncate(2 * self.every + past.points.len() / 5);
        Ok(points)
    }
}

fn losses(fitted: &dyn Fitted, space: &SearchSpace, points: &[Point]) -> Result<Vec<f64>> {
    Ok(fitted.predict(&Rows::of(space, points))?.into_iter().map(|belief| belief.mean).collect())
}

/// Every untried point that the chains came by, with the value that the model gives it.
fn anneal(fitted: &dyn Fitted, past: &Past<'_>, targets: &[f64], rng: &mut Rng) -> Result<Vec<(f64, Point)>> {
    let space = past.space;
    let mut chains: Vec<Point> = past.best(targets, CHAINS / 2).into_iter().cloned().collect();
    chains.resize_with(CHAINS, || past.draw(rng));
    let mut current = losses(fitted, space, &chains)?;
    let mut met = std::collections::HashSet::new();
    let mut visited = Vec::new();
    let mut note = |loss: f64, point: &Point| {
        if !past.contains(point) && met.insert(point.clone()) {
            visited.push((-loss, point.clone()));
        }
    };
    for (loss, point) in current.iter().zip(&chains) {
        note(*loss, point);
    }
    for step in 0..STEPS {
        let progress = step as f64 / (STEPS - 1) as f64;
        let temperature = TEMPERATURES[0] * (TEMPERATURES[1] / TEMPERATURES[0]).powf(progress);
        let moved: Vec<Point> = chains.iter().map(|point| candidates::step(space, point, rng)).collect();
        for (i, (point, loss)) in moved.iter().zip(losses(fitted, space, &moved)?).enumerate() {
            note(loss, point);
            if rng.random::<f64>() < ((current[i] - loss) / temperature).exp() {
                chains[i].clone_from(point);
                current[i] = loss;
            }
        }
    }
    Ok(visited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::conformance::mixed_gain;

    #[test]
    fn it_beats_random_search_either_way() {
        for optimizer in [Optimizer::Sampling, Optimizer::SimulatedAnnealing] {
            for model in [Model::Forest, Model::Boosting] {
                let settings = ModelBased { optimizer, model, startup: 16, every: 16, epsilon: 0.05 };
                let gain = mixed_gain(&settings, 64);
                assert!(gain > 0.05, "{optimizer:?} {model:?}: {gain}");
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_explained() {
        let error = ModelBased { epsilon: 1.5, ..ModelBased::default() }
            .build_with(Box::new(crate::predict::Linear::default()))
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "search algorithm 'model_based': epsilon is 1.5, expected 0 to 1");
    }
}
