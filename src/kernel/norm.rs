//! Batch norm in the passes that it needs: statistics; scale and shift on the way into what follows; gradients.
//!
//! Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1. The normalised numbers are never written: who reads them scales
//! and shifts as it reads (`Input`), and a weighted sum of several norms is one pass (`add_up`).

use super::band::BLOCK;
use super::buffer::Buffer;
use super::real::{LANES, Real, compiled, multiply_add, total};
use super::{Shape, by_channel, by_channel_mut, threads};

/// Sums of one or two products a number, over the pictures of a channel.
#[inline(always)]
fn reduce<T: Real>(pictures: &[&[T]], other: &[&[T]], pair: impl Fn(T, T) -> (T, T)) -> (f64, f64) {
    let mut sums = ([T::ZERO; LANES], [T::ZERO; LANES]);
    let (mut first, mut second) = (0.0, 0.0);
    for (a, b) in pictures.iter().zip(other) {
        let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        for (&p, &q) in a_blocks.remainder().iter().zip(b_blocks.remainder()) {
            let (x, y) = pair(p, q);
            first += x.wide();
            second += y.wide();
        }
        for (a, b) in a_blocks.zip(b_blocks) {
            for lane in 0..LANES {
                let (x, y) = pair(a[lane], b[lane]);
                sums.0[lane] += x;
                sums.1[lane] += y;
            }
        }
    }
    (first + total(sums.0).wide(), second + total(sums.1).wide())
}

#[inline(always)]
fn moments_body<T: Real, const FMA: bool>(pictures: &[&[T]]) -> (f64, f64) {
    let count = pictures.iter().map(|picture| picture.len()).sum::<usize>() as f64;
    let mean = reduce(pictures, pictures, |a, _| (a, T::ZERO)).0 / count;
    let centre = T::of(mean);
    // The first sum is of what rounding left of the mean.
    let (left, squares) = reduce(pictures, pictures, |a, _| {
        let d = a - centre;
        (d, d * d)
    });
    let rest = left / count;
    (centre.wide() + rest, squares / count - rest * rest)
}

#[inline(always)]
fn inner_body<T: Real, const FMA: bool>(
    gradient: &[&[T]],
    values: &[&[T]],
    centre: T,
    gate: Option<(T, T)>,
) -> (f64, f64) {
    match gate {
        None => reduce(gradient, values, |g, y| (g, g * (y - centre))),
        Some((scale, shift)) => reduce(gradient, values, |g, y| {
            let g = gated::<T, FMA>(g, y, scale, shift);
            (g, g * (y - centre))
        }),
    }
}

#[inline(always)]
fn gated<T: Real, const FMA: bool>(g: T, y: T, scale: T, shift: T) -> T {
    if multiply_add::<T, FMA>(scale, y, shift) <= T::ZERO { T::ZERO } else { g }
}

#[inline(always)]
fn mix_body<T: Real, const FMA: bool>(
    gradient: &[T],
    values: &[T],
    [of_gradient, of_value, constant]: [T; 3],
    gate: Option<(T, T)>,
    out: &mut [T],
) {
    let triples = out.iter_mut().zip(gradient).zip(values);
    match gate {
        None => {
            for ((out, &g), &y) in triples {
                *out = multiply_add::<T, FMA>(g, of_gradient, multiply_add::<T, FMA>(y, of_value, constant));
            }
        }
        Some((scale, shift)) => {
            for ((out, &g), &y) in triples {
                let g = gated::<T, FMA>(g, y, scale, shift);
                *out = multiply_add::<T, FMA>(g, of_gradient, multiply_add::<T, FMA>(y, of_value, constant));
            }
        }
    }
}

#[inline(always)]
fn sum_body<T: Real, const FMA: bool>(terms: &[(&[T], T)], constant: T, out: &mut [T]) {
    for (i, block) in out.chunks_mut(BLOCK).enumerate() {
        let mut sums = [constant; BLOCK];
        for (values, scale) in terms {
            let read = &values[i * BLOCK..i * BLOCK + block.len()];
            for (sum, &value) in sums.iter_mut().zip(read) {
                *sum = multiply_add::<T, FMA>(value, *scale, *sum);
            }
        }
        block.copy_from_slice(&sums[..block.len()]);
    }
}

compiled! {
    /// Mean and biased variance of a channel.
    fn moments<T>(pictures: &[&[T]]) -> (f64, f64) = moments_body;

    /// The sums of g and of g * (y - centre); g is 0 where the gate `scale * y + shift` is not positive.
    fn inner<T>(gradient: &[&[T]], values: &[&[T]], centre: T, gate: Option<(T, T)>) -> (f64, f64) = inner_body;

    /// `a * g + b * y + c`, with the same gate.
    fn mix<T>(gradient: &[T], values: &[T], factors: [T; 3], gate: Option<(T, T)>, out: &mut [T]) = mix_body;

    fn sum<T>(terms: &[(&[T], T)], constant: T, out: &mut [T]) = sum_body;
}

/// Means and biased variances of the channels of `(N, C, H, W)`.
pub(super) fn statistics<T: Real>(
    y: &[T],
    shape: Shape,
    mean: &mut [T],
    variance: &mut [T],
    n_threads: usize,
) {
    let channels = by_channel(y, shape).into_iter().zip(mean).zip(variance).collect();
    threads::each(n_threads, channels, |((pictures, mean), variance)| {
        let (centre, spread) = moments(&pictures);
        *mean = T::of(centre);
        *variance = T::of(spread);
    });
}

/// What a norm does to a channel: `scale * y + shift`, and what its gradients need.
pub(super) struct Affine<T> {
    pub(super) scale: Vec<T>,
    pub(super) shift: Vec<T>,
    mean: Vec<T>,
    inverse: Vec<f64>,
    gain: Vec<T>,
    of_batch: bool,
}

impl<T: Real> Affine<T> {
    pub(super) fn new(
        mean: &[T],
        variance: &[T],
        eps: f64,
        weight_bias: Option<(&[T], &[T])>,
        of_batch: bool,
    ) -> Self {
        let inverse: Vec<f64> = variance.iter().map(|v| (v.wide() + eps).sqrt().recip()).collect();
        let c = mean.len();
        let (gain, bias) = match weight_bias {
            Some((weight, bias)) => (weight.to_vec(), bias.to_vec()),
            None => (vec![T::ONE; c], vec![T::ZERO; c]),
        };
        let scale: Vec<T> = gain.iter().zip(&inverse).map(|(w, i)| T::of(w.wide() * i)).collect();
        let shift = (0..c).map(|i| T::of(bias[i].wide() - mean[i].wide() * scale[i].wide())).collect();
        Affine { scale, shift, mean: mean.to_vec(), inverse, gain, of_batch }
    }

    /// The gradient of what was normalised, given that of the normalised numbers times `factor`; and for each channel
    /// the gradients of scale and shift, without the factor.
    pub(super) fn backward(
        &self,
        gradient: &[T],
        y: &[T],
        shape: Shape,
        (factor, relu): (f64, bool),
        out: &mut [T],
        n_threads: usize,
    ) -> Vec<(f64, f64)> {
        let count = (shape.n * shape.plane()) as f64;
        let mut sums = vec![(0.0, 0.0); shape.c];
        let channels = by_channel(gradient, shape)
            .into_iter()
            .zip(by_channel(y, shape))
            .zip(by_channel_mut(out, shape))
            .zip(&mut sums)
            .enumerate()
            .collect();
        threads::each(n_threads, channels, |(c, (((gradient, values), mut out), sums))| {
            let gate = relu.then_some((self.scale[c], self.shift[c]));
            let inverse = self.inverse[c];
            let (total, product) = inner(&gradient, &values, self.mean[c], gate);
            *sums = (product * inverse, total);
            let slope = factor * self.gain[c].wide() * inverse;
            let mut factors = [slope, 0.0, 0.0];
            if self.of_batch {
                factors[1] = -slope * product * inverse * inverse / count;
                factors[2] = -slope * total / count - factors[1] * self.mean[c].wide();
            }
            for ((gradient, values), out) in gradient.iter().zip(&values).zip(out.iter_mut()) {
                mix(gradient, values, factors.map(T::of), gate, out);
            }
        });
        sums
    }
}

/// A term of a weighted sum: numbers `(N, C, H, W)` and, for each channel, what they are multiplied with and moved by.
pub(super) struct Term<'a, T> {
    pub(super) values: &'a [T],
    pub(super) scale: Vec<T>,
    pub(super) shift: Vec<T>,
}

/// The sum of all terms in one pass.
pub(super) fn add_up<T: Real>(terms: &[Term<T>], shape: Shape, out: &mut [T], n_threads: usize) {
    let planes = out.chunks_exact_mut(shape.plane().max(1)).enumerate().collect();
    threads::each(n_threads, planes, |(plane, out): (usize, &mut [T])| {
        let c = plane % shape.c;
        let range = plane * shape.plane()..(plane + 1) * shape.plane();
        let parts: Vec<(&[T], T)> =
            terms.iter().map(|term| (&term.values[range.clone()], term.scale[c])).collect();
        let constant = terms.iter().fold(T::ZERO, |sum, term| sum + term.shift[c]);
        sum(&parts, constant, out);
    });
}

/// The gradient of a ReLU's input: that of its output where `z > 0`; in place.
pub(super) fn gate<T: Real>(gradient: &mut [T], z: &[T]) {
    for (g, &z) in gradient.iter_mut().zip(z) {
        *g = if z <= T::ZERO { T::ZERO } else { *g };
    }
}

/// Numbers times a factor.
pub(super) fn times<T: Real>(values: &[T], factor: T) -> Buffer<T> {
    let mut out = Buffer::new(values.len());
    for (out, &value) in out.iter_mut().zip(values) {
        *out = value * factor;
    }
    out
}

#[inline(always)]
fn add_body<T: Real, const FMA: bool>(to: &mut [T], gradient: &[T], factor: T, gate: Option<&[T]>) {
    match gate {
        None => {
            for (to, &g) in to.iter_mut().zip(gradient) {
                *to = multiply_add::<T, FMA>(g, factor, *to);
            }
        }
        Some(z) => {
            for ((to, &g), &z) in to.iter_mut().zip(gradient).zip(z) {
                *to += if z <= T::ZERO { T::ZERO } else { g * factor };
            }
        }
    }
}

#[inline(always)]
fn dot_body<T: Real, const FMA: bool>(a: &[T], b: &[T]) -> f64 {
    reduce(&[a], &[b], |a, b| (a * b, T::ZERO)).0
}

compiled! {
    /// Adds a gradient times a factor, where the gate's number is positive.
    pub(super) fn add<T>(to: &mut [T], gradient: &[T], factor: T, gate: Option<&[T]>) = add_body;

    /// The sum of products.
    pub(super) fn dot<T>(a: &[T], b: &[T]) -> f64 = dot_body;
}
