//! Closed-form costs for Python: what the methods of `SearchSpace` and `modularnas.search.exact` call.

use std::sync::{Arc, PoisonError};

use num_bigint::BigUint;
use numpy::{IntoPyArray as _, PyReadonlyArray2, PyUntypedArray, PyUntypedArrayMethods as _};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple};

use super::space::{PyPoint, PySpace, SpaceHandle, label_from_py};
use super::study::{described, foreign};
use super::{enter, to_py};
use crate::cost::{Bound as CostBound, Costs, Count, Direction, Feasible, Metric, Solution, Term};
use crate::error::{Error, Result};
use crate::space::{Label, Point, SearchSpace};
use crate::trial::Goals;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCount>()?;
    module.add_function(wrap_pyfunction!(exact, module)?)
}

fn refuse<T>(py: Python<'_>, message: String) -> PyResult<T> {
    Err(to_py(py, Error::Space(message)))
}

/// Lets Ctrl-C end long work.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is not general enough in its lifetime"
)]
pub(super) fn poll() -> Result<()> {
    Python::with_gil(|py| py.check_signals()).map_err(foreign)
}

fn costs_of<'a>(py: Python<'_>, handle: &'a SpaceHandle) -> PyResult<&'a Arc<Costs>> {
    handle.costs.as_ref().ok_or_else(|| {
        let message = "the space has no costs; use supernet.space of mn.rewrite, or attach one by \
                       space.with_cost(name, {decision: {choice: cost}})";
        to_py(py, Error::Space(message.into()))
    })
}

/// A term as plain data: coefficient, and for each of its decisions the index and a value a code.
pub(super) type TermRecord = (f64, Vec<(usize, Vec<f64>)>);

pub(super) fn records(py: Python<'_>, handle: &SpaceHandle, metric: &str) -> PyResult<Vec<TermRecord>> {
    let costs = costs_of(py, handle)?;
    let index = costs.index(metric).map_err(|error| to_py(py, error))?;
    let record = |term: &Term| {
        let factors = term.factors.iter().map(|(decision, table)| (*decision, table.to_vec()));
        (term.coefficient, factors.collect())
    };
    Ok(costs.metrics()[index].terms.iter().map(record).collect())
}

/// A value of a metric: an int if all of its values are whole.
fn value(py: Python<'_>, metric: &Metric, value: f64) -> PyResult<PyObject> {
    Ok(if metric.is_whole() {
        (value as i64).into_pyobject(py)?.into_any().unbind()
    } else {
        value.into_pyobject(py)?.into_any().unbind()
    })
}

/// `constraints`: name to (low, high).
fn read_bounds(costs: &Costs, constraints: &Bound<'_, PyAny>) -> PyResult<Vec<CostBound>> {
    let py = constraints.py();
    let Ok(mapping) = constraints.downcast::<PyMapping>() else {
        let given = described(constraints);
        return refuse(
            py,
            format!("constraints is {given}; expected a dict such as {{\"macs\": (None, 3e8)}}"),
        );
    };
    let mut bounds = Vec::new();
    for item in mapping.items()?.iter() {
        let (name, range): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let name = name.str()?.to_string();
        let Ok((low, high)) = range.extract::<(Option<f64>, Option<f64>)>() else {
            let given = described(&range);
            return refuse(
                py,
                format!("constraint '{name}' is {given}; expected (low, high), None for an open side"),
            );
        };
        bounds.push(costs.bound(&name, low, high).map_err(|error| to_py(py, error))?);
    }
    Ok(bounds)
}

/// The points within constraints, if there are constraints; kept for the next call with the same ones.
pub(super) fn feasible(
    py: Python<'_>,
    handle: &SpaceHandle,
    constraints: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Arc<Feasible>>> {
    let Some(constraints) = constraints.filter(|constraints| !constraints.is_none()) else { return Ok(None) };
    let costs = costs_of(py, handle)?;
    let bounds = read_bounds(costs, constraints)?;
    let known = handle.feasible.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(known) = known.filter(|known| *known.bounds() == *bounds) {
        return Ok(Some(known));
    }
    let feasible = Arc::new(enter(py, || Feasible::new(Arc::clone(costs), bounds, &poll))?);
    *handle.feasible.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&feasible));
    Ok(Some(feasible))
}

/// The points that keep those constraints of a study that the space has costs for.
pub(super) fn feasible_for(
    py: Python<'_>,
    handle: &SpaceHandle,
    goals: &Goals,
) -> PyResult<Option<Feasible>> {
    let Some(costs) = &handle.costs else { return Ok(None) };
    let known = goals.constraints().iter().filter(|one| costs.index(&one.metric).is_ok());
    let bounds: Vec<CostBound> = known
        .map(|one| costs.bound(&one.metric, one.low, one.high))
        .collect::<Result<_>>()
        .map_err(|error| to_py(py, error))?;
    if bounds.is_empty() {
        return Ok(None);
    }
    enter(py, || Feasible::new(Arc::clone(costs), bounds, &poll)).map(Some)
}

/// Names and a checksum of the costs that [`feasible_for`] bounds: what a study's file remembers of them.
pub(super) fn described_for(handle: &SpaceHandle, goals: &Goals) -> String {
    let bounded = |metric: &&Metric| goals.constraints().iter().any(|one| one.metric == metric.name);
    let metrics = handle.costs.as_ref().map_or(&[][..], |costs| costs.metrics());
    let metrics: Vec<&Metric> = metrics.iter().filter(bounded).collect();
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    match serde_json::to_vec(&metrics) {
        Ok(json) if !metrics.is_empty() => format!("{} ({:08x})", names.join(", "), crc32c::crc32c(&json)),
        _ => String::new(),
    }
}

pub(super) fn of<'py>(
    py: Python<'py>,
    space: &PySpace,
    points: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let costs = costs_of(py, &space.handle)?;
    let table = PyDict::new(py);
    if points.is_instance_of::<PyPoint>() || points.downcast::<PyMapping>().is_ok() {
        let point = space.extract(points)?;
        let values = costs.of(&point).map_err(|error| to_py(py, error))?;
        for (metric, number) in costs.metrics().iter().zip(values) {
            table.set_item(&metric.name, value(py, metric, number)?)?;
        }
        return Ok(table);
    }
    let columns = if let Ok(array) = points.downcast::<PyUntypedArray>() {
        let decisions = space.handle.space.len();
        if array.ndim() != 2 || array.shape()[1] != decisions {
            let shape = points.getattr("shape")?;
            return refuse(
                py,
                format!("indices have shape {shape}; expected (n, {decisions}), one column a decision"),
            );
        }
        let rows: PyReadonlyArray2<'py, i32> = match points.extract() {
            Ok(rows) => rows,
            Err(_) => points.call_method1("astype", ("int32",))?.extract()?,
        };
        let rows = rows.as_array();
        let rows = rows.as_standard_layout();
        let rows =
            rows.as_slice().ok_or_else(|| to_py(py, Error::Internal("indices are not contiguous".into())))?;
        enter(py, || costs.evaluate(rows))?
    } else {
        let points = space.extract_all(points)?;
        enter(py, || {
            let codes: Vec<i32> = points.iter().flat_map(|point| point.codes().iter().copied()).collect();
            costs.evaluate(&codes)
        })?
    };
    for (metric, column) in costs.metrics().iter().zip(columns) {
        if metric.is_whole() {
            let column: Vec<i64> = column.into_iter().map(|value| value as i64).collect();
            table.set_item(&metric.name, column.into_pyarray(py))?;
        } else {
            table.set_item(&metric.name, column.into_pyarray(py))?;
        }
    }
    Ok(table)
}

pub(super) fn extremes(
    py: Python<'_>,
    handle: &SpaceHandle,
    metric: &str,
) -> PyResult<[(PyObject, Point); 2]> {
    let costs = costs_of(py, handle)?;
    let index = costs.index(metric).map_err(|error| to_py(py, error))?;
    let [(low, first), (high, last)] = enter(py, || costs.extremes(index, &poll))?;
    let metric = &costs.metrics()[index];
    Ok([(value(py, metric, low)?, first), (value(py, metric, high)?, last)])
}

pub(super) fn count(
    py: Python<'_>,
    handle: &SpaceHandle,
    constraints: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyCount> {
    let none = Arc::new(Costs::new(Arc::clone(&handle.space), vec![]).map_err(|error| to_py(py, error))?);
    let (costs, bounds) = match constraints.filter(|constraints| !constraints.is_none()) {
        Some(constraints) => {
            let costs = costs_of(py, handle)?;
            (costs, read_bounds(costs, constraints)?)
        }
        None => (&none, Vec::new()),
    };
    Ok(PyCount { count: enter(py, || Feasible::count(costs, bounds, &poll))? })
}

/// How many points there are: `low <= n <= high`, proven.
///
/// `int(count)` is `value`, the best estimate; `exact` says that the three are equal.
#[pyclass(name = "Count", module = "modularnas._core", frozen)]
pub(crate) struct PyCount {
    count: Count,
}

#[pymethods]
impl PyCount {
    /// The best estimate.
    #[getter]
    fn value(&self) -> BigUint {
        self.count.value.clone()
    }

    /// No fewer.
    #[getter]
    fn low(&self) -> BigUint {
        self.count.low.clone()
    }

    /// No more.
    #[getter]
    fn high(&self) -> BigUint {
        self.count.high.clone()
    }

    /// Whether the value is exact.
    #[getter]
    fn exact(&self) -> bool {
        self.count.low == self.count.high
    }

    fn __int__(&self) -> BigUint {
        self.count.value.clone()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        match other.downcast::<PyCount>() {
            Ok(other) => other.get().count == self.count,
            Err(_) => self.exact() && other.extract::<BigUint>().is_ok_and(|other| other == self.count.value),
        }
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        self.count.value.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let Count { value, low, high } = &self.count;
        if low == high {
            format!("Count({value})")
        } else {
            format!("Count({value}, low={low}, high={high})")
        }
    }
}

/// The best points within constraints: (point, score, costs). One, or all compromises with the cost `sweep`.
#[pyfunction]
fn exact<'py>(
    py: Python<'py>,
    space: &Bound<'py, PySpace>,
    scores: &Bound<'py, PyAny>,
    constraints: &Bound<'py, PyAny>,
    direction: &str,
    sweep: Option<&str>,
) -> PyResult<Vec<(PyPoint, f64, Bound<'py, PyDict>)>> {
    let space = space.get();
    let direction = match direction {
        "max" => Direction::Maximize,
        "min" => Direction::Minimize,
        other => return refuse(py, format!("direction is '{other}'; expected \"max\" or \"min\"")),
    };
    let score = Metric { name: "score".into(), terms: terms(&space.handle.space, "the score", scores)? };
    let costs = match &space.handle.costs {
        Some(costs) => Arc::clone(costs),
        None if constraints.is_none() && sweep.is_none() => {
            Arc::new(Costs::new(Arc::clone(&space.handle.space), vec![]).map_err(|error| to_py(py, error))?)
        }
        None => Arc::clone(costs_of(py, &space.handle)?),
    };
    let bounds = if constraints.is_none() { Vec::new() } else { read_bounds(&costs, constraints)? };
    let sweep = sweep.map(|name| costs.index(name)).transpose().map_err(|error| to_py(py, error))?;
    let solutions = enter(py, || match sweep {
        Some(metric) => costs.sweep(&score, direction, metric, &bounds, &poll),
        None => costs.optimum(&score, direction, &bounds, &poll).map(|solution| vec![solution]),
    })?;
    let record = |Solution { point, score }: Solution| {
        let table = PyDict::new(py);
        let values = costs.of(&point).map_err(|error| to_py(py, error))?;
        for (metric, number) in costs.metrics().iter().zip(values) {
            table.set_item(&metric.name, value(py, metric, number)?)?;
        }
        Ok((space.wrap(point), score, table))
    };
    solutions.into_iter().map(record).collect()
}

/// Tables by decision, or by pair of decisions, as terms. `what` names them in errors.
pub(super) fn terms(space: &SearchSpace, what: &str, tables: &Bound<'_, PyAny>) -> PyResult<Vec<Term>> {
    let py = tables.py();
    let Ok(mapping) = tables.downcast::<PyMapping>() else {
        let given = described(tables);
        return refuse(py, format!("{what} is given as {given}; expected a dict of decision to table"));
    };
    let mut terms = Vec::new();
    for item in mapping.items()?.iter() {
        let (key, table): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        if key.is_instance_of::<PyTuple>() {
            let Ok((first, second)) = key.extract::<(String, String)>() else {
                let given = described(&key);
                return refuse(py, format!("{what} has a table for {given}; expected one or two decisions"));
            };
            let (a, b) = (index(py, space, what, &first)?, index(py, space, what, &second)?);
            if a == b {
                return refuse(
                    py,
                    format!("{what} has a table for '{first}' with itself; give it one by '{first}'"),
                );
            }
            let rows: Vec<Bound<'_, PyAny>> = table.try_iter()?.collect::<PyResult<_>>()?;
            if rows.len() != space.count(a) as usize {
                let found = rows.len();
                return refuse(
                    py,
                    format!(
                        "{what} has {found} rows for '{first}'; expected {}, one a choice",
                        space.count(a)
                    ),
                );
            }
            for (code, row) in rows.iter().enumerate() {
                let values = column(space, what, b, row)?;
                if values.iter().any(|value| *value != 0.0) {
                    let only = (0..rows.len()).map(|i| f64::from(u8::from(i == code))).collect();
                    terms.push(Term { coefficient: 1.0, factors: vec![(a, only), (b, values)] });
                }
            }
        } else {
            let Ok(name) = key.downcast::<PyString>() else {
                let given = described(&key);
                return refuse(py, format!("{what} has a table for {given}; expected one or two decisions"));
            };
            let decision = index(py, space, what, &name.to_string())?;
            let values = column(space, what, decision, &table)?;
            terms.push(Term { coefficient: 1.0, factors: vec![(decision, values)] });
        }
    }
    Ok(terms)
}

fn index(py: Python<'_>, space: &SearchSpace, what: &str, name: &str) -> PyResult<usize> {
    let decision = space.decision_index(name).map_err(|error| to_py(py, error))?;
    if space.decisions()[decision].domain.is_real() {
        return refuse(
            py,
            format!("{what} depends on '{name}', which is real; only discrete ones have tables"),
        );
    }
    Ok(decision)
}

/// One value a choice of a decision, from a dict or in the order of the choices.
fn column(
    space: &SearchSpace,
    what: &str,
    decision: usize,
    table: &Bound<'_, PyAny>,
) -> PyResult<Box<[f64]>> {
    let py = table.py();
    let of = &space.decisions()[decision];
    let count = space.count(decision) as usize;
    let number = |value: &Bound<'_, PyAny>| match value.extract::<f64>() {
        Ok(number) => Ok(number),
        Err(_) => refuse(
            py,
            format!("{what} is {} for a choice of '{}'; expected a number", described(value), of.name),
        ),
    };
    if let Ok(mapping) = table.downcast::<PyMapping>() {
        let mut values = vec![None; count];
        for item in mapping.items()?.iter() {
            let (choice, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let label = label_from_py(&choice)?;
            let Some(code) = of.domain.code(&label) else {
                return refuse(
                    py,
                    format!("{what} has a value for {label} of '{}'; it is {}", of.name, of.domain),
                );
            };
            values[code as usize] = Some(number(&value)?);
        }
        if let Some(code) = values.iter().position(Option::is_none) {
            let label = of.domain.label(code as i32).unwrap_or(Label::None);
            return refuse(
                py,
                format!("{what} has no value for {label} of '{}'; give every choice one", of.name),
            );
        }
        return Ok(values.into_iter().flatten().collect());
    }
    let Ok(items) = table.try_iter() else {
        let given = described(table);
        return refuse(
            py,
            format!(
                "{what} is given {given} for '{}'; expected a dict of choice to value, or one value a choice",
                of.name
            ),
        );
    };
    let values: Vec<f64> = items.map(|item| number(&item?)).collect::<PyResult<_>>()?;
    if values.len() != count {
        let found = values.len();
        return refuse(
            py,
            format!(
                "{what} has {found} values for '{}'; expected {count}, one for each of {}",
                of.name, of.domain
            ),
        );
    }
    Ok(values.into())
}
