//! Copies of module trees for Python: their objects and attributes are walked here, what is unusual is copied there.
//!
//! A tree of some hundred modules takes Python longer to walk than its weights take to be copied.

use pyo3::exceptions::PyRecursionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::GILOnceCell;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};
use pyo3_tch::PyTensor;
use tch::{Device, Tensor};

use super::enter;
use crate::error::Result;
use crate::transform::state::contiguous;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(duplicate_module, module)?)?;
    module.add_function(wrap_pyfunction!(reach_modules, module)?)?;
    module.add_function(wrap_pyfunction!(copy_tensors, module)?)
}

/// Modules within modules, as deep as Python's own recursion goes by default.
const DEEPEST: usize = 1000;

fn too_deep() -> PyErr {
    PyRecursionError::new_err(format!("modules lie within modules more than {DEEPEST} deep"))
}

fn id(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr() as usize
}

fn attributes<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    Ok(object.getattr(intern!(object.py(), "__dict__"))?.downcast_into()?)
}

/// The children of a module.
fn children<'py>(module: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let held = module.getattr(intern!(module.py(), "_modules"))?;
    held.call_method0(intern!(module.py(), "values"))?.try_iter()?.collect()
}

/// A copy of a module; see `transform/duplicate.py`, whose memo, `classes` (for every class that was met the attributes
/// that are dropped, those that are shared, and whether it sets its state itself; None: copied by `unusual`) and
/// functions these are.
#[pyfunction]
#[pyo3(signature = (module, memo, classes, classify, unusual, tensor))]
fn duplicate_module<'py>(
    module: Bound<'py, PyAny>,
    memo: Bound<'py, PyDict>,
    classes: Bound<'py, PyDict>,
    classify: Bound<'py, PyAny>,
    unusual: Bound<'py, PyAny>,
    tensor: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    static ORDERED: GILOnceCell<Py<PyType>> = GILOnceCell::new();
    let ordered = ORDERED.import(module.py(), "collections", "OrderedDict")?.clone();
    Copier { memo, classes, classify, unusual, tensor, ordered }.module(&module, 0)
}

struct Copier<'py> {
    memo: Bound<'py, PyDict>,
    classes: Bound<'py, PyDict>,
    classify: Bound<'py, PyAny>,
    unusual: Bound<'py, PyAny>,
    tensor: Bound<'py, PyAny>,
    ordered: Bound<'py, PyType>,
}

impl<'py> Copier<'py> {
    fn module(&self, module: &Bound<'py, PyAny>, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = module.py();
        if let Some(known) = self.memo.get_item(id(module))? {
            return Ok(known);
        }
        if depth > DEEPEST {
            return Err(too_deep());
        }
        let class = module.get_type();
        let about = if let Some(known) = self.classes.get_item(&class)? {
            known
        } else {
            let about = self.classify.call1((&class,))?;
            self.classes.set_item(&class, &about)?;
            about
        };
        if about.is_none() {
            return self.unusual.call1((module, &self.memo));
        }
        let (dropped, shared, sets): (Bound<'_, PyFrozenSet>, Bound<'_, PyFrozenSet>, bool) =
            about.extract()?;
        let made = class.call_method1(intern!(py, "__new__"), (&class,))?;
        self.memo.set_item(id(module), &made)?;
        // What a copy of an attribute runs may change the module's own.
        let given = attributes(module)?.copy()?;
        let state = given.copy()?;
        for (name, value) in given.iter() {
            if is_atom(&value) {
                continue;
            }
            if !dropped.is_empty() && dropped.contains(&name)? {
                state.del_item(&name)?;
            } else if let Some(empty) = self.empty(&value)? {
                state.set_item(&name, empty)?;
            } else if name.eq(intern!(py, "_modules"))? {
                let copies = PyDict::new(py);
                for item in value.call_method0(intern!(py, "items"))?.try_iter()? {
                    let (key, child): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
                    let copy = if child.is_none() { child } else { self.module(&child, depth + 1)? };
                    copies.set_item(key, copy)?;
                }
                state.set_item(&name, copies)?;
            } else if name.eq(intern!(py, "_parameters"))? || name.eq(intern!(py, "_buffers"))? {
                let copies = PyDict::new(py);
                for item in value.call_method0(intern!(py, "items"))?.try_iter()? {
                    let (key, tensor): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
                    let copy = match self.memo.get_item(id(&tensor))? {
                        Some(known) => known,
                        None => self.tensor.call1((tensor, &self.memo))?,
                    };
                    copies.set_item(key, copy)?;
                }
                state.set_item(&name, copies)?;
            } else if !(shared.contains(&name)? || is_tuple_of_atoms(&value)) {
                state.set_item(&name, self.unusual.call1((&value, &self.memo))?)?;
            }
        }
        if sets {
            made.call_method1(intern!(py, "__setstate__"), (state,))?;
        } else {
            attributes(&made)?.update(state.as_mapping())?;
        }
        Ok(made)
    }

    /// A new container for one that is empty.
    fn empty(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = value.py();
        Ok(if value.is_exact_instance_of::<PyDict>() {
            value.is_empty()?.then(|| PyDict::new(py).into_any())
        } else if value.is_exact_instance(&self.ordered) {
            if value.is_empty()? { Some(self.ordered.call0()?) } else { None }
        } else if value.is_exact_instance_of::<PyList>() {
            value.is_empty()?.then(|| PyList::empty(py).into_any())
        } else if value.is_exact_instance_of::<PySet>() && value.is_empty()? {
            Some(PySet::empty(py)?.into_any())
        } else {
            None
        })
    }
}

fn is_atom(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyType>()
        || value.is_exact_instance_of::<PyBytes>()
        || value.is_exact_instance_of::<PyComplex>()
}

fn is_tuple_of_atoms(value: &Bound<'_, PyAny>) -> bool {
    value.downcast_exact::<PyTuple>().is_ok_and(|tuple| tuple.iter().all(|part| is_atom(&part)))
}

/// The modules that a network is made of, each before those that it holds, and their tensors by id. `held` has what some
/// modules, by id, hold of theirs.
#[pyfunction]
fn reach_modules<'py>(
    model: &Bound<'py, PyAny>,
    held: &Bound<'py, PyDict>,
) -> PyResult<(Vec<Bound<'py, PyAny>>, Bound<'py, PyDict>)> {
    let py = model.py();
    let known = PyDict::new(py);
    let tensors = PyDict::new(py);
    let mut reached = Vec::new();
    // An explicit stack, whose top is next: children in reverse come out in their order.
    let mut waiting = vec![model.clone()];
    while let Some(module) = waiting.pop() {
        if known.contains(id(&module))? {
            continue;
        }
        known.set_item(id(&module), true)?;
        let children = match held.get_item(id(&module))? {
            Some(some) => some.extract()?,
            None => children(&module)?,
        };
        for tensors_of in [intern!(py, "_parameters"), intern!(py, "_buffers")] {
            for tensor in module.getattr(tensors_of)?.call_method0(intern!(py, "values"))?.try_iter()? {
                let tensor = tensor?;
                if !tensor.is_none() {
                    tensors.set_item(id(&tensor), tensor)?;
                }
            }
        }
        reached.push(module);
        waiting.extend(children.into_iter().rev().filter(|child| !child.is_none()));
    }
    Ok((reached, tensors))
}

/// What a network has of tensors, by their id: of those in `parts` these parts, of others all. Parameters may be shared
/// instead of copied. `unusual` is given what is of another class than torch's own, or what tch cannot copy.
#[pyfunction]
fn copy_tensors<'py>(
    tensors: &Bound<'py, PyDict>,
    parts: &Bound<'py, PyDict>,
    share: bool,
    unusual: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    static PARAMETER: GILOnceCell<Py<PyType>> = GILOnceCell::new();
    static TENSOR: GILOnceCell<Py<PyType>> = GILOnceCell::new();
    let py = tensors.py();
    let parameter = PARAMETER.import(py, "torch.nn", "Parameter")?;
    let plain = TENSOR.import(py, "torch", "Tensor")?;
    let made = PyDict::new(py);
    let mut whole_of = Vec::with_capacity(tensors.len());
    let mut sources = Vec::with_capacity(tensors.len());
    for (key, whole) in tensors.iter() {
        let part = parts.get_item(&key)?.unwrap_or_else(|| whole.clone());
        let is_parameter = whole.is_exact_instance(parameter);
        let known = (is_parameter || whole.is_exact_instance(plain))
            && (part.is_exact_instance(plain) || part.is_exact_instance(parameter));
        let copy = if known && share && is_parameter {
            as_parameter(plain, parameter, &part, &whole)?
        } else if let Some(source) = known.then(|| source(&part)).flatten() {
            sources.push(source);
            whole_of.push((key.clone(), whole, is_parameter));
            py.None().into_bound(py) // keeps the order
        } else {
            unusual.call1((part, whole, share))?
        };
        made.set_item(key, copy)?;
    }
    let copies = enter(py, move || sources.iter().map(contiguous).collect::<Result<Vec<_>>>())?;
    for ((key, whole, is_parameter), copy) in whole_of.into_iter().zip(copies) {
        let copy = PyTensor(copy).into_pyobject(py)?;
        let copy = if is_parameter { as_parameter(plain, parameter, &copy, &whole)? } else { copy };
        made.set_item(key, copy)?;
    }
    Ok(made)
}

/// A tensor that tch can copy: strided numbers of a kind that it knows, on a device with memory (a meta tensor says that
/// it is on another).
fn source(part: &Bound<'_, PyAny>) -> Option<Tensor> {
    let PyTensor(part) = part.extract().ok()?;
    let strided = matches!(part.device(), Device::Cpu | Device::Cuda(_)) && !part.is_sparse();
    (strided && part.f_kind().is_ok()).then_some(part)
}

fn as_parameter<'py>(
    tensor: &Bound<'py, PyType>,
    parameter: &Bound<'py, PyType>,
    data: &Bound<'py, PyAny>,
    like: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    let requires_grad = like.getattr(intern!(py, "requires_grad"))?;
    tensor.call_method1(intern!(py, "_make_subclass"), (parameter, data, requires_grad))
}
