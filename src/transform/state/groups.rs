//! Kernels of convolutions with several numbers of groups: more groups are blocks on the diagonal of fewer.
//!
//! A kernel of `n` groups is `n` blocks (outputs, inputs, …), one below the other. With each divided into `parts` groups,
//! the output channels of a part read only the inputs of the same part. Widening the blocks puts zeros beside them, so
//! that the function stays.

use tch::Tensor;

use crate::error::{Error, Result};

/// The kernel (outputs, inputs, …) of `groups` groups as one of `groups * parts` groups; a copy.
///
/// # Errors
/// [`Error::Tensor`] if the numbers do not divide.
pub fn diagonal(kernel: &Tensor, groups: i64, parts: i64) -> Result<Tensor> {
    let shape = kernel.size();
    let [outside, inside, window @ ..] = &shape[..] else { return Err(uneven(kernel, groups, parts)) };
    if outside % (groups * parts) != 0 || inside % parts != 0 {
        return Err(uneven(kernel, groups, parts));
    }
    let blocks = [&[groups, parts, outside / (groups * parts), parts, inside / parts], window].concat();
    // (groups, outputs, inputs, …, parts)
    let diagonal = kernel.f_reshape(&blocks)?.f_diagonal(0, 1, 3)?;
    let narrow = [&[*outside, inside / parts], window].concat();
    Ok(diagonal.f_movedim_int(-1, 1)?.f_reshape(&narrow)?)
}

/// The kernel (outputs, inputs, …) of `groups` groups as one of `groups / parts` groups, with zeros beside its blocks.
///
/// # Errors
/// [`Error::Tensor`] if the numbers do not divide.
pub fn widen_blocks(kernel: &Tensor, groups: i64, parts: i64) -> Result<Tensor> {
    let shape = kernel.size();
    let [outside, inside, window @ ..] = &shape[..] else { return Err(uneven(kernel, groups, parts)) };
    if groups % parts != 0 || outside % groups != 0 {
        return Err(uneven(kernel, groups, parts));
    }
    let blocks = [&[groups / parts, parts, outside / groups, parts, *inside], window].concat();
    let wide = Tensor::f_zeros(&blocks, (kernel.f_kind()?, kernel.device()))?;
    let given = [&[groups / parts, parts, outside / groups, *inside], window].concat();
    wide.f_diagonal(0, 1, 3)?.f_copy_(&kernel.f_reshape(&given)?.f_movedim_int(1, -1)?)?;
    Ok(wide.f_reshape([&[*outside, inside * parts], window].concat())?)
}

fn uneven(kernel: &Tensor, groups: i64, parts: i64) -> Error {
    let shape = kernel.size();
    Error::Tensor(format!("a kernel {shape:?} of {groups} groups has no {parts} parts a group"))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn the_diagonal_of_what_was_widened_is_the_kernel() {
        let kernel = Tensor::randn([12, 2, 3, 3], (Kind::Float, Device::Cpu));
        for (groups, parts) in [(6, 3), (6, 6), (4, 2), (2, 2)] {
            let wide = widen_blocks(&kernel, groups, parts).unwrap();
            assert_eq!(wide.size(), [12, 2 * parts, 3, 3]);
            assert_eq!(diagonal(&wide, groups / parts, parts).unwrap(), kernel);
        }
    }

    #[test]
    fn a_divided_convolution_is_that_of_the_blocks() {
        let (x, kernel) = (
            Tensor::randn([1, 8, 5, 5], (Kind::Double, Device::Cpu)),
            Tensor::randn([12, 4, 3, 3], (Kind::Double, Device::Cpu)),
        );
        let convolve = |x: &Tensor, weight: &Tensor, groups| {
            x.conv2d(weight, None::<Tensor>, [1, 1], [0, 0], [1, 1], groups)
        };
        let divided = convolve(&x, &diagonal(&kernel, 2, 2).unwrap(), 4);
        // Each quarter of the outputs reads only its quarter of the inputs.
        let kept = widen_blocks(&diagonal(&kernel, 2, 2).unwrap(), 4, 2).unwrap();
        assert!(divided.allclose(&convolve(&x, &kept, 2), 1e-10, 1e-10, false));
    }

    #[test]
    fn uneven_numbers_are_refused() {
        let kernel = Tensor::zeros([6, 3, 1, 1], (Kind::Float, Device::Cpu));
        assert_eq!(
            diagonal(&kernel, 2, 2).unwrap_err().to_string(),
            "a kernel [6, 3, 1, 1] of 2 groups has no 2 parts a group"
        );
    }
}
