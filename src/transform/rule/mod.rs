//! Rewrite rules as data: what may vary, and where.
//!
//! Python resolves `where=` (globs, classes, predicates run there) into paths; everything else is decided here. A
//! rule opens a module by returning an [`Opening`], or says why it cannot, which the report shows.

mod kernel_size;
mod replace;

use serde::{Deserialize, Serialize};

pub(super) use replace::ORIGINAL;

use crate::network::Node;
use crate::space::Domain;

/// What may vary.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum RewriteRule {
    /// The size of convolution kernels.
    KernelSize {
        /// The sizes.
        sizes: Vec<u64>,
    },
    /// The whole module: one of several candidate ops.
    Replace {
        /// The names of the candidates, in order; `"original"` is the given module itself.
        candidates: Vec<String>,
    },
}

/// A rule with the modules it is meant for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppliedRule {
    /// The rule.
    #[serde(flatten)]
    pub rule: RewriteRule,
    /// The paths that its target and `where=` match.
    pub targets: Vec<String>,
    /// Whether the user named the modules by `where=`.
    pub named: bool,
}

/// How a rule opens one module: the decision, the code of the given module (if among the choices), and what each code
/// means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opening {
    pub(super) suffix: &'static str,
    pub(super) domain: Domain,
    pub(super) original: Option<i32>,
    pub(super) effect: Effect,
}

/// What the codes of a decision do to its module.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    Kernel { sizes: Vec<u64>, paddings: Option<Vec<Vec<u64>>> },
    Choice { candidates: Vec<String> },
}

impl RewriteRule {
    /// The name that the user calls it by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            RewriteRule::KernelSize { .. } => "kernel_size",
            RewriteRule::Replace { .. } => "replace",
        }
    }

    /// How the rule opens a module; `Err` with the reason why not.
    pub(super) fn open(&self, node: &Node, named: bool) -> std::result::Result<Opening, String> {
        match self {
            RewriteRule::KernelSize { sizes } => kernel_size::open(node, sizes, named),
            RewriteRule::Replace { candidates } => Ok(replace::open(candidates)),
        }
    }
}
