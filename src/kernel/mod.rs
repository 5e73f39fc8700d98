//! Kernels for a processor: what a mixed op of small convolutions, pools and norms computes, forward and backward.
//!
//! Pure functions of slices; no torch. `edge` runs all candidates of a mixed op as one program over the kernels, one
//! file each: `depthwise` and `pool` on the layout of `band`, `pointwise` on matrix products, `norm`; `merge` adds up kernels
//! of convolutions. `real` compiles
//! a function for several kinds of processor and takes the best; `threads` are those that the caller has. Pictures are
//! `(N, C, H, W)`, contiguous.

#![expect(
    clippy::inline_always,
    reason = "a loop is compiled for a kind of processor only inside of the function that is"
)]

mod band;
mod buffer;
mod depthwise;
pub mod edge;
mod merge;
mod norm;
mod pointwise;
mod pool;
mod real;
mod threads;

pub use band::Window;
pub use merge::{Layout, Merge};
pub use real::Real;

use band::Pixel;
use buffer::Buffer;
use norm::Affine;

/// The shape `(N, C, H, W)` of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Samples.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
}

impl Shape {
    /// Numbers of one channel of one sample.
    #[must_use]
    pub fn plane(self) -> usize {
        self.h * self.w
    }

    /// Numbers of one sample.
    #[must_use]
    pub fn sample(self) -> usize {
        self.c * self.plane()
    }

    /// All numbers.
    #[must_use]
    pub fn count(self) -> usize {
        self.n * self.sample()
    }
}

/// What a stage reads: numbers, scaled and shifted by the norm before it, and what is positive of them.
struct Input<'a, T> {
    values: &'a [T],
    shape: Shape,
    affine: Option<&'a Affine<T>>,
    relu: bool,
}

impl<'a, T: Real> Input<'a, T> {
    fn plain(values: &'a [T], shape: Shape) -> Self {
        Input { values, shape, affine: None, relu: false }
    }

    /// Puts the pictures of channel `c` in a line.
    fn load(&self, band: &band::Band, c: usize, line: &mut [T]) {
        let plane = self.shape.plane();
        let pictures: Vec<&[T]> =
            (0..self.shape.n).map(|n| &self.values[(n * self.shape.c + c) * plane..][..plane]).collect();
        band.load(&pictures, line, self.pixel(c));
    }

    /// What is done to a pixel of channel `c`.
    fn pixel(&self, c: usize) -> Pixel<T> {
        let (scale, shift) = self.affine.map_or((T::ONE, T::ZERO), |a| (a.scale[c], a.shift[c]));
        Pixel { scale, shift, floor: if self.relu { T::ZERO } else { T::LOWEST } }
    }

    /// The numbers themselves, where they are not those that lie there.
    fn written(&self) -> Option<Buffer<T>> {
        if self.affine.is_none() && !self.relu {
            return None;
        }
        let mut out = Buffer::new(self.values.len());
        let plane = self.shape.plane().max(1);
        let planes = self.values.chunks_exact(plane).zip(out.chunks_exact_mut(plane));
        for (i, (from, to)) in planes.enumerate() {
            let pixel = self.pixel(i % self.shape.c);
            for (to, &value) in to.iter_mut().zip(from) {
                *to = pixel.of(value);
            }
        }
        Some(out)
    }
}

/// The planes of each channel.
fn by_channel<T>(numbers: &[T], shape: Shape) -> Vec<Vec<&[T]>> {
    let mut channels: Vec<Vec<&[T]>> = (0..shape.c).map(|_| Vec::with_capacity(shape.n)).collect();
    for (i, plane) in numbers.chunks_exact(shape.plane().max(1)).enumerate() {
        channels[i % shape.c].push(plane);
    }
    channels
}

/// The planes of each channel, to be written.
fn by_channel_mut<T>(numbers: &mut [T], shape: Shape) -> Vec<Vec<&mut [T]>> {
    let mut channels: Vec<Vec<&mut [T]>> = (0..shape.c).map(|_| Vec::with_capacity(shape.n)).collect();
    for (i, plane) in numbers.chunks_exact_mut(shape.plane().max(1)).enumerate() {
        channels[i % shape.c].push(plane);
    }
    channels
}
