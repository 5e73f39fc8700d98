//! Kernels for Python: tensors in, tensors out; nothing is copied.

use pyo3::prelude::*;
use pyo3_tch::PyTensor;
use tch::{Device, Kind, Tensor};

use super::enter;
use crate::error::{Error, Result};
use crate::kernel::edge::{Given, Gradients, Plan, Program, Values};
use crate::kernel::{Layout, Merge, Real, Shape};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(edge_forward, module)?)?;
    module.add_function(wrap_pyfunction!(edge_backward, module)?)?;
    module.add_function(wrap_pyfunction!(merge_forward, module)?)?;
    module.add_function(wrap_pyfunction!(merge_backward, module)?)?;
    module.add_function(wrap_pyfunction!(empty_tensor, module)?)
}

/// The numbers of a contiguous tensor on the CPU, of the kind that `T` is.
fn numbers<T>(tensor: &Tensor, kind: Kind) -> Result<&[T]> {
    if tensor.device() != Device::Cpu || tensor.f_kind()? != kind || !tensor.is_contiguous() {
        return Err(Error::Tensor(format!(
            "a mixed op's kernels take contiguous {kind:?} tensors on the CPU; given a {:?} tensor on {:?}",
            tensor.f_kind()?,
            tensor.device()
        )));
    }
    let count = tensor.numel();
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: a contiguous tensor on the CPU has its `numel` numbers, of the size of `T`, one after the other from
    // `data_ptr` on; they live as long as the tensor. Who writes to a tensor that an operator reads has a race in torch
    // as well.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<T>(), count) })
}

/// The numbers of a tensor that was made here and that nobody else has.
fn new_numbers<T>(tensor: &mut Tensor) -> &mut [T] {
    let count = tensor.numel();
    if count == 0 {
        return &mut [];
    }
    // SAFETY: `empty` made it contiguous, on the CPU and of the kind of `T`; the reference to it is the only one.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<T>(), count) }
}

fn empty(sizes: &[usize], kind: Kind) -> Result<Tensor> {
    let sizes: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
    crate::transform::state::empty(&sizes, kind)
}

fn sizes(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&size| size as usize).collect()
}

/// Tensors as what a program reads.
struct Tensors {
    x: Tensor,
    weights: Tensor,
    parameters: Vec<Tensor>,
    running: Option<Vec<Tensor>>,
}

impl Tensors {
    fn new(
        x: PyTensor,
        weights: PyTensor,
        parameters: Vec<PyTensor>,
        running: Option<Vec<PyTensor>>,
    ) -> Self {
        Tensors { x: x.0, weights: weights.0, parameters: plain(parameters), running: running.map(plain) }
    }

    fn given<T>(&self, kind: Kind) -> Result<Given<'_, T>> {
        let [n, c, h, w] = sizes(&self.x)[..] else {
            return Err(Error::Tensor(format!(
                "a mixed op's kernels take (N, C, H, W); given the shape {:?}",
                self.x.size()
            )));
        };
        Ok(Given {
            x: numbers(&self.x, kind)?,
            shape: Shape { n, c, h, w },
            weights: numbers(&self.weights, kind)?,
            parameters: values(&self.parameters, kind)?,
            running: self.running.as_deref().map(|running| values(running, kind)).transpose()?,
        })
    }
}

fn values<T>(tensors: &[Tensor], kind: Kind) -> Result<Vec<Values<'_, T>>> {
    tensors
        .iter()
        .map(|tensor| Ok(Values { numbers: numbers(tensor, kind)?, sizes: sizes(tensor) }))
        .collect()
}

/// The weighted sum of a mixed op (`modularnas.nn.edge`): what comes out, what the backward pass needs (nothing unless
/// `keep`), and mean and biased variance of every norm.
#[pyfunction]
#[pyo3(signature = (x, weights, parameters, running, program, keep, threads))]
#[allow(clippy::too_many_arguments)]
fn edge_forward(
    py: Python<'_>,
    x: PyTensor,
    weights: PyTensor,
    parameters: Vec<PyTensor>,
    running: Vec<PyTensor>,
    program: &str,
    keep: bool,
    threads: usize,
) -> PyResult<(PyTensor, PyTensor, PyTensor)> {
    let tensors = Tensors::new(x, weights, parameters, Some(running));
    let (out, saved, statistics) = enter(py, move || match tensors.x.f_kind()? {
        Kind::Double => forward::<f64>(&tensors, Kind::Double, program, keep, threads),
        _ => forward::<f32>(&tensors, Kind::Float, program, keep, threads),
    })?;
    Ok((PyTensor(out), PyTensor(saved), PyTensor(statistics)))
}

fn forward<T: Real>(
    tensors: &Tensors,
    kind: Kind,
    program: &str,
    keep: bool,
    threads: usize,
) -> Result<(Tensor, Tensor, Tensor)> {
    let program = Program::parse(program)?;
    let given = tensors.given::<T>(kind)?;
    let plan: Plan<'_> = program.plan(&given)?;
    let mut out = empty(&[plan.out.n, plan.out.c, plan.out.h, plan.out.w], kind)?;
    let mut saved = empty(&[if keep { plan.n_saved } else { 0 }], kind)?;
    let mut statistics = empty(&[plan.n_statistics], kind)?;
    plan.forward(
        &given,
        new_numbers(&mut out),
        new_numbers(&mut saved),
        new_numbers(&mut statistics),
        threads,
    )?;
    Ok((out, saved, statistics))
}

/// The gradients of the input, the weights and the parameters, in this order; empty ones where not `needed`.
#[pyfunction]
#[pyo3(signature = (gradient, x, weights, parameters, saved, statistics, program, needed, threads))]
#[allow(clippy::too_many_arguments)]
fn edge_backward(
    py: Python<'_>,
    gradient: PyTensor,
    x: PyTensor,
    weights: PyTensor,
    parameters: Vec<PyTensor>,
    saved: PyTensor,
    statistics: PyTensor,
    program: &str,
    needed: Vec<bool>,
    threads: usize,
) -> PyResult<Vec<PyTensor>> {
    let tensors = Tensors::new(x, weights, parameters, None);
    let kept = (gradient.0, saved.0, statistics.0);
    let gradients = enter(py, move || match tensors.x.f_kind()? {
        Kind::Double => backward::<f64>(&tensors, Kind::Double, &kept, program, &needed, threads),
        _ => backward::<f32>(&tensors, Kind::Float, &kept, program, &needed, threads),
    })?;
    Ok(gradients.into_iter().map(PyTensor).collect())
}

fn backward<T: Real>(
    tensors: &Tensors,
    kind: Kind,
    (gradient, saved, statistics): &(Tensor, Tensor, Tensor),
    program: &str,
    needed: &[bool],
    threads: usize,
) -> Result<Vec<Tensor>> {
    let program = Program::parse(program)?;
    let given = tensors.given::<T>(kind)?;
    let plan = program.plan(&given)?;
    let given_tensors = [&tensors.x, &tensors.weights].into_iter().chain(&tensors.parameters);
    let mut gradients = given_tensors
        .zip(needed)
        .map(|(tensor, &needed)| empty(&if needed { sizes(tensor) } else { vec![0] }, kind))
        .collect::<Result<Vec<Tensor>>>()?;
    let mut places = gradients.iter_mut().zip(needed).map(|(to, &needed)| needed.then(|| new_numbers(to)));
    let (x, weights) = (places.next().flatten(), places.next().flatten());
    let mut into = Gradients { x, weights, parameters: places.collect() };
    let (saved, statistics) = (numbers(saved, kind)?, numbers(statistics, kind)?);
    plan.backward(numbers(gradient, kind)?, &given, saved, statistics, &mut into, threads)?;
    Ok(gradients)
}

/// Kernels of convolutions that are added up (`modularnas.nn.merge`).
struct Summands {
    factors: Tensor,
    kernels: Vec<Tensor>,
    /// The size of the sum.
    extent: Vec<usize>,
    /// The dilations of all, one after the other.
    steps: Vec<usize>,
    taps_first: bool,
}

impl Summands {
    fn merge(&self) -> Result<Merge> {
        let windows: Vec<Vec<usize>> =
            self.kernels.iter().map(|kernel| sizes(kernel).get(2..).unwrap_or_default().to_vec()).collect();
        let windows: Vec<&[usize]> = windows.iter().map(Vec::as_slice).collect();
        let steps: Vec<&[usize]> = self.steps.chunks(self.extent.len().max(1)).collect();
        let layout = match self.channels()[..] {
            [_, inputs] if self.taps_first && inputs > 0 => Layout::TapsFirst { inputs },
            _ => Layout::InputsFirst,
        };
        Merge::new(&self.extent, &windows, &steps, layout)
    }

    /// Outputs and inputs.
    fn channels(&self) -> Vec<usize> {
        let mut channels = self.kernels.first().map(sizes).unwrap_or_default();
        channels.truncate(2);
        channels
    }

    fn numbers<T>(&self, kind: Kind) -> Result<(&[T], Vec<&[T]>)> {
        let kernels = self.kernels.iter().map(|kernel| numbers(kernel, kind)).collect::<Result<_>>()?;
        Ok((numbers(&self.factors, kind)?, kernels))
    }

    fn sum<T: Real>(&self, kind: Kind, out: &mut Tensor, threads: usize) -> Result<()> {
        let (factors, kernels) = self.numbers::<T>(kind)?;
        self.merge()?.forward(factors, &kernels, written(out, kind)?, threads)
    }

    /// Writes the gradients of factors and kernels, those that are there.
    fn gradients<T: Real>(
        &self,
        kind: Kind,
        gradient: &Tensor,
        of_factors: Option<&mut Tensor>,
        of_kernels: &mut [Option<Tensor>],
        threads: usize,
    ) -> Result<()> {
        let of_kernels = of_kernels
            .iter_mut()
            .map(|to| to.as_mut().map(|to| written(to, kind)).transpose())
            .collect::<Result<_>>()?;
        let of_factors = of_factors.map(|to| written(to, kind)).transpose()?;
        let (factors, kernels) = self.numbers::<T>(kind)?;
        let gradient = numbers(gradient, kind)?;
        self.merge()?.backward(gradient, factors, &kernels, of_kernels, of_factors, threads)
    }
}

/// The numbers of a contiguous tensor on the CPU, of the kind that `T` is, to be written.
fn written<T>(tensor: &mut Tensor, kind: Kind) -> Result<&mut [T]> {
    let count = numbers::<T>(tensor, kind)?.len();
    if count == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as in `numbers`; the caller has made the tensor and reads nothing else that lies in it meanwhile.
    Ok(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<T>(), count) })
}

/// Writes kernels of convolutions times their factors, added up in an extent; with `taps_first` as
/// `(outputs, taps, inputs)`.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn merge_forward(
    py: Python<'_>,
    factors: PyTensor,
    kernels: Vec<PyTensor>,
    extent: Vec<usize>,
    steps: Vec<usize>,
    taps_first: bool,
    out: PyTensor,
    threads: usize,
) -> PyResult<()> {
    let summands = Summands { factors: factors.0, kernels: plain(kernels), extent, steps, taps_first };
    let mut out = out.0;
    enter(py, move || match summands.factors.f_kind()? {
        Kind::Double => summands.sum::<f64>(Kind::Double, &mut out, threads),
        _ => summands.sum::<f32>(Kind::Float, &mut out, threads),
    })
}

/// Writes the gradients of the factors and the kernels, those that are given, of a gradient of the sum.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn merge_backward(
    py: Python<'_>,
    gradient: PyTensor,
    factors: PyTensor,
    kernels: Vec<PyTensor>,
    extent: Vec<usize>,
    steps: Vec<usize>,
    taps_first: bool,
    of_factors: Option<PyTensor>,
    of_kernels: Vec<Option<PyTensor>>,
    threads: usize,
) -> PyResult<()> {
    let gradient = gradient.0;
    let summands = Summands { factors: factors.0, kernels: plain(kernels), extent, steps, taps_first };
    let mut of_factors = of_factors.map(|tensor| tensor.0);
    let mut of_kernels: Vec<Option<Tensor>> = of_kernels.into_iter().map(|to| to.map(|to| to.0)).collect();
    enter(py, move || {
        let (of_factors, of_kernels) = (of_factors.as_mut(), of_kernels.as_mut_slice());
        match summands.factors.f_kind()? {
            Kind::Double => {
                summands.gradients::<f64>(Kind::Double, &gradient, of_factors, of_kernels, threads)
            }
            _ => summands.gradients::<f32>(Kind::Float, &gradient, of_factors, of_kernels, threads),
        }
    })
}

/// A contiguous tensor of a size on the CPU, of the kind of another, with whatever was there; in huge pages where it is
/// large.
#[pyfunction]
fn empty_tensor(py: Python<'_>, size: Vec<usize>, like: PyTensor) -> PyResult<PyTensor> {
    let like = like.0;
    Ok(PyTensor(enter(py, move || empty(&size, like.f_kind()?))?))
}

fn plain(tensors: Vec<PyTensor>) -> Vec<Tensor> {
    tensors.into_iter().map(|tensor| tensor.0).collect()
}
