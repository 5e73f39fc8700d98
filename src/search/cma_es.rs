//! CMA-ES: a normal distribution that moves, stretches and turns towards the better half of what it sampled.
//!
//! Hansen 2016, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772, figure 6 (equations 38-47) with negative
//! weights and the parameters of table 1; restarts with doubled population of Auger and Hansen 2005 (IPOP), DOI
//! 10.1109/CEC.2005.1554902. Numbers live on their unit scale; an integer is an interval cut into as many bins as it has
//! values. For spaces of integers and reals only; a conditional one that is inactive does not matter to its trial.
//!
//! Trials need not come from the current distribution: what lies in a point is enough, and steps longer than
//! sqrt(n) + 2 n / (n + 2) in the distribution's own measure are shortened to that (Hansen 2011, "Injecting External
//! Solutions Into CMA-ES", arXiv 1110.4181), which covers trials told late, enqueued points and samples folded back at
//! the border. For trials of the current distribution the sample itself is drawn again from the trial's number, since an
//! integer forgets where in its bin it came from.
//!
//! Deviations: samples outside the unit cube are reflected at its border; the spread of an integer is kept at a fifth
//! of a bin or more, so that it never freezes (a plain form of the margin of Hamano et al. 2022, arXiv 2205.13482);
//! failed trials rank last, a generation in which all failed teaches nothing; infeasible ones rank behind feasible ones;
//! with several objectives the ranking is NSGA-II's, but one normal distribution cannot cover a front: prefer `nsga2`.
//! A restart happens when the spread falls below 1e-9, the condition exceeds 1e14, or the best losses of the last
//! 10 + 30 n / population generations lie within 1e-12. Defaults: population 4 + 3 ln n of table 1, first spread 0.3 of
//! every interval around the centre. An ask costs O(n^2), a tell O(n^2) amortised (the decomposition is redone when a
//! tenth of it is worth, section B.2); memory is O(n^2). Eigenvectors come from faer, whose kernels depend on the
//! processor: runs repeat exactly on one kind of machine only.

use std::collections::VecDeque;

use faer::{Mat, Side};
use rand::Rng as _;
use rand_distr::StandardNormal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::{Error, Result};
use crate::rng::{Rng, stream};
use crate::space::{Domain, INACTIVE, Point, SearchSpace};
use crate::trial::{Goals, Proposal, Score, Trial, crowded_order};

/// CMA-ES (Hansen 2016, arXiv 1604.00772): samples a normal distribution and adapts its mean, spread and covariance. For
/// spaces of integers and reals; the method of choice for up to about a hundred correlated numbers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CmaEs {
    /// Trials of a generation; 4 or more. None: 4 + 3 ln(number of decisions), rounded down.
    pub population: Option<usize>,
    /// The first standard deviation, as a fraction of each decision's interval; above 0, at most 1.
    pub sigma: f64,
    /// Whether to start anew with twice the population, elsewhere, after the search has converged.
    pub restarts: bool,
}

impl Default for CmaEs {
    fn default() -> Self {
        CmaEs { population: None, sigma: 0.3, restarts: true }
    }
}

impl Settings for CmaEs {
    const NAME: &'static str = "cma_es";

    fn build(self, space: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let CmaEs { population, sigma, .. } = self;
        require(population.is_none_or(|n| n >= 4), Self::NAME, || {
            format!("population is {}, expected 4 or more", population.unwrap_or_default())
        })?;
        require(sigma > 0.0 && sigma <= 1.0, Self::NAME, || {
            format!("sigma is {sigma}, expected above 0 and at most 1")
        })?;
        let moving: Vec<usize> = (0..space.len()).filter(|&i| space.spreads(i)).collect();
        let decisions = moving.iter().map(|&i| &space.decisions()[i]);
        for decision in decisions {
            let numeric = matches!(decision.domain, Domain::Integer { .. } | Domain::Real { .. });
            require(numeric, Self::NAME, || {
                format!(
                    "decision '{}' is {}, but this algorithm needs integers and reals; use 'evolution' or \
                     'differential_evolution', or make the decision an integer",
                    decision.name, decision.domain
                )
            })?;
        }
        let n = moving.len();
        let population = population.unwrap_or(4 + (3.0 * (n.max(1) as f64).ln()) as usize);
        Ok(Box::new(Adaptation {
            settings: self,
            moving,
            strategy: Strategy::new(n, population),
            normal: Normal::new(vec![0.5; n], sigma),
            generation: Vec::new(),
            recent: VecDeque::new(),
        }))
    }
}

struct Adaptation {
    settings: CmaEs,
    /// The decisions with more than one value, the axes of the distribution.
    moving: Vec<usize>,
    strategy: Strategy,
    normal: Normal,
    /// Places told since the last update, with their scores; `None`: failed.
    generation: Vec<(Vec<f64>, Option<Score>)>,
    /// The best loss of the last generations, for one objective.
    recent: VecDeque<f64>,
}

impl Adaptation {
    fn point(&self, space: &SearchSpace, place: &[f64]) -> Point {
        let mut units = vec![0.0; space.len()];
        for (&decision, &unit) in self.moving.iter().zip(place) {
            units[decision] = unit;
        }
        let mut point = Point::new(vec![INACTIVE; space.len()], vec![0.0; space.n_reals()]);
        space.settle_with(&mut point, |point, i| match space.real_slot(i) {
            Some(slot) => {
                point.codes[i] = 0;
                point.reals[slot] = space.decisions()[i].domain.from_unit(units[i]) + 0.0;
            }
            None => {
                point.codes[i] = ((units[i] * f64::from(space.count(i))) as i32).min(space.count(i) - 1);
            }
        });
        point
    }

    /// Where a told trial lies: its own sample if it came from the current distribution, else the middle of its values,
    /// and the mean where it is inactive.
    fn place(&self, cx: &Context<'_>, trial: &Trial) -> Vec<f64> {
        let sample = self.normal.sample(&mut stream(cx.seed, trial.id, "ask"));
        if self.point(cx.space, &sample) == trial.point {
            return sample;
        }
        let unit = |(k, &i): (usize, &usize)| match (trial.point.codes()[i], cx.space.real_slot(i)) {
            (INACTIVE, _) => self.normal.mean[k],
            (_, Some(slot)) => cx.space.decisions()[i].domain.to_unit(trial.point.reals()[slot]),
            (code, None) => (f64::from(code) + 0.5) / f64::from(cx.space.count(i)),
        };
        self.moving.iter().enumerate().map(unit).collect()
    }

    /// Ends a generation; the last trial of it seeds a restart.
    fn adapt(&mut self, cx: &Context<'_>, last: u64) -> Result<()> {
        let generation = std::mem::take(&mut self.generation);
        let (told, failed): (Vec<_>, Vec<_>) = generation.into_iter().partition(|(_, score)| score.is_some());
        if told.is_empty() {
            return Ok(());
        }
        let scores: Vec<&Score> = told.iter().filter_map(|(_, score)| score.as_ref()).collect();
        let order = crowded_order(&scores, scores.len());
        let best = scores[order[0]];
        if best.losses.len() == 1 && best.violation <= 0.0 {
            self.recent.push_back(best.losses[0]);
        }
        let ranked: Vec<&[f64]> =
            order.iter().map(|&i| &*told[i].0).chain(failed.iter().map(|(place, _)| &**place)).collect();
        self.normal.update(&self.strategy, &ranked);
        for (k, &i) in self.moving.iter().enumerate() {
            if cx.space.real_slot(i).is_none() {
                self.normal.widen(k, 0.2 / f64::from(cx.space.count(i)));
            }
        }
        self.normal.decompose(&self.strategy)?;
        let n = self.moving.len();
        let patience = 10 + (30 * n).div_ceil(self.strategy.population);
        while self.recent.len() > patience {
            self.recent.pop_front();
        }
        let spread = |recent: &VecDeque<f64>| {
            let least = recent.iter().copied().fold(f64::INFINITY, f64::min);
            recent.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least
        };
        let stuck = self.recent.len() == patience && spread(&self.recent) <= 1e-12;
        if self.settings.restarts && (stuck || self.normal.is_spent()) {
            let rng = &mut stream(cx.seed, last, "restart");
            let mean = (0..n).map(|_| rng.random()).collect();
            self.strategy = Strategy::new(n, 2 * self.strategy.population);
            self.normal = Normal::new(mean, self.settings.sigma);
            self.recent.clear();
        }
        Ok(())
    }
}

impl SearchAlgorithm for Adaptation {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let propose = |offset| Proposal::new(self.point(cx.space, &self.normal.sample(&mut cx.rng(offset))));
        Ok((0..count).map(propose).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            let place = self.place(cx, trial);
            let score = trial.measurement().map(|measurement| cx.goals.score(measurement));
            self.generation.push((place, score));
            if self.generation.len() >= self.strategy.population {
                self.adapt(cx, trial.id)?;
            }
        }
        Ok(())
    }
}

/// The parameters of table 1.
struct Strategy {
    population: usize,
    /// One a rank; the better half positive with sum 1, the rest negative.
    weights: Vec<f64>,
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    /// The expected length of a standard normal vector.
    chi: f64,
}

impl Strategy {
    fn new(n: usize, population: usize) -> Self {
        let dim = n.max(1) as f64;
        let raw: Vec<f64> =
            (1..=population).map(|i| f64::midpoint(population as f64, 1.0).ln() - (i as f64).ln()).collect();
        let sums = |part: &[f64]| (part.iter().sum::<f64>(), part.iter().map(|w| w * w).sum::<f64>());
        let (better, worse) = raw.split_at(population / 2);
        let ((sum, squares), (sum_worse, squares_worse)) = (sums(better), sums(worse));
        let mu_eff = sum * sum / squares;
        let mu_eff_worse = sum_worse * sum_worse / squares_worse;
        let c_sigma = (mu_eff + 2.0) / (dim + mu_eff + 5.0);
        let d_sigma = 1.0 + 2.0 * (((mu_eff - 1.0) / (dim + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma;
        let c_c = (4.0 + mu_eff / dim) / (dim + 4.0 + 2.0 * mu_eff / dim);
        let c_1 = 2.0 / ((dim + 1.3).powi(2) + mu_eff);
        let c_mu =
            (2.0 * (0.25 + mu_eff + 1.0 / mu_eff - 2.0) / ((dim + 2.0).powi(2) + mu_eff)).min(1.0 - c_1);
        // Equations 50 to 52: how much the worse half may weigh in all.
        let negative = (1.0 + c_1 / c_mu)
            .min(1.0 + 2.0 * mu_eff_worse / (mu_eff + 2.0))
            .min((1.0 - c_1 - c_mu).max(0.0) / (dim * c_mu));
        let total_worse: f64 = raw.iter().filter(|w| **w < 0.0).map(|w| -w).sum();
        let weights =
            raw.iter().map(|&w| if w >= 0.0 { w / sum } else { w * negative / total_worse }).collect();
        let chi = dim.sqrt() * (1.0 - 1.0 / (4.0 * dim) + 1.0 / (21.0 * dim * dim));
        Strategy { population, weights, mu_eff, c_sigma, d_sigma, c_c, c_1, c_mu, chi }
    }
}

/// The distribution, its paths, and the decomposition of its covariance.
struct Normal {
    mean: Vec<f64>,
    sigma: f64,
    covariance: Mat<f64>,
    /// Eigenvectors as columns.
    vectors: Mat<f64>,
    /// Square roots of the eigenvalues.
    lengths: Vec<f64>,
    path_sigma: Vec<f64>,
    path_c: Vec<f64>,
    generations: i32,
    /// Generations since the covariance was decomposed.
    stale: usize,
}

impl Normal {
    fn new(mean: Vec<f64>, sigma: f64) -> Self {
        let n = mean.len();
        Normal {
            mean,
            sigma,
            covariance: Mat::identity(n, n),
            vectors: Mat::identity(n, n),
            lengths: vec![1.0; n],
            path_sigma: vec![0.0; n],
            path_c: vec![0.0; n],
            generations: 0,
            stale: 0,
        }
    }

    /// A sample, reflected into the unit cube (equations 38 to 40).
    fn sample(&self, rng: &mut Rng) -> Vec<f64> {
        let mut place = self.mean.clone();
        for (k, length) in self.lengths.iter().enumerate() {
            let step = self.sigma * length * rng.sample::<f64, _>(StandardNormal);
            for (x, v) in place.iter_mut().zip(self.vectors.col(k).iter()) {
                *x += step * v;
            }
        }
        for x in &mut place {
            let folded = x.rem_euclid(2.0);
            *x = if folded > 1.0 { 2.0 - folded } else { folded };
        }
        place
    }

    /// `C^(-1/2) y`.
    fn whiten(&self, y: &[f64]) -> Vec<f64> {
        let mut white = vec![0.0; y.len()];
        for (k, length) in self.lengths.iter().enumerate() {
            let column = self.vectors.col(k);
            let along: f64 = column.iter().zip(y).map(|(v, y)| v * y).sum();
            for (x, v) in white.iter_mut().zip(column.iter()) {
                *x += along / length * v;
            }
        }
        white
    }

    /// One generation, best place first (equations 41 to 47).
    fn update(&mut self, strategy: &Strategy, ranked: &[&[f64]]) {
        let n = self.mean.len();
        let dim = n as f64;
        let longest = dim.sqrt() + 2.0 * dim / (dim + 2.0);
        // Steps in units of sigma, none longer than `longest`, with their squared length in the distribution's measure.
        let steps: Vec<(Vec<f64>, f64)> = ranked
            .iter()
            .map(|place| {
                let mut y: Vec<f64> =
                    place.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.sigma).collect();
                let length = norm(&self.whiten(&y));
                if length > longest {
                    for y in &mut y {
                        *y *= longest / length;
                    }
                }
                (y, length.min(longest).powi(2))
            })
            .collect();
        let mut step = vec![0.0; n];
        for ((y, _), w) in steps.iter().zip(&strategy.weights).filter(|(_, w)| **w > 0.0) {
            for (step, y) in step.iter_mut().zip(y) {
                *step += w * y;
            }
        }
        for (m, step) in self.mean.iter_mut().zip(&step) {
            *m += self.sigma * step;
        }
        let Strategy { mu_eff, c_sigma, d_sigma, c_c, c_1, c_mu, chi, .. } = *strategy;
        let scale = (c_sigma * (2.0 - c_sigma) * mu_eff).sqrt();
        let white = self.whiten(&step);
        for (p, y) in self.path_sigma.iter_mut().zip(white) {
            *p = (1.0 - c_sigma) * *p + scale * y;
        }
        self.generations = self.generations.saturating_add(1);
        let length = norm(&self.path_sigma);
        let settled = (1.0 - (1.0 - c_sigma).powi(self.generations.saturating_mul(2))).sqrt();
        let h_sigma = f64::from(u8::from(length / settled < (1.4 + 2.0 / (dim + 1.0)) * chi));
        let scale = h_sigma * (c_c * (2.0 - c_c) * mu_eff).sqrt();
        for (p, y) in self.path_c.iter_mut().zip(&step) {
            *p = (1.0 - c_c) * *p + scale * y;
        }
        let total: f64 = strategy.weights.iter().sum();
        let kept = 1.0 + c_1 * (1.0 - h_sigma) * c_c * (2.0 - c_c) - c_1 - c_mu * total;
        for i in 0..n {
            for j in 0..=i {
                let mut sum = kept * self.covariance[(i, j)] + c_1 * self.path_c[i] * self.path_c[j];
                for ((y, squared), &w) in steps.iter().zip(&strategy.weights) {
                    // Long bad steps would make the covariance indefinite.
                    let w = if w < 0.0 { w * dim / (squared + 1e-8) } else { w };
                    sum += c_mu * w * y[i] * y[j];
                }
                self.covariance[(i, j)] = sum;
                self.covariance[(j, i)] = sum;
            }
        }
        // A step of more than e in a generation is never right (as in the author's code).
        self.sigma *= ((c_sigma / d_sigma) * (length / chi - 1.0)).min(1.0).exp();
        self.stale += 1;
    }

    /// Keeps the standard deviation along an axis at `least` or more.
    fn widen(&mut self, axis: usize, least: f64) {
        let now = self.sigma * self.covariance[(axis, axis)].max(0.0).sqrt();
        if now >= least || now <= 0.0 {
            return;
        }
        let factor = least / now;
        for k in 0..self.mean.len() {
            self.covariance[(axis, k)] *= factor;
            self.covariance[(k, axis)] *= factor;
        }
        self.stale = usize::MAX;
    }

    fn decompose(&mut self, strategy: &Strategy) -> Result<()> {
        let n = self.mean.len();
        let due = 1.0 / (10.0 * n.max(1) as f64 * (strategy.c_1 + strategy.c_mu));
        if n == 0 || (self.stale as f64) < due {
            return Ok(());
        }
        let eigen = self.covariance.self_adjoint_eigen(Side::Lower).map_err(|e| {
            Error::Search(format!("search algorithm 'cma_es': the covariance cannot be decomposed: {e:?}"))
        })?;
        self.lengths = (0..n).map(|k| eigen.S().column_vector()[k].max(1e-20).sqrt()).collect();
        self.vectors = eigen.U().to_owned();
        self.stale = 0;
        Ok(())
    }

    /// Whether nothing more can be learnt from it: it has shrunk to a point or is too flat for numbers.
    fn is_spent(&self) -> bool {
        let longest = self.lengths.iter().copied().fold(0.0, f64::max);
        let shortest = self.lengths.iter().copied().fold(f64::INFINITY, f64::min);
        !self.mean.is_empty() && (self.sigma * longest < 1e-9 || longest > 1e7 * shortest)
    }
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{gain_over_random, grid, mean_best, numeric, one_loss};
    use super::*;
    use crate::space::Decision;
    use crate::space::tests::mixed;

    fn cube(n: usize) -> SearchSpace {
        let domain = Domain::Real { low: -5.0, high: 5.0, log: false };
        SearchSpace::new((0..n).map(|i| Decision::new(format!("x{i}"), domain.clone())).collect()).unwrap()
    }

    #[test]
    fn the_sphere_and_a_turned_ellipsoid_are_solved() {
        let sphere = |point: &Point| point.reals().iter().map(|x| (x - 1.0).powi(2)).sum::<f64>();
        let found = mean_best(&CmaEs::default(), &cube(5), sphere, 800);
        assert!(found < 1e-7, "{found}");
        // Condition 1e4 along directions that are not axes.
        let ellipsoid = |point: &Point| {
            let x = point.reals();
            (0..4)
                .map(|i| 10_f64.powi(i) * (x[i as usize] - x[(i as usize + 1) % 4] + 0.5).powi(2))
                .sum::<f64>()
                + x.iter().sum::<f64>().powi(2)
        };
        let least = {
            // The four differences sum to nothing, so each term keeps a part of 0.5: minimum of the sum of
            // 10^i (d_i + 0.5)^2 over d with sum 0.
            let inverse: f64 = (0..4).map(|i| 10_f64.powi(-i)).sum();
            4.0 / inverse
        };
        let found = mean_best(&CmaEs::default(), &cube(4), ellipsoid, 3_000);
        assert!((found - least).abs() < 1e-3, "{found} against {least}");
    }

    #[test]
    fn integers_do_not_freeze() {
        let domain = Domain::Integer { low: -50, high: 50, step: 1 };
        let decisions = (0..6).map(|i| Decision::new(format!("n{i}"), domain.clone()));
        let space = SearchSpace::new(decisions.collect()).unwrap();
        let loss = |point: &Point| point.codes().iter().map(|&c| f64::from(c - 37).powi(2)).sum::<f64>();
        assert!(mean_best(&CmaEs::default(), &space, loss, 1_200) < 1.5);
    }

    #[test]
    fn it_beats_random_search_on_mixed_numbers() {
        let loss = |point: &Point| {
            (point.reals()[0] - 1.0).powi(2)
                + f64::from(point.codes()[1] - 13).powi(2)
                + point.reals()[1].log10().powi(2)
        };
        assert!(gain_over_random(&CmaEs::default(), &numeric(), loss, 300) > 0.1);
    }

    #[test]
    fn it_restarts_and_leaves_a_local_optimum() {
        // Rastrigin: the global optimum is at 0.6 and 0.6 in the middle of many others.
        let loss = |point: &Point| {
            point
                .reals()
                .iter()
                .map(|x| {
                    let x = x - 0.6;
                    10.0 + x * x - 10.0 * (2.0 * std::f64::consts::PI * x).cos()
                })
                .sum::<f64>()
        };
        let once = mean_best(&CmaEs { restarts: false, ..CmaEs::default() }, &cube(2), loss, 4_000);
        let again = mean_best(&CmaEs::default(), &cube(2), loss, 4_000);
        assert!(again < 1e-6 && again <= once, "{again} against {once}");
    }

    #[test]
    fn the_weights_are_those_of_the_tutorial() {
        let strategy = Strategy::new(10, 10);
        let positive: f64 = strategy.weights.iter().filter(|w| **w > 0.0).sum();
        assert!((positive - 1.0).abs() < 1e-12);
        assert!((strategy.mu_eff - 3.167).abs() < 1e-2, "{}", strategy.mu_eff);
        // Equations 55 to 58 by hand.
        let rates = [strategy.c_sigma, strategy.c_c, strategy.c_1, strategy.c_mu];
        let expected = [0.2844, 0.2950, 0.01528, 0.02355];
        assert!(
            rates.iter().zip(expected).all(|(rate, value)| (rate / value - 1.0).abs() < 1e-3),
            "{rates:?}"
        );
        assert!(strategy.weights[5..].iter().all(|w| *w < 0.0) && strategy.weights[4] > 0.0);
        // Equation 53: without rank-one and rank-mu information the covariance would keep its size.
        let total: f64 = strategy.weights.iter().sum();
        assert!(1.0 - strategy.c_1 - strategy.c_mu * total > 0.0);
    }

    #[test]
    fn the_first_decision_that_is_no_number_is_named() {
        let message =
            |space: &SearchSpace| CmaEs::default().build(space, &one_loss()).err().unwrap().to_string();
        assert_eq!(
            message(&mixed()),
            "search algorithm 'cma_es': decision 'op' is one of ('conv', 'pool'), but this algorithm needs integers and \
             reals; use 'evolution' or 'differential_evolution', or make the decision an integer"
        );
        assert!(CmaEs::default().build(&grid(3, 1), &one_loss()).is_ok());
    }
}
