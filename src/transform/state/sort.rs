//! Channels in the order of their importance, so that the first ones are worth keeping; the function stays.
//!
//! Cai et al. 2020, "Once-for-All", arXiv 1908.09791, section 3.3 ("elastic width"): before widths become elastic, the
//! channels are sorted by the L1 norm of their weights; as in the authors' code, of the weights that read them.

use std::collections::BTreeMap;

use super::{Channels, Rearranged, State};
use crate::error::Result;

/// Widths, by index, whose channels are to be sorted.
pub struct Sort<'a> {
    /// The channels of the network.
    pub channels: &'a Channels<'a>,
    /// Which of its widths.
    pub widths: &'a [usize],
}

impl Sort<'_> {
    /// The tensors that differ.
    ///
    /// # Errors
    /// [`crate::error::Error::Network`] if a tensor is missing.
    pub fn map(&self, source: &State) -> Result<State> {
        let mut state: State =
            source.iter().map(|(path, tensor)| (path.clone(), tensor.shallow_clone())).collect();
        let mut changed = State::new();
        tch::no_grad(|| -> Result<()> {
            for &width in self.widths {
                let importance = self.channels.importance(&state, width)?;
                let mut order: Vec<usize> = (0..importance.len()).collect();
                order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]));
                let order: Vec<i64> = order.iter().map(|&channel| channel as i64).collect();
                let widths = BTreeMap::from([(width, Rearranged { of: order, share: None })]);
                for (path, tensor) in self.channels.take(&state, &widths)? {
                    state.insert(path.clone(), tensor.shallow_clone());
                    changed.insert(path, tensor);
                }
            }
            Ok(())
        })?;
        Ok(changed)
    }
}
