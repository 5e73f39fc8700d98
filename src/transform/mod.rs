//! Transformations (the paper's δ): how topology and weights follow the decisions.
//!
//! `rule` says what may vary, as data; `plan` turns rules and a traced network into a search space and into what is
//! done to each module for a point; `state` maps weights. The room knows the space and the network; no algorithm, no
//! evaluator, no Python. A new rule is one file under `rule/` (copy `kernel_size.rs`), a new weight map one under
//! `state/`.

mod plan;
mod rule;
#[cfg(feature = "torch")]
pub mod state;

pub use plan::{Action, Fixed, RewritePlan, rewrite};
pub use rule::{AppliedRule, RewriteRule};
