//! Windows over pictures as sums over a line: the layout behind depthwise convolutions and pools.
//!
//! All pictures of one channel lie one below the other in a band, with a margin of fill before each row and picture;
//! the margin after a row is the one before the next. Then every tap of a window is an offset: output i reads band[i +
//! offset], whatever the row, and the loops are over long lines without cases, for any size of picture. Positions that
//! belong to no output are computed too, and dropped. With a stride s the band is cut in s * s phases, by the remainder
//! of row and column, and a tap reads one of them: the loops stay contiguous.

use serde::{Deserialize, Serialize};

use super::Shape;
use super::real::{Real, compiled};
use crate::error::{Error, Result};

/// A window that moves over pictures; heights before widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Pixels from a position to the next.
    pub stride: [usize; 2],
    /// Pixels around the picture.
    pub padding: [usize; 2],
    /// Pixels from a tap to the next.
    pub dilation: [usize; 2],
}

impl Window {
    fn extent(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis].max(1) - 1) + 1
    }

    /// The shape of what it makes of pictures.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it does not fit, or has positions that see the padding alone.
    pub fn over(&self, shape: Shape) -> Result<Shape> {
        let along = |axis: usize, size: usize| -> Option<usize> {
            let (extent, padding) = (self.extent(axis), self.padding[axis]);
            let sound = self.kernel[axis] > 0 && self.stride[axis] > 0 && self.dilation[axis] > 0;
            let room = (size + 2 * padding).checked_sub(extent)?;
            (sound && padding < extent && size > 0).then(|| room / self.stride[axis] + 1)
        };
        let (h, w) = along(0, shape.h).zip(along(1, shape.w)).ok_or_else(|| {
            Error::Tensor(format!("a window {self:?} does not fit pictures of {} x {}", shape.h, shape.w))
        })?;
        Ok(Shape { h, w, ..shape })
    }
}

/// What is done to a pixel on its way: `max(scale * pixel + shift, floor)`; what is not a number stays so, as in torch.
#[derive(Clone, Copy)]
pub(super) struct Pixel<T> {
    pub(super) scale: T,
    pub(super) shift: T,
    pub(super) floor: T,
}

impl<T: Real> Pixel<T> {
    pub(super) const SAME: Self = Pixel { scale: T::ONE, shift: T::ZERO, floor: T::LOWEST };

    #[inline(always)]
    pub(super) fn of(self, value: T) -> T {
        let z = self.scale * value + self.shift;
        if z <= self.floor { self.floor } else { z }
    }
}

/// Pixels of a row that are handled at once.
const RUN: usize = 8;

#[inline(always)]
fn rows_body<T: Real, const FMA: bool>(
    from: &[T],
    from_pitch: usize,
    to: &mut [T],
    to_pitch: usize,
    [height, width]: [usize; 2],
    pixel: Pixel<T>,
) {
    for y in 0..height {
        let read = &from[y * from_pitch..][..width];
        let write = &mut to[y * to_pitch..][..width];
        let (reads, writes) = (read.chunks_exact(RUN), write.chunks_exact_mut(RUN));
        for (place, &value) in writes.into_remainder().iter_mut().zip(reads.remainder()) {
            *place = pixel.of(value);
        }
        for (write, read) in write.chunks_exact_mut(RUN).zip(reads) {
            for lane in 0..RUN {
                write[lane] = pixel.of(read[lane]);
            }
        }
    }
}

compiled! {
    /// Copies rows from one pitch to another.
    fn rows<T>(
        from: &[T], from_pitch: usize, to: &mut [T], to_pitch: usize, size: [usize; 2], pixel: Pixel<T>,
    ) = rows_body;
}

/// Numbers that a loop handles at once.
pub(super) const BLOCK: usize = 64;

/// The layout of the pictures of one channel.
pub(super) struct Band {
    input: Shape,
    pub(super) output: Shape,
    window: Window,
    rows: usize,
    pitch: usize,
    /// Positions of outputs, used or not; a multiple of [`BLOCK`].
    pub(super) span: usize,
    /// The largest offset within a phase.
    pub(super) margin: usize,
    /// For each tap, by rows, its phase and its offset in it.
    pub(super) taps: Vec<(usize, usize)>,
}

impl Band {
    pub(super) fn new(input: Shape, window: Window) -> Result<Self> {
        let output = window.over(input)?;
        let [down, right] = window.stride;
        let rows = (input.h + window.padding[0]).div_ceil(down).max(output.h);
        let pitch = (input.w + window.padding[1]).div_ceil(right).max(output.w);
        let mut taps = Vec::with_capacity(window.kernel[0] * window.kernel[1]);
        for i in 0..window.kernel[0] {
            for j in 0..window.kernel[1] {
                let (y, x) = (i * window.dilation[0], j * window.dilation[1]);
                taps.push(((y % down) * right + x % right, (y / down) * pitch + x / right));
            }
        }
        let margin = taps.iter().map(|&(_, offset)| offset).max().unwrap_or(0);
        let span = (input.n * rows * pitch).next_multiple_of(BLOCK).max(BLOCK);
        Ok(Band { input, output, window, rows, pitch, span, margin, taps })
    }

    pub(super) fn phases(&self) -> usize {
        self.window.stride[0] * self.window.stride[1]
    }

    /// The length of one phase.
    pub(super) fn length(&self) -> usize {
        self.span + self.margin
    }

    /// The offset of each tap from the start of the whole band.
    pub(super) fn offsets(&self) -> Vec<usize> {
        self.taps.iter().map(|&(phase, offset)| phase * self.length() + offset).collect()
    }

    /// Calls `run(start in the picture, step, start in the phase, count)` for every run of pixels of picture `n` that is
    /// contiguous in phase `phase`.
    fn runs(&self, n: usize, phase: usize, mut run: impl FnMut(usize, usize, usize, usize)) {
        let ([down, right], [above, left]) = (self.window.stride, self.window.padding);
        let (phase_y, phase_x) = (phase / right, phase % right);
        // The first pixel whose padded place has the phase's remainder.
        let (y0, x0) = ((phase_y + down - above % down) % down, (phase_x + right - left % right) % right);
        if x0 >= self.input.w {
            return;
        }
        let count = (self.input.w - x0).div_ceil(right);
        for y in (y0..self.input.h).step_by(down) {
            let row = n * self.rows + (y + above) / down;
            run(y * self.input.w + x0, right, row * self.pitch + (x0 + left) / right, count);
        }
    }

    /// Puts pictures in their places of a band that holds the fill, scaled, shifted and not less than the floor.
    pub(super) fn load<T: Real>(&self, pictures: &[&[T]], band: &mut [T], pixel: Pixel<T>) {
        for (phase, line) in band.chunks_exact_mut(self.length()).enumerate() {
            for (n, picture) in pictures.iter().enumerate() {
                if self.phases() == 1 {
                    let to = n * self.rows * self.pitch + self.window.padding[0] * self.pitch;
                    let to = &mut line[to + self.window.padding[1]..];
                    rows(picture, self.input.w, to, self.pitch, [self.input.h, self.input.w], pixel);
                    continue;
                }
                self.runs(n, phase, |from, step, to, count| {
                    let places = line[to..to + count].iter_mut();
                    for (place, &value) in places.zip(picture[from..].iter().step_by(step)) {
                        *place = pixel.of(value);
                    }
                });
            }
        }
    }

    /// Takes a phase of picture `n` out of a line.
    pub(super) fn unload<T: Real>(&self, line: &[T], phase: usize, n: usize, picture: &mut [T]) {
        if self.phases() == 1 {
            let from = (n * self.rows + self.window.padding[0]) * self.pitch + self.window.padding[1];
            rows(&line[from..], self.pitch, picture, self.input.w, [self.input.h, self.input.w], Pixel::SAME);
            return;
        }
        self.runs(n, phase, |to, step, from, count| {
            let values = &line[from..from + count];
            for (place, &value) in picture[to..].iter_mut().step_by(step).zip(values) {
                *place = value;
            }
        });
    }

    /// Takes the outputs of picture `n` out of a line.
    pub(super) fn outputs<T: Real>(&self, line: &[T], n: usize, picture: &mut [T]) {
        let line = &line[n * self.rows * self.pitch..];
        rows(line, self.pitch, picture, self.output.w, [self.output.h, self.output.w], Pixel::SAME);
    }

    /// Puts pictures of the outputs' size in a line of zeros, `margin` numbers after its start.
    pub(super) fn load_outputs<T: Real>(&self, pictures: &[&[T]], line: &mut [T]) {
        for (n, picture) in pictures.iter().enumerate() {
            let to = &mut line[self.margin + n * self.rows * self.pitch..];
            rows(picture, self.output.w, to, self.pitch, [self.output.h, self.output.w], Pixel::SAME);
        }
    }

    /// For each position of a line one over the number of the window's pixels, those of the padding counted or not.
    pub(super) fn shares<T: Real>(&self, count_padding: bool) -> Vec<T> {
        let seen = |axis: usize, size: usize, at: usize| -> usize {
            let Window { kernel, stride, padding, dilation } = self.window;
            let inside = |tap: &usize| {
                let place = at * stride[axis] + tap * dilation[axis];
                count_padding || (place >= padding[axis] && place < size + padding[axis])
            };
            (0..kernel[axis]).filter(inside).count()
        };
        let mut line = vec![T::ZERO; self.span];
        let across: Vec<usize> = (0..self.output.w).map(|x| seen(1, self.input.w, x)).collect();
        for n in 0..self.input.n {
            for y in 0..self.output.h {
                let (down, start) = (seen(0, self.input.h, y), (n * self.rows + y) * self.pitch);
                for (share, n_across) in line[start..].iter_mut().zip(&across) {
                    *share = T::of(1.0 / (down * n_across) as f64);
                }
            }
        }
        line
    }
}
