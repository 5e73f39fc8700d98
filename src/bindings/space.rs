//! `SearchSpace`, `Decision` and `Point` for Python.

#![expect(clippy::doc_link_with_quotes, reason = "the examples are Python, where [\"a\"] is a list")]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};

use num_bigint::{BigInt, BigUint};
use numpy::{IntoPyArray as _, PyArray2, PyArrayMethods as _};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyMapping, PyString, PyTuple};

use super::{cost, enter, to_py};
use crate::cost::{Costs, Feasible, Metric, Term};
use crate::error::Error;
use crate::space::{Condition, Decision, Domain, INACTIVE, Label, Point, SearchSpace};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PySpace>()?;
    module.add_class::<PyPoint>()?;
    module.add_class::<PyDecision>()?;
    module.add_function(wrap_pyfunction!(choice, module)?)?;
    module.add_function(wrap_pyfunction!(integer, module)?)?;
    module.add_function(wrap_pyfunction!(real, module)?)?;
    module.add_function(wrap_pyfunction!(subset, module)?)
}

/// A space with the Python objects of its names and labels, made once.
pub(crate) struct SpaceHandle {
    pub(crate) space: Arc<SearchSpace>,
    /// What its points cost, where that is known in closed form.
    pub(crate) costs: Option<Arc<Costs>>,
    /// The points that were last drawn from.
    pub(super) feasible: Mutex<Option<Arc<Feasible>>>,
    names: Vec<Py<PyString>>,
    /// Labels of categorical decisions; empty for the others.
    labels: Vec<Vec<PyObject>>,
}

impl SpaceHandle {
    pub(crate) fn new(py: Python<'_>, space: SearchSpace) -> PyResult<Arc<Self>> {
        SpaceHandle::of(py, Arc::new(space), None)
    }

    pub(crate) fn of(
        py: Python<'_>,
        space: Arc<SearchSpace>,
        costs: Option<Arc<Costs>>,
    ) -> PyResult<Arc<Self>> {
        let names = space.decisions().iter().map(|d| PyString::intern(py, &d.name).unbind()).collect();
        let labels = space
            .decisions()
            .iter()
            .map(|decision| match &decision.domain {
                Domain::Categorical(labels) => labels.iter().map(|label| label_to_py(py, label)).collect(),
                _ => Ok(Vec::new()),
            })
            .collect::<PyResult<_>>()?;
        Ok(Arc::new(SpaceHandle { space, costs, feasible: Mutex::new(None), names, labels }))
    }

    fn value(&self, py: Python<'_>, point: &Point, decision: usize) -> PyResult<Option<PyObject>> {
        let code = point.codes()[decision];
        if code == INACTIVE {
            return Ok(None);
        }
        if let Some(label) = usize::try_from(code).ok().and_then(|code| self.labels[decision].get(code)) {
            return Ok(Some(label.clone_ref(py)));
        }
        self.space.value(point, decision).map(|label| label_to_py(py, &label)).transpose()
    }

    fn active<'a>(&'a self, point: &'a Point) -> impl Iterator<Item = usize> + 'a {
        (0..self.space.len()).filter(|&i| point.is_active(i))
    }
}

fn label_to_py(py: Python<'_>, label: &Label) -> PyResult<PyObject> {
    Ok(match label {
        Label::None => py.None(),
        Label::Bool(b) => PyBool::new(py, *b).to_owned().into_any().unbind(),
        Label::Int(n) => n.into_pyobject(py)?.into_any().unbind(),
        Label::Real(x) => PyFloat::new(py, *x).into_any().unbind(),
        Label::Text(text) => PyString::intern(py, text).into_any().unbind(),
        Label::List(items) => {
            let items: Vec<PyObject> =
                items.iter().map(|item| label_to_py(py, item)).collect::<PyResult<_>>()?;
            PyTuple::new(py, items)?.into_any().unbind()
        }
    })
}

pub(crate) fn label_from_py(value: &Bound<'_, PyAny>) -> PyResult<Label> {
    if value.is_none() {
        return Ok(Label::None);
    }
    if let Ok(b) = value.downcast::<PyBool>() {
        return Ok(Label::Bool(b.is_true()));
    }
    if let Ok(text) = value.extract::<String>() {
        return Ok(Label::Text(text));
    }
    if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyList>() {
        let items: Vec<Bound<'_, PyAny>> = value.extract()?;
        return Ok(Label::List(items.iter().map(label_from_py).collect::<PyResult<_>>()?));
    }
    if !value.is_instance_of::<PyFloat>()
        && let Ok(n) = value.extract::<i64>()
    {
        return Ok(Label::Int(n));
    }
    if let Ok(x) = value.extract::<f64>() {
        return Ok(Label::Real(x));
    }
    let message = format!(
        "a value of a decision is a {}; expected a str, int, float, bool, None or a tuple of these \
         (name the object by a string and look it up)",
        value.get_type().name()?
    );
    Err(to_py(value.py(), Error::Space(message)))
}

/// One variable of a search space: what `choice`, `integer`, `real` and `subset` return, and what
/// `SearchSpace.decisions` lists.
#[pyclass(name = "Decision", module = "modularnas._core", frozen)]
pub(crate) struct PyDecision {
    inner: Decision,
}

#[pymethods]
impl PyDecision {
    /// Its name; empty before it is part of a space.
    #[getter]
    fn name(&self) -> &str {
        &self.inner.name
    }

    /// `"categorical"`, `"integer"`, `"real"` or `"subset"`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.inner.domain.kind()
    }

    /// The labels of a categorical or subset decision, else None.
    #[getter]
    fn choices(&self, py: Python<'_>) -> PyResult<Option<PyObject>> {
        match &self.inner.domain {
            Domain::Categorical(labels) | Domain::Subset { from: labels, .. } => {
                label_to_py(py, &Label::List(labels.clone())).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The smallest value of a numeric decision, else None.
    #[getter]
    fn low(&self, py: Python<'_>) -> PyResult<Option<PyObject>> {
        self.bound(py, |low, _| low)
    }

    /// The largest value of a numeric decision, else None.
    #[getter]
    fn high(&self, py: Python<'_>) -> PyResult<Option<PyObject>> {
        self.bound(py, |_, high| high)
    }

    /// The step of an integer decision, else None.
    #[getter]
    fn step(&self) -> Option<i64> {
        if let Domain::Integer { step, .. } = self.inner.domain { Some(step) } else { None }
    }

    /// Whether a real decision varies on a log scale.
    #[getter]
    fn log(&self) -> bool {
        matches!(self.inner.domain, Domain::Real { log: true, .. })
    }

    /// How many labels a subset decision takes, else None.
    #[getter]
    fn take(&self) -> Option<usize> {
        if let Domain::Subset { take, .. } = self.inner.domain { Some(take) } else { None }
    }

    /// `(decision, values)` that activate this one; None: always active.
    #[getter]
    fn active_if(&self, py: Python<'_>) -> PyResult<Option<(String, PyObject)>> {
        let Some(Condition { decision, values }) = &self.inner.active_if else { return Ok(None) };
        Ok(Some((decision.clone(), label_to_py(py, &Label::List(values.clone()))?)))
    }

    fn __repr__(&self) -> String {
        let condition = match &self.inner.active_if {
            Some(c) => format!(", active if '{}' is one of {}", c.decision, Label::List(c.values.clone())),
            None => String::new(),
        };
        format!("<Decision '{}': {}{condition}>", self.inner.name, self.inner.domain)
    }

    fn __eq__(&self, other: &PyDecision) -> bool {
        self.inner == other.inner
    }
}

impl PyDecision {
    fn bound(&self, py: Python<'_>, pick: impl Fn(Label, Label) -> Label) -> PyResult<Option<PyObject>> {
        let label = match self.inner.domain {
            Domain::Integer { low, high, .. } => pick(Label::Int(low), Label::Int(high)),
            Domain::Real { low, high, .. } => pick(Label::Real(low), Label::Real(high)),
            _ => return Ok(None),
        };
        label_to_py(py, &label).map(Some)
    }
}

/// An int from 0 to 2**64 - 1, with an error of ours for anything else.
pub(crate) struct Natural(pub(crate) u64);

impl<'py> FromPyObject<'py> for Natural {
    fn extract_bound(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        value.extract().map(Natural).map_err(|_| {
            let given = value.repr().map_or_else(|_| "something else".to_string(), |text| text.to_string());
            let message = format!("a seed or count is {given}; expected an int from 0 to 2**64 - 1");
            to_py(value.py(), Error::Space(message))
        })
    }
}

/// The labels of a list or tuple.
fn labels_from_py(values: &Bound<'_, PyAny>) -> PyResult<Vec<Label>> {
    let Ok(values) = values.extract::<Vec<Bound<'_, PyAny>>>() else {
        let message = format!("choices are given as {}; expected a list of values", values.repr()?);
        return Err(to_py(values.py(), Error::Space(message)));
    };
    values.iter().map(label_from_py).collect()
}

type ActiveIf<'py> = Option<(String, Vec<Bound<'py, PyAny>>)>;

fn unnamed(domain: Domain, active_if: ActiveIf<'_>) -> PyResult<PyDecision> {
    let mut decision = Decision::new("", domain);
    if let Some((parent, values)) = active_if {
        decision = decision.active_if(parent, values.iter().map(label_from_py).collect::<PyResult<_>>()?);
    }
    Ok(PyDecision { inner: decision })
}

/// A decision that takes one of `choices`, with no order between them.
///
/// Args:
///     choices: one or more different values: str, int, float, bool, None or tuples of these.
///     active_if: `(decision, values)`: the decision exists only while that other one takes one of the values.
///
/// Example:
///     >>> mn.SearchSpace({"op": mn.choice(["conv", "pool"]),
///     ...                 "k": mn.choice([3, 5, 7], active_if=("op", ["conv"]))}).size
///     4
#[pyfunction]
#[pyo3(signature = (choices, *, active_if = None))]
fn choice(choices: &Bound<'_, PyAny>, active_if: ActiveIf<'_>) -> PyResult<PyDecision> {
    unnamed(Domain::Categorical(labels_from_py(choices)?), active_if)
}

/// A decision that takes a whole number from `low` to `high` (both included) in steps of `step`.
///
/// Example:
///     >>> mn.SearchSpace({"depth": mn.integer(2, 8, step=2)}).size
///     4
#[pyfunction]
#[pyo3(signature = (low, high, *, step = 1, active_if = None))]
fn integer(low: i64, high: i64, step: i64, active_if: ActiveIf<'_>) -> PyResult<PyDecision> {
    unnamed(Domain::Integer { low, high, step }, active_if)
}

/// A decision that takes a real number from `low` to `high`, on a log scale if `log` (then `low` must be above 0).
///
/// Example:
///     >>> 1e-4 <= mn.SearchSpace({"lr": mn.real(1e-4, 1e-1, log=True)}).sample(seed=0)["lr"] <= 1e-1
///     True
#[pyfunction]
#[pyo3(signature = (low, high, *, log = false, active_if = None))]
fn real(low: f64, high: f64, log: bool, active_if: ActiveIf<'_>) -> PyResult<PyDecision> {
    unnamed(Domain::Real { low, high, log }, active_if)
}

/// A decision that takes `take` different ones of `labels`, order ignored; its value is a tuple.
///
/// Example:
///     >>> mn.SearchSpace({"inputs": mn.subset(["a", "b", "c", "d"], take=2)}).size
///     6
#[pyfunction]
#[pyo3(signature = (labels, *, take, active_if = None))]
fn subset(labels: &Bound<'_, PyAny>, take: usize, active_if: ActiveIf<'_>) -> PyResult<PyDecision> {
    unnamed(Domain::Subset { from: labels_from_py(labels)?, take }, active_if)
}

/// The set of points that a search chooses from. Immutable.
///
/// Args:
///     decisions: a dict of name to `choice(…)`, `integer(…)`, `real(…)` or `subset(…)`.
///
/// Raises:
///     SpaceError: for an invalid domain or condition, naming the decision.
///
/// Example:
///     >>> space = mn.SearchSpace({"op": mn.choice(["conv", "pool"]),
///     ...                         "k": mn.choice([3, 5, 7], active_if=("op", ["conv"]))})
///     >>> space.size, [dict(space.unrank(i)) for i in range(4)][-1]
///     (4, {'op': 'pool'})
#[pyclass(name = "SearchSpace", module = "modularnas._core", frozen, weakref)]
pub(crate) struct PySpace {
    pub(crate) handle: Arc<SpaceHandle>,
}

impl PySpace {
    pub(crate) fn new(py: Python<'_>, space: SearchSpace) -> PyResult<Self> {
        Ok(PySpace { handle: SpaceHandle::new(py, space)? })
    }

    /// A space with costs.
    pub(crate) fn with(py: Python<'_>, costs: Arc<Costs>) -> PyResult<Self> {
        Ok(PySpace { handle: SpaceHandle::of(py, Arc::clone(costs.space()), Some(costs))? })
    }

    fn space(&self) -> &SearchSpace {
        &self.handle.space
    }

    pub(super) fn wrap(&self, point: Point) -> PyPoint {
        PyPoint { handle: Arc::clone(&self.handle), point }
    }

    /// A point given as a `Point` or as a mapping, checked against this space.
    pub(crate) fn extract(&self, value: &Bound<'_, PyAny>) -> PyResult<Point> {
        if let Ok(point) = value.downcast::<PyPoint>() {
            let point = point.get();
            let (theirs, ours) = (&point.handle.space, &self.handle.space);
            if Arc::ptr_eq(theirs, ours) || theirs == ours {
                return Ok(point.point.clone());
            }
        }
        let Ok(mapping) = value.downcast::<PyMapping>() else {
            let message = format!(
                "a point is given as a {}; expected a Point or a dict of decision name to value",
                value.get_type().name()?
            );
            return Err(to_py(value.py(), Error::Space(message)));
        };
        let mut values = Vec::new();
        for item in mapping.items()?.iter() {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            values.push((name.str()?.to_string(), label_from_py(&value)?));
        }
        self.space()
            .point(values.iter().map(|(name, label)| (name.as_str(), label.clone())))
            .map_err(|error| to_py(value.py(), error))
    }

    pub(crate) fn extract_all(&self, points: &Bound<'_, PyAny>) -> PyResult<Vec<Point>> {
        if let Ok(point) = points.downcast::<PyPoint>() {
            return Ok(vec![self.extract(point)?]);
        }
        points.try_iter()?.map(|point| self.extract(&point?)).collect()
    }
}

fn big(py: Python<'_>, value: BigInt) -> PyResult<BigUint> {
    BigUint::try_from(value)
        .map_err(|e| to_py(py, Error::Space(format!("a rank is {}; expected 0 or more", e.into_original()))))
}

#[pymethods]
impl PySpace {
    #[new]
    fn py_new(py: Python<'_>, decisions: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Ok(decisions) = decisions.downcast::<PyMapping>() else {
            let message = format!(
                "a search space is given as a {}; expected a dict of name to choice(...), integer(...), real(...) or \
                 subset(...)",
                decisions.get_type().name()?
            );
            return Err(to_py(py, Error::Space(message)));
        };
        let mut named = Vec::new();
        for item in decisions.items()?.iter() {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let Ok(decision) = value.downcast::<PyDecision>() else {
                let message = format!(
                    "decision '{name}' is a {}; expected choice(...), integer(...), real(...) or subset(...)",
                    value.get_type().name()?
                );
                return Err(to_py(py, Error::Space(message)));
            };
            named.push(Decision { name: name.str()?.to_string(), ..decision.get().inner.clone() });
        }
        PySpace::new(py, SearchSpace::new(named).map_err(|error| to_py(py, error))?)
    }

    /// The exact number of points (an int of any size); None with a real decision in it.
    #[getter]
    fn size(&self) -> Option<BigUint> {
        self.space().size()
    }

    /// The decisions, in declared order.
    #[getter]
    fn decisions(&self) -> Vec<PyDecision> {
        self.space().decisions().iter().map(|d| PyDecision { inner: d.clone() }).collect()
    }

    /// Sixteen hexadecimal digits that differ for different spaces.
    #[getter]
    fn fingerprint(&self) -> String {
        self.space().fingerprint()
    }

    /// A random point: each decision uniform over its values.
    #[pyo3(signature = (seed = Natural(0)), text_signature = "($self, seed=0)")]
    fn sample(&self, seed: Natural) -> PyPoint {
        self.wrap(self.space().sample(seed.0, 0))
    }

    /// `n` random points; the first is `sample(seed)`. Points may repeat.
    ///
    /// Args:
    ///     n: how many.
    ///     seed: the same seed gives the same points.
    ///     constraints: cost to `(low, high)`, both included, None for an open side, for costs of `metrics`. The points are
    ///         then drawn inside these bounds, by the law that drawing and discarding would give.
    ///
    /// Raises:
    ///     SpaceError: for an unknown cost, or if no point is within the bounds (with the bounds of the space).
    ///
    /// Example:
    ///     >>> space = mn.SearchSpace({f"k{i}": mn.choice([3, 5, 7]) for i in range(20)})
    ///     >>> space = space.with_cost("ms", {f"k{i}": [9, 25, 49] for i in range(20)})
    ///     >>> points = space.samples(100, seed=1, constraints={"ms": (180, 250)})
    ///     >>> int(space.cost(points)["ms"].max())
    ///     244
    #[pyo3(signature = (n, seed = Natural(0), constraints = None), text_signature = "($self, n, seed=0, constraints=None)")]
    fn samples(
        &self,
        py: Python<'_>,
        n: Natural,
        seed: Natural,
        constraints: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<PyPoint>> {
        let feasible = cost::feasible(py, &self.handle, constraints)?;
        let space = Arc::clone(&self.handle.space);
        let points = enter(py, || {
            let point = |i| match &feasible {
                Some(feasible) => feasible.sample(seed.0, i),
                None => space.sample(seed.0, i),
            };
            Ok((0..n.0).map(point).collect::<Vec<_>>())
        })?;
        Ok(points.into_iter().map(|point| self.wrap(point)).collect())
    }

    /// The names of the costs attached to the space: those of a supernet's space, and those of `with_cost`.
    #[getter]
    fn metrics(&self) -> Vec<String> {
        let costs = self.handle.costs.iter();
        costs.flat_map(|costs| costs.metrics().iter().map(|metric| metric.name.clone())).collect()
    }

    /// The same space with one more cost, the sum of a table entry for each active decision.
    ///
    /// Args:
    ///     name: its name, with the unit, such as `"latency_ms"`.
    ///     tables: decision to a table: a dict of choice to cost, or one cost a choice in their order. A pair of decisions
    ///         may have a table of rows (choices of the first) and columns (choices of the second). Decisions left out cost
    ///         nothing.
    ///     constant: what every point costs besides.
    ///
    /// Raises:
    ///     SpaceError: for an unknown decision or choice, a choice without a cost, or a name that is taken.
    ///
    /// Example:
    ///     >>> space = mn.SearchSpace({"op": mn.choice(["conv", "pool"]), "n": mn.integer(1, 3)})
    ///     >>> space = space.with_cost("latency_ms", {"op": {"conv": 2.5, "pool": 0.5}, "n": [1.0, 2.0, 3.0]}, constant=4.0)
    ///     >>> space.cost({"op": "conv", "n": 2}), space.bounds("latency_ms")
    ///     ({'latency_ms': 8.5}, (5.5, 9.5))
    #[pyo3(signature = (name, tables, *, constant = 0.0))]
    fn with_cost(
        &self,
        py: Python<'_>,
        name: String,
        tables: &Bound<'_, PyAny>,
        constant: f64,
    ) -> PyResult<Self> {
        let mut terms = cost::terms(self.space(), &format!("cost '{name}'"), tables)?;
        terms.push(Term { coefficient: constant, factors: vec![] });
        let metric = Metric { name, terms };
        let costs = match &self.handle.costs {
            Some(costs) => costs.with(metric),
            None => Costs::new(Arc::clone(&self.handle.space), vec![metric]),
        };
        PySpace::with(py, Arc::new(costs.map_err(|error| to_py(py, error))?))
    }

    /// The attached costs of points, exactly.
    ///
    /// Args:
    ///     points: one point (each cost is a number), a list of points, or an int array of `indices` of shape
    ///         (n, decisions) (each cost is an array of shape (n,): int64 for whole costs, else float64).
    ///
    /// Raises:
    ///     SpaceError: for what is no point, or if the space has no costs.
    fn cost<'py>(&self, py: Python<'py>, points: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        cost::of(py, self, points)
    }

    /// What adds up to a cost: `(coefficient, [(decision, value a code), ...])`, a decision by its index.
    ///
    /// The cost of a point is the sum, over the terms whose decisions are all active, of the coefficient times one value
    /// for each of its decisions. So with independent probabilities of the choices the expected cost is the same sum of
    /// products of expected values, and has a gradient.
    ///
    /// Raises:
    ///     SpaceError: for an unknown cost.
    ///
    /// Example:
    ///     >>> space = mn.SearchSpace({"op": mn.choice(["conv", "pool"])}).with_cost("ms", {"op": [2.5, 0.5]}, constant=4.0)
    ///     >>> space.cost_terms("ms")
    ///     [(1.0, [(0, [2.5, 0.5])]), (4.0, [])]
    fn cost_terms(&self, py: Python<'_>, metric: &str) -> PyResult<Vec<cost::TermRecord>> {
        cost::records(py, &self.handle, metric)
    }

    /// The exact minimum and maximum of a cost over all points.
    ///
    /// Raises:
    ///     SpaceError: for an unknown cost.
    fn bounds(&self, py: Python<'_>, metric: &str) -> PyResult<(PyObject, PyObject)> {
        let [(low, _), (high, _)] = cost::extremes(py, &self.handle, metric)?;
        Ok((low, high))
    }

    /// A point with the minimum of a cost, and one with its maximum.
    fn extremes(&self, py: Python<'_>, metric: &str) -> PyResult<(PyPoint, PyPoint)> {
        let [(_, low), (_, high)] = cost::extremes(py, &self.handle, metric)?;
        Ok((self.wrap(low), self.wrap(high)))
    }

    /// The number of points within bounds of their costs, none of them listed.
    ///
    /// Args:
    ///     constraints: cost to `(low, high)`, both included, None for an open side; None: all points.
    ///
    /// Returns:
    ///     A `Count`: `value`, and proven bounds `low` and `high`. They are equal where the costs have few different
    ///     sums; else `value` is estimated.
    ///
    /// Raises:
    ///     SpaceError: for an unknown cost, or a real decision.
    ///
    /// Example:
    ///     >>> space = mn.SearchSpace({f"k{i}": mn.choice([3, 5, 7]) for i in range(20)})
    ///     >>> space = space.with_cost("ms", {f"k{i}": [9, 25, 49] for i in range(20)})
    ///     >>> space.count({"ms": (None, 200)})
    ///     Count(21)
    #[pyo3(signature = (constraints = None))]
    fn count(&self, py: Python<'_>, constraints: Option<&Bound<'_, PyAny>>) -> PyResult<cost::PyCount> {
        cost::count(py, &self.handle, constraints)
    }

    /// Codes of `count` random points as an int32 array (count, decisions), -1 where inactive: row `i` is the path of
    /// step `first + i` of a training run with this seed.
    fn sample_indices<'py>(
        &self,
        py: Python<'py>,
        seed: u64,
        first: u64,
        count: usize,
    ) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let space = Arc::clone(&self.handle.space);
        let rows = enter(py, || Ok(space.sample_codes(seed, first, count)))?;
        rows.into_pyarray(py).reshape([count, self.space().len()])
    }

    /// The point that gives these values to exactly its active decisions.
    ///
    /// Raises:
    ///     SpaceError: for an unknown, missing, inactive or invalid decision, naming it.
    fn point(&self, values: &Bound<'_, PyAny>) -> PyResult<PyPoint> {
        Ok(self.wrap(self.extract(values)?))
    }

    /// The point with these codes (a row of `indices`); for spaces without real decisions.
    fn point_at(&self, py: Python<'_>, codes: Vec<i32>) -> PyResult<PyPoint> {
        let reals = vec![0.0; self.space().n_reals()];
        let point = Point::new(codes, reals);
        self.space().check(&point).map_err(|error| to_py(py, error))?;
        Ok(self.wrap(point))
    }

    /// Raises SpaceError unless `point` is a point of this space.
    fn check(&self, point: &Bound<'_, PyAny>) -> PyResult<()> {
        self.extract(point).map(|_| ())
    }

    /// The position of a point among all points in lexicographic order: 0 … size - 1.
    fn rank(&self, py: Python<'_>, point: &Bound<'_, PyAny>) -> PyResult<BigUint> {
        self.space().rank(&self.extract(point)?).map_err(|error| to_py(py, error))
    }

    /// The point at a position; the inverse of `rank`.
    fn unrank(&self, py: Python<'_>, rank: BigInt) -> PyResult<PyPoint> {
        let point = self.space().unrank(&big(py, rank)?).map_err(|error| to_py(py, error))?;
        Ok(self.wrap(point))
    }

    /// The points one small step away: another category, the next integer or real step, one element of a subset.
    fn neighbours(&self, point: &Bound<'_, PyAny>) -> PyResult<Vec<PyPoint>> {
        let point = self.extract(point)?;
        Ok(self.space().neighbours(&point).into_iter().map(|p| self.wrap(p)).collect())
    }

    /// Points as rows of numbers in [0, 1]: one-hot, multi-hot and scaled columns; float64, shape (n, columns).
    fn encode<'py>(
        &self,
        py: Python<'py>,
        points: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let points = self.extract_all(points)?;
        let mut cells = Vec::with_capacity(points.len() * self.space().encoded_width());
        for point in &points {
            self.space().encode(point, &mut cells);
        }
        cells.into_pyarray(py).reshape([points.len(), self.space().encoded_width()])
    }

    /// Points as codes: int32, shape (n, decisions), -1 where a decision is inactive.
    fn indices<'py>(
        &self,
        py: Python<'py>,
        points: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let points = self.extract_all(points)?;
        let mut cells = Vec::with_capacity(points.len() * self.space().len());
        for point in &points {
            cells.extend_from_slice(point.codes());
        }
        cells.into_pyarray(py).reshape([points.len(), self.space().len()])
    }

    /// The space as JSON.
    fn to_json(&self) -> String {
        self.space().to_json()
    }

    /// The space that `to_json` wrote.
    ///
    /// Args:
    ///     json: the decisions.
    ///     costs: the attached costs, as pickling writes them.
    #[staticmethod]
    #[pyo3(signature = (json, costs = None))]
    fn from_json(py: Python<'_>, json: &str, costs: Option<&str>) -> PyResult<Self> {
        let space = SearchSpace::from_json(json).map_err(|error| to_py(py, error))?;
        let Some(costs) = costs else { return PySpace::new(py, space) };
        let costs = serde_json::from_str(costs)
            .map_err(|e| Error::Space(format!("the text is not the costs of a space: {e}")))
            .and_then(|metrics| Costs::new(Arc::new(space), metrics));
        PySpace::with(py, Arc::new(costs.map_err(|error| to_py(py, error))?))
    }

    fn __or__(&self, py: Python<'_>, other: &PySpace) -> PyResult<Self> {
        let space = Arc::new(self.space().join(other.space()).map_err(|error| to_py(py, error))?);
        if self.handle.costs.is_none() && other.handle.costs.is_none() {
            return Ok(PySpace { handle: SpaceHandle::of(py, space, None)? });
        }
        let costs = |side: &PySpace| match &side.handle.costs {
            Some(costs) => Ok(Arc::clone(costs)),
            None => Costs::new(Arc::clone(&side.handle.space), vec![]).map(Arc::new),
        };
        let joined = costs(self).and_then(|ours| ours.joined(&*costs(other)?, space));
        PySpace::with(py, Arc::new(joined.map_err(|error| to_py(py, error))?))
    }

    fn __len__(&self) -> usize {
        self.space().len()
    }

    fn __contains__(&self, point: &Bound<'_, PyAny>) -> bool {
        self.extract(point).is_ok()
    }

    fn __getitem__(&self, py: Python<'_>, name: &str) -> PyResult<PyDecision> {
        let i = self.space().decision_index(name).map_err(|error| to_py(py, error))?;
        Ok(PyDecision { inner: self.space().decisions()[i].clone() })
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.downcast::<PySpace>().is_ok_and(|other| self.handle.space == other.get().handle.space)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.space().to_json().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let size = self.space().size().map_or_else(|| "infinitely many".to_string(), |size| short(&size));
        format!("<SearchSpace: {} decisions, {size} points>", self.space().len())
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: PyObject) -> Py<Self> {
        slf
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<(PyObject, (String, Option<String>))> {
        let json = |costs: &Arc<Costs>| {
            serde_json::to_string(costs.metrics())
                .map_err(|e| to_py(slf.py(), Error::Internal(e.to_string())))
        };
        let costs = slf.get().handle.costs.as_ref().map(json).transpose()?;
        Ok((slf.getattr("from_json")?.unbind(), (slf.get().to_json(), costs)))
    }
}

/// A size for people: exact below a million, then like 1.3e+08.
fn short(size: &BigUint) -> String {
    let digits = size.to_string();
    if digits.len() <= 6 {
        return digits;
    }
    format!("{}.{}e+{:02}", &digits[..1], &digits[1..2], digits.len() - 1)
}

/// One element of a search space: a read-only mapping from decision name to value, for the active decisions only.
///
/// Hashable; equal to another point that gives the same values to the same decisions. Comes from a space:
/// `space.sample()`, `space.point({…})`, `space.unrank(i)`.
#[pyclass(name = "Point", module = "modularnas._core", frozen, mapping)]
pub(crate) struct PyPoint {
    pub(crate) handle: Arc<SpaceHandle>,
    pub(crate) point: Point,
}

impl PyPoint {
    /// A point of the handle's space; the caller knows that it is one.
    pub(crate) fn new(handle: Arc<SpaceHandle>, point: Point) -> Self {
        PyPoint { handle, point }
    }
}

#[pymethods]
impl PyPoint {
    fn __getitem__(&self, py: Python<'_>, name: &str) -> PyResult<PyObject> {
        match self.find(py, name)? {
            Some(value) => Ok(value),
            None => Err(PyKeyError::new_err(name.to_string())),
        }
    }

    /// The value of a decision, or `default` if it is inactive or unknown.
    #[pyo3(signature = (name, default = None))]
    fn get(&self, py: Python<'_>, name: &str, default: Option<PyObject>) -> PyResult<Option<PyObject>> {
        Ok(self.find(py, name)?.or(default))
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        let Ok(name) = name.extract::<String>() else { return false };
        self.handle.space.decision_index(&name).is_ok_and(|i| self.point.is_active(i))
    }

    fn __len__(&self) -> usize {
        self.handle.active(&self.point).count()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.keys(py)?.try_iter()?.into_any())
    }

    /// The names of the active decisions, in declared order.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let names: Vec<_> = self.handle.active(&self.point).map(|i| self.handle.names[i].bind(py)).collect();
        PyList::new(py, names)
    }

    /// The values of the active decisions, in declared order.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for i in self.handle.active(&self.point) {
            list.append(self.handle.value(py, &self.point, i)?)?;
        }
        Ok(list)
    }

    /// The (name, value) pairs of the active decisions, in declared order.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for i in self.handle.active(&self.point) {
            list.append((self.handle.names[i].bind(py), self.handle.value(py, &self.point, i)?))?;
        }
        Ok(list)
    }

    /// The space that it belongs to.
    #[getter]
    fn space(&self) -> PySpace {
        PySpace { handle: Arc::clone(&self.handle) }
    }

    /// The point as a JSON object; `space.point(json.loads(text))` gives it back.
    fn to_json(&self) -> String {
        self.handle.space.point_to_json(&self.point)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.downcast::<PyPoint>().is_ok_and(|other| {
            let other = other.get();
            (Arc::ptr_eq(&self.handle, &other.handle) && self.point == other.point)
                || self.handle.space.values(&self.point) == other.handle.space.values(&other.point)
        })
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // Independent of the space, as equality is.
        for (name, label) in self.handle.space.values(&self.point) {
            name.hash(&mut hasher);
            label.to_string().hash(&mut hasher);
        }
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let dict = PyDict::new(py);
        for i in self.handle.active(&self.point) {
            dict.set_item(self.handle.names[i].bind(py), self.handle.value(py, &self.point, i)?)?;
        }
        Ok(format!("Point({})", dict.repr()?))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: PyObject) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        // Without its costs: they are many times the size of a point.
        let space = SpaceHandle::of(py, Arc::clone(&slf.get().handle.space), None)?;
        let space = Bound::new(py, PySpace { handle: space })?;
        let values = PyDict::new(py);
        for item in slf.get().items(py)?.iter() {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            values.set_item(name, value)?;
        }
        Ok((space.getattr("point")?, PyTuple::new(py, [values])?))
    }
}

impl PyPoint {
    fn find(&self, py: Python<'_>, name: &str) -> PyResult<Option<PyObject>> {
        match self.handle.space.decision_index(name) {
            Ok(i) => self.handle.value(py, &self.point, i),
            Err(_) => Ok(None),
        }
    }
}
