//! The average of checkpoints, which is often better than the last one.
//!
//! Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima", arXiv 1803.05407, equation 1, with any weights; an
//! exponential moving average is a chain of such averages of two. Statistics of batch norms are averaged as they are and
//! want recalibration. Tensors that are no floating-point numbers (counters) are the last checkpoint's.

use rayon::prelude::*;
use tch::{Kind, Tensor};

use super::{State, tensor};
use crate::error::{Error, Result};

/// The weighted average of states with the same tensors; summed in double precision.
///
/// # Errors
/// [`Error::Network`] without a state or with weights that do not sum to something, or if a tensor is missing;
/// [`Error::Tensor`] if shapes differ.
pub fn average(states: &[State], weights: &[f64]) -> Result<State> {
    let total: f64 = weights.iter().sum();
    let Some(last) = states.last() else {
        return Err(Error::Network("there is no checkpoint to average; give at least one".into()));
    };
    if weights.len() != states.len() || !total.is_finite() || total == 0.0 {
        return Err(Error::Network(format!(
            "the weights of the average are {weights:?}; expected {} numbers with a sum other than 0",
            states.len()
        )));
    }
    // A tensor may be sent but not shared among threads, so each task gets handles of its own.
    let mut tasks: Vec<(String, Vec<Tensor>)> = Vec::new();
    for path in last.keys() {
        let of_all = states.iter().map(|state| Ok(tensor(state, path)?.shallow_clone()));
        tasks.push((path.clone(), of_all.collect::<Result<_>>()?));
    }
    let one = |(path, tensors): (String, Vec<Tensor>)| -> Result<(String, Tensor)> {
        tch::no_grad(|| {
            let last = &tensors[tensors.len() - 1];
            let kind = last.f_kind()?;
            if !matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double) {
                return Ok((path, last.f_detach_copy()?));
            }
            let mut sum = last.f_to_kind(Kind::Double)?.f_zeros_like()?;
            for (tensor, weight) in tensors.iter().zip(weights) {
                if tensor.size() != last.size() {
                    let (a, b) = (tensor.size(), last.size());
                    return Err(Error::Tensor(format!(
                        "'{path}' has the shape {a:?} and {b:?} in two checkpoints"
                    )));
                }
                sum = sum.f_add(&tensor.f_to_kind(Kind::Double)?.f_mul_scalar(weight / total)?)?;
            }
            Ok((path, sum.f_to_kind(kind)?))
        })
    };
    tasks.into_par_iter().map(one).collect()
}
