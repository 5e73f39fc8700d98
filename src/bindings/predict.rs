//! Surrogates for Python; `modularnas.evaluate.Predictor` documents and checks.

use numpy::{IntoPyArray as _, PyArray1, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use super::space::PySpace;
use super::{enter, to_py};
use crate::error::{Error, Result};
use crate::predict::{ByRank, Fitted, Model, Rows, Surrogate as _};
use crate::rng::stream;
use crate::space::Columns;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PySurrogate>()?;
    module.add_function(wrap_pyfunction!(fit_surrogate, module)?)?;
    module.add_function(wrap_pyfunction!(encoded_columns, module)?)
}

/// What a surrogate has learnt.
#[pyclass(name = "Surrogate", module = "modularnas._core", frozen)]
pub(crate) struct PySurrogate {
    fitted: Box<dyn Fitted>,
    width: usize,
}

#[pymethods]
impl PySurrogate {
    /// Mean and standard deviation for each row: arrays (n,).
    #[allow(clippy::type_complexity)]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        rows: PyReadonlyArray2<'py, f64>,
    ) -> PyResult<(Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>)> {
        let rows = read(&rows, self.width).map_err(|error| to_py(py, error))?;
        let found = enter(py, || self.fitted.predict(&rows))?;
        let means: Vec<f64> = found.iter().map(|one| one.mean).collect();
        let stds: Vec<f64> = found.iter().map(|one| one.std).collect();
        Ok((means.into_pyarray(py), stds.into_pyarray(py)))
    }
}

fn read(rows: &PyReadonlyArray2<'_, f64>, width: usize) -> Result<Rows> {
    let mut read = Rows::new(width);
    for row in rows.as_array().rows() {
        read.push(&row.to_vec())?;
    }
    Ok(read)
}

/// Fits the surrogate `kind` to rows; `columns` says as (start, stop, numeric) which of them belong to one decision.
#[pyfunction]
fn fit_surrogate(
    py: Python<'_>,
    kind: &str,
    rows: PyReadonlyArray2<'_, f64>,
    columns: Vec<(usize, usize, bool)>,
    targets: PyReadonlyArray1<'_, f64>,
    by_rank: bool,
    seed: u64,
) -> PyResult<PySurrogate> {
    let model: Model = serde_json::from_value(kind.into())
        .map_err(|_| to_py(py, Error::Evaluation(format!("there is no predictor '{kind}'"))))?;
    let width = rows.as_array().ncols();
    let rows = read(&rows, width).map_err(|error| to_py(py, error))?;
    let columns =
        columns.into_iter().map(|(start, stop, numeric)| Columns { range: start..stop, numeric }).collect();
    let targets = targets.as_slice()?;
    let fitted = enter(py, || {
        let surrogate = model.of_columns(columns);
        let mut rng = stream(seed, 0, "predictor");
        if by_rank {
            ByRank::new(surrogate).fit(&rows, targets, &mut rng)
        } else {
            surrogate.fit(&rows, targets, &mut rng)
        }
    })?;
    Ok(PySurrogate { fitted, width })
}

/// The columns of `space.encode` as (start, stop, numeric), one a decision.
#[pyfunction]
fn encoded_columns(space: &Bound<'_, PySpace>) -> Vec<(usize, usize, bool)> {
    let columns = space.get().handle.space.encoded_columns();
    columns.into_iter().map(|one| (one.range.start, one.range.end, one.numeric)).collect()
}
