//! What a rewrite is: a search space, and what each of its points does to each module and each tensor.

use super::rule::ModuleAttribute;
use crate::network::{CostModel, Demands};
use crate::space::{INACTIVE, Label, Point, SearchSpace};

/// What a decision does to its module.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// The kernel of a convolution is the centre of a shared, largest one.
    Kernel {
        /// The module.
        path: String,
        /// The decision.
        decision: usize,
        /// The size of each code.
        sizes: Vec<u64>,
        /// The padding of each code; `None` for `padding="same"`.
        paddings: Option<Vec<Vec<u64>>>,
    },
    /// One of several modules takes the place.
    Choice {
        /// The module.
        path: String,
        /// The decision.
        decision: usize,
        /// The name of each code.
        candidates: Vec<String>,
        /// The code of the given module.
        given: Option<usize>,
    },
    /// The first channels of a layer stay, and with them those of everything coupled with it.
    Width {
        /// The first module that makes the channels.
        path: String,
        /// The decision.
        decision: usize,
        /// The channels of each code.
        channels: Vec<u64>,
        /// The modules whose channels are the same.
        with: Vec<String>,
        /// Attributes that follow.
        attributes: Vec<ModuleAttribute>,
    },
    /// The first blocks of a stage stay, the others pass on what they are given.
    Depth {
        /// The stage: the module that holds the blocks, or the first block.
        path: String,
        /// The decision.
        decision: usize,
        /// For each block that may be left out: its path, and whether it stays at each code.
        blocks: Vec<(String, Vec<bool>)>,
    },
    /// Some modules of a list stay.
    Subset {
        /// The list.
        path: String,
        /// The decision.
        decision: usize,
        /// For each module: its path, and whether it stays at each code.
        blocks: Vec<(String, Vec<bool>)>,
    },
    /// Attributes of modules have other values.
    Attributes {
        /// The module that names it.
        path: String,
        /// The decision.
        decision: usize,
        /// The attributes.
        attributes: Vec<ModuleAttribute>,
    },
    /// A convolution has several numbers of groups.
    Groups {
        /// The module.
        path: String,
        /// The decision.
        decision: usize,
        /// The number of each code.
        groups: Vec<u64>,
        /// The number that the given module has.
        given: u64,
    },
    /// The input has several sizes.
    Resolution {
        /// The module.
        path: String,
        /// The decision.
        decision: usize,
        /// The sizes of each code.
        sizes: Vec<Label>,
        /// The code of the given size.
        given: usize,
    },
}

impl Action {
    /// The module that it changes, or that names it.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Action::Kernel { path, .. }
            | Action::Choice { path, .. }
            | Action::Width { path, .. }
            | Action::Depth { path, .. }
            | Action::Subset { path, .. }
            | Action::Attributes { path, .. }
            | Action::Groups { path, .. }
            | Action::Resolution { path, .. } => path,
        }
    }

    /// The decision that it obeys.
    #[must_use]
    pub fn decision(&self) -> usize {
        match self {
            Action::Kernel { decision, .. }
            | Action::Choice { decision, .. }
            | Action::Width { decision, .. }
            | Action::Depth { decision, .. }
            | Action::Subset { decision, .. }
            | Action::Attributes { decision, .. }
            | Action::Groups { decision, .. }
            | Action::Resolution { decision, .. } => *decision,
        }
    }
}

/// Which positions of one dimension of a parameter or buffer stay.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cut {
    /// Every module that has the tensor, and the name there.
    pub holders: Vec<(String, String)>,
    /// The dimension.
    pub dim: usize,
    /// What stays of it, in order.
    pub runs: Vec<Run>,
    /// What the dimension is.
    pub content: Content,
}

/// What a dimension of a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Positions of a kernel.
    Window,
    /// Channels that are made, or come from what makes them.
    Made,
    /// Channels that a layer reads.
    Read,
}

/// Successive positions of which a range stays.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Run {
    /// The decision; `None`: one range for every point.
    pub decision: Option<usize>,
    /// Start and length of what stays at each code.
    pub ranges: Vec<(u64, u64)>,
    /// What stays while the decision is inactive: as many positions as the given tensor has.
    pub inactive: (u64, u64),
}

impl Run {
    /// The most positions that may stay.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.ranges.iter().map(|&(_, length)| length).chain([self.inactive.1]).max().unwrap_or(0)
    }

    /// What stays for the codes of a point.
    #[must_use]
    pub fn range(&self, codes: &[i32]) -> (u64, u64) {
        match self.decision.map(|decision| codes[decision]) {
            None | Some(INACTIVE) => self.inactive,
            Some(code) => self.ranges[code as usize],
        }
    }
}

impl Cut {
    /// Whether the shared tensor has more channels than the given one.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.content != Content::Window && self.runs.iter().any(|run| run.largest() > run.inactive.1)
    }

    /// What stays for the codes of a point: start and length of maximal ranges.
    #[must_use]
    pub fn ranges(&self, codes: &[i32]) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (start, length) in self.runs.iter().map(|run| run.range(codes)).filter(|&(_, length)| length > 0)
        {
            match ranges.last_mut() {
                Some((last, known)) if *last + *known == start => *known += length,
                _ => ranges.push((start, length)),
            }
        }
        ranges
    }
}

/// The kernel of a convolution with several numbers of groups: of that of the fewest, the blocks on the diagonal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Diagonal {
    /// Every module that has the kernel, and the name there.
    pub holders: Vec<(String, String)>,
    /// The decision.
    pub decision: usize,
    /// The number of groups at each code.
    pub groups: Vec<u64>,
    /// The number that the given kernel is made for.
    pub given: u64,
}

impl Diagonal {
    /// The number of groups that the shared kernel is made for.
    #[must_use]
    pub fn fewest(&self) -> u64 {
        self.groups.iter().copied().min().unwrap_or(self.given).min(self.given)
    }

    /// How many blocks of each group of the shared kernel stay for the codes of a point.
    #[must_use]
    pub fn blocks(&self, codes: &[i32]) -> u64 {
        let groups = match codes[self.decision] {
            INACTIVE => self.given,
            code => self.groups[code as usize],
        };
        groups / self.fewest()
    }

    /// A number that all choices divide.
    pub(super) fn multiple(&self) -> u64 {
        common_multiple(&self.groups)
    }
}

/// The least common multiple.
pub(super) fn common_multiple(numbers: &[u64]) -> u64 {
    let lcm = |a: u64, b: u64| (1..=b).map(|i| a * i).find(|n| n % b == 0).unwrap_or(a);
    numbers.iter().copied().fold(1, lcm)
}

/// A module that a rule was meant for and could not open.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fixed {
    /// The module.
    pub path: String,
    /// The rule.
    pub rule: &'static str,
    /// Why not.
    pub reason: String,
}

/// The space that rules open in a network, and how its points change the network.
#[derive(Clone, Debug)]
pub struct RewritePlan {
    /// The decisions.
    pub space: SearchSpace,
    /// One for each place that a decision opens; outer modules before inner ones.
    pub actions: Vec<Action>,
    /// What stays of parameters and buffers.
    pub cuts: Vec<Cut>,
    /// What stays of the kernels of convolutions with several numbers of groups, after the cuts.
    pub diagonals: Vec<Diagonal>,
    /// The given network as a point; `None` if it is not among the choices.
    pub original: Option<Point>,
    /// What could not be opened.
    pub fixed: Vec<Fixed>,
    /// What the rules demand of channels, and the widths that they open.
    pub demands: Demands,
    /// The widths that are opened, as indices of the coupling under these demands.
    pub widths: Vec<usize>,
    /// The exact cost of every point.
    pub costs: CostModel,
}
