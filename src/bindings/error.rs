//! One mapping from the crate's errors to the Python classes of `modularnas.errors`.

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::GILOnceCell;

use crate::error::Error;

/// The Python exception for an error. A Python exception that passed through Rust comes out as itself.
pub(crate) fn to_py(py: Python<'_>, error: Error) -> PyErr {
    let class = match error {
        Error::Foreign(foreign) => {
            return match foreign.downcast::<PyErr>() {
                Ok(exception) => *exception,
                Err(other) => PyRuntimeError::new_err(other.to_string()),
            };
        }
        Error::Interrupted => return PyKeyboardInterrupt::new_err(()),
        Error::Space(_) => "SpaceError",
        Error::Rule(_) => "RuleError",
        Error::Network(_) => "NetworkError",
        Error::Search(_) => "SearchError",
        Error::Study(_) => "StudyError",
        Error::Storage(_) => "StorageError",
        Error::Evaluation(_) => "EvaluationError",
        Error::Tensor(_) => "TensorError",
        Error::Internal(_) => "InternalError",
    };
    raise(py, class, &error.to_string()).unwrap_or_else(|failure| failure)
}

fn raise(py: Python<'_>, class: &str, message: &str) -> PyResult<PyErr> {
    static CLASSES: GILOnceCell<Py<PyModule>> = GILOnceCell::new();
    let classes = CLASSES.get_or_try_init(py, || py.import("modularnas.errors").map(Bound::unbind))?;
    Ok(PyErr::from_value(classes.bind(py).getattr(class)?.call1((message,))?))
}
