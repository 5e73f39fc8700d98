//! Layers that compute the identity, to be put into a network (Net2DeeperNet).
//!
//! Chen, Goodfellow and Shlens 2015, "Net2Net", arXiv 1511.05641, section 2.3: a convolution whose kernel is a one at
//! the centre, and a batch norm whose scale and shift undo its statistics. The statistics are those of the data that
//! will flow through, so that the layer is the identity in train mode as well, up to the difference between batches.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// The kernel `(channels, channels, *size)` of a convolution that computes the identity; without sizes a matrix.
///
/// # Errors
/// [`Error::Tensor`] if a size is even: such a kernel has no centre.
pub fn identity_kernel(channels: i64, size: &[i64], like: &Tensor) -> Result<Tensor> {
    if let Some(even) = size.iter().find(|&&size| size % 2 == 0) {
        return Err(Error::Tensor(format!("a kernel of size {even} has no centre; expected an odd size")));
    }
    let mut kernel = Tensor::f_eye(channels, (like.f_kind()?, like.device()))?;
    for _ in size {
        kernel = kernel.f_unsqueeze(-1)?;
    }
    let padding: Vec<i64> = size.iter().rev().flat_map(|&size| [size / 2, size / 2]).collect();
    if padding.is_empty() { Ok(kernel) } else { Ok(kernel.f_constant_pad_nd(padding)?) }
}

/// Scale and shift with which a batch norm of these statistics computes the identity.
///
/// # Errors
/// [`Error::Tensor`] if the tensors are none of numbers.
pub fn identity_norm(mean: &Tensor, variance: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let kind = variance.f_kind()?;
    let scale = variance.f_to_kind(Kind::Double)?.f_add_scalar(eps)?.f_sqrt()?.f_to_kind(kind)?;
    Ok((scale, mean.f_detach_copy()?))
}
