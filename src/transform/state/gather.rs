//! Positions of the dimensions of a tensor in another order and number, each times a factor: one pass over the memory.

use tch::{Kind, Tensor};

use super::memory;
use crate::error::Result;

/// What becomes of one dimension.
pub(super) struct Taken {
    /// The dimension.
    pub dim: usize,
    /// The old position of each new one.
    pub index: Vec<i64>,
    /// What each new one is multiplied by.
    pub scale: Option<Vec<f64>>,
}

/// The tensor with what was taken of its dimensions, each of which is named once.
pub(super) fn gather(whole: &Tensor, dims: &[Taken]) -> Result<Tensor> {
    if let Some(made) = rows(whole, dims)? {
        return Ok(made);
    }
    let mut part = whole.shallow_clone();
    for taken in dims {
        let index = Tensor::from_slice(&taken.index).to_device(part.device());
        part = part.f_index_select(taken.dim as i64, &index)?;
        if let Some(scale) = &taken.scale {
            let mut shape = vec![1; part.dim()];
            shape[taken.dim] = -1;
            let scale = Tensor::from_slice(scale).f_to_kind(part.f_kind()?)?.to_device(part.device());
            part = part.f_mul(&scale.f_view(shape.as_slice())?)?;
        }
    }
    Ok(part)
}

/// Runs of positions that are shorter are read one by one.
const RUN: usize = 16;

/// The columns of a matrix that stay: successive pieces, each a run (its first old position) or read one by one.
struct Columns {
    pieces: Vec<(usize, Option<usize>)>,
    index: Vec<usize>,
    scale: Option<Vec<f32>>,
}

impl Columns {
    /// Each position of a dimension is `block` columns.
    fn new(taken: &Taken, block: usize) -> Self {
        let of_block = |start: usize| (0..block).map(move |i| start * block + i);
        let index: Vec<usize> = taken.index.iter().flat_map(|&old| of_block(old as usize)).collect();
        let scale = taken.scale.as_ref().map(|scale| {
            scale.iter().flat_map(|&factor| std::iter::repeat_n(factor as f32, block)).collect()
        });
        let mut pieces: Vec<(usize, Option<usize>)> = Vec::new();
        let mut at = 0;
        while at < index.len() {
            let run = index[at..].iter().enumerate().take_while(|&(i, &old)| old == index[at] + i).count();
            match pieces.last_mut() {
                _ if run >= RUN => pieces.push((run, Some(index[at]))),
                Some((length, None)) => *length += run,
                _ => pieces.push((run, None)),
            }
            at += run;
        }
        Columns { pieces, index, scale }
    }

    fn fill(&self, source: &[f32], target: &mut [f32]) {
        let mut at = 0;
        for &(length, start) in &self.pieces {
            let target = &mut target[at..at + length];
            let scale = self.scale.as_ref().map(|scale| &scale[at..at + length]);
            let index = &self.index[at..at + length];
            match (start, scale) {
                (Some(start), None) => target.copy_from_slice(&source[start..start + length]),
                (Some(start), Some(scale)) => {
                    let source = &source[start..start + length];
                    for ((new, old), factor) in target.iter_mut().zip(source).zip(scale) {
                        *new = old * factor;
                    }
                }
                (None, None) => {
                    for (new, &old) in target.iter_mut().zip(index) {
                        *new = source[old];
                    }
                }
                (None, Some(scale)) => {
                    for ((new, &old), factor) in target.iter_mut().zip(index).zip(scale) {
                        *new = source[old] * factor;
                    }
                }
            }
            at += length;
        }
    }
}

/// As [`gather`], of the first two dimensions of contiguous single-precision numbers; None of others.
fn rows(whole: &Tensor, dims: &[Taken]) -> Result<Option<Tensor>> {
    let mut size = whole.size();
    let inside = |taken: &Taken| {
        taken.dim < size.len().min(2) && taken.index.iter().all(|&old| (0..size[taken.dim]).contains(&old))
    };
    if dims.is_empty() || whole.kind() != Kind::Float || !dims.iter().all(inside) {
        return Ok(None);
    }
    let Some(source) = memory::read(whole).and_then(numbers) else { return Ok(None) };
    let block: usize = size.iter().skip(2).map(|&n| n as usize).product();
    let width = block * size.get(1).map_or(1, |&n| n as usize);
    let of_dim = |dim| dims.iter().find(|taken| taken.dim == dim);
    let columns = of_dim(1).map(|taken| Columns::new(taken, block));
    let every: Vec<i64> = (0..size[0]).collect();
    let (order, scale) = of_dim(0).map_or((&every, None), |taken| (&taken.index, taken.scale.as_ref()));
    let height = size[0] as usize;
    for taken in dims {
        size[taken.dim] = taken.index.len() as i64;
    }
    let mut made = memory::empty(&size, Kind::Float)?;
    let wide = block * size.get(1).map_or(1, |&n| n as usize);
    let Some(target) = numbers_mut(memory::write(&mut made)) else { return Ok(None) };
    let mut first: Vec<Option<usize>> = vec![None; height];
    for (row, &old) in order.iter().enumerate() {
        let old = old as usize;
        if let (Some(earlier), None) = (first[old], scale) {
            target.copy_within(earlier * wide..(earlier + 1) * wide, row * wide);
            continue;
        }
        first[old] = Some(row);
        let source = &source[old * width..(old + 1) * width];
        let target = &mut target[row * wide..(row + 1) * wide];
        match &columns {
            Some(columns) => columns.fill(source, target),
            None => target.copy_from_slice(source),
        }
        if let Some(scale) = scale {
            let factor = scale[row] as f32;
            for number in target {
                *number *= factor;
            }
        }
    }
    Ok(Some(made))
}

/// Bytes as numbers, if they begin and end where numbers do.
fn numbers(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: every four bytes are a number.
    let (before, numbers, after) = unsafe { bytes.align_to::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(numbers)
}

fn numbers_mut(bytes: &mut [u8]) -> Option<&mut [f32]> {
    // SAFETY: as in `numbers`; every number is four bytes.
    let (before, numbers, after) = unsafe { bytes.align_to_mut::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(numbers)
}
