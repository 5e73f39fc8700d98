//! Maximum and average over windows, and their gradients.
//!
//! The maximum's gradient goes to the first of equal numbers, as torch does; which one that was is found again in the
//! backward pass, at the price of one more forward, and nothing is kept. torch's kernels for `(N, C, H, W)` make no use
//! of vectors.

use super::band::{BLOCK, Band, Window};
use super::buffer::Buffer;
use super::depthwise::correlate;
use super::real::{Real, compiled};
use super::{Input, by_channel, by_channel_mut, threads};
use crate::error::Result;

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The largest number.
    Max,
    /// The mean; of the padding too, or not.
    Average {
        /// Whether the padding counts.
        count_padding: bool,
    },
}

#[inline(always)]
fn best_body<T: Real, const FMA: bool>(source: &[T], offsets: &[usize], out: &mut [T], winner: &mut [T]) {
    for (i, (block, winner)) in out.chunks_exact_mut(BLOCK).zip(winner.chunks_exact_mut(BLOCK)).enumerate() {
        let (mut best, mut which) = ([T::LOWEST; BLOCK], [T::ZERO; BLOCK]);
        let mut tap = T::ZERO;
        for &offset in offsets {
            let read = &source[i * BLOCK + offset..][..BLOCK];
            for lane in 0..BLOCK {
                let better = !(read[lane] <= best[lane]); // not a number wins, as in torch
                best[lane] = if better { read[lane] } else { best[lane] };
                which[lane] = if better { tap } else { which[lane] };
            }
            tap += T::ONE;
        }
        block.copy_from_slice(&best);
        winner.copy_from_slice(&which);
    }
}

#[inline(always)]
fn give_body<T: Real, const FMA: bool>(gradient: &[T], winner: &[T], tap: T, to: &mut [T]) {
    for ((place, &value), &which) in to.iter_mut().zip(gradient).zip(winner) {
        *place += if which == tap { value } else { T::ZERO };
    }
}

#[inline(always)]
fn scale_body<T: Real, const FMA: bool>(line: &mut [T], by: &[T]) {
    for (value, &factor) in line.iter_mut().zip(by) {
        *value = *value * factor;
    }
}

compiled! {
    /// The largest of the taps, and the number of the first tap that has it.
    fn best<T>(source: &[T], offsets: &[usize], out: &mut [T], winner: &mut [T]) = best_body;

    /// Adds the gradient where `tap` won.
    fn give<T>(gradient: &[T], winner: &[T], tap: T, to: &mut [T]) = give_body;

    fn scale<T>(line: &mut [T], by: &[T]) = scale_body;
}

/// `(N, C, H, W)` to `(N, C, h, w)`.
pub(super) fn forward<T: Real>(
    kind: Kind,
    input: &Input<T>,
    window: Window,
    out: &mut [T],
    n_threads: usize,
) -> Result<()> {
    let band = Band::new(input.shape, window)?;
    let offsets = band.offsets();
    let shares: Vec<T> = shares(kind, &band);
    let ones: Vec<(usize, T)> = offsets.iter().map(|&offset| (offset, T::ONE)).collect();
    let items = by_channel_mut(out, band.output).into_iter().enumerate().collect();
    threads::each(n_threads, items, |(c, mut pictures): (usize, Vec<&mut [T]>)| {
        let mut line = Buffer::filled(band.phases() * band.length(), fill(kind));
        let mut values = Buffer::new(band.span);
        input.load(&band, c, &mut line);
        match kind {
            Kind::Max => best(&line, &offsets, &mut values, &mut Buffer::new(band.span)),
            Kind::Average { .. } => {
                correlate(&line, &ones, &mut values);
                scale(&mut values, &shares);
            }
        }
        for (n, picture) in pictures.iter_mut().enumerate() {
            band.outputs(&values, n, picture);
        }
    });
    Ok(())
}

fn fill<T: Real>(kind: Kind) -> T {
    if kind == Kind::Max { T::LOWEST } else { T::ZERO }
}

fn shares<T: Real>(kind: Kind, band: &Band) -> Vec<T> {
    match kind {
        Kind::Max => Vec::new(),
        Kind::Average { count_padding } => band.shares(count_padding),
    }
}

/// The gradient of the input.
pub(super) fn backward<T: Real>(
    kind: Kind,
    gradient: &[T],
    input: &Input<T>,
    window: Window,
    of_input: &mut [T],
    n_threads: usize,
) -> Result<()> {
    let band = Band::new(input.shape, window)?;
    let offsets = band.offsets();
    let shares: Vec<T> = shares(kind, &band);
    let gradients = by_channel(gradient, band.output);
    let items = by_channel_mut(of_input, input.shape).into_iter().enumerate().collect();
    threads::each(n_threads, items, |(c, mut pictures): (usize, Vec<&mut [T]>)| {
        let mut line = Buffer::filled(band.length(), T::ZERO);
        band.load_outputs(&gradients[c], &mut line);
        match kind {
            Kind::Max => {
                let mut read = Buffer::filled(band.phases() * band.length(), fill(kind));
                let (mut values, mut winner) = (Buffer::new(band.span), Buffer::new(band.span));
                input.load(&band, c, &mut read);
                best(&read, &offsets, &mut values, &mut winner);
                read.fill(T::ZERO);
                for (tap, &offset) in offsets.iter().enumerate() {
                    let to = &mut read[offset..offset + band.span];
                    give(&line[band.margin..], &winner, T::of(tap as f64), to);
                }
                for (phase, line) in read.chunks_exact(band.length()).enumerate() {
                    for (n, picture) in pictures.iter_mut().enumerate() {
                        band.unload(line, phase, n, picture, |place, value| *place = value);
                    }
                }
            }
            Kind::Average { .. } => {
                scale(&mut line[band.margin..], &shares);
                let mut sums = Buffer::new(band.span);
                for phase in 0..band.phases() {
                    let of_phase = band.taps.iter().filter(|(of, _)| *of == phase);
                    let turned: Vec<(usize, T)> =
                        of_phase.map(|(_, offset)| (band.margin - offset, T::ONE)).collect();
                    correlate(&line, &turned, &mut sums);
                    for (n, picture) in pictures.iter_mut().enumerate() {
                        band.unload(&sums, phase, n, picture, |place, value| *place = value);
                    }
                }
            }
        }
    });
    Ok(())
}
