//! Simulated annealing: a walk that takes every better step, and a worse one the more rarely the colder it is.
//!
//! Kirkpatrick, Gelatt and Vecchi 1983, "Optimization by Simulated Annealing", DOI 10.1126/science.220.4598.671, with
//! the acceptance rule of Metropolis et al. 1953: a step that is worse by d is taken with chance exp(-d / T). T falls
//! from `initial_temperature` to `final_temperature` over `steps` told trials, by a constant factor (`exponential`) or
//! difference (`linear`), and stays there.
//!
//! Deviations: the unit of temperature is the standard deviation of the losses told so far, so that one setting serves
//! objectives of any scale (the original library's 1e4 to 1e-4 assumed one); the first `starts` trials are random, give
//! that scale, and the walk starts at the best. Of several objectives the mean of their scaled differences counts. Less
//! violation of constraints is always better; more is worse by its difference in the bound's units. Parallel asks all
//! step from where the walk stands; a step told late is judged against where it stands then. Failed trials count as
//! steps not taken. Defaults: ten starts; one standard deviation at first takes most steps of one decision; 200 steps
//! are a usual NAS budget. A step changes one decision: a category to any other, a number nearby. An ask costs
//! O(decisions), a tell O(1); memory is two points.

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::individual::Individual;
use super::operators::mutate;
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::rng::stream;
use crate::space::SearchSpace;
use crate::trial::{Goals, Proposal, Score, Trial};

/// How the temperature falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cooling {
    /// By the same factor a step.
    Exponential,
    /// By the same amount a step.
    Linear,
}

/// Simulated annealing (Kirkpatrick et al. 1983): a walk over neighbours that accepts worse ones while it is hot.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedAnnealing {
    /// The temperature of the first step, in standard deviations of the objective over the trials so far; above 0.
    pub initial_temperature: f64,
    /// The temperature after `steps` trials and from then on, in the same unit; above 0, at most the initial one.
    pub final_temperature: f64,
    /// Number of trials over which it cools; 1 or more. Best set to the number of trials of the study.
    pub steps: usize,
    /// "exponential" (by the same factor a step) or "linear" (by the same amount).
    pub cooling: Cooling,
    /// Number of random trials at first, of which the best is where the walk starts; 1 or more.
    pub starts: usize,
}

impl Default for SimulatedAnnealing {
    fn default() -> Self {
        SimulatedAnnealing {
            initial_temperature: 1.0,
            final_temperature: 0.01,
            steps: 200,
            cooling: Cooling::Exponential,
            starts: 10,
        }
    }
}

impl Settings for SimulatedAnnealing {
    const NAME: &'static str = "simulated_annealing";

    fn build(self, _: &SearchSpace, goals: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let (hot, cold) = (self.initial_temperature, self.final_temperature);
        require(cold > 0.0 && cold <= hot && hot.is_finite(), Self::NAME, || {
            format!(
                "initial_temperature is {hot} and final_temperature {cold}, expected initial >= final > 0"
            )
        })?;
        require(self.steps >= 1, Self::NAME, || format!("steps is {}, expected 1 or more", self.steps))?;
        require(self.starts >= 1, Self::NAME, || format!("starts is {}, expected 1 or more", self.starts))?;
        let spreads = vec![Spread::default(); goals.objectives().len()];
        Ok(Box::new(Walk { settings: self, told: 0, here: None, spreads }))
    }
}

struct Walk {
    settings: SimulatedAnnealing,
    told: usize,
    here: Option<Individual>,
    /// One an objective.
    spreads: Vec<Spread>,
}

impl Walk {
    fn temperature(&self) -> f64 {
        let SimulatedAnnealing { initial_temperature: hot, final_temperature: cold, .. } = self.settings;
        let step = self.told.saturating_sub(self.settings.starts) as f64;
        let done = (step / self.settings.steps as f64).min(1.0);
        match self.settings.cooling {
            Cooling::Exponential => hot * (cold / hot).powf(done),
            Cooling::Linear => hot + (cold - hot) * done,
        }
    }

    /// By how much `to` is worse than `from`, in units of temperature; negative if it is better.
    fn rise(&self, from: &Score, to: &Score) -> f64 {
        if from.violation != to.violation {
            let worse = to.violation - from.violation;
            return if worse.is_nan() { f64::INFINITY } else { worse };
        }
        let scaled = self.spreads.iter().zip(&from.losses).zip(&to.losses).map(|((spread, a), b)| {
            let difference = b - a;
            if difference.is_nan() { f64::INFINITY } else { spread.scale(difference) }
        });
        scaled.sum::<f64>() / self.spreads.len() as f64
    }
}

impl SearchAlgorithm for Walk {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let propose = |offset: usize| {
            let rng = &mut cx.rng(offset);
            let started = cx.next + offset as u64 >= self.settings.starts as u64;
            match self.here.as_ref().filter(|_| started) {
                None => Proposal::new(cx.draw(rng)),
                Some(here) => Proposal {
                    parent: Some(here.id),
                    ..Proposal::new(mutate::one_step(cx.space, &here.point, mutate::POLYNOMIAL_INDEX, rng))
                },
            }
        };
        Ok((0..count).map(propose).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            let temperature = self.temperature();
            self.told += 1;
            let Some(next) = Individual::of(trial, cx.goals) else { continue };
            for (spread, &loss) in self.spreads.iter_mut().zip(&next.score.losses) {
                spread.add(loss);
            }
            let taken = match &self.here {
                None => true,
                Some(here) if self.told <= self.settings.starts => next.score.compare(&here.score).is_lt(),
                Some(here) => {
                    let rise = self.rise(&here.score, &next.score);
                    let chance = (-rise / temperature).exp();
                    rise <= 0.0 || stream(cx.seed, trial.id, "acceptance").random::<f64>() < chance
                }
            };
            if taken {
                self.here = Some(next);
            }
        }
        Ok(())
    }
}

/// The standard deviation of the finite numbers added so far (Welford 1962).
#[derive(Clone, Debug, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, x: f64) {
        if x.is_finite() {
            self.count += 1.0;
            let before = x - self.mean;
            self.mean += before / self.count;
            self.squares += before * (x - self.mean);
        }
    }

    /// A difference in standard deviations; its sign alone, infinite, while nothing is spread.
    fn scale(&self, difference: f64) -> f64 {
        if difference == 0.0 { 0.0 } else { difference / (self.squares / self.count.max(1.0)).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, gain_over_random, grid, mean_best, numeric};
    use super::*;

    #[test]
    fn it_climbs_where_random_search_does_not() {
        for cooling in [Cooling::Exponential, Cooling::Linear] {
            let settings = SimulatedAnnealing { cooling, steps: 400, ..SimulatedAnnealing::default() };
            let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 400);
            assert!(gain > 6.0, "{gain} with {cooling:?}");
        }
    }

    #[test]
    fn the_scale_of_the_objective_does_not_matter() {
        let settings = SimulatedAnnealing::default();
        let space = grid(6, 5);
        let found = mean_best(&settings, &space, digit_loss, 150);
        let scaled = mean_best(&settings, &space, |point| digit_loss(point) * 1024.0, 150);
        assert_eq!(found * 1024.0, scaled);
    }

    #[test]
    fn numbers_are_walked() {
        let loss = |point: &crate::space::Point| (point.reals()[0] - 1.0).abs();
        assert!(mean_best(&SimulatedAnnealing::default(), &numeric(), loss, 300) < 0.02);
    }

    #[test]
    fn the_temperature_falls_from_end_to_end() {
        let settings = SimulatedAnnealing { steps: 10, starts: 2, ..SimulatedAnnealing::default() };
        let mut walk = Walk { settings, told: 0, here: None, spreads: vec![] };
        assert_eq!(walk.temperature(), 1.0);
        walk.told = 7;
        assert!((walk.temperature() - 0.1).abs() < 1e-12);
        walk.told = 99;
        assert!((walk.temperature() - 0.01).abs() < 1e-12);
        walk.settings.cooling = Cooling::Linear;
        walk.told = 7;
        assert!((walk.temperature() - 0.505).abs() < 1e-12);
    }
}
