//! Between the given network, the supernet and a sub-network: growing once, slicing for every point.

use std::collections::BTreeMap;

use tch::Tensor;

use super::{
    State, WeightMap, diagonal, surround, tensor, transform_name, transformed, weight_path, widen_blocks,
};
use crate::error::Result;
use crate::space::Point;
use crate::transform::{Action, Content, Cut, RewritePlan};

/// From the supernet to the network of a point: each shared tensor cut to what stays of it; views where that is one
/// range of each dimension. The source has the matrices of kernels that shrink in a learned way as well; what it lacks
/// is left out.
pub struct Slice<'a>(pub &'a RewritePlan);

impl WeightMap for Slice<'_> {
    fn map(&self, source: &State, to: &Point) -> Result<State> {
        self.0.space.check(to)?;
        let mut state = State::new();
        let learned = self.learned(source);
        tch::no_grad(|| -> Result<()> {
            for (path, (sizes, decision)) in &learned {
                let Some(&size) =
                    usize::try_from(to.codes()[*decision]).ok().and_then(|code| sizes.get(code))
                else {
                    continue;
                };
                let weight = weight_path(path);
                let Some(kernel) = source.get(&weight) else { continue };
                let matrix =
                    |size| source.get(&beside(path, &transform_name(size))).map(Tensor::shallow_clone);
                state.insert(weight.clone(), transformed(kernel, sizes, size, matrix)?);
            }
            for cut in &self.0.cuts {
                let Some((module, name)) = cut.holders.first() else { continue };
                let path = beside(module, name);
                if cut.dim >= 2 && name == "weight" && learned.contains_key(module.as_str()) {
                    continue;
                }
                let Some(whole) = state.get(&path).or_else(|| source.get(&path)) else { continue };
                let part = keep(whole, cut.dim as i64, &cut.ranges(to.codes()))?;
                state.insert(path, part);
            }
            for kernel in &self.0.diagonals {
                let Some((module, name)) = kernel.holders.first() else { continue };
                let path = beside(module, name);
                let Some(whole) = state.get(&path).or_else(|| source.get(&path)) else { continue };
                let parts = kernel.blocks(to.codes());
                if parts > 1 {
                    let part = diagonal(whole, kernel.fewest() as i64, parts as i64)?;
                    state.insert(path, part);
                }
            }
            Ok(())
        })?;
        Ok(state)
    }
}

impl Slice<'_> {
    /// Modules whose kernels shrink in a learned way: sizes and decision.
    fn learned(&self, source: &State) -> BTreeMap<&str, (Vec<i64>, usize)> {
        let mut learned = BTreeMap::new();
        for action in &self.0.actions {
            let Action::Kernel { path, decision, sizes, .. } = action else { continue };
            let sizes: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
            if sizes.iter().any(|&size| source.contains_key(&beside(path, &transform_name(size)))) {
                learned.insert(path.as_str(), (sizes, *decision));
            }
        }
        learned
    }
}

fn beside(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_string() } else { format!("{module}.{name}") }
}

/// Ranges (start, length) of a dimension, one after the other.
fn keep(whole: &Tensor, dim: i64, ranges: &[(u64, u64)]) -> Result<Tensor> {
    let narrow = |&(start, length): &(u64, u64)| whole.f_narrow(dim, start as i64, length as i64);
    if let [one] = ranges {
        return Ok(narrow(one)?);
    }
    let parts = ranges.iter().map(narrow).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Tensor::f_cat(&parts, dim)?)
}

/// A dimension with a place for the most that may stay. New channels are copies of the first ones; where channels are
/// read, zeros, so that nothing depends on new ones until training makes it so. (Net2Net, Chen et al. 2016, arXiv
/// 1511.05641, algorithm 1, divides what reads a channel among its copies, which would change the given weights.)
fn lengthen(given: &Tensor, cut: &Cut) -> Result<Tensor> {
    let dim = cut.dim as i64;
    let mut parts = Vec::new();
    let mut start = 0;
    for run in &cut.runs {
        let length = run.inactive.1 as i64;
        let known = given.f_narrow(dim, start, length)?;
        start += length;
        let more = run.largest() as i64 - length;
        if more > 0 {
            let index: Vec<i64> = (0..more).map(|i| i % length).collect();
            let copies = known.f_index_select(dim, &Tensor::from_slice(&index).f_to(given.device())?)?;
            let new = if cut.content == Content::Read { copies.f_zeros_like()? } else { copies };
            parts.extend([known, new]);
        } else {
            parts.push(known);
        }
    }
    Ok(Tensor::f_cat(&parts, dim)?)
}

/// From the given network to the supernet: each weight grown to the largest size; those already large enough are
/// left out.
pub struct Grow<'a>(pub &'a RewritePlan);

impl Grow<'_> {
    /// The tensors that differ.
    ///
    /// # Errors
    /// As [`WeightMap::map`].
    pub fn map(&self, source: &State) -> Result<State> {
        let mut state = State::new();
        tch::no_grad(|| -> Result<()> {
            for action in &self.0.actions {
                if let Action::Kernel { path, sizes, .. } = action {
                    let path = weight_path(path);
                    let weight = tensor(source, &path)?;
                    let largest = sizes.iter().copied().max().unwrap_or(1) as i64;
                    if weight.size()[2] < largest {
                        state.insert(path, surround(weight, largest)?);
                    }
                }
            }
            for kernel in &self.0.diagonals {
                let Some((module, _)) = kernel.holders.first() else { continue };
                let path = weight_path(module);
                let weight = match state.get(&path) {
                    Some(tensor) => tensor,
                    None => tensor(source, &path)?,
                };
                let parts = kernel.given / kernel.fewest();
                if parts > 1 {
                    let wide = widen_blocks(weight, kernel.given as i64, parts as i64)?;
                    state.insert(path, wide);
                }
            }
            for cut in self.0.cuts.iter().filter(|cut| cut.grows()) {
                let Some((module, name)) = cut.holders.first() else { continue };
                let path = beside(module, name);
                let given = match state.get(&path) {
                    Some(tensor) => tensor,
                    None => tensor(source, &path)?,
                };
                let grown = lengthen(given, cut)?;
                state.insert(path, grown);
            }
            Ok(())
        })?;
        Ok(state)
    }
}
