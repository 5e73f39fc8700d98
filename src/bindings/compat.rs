//! One wheel for Python 3.10 and every later one, although torch's headers were made for the Python at build time.

/// What pybind11, inlined into torch's headers, calls up to Python 3.12. Python 3.13 no longer exports the name.
///
/// Not in Rust tests: there the interpreter, if any, brings its own.
#[cfg(not(test))]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn _PyThreadState_UncheckedGet() -> *mut pyo3::ffi::PyThreadState {
    // SAFETY: takes no argument, reads a thread-local; null when this thread has no Python state, as the original returns.
    unsafe { pyo3::ffi::PyGILState_GetThisThreadState() }
}
