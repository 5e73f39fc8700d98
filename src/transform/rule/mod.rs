//! Rewrite rules as data: what may vary, and where.
//!
//! Python resolves `where=` (globs, classes, predicates run there) into paths; everything else is decided here. A
//! rule opens a module, a width or a stage by returning an [`Opening`], or says why it cannot, which the report shows.

mod activation;
mod depth;
mod dropout;
mod groups;
mod heads;
mod kernel_size;
mod norm;
mod pool;
mod replace;
mod sizes;
mod subset;
mod width;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

pub(super) use depth::Stages;

use crate::error::Result;
use crate::network::{Attention, Network, Node, Width};
use crate::space::{Domain, Label};

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
    /// How many heads an attention has.
    Heads {
        /// The numbers.
        heads: Vec<u64>,
    },
    /// Which activation is used.
    Activation {
        /// The names.
        kinds: Vec<String>,
    },
    /// Which normalisation is used.
    Norm {
        /// The names.
        kinds: Vec<String>,
    },
    /// Which pooling is used.
    Pool {
        /// The names.
        kinds: Vec<String>,
    },
    /// The probability of dropouts.
    Dropout {
        /// The probabilities.
        ps: Vec<f64>,
    },
    /// The groups of convolutions.
    Groups {
        /// The numbers.
        groups: Vec<u64>,
    },
    /// The size of the input.
    Resolution {
        /// What runs.
        variants: Vec<Variant>,
        /// Which of them is the given one.
        given: usize,
    },
    /// Where pictures become smaller.
    Stride {
        /// What runs.
        variants: Vec<Variant>,
        /// Which of them is the given one.
        given: usize,
    },
    /// Nothing varies.
    Freeze,
}

/// A choice that gives tensors other sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// The choice.
    pub label: Label,
    /// The shape of each tensor of the data flow.
    pub tensors: Vec<Vec<u64>>,
    /// The coefficient of each item of the cost.
    pub coefficients: Vec<u64>,
    /// Bytes of the output of what resizes the input.
    pub resized_bytes: u64,
    /// Attributes of modules at this choice.
    pub attributes: Vec<(String, String, Label)>,
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
    /// Choices that were tried at a module and do not fit, and why.
    #[serde(default)]
    pub unfit: BTreeMap<String, BTreeMap<String, String>>,
    /// Modules at which the rule opens one decision together, and the pattern that names it; empty: each alone.
    #[serde(default)]
    pub tied: BTreeMap<String, String>,
}

/// How a rule opens one place: the decision, the code of the given network (if among the choices), and what each code
/// means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opening {
    pub(super) suffix: &'static str,
    pub(super) domain: Domain,
    pub(super) original: Option<i32>,
    /// The choices in words that do not depend on the place, if those of the domain do; of tied places they are equal.
    pub(super) shares: Option<Domain>,
    pub(super) effect: Effect,
}

/// An attribute of a module at each code.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModuleAttribute {
    /// The module.
    pub path: String,
    /// The attribute.
    pub name: String,
    /// Its values.
    pub values: Vec<Label>,
}

/// What the codes of a decision do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    Kernel {
        sizes: Vec<u64>,
        paddings: Option<Vec<Vec<u64>>>,
    },
    /// `given` is the code of the given module.
    Choice {
        candidates: Vec<String>,
        given: Option<usize>,
    },
    /// `channels` of the first layer (or heads), how many channels of the width these are, and what follows.
    Width {
        channels: Vec<u64>,
        kept: Vec<u64>,
        attributes: Vec<ModuleAttribute>,
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
    Attributes(Vec<ModuleAttribute>),
    Groups {
        groups: Vec<u64>,
        given: u64,
    },
    Sizes {
        variants: Vec<Variant>,
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
            RewriteRule::Heads { .. } => "heads",
            RewriteRule::Activation { .. } => "activation",
            RewriteRule::Norm { .. } => "norm",
            RewriteRule::Pool { .. } => "pool",
            RewriteRule::Dropout { .. } => "dropout",
            RewriteRule::Groups { .. } => "groups",
            RewriteRule::Resolution { .. } => "resolution",
            RewriteRule::Stride { .. } => "stride",
            RewriteRule::Freeze => "freeze",
        }
    }

    /// How the rule opens a module; `Err` with the reason why not; `None` if it opens no single modules.
    pub(super) fn open(
        &self,
        node: &Node,
        applied: &AppliedRule,
    ) -> Option<std::result::Result<Opening, String>> {
        let none = BTreeMap::new();
        let unfit = applied.unfit.get(&node.path).unwrap_or(&none);
        match self {
            RewriteRule::KernelSize { sizes } => Some(kernel_size::open(node, sizes, applied.named)),
            RewriteRule::Replace { candidates } => Some(Ok(replace::open(candidates))),
            RewriteRule::Activation { kinds } => Some(activation::open(node, kinds, unfit)),
            RewriteRule::Norm { kinds } => Some(norm::open(node, kinds, unfit)),
            RewriteRule::Pool { kinds } => Some(pool::open(node, kinds, unfit)),
            RewriteRule::Dropout { ps } => Some(dropout::open(node, ps)),
            RewriteRule::Groups { groups } => Some(groups::open(node, groups)),
            RewriteRule::Resolution { variants, given } => {
                Some(sizes::open("resolution", variants, *given, unfit))
            }
            RewriteRule::Stride { variants, given } => Some(sizes::open("stride", variants, *given, unfit)),
            _ => None,
        }
    }

    /// The attention that it may take whole heads from; `Err` with the reason why not; `None` if it opens no heads.
    pub(super) fn attention<'a>(&self, node: &'a Node) -> Option<std::result::Result<&'a Attention, String>> {
        match self {
            RewriteRule::Heads { heads } => Some(heads::check(node, heads)),
            _ => None,
        }
    }

    /// How it opens the width that is the heads of an attention.
    pub(super) fn open_heads(&self, node: &Node, width: &Width) -> std::result::Result<Opening, String> {
        match self {
            RewriteRule::Heads { heads } => heads::open(node, width, heads),
            _ => Err("it opens no heads".into()),
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

    /// Whether it closes modules instead of opening them.
    pub(super) fn freezes(&self) -> bool {
        matches!(self, RewriteRule::Freeze)
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
