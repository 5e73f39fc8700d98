//! The registry of search algorithms for Python.

use pyo3::prelude::*;
use pythonize::{depythonize, pythonize};

use super::to_py;
use crate::search::{ALGORITHMS, find};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(algorithm_schemas, module)?)?;
    module.add_function(wrap_pyfunction!(complete_settings, module)?)
}

/// Name and JSON schema (documentation, types, defaults) of every registered algorithm.
#[pyfunction]
fn algorithm_schemas(py: Python<'_>) -> PyResult<Vec<(&'static str, PyObject)>> {
    ALGORITHMS.iter().map(|entry| Ok((entry.name, pythonize(py, &(entry.schema)())?.unbind()))).collect()
}

/// The settings of an algorithm with defaults filled in. Raises SearchError for unknown names and wrong types.
#[pyfunction]
fn complete_settings(py: Python<'_>, name: &str, settings: &Bound<'_, PyAny>) -> PyResult<PyObject> {
    let given: serde_json::Value = depythonize(settings)?;
    let settings = find(name).and_then(|entry| (entry.complete)(&given)).map_err(|error| to_py(py, error))?;
    Ok(pythonize(py, &settings)?.unbind())
}
