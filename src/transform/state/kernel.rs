//! Kernel sizes that share one weight: a smaller kernel is the centre of a larger one.
//!
//! Cai et al. 2020, "Once-for-All", arXiv 1908.09791, section 3.3. Growing surrounds the given kernel with zeros, so
//! that every size computes the given function until training tells them apart.

use tch::Tensor;

use super::memory;
use crate::error::{Error, Result};

/// Spatial dimensions come after the two channel dimensions.
const FIRST_SPATIAL: i64 = 2;

/// A kernel of this size in every spatial dimension, with the given one at its centre and zeros around; a copy.
///
/// # Errors
/// [`Error::Tensor`] if the kernel is larger, or the sizes differ by an odd number.
pub fn surround(kernel: &Tensor, size: i64) -> Result<Tensor> {
    // Padding is given from the last dimension to the first.
    let mut padding = Vec::new();
    for dim in spatial(kernel).rev() {
        let margin = margin(size, kernel.size()[dim as usize], kernel)?;
        padding.extend([margin, margin]);
    }
    let Some(given) = memory::read(kernel) else { return Ok(kernel.f_constant_pad_nd(padding)?) };
    let shape = kernel.size();
    let window = &shape[FIRST_SPATIAL as usize..];
    let wide = [&shape[..FIRST_SPATIAL as usize], &vec![size; window.len()]].concat();
    let mut made = memory::empty(&wide, kernel.f_kind()?)?;
    surround_windows(
        given,
        memory::write(&mut made),
        window,
        size as usize,
        kernel.f_kind()?.elt_size_in_bytes(),
    );
    Ok(made)
}

/// Windows of `element` bytes a number, one after the other, each at the centre of one of zeros. Zero is the number whose
/// bytes are, in every kind of number.
fn surround_windows(given: &[u8], made: &mut [u8], window: &[i64], size: usize, element: usize) {
    let Some((&row, outer)) = window.split_last() else { return made.copy_from_slice(given) };
    // Where the rows of a window lie in the larger one.
    let mut places = vec![(size - row as usize) / 2];
    let mut stride = size;
    for &length in outer.iter().rev() {
        let margin = (size - length as usize) / 2;
        places = (0..length as usize)
            .flat_map(|i| places.iter().map(move |place| (margin + i) * stride + place).collect::<Vec<_>>())
            .collect();
        stride *= size;
    }
    let bytes = row as usize * element;
    for (given, made) in given.chunks_exact(places.len() * bytes).zip(made.chunks_exact_mut(stride * element))
    {
        made.fill(0);
        for (row, place) in given.chunks_exact(bytes).zip(&places) {
            made[place * element..][..bytes].copy_from_slice(row);
        }
    }
}

/// The name of the parameter that holds the matrix of a kernel size, beside the weight.
#[must_use]
pub fn transform_name(size: i64) -> String {
    format!("kernel_transform_{size}")
}

/// The kernel of a size from the largest: the centre of each next smaller size times the matrix of that size,
/// `(size^n, size^n)`, where there is one.
///
/// # Errors
/// [`Error::Tensor`] if a size has no place in the larger one, or a matrix another shape.
pub fn transformed(
    kernel: &Tensor,
    sizes: &[i64],
    size: i64,
    matrix: impl Fn(i64) -> Option<Tensor>,
) -> Result<Tensor> {
    let mut steps: Vec<i64> = sizes.iter().copied().filter(|&s| s >= size && s < kernel.size()[2]).collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    let mut kernel = kernel.shallow_clone();
    for step in steps {
        for dim in spatial(&kernel) {
            let margin = margin(kernel.size()[dim as usize], step, &kernel)?;
            kernel = kernel.f_narrow(dim, margin, step)?;
        }
        if let Some(matrix) = matrix(step) {
            let shape = kernel.size();
            let flat = kernel.f_reshape([shape[0], shape[1], -1])?;
            kernel = flat.f_matmul(&matrix.f_transpose(0, 1)?)?.f_reshape(shape.as_slice())?;
        }
    }
    Ok(kernel)
}

fn spatial(kernel: &Tensor) -> std::ops::Range<i64> {
    FIRST_SPATIAL..kernel.dim() as i64
}

fn margin(outer: i64, inner: i64, kernel: &Tensor) -> Result<i64> {
    if inner > outer || inner < 1 || (outer - inner) % 2 != 0 {
        let shape = kernel.size();
        return Err(Error::Tensor(format!(
            "size {inner} has no place at the centre of {outer}; the kernel is {shape:?}"
        )));
    }
    Ok((outer - inner) / 2)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn center(kernel: &Tensor, size: i64) -> Tensor {
        spatial(kernel).fold(kernel.shallow_clone(), |view, dim| {
            view.narrow(dim, (kernel.size()[dim as usize] - size) / 2, size)
        })
    }

    #[test]
    fn the_centre_of_what_was_surrounded_is_the_kernel() {
        for dims in 1..4 {
            let shape = [vec![4, 2], vec![3; dims]].concat();
            let kernel = Tensor::randn(&shape, (Kind::Float, Device::Cpu));
            let large = surround(&kernel, 7).unwrap();
            assert_eq!(large.size(), [vec![4, 2], vec![7; dims]].concat());
            assert_eq!(center(&large, 3), kernel);
            assert_eq!(large.count_nonzero(None::<i64>), kernel.count_nonzero(None::<i64>));
        }
    }

    #[test]
    fn every_kind_of_number_and_layout_is_surrounded_alike() {
        let kernel = Tensor::randn([4, 6, 3, 3], (Kind::Float, Device::Cpu));
        let padded = |kernel: &Tensor| kernel.constant_pad_nd([1, 1, 1, 1]);
        for kind in [Kind::Half, Kind::BFloat16, Kind::Double, Kind::Int] {
            let kernel = kernel.to_kind(kind);
            assert_eq!(surround(&kernel, 5).unwrap(), padded(&kernel));
        }
        for view in [kernel.transpose(0, 1), kernel.narrow(1, 2, 3), kernel.narrow(0, 1, 0)] {
            assert_eq!(surround(&view, 5).unwrap(), padded(&view));
        }
    }

    #[test]
    fn sizes_without_a_common_centre_are_refused() {
        let kernel = Tensor::zeros([1, 1, 5, 5], (Kind::Float, Device::Cpu));
        assert!(surround(&kernel, 8).is_err());
        assert_eq!(
            surround(&kernel, 3).unwrap_err().to_string(),
            "size 5 has no place at the centre of 3; the kernel is [1, 1, 5, 5]"
        );
    }
}
