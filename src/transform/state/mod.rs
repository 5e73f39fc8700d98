//! Weight maps: how the tensors of one network become those of another.
//!
//! The only room besides the bindings that knows torch (through tch). A map is a pure function of tensors; it never
//! touches a network. One map is one file (copy `kernel.rs`); results are views where the map only reads, so that a
//! sub-network costs nothing until somebody copies it. Everything runs without recording gradients.

mod average;
mod channels;
mod deepen;
mod gather;
mod groups;
mod inherit;
mod kernel;
mod memory;
mod slice;
mod sort;
mod widen;

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

pub use average::average;
pub use channels::{Channels, Rearranged};
pub use deepen::{identity_kernel, identity_norm};
pub use groups::{diagonal, widen_blocks};
pub use inherit::{Match, inherit};
pub use kernel::{surround, transform_name, transformed};
pub use memory::{contiguous, empty};
pub use slice::{Grow, Slice};
pub use sort::Sort;
pub use widen::{Wide, Widen};

use crate::error::{Error, Result};
use crate::space::Point;

/// Tensors by their path in the network (`"layer1.0.conv1.weight"`).
pub type State = BTreeMap<String, Tensor>;

/// A function from the weights of one network to those of the network of a point.
pub trait WeightMap {
    /// The tensors that differ.
    ///
    /// # Errors
    /// [`Error::Network`] if a tensor is missing, [`Error::Tensor`] if one has the wrong shape.
    fn map(&self, source: &State, to: &Point) -> Result<State>;
}

/// The tensor at a path.
fn tensor<'a>(state: &'a State, path: &str) -> Result<&'a Tensor> {
    state.get(path).ok_or_else(|| Error::Network(format!("the weights lack '{path}'")))
}

fn weight_path(module: &str) -> String {
    if module.is_empty() { "weight".into() } else { format!("{module}.weight") }
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        // A libtorch message carries its whole C++ backtrace.
        let text = error.to_string();
        let end = text.find("\nException raised from").unwrap_or(text.len());
        Error::Tensor(text[..end].to_string())
    }
}
