//! Kernels of convolutions added up: each times a factor, in the centre of the largest and with its dilation, and the
//! gradients of that.
//!
//! A kernel of many channels is read and written once each way, which is all that a sum of kernels costs; torch's
//! operators write every product and every padded kernel down. Kernels are `(outputs, inputs, taps)`, contiguous.

use super::real::{LANES, Real, compiled, multiply_add, total};
use super::{Buffer, threads};
use crate::error::{Error, Result};

/// Rows of taps that are worked on at once; what they are of a kernel of 7 x 7 stays in a processor's first cache.
const ROWS: usize = 64;

/// Where the taps of several kernels lie in their sum.
#[derive(Debug)]
pub struct Merge {
    taps: usize,
    places: Vec<Places>,
    layout: Layout,
}

/// The place of every tap of a kernel, in order.
#[derive(Debug)]
struct Places {
    taps: Vec<usize>,
    /// Successive taps that lie one after the other.
    run: usize,
}

impl Places {
    fn len(&self) -> usize {
        self.taps.len()
    }
}

/// How a sum of kernels lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `(outputs, inputs, taps)`, as its summands.
    InputsFirst,
    /// `(outputs, taps, inputs)`, of so many inputs: a tap is a matrix.
    TapsFirst {
        /// Inputs of an output.
        inputs: usize,
    },
}

/// The rows of taps from a first one on, all of one output where taps come first.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    rows: usize,
}

impl Merge {
    /// Kernels of these sizes and dilations in the centre of an extent.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a kernel that has no centre there.
    pub fn new(extent: &[usize], sizes: &[&[usize]], steps: &[&[usize]], layout: Layout) -> Result<Self> {
        let places = sizes
            .iter()
            .zip(steps)
            .map(|(size, step)| places(extent, size, step))
            .collect::<Option<Vec<_>>>()
            .filter(|places| places.len() == sizes.len() && sizes.len() == steps.len());
        let Some(places) = places else {
            return Err(Error::Tensor(format!(
                "kernels of {sizes:?} with dilations {steps:?} have no place in {extent:?}"
            )));
        };
        Ok(Merge { taps: extent.iter().product(), places, layout })
    }

    /// The rows of a sum, if everything has as many.
    fn rows<T>(&self, sum: &[T], factors: &[T], kernels: &[&[T]]) -> Result<usize> {
        let rows = sum.len() / self.taps.max(1);
        let whole = match self.layout {
            Layout::InputsFirst => true,
            Layout::TapsFirst { inputs } => rows.is_multiple_of(inputs),
        };
        let fits = whole
            && rows * self.taps == sum.len()
            && self.places.len() == kernels.len()
            && kernels.len() == factors.len()
            && kernels.iter().zip(&self.places).all(|(kernel, places)| kernel.len() == rows * places.len());
        if fits { Ok(rows) } else { Err(Error::Tensor("kernels and their sum are of other sizes".into())) }
    }

    /// Rows that are worked on together, in order.
    fn blocks(&self, rows: usize) -> Vec<Block> {
        let output = match self.layout {
            Layout::InputsFirst => rows,
            Layout::TapsFirst { inputs } => inputs,
        };
        let starts = (0..rows).step_by(output.max(1));
        let within = move |start| {
            let end = start + output;
            (start..end).step_by(ROWS).map(move |first| Block { first, rows: ROWS.min(end - first) })
        };
        starts.flat_map(within).collect()
    }

    /// The sum of the kernels times their factors.
    ///
    /// # Errors
    /// [`Error::Tensor`] if sizes disagree.
    pub fn forward<T: Real>(
        &self,
        factors: &[T],
        kernels: &[&[T]],
        out: &mut [T],
        threads: usize,
    ) -> Result<()> {
        let rows = self.rows(out, factors, kernels)?;
        match self.layout {
            Layout::InputsFirst => {
                let blocks = self.blocks(rows).into_iter().zip(out.chunks_mut(ROWS * self.taps.max(1)));
                threads::each(threads, blocks.collect(), |(block, out): (Block, &mut [T])| {
                    self.sum(block, factors, kernels, out);
                });
            }
            Layout::TapsFirst { inputs } => {
                let outputs = out.chunks_mut((inputs * self.taps).max(1)).enumerate().collect();
                threads::each(threads, outputs, |(output, out): (usize, &mut [T])| {
                    let mut sum = Buffer::new(ROWS * self.taps);
                    for start in (0..inputs).step_by(ROWS) {
                        let block = Block { first: output * inputs + start, rows: ROWS.min(inputs - start) };
                        let sum = &mut sum[..block.rows * self.taps];
                        self.sum(block, factors, kernels, sum);
                        turn(sum, self.taps, &mut out[start..], inputs);
                    }
                });
            }
        }
        Ok(())
    }

    /// The sum of a block.
    fn sum<T: Real>(&self, block: Block, factors: &[T], kernels: &[&[T]], out: &mut [T]) {
        let part = |i: usize| {
            let taps = self.places[i].len();
            &kernels[i][block.first * taps..][..block.rows * taps]
        };
        let whole = self.places.iter().position(|places| places.len() == self.taps);
        match whole {
            Some(i) => scale(part(i), factors[i], out),
            None => out.fill(T::ZERO),
        }
        for (i, places) in self.places.iter().enumerate().filter(|&(i, _)| whole != Some(i)) {
            if places.len() == self.taps {
                add(part(i), factors[i], out);
            } else {
                scatter(part(i), places, factors[i], self.taps, out);
            }
        }
    }

    /// Writes the gradients of kernels and factors, those that are wanted, of a gradient of the sum.
    ///
    /// # Errors
    /// [`Error::Tensor`] if sizes disagree.
    pub fn backward<T: Real>(
        &self,
        gradient: &[T],
        factors: &[T],
        kernels: &[&[T]],
        of_kernels: Vec<Option<&mut [T]>>,
        of_factors: Option<&mut [T]>,
        threads: usize,
    ) -> Result<()> {
        let blocks = self.blocks(self.rows(gradient, factors, kernels)?);
        let fits = |(into, kernel): (&Option<&mut [T]>, &&[T])| {
            into.as_ref().is_none_or(|into| into.len() == kernel.len())
        };
        if of_kernels.len() != kernels.len() || !of_kernels.iter().zip(kernels).all(fits) {
            return Err(Error::Tensor("a gradient is not as large as its kernel".into()));
        }
        let dots = of_factors.is_some();
        let mut left = of_kernels;
        let work: Vec<_> = blocks
            .into_iter()
            .map(|block| {
                let parts: Vec<Option<&mut [T]>> = left
                    .iter_mut()
                    .zip(&self.places)
                    .map(|(left, places)| {
                        let (part, rest) = left.take()?.split_at_mut(block.rows * places.len());
                        *left = Some(rest);
                        Some(part)
                    })
                    .collect();
                // A sum a block, so that their total depends on no number of threads.
                (block, parts, vec![0.0_f64; kernels.len()])
            })
            .collect();
        let mut sums = vec![Vec::new(); work.len()];
        let work = work.into_iter().zip(&mut sums).collect();
        threads::each(threads, work, |((block, parts, mut dot_of), sums)| {
            let mut turned;
            let gradient = match self.layout {
                Layout::InputsFirst => &gradient[block.first * self.taps..][..block.rows * self.taps],
                Layout::TapsFirst { inputs } => {
                    turned = Buffer::new(block.rows * self.taps);
                    let output = block.first / inputs * inputs;
                    turn_back(
                        &gradient[output * self.taps + block.first - output..],
                        inputs,
                        self.taps,
                        &mut turned,
                    );
                    &turned
                }
            };
            for (i, (into, places)) in parts.into_iter().zip(&self.places).enumerate() {
                let mut gathered;
                let read = if places.len() == self.taps {
                    gradient
                } else {
                    gathered = Buffer::new(block.rows * places.len());
                    gather(gradient, places, self.taps, &mut gathered);
                    &gathered
                };
                let kernel = &kernels[i][block.first * places.len()..][..block.rows * places.len()];
                dot_of[i] = match into {
                    Some(into) if dots => scale_and_dot(read, factors[i], into, kernel).wide(),
                    Some(into) => {
                        scale(read, factors[i], into);
                        0.0
                    }
                    None if dots => dot(read, kernel).wide(),
                    None => 0.0,
                };
            }
            *sums = dot_of;
        });
        if let Some(of_factors) = of_factors {
            for (i, to) in of_factors.iter_mut().enumerate() {
                *to = T::of(sums.iter().map(|of_block| of_block[i]).sum());
            }
        }
        Ok(())
    }
}

/// None if there is no centre.
fn places(extent: &[usize], size: &[usize], step: &[usize]) -> Option<Places> {
    if extent.len() != size.len() || size.len() != step.len() {
        return None;
    }
    let mut taps = vec![0];
    for ((&extent, &size), &step) in extent.iter().zip(size).zip(step) {
        let margin = extent.checked_sub(step * size.checked_sub(1)? + 1)?;
        if margin % 2 == 1 {
            return None;
        }
        let along = |place: usize| (0..size).map(move |tap| place * extent + margin / 2 + tap * step);
        taps = taps.into_iter().flat_map(along).collect();
    }
    let run = if step.last() == Some(&1) { *size.last()? } else { 1 };
    Some(Places { taps, run })
}

#[inline(always)]
fn scale_body<T: Real, const FMA: bool>(from: &[T], factor: T, to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from * factor;
    }
}

#[inline(always)]
fn add_body<T: Real, const FMA: bool>(from: &[T], factor: T, to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = multiply_add::<T, FMA>(from, factor, *to);
    }
}

#[inline(always)]
fn scatter_body<T: Real, const FMA: bool>(from: &[T], places: &Places, factor: T, taps: usize, to: &mut [T]) {
    match places.run {
        3 => scatter_runs::<T, FMA, 3>(from, places, factor, taps, to),
        5 => scatter_runs::<T, FMA, 5>(from, places, factor, taps, to),
        7 => scatter_runs::<T, FMA, 7>(from, places, factor, taps, to),
        _ => {
            for (to, from) in to.chunks_exact_mut(taps).zip(from.chunks_exact(places.len())) {
                for (&place, &from) in places.taps.iter().zip(from) {
                    to[place] = multiply_add::<T, FMA>(from, factor, to[place]);
                }
            }
        }
    }
}

/// Runs of a length that is known when this is compiled.
#[inline(always)]
fn scatter_runs<T: Real, const FMA: bool, const RUN: usize>(
    from: &[T],
    places: &Places,
    factor: T,
    taps: usize,
    to: &mut [T],
) {
    for (to, from) in to.chunks_exact_mut(taps).zip(from.chunks_exact(places.len())) {
        for (&place, from) in places.taps.iter().step_by(RUN).zip(from.chunks_exact(RUN)) {
            for (to, &from) in to[place..place + RUN].iter_mut().zip(from) {
                *to = multiply_add::<T, FMA>(from, factor, *to);
            }
        }
    }
}

#[inline(always)]
fn gather_body<T: Real, const FMA: bool>(from: &[T], places: &Places, taps: usize, to: &mut [T]) {
    match places.run {
        3 => gather_runs::<T, 3>(from, places, taps, to),
        5 => gather_runs::<T, 5>(from, places, taps, to),
        7 => gather_runs::<T, 7>(from, places, taps, to),
        _ => {
            for (from, to) in from.chunks_exact(taps).zip(to.chunks_exact_mut(places.len())) {
                for (&place, to) in places.taps.iter().zip(to) {
                    *to = from[place];
                }
            }
        }
    }
}

#[inline(always)]
fn gather_runs<T: Real, const RUN: usize>(from: &[T], places: &Places, taps: usize, to: &mut [T]) {
    for (from, to) in from.chunks_exact(taps).zip(to.chunks_exact_mut(places.len())) {
        for (&place, to) in places.taps.iter().step_by(RUN).zip(to.chunks_exact_mut(RUN)) {
            to.copy_from_slice(&from[place..place + RUN]);
        }
    }
}

/// `(rows, taps)` as the first rows of each tap of `(taps, stride)`.
#[inline(always)]
fn turn_body<T: Real, const FMA: bool>(from: &[T], taps: usize, to: &mut [T], stride: usize) {
    for tap in 0..taps {
        let rows = from[tap..].iter().step_by(taps);
        for (to, &from) in to[tap * stride..].iter_mut().zip(rows) {
            *to = from;
        }
    }
}

/// The reverse.
#[inline(always)]
fn turn_back_body<T: Real, const FMA: bool>(from: &[T], stride: usize, taps: usize, to: &mut [T]) {
    for tap in 0..taps {
        let rows = to[tap..].iter_mut().step_by(taps);
        for (to, &from) in rows.zip(&from[tap * stride..]) {
            *to = from;
        }
    }
}

#[inline(always)]
fn dot_body<T: Real, const FMA: bool>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (blocks, rest) = (a.chunks_exact(LANES).zip(b.chunks_exact(LANES)), a.len() / LANES * LANES);
    for (a, b) in blocks {
        for lane in 0..LANES {
            lanes[lane] = multiply_add::<T, FMA>(a[lane], b[lane], lanes[lane]);
        }
    }
    let tail = a[rest..].iter().zip(&b[rest..]).fold(T::ZERO, |sum, (&a, &b)| sum + a * b);
    total(lanes) + tail
}

#[inline(always)]
fn scale_and_dot_body<T: Real, const FMA: bool>(from: &[T], factor: T, to: &mut [T], other: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let rest = from.len() / LANES * LANES;
    let blocks = from.chunks_exact(LANES).zip(other.chunks_exact(LANES)).zip(to.chunks_exact_mut(LANES));
    for ((from, other), to) in blocks {
        for lane in 0..LANES {
            to[lane] = from[lane] * factor;
            lanes[lane] = multiply_add::<T, FMA>(from[lane], other[lane], lanes[lane]);
        }
    }
    scale_body::<T, FMA>(&from[rest..], factor, &mut to[rest..]);
    let tail = from[rest..].iter().zip(&other[rest..]).fold(T::ZERO, |sum, (&a, &b)| sum + a * b);
    total(lanes) + tail
}

compiled! {
    fn scale_and_dot<T>(from: &[T], factor: T, to: &mut [T], other: &[T]) -> T = scale_and_dot_body;
    fn scale<T>(from: &[T], factor: T, to: &mut [T]) = scale_body;
    fn add<T>(from: &[T], factor: T, to: &mut [T]) = add_body;
    fn scatter<T>(from: &[T], places: &Places, factor: T, taps: usize, to: &mut [T]) = scatter_body;
    fn gather<T>(from: &[T], places: &Places, taps: usize, to: &mut [T]) = gather_body;
    fn turn<T>(from: &[T], taps: usize, to: &mut [T], stride: usize) = turn_body;
    fn turn_back<T>(from: &[T], stride: usize, taps: usize, to: &mut [T]) = turn_back_body;
    fn dot<T>(a: &[T], b: &[T]) -> T = dot_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [&[usize]; 4] = [&[3, 3], &[5, 5], &[7, 7], &[1, 1]];
    const STEPS: [&[usize]; 4] = [&[2, 2], &[1, 1], &[1, 1], &[1, 1]];

    fn numbers(len: usize, seed: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 37 + seed * 101) % 113) as f64 / 56.0 - 1.0).collect()
    }

    #[test]
    fn every_tap_is_where_it_reads_the_same() {
        let merge = Merge::new(&[7, 7], &SIZES, &STEPS, Layout::InputsFirst).unwrap();
        let rows = ROWS + 3;
        let kernels: Vec<Vec<f64>> =
            SIZES.iter().enumerate().map(|(i, size)| numbers(rows * size[0] * size[1], i)).collect();
        let kernels: Vec<&[f64]> = kernels.iter().map(Vec::as_slice).collect();
        let factors = [0.5, -1.5, 2.0, 0.25];
        for threads in [1, 2] {
            let mut out = vec![9.0; rows * 49];
            merge.forward(&factors, &kernels, &mut out, threads).unwrap();
            for row in 0..rows {
                for (y, x) in (0..7).flat_map(|y| (0..7).map(move |x| (y, x))) {
                    let mut expected = 2.0 * kernels[2][row * 49 + y * 7 + x];
                    if (1..6).contains(&y) && (1..6).contains(&x) {
                        expected -= 1.5 * kernels[1][row * 25 + (y - 1) * 5 + x - 1];
                        if y % 2 == 1 && x % 2 == 1 {
                            expected += 0.5 * kernels[0][row * 9 + (y - 1) / 2 * 3 + (x - 1) / 2];
                        }
                    }
                    if (y, x) == (3, 3) {
                        expected += 0.25 * kernels[3][row];
                    }
                    assert!((out[row * 49 + y * 7 + x] - expected).abs() < 1e-12);
                }
            }
        }
    }

    /// The sum is linear, so its gradients are its transpose: <gradient, sum(kernels)> both ways.
    #[test]
    fn gradients_are_the_transpose() {
        let merge = Merge::new(&[7, 7], &SIZES, &STEPS, Layout::InputsFirst).unwrap();
        let rows = 2 * ROWS + 1;
        let kernels: Vec<Vec<f64>> =
            SIZES.iter().enumerate().map(|(i, size)| numbers(rows * size[0] * size[1], i)).collect();
        let kernels: Vec<&[f64]> = kernels.iter().map(Vec::as_slice).collect();
        let (factors, gradient) = ([0.5, -1.5, 2.0, 0.25], numbers(rows * 49, 9));
        for threads in [1, 2] {
            let mut made: Vec<Vec<f64>> = kernels.iter().map(|kernel| vec![7.0; kernel.len()]).collect();
            let mut of_factors = [0.0; 4];
            let into = made.iter_mut().map(|made| Some(made.as_mut_slice())).collect();
            merge.backward(&gradient, &factors, &kernels, into, Some(&mut of_factors), threads).unwrap();
            for i in 0..4 {
                let mut alone = [0.0; 4];
                alone[i] = 1.0;
                let mut out = vec![0.0; rows * 49];
                merge.forward(&alone, &kernels, &mut out, 1).unwrap();
                let expected: f64 = out.iter().zip(&gradient).map(|(a, b)| a * b).sum();
                assert!((of_factors[i] - expected).abs() < 1e-9, "{} for {expected}", of_factors[i]);
                let through: f64 = made[i].iter().zip(kernels[i]).map(|(a, b)| a * b).sum();
                assert!((through - factors[i] * expected).abs() < 1e-9);
            }
            // Nothing that is not wanted is touched.
            merge
                .backward(&gradient, &factors, &kernels, vec![None, None, None, None], None, threads)
                .unwrap();
        }
    }

    #[test]
    fn taps_first_is_the_same_in_another_order() {
        let (inputs, outputs) = (ROWS + 6, 3);
        let rows = inputs * outputs;
        let kernels: Vec<Vec<f64>> =
            SIZES.iter().enumerate().map(|(i, size)| numbers(rows * size[0] * size[1], i)).collect();
        let kernels: Vec<&[f64]> = kernels.iter().map(Vec::as_slice).collect();
        let factors = [0.5, -1.5, 2.0, 0.25];
        let place = |i: usize| {
            let (row, tap) = (i / 49, i % 49);
            (row / inputs * 49 + tap) * inputs + row % inputs
        };
        let gradient = numbers(rows * 49, 9);
        let mut turned = vec![0.0; rows * 49];
        gradient.iter().enumerate().for_each(|(i, &value)| turned[place(i)] = value);
        let run = |layout, gradient: &[f64], threads| {
            let merge = Merge::new(&[7, 7], &SIZES, &STEPS, layout).unwrap();
            let mut sum = vec![9.0; rows * 49];
            merge.forward(&factors, &kernels, &mut sum, threads).unwrap();
            let mut made: Vec<Vec<f64>> = kernels.iter().map(|kernel| vec![7.0; kernel.len()]).collect();
            let mut of_factors = [0.0; 4];
            let into = made.iter_mut().map(|made| Some(made.as_mut_slice())).collect();
            merge.backward(gradient, &factors, &kernels, into, Some(&mut of_factors), threads).unwrap();
            (sum, made, of_factors)
        };
        let (sum, made, of_factors) = run(Layout::InputsFirst, &gradient, 1);
        for threads in [1, 2] {
            let other = run(Layout::TapsFirst { inputs }, &turned, threads);
            assert!((0..rows * 49).all(|i| other.0[place(i)] == sum[i]));
            assert_eq!(other.1, made);
            assert!(of_factors.iter().zip(other.2).all(|(a, b)| (a - b).abs() < 1e-9));
        }
    }

    #[test]
    fn kernels_without_a_centre_are_refused() {
        for (extent, size, step) in
            [(&[4_usize, 4], &[3_usize, 3], &[1_usize, 1]), (&[3, 3], &[5, 5], &[1, 1])]
        {
            assert!(Merge::new(extent, &[size], &[step], Layout::InputsFirst).is_err());
        }
        let merge = Merge::new(&[3], &[&[3]], &[&[1]], Layout::InputsFirst).unwrap();
        assert!(merge.forward(&[1.0], &[&[1.0, 2.0]], &mut [0.0; 3], 1).is_err());
        assert!(merge.forward::<f64>(&[1.0], &[&[]], &mut [], 1).is_ok());
    }
}
