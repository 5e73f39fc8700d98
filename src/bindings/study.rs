//! `Study`, `Trial` and the context of search algorithms written in Python.
//!
//! The study's lock is only ever waited for without the GIL (every call goes through [`enter`]), so code that runs
//! under the lock, a search algorithm written in Python, may take the GIL.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use numpy::{AllowTypeChange, IntoPyArray as _, PyArrayLike1, PyArrayMethods as _};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::GILOnceCell;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyMapping, PyString, PyTuple, PyType};
use pythonize::depythonize;
use rand::Rng as _;
use serde_json::Value;

use super::benchmark::PyBenchmark;
use super::search::PyEstimator;
use super::space::{PyPoint, PySpace, SpaceHandle};
use super::{cost, enter, to_py};
use crate::benchmark::Benchmark;
use crate::error::{Error, Result};
use crate::evaluate::{Evaluator, RemoteEvaluator};
use crate::search::{Context, ModelBased, SearchAlgorithm};
use crate::space::SearchSpace;
use crate::study::pruner::Pruner;
use crate::study::{Algorithm, Observer, Plan, Setup, Stop, Stopped, Study};
use crate::trial::{
    Constraint, Direction, Fidelity, Goals, Measurement, Objective, Outcome, Proposal, Trial, TrialId,
};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyStudy>()?;
    module.add_class::<PyTrial>()?;
    module.add_function(wrap_pyfunction!(check_pruner, module)?)?;
    module.add_function(wrap_pyfunction!(repair_study, module)?)?;
    module.add_class::<PyContext>()
}

/// Raises StudyError for settings of a pruner that are wrong.
#[pyfunction]
fn check_pruner(settings: &Bound<'_, PyAny>) -> PyResult<()> {
    Pruner::read(&depythonize(settings)?).map(|_| ()).map_err(|error| to_py(settings.py(), error))
}

/// Puts a file of what is readable in the place of a damaged one: trials kept, trials lost, where the damaged one is.
#[pyfunction]
fn repair_study(py: Python<'_>, path: PathBuf) -> PyResult<(u64, u64, PathBuf)> {
    let done = enter(py, || crate::study::repair(&path))?;
    Ok((done.kept, done.lost, done.damaged))
}

pub(crate) fn foreign(error: PyErr) -> Error {
    Error::Foreign(Box::new(error))
}

/// Names of a study's columns, as Rust and as Python texts. Columns are only ever added, so a shorter list stays right.
type Names = Arc<Vec<(String, Py<PyString>)>>;

/// What converts between a study's records and Python.
struct Desk {
    handle: Arc<SpaceHandle>,
    goals: Goals,
    names: Mutex<Names>,
    /// Weak, since the study may hold an algorithm that holds this. Not set for trials that came out of a pickle.
    study: OnceLock<Weak<Study>>,
}

impl Desk {
    fn new(py: Python<'_>, handle: Arc<SpaceHandle>, goals: Goals) -> Arc<Self> {
        let names = Mutex::new(names_to_py(py, goals.metrics()));
        Arc::new(Desk { handle, goals, names, study: OnceLock::new() })
    }

    fn study(&self, number: TrialId) -> Result<Arc<Study>> {
        self.study.get().and_then(Weak::upgrade).ok_or_else(|| {
            Error::Study(format!(
                "trial {number} has no study here: it is a copy out of a pickle, or its study is gone"
            ))
        })
    }

    fn column(&self, py: Python<'_>, study: &Study, name: &str) -> PyResult<usize> {
        if let Some(column) = self.names().iter().position(|(known, _)| known == name) {
            return Ok(column);
        }
        let (column, metrics) = enter(py, || Ok((study.column(name)?, study.metrics()?)))?;
        self.learn_names(py, &metrics);
        Ok(column)
    }

    fn names(&self) -> Names {
        Arc::clone(&self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Learns columns that the study got elsewhere: from its file, or for another worker.
    fn learn_names(&self, py: Python<'_>, metrics: &[String]) {
        if metrics.len() > self.names().len() {
            *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names_to_py(py, metrics);
        }
    }

    fn trial(self: &Arc<Self>, trial: Trial) -> PyTrial {
        PyTrial { desk: Arc::clone(self), trial }
    }

    fn point(&self, trial: &Trial) -> PyPoint {
        PyPoint::new(Arc::clone(&self.handle), trial.point.clone())
    }
}

fn names_to_py(py: Python<'_>, metrics: &[String]) -> Names {
    Arc::new(metrics.iter().map(|name| (name.clone(), PyString::intern(py, name).unbind())).collect())
}

/// The engine of `modularnas.Study`, which documents it.
#[pyclass(name = "Study", module = "modularnas._core", frozen, weakref)]
pub(crate) struct PyStudy {
    study: Arc<Study>,
    desk: Arc<Desk>,
}

#[pymethods]
impl PyStudy {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "called by modularnas.Study alone, which has the defaults")]
    fn new(
        py: Python<'_>,
        space: &Bound<'_, PyAny>,
        algorithm: &Bound<'_, PyAny>,
        objectives: &Bound<'_, PyAny>,
        constraints: &Bound<'_, PyAny>,
        storage: Option<PathBuf>,
        seed: &Bound<'_, PyAny>,
        pruner: Option<Bound<'_, PyAny>>,
        environment: String,
    ) -> PyResult<Self> {
        let Ok(space) = space.downcast::<PySpace>() else {
            return refuse(py, format!("space is {}; expected a mn.SearchSpace", described(space)));
        };
        let Ok(seed) = seed.extract::<u64>() else {
            return refuse(py, format!("seed is {}; expected an int from 0 to 2**64 - 1", described(seed)));
        };
        let handle = Arc::clone(&space.get().handle);
        let goals = Goals::new(read_objectives(objectives)?, read_constraints(constraints)?)
            .map_err(|error| to_py(py, error))?;
        let pruner = pruner.map(|settings| depythonize::<Value>(&settings)).transpose()?;
        let mut facts = vec![("environment".to_string(), environment)];
        facts.extend(pruner.as_ref().map(|settings| ("pruner".to_string(), settings.to_string())));
        let pruner = pruner.map(|settings| Pruner::read(&settings)).transpose();
        let pruner = pruner.map_err(|error| to_py(py, error))?;
        let feasible = cost::feasible_for(py, &handle, &goals)?;
        let costs = cost::described_for(&handle, &goals);
        let desk = Desk::new(py, handle, goals.clone());
        let algorithm = read_algorithm(algorithm, &desk)?;
        let space = Arc::clone(&desk.handle.space);
        let setup = Setup { space, goals, feasible, costs, algorithm, seed, pruner, facts, storage };
        let study = Arc::new(enter(py, || Study::create(setup))?);
        let _ = desk.study.set(Arc::downgrade(&study));
        let study = PyStudy { study, desk };
        study.learn_names(py)?;
        Ok(study)
    }

    /// Up to `count` trials to evaluate.
    fn ask(&self, py: Python<'_>, count: usize) -> PyResult<Vec<PyTrial>> {
        let trials = enter(py, || self.study.ask(count))?;
        Ok(self.wrap(trials))
    }

    /// Records the outcome of a running trial; returns the trial as recorded.
    fn tell(&self, py: Python<'_>, number: TrialId, outcome: &Bound<'_, PyAny>) -> PyResult<PyTrial> {
        let outcome = self.outcome(number, outcome, "is told")?;
        let trial = enter(py, || self.study.tell(number, outcome))?;
        Ok(self.desk.trial(trial))
    }

    /// Records outcomes and asks for `count` trials, in one transaction.
    fn tell_and_ask(
        &self,
        py: Python<'_>,
        outcomes: Vec<(TrialId, Bound<'_, PyAny>)>,
        count: usize,
    ) -> PyResult<Vec<PyTrial>> {
        let outcomes = outcomes
            .iter()
            .map(|(number, outcome)| Ok((*number, self.outcome(*number, outcome, "is told")?)))
            .collect::<PyResult<Vec<_>>>()?;
        let trials = enter(py, || self.study.tell_and_ask(outcomes, count))?;
        Ok(self.wrap(trials))
    }

    /// Enters points that were evaluated elsewhere, with their outcomes; one transaction.
    fn add(
        &self,
        py: Python<'_>,
        points: Vec<Bound<'_, PyAny>>,
        outcomes: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<PyTrial>> {
        let space = self.space();
        let finished = (0..)
            .zip(points.iter().zip(&outcomes))
            .map(|(i, (point, outcome))| {
                Ok((Proposal::new(space.extract(point)?), self.outcome(i, outcome, "is added with")?))
            })
            .collect::<PyResult<Vec<_>>>()?;
        let trials = enter(py, || self.study.add(finished))?;
        Ok(self.wrap(trials))
    }

    /// All trials by number, running ones included.
    #[getter]
    fn trials(&self, py: Python<'_>) -> PyResult<Vec<PyTrial>> {
        let trials = enter(py, || self.study.trials())?;
        self.learn_names(py)?;
        Ok(self.wrap(trials))
    }

    /// The best complete trial, None without one.
    #[getter]
    fn best_trial(&self, py: Python<'_>) -> PyResult<Option<PyTrial>> {
        let best = enter(py, || self.study.best())?;
        self.learn_names(py)?;
        Ok(best.map(|trial| self.desk.trial(trial)))
    }

    /// The complete trials that no other one dominates.
    #[getter]
    fn pareto_front(&self, py: Python<'_>) -> PyResult<Vec<PyTrial>> {
        let front = enter(py, || self.study.pareto_front())?;
        self.learn_names(py)?;
        Ok(self.wrap(front))
    }

    /// How many trials are finished.
    #[getter]
    fn finished(&self, py: Python<'_>) -> PyResult<u64> {
        enter(py, || self.study.finished())
    }

    /// The search space.
    #[getter]
    fn space(&self) -> PySpace {
        PySpace { handle: Arc::clone(&self.desk.handle) }
    }

    /// Metric to direction.
    #[getter]
    fn objectives<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        objectives_to_py(py, &self.desk.goals)
    }

    /// Metric to bounds.
    #[getter]
    fn constraints<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        constraints_to_py(py, &self.desk.goals)
    }

    /// The seed.
    #[getter]
    fn seed(&self) -> u64 {
        self.study.seed()
    }

    /// Runs the loop; returns why it ended.
    #[expect(clippy::too_many_arguments, reason = "called by modularnas.Study alone, which has the defaults")]
    fn optimize(
        &self,
        py: Python<'_>,
        evaluator: &Bound<'_, PyAny>,
        stop: PyStop,
        workers: usize,
        batch: usize,
        deaths: Option<u64>,
        callbacks: Vec<PyObject>,
        catch: &Bound<'_, PyTuple>,
        progress: Option<PyObject>,
        poll: Option<PyObject>,
    ) -> PyResult<&'static str> {
        let PyStop { trials, timeout_s, target, plateau, budget } = stop;
        let plan = Plan { stop: Stop { trials, timeout_s, target, plateau, budget }, workers, batch, deaths };
        let observer = PyObserver {
            engine: self,
            callbacks,
            progress,
            poll,
            shown: Mutex::new(Instant::now()),
            calling: Mutex::new(()),
        };
        let stopped = if let Some(remote) = read_remote(self, evaluator)? {
            enter(py, || self.study.optimize_remotely(&remote, &plan, &observer))?
        } else if let Some(benchmark) = self.native(py, evaluator)? {
            let measured =
                benchmark.measuring(self.desk.goals.metrics()).map_err(|error| to_py(py, error))?;
            for metric in Evaluator::metrics(&measured).unwrap_or_default() {
                self.column(py, metric)?;
            }
            enter(py, || self.study.optimize(&measured, &plan, &observer))?
        } else {
            let python = PyEvaluator {
                engine: self,
                call: read_evaluator(evaluator, &self.desk.handle.space)?,
                catch: catch.clone().into_any().unbind(),
            };
            enter(py, || self.study.optimize(&python, &plan, &observer))?
        };
        Ok(match stopped {
            Stopped::Trials => "trials",
            Stopped::Timeout => "timeout",
            Stopped::Exhausted => "exhausted",
            Stopped::Target => "target",
            Stopped::Plateau => "plateau",
            Stopped::Budget => "budget",
        })
    }
}

/// The conditions to stop, as a dict.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PyStop {
    trials: Option<u64>,
    timeout_s: Option<f64>,
    target: Vec<(String, f64)>,
    plateau: Option<u64>,
    budget: Vec<(String, f64)>,
}

impl PyStudy {
    fn wrap(&self, trials: Vec<Trial>) -> Vec<PyTrial> {
        trials.into_iter().map(|trial| self.desk.trial(trial)).collect()
    }

    /// The benchmark, if the evaluator is one: it answers without crossing into Python.
    fn native(&self, py: Python<'_>, evaluator: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Benchmark>>> {
        let Ok(benchmark) = evaluator.downcast::<PyBenchmark>() else { return Ok(None) };
        let benchmark = benchmark.get().benchmark();
        if **benchmark.space() != *self.desk.handle.space {
            let name = benchmark.name();
            return refuse(
                py,
                format!(
                    "the study searches another space than benchmark '{name}' answers; use the benchmark's space"
                ),
            );
        }
        Ok(Some(Arc::clone(benchmark)))
    }

    fn learn_names(&self, py: Python<'_>) -> PyResult<()> {
        let metrics = enter(py, || self.study.metrics())?;
        self.desk.learn_names(py, &metrics);
        Ok(())
    }

    fn column(&self, py: Python<'_>, name: &str) -> PyResult<usize> {
        self.desk.column(py, &self.study, name)
    }

    /// What an evaluator returned, or what a trial `is told`, as an outcome.
    fn outcome(&self, number: TrialId, value: &Bound<'_, PyAny>, verb: &str) -> PyResult<Outcome> {
        let py = value.py();
        if let Some(number) = plain_number(value) {
            if let [_] = self.desk.goals.metrics() {
                return Ok(Outcome::Complete(Measurement { values: [number].into() }));
            }
        } else if let Ok(dict) = value.downcast::<PyDict>() {
            return Ok(self.completed(self.measured(number, dict.items(), verb)?));
        }
        let outcomes = outcome_classes(py)?;
        if value.is_instance(outcomes.failed.bind(py))? {
            return Ok(Outcome::Failed(value.getattr("reason")?.str()?.to_string()));
        }
        if value.is_instance(outcomes.pruned.bind(py))? {
            return self.pruned(number, &value.getattr("values")?, verb);
        }
        if let Ok(mapping) = value.downcast::<PyMapping>() {
            return Ok(self.completed(self.measured(number, mapping.items()?, verb)?));
        }
        let metrics = self.desk.goals.metrics();
        let failure = match number_in(value) {
            Ok(found) if metrics.len() == 1 => {
                return Ok(Outcome::Complete(Measurement { values: [found].into() }));
            }
            Ok(_) => None,
            Err(failure) => Some(failure),
        };
        let quoted: Vec<String> = metrics.iter().map(|metric| format!("'{metric}'")).collect();
        let quoted = quoted.join(", ");
        let expected = if metrics.len() == 1 {
            format!("a number, a dict with {quoted}, mn.Failed(reason) or mn.Pruned(values)")
        } else {
            format!("a dict with {quoted}, mn.Failed(reason) or mn.Pruned(values)")
        };
        let message = format!("trial {number} {verb} {}; expected {expected}", described(value));
        Err(caused(to_py(py, Error::Evaluation(message)), py, failure))
    }

    /// What was measured before a trial was ended early: nothing, one number, or any of the metrics.
    fn pruned(&self, number: TrialId, values: &Bound<'_, PyAny>, verb: &str) -> PyResult<Outcome> {
        let values = if values.is_none() {
            Vec::new()
        } else if let Ok(mapping) = values.downcast::<PyMapping>() {
            self.measured(number, mapping.items()?, verb)?
        } else {
            match self.outcome(number, values, verb)? {
                Outcome::Complete(measurement) => return Ok(Outcome::Pruned(measurement)),
                other => return Ok(other),
            }
        };
        Ok(Outcome::Pruned(measurement(values)))
    }

    /// Complete, unless a metric that the study is about was not measured.
    fn completed(&self, values: Vec<Option<f64>>) -> Outcome {
        let metrics = self.desk.goals.metrics();
        let Some(i) = values[..metrics.len()].iter().position(Option::is_none) else {
            return Outcome::Complete(measurement(values));
        };
        let names = self.desk.names();
        let given = names.iter().zip(&values).filter(|(_, value)| value.is_some());
        let given: Vec<String> = given.map(|((name, _), _)| format!("'{name}'")).collect();
        let given = if given.is_empty() { "nothing".to_string() } else { given.join(", ") };
        Outcome::Failed(format!("metric '{}' is missing; measured: {given}", metrics[i]))
    }

    /// The values of a dict by column; `None` where it has no such metric.
    fn measured(&self, number: TrialId, items: Bound<'_, PyList>, verb: &str) -> PyResult<Vec<Option<f64>>> {
        let mut values: Vec<Option<f64>> = vec![None; self.desk.goals.metrics().len()];
        for (column, value) in self.desk.measured(&self.study, number, items, verb)? {
            if column >= values.len() {
                values.resize(column + 1, None);
            }
            values[column] = Some(value);
        }
        Ok(values)
    }
}

impl Desk {
    /// Column and value of the items of a dict of metrics.
    fn measured(
        &self,
        study: &Study,
        number: TrialId,
        items: Bound<'_, PyList>,
        verb: &str,
    ) -> PyResult<Vec<(usize, f64)>> {
        let py = items.py();
        let mut values = Vec::with_capacity(items.len());
        for item in &items {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let Ok(name) = name.downcast::<PyString>() else {
                let given = described(&name);
                let message = format!(
                    "trial {number} {verb} a dict with the key {given}; expected the name of a metric, a str"
                );
                return Err(to_py(py, Error::Evaluation(message)));
            };
            let name = name.to_cow()?;
            let found = match plain_number(&value) {
                Some(found) => found,
                None => number_in(&value).map_err(|failure| {
                    let given = described(&value);
                    let message =
                        format!("trial {number} {verb} {given} for metric '{name}'; expected a number");
                    caused(to_py(py, Error::Evaluation(message)), py, Some(failure))
                })?,
            };
            values.push((self.column(py, study, &name)?, found));
        }
        Ok(values)
    }
}

impl PyStudy {
    /// What an evaluator of indices returned, one outcome a row: an array for each metric, or one for the only one.
    fn measured_rows(&self, values: &Bound<'_, PyAny>, rows: usize) -> PyResult<Vec<Outcome>> {
        let py = values.py();
        let metrics = self.desk.goals.metrics();
        let mut columns = Vec::new();
        if let Ok(mapping) = values.downcast::<PyMapping>() {
            for item in mapping.items()?.iter() {
                let (metric, values): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
                columns.push(self.measured_column(&metric.str()?.to_cow()?, &values, rows)?);
            }
        } else if let [metric] = metrics {
            columns.push(self.measured_column(metric, values, rows)?);
        } else {
            let quoted: Vec<String> = metrics.iter().map(|metric| format!("'{metric}'")).collect();
            let message = format!(
                "the evaluator returned {}; expected a dict of arrays with {}",
                described(values),
                quoted.join(", ")
            );
            return Err(to_py(py, Error::Evaluation(message)));
        }
        if let Some(i) = (0..metrics.len()).find(|i| columns.iter().all(|(column, _)| column != i)) {
            return Ok(vec![Outcome::Failed(format!("metric '{}' is missing", metrics[i])); rows]);
        }
        let width = columns.iter().map(|(column, _)| column + 1).max().unwrap_or(0);
        let columns: Vec<_> = columns.iter().map(|(column, values)| (*column, values.as_array())).collect();
        let row = |i: usize| {
            let mut row = vec![f64::NAN; width];
            for (column, values) in &columns {
                row[*column] = values[i];
            }
            Outcome::Complete(Measurement { values: row.into() })
        };
        Ok((0..rows).map(row).collect())
    }

    fn measured_column<'py>(
        &self,
        metric: &str,
        values: &Bound<'py, PyAny>,
        rows: usize,
    ) -> PyResult<(usize, PyArrayLike1<'py, f64, AllowTypeChange>)> {
        let py = values.py();
        if let Ok(found) = values.extract::<PyArrayLike1<'py, f64, AllowTypeChange>>()
            && found.len()? == rows
        {
            return Ok((self.column(py, metric)?, found));
        }
        let given = match values.getattr_opt("shape")? {
            Some(shape) => format!("an array of shape {}", shape.str()?),
            None => described(values),
        };
        let message = format!(
            "the evaluator returned {given} for metric '{metric}' of {rows} trials; expected {rows} numbers"
        );
        Err(to_py(py, Error::Evaluation(message)))
    }
}

fn measurement(values: Vec<Option<f64>>) -> Measurement {
    Measurement { values: values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect() }
}

/// One trial of a study; an immutable snapshot.
///
/// Equal to another one with the same number, point, state and values. A pickled one comes back without its study, so it
/// cannot report.
#[pyclass(name = "Trial", module = "modularnas._core", frozen)]
pub(crate) struct PyTrial {
    desk: Arc<Desk>,
    trial: Trial,
}

impl PyTrial {
    pub(crate) fn trial(&self) -> &Trial {
        &self.trial
    }

    /// Metric and value of what was measured.
    fn measured(&self) -> Vec<(String, f64)> {
        let Some(Outcome::Complete(found) | Outcome::Pruned(found)) = &self.trial.outcome else {
            return Vec::new();
        };
        let names = self.desk.names();
        let values = names.iter().zip(&found.values).filter(|(_, value)| !value.is_nan());
        values.map(|((name, _), value)| (name.clone(), *value)).collect()
    }
}

type Record = (TrialId, String, Option<f64>, Option<TrialId>, String, Vec<(String, f64)>, Option<String>);

#[pymethods]
impl PyTrial {
    /// Reports how the trial is doing at a step, for the pruner and for whoever looks on.
    ///
    /// Args:
    ///     step: when, 0 or more; of what is the evaluator's business (epochs, batches). A step reported again replaces
    ///         the earlier report.
    ///     value: of the first objective, or a dict of metrics with at least one of the objectives.
    ///
    /// Raises:
    ///     StudyError: for a trial that is not running any more, or without any of the objectives.
    fn report(&self, py: Python<'_>, step: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let number = self.trial.id;
        let study = self.desk.study(number).map_err(|error| to_py(py, error))?;
        let Ok(step) = step.extract::<i64>().and_then(|step| Ok(u64::try_from(step)?)) else {
            return refuse(
                py,
                format!("trial {number} reports at step {}; expected an int, 0 or more", described(step)),
            );
        };
        let values = match value.downcast::<PyMapping>() {
            Ok(mapping) => self.desk.measured(&study, number, mapping.items()?, "reports")?,
            Err(_) => match plain_number(value).map_or_else(|| number_in(value), Ok) {
                Ok(value) => vec![(0, value)],
                Err(failure) => {
                    let message = format!(
                        "trial {number} reports {}; expected a number or a dict of metrics",
                        described(value)
                    );
                    return Err(caused(to_py(py, Error::Study(message)), py, Some(failure)));
                }
            },
        };
        enter(py, || study.report(number, step, values))
    }

    /// Whether the study's pruner would end this trial now, by its last report. Then return `mn.Pruned(values)`.
    fn should_prune(&self, py: Python<'_>) -> PyResult<bool> {
        enter(py, || self.desk.study(self.trial.id)?.should_prune(self.trial.id))
    }

    /// What the trial reported: step to metric to value.
    #[getter]
    fn reports<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (reports, metrics) = enter(py, || {
            let study = self.desk.study(self.trial.id)?;
            Ok((study.reports(self.trial.id)?, study.metrics()?))
        })?;
        let steps = PyDict::new(py);
        for report in reports {
            let values = PyDict::new(py);
            for (column, value) in &report.values {
                values.set_item(&metrics[*column], value)?;
            }
            steps.set_item(report.step, values)?;
        }
        Ok(steps)
    }

    fn __eq__(&self, other: &Self) -> bool {
        let (one, two) = (&self.trial, &other.trial);
        (one.id, &one.point, one.fidelity, one.parent) == (two.id, &two.point, two.fidelity, two.parent)
            && self.desk.handle.space == other.desk.handle.space
            && (self.state(), self.error()) == (other.state(), other.error())
            && self.measured() == other.measured()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.trial.id, self.trial.point.codes()).hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, this) = (slf.py(), slf.get());
        // Without its costs: they are many times the size of a trial.
        let space = SpaceHandle::of(py, Arc::clone(&this.desk.handle.space), None)?;
        let space = Bound::new(py, PySpace { handle: space })?;
        let goals = &this.desk.goals;
        let fidelity = match this.trial.fidelity {
            Fidelity::Full => None,
            Fidelity::Partial(fraction) => Some(fraction),
        };
        let record: Record = (
            this.trial.id,
            this.desk.handle.space.point_to_json(&this.trial.point),
            fidelity,
            this.trial.parent,
            this.state().to_string(),
            this.measured(),
            this.error().map(str::to_string),
        );
        let arguments = (space, objectives_to_py(py, goals)?, constraints_to_py(py, goals)?, record);
        Ok((slf.getattr("_restore")?, arguments.into_pyobject(py)?))
    }

    #[staticmethod]
    fn _restore(
        py: Python<'_>,
        space: &PySpace,
        objectives: &Bound<'_, PyAny>,
        constraints: &Bound<'_, PyAny>,
        record: Record,
    ) -> PyResult<Self> {
        let goals = Goals::new(read_objectives(objectives)?, read_constraints(constraints)?)
            .map_err(|error| to_py(py, error))?;
        let (id, point, fidelity, parent, state, measured, error) = record;
        let point = space.handle.space.point_from_json(&point).map_err(|error| to_py(py, error))?;
        let mut names = goals.metrics().to_vec();
        names.extend(
            measured.iter().filter(|(name, _)| !goals.metrics().contains(name)).map(|(name, _)| name.clone()),
        );
        let value = |name: &String| measured.iter().find(|(one, _)| one == name).map(|(_, value)| *value);
        let values =
            Measurement { values: names.iter().map(|name| value(name).unwrap_or(f64::NAN)).collect() };
        let outcome = match state.as_str() {
            "complete" => Some(Outcome::Complete(values)),
            "pruned" => Some(Outcome::Pruned(values)),
            "failed" => Some(Outcome::Failed(error.unwrap_or_default())),
            _ => None,
        };
        let desk = Desk::new(py, Arc::clone(&space.handle), goals);
        desk.learn_names(py, &names);
        let fidelity = fidelity.map_or(Fidelity::Full, Fidelity::Partial);
        Ok(desk.trial(Trial { id, point, fidelity, parent, outcome }))
    }

    /// Its number in the study, from 0.
    #[getter]
    fn number(&self) -> TrialId {
        self.trial.id
    }

    /// The point that it evaluates.
    #[getter]
    fn point(&self) -> PyPoint {
        self.desk.point(&self.trial)
    }

    /// Metric to value, for what was measured.
    #[getter]
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let values = PyDict::new(py);
        if let Some(Outcome::Complete(measurement) | Outcome::Pruned(measurement)) = &self.trial.outcome {
            for ((_, name), value) in self.desk.names().iter().zip(&measurement.values) {
                if !value.is_nan() {
                    values.set_item(name.bind(py), *value)?;
                }
            }
        }
        Ok(values)
    }

    /// `"complete"`, `"pruned"`, `"failed"` or `"running"`.
    #[getter]
    fn state(&self) -> &'static str {
        match self.trial.outcome {
            None => "running",
            Some(Outcome::Complete(_)) => "complete",
            Some(Outcome::Pruned(_)) => "pruned",
            Some(Outcome::Failed(_)) => "failed",
        }
    }

    /// Why it failed; None if it did not.
    #[getter]
    fn error(&self) -> Option<&str> {
        match &self.trial.outcome {
            Some(Outcome::Failed(reason)) => Some(reason),
            _ => None,
        }
    }

    /// The number of the trial whose weights it may inherit, or None.
    #[getter]
    fn parent(&self) -> Option<TrialId> {
        self.trial.parent
    }

    /// Which fraction of a full evaluation is wanted, above 0 and up to 1.
    #[getter]
    fn fidelity(&self) -> f64 {
        match self.trial.fidelity {
            Fidelity::Full => 1.0,
            Fidelity::Partial(fraction) => fraction,
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let point = Bound::new(py, self.point())?.repr()?.to_string();
        let result = match &self.trial.outcome {
            Some(Outcome::Complete(_) | Outcome::Pruned(_)) => format!(" {}", self.values(py)?.repr()?),
            _ => String::new(),
        };
        Ok(format!("<Trial {} {}{result} {point}>", self.trial.id, self.state()))
    }
}

/// A Python evaluator: an object with `evaluate_indices(indices)` or `evaluate(trials)`, or a function of a point.
enum Call {
    Indices(PyObject),
    Evaluate(PyObject),
    Function(PyObject),
}

fn read_evaluator(evaluator: &Bound<'_, PyAny>, space: &SearchSpace) -> PyResult<Call> {
    let method = |name| Ok::<_, PyErr>(evaluator.getattr_opt(name)?.filter(Bound::is_callable));
    if let Some(evaluate) = method("evaluate_indices")? {
        let real = (0..space.len()).find(|&i| space.real_slot(i).is_some());
        return match real {
            None => Ok(Call::Indices(evaluate.unbind())),
            Some(i) => {
                let message = format!(
                    "the evaluator takes indices, which a real decision such as '{}' has none of; use a function of a \
                     point",
                    space.decisions()[i].name
                );
                Err(to_py(evaluator.py(), Error::Evaluation(message)))
            }
        };
    }
    if let Some(evaluate) = method("evaluate")? {
        return Ok(Call::Evaluate(evaluate.unbind()));
    }
    if evaluator.is_callable() {
        return Ok(Call::Function(evaluator.clone().unbind()));
    }
    let message = format!(
        "the evaluator is {}; expected an object with evaluate(trials), or a function of a point",
        described(evaluator)
    );
    Err(to_py(evaluator.py(), Error::Evaluation(message)))
}

struct PyEvaluator<'a> {
    engine: &'a PyStudy,
    call: Call,
    /// A tuple of exception classes that are recorded as failures.
    catch: PyObject,
}

impl PyEvaluator<'_> {
    fn outcomes(&self, py: Python<'_>, batch: &[Trial]) -> PyResult<Vec<Outcome>> {
        match &self.call {
            Call::Function(function) => batch
                .iter()
                .map(|trial| {
                    let result = function.bind(py).call1((self.engine.desk.point(trial),));
                    self.caught(py, result, |value| self.engine.outcome(trial.id, &value, "returned"))
                        .map(|caught| caught.unwrap_or_else(Outcome::Failed))
                })
                .collect(),
            Call::Indices(evaluate) => {
                let width = self.engine.desk.handle.space.len();
                let mut codes = Vec::with_capacity(batch.len() * width);
                for trial in batch {
                    codes.extend_from_slice(trial.point.codes());
                }
                let indices = codes.into_pyarray(py).reshape([batch.len(), width])?;
                let result = evaluate.bind(py).call1((indices,));
                let caught =
                    self.caught(py, result, |values| self.engine.measured_rows(&values, batch.len()))?;
                self.one_by_one(py, batch, caught)
            }
            Call::Evaluate(evaluate) => {
                let trials: Vec<PyTrial> =
                    batch.iter().map(|trial| self.engine.desk.trial(trial.clone())).collect();
                let result = evaluate.bind(py).call1((trials,));
                let caught = self.caught(py, result, |values| {
                    let values: Vec<Bound<'_, PyAny>> =
                        values.try_iter().and_then(Iterator::collect).map_err(|_| {
                            let message = format!(
                                "evaluate(trials) returned {}; expected a list of one outcome a trial",
                                described(&values)
                            );
                            to_py(py, Error::Evaluation(message))
                        })?;
                    // A wrong number of outcomes is the study's to refuse; extra ones have no number.
                    values
                        .iter()
                        .enumerate()
                        .map(|(i, value)| {
                            let number = batch.get(i).map_or(0, |trial| trial.id);
                            self.engine.outcome(number, value, "returned")
                        })
                        .collect::<PyResult<Vec<_>>>()
                })?;
                self.one_by_one(py, batch, caught)
            }
        }
    }

    /// The outcomes of a batch; if it failed as a whole, those of its trials alone, so that only the culprit fails.
    fn one_by_one(
        &self,
        py: Python<'_>,
        batch: &[Trial],
        caught: std::result::Result<Vec<Outcome>, String>,
    ) -> PyResult<Vec<Outcome>> {
        match (caught, batch) {
            (Ok(outcomes), _) => Ok(outcomes),
            (Err(reason), [_]) => Ok(vec![Outcome::Failed(reason)]),
            (Err(_), _) => batch
                .chunks(1)
                .map(|trial| self.outcomes(py, trial))
                .collect::<PyResult<Vec<_>>>()
                .map(|outcomes| outcomes.concat()),
        }
    }

    /// `Ok(Err(reason))` if the user's code raised what the user asked to record.
    fn caught<'py, T>(
        &self,
        py: Python<'py>,
        result: PyResult<Bound<'py, PyAny>>,
        read: impl FnOnce(Bound<'py, PyAny>) -> PyResult<T>,
    ) -> PyResult<std::result::Result<T, String>> {
        match result {
            Ok(value) => read(value).map(Ok),
            Err(error) if error.matches(py, self.catch.bind(py))? || is_out_of_memory(&error, py)? => {
                Ok(Err(traceback(py, &error)?))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether memory ran out, of the host or of a device: a trial fails of that whether the user asked to record it or not.
fn is_out_of_memory(error: &PyErr, py: Python<'_>) -> PyResult<bool> {
    py.import("modularnas.study.faults")?.call_method1("out_of_memory", (error.value(py),))?.extract()
}

/// An exception as Python prints it, its message first.
fn traceback(py: Python<'_>, error: &PyErr) -> PyResult<String> {
    let lines = py
        .import("traceback")?
        .call_method1("format_exception", (error.get_type(py), error.value(py), error.traceback(py)))?;
    let text = PyString::new(py, "").call_method1("join", (lines,))?;
    Ok(format!("{error}\n{text}"))
}

impl Evaluator for PyEvaluator<'_> {
    fn evaluate(&self, batch: &[Trial]) -> Result<Vec<Outcome>> {
        Python::with_gil(|py| self.outcomes(py, batch)).map_err(foreign)
    }
}

/// An object with `capacity()`, `submit(trials)` and `collect(seconds)`, the protocol of workers elsewhere.
struct PyRemote<'a> {
    engine: &'a PyStudy,
    evaluator: PyObject,
}

fn read_remote<'a>(engine: &'a PyStudy, evaluator: &Bound<'_, PyAny>) -> PyResult<Option<PyRemote<'a>>> {
    for method in ["capacity", "submit", "collect"] {
        if !evaluator.hasattr(method)? {
            return Ok(None);
        }
    }
    Ok(Some(PyRemote { engine, evaluator: evaluator.clone().unbind() }))
}

impl RemoteEvaluator for PyRemote<'_> {
    fn capacity(&self) -> Result<usize> {
        Python::with_gil(|py| self.evaluator.call_method0(py, "capacity")?.extract(py)).map_err(foreign)
    }

    fn submit(&self, trials: &[Trial]) -> Result<()> {
        Python::with_gil(|py| {
            let trials = self.engine.wrap(trials.to_vec());
            self.evaluator.call_method1(py, "submit", (trials,)).map(|_| ())
        })
        .map_err(foreign)
    }

    fn collect(&self, patience: Duration) -> Result<Vec<(TrialId, Outcome)>> {
        Python::with_gil(|py| {
            let found = self.evaluator.bind(py).call_method1("collect", (patience.as_secs_f64(),))?;
            found
                .try_iter()?
                .map(|item| {
                    let (number, outcome): (TrialId, Bound<'_, PyAny>) = item?.extract()?;
                    Ok((number, self.engine.outcome(number, &outcome, "returned")?))
                })
                .collect::<PyResult<Vec<_>>>()
        })
        .map_err(foreign)
    }
}

/// How often a progress display is told.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

struct PyObserver<'a> {
    engine: &'a PyStudy,
    callbacks: Vec<PyObject>,
    progress: Option<PyObject>,
    /// Called between evaluations; what it raises ends the run.
    poll: Option<PyObject>,
    shown: Mutex<Instant>,
    /// Held while callbacks run, so that they are called one after the other. Taken without the GIL.
    calling: Mutex<()>,
}

impl Observer for PyObserver<'_> {
    fn poll(&self) -> Result<()> {
        Python::with_gil(|py| {
            py.check_signals()?;
            self.poll.as_ref().map_or(Ok(()), |poll| poll.call0(py).map(|_| ()))
        })
        .map_err(foreign)
    }

    fn told(&self, study: &Study, trials: &[Trial]) -> Result<()> {
        let show = self.progress.as_ref().filter(|_| {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let due = shown.elapsed() >= SHOWN_EVERY;
            if due {
                *shown = Instant::now();
            }
            due
        });
        if self.callbacks.is_empty() && show.is_none() {
            return Ok(());
        }
        let finished = study.finished()?;
        let _calling = self.calling.lock().unwrap_or_else(PoisonError::into_inner);
        Python::with_gil(|py| -> PyResult<()> {
            for trial in trials {
                for callback in &self.callbacks {
                    callback.call1(py, (self.engine.desk.trial(trial.clone()),))?;
                }
            }
            if let Some(progress) = show {
                progress.call1(py, (finished,))?;
            }
            Ok(())
        })
        .map_err(foreign)
    }
}

/// What a search algorithm written in Python may look at.
#[pyclass(name = "Context", module = "modularnas._core", frozen)]
pub(crate) struct PyContext {
    desk: Arc<Desk>,
    seed: u64,
    next: TrialId,
    running: Vec<Trial>,
}

#[pymethods]
impl PyContext {
    /// Where it searches.
    #[getter]
    fn space(&self) -> PySpace {
        PySpace { handle: Arc::clone(&self.desk.handle) }
    }

    /// Metric to `"max"` or `"min"`.
    #[getter]
    fn objectives<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        objectives_to_py(py, &self.desk.goals)
    }

    /// Metric to `(low, high)`.
    #[getter]
    fn constraints<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        constraints_to_py(py, &self.desk.goals)
    }

    /// The seed of the run.
    #[getter]
    fn seed(&self) -> u64 {
        self.seed
    }

    /// The number that the next proposed trial will get.
    #[getter]
    fn next(&self) -> TrialId {
        self.next
    }

    /// Trials asked for and not yet told; for `ask` only.
    #[getter]
    fn running(&self) -> Vec<PyTrial> {
        self.running.iter().map(|trial| self.desk.trial(trial.clone())).collect()
    }

    /// A seed for the random numbers of the `offset`-th proposal of this `ask`: the same in every run of the study.
    #[pyo3(signature = (offset = 0))]
    fn rng_seed(&self, offset: u64) -> u64 {
        crate::rng::stream(self.seed, self.next + offset, "ask").random()
    }
}

/// A search algorithm written in Python.
struct PyAlgorithm {
    algorithm: PyObject,
    desk: Arc<Desk>,
}

impl PyAlgorithm {
    fn context(&self, cx: &Context<'_>) -> PyContext {
        PyContext { desk: Arc::clone(&self.desk), seed: cx.seed, next: cx.next, running: cx.running.to_vec() }
    }

    fn proposal(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Proposal> {
        let space = PySpace { handle: Arc::clone(&self.desk.handle) };
        if value.hasattr("point")? {
            let fidelity = match attribute(value, "fidelity")?.map(|f| f.extract::<f64>()).transpose()? {
                Some(fraction) if fraction > 0.0 && fraction < 1.0 => Fidelity::Partial(fraction),
                None | Some(1.0) => Fidelity::Full,
                Some(fraction) => {
                    let message = format!("a proposal has fidelity {fraction}; expected above 0 and up to 1");
                    return Err(to_py(py, Error::Search(message)));
                }
            };
            let parent = attribute(value, "parent")?.map(|parent| parent.extract()).transpose()?;
            let point = space.extract(&value.getattr("point")?)?;
            return Ok(Proposal { point, fidelity, parent });
        }
        Ok(Proposal::new(space.extract(value)?))
    }
}

fn attribute<'py>(value: &Bound<'py, PyAny>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(value.getattr_opt(name)?.filter(|found| !found.is_none()))
}

impl SearchAlgorithm for PyAlgorithm {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        Python::with_gil(|py| {
            let answer = self.algorithm.bind(py).call_method1("ask", (self.context(cx), count))?;
            answer.try_iter()?.map(|value| self.proposal(py, &value?)).collect::<PyResult<Vec<_>>>()
        })
        .map_err(foreign)
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        Python::with_gil(|py| {
            let trials: Vec<PyTrial> = finished.iter().map(|trial| self.desk.trial(trial.clone())).collect();
            self.algorithm.bind(py).call_method1("tell", (self.context(cx), trials)).map(|_| ())
        })
        .map_err(foreign)
    }
}

/// A registered algorithm (`name`, `settings`), the name of one, or an object with `ask` and `tell`.
fn read_algorithm(algorithm: &Bound<'_, PyAny>, desk: &Arc<Desk>) -> PyResult<Algorithm> {
    let py = algorithm.py();
    if let Ok(name) = algorithm.downcast::<PyString>() {
        // Some registered algorithms are written in Python.
        return read_algorithm(&py.import("modularnas.search")?.getattr("create")?.call1((name,))?, desk);
    }
    let settings = match algorithm.getattr_opt("settings")? {
        Some(settings) => depythonize::<Value>(&settings)?,
        None => serde_json::json!({}),
    };
    if algorithm.hasattr("ask")? && algorithm.hasattr("tell")? {
        // Without its module: a class of a script is in `__main__` when it runs, and elsewhere when it is imported.
        let name = algorithm.get_type().qualname()?.to_string();
        let state = PyAlgorithm { algorithm: algorithm.clone().unbind(), desk: Arc::clone(desk) };
        return Ok(Algorithm::custom(name, settings, Box::new(state)));
    }
    let name = algorithm.getattr_opt("name")?.and_then(|name| name.extract::<String>().ok());
    let Some(name) = name.filter(|_| !algorithm.is_instance_of::<PyType>()) else {
        return refuse(
            py,
            format!(
                "the algorithm is {}; expected one of mn.search, such as mn.search.Random(), or an object with \
                 ask(context, count) and tell(context, finished)",
                described(algorithm)
            ),
        );
    };
    if let Some(estimator) = attribute(algorithm, "estimator")? {
        // The settings name the estimator for the file; what it is comes from here.
        let mut known = settings.clone();
        if let Some(known) = known.as_object_mut() {
            known.remove("model");
        }
        let built = serde_json::from_value::<ModelBased>(known)
            .map_err(|error| Error::Search(error.to_string()))
            .and_then(|scheme| scheme.build_with(Box::new(PyEstimator(estimator.unbind()))));
        return built.map(|state| Algorithm::custom(name, settings, state)).map_err(|error| to_py(py, error));
    }
    Algorithm::registered(&name, &settings, &desk.handle.space, &desk.goals).map_err(|error| to_py(py, error))
}

fn read_objectives(objectives: &Bound<'_, PyAny>) -> PyResult<Vec<Objective>> {
    let py = objectives.py();
    let Ok(mapping) = objectives.downcast::<PyMapping>() else {
        let given = described(objectives);
        return refuse(
            py,
            format!("objectives is {given}; expected a dict such as {{\"accuracy\": \"max\"}}"),
        );
    };
    let mut read = Vec::new();
    for item in mapping.items()?.iter() {
        let (metric, direction): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let metric = metric.str()?.to_string();
        let direction = match direction.extract::<String>().as_deref() {
            Ok("max") => Direction::Maximize,
            Ok("min") => Direction::Minimize,
            _ => {
                let given = described(&direction);
                return refuse(py, format!("objective '{metric}' is {given}; expected \"max\" or \"min\""));
            }
        };
        read.push(Objective { metric, direction });
    }
    Ok(read)
}

fn read_constraints(constraints: &Bound<'_, PyAny>) -> PyResult<Vec<Constraint>> {
    let py = constraints.py();
    if constraints.is_none() {
        return Ok(Vec::new());
    }
    let Ok(mapping) = constraints.downcast::<PyMapping>() else {
        let given = described(constraints);
        return refuse(
            py,
            format!("constraints is {given}; expected a dict such as {{\"macs\": (None, 3e8)}}"),
        );
    };
    let mut read = Vec::new();
    for item in mapping.items()?.iter() {
        let (metric, bounds): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let metric = metric.str()?.to_string();
        let Ok((low, high)) = bounds.extract::<(Option<f64>, Option<f64>)>() else {
            let given = described(&bounds);
            return refuse(
                py,
                format!("constraint '{metric}' is {given}; expected (low, high), None for an open side"),
            );
        };
        // An infinite bound is none; JSON, which the file speaks, has no word for it.
        let low = low.filter(|&low| low != f64::NEG_INFINITY);
        let high = high.filter(|&high| high != f64::INFINITY);
        read.push(Constraint { metric, low, high });
    }
    Ok(read)
}

fn objectives_to_py<'py>(py: Python<'py>, goals: &Goals) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for objective in goals.objectives() {
        let direction = match objective.direction {
            Direction::Maximize => "max",
            Direction::Minimize => "min",
        };
        dict.set_item(&objective.metric, direction)?;
    }
    Ok(dict)
}

fn constraints_to_py<'py>(py: Python<'py>, goals: &Goals) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for constraint in goals.constraints() {
        dict.set_item(&constraint.metric, (constraint.low, constraint.high))?;
    }
    Ok(dict)
}

struct OutcomeClasses {
    failed: PyObject,
    pruned: PyObject,
}

fn outcome_classes(py: Python<'_>) -> PyResult<&'static OutcomeClasses> {
    static CLASSES: GILOnceCell<OutcomeClasses> = GILOnceCell::new();
    CLASSES.get_or_try_init(py, || {
        let module = py.import("modularnas.outcome")?;
        Ok(OutcomeClasses {
            failed: module.getattr("Failed")?.unbind(),
            pruned: module.getattr("Pruned")?.unbind(),
        })
    })
}

/// A Python float or int, by the fastest way; not a bool.
fn plain_number(value: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(float) = value.downcast::<PyFloat>() {
        return Some(float.value());
    }
    if value.is_instance_of::<PyBool>() {
        return None;
    }
    value.is_exact_instance_of::<pyo3::types::PyInt>().then(|| value.extract().ok()).flatten()
}

/// Anything else that Python's `float()` takes as a number: a NumPy scalar, a tensor of one element.
fn number_in(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if value.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err("a truth value is no measurement"));
    }
    // Asked for its item, a tensor that requires a gradient does not warn.
    match value.getattr_opt("item")? {
        Some(item) => item.call0()?.extract(),
        None => value.extract(),
    }
}

/// `"None"`, `"a str ('abc')"`: what was given, for an error text.
pub(super) fn described(value: &Bound<'_, PyAny>) -> String {
    if value.is_none() {
        return "None".into();
    }
    let class = value.get_type().name().map_or_else(|_| "?".to_string(), |name| name.to_string());
    let article = if class.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']) { "an" } else { "a" };
    match value.repr() {
        Ok(text) if text.to_string().chars().count() <= 60 => format!("{article} {class} ({text})"),
        _ => format!("{article} {class}"),
    }
}

fn caused(error: PyErr, py: Python<'_>, cause: Option<PyErr>) -> PyErr {
    error.set_cause(py, cause);
    error
}

fn refuse<T>(py: Python<'_>, message: String) -> PyResult<T> {
    Err(to_py(py, Error::Study(message)))
}
