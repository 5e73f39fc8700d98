//! Between the given network, the supernet and a sub-network: growing once, slicing for every point.

use super::{State, WeightMap, center, surround, tensor, weight_path};
use crate::error::Result;
use crate::space::Point;
use crate::transform::{Action, RewritePlan};

/// From the supernet to the network of a point: each shared weight cut to its decided size; views.
pub struct Slice<'a>(pub &'a RewritePlan);

impl WeightMap for Slice<'_> {
    fn map(&self, source: &State, to: &Point) -> Result<State> {
        let mut state = State::new();
        tch::no_grad(|| -> Result<()> {
            for (action, code) in self.0.active(to)? {
                if let Action::Kernel { path, sizes, .. } = action {
                    let path = weight_path(path);
                    let weight = center(tensor(source, &path)?, sizes[code] as i64)?;
                    state.insert(path, weight);
                }
            }
            Ok(())
        })?;
        Ok(state)
    }
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
            Ok(())
        })?;
        Ok(state)
    }
}
