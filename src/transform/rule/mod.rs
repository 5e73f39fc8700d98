//! Rewrite rules as data: what may vary, and where.
//!
//! Python resolves `where=` (globs, classes, predicates run there) into paths; everything else is decided here. A
//! rule opens a module, a width or a stage by returning an [`Opening`], or says why it cannot, which the report shows.

mod depth;
mod kernel_size;
mod replace;
mod subset;
mod width;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub(super) use depth::Stages;
pub(super) use replace::ORIGINAL;

use crate::error::Result;
use crate::network::{Network, Node, Width};
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
    /// The number of channels that layers make.
    Width {
        /// Shares of the given number; empty if `channels` are given.
        ratios: Vec<f64>,
        /// Numbers of channels.
        channels: Vec<u64>,
        /// What the number is a multiple of.
        divisor: u64,
    },
    /// The channels inside a block, as a multiple of those it is given.
    Expansion {
        /// The multiples.
        ratios: Vec<f64>,
        /// What the number of channels is a multiple of.
        divisor: u64,
    },
    /// How many blocks of a stage stay.
    Depth {
        /// The least number.
        min: u64,
    },
    /// Which modules of a list stay.
    Subset {
        /// How many.
        take: usize,
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
    /// Names of decisions by path, where the user gave some; places of one name vary together.
    #[serde(default)]
    pub decisions: HashMap<String, String>,
}

/// How a rule opens one place: the decision, the code of the given network (if among the choices), and what each code
/// means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opening {
    pub(super) suffix: &'static str,
    pub(super) domain: Domain,
    pub(super) original: Option<i32>,
    pub(super) effect: Effect,
}

/// What the codes of a decision do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    Kernel {
        sizes: Vec<u64>,
        paddings: Option<Vec<Vec<u64>>>,
    },
    Choice {
        candidates: Vec<String>,
    },
    /// `channels` of the first layer, and how many channels of the width these are.
    Width {
        channels: Vec<u64>,
        kept: Vec<u64>,
    },
    /// How many blocks stay, of which the first `head` cannot be left out.
    Depth {
        kept: Vec<u64>,
        head: usize,
    },
    /// Whether each module of a list stays at each code.
    Subset {
        present: Vec<Vec<bool>>,
    },
}

impl RewriteRule {
    /// The name that the user calls it by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            RewriteRule::KernelSize { .. } => "kernel_size",
            RewriteRule::Replace { .. } => "replace",
            RewriteRule::Width { .. } => "width",
            RewriteRule::Expansion { .. } => "expansion",
            RewriteRule::Depth { .. } => "depth",
            RewriteRule::Subset { .. } => "subset",
        }
    }

    /// How the rule opens a module; `Err` with the reason why not; `None` if it opens no single modules.
    pub(super) fn open(&self, node: &Node, named: bool) -> Option<std::result::Result<Opening, String>> {
        match self {
            RewriteRule::KernelSize { sizes } => Some(kernel_size::open(node, sizes, named)),
            RewriteRule::Replace { candidates } => Some(Ok(replace::open(candidates))),
            _ => None,
        }
    }

    /// Whether it is always meant for certain modules, with or without `where=`.
    pub(super) fn names_modules(&self) -> bool {
        matches!(self, RewriteRule::Replace { .. })
    }

    /// Whether it leaves out modules: blocks of stages, or some of a list.
    pub(super) fn opens_stages(&self) -> bool {
        matches!(self, RewriteRule::Depth { .. } | RewriteRule::Subset { .. })
    }

    /// The stages or lists that it opens.
    pub(super) fn stages(
        &self,
        network: &Network,
        applied: &AppliedRule,
        nodes: &HashMap<&str, usize>,
    ) -> Result<Stages> {
        match self {
            RewriteRule::Depth { min } => depth::stages(network, applied, nodes, *min),
            RewriteRule::Subset { take } => subset::stages(network, applied, nodes, *take),
            _ => Ok(Stages::default()),
        }
    }

    /// Whether it opens widths.
    pub(super) fn opens_widths(&self) -> bool {
        matches!(self, RewriteRule::Width { .. } | RewriteRule::Expansion { .. })
    }

    /// Rules that open few widths are asked before those that open any.
    pub(super) fn generality(&self) -> usize {
        usize::from(matches!(self, RewriteRule::Width { .. }))
    }

    /// How the rule opens a width; `Ok(None)` if it is not meant for such a one; `Err` with the reason why not.
    pub(super) fn open_width(
        &self,
        network: &Network,
        width: &Width,
    ) -> std::result::Result<Option<Opening>, String> {
        match self {
            RewriteRule::Width { ratios, channels, divisor } => {
                width::open(width, ratios, channels, *divisor).map(Some)
            }
            RewriteRule::Expansion { ratios, divisor } => {
                width::open_expansion(network, width, ratios, *divisor)
            }
            _ => Ok(None),
        }
    }
}
