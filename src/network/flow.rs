//! How data flows through a network: its tensors, and what each operator does to their dimensions.
//!
//! One forward of an example, as plain records. A step does not say what an operator computes, only which dimensions of
//! which tensors belong together; that is all that coupling and cost need, and it is the same for every model.

use serde::{Deserialize, Serialize};

/// A dimension of a tensor: (index of the tensor, index of the dimension).
pub type Axis = (usize, usize);

/// The tensors of one forward, and the steps between them in the order they ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Flow {
    /// The shape of each tensor.
    pub tensors: Vec<Vec<u64>>,
    /// The parameters and buffers among them.
    pub parameters: Vec<Parameter>,
    /// Which operator ran in which module, for messages.
    pub operators: Vec<String>,
    /// What ran.
    pub steps: Vec<Step>,
    /// The products with a weight: what makes channels and what reads them.
    pub layers: Vec<Layer>,
    /// What each module was given and what it returned.
    pub calls: Vec<Call>,
    /// What the forward cost, as products of sizes.
    pub items: Vec<CostItem>,
}

/// A parameter or buffer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parameter {
    /// Its tensor.
    pub tensor: usize,
    /// Every place that has it: index of the module and name there.
    pub holders: Vec<(usize, String)>,
    /// Whether it counts as a parameter; buffers do not.
    pub trained: bool,
    /// The modules without which it is not part of the network.
    pub within: Vec<usize>,
    /// Why it must keep its shape, if so.
    pub sealed: Option<String>,
}

/// What one operator does to dimensions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Dimensions with the same letter are one and the same; a letter a dimension a tensor.
    Align {
        /// The tensors.
        tensors: Vec<usize>,
        /// Letters 0, 1, ...; [`FREE`] for a dimension that may have any size, [`WHOLE`] for one that may not vary.
        letters: Vec<Vec<i32>>,
        /// Tensors from this index on are made by it; earlier ones that no step made are constants.
        made: usize,
        /// The operator, as an index of [`Flow::operators`].
        operator: usize,
    },
    /// The same elements under another shape.
    View {
        /// Before.
        from: usize,
        /// After.
        to: usize,
        /// The operator.
        operator: usize,
        /// The innermost module that was running.
        #[serde(default)]
        node: usize,
    },
    /// Tensors one after the other along a dimension.
    Cat {
        /// The pieces.
        from: Vec<usize>,
        /// The whole.
        to: usize,
        /// The dimension.
        dim: usize,
        /// The operator.
        operator: usize,
    },
    /// A tensor in equal pieces along a dimension: whatever is left out of one is left out of each.
    Split {
        /// The whole.
        from: usize,
        /// The pieces.
        to: Vec<usize>,
        /// The dimension.
        dim: usize,
        /// The operator.
        operator: usize,
    },
    /// A dimension that is a number of equal groups: each keeps the same of its members.
    Group {
        /// The dimension.
        axis: Axis,
        /// How many groups.
        groups: u64,
        /// A dimension that has the members of one group.
        member: Option<Axis>,
    },
    /// Each element of one dimension has `times` successive ones in another.
    Repeat {
        /// The dimension.
        from: Axis,
        /// The longer one.
        to: Axis,
        /// How many.
        times: u64,
    },
    /// No dimension of these tensors may vary.
    Fix {
        /// The tensors.
        tensors: Vec<usize>,
        /// The operator.
        operator: usize,
    },
}

/// In [`Step::Align`]: a dimension that the operator takes in any size.
pub(super) const FREE: i32 = -2;
/// In [`Step::Align`]: a dimension that the operator needs as it is.
pub(super) const WHOLE: i32 = -1;

/// A product with a weight.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// The innermost module that was running.
    pub node: usize,
    /// The dimension of the weight that makes channels.
    pub output: Axis,
    /// The dimension of the weight that reads channels; none for a table of embeddings.
    pub input: Option<Axis>,
}

/// One call of a module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The module.
    pub node: usize,
    /// The tensors it was given.
    pub inputs: Vec<usize>,
    /// The tensors it returned.
    pub outputs: Vec<usize>,
    /// Whether its first input is added to something inside of it.
    pub residual: bool,
}

/// A part of the cost: a constant times the sizes of dimensions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CostItem {
    /// Index of the metric.
    pub metric: usize,
    /// The constant.
    pub coefficient: u64,
    /// The dimensions whose sizes multiply.
    pub axes: Vec<Axis>,
    /// The modules without which it is not part of the network.
    pub within: Vec<usize>,
}
