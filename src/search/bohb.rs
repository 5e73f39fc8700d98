//! BOHB: Hyperband whose new points come from a density of good trials instead of at random.
//!
//! Falkner, Klein and Hutter 2018, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", arXiv 1807.01774,
//! algorithms 1 and 2. Of the highest rung with enough completed trials, the best `top_fraction` make the density l, the
//! others g (equations 3 and 4); of `candidates` points drawn from l with widened bandwidths, the one with the largest
//! l / g starts. A share of `random_fraction` is drawn at random, which keeps Hyperband's guarantee.
//!
//! Deviations: those of successive halving; the spread of a category is the chance that two trials differ, one more that
//! has all values counted (the authors' code takes the standard deviation of its number), and that of an integer is half
//! a step at least: a spread of 0 would end the search; inactive decisions are left out of the kernels instead of filled
//! in at random; with several objectives trials are ordered by non-dominated rank, then by crowding distance. Defaults
//! are the paper's (section 4.1). An ask costs O(candidates x trials of one rung x decisions), as the method demands; the
//! memory is one point a completed trial.

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::brackets::{Brackets, best_first};
use super::individual::Individual;
use super::kde::Density;
use super::rungs::{MIN_FIDELITY, Rungs};
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::space::{Point, SearchSpace};
use crate::trial::{Goals, Proposal, Trial};

/// BOHB (Falkner et al. 2018, arXiv 1807.01774): Hyperband that starts where good trials are dense. For evaluators that
/// obey `fidelity`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bohb {
    /// The least fraction of a full evaluation, above 0 and up to 1.
    pub min_fidelity: f64,
    /// One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
    pub eta: usize,
    /// The share of trials that count as good; above 0 and below 1.
    pub top_fraction: f64,
    /// Points drawn for each that is started; 1 or more.
    pub candidates: usize,
    /// The share of points that are drawn at random; 0 to 1.
    pub random_fraction: f64,
    /// How much wider than the density the candidates are drawn; above 0.
    pub bandwidth_factor: f64,
}

impl Default for Bohb {
    fn default() -> Self {
        Bohb {
            min_fidelity: MIN_FIDELITY,
            eta: 3,
            top_fraction: 0.15,
            candidates: 64,
            random_fraction: 1.0 / 3.0,
            bandwidth_factor: 3.0,
        }
    }
}

impl Settings for Bohb {
    const NAME: &'static str = "bohb";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Bohb { top_fraction, candidates, random_fraction, bandwidth_factor, .. } = self;
        require(top_fraction > 0.0 && top_fraction < 1.0, Self::NAME, || {
            format!("top_fraction is {top_fraction}, expected above 0 and below 1")
        })?;
        require(candidates >= 1, Self::NAME, || format!("candidates is {candidates}, expected 1 or more"))?;
        require((0.0..=1.0).contains(&random_fraction), Self::NAME, || {
            format!("random_fraction is {random_fraction}, expected 0 to 1")
        })?;
        require(bandwidth_factor > 0.0, Self::NAME, || {
            format!("bandwidth_factor is {bandwidth_factor}, expected above 0")
        })?;
        let rungs = Rungs::new(self.min_fidelity, self.eta, Self::NAME)?;
        let done = vec![Vec::new(); rungs.len()];
        let shapes = rungs.brackets();
        Ok(Box::new(Guided { settings: self, brackets: Brackets::new(rungs, shapes), done }))
    }
}

struct Guided {
    settings: Bohb,
    brackets: Brackets,
    /// The completed trials of each rung.
    done: Vec<Vec<Individual>>,
}

impl Guided {
    /// The densities of good and bad trials, if there are enough.
    fn densities<'a>(&'a self, space: &'a SearchSpace) -> Option<[Density<'a>; 2]> {
        // The paper's N_min: one more than there are decisions.
        let least = (0..space.len()).filter(|&i| space.spreads(i)).count() + 1;
        let done = self.done.iter().rev().find(|done| done.len() >= least + 2)?;
        let order = best_first(done, done.len());
        let good = least.max((self.settings.top_fraction * done.len() as f64) as usize);
        let bad = least.max(done.len() - good);
        let points = |of: &[usize]| of.iter().map(|&i| &done[i].point).collect();
        let worst = &order[order.len().saturating_sub(bad)..];
        Some([
            Density::new(space, points(&order[..good.min(order.len())])),
            Density::new(space, points(worst)),
        ])
    }

    fn guided(&self, [good, bad]: &[Density<'_>; 2], rng: &mut crate::rng::Rng) -> Point {
        let mut best = (f64::NEG_INFINITY, good.draw(self.settings.bandwidth_factor, rng));
        for i in 0..self.settings.candidates {
            let point = if i == 0 { best.1.clone() } else { good.draw(self.settings.bandwidth_factor, rng) };
            let ratio = good.log(&point) - bad.log(&point);
            if ratio > best.0 {
                best = (ratio, point);
            }
        }
        best.1
    }
}

impl SearchAlgorithm for Guided {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        // Promotions need no densities.
        let densities = std::cell::OnceCell::new();
        Ok(self.brackets.ask(cx, count, |i| {
            let rng = &mut cx.rng(i);
            if rng.random::<f64>() < self.settings.random_fraction {
                return cx.draw(rng);
            }
            match densities.get_or_init(|| self.densities(cx.space)) {
                Some(densities) => self.guided(densities, rng),
                None => cx.draw(rng),
            }
        }))
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            let rung = self.brackets.tell(cx, trial);
            self.done[rung].extend(Individual::of(trial, cx.goals));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::mean_best;
    use super::super::conformance::{digit_loss, gain_over_random, grid, numeric};
    use super::super::hyperband::Hyperband;
    use super::*;

    #[test]
    fn it_learns_from_low_rungs_what_hyperband_does_not() {
        let space = grid(8, 10);
        let gain = gain_over_random(&Bohb::default(), &space, digit_loss, 400);
        assert!(gain > 2.0, "{gain}");
        let hyperband = mean_best(&Hyperband::default(), &space, digit_loss, 400);
        assert!(mean_best(&Bohb::default(), &space, digit_loss, 400) < hyperband);
        let sphere = |point: &Point| point.reals()[0].powi(2) + (f64::from(point.codes()[1]) - 7.0).powi(2);
        let guided = mean_best(&Bohb::default(), &numeric(), sphere, 300);
        assert!(guided < mean_best(&Hyperband::default(), &numeric(), sphere, 300), "{guided}");
    }

    #[test]
    fn settings_out_of_range_are_explained() {
        let message = |settings: Bohb| {
            settings.build(&grid(1, 2), &super::super::conformance::one_loss()).err().unwrap().to_string()
        };
        let wrong = Bohb { top_fraction: 1.0, ..Bohb::default() };
        assert_eq!(
            message(wrong),
            "search algorithm 'bohb': top_fraction is 1, expected above 0 and below 1"
        );
        let wrong = Bohb { min_fidelity: 2.0, ..Bohb::default() };
        assert_eq!(
            message(wrong),
            "search algorithm 'bohb': min_fidelity is 2, expected above 0 and up to 1"
        );
    }
}
