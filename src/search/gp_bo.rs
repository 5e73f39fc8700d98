//! Bayesian optimisation with Gaussian processes: try the point that promises most, by a belief about every point.
//!
//! Jones, Schonlau and Welch 1998, "Efficient Global Optimization of Expensive Black-Box Functions" (doi
//! 10.1023/A:1008306431147): one process an objective and constrained metric (`predict::gaussian_process`); the acquisition
//! is the expected improvement in its logarithm (Ament et al. 2023, arXiv 2310.20708) or a confidence bound (Srinivas et
//! al. 2009, arXiv 0912.3995), times the probability of feasibility (Gardner et al. 2014, "Bayesian Optimization with
//! Inequality Constraints"). Several objectives: weights are drawn anew for every proposal, and the improvement is that
//! of the augmented Chebyshev norm (ParEGO, Knowles 2006, doi 10.1109/TEVC.2005.851274), expected over draws from the
//! processes of the objectives (qNParEGO, Daulton et al. 2020, arXiv 2006.05078, appendix). It is maximised over random
//! points and steps from the best trials, from the best of which a local search climbs.
//!
//! Running and just proposed trials are believed at their mean (Ginsbourger et al. 2010's "kriging believer"), which lowers
//! the deviation around them. A failed trial counts as the worst of every objective.
//!
//! Deviations: objectives are learnt by their normal scores, because losses of architectures have long tails; the
//! hyper-parameters are refitted after every fifth part of the history (50 trials at most) instead of every trial, in
//! between trials enter by rank-one extension of the factor; of more than `max_rows` trials the better half and the latest
//! are kept. So an ask costs O(candidates * rows^2), and no more for a longer history. The memory is rows^2 numbers an
//! output. Defaults: 10 random trials, 400 rows; a confidence bound looks 2 deviations down.

use std::sync::{Mutex, PoisonError};

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::history::{AUGMENTATION, History, weights};
use super::{Context, SearchAlgorithm, Settings, candidates, require};
use crate::error::Result;
use crate::predict::gaussian_process::Factor;
use crate::predict::{GaussianProcess, Prediction, Rows, Scale, normal};
use crate::rng::Rng;
use crate::space::{Point, SearchSpace};
use crate::trial::{Goals, Proposal, Trial};

/// Random points and steps from the best trials among which a proposal starts.
const RANDOM: usize = 100;
const NEAR: usize = 60;
/// Local searches from the best of them: their number, length and breadth.
const CLIMBERS: usize = 2;
const ROUNDS: usize = 4;
const BREADTH: usize = 40;
/// Draws from the processes of several objectives.
const SAMPLES: usize = 32;
/// Deviations that the confidence bound looks down.
const CONFIDENCE: f64 = 2.0;

/// What makes a point promising.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Acquisition {
    /// The expected improvement over the best trial, computed in its logarithm.
    LogEi,
    /// The lower confidence bound of the loss.
    Lcb,
}

/// Bayesian optimisation with Gaussian processes: the most economical with trials, at the highest cost per proposal.
/// Several objectives by random weights (ParEGO), constraints by their own processes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GpBo {
    /// Number of random trials at the start; 1 or more.
    pub startup: usize,
    /// What makes a point promising.
    pub acquisition: Acquisition,
    /// Trials that the processes learn from, at most; 10 or more. Time grows with its square, at refits its cube.
    pub max_rows: usize,
}

impl Default for GpBo {
    fn default() -> Self {
        GpBo { startup: 10, acquisition: Acquisition::LogEi, max_rows: 400 }
    }
}

impl Settings for GpBo {
    const NAME: &'static str = "gp_bo";

    fn build(self, space: &SearchSpace, goals: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        require(self.startup >= 1, Self::NAME, || {
            format!("startup is {}, expected 1 or more", self.startup)
        })?;
        require(self.max_rows >= 10, Self::NAME, || {
            format!("max_rows is {}, expected 10 or more", self.max_rows)
        })?;
        let bounds = goals
            .constraints()
            .iter()
            .map(|constraint| Bound {
                column: goals.metrics().iter().position(|m| *m == constraint.metric).unwrap_or_default(),
                low: constraint.low.unwrap_or(f64::NEG_INFINITY),
                high: constraint.high.unwrap_or(f64::INFINITY),
            })
            .collect();
        Ok(Box::new(Bayesian {
            settings: self,
            process: GaussianProcess::new(space.encoded_columns()),
            bounds,
            objectives: goals.objectives().len(),
            history: History::default(),
            measured: Vec::new(),
            beliefs: Mutex::new(None),
        }))
    }
}

/// A constraint: the column of its metric, and what it may be.
struct Bound {
    column: usize,
    low: f64,
    high: f64,
}

struct Bayesian {
    settings: GpBo,
    process: GaussianProcess,
    bounds: Vec<Bound>,
    objectives: usize,
    history: History,
    /// The constrained metrics of every trial, in the order of `bounds`.
    measured: Vec<Option<Box<[f64]>>>,
    /// A cache: what the told trials give.
    beliefs: Mutex<Option<Beliefs>>,
}

/// The factors of all outputs (objectives, then bounds) for some trials.
#[derive(Clone)]
struct Beliefs {
    /// Trials that the hyper-parameters are from, and those that have entered since.
    refitted: usize,
    told: usize,
    /// Positions of the trials that are rows.
    kept: Vec<usize>,
    factors: Vec<Factor>,
}

/// Outputs as the processes learn them, for the kept trials.
struct Targets {
    outputs: Vec<Vec<f64>>,
    /// Bounds on the scale of their outputs.
    bounds: Vec<(f64, f64)>,
    feasible: Vec<bool>,
}

impl Bayesian {
    /// When the hyper-parameters in force after `told` trials were fitted.
    fn refit(&self, told: usize) -> usize {
        let mut at = self.settings.startup.min(told);
        loop {
            let next = at + (at / 5).clamp(3, 50);
            if next > told {
                return at;
            }
            at = next;
        }
    }

    /// The trials to learn from after `told`: all, or the better half and the latest.
    fn keep(&self, space: &SearchSpace, told: usize) -> Vec<usize> {
        if told <= self.settings.max_rows {
            return (0..told).collect();
        }
        let half = self.settings.max_rows / 2;
        let objectives = self.objectives;
        let targets = self.history.past(space, told - half).targets(&vec![1.0; objectives]);
        let mut order: Vec<usize> = (0..told - half).collect();
        order.sort_by(|&a, &b| targets[a].total_cmp(&targets[b]).then(b.cmp(&a)));
        order.truncate(self.settings.max_rows - half);
        order.sort_unstable();
        order.extend(told - half..told);
        order
    }

    fn targets(&self, space: &SearchSpace, kept: &[usize]) -> Targets {
        let past = self.history.past(space, self.history.len());
        let scores: Vec<_> = kept.iter().map(|&i| past.scores[i].as_ref()).collect();
        let mut outputs: Vec<Vec<f64>> = (0..self.objectives)
            .map(|objective| {
                let losses: Vec<f64> =
                    scores.iter().map(|s| s.map_or(f64::INFINITY, |s| s.losses[objective])).collect();
                normal::scores(&losses)
            })
            .collect();
        let mut bounds = Vec::new();
        for (column, bound) in self.bounds.iter().enumerate() {
            let known = |i: &usize| self.measured[*i].as_ref().map(|m| m[column]).filter(|v| v.is_finite());
            let values: Vec<f64> = kept.iter().filter_map(known).collect();
            let scale = Scale::of(&values);
            outputs.push(kept.iter().map(|i| known(i).map_or(0.0, |value| scale.apply(value))).collect());
            bounds.push((scale.apply(bound.low), scale.apply(bound.high)));
        }
        let feasible = scores.iter().map(|score| score.is_some_and(|score| score.violation == 0.0)).collect();
        Targets { outputs, bounds, feasible }
    }

    /// What `told` trials give, from what fewer gave if that is still in force. Either way the same: trials after the
    /// refit always enter one by one.
    fn learn(&self, space: &SearchSpace, before: Option<Beliefs>) -> Result<Beliefs> {
        let told = self.history.len();
        let refitted = self.refit(told);
        let past = self.history.past(space, told);
        let mut beliefs = match before {
            Some(beliefs) if beliefs.refitted == refitted => beliefs,
            _ => {
                let kept = self.keep(space, refitted);
                let rows = Rows::of(space, kept.iter().map(|&i| &past.points[i]));
                let targets = self.targets(space, &kept);
                let factors = targets
                    .outputs
                    .iter()
                    .map(|output| self.process.factorise(self.process.explain(&rows, output), rows.clone()))
                    .collect::<Result<_>>()?;
                Beliefs { refitted, told: refitted, kept, factors }
            }
        };
        let rows = Rows::of(space, &past.points[beliefs.told..]);
        for row in rows.iter() {
            for factor in &mut beliefs.factors {
                factor.push(row)?;
            }
        }
        beliefs.kept.extend(beliefs.told..told);
        beliefs.told = told;
        Ok(beliefs)
    }

    fn propose(
        &self,
        cx: &Context<'_>,
        beliefs: &Beliefs,
        targets: &Targets,
        taken: &super::history::Taken<'_>,
        rng: &mut Rng,
    ) -> Result<Option<Point>> {
        let (space, objectives) = (cx.space, self.objectives);
        let promise = Promise::new(self.settings.acquisition, objectives, beliefs, targets, rng);
        let past = self.history.past(space, self.history.len()).within(cx.feasible);
        let value = |points: &[Point]| Ok(promise.of(&Rows::of(space, points)));
        let parents = past.best(&past.targets(&promise.weights), 5);
        let mut points = candidates::random(&past, RANDOM, rng);
        points.extend(candidates::around(&past, &parents, NEAR, rng));
        let mut valued: Vec<(f64, Point)> = value(&points)?.into_iter().zip(points).collect();
        valued.sort_by(|a, b| b.0.total_cmp(&a.0));
        let starts = valued[..valued.len().min(CLIMBERS)].to_vec();
        valued.extend(candidates::climb(space, starts, ROUNDS, BREADTH, rng, value)?);
        Ok(candidates::descending(valued).into_iter().find(|point| !taken.contains(point)))
    }
}

/// The acquisition of one proposal.
struct Promise<'a> {
    acquisition: Acquisition,
    beliefs: &'a Beliefs,
    bounds: &'a [(f64, f64)],
    solved: Vec<Vec<f64>>,
    weights: Vec<f64>,
    /// The smallest value of every objective.
    ideal: Vec<f64>,
    /// Draws from the standard normal distribution, one row a sample.
    samples: Vec<Vec<f64>>,
    /// The least loss of a feasible trial.
    best: Option<f64>,
}

impl<'a> Promise<'a> {
    fn new(
        acquisition: Acquisition,
        objectives: usize,
        beliefs: &'a Beliefs,
        targets: &'a Targets,
        rng: &mut Rng,
    ) -> Self {
        let solved =
            beliefs.factors.iter().zip(&targets.outputs).map(|(f, output)| f.solve(output)).collect();
        let weights = weights(objectives, rng);
        let least = |values: &Vec<f64>| values.iter().copied().fold(f64::INFINITY, f64::min);
        let mut promise = Promise {
            acquisition,
            beliefs,
            bounds: &targets.bounds,
            solved,
            ideal: targets.outputs[..objectives].iter().map(least).collect(),
            samples: Vec::new(),
            best: None,
            weights,
        };
        if objectives > 1 {
            let mut draw = |_| normal::quantile(rng.random::<f64>()).clamp(-8.0, 8.0);
            promise.samples = (0..SAMPLES).map(|_| (0..objectives).map(&mut draw).collect()).collect();
        }
        let feasible = (0..beliefs.kept.len()).filter(|&i| targets.feasible[i]);
        promise.best = feasible
            .map(|i| promise.loss((0..objectives).map(|k| targets.outputs[k][i])))
            .min_by(f64::total_cmp);
        promise
    }

    /// One loss of the standardised losses of all objectives.
    fn loss(&self, losses: impl ExactSizeIterator<Item = f64>) -> f64 {
        let (mut worst, mut sum) = (f64::NEG_INFINITY, 0.0);
        if losses.len() == 1 {
            return losses.sum();
        }
        for ((loss, weight), ideal) in losses.zip(&self.weights).zip(&self.ideal) {
            let weighted = weight * (loss - ideal);
            worst = f64::max(worst, weighted);
            sum += weighted;
        }
        worst + AUGMENTATION * sum
    }

    fn of(&self, rows: &Rows) -> Vec<f64> {
        let believed: Vec<Vec<Prediction>> = self
            .beliefs
            .factors
            .iter()
            .zip(&self.solved)
            .map(|(f, solved)| f.predict(solved, rows))
            .collect();
        let (objectives, constrained) = believed.split_at(self.weights.len());
        (0..rows.len())
            .map(|i| {
                let mut value = 0.0;
                for (belief, &(low, high)) in constrained.iter().map(|b| b[i]).zip(self.bounds) {
                    let below = |bound: f64| normal::cumulative((bound - belief.mean) / belief.std);
                    value += (below(high) - below(low)).max(1e-300).ln();
                }
                // Without a feasible trial there is nothing to improve on: find one.
                match self.best {
                    Some(best) => value + self.improvement(best, objectives, i),
                    None => value,
                }
            })
            .collect()
    }

    fn improvement(&self, best: f64, objectives: &[Vec<Prediction>], i: usize) -> f64 {
        if let [objective] = objectives {
            let Prediction { mean, std } = objective[i];
            return match self.acquisition {
                Acquisition::LogEi => std.ln() + normal::log_improvement((best - mean) / std),
                Acquisition::Lcb => CONFIDENCE * std - mean,
            };
        }
        let drawn = self.samples.iter().map(|sample| {
            self.loss(
                sample.iter().zip(objectives).map(|(z, objective)| objective[i].mean + z * objective[i].std),
            )
        });
        match self.acquisition {
            Acquisition::LogEi => {
                let sum: f64 = drawn.map(|loss| (best - loss).max(0.0)).sum();
                if sum > 0.0 {
                    return (sum / SAMPLES as f64).ln();
                }
                // No draw improves: the mean still tells better from worse.
                -700.0 - self.loss(objectives.iter().map(|objective| objective[i].mean))
            }
            Acquisition::Lcb => {
                let n = SAMPLES as f64;
                let (sum, squares) = drawn.fold((0.0, 0.0), |(s, q), loss| (s + loss, q + loss * loss));
                CONFIDENCE * (squares / n - (sum / n).powi(2)).max(0.0).sqrt() - sum / n
            }
        }
    }
}

impl SearchAlgorithm for Bayesian {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let space = cx.space;
        let mut taken = self.history.seen().with(cx.running);
        let mut cache = self.beliefs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current: Option<(Beliefs, Targets)> = None;
        let mut proposals: Vec<Proposal> = Vec::with_capacity(count);
        for offset in 0..count {
            let rng = &mut cx.rng(offset);
            let started = self.history.len() >= 2 && cx.next + offset as u64 >= self.settings.startup as u64;
            let mut found = None;
            if started {
                if current.is_none() {
                    let mut before = cache.take();
                    if before.as_ref().is_none_or(|beliefs| beliefs.told != self.history.len()) {
                        before = Some(self.learn(space, before)?);
                    }
                    if let Some(beliefs) = before {
                        let targets = self.targets(space, &beliefs.kept);
                        *cache = Some(beliefs.clone());
                        let mut now = (beliefs, targets);
                        for trial in cx.running {
                            believe(space, &trial.point, &mut now)?;
                        }
                        for proposal in &proposals {
                            believe(space, &proposal.point, &mut now)?;
                        }
                        current = Some(now);
                    }
                }
                if let Some(now) = &mut current {
                    found = self.propose(cx, &now.0, &now.1, &taken, rng)?;
                    if let Some(point) = found.as_ref().filter(|_| offset + 1 < count) {
                        believe(space, point, now)?;
                    }
                }
            }
            let Some(point) = found.or_else(|| taken.free(cx, rng)) else { break };
            taken.insert(&point);
            proposals.push(Proposal::new(point));
        }
        Ok(proposals)
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            self.history.tell(cx.goals, trial);
            self.measured.push(trial.measurement().map(|measurement| {
                self.bounds
                    .iter()
                    .map(|bound| measurement.values.get(bound.column).copied().unwrap_or(f64::NAN))
                    .collect()
            }));
        }
        Ok(())
    }
}

/// Takes a trial without an outcome at its mean.
fn believe(space: &SearchSpace, point: &Point, (beliefs, targets): &mut (Beliefs, Targets)) -> Result<()> {
    let rows = Rows::of(space, [point]);
    for (factor, output) in beliefs.factors.iter_mut().zip(&mut targets.outputs) {
        let mean = factor.predict(&factor.solve(output), &rows)[0].mean;
        factor.push(rows.row(0))?;
        output.push(mean);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{
        digit_loss, gain_over_random, grid, mean_hypervolume, mixed_gain, two_losses,
    };
    use super::*;
    use crate::search::Random;
    use crate::trial::{Constraint, Direction, Fidelity, Measurement, Objective, Outcome};

    #[test]
    fn it_beats_random_search() {
        for acquisition in [Acquisition::LogEi, Acquisition::Lcb] {
            let settings = GpBo { acquisition, ..GpBo::default() };
            let gain = gain_over_random(&settings, &grid(8, 10), digit_loss, 40);
            assert!(gain > 5.0, "{acquisition:?}: {gain}");
            let gain = mixed_gain(&settings, 40);
            assert!(gain > 0.2, "{acquisition:?}: {gain}");
        }
    }

    #[test]
    fn its_front_beats_that_of_random_search() {
        let space = grid(8, 5);
        let found = mean_hypervolume(&GpBo::default(), &space, two_losses, 50);
        let random = mean_hypervolume(&Random {}, &space, two_losses, 50);
        assert!(found > 1.2 * random, "{found} against {random}");
    }

    #[test]
    fn it_finds_the_feasible_part_and_stays_there() {
        let objective = Objective { metric: "sum".into(), direction: Direction::Maximize };
        let bound = Constraint { metric: "sum".into(), low: None, high: Some(6.0) };
        let goals = Goals::new(vec![objective], vec![bound]).unwrap();
        let space = grid(6, 5);
        let mut algorithm = GpBo { startup: 5, ..GpBo::default() }.build(&space, &goals).unwrap();
        let mut sums = Vec::new();
        for next in 0..40 {
            let cx = Context { space: &space, goals: &goals, seed: 1, next, running: &[], feasible: None };
            let point = algorithm.ask(&cx, 1).unwrap().remove(0).point;
            let sum = point.codes().iter().map(|&code| f64::from(code)).sum();
            sums.push(sum);
            let outcome = Some(Outcome::Complete(Measurement { values: [sum].into() }));
            let trial = Trial { id: next, point, fidelity: Fidelity::Full, parent: None, outcome };
            algorithm.tell(&cx, &[trial]).unwrap();
        }
        assert!(sums[20..].iter().filter(|&&sum| sum <= 6.0).count() > 7, "{sums:?}");
        assert!(sums.contains(&6.0), "{sums:?}");
    }

    #[test]
    fn long_histories_are_thinned() {
        let settings = GpBo { max_rows: 20, ..GpBo::default() };
        assert!(gain_over_random(&settings, &grid(6, 6), digit_loss, 60) > 1.0);
    }
}
