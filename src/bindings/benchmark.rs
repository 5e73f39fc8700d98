//! `Benchmark` and `replay` for Python.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use numpy::{
    IntoPyArray as _, PyArrayMethods as _, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods as _,
};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use pythonize::depythonize;

use super::space::{PyPoint, PySpace, SpaceHandle};
use super::study::PyTrial;
use super::{enter, to_py};
use crate::benchmark::{
    Benchmark, Cell, Column, Graph, MAX_VERTICES, Metric, Replay, TaskSet, cell_of, hpo_taskset,
    nasbench_graph, nasbench_macro, nasbench101, nasbench201, replay, synthetic, tfrecord,
};
use crate::error::{Error, Result};
use crate::trial::{Direction, Fidelity};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyBenchmark>()?;
    module.add_function(wrap_pyfunction!(replay_curves, module)?)
}

/// A search space with known answers, and the evaluator that gives them: what the functions of
/// `modularnas.benchmarks` make.
///
/// Given to `Study.optimize`, it answers in the native half without crossing into Python; trials then hold the metrics
/// that the study asks for, the objective and the reported one.
///
/// Example:
///     >>> bench = mn.benchmarks.synthetic("zdt1")
///     >>> study = mn.Study(bench.space, "nsga2", objectives={"f1": "min", "f2": "min"})
///     >>> study.optimize(bench, trials=200)
#[pyclass(name = "Benchmark", module = "modularnas._core", frozen)]
pub(crate) struct PyBenchmark {
    handle: Arc<SpaceHandle>,
    benchmark: Arc<Benchmark>,
    names: Vec<Py<PyString>>,
}

/// A metric's name, whether it is maximised, and one array for each fidelity or for all.
type Columns<'py> = Vec<(String, bool, Vec<PyReadonlyArray1<'py, f64>>)>;

fn read_columns(columns: Columns<'_>) -> Vec<Column> {
    let read = |(name, maximised, levels): (String, bool, Vec<PyReadonlyArray1<'_, f64>>)| Column {
        metric: if maximised { Metric::max(name) } else { Metric::min(name) },
        levels: levels.iter().map(|values| values.as_array().iter().copied().collect()).collect(),
    };
    columns.into_iter().map(read).collect()
}

/// The elements of an array in row order, whatever its layout.
fn flat<T: numpy::Element + Copy>(array: &PyReadonlyArray2<'_, T>) -> Vec<T> {
    array.as_array().iter().copied().collect()
}

/// Fractions of a full evaluation as Python gives them; 1 is full.
fn read_fidelity(py: Python<'_>, fraction: f64) -> PyResult<Fidelity> {
    match fraction {
        1.0 => Ok(Fidelity::Full),
        _ if fraction > 0.0 && fraction < 1.0 => Ok(Fidelity::Partial(fraction)),
        _ => {
            let message = format!("fidelity is {fraction}; expected above 0 and up to 1");
            Err(to_py(py, Error::Evaluation(message)))
        }
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Maximize => "max",
        Direction::Minimize => "min",
    }
}

impl PyBenchmark {
    fn make(py: Python<'_>, make: impl FnOnce() -> Result<Benchmark> + Send) -> PyResult<Self> {
        let benchmark = enter(py, make)?;
        let handle = SpaceHandle::of(py, Arc::clone(benchmark.space()), None)?;
        let names = benchmark.metrics().iter().map(|m| PyString::intern(py, &m.name).unbind()).collect();
        Ok(PyBenchmark { handle, benchmark: Arc::new(benchmark), names })
    }

    pub(crate) fn benchmark(&self) -> &Arc<Benchmark> {
        &self.benchmark
    }

    fn row<'py>(&self, py: Python<'py>, columns: &[usize], values: &[f64]) -> PyResult<Bound<'py, PyDict>> {
        let row = PyDict::new(py);
        for (&column, &value) in columns.iter().zip(values) {
            row.set_item(self.names[column].bind(py), value)?;
        }
        Ok(row)
    }

    /// The numbers of the wanted metrics, and whether a single one was wanted by its name.
    fn columns(&self, metrics: Option<&Bound<'_, PyAny>>) -> PyResult<(Vec<usize>, bool)> {
        let Some(metrics) = metrics else { return Ok(((0..self.names.len()).collect(), false)) };
        let find = |name: &str| self.benchmark.column(name).map_err(|error| to_py(metrics.py(), error));
        if let Ok(name) = metrics.downcast::<PyString>() {
            return Ok((vec![find(&name.to_cow()?)?], true));
        }
        let names: Vec<String> = metrics.extract()?;
        Ok((names.iter().map(|name| find(name)).collect::<PyResult<_>>()?, false))
    }

    fn answer_many<'py>(
        &self,
        py: Python<'py>,
        points: &Bound<'py, PyAny>,
        fidelity: Fidelity,
        columns: &[usize],
    ) -> PyResult<Vec<Vec<f64>>> {
        let space = &self.handle.space;
        if let Ok(array) = points.extract::<PyReadonlyArray2<'py, i32>>() {
            let width = array.shape()[1];
            if width != space.len() || space.n_reals() > 0 {
                let message = format!(
                    "the array has {width} columns; expected {}, one for each decision of a space without reals",
                    space.len()
                );
                return Err(to_py(py, Error::Evaluation(message)));
            }
            let codes = array.as_slice().map_or_else(|_| Cow::Owned(flat(&array)), Cow::Borrowed);
            let values = enter(py, || self.benchmark.answer_all(&codes, fidelity, columns))?;
            return Ok(transposed(values, columns.len()));
        }
        let points = PySpace { handle: Arc::clone(&self.handle) }.extract_all(points)?;
        enter(py, || {
            let mut values = vec![f64::NAN; points.len() * columns.len()];
            for (point, row) in points.iter().zip(values.chunks_exact_mut(columns.len().max(1))) {
                if self.benchmark.answer(point, fidelity, columns, row).is_err() {
                    row.fill(f64::NAN);
                }
            }
            Ok(transposed(values, columns.len()))
        })
    }
}

/// Rows of `width` values as `width` columns.
fn transposed(values: Vec<f64>, width: usize) -> Vec<Vec<f64>> {
    if width == 1 {
        return vec![values];
    }
    (0..width).map(|column| values.iter().skip(column).step_by(width).copied().collect()).collect()
}

#[pymethods]
impl PyBenchmark {
    /// NAS-Bench-201 from its arrays.
    #[staticmethod]
    fn nasbench201(
        py: Python<'_>,
        op_names: Vec<String>,
        ops: PyReadonlyArray2<'_, u8>,
        columns: Columns<'_>,
    ) -> PyResult<Self> {
        let (ops, columns) = (flat(&ops), read_columns(columns));
        PyBenchmark::make(py, || nasbench201(&op_names, &ops, columns))
    }

    /// NAS-Bench-101 from the arrays of its cells: vertices, edge bits and operations in base 3.
    #[staticmethod]
    fn nasbench101(
        py: Python<'_>,
        n: PyReadonlyArray1<'_, u8>,
        edges: PyReadonlyArray1<'_, u32>,
        ops: PyReadonlyArray1<'_, u8>,
        columns: Columns<'_>,
    ) -> PyResult<Self> {
        let columns = read_columns(columns);
        let (n, edges, ops) = (n.as_array().to_vec(), edges.as_array().to_vec(), ops.as_array().to_vec());
        PyBenchmark::make(py, || {
            if n.len() != edges.len() || n.len() != ops.len() {
                return Err(Error::Evaluation("the arrays of cells differ in length".into()));
            }
            let cell = |row: usize| {
                let inner = usize::from(n[row]).saturating_sub(2).min(MAX_VERTICES);
                let digits = (0..inner as u32).map(|k| (u32::from(ops[row]) / 3_u32.pow(k) % 3) as u8);
                Cell::new(usize::from(n[row]), edges[row], digits)
                    .ok_or_else(|| Error::Evaluation(format!("row {row} is no cell of NAS-Bench-101")))
            };
            let cells = (0..n.len()).map(cell).collect::<Result<Vec<_>>>()?;
            nasbench101(&cells, vec![1.0], columns, "test_accuracy")
        })
    }

    /// NAS-Bench-101 from an official TFRecord file.
    #[staticmethod]
    #[pyo3(signature = (path, cache, repeat))]
    fn nasbench101_official(
        py: Python<'_>,
        path: PathBuf,
        cache: Option<PathBuf>,
        repeat: Option<usize>,
    ) -> PyResult<Self> {
        PyBenchmark::make(py, || tfrecord::nasbench101_official(&path, cache.as_deref(), repeat))
    }

    /// NAS-Bench-Macro from its arrays.
    #[staticmethod]
    fn nasbench_macro(
        py: Python<'_>,
        arch: PyReadonlyArray2<'_, u8>,
        columns: Columns<'_>,
    ) -> PyResult<Self> {
        let (arch, columns) = (flat(&arch), read_columns(columns));
        PyBenchmark::make(py, || nasbench_macro(&arch, columns))
    }

    /// NAS-Bench-Graph from its arrays.
    #[staticmethod]
    fn nasbench_graph(
        py: Python<'_>,
        links: PyReadonlyArray2<'_, u8>,
        op_names: Vec<String>,
        link: PyReadonlyArray1<'_, u8>,
        ops: PyReadonlyArray2<'_, u8>,
        columns: Columns<'_>,
    ) -> PyResult<Self> {
        let (links, ops, columns) = (flat(&links), flat(&ops), read_columns(columns));
        let link = link.as_array().to_vec();
        PyBenchmark::make(py, || {
            nasbench_graph(Graph { links: &links, op_names: &op_names, link: &link, ops: &ops, columns })
        })
    }

    /// One task of TaskSet from its arrays.
    #[staticmethod]
    fn hpo_taskset(
        py: Python<'_>,
        names: Vec<String>,
        settings: PyReadonlyArray2<'_, f64>,
        valid_loss: PyReadonlyArray2<'_, f64>,
        test_loss: PyReadonlyArray1<'_, f64>,
    ) -> PyResult<Self> {
        let (settings, valid_loss) = (flat(&settings), flat(&valid_loss));
        let test_loss = test_loss.as_array().to_vec();
        PyBenchmark::make(py, || {
            let (settings, valid_loss, test_loss) = (&settings[..], &valid_loss[..], &test_loss[..]);
            hpo_taskset(TaskSet { names: &names, settings, valid_loss, test_loss })
        })
    }

    /// A function whose optimum is known.
    #[staticmethod]
    #[pyo3(signature = (name, dimensions = None, objectives = None))]
    fn synthetic(
        py: Python<'_>,
        name: &str,
        dimensions: Option<usize>,
        objectives: Option<usize>,
    ) -> PyResult<Self> {
        PyBenchmark::make(py, || synthetic(name, dimensions, objectives))
    }

    /// What it is called.
    #[getter]
    fn name(&self) -> &str {
        self.benchmark.name()
    }

    /// Its search space.
    #[getter]
    fn space(&self) -> PySpace {
        PySpace { handle: Arc::clone(&self.handle) }
    }

    /// What it knows of every point: metric to `"max"` or `"min"`, whichever is better.
    #[getter]
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metrics = PyDict::new(py);
        for (name, metric) in self.names.iter().zip(self.benchmark.metrics()) {
            metrics.set_item(name.bind(py), direction(metric.direction))?;
        }
        Ok(metrics)
    }

    /// The metric that a search on it is after, with its direction: what `objectives` of a study takes.
    #[getter]
    fn objectives<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let objectives = PyDict::new(py);
        let column = self.benchmark.objective();
        let metric = &self.benchmark.metrics()[column];
        objectives.set_item(self.names[column].bind(py), direction(metric.direction))?;
        Ok(objectives)
    }

    /// The metric by which a search on it is judged.
    #[getter]
    fn reported(&self, py: Python<'_>) -> Py<PyString> {
        self.names[self.benchmark.reported()].clone_ref(py)
    }

    /// The best value of each metric over all points; NaN where nobody knows.
    #[getter]
    fn optimum<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns: Vec<usize> = (0..self.names.len()).collect();
        self.row(py, &columns, self.benchmark.optimum())
    }

    /// The fractions of a full evaluation that have answers of their own, ascending.
    #[getter]
    fn fidelities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.benchmark.fidelities())
    }

    /// The metrics of one point or of many.
    ///
    /// Args:
    ///     points: a point (a Point or a dict), an iterable of points, or an int32 array (n, decisions) as
    ///         `space.indices` makes it.
    ///     metrics: the name of a metric, several names, or None for all.
    ///     fidelity: the fraction of a full evaluation; answered by the highest recorded one that is not above it.
    ///
    /// Returns:
    ///     For one point metric to float, for many metric to float64 array (NaN where the benchmark refuses a point);
    ///     for one name its value or array alone.
    ///
    /// Raises:
    ///     EvaluationError: for one point that the benchmark refuses, with the reason; for an unknown metric.
    #[pyo3(signature = (points, metrics = None, *, fidelity = 1.0))]
    fn query<'py>(
        &self,
        py: Python<'py>,
        points: &Bound<'py, PyAny>,
        metrics: Option<&Bound<'py, PyAny>>,
        fidelity: f64,
    ) -> PyResult<PyObject> {
        let (columns, alone) = self.columns(metrics)?;
        let fidelity = read_fidelity(py, fidelity)?;
        let mut values = vec![f64::NAN; columns.len()];
        let refused = |why| {
            let message = format!("benchmark '{}' refuses the point: {why}", self.benchmark.name());
            to_py(py, Error::Evaluation(message))
        };
        let own = points.downcast::<PyPoint>().ok().filter(|p| Arc::ptr_eq(&p.get().handle, &self.handle));
        if let Some(point) = own {
            self.benchmark.answer(&point.get().point, fidelity, &columns, &mut values).map_err(refused)?;
        } else if points.hasattr("keys")? {
            let point = PySpace { handle: Arc::clone(&self.handle) }.extract(points)?;
            self.benchmark.answer(&point, fidelity, &columns, &mut values).map_err(refused)?;
        } else {
            let found = self.answer_many(py, points, fidelity, &columns)?;
            let mut arrays = found.into_iter().map(|values| values.into_pyarray(py));
            if alone {
                return arrays.next().into_py_any(py);
            }
            let answers = PyDict::new(py);
            for (&column, array) in columns.iter().zip(arrays) {
                answers.set_item(self.names[column].bind(py), array)?;
            }
            return answers.into_py_any(py);
        }
        if alone { values[0].into_py_any(py) } else { self.row(py, &columns, &values)?.into_py_any(py) }
    }

    /// The evaluator's protocol: for each trial all metrics, or `Failed` for a point that the benchmark refuses.
    fn evaluate<'py>(&self, py: Python<'py>, trials: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let columns: Vec<usize> = (0..self.names.len()).collect();
        let failed = py.import("modularnas.outcome")?.getattr("Failed")?;
        let outcomes = PyList::empty(py);
        for trial in trials.try_iter()? {
            let trial = trial?;
            let (point, fidelity) = if let Ok(trial) = trial.downcast::<PyTrial>() {
                (trial.get().trial().point.clone(), trial.get().trial().fidelity)
            } else {
                let point = PySpace { handle: Arc::clone(&self.handle) }.extract(&trial.getattr("point")?)?;
                (point, read_fidelity(py, trial.getattr("fidelity")?.extract()?)?)
            };
            self.handle.space.check(&point).map_err(|error| to_py(py, error))?;
            match self.benchmark.query(&point, fidelity) {
                Ok(values) => outcomes.append(self.row(py, &columns, &values)?)?,
                Err(refusal) => outcomes.append(failed.call1((refusal,))?)?,
            }
        }
        Ok(outcomes)
    }

    /// The key that NAS-Bench-101 gives the cell of a point, the same for isomorphic cells. For that benchmark only.
    fn cell_key(&self, py: Python<'_>, point: &Bound<'_, PyAny>) -> PyResult<String> {
        let point = PySpace { handle: Arc::clone(&self.handle) }.extract(point)?;
        let cell = cell_of(&point).ok_or("the benchmark has no cells").and_then(|cell| cell.pruned());
        cell.map(|cell| cell.key()).map_err(|why| to_py(py, Error::Evaluation(why.into())))
    }

    fn __repr__(&self) -> String {
        let metrics: Vec<&str> = self.benchmark.metrics().iter().map(|metric| &*metric.name).collect();
        let count = metrics.len();
        let shown = if count > 6 {
            format!("{}, … ({count})", metrics[..6].join(", "))
        } else {
            metrics.join(", ")
        };
        format!("<Benchmark {}: {shown}>", self.benchmark.name())
    }
}

/// The incumbents of each (name, settings): float64 arrays (seeds, trials).
#[pyfunction]
fn replay_curves(
    py: Python<'_>,
    benchmark: &PyBenchmark,
    algorithms: Vec<(String, Bound<'_, PyAny>)>,
    trials: usize,
    seeds: usize,
    first_seed: u64,
    distinct: bool,
) -> PyResult<Vec<PyObject>> {
    let algorithms = algorithms
        .iter()
        .map(|(name, settings)| Ok((name.clone(), depythonize(settings)?)))
        .collect::<PyResult<Vec<_>>>()?;
    let curves = enter(py, || {
        let plan = Replay { trials, seeds, first_seed, distinct };
        let mut poll = super::cost::poll;
        replay(&benchmark.benchmark, &algorithms, plan, &mut poll)
    })?;
    let array = |values: Vec<f64>| values.into_pyarray(py).reshape([seeds, trials])?.into_py_any(py);
    curves.into_iter().map(array).collect()
}
