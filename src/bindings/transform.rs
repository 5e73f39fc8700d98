//! Rewriting for Python: records and rules in, a plan out; tensors in, tensors out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyTuple};
use pyo3_tch::PyTensor;
use pythonize::{depythonize, pythonize};
use safetensors::{Dtype, tensor::TensorView};

use super::enter;
use super::space::{PyPoint, PySpace};
use crate::cost::Costs;
use crate::error::Error;
use crate::network::{Coupling, Demands, Network, Width};
use crate::transform::state::{
    Channels, Grow, Slice, Sort, State, WeightMap as _, Wide, Widen, average, identity_kernel, identity_norm,
    inherit,
};
use crate::transform::{AppliedRule, RewritePlan, rewrite};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyPlan>()?;
    module.add_function(wrap_pyfunction!(plan_rewrite, module)?)?;
    module.add_function(wrap_pyfunction!(network_widths, module)?)?;
    module.add_function(wrap_pyfunction!(widen_channels, module)?)?;
    module.add_function(wrap_pyfunction!(sort_channels, module)?)?;
    module.add_function(wrap_pyfunction!(identity_layer, module)?)?;
    module.add_function(wrap_pyfunction!(inherit_weights, module)?)?;
    module.add_function(wrap_pyfunction!(average_weights, module)?)?;
    module.add_function(wrap_pyfunction!(write_safetensors, module)?)
}

/// What rules open in a network: `space`, `actions`, `original`, `fixed`.
#[pyclass(name = "RewritePlan", module = "modularnas._core", frozen)]
pub(crate) struct PyPlan {
    plan: RewritePlan,
    network: Network,
    rules: Vec<AppliedRule>,
    tried: BTreeMap<String, String>,
    space: Py<PySpace>,
}

/// Plans a rewrite: network and rules are plain records (dicts and lists); `tried` has decisions that must stay closed,
/// by name, and why.
#[pyfunction]
#[pyo3(signature = (network, rules, tried = None))]
fn plan_rewrite(
    py: Python<'_>,
    network: &Bound<'_, PyAny>,
    rules: &Bound<'_, PyAny>,
    tried: Option<BTreeMap<String, String>>,
) -> PyResult<PyPlan> {
    let network: Network = depythonize(network)?;
    let rules: Vec<AppliedRule> = depythonize(rules)?;
    plan(py, network, rules, tried.unwrap_or_default())
}

fn plan(
    py: Python<'_>,
    network: Network,
    rules: Vec<AppliedRule>,
    tried: BTreeMap<String, String>,
) -> PyResult<PyPlan> {
    let plan = enter(py, || rewrite(&network, &rules, &tried))?;
    let space = Py::new(py, PySpace::new(py, plan.space.clone())?)?;
    Ok(PyPlan { plan, network, rules, tried, space })
}

#[pymethods]
impl PyPlan {
    /// The search space.
    #[getter]
    fn space(&self, py: Python<'_>) -> Py<PySpace> {
        self.space.clone_ref(py)
    }

    /// One dict a module: path, class, and of modules of candidate ops the path of the module whose place it can take.
    #[getter]
    fn modules(&self, py: Python<'_>) -> PyResult<Vec<PyObject>> {
        let module = |node: &crate::network::Node| -> PyResult<PyObject> {
            let record = PyDict::new(py);
            record.set_item("path", &node.path)?;
            record.set_item("class", &node.class)?;
            record.set_item("place", node.place.map(|place| self.network.nodes[place].path.as_str()))?;
            Ok(record.into_any().unbind())
        };
        self.network.nodes.iter().map(module).collect()
    }

    /// One dict a decision: what it does to which module.
    #[getter]
    fn actions(&self, py: Python<'_>) -> PyResult<PyObject> {
        Ok(pythonize(py, &self.plan.actions)?.unbind())
    }

    /// One dict for each dimension of a parameter or buffer of which a part stays: holders (module path and name), dim,
    /// runs (decision, ranges (start, length) by code, the range while inactive).
    #[getter]
    fn cuts(&self, py: Python<'_>) -> PyResult<PyObject> {
        Ok(pythonize(py, &self.plan.cuts)?.unbind())
    }

    /// The tensors that a point's network has a part of, each by one of the modules that have it and the name there.
    #[getter]
    fn shared(&self) -> BTreeSet<(&str, &str)> {
        let cuts = self.plan.cuts.iter().map(|cut| &cut.holders);
        let diagonals = self.plan.diagonals.iter().map(|kernel| &kernel.holders);
        let first = cuts.chain(diagonals).filter_map(|holders| holders.first());
        first.map(|(module, name)| (module.as_str(), name.as_str())).collect()
    }

    /// One dict for each kernel of a convolution with several numbers of groups: holders (module path and name),
    /// decision, groups by code, the given number of groups.
    #[getter]
    fn diagonals(&self, py: Python<'_>) -> PyResult<PyObject> {
        Ok(pythonize(py, &self.plan.diagonals)?.unbind())
    }

    /// The plan of the same network and rules without some decisions, given by name with the reason.
    fn without(&self, py: Python<'_>, tried: BTreeMap<String, String>) -> PyResult<PyPlan> {
        let mut all = self.tried.clone();
        all.extend(tried);
        plan(py, self.network.clone(), self.rules.clone(), all)
    }

    /// The given network as a point; None if it is not among the choices.
    #[getter]
    fn original(&self) -> Option<PyPoint> {
        let point = self.plan.original.clone()?;
        Some(PyPoint::new(Arc::clone(&self.space.get().handle), point))
    }

    /// One dict for each module that a rule was meant for and could not open: path, rule, reason.
    #[getter]
    fn fixed(&self, py: Python<'_>) -> PyResult<PyObject> {
        Ok(pythonize(py, &self.plan.fixed)?.unbind())
    }

    /// The search space with the exact cost of every point.
    fn with_costs(&self, py: Python<'_>) -> PyResult<PySpace> {
        let space = Arc::clone(&self.space.get().handle.space);
        let costs = enter(py, || Costs::new(space, self.plan.costs.metrics()))?;
        PySpace::with(py, Arc::new(costs))
    }

    /// The weights of the supernet that are larger than the given ones, by path.
    fn grow(
        &self,
        py: Python<'_>,
        weights: HashMap<String, PyTensor>,
    ) -> PyResult<HashMap<String, PyTensor>> {
        let source = state(weights);
        Ok(tensors(enter(py, move || Grow(&self.plan).map(&source))?))
    }

    /// The weights of a point's network that are cut from the supernet's, by path; views.
    fn slice(
        &self,
        py: Python<'_>,
        point: &Bound<'_, PyAny>,
        weights: HashMap<String, PyTensor>,
    ) -> PyResult<HashMap<String, PyTensor>> {
        let point = self.space.get().extract(point)?;
        let source = state(weights);
        Ok(tensors(enter(py, move || Slice(&self.plan).map(&source, &point))?))
    }

    /// The tensors of the supernet, by path, with the channels of every opened width in the order of their importance.
    fn sort(
        &self,
        py: Python<'_>,
        weights: HashMap<String, PyTensor>,
    ) -> PyResult<HashMap<String, PyTensor>> {
        let source = state(weights);
        Ok(tensors(enter(py, move || {
            let channels = &Channels::of(&self.network, &self.plan.demands);
            Sort { channels, widths: &self.plan.widths }.map(&source)
        })?))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: PyObject) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let make = py.import("modularnas._core")?.getattr("plan_rewrite")?;
        let plan = slf.get();
        let (network, rules) = (pythonize(py, &plan.network)?, pythonize(py, &plan.rules)?);
        Ok((make, (network, rules, plan.tried.clone()).into_pyobject(py)?))
    }
}

/// The widths of a network, given as a plain record: one dict each with `layers` (the paths of those that make it),
/// `size` (the positions that the first one makes) and `fixed` (why it cannot vary, or None).
#[pyfunction]
fn network_widths(py: Python<'_>, network: &Bound<'_, PyAny>) -> PyResult<Vec<PyObject>> {
    let network: Network = depythonize(network)?;
    let widths = enter(py, || Ok(Coupling::of(&network.flow, &Demands::default()).widths))?;
    let path = |layer: &usize| network.nodes[network.flow.layers[*layer].node].path.clone();
    let record = |width: Width| -> PyResult<PyObject> {
        let record = PyDict::new(py);
        record.set_item("layers", width.producers.iter().map(path).collect::<Vec<_>>())?;
        record.set_item("size", width.size)?;
        record.set_item("unit", width.size / width.channels.max(1))?;
        record.set_item("fixed", width.fixed)?;
        Ok(record.into_any().unbind())
    };
    widths.into_iter().map(record).collect()
}

/// The tensors of a network, by path, with which layers make as many positions as given and the function stays: a number
/// each, or the ratio. Without layers, every width that can vary is so many times as wide.
#[pyfunction]
#[pyo3(signature = (network, layers, ratio, weights, noise, seed))]
fn widen_channels(
    py: Python<'_>,
    network: &Bound<'_, PyAny>,
    layers: Option<Vec<(String, Option<u64>)>>,
    ratio: f64,
    weights: HashMap<String, PyTensor>,
    noise: f64,
    seed: u64,
) -> PyResult<HashMap<String, PyTensor>> {
    let network: Network = depythonize(network)?;
    let source = state(weights);
    Ok(tensors(enter(py, move || {
        let channels = &Channels::of(&network, &Demands::default());
        let layers: Vec<(String, Wide)> = match layers {
            Some(layers) => layers
                .into_iter()
                .map(|(path, size)| (path, size.map_or(Wide::Ratio(ratio), Wide::Size)))
                .collect(),
            None => channels.free().into_iter().map(|path| (path, Wide::Ratio(ratio))).collect(),
        };
        Widen { channels, layers: &layers, noise, seed }.map(&source)
    })?))
}

/// The tensors of a network, by path, with the channels of every width that can vary in the order of their importance.
#[pyfunction]
fn sort_channels(
    py: Python<'_>,
    network: &Bound<'_, PyAny>,
    weights: HashMap<String, PyTensor>,
) -> PyResult<HashMap<String, PyTensor>> {
    let network: Network = depythonize(network)?;
    let source = state(weights);
    Ok(tensors(enter(py, move || {
        let channels = &Channels::of(&network, &Demands::default());
        let all = channels.coupling().widths.iter().enumerate();
        let widths: Vec<usize> = all.filter(|(_, width)| width.fixed.is_none()).map(|(i, _)| i).collect();
        Sort { channels, widths: &widths }.map(&source)
    })?))
}

/// The kernel of a convolution, without sizes the matrix of a linear layer, that computes the identity, and the scale
/// and shift with which a batch norm of these statistics does.
#[pyfunction]
fn identity_layer(
    py: Python<'_>,
    size: Vec<i64>,
    mean: PyTensor,
    variance: PyTensor,
    eps: f64,
) -> PyResult<(PyTensor, PyTensor, PyTensor)> {
    let (mean, variance) = (mean.0, variance.0);
    let (kernel, scale, shift) = enter(py, move || {
        let kernel = identity_kernel(mean.size()[0], &size, &mean)?;
        let (scale, shift) = identity_norm(&mean, &variance, eps)?;
        Ok((kernel, scale, shift))
    })?;
    Ok((PyTensor(kernel), PyTensor(scale), PyTensor(shift)))
}

/// A child's tensors that inherit something from its parent's, and for each (child's path, parent's path, part).
#[pyfunction]
#[allow(clippy::type_complexity)]
fn inherit_weights(
    py: Python<'_>,
    parent: HashMap<String, PyTensor>,
    child: HashMap<String, PyTensor>,
) -> PyResult<(HashMap<String, PyTensor>, Vec<(String, String, f64)>)> {
    let (parent, child) = (state(parent), state(child));
    let (inherited, matches) = enter(py, move || inherit(&parent, &child))?;
    Ok((tensors(inherited), matches.into_iter().map(|m| (m.to, m.from, m.part)).collect()))
}

/// The weighted average of checkpoints.
#[pyfunction]
fn average_weights(
    py: Python<'_>,
    states: Vec<HashMap<String, PyTensor>>,
    weights: Vec<f64>,
) -> PyResult<HashMap<String, PyTensor>> {
    let states: Vec<State> = states.into_iter().map(state).collect();
    Ok(tensors(enter(py, move || average(&states, &weights))?))
}

fn state(weights: HashMap<String, PyTensor>) -> State {
    weights.into_iter().map(|(path, tensor)| (path, tensor.0)).collect()
}

fn tensors(state: State) -> HashMap<String, PyTensor> {
    state.into_iter().map(|(path, tensor)| (path, PyTensor(tensor))).collect()
}

/// Writes tensors, given as (name, safetensors dtype, shape, bytes), to a safetensors file.
#[pyfunction]
fn write_safetensors(
    py: Python<'_>,
    path: PathBuf,
    tensors: Vec<(String, String, Vec<usize>, PyBackedBytes)>,
) -> PyResult<()> {
    enter(py, move || {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                let dtype: Dtype = serde_json::from_value(dtype.as_str().into())
                    .map_err(|e| Error::Internal(format!("'{name}': {e}")))?;
                let view = TensorView::new(dtype, shape.clone(), bytes)
                    .map_err(|e| Error::Internal(format!("'{name}': {e}")))?;
                Ok((name.as_str(), view))
            })
            .collect::<crate::error::Result<Vec<_>>>()?;
        safetensors::serialize_to_file(views, None, &path)
            .map_err(|e| Error::Storage(format!("cannot write '{}': {e}", path.display())))
    })
}
