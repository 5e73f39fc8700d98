//! Transformations (the paper's δ): how topology and weights follow the decisions.
//!
//! `rule` says what may vary, as data; `planner` asks the rules what they open in a traced network, `build` makes of that
//! a `plan`: a search space, what is done to each module for a point, and costs; `state` maps weights. The room knows the space and the network; no algorithm, no
//! evaluator, no Python. A new rule is one file under `rule/` (copy `kernel_size.rs`), a new weight map one under
//! `state/`.

mod build;
mod plan;
mod planner;
mod rule;
#[cfg(feature = "torch")]
pub mod state;

pub use plan::{Action, Content, Cut, Diagonal, Fixed, RewritePlan, Run};
pub use planner::rewrite;
pub use rule::{AppliedRule, ModuleAttribute, RewriteRule, Variant};
