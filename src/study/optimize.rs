//! The loop: ask, evaluate, tell, until done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::study::{Late, Memory, Turn, Want};
use super::{Observer, Stop, Stopped, Study};
use crate::error::{Error, Result};
use crate::evaluate::{Evaluator, RemoteEvaluator};
use crate::trial::{Measurement, Outcome, Trial, TrialId};

/// How long signals may go unnoticed, and how often idle workers look for work.
const BREATH: Duration = Duration::from_millis(100);

/// How a run is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When it ends.
    pub stop: Stop,
    /// How many threads evaluate at once; 1: the caller's own.
    pub workers: usize,
    /// How many trials an evaluator gets at once.
    pub batch: usize,
    /// After so many deaths of the process that evaluated it a trial is recorded as failed; `None`: never.
    pub deaths: Option<u64>,
}

impl Study {
    /// Asks, evaluates and tells until a condition of the plan's [`Stop`] holds.
    ///
    /// The outcome of a trial and the number of the next one are written in one transaction. On an error (of the
    /// evaluator, the algorithm, the observer) the trials under evaluation are given back, to be handed out again
    /// first; other workers finish and tell theirs; the first error is returned unchanged. Several processes may run
    /// on one file; together they finish at most one batch a process more than was wanted.
    ///
    /// # Errors
    /// Whatever the evaluator, the algorithm, the observer or the file reports.
    pub fn optimize(
        &self,
        evaluator: &dyn Evaluator,
        plan: &Plan,
        observer: &dyn Observer,
    ) -> Result<Stopped> {
        let run = Run::new(self, plan, observer)?;
        let hands = Hands { evaluator, columns: self.columns_of(evaluator)? };
        if plan.workers == 1 {
            let mut polled = Instant::now();
            return run.work(&hands, &mut || {
                // Looking at the clock is cheaper than looking for signals, which takes Python's lock.
                if polled.elapsed() < BREATH {
                    return Ok(());
                }
                polled = Instant::now();
                observer.poll()
            });
        }
        thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            for number in 0..plan.workers {
                let (run, hands, sender) = (&run, &hands, sender.clone());
                let work = move || {
                    let result = run.work(hands, &mut || Ok(()));
                    if result.is_err() {
                        run.halt();
                    }
                    // The receiver outlives every worker.
                    let _ = sender.send(result);
                };
                let spawned = thread::Builder::new()
                    .name(format!("modularnas worker {number}"))
                    .spawn_scoped(scope, work);
                if let Err(e) = spawned {
                    run.halt();
                    return Err(Error::Study(format!(
                        "cannot start worker {number} of {}: {e}",
                        plan.workers
                    )));
                }
            }
            drop(sender);
            let mut first = Ok(Stopped::Trials);
            loop {
                let result = match results.recv_timeout(BREATH) {
                    Ok(result) => result,
                    Err(RecvTimeoutError::Timeout) => observer.poll().map(|()| Stopped::Trials),
                    // Every worker is done, or panicked: the scope passes that on.
                    Err(RecvTimeoutError::Disconnected) => return first,
                };
                match (&first, &result) {
                    (Ok(_), Err(_)) => {
                        run.halt();
                        first = result;
                    }
                    (Ok(Stopped::Trials), Ok(_)) => first = result,
                    _ => {}
                }
            }
        })
    }

    /// [`Study::optimize`] with workers elsewhere, who get one trial each as they become free. What they finish in the
    /// meantime is told in one transaction, so the loop keeps pace with thousands of them.
    ///
    /// # Errors
    /// As [`Study::optimize`].
    pub fn optimize_remotely(
        &self,
        evaluator: &dyn RemoteEvaluator,
        plan: &Plan,
        observer: &dyn Observer,
    ) -> Result<Stopped> {
        let run = Run::new(self, plan, observer)?;
        let mut lease = Lease { run: &run, trials: Vec::new() };
        let mut outcomes = Vec::new();
        let (mut stopping, mut interrupted) = (None, None);
        loop {
            let mut back: Vec<TrialId> = outcomes.iter().map(|(id, _)| *id).collect();
            back.sort_unstable();
            lease.trials.retain(|trial| back.binary_search(&trial.id).is_err());
            // The first Ctrl-C lets the running trials finish, a second one does not.
            match observer.poll() {
                Err(e) if interrupted.is_some() => {
                    run.turn(outcomes, 0)?;
                    return Err(e);
                }
                Err(e) => {
                    run.halt();
                    interrupted = Some(e);
                }
                Ok(()) => {}
            }
            let free = evaluator.capacity()?.saturating_sub(lease.trials.len());
            let (turn, reason) =
                run.turn(std::mem::take(&mut outcomes), if stopping.is_some() { 0 } else { free })?;
            let idle = turn.asked.is_empty() && lease.trials.is_empty();
            lease.trials.extend(turn.asked.iter().cloned());
            stopping = stopping.or(reason);
            let told = turn.told.len();
            if !turn.told.is_empty() {
                observer.told(self, &turn.told)?;
            }
            if !turn.asked.is_empty() {
                evaluator.submit(&turn.asked)?;
            }
            if idle {
                match (interrupted.take(), stopping) {
                    (Some(e), _) => return Err(e),
                    (None, Some(reason)) => return Ok(reason),
                    (None, None) if free > 0 && told == 0 && !self.others_are_at_work()? => {
                        return Ok(Stopped::Exhausted);
                    }
                    (None, None) => {}
                }
            }
            outcomes = evaluator.collect(if idle { BREATH / 10 } else { BREATH })?;
        }
    }

    /// Where the columns of an evaluator's measurements go; `None`: they are the study's own.
    fn columns_of(&self, evaluator: &dyn Evaluator) -> Result<Option<Vec<usize>>> {
        let Some(names) = evaluator.metrics() else { return Ok(None) };
        if let Some(missing) = self.goals().metrics().iter().find(|metric| !names.contains(metric)) {
            let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
            return Err(Error::Evaluation(format!(
                "the study needs metric '{missing}'; the evaluator measures {}",
                names.join(", ")
            )));
        }
        names.iter().map(|name| self.column(name)).collect::<Result<_>>().map(Some)
    }
}

struct Run<'a> {
    study: &'a Study,
    observer: &'a dyn Observer,
    plan: &'a Plan,
    deadline: Option<Instant>,
    /// Trials that workers of this run evaluate. Changes only while the study's lock is held.
    in_flight: AtomicU64,
    halted: AtomicBool,
}

impl<'a> Run<'a> {
    fn new(study: &'a Study, plan: &'a Plan, observer: &'a dyn Observer) -> Result<Self> {
        for (name, value) in [("workers", plan.workers), ("batch", plan.batch)] {
            if value == 0 {
                return Err(Error::Study(format!("{name} is 0; expected 1 or more")));
            }
        }
        plan.stop.check(study.goals())?;
        if plan.stop.watches() {
            let columns = plan.stop.budget.iter().map(|(metric, _)| study.column(metric));
            study.watch(&columns.collect::<Result<Vec<_>>>()?)?;
        }
        Ok(Run {
            study,
            observer,
            plan,
            deadline: plan.stop.deadline(),
            in_flight: AtomicU64::new(0),
            halted: AtomicBool::new(false),
        })
    }

    /// Tells, and asks for up to `free` trials if no condition to stop holds; else says which one does.
    fn turn(&self, outcomes: Vec<(TrialId, Outcome)>, free: usize) -> Result<(Turn, Option<Stopped>)> {
        let (told, mut claimed, mut reason) = (outcomes.len() as u64, 0, None);
        let turn = self.study.turn(outcomes, Late::Drop, |memory| {
            let others = self.in_flight.fetch_sub(told, Ordering::Relaxed) - told;
            let wanted = self.plan.stop.trials.unwrap_or(u64::MAX).saturating_sub(memory.told + others);
            reason = self.reason_to_stop(wanted, memory);
            claimed = if reason.is_some() { 0 } else { wanted.min(free as u64) };
            self.in_flight.fetch_add(claimed, Ordering::Relaxed);
            Want { count: claimed as usize, deaths: self.plan.deaths }
        })?;
        self.in_flight.fetch_sub(claimed - turn.asked.len() as u64, Ordering::Relaxed);
        Ok((turn, reason))
    }

    /// What one worker does.
    fn work(&self, hands: &Hands<'_>, poll: &mut dyn FnMut() -> Result<()>) -> Result<Stopped> {
        let mut outcomes = Vec::new();
        loop {
            let (Turn { told: finished, asked }, reason) = self.turn(outcomes, self.plan.batch)?;
            let idle = asked.is_empty();
            let lease = Lease { run: self, trials: asked };
            if !finished.is_empty() {
                self.observer.told(self.study, &finished)?;
            }
            poll()?;
            if let Some(reason) = reason {
                return Ok(reason);
            }
            if idle {
                // The algorithm has nothing for now; outcomes that are still to come may change that.
                if self.in_flight.load(Ordering::Relaxed) == 0 && !self.study.others_are_at_work()? {
                    return Ok(Stopped::Exhausted);
                }
                thread::sleep(BREATH / 10);
                outcomes = Vec::new();
            } else {
                outcomes = hands.evaluate(&lease.trials)?;
                lease.keep();
            }
        }
    }

    fn reason_to_stop(&self, wanted: u64, memory: &Memory) -> Option<Stopped> {
        let over = || self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let reached =
            memory.watch.as_ref().and_then(|watch| self.plan.stop.reached(self.study.goals(), watch));
        if wanted == 0 {
            Some(Stopped::Trials)
        } else if self.halted.load(Ordering::Relaxed) || over() {
            Some(Stopped::Timeout)
        } else {
            reached
        }
    }

    /// Lets workers end after the trial they are at.
    fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }
}

/// An evaluator, and where its columns go.
struct Hands<'a> {
    evaluator: &'a dyn Evaluator,
    columns: Option<Vec<usize>>,
}

impl Hands<'_> {
    fn evaluate(&self, trials: &[Trial]) -> Result<Vec<(TrialId, Outcome)>> {
        let outcomes = self.evaluator.evaluate(trials)?;
        if outcomes.len() != trials.len() {
            return Err(Error::Evaluation(format!(
                "the evaluator returned {} outcomes for {} trials; expected one a trial, in the same order",
                outcomes.len(),
                trials.len()
            )));
        }
        trials
            .iter()
            .zip(outcomes)
            .map(|(trial, outcome)| Ok((trial.id, self.in_columns(outcome)?)))
            .collect()
    }

    /// The outcome with its values in the study's columns.
    fn in_columns(&self, outcome: Outcome) -> Result<Outcome> {
        let Some(columns) = &self.columns else { return Ok(outcome) };
        let place = |measurement: Measurement| {
            if measurement.values.len() != columns.len() {
                return Err(Error::Evaluation(format!(
                    "the evaluator measured {} values; it announced {} metrics",
                    measurement.values.len(),
                    columns.len()
                )));
            }
            let width = columns.iter().max().map_or(0, |last| last + 1);
            let mut values = vec![f64::NAN; width];
            for (&column, &value) in columns.iter().zip(&measurement.values) {
                values[column] = value;
            }
            Ok(Measurement { values: values.into() })
        };
        Ok(match outcome {
            Outcome::Complete(measurement) => Outcome::Complete(place(measurement)?),
            Outcome::Pruned(measurement) => Outcome::Pruned(place(measurement)?),
            Outcome::Failed(reason) => Outcome::Failed(reason),
        })
    }
}

/// Trials handed out to a worker. Whatever ends the worker, an error or a panic, they are given back.
struct Lease<'a> {
    run: &'a Run<'a>,
    trials: Vec<Trial>,
}

impl Lease<'_> {
    /// The trials have outcomes.
    fn keep(mut self) {
        self.trials.clear();
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.trials.is_empty() {
            self.run.halt();
            let ids: Vec<TrialId> = self.trials.iter().map(|trial| trial.id).collect();
            // If the file cannot take it, they come back when this process ends. What brought us here is worth more
            // to the user than that.
            let _ = self.run.study.release(&ids);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::super::study::tests::{digits, study, sum};
    use super::super::{Quiet, Stop};
    use super::*;
    use crate::trial::TrialId;

    fn plan(trials: u64, workers: usize, batch: usize) -> Plan {
        Plan { stop: Stop::after(trials), workers, batch, deaths: None }
    }

    #[test]
    fn a_run_ends_at_the_wanted_number_and_goes_on_from_there() {
        for (workers, batch) in [(1, 1), (1, 7), (4, 1), (3, 5)] {
            let study = study("random", None, 0);
            let stopped = study.optimize(&sum, &plan(23, workers, batch), &Quiet).unwrap();
            assert_eq!((stopped, study.finished().unwrap()), (Stopped::Trials, 23), "{workers} x {batch}");
            study.optimize(&sum, &plan(10, workers, batch), &Quiet).unwrap();
            assert_eq!(study.finished().unwrap(), 23);
            study.optimize(&sum, &plan(40, workers, batch), &Quiet).unwrap();
            assert_eq!(study.trials().unwrap().len(), 40);
        }
    }

    #[test]
    fn a_cut_anywhere_does_not_show() {
        let whole = study("regularized_evolution", None, 3);
        whole.optimize(&sum, &plan(60, 1, 1), &Quiet).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for cut in 1..60 {
            // A file a cut would cost 60 x 60 commits; memory restarts by replay as well, through tell.
            let path = (cut % 10 == 0).then(|| folder.path().join(format!("{cut}.db")));
            let first = study("regularized_evolution", path.clone(), 3);
            first.optimize(&sum, &plan(cut, 1, 1), &Quiet).unwrap();
            let again = match path {
                Some(path) => {
                    drop(first);
                    study("regularized_evolution", Some(path), 3)
                }
                None => first,
            };
            again.optimize(&sum, &plan(60, 1, 1), &Quiet).unwrap();
            assert_eq!(again.trials().unwrap(), whole.trials().unwrap(), "cut at {cut}");
        }
    }

    #[test]
    fn an_error_passes_and_its_trial_is_handed_out_again() {
        for workers in [1, 3] {
            let study = study("random", None, 1);
            let calls = AtomicUsize::new(0);
            let fails = |trial: &Trial| {
                if calls.fetch_add(1, Ordering::Relaxed) == 5 {
                    return Err(Error::Foreign("mine".into()));
                }
                sum(trial)
            };
            let error = study.optimize(&fails, &plan(30, workers, 1), &Quiet).unwrap_err();
            assert!(matches!(&error, Error::Foreign(_)) && error.to_string() == "mine");
            let finished = study.finished().unwrap();
            assert!((5..29).contains(&finished), "{finished}");
            let lost = study.trials().unwrap().into_iter().find(|trial| trial.outcome.is_none()).unwrap();
            assert_eq!(study.ask(1).unwrap()[0], lost);
        }
    }

    #[test]
    fn a_panic_passes_and_its_trial_is_handed_out_again() {
        let study = study("random", None, 1);
        let panics = |trial: &Trial| if trial.id == 3 { panic!("mine") } else { sum(trial) };
        let run = || study.optimize(&panics, &plan(30, 1, 1), &Quiet);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        assert_eq!(study.ask(1).unwrap()[0].id, 3);
    }

    #[test]
    fn the_observer_sees_every_trial_once_and_may_stop() {
        struct Count<'a>(&'a Mutex<Vec<TrialId>>, usize);
        impl Observer for Count<'_> {
            fn told(&self, study: &Study, trials: &[Trial]) -> Result<()> {
                let mut seen = self.0.lock().unwrap();
                seen.extend(trials.iter().map(|trial| trial.id));
                assert!(study.best()?.is_some());
                if seen.len() >= self.1 { Err(Error::Interrupted) } else { Ok(()) }
            }
        }
        let seen = Mutex::new(Vec::new());
        let study = study("random", None, 1);
        let stopped = study.optimize(&sum, &plan(20, 2, 3), &Count(&seen, 12));
        assert!(matches!(stopped, Err(Error::Interrupted)));
        study.optimize(&sum, &plan(40, 3, 2), &Count(&seen, 1000)).unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn an_evaluator_with_columns_of_its_own_is_read_by_name() {
        struct Named(Vec<String>);
        impl Evaluator for Named {
            fn evaluate(&self, batch: &[Trial]) -> Result<Vec<Outcome>> {
                let measured = |trial: &Trial| {
                    Outcome::Complete(Measurement { values: [7.0, f64::from(trial.point.codes()[0])].into() })
                };
                Ok(batch.iter().map(measured).collect())
            }

            fn metrics(&self) -> Option<&[String]> {
                Some(&self.0)
            }
        }
        let study = study("random", None, 1);
        study.optimize(&Named(vec!["extra".into(), "sum".into()]), &plan(3, 1, 1), &Quiet).unwrap();
        assert_eq!(study.metrics().unwrap(), ["sum", "extra"]);
        for trial in study.trials().unwrap() {
            assert_eq!(*trial.measurement().unwrap().values, [f64::from(trial.point.codes()[0]), 7.0]);
        }
        let error = study.optimize(&Named(vec!["extra".into()]), &plan(9, 1, 1), &Quiet).unwrap_err();
        assert_eq!(error.to_string(), "the study needs metric 'sum'; the evaluator measures 'extra'");
    }

    #[test]
    fn wrong_counts_are_refused() {
        struct Short;
        impl Evaluator for Short {
            fn evaluate(&self, _: &[Trial]) -> Result<Vec<Outcome>> {
                Ok(vec![])
            }
        }
        let study = study("random", None, 1);
        assert_eq!(
            study.optimize(&Short, &plan(9, 1, 2), &Quiet).unwrap_err().to_string(),
            "the evaluator returned 0 outcomes for 2 trials; expected one a trial, in the same order"
        );
        assert_eq!(
            study.optimize(&sum, &plan(9, 0, 1), &Quiet).unwrap_err().to_string(),
            "workers is 0; expected 1 or more"
        );
    }

    #[test]
    fn time_ends_a_run() {
        let study = study("random", None, 1);
        let slow = |trial: &Trial| {
            thread::sleep(Duration::from_millis(5));
            sum(trial)
        };
        let stop = Stop { timeout_s: Some(0.05), ..Stop::after(1_000_000) };
        let plan = Plan { stop, workers: 2, batch: 1, deaths: None };
        assert_eq!(study.optimize(&slow, &plan, &Quiet).unwrap(), Stopped::Timeout);
        let trials = study.trials().unwrap();
        assert!(trials.len() < 100 && trials.iter().all(|trial| trial.outcome.is_some()), "{}", trials.len());
    }

    #[test]
    fn conditions_on_what_was_told_end_a_run() {
        let ends = |stop: Stop, workers| {
            let study = study("random", None, 1);
            let stopped =
                study.optimize(&sum, &Plan { stop, workers, batch: 1, deaths: None }, &Quiet).unwrap();
            (stopped, study.finished().unwrap(), study.best().unwrap().unwrap())
        };
        let target = || vec![("sum".to_string(), 15.0)];
        let (stopped, _, best) = ends(Stop { target: target(), ..Stop::default() }, 1);
        assert!(stopped == Stopped::Target && best.measurement().unwrap().values[0] >= 15.0);
        assert_eq!(ends(Stop { target: target(), ..Stop::after(500) }, 3).0, Stopped::Target);
        let (stopped, finished, best) = ends(Stop { plateau: Some(40), ..Stop::default() }, 1);
        assert_eq!((stopped, finished), (Stopped::Plateau, best.id + 41));
        let (stopped, finished, _) = ends(Stop { budget: vec![("sum".into(), 100.0)], ..Stop::default() }, 1);
        assert!(stopped == Stopped::Budget && (5..30).contains(&finished), "{finished}");
        let nobody = study("random", None, 1);
        let plan =
            Plan { stop: Stop { target: vec![("x".into(), 1.0)], ..Stop::default() }, ..plan(1, 1, 1) };
        let error = nobody.optimize(&sum, &plan, &Quiet).unwrap_err();
        assert_eq!(error.to_string(), "target 'x' is none of the objectives");
    }

    /// Workers that finish in the reverse order of what they hold.
    struct Crew(Mutex<Vec<Trial>>, usize);

    impl RemoteEvaluator for Crew {
        fn capacity(&self) -> Result<usize> {
            Ok(self.1)
        }

        fn submit(&self, trials: &[Trial]) -> Result<()> {
            self.0.lock().unwrap().extend_from_slice(trials);
            Ok(())
        }

        fn collect(&self, _: Duration) -> Result<Vec<(TrialId, Outcome)>> {
            let mut held = self.0.lock().unwrap();
            assert!(held.len() <= self.1);
            let from = held.len() - held.len().div_ceil(2);
            held.drain(from..).rev().map(|trial| Ok((trial.id, sum(&trial)?))).collect()
        }
    }

    #[test]
    fn workers_elsewhere_finish_every_trial_once() {
        for workers in [1, 2, 7] {
            let study = study("regularized_evolution", None, 0);
            let crew = Crew(Mutex::default(), workers);
            assert_eq!(study.optimize_remotely(&crew, &plan(60, 1, 1), &Quiet).unwrap(), Stopped::Trials);
            let trials = study.trials().unwrap();
            assert!(trials.len() == 60 && trials.iter().all(|trial| trial.outcome.is_some()));
            assert!(crew.0.lock().unwrap().is_empty());
        }
        let (one, remote) =
            (study("regularized_evolution", None, 0), study("regularized_evolution", None, 0));
        one.optimize(&sum, &plan(60, 1, 1), &Quiet).unwrap();
        remote.optimize_remotely(&Crew(Mutex::default(), 1), &plan(60, 1, 1), &Quiet).unwrap();
        assert_eq!(one.trials().unwrap(), remote.trials().unwrap());
    }

    #[test]
    fn an_interruption_lets_workers_elsewhere_finish_and_a_second_does_not() {
        struct Impatient(AtomicUsize, usize);
        impl Observer for Impatient {
            fn poll(&self) -> Result<()> {
                match self.0.fetch_add(1, Ordering::Relaxed) {
                    n if n == 3 || n == self.1 => Err(Error::Interrupted),
                    _ => Ok(()),
                }
            }
        }
        for (second, running) in [(usize::MAX, 0), (4, 1)] {
            let study = study("random", None, 0);
            let crew = Crew(Mutex::default(), 5);
            let ended =
                study.optimize_remotely(&crew, &plan(60, 1, 1), &Impatient(AtomicUsize::new(0), second));
            assert!(matches!(ended, Err(Error::Interrupted)));
            let unfinished = study.trials().unwrap().iter().filter(|trial| trial.outcome.is_none()).count();
            assert_eq!(unfinished.min(1), running);
        }
    }

    #[test]
    fn several_studies_on_one_file_neither_double_nor_lose() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("many.db");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let study = study("regularized_evolution", Some(path.clone()), 3);
                    study.optimize(&sum, &plan(60, 1, 1), &Quiet).unwrap();
                });
            }
        });
        let trials = study("regularized_evolution", Some(path), 3).trials().unwrap();
        assert!((60..64).contains(&trials.len()) && trials.iter().all(|trial| trial.outcome.is_some()));
        assert!(trials.iter().all(|trial| digits().check(&trial.point).is_ok()));
    }

    #[test]
    #[ignore = "prints figures; run with --release"]
    fn speed() {
        for name in ["random", "regularized_evolution"] {
            for workers in [1, 2] {
                let study = study(name, None, 0);
                let start = Instant::now();
                study.optimize(&sum, &plan(1_000_000, workers, 1), &Quiet).unwrap();
                println!("{name}, {workers} workers: {:.0} trials/s", 1e6 / start.elapsed().as_secs_f64());
            }
            let folder = tempfile::tempdir().unwrap();
            let file = study(name, Some(folder.path().join("speed.db")), 0);
            let start = Instant::now();
            file.optimize(&sum, &plan(500, 1, 1), &Quiet).unwrap();
            println!("{name}, file: {:.0} trials/s", 500.0 / start.elapsed().as_secs_f64());
            let start = Instant::now();
            file.optimize(&sum, &plan(100_500, 1, 1000), &Quiet).unwrap();
            println!("{name}, file, batches of 1000: {:.0} trials/s", 1e5 / start.elapsed().as_secs_f64());
            drop(file);
            let start = Instant::now();
            study(name, Some(folder.path().join("speed.db")), 0);
            println!("{name}, opening 100500 trials: {:.2} s", start.elapsed().as_secs_f64());
        }
    }
}
