//! The registry of search algorithms for Python, and score models from there.

use numpy::{IntoPyArray as _, PyArrayMethods as _};
use pyo3::intern;
use pyo3::prelude::*;
use pythonize::{depythonize, pythonize};
use rand::Rng as _;

use super::study::foreign;
use super::to_py;
use crate::error::{Error, Result};
use crate::predict::{Fitted, Prediction, Rows, Surrogate};
use crate::rng::Rng;
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

/// Any object with scikit-learn's `fit(X, y)` and `predict(X)`. A copy of it is fitted, never itself.
pub(crate) struct PyEstimator(pub(crate) PyObject);

struct PyFitted(PyObject);

/// An array (n, columns).
fn array<'py>(py: Python<'py>, rows: &Rows) -> PyResult<Bound<'py, PyAny>> {
    let cells: Vec<f64> = rows.iter().flatten().copied().collect();
    Ok(cells.into_pyarray(py).reshape([rows.len(), rows.width()])?.into_any())
}

impl Surrogate for PyEstimator {
    fn fit(&self, rows: &Rows, targets: &[f64], rng: &mut Rng) -> Result<Box<dyn Fitted>> {
        let seed: u32 = rng.random_range(0..1 << 31);
        Python::with_gil(|py| {
            let copy = py.import(intern!(py, "copy"))?.getattr("deepcopy")?.call1((&self.0,))?;
            let seed_name = intern!(py, "random_state");
            // Without a seed of its own it gets one, so that a run is a function of the study's.
            if copy.hasattr("get_params")? && copy.hasattr("set_params")? {
                let settings = copy.call_method0("get_params")?;
                if settings.contains(seed_name)? && settings.get_item(seed_name)?.is_none() {
                    let given = pyo3::types::PyDict::new(py);
                    given.set_item(seed_name, seed)?;
                    copy.call_method("set_params", (), Some(&given))?;
                }
            }
            copy.call_method1("fit", (array(py, rows)?, targets.to_vec().into_pyarray(py)))?;
            Ok(Box::new(PyFitted(copy.unbind())) as Box<dyn Fitted>)
        })
        .map_err(foreign)
    }
}

impl Fitted for PyFitted {
    fn predict(&self, rows: &Rows) -> Result<Vec<Prediction>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let means: Vec<f64> = Python::with_gil(|py| {
            let answer = self.0.bind(py).call_method1("predict", (array(py, rows)?,))?;
            py.import("numpy")?.call_method1("ravel", (answer,))?.call_method0("tolist")?.extract()
        })
        .map_err(foreign)?;
        if means.len() != rows.len() || means.iter().any(|mean| !mean.is_finite()) {
            let finite = means.iter().filter(|mean| mean.is_finite()).count();
            return Err(Error::Search(format!(
                "the score model predicts {} numbers, {finite} of them finite, for {} points; expected a finite one for each",
                means.len(),
                rows.len()
            )));
        }
        Ok(means.into_iter().map(|mean| Prediction { mean, std: 0.0 }).collect())
    }
}
