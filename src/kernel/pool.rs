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
fn best_body<T: Real, const FMA: bool>(source: &[T], offsets: &[usize], out: &mut [T]) {
    for (i, block) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut best = [T::LOWEST; BLOCK];
        for &offset in offsets {
            for (best, &value) in best.iter_mut().zip(&source[i * BLOCK + offset..][..BLOCK]) {
                *best = if value <= *best { *best } else { value }; // not a number wins, as in torch
            }
        }
        block.copy_from_slice(&best);
    }
}

#[inline(always)]
fn winners_body<T: Real, const FMA: bool>(source: &[T], offsets: &[usize], out: &mut [T]) {
    for (i, block) in out.chunks_exact_mut(BLOCK).enumerate() {
        let (mut best, mut which) = ([T::LOWEST; BLOCK], [T::ZERO; BLOCK]);
        let mut tap = T::ZERO;
        for &offset in offsets {
            let read = &source[i * BLOCK + offset..][..BLOCK];
            for lane in 0..BLOCK {
                let keeps = read[lane] <= best[lane];
                best[lane] = if keeps { best[lane] } else { read[lane] };
                which[lane] = if keeps { which[lane] } else { tap };
            }
            tap += T::ONE;
        }
        block.copy_from_slice(&which);
    }
}

#[inline(always)]
fn won_body<T: Real, const FMA: bool>(gradient: &[T], winners: &[T], taps: &[(usize, T)], out: &mut [T]) {
    for (i, block) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut sums = [T::ZERO; BLOCK];
        for &(offset, tap) in taps {
            let values = &gradient[i * BLOCK + offset..][..BLOCK];
            let which = &winners[i * BLOCK + offset..][..BLOCK];
            for lane in 0..BLOCK {
                sums[lane] += if which[lane] == tap { values[lane] } else { T::ZERO };
            }
        }
        block.copy_from_slice(&sums);
    }
}

#[inline(always)]
fn scale_body<T: Real, const FMA: bool>(line: &mut [T], by: &[T]) {
    for (value, &factor) in line.iter_mut().zip(by) {
        *value *= factor;
    }
}

compiled! {
    /// The largest of the taps.
    fn best<T>(source: &[T], offsets: &[usize], out: &mut [T]) = best_body;

    /// The number of the first tap that has the largest.
    fn winners<T>(source: &[T], offsets: &[usize], out: &mut [T]) = winners_body;

    /// The sum of the gradients at all offsets whose tap won there.
    fn won<T>(gradient: &[T], winners: &[T], taps: &[(usize, T)], out: &mut [T]) = won_body;

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
            Kind::Max => best(&line, &offsets, &mut values),
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
        let mut winner = Buffer::filled(if kind == Kind::Max { band.length() } else { 0 }, T::ZERO);
        match kind {
            Kind::Max => {
                let mut read = Buffer::filled(band.phases() * band.length(), fill(kind));
                input.load(&band, c, &mut read);
                winners(&read, &offsets, &mut winner[band.margin..]);
            }
            Kind::Average { .. } => scale(&mut line[band.margin..], &shares),
        }
        let mut sums = Buffer::new(band.span);
        for phase in 0..band.phases() {
            let taps = band.taps.iter().enumerate().filter(|(_, (of, _))| *of == phase);
            let turned = taps.map(|(tap, (_, offset))| (band.margin - offset, T::of(tap as f64)));
            match kind {
                Kind::Max => won(&line, &winner, &turned.collect::<Vec<_>>(), &mut sums),
                Kind::Average { .. } => {
                    let ones: Vec<(usize, T)> = turned.map(|(offset, _)| (offset, T::ONE)).collect();
                    correlate(&line, &ones, &mut sums);
                }
            }
            for (n, picture) in pictures.iter_mut().enumerate() {
                band.unload(&sums, phase, n, picture);
            }
        }
    });
    Ok(())
}
