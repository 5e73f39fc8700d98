//! A mixed op as one program: the weighted sum of chains of stages, and all its gradients.
//!
//! A chain is cut in segments, each an optional ReLU, linear or pooling stages, and an optional batch norm. The norm is
//! applied by whoever reads the segment: the next one as it loads, or the sum, which is one pass over all chains. Kept
//! for the backward pass is what each segment with weights makes, before its norm: one tensor a norm. Everything else
//! (ReLUs, normalised numbers, pools, what a depthwise convolution gives to the 1 x 1 after it) is made again there.

use serde::{Deserialize, Serialize};

use super::buffer::Buffer;
use super::norm::{self, Affine, Term};
use super::pointwise::{self, Grid};
use super::pool::{self, Kind};
use super::real::Real;
use super::{Input, Shape, Window, depthwise};
use crate::error::{Error, Result};

/// The candidates of a mixed op, each a chain of segments; a chain of none is the identity, no chain is not computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Program {
    /// The chains.
    pub chains: Vec<Option<Vec<Segment>>>,
}

/// A part of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Whether it starts with a ReLU.
    pub relu: bool,
    /// What follows.
    pub stages: Vec<Stage>,
    /// The batch norm at its end.
    pub norm: Option<Norm>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Stage {
    /// A depthwise convolution; one weight `(C, 1, kh, kw)`.
    Depthwise {
        /// Its window.
        window: Window,
    },
    /// A 1 x 1 convolution; for each offset one weight `(out, C, 1, 1)`, and the outputs are concatenated.
    Pointwise {
        /// Pixels from a read one to the next.
        stride: [usize; 2],
        /// The first read pixels.
        offsets: Vec<[usize; 2]>,
    },
    /// The maximum over windows.
    MaxPool {
        /// The window.
        window: Window,
    },
    /// The average over windows.
    AvgPool {
        /// The window.
        window: Window,
        /// Whether the padding counts.
        count_padding: bool,
    },
}

impl Stage {
    fn n_weights(&self) -> usize {
        match self {
            Stage::Depthwise { .. } => 1,
            Stage::Pointwise { offsets, .. } => offsets.len(),
            Stage::MaxPool { .. } | Stage::AvgPool { .. } => 0,
        }
    }
}

/// A batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Norm {
    /// What is added to the variance.
    pub eps: f64,
    /// Whether statistics are of the batch; else they are given.
    pub of_batch: bool,
    /// Whether it has a weight and a bias.
    pub affine: bool,
}

/// A parameter or running statistic: its numbers and its shape.
#[derive(Clone, Debug)]
pub struct Values<'a, T> {
    /// The numbers.
    pub numbers: &'a [T],
    /// The sizes of its dimensions.
    pub sizes: Vec<usize>,
}

/// What a program reads.
pub struct Given<'a, T> {
    /// The input.
    pub x: &'a [T],
    /// Its shape.
    pub shape: Shape,
    /// One weight a chain.
    pub weights: &'a [T],
    /// In the order of the stages: weights, and weight and bias of a norm that has them.
    pub parameters: Vec<Values<'a, T>>,
    /// Mean and variance of each norm whose statistics are given; the backward pass has all statistics and needs none.
    pub running: Option<Vec<Values<'a, T>>>,
}

/// How many threads work, at least one.
pub type Threads = usize;

/// A program for inputs of a shape: where everything lies.
pub struct Plan<'p> {
    chains: Vec<Option<Vec<Step<'p>>>>,
    /// The shape of the result.
    pub out: Shape,
    /// Numbers that are kept for the backward pass.
    pub n_saved: usize,
    /// Means, biased and unbiased variances of all norms, one after the other.
    pub n_statistics: usize,
}

/// A segment with its places.
struct Step<'p> {
    segment: &'p Segment,
    /// The shape before each stage, and that after the last.
    shapes: Vec<Shape>,
    /// The first parameter of each stage, and that of the norm.
    parameters: Vec<usize>,
    /// Where the mean of its norm lies among the statistics.
    statistics: usize,
    running: usize,
    /// Where what it makes is kept.
    saved: Option<usize>,
}

impl Step<'_> {
    /// The norm at its end as a scale and a shift a channel.
    fn affine<T: Real>(&self, given: &Given<T>, statistics: &[T]) -> Option<Affine<T>> {
        let norm = self.segment.norm?;
        let c = self.output().c;
        let own = &statistics[self.statistics..self.statistics + 2 * c];
        let at = self.parameters[self.parameters.len() - 1];
        let weight_bias =
            norm.affine.then(|| (given.parameters[at].numbers, given.parameters[at + 1].numbers));
        Some(Affine::new(&own[..c], &own[c..], norm.eps, weight_bias, norm.of_batch))
    }

    /// The sum of the gradient times what the last norm gives.
    fn weight_gradient<T: Real>(&self, given: &Given<T>, sums: &[(f64, f64)]) -> f64 {
        let at = self.parameters[self.parameters.len() - 1];
        match self.segment.norm {
            Some(norm) if norm.affine => {
                let (weight, bias) = (given.parameters[at].numbers, given.parameters[at + 1].numbers);
                let parts = sums.iter().zip(weight).zip(bias);
                parts.map(|((sum, w), b)| sum.0 * w.wide() + sum.1 * b.wide()).sum()
            }
            _ => sums.iter().map(|sum| sum.0).sum(),
        }
    }

    fn input(&self) -> Shape {
        self.shapes[0]
    }

    fn output(&self) -> Shape {
        self.shapes[self.shapes.len() - 1]
    }
}

fn wrong(what: &str, found: &[usize], expected: &[usize]) -> Error {
    Error::Tensor(format!("{what} of a mixed op has the shape {found:?}; expected {expected:?}"))
}

impl Program {
    /// Reads a program from JSON.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it is none.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::Tensor(format!("not a program of a mixed op: {error}")))
    }

    /// Lays a program out, and checks all shapes.
    ///
    /// # Errors
    /// [`Error::Tensor`] says what does not fit.
    pub fn plan<T>(&self, given: &Given<T>) -> Result<Plan<'_>> {
        if given.weights.len() != self.chains.len() {
            return Err(wrong("the weight", &[given.weights.len()], &[self.chains.len()]));
        }
        let mut plan = Plan { chains: Vec::new(), out: given.shape, n_saved: 0, n_statistics: 0 };
        let (mut parameter, mut running) = (0, 0);
        let mut known: Option<Shape> = None;
        for chain in &self.chains {
            let Some(chain) = chain else {
                plan.chains.push(None);
                continue;
            };
            let mut steps: Vec<Step> = Vec::new();
            let mut shape = given.shape;
            for (k, segment) in chain.iter().enumerate() {
                let mut step = Step {
                    segment,
                    shapes: vec![shape],
                    parameters: Vec::new(),
                    statistics: plan.n_statistics,
                    running,
                    saved: None,
                };
                for stage in &segment.stages {
                    step.parameters.push(parameter);
                    shape = stage.over(shape, given.parameters.get(parameter..).unwrap_or_default())?;
                    parameter += stage.n_weights();
                    step.shapes.push(shape);
                }
                step.parameters.push(parameter);
                let has_weights = segment.stages.iter().any(|stage| stage.n_weights() > 0);
                if has_weights && (segment.norm.is_some() || k + 1 < chain.len()) {
                    step.saved = Some(plan.n_saved);
                    plan.n_saved += shape.count();
                }
                if let Some(norm) = segment.norm {
                    plan.n_statistics += 3 * shape.c;
                    let check = |from: &[Values<T>], at: usize| -> Result<()> {
                        for values in at..at + 2 {
                            let sizes = from.get(values).map(|v| v.sizes.as_slice()).unwrap_or_default();
                            if sizes != [shape.c] {
                                return Err(wrong("a norm", sizes, &[shape.c]));
                            }
                        }
                        Ok(())
                    };
                    if norm.affine {
                        check(&given.parameters, parameter)?;
                        parameter += 2;
                    }
                    if let Some(given) = given.running.as_ref().filter(|_| !norm.of_batch) {
                        check(given, running)?;
                        running += 2;
                    }
                }
                steps.push(step);
            }
            if let Some(known) = known.filter(|known| *known != shape) {
                let sizes = |s: Shape| [s.n, s.c, s.h, s.w];
                return Err(wrong("a candidate's output", &sizes(shape), &sizes(known)));
            }
            known = Some(shape);
            plan.out = shape;
            plan.chains.push(Some(steps));
        }
        let n_running = given.running.as_ref().map_or(0, Vec::len);
        if parameter != given.parameters.len() || running != n_running {
            let found = [given.parameters.len(), n_running];
            return Err(wrong("the list of tensors", &found, &[parameter, running]));
        }
        Ok(plan)
    }
}

impl Stage {
    /// The shape that it makes; checks its weights, the first of `parameters`.
    fn over<T>(&self, shape: Shape, parameters: &[Values<T>]) -> Result<Shape> {
        let sizes = |i: usize| parameters.get(i).map(|v| v.sizes.as_slice()).unwrap_or_default();
        match self {
            Stage::Depthwise { window } => {
                let expected = [shape.c, 1, window.kernel[0], window.kernel[1]];
                if sizes(0) != expected {
                    return Err(wrong("a depthwise kernel", sizes(0), &expected));
                }
                window.over(shape)
            }
            Stage::Pointwise { stride, offsets } => {
                let mut made: Option<Shape> = None;
                for (i, &offset) in offsets.iter().enumerate() {
                    let [c, inputs, 1, 1] = *sizes(i) else {
                        return Err(wrong("a 1 x 1 kernel", sizes(i), &[0, shape.c, 1, 1]));
                    };
                    if inputs != shape.c || c == 0 {
                        return Err(wrong("a 1 x 1 kernel", sizes(i), &[c, shape.c, 1, 1]));
                    }
                    let part = Grid { stride: *stride, offset }.over(shape)?;
                    let before = made.map_or(0, |made| made.c);
                    if made.is_some_and(|made| (made.h, made.w) != (part.h, part.w)) {
                        return Err(Error::Tensor("shifted 1 x 1 convolutions differ in size".into()));
                    }
                    made = Some(Shape { c: before + c, ..part });
                }
                made.ok_or_else(|| Error::Tensor("a 1 x 1 convolution has no kernel".into()))
            }
            Stage::MaxPool { window } | Stage::AvgPool { window, .. } => window.over(shape),
        }
    }

    /// Writes what the stage makes of its input.
    fn forward<T: Real>(
        &self,
        input: &Input<T>,
        output: Shape,
        parameters: &[Values<T>],
        out: &mut [T],
        threads: Threads,
    ) -> Result<()> {
        match self {
            Stage::Depthwise { window } => {
                depthwise::forward(input, *window, parameters[0].numbers, out, threads)
            }
            Stage::Pointwise { stride, offsets } => {
                let written = input.written();
                let x = written.as_deref().unwrap_or(input.values);
                let mut first = 0;
                for (&offset, weight) in offsets.iter().zip(parameters) {
                    let grid = Grid { stride: *stride, offset };
                    let place = (first, output.c);
                    pointwise::forward(x, input.shape, grid, weight.numbers, out, place, threads)?;
                    first += weight.sizes[0];
                }
                Ok(())
            }
            Stage::MaxPool { window } => pool::forward(Kind::Max, input, *window, out, threads),
            Stage::AvgPool { window, count_padding } => {
                pool::forward(Kind::Average { count_padding: *count_padding }, input, *window, out, threads)
            }
        }
    }

    /// Writes the gradients of its input, where wanted, and of its weights.
    #[allow(clippy::too_many_arguments)]
    fn backward<T: Real>(
        &self,
        gradient: &[T],
        output: Shape,
        input: &Input<T>,
        parameters: &[Values<T>],
        of_input: Option<&mut [T]>,
        of_parameters: &mut [Option<&mut [T]>],
        threads: Threads,
    ) -> Result<()> {
        match self {
            Stage::Depthwise { window } => {
                let weight = parameters[0].numbers;
                let of_weight = of_parameters[0].as_deref_mut();
                depthwise::backward(gradient, input, *window, weight, of_input, of_weight, threads)
            }
            Stage::Pointwise { stride, offsets } => {
                let written = input.written();
                let x = written.as_deref().unwrap_or(input.values);
                let mut of_input = of_input;
                if let Some(of_input) = of_input.as_deref_mut() {
                    of_input.fill(T::ZERO);
                }
                let mut first = 0;
                for ((&offset, weight), of_weight) in offsets.iter().zip(parameters).zip(of_parameters) {
                    pointwise::backward(
                        gradient,
                        (first, output.c),
                        x,
                        input.shape,
                        Grid { stride: *stride, offset },
                        weight.numbers,
                        of_input.as_deref_mut(),
                        of_weight.as_deref_mut(),
                        threads,
                    )?;
                    first += weight.sizes[0];
                }
                Ok(())
            }
            Stage::MaxPool { window } => {
                of_input.map_or(Ok(()), |to| pool::backward(Kind::Max, gradient, input, *window, to, threads))
            }
            Stage::AvgPool { window, count_padding } => of_input.map_or(Ok(()), |to| {
                let kind = Kind::Average { count_padding: *count_padding };
                pool::backward(kind, gradient, input, *window, to, threads)
            }),
        }
    }
}

/// Numbers that lie somewhere, or were made for now.
enum Made<'a, T: Real> {
    There(&'a [T]),
    Here(Buffer<T>),
}

impl<T: Real> std::ops::Deref for Made<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Made::There(numbers) => numbers,
            Made::Here(buffer) => buffer,
        }
    }
}

/// Where gradients are written; None: not wanted.
pub struct Gradients<'a, T> {
    /// Of the input.
    pub x: Option<&'a mut [T]>,
    /// Of the weights of the chains.
    pub weights: Option<&'a mut [T]>,
    /// Of each parameter.
    pub parameters: Vec<Option<&'a mut [T]>>,
}

impl Plan<'_> {
    /// Runs the first `to` stages of a segment; the last one writes to `last`, if that is given.
    fn run<T: Real>(
        step: &Step,
        given: &Given<T>,
        input: &Input<T>,
        to: usize,
        mut last: Option<&mut [T]>,
        threads: Threads,
    ) -> Result<Vec<Buffer<T>>> {
        let mut made: Vec<Buffer<T>> = Vec::new();
        for (i, stage) in step.segment.stages[..to].iter().enumerate() {
            let before = made.last().map(|values| Input::plain(values, step.shapes[i]));
            let read = before.as_ref().unwrap_or(input);
            let parameters = &given.parameters[step.parameters[i]..];
            let output = step.shapes[i + 1];
            if i + 1 == to
                && let Some(out) = last.take()
            {
                stage.forward(read, output, parameters, out, threads)?;
            } else {
                let mut out = Buffer::new(output.count());
                stage.forward(read, output, parameters, &mut out, threads)?;
                made.push(out);
            }
        }
        Ok(made)
    }

    /// The weighted sum. `saved` is given its numbers if it has room, and `statistics` means and variances.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a shape does not fit.
    pub fn forward<T: Real>(
        &self,
        given: &Given<T>,
        out: &mut [T],
        saved: &mut [T],
        statistics: &mut [T],
        threads: Threads,
    ) -> Result<()> {
        let keep = !saved.is_empty();
        let mut rest = saved;
        let mut tails: Vec<(Made<T>, Option<Affine<T>>, T)> = Vec::new();
        for (steps, &weight) in self.chains.iter().zip(given.weights) {
            let Some(steps) = steps else { continue };
            let mut value: (Made<T>, Option<Affine<T>>) = (Made::There(given.x), None);
            for step in steps {
                let input = Input {
                    values: &value.0,
                    shape: step.input(),
                    affine: value.1.as_ref(),
                    relu: step.segment.relu,
                };
                let count = step.output().count();
                let n_stages = step.segment.stages.len();
                let made = if keep && step.saved.is_some() {
                    let (own, others) = std::mem::take(&mut rest).split_at_mut(count);
                    rest = others;
                    Self::run(step, given, &input, n_stages, Some(&mut *own), threads)?;
                    Made::There(own)
                } else {
                    Self::value(step, given, &input, threads)?
                };
                if let Some(norm) = step.segment.norm {
                    let c = step.output().c;
                    let own = &mut statistics[step.statistics..step.statistics + 3 * c];
                    let (mean, own) = own.split_at_mut(c);
                    let (variance, unbiased) = own.split_at_mut(c);
                    match &given.running {
                        Some(running) if !norm.of_batch => {
                            mean.copy_from_slice(running[step.running].numbers);
                            variance.copy_from_slice(running[step.running + 1].numbers);
                        }
                        _ => norm::statistics(&made, step.output(), mean, variance, threads),
                    }
                    let count = (step.output().n * step.output().plane()) as f64;
                    for (to, variance) in unbiased.iter_mut().zip(&*variance) {
                        *to = T::of(variance.wide() * (count / (count - 1.0)));
                    }
                }
                let affine = step.affine(given, statistics);
                value = (made, affine);
            }
            tails.push((value.0, value.1, weight));
        }
        let c = self.out.c;
        let terms: Vec<Term<T>> = tails
            .iter()
            .map(|&(ref values, ref affine, weight)| match affine {
                Some(affine) => Term {
                    values,
                    scale: affine.scale.iter().map(|&s| s * weight).collect(),
                    shift: affine.shift.iter().map(|&s| s * weight).collect(),
                },
                None => Term { values, scale: vec![weight; c], shift: vec![T::ZERO; c] },
            })
            .collect();
        norm::add_up(&terms, self.out, out, threads);
        Ok(())
    }

    /// What a segment makes, before its norm.
    fn value<'a, T: Real>(
        step: &Step,
        given: &Given<T>,
        input: &Input<T>,
        threads: Threads,
    ) -> Result<Made<'a, T>> {
        let made = Self::run(step, given, input, step.segment.stages.len(), None, threads)?;
        if let Some(last) = made.into_iter().next_back() {
            return Ok(Made::Here(last));
        }
        // A ReLU alone, or nothing but a norm.
        Ok(Made::Here(input.written().unwrap_or_else(|| {
            let mut copied = Buffer::new(input.values.len());
            copied.copy_from_slice(input.values);
            copied
        })))
    }

    /// The gradients, given that of the result, what `forward` kept and its statistics.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a shape does not fit.
    pub fn backward<T: Real>(
        &self,
        gradient: &[T],
        given: &Given<T>,
        saved: &[T],
        statistics: &[T],
        into: &mut Gradients<T>,
        threads: Threads,
    ) -> Result<()> {
        let shared = [
            ("the gradient", gradient.len(), self.out.count()),
            ("what was kept", saved.len(), self.n_saved),
            ("the statistics", statistics.len(), self.n_statistics),
        ];
        for (what, found, expected) in shared {
            if found != expected {
                return Err(wrong(what, &[found], &[expected]));
            }
        }
        if let Some(x) = into.x.as_deref_mut() {
            x.fill(T::ZERO);
        }
        if let Some(weights) = into.weights.as_deref_mut() {
            weights.fill(T::ZERO);
        }
        let pass = Pass { gradient, given, saved, statistics, threads };
        for (k, steps) in self.chains.iter().enumerate() {
            let Some(steps) = steps else { continue };
            let wanted = into.x.is_some()
                || into.weights.is_some()
                || steps.iter().any(|step| wants(step, &into.parameters));
            if wanted {
                pass.chain(k, steps, into)?;
            }
        }
        Ok(())
    }
}

/// One backward pass: what all chains read.
struct Pass<'a, 'g, T> {
    gradient: &'a [T],
    given: &'a Given<'g, T>,
    saved: &'a [T],
    statistics: &'a [T],
    threads: Threads,
}

impl<T: Real> Pass<'_, '_, T> {
    /// The gradients of chain `k`.
    fn chain(&self, k: usize, steps: &[Step], into: &mut Gradients<T>) -> Result<()> {
        let &Pass { gradient, given, saved, statistics, threads } = self;
        let weight = given.weights[k];
        // What each segment made, and its norm, from the front.
        let affines: Vec<Option<Affine<T>>> =
            steps.iter().map(|step| step.affine(given, statistics)).collect();
        let mut values: Vec<Made<T>> = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let value = match step.saved {
                Some(at) => Made::There(&saved[at..at + step.output().count()]),
                None => Plan::value(step, given, &input_of(i, steps, given, &values, &affines), threads)?,
            };
            values.push(value);
        }
        let Some(last) = steps.last() else {
            identity_backward(k, gradient, given, into);
            return Ok(());
        };
        // From the end: the gradient of what the last segment made.
        let end = steps.len() - 1;
        let mut current = Buffer::new(last.output().count());
        if let Some(affine) = &affines[end] {
            let factor = (weight.wide(), false);
            let sums = affine.backward(gradient, &values[end], last.output(), factor, &mut current, threads);
            if let Some(weights) = into.weights.as_deref_mut() {
                weights[k] = T::of(last.weight_gradient(given, &sums));
            }
            give_norm(last, &sums, weight.wide(), into);
        } else {
            if let Some(weights) = into.weights.as_deref_mut() {
                weights[k] = T::of(norm::dot(gradient, &values[end]));
            }
            current = norm::times(gradient, weight);
        }
        for i in (0..steps.len()).rev() {
            let step = &steps[i];
            let below_wanted =
                into.x.is_some() || steps[..i].iter().any(|step| wants(step, &into.parameters));
            let input = input_of(i, steps, given, &values, &affines);
            let n_stages = step.segment.stages.len();
            if below_wanted || wants(step, &into.parameters) {
                let inner = Plan::run(step, given, &input, n_stages.saturating_sub(1), None, threads)?;
                for s in (0..n_stages).rev() {
                    let before = (s > 0).then(|| Input::plain(&inner[s - 1], step.shapes[s]));
                    let read = before.as_ref().unwrap_or(&input);
                    let at = step.parameters[s];
                    let n_weights = step.segment.stages[s].n_weights();
                    let further = s > 0 || below_wanted;
                    let mut of_input = further.then(|| Buffer::new(step.shapes[s].count()));
                    step.segment.stages[s].backward(
                        &current,
                        step.shapes[s + 1],
                        read,
                        &given.parameters[at..],
                        of_input.as_deref_mut(),
                        &mut into.parameters[at..at + n_weights],
                        threads,
                    )?;
                    if let Some(of_input) = of_input {
                        current = of_input;
                    }
                }
            }
            if !below_wanted {
                break;
            }
            let relu = step.segment.relu;
            if i == 0 {
                if let Some(x) = into.x.as_deref_mut() {
                    norm::add(x, &current, T::ONE, relu.then_some(given.x));
                }
            } else if let Some(affine) = &affines[i - 1] {
                let shape = step.input();
                let mut below = Buffer::new(shape.count());
                let factor = (1.0, relu);
                let sums = affine.backward(&current, &values[i - 1], shape, factor, &mut below, threads);
                give_norm(&steps[i - 1], &sums, 1.0, into);
                current = below;
            } else if relu {
                norm::gate(&mut current, &values[i - 1]);
            }
        }
        Ok(())
    }
}

/// The gradients of an identity.
fn identity_backward<T: Real>(k: usize, gradient: &[T], given: &Given<T>, into: &mut Gradients<T>) {
    let weight = given.weights[k];
    if let Some(weights) = into.weights.as_deref_mut() {
        weights[k] = T::of(norm::dot(gradient, given.x));
    }
    if let Some(x) = into.x.as_deref_mut() {
        norm::add(x, gradient, weight, None);
    }
}

/// What the `i`th segment of a chain reads.
fn input_of<'a, T: Real>(
    i: usize,
    steps: &[Step],
    given: &Given<'a, T>,
    values: &'a [Made<'a, T>],
    affines: &'a [Option<Affine<T>>],
) -> Input<'a, T> {
    let (shape, relu) = (steps[i].input(), steps[i].segment.relu);
    match i.checked_sub(1) {
        None => Input { values: given.x, shape, affine: None, relu },
        Some(before) => Input { values: &values[before], shape, affine: affines[before].as_ref(), relu },
    }
}

/// Whether a gradient of one of a segment's parameters is wanted.
fn wants<T>(step: &Step, parameters: &[Option<&mut [T]>]) -> bool {
    let affine = step.segment.norm.is_some_and(|norm| norm.affine);
    let end = step.parameters[step.parameters.len() - 1] + if affine { 2 } else { 0 };
    parameters[step.parameters[0]..end].iter().any(Option::is_some)
}

/// Writes the gradients of a norm's weight and bias.
fn give_norm<T: Real>(step: &Step, sums: &[(f64, f64)], factor: f64, into: &mut Gradients<T>) {
    if !step.segment.norm.is_some_and(|norm| norm.affine) {
        return;
    }
    let at = step.parameters[step.parameters.len() - 1];
    if let Some(weight) = into.parameters[at].as_deref_mut() {
        for (to, sum) in weight.iter_mut().zip(sums) {
            *to = T::of(sum.0 * factor);
        }
    }
    if let Some(bias) = into.parameters[at + 1].as_deref_mut() {
        for (to, sum) in bias.iter_mut().zip(sums) {
            *to = T::of(sum.1 * factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers without a pattern, between -1 and 1.
    fn numbers(count: usize, seed: usize) -> Vec<f64> {
        (0..count).map(|i| (((i + 31 * seed) as f64 * 12.9898).sin() * 43758.547).fract()).collect()
    }

    /// The sum of a window's taps, or their largest, at every position, written out.
    fn naive(stage: &Stage, x: &[f64], shape: Shape, weight: &[f64]) -> Vec<f64> {
        let (window, kind) = match stage {
            Stage::Depthwise { window } => (window, 0),
            Stage::MaxPool { window } => (window, 1),
            Stage::AvgPool { window, count_padding } => (window, if *count_padding { 2 } else { 3 }),
            Stage::Pointwise { .. } => unreachable!("not drawn"),
        };
        let out = window.over(shape).unwrap();
        let [kh, kw] = window.kernel;
        let mut made = Vec::new();
        for plane in 0..shape.n * shape.c {
            for y in 0..out.h {
                for x_at in 0..out.w {
                    let (mut sum, mut largest, mut seen) = (0.0, f64::NEG_INFINITY, 0);
                    for i in 0..kh {
                        for j in 0..kw {
                            let row = (y * window.stride[0] + i * window.dilation[0])
                                .checked_sub(window.padding[0]);
                            let column = (x_at * window.stride[1] + j * window.dilation[1])
                                .checked_sub(window.padding[1]);
                            let (Some(row), Some(column)) = (row, column) else { continue };
                            if row >= shape.h || column >= shape.w {
                                continue;
                            }
                            let value = x[plane * shape.plane() + row * shape.w + column];
                            let tap = if kind == 0 {
                                weight[(plane % shape.c) * kh * kw + i * kw + j]
                            } else {
                                1.0
                            };
                            sum += tap * value;
                            largest = f64::max(largest, value);
                            seen += 1;
                        }
                    }
                    made.push(match kind {
                        0 => sum,
                        1 => largest,
                        2 => sum / (kh * kw) as f64,
                        _ => sum / f64::from(seen),
                    });
                }
            }
        }
        made
    }

    fn windows() -> impl Strategy<Value = Window> {
        let axis = || (1..=5_usize, 1..=3_usize, 1..=3_usize, any::<prop::sample::Index>());
        (axis(), axis()).prop_map(|(down, right)| {
            let padding = |k: usize, d: usize, at: prop::sample::Index| at.index(d * (k - 1) + 1);
            Window {
                kernel: [down.0, right.0],
                stride: [down.1, right.1],
                dilation: [down.2, right.2],
                padding: [padding(down.0, down.2, down.3), padding(right.0, right.2, right.3)],
            }
        })
    }

    fn stages() -> impl Strategy<Value = Stage> {
        prop_oneof![
            windows().prop_map(|window| Stage::Depthwise { window }),
            windows().prop_map(|window| Stage::MaxPool { window }),
            (windows(), any::<bool>())
                .prop_map(|(window, count_padding)| Stage::AvgPool { window, count_padding }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 128 }))]

        /// Forward as written out; backward as the differences of forward, to which it is the adjoint.
        #[test]
        fn windows_are_what_loops_make(
            stage in stages(), n in 0..3_usize, c in 1..4_usize, h in 1..11_usize, w in 1..11_usize,
            threads in 1..3_usize,
        ) {
            let shape = Shape { n, c, h, w };
            let (Stage::Depthwise { window } | Stage::MaxPool { window } | Stage::AvgPool { window, .. }) = &stage
            else { unreachable!("not drawn") };
            let Ok(out) = window.over(shape) else { return Ok(()) };
            // An average over padding alone has no value.
            let alone = |axis: usize, size: usize, last: usize| {
                (0..window.kernel[axis]).all(|t| last * window.stride[axis] + t * window.dilation[axis]
                    >= size + window.padding[axis])
                    || (0..=last).any(|at| (0..window.kernel[axis]).all(|t| {
                        let place = at * window.stride[axis] + t * window.dilation[axis];
                        place < window.padding[axis] || place >= size + window.padding[axis]
                    }))
            };
            prop_assume!(!alone(0, h, out.h - 1) && !alone(1, w, out.w - 1));
            let x = numbers(shape.count(), 1);
            let sizes = vec![c, 1, window.kernel[0], window.kernel[1]];
            let weight = numbers(sizes.iter().product(), 2);
            let parameters: Vec<Values<f64>> = match stage {
                Stage::Depthwise { .. } => vec![Values { numbers: &weight, sizes }],
                _ => Vec::new(),
            };
            let n_parameters = parameters.len();
            let given = Given { x: &x, shape, weights: &[0.5], parameters, running: Some(Vec::new()) };
            let segment = Segment { relu: false, stages: vec![stage.clone()], norm: None };
            let program = Program { chains: vec![Some(vec![segment])] };
            let plan = program.plan(&given).unwrap();
            let mut made = vec![f64::NAN; plan.out.count()];
            plan.forward(&given, &mut made, &mut [], &mut [], threads).unwrap();
            let expected = naive(&stage, &x, shape, &weight);
            for (a, b) in made.iter().zip(&expected) {
                prop_assert!((a - 0.5 * b).abs() < 1e-12, "{a} is not half of {b}");
            }

            let gradient = numbers(made.len(), 3);
            let (mut of_x, mut of_weight) = (vec![f64::NAN; x.len()], vec![f64::NAN; weight.len()]);
            let mut into = Gradients {
                x: Some(&mut of_x),
                weights: None,
                parameters: std::iter::once(Some(&mut of_weight[..])).take(n_parameters).collect(),
            };
            plan.backward(&gradient, &given, &[], &[], &mut into, threads).unwrap();
            let value = |x: &[f64], weight: &[f64]| -> f64 {
                0.5 * naive(&stage, x, shape, weight).iter().zip(&gradient).map(|(a, g)| a * g).sum::<f64>()
            };
            for (i, found) in of_x.iter().enumerate() {
                let (mut more, mut less) = (x.clone(), x.clone());
                more[i] += 1e-6;
                less[i] -= 1e-6;
                let slope = (value(&more, &weight) - value(&less, &weight)) / 2e-6;
                prop_assert!((slope - found).abs() < 1e-6, "{found} is not {slope}");
            }
            for (i, found) in of_weight.iter().enumerate().take(if n_parameters == 0 { 0 } else { 8 }) {
                let (mut more, mut less) = (weight.clone(), weight.clone());
                more[i] += 1e-3;
                less[i] -= 1e-3;
                let slope = (value(&x, &more) - value(&x, &less)) / 2e-3;
                prop_assert!((slope - found).abs() < 1e-8, "{found} is not {slope}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let x = [0.0_f32; 16];
        let given = Given {
            x: &x,
            shape: Shape { n: 1, c: 1, h: 4, w: 4 },
            weights: &[1.0],
            parameters: vec![Values { numbers: &x[..9], sizes: vec![1, 1, 3, 3] }],
            running: None,
        };
        let stage = |k: usize, padding: usize| {
            format!(
                r#"[[{{"relu":true,"stages":[{{"kind":"depthwise","window":{{"kernel":[{k},{k}],"stride":[1,1],"padding":[{padding},{padding}],"dilation":[1,1]}}}}],"norm":null}}]]"#
            )
        };
        assert!(Program::parse(&stage(3, 1)).unwrap().plan(&given).is_ok());
        assert!(Program::parse(&stage(5, 2)).unwrap().plan(&given).is_err());
        assert!(Program::parse(&stage(3, 3)).unwrap().plan(&given).is_err());
        assert!(Program::parse("[]").unwrap().plan(&given).is_err());
        assert!(Program::parse("{").is_err());
    }
}
