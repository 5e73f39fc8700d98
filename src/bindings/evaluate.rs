//! Rank statistics of NumPy arrays; `modularnas.evaluate.rank_report` documents and checks.

use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use super::enter;
use crate::evaluate::rank::{Report, compare};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(rank_statistics, module)?)
}

/// Kendall, Spearman and regret of the top: the three values, and the (low, high) of each.
#[pyfunction]
#[allow(clippy::type_complexity)]
fn rank_statistics(
    py: Python<'_>,
    scores: PyReadonlyArray1<'_, f64>,
    reference: PyReadonlyArray1<'_, f64>,
    top: usize,
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> PyResult<([f64; 3], [(f64, f64); 3])> {
    let (scores, reference) = (scores.as_slice()?, reference.as_slice()?);
    let Report { value, interval } =
        enter(py, || compare(scores, reference, top, resamples, confidence, seed))?;
    Ok((value, interval))
}
