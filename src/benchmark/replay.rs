//! Replays: algorithms on a benchmark, over many seeds, at the price of their own thinking alone.
//!
//! Every (algorithm, seed) is one run of ask, look up and tell in one thread; all runs go in parallel. A run is what a
//! study with this seed would do with one worker. What is kept of it is the incumbent after each trial: the best by the
//! objective so far (a trial of higher fidelity before one of lower), shown by the benchmark's reported metric at full
//! fidelity, as the papers do ("test accuracy of the best validation accuracy so far").
//!
//! Points that the benchmark refuses are told as failed and cost no trial: the published searches draw again there. So do
//! those that compare by the number of different architectures (White et al. 2019 and 2020) when a point is an
//! architecture that the run knows, an isomorphic cell say: with `distinct` its outcome is told and costs no trial.

use std::collections::HashSet;
use std::mem::swap;

use rayon::prelude::*;
use serde_json::Value;

use super::Benchmark;
use crate::error::{Error, Result};
use crate::search::{self, Context, Entry};
use crate::space::Point;
use crate::trial::{Direction, Fidelity, Goals, Measurement, Outcome, Proposal, Trial};

/// Proposals for each wanted trial after which a run that only gets refusals is given up.
const PATIENCE: u64 = 1_000;
/// Runs a thread between two polls.
const BLOCK: usize = 16;

/// How much is replayed.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// Trials of each run.
    pub trials: usize,
    /// Runs of each algorithm.
    pub seeds: usize,
    /// The seed of the first run; the others follow.
    pub first_seed: u64,
    /// Whether equal architectures of a run are one trial.
    pub distinct: bool,
}

/// The incumbents of each algorithm: row by row for its seeds, one value a trial; NaN before the first success.
pub type Curves = Vec<Vec<f64>>;

/// The curves of algorithms, given by name and settings. `poll` is called now and then, and its error ends it all.
///
/// # Errors
/// [`Error::Search`] for unknown algorithms or settings, or whatever an algorithm or `poll` reports.
pub fn replay(
    benchmark: &Benchmark,
    algorithms: &[(String, Value)],
    plan: Replay,
    poll: &mut dyn FnMut() -> Result<()>,
) -> Result<Curves> {
    if plan.trials == 0 || plan.seeds == 0 {
        let Replay { trials, seeds, .. } = plan;
        return Err(Error::Evaluation(format!(
            "trials is {trials} and seeds is {seeds}; expected 1 or more"
        )));
    }
    let goals = benchmark.goals()?;
    let mut curves = Vec::with_capacity(algorithms.len());
    for (name, settings) in algorithms {
        let entry = search::find(name)?;
        let settings = (entry.complete)(settings)?;
        let run = Run { benchmark, goals: &goals, entry, settings: &settings, distinct: plan.distinct };
        let mut values = vec![f64::NAN; plan.trials * plan.seeds];
        let block = BLOCK * rayon::current_num_threads();
        for (number, rows) in values.chunks_mut(plan.trials * block).enumerate() {
            poll()?;
            let first = plan.first_seed.wrapping_add((number * block) as u64);
            rows.par_chunks_mut(plan.trials)
                .enumerate()
                .try_for_each(|(i, row)| run.go(first.wrapping_add(i as u64), row))?;
        }
        curves.push(values);
    }
    Ok(curves)
}

struct Run<'a> {
    benchmark: &'a Benchmark,
    goals: &'a Goals,
    entry: &'a Entry,
    settings: &'a Value,
    distinct: bool,
}

impl Run<'_> {
    fn go(&self, seed: u64, curve: &mut [f64]) -> Result<()> {
        let Run { benchmark, goals, entry, settings, distinct } = self;
        let space = &**benchmark.space();
        let mut algorithm = (entry.create)(settings, space, goals)?;
        let (objective, reported) = ([benchmark.objective()], [benchmark.reported()]);
        let minimised = benchmark.metrics()[objective[0]].direction == Direction::Minimize;
        // Both are written over again and again, so that a trial costs no allocation of ours.
        let mut proposal = Proposal::new(Point::new([], []));
        let mut trial =
            Trial { id: 0, point: Point::new([], []), fidelity: Fidelity::Full, parent: None, outcome: None };
        let (mut value, mut report) = ([f64::NAN], [f64::NAN]);
        let (mut best, mut shown) = ((0.0, f64::INFINITY), f64::NAN);
        let mut known = HashSet::new();
        let mut done = 0;
        for next in 0..curve.len() as u64 * PATIENCE {
            let cx = Context { space, goals, seed, next, running: &[], feasible: None };
            if done == curve.len() || !algorithm.ask_into(&cx, &mut proposal)? {
                break;
            }
            swap(&mut trial.point, &mut proposal.point);
            (trial.id, trial.fidelity, trial.parent) = (next, proposal.fidelity, proposal.parent);
            match benchmark.answer(&trial.point, trial.fidelity, &objective, &mut value) {
                Ok(()) if value[0].is_finite() => {
                    match &mut trial.outcome {
                        Some(Outcome::Complete(measurement)) => measurement.values[0] = value[0],
                        outcome => {
                            *outcome = Some(Outcome::Complete(Measurement { values: value.into() }));
                        }
                    }
                    let loss = if minimised { value[0] } else { -value[0] };
                    let amount = match trial.fidelity {
                        Fidelity::Full => 1.0,
                        Fidelity::Partial(fraction) => fraction,
                    };
                    if amount > best.0 || (amount == best.0 && loss < best.1) {
                        best = (amount, loss);
                        let full = benchmark.answer(&trial.point, Fidelity::Full, &reported, &mut report);
                        shown = full.map_or(f64::NAN, |()| report[0]);
                    }
                    if !distinct || known.insert((benchmark.identity(&trial.point), amount.to_bits())) {
                        curve[done] = shown;
                        done += 1;
                    }
                }
                Ok(()) => trial.outcome = Some(Outcome::Failed("the objective is not a number".into())),
                Err(refusal) => trial.outcome = Some(Outcome::Failed(refusal.into())),
            }
            algorithm.tell(&cx, std::slice::from_ref(&trial))?;
        }
        // An exhausted algorithm has nothing to add.
        curve[done..].fill(shown);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::digits;
    use super::*;
    use crate::search::ALGORITHMS;

    fn curves(name: &str, plan: Replay) -> Vec<f64> {
        replay(&digits(), &[(name.into(), serde_json::json!({}))], plan, &mut || Ok(())).unwrap().remove(0)
    }

    #[test]
    fn a_curve_is_the_incumbent_by_the_objective_shown_by_the_reported_metric() {
        let plan = Replay { trials: 200, seeds: 3, first_seed: 5, distinct: false };
        for entry in ALGORITHMS {
            let goals = digits().goals().unwrap();
            if (entry.create)(&serde_json::json!({}), digits().space(), &goals).is_err() {
                continue;
            }
            let values = curves(entry.name, plan);
            assert_eq!(values.len(), 600);
            for row in values.chunks(200) {
                assert!((1.0..=11.0).contains(&row[0]), "{}", entry.name);
                // Not sorted where low fidelities come first, which here say the same as high ones.
                assert!(row.iter().all(|x| (1.0..=11.0).contains(x)), "{}", entry.name);
            }
            let alone = curves(entry.name, Replay { seeds: 1, first_seed: 6, ..plan });
            assert!(alone == values[200..400], "{}: a run depends on the others", entry.name);
        }
        let random = curves("random", plan);
        assert!(random.chunks(200).all(<[f64]>::is_sorted));
    }

    #[test]
    fn refused_points_cost_no_trial_and_mistakes_are_explained() {
        let values = curves("random", Replay { trials: 50, seeds: 20, first_seed: 0, distinct: false });
        assert!(values.iter().all(|x| x.is_finite()));
        let none = Replay { trials: 0, seeds: 1, first_seed: 0, distinct: false };
        let message = replay(&digits(), &[], none, &mut || Ok(())).unwrap_err().to_string();
        assert_eq!(message, "trials is 0 and seeds is 1; expected 1 or more");
        let stopped = replay(
            &digits(),
            &[("random".into(), serde_json::json!({}))],
            Replay { trials: 1, seeds: 1, first_seed: 0, distinct: false },
            &mut || Err(Error::Interrupted),
        );
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
}
