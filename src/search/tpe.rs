//! TPE, the tree-structured Parzen estimator: sample where good trials are dense and bad ones are not.
//!
//! Bergstra, Bardenet, Bengio and Kegl 2011, "Algorithms for Hyper-Parameter Optimization" (NeurIPS 24), section 4: the
//! best `gamma` of the trials give a density l, the others a density g; of some candidates drawn from l the one with the
//! largest l/g is tried. l is multivariate as in BOHB (Falkner, Klein and Hutter 2018, arXiv 1807.01774): a mixture with
//! one product of kernels a good trial, so decisions that go together stay together. Several objectives: the good trials
//! are those of the lowest non-domination ranks (Ozaki et al. 2020, "Multiobjective Tree-Structured Parzen Estimator",
//! doi 10.1145/3377930.3389817), ties by crowding distance in place of hypervolume contribution.
//!
//! Deviations: g is the product of its decisions' marginals, kept as tables of counts, instead of a mixture over all
//! trials, so that an ask costs the same after ten trials and after a million; each table counts only trials in which
//! the decision is active, so a conditional decision is judged among its like; a candidate that was tried before is
//! passed over; infeasible trials are worse than all feasible ones, failed and running ones (the constant liar) count as
//! bad. Defaults: 10 random trials, gamma a tenth but 25 at most, one uniform kernel as prior, and a kernel width of
//! 0.2 n^(-1/(4 + decisions)) of the range are those of Optuna's multivariate `TPESampler`; its 24 candidates are more
//! greedy than the product of marginals is accurate, 8 are as good or better on all of NAS-Bench-101, 201, Macro, Graph
//! and TaskSet. An ask costs O(candidates * 25 * decisions), a tell O(decisions) and a step into 25 (several objectives:
//! 100) sorted trials; the memory is 16 bytes a trial and the tables.

use std::sync::{Mutex, PoisonError};

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::history::Seen;
use super::operators::unit;
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::predict::normal;
use crate::rng::Rng;
use crate::space::{INACTIVE, Point, SearchSpace};
use crate::trial::{Goals, Proposal, Score, Trial, crowded_order};

/// Good trials, at most.
const MAX_GOOD: usize = 25;
/// Trials kept in order of their rank, of which the good ones are taken, with several objectives.
const MAX_RANKED: usize = 100;
/// Bins of a table: of labels (beyond that, neighbouring codes share a bin) and of numbers.
const MAX_LABELS: usize = 1024;
const NUMBER_BINS: usize = 64;
/// Kernel width of numbers for one trial, as a fraction of the range.
const WIDTH: f64 = 0.2;
/// Draws of a number from a kernel before it is cut off at the edge of the range.
const DRAWS: usize = 8;

/// Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate and aware of conditions: samples where good
/// trials are dense and bad ones are not. The cheapest model-based search; its cost does not grow with the trials.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tpe {
    /// Number of random trials at the start; 1 or more.
    pub startup: usize,
    /// Points drawn from the density of good trials, of which one is tried; 1 or more.
    pub candidates: usize,
    /// The fraction of the trials that is good (25 at most), above 0 and below 1.
    pub gamma: f64,
}

impl Default for Tpe {
    fn default() -> Self {
        Tpe { startup: 10, candidates: 8, gamma: 0.1 }
    }
}

impl Settings for Tpe {
    const NAME: &'static str = "tpe";

    fn build(self, space: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        for (name, value) in [("startup", self.startup), ("candidates", self.candidates)] {
            require(value >= 1, Self::NAME, || format!("{name} is {value}, expected 1 or more"))?;
        }
        require(self.gamma > 0.0 && self.gamma < 1.0, Self::NAME, || {
            format!("gamma is {}, expected above 0 and below 1", self.gamma)
        })?;
        Ok(Box::new(Parzen {
            settings: self,
            tables: (0..space.len()).map(|decision| Table::new(space, decision)).collect(),
            ranked: Vec::new(),
            told: 0,
            complete: 0,
            seen: Seen::default(),
            densities: Mutex::new(None),
        }))
    }
}

/// How often each value of a decision was told.
#[derive(Clone)]
struct Table {
    number: bool,
    /// Number of values; 0 for a real decision.
    values: i32,
    counts: Vec<f64>,
    total: f64,
}

impl Table {
    fn new(space: &SearchSpace, decision: usize) -> Self {
        let number = unit::is_numeric(space, decision);
        let values = space.count(decision);
        let most = if number { NUMBER_BINS } else { MAX_LABELS };
        let bins = if values == 0 { most } else { most.min(values.unsigned_abs() as usize) };
        Table { number, values, counts: vec![0.0; bins], total: 0.0 }
    }

    /// Where an active decision stands in `[0, 1)`, at the middle of its code's cell.
    fn place(&self, space: &SearchSpace, point: &Point, decision: usize) -> f64 {
        if self.values == 0 {
            unit::of(space, point, decision)
        } else {
            (f64::from(point.codes()[decision]) + 0.5) / f64::from(self.values)
        }
    }

    fn bin(&self, place: f64) -> usize {
        ((place * self.counts.len() as f64) as usize).min(self.counts.len() - 1)
    }

    fn add(&mut self, place: f64, weight: f64) {
        let bin = self.bin(place);
        self.counts[bin] += weight;
        self.total += weight;
    }

    /// The density at every bin relative to the uniform one, with one uniform trial as prior.
    fn densities(&self) -> Vec<f64> {
        let bins = self.counts.len();
        let uniform = 1.0 / bins as f64;
        let relative = |count: f64| (count + uniform) / (self.total + 1.0) / uniform;
        if !self.number || bins < 4 {
            return self.counts.iter().map(|&count| relative(count)).collect();
        }
        // Numbers: each count is spread over its neighbours, as wide as a kernel of one decision among so many trials.
        let width = (WIDTH * (self.total + 1.0).powf(-0.2) * bins as f64).max(0.5);
        let reach = ((3.0 * width).ceil() as usize).min(bins - 1);
        let kernel: Vec<f64> = (0..=reach).map(|k| (-0.5 * (k as f64 / width).powi(2)).exp()).collect();
        let mut smooth = vec![0.0; bins];
        for (bin, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let range = bin.saturating_sub(reach)..(bin + reach + 1).min(bins);
            let sum: f64 = range.clone().map(|other| kernel[other.abs_diff(bin)]).sum();
            for other in range {
                smooth[other] += count * kernel[other.abs_diff(bin)] / sum;
            }
        }
        smooth.into_iter().map(relative).collect()
    }
}

struct Ranked {
    score: Score,
    point: Point,
}

struct Parzen {
    settings: Tpe,
    /// All told trials.
    tables: Vec<Table>,
    /// The best complete trials, best first: more of them than are good.
    ranked: Vec<Ranked>,
    told: usize,
    complete: usize,
    seen: Seen,
    /// A cache: what the told trials give.
    densities: Mutex<Option<(usize, Densities)>>,
}

/// The densities of good and bad trials.
struct Densities {
    good: Vec<Kernel>,
    /// Chance that a label is redrawn, over the number of labels: the weight of each other label.
    spread: f64,
    width: f64,
    /// Counts of the bad trials, and their densities.
    bad: Vec<Table>,
    dense: Vec<Vec<f64>>,
}

/// A good trial.
struct Kernel {
    point: Point,
    /// For each number its place, and one over the mass of its kernel within the range.
    numbers: Vec<(f64, f64)>,
}

impl Parzen {
    fn good(&self) -> usize {
        let share = (self.settings.gamma * self.complete as f64).ceil() as usize;
        share.clamp(1, MAX_GOOD).min(self.ranked.len())
    }

    fn learn(&self, space: &SearchSpace) -> Densities {
        let good = &self.ranked[..self.good()];
        let n = good.len() as f64;
        let width = WIDTH * n.powf(-1.0 / (4.0 + space.len() as f64));
        let mut bad = self.tables.clone();
        let mut kernels = Vec::with_capacity(good.len());
        for Ranked { point, .. } in good {
            let mut numbers = vec![(0.0, 0.0); space.len()];
            for (decision, table) in bad.iter_mut().enumerate().filter(|(i, _)| point.is_active(*i)) {
                let place = table.place(space, point, decision);
                table.add(place, -1.0);
                if table.number {
                    let width = table.kernel_width(width);
                    let mass = normal::cumulative((1.0 - place) / width) - normal::cumulative(-place / width);
                    numbers[decision] = (place, 1.0 / mass);
                }
            }
            kernels.push(Kernel { point: point.clone(), numbers });
        }
        let dense = bad.iter().map(Table::densities).collect();
        Densities { good: kernels, spread: 1.0 / (n + 1.0), width, bad, dense }
    }
}

impl Table {
    /// Not narrower than half a cell of an integer, which would hide its neighbours.
    fn kernel_width(&self, width: f64) -> f64 {
        if self.values == 0 { width } else { width.max(0.5 / f64::from(self.values)) }
    }
}

impl Densities {
    /// Counts a point that runs as a bad one.
    fn lie(&mut self, space: &SearchSpace, point: &Point) {
        for (decision, table) in self.bad.iter_mut().enumerate().filter(|(i, _)| point.is_active(*i)) {
            table.add(table.place(space, point, decision), 1.0);
            self.dense[decision] = table.densities();
        }
    }

    /// A point from a kernel of l; the last kernel is the uniform prior.
    fn draw(&self, cx: &Context<'_>, rng: &mut Rng) -> Point {
        let space = cx.space;
        let Some(kernel) = self.good.get(rng.random_range(0..=self.good.len())) else {
            return cx.draw(rng);
        };
        let mut point = Point::new(vec![INACTIVE; space.len()], vec![0.0; space.n_reals()]);
        let mut draws = rng.clone();
        space.settle_with(&mut point, |point, decision| {
            let center = kernel.point.codes()[decision];
            let table = &self.bad[decision];
            if center == INACTIVE {
                space.redraw(point, decision, &mut draws);
            } else if table.number {
                let width = table.kernel_width(self.width);
                let place = around(kernel.numbers[decision].0, width, &mut draws);
                if table.values == 0 {
                    unit::set(space, point, decision, place);
                } else {
                    point.codes[decision] = ((place * f64::from(table.values)) as i32).min(table.values - 1);
                }
            } else {
                // (1 + spread) for the trial's own label, spread for each other.
                let total = 1.0 + self.spread * f64::from(table.values);
                if draws.random::<f64>() * total < 1.0 {
                    point.codes[decision] = center;
                } else {
                    space.redraw(point, decision, &mut draws);
                }
            }
        });
        *rng = draws;
        point
    }

    /// l/g of a point.
    fn ratio(&self, space: &SearchSpace, point: &Point) -> f64 {
        let active: Vec<(usize, f64)> = (0..space.len())
            .filter(|&i| point.is_active(i))
            .map(|i| (i, self.bad[i].place(space, point, i)))
            .collect();
        let mut good = 1.0;
        for kernel in &self.good {
            let mut product = 1.0;
            for &(decision, place) in &active {
                let center = kernel.point.codes()[decision];
                if center == INACTIVE {
                    continue;
                }
                let table = &self.bad[decision];
                product *= if table.number {
                    let width = table.kernel_width(self.width);
                    let (middle, scale) = kernel.numbers[decision];
                    normal::density((place - middle) / width) / width * scale
                } else {
                    let values = f64::from(table.values);
                    let own = if center == point.codes()[decision] { 1.0 } else { 0.0 };
                    values * (own + self.spread) / (1.0 + values * self.spread)
                };
            }
            good += product;
        }
        let bad: f64 = active
            .iter()
            .map(|&(decision, place)| self.dense[decision][self.bad[decision].bin(place)])
            .product();
        good / (self.good.len() as f64 + 1.0) / bad.max(f64::MIN_POSITIVE)
    }
}

/// A normal draw in `[0, 1]`.
fn around(middle: f64, width: f64, rng: &mut Rng) -> f64 {
    let mut place = middle;
    for _ in 0..DRAWS {
        place = middle + width * normal::quantile(rng.random::<f64>()).clamp(-8.0, 8.0);
        if (0.0..=1.0).contains(&place) {
            break;
        }
    }
    place.clamp(0.0, 1.0)
}

impl SearchAlgorithm for Parzen {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let space = cx.space;
        let mut taken = self.seen.with(cx.running);
        let mut cache = self.densities.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lied = false;
        let mut proposals = Vec::with_capacity(count);
        for offset in 0..count {
            let rng = &mut cx.rng(offset);
            let started = cx.next + offset as u64 >= self.settings.startup as u64 && !self.ranked.is_empty();
            let mut found = None;
            if started {
                if cache.as_ref().is_none_or(|(told, _)| *told != self.told) {
                    *cache = Some((self.told, self.learn(space)));
                    lied = false;
                }
                if let Some((_, densities)) = cache.as_mut() {
                    if !lied {
                        let running = cx.running.iter().map(|trial| &trial.point);
                        for point in running.chain(proposals.iter().map(|p: &Proposal| &p.point)) {
                            densities.lie(space, point);
                        }
                    }
                    lied = true;
                    let mut best = f64::NEG_INFINITY;
                    for _ in 0..self.settings.candidates {
                        let candidate = densities.draw(cx, rng);
                        let ratio = densities.ratio(space, &candidate);
                        if ratio > best && !taken.contains(&candidate) {
                            best = ratio;
                            found = Some(candidate);
                        }
                    }
                    if let Some(point) = &found
                        && offset + 1 < count
                    {
                        densities.lie(space, point);
                    }
                }
            }
            let Some(point) = found.or_else(|| taken.free(cx, rng)) else { break };
            taken.insert(&point);
            proposals.push(Proposal::new(point));
        }
        if lied && (!cx.running.is_empty() || count > 1) {
            *cache = None; // it holds lies that the next ask may not believe
        }
        Ok(proposals)
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            self.seen.insert(&trial.point, self.told);
            self.told += 1;
            for (decision, table) in self.tables.iter_mut().enumerate() {
                if trial.point.is_active(decision) {
                    table.add(table.place(cx.space, &trial.point, decision), 1.0);
                }
            }
            let score = trial.measurement().map(|measurement| cx.goals.score(measurement));
            let Some(score) = score.filter(|score| score.losses.iter().all(|loss| loss.is_finite())) else {
                continue;
            };
            self.complete += 1;
            let ranked = Ranked { score, point: trial.point.clone() };
            if cx.goals.objectives().len() == 1 {
                let position =
                    self.ranked.partition_point(|other| other.score.compare(&ranked.score).is_le());
                if position < MAX_GOOD {
                    self.ranked.insert(position, ranked);
                    self.ranked.truncate(MAX_GOOD);
                }
            } else {
                self.ranked.push(ranked);
                let scores: Vec<&Score> = self.ranked.iter().map(|ranked| &ranked.score).collect();
                let order = crowded_order(&scores, MAX_RANKED);
                let mut old: Vec<Option<Ranked>> = self.ranked.drain(..).map(Some).collect();
                self.ranked = order.into_iter().take(MAX_RANKED).filter_map(|i| old[i].take()).collect();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{
        digit_loss, gain_over_random, grid, mean_hypervolume, mixed_gain, one_loss, search, two_losses,
    };
    use super::*;
    use crate::rng::stream;
    use crate::search::Random;
    use crate::space::tests::mixed;
    use crate::space::{Decision, Domain, Label};

    #[test]
    fn it_beats_random_search() {
        let gain = gain_over_random(&Tpe::default(), &grid(8, 10), digit_loss, 100);
        assert!(gain > 3.0, "{gain}");
        let gain = mixed_gain(&Tpe::default(), 100);
        assert!(gain > 0.1, "{gain}");
    }

    #[test]
    fn its_front_beats_that_of_random_search() {
        let space = grid(8, 5);
        let found = mean_hypervolume(&Tpe::default(), &space, two_losses, 200);
        let random = mean_hypervolume(&Random {}, &space, two_losses, 200);
        assert!(found > 1.2 * random, "{found} against {random}");
    }

    #[test]
    fn it_searches_the_branch_of_a_conditional_decision_that_pays() {
        // "pool" gives 1 at best, "conv" only 0 with the right one of nine kernels and 5 otherwise.
        let kernels = Domain::Categorical((0..9).map(Label::Int).collect());
        let label = |text: &str| Label::Text(text.into());
        let space = SearchSpace::new(vec![
            Decision::new("op", Domain::Categorical(vec![label("conv"), label("pool")])),
            Decision::new("k", kernels).active_if("op", vec![label("conv")]),
            Decision::new("x", Domain::Real { low: 0.0, high: 1.0, log: false }),
        ])
        .unwrap();
        let loss = |point: &Point| {
            let x = point.reals()[0];
            vec![match point.codes() {
                [0, 4, _] => x,
                [0, ..] => 5.0 + x,
                _ => 1.0 + x,
            }]
        };
        let told = search(Tpe::default(), &space, loss, 120, 1);
        let right = told[90..].iter().filter(|trial| trial.point.codes()[..2] == [0, 4]).count();
        assert!(right > 15, "{right} of 30");
    }

    #[test]
    fn draws_follow_the_density_l() {
        let space = grid(1, 4);
        let mut parzen = Parzen {
            settings: Tpe::default(),
            tables: vec![Table::new(&space, 0)],
            ranked: vec![],
            told: 0,
            complete: 0,
            seen: Seen::default(),
            densities: Mutex::new(None),
        };
        let score = Score { violation: 0.0, losses: [0.0].into() };
        parzen.ranked.push(Ranked { score, point: Point::new([2], []) });
        parzen.complete = 1;
        let densities = parzen.learn(&space);
        let mut counts = [0.0_f64; 4];
        let rng = &mut stream(0, 0, "test");
        let goals = one_loss();
        let cx = Context { space: &space, goals: &goals, seed: 0, next: 1, running: &[], feasible: None };
        for _ in 0..20_000 {
            counts[densities.draw(&cx, rng).codes()[0] as usize] += 1.0 / 20_000.0;
        }
        // Half uniform, half 1.5/3 for the label and 0.5/3 for each other.
        for (code, count) in counts.into_iter().enumerate() {
            let expected = 0.125 + 0.5 * if code == 2 { 0.5 } else { 0.5 / 3.0 };
            assert!((count - expected).abs() < 0.02, "{code}: {count} {expected}");
        }
    }

    #[test]
    fn densities_of_numbers_sum_to_one_and_running_trials_repel() {
        let space = mixed();
        let goals = one_loss();
        let mut parzen = Tpe::default().build(&space, &goals).unwrap();
        let told = search(Tpe::default(), &space, |point| vec![f64::from(point.codes()[2])], 40, 2);
        let mut cx =
            Context { space: &space, goals: &goals, seed: 4, next: 40, running: &[], feasible: None };
        parzen.tell(&cx, &told).unwrap();
        let first = parzen.ask(&cx, 1).unwrap().remove(0).point;
        let trial = |point: Point| Trial { point, outcome: None, ..told[0].clone() };
        let running = [trial(first.clone())];
        cx.running = &running;
        let second = parzen.ask(&cx, 1).unwrap().remove(0).point;
        assert_ne!(first, second);
        cx.running = &[];
        assert_eq!(parzen.ask(&cx, 1).unwrap().remove(0).point, first);

        let mut table = Table::new(&space, space.decision_index("lr").unwrap());
        for place in [0.0, 0.3, 0.31, 0.99] {
            table.add(place, 1.0);
        }
        let mean = table.densities().iter().sum::<f64>() / NUMBER_BINS as f64;
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }
}
