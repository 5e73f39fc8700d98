//! 1 x 1 convolution: a product of matrices a picture, by faer, which chooses its kernels by the processor.
//!
//! With a stride, or for the shifted half of a factorized reduction, the pixels that are read are copied out first.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::buffer::Buffer;
use super::real::Real;
use super::{Shape, threads};
use crate::error::{Error, Result};

/// Which pixels are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Pixels from a read one to the next.
    pub(super) stride: [usize; 2],
    /// The first read one.
    pub(super) offset: [usize; 2],
}

impl Grid {
    fn all(self) -> bool {
        self.stride == [1, 1] && self.offset == [0, 0]
    }

    /// The shape of what is read.
    pub(super) fn over(self, shape: Shape) -> Result<Shape> {
        let along = |axis: usize, size: usize| -> Option<usize> {
            let stride = (self.stride[axis] > 0).then_some(self.stride[axis])?;
            Some(size.checked_sub(self.offset[axis] + 1)? / stride + 1)
        };
        let (h, w) = along(0, shape.h).zip(along(1, shape.w)).ok_or_else(|| {
            Error::Tensor(format!("{self:?} has no pixel in pictures of {} x {}", shape.h, shape.w))
        })?;
        Ok(Shape { h, w, ..shape })
    }

    /// Calls `pair(place in the picture, place in what is read)` for every read pixel of a plane.
    #[inline(always)]
    fn pixels(self, shape: Shape, read: Shape, mut pair: impl FnMut(usize, usize)) {
        for y in 0..read.h {
            let row = (self.offset[0] + y * self.stride[0]) * shape.w + self.offset[1];
            for x in 0..read.w {
                pair(row + x * self.stride[1], y * read.w + x);
            }
        }
    }

    /// The pixels that are read, of all channels of one sample; None: the sample as it is.
    fn read<T: Real>(self, sample: &[T], shape: Shape, read: Shape) -> Option<Buffer<T>> {
        if self.all() {
            return None;
        }
        let mut pixels = Buffer::new(read.sample());
        for (plane, to) in sample.chunks_exact(shape.plane()).zip(pixels.chunks_exact_mut(read.plane())) {
            self.pixels(shape, read, |from, place| to[place] = plane[from]);
        }
        Some(pixels)
    }
}

/// Writes `(N, out, h, w)` to the channels from `first` on of `out`, which has `channels` of them.
pub(super) fn forward<T: Real>(
    x: &[T],
    shape: Shape,
    grid: Grid,
    weight: &[T],
    out: &mut [T],
    (first, channels): (usize, usize),
    n_threads: usize,
) -> Result<()> {
    let read = grid.over(shape)?;
    let made = weight.len() / shape.c;
    let items = x.chunks_exact(shape.sample()).zip(out.chunks_exact_mut(channels * read.plane())).collect();
    threads::each(n_threads, items, |(sample, out): (&[T], &mut [T])| {
        let copied = grid.read(sample, shape, read);
        let out = &mut out[first * read.plane()..(first + made) * read.plane()];
        let weight = MatRef::from_row_major_slice(weight, made, shape.c);
        let pixels = MatRef::from_row_major_slice(copied.as_deref().unwrap_or(sample), shape.c, read.plane());
        let out = MatMut::from_row_major_slice_mut(out, made, read.plane());
        matmul(out, Accum::Replace, weight, pixels, T::ONE, Par::Seq);
    });
    Ok(())
}

/// Adds the gradient of the input to `of_input`, and writes that of the weight; each may be wanted or not.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward<T: Real>(
    gradient: &[T],
    (first, channels): (usize, usize),
    x: &[T],
    shape: Shape,
    grid: Grid,
    weight: &[T],
    of_input: Option<&mut [T]>,
    of_weight: Option<&mut [T]>,
    n_threads: usize,
) -> Result<()> {
    let read = grid.over(shape)?;
    let made = weight.len() / shape.c;
    let part = |sample: usize| {
        let start = (sample * channels + first) * read.plane();
        MatRef::from_row_major_slice(&gradient[start..start + made * read.plane()], made, read.plane())
    };
    if let Some(of_input) = of_input {
        let items = of_input.chunks_exact_mut(shape.sample()).enumerate().collect();
        threads::each(n_threads, items, |(n, of_input): (usize, &mut [T])| {
            let weight = MatRef::from_row_major_slice(weight, made, shape.c).transpose();
            if grid.all() {
                let of_input = MatMut::from_row_major_slice_mut(of_input, shape.c, read.plane());
                matmul(of_input, Accum::Add, weight, part(n), T::ONE, Par::Seq);
                return;
            }
            let mut pixels = Buffer::new(read.sample());
            let to = MatMut::from_row_major_slice_mut(&mut pixels, shape.c, read.plane());
            matmul(to, Accum::Replace, weight, part(n), T::ONE, Par::Seq);
            for (plane, from) in
                of_input.chunks_exact_mut(shape.plane()).zip(pixels.chunks_exact(read.plane()))
            {
                grid.pixels(shape, read, |to, place| plane[to] += from[place]);
            }
        });
    }
    let Some(of_weight) = of_weight else { return Ok(()) };
    of_weight.fill(T::ZERO);
    let copied: Vec<Option<Buffer<T>>> =
        x.chunks_exact(shape.sample()).map(|sample| grid.read(sample, shape, read)).collect();
    let rows_at_once = made.div_ceil(n_threads.max(1));
    let blocks = of_weight.chunks_mut((rows_at_once * shape.c).max(1)).enumerate().collect();
    threads::each(n_threads, blocks, |(block, of_weight): (usize, &mut [T])| {
        let (start, rows) = (block * rows_at_once, of_weight.len() / shape.c);
        let mut of_weight = MatMut::from_row_major_slice_mut(of_weight, rows, shape.c);
        for (n, (sample, copied)) in x.chunks_exact(shape.sample()).zip(&copied).enumerate() {
            let pixels = copied.as_deref().unwrap_or(sample);
            let pixels = MatRef::from_row_major_slice(pixels, shape.c, read.plane()).transpose();
            matmul(&mut of_weight, Accum::Add, part(n).subrows(start, rows), pixels, T::ONE, Par::Seq);
        }
    });
    Ok(())
}
