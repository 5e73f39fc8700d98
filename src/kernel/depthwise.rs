//! Depthwise convolution: one small kernel a channel; with any stride, padding and dilation; and its gradients.
//!
//! Each channel is a line and each tap an offset in it (`band`), so the convolution is a few multiply-adds a number on
//! vectors held in registers, its gradient of the input the same with the offsets turned round, and its gradient of the
//! kernel one dot product a tap. torch's own kernels reach 1 to 3 billion operations a second on the last two.

use super::band::{BLOCK, Band, Window};
use super::buffer::Buffer;
use super::real::{Real, compiled, multiply_add, total};
use super::{Input, by_channel, by_channel_mut, threads};
use crate::error::Result;

#[inline(always)]
fn correlate_body<T: Real, const FMA: bool>(source: &[T], taps: &[(usize, T)], out: &mut [T]) {
    for (i, block) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut sums = [T::ZERO; BLOCK];
        for &(offset, weight) in taps {
            let read = &source[i * BLOCK + offset..][..BLOCK];
            for (sum, &value) in sums.iter_mut().zip(read) {
                *sum = multiply_add::<T, FMA>(value, weight, *sum);
            }
        }
        block.copy_from_slice(&sums);
    }
}

#[inline(always)]
fn products_body<T: Real, const FMA: bool>(source: &[T], offsets: &[usize], by: &[T], out: &mut [T]) {
    for (&offset, to) in offsets.iter().zip(out) {
        let line = &source[offset..][..by.len()];
        let (lines, factors) = (line.chunks_exact(BLOCK), by.chunks_exact(BLOCK));
        let mut rest = T::ZERO;
        for (&value, &factor) in lines.remainder().iter().zip(factors.remainder()) {
            rest = multiply_add::<T, FMA>(value, factor, rest);
        }
        let mut sums = [T::ZERO; BLOCK];
        for (line, factors) in lines.zip(factors) {
            for (sum, (&value, &factor)) in sums.iter_mut().zip(line.iter().zip(factors)) {
                *sum = multiply_add::<T, FMA>(value, factor, *sum);
            }
        }
        *to += rest + total(sums);
    }
}

compiled! {
    /// `out[i] = sum of weight * source[i + offset]`; lengths are multiples of [`BLOCK`].
    pub(super) fn correlate<T>(source: &[T], taps: &[(usize, T)], out: &mut [T]) = correlate_body;

    /// `out[k] += sum over i of source[i + offsets[k]] * by[i]`.
    fn products<T>(source: &[T], offsets: &[usize], by: &[T], out: &mut [T]) = products_body;
}

/// `(N, C, H, W)` and `(C, 1, kh, kw)` to `(N, C, h, w)`.
pub(super) fn forward<T: Real>(
    input: &Input<T>,
    window: Window,
    weight: &[T],
    out: &mut [T],
    n_threads: usize,
) -> Result<()> {
    let band = Band::new(input.shape, window)?;
    let offsets = band.offsets();
    let items = by_channel_mut(out, band.output).into_iter().enumerate().collect();
    threads::each(n_threads, items, |(c, mut pictures): (usize, Vec<&mut [T]>)| {
        let mut line = Buffer::filled(band.phases() * band.length(), T::ZERO);
        let mut sums = Buffer::new(band.span);
        input.load(&band, c, &mut line);
        let taps: Vec<(usize, T)> = offsets.iter().copied().zip(kernel(weight, c, &offsets)).collect();
        correlate(&line, &taps, &mut sums);
        for (n, picture) in pictures.iter_mut().enumerate() {
            band.outputs(&sums, n, picture);
        }
    });
    Ok(())
}

fn kernel<'a, T: Real>(weight: &'a [T], c: usize, taps: &[usize]) -> impl Iterator<Item = T> + 'a {
    weight[c * taps.len()..(c + 1) * taps.len()].iter().copied()
}

/// The gradient of the input, which may be wanted or not, and of the weight, likewise.
pub(super) fn backward<T: Real>(
    gradient: &[T],
    input: &Input<T>,
    window: Window,
    weight: &[T],
    of_input: Option<&mut [T]>,
    of_weight: Option<&mut [T]>,
    n_threads: usize,
) -> Result<()> {
    let band = Band::new(input.shape, window)?;
    let offsets = band.offsets();
    let gradients = by_channel(gradient, band.output);
    let (c, taps) = (input.shape.c, offsets.len());
    let mut of_inputs: Vec<Option<Vec<&mut [T]>>> = match of_input {
        Some(whole) => by_channel_mut(whole, input.shape).into_iter().map(Some).collect(),
        None => (0..c).map(|_| None).collect(),
    };
    let mut of_weights: Vec<Option<&mut [T]>> = match of_weight {
        Some(whole) => whole.chunks_exact_mut(taps).map(Some).collect(),
        None => (0..c).map(|_| None).collect(),
    };
    let items = (0..c).zip(of_inputs.drain(..)).zip(of_weights.drain(..)).collect();
    threads::each(n_threads, items, |((c, of_input), of_weight)| {
        let mut line = Buffer::filled(band.length(), T::ZERO);
        band.load_outputs(&gradients[c], &mut line);
        if let Some(of_weight) = of_weight {
            let mut read = Buffer::filled(band.phases() * band.length(), T::ZERO);
            input.load(&band, c, &mut read);
            of_weight.fill(T::ZERO);
            products(&read, &offsets, &line[band.margin..], of_weight);
        }
        let Some(mut pictures) = of_input else { return };
        let mut sums = Buffer::new(band.span);
        for phase in 0..band.phases() {
            let turned: Vec<(usize, T)> = band
                .taps
                .iter()
                .zip(kernel(weight, c, &offsets))
                .filter(|((of, _), _)| *of == phase)
                .map(|((_, offset), weight)| (band.margin - offset, weight))
                .collect();
            correlate(&line, &turned, &mut sums);
            for (n, picture) in pictures.iter_mut().enumerate() {
                band.unload(&sums, phase, n, picture);
            }
        }
    });
    Ok(())
}
