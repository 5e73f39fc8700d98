//! The skin between the rooms and Python: converts, locks, maps errors; decides nothing.
//!
//! The only room that knows pyo3, numpy and pyo3-tch, and one that no other room imports. One file for each room it
//! wraps, and one for objects of Python's. Long work enters Rust through [`enter`], which releases the GIL, turns Rust errors into our Python classes
//! and stops panics.

mod benchmark;
mod compat;
mod cost;
mod duplicate;
mod error;
mod evaluate;
mod kernel;
mod predict;
mod search;
mod space;
mod study;
mod transform;
mod trial;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use pyo3::prelude::*;

use crate::error::{Error, Result};
pub(crate) use error::to_py;

/// Runs `work` without the GIL; errors and panics come back as Python exceptions.
pub(crate) fn enter<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.allow_threads(|| guard(work)).map_err(|error| to_py(py, error))
}

/// Runs `work` and turns a panic into [`Error::Internal`]: a pyo3 `PanicException` is no `Exception` and must not
/// reach the user.
pub(crate) fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Error::Internal(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_string()
}

/// The native module `modularnas._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    static QUIET: Once = Once::new();
    // A panic is reported once, as the exception that `guard` makes of it; not on stderr as well.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    benchmark::register(module)?;
    cost::register(module)?;
    duplicate::register(module)?;
    evaluate::register(module)?;
    kernel::register(module)?;
    predict::register(module)?;
    space::register(module)?;
    search::register(module)?;
    study::register(module)?;
    transform::register(module)?;
    trial::register(module)?;
    Ok(())
}
