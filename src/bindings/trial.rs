//! Fronts, ranks and hypervolume of NumPy arrays; `modularnas.pareto` documents and checks.

use numpy::{IntoPyArray as _, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods as _};
use pyo3::prelude::*;

use super::enter;
use crate::trial::{front, hypervolume, ranks};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pareto_front, module)?)?;
    module.add_function(wrap_pyfunction!(pareto_ranks, module)?)?;
    module.add_function(wrap_pyfunction!(pareto_hypervolume, module)?)
}

/// Calls `work` with the rows of an array, without the GIL.
fn with_rows<T: Send>(
    py: Python<'_>,
    losses: &PyReadonlyArray2<'_, f64>,
    work: impl FnOnce(&[&[f64]]) -> T + Send,
) -> PyResult<T> {
    let cells = losses.as_slice()?;
    let width = losses.shape()[1].max(1);
    enter(py, || Ok(work(&cells.chunks_exact(width).collect::<Vec<_>>())))
}

/// Indices of the rows that no other row dominates, ascending; smaller is better. The array must be contiguous.
#[pyfunction]
fn pareto_front<'py>(
    py: Python<'py>,
    losses: PyReadonlyArray2<'py, f64>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let kept = with_rows(py, &losses, |rows| front(rows).into_iter().map(|i| i as i64).collect::<Vec<_>>())?;
    Ok(kept.into_pyarray(py))
}

/// The rank of every row in non-dominated sorting, from 0; smaller is better. The array must be contiguous.
#[pyfunction]
fn pareto_ranks<'py>(
    py: Python<'py>,
    losses: PyReadonlyArray2<'py, f64>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let found = with_rows(py, &losses, |rows| ranks(rows).into_iter().map(i64::from).collect::<Vec<_>>())?;
    Ok(found.into_pyarray(py))
}

/// The volume that the rows dominate up to the reference; smaller is better. The arrays must be contiguous.
#[pyfunction]
fn pareto_hypervolume(
    py: Python<'_>,
    losses: PyReadonlyArray2<'_, f64>,
    reference: PyReadonlyArray1<'_, f64>,
) -> PyResult<f64> {
    let reference = reference.as_slice()?;
    with_rows(py, &losses, |rows| hypervolume(rows, reference))
}
