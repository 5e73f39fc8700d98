//! Predictor in the loop: NSGA-II runs on predictors, and what it finds is evaluated.
//!
//! Cummings, Sarah, Sridhar, Szankin, Munoz and Sundaresan 2022, "A Hardware-Aware Framework for Accelerating Neural
//! Architecture Search Across Modalities" (LINAS), arXiv 2205.10358, algorithm 1. Every `every` trials one predictor an
//! objective is fitted to all trials; an inner NSGA-II (Deb et al. 2002, doi 10.1109/4235.996017), which starts from the
//! best trials, runs for many generations on them at no cost, and its last population is evaluated, best first.
//!
//! Deviations: predictors learn normal scores of the losses; with one objective the inner search is an elitist genetic
//! algorithm, which NSGA-II is then; constraints are a further predictor, of the violation, compared first (constrained
//! domination); a failed trial counts as the worst of every objective. Defaults: `population` and `every` 50 and the
//! ridge and kernel predictors of the paper become 50, 25 and a Gaussian process; 20 generations are enough on a model.
//! A fit costs that of one model an objective and `population * generations` predictions each.

use std::collections::HashSet;

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidates;
use super::history::{Past, weights};
use super::operators::cross;
use super::ranked::{Ranked, Ranker};
use super::{SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::predict::{Fitted, Model, Rows, normal};
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};
use crate::trial::{Goals, Score, crowded_order};

/// Predictor in the loop (LINAS; Cummings et al. 2022, arXiv 2205.10358): NSGA-II runs on predictors of all objectives,
/// and the points that it finds are evaluated. Made for several objectives; one works as well.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PredictorLocal {
    /// Number of random trials at the start; 1 or more.
    pub startup: usize,
    /// New predictors are fitted after so many further trials; 1 or more.
    pub every: usize,
    /// Population of the inner search; 2 or more.
    pub population: usize,
    /// Generations of the inner search; 1 or more.
    pub generations: usize,
    /// What predicts each objective.
    pub model: Model,
}

impl Default for PredictorLocal {
    fn default() -> Self {
        PredictorLocal { startup: 25, every: 25, population: 50, generations: 20, model: Model::Gp }
    }
}

impl Settings for PredictorLocal {
    const NAME: &'static str = "predictor_local";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        for (name, value, least) in [
            ("startup", self.startup, 1),
            ("every", self.every, 1),
            ("population", self.population, 2),
            ("generations", self.generations, 1),
        ] {
            require(value >= least, Self::NAME, || format!("{name} is {value}, expected {least} or more"))?;
        }
        let (startup, every) = (self.startup, self.every);
        Ok(Box::new(Ranked::new(self, startup, every, 0.0)))
    }
}

/// One predictor an objective, and one of the violation if it varies.
struct Predictors {
    objectives: Vec<Box<dyn Fitted>>,
    violation: Option<(Box<dyn Fitted>, f64)>,
}

impl Predictors {
    fn fit(model: Model, past: &Past<'_>, goals: &Goals, rng: &mut Rng) -> Result<Self> {
        let rows = Rows::of(past.space, past.points);
        let surrogate = model.surrogate(past.space);
        let mut objectives = Vec::new();
        for objective in 0..goals.objectives().len() {
            let losses: Vec<f64> = past
                .scores
                .iter()
                .map(|score| score.as_ref().map_or(f64::INFINITY, |score| score.losses[objective]))
                .collect();
            objectives.push(surrogate.fit(&rows, &normal::scores(&losses), rng)?);
        }
        let violations: Vec<f64> =
            past.scores.iter().map(|score| score.as_ref().map_or(f64::INFINITY, |s| s.violation)).collect();
        let mut violation = None;
        if !goals.constraints().is_empty() && violations.iter().any(|&v| v > 0.0) {
            let scores = normal::scores(&violations);
            // Feasible is what is predicted nearer to the feasible trials (which share one score) than to the rest.
            let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
            let next = scores.iter().copied().filter(|&s| s > lowest).fold(f64::INFINITY, f64::min);
            let edge = if next.is_finite() && violations.contains(&0.0) {
                f64::midpoint(lowest, next)
            } else {
                lowest
            };
            violation = Some((surrogate.fit(&rows, &scores, rng)?, edge));
        }
        Ok(Predictors { objectives, violation })
    }

    fn scores(&self, space: &SearchSpace, points: &[Point]) -> Result<Vec<Score>> {
        let rows = Rows::of(space, points);
        let losses: Vec<Vec<f64>> = self
            .objectives
            .iter()
            .map(|fitted| Ok(fitted.predict(&rows)?.into_iter().map(|belief| belief.mean).collect()))
            .collect::<Result<_>>()?;
        let violations: Vec<f64> = match &self.violation {
            Some((fitted, edge)) => {
                fitted.predict(&rows)?.into_iter().map(|belief| (belief.mean - edge).max(0.0)).collect()
            }
            None => vec![0.0; points.len()],
        };
        let score = |(i, violation)| Score { violation, losses: losses.iter().map(|l| l[i]).collect() };
        Ok(violations.into_iter().enumerate().map(score).collect())
    }
}

impl Ranker for PredictorLocal {
    fn rank(&self, past: &Past<'_>, goals: &Goals, rng: &mut Rng) -> Result<Vec<Point>> {
        let predictors = Predictors::fit(self.model, past, goals, rng)?;
        let space = past.space;
        let mut population = Vec::new();
        // Parents from all over the front: the best by several weightings of the objectives.
        for _ in 0..4 {
            let targets = past.targets(&weights(goals.objectives().len(), rng));
            population.extend(past.best(&targets, self.population / 8 + 1).into_iter().cloned());
        }
        population.resize_with(self.population, || past.draw(rng));
        let mut scores = predictors.scores(space, &population)?;
        for _ in 0..self.generations {
            let mut met: HashSet<Point> = population.iter().cloned().collect();
            let mut children = Vec::with_capacity(self.population);
            for _ in 0..4 * self.population {
                if children.len() == self.population {
                    break;
                }
                // The population is in order, so the smaller index wins a tournament.
                let mut winner =
                    || rng.random_range(0..population.len()).min(rng.random_range(0..population.len()));
                let (a, b) = (winner(), winner());
                let child = cross::uniform(space, &population[a], &population[b], rng);
                let child = if rng.random::<bool>() { candidates::step(space, &child, rng) } else { child };
                if met.insert(child.clone()) {
                    children.push(child);
                }
            }
            scores.extend(predictors.scores(space, &children)?);
            population.extend(children);
            let order = crowded_order(&scores, self.population);
            let kept = order.into_iter().take(self.population);
            (population, scores) = kept.map(|i| (population[i].clone(), scores[i].clone())).unzip();
        }
        let mut found: Vec<Point> =
            population.iter().filter(|point| !past.contains(point)).cloned().collect();
        if found.len() < self.every {
            let parents: Vec<&Point> = population.iter().collect();
            let more = candidates::around(past, &parents, self.every, rng);
            let scores = predictors.scores(space, &more)?;
            found.extend(crowded_order(&scores, scores.len()).into_iter().map(|i| more[i].clone()));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Random;
    use crate::search::conformance::{digit_loss, gain_over_random, grid, mean_hypervolume, two_losses};

    #[test]
    fn it_beats_random_search() {
        let settings = PredictorLocal { startup: 15, every: 15, ..PredictorLocal::default() };
        assert!(gain_over_random(&settings, &grid(8, 10), digit_loss, 60) > 5.0);
    }

    #[test]
    fn its_front_beats_that_of_random_search() {
        let settings = PredictorLocal { startup: 15, every: 15, ..PredictorLocal::default() };
        let space = grid(8, 5);
        let found = mean_hypervolume(&settings, &space, two_losses, 60);
        let random = mean_hypervolume(&Random {}, &space, two_losses, 60);
        assert!(found > 1.2 * random, "{found} against {random}");
    }
}
