//! The user's network as plain records: what its modules are, and what they cost.
//!
//! Python's tracer fills the records; the rules of `transform` read them. Plain data and pure functions of it: the
//! room knows the space (a cost depends on decisions) and nothing of rules, weights or torch.

mod cost;
mod coupling;
mod flow;
mod size;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use cost::{ACTIVATION_BYTES, CostModel, METRICS, Term};
pub use coupling::{Coupling, Demands, Segment, Width};
pub use flow::{Axis, Call, CostItem, Flow, Layer, Parameter, Step};
pub use size::{Size, product};

use crate::error::{Error, Result};

/// A traced network: every module, parents before children; the first is the network itself, with path `""`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Network {
    /// The modules.
    pub nodes: Vec<Node>,
    /// What one forward did.
    #[serde(default)]
    pub flow: Flow,
}

/// One module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its dotted path in the network.
    pub path: String,
    /// The name of its class.
    pub class: String,
    /// What it computes, as far as rules can vary it.
    #[serde(flatten)]
    pub kind: Kind,
    /// The modules without which it does not run: itself and whatever holds every use of it.
    pub within: Vec<usize>,
    /// Of a candidate op and the modules inside of it: the module whose place it can take.
    #[serde(default)]
    pub place: Option<usize>,
}

/// What a module computes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A convolution over 1, 2 or 3 dimensions.
    Conv(Conv),
    /// A placeholder that the user put there to be opened.
    Slot,
    /// An activation.
    Activation {
        /// The name of the candidate op that is the same.
        name: String,
    },
    /// A normalisation.
    Norm {
        /// The name of the candidate op that is the same.
        name: String,
    },
    /// A pooling.
    Pool {
        /// The name of its kind.
        name: String,
    },
    /// A dropout.
    Dropout {
        /// The attribute that holds the probability.
        attribute: String,
        /// The probability.
        p: f64,
    },
    /// An attention.
    Attention(Attention),
    /// Anything else.
    Other,
}

/// The attributes of a convolution; one entry a spatial dimension.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conv {
    /// Channels of the input.
    pub in_channels: u64,
    /// Channels of the output.
    pub out_channels: u64,
    /// Size of the kernel.
    pub kernel_size: Vec<u64>,
    /// Zeros added on either side; `None` for `padding="same"`.
    pub padding: Option<Vec<u64>>,
    /// Distance of kernel elements.
    pub dilation: Vec<u64>,
    /// Groups of channels that do not mix.
    pub groups: u64,
    /// Why its weight must not be touched, if so (an own `forward`, a parametrization, a shared weight).
    pub sealed: Option<String>,
}

/// The attributes of an attention.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attention {
    /// Heads of the queries.
    pub heads: u64,
    /// Heads of keys and values, a divisor of `heads`.
    pub kv_heads: u64,
    /// Features of a head, if an attribute says it.
    pub head_size: Option<u64>,
    /// The attributes that are proportional to the number of heads, and their values.
    pub attributes: BTreeMap<String, u64>,
    /// Why the number of heads must not be touched, if so.
    pub sealed: Option<String>,
}

/// The path of a candidate op for the place of a module.
#[must_use]
pub fn candidate_path(place: &str, name: &str) -> String {
    format!("{place}:{name}")
}

impl Network {
    /// The module with this path.
    ///
    /// # Errors
    /// [`Error::Network`] if there is none.
    pub fn node(&self, path: &str) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.path == path)
            .ok_or_else(|| Error::Network(format!("the network has no module '{path}'")))
    }

    /// The modules directly below one, in order.
    #[must_use]
    pub fn children(&self, node: usize) -> Vec<usize> {
        let path = &self.nodes[node].path;
        let depth = if path.is_empty() { 0 } else { path.split('.').count() };
        let below = |other: &Node| {
            is_within(&other.path, path)
                && other.place.is_none()
                && !other.path.is_empty()
                && other.path.split('.').count() == depth + 1
        };
        (0..self.nodes.len()).filter(|&other| below(&self.nodes[other])).collect()
    }

    /// The parameter or buffer of this name that a module has, as an index of [`Flow::parameters`].
    #[must_use]
    pub fn parameter(&self, node: usize, name: &str) -> Option<usize> {
        let holds =
            |parameter: &Parameter| parameter.holders.iter().any(|(n, known)| *n == node && known == name);
        self.flow.parameters.iter().position(holds)
    }
}

/// Whether the module at `path` is `ancestor` itself or below it.
#[must_use]
pub fn is_within(path: &str, ancestor: &str) -> bool {
    ancestor.is_empty()
        || path == ancestor
        || path.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn paths_nest_at_dots() {
        assert!(is_within("a.b", "a") && is_within("a", "a") && is_within("a", ""));
        assert!(!is_within("ab", "a") && !is_within("a", "a.b"));
    }
}
